package vault

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/rotation"
)

// actorRotator is who makes the rotations that are due.
const actorRotator = "rotator"

// maxUnplanned is how many schedules one call plans.
const maxUnplanned = 1000

// The steps of a due rotation, as Config.Step is told them.
const (
	StepClaimed = "claimed" // the database knows whose it is
	StepKey     = "key"     // a data key was made
	StepSealed  = "sealed"  // nothing of the new value is stored yet
	StepStored  = "stored"  // committed, and not reported yet
)

func (v *Vault) step(name string) {
	if v.c.Step != nil {
		v.c.Step(name)
	}
}

func (v *Vault) rotatorOrigin(worker string) Origin {
	return Origin{Node: v.c.Node, Actor: actorRotator, RequestID: printable(worker)}
}

// ClaimRotations takes on at most limit rotations that are due, for the time of the lease. The worker's name must be
// one that no other call uses. A node that is cut off from its key service takes on nothing: others can do what it would
// only fail at, and when none can, what is due stays due at once. Errors: those of the Keeper's Check, Unavailable.
func (v *Vault) ClaimRotations(ctx context.Context, worker string, lease time.Duration, limit int) ([]Claim, error) {
	if err := v.CheckKeys(ctx); err != nil {
		v.waiting.note(err, v.c.Clock())
		return nil, err
	}
	claims, err := v.c.Store.ClaimRotations(ctx, worker, lease, limit)
	v.waiting.note(err, v.c.Clock())
	if len(claims) > 0 {
		v.step(StepClaimed)
	}
	return claims, err
}

// CheckKeys returns nil when there is a key service that rotations could be made with now.
func (v *Vault) CheckKeys(ctx context.Context) error {
	if err := v.c.Keeper.Check(ctx); err != nil {
		return core.Wrap(core.CodeOf(err), err, "rotations wait for the key service: %s", core.MessageOf(err))
	}
	if s := v.proof.get(); s.state == mismatch {
		return errMismatch(s)
	}
	return nil
}

// rotationFault is why this process claims no rotation, and since when. The zero value is that it does.
type rotationFault struct {
	mu    sync.Mutex
	err   error
	since time.Time
}

func (f *rotationFault) note(err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || err == nil {
		f.since = now
	}
	f.err = err
}

func (f *rotationFault) get() (since time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.err
}

// explainWaiting says of rotations that wait although they could be claimed why this process does not claim them.
func (v *Vault) explainWaiting(all []Condition) []Condition {
	since, err := v.waiting.get()
	if err == nil {
		return all
	}
	for i := range all {
		if all[i].Name == ConditionRotationsWait && all[i].Part == PartRotator {
			all[i].Reason += "; this process claims none: " + core.MessageOf(err)
			all[i].Since = since
		}
	}
	return all
}

// CompleteRotation makes and stores the new value of a claim. It starts over when another caller changes the secret
// meanwhile. With ErrClaimLost in the error there is nothing left to do; any other error is for FailRotation.
func (v *Vault) CompleteRotation(ctx context.Context, c Claim) (Secret, error) {
	for try := 1; ; try++ {
		s, err := v.completeRotation(ctx, c)
		if core.CodeOf(err) != core.Stale || IsClaimLost(err) || try == maxStaleTries {
			return s, err
		}
		if c.Secret, _, err = v.c.Store.DescribeSecretOnWriter(ctx, Itself(), ActionRotate, c.Secret.Name); err != nil {
			return Secret{}, err
		}
	}
}

func (v *Vault) completeRotation(ctx context.Context, c Claim) (Secret, error) {
	if c.Err != nil {
		return Secret{}, c.Err
	}
	s := c.Secret
	if err := s.wellFormed(); err != nil {
		return Secret{}, err
	}
	next, err := nextTime(s, later(c.DueAt, c.ClaimedAt))
	if err != nil {
		return Secret{}, err
	}
	role, err := v.roleOf(ctx, s)
	if err != nil {
		return Secret{}, err
	}
	value, err := v.nextValueFor(ctx, s, role)
	defer envelope.Wipe(value)
	if err != nil {
		return Secret{}, err
	}
	r := RotatedVersion{Claim: c, Expected: s.CurrentVersion, NextAt: next}
	if r.Password, err = role.password(s.ContentType, value); err != nil {
		return Secret{}, err
	}
	b := envelope.Binding{ID: s.ID, Name: s.Name, Version: s.CurrentVersion + 1, ContentType: s.ContentType}
	if r.Sealed, err = v.seal(ctx, b, value); err != nil {
		return Secret{}, err
	}
	v.step(StepSealed)
	made, err := v.c.Store.CompleteRotation(ctx, r, v.rotatorOrigin(c.Worker))
	if err == nil {
		v.step(StepStored)
	}
	return made, err
}

// FailRotation gives a claim back and returns when it is tried again. cause must hold no value; what the operator
// gets to see of it is the text for clients. With ErrClaimLost in the error another process has it already.
func (v *Vault) FailRotation(ctx context.Context, c Claim, cause error) (time.Time, error) {
	f := RotationFailure{Claim: c, Reason: core.MessageOf(cause), Code: core.CodeOf(cause)}
	return v.c.Store.FailRotation(ctx, f, v.rotatorOrigin(c.Worker))
}

// RenewRotations holds the claims of a worker that is alive for lease from now. Errors: Unavailable.
func (v *Vault) RenewRotations(ctx context.Context, worker string, lease time.Duration) error {
	return v.c.Store.RenewRotations(ctx, worker, lease)
}

// ReleaseRotation gives a claim back that was not worked on.
func (v *Vault) ReleaseRotation(ctx context.Context, c Claim) error {
	return v.c.Store.ReleaseRotation(ctx, c)
}

// PlanRotations computes the next time of the schedules that wait for one, and returns how many it planned and the
// first mistake it met: a schedule that cannot be planned keeps no other from being.
func (v *Vault) PlanRotations(ctx context.Context) (planned int, err error) {
	waiting, err := v.c.Store.UnplannedRotations(ctx, maxUnplanned)
	if err != nil {
		return 0, err
	}
	var failures []PlanFailure
	for _, u := range waiting {
		done, perr := v.plan(ctx, u)
		if core.CodeOf(perr) == core.Unavailable {
			return planned, perr
		}
		if perr != nil {
			failures = append(failures, PlanFailure{ID: u.Secret.ID, Reason: core.MessageOf(perr)})
			if err == nil {
				err = core.Wrap(core.CodeOf(perr), perr, "plan the rotation of %s", core.Quote(string(u.Secret.Name)))
			}
		}
		if done {
			planned++
		}
	}
	if len(failures) > 0 {
		if kept := v.c.Store.FailPlans(ctx, failures, waiting[0].Now); kept != nil {
			return planned, kept
		}
	}
	return planned, err
}

// plan computes and stores the next time of one schedule; false when it has changed since.
func (v *Vault) plan(ctx context.Context, u Unplanned) (bool, error) {
	if u.Err != nil {
		return false, u.Err
	}
	at, err := nextTime(u.Secret, u.Now)
	if err != nil {
		return false, err
	}
	return v.c.Store.PlanRotation(ctx, u.Secret, at)
}

// nextTime returns the next time of the secret's schedule after t, zero for a secret without one.
func nextTime(s Secret, t time.Time) (time.Time, error) {
	if s.Rotation.Schedule == "" {
		return time.Time{}, nil
	}
	c, err := rotation.Parse(s.Rotation.Schedule)
	if err != nil {
		return time.Time{}, err
	}
	loc := time.UTC
	if s.Rotation.TimeZone != "" {
		if loc, err = loadZone(s.Rotation.TimeZone); err != nil {
			return time.Time{}, err
		}
	}
	return c.Next(t.In(loc)), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wellFormed reports whether what is stored of s is what the door would have stored: a value is about to be bound to it.
func (s *Secret) wellFormed() error {
	if ct, err := core.ParseContentType(string(s.ContentType)); err != nil || ct != s.ContentType {
		return errCorrupt()
	}
	if _, err := core.ParseName(string(s.Name)); err != nil {
		return errCorrupt()
	}
	return nil
}
