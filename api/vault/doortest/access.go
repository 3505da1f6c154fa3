package doortest

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// ListGrants implements vault.Store.
func (s *Store) ListGrants(_ context.Context, by vault.Credential, f vault.Freshness) ([]vault.GrantInfo, vault.Identity, error) {
	leave, err := s.enter("ListGrants")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	h := s.identify(by)
	if h.Cause == "" && s.refusal(h, "audit", "") != "" && !(s.granted(h, "manage", "") && allows(h.scopes, "manage", "")) {
		h.Cause = vault.CauseGrant
		if h.Actor == "reader" {
			h.Actor = "anonymous"
		}
	}
	if err := h.Refusal(by, "manage"); err != nil {
		return nil, h.Identity, err
	}
	var out []vault.GrantInfo
	for _, g := range s.grants {
		if s.refusal(h, "manage", string(g.pattern)) == "" || s.refusal(h, "audit", string(g.pattern)) == "" {
			out = append(out, vault.GrantInfo{Role: g.to.name, Pattern: string(g.pattern), Action: g.action, GrantedAt: s.Now(), GrantedBy: "someone"})
		}
	}
	return out, h.Identity, nil
}

// Grant implements vault.Store.
func (s *Store) Grant(_ context.Context, g vault.Grant, by vault.Author) (core.Position, error) {
	leave, err := s.enter("Grant")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "manage", g.Pattern)
	if err != nil {
		return core.Position{}, err
	}
	if s.role(g.Role) == nil {
		return core.Position{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	s.grant(g)
	s.record(o, vault.ActionGrant, g.Pattern+" to "+g.Role, 0)
	return s.position(), nil
}

// Revoke implements vault.Store.
func (s *Store) Revoke(_ context.Context, g vault.Grant, by vault.Author) (core.Position, error) {
	leave, err := s.enter("Revoke")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "manage", g.Pattern)
	if err != nil {
		return core.Position{}, err
	}
	if s.role(g.Role) == nil || !s.revoke(g) {
		return core.Position{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	s.record(o, vault.ActionRevoke, g.Pattern+" from "+g.Role, 0)
	return s.position(), nil
}

// ExplainAccess implements vault.Store.
func (s *Store) ExplainAccess(_ context.Context, by vault.Credential, name, secret string, f vault.Freshness) (vault.Explanation, vault.Identity, error) {
	leave, err := s.enter("ExplainAccess")
	defer leave()
	if err != nil {
		return vault.Explanation{}, vault.Identity{}, err
	}
	s.asked = f
	right := "manage"
	if name == "" {
		right = vault.RightSelf
	}
	h := s.decide(by, right, secret)
	if err := h.Refusal(by, right); err != nil {
		return vault.Explanation{}, h.Identity, err
	}
	about := h
	if name != "" {
		about = holder{role: s.role(name)}
	}
	if about.role == nil {
		return vault.Explanation{}, h.Identity, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	out := vault.Explanation{Role: about.role.name}
	for _, a := range vault.Grantable {
		out.Lines = append(out.Lines, s.explain(about, a, secret)...)
	}
	return out, h.Identity, nil
}

func (s *Store) explain(about holder, action, name string) (lines []vault.ExplanationLine) {
	for _, g := range s.grants {
		if g.action != action || !g.matches(name) || !about.role.inherits(g.to) {
			continue
		}
		l := vault.ExplanationLine{Action: action, Allowed: true, Grantee: g.to.name, Pattern: string(g.pattern), How: "inherited"}
		if g.to == about.role {
			l.How = "granted"
		}
		if !allows(about.scopes, action, name) {
			l.Allowed, l.Cause = false, vault.CauseScope
		}
		lines = append(lines, l)
	}
	if lines == nil {
		lines = []vault.ExplanationLine{{Action: action, Cause: vault.CauseGrant}}
	}
	return lines
}
