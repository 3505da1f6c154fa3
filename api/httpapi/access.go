package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const maxGrantBody = 8 << 10

var grantFields = []string{"role", "pattern", "actions"}

type grantBody struct {
	Role      string    `json:"role"`
	Pattern   string    `json:"pattern"`
	Action    string    `json:"action"`
	GrantedAt time.Time `json:"granted_at"`
	GrantedBy string    `json:"granted_by"`
}

type grantsBody struct {
	Grants []grantBody `json:"grants"`
}

func (s *server) listGrants(c *gin.Context) error {
	_, err := query(c.Request)
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.reject(c, vault.ActionAccess, "", err)
	}
	all, err := s.Vault.Grants(c.Request.Context(), caller)
	if err != nil {
		return err
	}
	out := grantsBody{Grants: make([]grantBody, len(all))}
	for i, g := range all {
		out.Grants[i] = grantBody{Role: g.Role, Pattern: g.Pattern, Action: g.Action, GrantedAt: g.GrantedAt.UTC(), GrantedBy: g.GrantedBy}
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) grant(c *gin.Context) error  { return s.changeGrant(c, vault.ActionGrant) }
func (s *server) revoke(c *gin.Context) error { return s.changeGrant(c, vault.ActionRevoke) }

func (s *server) changeGrant(c *gin.Context, action vault.Action) error {
	g, err := s.readGrant(c, action)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, action, "", err)
	}
	change := s.Vault.Grant
	if action == vault.ActionRevoke {
		change = s.Vault.Revoke
	}
	at, err := change(c.Request.Context(), callerOf(c), g)
	return answerChanged(c, at, err)
}

func (s *server) readGrant(c *gin.Context, action vault.Action) (g vault.Grant, err error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return g, err
	}
	body, err := s.readBody(c, action, maxGrantBody)
	if err != nil {
		return g, err
	}
	defer envelope.Wipe(body)
	o, err := parseObject(body, grantFields)
	if err != nil {
		return g, err
	}
	if g.Role, err = o.text("role"); err != nil {
		return g, err
	}
	if g.Pattern, err = o.text("pattern"); err != nil {
		return g, err
	}
	g.Actions, err = o.texts("actions")
	return g, err
}

// accessBody says what a role may do with a name.
type accessBody struct {
	Role    string       `json:"role"`
	Name    string       `json:"name"`
	Actions []accessLine `json:"actions"`
}

type accessLine struct {
	Action  string      `json:"action"`
	Allowed bool        `json:"allowed"`
	Cause   vault.Cause `json:"cause,omitempty"`
	Grantee string      `json:"grantee,omitempty"`
	Pattern string      `json:"pattern,omitempty"`
	How     string      `json:"how,omitempty"`
}

func (s *server) explainAccess(c *gin.Context) error {
	q, err := query(c.Request, "name", "role")
	name := q.Get("name")
	if err == nil && q.Has("role") && q.Get("role") == "" {
		err = core.Errorf(core.Invalid, "role is empty")
	}
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.reject(c, vault.ActionAccess, name, err)
	}
	x, err := s.Vault.Explain(c.Request.Context(), caller, q.Get("role"), name)
	if err != nil {
		return err
	}
	out := accessBody{Role: x.Role, Name: name, Actions: make([]accessLine, len(x.Lines))}
	for i, l := range x.Lines {
		out.Actions[i] = accessLine(l)
	}
	return s.answer(c, http.StatusOK, out)
}
