package vault

import (
	"context"
	"errors"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Rotation is the part of a secret's settings that only automatic secrets use, beside the interval.
type Rotation struct {
	Schedule     string // cron, as core/rotation reads it; "" = by the interval
	TimeZone     string // of the schedule, a name of the time zone database; "" = UTC
	WindowSecs   int64  // how long after its due time a rotation may still be made; 0 = any time
	Paused       bool   // nothing is rotated by itself
	KeepVersions int    // superseded versions that can still be read by number after their grace
}

// Expiry is what ExpireVersion changes.
type Expiry struct {
	ID        core.SecretID
	Name      core.Name // for the answer, should it get lost
	Version   uint64    // a superseded one
	GraceSecs int64     // how long it stays valid from now, never longer than before; 0 = not at all
}

// JobID is the id of a rotation job.
type JobID [16]byte

// Claim is a due rotation that a worker has taken on, alone, until its lease ends.
type Claim struct {
	Job       JobID
	Worker    string    // who holds it, one name per claiming
	DueAt     time.Time // the one due time that the rotation is for
	ClaimedAt time.Time // by the clock of the database
	Attempts  int       // from 1
	Secret    Secret    // as it was when it was claimed
	Err       error     // Corrupt: as in SecretResult; such a claim can only fail
}

// RotatedVersion completes a claim.
type RotatedVersion struct {
	Claim    Claim
	Expected uint64 // the version it replaces; must be current
	Sealed   SealedValue
	NextAt   time.Time    // the next time of a schedule; zero for an interval, which the database computes
	Password RolePassword // that the value is, if the secret is bound to a role
}

// RotationFailure gives a claim back.
type RotationFailure struct {
	Claim  Claim
	Reason string // for the operator; holds no value
	Code   core.Code
}

// Unplanned is a secret with a schedule whose next time is not computed yet.
type Unplanned struct {
	Now    time.Time // by the clock of the database
	Secret Secret
	Err    error // Corrupt: as in SecretResult
}

// PlanFailure says why the next time of a schedule could not be computed.
type PlanFailure struct {
	ID     core.SecretID
	Reason string // for the operator; holds no value
}

// Rotations is the part of the Store that keeps rotation going.
type Rotations interface {
	// ConfigureSecret changes settings; Stale when c.Expected is not current.
	ConfigureSecret(ctx context.Context, c Configuration, by Author) (Secret, error)
	// ExpireVersion shortens the grace of a version; NotFound when there is no such version, Invalid when it is the
	// current one.
	ExpireVersion(ctx context.Context, x Expiry, by Author) (VersionInfo, error)

	// ClaimRotations takes on at most limit due rotations for the time of the lease. No other process gets them before it
	// ends. A lost answer leaves claims that no process knows of until then.
	ClaimRotations(ctx context.Context, worker string, lease time.Duration, limit int) ([]Claim, error)
	// CompleteRotation stores the version and ends the job, in one transaction. ErrClaimLost when the
	// lease ended and another process went on, or the rotation was called off; Stale when r.Expected is not current.
	CompleteRotation(ctx context.Context, r RotatedVersion, o Origin) (Secret, error)
	// FailRotation gives a claim back with the reason and returns when it is tried again.
	FailRotation(ctx context.Context, f RotationFailure, o Origin) (time.Time, error)
	// RenewRotations holds the claims of a worker for lease from now. It does not wait for a primary.
	RenewRotations(ctx context.Context, worker string, lease time.Duration) error
	// ReleaseRotation gives a claim back untouched.
	ReleaseRotation(ctx context.Context, c Claim) error
	// UnplannedRotations returns at most limit secrets whose schedule waits for its next time, those that FailPlans was
	// called for last and a while ago.
	UnplannedRotations(ctx context.Context, limit int) ([]Unplanned, error)
	// PlanRotation stores the next time of a schedule; false when the schedule has changed since or was planned.
	PlanRotation(ctx context.Context, s Secret, at time.Time) (bool, error)

	// FailPlans keeps why schedules could not be planned, as they were seen at a time, so that they make room for others.
	FailPlans(ctx context.Context, failures []PlanFailure, seen time.Time) error
	// ChangesSince reads no more than limit changes after a place, in their order, and returns those that the caller
	// may see.
	ChangesSince(ctx context.Context, by Credential, after Place, limit int) (ChangePage, Identity, error)
	// KnowsPlace reports what the primary knows of a place.
	KnowsPlace(ctx context.Context, p Place) (Knowledge, error)
	// LastChange returns the place after which everything is still to come. It queries the reader.
	LastChange(ctx context.Context) (Place, error)
	// Status queries the reader. Its Failures are those of names that the caller may see.
	Status(ctx context.Context, by Credential) (Status, Identity, error)
	// Counts is Status for those who ask often: it may be a few seconds old, and has no Failures.
	Counts(ctx context.Context) (Status, error)
}

// ErrClaimLost is in the chain of the error of a worker whose claim is no longer its own.
var ErrClaimLost = core.Errorf(core.Stale, "the claim on the rotation is lost")

// IsClaimLost reports whether err means that the rotation belongs to another process by now, or was called off.
func IsClaimLost(err error) bool { return errors.Is(err, ErrClaimLost) }
