package vault_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func (d *door) read(t *testing.T, name string, version uint64) (string, error) {
	t.Helper()
	v, err := d.Read(t.Context(), d.reader, name, version)
	defer v.Wipe()
	return string(v.Plain), err
}

func TestCreate(t *testing.T) {
	d := newDoor(t)
	t.Run("OK", func(t *testing.T) {
		s := d.mustCreate(t, "db/password", marker)
		if s.CurrentVersion != 1 || s.Kind != core.Manual || s.ContentType != core.Text || s.ID.IsZero() {
			t.Fatalf("%+v", s)
		}
		if got, err := d.read(t, "db/password", 0); err != nil || got != marker {
			t.Fatalf("%q, %v", got, err)
		}
	})
	t.Run("OKGenerated", func(t *testing.T) {
		s, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "svc/key", Kind: "automatic", RotationIntervalSecs: 60})
		if err != nil || s.GeneratePolicy == nil || *s.GeneratePolicy != generate.Default() {
			t.Fatalf("%+v, %v", s, err)
		}
		if got, err := d.read(t, "svc/key", 0); err != nil || len(got) != generate.DefaultLength {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("OKAutomaticWithValue", func(t *testing.T) {
		_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{
			Name: "svc/first", Kind: "automatic", RotationIntervalSecs: 60, Value: []byte("first"),
		})
		wantCode(t, err, "")
		if got, _ := d.read(t, "svc/first", 0); got != "first" {
			t.Fatal("the given value was not taken")
		}
	})
	t.Run("ErrExists", func(t *testing.T) {
		_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "db/password", Value: []byte(marker)})
		wantCode(t, err, core.Exists)
	})
}

func TestCreateRefuses(t *testing.T) {
	value := func() []byte { return []byte(marker) }
	bad := generate.Policy{Length: 2}
	tooMany := map[string]string{}
	for i := range vault.MaxTags + 1 {
		tooMany[strings.Repeat("k", i+1)] = "v"
	}
	long := map[string]string{}
	for i := range vault.MaxTags { // each quote is two bytes as JSON
		long[strings.Repeat("k", i+1)] = strings.Repeat(`"`, vault.MaxTagValueLen)
	}
	for name, r := range map[string]vault.CreateRequest{
		"no name":                {Value: value()},
		"dots":                   {Name: "a/../b", Value: value()},
		"256 bytes":              {Name: strings.Repeat("n", 256), Value: value()},
		"control character":      {Name: "a\nb", Value: value()},
		"invalid UTF-8":          {Name: "a\xff", Value: value()},
		"unknown kind":           {Name: "a", Kind: "robot", Value: value()},
		"bad content type":       {Name: "a", ContentType: "text/*", Value: value()},
		"no value":               {Name: "a"},
		"empty value":            {Name: "a", Value: []byte{}},
		"text with NUL":          {Name: "a", Value: []byte("a\x00b")},
		"text not UTF-8":         {Name: "a", Value: []byte{0xff}},
		"JSON that is none":      {Name: "a", ContentType: "application/json", Value: []byte("{")},
		"manual with interval":   {Name: "a", Value: value(), RotationIntervalSecs: 5},
		"automatic, no interval": {Name: "a", Kind: "automatic"},
		"automatic, negative":    {Name: "a", Kind: "automatic", RotationIntervalSecs: -1},
		"automatic, JSON":        {Name: "a", Kind: "automatic", RotationIntervalSecs: 5, ContentType: "application/json"},
		"interval too long":      {Name: "a", Kind: "automatic", RotationIntervalSecs: vault.MaxPeriodSecs + 1},
		"negative grace":         {Name: "a", Value: value(), GracePeriodSecs: -1},
		"policy":                 {Name: "a", Value: value(), GeneratePolicy: &bad},
		"description too long":   {Name: "a", Value: value(), Description: strings.Repeat("d", 1025)},
		"description with NUL":   {Name: "a", Value: value(), Description: "a\x00"},
		"description not UTF-8":  {Name: "a", Value: value(), Description: "\xff"},
		"too many tags":          {Name: "a", Value: value(), Tags: tooMany},
		"tags too long together": {Name: "a", Value: value(), Tags: long},
		"empty tag name":         {Name: "a", Value: value(), Tags: map[string]string{"": "x"}},
		"tag value with NUL":     {Name: "a", Value: value(), Tags: map[string]string{"k": "\x00"}},
		"tag value too long":     {Name: "a", Value: value(), Tags: map[string]string{"k": strings.Repeat("v", vault.MaxTagValueLen+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			_, err := d.Create(t.Context(), d.admin, r)
			wantCode(t, err, core.Invalid)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != core.Invalid {
				t.Fatalf("%+v", e)
			}
			if all, _ := d.keeper.HandedOut(); all != 0 {
				t.Error("a data key was asked for")
			}
			if p, _ := d.List(t.Context(), d.reader, "", "", 10); len(p.Secrets) != 0 {
				t.Error("something was stored")
			}
		})
	}
	t.Run("ErrTooLarge", func(t *testing.T) {
		d := newDoor(t)
		_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "a", Value: bytes.Repeat([]byte("x"), core.DefaultMaxValueLen+1)})
		wantCode(t, err, core.TooLarge)
	})
}

func TestUpdate(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		text, grace := "new text", int64(30)
		s, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{
			Name: "a", Value: []byte("two"), Expected: 1, Description: &text, GracePeriodSecs: &grace, Tags: map[string]string{"k": "v"},
		})
		if err != nil || s.CurrentVersion != 2 || s.Description != text || s.GracePeriodSecs != 30 || s.Tags["k"] != "v" {
			t.Fatalf("%+v, %v", s, err)
		}
		if got, _ := d.read(t, "a", 0); got != "two" {
			t.Fatalf("%q", got)
		}
		if got, _ := d.read(t, "a", 1); got != "one" {
			t.Fatalf("the version in grace is %q", got)
		}
	})
	t.Run("ErrStale", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte(marker), Expected: 2})
		wantCode(t, err, core.Stale)
		if all, _ := d.keeper.HandedOut(); all != 1 {
			t.Error("a stale update asked for a data key")
		}
	})
	t.Run("OKAnyVersionStartsOver", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		others := 3
		d.store.FailWith(func(op string) error {
			if op == "AppendVersion" && others > 0 {
				others--
				return core.Errorf(core.Stale, "another one came between")
			}
			return nil
		})
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("two"), Expected: vault.AnyVersion})
		wantCode(t, err, "")
		d.one(t)
	})
	t.Run("ErrAnyVersionGivesUp", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		tries := 0
		d.store.FailWith(func(op string) error {
			if op == "AppendVersion" {
				tries++
				return core.Errorf(core.Stale, "another one came between")
			}
			return nil
		})
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("two")})
		wantCode(t, err, core.Stale)
		if tries != 5 {
			t.Errorf("%d tries", tries)
		}
	})
	t.Run("ErrNamedVersionDoesNotStartOver", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		tries := 0
		d.store.FailWith(func(op string) error {
			if op == "AppendVersion" {
				tries++
				return core.Errorf(core.Stale, "another one came between")
			}
			return nil
		})
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("two"), Expected: 1})
		wantCode(t, err, core.Stale)
		if tries != 1 {
			t.Errorf("%d tries", tries)
		}
	})
	t.Run("ErrInvalid", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		long, negative := strings.Repeat("d", 1025), int64(-1)
		for name, r := range map[string]vault.UpdateRequest{
			"no value":    {Name: "a"},
			"bad name":    {Name: "a/", Value: []byte("x")},
			"description": {Name: "a", Value: []byte("x"), Description: &long},
			"grace":       {Name: "a", Value: []byte("x"), GracePeriodSecs: &negative},
			"tags":        {Name: "a", Value: []byte("x"), Tags: map[string]string{"": ""}},
			"content":     {Name: "a", Value: []byte{0xff}},
		} {
			if _, err := d.Update(t.Context(), d.admin, r); core.CodeOf(err) != core.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		d := newDoor(t)
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte(marker)})
		wantCode(t, err, core.NotFound)
	})
}

func TestNoUpdateIsLost(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "0")
	var wg sync.WaitGroup
	won := make(chan uint64, 16)
	for range 16 {
		wg.Go(func() {
			if s, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("x"), Expected: 1}); err == nil {
				won <- s.CurrentVersion
			}
		})
	}
	wg.Wait()
	close(won)
	if n := len(won); n != 1 {
		t.Fatalf("%d of 16 updates of version 1 won", n)
	}
}

func TestRotate(t *testing.T) {
	policy := &generate.Policy{Length: 12, Digits: true, AllowWeak: true}
	t.Run("OKByPolicy", func(t *testing.T) {
		d := newDoor(t)
		for kind, r := range map[string]vault.CreateRequest{
			"manual":    {Name: "m", Value: []byte("one"), GeneratePolicy: policy},
			"automatic": {Name: "x", Kind: "automatic", RotationIntervalSecs: 9, GeneratePolicy: policy},
		} {
			if _, err := d.Create(t.Context(), d.admin, r); err != nil {
				t.Fatal(err)
			}
			s, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: r.Name, Expected: 1})
			if err != nil || s.CurrentVersion != 2 {
				t.Fatalf("%s: %+v, %v", kind, s, err)
			}
			if got, _ := d.read(t, r.Name, 0); len(got) != 12 || strings.Trim(got, "0123456789") != "" {
				t.Errorf("%s: value is not by the policy", kind)
			}
		}
	})
	t.Run("ErrManualWithoutPolicy", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "m", "one")
		_, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "m", Expected: vault.AnyVersion})
		wantCode(t, err, core.Invalid)
		if !strings.Contains(core.MessageOf(err), "generate_policy") {
			t.Errorf("message %q", core.MessageOf(err))
		}
	})
	t.Run("ErrJSON", func(t *testing.T) {
		d := newDoor(t)
		letters := &generate.Policy{Length: 14, Lower: true}
		_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "j", ContentType: "application/json", Value: []byte("{}"), GeneratePolicy: letters})
		wantCode(t, err, "")
		_, err = d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "j", Expected: 1})
		wantCode(t, err, core.Invalid)
	})
	t.Run("ErrStale", func(t *testing.T) {
		d := stocked(t)
		_, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "auto", Expected: 9})
		wantCode(t, err, core.Stale)
	})
}

func only[T any](_ T, err error) error { return err }

func TestDelete(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "one")
	wantCode(t, only(d.Delete(t.Context(), d.admin, "a", 2)), core.Stale)
	wantCode(t, only(d.Delete(t.Context(), d.admin, "a", vault.AnyVersion)), "")
	wantCode(t, only(d.Delete(t.Context(), d.admin, "a", vault.AnyVersion)), core.NotFound)
	_, err := d.read(t, "a", 0)
	wantCode(t, err, core.NotFound)
	// What names a version of the deleted secret is never about its successor.
	if s := d.mustCreate(t, "a", "again"); s.CurrentVersion != 2 {
		t.Fatalf("the name goes on at version %d", s.CurrentVersion)
	}
	wantCode(t, only(d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("x"), Expected: 1})), core.Stale)
	wantCode(t, only(d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "a", Expected: 1})), core.Stale)
	wantCode(t, only(d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "a", Expected: 1})), core.Stale)
	wantCode(t, only(d.Delete(t.Context(), d.admin, "a", 1)), core.Stale)
	_, err = d.read(t, "a", 1)
	wantCode(t, err, core.NotFound)
	if got, err := d.read(t, "a", 2); err != nil || got != "again" {
		t.Fatal(err)
	}
}

// A change whose outcome is unknown is called so even when no record of it can be written: a client that reads only
// that the audit is away would take the change for undone.
func TestUnknownOutcomeIsToldWithoutAudit(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "db/password", marker)
	d.store.FailWith(func(op string) error {
		if op == "AppendVersion" {
			return core.Errorf(core.Unavailable, "the outcome of the change is unknown")
		}
		return nil
	})
	d.recorder.FailWith(func(vault.Entry) error { return errors.New("the disk is full") })
	_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "db/password", Value: []byte(marker), Expected: 1})
	wantCode(t, err, core.Unavailable)
	if !strings.Contains(core.MessageOf(err), "unknown") || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("the client is told %q, the log %q", core.MessageOf(err), err)
	}
}
