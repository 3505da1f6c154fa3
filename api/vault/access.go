package vault

import (
	"context"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Grantable are the actions that can be granted, and that a scope can allow.
var Grantable = []string{"read", "create", "update", "delete", "rotate", "verify", "manage", "audit"}

// maxRoleName is what PostgreSQL cuts names at.
const maxRoleName = 63

// checkGrant checks what a grant or an entry of a scope is made of.
func checkGrant(pattern string, actions []string) error {
	if _, err := core.ParsePattern(pattern); err != nil {
		return err
	}
	if len(actions) == 0 {
		return core.Errorf(core.Invalid, "no actions are given: they are %s", strings.Join(Grantable, ", "))
	}
	for _, a := range actions {
		if !slices.Contains(Grantable, a) {
			return core.Errorf(core.Invalid, "unknown action %s: actions are %s", core.Quote(a), strings.Join(Grantable, ", "))
		}
	}
	return nil
}

func checkRole(role string) error {
	if role == "" || len(role) > maxRoleName {
		return core.Errorf(core.Invalid, "a role name is 1 to %d bytes", maxRoleName)
	}
	return checkText("a role name", role)
}

func (g *Grant) check() error {
	if err := checkRole(g.Role); err != nil {
		return err
	}
	return checkGrant(g.Pattern, g.Actions)
}

// text is what records of the audit call a grant.
func (g *Grant) text(preposition string) string {
	if g.check() != nil {
		return "" // what is no pattern may be a value in the wrong place
	}
	return strings.Join(g.Actions, ",") + " on " + g.Pattern + " " + preposition + " " + g.Role
}

// Grants returns the grants on patterns that the caller may manage or audit. Errors: Unauthenticated, Denied, Unavailable.
func (v *Vault) Grants(ctx context.Context, c Caller) ([]GrantInfo, error) {
	a := v.try(c, ActionAccess, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out []GrantInfo, err error) {
		all, i, err := v.c.Store.ListGrants(ctx, a.by, c.Freshness)
		out = all
		return out, a.found(i, err)
	})
}

// AdmitManager returns a refusal unless the caller has the right manage on all names. Errors: Unauthenticated, Denied,
// Unavailable.
func (v *Vault) AdmitManager(ctx context.Context, c Caller) error {
	a := v.try(c, ActionAccess, "", 0)
	return a.serve(ctx, func(ctx context.Context) error {
		i, err := v.c.Store.Decide(ctx, a.by, "manage", "", onPrimary)
		if err == nil {
			err = i.Refusal(a.by, "manage")
		}
		return a.found(i, err)
	})
}

// Grant lets a role do actions on a pattern. It needs the right manage on the pattern. Errors: Unauthenticated, Denied,
// Invalid, NotFound (no such role), Unavailable.
func (v *Vault) Grant(ctx context.Context, c Caller, g Grant) (core.Position, error) {
	return v.changeGrant(ctx, c, ActionGrant, g, "to", v.c.Store.Grant)
}

// Revoke takes back what was granted to a role. It needs the right manage on the pattern. Errors: Unauthenticated, Denied,
// Invalid, NotFound (no such role or grant), Unavailable.
func (v *Vault) Revoke(ctx context.Context, c Caller, g Grant) (core.Position, error) {
	return v.changeGrant(ctx, c, ActionRevoke, g, "from", v.c.Store.Revoke)
}

func (v *Vault) changeGrant(ctx context.Context, c Caller, action Action, g Grant, preposition string,
	change func(context.Context, Grant, Author) (core.Position, error)) (core.Position, error) {
	a := v.try(c, action, g.text(preposition), 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		if err := g.check(); err != nil {
			return at, a.invalid(ctx, err)
		}
		i, err := v.c.Store.Decide(ctx, a.by, RightOf(action), g.Pattern, onPrimary)
		if err == nil {
			err = i.Refusal(a.by, RightOf(action))
		}
		if err := a.found(i, err); err != nil {
			return at, err
		}
		return change(ctx, g, a.author())
	})
}

// Explain says what the caller may do with a name, and which grants let it; or for those who have the right manage on the
// name, what a role may do. Errors: Unauthenticated, Denied, Invalid, NotFound (no such role), Unavailable.
func (v *Vault) Explain(ctx context.Context, c Caller, role, name string) (Explanation, error) {
	a := v.try(c, ActionAccess, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out Explanation, err error) {
		if _, err := a.parseName(ctx, name); err != nil {
			return out, err
		}
		if role != "" {
			if err := checkRole(role); err != nil {
				return out, a.invalid(ctx, err)
			}
		}
		x, i, err := v.c.Store.ExplainAccess(ctx, a.by, role, name, c.Freshness)
		out = x
		return out, a.found(i, err)
	})
}
