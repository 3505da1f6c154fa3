package quota

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func limited(t *testing.T, verifies string) *Quota {
	t.Helper()
	r, err := Parse(verifies)
	if err != nil {
		t.Fatal(err)
	}
	q := &Quota{}
	q.Set(Limits{Verifies: r})
	return q
}

func token(n uint64) (k Key) {
	binary.BigEndian.PutUint64(k.Token[:], n)
	return k
}

func TestParse(t *testing.T) {
	for s, want := range map[string]Rate{
		"0": {}, "0/h": {}, "1": {1, time.Second}, "5/s": {5, time.Second}, "30/m": {30, time.Minute}, "1000000/h": {1_000_000, time.Hour},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("%q: %v %v", s, got, err)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is printed as %q", s, got)
		}
	}
	for _, s := range []string{"", "/s", "1/", "1/d", "1/S", "-1", "+1", "1.5", "1e3", "1000001", " 1", "1 ", "1/s/s", "1_0", "4294967296", "0x1"} {
		if r, err := Parse(s); err == nil {
			t.Errorf("%q is %v", s, r)
		}
	}
}

func TestTake(t *testing.T) {
	t.Run("OKUnlimited", func(t *testing.T) {
		var q Quota
		for range 1000 {
			if _, ok := q.Take(Reads, Key{}, t0); !ok {
				t.Fatal("the zero Quota refuses")
			}
		}
	})
	t.Run("OKBurstThenRate", func(t *testing.T) {
		q := limited(t, "30/m")
		for i := range 30 {
			if _, ok := q.Take(Verifies, token(1), t0); !ok {
				t.Fatalf("number %d is refused", i+1)
			}
		}
		retry, ok := q.Take(Verifies, token(1), t0)
		if ok || retry != 2*time.Second {
			t.Fatalf("number 31: %v, retry after %s", ok, retry)
		}
		if _, ok := q.Take(Verifies, token(1), t0.Add(retry)); !ok {
			t.Error("refused after the time that it was told")
		}
		if _, ok := q.Take(Verifies, token(1), t0.Add(retry)); ok {
			t.Error("two are back after the time of one")
		}
		if n := q.Refused(Verifies); n != 2 {
			t.Errorf("%d refused", n)
		}
	})
	t.Run("OKLookTakesNothing", func(t *testing.T) {
		q := limited(t, "1/h")
		for range 10 {
			if _, ok := q.Look(Verifies, token(1), t0); !ok {
				t.Fatal("refused")
			}
		}
		q.Take(Verifies, token(1), t0)
		if retry, ok := q.Look(Verifies, token(1), t0.Add(time.Minute)); ok || retry.Round(time.Second) != 59*time.Minute {
			t.Errorf("%v %v", ok, retry)
		}
	})
	t.Run("OKApart", func(t *testing.T) {
		q := limited(t, "1/h")
		net := netip.MustParsePrefix("10.0.0.1/32")
		for _, k := range []Key{{}, token(1), token(2), {Network: net}, {Network: net, Secret: "a"}, {Network: net, Secret: "b"}, {Role: "r"}} {
			if _, ok := q.Take(Verifies, k, t0); !ok {
				t.Errorf("%v pays for another", k)
			}
		}
		if _, ok := q.Take(Changes, Key{}, t0); !ok {
			t.Error("a kind without a limit refuses")
		}
	})
}

// TestGenerations: a bucket that is not full is never forgotten, however the generations fall.
func TestGenerations(t *testing.T) {
	q := limited(t, "60/m")
	at := t0.Add(30 * time.Second)
	q.Take(Verifies, token(2), t0) // the generation begins
	for range 60 {
		q.Take(Verifies, token(1), at)
	}
	passed := 0
	for ; at.Before(t0.Add(10 * time.Minute)); at = at.Add(time.Second / 2) {
		if _, ok := q.Take(Verifies, token(1), at); ok {
			passed++
		}
	}
	if passed > 570 {
		t.Errorf("%d passed in 570 s", passed)
	}
}

func TestClockSetBack(t *testing.T) {
	q := limited(t, "1/m")
	q.Take(Verifies, token(1), t0)
	if _, ok := q.Take(Verifies, token(1), t0.Add(-24*time.Hour)); ok {
		t.Error("a clock that is set back fills buckets")
	}
	if retry, _ := q.Take(Verifies, token(2), t0.Add(-24*time.Hour)); retry != 0 {
		t.Error("a new principal waits")
	}
}

// TestBounded: more principals than are kept apart share one bucket, and those that were there keep theirs.
func TestBounded(t *testing.T) {
	q := limited(t, "2/m")
	for i := range uint64(maxKeys) {
		q.Take(Verifies, token(i+1), t0)
	}
	refused := 0
	for i := range uint64(100) {
		if _, ok := q.Take(Verifies, token(maxKeys+i+1), t0); !ok {
			refused++
		}
	}
	if refused != 98 {
		t.Errorf("%d of 100 principals beyond the bound were refused, want all but a bucket of 2", refused)
	}
	if _, ok := q.Take(Verifies, token(1), t0); !ok {
		t.Error("a principal that was kept apart pays for the others")
	}
	for i := range uint64(5) { // periods
		at := t0.Add(time.Duration(i+1) * time.Minute)
		for j := range uint64(maxKeys + 10) {
			q.Take(Verifies, token((i+2)<<32+j), at)
		}
		if n := len(q.verifies.now) + len(q.verifies.before); n > 2*(maxKeys+1) {
			t.Fatalf("%d buckets are kept", n)
		}
	}
}

func TestForget(t *testing.T) {
	q := limited(t, "1/m")
	for i := range uint64(10) {
		q.Take(Verifies, token(i+1), t0)
		q.Forget(Verifies, token(i+1))
	}
	if n := len(q.verifies.now); n != 0 {
		t.Errorf("%d buckets are kept", n)
	}
}

func TestSet(t *testing.T) {
	q := limited(t, "1/h")
	q.Take(Verifies, token(1), t0)
	q.Set(Limits{Verifies: Rate{1, time.Hour}})
	if _, ok := q.Take(Verifies, token(1), t0); ok {
		t.Error("the same limit again fills the buckets")
	}
	q.Set(Limits{Verifies: Rate{2, time.Hour}})
	if _, ok := q.Take(Verifies, token(1), t0); !ok {
		t.Error("a new limit keeps an old bucket")
	}
	q.Set(Limits{})
	for range 10 {
		if _, ok := q.Take(Verifies, token(1), t0); !ok {
			t.Fatal("no limit refuses")
		}
	}
	if got := fmt.Sprint(q.Rate(Verifies), q.Rate(Reads), (&Quota{}).Rate(Changes)); got != "0 0 0" {
		t.Error(got)
	}
}

// TestConcurrent: many at once get no more than there is.
func TestConcurrent(t *testing.T) {
	q := limited(t, "100/h")
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, ok := q.Take(Verifies, token(1), t0); ok {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := passed.Load(); n != 100 {
		t.Errorf("%d passed", n)
	}
}
