package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// refuse asks n times for what is refused, and returns how many were checked and how many records were made.
func (d *door) refuse(t *testing.T, c vault.Caller, n int) (looked, records int) {
	t.Helper()
	d.recorder.Take()
	for range n {
		_, err := d.Delete(t.Context(), c, "a", 0)
		switch core.CodeOf(err) {
		case core.Unauthenticated:
			looked++
		case core.TooMany:
		default:
			t.Fatalf("%v", err)
		}
	}
	return looked, len(d.recorder.Take())
}

// TestRefusalsAreBounded: who may do nothing can make 60 records at once, then one a second; one more stands for the rest.
func TestRefusalsAreBounded(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	stranger := vault.Caller{Addr: netip.MustParseAddr("192.0.2.1")}
	if looked, records := d.refuse(t, stranger, 1000); looked != 60 || records != 61 {
		t.Errorf("%d checked, %d recorded, want 60 and 61", looked, records)
	}
	if n := d.Unrecorded(); n != 939 {
		t.Errorf("%d are counted, want 939", n)
	}
	t.Run("one a second after that", func(t *testing.T) {
		*d.now = d.now.Add(10 * time.Second)
		if looked, records := d.refuse(t, stranger, 100); looked != 10 || records != 10 {
			t.Errorf("%d checked, %d recorded, want 10 and 10", looked, records)
		}
	})
	t.Run("tokens that are tried cost one query a second", func(t *testing.T) {
		asked := 0
		d.store.FailWith(func(string) error { asked++; return nil })
		defer d.store.FailWith(nil)
		guess := stranger
		for range 20 {
			guess.Bearer = vault.Bearer("hvt_" + strings.Repeat("A", 43))
			if looked, _ := d.refuse(t, guess, 10); looked != 0 {
				t.Errorf("%d checked", looked)
			}
		}
		if asked != 1 {
			t.Errorf("%d queries", asked)
		}
	})
	t.Run("a good token that was never seen is not locked out", func(t *testing.T) {
		*d.now = d.now.Add(time.Second)
		if looked, _ := d.refuse(t, stranger, 100); looked > 1 {
			t.Fatalf("the flood has %d looks left", looked)
		}
		shared := vault.Caller{Addr: stranger.Addr, Bearer: d.newToken(t, "never-seen")}
		if _, err := d.Update(t.Context(), shared, vault.UpdateRequest{Name: "a", Expected: 1, Value: []byte("w")}); core.CodeOf(err) == core.TooMany {
			*d.now = d.now.Add(time.Second) // the answer of before it was made holds for a second
			_, _ = d.refuse(t, stranger, 100)
			_, err = d.Update(t.Context(), shared, vault.UpdateRequest{Name: "a", Expected: 1, Value: []byte("w")})
			wantCode(t, err, "")
		}
		if err := d.RevokeToken(t.Context(), vault.Operator{Name: "root"}, "never-seen"); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			_, err := d.Update(t.Context(), shared, vault.UpdateRequest{Name: "a", Expected: 2, Value: []byte("x")})
			// At first it passes the screen, as it did just before, and is refused by the decision.
			if code := core.CodeOf(err); code != core.TooMany && (i > 0 || code != core.Unauthenticated) {
				t.Errorf("%d after it was revoked: %v", i, err)
			}
		}
		asked := false
		d.store.FailWith(func(string) error { asked = true; return nil })
		defer d.store.FailWith(nil)
		if _, _ = d.Delete(t.Context(), shared, "a", 0); asked {
			t.Error("a token that is no longer good is looked up")
		}
	})
	t.Run("a failing query locks out no longer than it holds", func(t *testing.T) {
		*d.now = d.now.Add(time.Second)
		_, _ = d.refuse(t, stranger, 100)
		d.store.FailWith(func(string) error { return errors.New("x") })
		*d.now = d.now.Add(time.Second)
		_, _ = d.refuse(t, stranger, 100)
		_, err := d.Delete(t.Context(), vault.Caller{Addr: stranger.Addr, Bearer: d.admin.Bearer}, "a", 0)
		if err == nil {
			t.Error("a change goes through without the database")
		}
		d.store.FailWith(nil)
		*d.now = d.now.Add(time.Second)
		_, _ = d.refuse(t, stranger, 100)
		_, err = d.Delete(t.Context(), vault.Caller{Addr: stranger.Addr, Bearer: d.admin.Bearer}, "missing", 0)
		wantCode(t, err, core.NotFound)
	})
	t.Run("many that come at once share queries", func(t *testing.T) {
		*d.now = d.now.Add(time.Minute)
		_, _ = d.refuse(t, stranger, 100)
		*d.now = d.now.Add(time.Second)
		_, _ = d.refuse(t, stranger, 1)
		var queries atomic.Int64
		d.store.FailWith(func(string) error { queries.Add(1); return nil })
		defer d.store.FailWith(nil)
		var all sync.WaitGroup
		startedAt := time.Now()
		for i := range 50 {
			guess := vault.Caller{Addr: stranger.Addr, Bearer: vault.Bearer(fmt.Sprintf("hvt_%042dA", i))}
			all.Go(func() { _, _ = d.Delete(t.Context(), guess, "a", 0) })
		}
		all.Wait()
		// One at once, and one more for each pause between two.
		if n, most := queries.Load(), 2+time.Since(startedAt)/(50*time.Millisecond); n > int64(most) {
			t.Errorf("%d queries, want at most %d", n, most)
		}
	})
	t.Run("readers that are allowed do not suffer", func(t *testing.T) {
		c := d.reader
		if looked, _ := d.refuse(t, vault.Caller{Addr: c.Addr}, 100); looked != 60 {
			t.Errorf("%d checked, want 60", looked)
		}
		v, err := d.Read(t.Context(), c, "a", 0)
		wantCode(t, err, "")
		v.Wipe()
	})
	t.Run("nor do others", func(t *testing.T) {
		for _, a := range []string{"192.0.2.2", "::ffff:192.0.2.3", "2001:db8::1"} {
			if looked, _ := d.refuse(t, vault.Caller{Addr: netip.MustParseAddr(a)}, 3); looked != 3 {
				t.Errorf("%s: %d checked, want 3", a, looked)
			}
		}
		if looked, _ := d.refuse(t, vault.Caller{Addr: netip.MustParseAddr("2001:db8::ffff")}, 100); looked != 57 {
			t.Errorf("the same link: %d checked, want 57", looked)
		}
	})
	t.Run("all is forgiven after a minute", func(t *testing.T) {
		*d.now = d.now.Add(time.Minute)
		if looked, records := d.refuse(t, stranger, 100); looked != 60 || records != 61 {
			t.Errorf("%d checked, %d recorded, want 60 and 61", looked, records)
		}
	})
	t.Run("a clock that is set back locks no client out", func(t *testing.T) {
		*d.now = d.now.Add(-time.Hour)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { _, _ = d.Delete(t.Context(), vault.Caller{Addr: netip.MustParseAddr("192.0.2.99")}, "a", 0) })
		}
		all.Wait()
		*d.now = d.now.Add(2 * time.Hour)
		if looked, _ := d.refuse(t, stranger, 1); looked != 1 {
			t.Error("it does")
		}
	})
}

// TestStrangersShareMemory: networks beyond those told apart share a burst, so that they cannot use up memory.
func TestStrangersShareMemory(t *testing.T) {
	d := newDoor(t)
	flood := func(block byte) (looked int) {
		for i := range 20000 {
			_, err := d.Delete(t.Context(), vault.Caller{Addr: netip.AddrFrom4([4]byte{11, block, byte(i >> 8), byte(i)})}, "a", 0)
			if core.CodeOf(err) == core.Unauthenticated {
				looked++
			}
		}
		return looked
	}
	if n, want := flood(1), 16384+60; n != want {
		t.Errorf("%d checked, want %d", n, want)
	}
	// Those of before come again when there is no room left.
	*d.now = d.now.Add(time.Minute)
	if n, want := flood(2), 16384+60; n != want {
		t.Errorf("%d of others checked, want %d", n, want)
	}
	if n := flood(1); n != 0 {
		t.Errorf("%d are told apart beyond those", n)
	}
}

// TestRejectInItsOwnTime: a client that took all of its time, or has gone, is recorded as who it is.
func TestRejectInItsOwnTime(t *testing.T) {
	d := newDoor(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := d.Reject(ctx, d.admin, vault.ActionCreate, "a", core.Errorf(core.Invalid, "the body ended early"))
	wantCode(t, err, core.Invalid)
	if e := d.one(t); e.Origin.Actor != "token:ops" || e.Code != core.Invalid {
		t.Errorf("%+v", e)
	}
}

func (d *door) newToken(t *testing.T, name string) vault.Bearer {
	t.Helper()
	made, err := d.CreateToken(t.Context(), vault.Operator{Name: "root"}, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return vault.Bearer(made.Reveal())
}

// TestPanicOfTheScreen: a panic of the query that a flood's callers share is theirs, and is counted once.
func TestPanicOfTheScreen(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	guess := vault.Caller{Addr: netip.MustParseAddr("192.0.2.1"), Bearer: vault.Bearer("hvt_" + strings.Repeat("A", 43))}
	d.refuse(t, guess, 100)
	*d.now = d.now.Add(time.Second / 2) // what the screen knows of the token is old, and the bucket is still empty
	guess.Bearer = vault.Bearer("hvt_" + strings.Repeat("B", 42) + "A")
	d.store.FailWith(func(op string) error {
		if op == "Passing" {
			panic(marker)
		}
		return nil
	})
	before := core.Panics()
	defer func() {
		p, ok := recover().(*core.Error)
		if !ok || strings.Contains(p.Error(), marker) || !strings.Contains(p.Error(), "TestPanicOfTheScreen") {
			t.Errorf("panicked with %v", p)
		}
		if n := core.Panics() - before; n != 1 {
			t.Errorf("%d panics are counted", n)
		}
	}()
	_, err := d.Delete(t.Context(), guess, "a", 0)
	t.Errorf("answered %v", err)
}
