package vaultapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// A policy is a role of PostgreSQL, and its rules are grants to that role. To read and to write policies needs the right
// manage on all names.

// grantsOf returns all grants by role, as the primary has them.
func (a *API) grantsOf(r *request) (map[string]rights, error) {
	by := r.Caller
	by.Freshness = vault.Freshness{Primary: true}
	ctx := r.Request.Context()
	if err := a.vault.AdmitManager(ctx, by); err != nil {
		return nil, err
	}
	all, err := a.vault.Grants(ctx, by)
	if err != nil {
		return nil, err
	}
	out := map[string]rights{}
	for _, g := range all {
		if out[g.Role] == nil {
			out[g.Role] = rights{}
		}
		out[g.Role][g.Pattern] = append(out[g.Role][g.Pattern], g.Action)
	}
	return out, nil
}

// policies lists the roles that have grants.
func (a *API) policies(r *request) error {
	all, err := a.grantsOf(r)
	if err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(all))
	if strings.HasPrefix(r.Route.Template, root+"sys/policy") {
		return r.answerTwice(map[string][]string{"keys": keys, "policies": keys})
	}
	r.answerData(keysBody{Keys: keys})
	return nil
}

// isRole returns a NotFound error unless the policy that the path names is a role.
func (a *API) isRole(r *request) error {
	by := r.Caller
	by.Freshness = vault.Freshness{Primary: true}
	_, err := a.vault.Explain(r.Request.Context(), by, r.rest, "x")
	if core.CodeOf(err) == core.Invalid {
		return core.Errorf(core.NotFound, "no such role")
	}
	return err
}

func (a *API) readPolicy(r *request) error {
	all, err := a.grantsOf(r)
	if err == nil && all[r.rest] == nil {
		err = a.isRole(r)
	}
	if err != nil {
		return err
	}
	text := policyText(a.mount, all[r.rest])
	if strings.HasPrefix(r.Route.Template, root+"sys/policy/") {
		return r.answerTwice(map[string]string{"name": r.rest, "rules": text})
	}
	r.answerData(map[string]string{"name": r.rest, "policy": text})
	return nil
}

// policyOwned refuses to change what administrators have: no caller would be left to give it back.
func policyOwned(name string) error {
	if name == "vault_admin" || name == "root" {
		return invalid("cannot update or delete the policy %q", name)
	}
	return nil
}

// writePolicy makes the grants of a role on secrets those of a policy, or refuses a policy that no grants express.
func (a *API) writePolicy(r *request) error {
	err := r.readFields(2*maxPolicy, func(f fields) error {
		name := "policy"
		if !f.given(name) {
			name = "rules"
		}
		text, err := f.text(name)
		if err != nil {
			return err
		}
		rules, err := parsePolicy(text)
		if err != nil {
			return err
		}
		want, err := rightsOf(a.mount, rules)
		if err != nil {
			return err
		}
		return a.setRights(r, want, f.warnings("policy", "rules"))
	})
	return a.rejected(r, err)
}

func (a *API) deletePolicy(r *request) error { return a.rejected(r, a.setRights(r, rights{}, nil)) }

// setRights grants what is missing and then revokes what is too much. What fails on the way can be repeated.
func (a *API) setRights(r *request, want rights, warnings []string) error {
	all, err := a.grantsOf(r)
	if err != nil {
		return err
	}
	if err := policyOwned(r.rest); err != nil {
		return err
	}
	if err := a.isRole(r); core.CodeOf(err) == core.NotFound {
		if len(want) == 0 && r.op == opDelete {
			r.answerNothing()
			return nil
		}
		return failure(http.StatusBadRequest, core.Invalid, "policy %q is no role of PostgreSQL: create the role first", printable(r.rest))
	} else if err != nil {
		return err
	}
	has := all[r.rest]
	for pattern, actions := range want {
		if err := a.changeRights(r, a.vault.Grant, pattern, without(actions, has[pattern])); err != nil {
			return err
		}
	}
	for pattern, actions := range has {
		surplus := without(actions, want[pattern])
		surplus = slices.DeleteFunc(surplus, func(x string) bool { return !slices.Contains(policyActions, x) })
		if err := a.changeRights(r, a.vault.Revoke, pattern, surplus); err != nil && core.CodeOf(err) != core.NotFound {
			return err
		}
	}
	r.answerNothing(warnings...)
	return nil
}

func without(all, gone []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(x string) bool { return slices.Contains(gone, x) })
}

func (a *API) changeRights(r *request, change func(context.Context, vault.Caller, vault.Grant) (core.Position, error), pattern string, actions []string) error {
	if len(actions) == 0 {
		return nil
	}
	at, err := change(r.Request.Context(), r.Caller, vault.Grant{Role: r.rest, Pattern: pattern, Actions: actions})
	r.setIndex(at)
	return err
}
