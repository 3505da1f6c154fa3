package vaultapi

import (
	"net/http"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// The users of a userpass method are its login roles. Clients write their names in any case.

func (r *request) lowerName() { r.rest = strings.ToLower(r.rest) }

func (a *API) listUsers(r *request) error { return a.listLoginRoles(r, vault.LoginPassword) }

func (a *API) deleteUser(r *request) error {
	r.lowerName()
	return a.deleteLoginRole(r, vault.LoginPassword)
}

func (a *API) readUser(r *request) error {
	r.lowerName()
	l, err := a.foundRole(r, vault.LoginPassword)
	if err != nil {
		return err
	}
	r.answerData(tokenSettingsOf(l))
	return nil
}

// userFields are those that may come with a user. The first are refused.
var userFields = append([]string{"password_hash", "password"}, tokenFields...)

// readPassword hands the password in a body to use, and wipes it; an empty one if there is none.
func (f fields) readPassword(use func(text []byte) error) error {
	if f.given("password_hash") {
		return invalid("password_hash is not supported: send the password")
	}
	text, err := f.bytes("password")
	defer envelope.Wipe(text)
	if err != nil {
		return err
	}
	if len(text) > 0 {
		if err := password.Check(text); err != nil {
			return invalid("%s", core.MessageOf(err))
		}
	}
	return use(text)
}

// writeUser makes or changes a user. A new one needs a password, and gets it after the user is there: a user without one
// cannot log in, and the request may be sent again.
func (a *API) writeUser(r *request) error {
	r.lowerName()
	err := r.readFields(maxBody, func(f fields) error {
		if err := a.ofKind(r, vault.LoginPassword); err != nil {
			return err
		}
		return f.readPassword(func(text []byte) error {
			l, err := a.loginRole(r)
			if err != nil {
				return err
			}
			if l.ID == ([16]byte{}) && len(text) == 0 {
				return invalid("missing password")
			}
			if err := f.setToken(&l); err != nil {
				return err
			}
			made, err := a.logins(r).PutRole(r.Request.Context(), l)
			if err != nil {
				return withoutRole(err)
			}
			r.setIndex(made.Position)
			return a.setPassword(r, text, f.warnings(userFields...))
		})
	})
	return a.rejected(r, err)
}

// setPassword sets the password of the user, unless there is none to set.
func (a *API) setPassword(r *request, text []byte, warnings []string) error {
	if len(text) > 0 {
		at, err := a.logins(r).SetPassword(r.Request.Context(), r.mount, r.rest, text)
		if err != nil {
			return err
		}
		r.setIndex(at)
	}
	r.answerNothing(warnings...)
	return nil
}

// writePassword sets the password of a user who exists.
func (a *API) writePassword(r *request) error {
	r.lowerName()
	err := r.readFields(maxBody, func(f fields) error {
		return f.readPassword(func(text []byte) error {
			if len(text) == 0 {
				return invalid("missing password")
			}
			err := a.setPassword(r, text, f.warnings("password", "password_hash"))
			if core.CodeOf(err) == core.NotFound {
				return failure(http.StatusBadRequest, core.NotFound, "username does not exist")
			}
			return err
		})
	})
	return a.rejected(r, err)
}

// writeUserPolicies changes the role that the tokens of a user act as.
func (a *API) writeUserPolicies(r *request) error {
	r.lowerName()
	err := r.readFields(maxBody, func(f fields) error {
		if !f.given("token_policies") && !f.given("policies") {
			return invalid("token_policies must name one policy, the role that the tokens act as")
		}
		l, err := a.foundRole(r, vault.LoginPassword)
		if core.CodeOf(err) == core.NotFound {
			return failure(http.StatusBadRequest, core.NotFound, "username does not exist")
		}
		if err != nil {
			return err
		}
		only := fields{}
		for _, name := range []string{"token_policies", "policies"} {
			if f.given(name) {
				only[name] = f[name]
			}
		}
		if err := only.setToken(&l); err != nil {
			return err
		}
		return a.putLoginRole(r, l, f.warnings("token_policies", "policies"))
	})
	return a.rejected(r, err)
}
