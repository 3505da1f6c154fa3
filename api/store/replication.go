package store

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// primaryBound is what the question to the primary may take: no caller waits here for a primary to appear.
	primaryBound = time.Second
	// replicationEvery is how long an answer is good for. Any client may read metrics, at any rate.
	replicationEvery = time.Second
)

// Replication implements vault.Replicated. What it says may be a second old.
func (d *DB) Replication(ctx context.Context) (vault.Replication, error) {
	return d.replicated.get(ctx, replicationEvery, d.replication)
}

const whereIsReader = pgcluster.StandingColumns + `,
	coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()), 0)::float8`

func (d *DB) replication(ctx context.Context) (r vault.Replication, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*primaryBound)
	defer cancel()
	rows, at, age, err := d.readerStanding(ctx)
	if err != nil || len(rows) == 0 {
		return r, err
	}
	r = rows[0]
	if x := d.reader.Current(); x != nil {
		r.Host, r.Home = x.Name, x.Index == 0
	}
	if r.LeftBehind, r.ReadsBehind = d.reader.IsLeftBehind(at), d.reader.IsBehind(at); r.LeftBehind {
		d.reader.LeaveHost()
		if x := d.writer.Current(); x != nil {
			r.Primary = x.Name
		}
		return r, nil // how much the newer primary has beyond is another log's
	}
	ahead := r.LSN
	if r.InRecovery {
		ahead, err = d.primaryLSN(ctx)
	}
	if x := d.writer.Current(); x != nil {
		r.Primary = x.Name
	}
	if err != nil {
		return r, nil // the primary is away: how far behind is not known
	}
	r.Known = true
	if r.LSN < ahead {
		r.LagBytes = int64(min(uint64(ahead-r.LSN), math.MaxInt64))
		r.Lag = time.Duration(max(age, 0) * float64(time.Second))
	}
	return r, nil
}

// readerStanding queries where the reader stands. The age is how many seconds ago the change was made that it replayed last.
func (d *DB) readerStanding(ctx context.Context) (rows []vault.Replication, at pgcluster.Standing, age float64, err error) {
	rows, err = read(ctx, d, whereIsReader, nil, func(row pgx.CollectableRow) (r vault.Replication, err error) {
		var lsn, timeline *string
		if err := row.Scan(&r.InRecovery, &lsn, &timeline, &age); err != nil {
			return r, err
		}
		at = pgcluster.ParseStanding(map[bool]string{true: "t", false: "f"}[r.InRecovery], orZero(lsn), orZero(timeline))
		r.LSN = at.At.LSN
		return r, nil
	})
	return rows, at, age, err
}

// primaryLSN queries where the log of the primary stands, if there is one.
func (d *DB) primaryLSN(ctx context.Context) (core.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, primaryBound)
	defer cancel()
	rows, err := readPrimary(ctx, d, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text", nil, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	return core.ParseLSN(rows[0])
}
