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

// refused tries the operation with every kind of caller that has no right to it.
func (o operation) refused(t *testing.T, d *door) {
	t.Helper()
	good := d.admin.Bearer
	callers := map[string]vault.Caller{
		"stranger":        {},
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

func runs(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// failed drops the position of a change.
func failed(_ core.Position, err error) error { return err }
