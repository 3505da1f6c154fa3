package doortest

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

type token struct {
	vault.NewToken
	role                            *role
	parent                          *token
	scopes                          []vault.Scope
	created, expires, most, revoked time.Time // zero = none
}

func (t *token) info(now time.Time) vault.TokenInfo {
	out := vault.TokenInfo{
		ID: t.ID, Name: t.Name, Role: t.role.name, Method: "token", Scopes: t.scopes, Renewable: t.Renewable, TTL: t.TTL,
		CreatedAt: t.created, ExpiresAt: t.expires, MaxExpiresAt: t.most, RevokedAt: t.revoked, Now: now,
	}
	if t.parent != nil {
		out.Parent = t.parent.ID
	}
	for _, n := range t.BoundCIDRs {
		out.BoundCIDRs = append(out.BoundCIDRs, n.String())
	}
	return out
}

// CreateToken implements vault.Store.
func (s *Store) CreateToken(_ context.Context, n vault.NewToken, name string, by vault.Author) (vault.TokenInfo, error) {
	leave, err := s.enter("CreateToken")
	defer leave()
	if err != nil {
		return vault.TokenInfo{}, err
	}
	s.begin()
	right := "manage"
	if name == "" {
		right = vault.RightSelf
	}
	o, err := s.admit(by, right, "")
	if err != nil {
		return vault.TokenInfo{}, err
	}
	t := &token{NewToken: n, role: s.role(name), created: s.Now()}
	if name == "" {
		t.parent = s.identify(by.By).token
		t.role, t.scopes = t.parent.role, slices.Clone(t.parent.scopes)
		if t.BoundCIDRs == nil {
			t.BoundCIDRs = t.parent.BoundCIDRs
		}
	}
	if t.role == nil {
		return vault.TokenInfo{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	if slices.ContainsFunc(s.tokens, func(x *token) bool { return x.Name == n.Name && x.revoked.IsZero() }) {
		return vault.TokenInfo{}, core.Errorf(core.Exists, "a token of that name exists")
	}
	if n.Scope != nil {
		t.scopes = append(t.scopes, n.Scope)
	}
	if n.MaxTTL > 0 {
		t.most = t.created.Add(n.MaxTTL)
	}
	t.end(t.created, n.TTL)
	s.tokens = append(s.tokens, t)
	s.record(o, vault.ActionTokenCreate, n.Name, 0)
	return s.tokenAt(t), nil
}

func (s *Store) tokenAt(t *token) vault.TokenInfo {
	out := t.info(s.Now())
	out.Position = s.position()
	return out
}

// end sets when the token ends, within its limits.
func (t *token) end(now time.Time, ttl time.Duration) {
	t.expires = time.Time{}
	if ttl > 0 {
		t.expires = now.Add(ttl)
	}
	limits := []time.Time{t.most}
	if t.parent != nil {
		limits = append(limits, t.parent.expires)
	}
	for _, l := range limits {
		if !l.IsZero() && (t.expires.IsZero() || l.Before(t.expires)) {
			t.expires = l
		}
	}
}

// over reports whether a caller has a say over a token.
func (s *Store) over(by vault.Credential, t *token) bool {
	if by.IsItself() {
		return true
	}
	h := s.identify(by)
	for x := t; x != nil; x = x.parent {
		if x == h.token {
			return true
		}
	}
	return s.refusal(h, "manage", "*") == ""
}

// ListTokens implements vault.Store.
func (s *Store) ListTokens(_ context.Context, by vault.Credential, after vault.TokenID, limit int, f vault.Freshness) ([]vault.TokenInfo, vault.Identity, error) {
	leave, err := s.enter("ListTokens")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, vault.RightSelf, "")
	if err != nil {
		return nil, who, err
	}
	var out []vault.TokenInfo
	for _, t := range s.tokens {
		if bytes.Compare(t.ID[:], after[:]) > 0 && s.over(by, t) {
			out = append(out, t.info(s.Now()))
		}
	}
	slices.SortFunc(out, func(a, b vault.TokenInfo) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return out[:min(limit, len(out))], who, nil
}

// find returns the token that a caller means.
func (s *Store) find(by vault.Credential, id vault.TokenID) (*token, error) {
	if id == (vault.TokenID{}) && !by.IsItself() {
		if own := s.identify(by).token; own != nil {
			return own, nil
		}
	}
	for _, t := range s.tokens {
		if t.ID == id && s.over(by, t) {
			return t, nil
		}
	}
	return nil, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
}

// ShowToken implements vault.Store.
func (s *Store) ShowToken(_ context.Context, by vault.Credential, id vault.TokenID, f vault.Freshness) (vault.TokenInfo, vault.Identity, error) {
	leave, err := s.enter("ShowToken")
	defer leave()
	if err != nil {
		return vault.TokenInfo{}, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, vault.RightSelf, "")
	if err != nil {
		return vault.TokenInfo{}, who, err
	}
	t, err := s.find(by, id)
	if err != nil {
		return vault.TokenInfo{}, who, err
	}
	return t.info(s.Now()), who, nil
}

// RenewToken implements vault.Store.
func (s *Store) RenewToken(_ context.Context, id vault.TokenID, increment time.Duration, by vault.Author) (vault.TokenInfo, error) {
	leave, err := s.enter("RenewToken")
	defer leave()
	if err != nil {
		return vault.TokenInfo{}, err
	}
	o, err := s.admit(by, vault.RightSelf, "")
	if err != nil {
		return vault.TokenInfo{}, err
	}
	t, err := s.find(by.By, id)
	switch {
	case err != nil:
		return vault.TokenInfo{}, err
	case !t.revoked.IsZero() || !t.expires.IsZero() && !t.expires.After(s.Now()):
		return vault.TokenInfo{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	case !t.Renewable:
		return vault.TokenInfo{}, core.Errorf(core.Invalid, "the token is not renewable")
	}
	if increment == 0 {
		increment = t.TTL
	}
	t.end(s.Now(), increment)
	s.record(o, vault.ActionTokenRenew, t.Name, 0)
	return s.tokenAt(t), nil
}

// RevokeToken implements vault.Store.
func (s *Store) RevokeToken(_ context.Context, id vault.TokenID, by vault.Author) (ended int64, at core.Position, err error) {
	leave, err := s.enter("RevokeToken")
	defer leave()
	if err != nil {
		return 0, at, err
	}
	o, err := s.admit(by, vault.RightSelf, "")
	if err != nil {
		return 0, at, err
	}
	t, err := s.find(by.By, id)
	if err == nil && !t.revoked.IsZero() {
		err = core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	if err != nil {
		return 0, at, err
	}
	for _, x := range s.tokens {
		for up := x; up != nil; up = up.parent {
			if up == t && x.revoked.IsZero() {
				x.revoked = s.Now()
				ended++
			}
		}
	}
	s.record(o, vault.ActionTokenRevoke, t.Name, 0)
	return ended, s.position(), nil
}
