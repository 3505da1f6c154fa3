package doortest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Store keeps secrets in memory and behaves as the functions of the vault schema
// do: changes write their own record. Recorder and Now are required.
type Store struct {
	Recorder *Recorder
	Now      func() time.Time
	Replayed *int // changes that the reader has; nil = all
	// OpenTransaction is a place's transaction that is not over; 0 = none.
	OpenTransaction uint64

	AuditRecords int64 // how many AuditAfter has
	// NewestRecords are those of NewestAudit, newest first.
	NewestRecords []vault.AuditRecord

	mu      sync.Mutex
	secrets map[core.Name]*secret
	used    map[core.Name]uint64 // the last version of a deleted secret
	bin     []deleted            // the last deleted first
	tokens  []*token
	roles   []*role // the oldest first; nil = those of a new extension
	grants  []grant
	jobs    map[core.SecretID]*job
	changes []vault.Change
	fail    func(op string) error
	edit    func(*vault.StoredValue)
	lsn     core.LSN

	retention time.Duration // of deleted secrets
	asked     vault.Freshness
}

var (
	_ vault.Store    = (*Store)(nil)
	_ vault.Keeper   = (*Keeper)(nil)
	_ vault.Recorder = (*Recorder)(nil)
)

type secret struct {
	info     vault.Secret
	versions []version
	corrupt  bool // its row cannot be read
	binding  *binding

	planFailed string // why its schedule could not be planned
}

type version struct {
	number    uint64
	sealed    vault.SealedValue
	created   time.Time
	expires   time.Time
	deleteAt  time.Time // zero = never
	deleted   time.Time // zero = it is not
	destroyed time.Time // zero = it is not
}

func (v version) gone(now time.Time) bool {
	return !v.deleted.IsZero() || !v.destroyed.IsZero() || !v.deleteAt.IsZero() && !v.deleteAt.After(now)
}

func (x *secret) add(v version) {
	if secs := x.info.DeleteVersionAfterSecs; secs > 0 {
		v.deleteAt = v.created.Add(time.Duration(secs) * time.Second)
	}
	x.versions = append(x.versions, v)
}

// FailWith makes every further call ask f first, with the method's name; f may
// panic, and may call the Store itself. nil ends that.
func (s *Store) FailWith(f func(op string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// EditWith changes every value that is read, as a hand in the tables would.
func (s *Store) EditWith(f func(*vault.StoredValue)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edit = f
}

// Lose forgets the versions of a secret, as a hand in the tables would.
func (s *Store) Lose(name core.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name].versions = nil
}

// enter asks the failure function and takes the lock.
func (s *Store) enter(op string) (leave func(), err error) {
	s.mu.Lock()
	f := s.fail
	s.mu.Unlock()
	if f != nil {
		if err := f(op); err != nil {
			return func() {}, err
		}
	}
	s.mu.Lock()
	return s.mu.Unlock, nil
}

// Asked returns the freshness that the last read came with.
func (s *Store) Asked() vault.Freshness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// LastPosition returns the Position of the last change.
func (s *Store) LastPosition() core.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position()
}

func (s *Store) position() core.Position { return core.Position{Timeline: 3, LSN: s.lsn} }

// at returns what a change returns: with its Position, which what is stored has not.
func (s *Store) at(x vault.Secret) vault.Secret {
	x.Position = s.position()
	return x
}

func (s *Store) record(o vault.Origin, a vault.Action, name string, v uint64) {
	s.lsn += 0x1_0000_0038
	s.Recorder.add(vault.Entry{Origin: o, Action: a, Name: name, Version: v, Outcome: vault.OutcomeOK})
	switch a {
	case vault.ActionCreate, vault.ActionUpdate, vault.ActionRotate, vault.ActionDelete,
		vault.ActionDeleteVersion, vault.ActionUndeleteVersion, vault.ActionDestroyVersion, vault.ActionRestore, vault.ActionDestroy:
		n := len(s.changes) + 1
		s.changes = append(s.changes, vault.Change{
			Place: vault.Place{Transaction: uint64(n), ID: int64(n), At: s.Now().UnixMicro()}, At: s.Now(), Action: a, Name: core.Name(name), Version: max(v, 1),
		})
	}
}

// CreateSecret implements vault.Store.
func (s *Store) CreateSecret(_ context.Context, n vault.NewSecret, by vault.Author) (vault.Secret, error) {
	leave, err := s.enter("CreateSecret")
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
	if n.Version != s.used[n.Name]+1 {
		return vault.Secret{}, core.Wrap(core.Unavailable, vault.ErrNameUsed, "the name was used and freed meanwhile: try again")
	}
	now := s.Now()
	x := &secret{info: vault.Secret{
		ID: n.ID, Name: n.Name, Kind: n.Kind, ContentType: n.ContentType, Description: n.Description, Tags: n.Tags,
		RotationIntervalSecs: n.RotationIntervalSecs, GracePeriodSecs: n.GracePeriodSecs, GeneratePolicy: n.GeneratePolicy,
		Rotation: n.Rotation, FirstVersion: n.Version, CASRequired: n.CASRequired,
		DeleteVersionAfterSecs: n.DeleteVersionAfterSecs, CurrentVersion: n.Version, SettingsRevision: 1, CreatedAt: now, UpdatedAt: now,
	}}
	x.add(version{number: n.Version, sealed: n.Sealed, created: now})
	if n.RotationIntervalSecs > 0 {
		x.info.NextRotationAt = now.Add(time.Duration(n.RotationIntervalSecs) * time.Second)
	}
	if s.secrets == nil {
		s.secrets = map[core.Name]*secret{}
	}
	s.secrets[n.Name] = x
	s.record(o, vault.ActionCreate, string(n.Name), n.Version)
	return s.at(x.info), nil
}

// FirstVersion implements vault.Store.
func (s *Store) FirstVersion(_ context.Context, name core.Name) (uint64, error) {
	leave, err := s.enter("FirstVersion")
	defer leave()
	if err != nil {
		return 0, err
	}
	if s.secrets[name] != nil {
		return 0, core.Errorf(core.Exists, "a secret of that name exists")
	}
	return s.used[name] + 1, nil
}

func (s *Store) current(id core.SecretID, expected uint64) (*secret, error) {
	for _, x := range s.secrets {
		if x.info.ID != id {
			continue
		}
		if x.info.CurrentVersion != expected {
			return nil, core.Errorf(core.Stale, "secret %q is at version %d, not %d", x.info.Name, x.info.CurrentVersion, expected)
		}
		return x, nil
	}
	return nil, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
}

// AppendVersion implements vault.Store.
func (s *Store) AppendVersion(_ context.Context, n vault.NewVersion, by vault.Author) (vault.Secret, error) {
	leave, err := s.enter("AppendVersion")
	defer leave()
	if err != nil {
		return vault.Secret{}, err
	}
	o, err := s.admit(by, vault.RightOf(n.Action), string(n.Name))
	if err != nil {
		return vault.Secret{}, err
	}
	x, err := s.current(n.ID, n.Expected)
	if err != nil {
		return vault.Secret{}, err
	}
	if n.Description != nil {
		x.info.Description = *n.Description
	}
	if err := x.setPassword(n.Password); err != nil {
		return vault.Secret{}, err
	}
	if n.Tags != nil {
		x.info.Tags = n.Tags
	}
	if n.GracePeriodSecs != nil {
		x.info.GracePeriodSecs = *n.GracePeriodSecs
	}
	if n.Description != nil || n.Tags != nil || n.GracePeriodSecs != nil {
		x.info.SettingsRevision++
	}
	if n.Reschedule {
		s.reschedule(x)
	}
	s.supersede(x, n.Sealed, n.Action, o)
	made := s.at(x.info)
	made.FirstVersion, made.CASRequired, made.DeleteVersionAfterSecs = 0, false, 0
	return made, nil
}

func (s *Store) supersede(x *secret, sealed vault.SealedValue, action vault.Action, o vault.Origin) {
	now := s.Now()
	if len(x.versions) > 0 {
		x.versions[len(x.versions)-1].expires = now.Add(time.Duration(x.info.GracePeriodSecs) * time.Second)
	}
	x.info.CurrentVersion++
	x.info.UpdatedAt = now
	x.add(version{number: x.info.CurrentVersion, sealed: sealed, created: now})
	s.record(o, action, string(x.info.Name), x.info.CurrentVersion)
}

// DeleteSecret implements vault.Store.
func (s *Store) DeleteSecret(_ context.Context, d vault.Deletion, by vault.Author) (core.Position, error) {
	leave, err := s.enter("DeleteSecret")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "delete", string(d.Name))
	if err != nil {
		return core.Position{}, err
	}
	x, err := s.current(d.ID, d.Expected)
	if err != nil {
		return core.Position{}, err
	}
	delete(s.secrets, x.info.Name)
	s.end(x, d.Destroy)
	if s.used == nil {
		s.used = map[core.Name]uint64{}
	}
	s.used[x.info.Name] = max(x.info.CurrentVersion, x.info.FirstVersion)
	delete(s.jobs, d.ID)
	s.record(o, vault.ActionDelete, string(x.info.Name), d.Expected)
	return s.position(), nil
}

// AppendAudit implements vault.Store.
func (s *Store) AppendAudit(_ context.Context, entries []vault.Entry) error {
	leave, err := s.enter("AppendAudit")
	defer leave()
	if err == nil {
		for _, e := range entries {
			s.Recorder.add(e)
		}
	}
	return err
}

// AuditAfter implements vault.Store. The ids of records are 1, 2, 3 and so on.
func (s *Store) AuditAfter(_ context.Context, by vault.Credential, after int64, limit int) ([]vault.AuditRecord, vault.Identity, error) {
	leave, err := s.enter("AuditAfter")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	who, err := s.decided(by, "audit", "")
	if err != nil {
		return nil, who, err
	}
	var out []vault.AuditRecord
	for id := after + 1; id <= s.AuditRecords && len(out) < limit; id++ {
		out = append(out, vault.AuditRecord{ID: id, At: s.Now(), Node: "n", Actor: "reader", Action: "read", Outcome: "ok"})
	}
	return out, who, nil
}

// NewestAudit implements vault.Store, with the records in NewestRecords.
func (s *Store) NewestAudit(_ context.Context, by vault.Credential, q vault.AuditFilter, limit int, f vault.Freshness) ([]vault.AuditRecord, vault.Identity, error) {
	leave, err := s.enter("NewestAudit")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "audit", "")
	if err != nil {
		return nil, who, err
	}
	var out []vault.AuditRecord
	for _, r := range s.NewestRecords {
		before := q.Before.ID == 0 || r.ID < q.Before.ID
		if before && len(out) < limit && (!q.Exact || r.Name == q.Prefix) && strings.HasPrefix(r.Name, q.Prefix) &&
			(q.Action == "" || r.Action == string(q.Action)) && (q.Outcome == "" || r.Outcome == string(q.Outcome)) && strings.Contains(r.Actor, q.Actor) {
			out = append(out, r)
		}
	}
	return out, who, nil
}

// CheckReader implements vault.Store.
func (s *Store) CheckReader(context.Context) error {
	leave, err := s.enter("CheckReader")
	leave()
	return err
}

// CheckWriter implements vault.Store.
func (s *Store) CheckWriter(context.Context) error {
	leave, err := s.enter("CheckWriter")
	leave()
	return err
}
