package vault_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
)

// mover moves keys by giving them another id; Unwrap does not matter here.
type mover struct {
	*doortest.Keeper
	fail func(n int) error // asked with the number of the call, from 1
	n    int
}

func (m *mover) Current(context.Context) (string, error) { return "next-key", nil }

func (m *mover) Rewrap(_ context.Context, k vault.WrappedKey, to string, _ map[string]string) (vault.WrappedKey, error) {
	m.n++
	if m.fail != nil {
		if err := m.fail(m.n); err != nil {
			return vault.WrappedKey{}, err
		}
	}
	return vault.WrappedKey{KeyID: to, Wrapped: append([]byte("next-"), k.Wrapped...)}, nil
}

// rewrapDoor has 250 versions to move, more than two pages.
func rewrapDoor(t *testing.T, m *mover) (*door, *vault.Vault) {
	t.Helper()
	d := newDoor(t)
	for i := range 125 {
		name := "s" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		d.mustCreate(t, name, marker)
		if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: name, Value: []byte("2"), Expected: 1}); err != nil {
			t.Fatal(err)
		}
	}
	m.Keeper = d.keeper
	v, err := vault.New(vault.Config{Store: d.store, Keeper: m, Recorder: d.recorder, Node: "n", Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	return d, v
}

func rewrapTest(t *testing.T, name string, m *mover, f func(t *testing.T, d *door, v *vault.Vault)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, v := rewrapDoor(t, m)
			f(t, d, v)
			v.Close(context.Background())
		})
	})
}

var operator = vault.Operator{Name: "root"}

func countRecords(d *door) (moved, failed, runs int) {
	for _, e := range d.recorder.Take() {
		switch {
		case e.Action != vault.ActionRewrap:
		case e.Name == "":
			runs++
		case e.Outcome == vault.OutcomeOK:
			moved++
		default:
			failed++
		}
	}
	return moved, failed, runs
}

func TestRewrap(t *testing.T) {
	rewrapTest(t, "OK", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		calls := 0
		s, err := v.Rewrap(t.Context(), operator, 100, func(vault.RewrapStatus) { calls++ })
		if err != nil || s.State != vault.RewrapDone || s.Total != 250 || s.Moved != 250 || s.Key != "next-key" || calls != 250 {
			t.Fatalf("%+v, %d calls, %v", s, calls, err)
		}
		if moved, failed, runs := countRecords(d); moved != 250 || failed != 0 || runs != 1 {
			t.Errorf("%d, %d, %d records", moved, failed, runs)
		}
		if s, err = v.Rewrap(t.Context(), operator, 0, nil); err != nil || s.Total != 0 || s.Moved != 0 {
			t.Errorf("again: %+v, %v", s, err)
		}
	})
	away := core.Errorf(core.Unavailable, "away")
	rewrapTest(t, "GoesOnAfterAnOutage", &mover{fail: func(n int) error {
		if n > 50 && n <= 55 {
			return away
		}
		return nil
	}}, func(t *testing.T, d *door, v *vault.Vault) {
		if s, err := v.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Moved != 250 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	rewrapTest(t, "LeavesTheDamaged", &mover{fail: func(n int) error {
		if n%50 == 0 {
			return core.Errorf(core.Corrupt, "damaged")
		}
		return nil
	}}, func(t *testing.T, d *door, v *vault.Vault) {
		s, err := v.Rewrap(t.Context(), operator, 1000, nil)
		if err != nil || s.State != vault.RewrapDone || s.Moved != 245 || s.Failed != 5 {
			t.Errorf("%+v, %v", s, err)
		}
		if moved, failed, _ := countRecords(d); moved != 245 || failed != 5 {
			t.Errorf("%d, %d records", moved, failed)
		}
	})
	var refuse bool
	rewrapTest(t, "ErrRefusedThenResumed", &mover{fail: func(n int) error {
		if refuse = n == 100; refuse {
			return core.Errorf(core.Denied, "refused")
		}
		return nil
	}}, func(t *testing.T, d *door, v *vault.Vault) {
		s, err := v.Rewrap(t.Context(), operator, 1000, nil)
		if core.CodeOf(err) != core.Denied || s.State != vault.RewrapFailed || s.Moved != 99 || s.Error != "refused" {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err = v.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Total != 151 || s.Moved != 151 {
			t.Errorf("resumed: %+v, %v", s, err)
		}
	})
	rewrapTest(t, "SkipsWhatChanged", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		first := true
		s, err := v.Rewrap(t.Context(), operator, 1000, func(vault.RewrapStatus) {
			if !first {
				return
			}
			first = false
			// Another node moves everything while this one works on its page.
			if s, err := v.Rewrap(context.Background(), operator, 1000, nil); err != nil || s.Moved != 249 {
				t.Errorf("%+v, %v", s, err)
			}
		})
		if err != nil || s.Moved != 1 || s.Skipped != 99 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	rewrapTest(t, "ErrRate", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		for _, rate := range []int{-1, vault.MaxRewrapRate + 1} {
			_, err := v.Rewrap(t.Context(), operator, rate, nil)
			wantCode(t, err, core.Invalid)
		}
		_, err := v.Rewrap(t.Context(), vault.Operator{}, 1, nil)
		wantCode(t, err, core.Denied)
	})
}

func TestStartRewrap(t *testing.T) {
	rewrapTest(t, "OK", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		if s, err := v.RewrapStatus(t.Context(), d.admin); err != nil || s.State != vault.RewrapIdle {
			t.Fatalf("%+v, %v", s, err)
		}
		for range 3 { // the second and third find it running
			s, err := v.StartRewrap(t.Context(), d.admin)
			if err != nil || s.State != vault.RewrapRunning || s.Key != "next-key" {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		for { // the bubble's clock runs while nothing else does
			s, err := v.RewrapStatus(t.Context(), d.admin)
			if err != nil {
				t.Fatal(err)
			}
			if s.State == vault.RewrapDone {
				if s.Moved != 250 || s.Ended.IsZero() {
					t.Errorf("%+v", s)
				}
				break
			}
			elapse()
		}
	})
	rewrapTest(t, "ErrNoToken", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		_, err := v.StartRewrap(t.Context(), d.reader)
		wantCode(t, err, core.Unauthenticated)
		_, err = v.RewrapStatus(t.Context(), d.reader)
		wantCode(t, err, core.Unauthenticated)
		_, err = d.StartRewrap(t.Context(), d.admin) // a keeper with one key for ever
		wantCode(t, err, core.Invalid)
	})
	rewrapTest(t, "StoppedByClose", &mover{}, func(t *testing.T, d *door, v *vault.Vault) {
		if _, err := v.StartRewrap(t.Context(), d.admin); err != nil {
			t.Fatal(err)
		}
		elapse()
		v.Close(context.Background())
		s, err := v.RewrapStatus(t.Context(), d.admin)
		if err != nil || s.State != vault.RewrapStopped || s.Moved == 0 || s.Moved == 250 {
			t.Errorf("%+v, %v", s, err)
		}
		_, err = v.StartRewrap(t.Context(), d.admin)
		wantCode(t, err, core.Unavailable)
	})
}

// elapse lets the bubble's clock run for a second; it takes no time.
func elapse() { <-time.After(time.Second) }
