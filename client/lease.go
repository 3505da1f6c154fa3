package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Lease is a login role of PostgreSQL that ends by itself.
type Lease struct {
	ID       string `json:"id"`
	Template string `json:"template"`
	Username string `json:"username"`
	// Password is the role's, in the answer to its issue alone.
	Password      string     `json:"password,omitempty"`
	Issuer        string     `json:"issuer"` // the role that asked for it
	IssuedTo      string     `json:"issued_to"`
	Token         string     `json:"token,omitempty"` // accessor of the token that asked for it, and ends it
	TTLSecs       int64      `json:"ttl_secs"`
	IssuedAt      time.Time  `json:"issued_at"`
	ExpiresAt     time.Time  `json:"expires_at"`
	MaxExpiresAt  time.Time  `json:"max_expires_at"`
	Ending        string     `json:"ending,omitempty"` // "expired", "revoked" or "token"; "" = it lasts
	Attempts      int64      `json:"attempts,omitempty"`
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty"`
	LastError     string     `json:"last_error,omitempty"` // why it could not be ended
}

// RoleTemplate is what leased roles are made as.
type RoleTemplate struct {
	Name            string            `json:"name"`
	Definer         string            `json:"definer"`
	MemberOf        []string          `json:"member_of"`
	TTLSecs         int64             `json:"ttl_secs"`
	MaxTTLSecs      int64             `json:"max_ttl_secs"`
	RolePrefix      string            `json:"role_prefix"`
	ConnectionLimit int32             `json:"connection_limit"`
	Settings        map[string]string `json:"settings"`
	DropOwned       bool              `json:"drop_owned"`
	ReassignTo      string            `json:"reassign_to,omitempty"`
	MaxLeases       int32             `json:"max_leases"`
	CreatedAt       time.Time         `json:"created_at"`
	UpdatedAt       time.Time         `json:"updated_at"`
}

// NewRoleTemplate is a template to create or replace. Zero values are the server's defaults.
type NewRoleTemplate struct {
	MemberOf        []string          `json:"member_of,omitempty"`
	TTLSecs         int64             `json:"ttl_secs,omitempty"`
	MaxTTLSecs      int64             `json:"max_ttl_secs,omitempty"`
	RolePrefix      string            `json:"role_prefix,omitempty"`
	ConnectionLimit *int32            `json:"connection_limit,omitempty"` // nil is no limit
	Settings        map[string]string `json:"settings,omitempty"`
	DropOwned       bool              `json:"drop_owned,omitempty"`
	ReassignTo      string            `json:"reassign_to,omitempty"`
	MaxLeases       int32             `json:"max_leases,omitempty"`
}

// IssueRole makes a login role from a template, which lasts for ttlSecs; 0 is the template's time.
func (c *Client) IssueRole(ctx context.Context, template string, ttlSecs int64) (*Lease, error) {
	body := map[string]any{"template": template}
	if ttlSecs != 0 {
		body["ttl_secs"] = ttlSecs
	}
	return into[Lease](ctx, c, change("issue role of "+template, http.MethodPost, "/v1/leases").json(body))
}

// Leases lists the leases of the client's role, and those of templates that it may manage or audit; template "" is all. An
// error ends it.
func (c *Client) Leases(ctx context.Context, template string) iter.Seq2[Lease, error] {
	return pages(func(after string) ([]Lease, string, error) {
		r := get("list leases", "/v1/leases")
		r.query.Set("limit", strconv.Itoa(1000))
		setIf(r.query, "template", template)
		setIf(r.query, "after", after)
		var answer struct {
			Leases []Lease `json:"leases"`
			Next   string  `json:"next"`
		}
		err := c.do(ctx, r, &answer)
		return answer.Leases, answer.Next, err
	})
}

// ShowLease returns a lease.
func (c *Client) ShowLease(ctx context.Context, id string) (*Lease, error) {
	return into[Lease](ctx, c, get("show lease "+id, "/v1/leases/"+url.PathEscape(id)))
}

// RenewLease moves the end of a lease to incrementSecs from now; 0 is the lease's own time.
func (c *Client) RenewLease(ctx context.Context, id string, incrementSecs int64) (*Lease, error) {
	r := change("renew lease "+id, http.MethodPost, "/v1/leases/"+url.PathEscape(id)+"/renew").again()
	if incrementSecs != 0 {
		r.json(map[string]int64{"increment_secs": incrementSecs})
	}
	return into[Lease](ctx, c, r)
}

// RevokeLease ends a lease.
func (c *Client) RevokeLease(ctx context.Context, id string) error {
	return c.do(ctx, change("revoke lease "+id, http.MethodDelete, "/v1/leases/"+url.PathEscape(id)), nil)
}

// RoleTemplates lists the templates that the client may issue roles from, manage or audit. An error ends it.
func (c *Client) RoleTemplates(ctx context.Context) iter.Seq2[RoleTemplate, error] {
	return pages(func(after string) ([]RoleTemplate, string, error) {
		r := get("list role templates", "/v1/role-templates")
		r.query.Set("limit", strconv.Itoa(1000))
		setIf(r.query, "after", after)
		var answer struct {
			Templates []RoleTemplate `json:"templates"`
			Next      string         `json:"next"`
		}
		err := c.do(ctx, r, &answer)
		return answer.Templates, answer.Next, err
	})
}

// ShowRoleTemplate returns a template.
func (c *Client) ShowRoleTemplate(ctx context.Context, name string) (*RoleTemplate, error) {
	return into[RoleTemplate](ctx, c, get("show role template "+name, "/v1/role-templates/"+name))
}

// PutRoleTemplate creates or replaces a template.
func (c *Client) PutRoleTemplate(ctx context.Context, name string, t NewRoleTemplate) (*RoleTemplate, error) {
	return into[RoleTemplate](ctx, c, change("put role template "+name, http.MethodPut, "/v1/role-templates/"+name).json(t).again())
}

// DeleteRoleTemplate deletes a template. Its leases last until they end.
func (c *Client) DeleteRoleTemplate(ctx context.Context, name string) error {
	return c.do(ctx, change("delete role template "+name, http.MethodDelete, "/v1/role-templates/"+name), nil)
}
