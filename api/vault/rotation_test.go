package vault_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func ptr[T any](v T) *T { return &v }

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

func claimOne(t *testing.T, d *door, worker string) vault.Claim {
	t.Helper()
	claims, err := d.ClaimRotations(t.Context(), worker, time.Minute, 10)
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %+v, %v", claims, err)
	}
	return claims[0]
}

func TestDueRotation(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		d := stocked(t)
		*d.now = d.now.Add(60 * time.Second)
		c := claimOne(t, d, "w1")
		if again, _ := d.ClaimRotations(t.Context(), "w2", time.Minute, 10); len(again) != 0 {
			t.Fatalf("claimed twice: %+v", again)
		}
		s, err := d.CompleteRotation(t.Context(), c)
		if err != nil || s.CurrentVersion != 2 {
			t.Fatalf("got %+v, %v", s, err)
		}
		e := d.one(t)
		if e.Action != vault.ActionRotate || e.Origin.Actor != "rotator" || e.Origin.Node != "node1" || e.Version != 2 {
			t.Errorf("recorded %+v", e)
		}
		if v, err := d.Read(t.Context(), d.reader, "auto", 0); err != nil || len(v.Plain) != 32 {
			t.Errorf("the value is %d bytes, %v", len(v.Plain), err)
		}
	})
	t.Run("a change that comes between", func(t *testing.T) {
		d := stocked(t)
		*d.now = d.now.Add(60 * time.Second)
		c := claimOne(t, d, "w1")
		if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "auto", Value: []byte("mine"), Expected: 1}); err != nil {
			t.Fatal(err)
		}
		if s, err := d.CompleteRotation(t.Context(), c); err != nil || s.CurrentVersion != 3 {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	t.Run("a lost claim", func(t *testing.T) {
		d := stocked(t)
		*d.now = d.now.Add(60 * time.Second)
		c := claimOne(t, d, "w1")
		*d.now = d.now.Add(time.Minute)
		other := claimOne(t, d, "w2")
		if other.Attempts != 2 || !other.DueAt.Equal(c.DueAt) {
			t.Errorf("the other claim is %+v", other)
		}
		if _, err := d.CompleteRotation(t.Context(), c); !vault.IsClaimLost(err) {
			t.Errorf("got %v", err)
		}
		if _, err := d.FailRotation(t.Context(), c, err1); !vault.IsClaimLost(err) {
			t.Errorf("got %v", err)
		}
		if s, err := d.CompleteRotation(t.Context(), other); err != nil || s.CurrentVersion != 2 {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	t.Run("a failure is kept without its cause", func(t *testing.T) {
		d := stocked(t)
		*d.now = d.now.Add(60 * time.Second)
		c := claimOne(t, d, "w1")
		cause := core.Wrap(core.Unavailable, errors.New(marker), "the key service is away")
		at, err := d.FailRotation(t.Context(), c, cause)
		if err != nil || !at.After(*d.now) {
			t.Fatalf("got %s, %v", at, err)
		}
		if got := d.store.FailureOf(c.Secret.ID); got != "the key service is away" {
			t.Errorf("the reason is %q", got)
		}
		if again, _ := d.ClaimRotations(t.Context(), "w2", time.Minute, 10); len(again) != 0 {
			t.Error("tried again at once")
		}
	})
	t.Run("a corrupt claim fails, and no other", func(t *testing.T) {
		d := stocked(t)
		r := vault.CreateRequest{Name: "bad", Kind: "automatic", RotationIntervalSecs: 60}
		if _, err := d.Create(t.Context(), d.admin, r); err != nil {
			t.Fatal(err)
		}
		d.store.Corrupt("bad")
		d.recorder.Take()
		*d.now = d.now.Add(60 * time.Second)
		claims, err := d.ClaimRotations(t.Context(), "w1", time.Minute, 10)
		if err != nil || len(claims) != 2 {
			t.Fatalf("claimed %+v, %v", claims, err)
		}
		for _, c := range claims {
			_, err := d.CompleteRotation(t.Context(), c)
			wantCode(t, err, map[core.Name]core.Code{"auto": "", "bad": core.Corrupt}[c.Secret.Name])
			if err != nil {
				_, err = d.FailRotation(t.Context(), c, err)
				wantCode(t, err, "")
			}
		}
	})
	t.Run("a row edited by hand is not rotated", func(t *testing.T) {
		d := stocked(t)
		*d.now = d.now.Add(60 * time.Second)
		c := claimOne(t, d, "w1")
		c.Secret.ContentType = "Text/Plain"
		_, err := d.CompleteRotation(t.Context(), c)
		wantCode(t, err, core.Corrupt)
	})
}

var err1 = core.Errorf(core.Unavailable, "away")

func TestPlanRotations(t *testing.T) {
	d := newDoor(t)
	create := func(name, schedule, zone string) {
		t.Helper()
		r := vault.CreateRequest{Name: name, Kind: "automatic", Rotation: vault.Rotation{Schedule: schedule, TimeZone: zone}}
		if _, err := d.Create(t.Context(), d.admin, r); err != nil {
			t.Fatal(err)
		}
	}
	create("a", "30 2 * * *", "America/New_York")
	create("b", "* * * * *", "")
	if n, err := d.PlanRotations(t.Context()); n != 2 || err != nil {
		t.Fatalf("planned %d, %v", n, err)
	}
	if n, err := d.PlanRotations(t.Context()); n != 0 || err != nil {
		t.Fatalf("planned %d again, %v", n, err)
	}
	s, _ := d.Describe(t.Context(), d.reader, "a")
	if want := time.Date(2026, 1, 2, 7, 30, 0, 0, time.UTC); !s.NextRotationAt.Equal(want) {
		t.Errorf("next at %s, want %s", s.NextRotationAt, want)
	}
	// One that cannot be read keeps no other from being planned.
	create("c", "* * * * *", "")
	create("d", "* * * * *", "")
	d.store.Corrupt("c")
	n, err := d.PlanRotations(t.Context())
	if n != 1 || core.CodeOf(err) != core.Corrupt || !strings.Contains(core.MessageOf(err), "c") {
		t.Fatalf("planned %d, %v", n, err)
	}
	if reason := d.store.PlanErrorOf("c"); reason == "" {
		t.Error("the reason is not kept")
	}
	for _, name := range []string{"c", "d"} {
		wantCode(t, only(d.Delete(t.Context(), d.admin, name, vault.AnyVersion)), "")
	}
	// After a long outage it comes once, and the next time is one that is still to come.
	*d.now = d.now.Add(72 * time.Hour)
	claims, err := d.ClaimRotations(t.Context(), "w", time.Minute, 10)
	if err != nil || len(claims) != 2 {
		t.Fatalf("claimed %d, %v", len(claims), err)
	}
	for _, c := range claims {
		made, err := d.CompleteRotation(t.Context(), c)
		if err != nil || made.CurrentVersion != 2 || !made.NextRotationAt.After(*d.now) {
			t.Errorf("got %+v, %v", made, err)
		}
	}
}

func TestWatch(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a/1", marker)
	w, err := d.Watch(t.Context(), d.reader, "a/", nil)
	wantCode(t, err, "")
	if e := d.one(t); e.Action != vault.ActionWatch || e.Name != "a/" || e.Origin.Actor != "reader" {
		t.Errorf("recorded %+v", e)
	}
	next := func(w *vault.Watch) []vault.Change {
		t.Helper()
		n, err := w.Next(t.Context())
		if err != nil || n.More || n.Reset {
			t.Fatalf("got %+v, %v", n, err)
		}
		return n.Changes
	}
	if got := next(w); len(got) != 0 {
		t.Fatalf("got %+v before anything changed", got)
	}
	d.mustCreate(t, "a/2", marker)
	d.mustCreate(t, "b/1", marker)
	got := next(w)
	if len(got) != 1 || got[0].Name != "a/2" || got[0].Action != vault.ActionCreate || got[0].Version != 1 {
		t.Fatalf("got %+v", got)
	}
	resumed, err := d.Watch(t.Context(), d.reader, "", &got[0].Place)
	wantCode(t, err, "")
	if got := next(resumed); len(got) != 1 || got[0].Name != "b/1" {
		t.Errorf("resumed with %+v", got)
	}
	for name, c := range map[string]struct {
		caller vault.Caller
		prefix string
		want   core.Code
	}{
		"denied":       {d.admin, "", core.Denied},
		"a wrong name": {d.reader, "a//b", core.Invalid},
	} {
		t.Run("Err "+name, func(t *testing.T) {
			_, err := d.Watch(t.Context(), c.caller, c.prefix, nil)
			wantCode(t, err, c.want)
		})
	}
}

// TestWatchAtAnUnknownPlace: a standby that lags is waited for, another history is told.
func TestWatchAtAnUnknownPlace(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.mustCreate(t, "b", marker)
	all, err := d.Watch(t.Context(), d.reader, "", &vault.Place{})
	wantCode(t, err, "")
	n, err := all.Next(t.Context())
	if err != nil || len(n.Changes) != 2 {
		t.Fatalf("got %+v, %v", n, err)
	}
	last := n.Changes[1].Place
	step := func(w *vault.Watch) vault.News {
		t.Helper()
		*d.now = d.now.Add(time.Second)
		n, err := w.Next(t.Context())
		wantCode(t, err, "")
		return n
	}
	t.Run("OK a standby that lags", func(t *testing.T) {
		replayed := 1
		d.store.Replayed = &replayed
		defer func() { d.store.Replayed = nil }()
		w, err := d.Watch(t.Context(), d.reader, "", &last)
		wantCode(t, err, "")
		asked := 0
		d.store.FailWith(func(op string) error {
			if op == "KnowsPlace" {
				asked++
			}
			return nil
		})
		defer d.store.FailWith(nil)
		for range 3 {
			if n := step(w); n.Reset || len(n.Changes) != 0 || n.More {
				t.Fatalf("got %+v", n)
			}
		}
		for range 100 { // notifications of the primary come as often as they like
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if asked != 3 {
			t.Errorf("the primary was asked %d times", asked)
		}
		d.mustCreate(t, "c", marker)
		if n := step(w); n.Reset || len(n.Changes) != 0 {
			t.Fatalf("got %+v", n)
		}
		replayed = 3
		if n := step(w); n.Reset || len(n.Changes) != 1 || n.Changes[0].Name != "c" {
			t.Errorf("got %+v", n)
		}
	})
	t.Run("OK the primary is away", func(t *testing.T) {
		unknown := vault.Place{Transaction: 99, ID: 99}
		w, err := d.Watch(t.Context(), d.reader, "", &unknown)
		wantCode(t, err, "")
		d.store.FailWith(func(op string) error {
			if op == "KnowsPlace" {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		})
		if n := step(w); n.Reset || len(n.Changes) != 0 {
			t.Fatalf("got %+v", n)
		}
		d.store.FailWith(nil)
		if n := step(w); !n.Reset {
			t.Errorf("got %+v", n)
		}
	})
	t.Run("Reset while no server can tell, after a while", func(t *testing.T) {
		away := func(op string) error {
			if op == "KnowsPlace" {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		}
		for name, c := range map[string]struct {
			begin func()
			secs  int
		}{
			"the primary is away":         {func() { d.store.FailWith(away) }, 10},
			"the transaction is not over": {func() { d.store.OpenTransaction = 99 }, 3},
		} {
			w, err := d.Watch(t.Context(), d.reader, "", &vault.Place{Transaction: 99, ID: 99})
			wantCode(t, err, "")
			c.begin()
			for i := range c.secs {
				if n := step(w); n.Reset || len(n.Changes) != 0 {
					t.Fatalf("%s: after %d s: %+v", name, i, n)
				}
			}
			if n := step(w); !n.Reset {
				t.Errorf("%s: waits for ever", name)
			}
			d.store.FailWith(nil)
			d.store.OpenTransaction = 0
		}
	})
	for name, p := range map[string]vault.Place{
		"the future": {Transaction: last.Transaction + 9, ID: last.ID + 9, At: last.At},
		"the past":   {Transaction: last.Transaction, ID: last.ID, At: last.At - 1},
	} {
		t.Run("Reset of "+name, func(t *testing.T) {
			w, err := d.Watch(t.Context(), d.reader, "", &p)
			wantCode(t, err, "")
			if n := step(w); !n.Reset || len(n.Changes) != 0 {
				t.Fatalf("got %+v", n)
			}
			d.mustCreate(t, "after/"+name[4:], marker)
			if n := step(w); n.Reset || len(n.Changes) != 1 || string(n.Changes[0].Name) != "after/"+name[4:] {
				t.Errorf("got %+v", n)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	d := stocked(t)
	s, err := d.Status(t.Context(), d.reader)
	if err != nil || s.Secrets != 2 || s.Automatic != 1 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if e := d.one(t); e.Action != vault.ActionStatus || e.Outcome != vault.OutcomeOK {
		t.Errorf("recorded %+v", e)
	}
	_, err = d.Status(t.Context(), d.admin)
	wantCode(t, err, core.Denied)
}

func TestRotatingAJSONField(t *testing.T) {
	policy := generate.Default()
	policy.JSONField = "password"
	create := func(d *door, change func(*vault.CreateRequest)) (vault.Secret, error) {
		r := vault.CreateRequest{Name: "j", Kind: "automatic", ContentType: "application/json", RotationIntervalSecs: 60,
			Value: []byte(`{"user":"u", "password":"` + marker + `", "port":5432.0}`), GeneratePolicy: &policy, GracePeriodSecs: 600}
		change(&r)
		return d.Create(t.Context(), d.admin, r)
	}
	read := func(t *testing.T, d *door) string {
		t.Helper()
		v, err := d.Read(t.Context(), d.reader, "j", 0)
		wantCode(t, err, "")
		return string(v.Plain)
	}
	kept := regexp.MustCompile(`^\{"user":"u", "password":"[A-Za-z0-9]{32}", "port":5432.0\}$`)
	t.Run("OK", func(t *testing.T) {
		d := newDoor(t)
		if _, err := create(d, func(*vault.CreateRequest) {}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "j"}); err != nil {
			t.Fatal(err)
		}
		second := read(t, d)
		if !kept.MatchString(second) {
			t.Errorf("rotated to %s", second)
		}
		*d.now = d.now.Add(time.Hour)
		if _, err := d.CompleteRotation(t.Context(), claimOne(t, d, "w")); err != nil {
			t.Fatal(err)
		}
		if third := read(t, d); !kept.MatchString(third) || third == second {
			t.Errorf("rotated to %s", third)
		}
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "j", Value: []byte(`{"user":"` + marker + `"}`)})
		wantCode(t, err, core.Invalid)
	})
	for name, change := range map[string]func(*vault.CreateRequest){
		"no first value":       func(r *vault.CreateRequest) { r.Value = nil },
		"another content type": func(r *vault.CreateRequest) { r.ContentType = "" },
		"no such field":        func(r *vault.CreateRequest) { r.Value = []byte(`{"pass":"` + marker + `"}`) },
		"no policy":            func(r *vault.CreateRequest) { r.GeneratePolicy = nil },
	} {
		t.Run("ErrInvalid: "+name, func(t *testing.T) {
			_, err := create(newDoor(t), change)
			wantCode(t, err, core.Invalid)
		})
	}
	t.Run("ErrInvalid: a policy that does not fit", func(t *testing.T) {
		d := newDoor(t)
		if _, err := create(d, func(*vault.CreateRequest) {}); err != nil {
			t.Fatal(err)
		}
		plain := generate.Default()
		_, err := d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "j", Settings: vault.Settings{GeneratePolicy: &plain}})
		wantCode(t, err, core.Invalid)
	})
}

// TestWatchPrefix: a watch selects whole segments, as a list does.
func TestWatchPrefix(t *testing.T) {
	d := newDoor(t)
	for _, name := range []string{"bul", "bulk", "bulk-2", "bulk/a", "bulk2/a", "bulky"} {
		d.mustCreate(t, name, marker)
	}
	for prefix, want := range map[string]string{
		"": "[bul bulk bulk-2 bulk/a bulk2/a bulky]", "bul": "[bul]", "bulk": "[bulk bulk/a]", "bulk/": "[bulk/a]", "bu": "[]",
	} {
		w, err := d.Watch(t.Context(), d.reader, prefix, &vault.Place{})
		wantCode(t, err, "")
		n, err := w.Next(t.Context())
		wantCode(t, err, "")
		names := []core.Name{}
		for _, c := range n.Changes {
			names = append(names, c.Name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}
