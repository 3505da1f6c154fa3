package vault

import (
	"context"
	"errors"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// StoredKey is the wrapped data key of one stored version.
type StoredKey struct {
	ID      core.SecretID
	Name    core.Name // for the record of a failure
	Version uint64
	Key     WrappedKey
}

// RewrapStore is the part of a Store that deals with wrapped data keys. It queries the primary unless a method says otherwise.
type RewrapStore interface {
	// ListWrapped returns at most limit keys that another master key than current wrapped, in the order of secret id
	// and version, after the given one; the zero StoredKey is before all.
	ListWrapped(ctx context.Context, current string, after StoredKey, limit int) ([]StoredKey, error)
	// SampleWrapped returns at most limit keys of any versions, from a random position on. It queries the primary or the reader.
	SampleWrapped(ctx context.Context, primary bool, limit int) ([]StoredKey, error)
	// CountWrapped is how many there are in all, for each master key, those of most versions first.
	CountWrapped(ctx context.Context, current string) ([]KeyCount, error)
	// RewrapVersion replaces k.Key by wrapped and records it; false, and nothing is done, when the version has gone or
	// its key is no longer k.Key.
	RewrapVersion(ctx context.Context, k StoredKey, wrapped WrappedKey, o Origin) (bool, error)
}

// KeyCount is how many versions a master key has wrapped the data keys of.
type KeyCount struct {
	KeyID    string
	Versions int64
}

// Rewrapper is a Keeper that can move data keys to its current master key.
type Rewrapper interface {
	Keeper
	// Current returns the id that Generate would record now; Invalid when there is nothing to move to.
	Current(ctx context.Context) (string, error)
	// Rewrap returns the same data key, wrapped under the master key to, an answer of Current, for the same context. What
	// it returns is under no other, and has been shown to unwrap to the same key. An error that is Denied or Corrupt, or
	// wraps ErrKeyRefused, is about this key and not about every key.
	Rewrap(ctx context.Context, key WrappedKey, to string, kmsContext map[string]string) (WrappedKey, error)
}

// ErrKeyRefused is wrapped by errors that say no to the use of one key, whatever their code.
var ErrKeyRefused = errors.New("the key service refuses to use the key")

// RewrapState is where a rewrap is.
type RewrapState string

// The states. A run after a stopped or failed one continues where that ended.
const (
	RewrapIdle    RewrapState = "idle" // none was started since this process did
	RewrapRunning RewrapState = "running"
	RewrapDone    RewrapState = "done"    // every version is under the key
	RewrapPartial RewrapState = "partial" // some were moved, and some could not be
	RewrapFailed  RewrapState = "failed"
	RewrapStopped RewrapState = "stopped" // by a shutdown
)

// RewrapStatus is the progress of a rewrap.
type RewrapStatus struct {
	State      RewrapState
	Key        string // the master key it moves to; "" before it is known
	Total      int64  // versions to move at the start
	Moved      int64
	Skipped    int64      // deleted or replaced meanwhile
	Failed     int64      // damaged, or the key service refuses their key: left as they are
	Remaining  int64      // versions still under another key, failed ones included, as last counted
	Under      []KeyCount // the master keys that those are under, as last counted; never changed once it is here
	LastFailed RewrapFailure
	Error      string    // why it ended, when it is not done
	StartedAt  time.Time // zero = never
	Ended      time.Time // zero = not yet
}

// RewrapFailure is a version that could not be moved. The zero RewrapFailure is none.
type RewrapFailure struct {
	Name    core.Name
	Version uint64
	Error   string // for clients
}

// DefaultRewrapRate and MaxRewrapRate are versions a second: the rate without a request for another, and the highest one.
const (
	DefaultRewrapRate = 20
	MaxRewrapRate     = 1000
)

// RewrapSteps are what an admitted rewrap may do at this door. Each step is bounded by its context alone.
type RewrapSteps interface {
	// Current returns the master key that data keys move to. Invalid when there is only one.
	Current(ctx context.Context) (string, error)
	// CountWrapped and ListWrapped are those of the RewrapStore.
	CountWrapped(ctx context.Context, current string) ([]KeyCount, error)
	ListWrapped(ctx context.Context, current string, after StoredKey, limit int) ([]StoredKey, error)
	// Rewrap is that of the Rewrapper, for a stored key.
	Rewrap(ctx context.Context, k StoredKey, to string) (WrappedKey, error)
	// Replace stores and records what Rewrap returned; false, and nothing is done, when k is no longer there.
	Replace(ctx context.Context, k StoredKey, wrapped WrappedKey) (bool, error)
	// RecordFailure records that a version could not be moved.
	RecordFailure(ctx context.Context, k StoredKey, cause error) error
	// MoveTokenKey has batch tokens sealed under a key of the current master key from now on. Batch tokens that exist
	// stay under the old one until they end.
	MoveTokenKey(ctx context.Context, current string) error
}

// RewrapRunner moves data keys by the steps that the door admits (api/rewrap). A rate is versions a second, and 0 is
// DefaultRewrapRate. Safe for concurrent use.
type RewrapRunner interface {
	// Start begins a run in the background and returns at once. If one is running already, it returns that one's status.
	// Errors: Invalid, Unavailable.
	Start(ctx context.Context, steps RewrapSteps, rate int) (RewrapStatus, error)
	// Prepare returns a run that its caller makes. progress, if not nil, is called after each version. Errors: Invalid,
	// Unavailable.
	Prepare(ctx context.Context, steps RewrapSteps, rate int, progress func(RewrapStatus)) (func(context.Context) (RewrapStatus, error), error)
	// Status returns the progress of the last run that was started.
	Status() RewrapStatus
}

// StartRewrap begins to move every data key to the current master key, in the background, and returns at once. If a run
// exists already, it returns its status. It needs the right manage on all names. Errors: Unauthenticated, Denied,
// Invalid (the rate, or there is only one master key), Unavailable.
func (v *Vault) StartRewrap(ctx context.Context, c Caller, rate int) (RewrapStatus, error) {
	a := v.try(c, ActionRewrap, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out RewrapStatus, err error) {
		if err := a.decide(ctx, onPrimary); err != nil {
			return out, err
		}
		runner, steps, err := a.rewrap()
		if err == nil {
			out, err = runner.Start(ctx, steps, rate)
		}
		return out, err
	})
}

// RewrapStatus returns the progress of this process's run. It needs the right manage on all names. Errors:
// Unauthenticated, Denied, Unavailable.
func (v *Vault) RewrapStatus(ctx context.Context, c Caller) (RewrapStatus, error) {
	a := v.try(c, ActionRewrapStatus, "", 0)
	if err := a.serve(ctx, func(ctx context.Context) error { return a.decide(ctx, Freshness{}) }); err != nil {
		return RewrapStatus{}, err
	}
	if v.c.Rewraps == nil {
		return RewrapStatus{State: RewrapIdle}, nil
	}
	return v.c.Rewraps.Status(), nil
}

// Rewrap moves every data key to the current master key. It returns when that is done or ctx ends, and what was moved
// stays moved. Rate and progress are those of RewrapRunner.Prepare. Errors: Denied, Invalid, Unavailable.
func (v *Vault) Rewrap(ctx context.Context, op Operator, rate int, progress func(RewrapStatus)) (RewrapStatus, error) {
	a := v.tryOperator(op, ActionRewrap, "")
	var run func(context.Context) (RewrapStatus, error)
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) error {
		runner, steps, err := a.rewrap()
		if err == nil {
			run, err = runner.Prepare(ctx, steps, rate, progress)
		}
		return err
	})
	if err != nil {
		return RewrapStatus{}, err
	}
	return run(ctx)
}

// rewrap returns who moves data keys, and the steps for the attempt's caller.
func (a *attempt) rewrap() (RewrapRunner, RewrapSteps, error) {
	k, ok := a.v.c.Keeper.(Rewrapper)
	if !ok || a.v.c.Rewraps == nil {
		return nil, nil, core.Errorf(core.Invalid, "this server has one master key: set VAULT_OLD_LOCAL_MASTER_KEY or VAULT_OLD_KMS_KEY_ID, beside the new key, to move data keys to that")
	}
	return a.v.c.Rewraps, &rewrapSteps{RewrapStore: a.v.c.Store, v: a.v, keeper: k, origin: a.entry.Origin}, nil
}

// rewrapSteps implements RewrapSteps, with the origin of the caller that was admitted.
type rewrapSteps struct {
	RewrapStore
	v      *Vault
	keeper Rewrapper
	origin Origin
}

// Current implements RewrapSteps.
func (s *rewrapSteps) Current(ctx context.Context) (string, error) { return s.keeper.Current(ctx) }

// Rewrap implements RewrapSteps.
func (s *rewrapSteps) Rewrap(ctx context.Context, k StoredKey, to string) (WrappedKey, error) {
	b := envelope.Binding{ID: k.ID, Version: k.Version}
	return s.keeper.Rewrap(ctx, k.Key, to, b.KMSContext())
}

// Replace implements RewrapSteps.
func (s *rewrapSteps) Replace(ctx context.Context, k StoredKey, wrapped WrappedKey) (bool, error) {
	return s.RewrapVersion(ctx, k, wrapped, s.origin)
}

// RecordFailure implements RewrapSteps.
func (s *rewrapSteps) RecordFailure(_ context.Context, k StoredKey, cause error) error {
	e := Entry{Origin: s.origin, Action: ActionRewrap, Name: printable(string(k.Name)), Version: k.Version, Code: core.CodeOf(cause)}
	e.Outcome = outcomeOf(e.Code)
	if err := s.v.record(e); err != nil {
		return errUnrecorded(err)
	}
	return nil
}

// MoveTokenKey implements RewrapSteps.
func (s *rewrapSteps) MoveTokenKey(ctx context.Context, current string) error {
	if s.v.c.Logins == nil {
		return nil
	}
	list, err := s.v.tokenKeys.load(ctx, s.v, onPrimary)
	if err != nil || len(list) == 0 || list[0].KeyID == current {
		return err
	}
	_, plain, _, err := s.v.newTokenKey(ctx, list[0].ID, Author{Origin: s.origin, By: Itself()})
	envelope.Wipe(plain)
	return err
}
