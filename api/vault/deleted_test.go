package vault_test

import (
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestDeletedSecrets(t *testing.T) {
	d := newDoor(t)
	ctx := t.Context()
	list := func() []vault.DeletedSecret {
		t.Helper()
		all, err := d.ListDeleted(ctx, d.reader, "", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return all.Secrets
	}
	d.mustCreate(t, "a", "one")
	if _, err := d.Delete(ctx, d.admin, "a", 1); err != nil || len(list()) != 0 {
		t.Fatalf("deletion does not destroy: %v", err)
	}
	d.store.Retain(24 * time.Hour)
	s := d.mustCreate(t, "b", "two")
	if _, err := d.Delete(ctx, d.admin, "b", 1); err != nil {
		t.Fatal(err)
	}
	if all := list(); len(all) != 1 || all[0].ID != s.ID || all[0].RestorableUntil.Sub(all[0].DeletedAt) != 24*time.Hour || d.reads(t, "b", 0) != "" {
		t.Fatalf("%+v", all)
	}
	d.recorder.Take()
	back, err := d.Restore(ctx, d.admin, s.ID.String())
	if err != nil || back.ID != s.ID || back.CurrentVersion != 1 {
		t.Fatalf("%+v, %v", back, err)
	}
	if e := d.one(t); e.Action != vault.ActionRestore || e.Name != "b" || e.Outcome != vault.OutcomeOK {
		t.Errorf("%+v", e)
	}
	if d.reads(t, "b", 0) != "two" || len(list()) != 0 {
		t.Error("it is not back")
	}
	if _, err := d.Delete(ctx, d.admin, "b", 1); err != nil {
		t.Fatal(err)
	}
	d.mustCreate(t, "b", "three")
	_, err = d.Restore(ctx, d.admin, s.ID.String())
	wantCode(t, err, core.Exists)
	if _, err := d.Destroy(ctx, d.admin, "b", 2); err != nil || len(list()) != 1 {
		t.Fatalf("%v", err)
	}
	_, err = d.Restore(ctx, d.admin, s.ID.String()) // its name had another life
	wantCode(t, err, core.Exists)
	if _, err := d.DestroyDeleted(ctx, d.admin, s.ID.String()); err != nil || len(list()) != 0 {
		t.Fatal(err)
	}
	for _, id := range []string{s.ID.String(), "a1b2"} {
		want := core.NotFound
		if id == "a1b2" {
			want = core.Invalid
		}
		_, err = d.Restore(ctx, d.admin, id)
		wantCode(t, err, want)
		_, err = d.DestroyDeleted(ctx, d.admin, id)
		wantCode(t, err, want)
		_, err = d.Restore(ctx, d.reader, id) // who may do nothing learns nothing
		wantCode(t, err, core.Unauthenticated)
	}
	_, err = d.ListDeleted(ctx, d.reader, "", "", vault.MaxPageSize+1)
	wantCode(t, err, core.Invalid)
}

// A caller without the right on a deleted secret cannot tell it from one that is not there, unless lists show it to the
// caller. The audit can.
func TestDeletedSecretsOfOthers(t *testing.T) {
	d, c := roles(t)
	ctx := t.Context()
	d.store.Retain(24 * time.Hour)
	s := d.mustCreate(t, "other/gone", "value")
	if _, err := d.Delete(ctx, d.admin, "other/gone", 1); err != nil {
		t.Fatal(err)
	}
	const missing = "00000000-0000-4000-8000-000000000000"
	for what, try := range map[string]func(id string) error{
		"restore": func(id string) error { _, err := d.Restore(ctx, c, id); return err },
		"destroy": func(id string) error { _, err := d.DestroyDeleted(ctx, c, id); return err },
	} {
		d.recorder.Take()
		there := try(s.ID.String())
		wantCode(t, there, core.NotFound)
		if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Name != "other/gone" {
			t.Errorf("%s: recorded %+v", what, e)
		}
		absent := try(missing)
		wantCode(t, absent, core.NotFound)
		if there.Error() != absent.Error() || core.MessageOf(there) != core.MessageOf(absent) {
			t.Errorf("%s: %v and %v", what, there, absent)
		}
	}
	d.store.GrantTo("app", "other/*", "read")
	_, err := d.Restore(ctx, c, s.ID.String())
	wantCode(t, err, core.Denied) // lists show it
}
