package doortest

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// CreateToken implements vault.Store.
func (s *Store) CreateToken(_ context.Context, t vault.NewToken, o vault.Origin) error {
	leave, err := s.enter("CreateToken")
	defer leave()
	if err != nil {
		return err
	}
	for _, x := range s.tokens {
		if x.Name == t.Name && x.revoked.IsZero() {
			return core.Errorf(core.Exists, "a token of that name exists")
		}
	}
	s.tokens = append(s.tokens, token{NewToken: t, created: s.Now()})
	s.record(o, vault.ActionTokenCreate, t.Name, 0)
	return nil
}

// ActiveTokens implements vault.Store.
func (s *Store) ActiveTokens(ctx context.Context) ([]vault.ActiveToken, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	leave, err := s.enter("ActiveTokens")
	defer leave()
	if err != nil {
		return nil, err
	}
	var out []vault.ActiveToken
	for _, x := range s.tokens {
		if x.revoked.IsZero() && (x.ExpiresAt.IsZero() || x.ExpiresAt.After(s.Now())) {
			out = append(out, vault.ActiveToken{ID: x.ID, Name: x.Name, Fingerprint: x.Fingerprint})
		}
	}
	return out, nil
}

// ListTokens implements vault.Store.
func (s *Store) ListTokens(context.Context) ([]vault.TokenInfo, error) {
	leave, err := s.enter("ListTokens")
	defer leave()
	if err != nil {
		return nil, err
	}
	var out []vault.TokenInfo
	for _, x := range s.tokens {
		out = append(out, vault.TokenInfo{ID: x.ID, Name: x.Name, CreatedAt: x.created, ExpiresAt: x.ExpiresAt, RevokedAt: x.revoked})
	}
	return out, nil
}

// RevokeToken implements vault.Store.
func (s *Store) RevokeToken(_ context.Context, name string, o vault.Origin) error {
	leave, err := s.enter("RevokeToken")
	defer leave()
	if err != nil {
		return err
	}
	for i := range s.tokens {
		if s.tokens[i].Name == name && s.tokens[i].revoked.IsZero() {
			s.tokens[i].revoked = s.Now()
			s.record(o, vault.ActionTokenRevoke, name, 0)
			return nil
		}
	}
	return core.Errorf(core.NotFound, "no such token")
}
