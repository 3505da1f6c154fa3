package rotator_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var quiet = slog.New(slog.DiscardHandler)

// door is a stand-in whose methods are what the test sets; it keeps what happened.
type door struct {
	mu       sync.Mutex
	due      []vault.Claim
	workers  map[string]bool
	did      []string
	complete func(ctx context.Context, c vault.Claim) error
	claim    func() error
	keys     func() error
	renew    func() error
	failed   func()
	retry    time.Duration // after a failure; 0 = 2 s
}

func (d *door) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did = append(d.did, fmt.Sprintf(format, args...))
}

func (d *door) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	did := d.did
	d.did = nil
	return did
}

func (d *door) add(names ...core.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range names {
		d.due = append(d.due, vault.Claim{Secret: vault.Secret{Name: n}})
	}
}

func (d *door) ClaimRotations(_ context.Context, worker string, _ time.Duration, limit int) ([]vault.Claim, error) {
	if d.claim != nil {
		if err := d.claim(); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.workers[worker] {
		return nil, errors.New("a worker's name came twice")
	}
	if d.workers == nil {
		d.workers = map[string]bool{}
	}
	d.workers[worker] = true
	n := min(limit, len(d.due))
	out := d.due[:n:n]
	d.due = d.due[n:]
	return out, nil
}

func (d *door) CompleteRotation(ctx context.Context, c vault.Claim) (vault.Secret, error) {
	if d.complete != nil {
		if err := d.complete(ctx, c); err != nil {
			return vault.Secret{}, err
		}
	}
	d.note("completed %s", c.Secret.Name)
	return c.Secret, nil
}

func (d *door) FailRotation(_ context.Context, c vault.Claim, cause error) (time.Time, error) {
	d.note("failed %s: %s", c.Secret.Name, core.CodeOf(cause))
	if d.failed != nil {
		d.failed()
	}
	return time.Now().Add(cmp.Or(d.retry, 2*time.Second)), nil
}

func (d *door) CheckKeys(context.Context) error {
	if d.keys == nil {
		return nil
	}
	return d.keys()
}

func (d *door) RenewRotations(context.Context, string, time.Duration) error {
	if d.renew == nil {
		return nil
	}
	return d.renew()
}

func (d *door) ReleaseRotation(_ context.Context, c vault.Claim) error {
	d.note("released %s", c.Secret.Name)
	return nil
}

func (d *door) PlanRotations(context.Context) (int, error) { return 0, nil }

// start runs a rotator until the test ends; stop waits for it.
func start(t *testing.T, c rotator.Config) (r *rotator.Rotator, stop func()) {
	t.Helper()
	if c.Log == nil {
		c.Log = quiet
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	r = rotator.New(c)
	go func() { defer close(done); r.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return r, stop
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("did %q, want %q", got, want)
	}
}
