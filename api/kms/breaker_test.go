package kms

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go/middleware"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// broken has a keeper whose attempts may take 100 ms, a data key, and a record of what the breaker said.
type broken struct {
	*AWS
	s   *kmstest.Server
	key vault.DataKey

	mu   sync.Mutex
	said []bool
}

func startBroken(t *testing.T, retries int) *broken {
	t.Helper()
	s, arn := startKMS(t)
	b := &broken{s: s}
	b.AWS = mustAWS(t, AWSConfig{KeyID: arn, MaxRetries: retries, AttemptTimeout: 100 * time.Millisecond, Silent: func(why error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.said = append(b.said, why != nil)
	}})
	b.key = mustGenerate(t, b, ctxA)
	s.TakeCalls()
	return b
}

// burst makes n calls at once, which must all fail, and returns how long the longest took.
func (b *broken) burst(t *testing.T, n int) time.Duration {
	t.Helper()
	var wg sync.WaitGroup
	var longest atomic.Int64
	for range n {
		wg.Go(func() {
			startedAt := time.Now()
			_, err := b.Unwrap(t.Context(), b.key.WrappedKey, ctxA)
			if core.CodeOf(err) != core.Unavailable || verdictOf(err) != silent {
				t.Errorf("%v", err)
			}
			for took := int64(time.Since(startedAt)); ; {
				if old := longest.Load(); took <= old || longest.CompareAndSwap(old, took) {
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Duration(longest.Load())
}

func (b *broken) wantSaid(t *testing.T, want ...bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.said, want) {
		t.Errorf("said %v, want %v", b.said, want)
	}
}

// TestBreaker: once a burst has met a KMS that hangs, calls are refused at once, one is tried now and then, and the first
// that is answered lets all through again.
func TestBreaker(t *testing.T) {
	b := startBroken(t, 5)
	b.s.Always(kmstest.Hanging)
	// Five retries of 100 ms each with pauses of up to seconds; the breaker opens after the first attempts.
	if took := b.burst(t, 50); took > 10*time.Second {
		t.Errorf("calls under way went on for %s", took)
	}
	asked := len(b.s.TakeCalls())
	if asked > 60 {
		t.Errorf("%d attempts for 50 calls: retries went on", asked)
	}
	if took := b.burst(t, 200); took > 10*time.Second || !b.Circuit().Open || b.Circuit().Refused < 150 {
		t.Errorf("took %s with %+v", took, b.Circuit())
	}
	if n := len(b.s.TakeCalls()); n > 8 { // each hangs for 100 ms, and there are rests between them
		t.Errorf("%d attempts in place of a probe (%d before)", n, asked)
	}
	_, err := b.Generate(t.Context(), ctxA)
	wantErr(t, err, core.Unavailable, b.key)
	if b.Circuit().Open && !strings.Contains(err.Error(), "at least once a second") && !strings.Contains(err.Error(), "time of one attempt") {
		t.Errorf("the operator reads: %v", err)
	}
	b.wantSaid(t, true)
	b.s.Always()
	b.recovers(t)
	b.wantSaid(t, true, false)
	for range 20 {
		mustUnwrap(t, b, b.key, ctxA)
	}
}

// recovers waits for the first answer: a probe that hangs, the rest after it, and the next one.
func (b *broken) recovers(t *testing.T) {
	t.Helper()
	startedAt := time.Now()
	for b.Check(t.Context()) != nil {
		if time.Since(startedAt) > breakerLongest+10*time.Second {
			t.Fatal("not closed in time")
		}
		<-time.After(10 * time.Millisecond)
	}
	if b.Circuit().Open {
		t.Error("answered and still open")
	}
}

// TestBreakerFlapping: of a KMS that answers half of the time, in slices, more than half of that is had. A rest of one length
// meets the same slices again and again.
func TestBreakerFlapping(t *testing.T) {
	for slice := 100 * time.Millisecond; slice <= time.Second; slice += 100 * time.Millisecond {
		t.Run(slice.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, startedAt := newBreaker(nil), time.Now()
				kms := middleware.FinalizeHandlerFunc(func(context.Context, middleware.FinalizeInput) (out middleware.FinalizeOutput, meta middleware.Metadata, err error) {
					if time.Since(startedAt)/slice%2 == 0 {
						err = io.ErrUnexpectedEOF // the connection broke
					}
					elapse(time.Millisecond)
					return out, meta, err
				})
				var good, all atomic.Int64
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						for time.Since(startedAt) < time.Minute {
							if _, _, err := b.attempt(t.Context(), middleware.FinalizeInput{}, kms); err == nil {
								good.Add(1)
							}
							all.Add(1)
							elapse(20 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				if good.Load() < all.Load()/4 {
					t.Errorf("%d of %d served", good.Load(), all.Load())
				}
			})
		})
	}
}

// TestBreakerRests: rests grow with the time that KMS has been away, up to their bound; the first answer ends that, and
// the next opening begins with a short one.
func TestBreakerRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []bool
		b := newBreaker(func(why error) { said = append(said, why != nil) })
		late, _ := b.allow()
		for range 2 {
			for range breakerFails {
				turn, _ := b.allow()
				b.done(turn, errResting)
			}
			for opened := time.Now(); time.Since(opened) < 10*time.Second; {
				most := min(max(time.Since(opened)/4, breakerShortest), breakerLongest)
				turn, took := b.await(t)
				if took < most/2 || took > most+time.Millisecond {
					t.Errorf("after %s: rested for %s, want %s to %s", time.Since(opened), took, most/2, most)
				}
				b.done(late, nil) // of before: it says nothing about now
				b.done(turn, errResting)
			}
			turn, _ := b.await(t)
			b.done(turn, context.Canceled) // who went away: another may try at once
			turn, took := b.await(t)
			if took != 0 {
				t.Errorf("waited for %s", took)
			}
			b.done(turn, nil)
			if b.state().Open {
				t.Fatal("answered and still open")
			}
		}
		if !slices.Equal(said, []bool{true, false, true, false}) {
			t.Errorf("said %v", said)
		}
	})
}

// await waits for the next try, which must be one only, and returns it and how long that took.
func (b *breaker) await(t *testing.T) (turn uint64, took time.Duration) {
	t.Helper()
	for startedAt := time.Now(); ; elapse(time.Millisecond) {
		if n, ok := b.allow(); ok {
			if _, two := b.allow(); two {
				t.Fatal("two tries at once")
			}
			return n, time.Since(startedAt)
		}
	}
}

// TestBreakerOpensFor: what is no answer of KMS.
func TestBreakerOpensFor(t *testing.T) {
	for name, begin := range map[string]func(s *kmstest.Server){
		"refused":   func(s *kmstest.Server) { s.Stop() },
		"5xx":       func(s *kmstest.Server) { s.Always(kmstest.Broken) },
		"proxy":     func(s *kmstest.Server) { s.Always(kmstest.BadGateway) },
		"resetting": func(s *kmstest.Server) { s.Always(kmstest.Resetting) },
		"trickling": func(s *kmstest.Server) { s.Always(kmstest.Trickling) },
		"malformed": func(s *kmstest.Server) { s.Always(kmstest.Malformed) },
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroken(t, 0)
			begin(b.s)
			b.burst(t, breakerFails-1)
			if b.Circuit().Open {
				t.Error("too early")
			}
			b.burst(t, 1)
			if !b.Circuit().Open {
				t.Error("not open")
			}
			if took := b.burst(t, 1); took > 50*time.Millisecond {
				t.Errorf("refused after %s", took)
			}
		})
	}
}

// TestBreakerStaysClosed: answers that no caller wants, and callers that go, are no outage.
func TestBreakerStaysClosed(t *testing.T) {
	b := startBroken(t, 0)
	const many = 3 * breakerFails
	for _, f := range []kmstest.Fault{kmstest.Throttled, kmstest.Refused, kmstest.ExpiredLogin, {Status: 400, Code: "DisabledException"}} {
		b.s.Always(f)
		for range many {
			_, err := b.Unwrap(t.Context(), b.key.WrappedKey, ctxA)
			if err == nil {
				t.Fatal("no error")
			}
		}
	}
	b.s.Always()
	for i := range many { // flapping
		if i%breakerFails != 0 {
			b.s.Next(kmstest.Broken)
		}
		_, _ = b.Unwrap(t.Context(), b.key.WrappedKey, ctxA)
	}
	b.s.Always(kmstest.Hanging)
	for i := range many {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if i%2 == 0 {
			cancel()
		}
		_, err := b.Unwrap(ctx, b.key.WrappedKey, ctxA)
		cancel()
		wantErr(t, err, core.Unavailable, b.key)
	}
	b.s.Always()
	if c := b.Circuit(); c.Open || c.Refused != 0 {
		t.Errorf("%+v", c)
	}
	b.wantSaid(t)
	mustUnwrap(t, b, b.key, ctxA)
}

// TestBreakerNoCredentials: a server without credentials does not hear KMS and does not ask it either. If that counted as silence
// it would prolong the keys of a role that was taken away.
func TestBreakerNoCredentials(t *testing.T) {
	_, arn := startKMS(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	k := mustAWS(t, AWSConfig{KeyID: arn})
	for range 3 * breakerFails {
		_, err := k.Unwrap(t.Context(), vault.WrappedKey{KeyID: arn, Wrapped: []byte("w")}, ctxA)
		if verdictOf(err) != unsure || !strings.Contains(err.Error(), "no credentials") {
			t.Fatalf("%v", err)
		}
	}
	if c := k.Circuit(); c.Open || c.Refused != 0 {
		t.Errorf("%+v", c)
	}
}
