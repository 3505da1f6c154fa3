package vault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestWatch(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a/1", marker)
	w, err := d.Watch(t.Context(), d.reader, "a/", nil)
	wantCode(t, err, "")
	if e := d.one(t); e.Action != vault.ActionWatch || e.Name != "a/" || e.Origin.Actor != "reader" {
		t.Errorf("recorded %+v", e)
	}
	next := func(w *vault.Watch) []vault.Change {
		t.Helper()
		n, err := w.Next(t.Context())
		if err != nil || n.More || n.Reset {
			t.Fatalf("got %+v, %v", n, err)
		}
		return n.Changes
	}
	if got := next(w); len(got) != 0 {
		t.Fatalf("got %+v before anything changed", got)
	}
	d.mustCreate(t, "a/2", marker)
	d.mustCreate(t, "b/1", marker)
	got := next(w)
	if len(got) != 1 || got[0].Name != "a/2" || got[0].Action != vault.ActionCreate || got[0].Version != 1 {
		t.Fatalf("got %+v", got)
	}
	resumed, err := d.Watch(t.Context(), d.reader, "", &got[0].Place)
	wantCode(t, err, "")
	if got := next(resumed); len(got) != 1 || got[0].Name != "b/1" {
		t.Errorf("resumed with %+v", got)
	}
	for name, c := range map[string]struct {
		caller vault.Caller
		prefix string
		want   core.Code
	}{
		"denied":       {d.admin, "", core.Denied},
		"a wrong name": {d.reader, "a//b", core.Invalid},
	} {
		t.Run("Err "+name, func(t *testing.T) {
			_, err := d.Watch(t.Context(), c.caller, c.prefix, nil)
			wantCode(t, err, c.want)
		})
	}
}

// TestWatchAtAnUnknownPlace: a standby that lags is waited for, another history is told.
func TestWatchAtAnUnknownPlace(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.mustCreate(t, "b", marker)
	all, err := d.Watch(t.Context(), d.reader, "", &vault.Place{})
	wantCode(t, err, "")
	n, err := all.Next(t.Context())
	if err != nil || len(n.Changes) != 2 {
		t.Fatalf("got %+v, %v", n, err)
	}
	last := n.Changes[1].Place
	step := func(w *vault.Watch) vault.News {
		t.Helper()
		*d.now = d.now.Add(time.Second)
		n, err := w.Next(t.Context())
		wantCode(t, err, "")
		return n
	}
	t.Run("OK a standby that lags", func(t *testing.T) {
		replayed := 1
		d.store.Replayed = &replayed
		defer func() { d.store.Replayed = nil }()
		w, err := d.Watch(t.Context(), d.reader, "", &last)
		wantCode(t, err, "")
		asked := 0
		d.store.FailWith(func(op string) error {
			if op == "KnowsPlace" {
				asked++
			}
			return nil
		})
		defer d.store.FailWith(nil)
		for range 3 {
			if n := step(w); n.Reset || len(n.Changes) != 0 || n.More {
				t.Fatalf("got %+v", n)
			}
		}
		for range 100 { // notifications of the primary come as often as they like
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if asked != 3 {
			t.Errorf("the primary was asked %d times", asked)
		}
		d.mustCreate(t, "c", marker)
		if n := step(w); n.Reset || len(n.Changes) != 0 {
			t.Fatalf("got %+v", n)
		}
		replayed = 3
		if n := step(w); n.Reset || len(n.Changes) != 1 || n.Changes[0].Name != "c" {
			t.Errorf("got %+v", n)
		}
	})
	t.Run("OK the primary is away", func(t *testing.T) {
		unknown := vault.Place{Transaction: 99, ID: 99}
		w, err := d.Watch(t.Context(), d.reader, "", &unknown)
		wantCode(t, err, "")
		d.store.FailWith(func(op string) error {
			if op == "KnowsPlace" {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		})
		if n := step(w); n.Reset || len(n.Changes) != 0 {
			t.Fatalf("got %+v", n)
		}
		d.store.FailWith(nil)
		if n := step(w); !n.Reset {
			t.Errorf("got %+v", n)
		}
	})
	t.Run("Reset while no server can tell, after a while", func(t *testing.T) {
		away := func(op string) error {
			if op == "KnowsPlace" {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		}
		for name, c := range map[string]struct {
			begin func()
			secs  int
		}{
			"the primary is away":         {func() { d.store.FailWith(away) }, 10},
			"the transaction is not over": {func() { d.store.OpenTransaction = 99 }, 3},
		} {
			w, err := d.Watch(t.Context(), d.reader, "", &vault.Place{Transaction: 99, ID: 99})
			wantCode(t, err, "")
			c.begin()
			for i := range c.secs {
				if n := step(w); n.Reset || len(n.Changes) != 0 {
					t.Fatalf("%s: after %d s: %+v", name, i, n)
				}
			}
			if n := step(w); !n.Reset {
				t.Errorf("%s: waits without end", name)
			}
			d.store.FailWith(nil)
			d.store.OpenTransaction = 0
		}
	})
	for name, p := range map[string]vault.Place{
		"the future": {Transaction: last.Transaction + 9, ID: last.ID + 9, At: last.At},
		"the past":   {Transaction: last.Transaction, ID: last.ID, At: last.At - 1},
	} {
		t.Run("Reset of "+name, func(t *testing.T) {
			w, err := d.Watch(t.Context(), d.reader, "", &p)
			wantCode(t, err, "")
			if n := step(w); !n.Reset || len(n.Changes) != 0 {
				t.Fatalf("got %+v", n)
			}
			d.mustCreate(t, "after/"+name[4:], marker)
			if n := step(w); n.Reset || len(n.Changes) != 1 || string(n.Changes[0].Name) != "after/"+name[4:] {
				t.Errorf("got %+v", n)
			}
		})
	}
}

// TestWatchPrefix: a watch selects whole segments, as a list does.
func TestWatchPrefix(t *testing.T) {
	d := newDoor(t)
	for _, name := range []string{"bul", "bulk", "bulk-2", "bulk/a", "bulk2/a", "bulky"} {
		d.mustCreate(t, name, marker)
	}
	for prefix, want := range map[string]string{
		"": "[bul bulk bulk-2 bulk/a bulk2/a bulky]", "bul": "[bul]", "bulk": "[bulk bulk/a]", "bulk/": "[bulk/a]", "bu": "[]",
	} {
		w, err := d.Watch(t.Context(), d.reader, prefix, &vault.Place{})
		wantCode(t, err, "")
		n, err := w.Next(t.Context())
		wantCode(t, err, "")
		names := []core.Name{}
		for _, c := range n.Changes {
			names = append(names, c.Name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}
