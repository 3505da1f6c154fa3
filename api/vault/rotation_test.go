package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func ptr[T any](v T) *T { return &v }

func TestConfigure(t *testing.T) {
	configure := func(d *door, s vault.Settings, expected uint64) (vault.Secret, error) {
		return d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "auto", Expected: expected, Settings: s})
	}
	t.Run("OK", func(t *testing.T) {
		d := newDoor(t)
		d.seed(t)
		d.Recorder.Take()
		s, err := configure(d, vault.Settings{
			RotationSchedule: ptr("30 2 * * *"), RotationTimeZone: ptr("Europe/Berlin"), RotationWindowSecs: ptr[int64](3600),
			GracePeriodSecs: ptr[int64](5), KeepVersions: ptr(2), RotationPaused: ptr(true),
		}, 1)
		want := vault.Rotation{Schedule: "30 2 * * *", TimeZone: "Europe/Berlin", WindowSecs: 3600, Paused: true, KeepVersions: 2}
		if err != nil || s.Rotation != want || s.RotationIntervalSecs != 0 || s.GracePeriodSecs != 5 || s.CurrentVersion != 1 {
			t.Fatalf("got %+v, %v", s, err)
		}
		if e := d.Recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionConfigure || e[0].Outcome != vault.OutcomeOK {
			t.Errorf("recorded %+v", e)
		}
	})
	t.Run("ErrStale", func(t *testing.T) {
		d := newDoor(t)
		d.seed(t)
		if _, err := configure(d, vault.Settings{RotationPaused: ptr(true)}, 2); core.CodeOf(err) != core.Stale {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrUnauthenticated", func(t *testing.T) {
		d := newDoor(t)
		d.seed(t)
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
			d := newDoor(t)
			d.seed(t)
			before, _ := d.Describe(t.Context(), d.admin, "auto")
			if _, err := configure(d, s, 1); core.CodeOf(err) != core.Invalid {
				t.Errorf("got %v", err)
			}
			if after, _ := d.Describe(t.Context(), d.admin, "auto"); after.Rotation != before.Rotation {
				t.Errorf("changed to %+v", after)
			}
		})
	}
}
