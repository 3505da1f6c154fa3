package vault_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const marker = "MARKER-7f3a-plaintext"

// door is a Vault on fakes, with one admin token and a clock that stands still.
type door struct {
	*vault.Vault
	store    *doortest.Store
	keeper   *doortest.Keeper
	recorder *doortest.Recorder
	admin    vault.Caller
	reader   vault.Caller
	now      *time.Time
	bin      []string // the ids of deleted secrets
}

func newDoor(t *testing.T) *door {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := &door{keeper: &doortest.Keeper{}, recorder: &doortest.Recorder{}, now: &now}
	clock := func() time.Time { return *d.now }
	d.store = &doortest.Store{Recorder: d.recorder, Now: clock}
	allow, err := allowlist.Parse("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	d.Vault, err = vault.New(vault.Config{
		Store: d.store, Keeper: d.keeper, Recorder: d.recorder, Allow: allow, Node: "node1", Database: "app", Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := d.CreateToken(t.Context(), vault.Operator{Name: "root"}, "ops", 0)
	if err != nil {
		t.Fatal(err)
	}
	d.admin = vault.Caller{Addr: netip.MustParseAddr("192.0.2.1"), Bearer: vault.Bearer(tok.Reveal()), RequestID: "r-admin"}
	d.reader = vault.Caller{Addr: netip.MustParseAddr("10.1.2.3"), RequestID: "r-read"}
	d.recorder.Take()
	return d
}

func (d *door) mustCreate(t *testing.T, name, value string) vault.Secret {
	t.Helper()
	s, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: name, Value: []byte(value), GracePeriodSecs: 60})
	if err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	return s
}

// one returns the only record since the last look.
func (d *door) one(t *testing.T) vault.Entry {
	t.Helper()
	got := d.recorder.Take()
	if len(got) != 1 {
		t.Fatalf("%d audit records, want 1: %+v", len(got), got)
	}
	return got[0]
}

func wantCode(t *testing.T, err error, want core.Code) {
	t.Helper()
	if got := core.CodeOf(err); got != want {
		t.Fatalf("code %q, want %q (%v)", got, want, err)
	}
	if err != nil && (strings.Contains(err.Error(), marker) || strings.Contains(core.MessageOf(err), marker)) {
		t.Fatalf("the error shows the value: %v", err)
	}
}

// operation is one way through the door.
type operation struct {
	name   string
	action vault.Action
	admin  bool
	change bool
	run    func(context.Context, *door, vault.Caller) error
}

func operations() []operation {
	return []operation{
		{"Create", vault.ActionCreate, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Create(ctx, c, vault.CreateRequest{Name: "new/one", Value: []byte(marker)})
			return err
		}},
		{"Update", vault.ActionUpdate, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Update(ctx, c, vault.UpdateRequest{Name: "a/b", Value: []byte(marker), Expected: 1})
			return err
		}},
		{"Rotate", vault.ActionRotate, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Rotate(ctx, c, vault.RotateRequest{Name: "auto", Expected: 0})
			return err
		}},
		{"Configure", vault.ActionConfigure, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Configure(ctx, c, vault.ConfigureRequest{Name: "a/b", Expected: 1, Settings: vault.Settings{KeepVersions: new(int)}})
			return err
		}},
		{"Delete", vault.ActionDelete, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Delete(ctx, c, "a/b", 1)
			return err
		}},
		{"CreateMetadata", vault.ActionCreate, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.CreateMetadata(ctx, c, vault.CreateRequest{Name: "new/two"})
			return err
		}},
		{"DeleteVersions", vault.ActionDeleteVersion, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.DeleteVersions(ctx, c, "a/b", []uint64{1})
			return err
		}},
		{"UndeleteVersions", vault.ActionUndeleteVersion, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.UndeleteVersions(ctx, c, "a/b", []uint64{1})
			return err
		}},
		{"DestroyVersions", vault.ActionDestroyVersion, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.DestroyVersions(ctx, c, "a/b", []uint64{1})
			return err
		}},
		{"Restore", vault.ActionRestore, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.Restore(ctx, c, d.bin[0])
			return err
		}},
		{"DestroyDeleted", vault.ActionDestroy, true, true, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.DestroyDeleted(ctx, c, d.bin[1])
			return err
		}},
		{"ListDeleted", vault.ActionList, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			_, err := d.ListDeleted(ctx, c, "", "", 0)
			return err
		}},
		{"Read", vault.ActionRead, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			v, err := d.Read(ctx, c, "a/b", 0)
			if err != nil && v.Plain != nil {
				return errors.New("a value left with an error")
			}
			v.Wipe()
			return err
		}},
		{"BatchRead", vault.ActionRead, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			b, err := d.BatchRead(ctx, c, []string{"a/b"})
			if err != nil && b != nil {
				return errors.New("values left with an error")
			}
			b.Wipe()
			return err
		}},
		{"Verify", vault.ActionVerify, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			v, err := d.Verify(ctx, c, "a/b", []byte(marker))
			if err != nil && v.Valid {
				return errors.New("a verdict left with an error")
			}
			return err
		}},
		{"List", vault.ActionList, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			p, err := d.List(ctx, c, "a/", "", 10)
			if err != nil && p.Secrets != nil {
				return errors.New("a page left with an error")
			}
			return err
		}},
		{"Describe", vault.ActionDescribe, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			s, err := d.Describe(ctx, c, "a/b")
			if err != nil && s.Name != "" {
				return errors.New("metadata left with an error")
			}
			return err
		}},
		{"Versions", vault.ActionDescribe, false, false, func(ctx context.Context, d *door, c vault.Caller) error {
			l, err := d.Versions(ctx, c, "a/b")
			if err != nil && l != nil {
				return errors.New("metadata left with an error")
			}
			return err
		}},
	}
}

func stocked(t *testing.T) *door {
	t.Helper()
	d := newDoor(t)
	d.mustCreate(t, "a/b", marker)
	if _, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "auto", Kind: "automatic", RotationIntervalSecs: 60}); err != nil {
		t.Fatal(err)
	}
	d.store.Retain(time.Hour)
	for _, name := range []string{"bin/one", "bin/two"} {
		s := d.mustCreate(t, name, marker)
		if _, err := d.Delete(t.Context(), d.admin, name, 1); err != nil {
			t.Fatal(err)
		}
		d.bin = append(d.bin, s.ID.String())
	}
	d.store.Retain(0)
	d.recorder.Take()
	return d
}

func (o operation) rightful(d *door) vault.Caller {
	if o.admin {
		return d.admin
	}
	return d.reader
}

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

// refused tries the operation with every kind of caller that has no right to it.
func (o operation) refused(t *testing.T, d *door) {
	t.Helper()
	good := d.admin.Bearer
	callers := map[string]vault.Caller{
		"nobody":          {},
		"outside address": {Addr: netip.MustParseAddr("192.0.2.1")},
	}
	want := core.Denied
	if o.admin {
		want = core.Unauthenticated
		inside := netip.MustParseAddr("10.1.2.3")
		callers["inside address, no token"] = vault.Caller{Addr: inside}
		callers["malformed token"] = vault.Caller{Addr: inside, Bearer: "hvt_x"}
		callers["other token"] = vault.Caller{Addr: inside, Bearer: good[:10] + flip(good[10:11]) + good[11:]}
		callers["token and a space"] = vault.Caller{Addr: inside, Bearer: good + " "}
		callers["fingerprint as token"] = vault.Caller{Addr: inside, Bearer: vault.Bearer(strings.Repeat("a", 64))}
	} else {
		callers["admin token, outside address"] = d.admin
		callers["zone"] = vault.Caller{Addr: netip.MustParseAddr("fe80::1%eth0")}
		callers["mapped outside"] = vault.Caller{Addr: netip.MustParseAddr("::ffff:192.0.2.1")}
	}
	d.store.FailWith(func(name string) error {
		// A text that could be a token is decided about, by the statement that would come first.
		if !o.admin || name != "Decide" && name != "DescribeSecretOnWriter" {
			t.Errorf("a refused caller reached the store: %s", name)
		}
		return nil
	})
	for name, c := range callers {
		before, _ := d.keeper.HandedOut()
		wantCode(t, o.run(t.Context(), d, c), want)
		e := d.one(t)
		if e.Outcome != vault.OutcomeDenied || e.Code != want || e.Action != o.action || e.Origin.Actor != "anonymous" {
			t.Fatalf("%s: record %+v", name, e)
		}
		if after, _ := d.keeper.HandedOut(); after != before {
			t.Fatalf("%s: a refused caller caused a data key", name)
		}
	}
}

func flip(c vault.Bearer) vault.Bearer {
	if c == "A" {
		return "B"
	}
	return "A"
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

func runs(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
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
