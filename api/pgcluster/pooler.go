package pgcluster

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/core"
)

// ErrPooled is a connection that a pooler gives to other clients, or to other servers, between two transactions.
var ErrPooled = errors.New("the backend that answers is not the one that was connected to: a connection pooler stands between")

// stateProtocol is how PgBouncer refuses the settings that a connection asks for; PostgreSQL never does.
const stateProtocol = "08P01"

// checkDirect refuses a connection through a pooler: it makes up the process id that a connection is told. What a session has
// set would be lost, or be another client's: that a read cannot write, how long a lock is waited for, that a commit waits
// until it is flushed. And the timeline of a connection would not be that of the server which answers.
func checkDirect(ctx context.Context, pc *pgconn.PgConn) error {
	results, err := pc.Exec(ctx, "SELECT pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return errors.New("the server did not say which process it is")
	}
	if string(results[0].Rows[0][0]) != strconv.FormatUint(uint64(pc.PID()), 10) {
		return ErrPooled
	}
	return nil
}

// IsPooled reports whether err shows a pooler.
func IsPooled(err error) bool {
	if errors.Is(err, ErrPooled) {
		return true
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && connecting && pg.Code == stateProtocol
}

// FindPooler connects to every host once and returns an error for each where a connection pooler answers. A host that
// cannot be reached, or refuses, is none.
func (p *Pool) FindPooler(ctx context.Context) error {
	found := make([]error, len(p.hosts.all))
	var all sync.WaitGroup
	for i, x := range p.hosts.all {
		all.Go(func() { found[i] = x.findPooler(ctx) })
	}
	all.Wait()
	return errors.Join(found...)
}

func (x *Host) findPooler(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	config := x.conn.Copy().Config
	l := &connState{host: x}
	config.DialFunc, config.ValidateConnect = l.dial, checkDirect
	c, err := pgconn.ConnectConfig(ctx, &config)
	if err == nil {
		l.noteConnected()
		defer l.cut()
		_ = c.Close(ctx)
	}
	if !IsPooled(err) {
		return nil
	}
	return core.Wrap(core.Invalid, err, "VAULT_PG_HOSTS: at %s a connection pooler answers; give the address of PostgreSQL itself, "+
		"since the API keeps its own pools and what it sets in a session must stay", x.Name)
}
