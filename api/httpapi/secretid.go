package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

type secretIDsBody struct {
	SecretIDs []secretIDBody `json:"secret_ids"`
	Next      string         `json:"next,omitempty"`
}

func (s *server) listSecretIDs(c *gin.Context) error {
	after, limit, err := secretIDQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err == nil {
		err = ferr
	}
	if err != nil {
		return s.rejectIssue(c, vault.ActionAuthList, err)
	}
	all, err := s.Vault.LoginAdmin(caller).SecretIDs(c.Request.Context(), c.Param("mount"), c.Param("role"), after, limit)
	if err != nil {
		return err
	}
	b := secretIDsBody{SecretIDs: make([]secretIDBody, 0, len(all))}
	for _, x := range all {
		b.SecretIDs = append(b.SecretIDs, secretIDBodyOf(x))
	}
	if len(all) == limit {
		b.Next = core.SecretID(all[len(all)-1].ID).String()
	}
	return s.answer(c, http.StatusOK, b)
}

func secretIDQuery(r *http.Request) (after [16]byte, limit int, err error) {
	q, err := query(r, "after", "limit")
	if err != nil {
		return after, 0, err
	}
	limit = vault.DefaultPageSize
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > vault.MaxPageSize {
			return after, 0, core.Errorf(core.Invalid, "limit must be a whole number from 1 to %d", vault.MaxPageSize)
		}
	}
	if q.Has("after") {
		after, err = secretIDAccessor(q.Get("after"))
	}
	return after, limit, err
}

// secretIDAccessor reads the accessor of a secret id. The error quotes nothing: it may be a secret id in the wrong place.
func secretIDAccessor(text string) ([16]byte, error) {
	id, err := core.ParseSecretID(text)
	if err != nil {
		return [16]byte{}, core.Errorf(core.Invalid, "an accessor is a UUID")
	}
	return id, nil
}

// createSecretID answers the one time with the secret id itself.
func (s *server) createSecretID(c *gin.Context) error {
	b, err := configureLogin(s, c, s.rejectIssue, secretIDFields, true, func(o object) (b secretIDBody, err error) {
		var r vault.SecretIDRequest
		if _, given := o["ttl_secs"]; given {
			if r.TTL, err = secondsOf(o, "ttl_secs", 0); err != nil {
				return b, &badField{err}
			}
		}
		if _, given := o["uses"]; given {
			if r.Uses, err = o.integer("uses"); err == nil && r.Uses < 1 {
				err = core.Errorf(core.Invalid, "uses must be a whole number from 1 to %d", vault.MaxSecretIDUses)
			}
			if err != nil {
				return b, &badField{err}
			}
		}
		if r.BoundCIDRs, err = o.networks("bound_cidrs"); err != nil {
			return b, &badField{err}
		}
		made, info, err := s.loginAdmin(c).CreateSecretID(c.Request.Context(), c.Param("mount"), c.Param("role"), r)
		if err != nil {
			return b, err
		}
		setPosition(c, info.Position)
		b = secretIDBodyOf(info)
		b.SecretID = made.Reveal()
		return b, nil
	})
	if err != nil {
		return err
	}
	body, err := json.Marshal(b)
	if err != nil {
		return core.Wrap(core.Internal, err, "encode the answer")
	}
	defer envelope.Wipe(body)
	send(c, http.StatusCreated, body)
	return nil
}

func (s *server) deleteSecretID(c *gin.Context) error {
	accessor, err := secretIDAccessor(c.Param("accessor"))
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.rejectIssue(c, vault.ActionAuthConfigure, err)
	}
	at, err := s.loginAdmin(c).DeleteSecretID(c.Request.Context(), c.Param("mount"), c.Param("role"), accessor)
	return answerChanged(c, at, err)
}

// rejectIssue is reject for a request about secret ids, which more callers may make than other requests about logins.
func (s *server) rejectIssue(c *gin.Context, action vault.Action, err error) error {
	return s.Vault.RejectIssue(c.Request.Context(), callerOf(c), action, mountAndRole(c), err)
}

// setLoginPassword sets the password of a user.
func (s *server) setLoginPassword(c *gin.Context) error {
	at, err := configureLogin(s, c, s.rejectIssue, []string{"password"}, false, func(o object) (core.Position, error) {
		text, err := jsonscan.Unquote(o["password"])
		defer envelope.Wipe(text)
		if err != nil {
			return core.Position{}, &badField{core.Errorf(core.Invalid, "password must be a string")}
		}
		return s.loginAdmin(c).SetPassword(c.Request.Context(), c.Param("mount"), c.Param("role"), text)
	})
	return answerChanged(c, at, err)
}
