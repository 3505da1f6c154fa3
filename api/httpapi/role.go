package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const maxRoleBody = 4 << 10

var roleFields = []string{"role", "pair", "shared_role", "auto_repair", "session_policy", "max_wait_secs"}

// boundRoleBody is one role of PostgreSQL whose password a secret is.
type boundRoleBody struct {
	Name       core.Name  `json:"name"`
	Role       string     `json:"role"`
	Pair       bool       `json:"pair"`
	Current    bool       `json:"current"`
	Version    *uint64    `json:"version"`
	State      string     `json:"state"`
	DriftSince *time.Time `json:"drift_since"`
	ValidUntil *time.Time `json:"valid_until"`
	AutoRepair bool       `json:"auto_repair"`
	BoundAt    time.Time  `json:"bound_at"`
	BoundBy    string     `json:"bound_by"`

	SessionPolicy string `json:"session_policy"`
	MaxWaitSecs   *int64 `json:"max_wait_secs"`
}

type boundRolesBody struct {
	Roles []boundRoleBody `json:"roles"`
}

func (s *server) listRoles(c *gin.Context) error {
	q, err := query(c.Request, "prefix")
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.reject(c, vault.ActionList, q.Get("prefix"), err)
	}
	all, err := s.Vault.BoundRoles(c.Request.Context(), caller, q.Get("prefix"))
	if err != nil {
		return err
	}
	out := boundRolesBody{Roles: make([]boundRoleBody, len(all))}
	for i, b := range all {
		out.Roles[i] = boundRoleBody{
			Name: b.Name, Role: b.Role, Pair: b.Pair, Current: b.Current, State: b.State, DriftSince: orNil(b.DriftSince),
			ValidUntil: orNil(b.ValidUntil), AutoRepair: b.AutoRepair, BoundAt: b.BoundAt.UTC(), BoundBy: b.BoundBy,
			SessionPolicy: b.Sessions.Name,
		}
		if b.Version > 0 {
			out.Roles[i].Version = &b.Version
		}
		if b.Sessions.MaxWaitSecs > 0 {
			out.Roles[i].MaxWaitSecs = &b.Sessions.MaxWaitSecs
		}
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) bindRole(c *gin.Context) error {
	r, err := s.readRole(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionBindRole, nameOf(c), err)
	}
	at, err := s.Vault.BindRole(c.Request.Context(), callerOf(c), r)
	return answerChanged(c, at, err)
}

func (s *server) readRole(c *gin.Context) (r vault.RoleRequest, err error) {
	r.Name = nameOf(c)
	if err := checkContentType(c.Request.Header); err != nil {
		return r, err
	}
	body, err := s.readBody(c, vault.ActionBindRole, maxRoleBody)
	if err != nil {
		return r, err
	}
	defer envelope.Wipe(body)
	o, err := parseObject(body, roleFields)
	if err == nil {
		err = o.notEmpty("role", "shared_role", "session_policy")
	}
	if err == nil {
		r.Role, err = o.text("role")
	}
	if err == nil {
		r.Shared, err = o.text("shared_role")
	}
	if err == nil {
		r.AutoRepair, err = o.boolean("auto_repair")
	}
	if err == nil {
		r.Sessions, err = o.sessionPolicy()
	}
	if _, given := o["pair"]; err == nil && given {
		r.Pair, err = o.texts("pair")
	}
	return r, err
}

func (s *server) unbindRole(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionUnbindRole, nameOf(c), err)
	}
	at, err := s.Vault.UnbindRole(c.Request.Context(), callerOf(c), nameOf(c))
	return answerChanged(c, at, err)
}

func (s *server) repairRole(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionRepairRole, nameOf(c), err)
	}
	at, err := s.Vault.RepairRole(c.Request.Context(), callerOf(c), nameOf(c))
	return answerChanged(c, at, err)
}
