package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Status returns counts of secrets and rotations. It needs an allowed client address and a right on some name. Errors:
// Unauthenticated, Denied, Unavailable.
func (v *Vault) Status(ctx context.Context, c Caller) (Status, error) {
	a := v.try(c, ActionStatus, "", 0)
	var out Status
	err := a.serve(ctx, func(ctx context.Context) (err error) {
		var i Identity
		out, i, err = v.c.Store.Status(ctx, a.by)
		return a.found(i, err)
	})
	if err != nil {
		return Status{}, err
	}
	if journal, ok := v.c.Recorder.(Journal); ok {
		state := journal.AuditState()
		out.Audit = &state
	}
	out.Conditions = v.Conditions(ctx)
	return out, nil
}

// Counts returns the counts of Status for the operator's metrics: it names no secret, needs no right and is not recorded.
// Errors: Unavailable.
func (v *Vault) Counts(ctx context.Context) (Status, error) { return v.c.Store.Counts(ctx) }

// Failure is a rotation that is tried again.
type Failure struct {
	Name          core.Name
	Attempts      int
	Reason        string // of the last attempt; the text for clients
	DueAt         time.Time
	NextAttemptAt time.Time
}

// LeaseFailure is a lease that could not be ended.
type LeaseFailure struct {
	Template      core.Name
	Role          string
	Attempts      int
	Reason        string // of the last attempt, as PostgreSQL gave it
	NextAttemptAt time.Time
}

// Waiting is a number of rotations that wait for one reason.
type Waiting struct {
	Reason string // one of the WaitingReasons
	Count  int64
	Since  time.Time // when the first of them became due, or could first have been made
}

// WaitingReasons are all reasons of a Waiting. Each is explained in docs/OPERATIONS.md.
var WaitingReasons = []string{"paused", "unplanned", "disabled", "not_enqueued", "not_claimed", "retried"}

// Status is the state of a vault in counts.
type Status struct {
	Version     string // of the schema
	InRecovery  bool   // the answering node is a standby
	Secrets     int64
	Automatic   int64
	Paused      int64
	Due         int64     // rotations whose time has come
	OverdueSecs int64     // of the one waiting longest
	Queued      int64     // jobs that no process works on
	Claimed     int64     // jobs that a process works on
	Failing     int64     // jobs that have failed and are tried again
	Unplanned   int64     // secrets with a schedule whose next time is not computed yet
	Missed      int64     // jobs of the last 30 days whose window passed
	InGrace     int64     // superseded versions still valid
	LastPassAt  time.Time // of the supervisor; zero = never

	RolesBound     int64 // roles of PostgreSQL whose passwords secrets are
	RolesDiffering int64 // those that are not as the vault has made them, by the supervisor's last pass
	FormerSessions int64 // sessions of the answering server that logged in with a password that is no longer the current one

	Leases        int64          // leased roles that are there
	LeasesDue     int64          // those that are to be ended now
	LeasesFailing int64          // those that could not be ended, and are tried again
	LeaseFailures []LeaseFailure // some of those, the most often failed first

	// AnonymousReadsAll: a caller without a token may read every secret, as far as grants decide.
	AnonymousReadsAll bool
	// EventsHeldSecs is for how long events have been held up by a transaction that is older than the change they tell.
	EventsHeldSecs int64
	Failures       []Failure // some of those failing, the most often failed first

	Waiting     []Waiting   // rotations that are due and not made, by reason
	Audit       *AuditState // of this node's journal; nil = there is none
	Conditions  []Condition // that hold on this node
	Replication Replication
}
