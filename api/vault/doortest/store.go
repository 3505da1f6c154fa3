package doortest

import (
	"bytes"
	"context"
	"slices"
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

	mu      sync.Mutex
	secrets map[core.Name]*secret
	used    map[core.Name]uint64 // the last version of a deleted secret
	tokens  []*token
	roles   []*role // the oldest first; nil = those of a new extension
	grants  []grant
	jobs    map[core.SecretID]*job
	changes []vault.Change
	fail    func(op string) error
	edit    func(*vault.StoredValue)
	lsn     vault.LSN
	asked   vault.Freshness
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

	planFailed string // why its schedule could not be planned
}

type version struct {
	number  uint64
	sealed  vault.SealedValue
	created time.Time
	expires time.Time
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
func (s *Store) LastPosition() vault.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position()
}

func (s *Store) position() vault.Position { return vault.Position{Timeline: 3, LSN: s.lsn} }

// at returns what a change returns: with its Position, which what is stored has not.
func (s *Store) at(x vault.Secret) vault.Secret {
	x.Position = s.position()
	return x
}

func (s *Store) record(o vault.Origin, a vault.Action, name string, v uint64) {
	s.lsn += 0x1_0000_0038
	s.Recorder.add(vault.Entry{Origin: o, Action: a, Name: name, Version: v, Outcome: vault.OutcomeOK})
	switch a {
	case vault.ActionCreate, vault.ActionUpdate, vault.ActionRotate, vault.ActionDelete:
		n := len(s.changes) + 1
		s.changes = append(s.changes, vault.Change{
			Place: vault.Place{Transaction: uint64(n), ID: int64(n), At: s.Now().UnixMicro()}, At: s.Now(), Action: a, Name: core.Name(name), Version: v,
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
		Rotation: n.Rotation, CurrentVersion: n.Version, SettingsRevision: 1, CreatedAt: now, UpdatedAt: now,
	}, versions: []version{{number: n.Version, sealed: n.Sealed, created: now}}}
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
			return nil, core.Errorf(core.Stale, "the secret is at version %d, not %d", x.info.CurrentVersion, expected)
		}
		return x, nil
	}
	return nil, core.Errorf(core.NotFound, "no such secret")
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
	return s.at(x.info), nil
}

func (s *Store) supersede(x *secret, sealed vault.SealedValue, action vault.Action, o vault.Origin) {
	now := s.Now()
	x.versions[len(x.versions)-1].expires = now.Add(time.Duration(x.info.GracePeriodSecs) * time.Second)
	x.info.CurrentVersion++
	x.info.UpdatedAt = now
	x.versions = append(x.versions, version{number: x.info.CurrentVersion, sealed: sealed, created: now})
	s.record(o, action, string(x.info.Name), x.info.CurrentVersion)
}

// DeleteSecret implements vault.Store.
func (s *Store) DeleteSecret(_ context.Context, d vault.Deletion, by vault.Author) (vault.Position, error) {
	leave, err := s.enter("DeleteSecret")
	defer leave()
	if err != nil {
		return vault.Position{}, err
	}
	o, err := s.admit(by, "delete", string(d.Name))
	if err != nil {
		return vault.Position{}, err
	}
	x, err := s.current(d.ID, d.Expected)
	if err != nil {
		return vault.Position{}, err
	}
	delete(s.secrets, x.info.Name)
	if s.used == nil {
		s.used = map[core.Name]uint64{}
	}
	s.used[x.info.Name] = x.info.CurrentVersion
	delete(s.jobs, d.ID)
	s.record(o, vault.ActionDelete, string(x.info.Name), d.Expected)
	return s.position(), nil
}

func (s *Store) stored(x *secret, v version) vault.StoredValue {
	out := vault.StoredValue{
		SecretID: x.info.ID, Name: x.info.Name, ContentType: x.info.ContentType, Kind: x.info.Kind,
		CurrentVersion: x.info.CurrentVersion, Version: v.number, CreatedAt: v.created, ExpiresAt: v.expires,
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

func (s *Store) alive(v version) bool { return v.expires.IsZero() || v.expires.After(s.Now()) }

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
		kept := v.number+uint64(x.info.Rotation.KeepVersions) >= x.info.CurrentVersion
		if (s.alive(v) || kept) && (v.number == number || number == 0 && v.number == x.info.CurrentVersion) {
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
			out[i].Err = core.Errorf(core.Corrupt, "the current version is not there")
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
	return s.stored(x, x.versions[len(x.versions)-1]), nil
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
				CreatedAt: v.created, ExpiresAt: v.expires,
			})
		}
	}
	return out, who, nil
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
