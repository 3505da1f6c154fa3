package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// slowCommit is how long a commit may wait for a synchronous standby before that is a condition. A connected standby
	// confirms within milliseconds. PostgreSQL gives up a lost one after wal_sender_timeout.
	slowCommit = 3 * time.Second
	// commitsBound is what the question to the primary may take. It is short, because the answer about readiness waits
	// for it while the primary is away.
	commitsBound = 500 * time.Millisecond
)

// commits reports whether the primary acknowledges changes. A primary that cannot do that still answers every query.
type commits struct {
	Wanted      int        `json:"standbys_wanted"`
	Connected   int        `json:"standbys_connected"`
	Waiting     int        `json:"commits_waiting"`
	Since       *timestamp `json:"waiting_since"`
	WaitingSecs float64    `json:"waiting_secs"` // by the clock of the primary
}

// queryCommits queries the primary, and writes nothing: anyone may query readiness as often as they like.
func (d *DB) queryCommits(ctx context.Context) (commits, error) {
	ctx, cancel := context.WithTimeout(ctx, commitsBound)
	defer cancel()
	ask := readPrimary[[]byte]
	if s := d.writer.Stat(); s.AcquiredConns() >= s.MaxConns() {
		ask = readBesidePool[[]byte] // the changes that wait have all connections
	}
	s, err := supervisionOf(ask(ctx, d, supervisionQuery, nil, pgx.RowTo[[]byte]))
	return s.Commits, err
}

// readBesidePool queries the primary on a connection of its own.
func readBesidePool[T any](ctx context.Context, d *DB, sql string, args []any, row pgx.RowToFunc[T]) ([]T, error) {
	conn, err := d.writer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer closeSoon(conn)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// commitConditions returns nothing while the primary does not answer: the check of the writer says why.
func (d *DB) commitConditions(ctx context.Context) []vault.Condition {
	c, err := d.commits.get(ctx, superviseEvery, d.queryCommits)
	if err != nil {
		return nil
	}
	return c.conditions()
}

func (c commits) conditions() []vault.Condition {
	out := vault.Condition{Name: vault.ConditionCommitsWait, Part: "writer", Severity: vault.SeverityDegraded}
	switch {
	case c.Connected < c.Wanted:
		out.Reason = fmt.Sprintf("the primary acknowledges no change: a commit waits for %s, and %d are connected. "+
			"Bring one back, or change synchronous_standby_names as your replication manager does it", standbys(c.Wanted), c.Connected)
	case c.Waiting > 0 && c.WaitingSecs >= slowCommit.Seconds():
		out.Since = orZero(c.Since).Time
		out.Reason = fmt.Sprintf("the primary acknowledges changes late or not at all: the oldest of its %d waiting commits "+
			"has no confirmation of a connected synchronous standby", c.Waiting)
	default:
		return nil
	}
	return []vault.Condition{out}
}

func standbys(n int) string {
	if n == 1 {
		return "1 synchronous standby"
	}
	return fmt.Sprintf("%d synchronous standbys", n)
}
