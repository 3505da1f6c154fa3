package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func TestBatchRead(t *testing.T) {
	t.Run("OK each its own result and record", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", marker+"a")
		d.mustCreate(t, "b", marker+"b")
		d.mustCreate(t, "lost", marker)
		d.mustCreate(t, "moved", marker)
		d.store.Lose("lost")
		d.store.EditWith(func(v *vault.StoredValue) {
			if v.Name == "moved" {
				v.SecretID[0]++
			}
		})
		names := []string{"b", "none", "a", "b", "not a name", "lost", "moved", "not a name"}
		got, err := d.BatchRead(t.Context(), d.reader, names)
		wantCode(t, err, "")
		codes := []core.Code{"", core.NotFound, "", "", core.Invalid, core.Corrupt, core.Corrupt, core.Invalid}
		for i, r := range got {
			if r.Name != names[i] {
				t.Errorf("position %d is %s", i, r.Name)
			}
			wantCode(t, r.Err, codes[i])
			if want := marker + names[i]; codes[i] == "" && (string(r.Value.Plain) != want || r.Value.Version != 1 || r.Value.Name != core.Name(names[i])) {
				t.Errorf("%s: %q, version %d", r.Name, r.Value.Plain, r.Value.Version)
			}
			if codes[i] != "" && r.Value.Plain != nil {
				t.Errorf("%s: a value with an error", r.Name)
			}
		}
		records := d.recorder.Take()
		want := []struct {
			name    string
			version uint64
			code    core.Code
		}{{"b", 1, ""}, {"none", 0, core.NotFound}, {"a", 1, ""}, {"", 0, core.Invalid}, {"lost", 0, core.Corrupt}, {"moved", 0, core.Corrupt}}
		if len(records) != len(want) {
			t.Fatalf("%d records: %+v", len(records), records)
		}
		for i, w := range want {
			e := records[i]
			if e.Name != w.name || e.Version != w.version || e.Code != w.code || e.Action != vault.ActionRead || e.Origin.Actor != "reader" ||
				e.Origin.RequestID != "r-read" || (e.Outcome == vault.OutcomeOK) != (w.code == "") {
				t.Errorf("record %d: %+v, want %+v", i, e, w)
			}
		}
		kept := got[2].Value.Plain
		got.Wipe()
		if !doortest.IsWiped(kept) {
			t.Error("not wiped")
		}
		if _, unwiped := d.keeper.HandedOut(); unwiped != 0 {
			t.Errorf("%d data keys not wiped", unwiped)
		}
	})
	t.Run("OK as fresh as asked", func(t *testing.T) {
		d := newDoor(t)
		c := d.reader
		c.Freshness = vault.Freshness{Position: core.Position{Timeline: 2, LSN: 7}}
		_, err := d.BatchRead(t.Context(), c, []string{"a"})
		wantCode(t, err, "")
		if d.store.Asked() != c.Freshness {
			t.Errorf("%+v", d.store.Asked())
		}
	})
	t.Run("ErrTooMany", func(t *testing.T) {
		d := newDoor(t)
		for _, n := range []int{0, vault.MaxBatch + 1} {
			_, err := d.BatchRead(t.Context(), d.reader, make([]string, n))
			wantCode(t, err, core.Invalid)
			if e := d.one(t); e.Name != "" || e.Code != core.Invalid {
				t.Errorf("%+v", e)
			}
		}
	})
	t.Run("ErrDenied has one record", func(t *testing.T) {
		d := newDoor(t)
		_, err := d.BatchRead(t.Context(), d.admin, []string{"a", "b", "c"})
		wantCode(t, err, core.Denied)
		if e := d.one(t); e.Name != "" || e.Outcome != vault.OutcomeDenied {
			t.Errorf("%+v", e)
		}
	})
	t.Run("ErrStore is every name's", func(t *testing.T) {
		d := newDoor(t)
		d.store.FailWith(func(string) error { return core.Errorf(core.Unavailable, "away") })
		_, err := d.BatchRead(t.Context(), d.reader, []string{"a", "b"})
		wantCode(t, err, core.Unavailable)
		records := d.recorder.Take()
		if len(records) != 2 || records[0].Name != "a" || records[1].Name != "b" || records[1].Code != core.Unavailable {
			t.Errorf("%+v", records)
		}
	})
	t.Run("ErrKeeper of one", func(t *testing.T) {
		d := newDoor(t)
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("n/%d", i))
			d.mustCreate(t, names[i], marker)
		}
		var mu sync.Mutex
		calls := 0
		d.keeper.FailWith(func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls == 17 {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		})
		got, err := d.BatchRead(t.Context(), d.reader, names)
		wantCode(t, err, "")
		failed := 0
		for _, r := range got {
			if r.Err != nil {
				wantCode(t, r.Err, core.Unavailable)
				failed++
			}
		}
		if failed != 1 || len(d.recorder.Take()) != len(names) {
			t.Errorf("%d failed", failed)
		}
	})
	t.Run("ErrPanic is recorded and leaves nothing", func(t *testing.T) {
		d := newDoor(t)
		for _, n := range []string{"a", "b", "c"} {
			d.mustCreate(t, n, marker)
		}
		d.keeper.FailWith(func(string) error { panic("bug") })
		defer func() {
			p, _ := recover().(*core.Error) // raised again by another goroutine than the one where it began
			if p == nil || !strings.Contains(p.Msg, "vault_test.TestBatchRead.func") || strings.Contains(p.Msg, "bug") {
				t.Errorf("the panic or its place is gone: %v", p)
			}
			if e := d.one(t); e.Code != core.Internal {
				t.Errorf("%+v", e)
			}
		}()
		_, _ = d.BatchRead(t.Context(), d.reader, []string{"a", "b", "c"})
	})
}

// TestBatchReadIsBounded: what does not fit is told apart, and what is asked for twice counts twice.
func TestBatchReadIsBounded(t *testing.T) {
	d := newDoor(t)
	big := strings.Repeat("x", core.DefaultMaxValueLen)
	var names []string
	for i := range 4 {
		name := fmt.Sprintf("big/%d", i)
		d.mustCreate(t, name, big)
		for range 64 {
			names = append(names, name)
		}
	}
	got, err := d.BatchRead(t.Context(), d.reader, names)
	wantCode(t, err, "")
	for _, r := range got {
		wantCode(t, r.Err, "") // 256 values of the default limit fit exactly
	}
	d.recorder.Take()
	// Rows edited by hand could be longer; a setting allows a MiB.
	d.store.EditWith(func(v *vault.StoredValue) {
		if v.Name == "big/3" {
			v.Sealed.Ciphertext = bytes.Repeat([]byte("x"), vault.MaxBatchBytes)
		}
	})
	got, err = d.BatchRead(t.Context(), d.reader, names)
	wantCode(t, err, "")
	for _, r := range got {
		want := core.Code("")
		if r.Name == "big/3" {
			want = core.TooLarge
		}
		wantCode(t, r.Err, want)
	}
	records := d.recorder.Take()
	if len(records) != 4 || records[3].Code != core.TooLarge || records[3].Version != 0 {
		t.Errorf("%+v", records)
	}
	d.recorder.FailWith(func(e vault.Entry) error {
		if e.Name == "big/2" {
			return errors.New("disk full")
		}
		return nil
	})
	got, err = d.BatchRead(t.Context(), d.reader, names)
	if wantCode(t, err, core.Unavailable); got != nil {
		t.Error("values left without their records")
	}
}

// TestBatchReadCountsEveryPosition: one large value, asked for again and again, does not get past the bound.
func TestBatchReadCountsEveryPosition(t *testing.T) {
	d := newDoor(t)
	allow, err := allowlist.Parse("10.0.0.0/8")
	wantCode(t, err, "")
	v, err := vault.New(vault.Config{Store: d.store, Keeper: d.keeper, Recorder: d.recorder, Allow: allow, Node: "n", Database: "app",
		MaxValueLen: core.MaxValueLen})
	wantCode(t, err, "")
	_, err = v.Create(t.Context(), d.admin, vault.CreateRequest{Name: "m", Value: bytes.Repeat([]byte("x"), core.MaxValueLen)})
	wantCode(t, err, "")
	d.recorder.Take()
	names := make([]string, vault.MaxBatch)
	for i := range names {
		names[i] = "m"
	}
	got, err := v.BatchRead(t.Context(), d.reader, names)
	wantCode(t, err, "")
	for i, r := range got {
		if i < vault.MaxBatchBytes/core.MaxValueLen {
			wantCode(t, r.Err, "")
			continue
		}
		if wantCode(t, r.Err, core.TooLarge); r.Value.Plain != nil {
			t.Fatal("a value with an error")
		}
	}
	if e := d.one(t); e.Code != "" || e.Version != 1 {
		t.Errorf("%+v", e)
	}
	kept := got[0].Value.Plain
	if got.Wipe(); !doortest.IsWiped(kept) {
		t.Error("not wiped")
	}
}
