package vault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Severity says what a condition does to the readiness of the node.
type Severity string

// The severities. A notice leaves readiness as it is.
const (
	SeverityUnavailable Severity = "unavailable"
	SeverityDegraded    Severity = "degraded"
	SeverityNotice      Severity = "notice"
)

// The conditions. Each one has a heading of its name in docs/OPERATIONS.md.
const (
	ConditionKeyMismatch       = "key-mismatch"
	ConditionKeyPartial        = "key-partial"
	ConditionKeyUnproven       = "key-unproven"
	ConditionLeftBehind        = "left-behind"
	ConditionReadsBehind       = "reads-behind"
	ConditionReadsAway         = "reads-away"
	ConditionNoPrimary         = "no-primary"
	ConditionChangesFail       = "changes-fail"
	ConditionCommitsWait       = "commits-wait"
	ConditionNotPreloaded      = "not-preloaded"
	ConditionOtherDatabase     = "other-database"
	ConditionSupervisorStalled = "supervisor-stalled"
	ConditionJournalHalfFull   = "journal-half-full"
	ConditionRotationsWait     = "rotations-wait"
	ConditionRewrapUnfinished  = "rewrap-unfinished"
)

// ConditionNames are all conditions, so that a metric can show those that do not hold as well.
var ConditionNames = []string{
	ConditionKeyMismatch, ConditionKeyPartial, ConditionKeyUnproven, ConditionLeftBehind, ConditionReadsBehind, ConditionReadsAway, ConditionNoPrimary, ConditionChangesFail, ConditionCommitsWait, ConditionNotPreloaded, ConditionOtherDatabase,
	ConditionSupervisorStalled, ConditionRotationsWait, ConditionJournalHalfFull, ConditionRewrapUnfinished,
}

// PartRotator is the part of conditions that a rotator of this process would end. It is no check of Ready.
const PartRotator = "rotator"

// Condition is a state of this node that an operator has to know of. It holds no value, token or key.
type Condition struct {
	Name     string
	Part     string // the check of Ready that it belongs to
	Severity Severity
	Reason   string    // what is known, and what the reader can do
	Since    time.Time // when it began, or when this process first noticed it
}

// Conditioned is implemented by a Store, a Recorder, a Keeper or a RewrapRunner that knows conditions. A zero Since
// means that the door notes when it first hears of the condition.
type Conditioned interface {
	Conditions(ctx context.Context) []Condition
}

// Conditions returns what holds now, by name. It needs no right, and is not recorded: no condition names a secret.
func (v *Vault) Conditions(ctx context.Context) []Condition {
	all := v.proof.conditions()
	for _, part := range []any{v.c.Store, v.c.Recorder, v.c.Keeper, v.c.Rewraps} {
		if c, ok := part.(Conditioned); ok {
			all = append(all, c.Conditions(ctx)...)
		}
	}
	all = v.explainWaiting(all)
	slices.SortStableFunc(all, func(a, b Condition) int { return strings.Compare(a.Name, b.Name) })
	return v.noticed.note(all, v.c.Clock())
}

// noticed remembers since when each condition holds. The zero value is ready.
type noticed struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func (n *noticed) note(all []Condition, now time.Time) []Condition {
	n.mu.Lock()
	defer n.mu.Unlock()
	holds := make(map[string]time.Time, len(all))
	for i := range all {
		c := &all[i]
		if c.Since.IsZero() {
			c.Since = now
			if began, known := n.since[c.Name]; known {
				c.Since = began
			}
		}
		holds[c.Name] = c.Since
	}
	n.since = holds
	return all
}

// check returns what a Check of the condition's part fails with.
func (c Condition) check() Check {
	return Check{
		Name: c.Part, Degraded: c.Severity == SeverityDegraded,
		// Readiness is shown to everybody, and a reason may name hosts and keys.
		Err: core.Wrap(core.Unavailable, errors.New(c.Reason), "%s since %s, explained by GET /v1/status", c.Name, c.Since.UTC().Format(time.RFC3339)),
	}
}
