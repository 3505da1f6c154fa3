package vault

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Value is an opened version. The receiver calls Wipe.
type Value struct {
	Name           core.Name
	Kind           core.Kind
	ContentType    core.ContentType
	Version        uint64
	CurrentVersion uint64
	CreatedAt      time.Time
	ExpiresAt      time.Time // zero = does not expire
	Tags           []byte    // of the secret, a JSON object as it is stored; nil = not known
	NextRotationAt time.Time // of the secret; zero = none, or not known
	DeleteAt       time.Time // when the version is deleted by itself; zero = never, or not known
	Plain          []byte
}

// Wipe overwrites the plaintext.
func (x *Value) Wipe() { envelope.Wipe(x.Plain) }

// Read returns the current version (version 0) or the given one, while it is in
// grace. It needs an allowed client address and the right read on the name. The caller wipes the
// result. Errors: Unauthenticated, Denied, Invalid, NotFound, Corrupt (what is stored does not open as what it
// claims to be), Unavailable.
func (v *Vault) Read(ctx context.Context, c Caller, name string, version uint64) (Value, error) {
	a := v.try(c, ActionRead, name, version)
	return perform(ctx, a.serve, func(ctx context.Context) (out Value, err error) {
		out, err = a.read(ctx, name, version, c.Freshness)
		if err == nil {
			a.entry.Version = out.Version
		}
		return out, err
	})
}

func (a *attempt) read(ctx context.Context, name string, version uint64, f Freshness) (Value, error) {
	v := a.v
	n, err := a.parseName(ctx, name)
	if err != nil {
		return Value{}, err
	}
	rows, err := a.readSealed(ctx, n, version, f)
	if err == nil && len(rows) == 0 {
		rows, err = a.readAgain(ctx, n, version, f)
	}
	if err != nil {
		return Value{}, err
	}
	if len(rows) != 1 || version != 0 && rows[0].Version != version {
		return Value{}, errCorrupt()
	}
	if version == 0 {
		return v.openCurrent(ctx, n, rows[0])
	}
	return v.openValue(ctx, n, rows[0])
}

// parseName reads a name. It is decided about a caller before it learns that a text is no name.
func (a *attempt) parseName(ctx context.Context, name string) (core.Name, error) {
	n, err := core.ParseName(name)
	if err != nil {
		return "", a.invalid(ctx, err)
	}
	return n, nil
}

func (a *attempt) readSealed(ctx context.Context, n core.Name, version uint64, f Freshness) ([]StoredValue, error) {
	rows, i, err := a.v.c.Store.ReadSealed(ctx, a.by, n, version, f)
	return rows, a.found(i, err)
}

// openCurrent opens a row that must be the current version.
func (v *Vault) openCurrent(ctx context.Context, n core.Name, row StoredValue) (Value, error) {
	if row.Version != row.CurrentVersion {
		return Value{}, errCorrupt()
	}
	return v.openValue(ctx, n, row)
}

func (v *Vault) openValue(ctx context.Context, n core.Name, row StoredValue) (Value, error) {
	plain, err := v.open(ctx, n, row)
	if err != nil {
		return Value{}, err
	}
	return Value{
		Name: n, Kind: row.Kind, ContentType: row.ContentType, Version: row.Version, CurrentVersion: row.CurrentVersion,
		CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt, Tags: row.Tags, NextRotationAt: row.NextRotationAt, DeleteAt: row.DeleteAt,
		Plain: plain,
	}, nil
}

// readAgain tells a secret without a current version that can be read, which is NotFound, from one whose current version
// is lost, which is Corrupt. It returns the rows of a secret that was made or changed between the two queries.
func (a *attempt) readAgain(ctx context.Context, n core.Name, version uint64, f Freshness) ([]StoredValue, error) {
	if version != 0 {
		return nil, core.Errorf(core.NotFound, "no such secret or version")
	}
	s, i, err := a.v.c.Store.DescribeSecret(ctx, a.by, n, f)
	if err != nil {
		return nil, a.found(i, err)
	}
	all, i, err := a.v.c.Store.DescribeVersions(ctx, a.by, n, f)
	if err != nil {
		return nil, a.found(i, err)
	}
	rows, err := a.readSealed(ctx, n, version, f)
	if err == nil && len(rows) == 0 {
		err = s.withoutCurrent(all)
	}
	return rows, err
}

// Gone is in the chain of the NotFound error of a read of a current version that is deleted or destroyed. Its caller may
// read the name, so it may know the metadata too.
type Gone struct {
	Secret  Secret
	Version VersionInfo
}

// Error says for the log which version it is.
func (g *Gone) Error() string {
	return fmt.Sprintf("version %d is deleted or destroyed", g.Version.Version)
}

// withoutCurrent returns why no current version was found of a secret that has these versions.
func (s *Secret) withoutCurrent(all []VersionInfo) error {
	if !s.HasVersion() {
		return core.Errorf(core.NotFound, "the secret has no version yet")
	}
	for _, v := range all {
		// The database has found its time to be deleted over, if it has one: nothing else keeps a current version from being read.
		if v.Version == s.CurrentVersion && !(v.DeletedAt.IsZero() && v.DestroyedAt.IsZero() && v.DeleteAt.IsZero()) {
			return core.Wrap(core.NotFound, &Gone{Secret: *s, Version: v}, "the current version of the secret is deleted")
		}
	}
	return errCorrupt()
}

// open returns the plaintext of a row that must be of the asked name, and wipes
// the data key. The binding is built from the asked name, so a row moved under
// another name does not open.
func (v *Vault) open(ctx context.Context, asked core.Name, row StoredValue) ([]byte, error) {
	if ct, err := core.ParseContentType(string(row.ContentType)); err != nil || ct != row.ContentType || row.Name != asked {
		return nil, errCorrupt()
	}
	b := envelope.Binding{ID: row.SecretID, Name: asked, Version: row.Version, ContentType: row.ContentType}
	key, err := v.unwrap(ctx, row.Sealed.Key, b.KMSContext())
	defer envelope.Wipe(key)
	if err != nil {
		return nil, err
	}
	return envelope.Open(key, b, envelope.Sealed{
		EnvelopeVersion: row.Sealed.EnvelopeVersion, Nonce: row.Sealed.Nonce, Ciphertext: row.Sealed.Ciphertext,
	})
}

func errCorrupt() error {
	return core.Errorf(core.Corrupt, "the stored value is not what it claims to be")
}

// Verdict is the answer of Verify. Version is 0 unless Valid.
type Verdict struct {
	Valid   bool
	Version uint64 // the newest version that equals the candidate
}

// Verify compares the candidate with the current version and every superseded one
// still in grace. It opens and compares all of them whichever matches, so that
// time does not tell. It needs an allowed client address and the right verify on the name. The candidate is wiped
// on every path. Errors: Unauthenticated, Denied, Invalid, TooLarge, NotFound, Corrupt, Unavailable.
func (v *Vault) Verify(ctx context.Context, c Caller, name string, candidate []byte) (Verdict, error) {
	defer envelope.Wipe(candidate)
	a := v.try(c, ActionVerify, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out Verdict, err error) {
		out, err = a.verify(ctx, name, candidate, c.Freshness)
		a.entry.Version = out.Version
		return out, err
	})
}

func (a *attempt) verify(ctx context.Context, name string, candidate []byte, f Freshness) (Verdict, error) {
	v := a.v
	n, err := a.parseName(ctx, name)
	if err != nil {
		return Verdict{}, err
	}
	rows, i, err := v.c.Store.ReadVerifiable(ctx, a.by, n, f)
	if err := a.found(i, err); err != nil {
		return Verdict{}, err
	}
	// Any bytes may be tried, whatever the secret's own content type.
	if err := core.Binary.CheckValue(candidate, v.c.MaxValueLen); err != nil {
		return Verdict{}, err
	}
	if len(rows) == 0 {
		return Verdict{}, core.Errorf(core.NotFound, "no such secret")
	}
	out, err := v.compare(ctx, n, rows, candidate)
	if err == nil {
		err = a.judgeGuess(n, out.Valid)
	}
	if err != nil {
		return Verdict{}, err
	}
	return out, nil
}

func (v *Vault) compare(ctx context.Context, n core.Name, rows []StoredValue, candidate []byte) (Verdict, error) {
	// Oldest first, so that the newest match is the one that stays.
	slices.SortFunc(rows, func(a, b StoredValue) int { return cmp.Compare(a.Version, b.Version) })
	match := 0 // index + 1
	for i := range rows {
		equal, err := v.equals(ctx, n, rows[i], candidate)
		if err != nil {
			return Verdict{}, err
		}
		match = subtle.ConstantTimeSelect(equal, i+1, match)
	}
	if match == 0 {
		return Verdict{}, nil
	}
	return Verdict{Valid: true, Version: rows[match-1].Version}, nil
}

// equals returns 1 when the row's value is the candidate, else 0.
func (v *Vault) equals(ctx context.Context, n core.Name, row StoredValue, candidate []byte) (int, error) {
	plain, err := v.open(ctx, n, row)
	defer envelope.Wipe(plain)
	if err != nil {
		return 0, err
	}
	if envelope.Equal(plain, candidate) {
		return 1, nil
	}
	return 0, nil
}
