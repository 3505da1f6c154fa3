package vault

import (
	"context"
	"crypto/rand"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// AnyVersion, given as the expected version of a change, means "whatever is
// current": the caller accepts to replace a version it has not seen.
const AnyVersion uint64 = 0

// maxStaleTries bounds how often a change with AnyVersion starts over because
// another change came between.
const maxStaleTries = 5

// UpdateRequest is a new version of a secret. Its content type is the one the
// secret was created with.
type UpdateRequest struct {
	Name            string
	Value           []byte // the door wipes it
	Expected        uint64 // the version to replace; AnyVersion
	Description     *string
	Tags            map[string]string // nil keeps the stored ones
	GracePeriodSecs *int64
}

// Update stores the value as the next version and returns the metadata, never
// the value. It needs the right update on the name. Errors: Unauthenticated, Denied, Invalid, TooLarge,
// NotFound, Stale, Unavailable. The request's Value is wiped on every path.
func (v *Vault) Update(ctx context.Context, c Caller, r UpdateRequest) (Secret, error) {
	defer envelope.Wipe(r.Value)
	a := v.try(c, ActionUpdate, r.Name, recordedVersion(r.Expected))
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (made Secret, err error) {
		name, err := r.parse()
		if err != nil {
			return made, a.invalid(ctx, err)
		}
		err = a.onCurrent(ctx, name, r.Expected, func(s Secret) (err error) {
			if s.CASRequired && r.Expected == AnyVersion {
				return core.Wrap(core.Invalid, ErrConditionRequired, "an update of this secret must name the version it replaces: its cas_required is on")
			}
			if err := checkField(s.GeneratePolicy, r.Value); err != nil {
				return err
			}
			nv := NewVersion{
				ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Action: ActionUpdate,
				Description: r.Description, Tags: r.Tags, GracePeriodSecs: r.GracePeriodSecs,
			}
			made, err = v.appendVersion(ctx, s, nv, r.Value, a.author())
			return err
		})
		return made, err
	})
}

func (r *UpdateRequest) parse() (core.Name, error) {
	name, err := core.ParseName(r.Name)
	if err != nil {
		return "", err
	}
	if r.Value == nil {
		return "", core.Errorf(core.Invalid, "an update needs a value")
	}
	if r.Description != nil {
		if err := checkDescription(*r.Description); err != nil {
			return "", err
		}
	}
	if r.GracePeriodSecs != nil {
		if err := checkPeriod("grace_period_secs", *r.GracePeriodSecs); err != nil {
			return "", err
		}
	}
	return name, checkTags(r.Tags)
}

// RotateRequest asks for a rotation now.
type RotateRequest struct {
	Name     string
	Expected uint64 // the version to replace; AnyVersion
	// Reschedule makes the next rotation come as if one had been due now. Without it the schedule stays, and a
	// rotation that is due still comes.
	Reschedule bool
}

// Rotate generates a value by the secret's policy and stores it as the next
// version; the value is not returned, a read shows it. It needs the right rotate on the name.
// A manual secret without a policy is Invalid: nothing says what its values look
// like. Other errors: Unauthenticated, Denied, NotFound, Stale, Unavailable.
func (v *Vault) Rotate(ctx context.Context, c Caller, r RotateRequest) (Secret, error) {
	a := v.try(c, ActionRotate, r.Name, recordedVersion(r.Expected))
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (made Secret, err error) {
		n, err := a.parseName(ctx, r.Name)
		if err != nil {
			return made, err
		}
		err = a.onCurrent(ctx, n, r.Expected, func(s Secret) (err error) {
			made, err = v.rotate(ctx, s, r.Reschedule, a.author())
			return err
		})
		return made, err
	})
}

func (v *Vault) rotate(ctx context.Context, s Secret, reschedule bool, by Author) (Secret, error) {
	role, err := v.roleOf(ctx, s)
	if err != nil {
		return Secret{}, err
	}
	value, err := v.nextValueFor(ctx, s, role)
	defer envelope.Wipe(value)
	if err != nil {
		return Secret{}, err
	}
	nv := NewVersion{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Action: ActionRotate, Reschedule: reschedule}
	return v.appendFor(ctx, s, role, nv, value, by)
}

// nextValue returns the value that a rotation of s makes current. The caller wipes it.
func (v *Vault) nextValue(ctx context.Context, s Secret) ([]byte, error) {
	policy := s.GeneratePolicy
	if policy == nil {
		if s.Kind != core.Automatic {
			return nil, core.Errorf(core.Invalid,
				"a manual secret without a generate_policy cannot be rotated: update it with a value")
		}
		p := generate.Default()
		policy = &p
	}
	if policy.JSONField == "" {
		return generated(policy)
	}
	current, err := v.currentValue(ctx, s)
	defer envelope.Wipe(current)
	if err != nil {
		return nil, err
	}
	return policy.Replace(current, rand.Reader)
}

// currentValue opens the version that s says is current, as a part of its rotation. The caller wipes it.
func (v *Vault) currentValue(ctx context.Context, s Secret) ([]byte, error) {
	row, err := v.c.Store.ReadSealedOnWriter(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	if row.Version != s.CurrentVersion {
		return nil, core.Errorf(core.Stale, "version %d was expected, version %d is current", s.CurrentVersion, row.Version)
	}
	if row.SecretID != s.ID {
		return nil, errCorrupt()
	}
	return v.open(ctx, s.Name, row)
}

func (v *Vault) appendVersion(ctx context.Context, s Secret, nv NewVersion, value []byte, by Author) (Secret, error) {
	role, err := v.roleOf(ctx, s)
	if err != nil {
		return Secret{}, err
	}
	return v.appendFor(ctx, s, role, nv, value, by)
}

// appendFor is appendVersion of a secret that is bound to role, or to none.
func (v *Vault) appendFor(ctx context.Context, s Secret, role *NextRole, nv NewVersion, value []byte, by Author) (_ Secret, err error) {
	if nv.Password, err = role.password(s.ContentType, value); err != nil {
		return Secret{}, err
	}
	b := envelope.Binding{ID: s.ID, Name: s.Name, Version: nv.Expected + 1, ContentType: s.ContentType}
	if nv.Sealed, err = v.seal(ctx, b, value); err != nil {
		return Secret{}, err
	}
	made, err := v.c.Store.AppendVersion(ctx, nv, by)
	if err == nil {
		made.FirstVersion, made.CASRequired, made.DeleteVersionAfterSecs = s.FirstVersion, s.CASRequired, s.DeleteVersionAfterSecs
		made.Bound = s.Bound
	}
	return made, err
}

// Delete deletes a secret and returns the Position of that. All versions are destroyed at once, unless the database is set
// to keep deleted secrets for a time, in which Restore brings it back. It needs the right delete on the name. Errors:
// Unauthenticated, Denied, Invalid, NotFound, Stale, Unavailable.
func (v *Vault) Delete(ctx context.Context, c Caller, name string, expected uint64) (core.Position, error) {
	return v.delete(ctx, c, name, expected, false)
}

// Destroy is Delete of a secret that cannot be restored, whatever the database is set to.
func (v *Vault) Destroy(ctx context.Context, c Caller, name string, expected uint64) (core.Position, error) {
	return v.delete(ctx, c, name, expected, true)
}

func (v *Vault) delete(ctx context.Context, c Caller, name string, expected uint64, destroy bool) (core.Position, error) {
	a := v.try(c, ActionDelete, name, recordedVersion(expected))
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return at, err
		}
		err = a.onPresent(ctx, n, expected, func(s Secret, _ error) (err error) {
			// What is corrupt can be deleted: nothing is made of it.
			x := Deletion{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Destroy: destroy}
			at, err = v.c.Store.DeleteSecret(ctx, x, a.author())
			return err
		})
		return at, err
	})
}

// onCurrent runs change on what the primary says is current. With a named
// version it runs once; with AnyVersion it starts over while others get ahead.
func (a *attempt) onCurrent(ctx context.Context, name core.Name, expected uint64, change func(Secret) error) error {
	return a.onPresent(ctx, name, expected, func(s Secret, corrupt error) error {
		if corrupt != nil {
			return corrupt
		}
		if ct, err := core.ParseContentType(string(s.ContentType)); err != nil || ct != s.ContentType {
			return errCorrupt()
		}
		return change(s)
	})
}

// onPresent is onCurrent for a change that a secret which is corrupt in itself may have too, as SecretResult has it.
func (a *attempt) onPresent(ctx context.Context, name core.Name, expected uint64, change func(s Secret, corrupt error) error) error {
	for try := 1; ; try++ {
		s, i, corrupt := a.v.c.Store.DescribeSecretOnWriter(ctx, a.by, a.entry.Action, name)
		a.note(i)
		if corrupt != nil && (core.CodeOf(corrupt) != core.Corrupt || s.ID == core.SecretID{} || s.CurrentVersion == 0) {
			return corrupt
		}
		if s.Name != name {
			return errCorrupt()
		}
		if err := s.expects(expected); err != nil {
			return err
		}
		err := change(s, corrupt)
		if expected != AnyVersion || core.CodeOf(err) != core.Stale || try == maxStaleTries {
			return err
		}
	}
}
