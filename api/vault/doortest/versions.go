package doortest

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// CreateMetadata implements vault.Store.
func (s *Store) CreateMetadata(_ context.Context, n vault.NewSecret, by vault.Author) (vault.Secret, error) {
	leave, err := s.enter("CreateMetadata")
	defer leave()
	if err != nil {
		return vault.Secret{}, err
	}
	o, err := s.admit(by, "create", string(n.Name))
	if err != nil {
		return vault.Secret{}, err
	}
	if s.secrets[n.Name] != nil {
		return vault.Secret{}, core.Errorf(core.Exists, "a secret of that name exists")
	}
	first := uint64(1)
	if last := s.used[n.Name]; last > 0 {
		first = last + 2 // the number between is that of having no version
	}
	now := s.Now()
	x := &secret{info: vault.Secret{
		ID: n.ID, Name: n.Name, Kind: n.Kind, ContentType: n.ContentType, Description: n.Description, Tags: n.Tags,
		GracePeriodSecs: n.GracePeriodSecs, GeneratePolicy: n.GeneratePolicy, Rotation: n.Rotation, CASRequired: n.CASRequired,
		DeleteVersionAfterSecs: n.DeleteVersionAfterSecs,
		FirstVersion:           first, CurrentVersion: first - 1, SettingsRevision: 1, CreatedAt: now, UpdatedAt: now,
	}}
	if s.secrets == nil {
		s.secrets = map[core.Name]*secret{}
	}
	s.secrets[n.Name] = x
	s.record(o, vault.ActionCreate, string(n.Name), x.info.CurrentVersion)
	return s.at(x.info), nil
}

// ChangeVersions implements vault.Store.
func (s *Store) ChangeVersions(_ context.Context, c vault.VersionsChange, by vault.Author) (vault.VersionsChanged, error) {
	leave, err := s.enter("ChangeVersions")
	defer leave()
	if err != nil {
		return vault.VersionsChanged{}, err
	}
	o, err := s.admit(by, vault.RightOf(c.Action), string(c.Name))
	if err != nil {
		return vault.VersionsChanged{}, err
	}
	x := s.secrets[c.Name]
	if x == nil || x.info.ID != c.ID {
		return vault.VersionsChanged{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	wanted := c.Versions
	if len(wanted) == 0 {
		wanted = []uint64{x.info.CurrentVersion}
	}
	out := vault.VersionsChanged{}
	for i := range x.versions {
		v := &x.versions[i]
		if slices.Contains(wanted, v.number) && s.changeVersion(x, v, c.Action) {
			out.Versions = append(out.Versions, v.number)
			s.record(o, c.Action, string(c.Name), v.number)
		}
	}
	if len(out.Versions) == 0 {
		s.Recorder.add(vault.Entry{Origin: o, Action: c.Action, Name: string(c.Name), Outcome: vault.OutcomeOK})
	}
	out.Position = s.position()
	return out, nil
}

func (s *Store) changeVersion(x *secret, v *version, action vault.Action) bool {
	switch {
	case !v.destroyed.IsZero():
	case action == vault.ActionDeleteVersion && v.deleted.IsZero():
		v.deleted, v.deleteAt = s.Now(), time.Time{}
		return true
	case action == vault.ActionUndeleteVersion && !v.deleted.IsZero() && s.kept(x, *v):
		v.deleted = time.Time{}
		return true
	case action == vault.ActionDestroyVersion:
		v.destroyed, v.deleteAt, v.sealed = s.Now(), time.Time{}, vault.SealedValue{}
		return true
	}
	return false
}

// withoutCurrent returns why a secret has no current version to read.
func (s *Store) withoutCurrent(name core.Name) error {
	x := s.secrets[name]
	last := len(x.versions) - 1
	if !x.info.HasVersion() || last >= 0 && x.versions[last].gone(s.Now()) {
		return core.Errorf(core.NotFound, "the secret has no current version")
	}
	return core.Errorf(core.Corrupt, "the current version is not there")
}

func tagsOf(x vault.Secret) []byte {
	if len(x.Tags) == 0 {
		return []byte("{}")
	}
	b, _ := json.Marshal(x.Tags)
	return b
}
