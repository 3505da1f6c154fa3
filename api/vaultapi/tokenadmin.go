package vaultapi

import (
	"net/http"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// lookup answers what is known of the token in the body.
func (a *API) lookup(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		by, err := a.holder(r, f)
		if err != nil {
			return err
		}
		t, err := a.vault.Token(r.Request.Context(), by, vault.TokenID{})
		if core.CodeOf(err) == core.Unauthenticated && by.Bearer != r.Caller.Bearer {
			return failure(http.StatusForbidden, core.Denied, "bad token")
		}
		if err != nil {
			return err
		}
		r.answerData(tokenBodyOf(t, by.Bearer), f.warnings("token")...)
		return nil
	})
	return a.rejected(r, err)
}

// lookupAccessor answers what is known of a token, and not the token.
func (a *API) lookupAccessor(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		id, err := accessor(f)
		if err != nil {
			return err
		}
		caller, err := r.Reader()
		if err != nil {
			return err
		}
		t, err := a.vault.Token(r.Request.Context(), caller, id)
		if core.CodeOf(err) == core.NotFound {
			return failure(http.StatusForbidden, core.NotFound, "%s", multi("invalid accessor"))
		}
		if err != nil {
			return err
		}
		r.answerData(tokenBodyOf(t, ""), f.warnings("accessor")...)
		return nil
	})
	return a.rejected(r, err)
}

func (a *API) renew(r *request) error {
	return a.readAndRenew(r, func(f fields) (vault.Caller, vault.TokenID, error) {
		by, err := a.holder(r, f)
		return by, vault.TokenID{}, err
	}, "increment", "token")
}

func (a *API) renewAccessor(r *request) error {
	return a.readAndRenew(r, func(f fields) (vault.Caller, vault.TokenID, error) {
		id, err := accessor(f)
		return r.Caller, id, err
	}, "increment", "accessor")
}

func (a *API) revoke(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		if !f.given("token") {
			return invalid("missing token")
		}
		by, err := a.holder(r, f)
		if err != nil {
			return err
		}
		return a.endToken(r, by, vault.TokenID{}, f.warnings("token"))
	})
	return a.rejected(r, err)
}

func (a *API) revokeAccessor(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		id, err := accessor(f)
		if err != nil {
			return err
		}
		return a.endToken(r, r.Caller, id, f.warnings("accessor"))
	})
	return a.rejected(r, err)
}

// maxAccessors bounds one list.
const maxAccessors = 100_000

// accessors lists the tokens over which the caller has a say, without those that have ended.
func (a *API) accessors(r *request) error {
	caller, err := r.Reader()
	if err != nil {
		return a.reject(r, err)
	}
	keys, after := []string{}, vault.TokenID{}
	for {
		page, err := a.vault.Tokens(r.Request.Context(), caller, after, vault.MaxPageSize)
		if err != nil {
			return err
		}
		for _, t := range page.Tokens {
			if t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || t.ExpiresAt.After(t.Now)) {
				keys = append(keys, t.ID.String())
			}
		}
		if after = page.Next; after == (vault.TokenID{}) {
			break
		}
		if len(keys) > maxAccessors {
			return invalid("there are more than %d accessors: use GET /v1/tokens", maxAccessors)
		}
	}
	if len(keys) == 0 {
		return core.Errorf(core.NotFound, "nothing is there")
	}
	r.answerData(keysBody{Keys: keys})
	return nil
}
