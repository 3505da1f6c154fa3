package doortest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func (s *Store) stored(x *secret, v version) vault.StoredValue {
	out := vault.StoredValue{
		SecretID: x.info.ID, Name: x.info.Name, ContentType: x.info.ContentType, Kind: x.info.Kind,
		CurrentVersion: x.info.CurrentVersion, Version: v.number, CreatedAt: v.created, ExpiresAt: v.expires,
		Tags: tagsOf(x.info), NextRotationAt: x.info.NextRotationAt, DeleteAt: v.deleteAt,
		Sealed: vault.SealedValue{
			EnvelopeVersion: v.sealed.EnvelopeVersion, Nonce: bytes.Clone(v.sealed.Nonce), Ciphertext: bytes.Clone(v.sealed.Ciphertext),
			Key: vault.WrappedKey{KeyID: v.sealed.Key.KeyID, Wrapped: bytes.Clone(v.sealed.Key.Wrapped)},
		},
	}
	if s.edit != nil {
		s.edit(&out)
	}
	return out
}

// exists reports whether a version is alive or kept.
func (s *Store) exists(x *secret, v version) bool {
	return !v.gone(s.Now()) && s.kept(x, v)
}

// kept reports whether a version is alive or kept, were it not deleted.
func (s *Store) kept(x *secret, v version) bool {
	return v.inGrace(s.Now()) || v.number+uint64(x.info.Rotation.KeepVersions) >= x.info.CurrentVersion
}

func (s *Store) alive(v version) bool { return !v.gone(s.Now()) && v.inGrace(s.Now()) }

func (v version) inGrace(now time.Time) bool { return v.expires.IsZero() || v.expires.After(now) }

// ReadSealed implements vault.Store.
func (s *Store) ReadSealed(_ context.Context, by vault.Credential, name core.Name, number uint64, f vault.Freshness) ([]vault.StoredValue, vault.Identity, error) {
	leave, err := s.enter("ReadSealed")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "read", string(name))
	if err != nil {
		return nil, who, err
	}
	return s.sealed(name, number), who, nil
}

func (s *Store) sealed(name core.Name, number uint64) (out []vault.StoredValue) {
	x := s.secrets[name]
	if x == nil {
		return nil
	}
	for _, v := range x.versions {
		if s.exists(x, v) && (v.number == number || number == 0 && v.number == x.info.CurrentVersion) {
			out = append(out, s.stored(x, v))
		}
	}
	return out
}

// ReadEach implements vault.Store.
func (s *Store) ReadEach(_ context.Context, by vault.Credential, names []core.Name, room int, f vault.Freshness) ([]vault.StoredResult, vault.Identity, error) {
	leave, err := s.enter("ReadEach")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	out := make([]vault.StoredResult, len(names))
	var who vault.Identity
	for i, n := range names {
		var refused error
		if who, refused = s.decided(by, "read", string(n)); who.Cause.OfToken() {
			return nil, who, refused
		}
		rows := s.sealed(n, 0)
		switch {
		case refused != nil:
			out[i].Err = refused
		case s.secrets[n] == nil:
			out[i].Err = core.Errorf(core.NotFound, "no such secret")
		case len(rows) != 1:
			out[i].Err = s.withoutCurrent(n)
		case len(rows[0].Sealed.Ciphertext) > room:
			out[i].Err = core.Errorf(core.TooLarge, "no room left")
		default:
			out[i].StoredValue = rows[0]
			room -= len(rows[0].Sealed.Ciphertext)
		}
	}
	return out, who, nil
}

// ReadSealedOnWriter implements vault.Store.
func (s *Store) ReadSealedOnWriter(_ context.Context, name core.Name) (vault.StoredValue, error) {
	leave, err := s.enter("ReadSealedOnWriter")
	defer leave()
	if err != nil {
		return vault.StoredValue{}, err
	}
	x := s.secrets[name]
	if x == nil {
		return vault.StoredValue{}, core.Errorf(core.NotFound, "no such secret")
	}
	if found := s.sealed(name, 0); len(found) == 1 {
		return found[0], nil
	}
	return vault.StoredValue{}, core.Errorf(core.NotFound, "no such secret")
}

// ReadVerifiable implements vault.Store.
func (s *Store) ReadVerifiable(_ context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.StoredValue, vault.Identity, error) {
	leave, err := s.enter("ReadVerifiable")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "verify", string(name))
	if err != nil {
		return nil, who, err
	}
	var out []vault.StoredValue
	if x := s.secrets[name]; x != nil {
		for _, v := range slices.Backward(x.versions) {
			if s.alive(v) {
				out = append(out, s.stored(x, v))
			}
		}
	}
	return out, who, nil
}

func (s *Store) describe(op string, by vault.Credential, right string, name core.Name, f vault.Freshness) (vault.Secret, vault.Identity, error) {
	leave, err := s.enter(op)
	defer leave()
	if err != nil {
		return vault.Secret{}, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, right, string(name))
	if err != nil {
		return vault.Secret{}, who, err
	}
	if x := s.secrets[name]; x != nil {
		r := x.result()
		return r.Secret, who, r.Err
	}
	return vault.Secret{}, who, core.Errorf(core.NotFound, "no such secret")
}

// Corrupt makes a secret one whose row cannot be read.
func (s *Store) Corrupt(name core.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name].corrupt = true
}

func (x *secret) result() vault.SecretResult {
	if x.corrupt {
		id := vault.Secret{ID: x.info.ID, Name: x.info.Name, CurrentVersion: x.info.CurrentVersion}
		return vault.SecretResult{Secret: id, Err: core.Errorf(core.Corrupt, "the stored tags are malformed")}
	}
	return vault.SecretResult{Secret: x.info}
}

// DescribeSecret implements vault.Store.
func (s *Store) DescribeSecret(_ context.Context, by vault.Credential, name core.Name, f vault.Freshness) (vault.Secret, vault.Identity, error) {
	return s.describe("DescribeSecret", by, "list", name, f)
}

// DescribeSecretOnWriter implements vault.Store.
func (s *Store) DescribeSecretOnWriter(_ context.Context, by vault.Credential, action vault.Action, name core.Name) (vault.Secret, vault.Identity, error) {
	return s.describe("DescribeSecretOnWriter", by, vault.RightOf(action), name, vault.Freshness{Primary: true})
}

// DescribeSecrets implements vault.Store.
func (s *Store) DescribeSecrets(_ context.Context, by vault.Credential, prefix, after string, limit int, f vault.Freshness) ([]vault.SecretResult, vault.Identity, error) {
	leave, err := s.enter("DescribeSecrets")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "list", "")
	if err != nil {
		return nil, who, err
	}
	out := slices.DeleteFunc(s.sorted(prefix, after), func(x vault.SecretResult) bool { return !s.sees(by, x.Name) })
	return out[:min(limit, len(out))], who, nil
}

// SearchSecrets implements vault.Store.
func (s *Store) SearchSecrets(ctx context.Context, by vault.Credential, part, prefix, after string, limit int, f vault.Freshness) (
	[]vault.SecretResult, vault.Identity, error,
) {
	all, who, err := s.DescribeSecrets(ctx, by, prefix, after, 1<<30, f)
	part = strings.ToLower(part)
	all = slices.DeleteFunc(all, func(x vault.SecretResult) bool {
		return !strings.Contains(strings.ToLower(string(x.Name)), part) && !strings.Contains(strings.ToLower(x.Description), part)
	})
	return all[:min(limit, len(all))], who, err
}

// DescribeVersions implements vault.Store.
func (s *Store) DescribeVersions(_ context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.VersionInfo, vault.Identity, error) {
	leave, err := s.enter("DescribeVersions")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "list", string(name))
	if err != nil {
		return nil, who, err
	}
	var out []vault.VersionInfo
	if x := s.secrets[name]; x != nil {
		for _, v := range slices.Backward(x.versions) {
			out = append(out, vault.VersionInfo{
				Version: v.number, EnvelopeVersion: v.sealed.EnvelopeVersion, KMSKeyID: v.sealed.Key.KeyID,
				CreatedAt: v.created, ExpiresAt: v.expires, DeletedAt: v.deleted, DestroyedAt: v.destroyed, DeleteAt: v.deleteAt,
			})
		}
	}
	return out, who, nil
}
