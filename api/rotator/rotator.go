// Package rotator makes the rotations that are due. Any number of processes on any nodes run one: the database gives
// each due rotation to one of them at a time. It decides nothing about secrets: the door makes and stores the values.
package rotator

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Door is the part of vault.Vault that the rotator calls.
type Door interface {
	ClaimRotations(ctx context.Context, worker string, lease time.Duration, limit int) ([]vault.Claim, error)
	CompleteRotation(ctx context.Context, c vault.Claim) (vault.Secret, error)
	FailRotation(ctx context.Context, c vault.Claim, cause error) (time.Time, error)
	RenewRotations(ctx context.Context, worker string, lease time.Duration) error
	ReleaseRotation(ctx context.Context, c vault.Claim) error
	PlanRotations(ctx context.Context) (int, error)
	CheckKeys(ctx context.Context) error
}

// Listener tells when a rotation may be due. It calls heard as soon as it listens and then for every notification, and
// returns when ctx ends or it hears no more.
type Listener func(ctx context.Context, heard func()) error

const (
	defaultPoll    = 15 * time.Second
	defaultLease   = time.Minute
	defaultBatch   = 16
	defaultWorkers = 4
	defaultTimeout = 10 * time.Second
	firstBackoff   = 500 * time.Millisecond
	// restBetween is the least time between the beginnings of two looks: any role may notify, and as often as it likes.
	restBetween = 100 * time.Millisecond
	longBackoff = 30 * time.Second
	// sickPause is the time until the next poll after one that could not claim, or lost the key service on the way.
	sickPause = time.Second
	// maxRetries bounds how many times of retries are kept in mind; later ones are found by polling.
	maxRetries = 1024
)

// Config is what a Rotator is made of. Door is required.
type Config struct {
	Door    Door
	Listen  Listener      // nil = by polling alone
	Log     *slog.Logger  // nil = slog.Default()
	Node    string        // a part of the names under which claims are held
	Poll    time.Duration // between two looks when nothing is heard; 0 = 15 s
	Lease   time.Duration // how long a claim is held after its last renewal, before others take it over; 0 = 1 min
	Batch   int           // claims at a time; 0 = 16
	Workers int           // rotations at a time; 0 = 4
	Timeout time.Duration // of one rotation; 0 = 10 s
}

// Rotator is one process's part. Its methods are safe for concurrent use; Run is called once.
type Rotator struct {
	c     Config
	awake chan struct{} // holds one wish to poll
	said  lastSaid

	mu      sync.Mutex
	retries []time.Time // when failed rotations are to be tried again, in no order
}

// New returns a rotator, which does nothing before Run.
func New(c Config) *Rotator {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	for _, d := range []struct {
		v  *time.Duration
		to time.Duration
	}{{&c.Poll, defaultPoll}, {&c.Lease, defaultLease}, {&c.Timeout, defaultTimeout}} {
		if *d.v <= 0 {
			*d.v = d.to
		}
	}
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	return &Rotator{c: c, awake: make(chan struct{}, 1)}
}

// Wake makes it poll now, or once more if it is polling.
func (r *Rotator) Wake() {
	select {
	case r.awake <- struct{}{}:
	default:
	}
}

// Run rotates until ctx ends. Then it claims nothing more, gives back what it has not started, finishes what it has,
// which takes at most Timeout, and returns.
func (r *Rotator) Run(ctx context.Context) {
	var listening sync.WaitGroup
	if r.c.Listen != nil {
		listening.Go(func() { r.listen(ctx) })
	}
	defer listening.Wait()
	for ctx.Err() == nil {
		r.poll(ctx)
	}
}

// listen keeps the listener going.
func (r *Rotator) listen(ctx context.Context) {
	pause := firstBackoff
	for {
		started := time.Now()
		err := r.c.Listen(ctx, r.Wake)
		if ctx.Err() != nil {
			return
		}
		r.said.warn(ctx, r.c.Log, "listen", "cannot listen for due rotations, polling goes on", err)
		if time.Since(started) > longBackoff {
			pause = firstBackoff
		}
		if !backoff.Sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, longBackoff)
	}
}

// poll does what there is to do, then waits for the next reason to poll.
func (r *Rotator) poll(ctx context.Context) {
	startedAt := time.Now()
	r.forgetRetries()
	// A stop must not cut a statement in two; it ends the wait below.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	_, err := r.c.Door.PlanRotations(work)
	cancel()
	r.said.warn(ctx, r.c.Log, "plan", "cannot plan rotations", err)
	sick := false
	for ctx.Err() == nil && !sick {
		n, ill := r.batch(ctx)
		sick = ill
		if n < r.c.Batch {
			break
		}
	}
	if sick {
		backoff.Sleep(ctx, sickPause) // even if it is woken meanwhile: others take on what it has given back
	}
	backoff.SleepOr(ctx, r.untilNext(sick), r.awake)
	backoff.Sleep(ctx, restBetween-time.Since(startedAt))
}

// untilNext returns after what time to poll again when nothing wakes it.
func (r *Rotator) untilNext(sick bool) time.Duration {
	if sick {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := r.c.Poll
	for _, at := range r.retries {
		wait = min(wait, max(restBetween, time.Until(at)))
	}
	return wait
}

// retryAt keeps in mind when to try a failed rotation again, over any number of polls until then.
func (r *Rotator) retryAt(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.retries) < maxRetries {
		r.retries = append(r.retries, at)
	}
}

// forgetRetries drops the times that the poll which starts now is for.
func (r *Rotator) forgetRetries() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.retries = slices.DeleteFunc(r.retries, func(at time.Time) bool { return !at.After(now) })
}

// batch claims and works on one batch. It returns the size of the batch, and whether something that every rotation needs
// is away. In that case it has given back what was not started, and the caller should pause.
func (r *Rotator) batch(ctx context.Context) (n int, sick bool) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	defer cancel()
	// A name for every claiming: the same process must not take its own slow rotation over.
	worker, startedAt := r.c.Node+"/"+rand.Text(), time.Now()
	claims, err := r.c.Door.ClaimRotations(work, worker, r.c.Lease, r.c.Batch)
	r.said.warn(ctx, r.c.Log, "claim", "cannot claim rotations", err)
	var workers errgroup.Group
	workers.SetLimit(r.c.Workers)
	var away atomic.Bool
	held := &holding{r: r, worker: worker, renewed: startedAt}
	if len(claims) > 0 {
		defer held.start(ctx)()
	}
	for _, c := range claims {
		workers.Go(func() error {
			if ctx.Err() != nil || away.Load() || !held.covers() {
				r.release(ctx, c)
			} else if r.rotate(ctx, c) == core.Unavailable && r.cutOff(ctx) {
				away.Store(true)
			}
			return nil
		})
	}
	_ = workers.Wait()
	return len(claims), err != nil || away.Load()
}

// cutOff reports whether it is the key service that a rotation failed for, and not that one secret.
func (r *Rotator) cutOff(ctx context.Context) bool {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	defer cancel()
	return r.c.Door.CheckKeys(work) != nil
}

// rotate makes one rotation and returns the code of its failure, "" when there is nothing left to do.
func (r *Rotator) rotate(ctx context.Context, c vault.Claim) core.Code {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	defer cancel()
	log := r.c.Log.With("secret", string(c.Secret.Name), "due_at", c.DueAt.UTC(), "attempt", c.Attempts)
	made, err := r.complete(work, c)
	switch {
	case err == nil:
		log.InfoContext(ctx, "rotated", "version", made.CurrentVersion)
		return ""
	case vault.IsClaimLost(err):
		log.InfoContext(ctx, "the rotation was taken over or called off")
		return ""
	}
	log.WarnContext(ctx, "rotation failed", "code", core.CodeOf(err), "cause", err.Error())
	failing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	defer cancel()
	at, ferr := r.c.Door.FailRotation(failing, c, err)
	if ferr != nil {
		log.WarnContext(ctx, "the failure could not be kept; the rotation is taken over when its lease ends", "cause", ferr.Error())
		return core.CodeOf(err)
	}
	r.retryAt(at)
	return core.CodeOf(err)
}

// complete makes a failure of a panic, so that one secret cannot end the rotation of all others.
func (r *Rotator) complete(ctx context.Context, c vault.Claim) (made vault.Secret, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = core.Recovered(p)
			r.c.Log.ErrorContext(ctx, "a rotation panicked", "secret", string(c.Secret.Name), "error", err.Error())
		}
	}()
	return r.c.Door.CompleteRotation(ctx, c)
}

func (r *Rotator) release(ctx context.Context, c vault.Claim) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.Timeout)
	defer cancel()
	if err := r.c.Door.ReleaseRotation(work, c); err != nil && !vault.IsClaimLost(err) {
		r.c.Log.WarnContext(ctx, "a claim could not be given back; it ends with its lease",
			"secret", string(c.Secret.Name), "cause", err.Error())
	}
}

// lastSaid keeps a lasting problem from filling the log. The zero value has said nothing.
type lastSaid struct {
	mu   sync.Mutex
	text map[string]string
}

// warn logs err unless it was the last one of its kind; nil makes it be said again.
func (s *lastSaid) warn(ctx context.Context, log *slog.Logger, kind, message string, err error) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == nil {
		s.text = map[string]string{}
	}
	if text != "" && text != s.text[kind] {
		log.WarnContext(ctx, message, "cause", text)
	}
	s.text[kind] = text
}
