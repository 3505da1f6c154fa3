package vault_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
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

func TestReadBelievesNoRow(t *testing.T) {
	other := core.SecretID{1}
	for name, edit := range map[string]func(*vault.StoredValue){
		"id":               func(v *vault.StoredValue) { v.SecretID = other },
		"name":             func(v *vault.StoredValue) { v.Name = "other" },
		"content type":     func(v *vault.StoredValue) { v.ContentType = core.Binary },
		"content spelling": func(v *vault.StoredValue) { v.ContentType = "TEXT/plain; charset=utf-8" },
		"version":          func(v *vault.StoredValue) { v.Version++ },
		"both versions":    func(v *vault.StoredValue) { v.Version++; v.CurrentVersion++ },
		"current version":  func(v *vault.StoredValue) { v.CurrentVersion++ },
		"envelope":         func(v *vault.StoredValue) { v.Sealed.EnvelopeVersion++ },
		"nonce":            func(v *vault.StoredValue) { v.Sealed.Nonce[3] ^= 4 },
		"short nonce":      func(v *vault.StoredValue) { v.Sealed.Nonce = v.Sealed.Nonce[:12] },
		"ciphertext":       func(v *vault.StoredValue) { v.Sealed.Ciphertext[3] ^= 4 },
		"no ciphertext":    func(v *vault.StoredValue) { v.Sealed.Ciphertext = nil },
		"wrapped key":      func(v *vault.StoredValue) { v.Sealed.Key.Wrapped[3] ^= 4 },
		"key id":           func(v *vault.StoredValue) { v.Sealed.Key.KeyID = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			d.mustCreate(t, "a", marker)
			d.store.EditWith(edit)
			_, err := d.read(t, "a", 0)
			wantCode(t, err, core.Corrupt)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != core.Corrupt || e.Name != "a" {
				t.Fatalf("%+v", e)
			}
			if name == "current version" {
				return // decides only which version is read
			}
			_, err = d.Verify(t.Context(), d.reader, "a", []byte(marker))
			wantCode(t, err, core.Corrupt)
		})
	}
}

func TestRead(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "one")
	if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	t.Run("OKInGrace", func(t *testing.T) {
		v, err := d.Read(t.Context(), d.reader, "a", 1)
		if err != nil || string(v.Plain) != "one" || v.Version != 1 || v.CurrentVersion != 2 || v.ExpiresAt.IsZero() {
			t.Fatalf("%v", err)
		}
		if e := d.one(t); e.Version != 1 {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("OKCurrentIsRecordedByNumber", func(t *testing.T) {
		if _, err := d.read(t, "a", 0); err != nil {
			t.Fatal(err)
		}
		if e := d.one(t); e.Version != 2 {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		_, err := d.read(t, "a", 3)
		wantCode(t, err, core.NotFound)
		_, err = d.read(t, "b", 0)
		wantCode(t, err, core.NotFound)
		*d.now = d.now.Add(60 * time.Second)
		_, err = d.read(t, "a", 1)
		wantCode(t, err, core.NotFound)
	})
	t.Run("ErrCurrentVersionGone", func(t *testing.T) {
		d := newDoor(t)
		d.mustCreate(t, "a", "one")
		d.store.Lose("a")
		_, err := d.read(t, "a", 0)
		wantCode(t, err, core.Corrupt)
		_, err = d.read(t, "a", 1)
		wantCode(t, err, core.NotFound)
	})
	t.Run("ErrKeeper", func(t *testing.T) {
		d.keeper.FailWith(func(string) error { return core.Errorf(core.Unavailable, "key service is away") })
		_, err := d.read(t, "a", 0)
		wantCode(t, err, core.Unavailable)
	})
}

func TestVerify(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "one")
	for _, v := range []string{"two", "one", "three"} {
		if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Value: []byte(v)}); err != nil {
			t.Fatal(err)
		}
	}
	verdict := func(candidate string) vault.Verdict {
		t.Helper()
		d.recorder.Take()
		before, _ := d.keeper.HandedOut()
		got, err := d.Verify(t.Context(), d.reader, "a", []byte(candidate))
		if err != nil {
			t.Fatal(err)
		}
		if e := d.one(t); e.Outcome != vault.OutcomeOK || e.Version != got.Version {
			t.Fatalf("%+v", e)
		}
		if after, _ := d.keeper.HandedOut(); after-before != 4 && d.now.Minute() == 4 {
			t.Errorf("%q: %d versions opened, want all 4", candidate, after-before)
		}
		return got
	}
	for candidate, want := range map[string]vault.Verdict{
		"three":  {Valid: true, Version: 4},
		"one":    {Valid: true, Version: 3}, // the newer of 1 and 3
		"two":    {Valid: true, Version: 2},
		"four":   {},
		"three ": {},
		"thre":   {},
	} {
		if got := verdict(candidate); got != want {
			t.Errorf("%q: %+v, want %+v", candidate, got, want)
		}
	}
	*d.now = d.now.Add(60 * time.Second) // the end of grace is not in grace
	if got := verdict("one"); got.Valid {
		t.Error("a version past its grace verified")
	}
	if got := verdict("three"); !got.Valid {
		t.Error("the current version does not verify")
	}
	_, err := d.Verify(t.Context(), d.reader, "a", nil)
	wantCode(t, err, core.Invalid)
	_, err = d.Verify(t.Context(), d.reader, "a", bytes.Repeat([]byte("x"), core.DefaultMaxValueLen+1))
	wantCode(t, err, core.TooLarge)
	_, err = d.Verify(t.Context(), d.reader, "b", []byte(marker))
	wantCode(t, err, core.NotFound)
}

func TestList(t *testing.T) {
	d := newDoor(t)
	for _, n := range []string{"b/2", "b/1", "a", "b/3", "c"} {
		d.mustCreate(t, n, "v")
	}
	names := func(prefix, after string, limit int) (string, string) {
		t.Helper()
		p, err := d.List(t.Context(), d.reader, prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range p.Secrets {
			out = append(out, string(s.Name))
		}
		return strings.Join(out, " "), p.Next
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want, next    string
	}{
		{"", "", 0, "a b/1 b/2 b/3 c", ""},
		{"b/", "", 0, "b/1 b/2 b/3", ""},
		{"b/", "", 3, "b/1 b/2 b/3", ""},
		{"b/", "", 2, "b/1 b/2", "b/2"},
		{"b/", "b/2", 2, "b/3", ""},
		{"zz", "", 2, "", ""},
	} {
		if got, next := names(c.prefix, c.after, c.limit); got != c.want || next != c.next {
			t.Errorf("%+v: %q next %q", c, got, next)
		}
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
	}{{"/", "", 1}, {"a//", "", 1}, {"", "a/", 1}, {"", "", -1}, {"", "", 1001}} {
		_, err := d.List(t.Context(), d.reader, c.prefix, c.after, c.limit)
		wantCode(t, err, core.Invalid)
	}
}

// TestOneCorruptSecret: it hides no other, is not changed, and can be deleted.
func TestOneCorruptSecret(t *testing.T) {
	d := newDoor(t)
	for _, n := range []string{"a", "b", "c"} {
		d.mustCreate(t, n, "v")
	}
	d.store.Corrupt("b")
	page, err := d.List(t.Context(), d.reader, "", "", 2)
	if err != nil || len(page.Secrets) != 2 || page.Next != "b" || page.Secrets[0].Err != nil || page.Secrets[1].Name != "b" {
		t.Fatalf("got %+v, %v", page, err)
	}
	wantCode(t, page.Secrets[1].Err, core.Corrupt)
	_, err = d.Describe(t.Context(), d.reader, "b")
	wantCode(t, err, core.Corrupt)
	_, err = d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "b", Value: []byte("x")})
	wantCode(t, err, core.Corrupt)
	_, err = d.Configure(t.Context(), d.admin, vault.ConfigureRequest{Name: "b", Settings: vault.Settings{Description: ptr("x")}})
	wantCode(t, err, core.Corrupt)
	wantCode(t, only(d.Delete(t.Context(), d.admin, "b", 2)), core.Stale)
	wantCode(t, only(d.Delete(t.Context(), d.admin, "b", 1)), "")
	wantCode(t, only(d.Delete(t.Context(), d.admin, "b", vault.AnyVersion)), core.NotFound)
}

func TestVersions(t *testing.T) {
	d := stocked(t)
	if _, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "auto", Expected: 1}); err != nil {
		t.Fatal(err)
	}
	l, err := d.Versions(t.Context(), d.reader, "auto")
	if err != nil || len(l) != 2 || l[0].Version != 2 || l[1].ExpiresAt.IsZero() {
		t.Fatalf("%+v, %v", l, err)
	}
	_, err = d.Versions(t.Context(), d.reader, "none")
	wantCode(t, err, core.NotFound)
	_, err = d.Describe(t.Context(), d.reader, "none")
	wantCode(t, err, core.NotFound)
}

func TestReady(t *testing.T) {
	d := newDoor(t)
	for _, c := range d.Ready(t.Context()) {
		if c.Err != nil {
			t.Errorf("%s: %v", c.Name, c.Err)
		}
	}
	away := errors.New("away")
	d.keeper.FailWith(func(string) error { return away })
	d.store.FailWith(func(string) error { return away })
	var failing []string
	for _, c := range d.Ready(t.Context()) {
		if c.Err != nil {
			failing = append(failing, c.Name)
		}
	}
	if !slices.Equal(failing, []string{"reader", "writer", "keys"}) {
		t.Error(failing)
	}
}

// holder is a keeper that holds n keys.
type holder struct {
	vault.Keeper
	n int
}

func (h holder) Held() int { return h.n }

func TestReadyDegraded(t *testing.T) {
	d := newDoor(t)
	degraded := func(k vault.Keeper) bool {
		t.Helper()
		v, err := vault.New(vault.Config{Store: d.store, Keeper: k, Recorder: d.recorder, Node: "n", Database: "d"})
		if err != nil {
			t.Fatal(err)
		}
		checks := v.Ready(t.Context())
		return checks[2].Name == "keys" && checks[2].Degraded
	}
	if degraded(holder{d.keeper, 5}) {
		t.Error("a keeper that is there is degraded")
	}
	d.keeper.FailWith(func(string) error { return errors.New("away") })
	if degraded(d.keeper) || degraded(holder{d.keeper, 0}) || !degraded(holder{d.keeper, 1}) {
		t.Error("a keeper that is away is degraded while it holds keys")
	}
}

// journal is a recorder that keeps its records until there is a primary.
type journal struct {
	vault.Recorder
	err error // of Check
}

func (j journal) AuditState() vault.AuditState { return vault.AuditState{Pending: 7} }
func (j journal) Check(context.Context) error  { return j.err }

func (d *door) withJournal(t *testing.T, j journal) *vault.Vault {
	t.Helper()
	j.Recorder = d.recorder
	allow, err := allowlist.Parse("0.0.0.0/0,::/0")
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.New(vault.Config{Store: d.store, Keeper: d.keeper, Recorder: j, Node: "n", Database: "d", Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestReadyWithJournal: without the primary a node that has a journal reads on; without the journal nobody does.
func TestReadyWithJournal(t *testing.T) {
	d := newDoor(t)
	state := func(v *vault.Vault) (out []string) {
		for _, c := range v.Ready(t.Context()) {
			switch {
			case c.Degraded:
				out = append(out, c.Name+" degraded")
			case c.Err != nil:
				out = append(out, c.Name+" away")
			}
		}
		return out
	}
	if got := state(d.withJournal(t, journal{})); got != nil {
		t.Error(got)
	}
	if got := state(d.withJournal(t, journal{err: errors.New("full")})); !slices.Equal(got, []string{"journal away"}) {
		t.Error(got)
	}
	d.store.FailWith(func(op string) error {
		if op == "CheckWriter" {
			return errors.New("away")
		}
		return nil
	})
	if got := state(d.withJournal(t, journal{})); !slices.Equal(got, []string{"writer degraded"}) {
		t.Error(got)
	}
	d.store.FailWith(func(string) error { return errors.New("away") })
	if got := state(d.withJournal(t, journal{})); !slices.Equal(got, []string{"reader away", "writer degraded"}) {
		t.Error(got)
	}
}

// silent is a keeper that answers when its caller gives up.
type silent struct{ vault.Keeper }

func (silent) Check(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// TestReadyIsBounded: a part that is silent takes no other's time, and the whole ends.
func TestReadyIsBounded(t *testing.T) {
	d := newDoor(t)
	v, err := vault.New(vault.Config{Store: d.store, Keeper: silent{d.keeper}, Recorder: d.recorder, Node: "n", Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for _, c := range v.Ready(t.Context()) {
			if (c.Err != nil) != (c.Name == "keys") {
				t.Errorf("%s: %v", c.Name, c.Err)
			}
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestStatusOfTheJournal(t *testing.T) {
	d := newDoor(t)
	s, err := d.withJournal(t, journal{}).Status(t.Context(), d.reader)
	if err != nil || s.Audit == nil || s.Audit.Pending != 7 {
		t.Errorf("%+v %v", s.Audit, err)
	}
	if s, err := d.Status(t.Context(), d.reader); err != nil || s.Audit != nil {
		t.Errorf("%+v %v", s.Audit, err)
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
