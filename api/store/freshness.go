package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Waits between two checks whether the reader has replayed far enough.
const (
	firstReplayWait = 2 * time.Millisecond
	longReplayWait  = 50 * time.Millisecond
)

// errOlderTimeline is a server whose log may be another one than that of the position, however long it is.
var errOlderTimeline = fmt.Errorf("%w: it is not known to be on that timeline", pgcluster.ErrBehind)

// standing is the first statement of a read that must be fresh: what the server is, and whether it has come to an LSN,
// and to a timeline. A standby has come to what it replayed, which is when a commit becomes visible there; a primary to
// what it flushed. The timeline that a standby replays is told to no ordinary role; its control file has one that it is
// on or past, since the last restartpoint or the last time it wrote what it had replayed.
const standing = `SELECT r, $1::text IS NULL OR coalesce(CASE WHEN r
		THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END >= $1::text::pg_catalog.pg_lsn, false),
	$2::bigint = 0 OR $2::bigint <= CASE WHEN r
		THEN (SELECT greatest(c.timeline_id, m.min_recovery_end_timeline)
			FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() m)
		ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END
	FROM pg_catalog.pg_is_in_recovery() r`

// standingArgs checks a position without a timeline against the newest timeline seen, so a server on an older one is refused.
func (d *DB) standingArgs(at core.Position) []any {
	if at == (core.Position{}) {
		return []any{nil, int64(0)}
	}
	timeline := at.Timeline
	if timeline == 0 {
		timeline = d.writer.Timeline()
	}
	return []any{at.LSN.String(), int64(timeline)}
}

// readFresh queries the reader if that is fresh enough, or gets there within the bound, and else the primary.
func readFresh[T any](ctx context.Context, d *DB, f vault.Freshness, p pick[T]) ([]T, error) {
	if f == (vault.Freshness{}) {
		return readPicked(ctx, d, p)
	}
	ctx, cancel := d.withBound(ctx)
	defer cancel()
	if !f.Primary {
		// Whatever else keeps the reader from answering, the primary may do better.
		out, err := readLocal(ctx, d, f, p)
		if err == nil || errors.Is(err, vault.ErrNotReplayed) {
			return out, err
		}
	}
	leave, err := d.primaryReads.enter(ctx)
	if err != nil {
		return nil, d.classify(err)
	}
	defer leave()
	return readPrimaryAt(ctx, d, f.Position, p)
}

// readLocal queries the reader, and waits for the position unless the read must not.
func readLocal[T any](ctx context.Context, d *DB, f vault.Freshness, p pick[T]) ([]T, error) {
	if !f.Here {
		return readReplayed(ctx, d, f.Position, p)
	}
	out, _, err := standingRead(ctx, d.reader, d.standingArgs(f.Position), p)
	if errors.Is(err, pgcluster.ErrBehind) {
		err = core.Wrap(core.Stale, errors.Join(vault.ErrNotReplayed, err), "required index state not present")
	}
	return out, err
}

// readReplayed queries the reader, again and again while it is a standby that may still get to the position in time.
func readReplayed[T any](ctx context.Context, d *DB, at core.Position, p pick[T]) ([]T, error) {
	startedAt := time.Now()
	for look := firstReplayWait; ; look = min(2*look, longReplayWait) {
		out, inRecovery, err := standingRead(ctx, d.reader, d.standingArgs(at), p)
		if err == nil || !errors.Is(err, pgcluster.ErrBehind) || errors.Is(err, errOlderTimeline) || !inRecovery {
			return out, err
		}
		left := d.lsnWait - time.Since(startedAt)
		if left <= 0 || !backoff.Sleep(ctx, min(look, left)) {
			return nil, err
		}
	}
}

// standingRead asks where the server is and the question itself in one go, so that nothing can happen to the connection
// in between. Each statement sees what was committed when it began: the pools see to the isolation level.
func standingRead[T any](ctx context.Context, p *pgcluster.Pool, asked []any, what pick[T]) (out []T, inRecovery bool, err error) {
	err = p.Run(ctx, func(c *pgx.Conn) error {
		q, err := what(ctx, c)
		if err != nil {
			return err
		}
		out, inRecovery, err = standingAsk(ctx, p, c, asked, q)
		return err
	})
	if err != nil {
		return nil, inRecovery, err
	}
	return out, inRecovery, nil
}

func standingAsk[T any](ctx context.Context, p *pgcluster.Pool, c *pgx.Conn, asked []any, q query[T]) (out []T, inRecovery bool, err error) {
	out = q.answer
	b := &pgx.Batch{}
	b.Queue(standing, asked...).QueryRow(func(r pgx.Row) error {
		var reached, onTimeline bool
		err := r.Scan(&inRecovery, &reached, &onTimeline)
		switch {
		case err != nil:
			return err
		case !onTimeline:
			return errOlderTimeline
		case !reached:
			return pgcluster.ErrBehind
		}
		return nil
	})
	if q.answer == nil {
		pgcluster.Queue(b, &out, q.sql, q.args, q.row)
	}
	err = p.SendBatch(ctx, c, b)
	return out, inRecovery, err
}
