package httpapi

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	tokensPath = "/v1/tokens/"
	// selfAccessor stands in a path for the accessor of the caller's own token.
	selfAccessor = "self"
	maxTokenBody = 64 << 10
)

var (
	tokenFields = []string{"name", "role", "ttl_secs", "max_ttl_secs", "renewable", "scope", "bound_cidrs"}
	scopeFields = []string{"pattern", "actions"}
	renewFields = []string{"increment_secs"}
)

// tokenBody is the metadata of a token as JSON.
type tokenBody struct {
	Token        string        `json:"token,omitempty"`    // when it is created, and never again
	Accessor     string        `json:"accessor,omitempty"` // a batch token has none
	Name         string        `json:"name"`
	Role         string        `json:"role"`
	Method       string        `json:"method"`
	Parent       string        `json:"parent,omitempty"`
	Scopes       []vault.Scope `json:"scopes,omitempty"`
	BoundCIDRs   []string      `json:"bound_cidrs,omitempty"`
	Renewable    bool          `json:"renewable"`
	TTLSecs      int64         `json:"ttl_secs,omitempty"`
	CreatedAt    time.Time     `json:"created_at"`
	ExpiresAt    *time.Time    `json:"expires_at,omitempty"`
	MaxExpiresAt *time.Time    `json:"max_expires_at,omitempty"`
	RevokedAt    *time.Time    `json:"revoked_at,omitempty"`
}

func tokenBodyOf(t vault.TokenInfo) tokenBody {
	b := tokenBody{
		Name: t.Name, Role: t.Role, Method: t.Method, Scopes: t.Scopes, BoundCIDRs: t.BoundCIDRs, Renewable: t.Renewable,
		TTLSecs: int64(t.TTL / time.Second), CreatedAt: t.CreatedAt.UTC(), ExpiresAt: orNil(t.ExpiresAt),
		MaxExpiresAt: orNil(t.MaxExpiresAt), RevokedAt: orNil(t.RevokedAt),
	}
	if t.ID != (vault.TokenID{}) {
		b.Accessor = t.ID.String()
	}
	if t.Parent != (vault.TokenID{}) {
		b.Parent = t.Parent.String()
	}
	return b
}

type tokensBody struct {
	Tokens []tokenBody `json:"tokens"`
	Next   string      `json:"next,omitempty"`
}

func (s *server) createToken(c *gin.Context) error {
	r, err := s.readTokenRequest(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionTokenCreate, r.Name, err)
	}
	made, info, err := s.Vault.NewToken(c.Request.Context(), callerOf(c), r)
	if err != nil {
		return err
	}
	body := tokenBodyOf(info)
	body.Token = made.Reveal()
	c.Writer.Header().Set("Location", tokensPath+info.ID.String())
	setPosition(c, info.Position)
	return s.answer(c, http.StatusCreated, body)
}

// readTokenRequest returns what could be read even with an error, so that the refusal can be recorded under the name.
func (s *server) readTokenRequest(c *gin.Context) (r vault.TokenRequest, err error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return r, err
	}
	body, err := s.readBody(c, vault.ActionTokenCreate, maxTokenBody)
	if err != nil {
		return r, err
	}
	defer envelope.Wipe(body)
	return decodeToken(body)
}

func decodeToken(body []byte) (r vault.TokenRequest, err error) {
	o, err := parseObject(body, tokenFields)
	if err != nil {
		return r, err
	}
	if r.Name, err = o.text("name"); err != nil {
		return r, err
	}
	if r.Role, err = o.text("role"); err != nil {
		return r, err
	}
	if err = o.notEmpty("role"); err != nil {
		return r, err
	}
	r.TTL, r.Renewable = vault.DefaultTokenTTL, true
	if r.Role == "" {
		r.TTL = 0 // the parent's end
	}
	for field, to := range map[string]*time.Duration{"ttl_secs": &r.TTL, "max_ttl_secs": &r.MaxTTL} {
		if err := o.period(field, to); err != nil {
			return r, err
		}
	}
	if _, given := o["renewable"]; given {
		if r.Renewable, err = o.boolean("renewable"); err != nil {
			return r, err
		}
	}
	if r.Scope, err = o.scope(); err != nil {
		return r, err
	}
	r.BoundCIDRs, err = o.networks("bound_cidrs")
	return r, err
}

// period reads whole seconds, if they are given.
func (o object) period(field string, to *time.Duration) error {
	if _, given := o[field]; !given {
		return nil
	}
	secs, err := o.integer(field)
	if err == nil && (secs < 0 || secs > vault.MaxPeriodSecs) {
		err = core.Errorf(core.Invalid, "%s must be between 0 and %d", field, vault.MaxPeriodSecs)
	}
	*to = time.Duration(secs) * time.Second
	return err
}

// each calls f with the elements of an array; it does nothing if there is no such field.
func (o object) each(field string, f func(raw []byte) error) error {
	raw, ok := o[field]
	if !ok {
		return nil
	}
	if raw[0] != '[' {
		return core.Errorf(core.Invalid, "%s must be an array", field)
	}
	return jsonscan.Elements(raw, f)
}

// texts reads an array of strings; nil when it is not there.
func (o object) texts(field string) (out []string, err error) {
	if _, ok := o[field]; ok {
		out = []string{}
	}
	err = o.each(field, func(raw []byte) error {
		text, err := jsonscan.Unquote(raw)
		if err != nil {
			return core.Errorf(core.Invalid, "%s must be an array of strings", field)
		}
		out = append(out, string(text))
		return nil
	})
	return out, err
}

// scope reads an array of objects with a pattern and actions; nil when it is not there.
func (o object) scope() (out vault.Scope, err error) {
	if _, ok := o["scope"]; ok {
		out = vault.Scope{}
	}
	err = o.each("scope", func(raw []byte) error {
		if raw[0] != '{' {
			return core.Errorf(core.Invalid, "scope must be an array of objects")
		}
		entry, err := parseObject(raw, scopeFields)
		if err != nil {
			return err
		}
		var e vault.ScopeEntry
		if e.Pattern, err = entry.text("pattern"); err != nil {
			return err
		}
		e.Actions, err = entry.texts("actions")
		out = append(out, e)
		return err
	})
	return out, err
}

// networks reads an array of networks in CIDR notation; nil when it is not there.
func (o object) networks(field string) ([]netip.Prefix, error) {
	texts, err := o.texts(field)
	if err != nil || texts == nil {
		return nil, err
	}
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return nil, core.Errorf(core.Invalid, "%s must be networks in CIDR notation, without bits beyond the prefix", field)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, core.Errorf(core.Invalid, "%s is empty", field)
	}
	return out, nil
}

func (s *server) listTokens(c *gin.Context) error {
	after, limit, err := tokensQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.reject(c, vault.ActionTokenList, "", err)
	}
	page, err := s.Vault.Tokens(c.Request.Context(), caller, after, limit)
	if err != nil {
		return err
	}
	out := tokensBody{Tokens: make([]tokenBody, len(page.Tokens))}
	for i, t := range page.Tokens {
		out.Tokens[i] = tokenBodyOf(t)
	}
	if page.Next != (vault.TokenID{}) {
		out.Next = page.Next.String()
	}
	return s.answer(c, http.StatusOK, out)
}

func tokensQuery(r *http.Request) (after vault.TokenID, limit int, err error) {
	q, err := query(r, "after", "limit")
	if err != nil {
		return after, 0, err
	}
	if q.Has("after") {
		if after, err = vault.ParseTokenID(q.Get("after")); err != nil {
			return after, 0, err
		}
	}
	if q.Has("limit") {
		limit, err = strconv.Atoi(q.Get("limit"))
		if err != nil || limit < 1 || limit > vault.MaxPageSize {
			return after, 0, core.Errorf(core.Invalid, "limit must be a whole number from 1 to %d", vault.MaxPageSize)
		}
	}
	return after, limit, nil
}

// accessorOf returns the zero TokenID for the caller's own token.
func accessorOf(c *gin.Context) (vault.TokenID, error) {
	if c.Param("accessor") == selfAccessor {
		return vault.TokenID{}, nil
	}
	return vault.ParseTokenID(c.Param("accessor"))
}

func (s *server) showToken(c *gin.Context) error {
	return showOne(s, c, vault.ActionTokenList, accessorOf, s.Vault.Token, tokenBodyOf)
}

func (s *server) renewToken(c *gin.Context) error {
	return renewOne(s, c, vault.ActionTokenRenew, accessorOf, s.Vault.RenewToken, func(t vault.TokenInfo) (tokenBody, core.Position) {
		return tokenBodyOf(t), t.Position
	})
}

func (s *server) revokeToken(c *gin.Context) error {
	return revokeOne(s, c, vault.ActionTokenRevoke, accessorOf, s.Vault.EndToken)
}
