package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
)

func TestDelay(t *testing.T) {
	for try, want := range []time.Duration{25, 50, 100, 200, 400, 400} {
		if got := backoff.Delay(25, 400, try); got != want {
			t.Errorf("try %d: %d, want %d", try, got, want)
		}
	}
	if got := backoff.Delay(time.Second, time.Hour, 1<<40); got != 1024*time.Second {
		t.Errorf("after very many tries: %s", got)
	}
}

func TestSleep(t *testing.T) {
	woken := make(chan struct{})
	close(woken)
	for name, c := range map[string]struct {
		bound time.Duration // of the context
		wake  chan struct{}
		awake bool
		after time.Duration
	}{
		"OK":             {bound: time.Hour, awake: true, after: time.Minute},
		"Woken":          {bound: time.Hour, wake: woken, awake: true},
		"ErrContextEnds": {bound: time.Second, after: time.Second},
		"ErrContextOver": {bound: 0},
		"ErrOverAndWake": {bound: 0, wake: woken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.bound)
				defer cancel()
				start := time.Now()
				if awake := backoff.SleepOr(ctx, time.Minute, c.wake); awake != c.awake || time.Since(start) != c.after {
					t.Errorf("returned %t after %s, want %t after %s", awake, time.Since(start), c.awake, c.after)
				}
			})
		})
	}
}
