package vault_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// reads is what a reader gets of the current version, or of a given one.
func (d *door) reads(t *testing.T, name string, version uint64) string {
	t.Helper()
	v, err := d.Read(t.Context(), d.reader, name, version)
	defer v.Wipe()
	if err != nil {
		wantCode(t, err, core.NotFound)
	}
	return string(v.Plain)
}

func (d *door) verifies(t *testing.T, name, candidate string) bool {
	t.Helper()
	v, err := d.Verify(t.Context(), d.reader, name, []byte(candidate))
	if err != nil {
		wantCode(t, err, core.NotFound)
	}
	return v.Valid
}

func (d *door) update(t *testing.T, name, value string, expected uint64) (vault.Secret, error) {
	t.Helper()
	return d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: name, Value: []byte(value), Expected: expected})
}

func TestDeletedVersions(t *testing.T) {
	d := newDoor(t)
	ctx := t.Context()
	d.mustCreate(t, "a", "one")
	if _, err := d.update(t, "a", "two", 1); err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	out, err := d.DeleteVersions(ctx, d.admin, "a", []uint64{2, 7})
	if err != nil || !slices.Equal(out.Versions, []uint64{2}) || out.Position.LSN == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if e := d.one(t); e.Action != vault.ActionDeleteVersion || e.Version != 2 || e.Outcome != vault.OutcomeOK {
		t.Errorf("%+v", e)
	}
	if d.reads(t, "a", 0) != "" || d.reads(t, "a", 2) != "" || d.reads(t, "a", 1) != "one" || d.verifies(t, "a", "two") || !d.verifies(t, "a", "one") {
		t.Error("a deleted version reads or verifies, or another one does not")
	}
	if _, err := d.BatchRead(ctx, d.reader, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if b, _ := d.BatchRead(ctx, d.reader, []string{"a"}); core.CodeOf(b[0].Err) != core.NotFound {
		t.Errorf("%v", b[0].Err)
	}
	if out, err = d.UndeleteVersions(ctx, d.admin, "a", nil); err != nil || !slices.Equal(out.Versions, []uint64{2}) || d.reads(t, "a", 0) != "two" {
		t.Fatalf("%+v, %v", out, err)
	}
	if out, err = d.DestroyVersions(ctx, d.admin, "a", []uint64{2}); err != nil || len(out.Versions) != 1 || d.reads(t, "a", 0) != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	if out, err = d.UndeleteVersions(ctx, d.admin, "a", []uint64{2}); err != nil || len(out.Versions) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if s, err := d.update(t, "a", "three", 2); err != nil || s.CurrentVersion != 3 || d.reads(t, "a", 0) != "three" {
		t.Fatalf("%+v, %v", s, err)
	}
	all, err := d.Versions(ctx, d.reader, "a")
	if err != nil || len(all) != 3 || all[1].DestroyedAt.IsZero() || all[2].DestroyedAt != (time.Time{}) {
		t.Errorf("%+v, %v", all, err)
	}
	d.recorder.Take()
	for name, run := range map[string]func() error{
		"unknown secret": func() error { return only(d.DeleteVersions(ctx, d.admin, "none", nil)) },
		"version 0":      func() error { return only(d.DeleteVersions(ctx, d.admin, "a", []uint64{0})) },
		"no bigint":      func() error { return only(d.DestroyVersions(ctx, d.admin, "a", []uint64{math.MaxUint64})) },
		"too many": func() error {
			return only(d.UndeleteVersions(ctx, d.admin, "a", make([]uint64, vault.MaxVersionsPerChange+1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := core.Invalid
			if name == "unknown secret" {
				want = core.NotFound
			}
			wantCode(t, run(), want)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestLostVersions(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "one")
	d.store.Lose("a")
	_, err := d.Read(t.Context(), d.reader, "a", 0)
	wantCode(t, err, core.Corrupt)
}

func TestSecretsWithoutAVersion(t *testing.T) {
	d := newDoor(t)
	ctx := t.Context()
	create := func(name string) vault.Secret {
		t.Helper()
		s, err := d.CreateMetadata(ctx, d.admin, vault.CreateRequest{Name: name, Description: "later", Rotation: vault.Rotation{KeepVersions: 9}})
		if err != nil || s.HasVersion() || s.CurrentVersion != s.FirstVersion-1 {
			t.Fatalf("%+v, %v", s, err)
		}
		return s
	}
	first := create("a")
	if d.reads(t, "a", 0) != "" || d.verifies(t, "a", "x") {
		t.Error("a secret without a version has a value")
	}
	if all, err := d.Versions(ctx, d.reader, "a"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := d.Versions(ctx, d.reader, "none"); core.CodeOf(err) != core.NotFound {
		t.Errorf("%v", err)
	}
	for _, wrong := range []uint64{1, 2, math.MaxInt64} {
		_, err := d.update(t, "a", "x", wrong)
		wantCode(t, err, core.Stale)
	}
	made, err := d.update(t, "a", "one", vault.NoVersion)
	if err != nil || made.CurrentVersion != first.FirstVersion || !made.HasVersion() || d.reads(t, "a", 0) != "one" {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err = d.update(t, "a", "x", vault.NoVersion)
	wantCode(t, err, core.Stale)
	_, err = d.update(t, "a", "x", vault.VersionZero)
	wantCode(t, err, core.Stale)
	if _, err := d.Delete(ctx, d.admin, "a", 1); err != nil {
		t.Fatal(err)
	}
	second := create("a")
	for _, earlier := range []uint64{first.FirstVersion, vault.VersionZero} {
		_, err := d.update(t, "a", "x", earlier)
		wantCode(t, err, core.Stale)
	}
	if made, err = d.update(t, "a", "two", second.CurrentVersion); err != nil || made.CurrentVersion != second.FirstVersion {
		t.Fatalf("%+v, %v", made, err)
	}
	for name, r := range map[string]vault.CreateRequest{
		"a value":   {Name: "b", Value: []byte("v")},
		"automatic": {Name: "b", Kind: "automatic", RotationIntervalSecs: 60},
		"no name":   {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.CreateMetadata(ctx, d.admin, r)
			wantCode(t, err, core.Invalid)
		})
	}
	_, err = d.CreateMetadata(ctx, d.admin, vault.CreateRequest{Name: "a"})
	wantCode(t, err, core.Exists)
}

func TestVersionSettings(t *testing.T) {
	d := newDoor(t)
	ctx := t.Context()
	if _, err := d.Create(ctx, d.admin, vault.CreateRequest{Name: "a", Value: []byte("one"), CASRequired: true, DeleteVersionAfterSecs: 60}); err != nil {
		t.Fatal(err)
	}
	_, err := d.update(t, "a", "x", vault.AnyVersion)
	wantCode(t, err, core.Invalid)
	if !errors.Is(err, vault.ErrConditionRequired) {
		t.Errorf("%v", err)
	}
	if _, err := d.update(t, "a", "two", 1); err != nil {
		t.Fatal(err)
	}
	*d.now = d.now.Add(time.Minute)
	if d.reads(t, "a", 0) != "" || d.verifies(t, "a", "two") {
		t.Error("a version reads or verifies after its time")
	}
	off, never := false, int64(0)
	s, err := d.Configure(ctx, d.admin, vault.ConfigureRequest{Name: "a", Settings: vault.Settings{CASRequired: &off, DeleteVersionAfterSecs: &never}})
	if err != nil || s.CASRequired || s.DeleteVersionAfterSecs != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := d.update(t, "a", "three", vault.AnyVersion); err != nil || d.reads(t, "a", 0) != "three" {
		t.Fatal(err)
	}
}

func TestTagsPatch(t *testing.T) {
	d := newDoor(t)
	ctx := t.Context()
	if _, err := d.Create(ctx, d.admin, vault.CreateRequest{Name: "a", Value: []byte("v"), Tags: map[string]string{"x": "1", "y": "2"}}); err != nil {
		t.Fatal(err)
	}
	three := "3"
	patch := vault.Settings{TagsPatch: map[string]*string{"x": nil, "z": &three, "none": nil}}
	s, err := d.Configure(ctx, d.admin, vault.ConfigureRequest{Name: "a", Settings: patch})
	if err != nil || len(s.Tags) != 2 || s.Tags["y"] != "2" || s.Tags["z"] != "3" {
		t.Fatalf("%+v, %v", s.Tags, err)
	}
	patch.Tags = map[string]string{}
	_, err = d.Configure(ctx, d.admin, vault.ConfigureRequest{Name: "a", Settings: patch})
	wantCode(t, err, core.Invalid)
	patch = vault.Settings{TagsPatch: map[string]*string{"": &three}}
	_, err = d.Configure(ctx, d.admin, vault.ConfigureRequest{Name: "a", Settings: patch})
	wantCode(t, err, core.Invalid)
}
