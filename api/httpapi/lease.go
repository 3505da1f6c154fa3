package httpapi

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const leasesPath = "/v1/leases/"

var issueFields = []string{"template", "ttl_secs"}

// leaseBody is a lease as JSON. The password is there when it is issued, and never again.
type leaseBody struct {
	ID            core.SecretID   `json:"id"`
	Template      string          `json:"template"`
	Username      string          `json:"username"`
	Password      json.RawMessage `json:"password,omitempty"`
	Issuer        string          `json:"issuer"`
	IssuedTo      string          `json:"issued_to"`
	Token         string          `json:"token,omitempty"`
	TTLSecs       int64           `json:"ttl_secs"`
	IssuedAt      time.Time       `json:"issued_at"`
	ExpiresAt     time.Time       `json:"expires_at"`
	MaxExpiresAt  time.Time       `json:"max_expires_at"`
	Ending        string          `json:"ending,omitempty"`
	Attempts      int64           `json:"attempts,omitempty"`
	NextAttemptAt *time.Time      `json:"next_attempt_at,omitempty"`
	LastError     string          `json:"last_error,omitempty"`
}

func leaseBodyOf(l vault.Lease) leaseBody {
	return leaseBody{
		ID: l.ID, Template: l.Template, Username: l.Role, Issuer: l.Issuer, IssuedTo: l.IssuedTo, Token: l.Token, TTLSecs: l.TTLSecs,
		IssuedAt: l.IssuedAt.UTC(), ExpiresAt: l.ExpiresAt.UTC(), MaxExpiresAt: l.MaxExpiresAt.UTC(), Ending: l.Ending,
		Attempts: l.Attempts, NextAttemptAt: orNil(l.NextAttemptAt), LastError: l.LastError,
	}
}

type leasesBody struct {
	Leases []leaseBody `json:"leases"`
	Next   string      `json:"next,omitempty"`
}

func (s *server) leaseRoutes(e *gin.Engine) {
	get := func(path string, h handler) {
		e.GET(path, s.handle(h))
		e.HEAD(path, s.handle(h))
	}
	e.POST("/v1/leases", s.patient, s.handle(s.issueRole))
	get("/v1/leases", s.listLeases)
	get("/v1/leases/:id", s.showLease)
	e.DELETE("/v1/leases/:id", s.patient, s.handle(s.revokeLease))
	e.POST("/v1/leases/:id/renew", s.patient, s.handle(s.renewLease))
	get("/v1/role-templates", s.listRoleTemplates)
	get("/v1/role-templates/*name", s.showRoleTemplate)
	e.PUT("/v1/role-templates/*name", s.patient, s.handle(s.putRoleTemplate))
	e.DELETE("/v1/role-templates/*name", s.patient, s.handle(s.deleteRoleTemplate))
}

// issueRole answers the one time with the password.
func (s *server) issueRole(c *gin.Context) error {
	template, ttl, err := s.readIssue(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionLeaseIssue, template, err)
	}
	l, err := s.Vault.IssueRole(c.Request.Context(), callerOf(c), template, ttl)
	if err != nil {
		return err
	}
	defer l.Wipe()
	b := leaseBodyOf(l.Lease)
	b.Password = append(append(append(make([]byte, 0, len(l.Password)+2), '"'), l.Password...), '"') // base64url needs no escapes
	defer envelope.Wipe(b.Password)
	body, err := json.Marshal(b)
	if err != nil {
		return core.Wrap(core.Internal, err, "encode the answer")
	}
	defer envelope.Wipe(body)
	c.Writer.Header().Set("Location", leasesPath+l.ID.String())
	setPosition(c, l.Position)
	send(c, http.StatusCreated, body)
	return nil
}

// readIssue returns the template also with an error, so that the refusal can be recorded under the name.
func (s *server) readIssue(c *gin.Context) (template string, ttl time.Duration, err error) {
	body, err := s.readJSON(c, vault.ActionLeaseIssue)
	if err != nil {
		return "", 0, err
	}
	o, err := parseObject(body, issueFields)
	if err == nil {
		template, err = o.text("template")
	}
	if err == nil {
		err = o.period("ttl_secs", &ttl)
	}
	return template, ttl, err
}

func leaseID(c *gin.Context) (core.SecretID, error) {
	id, err := core.ParseSecretID(c.Param("id"))
	if err != nil {
		return id, core.Errorf(core.Invalid, "the id of a lease is a UUID")
	}
	return id, nil
}

func (s *server) listLeases(c *gin.Context) error {
	template, after, limit, err := leasesQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionLeaseList, "", err)
	}
	page, err := s.Vault.Leases(c.Request.Context(), caller, template, after, limit)
	if err != nil {
		return err
	}
	out := leasesBody{Leases: make([]leaseBody, len(page.Leases))}
	for i, l := range page.Leases {
		out.Leases[i] = leaseBodyOf(l)
	}
	if !page.Next.IsZero() {
		out.Next = page.Next.String()
	}
	return s.answer(c, http.StatusOK, out)
}

func leasesQuery(r *http.Request) (template string, after core.SecretID, limit int, err error) {
	q, err := query(r, "template", "after", "limit")
	if err != nil {
		return "", after, 0, err
	}
	if q.Has("after") {
		if after, err = core.ParseSecretID(q.Get("after")); err != nil {
			return "", after, 0, core.Errorf(core.Invalid, "after must be the id of a lease")
		}
	}
	limit, err = limitOf(q.Get("limit"), q.Has("limit"))
	return q.Get("template"), after, limit, err
}

// limitOf reads the size of a page; 0 when it is not given.
func limitOf(text string, given bool) (int, error) {
	if !given {
		return 0, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > vault.MaxPageSize {
		return 0, core.Errorf(core.Invalid, "limit must be a whole number from 1 to %d", vault.MaxPageSize)
	}
	return limit, nil
}

func (s *server) showLease(c *gin.Context) error {
	return showOne(s, c, vault.ActionLeaseList, leaseID, s.Vault.Lease, leaseBodyOf)
}

func (s *server) renewLease(c *gin.Context) error {
	return renewOne(s, c, vault.ActionLeaseRenew, leaseID, s.Vault.RenewLease, func(l vault.Lease) (leaseBody, core.Position) {
		return leaseBodyOf(l), l.Position
	})
}

func (s *server) revokeLease(c *gin.Context) error {
	return revokeOne(s, c, vault.ActionLeaseRevoke, leaseID, s.Vault.RevokeLease)
}
