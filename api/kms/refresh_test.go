package kms

import (
	"testing"
	"testing/synctest"
	"time"
)

// beginOutage fetches the keys [from, to) now, uses them after half of a TTL, when the service is away already, and
// returns when they end.
func beginOutage(t *testing.T, k *Cache, s *service, from, to int) time.Time {
	t.Helper()
	for i := from; i < to; i++ {
		mustGet(t, k, i)
	}
	elapse(ttl / 2)
	s.failWith(errAway)
	for i := from; i < to; i++ {
		mustGet(t, k, i)
	}
	synctest.Wait()
	return time.Now().Add(ttl)
}

func TestRefreshOrder(t *testing.T) {
	// A key service that is back shortly before keys end is asked in that time.
	cacheTest(t, "BackJustBeforeTheEnd", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		const keys = 20
		end := beginOutage(t, k, s, 0, keys)
		read := func(until time.Time) {
			for time.Now().Before(until) {
				for i := range keys {
					mustGet(t, k, i)
				}
				elapse(ttl / 2000)
			}
		}
		read(end.Add(-ttl / 200))
		s.end()
		read(end.Add(ttl / 100))
		if st := k.Stats(); st.Misses != keys || st.Overdue != 0 {
			t.Errorf("a reader waited: %+v", st)
		}
	})
	// A key that was used without an answer is fetched again without another use.
	cacheTest(t, "WithoutAnotherUse", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		end := beginOutage(t, k, s, 0, 1)
		elapse(time.Until(end.Add(-ttl / 32)))
		s.end()
		elapse(ttl / 32)
		if k.Held() != 1 {
			t.Error("not asked for")
		}
		elapse(ttl) // and who does not use it at all does not keep it
		if k.Held() != 0 {
			t.Error("requested again although no caller used it")
		}
	})
	// Far more keys are due than there is time for: those that end are asked for before those that are used more.
	cacheTest(t, "SoonestFirst", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		const few, many, took = 32, 2000, time.Second / 2
		end := beginOutage(t, k, s, 0, few)
		s.end()
		for i := few; i < few+many; i++ {
			mustGet(t, k, i)
		}
		s.failWith(errAway)
		elapse(ttl/2 + ttl/32)
		for i := few; i < few+many; i++ {
			mustGet(t, k, i)
		}
		elapse(time.Until(end.Add(-4 * time.Second)))
		s.slowly(took, nil)
		for time.Now().Before(end) {
			for i := range few + many {
				mustGet(t, k, few+many-1-i)
			}
			elapse(time.Second / 10)
		}
		for i := range few {
			mustGet(t, k, i)
		}
		if st := k.Stats(); st.Misses != few+many {
			t.Errorf("%d readers waited", st.Misses-few-many)
		}
	})
	cacheTest(t, "Spread", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		const keys = 200
		for i := range keys {
			mustGet(t, k, i)
		}
		elapse(ttl/2 - ttl/32)
		for i := range keys {
			mustGet(t, k, i)
		}
		elapse(ttl / 128) // the sweeper starts those that found no slot
		if n := k.Stats().Refreshes; n < keys/4 || n > keys*3/4 {
			t.Errorf("%d of %d keys that were fetched at once are asked for at once", n, keys)
		}
	})
	cacheTest(t, "DroppedIsNotAskedFor", CacheConfig{TTL: ttl, MaxKeys: 1}, func(t *testing.T, k *Cache, s *service) {
		beginOutage(t, k, s, 0, 1)
		s.end()
		mustGet(t, k, 1) // takes the only slot
		s.takeCalls()
		elapse(ttl / 8)
		wantCalls(t, s, 0)
	})
	cacheTest(t, "EndedIsNotKept", CacheConfig{TTL: ttl + time.Second}, func(t *testing.T, k *Cache, s *service) {
		elapse(10*time.Second - time.Second/2) // between two sweeps
		mustGet(t, k, 0)
		elapse(ttl + time.Second)
		k.mu.Lock()
		there := len(k.entries)
		k.mu.Unlock()
		if st := k.Stats(); there != 1 || st.Kept != 0 || st.Overdue != 0 {
			t.Errorf("%d entries, %+v", there, st)
		}
	})
}
