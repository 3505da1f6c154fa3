package store

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// countEvery is how long an answer of Counts is good for, countBound what the question may take.
const (
	countEvery = 5 * time.Second
	countBound = 2 * time.Second
)

// Status implements vault.Store.
func (d *DB) Status(ctx context.Context, by vault.Credential) (vault.Status, vault.Identity, error) {
	s, who, err := d.status(ctx, by)
	if err != nil {
		return vault.Status{}, who, err
	}
	s.Replication, err = d.Replication(ctx)
	return s, who, err
}

// Counts implements vault.Store.
func (d *DB) Counts(ctx context.Context) (vault.Status, error) {
	return d.counts.get(ctx, countEvery, func(ctx context.Context) (vault.Status, error) {
		ctx, cancel := context.WithTimeout(ctx, countBound)
		defer cancel()
		s, _, err := d.status(ctx, vault.Itself())
		s.Failures, s.LeaseFailures = nil, nil
		return s, err
	})
}

// statusText is what vault.status() answers.
type statusText struct {
	Version        string `json:"version"`
	InRecovery     bool   `json:"in_recovery"`
	Secrets        int64  `json:"secrets"`
	Automatic      int64  `json:"automatic"`
	Paused         int64  `json:"paused"`
	Unplanned      int64  `json:"unplanned"`
	Due            int64  `json:"due"`
	OverdueSecs    int64  `json:"overdue_secs"`
	Queued         int64  `json:"queued"`
	Claimed        int64  `json:"claimed"`
	Failing        int64  `json:"failing"`
	Missed         int64  `json:"missed"`
	InGrace        int64  `json:"in_grace"`
	RolesBound     int64  `json:"roles_bound"`
	RolesDiffering int64  `json:"roles_differing"`
	FormerSessions int64  `json:"former_sessions"`
	Leases         int64  `json:"leases"`
	LeasesDue      int64  `json:"leases_due"`
	LeasesFailing  int64  `json:"leases_failing"`
	LeaseFailures  []struct {
		Template      core.Name  `json:"template"`
		Role          string     `json:"role"`
		Attempts      int        `json:"attempts"`
		Reason        string     `json:"reason"`
		NextAttemptAt *timestamp `json:"next_attempt_at"`
	} `json:"lease_failures"`
	LastPassAt     *timestamp `json:"last_pass_at"`
	EventsHeldSecs int64      `json:"events_held_secs"`
	AnonymousAll   *bool      `json:"anonymous_reads_all"` // not of a schema of protocol 1, where it is so
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

// decidedStatus leaves out what the status says of names that the caller may not see. OFFSET 0 keeps PostgreSQL from writing
// vault.status() in each place that reads it, which would compute it three times.
const decidedStatus = `SELECT d.cause, d.actor, d.acting, s.status, s.names
	FROM vault.decide($1::bytea, $2::inet, $3::jsonb, 'status', NULL) d
	LEFT JOIN LATERAL (
		SELECT t.status, vault.visible_of(d.role, d.scopes,
			ARRAY(SELECT coalesce(f ->> 'name', f ->> 'template')
				FROM pg_catalog.jsonb_array_elements((t.status -> 'failures') || coalesce(t.status -> 'lease_failures', '[]')) f)) AS names
		FROM (SELECT vault.status() AS status WHERE d.cause IS NULL OFFSET 0) t) s ON true`

// statusRow is a status, and the names in it that may be shown.
type statusRow struct {
	text  []byte
	names []string
	all   bool
}

func (d *DB) status(ctx context.Context, by vault.Credential) (vault.Status, vault.Identity, error) {
	rows, who, err := decidedRead(ctx, d, vault.Freshness{}, decidedQuery[statusRow]{
		by: by, right: "status", sql: decidedStatus, undecided: "SELECT vault.status(), NULL::text[]",
		row: func(scan scanner) (r statusRow, ok bool, err error) {
			err = scan(&r.text, &r.names)
			r.all = r.names == nil
			return r, r.text != nil, err
		},
	})
	if err != nil {
		return vault.Status{}, who, err
	}
	var s statusText
	if len(rows) != 1 || json.Unmarshal(rows[0].text, &s) != nil {
		return vault.Status{}, who, core.Errorf(core.Corrupt, "vault.status() answered something else")
	}
	return s.status(rows[0]), who, nil
}

func (s *statusText) status(r statusRow) vault.Status {
	out := vault.Status{
		Version: s.Version, InRecovery: s.InRecovery, Secrets: s.Secrets, Automatic: s.Automatic, Paused: s.Paused,
		Unplanned: s.Unplanned, Due: s.Due, OverdueSecs: s.OverdueSecs, Queued: s.Queued, Claimed: s.Claimed, Failing: s.Failing,
		Missed: s.Missed, InGrace: s.InGrace, RolesBound: s.RolesBound, RolesDiffering: s.RolesDiffering, FormerSessions: s.FormerSessions,
		Leases: s.Leases, LeasesDue: s.LeasesDue, LeasesFailing: s.LeasesFailing, LastPassAt: orZero(s.LastPassAt).Time, EventsHeldSecs: max(s.EventsHeldSecs, 0),
		AnonymousReadsAll: s.AnonymousAll == nil || *s.AnonymousAll,
	}
	for _, w := range s.Waiting {
		out.Waiting = append(out.Waiting, vault.Waiting{Reason: w.Reason, Count: w.Count, Since: orZero(w.Since).Time})
	}
	for _, f := range s.Failures {
		if !r.all && !slices.Contains(r.names, string(f.Name)) {
			continue
		}
		out.Failures = append(out.Failures, vault.Failure{
			Name: f.Name, Attempts: f.Attempts, Reason: f.Reason, DueAt: orZero(f.DueAt).Time, NextAttemptAt: orZero(f.NextAttemptAt).Time,
		})
	}
	for _, f := range s.LeaseFailures {
		if r.all || slices.Contains(r.names, string(f.Template)) {
			out.LeaseFailures = append(out.LeaseFailures, vault.LeaseFailure{
				Template: f.Template, Role: f.Role, Attempts: f.Attempts, Reason: f.Reason, NextAttemptAt: orZero(f.NextAttemptAt).Time,
			})
		}
	}
	return out
}
