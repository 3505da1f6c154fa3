package kms

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

func (k *Cache) leaseOf(i int) time.Duration {
	w, _ := wrapped(i)
	return k.LeaseOf(w, ctxA)
}

func TestLeaseOf(t *testing.T) {
	cacheTest(t, "AShareOfTheTTL", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, _ *service) {
		if d := k.leaseOf(0); d != 0 {
			t.Errorf("%s for a key that is not kept", d)
		}
		mustGet(t, k, 0)
		if d := k.leaseOf(0); d != ttl/4 {
			t.Errorf("%s", d)
		}
	})
	cacheTest(t, "NeverBeyondTheKey", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, _ *service) {
		mustGet(t, k, 0)
		elapse(ttl - 10*time.Second)
		if d := k.leaseOf(0); d != 10*time.Second {
			t.Errorf("%s", d)
		}
		elapse(10 * time.Second)
		if d := k.leaseOf(0); d != 0 {
			t.Errorf("%s past the end", d)
		}
	})
	cacheTest(t, "NothingKept", CacheConfig{}, func(t *testing.T, k *Cache, _ *service) {
		mustGet(t, k, 0)
		if d := k.leaseOf(0); d != 0 {
			t.Errorf("%s", d)
		}
	})
	cacheTest(t, "TheMasterKeyIsHere", CacheConfig{Unkept: time.Minute}, func(t *testing.T, k *Cache, _ *service) {
		if d := k.leaseOf(0); d != time.Minute {
			t.Errorf("%s", d)
		}
	})
}

// TestRevokedIsTold: a no of the key service ends leases, whether the key was kept or not; a damaged row does not.
func TestRevokedIsTold(t *testing.T) {
	var told atomic.Int32
	c := CacheConfig{TTL: ttl, Revoked: func() { told.Add(1) }}
	cacheTest(t, "AtARefresh", c, func(t *testing.T, k *Cache, s *service) {
		told.Store(0)
		mustGet(t, k, 0)
		elapse(ttl/2 + 1)
		s.failWith(core.Errorf(core.Denied, "disabled"))
		mustGet(t, k, 0) // and asks
		elapse(time.Second)
		if told.Load() != 1 || k.leaseOf(0) != 0 {
			t.Errorf("told %d times, lease %s", told.Load(), k.leaseOf(0))
		}
	})
	cacheTest(t, "AtAMiss", c, func(t *testing.T, k *Cache, s *service) {
		told.Store(0)
		w, _ := wrapped(0)
		for want, err := range map[int32]error{1: core.Errorf(core.Denied, "disabled")} {
			s.failWith(err)
			if _, got := k.Unwrap(t.Context(), w, ctxA); core.CodeOf(got) != core.Denied || told.Load() != want {
				t.Errorf("%v, told %d times", got, told.Load())
			}
		}
		s.failWith(core.Errorf(core.Corrupt, "damaged"))
		if _, err := k.Unwrap(t.Context(), w, ctxA); core.CodeOf(err) != core.Corrupt || told.Load() != 1 {
			t.Errorf("%v, told %d times", err, told.Load())
		}
	})
}
