package hvsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(vaulttest.Main(m, vaulttest.Options{})) }

// site is a PostgreSQL that lets clients in by TCP with SCRAM alone, and the API of the vault in it.
type site struct {
	*vaulttest.Server
	db   *vaulttest.DB
	addr string
	c    *client.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	cluster, addr := newCluster(t)
	return serve(t, vaulttest.Of(cluster.Database("app")), addr)
}

// newSites is a primary and a standby that follows it, each with an API of its own before it.
func newSites(t *testing.T) (primary, standby *site) {
	t.Helper()
	t.Parallel()
	cluster, addr := newCluster(t)
	there := fmt.Sprintf("127.252.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	follower := cluster.NewStandby(t, "listen_addresses = '"+there+"'")
	db := vaulttest.Of(cluster.Database("app"))
	return serve(t, db, addr), serve(t, db.On(follower), there)
}

// newCluster lets clients in by TCP at addr with SCRAM alone. It has the database "app".
func newCluster(t *testing.T) (c *vaulttest.Cluster, addr string) {
	t.Helper()
	addr = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	c = vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{
		"listen_addresses = '" + addr + "'", "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'app'",
	}, Database: "app"})
	hba := "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\nlocal replication all trust\n"
	pgtest.Must(t, os.WriteFile(filepath.Join(c.Data(), "pg_hba.conf"), []byte(hba), 0o644))
	c.Database("app").MustExec(t, "SELECT pg_reload_conf()")
	c.MustBecome(t, "SELECT count(*) = 1 FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'")
	return c, addr
}

func serve(t *testing.T, db *vaulttest.DB, addr string) *site {
	t.Helper()
	s := &site{Server: vaulttest.NewServer(t, db), db: db, addr: addr}
	s.c = s.client(t, s.AdminToken)
	return s
}

func (s *site) client(t *testing.T, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Address: s.URL, Token: token, MaxRetries: -1})
	pgtest.Must(t, err)
	t.Cleanup(c.Close)
	return c
}

// config is for a login by TCP.
func (s *site) config(username, password string) *pgx.ConnConfig {
	conf, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable", s.addr, pgtest.Port, s.db.Name))
	if err != nil {
		panic(err)
	}
	conf.User, conf.Password = username, password
	return conf
}

func (s *site) open(username, password string) (driver.Connector, error) {
	return stdlib.GetConnector(*s.config(username, password)), nil
}

func (s *site) login(username, password string) error {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.config(username, password))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (s *site) mustFollow(t *testing.T, source hvsql.Source) *hvsql.Follower {
	t.Helper()
	f, err := hvsql.NewFollower(t.Context(), source)
	pgtest.Must(t, err)
	t.Cleanup(f.Close)
	return f
}

func (s *site) mustOpen(t *testing.T, f *hvsql.Follower) *sql.DB {
	t.Helper()
	db := sql.OpenDB(hvsql.NewConnector(f, s.open))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// mustPair binds the secret "db" to the roles app_a and app_b in turn.
func (s *site) mustPair(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"CREATE ROLE app", "CREATE ROLE app_a LOGIN IN ROLE app", "CREATE ROLE app_b LOGIN IN ROLE app",
		`SELECT vault.create_secret('db', '{"username": "app_a", "password": "first-password"}'::text, 'automatic', 'application/json',
			rotation_interval_secs => 86400, grace_period_secs => 3600, generate_policy => '{"json_field": "password"}')`,
		"SELECT vault.bind_role_pair('db', 'app_a', 'app_b', 'app')",
	} {
		s.db.MustExec(t, sql)
	}
}

func user(ctx context.Context, db *sql.DB) (name string, err error) {
	err = db.QueryRowContext(ctx, "SELECT session_user").Scan(&name)
	return name, err
}

func mustUser(t *testing.T, db *sql.DB) string {
	t.Helper()
	name, err := user(t.Context(), db)
	pgtest.Must(t, err)
	return name
}

// load runs work in several goroutines until stop, which returns how often it ran. Each failure fails the test.
func load(t *testing.T, work func(ctx context.Context) error) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				limited, end := context.WithTimeout(context.Background(), pgtest.Patience)
				err := work(limited)
				end()
				mu.Lock()
				done++
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	stop = sync.OnceValue(func() int {
		cancel()
		all.Wait()
		return done
	})
	t.Cleanup(func() { stop() })
	return stop
}
