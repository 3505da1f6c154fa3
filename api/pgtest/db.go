package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// DB is a database with the extension, in which the service role may call the sealed functions.
type DB struct {
	Cluster *Cluster
	Name    string
	// SuperuserDSN and ServiceDSN connect as Superuser and as ServiceRole.
	SuperuserDSN, ServiceDSN string
}

// model is the database of each cluster that NewDB copies: a copy takes half the time of CREATE EXTENSION.
const model = "hv_model"

// NewDB makes a fresh database in the package's shared cluster and drops it with the test.
func NewDB(t testing.TB) *DB {
	t.Helper()
	return Shared(t).NewDB(t)
}

// NewDB makes a fresh database in c and drops it with the test.
func (c *Cluster) NewDB(t testing.TB) *DB {
	t.Helper()
	c.dbMu.Lock()
	defer c.dbMu.Unlock()
	if c.dbs == 0 {
		c.mustExec(t, "CREATE DATABASE "+model)
		m := c.Database(model)
		m.MustExec(t, "CREATE EXTENSION hyperion_vault")
		m.MustExec(t, "SELECT vault.grant_service_role('"+ServiceRole+"')")
	}
	c.dbs++
	d := c.Database(fmt.Sprintf("hv_%d", c.dbs))
	c.mustExec(t, "CREATE DATABASE "+d.Name+" TEMPLATE "+model+" STRATEGY file_copy")
	t.Cleanup(func() {
		if c.run != nil { // a test may have stopped its server
			c.mustExec(t, "DROP DATABASE "+d.Name+" WITH (FORCE)")
		}
	})
	return d
}

// Database is a database of c that the test itself makes ready.
func (c *Cluster) Database(name string) *DB {
	return &DB{Cluster: c, Name: name, SuperuserDSN: c.DSN(name, Superuser), ServiceDSN: c.DSN(name, ServiceRole)}
}

// On returns d as another node of its cluster has it.
func (d *DB) On(c *Cluster) *DB { return c.Database(d.Name) }

// MustExec runs one statement as the superuser on a connection of its own.
func (d *DB) MustExec(t testing.TB, sql string, args ...any) {
	t.Helper()
	execute(t, d.SuperuserDSN, sql, args...)
}

// MustConnect returns a connection as role, which is closed with the test.
func (d *DB) MustConnect(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	conn := connect(t, d.Cluster.DSN(d.Name, role))
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Await returns when a query, of one boolean, is true; what says what is waited for.
func (d *DB) Await(t testing.TB, what, sql string, args ...any) {
	t.Helper()
	conn := connect(t, d.SuperuserDSN)
	defer conn.Close(context.Background())
	Eventually(t, what, func() bool {
		rows, err := conn.Query(context.Background(), sql, args...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		yes, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return yes
	})
}

func (c *Cluster) mustExec(t testing.TB, sql string) {
	t.Helper()
	execute(t, c.DSN("postgres", Superuser), sql)
}

func execute(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
