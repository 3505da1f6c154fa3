package rewrap

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	pageSize    = 100
	callTimeout = 10 * time.Second // bound of one step
	maxTries    = 8
	maxPause    = 10 * time.Second
	// maxWorkers is how many versions are moved at a time, because each takes several calls in sequence.
	maxWorkers = 16
	// maxPasses bounds how often all rows are listed again for versions that were meanwhile written under another key.
	maxPasses = 5
	// After maxRefusals refused versions of one master key in a row, the run skips all further versions of that key.
	maxRefusals = 20
)

// run moves every version.
type run struct {
	steps    vault.RewrapSteps
	now      vault.Clock
	pace     *rate.Limiter
	progress func(vault.RewrapStatus) // nil = not reported

	mu      sync.Mutex
	status  vault.RewrapStatus
	left    map[versionID]struct{} // what could not be moved is not tried again
	refused map[string]int         // versions in a row, by master key
}

type versionID struct {
	id      core.SecretID
	version uint64
}

func (j *Job) newRun(ctx context.Context, steps vault.RewrapSteps, perSecond int, progress func(vault.RewrapStatus)) (*run, error) {
	if perSecond < 0 || perSecond > vault.MaxRewrapRate {
		return nil, core.Errorf(core.Invalid, "the rate must be between 1 and %d versions a second", vault.MaxRewrapRate)
	}
	current, err := steps.Current(ctx)
	if err != nil {
		return nil, err
	}
	if perSecond == 0 {
		perSecond = vault.DefaultRewrapRate
	}
	return &run{
		steps: steps, now: j.now, pace: newPace(perSecond), progress: progress,
		status: vault.RewrapStatus{State: vault.RewrapRunning, Key: current, StartedAt: j.now()},
		left:   map[versionID]struct{}{}, refused: map[string]int{},
	}, nil
}

// all returns when every version is under the key, except those that cannot be moved.
func (r *run) all(ctx context.Context) error {
	err := r.passes(ctx)
	r.status.Ended = r.now()
	switch {
	case err == nil && r.status.Failed > 0 && r.status.Moved == 0:
		r.status.State = vault.RewrapFailed
		r.status.Error = "no version could be moved: " + r.status.LastFailed.Error
	case err == nil && r.status.Failed > 0:
		r.status.State = vault.RewrapPartial
		r.status.Error = "some versions could not be moved, the last of them: " + r.status.LastFailed.Error
	case err == nil:
		r.status.State = vault.RewrapDone
	case ctx.Err() != nil:
		r.status.State = vault.RewrapStopped
		r.status.Error = "stopped; start it again to go on"
	default:
		r.status.State = vault.RewrapFailed
		r.status.Error = core.MessageOf(err)
	}
	return err
}

// passes goes through all rows again as long as there are more to move than those that cannot be: another server may
// write under another key behind the pass.
func (r *run) passes(ctx context.Context) error {
	err := r.count(ctx)
	r.status.Total = r.status.Remaining
	for n := 0; err == nil && r.status.Remaining > int64(len(r.left)); n++ {
		if n == maxPasses {
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
	return r.persist(ctx, func(ctx context.Context) error { return r.steps.MoveTokenKey(ctx, r.status.Key) })
}

func (r *run) count(ctx context.Context) error {
	return r.persist(ctx, func(ctx context.Context) (err error) {
		under, err := r.steps.CountWrapped(ctx, r.status.Key)
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
func (r *run) sameKey(ctx context.Context) error {
	current := ""
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		current, err = r.steps.Current(ctx)
		return err
	})
	if err == nil && current != r.status.Key {
		err = core.Errorf(core.Stale, "the master key has been changed meanwhile: start it again")
	}
	return err
}

// pass goes through all rows once and returns when all it began is done.
func (r *run) pass(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	slots := make(chan struct{}, maxWorkers)
	var workers sync.WaitGroup
	err := r.each(ctx, func(k vault.StoredKey) bool {
		if r.pace.Wait(ctx) != nil {
			return false
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		workers.Go(func() {
			defer func() { <-slots }()
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
func (r *run) each(ctx context.Context, f func(vault.StoredKey) bool) error {
	var after vault.StoredKey
	for {
		var page []vault.StoredKey
		err := r.persist(ctx, func(ctx context.Context) (err error) {
			page, err = r.steps.ListWrapped(ctx, r.status.Key, after, pageSize)
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
func (r *run) passOver(k vault.StoredKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := versionID{k.ID, k.Version}
	if _, known := r.left[id]; known {
		return true
	}
	if r.refused[k.Key.KeyID] < maxRefusals {
		return false
	}
	r.left[id] = struct{}{}
	r.status.Failed++
	return true
}

// version moves one key. One that is damaged, or whose master key may not be used, is recorded and left, so that it does
// not hold up the others; only what concerns every key is an error.
func (r *run) version(ctx context.Context, k vault.StoredKey) error {
	moved := false
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		moved, err = r.move(ctx, k)
		return err
	})
	if ctx.Err() != nil && err != nil {
		return err
	}
	if err != nil {
		if rerr := r.steps.RecordFailure(ctx, k, err); rerr != nil {
			return rerr
		}
	}
	return r.settle(k, moved, err)
}

// settle counts what came of k, and returns err unless it is about k alone.
func (r *run) settle(k vault.StoredKey, moved bool, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, refused := errors.AsType[*keyRefused](err)
	switch {
	case err != nil:
		r.status.LastFailed = vault.RewrapFailure{Name: k.Name, Version: k.Version, Error: core.MessageOf(err)}
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

func (r *run) move(ctx context.Context, k vault.StoredKey) (bool, error) {
	wrapped, err := r.steps.Rewrap(ctx, k, r.status.Key)
	if code := core.CodeOf(err); code == core.Denied || code == core.Corrupt || errors.Is(err, vault.ErrKeyRefused) {
		return false, &keyRefused{err}
	}
	if err != nil {
		return false, err
	}
	return r.steps.Replace(ctx, k, wrapped)
}

// persist calls f until it does not say Unavailable, several times with growing pauses. Doing a step twice is
// harmless: the second time it finds another key than it asks for.
func (r *run) persist(ctx context.Context, f func(context.Context) error) error {
	pause := 250 * time.Millisecond
	for try := 1; ; try++ {
		bounded, cancel := context.WithTimeout(ctx, callTimeout)
		err := f(bounded)
		cancel()
		_, refused := errors.AsType[*keyRefused](err)
		if refused || core.CodeOf(err) != core.Unavailable || try == maxTries || !backoff.Sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// newPace lets so many versions a second through. What was late is made up for, but no more than a quarter of a second.
func newPace(perSecond int) *rate.Limiter {
	burst := max(1, perSecond/4)
	l := rate.NewLimiter(rate.Limit(perSecond), burst)
	l.AllowN(time.Now(), burst-1) // nothing is late yet
	return l
}
