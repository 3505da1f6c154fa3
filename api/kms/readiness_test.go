package kms

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestCacheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		k := mustCache(t, s, CacheConfig{TTL: ttl})
		defer k.Close()
		for range 100 {
			if err := k.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantCalls(t, s, 1)
		s.failWith(errAway)
		elapse(checkHolds)
		for range 100 {
			if err := k.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
				t.Fatal(err)
			}
		}
		wantCalls(t, s, 1)
		s.failWith(nil)
		elapse(failedCheckHolds)
		if err := k.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCacheCheckHanging: a caller that asks for readiness has an answer within a second, but for the very first.
func TestCacheCheckHanging(t *testing.T) {
	asks := func(t *testing.T, k *Cache, most time.Duration, code core.Code) {
		t.Helper()
		startedAt := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // as the door does
		defer cancel()
		if err := k.Check(ctx); core.CodeOf(err) != code || time.Since(startedAt) > most {
			t.Errorf("%v after %s, want %q within %s", err, time.Since(startedAt), code, most)
		}
	}
	cacheTest(t, "AfterAnAnswer", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		asks(t, k, 0, "")
		s.takeCalls()
		hold := s.holdAll()
		elapse(checkHolds)
		asks(t, k, checkPatience, "") // what was known
		asks(t, k, 0, "")             // no caller waits for another one's question
		wantCalls(t, s, 1)
		elapse(maxCheck)
		for range 10 { // now it is known to be away
			asks(t, k, checkPatience, core.Unavailable)
			elapse(time.Second)
		}
		close(hold)
		elapse(maxCheck)
		asks(t, k, 0, "")
	})
	cacheTest(t, "CircuitOpen", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		asks(t, k, 0, "")
		hold := s.holdAll()
		s.mu.Lock()
		s.open = true
		s.mu.Unlock()
		elapse(checkHolds)
		asks(t, k, 0, core.Unavailable) // whatever was known
		close(hold)
	})
	cacheTest(t, "First", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		hold := s.holdAll()
		asks(t, k, 2*time.Second, core.Unavailable)
		close(hold)
	})
	// A caller that asks and goes away ends no other caller's question.
	cacheTest(t, "Detached", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		s.slowly(time.Second, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := k.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		elapse(time.Second)
		asks(t, k, 0, "")
		wantCalls(t, s, 1)
	})
}

// TestCheckDataKeys: a node whose data keys are refused or throttled is not ready, although the key can be described;
// one bad row is no reason, and it recovers without being asked for anything.
func TestCheckDataKeys(t *testing.T) {
	for name, f := range map[string]kmstest.Fault{"throttled": kmstest.Throttled, "refused": kmstest.Refused, "5xx": kmstest.Broken, "key away": kmstest.KeyAway} {
		for _, ops := range [][]string{{"GenerateDataKey"}, {"Decrypt"}, {"GenerateDataKey", "Decrypt"}} {
			t.Run(name, func(t *testing.T) {
				inner, s := startAWS(t, 0)
				k := mustCache(t, inner, CacheConfig{TTL: time.Hour})
				key := mustGenerate(t, k, ctxA)
				var faults []kmstest.Fault
				for _, op := range ops {
					f.Op = op
					faults = append(faults, f)
				}
				s.Always(faults...)
				if err := k.tryKeys(&attempts{}); err != nil {
					t.Errorf("no caller has met it, and: %v", err)
				}
				_, uerr := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
				_, gerr := k.Generate(t.Context(), ctxA)
				if err := k.tryKeys(&attempts{}); err == nil || uerr == nil && gerr == nil {
					t.Errorf("ready, with %v and %v", uerr, gerr)
				}
				s.Always()
				s.TakeCalls()
				for range 2 {
					if err := k.tryKeys(&attempts{}); err != nil {
						t.Errorf("still %v", err)
					}
				}
				if n := len(s.TakeCalls()); n != 4 { // the second has no doubt left
					t.Errorf("%d calls", n)
				}
			})
		}
	}
	t.Run("OneBadRow", func(t *testing.T) {
		inner, s := startAWS(t, 0)
		k := mustCache(t, inner, CacheConfig{TTL: time.Hour})
		key := mustGenerate(t, k, ctxA)
		for range 5 {
			s.Next(kmstest.Fault{Op: "Decrypt", Status: 400, Code: "AccessDeniedException"})
			if _, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA); core.CodeOf(err) != core.Denied {
				t.Fatal(err)
			}
			if err := k.tryKeys(&attempts{}); err != nil {
				t.Errorf("one row makes the node unready: %v", err)
			}
		}
	})
}
