package vault_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func ptr[T any](v T) *T { return &v }

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
