package vault

import (
	"context"
	"sync"
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

// RewrapStore is the part of a Store that a rewrap needs. All of it asks the primary.
type RewrapStore interface {
	// ListWrapped returns at most limit keys that another master key than current wrapped, in the order of secret id
	// and version, after the given one; the zero StoredKey is before all.
	ListWrapped(ctx context.Context, current string, after StoredKey, limit int) ([]StoredKey, error)
	// CountWrapped is how many there are in all.
	CountWrapped(ctx context.Context, current string) (int64, error)
	// RewrapVersion replaces k.Key by wrapped and records it; false, and nothing is done, when the version has gone or
	// its key is not k.Key any more.
	RewrapVersion(ctx context.Context, k StoredKey, wrapped WrappedKey, o Origin) (bool, error)
}

// Rewrapper is a Keeper that can move data keys to its current master key.
type Rewrapper interface {
	Keeper
	// Current returns the id that Generate would record now; Invalid when there is nothing to move to.
	Current(ctx context.Context) (string, error)
	// Rewrap returns the same data key, wrapped under the master key to, an answer of Current, for the same context. What
	// it returns is under no other, and has been shown to unwrap to the same key.
	Rewrap(ctx context.Context, key WrappedKey, to string, kmsContext map[string]string) (WrappedKey, error)
}

// RewrapState is where a rewrap is.
type RewrapState string

// The states. A stopped or failed one goes on where it ended when it is started again.
const (
	RewrapIdle    RewrapState = "idle" // none was started since this process did
	RewrapRunning RewrapState = "running"
	RewrapDone    RewrapState = "done"
	RewrapFailed  RewrapState = "failed"
	RewrapStopped RewrapState = "stopped" // by a shutdown
)

// RewrapStatus is the progress of a rewrap.
type RewrapStatus struct {
	State   RewrapState
	Key     string // the master key it moves to; "" before it is known
	Total   int64  // versions to move when it began
	Moved   int64
	Skipped int64 // deleted or replaced meanwhile
	Failed  int64 // damaged: left as they are, and recorded
	Error   string
	Begun   time.Time // zero = never
	Ended   time.Time // zero = not yet
}

const (
	defaultRewrapRate = 20 // versions a second
	// MaxRewrapRate bounds what may be asked for.
	MaxRewrapRate  = 1000
	rewrapPage     = 100
	rewrapCall     = 10 * time.Second // bound of one call
	rewrapTries    = 8
	rewrapMaxPause = 10 * time.Second
)

// rewrapJob is the one run of this process. The zero rewrapJob is idle.
type rewrapJob struct {
	mu     sync.Mutex
	status RewrapStatus
	stop   context.CancelFunc // nil = none was started
	ended  chan struct{}
	closed bool
}

// StartRewrap begins to move every data key to the current master key, in the background, and returns at once; when
// one is running already it returns its status. It needs an admin token. Errors: Unauthenticated, Invalid (the keeper
// has nothing to move to), Unavailable.
func (v *Vault) StartRewrap(ctx context.Context, c Caller) (RewrapStatus, error) {
	a := v.try(c, ActionRewrap, "", 0)
	var out RewrapStatus
	err := a.run(ctx, a.admit(c), func(ctx context.Context) error {
		k, current, err := v.rewrapper(ctx)
		if err == nil {
			out, err = v.startRewrap(k, current, a.entry.Origin)
		}
		return err
	})
	if err != nil {
		return RewrapStatus{}, err
	}
	return out, nil
}

// RewrapStatus returns the progress of this process's run. It needs an admin token. Errors: Unauthenticated, Unavailable.
func (v *Vault) RewrapStatus(ctx context.Context, c Caller) (RewrapStatus, error) {
	a := v.try(c, ActionRewrapStatus, "", 0)
	if err := a.run(ctx, a.admit(c), func(context.Context) error { return nil }); err != nil {
		return RewrapStatus{}, err
	}
	return v.rewrap.get(), nil
}

// Rewrap moves every data key to the current master key and returns when that is done or ctx ends; what was moved
// stays moved. rate is versions a second, 0 = 20. progress, if not nil, is called after each version. Errors:
// Denied, Invalid, Unavailable.
func (v *Vault) Rewrap(ctx context.Context, op Operator, rate int, progress func(RewrapStatus)) (RewrapStatus, error) {
	a := v.tryOperator(op, ActionRewrap, "")
	var k Rewrapper
	var current string
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) (err error) {
		if rate < 0 || rate > MaxRewrapRate {
			return core.Errorf(core.Invalid, "the rate must be between 1 and %d versions a second", MaxRewrapRate)
		}
		k, current, err = v.rewrapper(ctx)
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

func (v *Vault) rewrapper(ctx context.Context) (Rewrapper, string, error) {
	k, ok := v.c.Keeper.(Rewrapper)
	if !ok {
		return nil, "", core.Errorf(core.Invalid, "these data keys have one master key for ever: there is nothing to move to")
	}
	current, err := k.Current(ctx)
	return k, current, err
}

func (v *Vault) startRewrap(k Rewrapper, current string, o Origin) (RewrapStatus, error) {
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
	r := v.newRun(k, current, o, 0, j.set)
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

// rewrapRun is one pass over all versions. Where it stands is in the rows themselves: a version that was moved is not
// listed again, so a run that ended early needs nothing but another run.
type rewrapRun struct {
	v        *Vault
	keeper   Rewrapper
	origin   Origin
	pause    time.Duration
	progress func(RewrapStatus)
	status   RewrapStatus
}

func (v *Vault) newRun(k Rewrapper, current string, o Origin, rate int, progress func(RewrapStatus)) *rewrapRun {
	if rate == 0 {
		rate = defaultRewrapRate
	}
	return &rewrapRun{
		v: v, keeper: k, origin: o, pause: time.Second / time.Duration(rate), progress: progress,
		status: RewrapStatus{State: RewrapRunning, Key: current, Begun: v.c.Clock()},
	}
}

func (r *rewrapRun) all(ctx context.Context) error {
	err := r.pages(ctx)
	r.status.Ended = r.v.c.Clock()
	switch {
	case err == nil:
		r.status.State = RewrapDone
	case ctx.Err() != nil:
		r.status.State = RewrapStopped
		r.status.Error = "stopped; start it again to go on"
	default:
		r.status.State = RewrapFailed
		r.status.Error = core.MessageOf(err)
	}
	return err
}

func (r *rewrapRun) pages(ctx context.Context) error {
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		r.status.Total, err = r.v.c.Store.CountWrapped(ctx, r.status.Key)
		return err
	})
	var after StoredKey
	for err == nil {
		var page []StoredKey
		err = r.persist(ctx, func(ctx context.Context) (err error) {
			page, err = r.v.c.Store.ListWrapped(ctx, r.status.Key, after, rewrapPage)
			return err
		})
		if err != nil || len(page) == 0 {
			break
		}
		for _, k := range page {
			if err = r.version(ctx, k); err != nil {
				break
			}
			after = k
		}
	}
	return err
}

// version moves one key. A damaged one is recorded and left, so that it does not hold up the others.
func (r *rewrapRun) version(ctx context.Context, k StoredKey) error {
	if !sleep(ctx, r.pause) {
		return ctx.Err()
	}
	moved := false
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		moved, err = r.move(ctx, k)
		return err
	})
	switch {
	case ctx.Err() != nil && err != nil:
		return err
	case err != nil:
		e := Entry{Origin: r.origin, Action: ActionRewrap, Name: printable(string(k.Name)), Version: k.Version, Code: core.CodeOf(err)}
		e.Outcome = outcomeOf(e.Code)
		if rerr := r.v.record(ctx, e); rerr != nil {
			return errUnrecorded(rerr)
		}
		if core.CodeOf(err) != core.Corrupt {
			return err
		}
		r.status.Failed++
	case moved:
		r.status.Moved++
	default:
		r.status.Skipped++
	}
	if r.progress != nil {
		r.progress(r.status)
	}
	return nil
}

func (r *rewrapRun) move(ctx context.Context, k StoredKey) (bool, error) {
	b := envelope.Binding{ID: k.ID, Version: k.Version}
	wrapped, err := r.keeper.Rewrap(ctx, k.Key, r.status.Key, b.KMSContext())
	if err != nil {
		return false, err
	}
	return r.v.c.Store.RewrapVersion(ctx, k, wrapped, r.origin)
}

// persist calls f until it does not say Unavailable, several times with growing pauses. Doing a step twice is
// harmless: the second time it finds another key than it asks for.
func (r *rewrapRun) persist(ctx context.Context, f func(context.Context) error) error {
	pause := 250 * time.Millisecond
	for try := 1; ; try++ {
		bounded, cancel := context.WithTimeout(ctx, rewrapCall)
		err := f(bounded)
		cancel()
		if core.CodeOf(err) != core.Unavailable || try == rewrapTries || !sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, rewrapMaxPause)
	}
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
