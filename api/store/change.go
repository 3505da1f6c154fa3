package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// positionTimeout bounds the question where the log stands after a change.
const positionTimeout = time.Second

// change is one statement that changes something, alone in its transaction.
type change[T any] struct {
	sql  string
	args []any
	// text, if set, is asked for sql and args by whether the schema does not decide about callers.
	text func(legacy bool) (sql string, args []any, err error)
	// refusal, if set, turns what the server refused a caller into what that is told.
	refusal func(error) error
	row     pgx.RowToFunc[T]
	// secret is the name or id of the one secret whose row it locks; "" = none or several.
	secret string
	// collect, if set, takes any number of rows in place of row.
	collect func(pgx.Rows) (T, error)
	// landed looks, on the primary, whether exactly this change is there. With it
	// the change may be sent again after a lost answer: sent twice it must take
	// effect once. nil means that this cannot be known.
	landed func(ctx context.Context) (T, bool, error)
	// at, if set, receives where the primary's log stood after the change, unless the primary is gone by then.
	at *core.Position
	// impatient does not wait for a primary to appear.
	impatient bool
}

// fate is what is known of a change after it was sent.
type fate int

const (
	done    fate = iota
	refused      // an error by a server that did nothing
	unsent       // nothing reached a server
	unknown      // it may have taken effect, or may yet
	doubted      // it took effect, and may not survive a failover
)

// errUnknown is what a caller is told when a change may or may not have happened.
func errUnknown(cause error) error {
	return core.Wrap(core.Unavailable, errors.Join(vault.ErrOutcomeUnknown, cause),
		"the outcome of the change is unknown: check the current version before you retry")
}

// perform sends the change until its fate is known or the deadline is near. A
// client that goes away stops nothing, and what was sent is never cancelled:
// PostgreSQL would end the wait for a synchronous standby with a change that is
// visible and can vanish.
func perform[T any](ctx context.Context, d *DB, c change[T]) (T, error) {
	ctx, cancel := within(ctx, d.changeBound)
	defer cancel()
	ctx, cancel = detached(ctx)
	defer cancel()
	var none T
	var last error
	startedAt := time.Now()
	lost := false // an answer
	for try := 0; ; try++ {
		out, f, err := sendInTurn(ctx, d, c)
		if c.refusal != nil && !lost {
			err = c.refusal(err)
		}
		if f == unsent && (c.impatient || errors.Is(err, errCrowded) && !lost) {
			return none, d.classify(err)
		}
		d.lastChange.note(d, err)
		last = pgcluster.KeepReason(last, err)
		switch {
		case f == done:
			return out, nil
		case f == refused && !lost && try < updateTries && missesFunction(err) && pause(ctx, try):
			continue
		case f == unknown || demoted(err):
			d.writer.Reset()
		}
		lost = lost || f == unknown || f == doubted
		if out, settled, err := settle(ctx, d, c, f, lost, last); settled {
			return out, err
		}
		if hopeless := d.hopeless(startedAt); hopeless != nil && !lost {
			return none, hopeless
		}
		if !pause(ctx, try) || d.writer.IsClosing() {
			break
		}
	}
	if lost {
		return none, errUnknown(last)
	}
	return none, d.classify(last)
}

// detached returns a context with the deadline of ctx that is not cancelled with it.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	ctx = context.WithoutCancel(ctx)
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline)
}

// settle decides whether a change that was not simply done is over. Once an
// answer was lost, it looks for the change. Not finding it proves nothing by
// itself, for a lost server may still be at it; together with a refusal it does,
// if that comes from the rows it would have changed.
func settle[T any](ctx context.Context, d *DB, c change[T], f fate, lost bool, last error) (out T, settled bool, err error) {
	final := f == refused && !demoted(last)
	if lost {
		final = f == refused && conclusive(last)
	}
	if !lost {
		return out, final || permanent(last), d.classify(last)
	}
	if c.landed == nil {
		return out, true, errUnknown(last)
	}
	timeline := d.writer.Timeline()
	out, ok, err := c.landed(ctx)
	switch {
	case err == nil && ok:
		if d.barrier(ctx, c.at) != nil {
			return out, false, nil // it is there, and a failover may still lose it: look again
		}
		// If a newer primary was found since, that has passed the barrier, and need not have the change: try there.
		return out, d.writer.Timeline() == timeline, nil
	case err == nil && final:
		return out, true, d.classify(last)
	case errors.Is(err, errTraceless) && final:
		return out, true, errUnknown(last)
	}
	return out, false, nil
}

// errTraceless is what landed returns when nothing is left by which one could tell:
// the change may have been made, and then another that removed its traces.
var errTraceless = errors.New("no trace of the change or of another in its place")

// send acquires a connection within ctx and sends the change, without a way to cancel it. When the server falls silent,
// or half of the time that is left has passed, it stops waiting: the change goes on by itself.
func send[T any](ctx context.Context, p *pgcluster.Pool, c change[T]) (out T, f fate, err error) {
	conn, err := p.AcquireBest(ctx)
	if err != nil {
		return out, unsent, err
	}
	defer conn.Release()
	err = p.RunOn(ctx, conn.Conn(), func(x *pgx.Conn) (err error) {
		out, f, err = sendOn(context.WithoutCancel(ctx), x, c)
		return err
	})
	switch {
	case !errors.Is(err, pgcluster.ErrOutdated):
	case f == done || f == doubted:
		f = unknown // the cluster went on without that server
	default:
		f = unsent // nor does its refusal count
	}
	if f == done && c.at != nil {
		*c.at = flushed(ctx, conn.Conn())
	}
	return out, f, err
}

// flushed returns where the log of the server stands that has just answered a change on this connection: at the end of
// the commit's record or after it. Not where the next record would begin: that can be past a page's header, to where no
// standby gets before more is written. Zero when the server does not say so soon; the change is done all the same.
func flushed(ctx context.Context, conn *pgx.Conn) core.Position {
	ctx, cancel := context.WithTimeout(ctx, positionTimeout)
	defer cancel()
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		pgcluster.Disconnect(conn)
		return core.Position{}
	}
	l, err := core.ParseLSN(text)
	if err != nil {
		return core.Position{}
	}
	return core.Position{Timeline: pgcluster.TimelineOf(conn), LSN: l} // which a primary keeps as long as it runs
}

// performAt is perform for a change of a secret, which returns its Position.
func performAt[T any](ctx context.Context, d *DB, c change[T]) (T, core.Position, error) {
	var at core.Position
	c.at = &at
	out, err := perform(ctx, d, c)
	if err != nil {
		return out, core.Position{}, err
	}
	return out, at, nil
}

func performSecret(ctx context.Context, d *DB, c change[vault.Secret]) (vault.Secret, error) {
	s, at, err := performAt(ctx, d, c)
	s.Position = at
	return s, err
}

func sendOn[T any](ctx context.Context, conn *pgx.Conn, c change[T]) (out T, f fate, err error) {
	notes := conn.PgConn().CustomData()
	delete(notes, warning)
	if err = c.choose(ctx, conn); err != nil {
		f = unsent
		if _, ours := errors.AsType[*core.Error](err); ours {
			f = refused
		}
		return out, f, err
	}
	rows, err := conn.Query(ctx, c.sql, c.args...)
	switch {
	case err != nil:
	case c.collect != nil:
		out, err = c.collect(rows)
	default:
		out, err = pgx.CollectExactlyOneRow(rows, c.row)
	}
	f = fateOf(err)
	if state, warned := notes[warning]; warned && f == done {
		f, err = doubted, &serverError{severity: "WARNING", message: "the server warned", state: state.(string)}
	}
	return out, f, err
}

// choose has the text of the change fit the schema that the connection is to.
func (c *change[T]) choose(ctx context.Context, conn *pgx.Conn) error {
	if c.text == nil {
		return nil
	}
	old, err := isLegacy(ctx, conn)
	if err == nil {
		c.sql, c.args, err = c.text(old)
	}
	return err
}

func fateOf(err error) fate {
	if err == nil {
		return done
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// A session that is ended while it waits for a standby has committed.
		if pg.SeverityUnlocalized == "ERROR" {
			return refused
		}
		return unknown
	}
	if pgconn.SafeToRetry(err) {
		return unsent
	}
	return unknown
}

// barrier returns nil once everything visible on the primary is as durable as the
// cluster's settings demand: a change found there may be one whose wait for the
// synchronous standby was cut short, and a later commit waits for both.
func (d *DB) barrier(ctx context.Context, at *core.Position) error {
	_, f, err := send(ctx, d.writer, change[string]{
		sql: "SELECT pg_catalog.pg_logical_emit_message(true, 'hyperion_vault', '')::text", row: pgx.RowTo[string], at: at,
	})
	if f != done {
		return d.classify(err)
	}
	return nil
}
