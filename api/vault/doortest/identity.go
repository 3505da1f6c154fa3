package doortest

import (
	"context"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Roles that the extension makes.
const (
	AdminRole     = "vault_admin"
	AnonymousRole = "vault_anonymous"
)

// role is a role of the database. Renaming it changes nothing else; a dropped one is no longer in the list of roles.
type role struct {
	name string
	in   []*role
}

type grant struct {
	to      *role
	pattern core.Pattern
	action  string
}

// begin makes the roles and grants of a new extension; the mutex is held.
func (s *Store) begin() {
	if s.roles != nil {
		return
	}
	admin, anonymous := &role{name: AdminRole}, &role{name: AnonymousRole}
	s.roles = []*role{admin, anonymous}
	for _, a := range vault.Grantable {
		s.grants = append(s.grants, grant{admin, "*", a})
	}
	s.grants = append(s.grants, grant{anonymous, "*", "read"}, grant{anonymous, "*", "verify"})
}

// AddRole makes a role that is a member of others.
func (s *Store) AddRole(name string, in ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	r := &role{name: name}
	for _, other := range in {
		r.in = append(r.in, s.role(other))
	}
	s.roles = append(s.roles, r)
}

// DropRole drops a role, and its grants with it.
func (s *Store) DropRole(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	gone := s.role(name)
	s.roles = slices.DeleteFunc(s.roles, func(r *role) bool { return r == gone })
	s.grants = slices.DeleteFunc(s.grants, func(g grant) bool { return g.to == gone })
}

// RenameRole gives a role another name.
func (s *Store) RenameRole(name, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.role(name).name = to
}

// Leave ends all memberships of a role.
func (s *Store) Leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.role(name).in = nil
}

// GrantTo grants actions to a role.
func (s *Store) GrantTo(name, pattern string, actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.grant(vault.Grant{Role: name, Pattern: pattern, Actions: actions})
}

// RevokeFrom takes actions from a role.
func (s *Store) RevokeFrom(name, pattern string, actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.revoke(vault.Grant{Role: name, Pattern: pattern, Actions: actions})
}

func (s *Store) grant(g vault.Grant) {
	to := s.role(g.Role)
	for _, a := range g.Actions {
		if x := (grant{to, core.Pattern(g.Pattern), a}); !slices.Contains(s.grants, x) {
			s.grants = append(s.grants, x)
		}
	}
}

func (s *Store) revoke(g vault.Grant) (found bool) {
	from := s.role(g.Role)
	before := len(s.grants)
	s.grants = slices.DeleteFunc(s.grants, func(x grant) bool {
		return x.to == from && string(x.pattern) == g.Pattern && slices.Contains(g.Actions, x.action)
	})
	return len(s.grants) < before
}

func (s *Store) role(name string) *role {
	for _, r := range s.roles {
		if r.name == name {
			return r
		}
	}
	return nil
}

// inherits reports whether r has the rights of another role.
func (r *role) inherits(other *role) bool {
	return r == other || slices.ContainsFunc(r.in, func(x *role) bool { return x.inherits(other) })
}

// holder is who a credential was found to be.
type holder struct {
	vault.Identity
	role   *role
	scopes []vault.Scope
	token  *token
}

// identify finds out who asks; the mutex is held.
func (s *Store) identify(by vault.Credential) holder {
	s.begin()
	h := holder{Identity: vault.Identity{Actor: "reader"}}
	if !by.HasToken() {
		if h.role = s.role(AnonymousRole); h.role == nil {
			h.Cause = vault.CauseGrant
		}
		h.Acting = AnonymousRole
		return h
	}
	i := slices.IndexFunc(s.tokens, func(t *token) bool { return t.Fingerprint == by.Fingerprint })
	if i < 0 {
		h.Identity = vault.Identity{Cause: vault.CauseTokenUnknown, Actor: "anonymous"}
		return h
	}
	h.token = s.tokens[i]
	h.role, h.scopes = h.token.role, h.token.scopes
	h.Actor, h.Acting, h.Cause = "token:"+h.token.Name, h.role.name, s.tokenCause(h.token, by)
	if h.Cause == "" && !slices.Contains(s.roles, h.role) {
		h.Cause = vault.CauseRoleMissing
	}
	return h
}

func (s *Store) tokenCause(t *token, by vault.Credential) vault.Cause {
	switch {
	case !t.revoked.IsZero():
		return vault.CauseTokenRevoked
	case !t.expires.IsZero() && !t.expires.After(s.Now()):
		return vault.CauseTokenExpired
	}
	for _, n := range t.BoundCIDRs {
		if n.Contains(by.Addr) {
			return ""
		}
	}
	if t.BoundCIDRs != nil {
		return vault.CauseTokenAddress
	}
	return ""
}

// granted reports whether the holder's role may do an action on a name; "" is any name.
func (s *Store) granted(h holder, action, name string) bool {
	return slices.ContainsFunc(s.grants, func(g grant) bool {
		return g.action == action && (name == "" || g.matches(name)) && h.role.inherits(g.to)
	})
}

// matches takes patterns for names too, as the schema does.
func (g grant) matches(name string) bool {
	return g.pattern == "*" || string(g.pattern) == name || g.pattern.Matches(core.Name(name))
}

func allows(scopes []vault.Scope, action, name string) bool {
	for _, scope := range scopes {
		if !slices.ContainsFunc(scope, func(e vault.ScopeEntry) bool {
			return slices.Contains(e.Actions, action) && (name == "" || grant{pattern: core.Pattern(e.Pattern)}.matches(name))
		}) {
			return false
		}
	}
	return true
}

// decide is vault.decide() of the schema; the mutex is held.
func (s *Store) decide(by vault.Credential, right, name string) holder {
	if by.IsItself() {
		return holder{}
	}
	h := s.identify(by)
	if h.Cause == "" {
		h.Cause = s.refusal(h, right, name)
	}
	if h.Cause != "" && h.Actor == "reader" {
		h.Actor = "anonymous"
	}
	return h
}

func (s *Store) refusal(h holder, right, name string) vault.Cause {
	actions := []string{right}
	switch right {
	case vault.RightSelf:
		return ""
	case "list", "watch", "status":
		actions = vault.Grantable
	case "manage":
		if name == "" {
			name = "*"
		}
	}
	cause := vault.CauseGrant
	for _, a := range actions {
		if s.granted(h, a, name) {
			if allows(h.scopes, a, name) {
				return ""
			}
			if len(actions) == 1 {
				cause = vault.CauseScope
			}
		}
	}
	return cause
}

// decided is decide with the error that a method returns.
func (s *Store) decided(by vault.Credential, right, name string) (vault.Identity, error) {
	h := s.decide(by, right, name)
	return h.Identity, h.Refusal(by, right)
}

// sees reports whether a caller may do anything with a name.
func (s *Store) sees(by vault.Credential, name core.Name) bool {
	return by.IsItself() || s.decide(by, "list", string(name)).Cause == ""
}

// admit decides about the author of a change and returns the origin that it is recorded with.
func (s *Store) admit(by vault.Author, right, name string) (vault.Origin, error) {
	who, err := s.decided(by.By, right, name)
	o := by.Origin
	if !by.By.IsItself() {
		o.Actor, o.SessionRole = who.Actor, who.Acting
	}
	return o, err
}

// Decide implements vault.Store.
func (s *Store) Decide(ctx context.Context, by vault.Credential, right, name string, f vault.Freshness) (vault.Identity, error) {
	leave, err := s.enter("Decide")
	defer leave()
	if err != nil || ctx.Err() != nil {
		return vault.Identity{}, orCancelled(ctx, err)
	}
	s.asked = f
	return s.decide(by, right, name).Identity, nil
}

// orCancelled is what a store makes of a context that has ended.
func orCancelled(ctx context.Context, err error) error {
	if err == nil && ctx.Err() != nil {
		err = core.Wrap(core.Unavailable, ctx.Err(), "the request was cancelled")
	}
	return err
}

// Passing implements vault.Store.
func (s *Store) Passing(_ context.Context, callers []vault.Credential) (out []vault.Credential, err error) {
	leave, err := s.enter("Passing")
	defer leave()
	if err != nil {
		return nil, err
	}
	for _, by := range callers {
		right := "list"
		if by.HasToken() {
			right = vault.RightSelf
		}
		if s.decide(by, right, "").Cause == "" {
			out = append(out, by)
		}
	}
	return out, nil
}
