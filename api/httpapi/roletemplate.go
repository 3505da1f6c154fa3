package httpapi

import (
	"cmp"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	defaultLeaseTTL    = time.Hour
	defaultLeaseMaxTTL = 24 * time.Hour
	defaultMaxLeases   = 10000
	maxSettings        = 64
)

var templateFields = []string{"member_of", "ttl_secs", "max_ttl_secs", "role_prefix", "connection_limit", "settings", "drop_owned", "reassign_to", "max_leases"}

type templatesBody struct {
	Templates []templateBody `json:"templates"`
	Next      string         `json:"next,omitempty"`
}

type templateBody struct {
	vault.RoleTemplate
	ReassignTo *string   `json:"reassign_to,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

func templateBodyOf(t vault.RoleTemplate) templateBody {
	b := templateBody{RoleTemplate: t, CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC()}
	if t.ReassignTo != "" {
		b.ReassignTo = &t.ReassignTo
	}
	return b
}

func (s *server) listRoleTemplates(c *gin.Context) error {
	q, err := query(c.Request, "after", "limit")
	limit := 0
	if err == nil {
		limit, err = limitOf(q.Get("limit"), q.Has("limit"))
	}
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionTemplateList, "", err)
	}
	page, err := s.Vault.RoleTemplates(c.Request.Context(), caller, q.Get("after"), limit)
	if err != nil {
		return err
	}
	out := templatesBody{Templates: make([]templateBody, len(page.Templates)), Next: page.Next}
	for i, t := range page.Templates {
		out.Templates[i] = templateBodyOf(t)
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) showRoleTemplate(c *gin.Context) error {
	_, err := query(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionTemplateList, nameOf(c), err)
	}
	t, err := s.Vault.RoleTemplate(c.Request.Context(), caller, nameOf(c))
	if err != nil {
		return err
	}
	return s.answer(c, http.StatusOK, templateBodyOf(t))
}

func (s *server) putRoleTemplate(c *gin.Context) error {
	t, err := s.readTemplate(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionTemplateConfigure, nameOf(c), err)
	}
	t.Name = nameOf(c)
	made, err := s.Vault.PutRoleTemplate(c.Request.Context(), callerOf(c), t)
	if err != nil {
		return err
	}
	setPosition(c, made.Position)
	return s.answer(c, http.StatusOK, templateBodyOf(made))
}

func (s *server) readTemplate(c *gin.Context) (t vault.RoleTemplate, err error) {
	body, err := s.readJSON(c, vault.ActionTemplateConfigure)
	if err != nil {
		return t, err
	}
	o, err := parseObject(body, templateFields)
	if err != nil {
		return t, err
	}
	return decodeTemplate(o)
}

func decodeTemplate(o object) (t vault.RoleTemplate, err error) {
	if t.MemberOf, err = o.texts("member_of"); err != nil {
		return t, err
	}
	ttl, maxTTL := defaultLeaseTTL, defaultLeaseMaxTTL
	for field, to := range map[string]*time.Duration{"ttl_secs": &ttl, "max_ttl_secs": &maxTTL} {
		if err := o.period(field, to); err != nil {
			return t, err
		}
	}
	t.TTLSecs, t.MaxTTLSecs = int64(ttl/time.Second), int64(maxTTL/time.Second)
	t.ConnectionLimit, t.MaxLeases = -1, defaultMaxLeases
	for field, to := range map[string]*int32{"connection_limit": &t.ConnectionLimit, "max_leases": &t.MaxLeases} {
		if err := o.number32(field, to); err != nil {
			return t, err
		}
	}
	if t.DropOwned, err = o.boolean("drop_owned"); err != nil {
		return t, err
	}
	for field, to := range map[string]*string{"role_prefix": &t.RolePrefix, "reassign_to": &t.ReassignTo} {
		if *to, err = o.text(field); err == nil {
			err = o.notEmpty(field)
		}
		if err != nil {
			return t, err
		}
	}
	t.Settings, err = o.settings()
	return t, err
}

// number32 reads a number of 32 bits, if it is given.
func (o object) number32(field string, to *int32) error {
	if _, given := o[field]; !given {
		return nil
	}
	n, err := o.integer(field)
	if err == nil && int64(int32(n)) != n {
		err = core.Errorf(core.Invalid, "%s is out of range", field)
	}
	if err == nil {
		*to = int32(n)
	}
	return err
}

// settings reads an object of texts.
func (o object) settings() (map[string]string, error) {
	out := map[string]string{}
	raw, given := o["settings"]
	if !given {
		return out, nil
	}
	if raw[0] != '{' {
		return nil, core.Errorf(core.Invalid, "settings must be an object of texts")
	}
	inner, err := jsonscan.Object(raw, nil)
	if err != nil {
		return nil, err
	}
	if len(inner) > maxSettings {
		return nil, core.Errorf(core.Invalid, "a template has %d settings at most", maxSettings)
	}
	for name := range inner {
		if out[name], err = object(inner).text(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *server) deleteRoleTemplate(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionTemplateConfigure, nameOf(c), err)
	}
	at, err := s.Vault.DeleteRoleTemplate(c.Request.Context(), callerOf(c), nameOf(c))
	return answerChanged(c, at, err)
}
