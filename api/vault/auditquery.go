package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// AuditFilter selects records of the audit. Empty fields select all, except Since.
type AuditFilter struct {
	Prefix  string // of the names, by whole segments
	Exact   bool   // Prefix is the one name
	Action  Action
	Outcome Outcome
	Actor   string    // a part of the actor or of its role, in any case of ASCII
	Since   time.Time // required: it bounds the work
	Before  AuditPlace
}

// AuditPlace is a record by which a page of the audit continues. The zero AuditPlace is after the newest.
type AuditPlace struct {
	At time.Time
	ID int64
}

// maxActorPart is the longest text that actors are searched for.
const maxActorPart = 255

// QueryAudit returns the newest records that a filter selects, newest first, at most limit of them; 0 means
// DefaultPageSize. It needs the right audit on some name, and shows records of names that the caller may audit. Each call
// is recorded. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) QueryAudit(ctx context.Context, c Caller, q AuditFilter, limit int) ([]AuditRecord, error) {
	a := v.try(c, ActionAudit, q.Prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) ([]AuditRecord, error) {
		if limit == 0 {
			limit = DefaultPageSize
		}
		if err := q.check(limit); err != nil {
			return nil, a.invalid(ctx, err)
		}
		out, i, err := v.c.Store.NewestAudit(ctx, a.by, q, limit, c.Freshness)
		return out, a.found(i, err)
	})
}

func (q *AuditFilter) check(limit int) (err error) {
	if q.Exact {
		_, err = core.ParseName(q.Prefix)
	} else {
		_, err = core.ParsePrefix(q.Prefix)
	}
	switch {
	case err != nil:
		return err
	case limit < 1 || limit > MaxExport:
		return core.Errorf(core.Invalid, "limit is %d, want 1 to %d", limit, MaxExport)
	case q.Since.IsZero():
		return core.Errorf(core.Invalid, "the time from which records are wanted is missing")
	case len(q.Actor) > maxActorPart || len(q.Action) > maxActorPart:
		return core.Errorf(core.Invalid, "actor and action have at most %d bytes", maxActorPart)
	}
	switch q.Outcome {
	case "", OutcomeOK, OutcomeDenied, OutcomeFailed, OutcomeUnknown:
		return nil
	}
	return core.Errorf(core.Invalid, "the outcome is none of ok, denied, failed and unknown")
}
