package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestLooksWhenPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		_, stop := start(t, rotator.Config{Door: d, Poll: 10 * time.Second})
		defer stop()
		synctest.Wait()
		d.add("a")
		time.Sleep(10*time.Second - 1) // of the bubble's clock
		want(t, d.take())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want(t, d.take(), "completed a")
	})
}

func TestLooksWhenWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		hear := make(chan func(), 1)
		_, stop := start(t, rotator.Config{Door: d, Poll: time.Hour, Listen: func(ctx context.Context, heard func()) error {
			hear <- heard
			<-ctx.Done()
			return ctx.Err()
		}})
		defer stop()
		heard := <-hear
		time.Sleep(time.Second) // of the bubble's clock, here and below
		synctest.Wait()
		d.add("a")
		heard()
		synctest.Wait()
		want(t, d.take(), "completed a")
	})
}

// TestNotificationsWithoutEnd: any role may notify, as often as it likes. What it costs is bounded, and what is due is
// rotated meanwhile.
func TestNotificationsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		d := &door{claim: func() error { looks++; return nil }}
		_, stop := start(t, rotator.Config{Door: d, Poll: time.Hour, Listen: func(ctx context.Context, heard func()) error {
			for ctx.Err() == nil {
				heard()
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		}})
		time.Sleep(5 * time.Second)
		d.add("a")
		time.Sleep(5 * time.Second)
		stop()
		want(t, d.take(), "completed a")
		if looks > 10*10+2 {
			t.Errorf("%d looks in ten seconds", looks)
		}
	})
}

func TestListensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		startedAt := time.Now()
		_, stop := start(t, rotator.Config{Door: &door{}, Poll: time.Hour, Listen: func(context.Context, func()) error {
			at = append(at, time.Since(startedAt))
			return errors.New("the connection went away")
		}})
		time.Sleep(2 * time.Minute)
		stop()
		if want := "[0s 500ms 1.5s 3.5s 7.5s 15.5s 31.5s 1m1.5s 1m31.5s]"; fmt.Sprint(at) != want {
			t.Errorf("listened at %v, want %s", at, want)
		}
	})
}

func TestWorksUntilNothingIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		for i := range 35 {
			d.add(core.Name(fmt.Sprint(i)))
		}
		_, stop := start(t, rotator.Config{Door: d, Batch: 10, Workers: 3})
		defer stop()
		synctest.Wait()
		if n := len(d.take()); n != 35 {
			t.Errorf("%d rotations at once, want 35", n)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most int
		var mu sync.Mutex
		d := &door{complete: func(context.Context, vault.Claim) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}}
		d.add("1", "2", "3", "4", "5", "6", "7", "8")
		_, stop := start(t, rotator.Config{Door: d, Workers: 3})
		defer stop()
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most != 3 || len(d.take()) != 8 {
			t.Errorf("%d at a time, want 3", most)
		}
	})
}

func TestFailures(t *testing.T) {
	lost := core.Wrap(core.Stale, vault.ErrClaimLost, "gone")
	for name, c := range map[string]struct {
		complete func(context.Context, vault.Claim) error
		want     string
	}{
		// One failure ends nothing, and is tried again when its time has come.
		"an error": {func(context.Context, vault.Claim) error { return core.Errorf(core.Unavailable, "away") },
			"[failed a: unavailable completed b]"},
		"a panic":      {func(context.Context, vault.Claim) error { panic("on purpose") }, "[failed a: internal completed b]"},
		"a lost claim": {func(context.Context, vault.Claim) error { return lost }, "[]"},
		"too slow": {func(ctx context.Context, _ vault.Claim) error {
			<-ctx.Done()
			return ctx.Err()
		}, "[failed a: unavailable completed b]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &door{complete: c.complete}
				d.failed = func() { d.complete = nil; d.add("b") }
				d.add("a")
				_, stop := start(t, rotator.Config{Door: d, Poll: time.Hour, Timeout: 10 * time.Second})
				defer stop()
				time.Sleep(13 * time.Second)
				if got := fmt.Sprint(d.take()); got != c.want {
					t.Errorf("did %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestPanicIsLogged: the log says where a rotation panicked, and nothing of the panic's value.
func TestPanicIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log, before := &door{complete: func(context.Context, vault.Claim) error { panic("CANARY") }}, &pgtest.Log{}, core.Panics()
		d.add("a")
		_, stop := start(t, rotator.Config{Door: d, Poll: time.Hour, Timeout: 10 * time.Second, Log: slog.New(slog.NewTextHandler(log, nil))})
		time.Sleep(time.Second)
		stop()
		if l := log.String(); !strings.Contains(l, "rotator_test.TestPanicIsLogged.func") || !strings.Contains(l, "secret=a") || strings.Contains(l, "CANARY") {
			t.Errorf("log: %s", l)
		}
		if core.Panics() == before {
			t.Error("the panic is not counted")
		}
	})
}

func TestStopFinishesAndGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startedAt, finish := make(chan struct{}), make(chan struct{})
		d := &door{complete: func(ctx context.Context, c vault.Claim) error {
			startedAt <- struct{}{}
			<-finish
			return ctx.Err() // a stop must not reach a rotation that has startedAt
		}}
		d.add("a", "b", "c")
		_, stop := start(t, rotator.Config{Door: d, Workers: 1})
		<-startedAt
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		close(finish)
		<-stopped
		want(t, d.take(), "completed a", "released b", "released c")
	})
}

// TestClaimsAreRenewed: a batch may take longer than the lease as long as the renewals succeed. Without them, what was not
// startedAt is given back.
func TestClaimsAreRenewed(t *testing.T) {
	for name, c := range map[string]struct {
		renew func() error
		want  []string
	}{
		"OK":      {nil, []string{"completed a", "completed b", "completed c", "completed d"}},
		"ErrAway": {func() error { return core.Errorf(core.Unavailable, "away") }, []string{"completed a", "completed b", "released c", "released d"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &door{renew: c.renew, complete: func(context.Context, vault.Claim) error {
					time.Sleep(9 * time.Second)
					return nil
				}}
				d.add("a", "b", "c", "d")
				_, stop := start(t, rotator.Config{Door: d, Workers: 1, Timeout: 10 * time.Second, Lease: 15 * time.Second})
				defer stop()
				time.Sleep(time.Minute)
				want(t, d.take(), c.want...)
			})
		})
	}
}

// TestARetryIsNotForgotten: a look in between, for whatever reason, does not put it off to the next poll.
func TestARetryIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		d := &door{retry: 5 * time.Second, complete: func(_ context.Context, c vault.Claim) error {
			if c.Secret.Name == "a" && !failed {
				failed = true
				return core.Errorf(core.Internal, "once")
			}
			return nil
		}}
		d.add("a")
		r, stop := start(t, rotator.Config{Door: d, Poll: time.Hour})
		defer stop()
		for range 4 {
			time.Sleep(time.Second)
			r.Wake()
		}
		synctest.Wait()
		want(t, d.take(), "failed a: internal")
		d.add("a")
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		want(t, d.take(), "completed a")
	})
}

// TestCutOff: a node without its key service leaves the work to others, and comes back soon after it.
func TestCutOff(t *testing.T) {
	away := core.Errorf(core.Unavailable, "away")
	t.Run("in the midst of a batch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &door{complete: func(context.Context, vault.Claim) error { return away }, keys: func() error { return away }}
			d.add("a", "b", "c")
			_, stop := start(t, rotator.Config{Door: d, Workers: 1, Poll: time.Hour})
			defer stop()
			synctest.Wait()
			want(t, d.take(), "failed a: unavailable", "released b", "released c")
		})
	})
	t.Run("only one secret is", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &door{complete: func(_ context.Context, c vault.Claim) error {
				if c.Secret.Name == "a" {
					return away
				}
				return nil
			}}
			d.add("a", "b", "c")
			_, stop := start(t, rotator.Config{Door: d, Workers: 1, Poll: time.Hour})
			defer stop()
			synctest.Wait()
			want(t, d.take(), "failed a: unavailable", "completed b", "completed c")
		})
	})
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var looks atomic.Int64
			var back atomic.Bool
			d := &door{claim: func() error {
				if looks.Add(1); !back.Load() {
					return away
				}
				return nil
			}}
			d.add("a")
			r, stop := start(t, rotator.Config{Door: d, Poll: time.Hour})
			defer stop()
			for range 1000 { // any role may notify
				time.Sleep(10 * time.Millisecond)
				r.Wake()
			}
			if n := looks.Load(); n > 11 {
				t.Errorf("%d looks in ten seconds", n)
			}
			back.Store(true)
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			want(t, d.take(), "completed a")
		})
	})
}

func TestALastingProblemIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &pgtest.Log{}
		d := &door{claim: func() error { return errors.New("no connection") }}
		_, stop := start(t, rotator.Config{Door: d, Poll: time.Second, Log: slog.New(slog.NewTextHandler(log, nil))})
		defer stop()
		time.Sleep(30 * time.Second)
		if strings.Count(log.String(), "no connection") != 1 {
			t.Errorf("said %d times:\n%s", strings.Count(log.String(), "no connection"), log)
		}
	})
}
