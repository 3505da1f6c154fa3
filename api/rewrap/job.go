// Package rewrap moves data keys to the current master key, a step at a time, at a pace that its caller chose. The door
// (api/vault) admits and records each step. The package keeps no list of what is done: a version that was moved is no
// longer listed, so a run that ended early needs nothing but another run.
package rewrap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Job is the one background run of a process. It implements vault.RewrapRunner and vault.Conditioned.
type Job struct {
	now vault.Clock

	mu     sync.Mutex
	status vault.RewrapStatus
	stop   context.CancelFunc // nil = none was started
	ended  chan struct{}
	closed bool
}

// New returns an idle Job. A nil clock is the system's.
func New(clock vault.Clock) *Job {
	if clock == nil {
		clock = time.Now
	}
	return &Job{now: clock, status: vault.RewrapStatus{State: vault.RewrapIdle}}
}

// Start implements vault.RewrapRunner.
func (j *Job) Start(ctx context.Context, steps vault.RewrapSteps, rate int) (vault.RewrapStatus, error) {
	r, err := j.newRun(ctx, steps, rate, j.set)
	if err != nil {
		return vault.RewrapStatus{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return vault.RewrapStatus{}, core.Errorf(core.Unavailable, "this server is shutting down")
	}
	if j.status.State == vault.RewrapRunning {
		return j.status, nil
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	j.status, j.stop, j.ended = r.status, stop, ended
	go func() {
		defer close(ended)
		defer stop()
		_ = r.all(running) // the status says it
		j.set(r.status)
	}()
	return j.status, nil // the run's own status belongs to the run from here on
}

// Prepare implements vault.RewrapRunner.
func (j *Job) Prepare(ctx context.Context, steps vault.RewrapSteps, rate int, progress func(vault.RewrapStatus)) (func(context.Context) (vault.RewrapStatus, error), error) {
	r, err := j.newRun(ctx, steps, rate, progress)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (vault.RewrapStatus, error) {
		err := r.all(ctx)
		return r.status, err
	}, nil
}

// Status implements vault.RewrapRunner.
func (j *Job) Status() vault.RewrapStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.status
}

func (j *Job) set(s vault.RewrapStatus) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status = s
}

// Conditions reports whether the last run of this process has left data keys under another master key.
func (j *Job) Conditions(context.Context) []vault.Condition {
	s := j.Status()
	switch s.State {
	case vault.RewrapPartial, vault.RewrapFailed, vault.RewrapStopped:
		return []vault.Condition{{Name: vault.ConditionRewrapUnfinished, Part: "keys", Severity: vault.SeverityNotice, Since: s.Ended,
			Reason: fmt.Sprintf("a rewrap to %s has ended %s: %d versions were moved, %d failed, %d are still under another key; GET /v1/admin/rewrap says why",
				core.Quote(s.Key), s.State, s.Moved, s.Failed, s.Remaining)}}
	}
	return nil
}

// Close stops the background run and waits for it, until ctx ends. It may be called twice. Nothing can be started after
// it.
func (j *Job) Close(ctx context.Context) {
	j.mu.Lock()
	j.closed = true
	stop, ended := j.stop, j.ended
	j.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
