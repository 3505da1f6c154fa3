package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

type statusBody struct {
	Version     string `json:"version"`
	InRecovery  bool   `json:"in_recovery"`
	Secrets     int64  `json:"secrets"`
	Automatic   int64  `json:"automatic"`
	Paused      int64  `json:"paused"`
	Due         int64  `json:"due"`
	OverdueSecs int64  `json:"overdue_secs"`
	Queued      int64  `json:"queued"`
	Claimed     int64  `json:"claimed"`
	Failing     int64  `json:"failing"`
	Unplanned   int64  `json:"unplanned"`
	Missed      int64  `json:"missed"`
	InGrace     int64  `json:"in_grace"`

	RolesBound     int64 `json:"roles_bound"`
	RolesDiffering int64 `json:"roles_differing"`
	FormerSessions int64 `json:"former_sessions"`

	Leases        int64              `json:"leases"`
	LeasesDue     int64              `json:"leases_due"`
	LeasesFailing int64              `json:"leases_failing"`
	LeaseFailures []leaseFailureBody `json:"lease_failures"`

	LastPassAt *time.Time `json:"last_pass_at,omitempty"`
	Audit      *auditBody `json:"audit,omitempty"`

	EventsHeldSecs int64           `json:"events_held_secs"`
	Failures       []failureBody   `json:"failures"`
	Replication    replicationBody `json:"replication"`
	Warnings       []Warning       `json:"warnings"`
	Waiting        []waitingBody   `json:"waiting"`
	Conditions     []conditionBody `json:"conditions"`
}

// Warning is a setting of the answering node that is less safe than it could be.
type Warning struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// warnings is never nil, so that the JSON is a list.
func (s *server) warnings(v *vault.Status) []Warning {
	all := append([]Warning{}, s.Warnings...)
	if v.AnonymousReadsAll && s.AnonymousWarning != nil {
		if w := s.AnonymousWarning(); w != nil {
			all = append(all, *w)
		}
	}
	return all
}

// failureBody is a rotation that is tried again.
type failureBody struct {
	Name          core.Name  `json:"name"`
	Attempts      int        `json:"attempts"`
	Reason        string     `json:"reason"`
	DueAt         *time.Time `json:"due_at,omitempty"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
}

// leaseFailureBody is a lease that could not be ended.
type leaseFailureBody struct {
	Template      core.Name  `json:"template"`
	Role          string     `json:"role"`
	Attempts      int        `json:"attempts"`
	Reason        string     `json:"reason"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
}

func leaseFailureBodies(all []vault.LeaseFailure) []leaseFailureBody {
	out := make([]leaseFailureBody, len(all))
	for i, f := range all {
		out[i] = leaseFailureBody{Template: f.Template, Role: f.Role, Attempts: f.Attempts, Reason: f.Reason, NextAttemptAt: orNil(f.NextAttemptAt)}
	}
	return out
}

func failureBodies(all []vault.Failure) []failureBody {
	out := make([]failureBody, len(all))
	for i, f := range all {
		out[i] = failureBody{Name: f.Name, Attempts: f.Attempts, Reason: f.Reason, DueAt: orNil(f.DueAt), NextAttemptAt: orNil(f.NextAttemptAt)}
	}
	return out
}

// auditBody is the state of the answering node's journal.
type auditBody struct {
	Pending       uint64     `json:"pending"`
	PendingBytes  int64      `json:"pending_bytes"`
	MaxBytes      int64      `json:"max_bytes"`
	OldestPending *time.Time `json:"oldest_pending_at,omitempty"`
	Recorded      uint64     `json:"recorded"`
	Refused       uint64     `json:"refused"`
	Shipped       uint64     `json:"shipped"`
	Leased        uint64     `json:"leased"`
	LeasedBytes   int64      `json:"leased_waiting_bytes"`
	LeasedDamaged uint64     `json:"leased_damaged"`
	LastShippedAt *time.Time `json:"last_shipped_at,omitempty"`
	LastShipError string     `json:"last_ship_error,omitempty"`
}

func auditBodyOf(a *vault.AuditState) *auditBody {
	if a == nil {
		return nil
	}
	return &auditBody{
		Pending: a.Pending, PendingBytes: a.PendingBytes, MaxBytes: a.MaxBytes, OldestPending: orNil(a.OldestPending),
		Recorded: a.Recorded, Refused: a.Refused, Shipped: a.Shipped, LastShippedAt: orNil(a.LastShippedAt),
		LastShipError: a.LastShipError, Leased: a.Leased, LeasedBytes: a.LeasedBytes, LeasedDamaged: a.LeasedDamaged,
	}
}

func (s *server) status(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionStatus, "", err)
	}
	v, err := s.Vault.Status(c.Request.Context(), callerOf(c))
	if err != nil {
		return err
	}
	return s.answer(c, http.StatusOK, statusBody{
		Version: v.Version, InRecovery: v.InRecovery, Secrets: v.Secrets, Automatic: v.Automatic, Paused: v.Paused,
		Due: v.Due, OverdueSecs: v.OverdueSecs, Queued: v.Queued, Claimed: v.Claimed, Failing: v.Failing,
		Missed: v.Missed, InGrace: v.InGrace, RolesBound: v.RolesBound, RolesDiffering: v.RolesDiffering, FormerSessions: v.FormerSessions,
		Leases: v.Leases, LeasesDue: v.LeasesDue, LeasesFailing: v.LeasesFailing, LeaseFailures: leaseFailureBodies(v.LeaseFailures), LastPassAt: orNil(v.LastPassAt), Audit: auditBodyOf(v.Audit),
		Unplanned: v.Unplanned, EventsHeldSecs: v.EventsHeldSecs, Failures: failureBodies(v.Failures),
		Replication: replicationBodyOf(v.Replication), Warnings: s.warnings(&v), Waiting: waitingBodies(v.Waiting), Conditions: conditionBodies(v.Conditions),
	})
}
