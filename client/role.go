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
}

// RoleBinding says whose password a secret is: that of Role, or of a Pair of two roles in turn.
type RoleBinding struct {
	Role       string   `json:"role,omitempty"`
	Pair       []string `json:"pair,omitempty"`
	SharedRole string   `json:"shared_role,omitempty"` // a role that both of a pair must be members of
	AutoRepair bool     `json:"auto_repair,omitempty"` // set the password again when it was changed elsewhere
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

// UnbindRole ends the binding. The roles keep their passwords.
func (c *Client) UnbindRole(ctx context.Context, name string) error {
	return c.do(ctx, change("unbind "+name, http.MethodDelete, "/v1/roles/"+escapeName(name)), nil)
}

// RepairRole gives the role its current value as the password again.
func (c *Client) RepairRole(ctx context.Context, name string) error {
	return c.do(ctx, change("repair "+name, http.MethodPost, "/v1/roles/"+escapeName(name)).again(), nil)
}
