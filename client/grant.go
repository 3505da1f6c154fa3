package client

import (
	"context"
	"net/http"
	"time"
)

// Granted is one action that a role may do on a pattern.
type Granted struct {
	Role      string    `json:"role"`
	Pattern   string    `json:"pattern"`
	Action    string    `json:"action"`
	GrantedAt time.Time `json:"granted_at"`
	GrantedBy string    `json:"granted_by"`
}

// Grants lists the grants on patterns on which the caller has the action manage or audit.
func (c *Client) Grants(ctx context.Context) ([]Granted, error) {
	var answer struct {
		Grants []Granted `json:"grants"`
	}
	err := c.do(ctx, get("list grants", "/v1/grants"), &answer)
	return answer.Grants, err
}

type grantBody struct {
	Role    string   `json:"role"`
	Pattern string   `json:"pattern"`
	Actions []string `json:"actions"`
}

// Grant lets a role do actions on the names that a pattern selects. Doing it twice does no more.
func (c *Client) Grant(ctx context.Context, role, pattern string, actions ...string) error {
	r := change("grant on "+pattern, http.MethodPut, "/v1/grants").again()
	return c.do(ctx, r.json(grantBody{Role: role, Pattern: pattern, Actions: actions}), nil)
}

// RevokeGrant takes back what was granted.
func (c *Client) RevokeGrant(ctx context.Context, role, pattern string, actions ...string) error {
	r := change("revoke on "+pattern, http.MethodDelete, "/v1/grants")
	return c.do(ctx, r.json(grantBody{Role: role, Pattern: pattern, Actions: actions}), nil)
}

// Access says what a caller or role may do with a name.
type Access struct {
	Role    string         `json:"role"`
	Name    string         `json:"name"`
	Actions []AccessAction `json:"actions"`
}

// AccessAction is one action, and why it is allowed or not.
type AccessAction struct {
	Action  string `json:"action"`
	Allowed bool   `json:"allowed"`
	Cause   string `json:"cause,omitempty"` // of a refusal: "grant" or "scope"
	Grantee string `json:"grantee,omitempty"`
	Pattern string `json:"pattern,omitempty"`
	How     string `json:"how,omitempty"` // "granted", "inherited" or "superuser"
}

// ExplainAccess explains what the caller may do with a name, or a role if one is given. The name need not exist.
func (c *Client) ExplainAccess(ctx context.Context, name, role string) (*Access, error) {
	r := get("explain access to "+name, "/v1/access")
	r.query.Set("name", name)
	setIf(r.query, "role", role)
	return into[Access](ctx, c, r)
}
