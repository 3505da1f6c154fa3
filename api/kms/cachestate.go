package kms

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// How long the answer of a Check holds. Readiness is asked by anybody and often; KMS is asked at most this often.
const (
	checkHolds       = 2 * time.Second
	failedCheckHolds = time.Second
	maxCheck         = 2500 * time.Millisecond
)

// counts are the cache's own; Cache.mu guards them.
type counts struct {
	hits, misses, shared, refreshes, refreshErrors, evicted, expired, revoked uint64
}

// Stats is what a Cache has done; every number but Kept, Overdue and Refreshing only grows.
type Stats struct {
	Kept          int    // keys that can be used now
	Overdue       int    // keys among them that are past their TTL, kept because the key service does not answer
	Hits          uint64 // Unwraps answered with a kept key
	Misses        uint64 // Unwraps that waited for the key service
	Shared        uint64 // misses among them that joined another one's call
	Refreshes     uint64 // refreshes ended
	RefreshErrors uint64 // refreshes that failed
	Refreshing    int    // refreshes in flight now
	Evicted       uint64 // keys dropped for want of room
	Expired       uint64 // keys dropped because their TTL was over and nobody asked
	Revoked       uint64 // keys dropped because the key service said no to a refresh

	Generate, Unwrap, Check, Rewrap CallStats // calls to the key service
	LastOK                          time.Time // of the last call that succeeded; zero = none has
	Circuit                         Circuit
}

// Stats returns a consistent copy.
func (k *Cache) Stats() Stats {
	k.mu.Lock()
	s := Stats{
		Hits: k.count.hits, Misses: k.count.misses, Shared: k.count.shared, Refreshes: k.count.refreshes,
		RefreshErrors: k.count.refreshErrors, Refreshing: k.refreshing, Evicted: k.count.evicted, Expired: k.count.expired,
		Revoked: k.count.revoked,
	}
	now := k.c.Clock()
	for _, e := range k.entries {
		if !now.Before(k.end(e)) {
			continue // not swept yet
		}
		s.Kept++
		if !now.Before(e.given.Add(k.c.TTL)) {
			s.Overdue++
		}
	}
	k.mu.Unlock()
	m := k.inner
	s.Circuit = circuitOf(m.inner)
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Generate, s.Unwrap, s.Check, s.Rewrap, s.LastOK = m.generate, m.unwrap, m.check, m.rewrap, m.lastOK
	return s
}

// Held is the number of data keys that can be had without the key service now (vault.Holder).
func (k *Cache) Held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, now := 0, k.c.Clock()
	for _, e := range k.entries {
		if now.Before(k.end(e)) {
			n++
		}
	}
	return n
}

// Check tells whether Generate could be served now. An answer of the inner keeper holds for two seconds, a failure for
// one; callers that come at the same time share one question, which is detached from them and bounded.
func (k *Cache) Check(ctx context.Context) error {
	if k.ctx.Err() != nil {
		return errCacheClosed()
	}
	if err, known := k.lastCheck(); known {
		return err
	}
	select {
	case k.checking <- struct{}{}:
		defer func() { <-k.checking }()
	case <-ctx.Done():
		return core.Wrap(core.Unavailable, ctx.Err(), "%s", tooLate.msg)
	}
	if err, known := k.lastCheck(); known {
		return err
	}
	bounded, cancel := context.WithTimeout(k.ctx, min(maxCheck, k.c.CallTimeout))
	defer cancel()
	err := k.inner.Check(bounded)
	k.checkMu.Lock()
	defer k.checkMu.Unlock()
	k.checkErr, k.checkedAt = err, k.c.Clock()
	return err
}

func (k *Cache) lastCheck() (error, bool) {
	k.checkMu.Lock()
	defer k.checkMu.Unlock()
	holds := checkHolds
	if k.checkErr != nil {
		holds = failedCheckHolds
	}
	age := k.c.Clock().Sub(k.checkedAt)
	return k.checkErr, !k.checkedAt.IsZero() && age >= 0 && age < holds
}
