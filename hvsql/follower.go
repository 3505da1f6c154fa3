package hvsql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	fetchTimeout = 30 * time.Second
	minPause     = time.Second      // between two fetches
	maxPause     = 30 * time.Second // after failures
)

// Source is where credentials come from: Secret, PasswordOf or Lease. It serves one Follower.
type Source interface {
	// fetch returns the credential that is current now. previous is the last one, or zero. One goroutine at
	// a time calls it.
	fetch(ctx context.Context, previous Credential) (Credential, error)
	// follow calls changed whenever there may be a newer credential, until ctx ends or it fails.
	follow(ctx context.Context, changed func()) error
}

// Follower knows the current credential of a source. It is safe for concurrent use.
type Follower struct {
	source Source
	life   context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{} // a newer credential may be there
	urgent chan struct{} // a login waits for it

	mu      sync.Mutex
	current Credential
	fetched chan struct{} // closed at the end of the next fetch
	err     error         // of the last fetch
	onError func(error)
}

// NewFollower fetches the credential, and follows it until Close. An error of the vault comes back as it is. ctx bounds the
// first fetch alone.
func NewFollower(ctx context.Context, s Source) (*Follower, error) {
	first, err := s.fetch(ctx, Credential{})
	if err != nil {
		return nil, err
	}
	first.serial = 1
	f := &Follower{source: s, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), current: first, fetched: make(chan struct{})}
	f.life, f.cancel = context.WithCancel(context.Background())
	f.done.Go(f.followSource)
	f.done.Go(f.run)
	return f, nil
}

// OnError sets what is called with each failure to fetch or to follow the credential. The last credential stays current
// meanwhile. No error shows a password.
func (f *Follower) OnError(call func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onError = call
}

// Close stops following and waits until that has ended. The credential stays what it is, and a lease ends by itself.
// Close may be called twice.
func (f *Follower) Close() {
	f.cancel()
	f.done.Wait()
}

// Current returns the current credential, even if it has ended.
func (f *Follower) Current() Credential {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// Format prints as the current credential does, without its password.
func (f *Follower) Format(s fmt.State, verb rune) { f.Current().Format(s, verb) }

// Valid returns the current credential. If that has ended, it waits for the next fetch, and returns an error if it brings no
// other.
func (f *Follower) Valid(ctx context.Context) (Credential, error) {
	if c := f.Current(); !c.expired() {
		return c, nil
	}
	c, err := f.await(ctx, func(c Credential) bool { return !c.expired() })
	if err != nil {
		return c, fmt.Errorf("hvsql: the credential of %q has ended, and the vault gives no other: %w", c.Username, err)
	}
	return c, nil
}

// Replace returns a credential that is newer than one that PostgreSQL has refused. It waits for a fetch, and returns an
// error if that brings no newer one.
func (f *Follower) Replace(ctx context.Context, refused Credential) (Credential, error) {
	c, err := f.await(ctx, func(c Credential) bool { return c.serial > refused.serial })
	if err != nil {
		return c, fmt.Errorf("hvsql: PostgreSQL has refused the credential of %q, and the vault gives no newer one: %w", refused.Username, err)
	}
	return c, nil
}

var (
	errSame   = errors.New("it is still the current one")
	errClosed = errors.New("the follower is closed")
)

// await returns the current credential once it is wanted. It waits for two fetches, because the first may be under way and have
// read too early.
func (f *Follower) await(ctx context.Context, wanted func(Credential) bool) (Credential, error) {
	for try := 0; ; try++ {
		f.mu.Lock()
		current, fetched, err := f.current, f.fetched, f.err
		f.mu.Unlock()
		switch {
		case wanted(current):
			return current, nil
		case try == 2 && err == nil:
			return current, errSame
		case try == 2:
			return current, err
		}
		signal(f.wake)
		signal(f.urgent)
		select {
		case <-fetched:
		case <-ctx.Done():
			return current, errors.Join(ctx.Err(), err)
		case <-f.life.Done():
			return current, errClosed
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run fetches when it is told to, and by the credential's own times.
func (f *Follower) run() {
	pause := minPause
	for f.awaitDue() {
		if f.fetch() == nil {
			pause = minPause
		} else {
			pause = min(2*pause, maxPause)
			signal(f.wake)
		}
		if !f.rest(pause) {
			return
		}
	}
}

// awaitDue reports false once the follower is closed.
func (f *Follower) awaitDue() bool {
	var due <-chan time.Time
	if at := f.Current().refreshAt; !at.IsZero() {
		due = time.After(time.Until(at))
	}
	select {
	case <-f.life.Done():
		return false
	case <-f.wake:
	case <-due:
	}
	return true
}

// rest pauses between two fetches. A login that waits cuts it short, but not below minPause.
func (f *Follower) rest(pause time.Duration) bool {
	for _, part := range []struct {
		wait time.Duration
		cut  chan struct{}
	}{{minPause, nil}, {pause - minPause, f.urgent}} {
		select {
		case <-f.life.Done():
			return false
		case <-time.After(part.wait):
		case <-part.cut:
		}
	}
	return true
}

func (f *Follower) fetch() error {
	ctx, cancel := context.WithTimeout(f.life, fetchTimeout)
	defer cancel()
	previous := f.Current()
	c, err := f.source.fetch(ctx, previous)
	f.mu.Lock()
	if f.err = err; err == nil {
		if c.serial = previous.serial; !c.sameLogin(previous) {
			c.serial++
		}
		f.current = c
	}
	close(f.fetched)
	f.fetched = make(chan struct{})
	f.mu.Unlock()
	f.report(err)
	return err
}

func (f *Follower) report(err error) {
	f.mu.Lock()
	call := f.onError
	f.mu.Unlock()
	if err != nil && call != nil && f.life.Err() == nil {
		call(err)
	}
}

// followSource follows again after a failure.
func (f *Follower) followSource() {
	for f.life.Err() == nil {
		f.report(f.source.follow(f.life, func() { signal(f.wake) }))
		select {
		case <-f.life.Done():
		case <-time.After(maxPause):
		}
	}
}
