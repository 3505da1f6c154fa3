package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxVersionsPerChange is how many versions one call deletes, undeletes or destroys at most.
const MaxVersionsPerChange = 1000

// VersionsChange is what ChangeVersions does.
type VersionsChange struct {
	ID       core.SecretID
	Name     core.Name
	Action   Action   // ActionDeleteVersion, ActionUndeleteVersion or ActionDestroyVersion
	Versions []uint64 // none = the one that is current when the secret is locked
}

// VersionsChanged is what a change of versions did.
type VersionsChanged struct {
	Versions []uint64 // those that were changed, in ascending order
	Position core.Position
}

// DeleteVersions deletes versions of a secret, so that they neither read nor verify, until they are undeleted. No versions
// mean the current one. Versions that are not there, or deleted already, are ignored. It needs the right delete on the
// name. Errors: Unauthenticated, Denied, Invalid, NotFound (the secret), Unavailable.
func (v *Vault) DeleteVersions(ctx context.Context, c Caller, name string, versions []uint64) (VersionsChanged, error) {
	return v.changeVersions(ctx, c, ActionDeleteVersion, name, versions)
}

// UndeleteVersions takes deletions back. A version that was superseded meanwhile, or before, keeps the end of its grace.
// Versions that are not deleted, are destroyed, or would be swept already, are ignored. It needs the right update on the
// name. Errors: as DeleteVersions.
func (v *Vault) UndeleteVersions(ctx context.Context, c Caller, name string, versions []uint64) (VersionsChanged, error) {
	return v.changeVersions(ctx, c, ActionUndeleteVersion, name, versions)
}

// DestroyVersions drops the values of versions permanently, deleted ones included, and keeps their metadata. Versions that
// are not there, or destroyed already, are ignored. It needs the right delete on the name. Errors: as DeleteVersions.
func (v *Vault) DestroyVersions(ctx context.Context, c Caller, name string, versions []uint64) (VersionsChanged, error) {
	return v.changeVersions(ctx, c, ActionDestroyVersion, name, versions)
}

func (v *Vault) changeVersions(ctx context.Context, c Caller, action Action, name string, versions []uint64) (VersionsChanged, error) {
	var recorded uint64
	if len(versions) == 1 && versions[0] <= math.MaxInt64 {
		recorded = versions[0]
	}
	a := v.try(c, action, name, recorded)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (out VersionsChanged, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return out, err
		}
		if err := checkVersions(versions); err != nil {
			return out, a.invalid(ctx, err)
		}
		err = a.onPresent(ctx, n, AnyVersion, func(s Secret, _ error) (err error) {
			// What is corrupt can be deleted: nothing is made of it.
			x := VersionsChange{ID: s.ID, Name: s.Name, Action: action, Versions: versions}
			out, err = v.c.Store.ChangeVersions(ctx, x, a.author())
			return err
		})
		return out, err
	})
}

func checkVersions(versions []uint64) error {
	if len(versions) > MaxVersionsPerChange {
		return core.Errorf(core.Invalid, "%d versions are given, limit is %d", len(versions), MaxVersionsPerChange)
	}
	if slices.ContainsFunc(versions, func(n uint64) bool { return n < 1 || n > math.MaxInt64 }) {
		return core.Errorf(core.Invalid, "a version is a whole number from 1")
	}
	return nil
}

// ErrConditionRequired is in the chain of the error of an update that names no version of a secret that requires one.
var ErrConditionRequired = errors.New("the update names no version")

// What an expected version of a change can be, beside AnyVersion and a number.
const (
	// NoVersion means that the secret must be there, and have no version yet.
	NoVersion uint64 = math.MaxUint64
	// VersionZero means the same for the first secret of a name alone, whose CurrentVersion is 0.
	VersionZero uint64 = math.MaxUint64 - 1
)

// expects returns Stale unless an expected version of a change is the current one of s.
func (s *Secret) expects(expected uint64) error {
	fits := expected == s.CurrentVersion
	switch expected {
	case AnyVersion:
		return nil
	case NoVersion:
		if !s.HasVersion() {
			return nil
		}
		return core.Errorf(core.Stale, "no version was expected, version %d is current", s.CurrentVersion)
	case VersionZero:
		expected, fits = 0, s.CurrentVersion == 0 && !s.HasVersion()
	}
	if !fits {
		return core.Errorf(core.Stale, "version %d was expected, version %d is current", expected, s.CurrentVersion)
	}
	return nil
}

// recordedVersion is an expected version as an audit record has it; 0 where it is no number of a version.
func recordedVersion(expected uint64) uint64 {
	if expected > math.MaxInt64 {
		return 0
	}
	return expected
}

// CreateMetadata stores a new manual secret that has settings and no version, and returns its metadata. A later update
// makes its first version, which is FirstVersion. Until then its value is NotFound. It needs the right create on the name.
// Errors: Unauthenticated, Denied, Invalid, Exists, Unavailable.
func (v *Vault) CreateMetadata(ctx context.Context, c Caller, r CreateRequest) (Secret, error) {
	r.WithoutValue = true
	return v.Create(ctx, c, r)
}

func (v *Vault) createMetadata(ctx context.Context, r CreateRequest, by Author) (Secret, error) {
	if r.Kind != "" && r.Kind != string(core.Manual) {
		return Secret{}, core.Errorf(core.Invalid, "only a manual secret can be made without a value")
	}
	s, err := r.parse()
	if err != nil {
		return Secret{}, err
	}
	if s.ID, err = core.NewSecretID(rand.Reader); err != nil {
		return Secret{}, err
	}
	return v.c.Store.CreateMetadata(ctx, s, by)
}
