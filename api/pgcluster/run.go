package pgcluster

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// AcquireBest returns a connection to the best host, trying the others while there are any that have not just failed.
func (p *Pool) AcquireBest(ctx context.Context) (*pgxpool.Conn, error) {
	var last error
	for range 2 * len(p.hosts.all) {
		c, err := p.Acquire(ctx)
		if err == nil {
			return c, nil
		}
		if p.background.Err() != nil {
			return nil, ErrClosed
		}
		p.skipRefusing(err)
		if s := p.Stat(); ctx.Err() != nil && s.AcquiredConns() >= s.MaxConns() {
			err = errors.Join(ErrBusy, err)
		}
		last = p.preferClearError(last, err)
		if ctx.Err() != nil || !p.hosts.hasUntried() {
			break
		}
	}
	return nil, last
}

// preferClearError keeps what says more about several hosts: a mistake in the settings, which does not go away by waiting, then
// what a server answered, then that one was not reached.
func (p *Pool) preferClearError(last, err error) error {
	if last != nil && (p.Permanent(last) || isAnswer(last) && !p.Permanent(err) && !isAnswer(err)) {
		return last
	}
	return KeepReason(last, err)
}

// KeepReason keeps the error of the server or the network. The error that time ran out while
// the caller waited for a better answer says less.
func KeepReason(last, err error) error {
	if last != nil && errors.Is(err, context.DeadlineExceeded) {
		return last
	}
	return err
}

// isAnswer reports whether err is what a server said, or is.
func isAnswer(err error) bool {
	_, said := errors.AsType[*pgconn.PgError](err)
	return said || errors.Is(err, ErrInRecovery) || errors.Is(err, ErrReadOnly) || errors.Is(err, ErrOutdated)
}

// skipRefusing passes over a host for a moment that answered, and refused: then not all its addresses may have been tried.
func (p *Pool) skipRefusing(err error) {
	ce, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return
	}
	if x := p.hosts.find(ce.Config.Host, ce.Config.Port); x != nil {
		p.hosts.noteUnreachable(x, time.Now())
	}
}

// Run runs ask on a connection until it returns, and cuts the connection when the server has fallen silent. It runs ask a
// second time, on another connection, when an update of the schema came in between.
func (p *Pool) Run(ctx context.Context, ask func(*pgx.Conn) error) error {
	err := p.runOnce(ctx, ask)
	if p.SchemaChanged(err) {
		return p.runOnce(ctx, ask)
	}
	return err
}

func (p *Pool) runOnce(ctx context.Context, ask func(*pgx.Conn) error) error {
	c, err := p.AcquireBest(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	err = p.RunOn(ctx, c.Conn(), ask)
	if p.SchemaChanged(err) {
		_ = c.Conn().Close(ctx) // what it has prepared is of the old schema
	}
	return err
}

// RunOn runs ask under a watch. Its error is errSilent when the connection was cut, and errOutdated when a newer
// primary appeared meanwhile: then the answer, whatever it was, does not count.
func (p *Pool) RunOn(ctx context.Context, c *pgx.Conn, ask func(*pgx.Conn) error) error {
	l := stateOf(c)
	if p.Writer {
		p.surveySoon(l.host)
	}
	w := p.startWatchdog(l, tryTime(ctx))
	err := ask(c)
	cut := w.stop()
	if c.IsClosed() {
		l.cut() // pgx goes on reading for a while otherwise
	}
	_, answer := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil || answer:
		p.noteAnswer(l)
	case cut && w.timedOut:
		return errors.Join(ErrSlow, err)
	case cut:
		return errors.Join(ErrSilent, err)
	}
	if p.hosts.isOutdated(l.timeline) {
		return ErrOutdated // whatever it said
	}
	return err
}

// tryTime is how long one try may take at most: half of what is left, so that there is time for another one.
func tryTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	left := time.Until(deadline)
	return max(left/2, min(left, suspicion))
}
