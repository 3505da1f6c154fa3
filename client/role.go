package client

import (
	"context"
	"net/http"
	"time"
)

// BoundRole is a role of PostgreSQL whose password is a secret.
type BoundRole struct {
	Name       string     `json:"name"` // of the secret
	Role       string     `json:"role"`
	Pair       bool       `json:"pair"`
	Current    bool       `json:"current"` // the current version is the password of this role
	Version    *int64     `json:"version"` // the last one that is its password
	State      string     `json:"state"`   // "ok", or what is wrong
	DriftSince *time.Time `json:"drift_since"`
	ValidUntil *time.Time `json:"valid_until"`
	AutoRepair bool       `json:"auto_repair"`
	BoundAt    time.Time  `json:"bound_at"`
	BoundBy    string     `json:"bound_by"`

	SessionPolicy string `json:"session_policy"` // what becomes of sessions of a former password: "ignore", "wait" or "terminate"
	MaxWaitSecs   *int64 `json:"max_wait_secs"`  // of "wait"
}

// RoleBinding says whose password a secret is: that of Role, or of a Pair of two roles in turn.
type RoleBinding struct {
	Role       string   `json:"role,omitempty"`
	Pair       []string `json:"pair,omitempty"`
	SharedRole string   `json:"shared_role,omitempty"` // a role that both of a pair must be members of
	AutoRepair bool     `json:"auto_repair,omitempty"` // set the password again when it was changed elsewhere

	SessionPolicy string `json:"session_policy,omitempty"` // what becomes of sessions of a former password: "" is "ignore"
	MaxWaitSecs   int64  `json:"max_wait_secs,omitempty"`  // of "wait"; 0 is an hour
}

// RoleOptions are what can be changed of a binding. Zero values keep what there is.
type RoleOptions struct {
	SessionPolicy string `json:"session_policy,omitempty"` // "ignore", "wait" or "terminate"
	MaxWaitSecs   int64  `json:"max_wait_secs,omitempty"`
	AutoRepair    *bool  `json:"auto_repair,omitempty"`
}

// RoleSession is a session of a role whose password is a secret.
type RoleSession struct {
	PID             int        `json:"pid"`
	Role            string     `json:"role"`
	Database        string     `json:"database"`
	ApplicationName string     `json:"application_name"`
	ClientAddr      *string    `json:"client_addr"` // nil for a Unix socket
	StartedAt       time.Time  `json:"started_at"`
	State           string     `json:"state"`
	Credential      string     `json:"credential"` // "current", or "former": it logged in with a password that is no longer the current one
	EndsAt          *time.Time `json:"ends_at"`    // of the grace of a former one
	Fate            string     `json:"fate"`       // "stays", "ends", or why it is not ended
}

// BoundRoles lists the roles whose passwords are secrets below a prefix.
func (c *Client) BoundRoles(ctx context.Context, prefix string) ([]BoundRole, error) {
	r := get("list bound roles", "/v1/roles")
	setIf(r.query, "prefix", prefix)
	var answer struct {
		Roles []BoundRole `json:"roles"`
	}
	err := c.do(ctx, r, &answer)
	return answer.Roles, err
}

// BindRole makes the value of a secret, and of every later version, the password of a role.
func (c *Client) BindRole(ctx context.Context, name string, b RoleBinding) error {
	return c.do(ctx, change("bind "+name, http.MethodPut, "/v1/roles/"+escapeName(name)).again().json(b), nil)
}

// ConfigureRole changes how the roles of a bound secret are treated.
func (c *Client) ConfigureRole(ctx context.Context, name string, o RoleOptions) error {
	return c.do(ctx, change("configure roles of "+name, http.MethodPatch, "/v1/roles/"+escapeName(name)).again().json(o), nil)
}

// RoleSessions lists the sessions of the roles of a bound secret, on the server that the node reads from.
func (c *Client) RoleSessions(ctx context.Context, name string) ([]RoleSession, error) {
	var answer struct {
		Sessions []RoleSession `json:"sessions"`
	}
	err := c.do(ctx, get("list sessions of "+name, "/v1/roles/"+escapeName(name)), &answer)
	return answer.Sessions, err
}

// UnbindRole ends the binding. The roles keep their passwords.
func (c *Client) UnbindRole(ctx context.Context, name string) error {
	return c.do(ctx, change("unbind "+name, http.MethodDelete, "/v1/roles/"+escapeName(name)), nil)
}

// RepairRole gives the role its current value as the password again.
func (c *Client) RepairRole(ctx context.Context, name string) error {
	return c.do(ctx, change("repair "+name, http.MethodPost, "/v1/roles/"+escapeName(name)).again(), nil)
}
