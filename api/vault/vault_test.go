package vault_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestEveryOperationIsRecordedOnce(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Run("OK", func(t *testing.T) {
				d := stocked(t)
				wantCode(t, op.run(t.Context(), d, op.rightful(d)), "")
				e := d.one(t)
				actor := "reader"
				if op.admin {
					actor = "token:ops"
				}
				if e.Outcome != vault.OutcomeOK || e.Code != "" || e.Action != op.action || e.Origin.Actor != actor ||
					e.Origin.Node != "node1" || e.Origin.RequestID == "" || !e.Origin.ClientIP.IsValid() {
					t.Fatalf("record %+v", e)
				}
				if _, unwiped := d.keeper.HandedOut(); unwiped != 0 {
					t.Fatalf("%d data keys not wiped", unwiped)
				}
			})
			t.Run("ErrDenied", func(t *testing.T) {
				d := stocked(t)
				op.refused(t, d)
			})
			t.Run("ErrRecorder", func(t *testing.T) {
				d := stocked(t)
				d.recorder.FailWith(func(vault.Entry) error { return errors.New("disk full") })
				c := vault.Caller{RequestID: "r"} // a refusal needs its record too
				wantCode(t, op.run(t.Context(), d, c), core.Unavailable)
				if op.change {
					return // its success is recorded in its own transaction
				}
				wantCode(t, op.run(t.Context(), d, op.rightful(d)), core.Unavailable)
				if _, unwiped := d.keeper.HandedOut(); unwiped != 0 {
					t.Fatalf("%d data keys not wiped", unwiped)
				}
			})
			t.Run("ErrCanceledIsRecorded", func(t *testing.T) {
				d := stocked(t)
				d.store.FailWith(func(name string) error {
					return context.Canceled
				})
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				wantCode(t, op.run(ctx, d, op.rightful(d)), core.Unavailable)
				if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != core.Unavailable {
					t.Fatalf("record %+v", e)
				}
			})
		})
	}
}

func TestKeysAreWipedWhateverHappens(t *testing.T) {
	boom := errors.New("boom")
	faults := map[string]func(*door){
		"ErrStore": func(d *door) {
			d.store.FailWith(func(op string) error {
				if op == "CreateSecret" || op == "AppendVersion" {
					return boom
				}
				return nil
			})
		},
		"ErrUnwrap": func(d *door) {
			n := 0
			d.keeper.FailWith(func(op string) error {
				if n++; op == "unwrap" && n > 1 {
					return boom
				}
				return nil
			})
		},
		"ErrCorrupt": func(d *door) {
			d.store.EditWith(func(v *vault.StoredValue) { v.Sealed.Ciphertext[0] ^= 1 })
		},
		"PanicStore": func(d *door) {
			d.store.FailWith(func(op string) error {
				if op == "CreateSecret" || op == "AppendVersion" {
					panic(boom)
				}
				return nil
			})
		},
		"PanicRecorder": func(d *door) {
			d.recorder.FailWith(func(e vault.Entry) error {
				if e.Outcome == vault.OutcomeOK {
					panic(boom)
				}
				return nil
			})
		},
		"PanicUnwrap": func(d *door) {
			n := 0
			d.keeper.FailWith(func(op string) error {
				if n++; op == "unwrap" && n > 1 {
					panic(boom)
				}
				return nil
			})
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for _, op := range operations() {
				d := stocked(t)
				// A second version in grace, so that verify has two keys to unwrap.
				if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a/b", Value: []byte("x"), Expected: 1}); err != nil {
					t.Fatal(err)
				}
				d.recorder.Take()
				fault(d)
				panicked := runs(func() { _ = op.run(t.Context(), d, op.rightful(d)) })
				if all, unwiped := d.keeper.HandedOut(); unwiped != 0 || all == 0 {
					t.Errorf("%s: %d of %d data keys not wiped", op.name, unwiped, all)
				}
				if e := d.one(t); panicked && (e.Outcome != vault.OutcomeFailed || e.Code != core.Internal) {
					t.Errorf("%s: record of a panic %+v", op.name, e)
				}
			}
		})
	}
}

func TestPlaintextIsWiped(t *testing.T) {
	d := stocked(t)
	for _, c := range []vault.Caller{d.admin, {}} {
		value := []byte(marker)
		_, _ = d.Create(t.Context(), c, vault.CreateRequest{Name: "w/1", Value: value})
		if !doortest.IsWiped(value) {
			t.Error("create left the value")
		}
		value = []byte(marker)
		_, _ = d.Update(t.Context(), c, vault.UpdateRequest{Name: "a/b", Value: value})
		if !doortest.IsWiped(value) {
			t.Error("update left the value")
		}
	}
	for _, c := range []vault.Caller{d.reader, {}} {
		value := []byte(marker)
		_, _ = d.Verify(t.Context(), c, "a/b", value)
		if !doortest.IsWiped(value) {
			t.Error("verify left the candidate")
		}
	}
	v, err := d.Read(t.Context(), d.reader, "a/b", 0)
	if err != nil {
		t.Fatal(err)
	}
	plain := v.Plain
	if v.Wipe(); !doortest.IsWiped(plain) {
		t.Error("Wipe left the value")
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := vault.New(vault.Config{MaxValueLen: -1})
	for _, want := range []string{"store", "keeper", "recorder", "node", "database", "limit"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named: %v", want, err)
		}
	}
}

func TestReject(t *testing.T) {
	d := newDoor(t)
	cause := core.Errorf(core.Invalid, "the body is not JSON")
	t.Run("ErrOfTheCause", func(t *testing.T) {
		if err := d.Reject(t.Context(), d.admin, vault.ActionCreate, "a", cause); !errors.Is(err, cause) {
			t.Fatal(err)
		}
		if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != core.Invalid || e.Origin.Actor != "token:ops" {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("ErrOfTheGuardFirst", func(t *testing.T) {
		wantCode(t, d.Reject(t.Context(), d.reader, vault.ActionCreate, "a", cause), core.Unauthenticated)
		wantCode(t, d.Reject(t.Context(), d.admin, vault.ActionRead, "a", cause), core.Denied)
		wantCode(t, d.Reject(t.Context(), d.reader, "unheard of", "a", cause), core.Unauthenticated)
	})
}

// TestWhatIsNoNameIsNotRecorded: it may be a value in the wrong place.
func TestWhatIsNoNameIsNotRecorded(t *testing.T) {
	d := newDoor(t)
	for _, in := range []string{"a\x00\x1bb\xff\u00e9", strings.Repeat("x", 300), "a//b", "pass word", ""} {
		_, err := d.Read(t.Context(), d.reader, in, 0)
		wantCode(t, err, core.Invalid)
		if e := d.one(t); e.Name != "" || e.Code != core.Invalid {
			t.Errorf("%+v", e)
		}
		err = d.RecordForSQL(t.Context(), backend, vault.SQLAttempt{Action: vault.ActionRead, Name: in, Outcome: vault.OutcomeFailed, Code: core.Invalid})
		wantCode(t, err, "")
		if e := d.one(t); e.Name != "" || e.Code != core.Invalid {
			t.Errorf("%+v", e)
		}
	}
	for prefix, want := range map[string]string{"a/": "a/", "a": "a", "a b/": ""} {
		_, _ = d.List(t.Context(), d.reader, prefix, "", 0)
		if e := d.one(t); e.Name != want {
			t.Errorf("%q is recorded as %q", prefix, e.Name)
		}
	}
}

// TestUnknownOutcomeIsRecordedAsThat: a change that may have been made has an ok record if it was, and the record of its
// answer must not contradict that.
func TestUnknownOutcomeIsRecordedAsThat(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.recorder.Take()
	for op, change := range map[string]func() error{
		"AppendVersion": func() error {
			_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("x"), Expected: 1})
			return err
		},
		"DeleteSecret": func() error { _, err := d.Delete(t.Context(), d.admin, "a", 1); return err },
		"ConfigureSecret": func() error {
			_, err := d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "a", Expected: 1})
			return err
		},
	} {
		for cause, want := range map[error]vault.Outcome{vault.ErrOutcomeUnknown: vault.OutcomeUnknown, errors.New("away"): vault.OutcomeFailed} {
			d.store.FailWith(func(called string) error {
				if called == op {
					return core.Wrap(core.Unavailable, cause, "x")
				}
				return nil
			})
			wantCode(t, change(), core.Unavailable)
			if e := d.one(t); e.Outcome != want || e.Code != core.Unavailable {
				t.Errorf("%s: recorded %+v, want %s", op, e, want)
			}
		}
	}
}
