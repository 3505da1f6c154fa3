package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Login is the answer to a login.
type Login struct {
	Token     string            `json:"client_token"`
	Accessor  string            `json:"accessor"` // empty for a batch token
	Policies  []string          `json:"policies"` // the SQL role that the token acts as
	Metadata  map[string]string `json:"metadata"`
	TTLSecs   int64             `json:"lease_duration"`
	Renewable bool              `json:"renewable"`
	TokenType string            `json:"token_type"` // "service" or "batch"
}

// LoginAppRole logs in with the role id and the secret id of an AppRole. The usual mount is "approle".
func (c *Client) LoginAppRole(ctx context.Context, mount, roleID, secretID string) (*Login, error) {
	return c.login(ctx, mount, map[string]string{"role_id": roleID, "secret_id": secretID})
}

// LoginJWT logs in with a JWT. The usual mount is "jwt". role may be empty if the method has a default.
func (c *Client) LoginJWT(ctx context.Context, mount, role, jwt string) (*Login, error) {
	fields := map[string]string{"jwt": jwt}
	if role != "" {
		fields["role"] = role
	}
	return c.login(ctx, mount, fields)
}

// LoginCertificate logs in with the client certificate of Config.TLS. The usual mount is "cert". name chooses a role, and
// may be empty.
func (c *Client) LoginCertificate(ctx context.Context, mount, name string) (*Login, error) {
	fields := map[string]string{}
	if name != "" {
		fields["name"] = name
	}
	return c.login(ctx, mount, fields)
}

// LoginPassword logs in with the name and the password of a user. The usual mount is "userpass".
func (c *Client) LoginPassword(ctx context.Context, mount, user, password string) (*Login, error) {
	return c.loginAt(ctx, mount, "/"+url.PathEscape(user), map[string]string{"password": password})
}

func (c *Client) login(ctx context.Context, mount string, fields map[string]string) (*Login, error) {
	return c.loginAt(ctx, mount, "", fields)
}

// loginAt logs in at a path below the login of a mount.
func (c *Client) loginAt(ctx context.Context, mount, below string, fields map[string]string) (*Login, error) {
	bare := *c
	bare.token = new("") // a token that has ended must not get in the way
	var answer struct {
		Auth Login `json:"auth"`
	}
	r := change("log in by "+mount, http.MethodPost, "/v1/auth/"+url.PathEscape(mount)+"/login"+below).json(fields)
	if err := bare.do(ctx, r, &answer); err != nil {
		return nil, err
	}
	return &answer.Auth, nil
}

// LoginMethod is a way to log in.
type LoginMethod struct {
	Mount       string          `json:"mount"`
	Kind        string          `json:"kind"` // "approle", "jwt", "cert" or "userpass"
	Description string          `json:"description"`
	Config      json.RawMessage `json:"config"` // as docs/LOGINS.md has it for the kind
	Revision    int64           `json:"revision"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

// NewLoginMethod makes or changes a login method.
type NewLoginMethod struct {
	Kind        string          `json:"kind"`
	Description string          `json:"description,omitempty"`
	Config      json.RawMessage `json:"config,omitempty"`
}

func methodPath(mount string) string { return "/v1/auth/" + url.PathEscape(mount) }

func rolePath(mount, role string) string { return methodPath(mount) + "/roles/" + url.PathEscape(role) }

// LoginMethods lists the login methods.
func (c *Client) LoginMethods(ctx context.Context) ([]LoginMethod, error) {
	var answer struct {
		Methods []LoginMethod `json:"methods"`
	}
	err := c.do(ctx, get("list login methods", "/v1/auth"), &answer)
	return answer.Methods, err
}

// LoginMethod shows a login method.
func (c *Client) LoginMethod(ctx context.Context, mount string) (*LoginMethod, error) {
	return into[LoginMethod](ctx, c, get("show login method "+mount, methodPath(mount)))
}

// PutLoginMethod makes or changes a login method.
func (c *Client) PutLoginMethod(ctx context.Context, mount string, n NewLoginMethod) (*LoginMethod, error) {
	r := change("put login method "+mount, http.MethodPut, methodPath(mount)).again()
	return into[LoginMethod](ctx, c, r.json(n))
}

// DeleteLoginMethod deletes a login method with its roles and their secret ids.
func (c *Client) DeleteLoginMethod(ctx context.Context, mount string) error {
	return c.do(ctx, change("delete login method "+mount, http.MethodDelete, methodPath(mount)), nil)
}

// LoginRole is a role of a login method.
type LoginRole struct {
	ID              string          `json:"id"` // also the role id of an AppRole
	Mount           string          `json:"mount"`
	Name            string          `json:"name"`
	Role            *string         `json:"role"` // the SQL role; nil if it does not exist
	Config          json.RawMessage `json:"config"`
	TokenType       string          `json:"token_type"`
	TokenTTLSecs    int64           `json:"token_ttl_secs"`
	TokenMaxTTLSecs int64           `json:"token_max_ttl_secs"`
	Scope           []Scope         `json:"scope,omitempty"`
	BoundCIDRs      []string        `json:"bound_cidrs,omitempty"`
	ValidFrom       time.Time       `json:"valid_from"` // batch tokens of before are not valid
	CreatedAt       time.Time       `json:"created_at"`
	UpdatedAt       time.Time       `json:"updated_at"`
}

// NewLoginRole makes or changes a role of a login method.
type NewLoginRole struct {
	Role            string          `json:"role"`
	Config          json.RawMessage `json:"config,omitempty"`
	TokenType       string          `json:"token_type,omitempty"`
	TokenTTLSecs    int64           `json:"token_ttl_secs,omitempty"`
	TokenMaxTTLSecs int64           `json:"token_max_ttl_secs,omitempty"`
	Scope           []Scope         `json:"scope,omitempty"`
	BoundCIDRs      []string        `json:"bound_cidrs,omitempty"`
}

// LoginRoles lists the roles of a login method.
func (c *Client) LoginRoles(ctx context.Context, mount string) ([]LoginRole, error) {
	var answer struct {
		Roles []LoginRole `json:"roles"`
	}
	err := c.do(ctx, get("list roles of "+mount, methodPath(mount)+"/roles"), &answer)
	return answer.Roles, err
}

// LoginRole shows a role of a login method.
func (c *Client) LoginRole(ctx context.Context, mount, role string) (*LoginRole, error) {
	return into[LoginRole](ctx, c, get("show role "+role, rolePath(mount, role)))
}

// PutLoginRole makes or changes a role of a login method.
func (c *Client) PutLoginRole(ctx context.Context, mount, role string, n NewLoginRole) (*LoginRole, error) {
	return into[LoginRole](ctx, c, change("put role "+role, http.MethodPut, rolePath(mount, role)).again().json(n))
}

// DeleteLoginRole deletes a role of a login method with its secret ids.
func (c *Client) DeleteLoginRole(ctx context.Context, mount, role string) error {
	return c.do(ctx, change("delete role "+role, http.MethodDelete, rolePath(mount, role)), nil)
}

// RevokeBatchTokens ends the batch tokens that a role has issued so far.
func (c *Client) RevokeBatchTokens(ctx context.Context, mount, role string) (*LoginRole, error) {
	r := change("revoke batch tokens of "+role, http.MethodPost, rolePath(mount, role)+"/revoke").again()
	return into[LoginRole](ctx, c, r)
}

// SetLoginPassword sets the password of a user, which is a role of a userpass method.
func (c *Client) SetLoginPassword(ctx context.Context, mount, user, password string) error {
	r := change("set the password of "+user, http.MethodPut, rolePath(mount, user)+"/password").again()
	return c.do(ctx, r.json(map[string]string{"password": password}), nil)
}

// NewSecretID is a secret id to make. What is zero is what the role says.
type NewSecretID struct {
	TTLSecs    int64    `json:"ttl_secs,omitempty"`
	Uses       int      `json:"uses,omitempty"`
	BoundCIDRs []string `json:"bound_cidrs,omitempty"`
}

// SecretID is the metadata of a secret id.
type SecretID struct {
	// SecretID is the secret id itself, in the answer to its creation alone.
	SecretID   string     `json:"secret_id,omitempty"`
	Accessor   string     `json:"secret_id_accessor"`
	UsesLeft   *int       `json:"uses_left"` // nil: any number
	BoundCIDRs []string   `json:"bound_cidrs,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"` // nil: it does not end
}

// SecretIDs lists the secret ids of an AppRole. An error ends it.
func (c *Client) SecretIDs(ctx context.Context, mount, role string) iter.Seq2[SecretID, error] {
	return pages(func(after string) ([]SecretID, string, error) {
		r := get("list secret ids of "+role, rolePath(mount, role)+"/secret-ids")
		r.query.Set("limit", "1000")
		setIf(r.query, "after", after)
		var answer struct {
			SecretIDs []SecretID `json:"secret_ids"`
			Next      string     `json:"next"`
		}
		err := c.do(ctx, r, &answer)
		return answer.SecretIDs, answer.Next, err
	})
}

// CreateSecretID makes a secret id.
func (c *Client) CreateSecretID(ctx context.Context, mount, role string, n NewSecretID) (*SecretID, error) {
	r := change("create a secret id of "+role, http.MethodPost, rolePath(mount, role)+"/secret-ids")
	return into[SecretID](ctx, c, r.json(n))
}

// DestroySecretID destroys a secret id.
func (c *Client) DestroySecretID(ctx context.Context, mount, role, accessor string) error {
	r := change("destroy a secret id of "+role, http.MethodDelete, rolePath(mount, role)+"/secret-ids/"+url.PathEscape(accessor))
	return c.do(ctx, r, nil)
}
