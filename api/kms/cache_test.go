package kms

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func TestCache(t *testing.T) {
	cacheTest(t, "OK", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		for range 5 {
			mustGet(t, k, 0)
		}
		wantCalls(t, s, 1)
		if st := k.Stats(); st.Hits != 4 || st.Misses != 1 || st.Kept != 1 || st.Unwrap.Calls != 1 || st.Unwrap.LastOK.IsZero() || !st.Generate.LastOK.IsZero() {
			t.Errorf("%+v", st)
		}
	})
	cacheTest(t, "Disabled", CacheConfig{}, func(t *testing.T, k *Cache, s *service) {
		for range 5 {
			mustGet(t, k, 0)
		}
		wantCalls(t, s, 5)
		s.failWith(errAway)
		wantAway(t, k, 0)
		if k.Held() != 0 || k.slots != nil {
			t.Error("something is kept")
		}
	})
	cacheTest(t, "ExpiresExactly", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		s.failWith(errAway)
		elapse(ttl - 1)
		if k.Held() != 1 {
			t.Error("not held")
		}
		elapse(1)
		wantAway(t, k, 0) // no caller used it, so no call went unanswered: an outage does not keep it
		if k.Held() != 0 {
			t.Error("still held")
		}
	})
	cacheTest(t, "SweptWhenUnused", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		_, plain := wrapped(0)
		k.mu.Lock()
		there := bytes.Equal(k.slots.key(k.entries[mustID(0)].slot), plain)
		k.mu.Unlock()
		if !there {
			t.Fatal("the key is not where it should be")
		}
		elapse(ttl + 10*time.Second)
		synctest.Wait()
		k.mu.Lock()
		wiped := bytes.Equal(k.slots.page, make([]byte, len(k.slots.page)))
		k.mu.Unlock()
		if !wiped || k.Stats().Expired != 1 || k.Stats().Kept != 0 {
			t.Errorf("not wiped: %+v", k.Stats())
		}
	})
	cacheTest(t, "EvictsTheLeastUsed", CacheConfig{TTL: ttl, MaxKeys: 3}, func(t *testing.T, k *Cache, s *service) {
		for _, i := range []int{0, 1, 2, 0, 3} { // 1 goes
			mustGet(t, k, i)
		}
		wantCalls(t, s, 4)
		if bytes.Contains(k.slots.page, bytes.Repeat([]byte{2}, 32)) || k.Stats().Kept != 3 || k.Stats().Evicted != 1 {
			t.Errorf("key 1 is still there: %+v", k.Stats())
		}
		for _, i := range []int{0, 2, 3} {
			mustGet(t, k, i)
		}
		wantCalls(t, s, 0)
		for i := range 100 {
			mustGet(t, k, i)
		}
		if len(k.entries) != 3 || k.used.Len() != 3 || len(k.slots.unused) != 0 {
			t.Errorf("%d entries, %d in the list, %d slots unused", len(k.entries), k.used.Len(), len(k.slots.unused))
		}
	})
	cacheTest(t, "ErrorsAreNotKept", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		s.failWith(errAway)
		wantAway(t, k, 0)
		s.failWith(nil)
		mustGet(t, k, 0)
	})
	cacheTest(t, "GeneratedKeysAreNotKept", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		key := mustGenerate(t, k, ctxA)
		envelope.Wipe(key.Plain)
		if k.Held() != 0 {
			t.Error("kept")
		}
		mustGet(t, k, 0)
		wantCalls(t, s, 1)
	})
}

// TestCacheIDs: an entry answers for exactly the key id, wrapped key and context it was fetched with.
func TestCacheIDs(t *testing.T) {
	w := vault.WrappedKey{KeyID: "kk", Wrapped: []byte("ww")}
	seen := map[entryID]bool{idOf(w, ctxA): true}
	differs := func(key vault.WrappedKey, c map[string]string) {
		t.Helper()
		id := idOf(key, c)
		if seen[id] {
			t.Errorf("%v in %v is another's", key, c)
		}
		seen[id] = true
	}
	differs(vault.WrappedKey{KeyID: "kkw", Wrapped: []byte("w")}, ctxA)
	differs(vault.WrappedKey{KeyID: "k", Wrapped: []byte("kww")}, ctxA)
	differs(vault.WrappedKey{KeyID: "kk", Wrapped: []byte("wx")}, ctxA)
	differs(w, nil)
	differs(w, other2(ctxA, "hyperion-vault:version", "8"))
	differs(w, other2(ctxA, "x", ""))
}

func TestCacheRefresh(t *testing.T) {
	cacheTest(t, "AheadOfExpiry", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		wantCalls(t, s, 1)
		elapse(ttl/2 - ttl/16 - 1)
		mustGet(t, k, 0)
		wantCalls(t, s, 0) // too early
		elapse(ttl/16 + 1)
		mustGet(t, k, 0)
		wantCalls(t, s, 1)
		s.failWith(errAway) // an outage right after lasts almost the whole TTL
		elapse(ttl - 1)
		mustGet(t, k, 0)
		if st := k.Stats(); st.Refreshes < 1 || st.Misses != 1 {
			t.Errorf("%+v", st)
		}
	})
	cacheTest(t, "OneInFlight", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		elapse(ttl / 2)
		wantCalls(t, s, 1)
		hold := s.holdAll()
		for range 50 {
			mustGet(t, k, 0) // none of them waits
		}
		wantCalls(t, s, 1)
		close(hold)
		synctest.Wait()
		if st := k.Stats(); st.Refreshing != 0 || st.Refreshes != 1 || st.Hits != 50 {
			t.Errorf("%+v", st)
		}
	})
	cacheTest(t, "BoundedInAll", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		for i := range 100 {
			mustGet(t, k, i)
		}
		elapse(ttl / 2)
		wantCalls(t, s, 100)
		hold := s.holdAll()
		for i := range 100 {
			mustGet(t, k, i)
		}
		wantCalls(t, s, maxRefreshes)
		close(hold)
	})
	cacheTest(t, "FailuresPause", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		s.failWith(errAway)
		elapse(ttl / 2)
		wantCalls(t, s, 1)
		for range 20 { // every use would try again: the pause between tries is what bounds it
			mustGet(t, k, 0)
			synctest.Wait()
		}
		wantCalls(t, s, 1)
		elapse(ttl / 16)
		mustGet(t, k, 0)
		wantCalls(t, s, 1)
	})
	cacheTest(t, "BackInTime", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		s.failWith(errAway)
		for range 8 {
			elapse(ttl / 10)
			mustGet(t, k, 0)
			synctest.Wait() // the refresh that this use began has failed
		}
		s.failWith(nil)
		for range 40 {
			elapse(ttl / 10)
			mustGet(t, k, 0)
		}
		if st := k.Stats(); st.Misses != 1 || st.RefreshErrors == 0 {
			t.Errorf("a read waited: %+v", st)
		}
	})
	cacheTest(t, "GoneMeanwhile", CacheConfig{TTL: ttl, MaxKeys: 1}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		elapse(ttl / 2)
		hold := s.holdAll()
		mustGet(t, k, 0)
		synctest.Wait()
		s.mu.Lock()
		s.hold = nil
		s.mu.Unlock()
		mustGet(t, k, 1) // takes the only slot
		close(hold)
		synctest.Wait()
		_, plain := wrapped(1)
		if !bytes.Equal(k.slots.key(0), plain) {
			t.Error("a refresh wrote into another key's slot")
		}
	})
}

// TestStats: what is measured of a real exchange.
func TestStats(t *testing.T) {
	inner, s := startAWS(t, 0)
	k := mustCache(t, inner, CacheConfig{TTL: time.Hour})
	key := mustGenerate(t, k, ctxA)
	s.Next(kmstest.Throttled, kmstest.Refused)
	for _, code := range []core.Code{core.Unavailable, core.Denied} {
		_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
		wantErr(t, err, code, key)
	}
	mustUnwrap(t, k, key, ctxA)
	mustUnwrap(t, k, key, ctxA)
	st := k.Stats()
	u := st.Unwrap
	sum := uint64(0)
	for _, n := range u.Latency {
		sum += n
	}
	if u.Calls != 3 || u.Unavailable != 1 || u.Denied != 1 || u.Errors() != 2 || sum != 3 || u.Total <= 0 ||
		st.Generate.Calls != 1 || st.Hits != 1 || st.Misses != 3 {
		t.Errorf("%+v", st)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	s := &service{}
	k := mustCache(b, s, CacheConfig{TTL: time.Hour})
	w, _ := wrapped(0)
	w.Wrapped = append(w.Wrapped[:0:0], []byte("wrapped-0")...)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got, err := k.Unwrap(context.Background(), w, ctxA)
			if err != nil {
				b.Fatal(err)
			}
			envelope.Wipe(got)
		}
	})
}
