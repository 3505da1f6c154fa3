package kms

// counts are the cache's own; Cache.mu guards them.
type counts struct {
	hits, misses, shared, refreshes, refreshErrors, evicted, expired, revoked uint64
}

// Stats is what a Cache has done. Kept, Overdue and Refreshing are current values. All other numbers only grow.
type Stats struct {
	Kept          int    // keys that can be used now
	Overdue       int    // keys among them that are past their TTL, kept because the key service does not answer
	Hits          uint64 // Unwraps answered with a kept key
	Misses        uint64 // Unwraps that waited for the key service
	Shared        uint64 // misses among them that joined another caller's call
	Refreshes     uint64 // refreshes ended
	RefreshErrors uint64 // refreshes that failed
	Refreshing    int    // refreshes in flight now
	Evicted       uint64 // keys dropped because MaxKeys was reached
	Expired       uint64 // keys dropped because their TTL was over and no refresh renewed them
	Revoked       uint64 // keys dropped because the key service said no to a refresh

	Generate, Unwrap, Check, Rewrap CallStats // calls to the key service
	Circuit                         Circuit
}

// Stats returns a copy of the counters. Those of the cache are consistent with each other, and so are those of the
// calls.
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
	s.Generate, s.Unwrap, s.Check, s.Rewrap = m.generate, m.unwrap, m.check, m.rewrap
	return s
}

// Held returns the number of data keys that are available now without the key service (vault.Holder).
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
