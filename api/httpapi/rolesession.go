package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var roleOptionFields = []string{"auto_repair", "session_policy", "max_wait_secs"}

// roleSessionBody is one session of a role whose password a secret is.
type roleSessionBody struct {
	PID             int32      `json:"pid"`
	Role            string     `json:"role"`
	Database        string     `json:"database"`
	ApplicationName string     `json:"application_name"`
	ClientAddr      *string    `json:"client_addr"`
	StartedAt       time.Time  `json:"started_at"`
	State           string     `json:"state"`
	Credential      string     `json:"credential"`
	EndsAt          *time.Time `json:"ends_at"`
	Fate            string     `json:"fate"`
}

type roleSessionsBody struct {
	Sessions []roleSessionBody `json:"sessions"`
}

func (s *server) roleSessions(c *gin.Context) error {
	_, err := query(c.Request)
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.reject(c, vault.ActionSessionList, nameOf(c), err)
	}
	all, err := s.Vault.RoleSessions(c.Request.Context(), caller, nameOf(c))
	if err != nil {
		return err
	}
	out := roleSessionsBody{Sessions: make([]roleSessionBody, len(all))}
	for i, x := range all {
		out.Sessions[i] = roleSessionBody{
			PID: x.PID, Role: x.Role, Database: x.Database, ApplicationName: x.ApplicationName, StartedAt: x.StartedAt.UTC(), State: x.State,
			Credential: x.Credential, Fate: x.Fate,
		}
		if x.EndsAt != nil {
			out.Sessions[i].EndsAt = orNil(*x.EndsAt)
		}
		if x.ClientAddr.IsValid() {
			addr := x.ClientAddr.String()
			out.Sessions[i].ClientAddr = &addr
		}
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) configureRole(c *gin.Context) error {
	o, err := s.readRoleOptions(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionConfigureRole, nameOf(c), err)
	}
	at, err := s.Vault.ConfigureRole(c.Request.Context(), callerOf(c), nameOf(c), o)
	return answerChanged(c, at, err)
}

func (s *server) readRoleOptions(c *gin.Context) (out vault.RoleOptions, err error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return out, err
	}
	body, err := s.readBody(c, vault.ActionConfigureRole, maxRoleBody)
	if err != nil {
		return out, err
	}
	o, err := parseObject(body, roleOptionFields)
	if err == nil && len(o) == 0 {
		err = core.Errorf(core.Invalid, "one of auto_repair, session_policy and max_wait_secs is required")
	}
	if err == nil {
		err = o.notEmpty("session_policy")
	}
	if err == nil {
		out.Sessions, err = o.sessionPolicy()
	}
	if _, given := o["auto_repair"]; err == nil && given {
		var repair bool
		repair, err = o.boolean("auto_repair")
		out.AutoRepair = &repair
	}
	return out, err
}

// sessionPolicy reads what becomes of sessions; zero when absent.
func (o object) sessionPolicy() (p vault.SessionPolicy, err error) {
	if p.Name, err = o.text("session_policy"); err != nil {
		return p, err
	}
	p.MaxWaitSecs, err = o.integer("max_wait_secs")
	if _, given := o["max_wait_secs"]; err == nil && given && p.MaxWaitSecs < 1 {
		err = core.Errorf(core.Invalid, "max_wait_secs must be between 1 and 31536000")
	}
	return p, err
}
