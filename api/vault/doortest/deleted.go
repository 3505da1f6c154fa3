package doortest

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// deleted is a secret that can be restored.
type deleted struct {
	secret *secret
	at     time.Time
	until  time.Time
}

// Retain makes deleted secrets be kept for a time; 0 ends that.
func (s *Store) Retain(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retention = d
}

// end keeps a secret that is deleted, or not.
func (s *Store) end(x *secret, destroy bool) {
	if s.retention > 0 && !destroy {
		s.bin = append([]deleted{{secret: x, at: s.Now(), until: s.Now().Add(s.retention)}}, s.bin...)
	}
}

// ListDeleted implements vault.Store.
func (s *Store) ListDeleted(_ context.Context, by vault.Credential, prefix string, after vault.DeletedCursor, limit int, f vault.Freshness) (
	[]vault.DeletedSecret, vault.Identity, error,
) {
	leave, err := s.enter("ListDeleted")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "list", "")
	if err != nil {
		return nil, who, err
	}
	var out []vault.DeletedSecret
	for _, d := range s.bin {
		if x := d.secret.info; d.until.After(s.Now()) && core.HasPrefix(x.Name, prefix) && s.sees(by, x.Name) && len(out) < limit && isAfter(d, after) {
			out = append(out, vault.DeletedSecret{
				ID: x.ID, Name: x.Name, Kind: x.Kind, ContentType: x.ContentType, Description: x.Description,
				CurrentVersion: x.CurrentVersion, CreatedAt: x.CreatedAt, DeletedAt: d.at, RestorableUntil: d.until,
			})
		}
	}
	return out, who, nil
}

// isAfter reports whether a deleted secret comes after a position of the list.
func isAfter(d deleted, at vault.DeletedCursor) bool {
	until, id := d.until.UnixMicro(), d.secret.info.ID
	return at.Until.IsZero() || until < at.Until.UnixMicro() || until == at.Until.UnixMicro() && bytes.Compare(id[:], at.ID[:]) < 0
}

func (s *Store) inBin(id core.SecretID) (int, error) {
	i := slices.IndexFunc(s.bin, func(d deleted) bool { return d.secret.info.ID == id && d.until.After(s.Now()) })
	if i < 0 {
		return 0, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	return i, nil
}

// DeletedName implements vault.Store.
func (s *Store) DeletedName(_ context.Context, id core.SecretID) (core.Name, error) {
	leave, err := s.enter("DeletedName")
	defer leave()
	if err != nil {
		return "", err
	}
	i, err := s.inBin(id)
	if err != nil {
		return "", core.Errorf(core.NotFound, "no such deleted secret")
	}
	return s.bin[i].secret.info.Name, nil
}

// RestoreSecret implements vault.Store.
func (s *Store) RestoreSecret(_ context.Context, id core.SecretID, name core.Name, by vault.Author) (vault.Secret, error) {
	leave, err := s.enter("RestoreSecret")
	defer leave()
	if err != nil {
		return vault.Secret{}, err
	}
	o, err := s.admit(by, "create", string(name))
	if err != nil {
		return vault.Secret{}, err
	}
	i, err := s.inBin(id)
	if err != nil {
		return vault.Secret{}, err
	}
	x := s.bin[i].secret
	if s.secrets[name] != nil || s.used[name] != max(x.info.CurrentVersion, x.info.FirstVersion) {
		return vault.Secret{}, core.Errorf(core.Exists, "a secret of that name exists")
	}
	s.bin = slices.Delete(s.bin, i, i+1)
	s.secrets[name] = x
	s.reschedule(x)
	x.info.UpdatedAt = s.Now()
	s.record(o, vault.ActionRestore, string(name), x.info.CurrentVersion)
	return s.at(x.info), nil
}

// DestroyDeleted implements vault.Store.
func (s *Store) DestroyDeleted(_ context.Context, id core.SecretID, name core.Name, by vault.Author) (core.Position, error) {
	leave, err := s.enter("DestroyDeleted")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "delete", string(name))
	if err != nil {
		return core.Position{}, err
	}
	i, err := s.inBin(id)
	if err != nil {
		return core.Position{}, err
	}
	version := s.bin[i].secret.info.CurrentVersion
	s.bin = slices.Delete(s.bin, i, i+1)
	s.record(o, vault.ActionDestroy, string(name), version)
	return s.position(), nil
}
