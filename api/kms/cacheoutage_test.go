package kms

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// TestCacheOutage begins an outage of 0.95 TTL at every moment of a key's life: no reader of a key in use feels it, not
// even by waiting. It ends at two TTLs, whatever happens.
func TestCacheOutage(t *testing.T) {
	const outage = ttl * 95 / 100
	ways := map[string]func(s *service){
		"refused": func(s *service) { s.failWith(errAway) },
		"hanging": func(s *service) { s.holdAll() },
		"broken":  func(s *service) { s.failWith(core.Wrap(core.Unavailable, &awsFault{says: failed.says}, "5xx")) },
	}
	for name, begin := range ways {
		for at := time.Duration(0); at <= ttl; at += ttl / 16 {
			cacheTest(t, name+"/"+at.String(), CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
				mustGet(t, k, 0)
				use(t, k, at)
				begin(s)
				if good := use(t, k, outage); good < outage {
					t.Fatalf("felt after %s", good)
				}
				s.end()
				if good := use(t, k, 2*ttl); good < 2*ttl {
					t.Fatalf("felt %s after its end", good)
				}
				if st := k.Stats(); st.Misses != 1 || st.RefreshErrors == 0 || st.Overdue != 0 {
					t.Errorf("a reader waited, or nothing was tried: %+v", st)
				}
			})
		}
	}
	// Many keys and little room: a call that gets no answer takes all of its time, and no key is forgotten meanwhile.
	cacheTest(t, "ManyKeys", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		for i := range 200 {
			mustGet(t, k, i)
		}
		elapse(ttl / 2)
		s.slowly(defaultCallTimeout, errAway)
		for startedAt := time.Now(); time.Since(startedAt) < outage; elapse(ttl / 16) {
			for i := range 200 {
				mustGet(t, k, i)
			}
		}
		if st := k.Stats(); st.Misses != 200 || st.Refreshes < maxRefreshes {
			t.Errorf("%+v", st)
		}
		elapse(ttl)
		wantAway(t, k, 0)
	})
	cacheTest(t, "Ends", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		elapse(ttl - 1) // the first use since then: the longest that a key can last
		s.failWith(errAway)
		if good := use(t, k, 3*ttl); good < ttl || good > ttl+ttl/100 {
			t.Errorf("lasted %s after it was first requested without success", good)
		}
		if k.Held() != 0 {
			t.Error("still held")
		}
	})
	cacheTest(t, "Overdue", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		mustGet(t, k, 0)
		s.failWith(errAway)
		use(t, k, ttl+ttl/8)
		if st := k.Stats(); st.Overdue != 1 || st.Kept != 1 || k.Held() != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestCacheRevocation: an answer of KMS that says no takes effect when it is heard, which is within the TTL; one that
// says neither yes nor no never prolongs a key.
func TestCacheRevocation(t *testing.T) {
	says := func(m meaning) error { return core.Wrap(m.code, &awsFault{says: m.says}, "%s", m.msg) }
	for name, m := range map[string]meaning{
		"denied": refused, "disabled": disabled, "deleted": unknownKey, "wrong key": wrongKey, "damaged": badBlob, "usage": badKey,
	} {
		cacheTest(t, name, CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
			mustGet(t, k, 0)
			use(t, k, ttl/10)
			s.failWith(says(m))
			good := use(t, k, 3*ttl)
			if good > ttl {
				t.Errorf("a key was served for %s after KMS would have said no", good)
			}
			if !bytes.Equal(k.slots.page, make([]byte, len(k.slots.page))) || k.Stats().Revoked != 1 || k.Held() != 0 {
				t.Errorf("not wiped: %+v", k.Stats())
			}
			s.end()
			mustGet(t, k, 0)
		})
	}
	for name, m := range map[string]meaning{"credentials": badLogin, "no credentials": noLogin, "new code": unheardOf} {
		cacheTest(t, name, CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
			mustGet(t, k, 0)
			s.failWith(says(m))
			if good := use(t, k, 3*ttl); good < ttl || good > ttl+ttl/100 {
				t.Errorf("served for %s", good)
			}
		})
		cacheTest(t, name+" after an outage", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
			mustGet(t, k, 0)
			s.failWith(errAway)
			use(t, k, ttl+ttl/8)
			s.failWith(says(m))
			if good := use(t, k, ttl); good > ttl/8 {
				t.Errorf("served for %s more", good)
			}
		})
	}
}

func TestCacheShares(t *testing.T) {
	cacheTest(t, "OneCallForMany", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		hold := s.holdAll()
		var good atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { mustGet(t, k, 0); good.Add(1) })
		}
		wantCalls(t, s, 1)
		close(hold)
		wg.Wait()
		if st := k.Stats(); good.Load() != 100 || st.Misses != 100 || st.Shared != 99 {
			t.Errorf("%d good, %+v", good.Load(), st)
		}
	})
	cacheTest(t, "OneErrorForMany", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		hold := s.holdAll()
		s.failWith(errAway)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantAway(t, k, 0) })
		}
		wantCalls(t, s, 1)
		close(hold)
		wg.Wait()
	})
	cacheTest(t, "TheFirstLeaves", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		hold := s.holdAll()
		first, leave := context.WithCancel(t.Context())
		w, _ := wrapped(0)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := k.Unwrap(first, w, ctxA); !errors.Is(err, context.Canceled) || core.CodeOf(err) != core.Unavailable {
				t.Errorf("the one that left: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { mustGet(t, k, 0) })
		synctest.Wait()
		leave()
		synctest.Wait()
		close(hold)
		wg.Wait()
		wantCalls(t, s, 1)
	})
	cacheTest(t, "AllLeave", CacheConfig{TTL: ttl}, func(t *testing.T, k *Cache, s *service) {
		hold := s.holdAll()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w, _ := wrapped(0)
		if _, err := k.Unwrap(ctx, w, ctxA); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(hold)
		synctest.Wait()
		mustGet(t, k, 0) // what no caller waited for is kept all the same
		wantCalls(t, s, 1)
	})
	cacheTest(t, "HangsNoLongerThanACall", CacheConfig{TTL: ttl, CallTimeout: 7 * time.Second}, func(t *testing.T, k *Cache, s *service) {
		s.holdAll()
		startedAt := time.Now()
		wantAway(t, k, 0)
		if took := time.Since(startedAt); took != 7*time.Second {
			t.Errorf("took %s", took)
		}
		startedAt = time.Now()
		if _, err := k.Generate(t.Context(), ctxA); core.CodeOf(err) != core.Unavailable || time.Since(startedAt) != 7*time.Second {
			t.Errorf("Generate: %v after %s", err, time.Since(startedAt))
		}
	})
}

func TestCacheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		k := mustCache(t, s, CacheConfig{TTL: ttl})
		mustGet(t, k, 0)
		s.holdAll()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { wantAway(t, k, 1) })
		}
		synctest.Wait()
		startedAt := time.Now()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if time.Since(startedAt) != 0 {
			t.Error("Close waited for a call's own end")
		}
		if err := k.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
		wantAway(t, k, 0)
		if _, err := k.Generate(t.Context(), ctxA); core.CodeOf(err) != core.Unavailable {
			t.Errorf("Generate: %v", err)
		}
		if core.CodeOf(k.Check(t.Context())) != core.Unavailable || k.Held() != 0 || k.Stats().Kept != 0 {
			t.Error("still ready")
		}
	})
}

// TestCacheRaces has readers, expiry, eviction and Close at once: no reader may ever see another's or a wiped key.
func TestCacheRaces(t *testing.T) {
	s := &service{}
	k := mustCache(t, s, CacheConfig{TTL: 2 * time.Millisecond, MaxKeys: 5})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 3000 {
				w, plain := wrapped((g + i) % 9)
				got, err := k.Unwrap(context.Background(), w, ctxA)
				if err != nil && core.CodeOf(err) == core.Unavailable && k.ctx.Err() != nil {
					return
				}
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%x, %v", got, err)
					return
				}
				if g == 0 && i == 2500 {
					_ = k.Close()
				}
			}
		})
	}
	wg.Wait()
	if n := s.unwiped(); n != 0 {
		t.Errorf("%d keys not wiped", n)
	}
}
