package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// StoredKey is the wrapped data key of one stored version.
type StoredKey struct {
	ID      core.SecretID
	Name    core.Name // for the record of a failure
	Version uint64
	Key     WrappedKey
}

// RewrapStore is the part of a Store that deals with wrapped data keys. It asks the primary where nothing else is said.
type RewrapStore interface {
	// ListWrapped returns at most limit keys that another master key than current wrapped, in the order of secret id
	// and version, after the given one; the zero StoredKey is before all.
	ListWrapped(ctx context.Context, current string, after StoredKey, limit int) ([]StoredKey, error)
	// SampleWrapped returns at most limit keys of any versions, from a random place on. It asks the primary or the reader.
	SampleWrapped(ctx context.Context, primary bool, limit int) ([]StoredKey, error)
	// CountWrapped is how many there are in all, for each master key, those of most versions first.
	CountWrapped(ctx context.Context, current string) ([]KeyCount, error)
	// RewrapVersion replaces k.Key by wrapped and records it; false, and nothing is done, when the version has gone or
	// its key is not k.Key any more.
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

// The states. A stopped or failed one goes on where it ended when it is started again.
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
	Total      int64  // versions to move when it began
	Moved      int64
	Skipped    int64      // deleted or replaced meanwhile
	Failed     int64      // damaged, or the key service refuses their key: left as they are
	Remaining  int64      // versions that are under another key still, failed ones included, as last counted
	Under      []KeyCount // the master keys that those are under, as last counted; not changed any more once it is here
	LastFailed RewrapFailure
	Error      string    // why it ended, when it is not done
	Begun      time.Time // zero = never
	Ended      time.Time // zero = not yet
}

// RewrapFailure is a version that could not be moved. The zero RewrapFailure is none.
type RewrapFailure struct {
	Name    core.Name
	Version uint64
	Error   string // for clients
}

// DefaultRewrapRate and MaxRewrapRate are versions a second: what is done unless asked otherwise, and what may be asked for.
const (
	DefaultRewrapRate = 20
	MaxRewrapRate     = 1000
)

// rewrapJob is the one run of this process. The zero rewrapJob is idle.
type rewrapJob struct {
	mu     sync.Mutex
	status RewrapStatus
	stop   context.CancelFunc // nil = none was started
	ended  chan struct{}
	closed bool
}

// conditions say that the last rewrap of this process has left data keys under another master key.
func (j *rewrapJob) conditions() []Condition {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.status
	switch s.State {
	case RewrapPartial, RewrapFailed, RewrapStopped:
		return []Condition{{Name: ConditionRewrapUnfinished, Part: "keys", Severity: SeverityNotice, Since: s.Ended,
			Reason: fmt.Sprintf("a rewrap to %s has ended %s: %d versions were moved, %d failed, %d are still under another key; GET /v1/admin/rewrap says why",
				core.Quote(s.Key), s.State, s.Moved, s.Failed, s.Remaining)}}
	}
	return nil
}

// StartRewrap begins to move every data key to the current master key, in the background, and returns at once; when
// one is running already it returns its status. rate is versions a second, 0 = DefaultRewrapRate. It needs the
// right manage on all names. Errors: Unauthenticated, Denied, Invalid (the rate, or the keeper has nothing to move to), Unavailable.
func (v *Vault) StartRewrap(ctx context.Context, c Caller, rate int) (RewrapStatus, error) {
	a := v.try(c, ActionRewrap, "", 0)
	var out RewrapStatus
	err := a.serve(ctx, func(ctx context.Context) error {
		if err := a.decide(ctx, onPrimary); err != nil {
			return err
		}
		k, current, err := v.rewrapper(ctx, rate)
		if err == nil {
			out, err = v.startRewrap(v.newRun(k, current, a.entry.Origin, rate, v.rewrap.set))
		}
		return err
	})
	if err != nil {
		return RewrapStatus{}, err
	}
	return out, nil
}

// RewrapStatus returns the progress of this process's run. It needs the right manage on all names. Errors:
// Unauthenticated, Denied, Unavailable.
func (v *Vault) RewrapStatus(ctx context.Context, c Caller) (RewrapStatus, error) {
	a := v.try(c, ActionRewrapStatus, "", 0)
	if err := a.serve(ctx, func(ctx context.Context) error { return a.decide(ctx, Freshness{}) }); err != nil {
		return RewrapStatus{}, err
	}
	return v.rewrap.get(), nil
}

// Rewrap moves every data key to the current master key and returns when that is done or ctx ends; what was moved
// stays moved. rate is versions a second, 0 = DefaultRewrapRate. progress, if not nil, is called after each version. Errors:
// Denied, Invalid, Unavailable.
func (v *Vault) Rewrap(ctx context.Context, op Operator, rate int, progress func(RewrapStatus)) (RewrapStatus, error) {
	a := v.tryOperator(op, ActionRewrap, "")
	var k Rewrapper
	var current string
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) (err error) {
		k, current, err = v.rewrapper(ctx, rate)
		return err
	})
	if err != nil {
		return RewrapStatus{}, err
	}
	r := v.newRun(k, current, a.entry.Origin, rate, progress)
	err = r.all(ctx)
	return r.status, err
}

// Close stops the background run and waits for it, until ctx ends. It may be called twice; nothing can be started after it.
func (v *Vault) Close(ctx context.Context) {
	j := &v.rewrap
	j.mu.Lock()
	j.closed = true
	stop, ended := j.stop, j.ended
	j.mu.Unlock()
	if stop != nil {
		stop()
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
}

func (v *Vault) rewrapper(ctx context.Context, rate int) (Rewrapper, string, error) {
	if rate < 0 || rate > MaxRewrapRate {
		return nil, "", core.Errorf(core.Invalid, "the rate must be between 1 and %d versions a second", MaxRewrapRate)
	}
	k, ok := v.c.Keeper.(Rewrapper)
	if !ok {
		return nil, "", core.Errorf(core.Invalid, "this server has one master key: set VAULT_OLD_LOCAL_MASTER_KEY or VAULT_OLD_KMS_KEY_ID, beside the new key, to move data keys to that")
	}
	current, err := k.Current(ctx)
	return k, current, err
}

func (v *Vault) startRewrap(r *rewrapRun) (RewrapStatus, error) {
	j := &v.rewrap
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return RewrapStatus{}, core.Errorf(core.Unavailable, "this server is shutting down")
	}
	if j.status.State == RewrapRunning {
		return j.status, nil
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	j.status, j.stop, j.ended = r.status, stop, ended
	go func() {
		defer close(ended)
		defer stop()
		_ = r.all(ctx)
		j.set(r.status)
	}()
	return j.status, nil // the run's own belongs to the run from here on
}

func (j *rewrapJob) set(s RewrapStatus) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status = s
}

func (j *rewrapJob) get() RewrapStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.State == "" {
		return RewrapStatus{State: RewrapIdle}
	}
	return j.status
}
