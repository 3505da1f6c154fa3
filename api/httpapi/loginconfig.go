package httpapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	defaultLoginTTL    = time.Hour
	defaultLoginMaxTTL = 24 * time.Hour
)

var (
	loginMethodFields = []string{"kind", "description", "config"}
	loginRoleFields   = []string{"role", "config", "token_type", "token_ttl_secs", "token_max_ttl_secs", "scope", "bound_cidrs"}
	secretIDFields    = []string{"ttl_secs", "uses", "bound_cidrs"}
)

type loginMethodBody struct {
	Mount       string          `json:"mount"`
	Kind        vault.LoginKind `json:"kind"`
	Description string          `json:"description"`
	Config      json.RawMessage `json:"config"`
	Revision    int64           `json:"revision"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

func loginMethodBodyOf(m vault.LoginMethod) loginMethodBody {
	return loginMethodBody{
		Mount: m.Mount, Kind: m.Kind, Description: m.Description, Config: m.Config, Revision: m.Revision,
		CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC(),
	}
}

type loginRoleBody struct {
	ID          core.SecretID   `json:"id"`
	Mount       string          `json:"mount"`
	Name        string          `json:"name"`
	Role        *string         `json:"role"` // null: it is missing
	Config      json.RawMessage `json:"config"`
	TokenType   vault.TokenType `json:"token_type"`
	TokenTTL    int64           `json:"token_ttl_secs"`
	TokenMaxTTL int64           `json:"token_max_ttl_secs"`
	Scope       vault.Scope     `json:"scope,omitempty"`
	BoundCIDRs  []netip.Prefix  `json:"bound_cidrs,omitempty"`
	ValidFrom   time.Time       `json:"valid_from"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

func loginRoleBodyOf(r vault.LoginRole) loginRoleBody {
	b := loginRoleBody{
		ID: core.SecretID(r.ID), Mount: r.Mount, Name: r.Name, Config: r.Config, TokenType: r.TokenType,
		TokenTTL: int64(r.TokenTTL.Seconds()), TokenMaxTTL: int64(r.TokenMaxTTL.Seconds()), Scope: r.Scope, BoundCIDRs: r.BoundCIDRs,
		ValidFrom: r.ValidFrom.UTC(), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.Role != "" {
		b.Role = &r.Role
	}
	return b
}

type secretIDBody struct {
	SecretID   string        `json:"secret_id,omitempty"` // once, to the caller that made it
	Accessor   core.SecretID `json:"secret_id_accessor"`
	UsesLeft   *int64        `json:"uses_left"` // null: any number
	BoundCIDRs []string      `json:"bound_cidrs,omitempty"`
	CreatedAt  time.Time     `json:"created_at"`
	ExpiresAt  *time.Time    `json:"expires_at,omitempty"`
}

func secretIDBodyOf(s vault.SecretIDInfo) secretIDBody {
	b := secretIDBody{Accessor: core.SecretID(s.ID), BoundCIDRs: s.BoundCIDRs, CreatedAt: s.CreatedAt.UTC(), ExpiresAt: orNil(s.ExpiresAt)}
	if s.UsesLeft >= 0 {
		b.UsesLeft = &s.UsesLeft
	}
	return b
}

func (s *server) loginRoutes(e *gin.Engine) {
	get := s.getter(e)
	get("/v1/auth", s.listLoginMethods)
	get("/v1/auth/:mount", s.showLoginMethod)
	e.PUT("/v1/auth/:mount", s.patient, s.handle(s.putLoginMethod))
	e.DELETE("/v1/auth/:mount", s.patient, s.handle(s.deleteLoginMethod))
	get("/v1/auth/:mount/roles", s.listLoginRoles)
	get("/v1/auth/:mount/roles/:role", s.showLoginRole)
	e.PUT("/v1/auth/:mount/roles/:role", s.patient, s.handle(s.putLoginRole))
	e.DELETE("/v1/auth/:mount/roles/:role", s.patient, s.handle(s.deleteLoginRole))
	e.POST("/v1/auth/:mount/roles/:role/revoke", s.patient, s.handle(s.endBatchTokens))
	e.PUT("/v1/auth/:mount/roles/:role/password", s.patient, s.handle(s.setLoginPassword))
	get("/v1/auth/:mount/roles/:role/secret-ids", s.listSecretIDs)
	e.POST("/v1/auth/:mount/roles/:role/secret-ids", s.patient, s.handle(s.createSecretID))
	e.DELETE("/v1/auth/:mount/roles/:role/secret-ids/:accessor", s.patient, s.handle(s.deleteSecretID))
	e.POST("/v1/admin/token-key", s.patient, s.handle(s.rotateTokenKey))
}

func (s *server) loginAdmin(c *gin.Context) vault.LoginAdmin { return s.Vault.LoginAdmin(callerOf(c)) }

// loginLists returns what lists are read with.
func (s *server) loginLists(c *gin.Context) (vault.LoginAdmin, error) {
	caller, err := s.readerOf(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return vault.LoginAdmin{}, s.reject(c, vault.ActionAuthList, mountAndRole(c), err)
	}
	return s.Vault.LoginAdmin(caller), nil
}

// mountAndRole is what a record names: the mount, and the role if there is one.
func mountAndRole(c *gin.Context) string {
	if role := c.Param("role"); role != "" {
		return c.Param("mount") + "/" + role
	}
	return c.Param("mount")
}

// configureLogin reads the body of a change and makes it. A body is needed unless optional.
func configureLogin[T any](s *server, c *gin.Context, reject func(*gin.Context, vault.Action, error) error, fields []string, optional bool, change func(object) (T, error)) (out T, err error) {
	o := object{}
	var body []byte
	if !optional || c.Request.ContentLength != 0 {
		body, err = s.readJSON(c, vault.ActionAuthConfigure)
		defer func() { envelope.Wipe(body) }()
		if err == nil {
			o, err = parseObject(body, fields)
		}
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return out, reject(c, vault.ActionAuthConfigure, err)
	}
	out, err = change(o)
	if bad, is := err.(*badField); is {
		return out, reject(c, vault.ActionAuthConfigure, bad.err)
	}
	return out, err
}

// rejectLogin is reject for a request about a login method or one of its roles.
func (s *server) rejectLogin(c *gin.Context, action vault.Action, err error) error {
	return s.reject(c, action, mountAndRole(c), err)
}

// badField is an error in the body, about which the door has not heard yet.
type badField struct{ err error }

func (e *badField) Error() string { return e.err.Error() }

// listed answers a list.
func listed[T, B any](s *server, c *gin.Context, field string, all []T, err error, body func(T) B) error {
	if err != nil {
		return err
	}
	bodies := make([]B, 0, len(all))
	for _, x := range all {
		bodies = append(bodies, body(x))
	}
	return s.answer(c, http.StatusOK, map[string][]B{field: bodies})
}

// noQuery rejects a change that has a query.
func (s *server) noQuery(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionAuthConfigure, mountAndRole(c), err)
	}
	return nil
}

func (s *server) listLoginMethods(c *gin.Context) error {
	l, err := s.loginLists(c)
	if err != nil {
		return err
	}
	all, err := l.Methods(c.Request.Context())
	return listed(s, c, "methods", all, err, loginMethodBodyOf)
}

func (s *server) showLoginMethod(c *gin.Context) error {
	l, err := s.loginLists(c)
	if err != nil {
		return err
	}
	m, err := l.Method(c.Request.Context(), c.Param("mount"))
	if err != nil {
		return err
	}
	return s.answer(c, http.StatusOK, loginMethodBodyOf(m))
}

func (s *server) putLoginMethod(c *gin.Context) error {
	m, err := configureLogin(s, c, s.rejectLogin, loginMethodFields, false, func(o object) (m vault.LoginMethod, err error) {
		m = vault.LoginMethod{Mount: c.Param("mount"), Config: copyOf(o["config"])}
		kind, err := o.text("kind")
		if err == nil {
			m.Description, err = o.text("description")
		}
		if err != nil {
			return m, &badField{err}
		}
		m.Kind = vault.LoginKind(kind)
		return s.loginAdmin(c).PutMethod(c.Request.Context(), m)
	})
	if err != nil {
		return err
	}
	setPosition(c, m.Position)
	return s.answer(c, http.StatusOK, loginMethodBodyOf(m))
}

// copyOf is a part of a body that outlives it.
func copyOf(raw []byte) json.RawMessage { return append(json.RawMessage(nil), raw...) }

func (s *server) deleteLoginMethod(c *gin.Context) error {
	if err := s.noQuery(c); err != nil {
		return err
	}
	at, err := s.loginAdmin(c).DeleteMethod(c.Request.Context(), c.Param("mount"))
	return answerChanged(c, at, err)
}

func (s *server) listLoginRoles(c *gin.Context) error {
	l, err := s.loginLists(c)
	if err != nil {
		return err
	}
	all, err := l.Roles(c.Request.Context(), c.Param("mount"))
	return listed(s, c, "roles", all, err, loginRoleBodyOf)
}

func (s *server) showLoginRole(c *gin.Context) error {
	l, err := s.loginLists(c)
	if err != nil {
		return err
	}
	r, err := l.Role(c.Request.Context(), c.Param("mount"), c.Param("role"))
	return s.answerLoginRole(c, r, err)
}

func (s *server) answerLoginRole(c *gin.Context, r vault.LoginRole, err error) error {
	if err != nil {
		return err
	}
	setPosition(c, r.Position)
	return s.answer(c, http.StatusOK, loginRoleBodyOf(r))
}

func (s *server) putLoginRole(c *gin.Context) error {
	r, err := configureLogin(s, c, s.rejectLogin, loginRoleFields, false, func(o object) (vault.LoginRole, error) {
		r, err := decodeLoginRole(o)
		if err != nil {
			return r, &badField{err}
		}
		r.Mount, r.Name = c.Param("mount"), c.Param("role")
		return s.loginAdmin(c).PutRole(c.Request.Context(), r)
	})
	return s.answerLoginRole(c, r, err)
}

func decodeLoginRole(o object) (r vault.LoginRole, err error) {
	if r.Role, err = o.text("role"); err != nil {
		return r, err
	}
	kind, err := o.text("token_type")
	if err != nil {
		return r, err
	}
	r.TokenType = vault.TokenType(kind)
	if _, given := o["token_type"]; !given {
		r.TokenType = vault.TokenService
	}
	if r.TokenTTL, err = secondsOf(o, "token_ttl_secs", defaultLoginTTL); err != nil {
		return r, err
	}
	if r.TokenMaxTTL, err = secondsOf(o, "token_max_ttl_secs", max(defaultLoginMaxTTL, r.TokenTTL)); err != nil {
		return r, err
	}
	if r.Scope, err = o.scope(); err != nil {
		return r, err
	}
	r.Config = copyOf(o["config"])
	r.BoundCIDRs, err = o.networks("bound_cidrs")
	return r, err
}

// secondsOf reads a whole number of seconds.
func secondsOf(o object, field string, def time.Duration) (time.Duration, error) {
	if _, given := o[field]; !given {
		return def, nil
	}
	secs, err := o.integer(field)
	if err == nil && (secs < 1 || secs > vault.MaxPeriodSecs) {
		err = core.Errorf(core.Invalid, "%s must be a whole number from 1 to %d", field, int64(vault.MaxPeriodSecs))
	}
	return time.Duration(secs) * time.Second, err
}

func (s *server) deleteLoginRole(c *gin.Context) error {
	if err := s.noQuery(c); err != nil {
		return err
	}
	at, err := s.loginAdmin(c).DeleteRole(c.Request.Context(), c.Param("mount"), c.Param("role"))
	return answerChanged(c, at, err)
}

func (s *server) endBatchTokens(c *gin.Context) error {
	if err := s.noQuery(c); err != nil {
		return err
	}
	r, err := s.loginAdmin(c).EndBatchTokens(c.Request.Context(), c.Param("mount"), c.Param("role"))
	return s.answerLoginRole(c, r, err)
}

func (s *server) rotateTokenKey(c *gin.Context) error {
	if err := s.noQuery(c); err != nil {
		return err
	}
	id, at, err := s.loginAdmin(c).RotateTokenKey(c.Request.Context())
	if err != nil {
		return err
	}
	setPosition(c, at)
	return s.answer(c, http.StatusOK, map[string]core.SecretID{"id": core.SecretID(id)})
}
