package client

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// vaultStub answers reads of any name with a value that says how many there were, or with a status.
type vaultStub struct {
	status   atomic.Int32
	requests atomic.Int32
}

func newStub(t *testing.T, o CacheOptions) (*vaultStub, *Cache, *time.Time) {
	t.Helper()
	stub := &vaultStub{}
	s := httptest.NewServer(stub)
	t.Cleanup(s.Close)
	c, err := New(Config{Address: s.URL, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	o.now = func() time.Time { return clock }
	return stub, NewCache(c, o), &clock
}

func (s *vaultStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	if status := s.status.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	_, _ = fmt.Fprintf(w, `{"name":%q,"value":"value %d"}`, r.URL.Path[len("/v1/secrets/"):], n)
}

func want(t *testing.T, k *Cache, name, value string, stale bool) {
	t.Helper()
	v, err := k.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("%s: %v, want %q", name, err, value)
	}
	if string(v.Bytes) != value || v.StaleSince.IsZero() == stale {
		t.Errorf("%s: %q, stale since %v; want %q", name, v.Bytes, v.StaleSince, value)
	}
	v.Wipe() // a copy: what is kept stays
}

func refused(t *testing.T, k *Cache, name string, code Code) {
	t.Helper()
	if v, err := k.Get(t.Context(), name); err == nil || CodeOf(err) != code {
		t.Errorf("%s: %v %v, want %s", name, v, err, code)
	}
}

func TestCachePolicy(t *testing.T) {
	t.Run("nothing is kept unless it is asked for", func(t *testing.T) {
		stub, k, _ := newStub(t, CacheOptions{})
		want(t, k, "a", "value 1", false)
		want(t, k, "a", "value 2", false)
		stub.status.Store(503)
		refused(t, k, "a", Unavailable)
	})
	t.Run("fresh", func(t *testing.T) {
		stub, k, clock := newStub(t, CacheOptions{Fresh: time.Minute})
		want(t, k, "a", "value 1", false)
		want(t, k, "a", "value 1", false)
		*clock = clock.Add(time.Minute)
		want(t, k, "a", "value 2", false)
		stub.status.Store(503)
		*clock = clock.Add(time.Minute)
		refused(t, k, "a", Unavailable)
	})
	t.Run("survives an outage, and no longer", func(t *testing.T) {
		stub, k, clock := newStub(t, CacheOptions{SurviveFor: time.Hour})
		want(t, k, "a", "value 1", false)
		stub.status.Store(503)
		*clock = clock.Add(time.Hour - 1)
		want(t, k, "a", "value 1", true)
		*clock = clock.Add(1)
		refused(t, k, "a", Unavailable)
	})
	t.Run("a clock that goes back makes nothing fresh", func(t *testing.T) {
		_, k, clock := newStub(t, CacheOptions{Fresh: time.Minute})
		want(t, k, "a", "value 1", false)
		*clock = clock.Add(-time.Second)
		want(t, k, "a", "value 2", false)
	})
	for _, status := range []int{401, 403, 404} {
		t.Run(fmt.Sprintf("%d is no outage", status), func(t *testing.T) {
			stub, k, _ := newStub(t, CacheOptions{SurviveFor: time.Hour})
			want(t, k, "a", "value 1", false)
			stub.status.Store(int32(status))
			if _, err := k.Get(t.Context(), "a"); err == nil {
				t.Error("a refused read was answered")
			}
			stub.status.Store(503)
			refused(t, k, "a", Unavailable)
		})
	}
}

func TestCacheIsBoundedAndWiped(t *testing.T) {
	_, k, _ := newStub(t, CacheOptions{Fresh: time.Hour, MaxEntries: 2, MaxBytes: 16})
	want(t, k, "a", "value 1", false)
	want(t, k, "b", "value 2", false)
	first := k.entries["b"].Value.(*cached).value.Bytes
	want(t, k, "a", "value 1", false) // used: b goes first
	want(t, k, "c", "value 3", false)
	if len(k.entries) != 2 || k.bytes != 14 || k.entries["b"] != nil {
		t.Errorf("%d entries of %d bytes", len(k.entries), k.bytes)
	}
	if string(first[:cap(first)]) != string(make([]byte, cap(first))) {
		t.Error("what had to go was not wiped")
	}
	last := k.entries["a"].Value.(*cached).value.Bytes
	k.Clear()
	if len(k.entries) != 0 || k.bytes != 0 || last[0] != 0 {
		t.Error("Clear left something")
	}
}

// A read that began before a change and ends after its event must not be kept.
func TestCacheDropsWhatChangedWhileItWasRead(t *testing.T) {
	var k *Cache
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.Forget("a") // the event comes before the answer
		_, _ = fmt.Fprint(w, `{"name":"a","value":"old"}`)
	}))
	t.Cleanup(s.Close)
	c, err := New(Config{Address: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	k = NewCache(c, CacheOptions{Fresh: time.Hour})
	if _, err := k.Get(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if len(k.entries) != 0 || len(k.reading) != 0 {
		t.Error("an old value was kept")
	}
}
