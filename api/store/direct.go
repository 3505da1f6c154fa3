package store

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/core"
)

// errPooled is a connection that a pooler gives to other clients, or to other servers, between two transactions.
var errPooled = errors.New("the backend that answers is not the one that was connected to: a connection pooler stands between")

// stateProtocol is how PgBouncer refuses the settings that a connection asks for; PostgreSQL never does.
const stateProtocol = "08P01"

// direct refuses a connection through a pooler: it makes up the process id that a connection is told. What a session has
// set would be lost, or be another client's: that a read cannot write, how long a lock is waited for, that a commit waits
// until it is flushed. And the timeline of a connection would not be that of the server which answers.
func direct(ctx context.Context, pc *pgconn.PgConn) error {
	results, err := pc.Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return errors.New("the server did not say which process it is")
	}
	if string(results[0].Rows[0][0]) != strconv.FormatUint(uint64(pc.PID()), 10) {
		return errPooled
	}
	return nil
}

// pooled reports whether err shows a pooler.
func pooled(err error) bool {
	if errors.Is(err, errPooled) {
		return true
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && connecting && pg.Code == stateProtocol
}

// FindPooler connects to every host once and returns core.Invalid, with the host, when a connection pooler answers there.
// A host that cannot be reached, or refuses, is none.
func (d *DB) FindPooler(ctx context.Context) error {
	found := make([]error, len(d.reader.hosts.all))
	var all sync.WaitGroup
	for i, x := range d.reader.hosts.all {
		all.Go(func() { found[i] = findPooler(ctx, x) })
	}
	all.Wait()
	return errors.Join(found...)
}

func findPooler(ctx context.Context, x *host) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	config := x.conn.Copy().Config
	l := &link{host: x}
	config.DialFunc, config.ValidateConnect = l.dial, direct
	c, err := pgconn.ConnectConfig(ctx, &config)
	if err == nil {
		l.connected()
		defer l.cut()
		_ = c.Close(ctx)
	}
	if !pooled(err) {
		return nil
	}
	return core.Wrap(core.Invalid, err, "VAULT_PG_HOSTS: at %s a connection pooler answers; give the address of PostgreSQL itself, "+
		"since the API keeps its own pools and what it sets in a session must stay", x.name)
}
