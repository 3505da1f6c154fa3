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
	// together, if set, makes the change in a transaction that it shares with others; its fate may be declined.
	together func(ctx context.Context) (out T, at core.Position, f fate, err error)
	// at, if set, receives where the primary's log stood after the change, unless the primary is gone by then.
	at *core.Position
	// impatient does not wait for a primary to appear.
	impatient bool
}

// fate is what is known of a change after it was sent.
type fate int

const (
	done     fate = iota
	refused       // an error by a server that did nothing
	unsent        // nothing reached a server
	unknown       // it may have taken effect, or may yet
	doubted       // it took effect, and may not survive a failover
	declined      // nothing was done together with others, and the change is to be sent alone
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
	p := performance[T]{d: d, c: c, startedAt: time.Now()}
	for try := 0; ; try++ {
		if out, over, err := p.attempt(ctx, try); over {
			return out, err
		}
		if !pause(ctx, try) || d.writer.IsClosing() {
			var none T
			return none, p.unsettled()
		}
	}
}

// performance is what is known of a change that is sent until its fate is.
type performance[T any] struct {
	d         *DB
	c         change[T]
	startedAt time.Time
	lost      bool  // an answer
	last      error // of a try, the one that says most
}

// attempt sends the change once more. over reports whether its fate is known. The order of the cases decides whether a change
// may be sent again.
func (p *performance[T]) attempt(ctx context.Context, try int) (out T, over bool, err error) {
	if try > 0 {
		p.c.together = nil
	}
	out, f, err := sendInTurn(ctx, p.d, p.c)
	if p.c.refusal != nil && !p.lost {
		err = p.c.refusal(err)
	}
	if f == unsent && (p.c.impatient || errors.Is(err, errCrowded) && !p.lost) {
		return out, true, p.d.classify(err)
	}
	p.d.lastChange.note(p.d, err)
	p.last = pgcluster.KeepReason(p.last, err)
	switch {
	case f == done:
		return out, true, nil
	case f == refused && !p.lost && try < updateTries && missesFunction(err):
		return out, false, nil
	case f == unknown || demoted(err):
		p.d.writer.Reset()
	}
	p.lost = p.lost || f == unknown || f == doubted
	if out, settled, err := settle(ctx, p.d, p.c, f, p.lost, p.last); settled {
		return out, true, err
	}
	hopeless := p.d.hopeless(p.startedAt)
	return out, hopeless != nil && !p.lost, hopeless
}

// unsettled is the error of a change whose time is over.
func (p *performance[T]) unsettled() error {
	if p.lost {
		return errUnknown(p.last)
	}
	return p.d.classify(p.d.explain(p.last))
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
	before := pgcluster.Reported(conn.Conn())
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
		*c.at = position(ctx, conn.Conn(), before)
	}
	return out, f, err
}

// position returns where the commit of the change that was just answered on a connection ends. The answer says so, unless the
// server's extension cannot or it was no change of a secret; before is what an earlier one said.
func position(ctx context.Context, conn *pgx.Conn, before string) core.Position {
	text := pgcluster.Reported(conn)
	if text == before {
		text = flushed(ctx, conn)
	}
	l, err := core.ParseLSN(text)
	if err != nil {
		return core.Position{}
	}
	return core.Position{Timeline: pgcluster.TimelineOf(conn), LSN: l} // which a primary keeps as long as it runs
}

// flushed asks where the log of the server stands that has just answered a change on this connection: at the end of
// the commit's record or after it. Not where the next record would begin: that can be past a page's header, to where no
// standby gets before more is written. Empty when the server does not say so soon; the change is done all the same.
func flushed(ctx context.Context, conn *pgx.Conn) string {
	ctx, cancel := context.WithTimeout(ctx, positionTimeout)
	defer cancel()
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		pgcluster.Disconnect(conn)
		return ""
	}
	return text
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
