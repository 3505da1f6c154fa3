package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestConfigure(t *testing.T) {
	configure := func(d *door, s vault.Settings, expected uint64) (vault.Secret, error) {
		return d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "auto", Expected: expected, Settings: s})
	}
	t.Run("OK", func(t *testing.T) {
		d := stocked(t)
		s, err := configure(d, vault.Settings{
			RotationSchedule: ptr("30 2 * * *"), RotationTimeZone: ptr("Europe/Berlin"), RotationWindowSecs: ptr[int64](3600),
			GracePeriodSecs: ptr[int64](5), KeepVersions: ptr(2), RotationPaused: ptr(true),
		}, 1)
		want := vault.Rotation{Schedule: "30 2 * * *", TimeZone: "Europe/Berlin", WindowSecs: 3600, Paused: true, KeepVersions: 2}
		if err != nil || s.Rotation != want || s.RotationIntervalSecs != 0 || s.GracePeriodSecs != 5 || s.CurrentVersion != 1 {
			t.Fatalf("got %+v, %v", s, err)
		}
		if e := d.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionConfigure || e[0].Outcome != vault.OutcomeOK {
			t.Errorf("recorded %+v", e)
		}
	})
	t.Run("ErrStale", func(t *testing.T) {
		d := stocked(t)
		if _, err := configure(d, vault.Settings{RotationPaused: ptr(true)}, 2); core.CodeOf(err) != core.Stale {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrUnauthenticated", func(t *testing.T) {
		d := stocked(t)
		d.admin.Bearer = ""
		if _, err := configure(d, vault.Settings{RotationPaused: ptr(true)}, 1); core.CodeOf(err) != core.Unauthenticated {
			t.Errorf("got %v", err)
		}
	})
	for name, s := range map[string]vault.Settings{
		"a wrong schedule":      {RotationSchedule: ptr("61 * * * *")},
		"an empty schedule":     {RotationSchedule: ptr("")},
		"both":                  {RotationSchedule: ptr("* * * * *"), RotationIntervalSecs: ptr[int64](60)},
		"no interval":           {RotationIntervalSecs: ptr[int64](0)},
		"a long interval":       {RotationIntervalSecs: ptr[int64](vault.MaxPeriodSecs + 1)},
		"an unknown zone":       {RotationTimeZone: ptr("Europe/Atlantis")},
		"this machine's zone":   {RotationTimeZone: ptr("Local")},
		"an empty zone":         {RotationTimeZone: ptr("")},
		"a path as zone":        {RotationTimeZone: ptr("../etc/passwd")},
		"a short window":        {RotationWindowSecs: ptr[int64](59)},
		"a long window":         {RotationWindowSecs: ptr[int64](vault.MaxWindowSecs + 1)},
		"a negative grace":      {GracePeriodSecs: ptr[int64](-1)},
		"too many versions":     {KeepVersions: ptr(vault.MaxKeepVersions + 1)},
		"negative versions":     {KeepVersions: ptr(-1)},
		"a long description":    {Description: ptr(strings.Repeat("x", vault.MaxDescriptionLen+1))},
		"a tag without a name":  {Tags: map[string]string{"": "x"}},
		"a description of NULs": {Description: ptr("\x00")},
	} {
		t.Run("ErrInvalid: "+name, func(t *testing.T) {
			d := stocked(t)
			before, _ := d.Describe(t.Context(), d.reader, "auto")
			if _, err := configure(d, s, 1); core.CodeOf(err) != core.Invalid {
				t.Errorf("got %v", err)
			}
			if after, _ := d.Describe(t.Context(), d.reader, "auto"); after.Rotation != before.Rotation {
				t.Errorf("changed to %+v", after)
			}
		})
	}
}

func TestCreateWithSchedule(t *testing.T) {
	for name, r := range map[string]vault.CreateRequest{
		"neither":                       {Name: "s", Kind: "automatic"},
		"both":                          {Name: "s", Kind: "automatic", RotationIntervalSecs: 1, Rotation: vault.Rotation{Schedule: "* * * * *"}},
		"a manual one with a schedule":  {Name: "s", Value: []byte("x"), Rotation: vault.Rotation{Schedule: "* * * * *"}},
		"a schedule that never comes":   {Name: "s", Kind: "automatic", Rotation: vault.Rotation{Schedule: "0 0 30 2 *"}},
		"a zone that is none":           {Name: "s", Kind: "automatic", Rotation: vault.Rotation{Schedule: "* * * * *", TimeZone: "Mars/North"}},
		"a window that is too short":    {Name: "s", Kind: "automatic", RotationIntervalSecs: 1, Rotation: vault.Rotation{WindowSecs: 1}},
		"a negative number of versions": {Name: "s", Kind: "automatic", RotationIntervalSecs: 1, Rotation: vault.Rotation{KeepVersions: -1}},
	} {
		t.Run("ErrInvalid: "+name, func(t *testing.T) {
			d := newDoor(t)
			_, err := d.Create(t.Context(), d.admin, r)
			wantCode(t, err, core.Invalid)
		})
	}
}

func TestExpire(t *testing.T) {
	setup := func(t *testing.T) *door {
		d := newDoor(t)
		d.mustCreate(t, "a", marker)
		if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("new"), Expected: 1}); err != nil {
			t.Fatal(err)
		}
		d.recorder.Take()
		return d
	}
	verifies := func(t *testing.T, d *door, value string) bool {
		t.Helper()
		v, err := d.Verify(t.Context(), d.reader, "a", []byte(value))
		wantCode(t, err, "")
		return v.Valid
	}
	t.Run("OK now", func(t *testing.T) {
		d := setup(t)
		if !verifies(t, d, marker) {
			t.Fatal("the old value is not in grace")
		}
		d.recorder.Take()
		v, err := d.Expire(t.Context(), d.admin, "a", 1, 0)
		if err != nil || v.Version != 1 || !v.ExpiresAt.Equal(*d.now) {
			t.Fatalf("got %+v, %v", v, err)
		}
		if e := d.one(t); e.Action != vault.ActionExpire || e.Version != 1 || e.Outcome != vault.OutcomeOK {
			t.Errorf("recorded %+v", e)
		}
		if verifies(t, d, marker) {
			t.Error("the old value still verifies")
		}
	})
	t.Run("OK sooner", func(t *testing.T) {
		d := setup(t)
		if _, err := d.Expire(t.Context(), d.admin, "a", 1, 10); err != nil {
			t.Fatal(err)
		}
		*d.now = d.now.Add(10*time.Second - 1)
		if !verifies(t, d, marker) {
			t.Error("the old value is refused before its end")
		}
		*d.now = d.now.Add(1)
		if verifies(t, d, marker) {
			t.Error("the old value verifies at its end")
		}
	})
	t.Run("never later", func(t *testing.T) {
		d := setup(t)
		v, err := d.Expire(t.Context(), d.admin, "a", 1, 3600)
		if err != nil || !v.ExpiresAt.Equal(d.now.Add(60*time.Second)) {
			t.Errorf("got %+v, %v", v, err)
		}
	})
	for _, x := range []struct {
		name    string
		secret  string
		version uint64
		grace   int64
		want    core.Code
	}{
		{"the current one", "a", 2, 0, core.Invalid},
		{"none", "a", 3, 0, core.NotFound},
		{"no version", "a", 0, 0, core.Invalid},
		{"a negative grace", "a", 1, -1, core.Invalid},
		{"no such secret", "b", 1, 0, core.NotFound},
		{"no name", "", 1, 0, core.Invalid},
	} {
		t.Run("Err "+string(x.want)+": "+x.name, func(t *testing.T) {
			d := setup(t)
			_, err := d.Expire(t.Context(), d.admin, x.secret, x.version, x.grace)
			wantCode(t, err, x.want)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != x.want {
				t.Errorf("recorded %+v", e)
			}
		})
	}
}

func TestReschedule(t *testing.T) {
	d := stocked(t)
	*d.now = d.now.Add(50 * time.Second)
	before, _ := d.Describe(t.Context(), d.reader, "auto")
	kept, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "auto"})
	if err != nil || !kept.NextRotationAt.Equal(before.NextRotationAt) {
		t.Errorf("next at %s, %v, want %s", kept.NextRotationAt, err, before.NextRotationAt)
	}
	moved, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "auto", Reschedule: true})
	if err != nil || !moved.NextRotationAt.Equal(d.now.Add(60*time.Second)) {
		t.Errorf("next at %s, %v, want %s", moved.NextRotationAt, err, d.now.Add(60*time.Second))
	}
}
