package kms

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

func mustID(i int) entryID {
	w, _ := wrapped(i)
	return idOf(w, ctxA)
}

// use reads key 0 every hundredth of a TTL for d, and returns how long the reads went well.
func use(t *testing.T, k *Cache, d time.Duration) time.Duration {
	t.Helper()
	w, _ := wrapped(0)
	startedAt := time.Now()
	for time.Since(startedAt) < d {
		got, err := k.Unwrap(t.Context(), w, ctxA)
		if err != nil {
			break
		}
		envelope.Wipe(got)
		elapse(ttl / 100)
	}
	return time.Since(startedAt)
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
