package audit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// appender keeps what it was given; gate, if not nil, holds every commit until it gives way.
type appender struct {
	mu     sync.Mutex
	groups [][]vault.Entry
	gate   chan struct{}
	began  chan struct{}
	fail   func([]vault.Entry) error
}

func (a *appender) AppendAudit(_ context.Context, entries []vault.Entry) error {
	if a.gate != nil {
		a.began <- struct{}{}
		<-a.gate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		if err := a.fail(entries); err != nil {
			return err
		}
	}
	a.groups = append(a.groups, entries)
	return nil
}

func (a *appender) count() (groups, entries int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.groups {
		entries += len(g)
	}
	return len(a.groups), entries
}

func entry(name string) vault.Entry {
	return vault.Entry{Action: vault.ActionRead, Name: name, Version: 3, Outcome: vault.OutcomeOK}
}

func open(t *testing.T, a *appender) *audit.Direct {
	t.Helper()
	d := audit.NewDirect(a)
	t.Cleanup(d.Close)
	return d
}

func TestDirectOK(t *testing.T) {
	a := &appender{}
	d := open(t, a)
	e := entry("db/password")
	if err := d.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if len(a.groups) != 1 || len(a.groups[0]) != 1 || a.groups[0][0] != e {
		t.Fatalf("wrote %v", a.groups)
	}
}

// TestDirectWaitsForTheCommit fails if a record is called written before the commit that holds it has ended.
func TestDirectWaitsForTheCommit(t *testing.T) {
	a := &appender{gate: make(chan struct{}), began: make(chan struct{})}
	d := open(t, a)
	done := make(chan error)
	go func() { done <- d.Record(context.Background(), entry("a")) }()
	<-a.began
	select {
	case err := <-done:
		t.Fatalf("answered before the commit: %v", err)
	default:
	}
	close(a.gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDirectSharesCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiting = 100
		a := &appender{gate: make(chan struct{}), began: make(chan struct{}, waiting)}
		d := audit.NewDirect(a)
		defer d.Close()
		errs := make(chan error, waiting)
		for i := range waiting {
			go func() { errs <- d.Record(context.Background(), entry(fmt.Sprint(i))) }()
		}
		synctest.Wait() // every writer is at a commit; the rest wait together
		close(a.gate)
		for range waiting {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if groups, entries := a.count(); entries != waiting || groups > 10 {
			t.Errorf("%d records in %d commits", entries, groups)
		}
	})
}

func TestDirectErrUnavailable(t *testing.T) {
	a := &appender{fail: func([]vault.Entry) error { return core.Errorf(core.Unavailable, "no primary") }}
	if err := open(t, a).Record(t.Context(), entry("a")); core.CodeOf(err) != core.Unavailable {
		t.Fatalf("got %v", err)
	}
}

// TestDirectErrOfOne fails if a record that the store refuses takes others of its group with it.
func TestDirectErrOfOne(t *testing.T) {
	a := &appender{gate: make(chan struct{}), began: make(chan struct{}, 1000)}
	a.fail = func(entries []vault.Entry) error {
		for _, e := range entries {
			if e.Name == "bad" {
				return core.Errorf(core.Invalid, "malformed")
			}
		}
		return nil
	}
	d := open(t, a)
	type answer struct {
		name string
		err  error
	}
	const good = 40
	answers := make(chan answer, good+1)
	ask := func(name string) { answers <- answer{name, d.Record(context.Background(), entry(name))} }
	for i := range good {
		go ask(fmt.Sprint(i))
	}
	go ask("bad")
	close(a.gate)
	for range good + 1 {
		got := <-answers
		if want := got.name == "bad"; (core.CodeOf(got.err) == core.Invalid) != want || (got.err == nil) == want {
			t.Errorf("%s: %v", got.name, got.err)
		}
	}
	if _, entries := a.count(); entries != good {
		t.Errorf("%d records, not %d", entries, good)
	}
}

func TestDirectErrContext(t *testing.T) {
	a := &appender{gate: make(chan struct{}), began: make(chan struct{}, 1)}
	d := open(t, a)
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- d.Record(ctx, entry("a")) }()
	<-a.began
	cancel(errors.New("gone"))
	if err := <-done; core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	close(a.gate)
}

func TestDirectClosed(t *testing.T) {
	d := audit.NewDirect(&appender{})
	d.Close()
	d.Close()
	if err := d.Record(t.Context(), entry("a")); core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
}
