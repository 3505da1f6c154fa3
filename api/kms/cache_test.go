package kms

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func mustCache(t testing.TB, inner vault.Keeper, c CacheConfig) *Cache {
	t.Helper()
	k, err := NewCache(inner, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// service is a key service of the test's: it keeps what it handed out, and does as told.
type service struct {
	mu     sync.Mutex
	fail   error
	slow   time.Duration
	hold   chan struct{} // not nil: Unwrap waits for it or for its context
	calls  int
	keys   int
	out    [][]byte
	closed bool
	open   bool // its circuit
}

var errAway = core.Errorf(core.Unavailable, "away")

// wrapped returns the i-th key of the service, and its plain form.
func wrapped(i int) (vault.WrappedKey, []byte) {
	w := vault.WrappedKey{KeyID: "k", Wrapped: []byte("wrapped-" + strconv.Itoa(i))}
	return w, bytes.Repeat([]byte{byte(i + 1)}, envelope.KeySize)
}

func (s *service) Unwrap(ctx context.Context, key vault.WrappedKey, _ map[string]string) ([]byte, error) {
	s.mu.Lock()
	s.calls++
	hold, slow := s.hold, s.slow
	s.mu.Unlock()
	if slow > 0 {
		elapse(slow)
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	i, err := strconv.Atoi(string(bytes.TrimPrefix(key.Wrapped, []byte("wrapped-"))))
	if err != nil {
		return nil, core.Errorf(core.Corrupt, "no such key")
	}
	_, plain := wrapped(i)
	s.out = append(s.out, plain)
	return plain, nil
}

func (s *service) Generate(ctx context.Context, _ map[string]string) (vault.DataKey, error) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return vault.DataKey{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return vault.DataKey{}, s.fail
	}
	w, plain := wrapped(s.keys)
	s.keys++
	return vault.DataKey{Plain: plain, WrappedKey: w}, nil
}

func (s *service) Check(ctx context.Context) error {
	s.mu.Lock()
	s.calls++
	hold, slow := s.hold, s.slow
	s.mu.Unlock()
	if slow > 0 {
		elapse(slow)
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return core.Wrap(core.Unavailable, ctx.Err(), "away")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

func (s *service) Circuit() Circuit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Circuit{Open: s.open}
}

func (s *service) Close() error { s.closed = true; return nil }

func (s *service) failWith(err error) { s.mu.Lock(); s.fail = err; s.mu.Unlock() }

func (s *service) holdAll() chan struct{} {
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	return hold
}

func (s *service) takeCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls
	s.calls = 0
	return n
}

// unwiped counts the keys handed out that still hold anything.
func (s *service) unwiped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, b := range s.out {
		if !bytes.Equal(b, make([]byte, len(b))) {
			n++
		}
	}
	return n
}

// cacheTest runs f in a bubble with its own clock, in which nothing waits in real time and every goroutine must end.
func cacheTest(t *testing.T, name string, c CacheConfig, f func(t *testing.T, k *Cache, s *service)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &service{}
			k := mustCache(t, s, c)
			f(t, k, s)
			_ = k.Close()
			if !s.closed || s.unwiped() != 0 {
				t.Errorf("inner closed: %v; %d keys not wiped", s.closed, s.unwiped())
			}
		})
	})
}

func mustGet(t *testing.T, k *Cache, i int) {
	t.Helper()
	w, plain := wrapped(i)
	got, err := k.Unwrap(t.Context(), w, ctxA)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("key %d: %d bytes, %v", i, len(got), err)
	}
	envelope.Wipe(got)
}

func wantAway(t *testing.T, k *Cache, i int) {
	t.Helper()
	w, _ := wrapped(i)
	got, err := k.Unwrap(t.Context(), w, ctxA)
	if core.CodeOf(err) != core.Unavailable || got != nil {
		t.Fatalf("key %d: %d bytes, %v", i, len(got), err)
	}
}

func wantCalls(t *testing.T, s *service, want int) {
	t.Helper()
	synctest.Wait()
	if n := s.takeCalls(); n != want {
		t.Fatalf("%d calls, want %d", n, want)
	}
}

// elapse lets the bubble's clock run; it takes no time.
func elapse(d time.Duration) { <-time.After(d) }

const ttl = 320 * time.Second

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
		wantAway(t, k, 0) // nobody used it, so nobody asked in vain: an outage does not keep it
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

func mustID(i int) entryID {
	w, _ := wrapped(i)
	return idOf(w, ctxA)
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

// use reads key 0 every hundredth of a TTL for d, and returns how long the reads went well.
func use(t *testing.T, k *Cache, d time.Duration) time.Duration {
	t.Helper()
	w, _ := wrapped(0)
	begun := time.Now()
	for time.Since(begun) < d {
		got, err := k.Unwrap(t.Context(), w, ctxA)
		if err != nil {
			break
		}
		envelope.Wipe(got)
		elapse(ttl / 100)
	}
	return time.Since(begun)
}

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
		for begun := time.Now(); time.Since(begun) < outage; elapse(ttl / 16) {
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
			t.Errorf("lasted %s after it was first asked for in vain", good)
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

// slowly makes every Unwrap take d and then fail with err, if it is not nil.
func (s *service) slowly(d time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow, s.fail = d, err
}

// end makes the service right again.
func (s *service) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		close(s.hold)
	}
	s.hold, s.fail = nil, nil
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
		mustGet(t, k, 0) // what nobody waited for is kept all the same
		wantCalls(t, s, 1)
	})
	cacheTest(t, "HangsNoLongerThanACall", CacheConfig{TTL: ttl, CallTimeout: 7 * time.Second}, func(t *testing.T, k *Cache, s *service) {
		s.holdAll()
		begun := time.Now()
		wantAway(t, k, 0)
		if took := time.Since(begun); took != 7*time.Second {
			t.Errorf("took %s", took)
		}
		begun = time.Now()
		if _, err := k.Generate(t.Context(), ctxA); core.CodeOf(err) != core.Unavailable || time.Since(begun) != 7*time.Second {
			t.Errorf("Generate: %v after %s", err, time.Since(begun))
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
		begun := time.Now()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if time.Since(begun) != 0 {
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
