package client

import (
	"context"
	"net/http"
	"time"
)

// Status is the state of the vault as the node that answers knows it.
type Status struct {
	Version        string          `json:"version"`     // of the schema
	InRecovery     bool            `json:"in_recovery"` // the node is a standby
	Secrets        int64           `json:"secrets"`
	Automatic      int64           `json:"automatic"`
	Paused         int64           `json:"paused"`
	Due            int64           `json:"due"`
	OverdueSecs    int64           `json:"overdue_secs"`
	Queued         int64           `json:"queued"`
	Claimed        int64           `json:"claimed"`
	Failing        int64           `json:"failing"`
	Unplanned      int64           `json:"unplanned"`
	Missed         int64           `json:"missed"`
	InGrace        int64           `json:"in_grace"`
	RolesBound     int64           `json:"roles_bound"`     // roles of PostgreSQL whose passwords secrets are
	RolesDiffering int64           `json:"roles_differing"` // those that are not as the vault has made them
	FormerSessions int64           `json:"former_sessions"` // of the node's server: they logged in with a password that has been replaced
	Leases         int64           `json:"leases"`
	LeasesDue      int64           `json:"leases_due"`     // those that are to be ended now
	LeasesFailing  int64           `json:"leases_failing"` // those that could not be ended, and are tried again
	LeaseFailures  []LeaseFailure  `json:"lease_failures"` // some of those
	LastPassAt     *time.Time      `json:"last_pass_at,omitempty"`
	EventsHeldSecs int64           `json:"events_held_secs"`
	Failures       []StatusFailure `json:"failures"`
	Replication    Replication     `json:"replication"`
	Audit          *AuditState     `json:"audit,omitempty"`
	Warnings       []StatusWarning `json:"warnings"`
	Waiting        []StatusWaiting `json:"waiting"`
	Conditions     []Condition     `json:"conditions"`
}

// StatusFailure is a rotation that fails.
type StatusFailure struct {
	Name          string     `json:"name"`
	Attempts      int64      `json:"attempts"`
	Reason        string     `json:"reason"`
	DueAt         *time.Time `json:"due_at,omitempty"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
}

// LeaseFailure is a lease that could not be ended.
type LeaseFailure struct {
	Template      string     `json:"template"`
	Role          string     `json:"role"`
	Attempts      int64      `json:"attempts"`
	Reason        string     `json:"reason"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
}

// StatusWarning is a setting that is less safe than it could be.
type StatusWarning struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// StatusWaiting counts rotations that are due and not made, by reason.
type StatusWaiting struct {
	Reason string     `json:"reason"`
	Count  int64      `json:"count"`
	Since  *time.Time `json:"since,omitempty"`
}

// Condition is a state of the node that an operator has to know of.
type Condition struct {
	Name     string    `json:"name"`
	Severity string    `json:"severity"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
}

// Replication is where the node's database stands in its cluster.
type Replication struct {
	Host     string   `json:"host,omitempty"`
	Home     bool     `json:"home"`
	LSN      string   `json:"lsn,omitempty"`
	Primary  string   `json:"primary,omitempty"`
	LagBytes *int64   `json:"lag_bytes,omitempty"`
	LagSecs  *float64 `json:"lag_secs,omitempty"`
}

// AuditState is the audit journal of the node.
type AuditState struct {
	Pending         int64      `json:"pending"`
	PendingBytes    int64      `json:"pending_bytes"`
	MaxBytes        int64      `json:"max_bytes"`
	OldestPendingAt *time.Time `json:"oldest_pending_at,omitempty"`
	Recorded        int64      `json:"recorded"`
	Refused         int64      `json:"refused"`
	Shipped         int64      `json:"shipped"`
	LastShippedAt   *time.Time `json:"last_shipped_at,omitempty"`
	LastShipError   string     `json:"last_ship_error,omitempty"`
}

// Status returns counts of secrets and rotations, and what an operator has to know.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return into[Status](ctx, c, get("status", "/v1/status"))
}

// Probe is the answer of a probe. Status is "ok", "ready", "degraded" or "unavailable".
type Probe struct {
	Status     string            `json:"status"`
	Checks     map[string]string `json:"checks,omitempty"`
	Causes     map[string]string `json:"causes,omitempty"`
	Conditions []string          `json:"conditions,omitempty"`
}

// Health reports that the process answers.
func (c *Client) Health(ctx context.Context) (*Probe, error) {
	return into[Probe](ctx, c, probe("health", "/healthz"))
}

// Ready reports whether requests can be served. That they cannot is no error: Status is then "unavailable".
func (c *Client) Ready(ctx context.Context) (*Probe, error) {
	return into[Probe](ctx, c, probe("readiness", "/readyz"))
}

func probe(op, path string) *call {
	r := get(op, path)
	r.read, r.quiet = false, true
	return r
}

// Metrics returns counters in the text form of Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.text(ctx, get("metrics", "/metrics"))
}

// OpenAPI returns the server's description of its API, in YAML.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	return c.text(ctx, get("read the API's description", "/v1/openapi.yaml"))
}

func (c *Client) text(ctx context.Context, r *call) ([]byte, error) {
	r.read = false
	var out []byte
	err := c.do(ctx, r, &out)
	return out, err
}

// Rewrap is the progress of moving every data key to the current key of the key service.
type Rewrap struct {
	State          string        `json:"state"` // idle, running, done, partial, failed or stopped
	KMSKeyID       string        `json:"kms_key_id,omitempty"`
	Total          int64         `json:"total"`
	Moved          int64         `json:"moved"`
	Skipped        int64         `json:"skipped"`
	Failed         int64         `json:"failed"`
	Remaining      int64         `json:"remaining"`
	RemainingUnder []RewrapKey   `json:"remaining_under,omitempty"`
	LastFailed     *RewrapFailed `json:"last_failed,omitempty"`
	Error          string        `json:"error,omitempty"`
	BegunAt        *time.Time    `json:"begun_at,omitempty"`
	EndedAt        *time.Time    `json:"ended_at,omitempty"`
}

// RewrapKey counts the versions under a key.
type RewrapKey struct {
	KMSKeyID string `json:"kms_key_id"`
	Versions int64  `json:"versions"`
}

// RewrapFailed is a version that could not be moved.
type RewrapFailed struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Error   string `json:"error"`
}

// StartRewrap starts to move every data key to the current key, on the node that answers. rate is in versions a second;
// 0 is the server's default.
func (c *Client) StartRewrap(ctx context.Context, rate int) (*Rewrap, error) {
	r := change("start the rewrap", http.MethodPost, "/v1/admin/rewrap").again()
	if rate > 0 {
		r.json(map[string]int{"rate": rate})
	}
	return into[Rewrap](ctx, c, r)
}

// RewrapStatus returns the progress of the last rewrap of the node that answers.
func (c *Client) RewrapStatus(ctx context.Context) (*Rewrap, error) {
	return into[Rewrap](ctx, c, get("show the rewrap", "/v1/admin/rewrap"))
}

// RotateTokenKey makes a new key for batch tokens and returns its id.
func (c *Client) RotateTokenKey(ctx context.Context) (string, error) {
	var answer struct {
		ID string `json:"id"`
	}
	err := c.do(ctx, change("rotate the token key", http.MethodPost, "/v1/admin/token-key"), &answer)
	return answer.ID, err
}
