package vault_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

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
