package store

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// countEvery is how long an answer of Counts is good for, countBound what the question may take.
const (
	countEvery = 5 * time.Second
	countBound = 2 * time.Second
)

// look is the last answer to a question that anybody may ask as often as he likes, and that costs.
type look[T any] struct {
	mu  sync.Mutex
	at  time.Time
	got T
	err error
}

// get returns an answer no older than every. Whoever asked first may leave; the answer is everybody's.
func (l *look[T]) get(ctx context.Context, every time.Duration, ask func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) >= every {
		l.got, l.err = ask(context.WithoutCancel(ctx))
		l.at = time.Now()
	}
	return l.got, l.err
}

// Status implements vault.Store.
func (d *DB) Status(ctx context.Context) (vault.Status, error) {
	s, err := d.status(ctx)
	if err != nil {
		return vault.Status{}, err
	}
	s.Replication, err = d.Replication(ctx)
	return s, err
}

// Counts implements vault.Store.
func (d *DB) Counts(ctx context.Context) (vault.Status, error) {
	return d.counts.get(ctx, countEvery, func(ctx context.Context) (vault.Status, error) {
		ctx, cancel := context.WithTimeout(ctx, countBound)
		defer cancel()
		s, err := d.status(ctx)
		s.Failures = nil
		return s, err
	})
}

// statusText is what vault.status() answers.
type statusText struct {
	Version        string     `json:"version"`
	InRecovery     bool       `json:"in_recovery"`
	Secrets        int64      `json:"secrets"`
	Automatic      int64      `json:"automatic"`
	Paused         int64      `json:"paused"`
	Unplanned      int64      `json:"unplanned"`
	Due            int64      `json:"due"`
	OverdueSecs    int64      `json:"overdue_secs"`
	Queued         int64      `json:"queued"`
	Claimed        int64      `json:"claimed"`
	Failing        int64      `json:"failing"`
	Missed         int64      `json:"missed"`
	InGrace        int64      `json:"in_grace"`
	LastPassAt     *timestamp `json:"last_pass_at"`
	EventsHeldSecs int64      `json:"events_held_secs"`
	Waiting        []struct {
		Reason string     `json:"reason"`
		Count  int64      `json:"count"`
		Since  *timestamp `json:"since"`
	} `json:"waiting"`
	Failures []struct {
		Name          core.Name  `json:"name"`
		Attempts      int        `json:"attempts"`
		Reason        string     `json:"reason"`
		DueAt         *timestamp `json:"due_at"`
		NextAttemptAt *timestamp `json:"next_attempt_at"`
	} `json:"failures"`
}

// timestamp is a time of PostgreSQL in JSON; zero where that is none of ours, as infinity.
type timestamp struct{ time.Time }

// UnmarshalJSON never fails: one row must not hide the rest.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	_ = t.Time.UnmarshalJSON(b)
	return nil
}

func (d *DB) status(ctx context.Context) (vault.Status, error) {
	rows, err := read(ctx, d, "SELECT vault.status()", nil, pgx.RowTo[[]byte])
	if err != nil {
		return vault.Status{}, err
	}
	var s statusText
	if len(rows) != 1 || json.Unmarshal(rows[0], &s) != nil {
		return vault.Status{}, core.Errorf(core.Corrupt, "vault.status() answered something else")
	}
	out := vault.Status{
		Version: s.Version, InRecovery: s.InRecovery, Secrets: s.Secrets, Automatic: s.Automatic, Paused: s.Paused,
		Unplanned: s.Unplanned, Due: s.Due, OverdueSecs: s.OverdueSecs, Queued: s.Queued, Claimed: s.Claimed, Failing: s.Failing,
		Missed: s.Missed, InGrace: s.InGrace, LastPassAt: orZero(s.LastPassAt).Time, EventsHeldSecs: max(s.EventsHeldSecs, 0),
	}
	for _, w := range s.Waiting {
		out.Waiting = append(out.Waiting, vault.Waiting{Reason: w.Reason, Count: w.Count, Since: orZero(w.Since).Time})
	}
	for _, f := range s.Failures {
		out.Failures = append(out.Failures, vault.Failure{
			Name: f.Name, Attempts: f.Attempts, Reason: f.Reason, DueAt: orZero(f.DueAt).Time, NextAttemptAt: orZero(f.NextAttemptAt).Time,
		})
	}
	return out, nil
}
