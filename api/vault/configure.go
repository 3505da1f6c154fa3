package vault

import (
	"context"
	"maps"
	"time"
	_ "time/tzdata" // time zones are the same on a machine without the database of them

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/rotation"
)

// Limits of the rotation settings.
const (
	MinWindowSecs   = 60         // a shorter one could pass between two looks
	MaxWindowSecs   = 31_536_000 // a year
	MaxKeepVersions = 100
)

// ConfigureRequest changes settings of a secret, not its value.
type ConfigureRequest struct {
	Name     string
	Expected uint64 // the version that must be current; AnyVersion
	Revision uint64 // of the settings, that must be current; 0 = any
	Settings Settings
}

// Configure changes settings and returns the metadata. It needs the right update on the name. A new interval or schedule counts
// from now, and calls off a rotation that was due by the old one. Errors: Unauthenticated, Denied, Invalid, NotFound, Stale,
// Unavailable.
func (v *Vault) Configure(ctx context.Context, c Caller, r ConfigureRequest) (Secret, error) {
	a := v.try(c, ActionConfigure, r.Name, recordedVersion(r.Expected))
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (made Secret, err error) {
		name, err := a.parseName(ctx, r.Name)
		if err != nil {
			return made, err
		}
		if err := r.Settings.check(); err != nil {
			return made, a.invalid(ctx, err)
		}
		err = a.onCurrent(ctx, name, r.Expected, func(s Secret) (err error) {
			if r.Settings.GeneratePolicy != nil {
				if err := checkFit(s.Kind, s.ContentType, r.Settings.GeneratePolicy); err != nil {
					return err
				}
			}
			x := Configuration{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Revision: r.Revision, Settings: r.Settings}
			if err := x.patchTags(s); err != nil {
				return err
			}
			made, err = v.c.Store.ConfigureSecret(ctx, x, a.author())
			return err
		})
		return made, err
	})
}

// patchTags turns a patch of the tags of s into the tags themselves, which then need the settings to be those of s.
func (x *Configuration) patchTags(s Secret) error {
	if x.Settings.TagsPatch == nil {
		return nil
	}
	tags := maps.Clone(s.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	for k, v := range x.Settings.TagsPatch {
		if v == nil {
			delete(tags, k)
		} else {
			tags[k] = *v
		}
	}
	x.Settings.Tags, x.Settings.TagsPatch = tags, nil
	if x.Revision == 0 {
		x.Revision = s.SettingsRevision
	}
	return checkTags(tags)
}

// Expire shortens the grace of a superseded version to graceSecs from now; 0 ends it at once. It never lengthens it. It
// needs the right rotate on the name. Errors: Unauthenticated, Denied, Invalid (also: the version is current),
// NotFound, Unavailable.
func (v *Vault) Expire(ctx context.Context, c Caller, name string, version uint64, graceSecs int64) (VersionInfo, error) {
	a := v.try(c, ActionExpire, name, version)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (out VersionInfo, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return out, err
		}
		if version == 0 {
			return out, a.invalid(ctx, core.Errorf(core.Invalid, "the version to expire is required"))
		}
		if err := checkPeriod("grace_secs", graceSecs); err != nil {
			return out, a.invalid(ctx, err)
		}
		s, i, err := v.c.Store.DescribeSecretOnWriter(ctx, a.by, a.entry.Action, n)
		if err := a.found(i, err); err != nil {
			return out, err
		}
		out, err = v.c.Store.ExpireVersion(ctx, Expiry{ID: s.ID, Name: s.Name, Version: version, GraceSecs: graceSecs}, a.author())
		return out, err
	})
}

func (r *Rotation) check() error {
	if r.Schedule != "" {
		if _, err := rotation.Parse(r.Schedule); err != nil {
			return err
		}
	}
	if r.TimeZone != "" {
		if _, err := loadZone(r.TimeZone); err != nil {
			return err
		}
	}
	if err := checkWindow(r.WindowSecs); err != nil {
		return err
	}
	return checkKept(r.KeepVersions)
}

func (s *Settings) check() error {
	switch {
	case s.RotationSchedule != nil && *s.RotationSchedule == "":
		return core.Errorf(core.Invalid, "rotation_schedule is empty: a secret goes back to an interval by rotation_interval_secs")
	case s.RotationSchedule != nil && s.RotationIntervalSecs != nil:
		return core.Errorf(core.Invalid, "rotation_interval_secs and rotation_schedule exclude each other")
	case s.RotationIntervalSecs != nil && *s.RotationIntervalSecs < 1:
		return core.Errorf(core.Invalid, "rotation_interval_secs is %d, want 1 to %d", *s.RotationIntervalSecs, MaxPeriodSecs)
	case s.RotationTimeZone != nil && *s.RotationTimeZone == "":
		return core.Errorf(core.Invalid, "rotation_time_zone is empty")
	}
	r := Rotation{
		Schedule: orZero(s.RotationSchedule), TimeZone: orZero(s.RotationTimeZone),
		WindowSecs: orZero(s.RotationWindowSecs), KeepVersions: orZero(s.KeepVersions),
	}
	if err := r.check(); err != nil {
		return err
	}
	if s.GeneratePolicy != nil {
		if err := s.GeneratePolicy.CheckStrength(); err != nil {
			return err
		}
	}
	for what, secs := range map[string]int64{
		"rotation_interval_secs": orZero(s.RotationIntervalSecs), "grace_period_secs": orZero(s.GracePeriodSecs),
		"delete_version_after_secs": orZero(s.DeleteVersionAfterSecs),
	} {
		if err := checkPeriod(what, secs); err != nil {
			return err
		}
	}
	if err := checkDescription(orZero(s.Description)); err != nil {
		return err
	}
	if s.Tags != nil && s.TagsPatch != nil {
		return core.Errorf(core.Invalid, "the tags and a patch of them exclude each other")
	}
	return checkTags(s.Tags)
}

func checkWindow(secs int64) error {
	if secs != 0 && (secs < MinWindowSecs || secs > MaxWindowSecs) {
		return core.Errorf(core.Invalid, "rotation_window_secs is %d, want 0 (none) or %d to %d", secs, MinWindowSecs, MaxWindowSecs)
	}
	return nil
}

func checkKept(n int) error {
	if n < 0 || n > MaxKeepVersions {
		return core.Errorf(core.Invalid, "keep_versions is %d, want 0 to %d", n, MaxKeepVersions)
	}
	return nil
}

// loadZone refuses what would mean something else on another machine.
func loadZone(name string) (*time.Location, error) {
	if name != "Local" && name != "" && len(name) <= 64 {
		if loc, err := time.LoadLocation(name); err == nil {
			return loc, nil
		}
	}
	return nil, core.Errorf(core.Invalid, "rotation_time_zone %s is not a name of the time zone database, as Europe/Berlin is",
		core.Quote(name))
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
