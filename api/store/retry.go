package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/core"
)

// maxReadTries bounds how often a read on the reader is asked again.
const maxReadTries = 3

// Waits between tries: short at first, because most failovers of a pool are over
// at once, and bounded, so that the end of a longer one is not slept through.
const (
	firstPause = 25 * time.Millisecond
	longPause  = 400 * time.Millisecond
)

// withBound gives ctx a deadline if it has none.
func (d *DB) withBound(ctx context.Context) (context.Context, context.CancelFunc) {
	return within(ctx, d.bound)
}

func within(ctx context.Context, bound time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, bound)
}

// updateTries is how often more a statement is sent that called a function which is not there. One that has waited for
// an update of the schema goes on as the earlier schema had it; sent again it is run as the schema now has it.
const updateTries = 3

// missesFunction reports whether a statement called a function that is not there.
func missesFunction(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == stateNoFunction
}

// pause waits before the next try; false when ctx ends first.
func pause(ctx context.Context, try int) bool {
	return backoff.Sleep(ctx, backoff.Delay(firstPause, longPause, try))
}

// read queries the reader, and tries again when the connection or the server goes.
func read[T any](ctx context.Context, d *DB, sql string, args []any, row pgx.RowToFunc[T]) ([]T, error) {
	return readPicked(ctx, d, plain(sql, args, row))
}

// readPicked is read of what p picks.
func readPicked[T any](ctx context.Context, d *DB, p pick[T]) ([]T, error) {
	ctx, cancel := d.withBound(ctx)
	defer cancel()
	var last error
	for try := 0; try < maxReadTries; try++ {
		var out []T
		err := d.reader.Run(ctx, func(c *pgx.Conn) (err error) {
			out, err = p.query(ctx, d.reader, c)
			return err
		})
		if err == nil {
			return out, nil
		}
		last = pgcluster.KeepReason(last, err)
		if permanent(err) || !transient(err) && (try >= updateTries || !missesFunction(err)) {
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

// readPrimary queries the writer, until its deadline: a new primary may be about to
// appear. It accepts no server that is in recovery.
func readPrimary[T any](ctx context.Context, d *DB, sql string, args []any, row pgx.RowToFunc[T]) ([]T, error) {
	return readPrimaryAt(ctx, d, core.Position{}, plain(sql, args, row))
}

// readPrimaryAt is like readPrimary, but also rejects a server that is behind the
// position. A suspended server still believes for a while that it is the primary when it
// resumes. The search for a better one is bounded, since any client may present any position.
func readPrimaryAt[T any](ctx context.Context, d *DB, at core.Position, p pick[T]) ([]T, error) {
	ctx, cancel := d.withBound(ctx)
	defer cancel()
	startedAt := time.Now()
	var last error
	for try := 0; ; try++ {
		known := d.writer.Timeline()
		out, inRecovery, err := standingRead(ctx, d.writer, d.standingArgs(at), p)
		if inRecovery && (err == nil || errors.Is(err, pgcluster.ErrBehind)) {
			// Asked for each question, because a pooled connection outlives its server's demotion.
			err = pgcluster.ErrInRecovery
		}
		if err == nil {
			return out, nil
		}
		last = pgcluster.KeepReason(last, err)
		if permanent(err) || !transient(err) && (try >= updateTries || !missesFunction(err)) || ctx.Err() != nil {
			break
		}
		if none := d.hopeless(startedAt); none != nil {
			return nil, none
		}
		if errors.Is(err, errOlderTimeline) {
			d.writer.Survey()
			if d.writer.Timeline() > known {
				continue // another server has been promoted
			}
		}
		if errors.Is(err, pgcluster.ErrBehind) && time.Since(startedAt) >= d.lsnWait {
			break
		}
		if demoted(err) {
			d.writer.Reset()
		}
		if !pause(ctx, try) {
			break
		}
	}
	return nil, d.classify(d.explain(last))
}

// explain adds to an error that no server sent, as after a wait for a primary, that none of those that answer is one.
func (d *DB) explain(err error) error {
	if _, said := errors.AsType[*pgconn.PgError](err); said || err == nil {
		return err
	}
	return errors.Join(d.writer.Refusal(), err)
}

// hopeAfter is how long a change waits for a primary when every server answers and none takes changes.
const hopeAfter = 700 * time.Millisecond

// hopeless is noPrimary for a change or a read of the primary that has waited since startedAt.
func (d *DB) hopeless(startedAt time.Time) error {
	if time.Since(startedAt) < hopeAfter {
		return nil
	}
	_, err := d.writer.NoPrimary()
	return err
}
