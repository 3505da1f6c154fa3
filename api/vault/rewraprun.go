package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	rewrapPage     = 100
	rewrapCall     = 10 * time.Second // bound of one step
	rewrapTries    = 8
	rewrapMaxPause = 10 * time.Second
	// rewrapWorkers is how many versions are moved at a time: each takes several calls one after another.
	rewrapWorkers = 16
	// rewrapPasses bounds how often the rows are gone through again for what came under another key meanwhile.
	rewrapPasses = 5
	// rewrapRefusals is how many versions of one master key in a row must be refused before no more of it are asked for.
	rewrapRefusals = 20
)

// rewrapRun moves every version. Where it stands is in the rows themselves: a version that was moved is not listed again,
// so a run that ended early needs nothing but another run.
type rewrapRun struct {
	v        *Vault
	keeper   Rewrapper
	origin   Origin
	pace     *rate.Limiter
	progress func(RewrapStatus) // nil = nobody

	mu      sync.Mutex
	status  RewrapStatus
	left    map[versionID]struct{} // what could not be moved is not tried again
	refused map[string]int         // versions in a row, by master key
}

type versionID struct {
	id      core.SecretID
	version uint64
}

func (v *Vault) newRun(k Rewrapper, current string, o Origin, perSecond int, progress func(RewrapStatus)) *rewrapRun {
	if perSecond == 0 {
		perSecond = DefaultRewrapRate
	}
	return &rewrapRun{
		v: v, keeper: k, origin: o, pace: newPace(perSecond), progress: progress,
		status: RewrapStatus{State: RewrapRunning, Key: current, Begun: v.c.Clock()},
		left:   map[versionID]struct{}{}, refused: map[string]int{},
	}
}

// all returns when every version is under the key, but for those that cannot be moved.
func (r *rewrapRun) all(ctx context.Context) error {
	err := r.passes(ctx)
	r.status.Ended = r.v.c.Clock()
	switch {
	case err == nil && r.status.Failed > 0 && r.status.Moved == 0:
		r.status.State = RewrapFailed
		r.status.Error = "no version could be moved: " + r.status.LastFailed.Error
	case err == nil && r.status.Failed > 0:
		r.status.State = RewrapPartial
		r.status.Error = "some versions could not be moved, the last of them: " + r.status.LastFailed.Error
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

// passes goes through all rows again as long as there are more to move than those that cannot be: another server may
// write under another key behind the pass.
func (r *rewrapRun) passes(ctx context.Context) error {
	err := r.count(ctx)
	r.status.Total = r.status.Remaining
	for n := 0; err == nil && r.status.Remaining > int64(len(r.left)); n++ {
		if n == rewrapPasses {
			return core.Errorf(core.Stale, "versions are still being written under another key: see that every server has the new one, and start it again")
		}
		if err = r.sameKey(ctx); err == nil {
			err = r.pass(ctx)
		}
		if err == nil {
			err = r.count(ctx)
		}
	}
	if err != nil {
		return err
	}
	if err = r.sameKey(ctx); err != nil {
		return err
	}
	return r.followTokenKey(ctx)
}

// followTokenKey has batch tokens sealed under a key of the current master key from now on. Those that are out stay under
// the old one until they end.
func (r *rewrapRun) followTokenKey(ctx context.Context) error {
	if r.v.c.Logins == nil {
		return nil
	}
	return r.persist(ctx, func(ctx context.Context) error {
		list, err := r.v.tokenKeys.load(ctx, r.v, onPrimary)
		if err != nil || len(list) == 0 || list[0].KeyID == r.status.Key {
			return err
		}
		_, plain, err := r.v.newTokenKey(ctx, list[0].ID, Author{Origin: r.origin, By: Itself()})
		envelope.Wipe(plain)
		return err
	})
}

func (r *rewrapRun) count(ctx context.Context) error {
	return r.persist(ctx, func(ctx context.Context) (err error) {
		under, err := r.v.c.Store.CountWrapped(ctx, r.status.Key)
		if err != nil {
			return err
		}
		r.status.Remaining, r.status.Under = 0, under
		for _, k := range under {
			r.status.Remaining += k.Versions
		}
		return nil
	})
}

// sameKey refuses to go on when new versions are under another key by now: they would be moved back.
func (r *rewrapRun) sameKey(ctx context.Context) error {
	current := ""
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		current, err = r.keeper.Current(ctx)
		return err
	})
	if err == nil && current != r.status.Key {
		err = core.Errorf(core.Stale, "the master key has been changed meanwhile: start it again")
	}
	return err
}

// pass goes through all rows once and returns when all it began is done.
func (r *rewrapRun) pass(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	room := make(chan struct{}, rewrapWorkers)
	var workers sync.WaitGroup
	err := r.each(ctx, func(k StoredKey) bool {
		if r.pace.Wait(ctx) != nil {
			return false
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		workers.Go(func() {
			defer func() { <-room }()
			if err := r.version(ctx, k); err != nil {
				stop(err)
			}
		})
		return true
	})
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// each calls f with every version to move until it returns false.
func (r *rewrapRun) each(ctx context.Context, f func(StoredKey) bool) error {
	var after StoredKey
	for {
		var page []StoredKey
		err := r.persist(ctx, func(ctx context.Context) (err error) {
			page, err = r.v.c.Store.ListWrapped(ctx, r.status.Key, after, rewrapPage)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, k := range page {
			if after = k; !r.passOver(k) && !f(k) {
				return ctx.Err()
			}
		}
	}
}

// passOver reports whether k is not worth a question: it could not be moved before, or nothing under its master key can.
func (r *rewrapRun) passOver(k StoredKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := versionID{k.ID, k.Version}
	if _, known := r.left[id]; known {
		return true
	}
	if r.refused[k.Key.KeyID] < rewrapRefusals {
		return false
	}
	r.left[id] = struct{}{}
	r.status.Failed++
	return true
}

// version moves one key. One that is damaged, or whose master key may not be used, is recorded and left, so that it does
// not hold up the others; only what concerns every key is an error.
func (r *rewrapRun) version(ctx context.Context, k StoredKey) error {
	moved := false
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		moved, err = r.move(ctx, k)
		return err
	})
	if ctx.Err() != nil && err != nil {
		return err
	}
	if err != nil {
		if rerr := r.v.record(ctx, r.failure(k, err)); rerr != nil {
			return errUnrecorded(rerr)
		}
	}
	return r.settle(k, moved, err)
}

func (r *rewrapRun) failure(k StoredKey, err error) Entry {
	e := Entry{Origin: r.origin, Action: ActionRewrap, Name: printable(string(k.Name)), Version: k.Version, Code: core.CodeOf(err)}
	e.Outcome = outcomeOf(e.Code)
	return e
}

// settle counts what came of k, and returns err unless it is about k alone.
func (r *rewrapRun) settle(k StoredKey, moved bool, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, refused := errors.AsType[*keyRefused](err)
	switch {
	case err != nil:
		r.status.LastFailed = RewrapFailure{Name: k.Name, Version: k.Version, Error: core.MessageOf(err)}
		if !refused {
			return err
		}
		r.left[versionID{k.ID, k.Version}] = struct{}{}
		r.status.Failed++
		if core.CodeOf(err) != core.Corrupt { // that is about the row, not about its master key
			r.refused[k.Key.KeyID]++
		}
	case moved:
		r.status.Moved++
		r.status.Remaining--
		r.refused[k.Key.KeyID] = 0
	default:
		r.status.Skipped++
		r.status.Remaining--
	}
	if r.progress != nil {
		r.progress(r.status)
	}
	return nil
}

// keyRefused is the keeper's error about one key.
type keyRefused struct{ error }

// Unwrap returns the keeper's error.
func (e *keyRefused) Unwrap() error { return e.error }

func (r *rewrapRun) move(ctx context.Context, k StoredKey) (bool, error) {
	b := envelope.Binding{ID: k.ID, Version: k.Version}
	wrapped, err := r.keeper.Rewrap(ctx, k.Key, r.status.Key, b.KMSContext())
	if code := core.CodeOf(err); code == core.Denied || code == core.Corrupt || errors.Is(err, ErrKeyRefused) {
		return false, &keyRefused{err}
	}
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
		_, refused := errors.AsType[*keyRefused](err)
		if refused || core.CodeOf(err) != core.Unavailable || try == rewrapTries || !backoff.Sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, rewrapMaxPause)
	}
}

// newPace lets so many versions a second through. What was late is made up for, but no more than a quarter of a second.
func newPace(perSecond int) *rate.Limiter {
	burst := max(1, perSecond/4)
	l := rate.NewLimiter(rate.Limit(perSecond), burst)
	l.AllowN(time.Now(), burst-1) // nothing is late yet
	return l
}
