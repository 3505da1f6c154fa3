package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxReadTries bounds how often a read on the reader is asked again.
const maxReadTries = 3

// Waits between tries: short at first, because most failovers of a pool are over
// at once, and bounded, so that the end of a longer one is not slept through.
const (
	firstPause = 25 * time.Millisecond
	longPause  = 400 * time.Millisecond
)

// errInRecovery is a server that the writer pool took for the primary and that
// has been demoted since: what it knows may be old.
var errInRecovery = errors.New("the server is in recovery")

// withBound gives ctx a deadline if it has none.
func (d *DB) withBound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d.bound)
}

// pause waits before the next try; false when ctx ends first.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(min(longPause, firstPause<<min(try, 10)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// read asks the reader, and asks again when the connection or the server goes.
func read[T any](ctx context.Context, d *DB, sql string, args []any, row pgx.RowToFunc[T]) ([]T, error) {
	ctx, cancel := d.withBound(ctx)
	defer cancel()
	var last error
	for try := 0; try < maxReadTries; try++ {
		rows, err := d.reader.Query(ctx, sql, args...)
		var out []T
		if err == nil {
			out, err = pgx.CollectRows(rows, row)
		}
		if err == nil {
			return out, nil
		}
		last = worse(last, err)
		if permanent(err) || !transient(err) {
			break
		}
		if demoted(err) {
			d.reader.Reset()
		}
		if !pause(ctx, try) {
			break
		}
	}
	return nil, d.classify(last)
}

// worse keeps what the server or the network said rather than that time ran out
// while waiting for better.
func worse(last, err error) error {
	if last != nil && errors.Is(err, context.DeadlineExceeded) {
		return last
	}
	return err
}

// readPrimary asks the writer, until its deadline: a new primary may be about to
// appear. It believes no server that is in recovery.
func readPrimary[T any](ctx context.Context, d *DB, sql string, args []any, row pgx.RowToFunc[T]) ([]T, error) {
	ctx, cancel := d.withBound(ctx)
	defer cancel()
	var last error
	for try := 0; ; try++ {
		out, err := readPrimaryOnce(ctx, d.writer, sql, args, row)
		if err == nil {
			return out, nil
		}
		last = worse(last, err)
		if permanent(err) || !transient(err) || ctx.Err() != nil {
			break
		}
		if demoted(err) {
			d.writer.Reset()
		}
		if !pause(ctx, try) {
			break
		}
	}
	return nil, d.classify(last)
}

// readPrimaryOnce sends the question and the check in one go. The check is per
// question because a pooled connection outlives its server's demotion.
func readPrimaryOnce[T any](ctx context.Context, p *pgxpool.Pool, sql string, args []any, row pgx.RowToFunc[T]) (out []T, err error) {
	b := &pgx.Batch{}
	b.Queue("SELECT pg_catalog.pg_is_in_recovery()").QueryRow(func(r pgx.Row) error {
		var inRecovery bool
		if err := r.Scan(&inRecovery); err != nil {
			return err
		}
		if inRecovery {
			return errInRecovery
		}
		return nil
	})
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectRows(rows, row)
		return err
	})
	if err := p.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return out, nil
}
