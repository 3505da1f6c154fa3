package vault_test

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func put(name, value string, expected uint64) vault.PutRequest {
	return vault.PutRequest{Name: name, Expected: expected, Value: func(core.ContentType) ([]byte, error) { return []byte(value), nil }}
}

// caller returns the holder of a token whose role has actions on app/*.
func (d *door) caller(t *testing.T, role string, actions ...string) vault.Caller {
	t.Helper()
	d.store.AddRole(role)
	d.store.GrantTo(role, "app/*", actions...)
	tok, _, err := d.NewToken(t.Context(), d.admin, vault.TokenRequest{Name: role, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	c := d.admin
	c.Bearer = vault.Bearer(tok.Reveal())
	return c
}

// TestPutNeedsTheRightOfWhatItDoes: to create is one right, to change is another, and without either nothing is learnt.
func TestPutNeedsTheRightOfWhatItDoes(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "app/there", "v")
	for _, c := range []struct {
		by     vault.Caller
		name   string
		code   core.Code
		action vault.Action
	}{
		{d.caller(t, "creator", "create"), "app/new1", "", vault.ActionCreate},
		{d.caller(t, "creator2", "create"), "app/there", core.Denied, vault.ActionUpdate},
		{d.caller(t, "updater", "update"), "app/there", "", vault.ActionUpdate},
		{d.caller(t, "updater2", "update"), "app/new2", core.Denied, vault.ActionCreate},
		{d.caller(t, "reader", "read"), "app/there", core.Denied, vault.ActionUpdate},
		{d.caller(t, "reader2", "read"), "app/new3", core.Denied, vault.ActionCreate},
		{d.caller(t, "both", "create", "update"), "app/new4", "", vault.ActionCreate},
	} {
		_, err := d.Put(t.Context(), c.by, put(c.name, "w", vault.AnyVersion))
		if core.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if e := d.recorder.Take(); len(e) != 1 || e[0].Action != c.action || e[0].Name != c.name {
			t.Errorf("%s: recorded %+v", c.name, e)
		}
		_, err = d.PutMetadata(t.Context(), c.by, vault.Settings{}, vault.CreateRequest{Name: c.name + "-m"})
		if want := c.code; strings.Contains(c.name, "new") && core.CodeOf(err) != want {
			t.Errorf("%s, metadata: %v, want %q", c.name, err, want)
		}
		d.recorder.Take()
	}
}

func TestPutExpects(t *testing.T) {
	d := newDoor(t)
	for _, c := range []struct {
		expected uint64
		code     core.Code
	}{
		{1, core.Stale}, {vault.NoVersion, ""}, {vault.NoVersion, core.Stale}, {2, core.Stale}, {1, ""}, {vault.AnyVersion, ""},
	} {
		if _, err := d.Put(t.Context(), d.admin, put("a", "v", c.expected)); core.CodeOf(err) != c.code {
			t.Errorf("%d: %v, want %q", c.expected, err, c.code)
		}
	}
	if s, err := d.Describe(t.Context(), d.reader, "a"); err != nil || s.CurrentVersion != 3 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestPutStartsOver if another has created the secret, or deleted it, in between.
func TestPutStartsOver(t *testing.T) {
	d := newDoor(t)
	made := false
	d.store.FailWith(func(op string) error {
		if op == "CreateSecret" && !made {
			made = true
			d.mustCreate(t, "a", "of another")
		}
		return nil
	})
	s, err := d.Put(t.Context(), d.admin, put("a", "mine", vault.AnyVersion))
	if err != nil || s.CurrentVersion != 2 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestChildren(t *testing.T) {
	d := newDoor(t)
	for _, name := range []string{"a/" + strings.Repeat("z", 253), "a/b/c", "a/b/d", "a0", "a", "a-1", "b/x"} {
		d.mustCreate(t, name, "v")
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		keys          string
		more          bool
	}{
		{"", "", 0, "a a-1 a/ a0 b/", false}, {"", "", 2, "a a-1", true}, {"", "a-1", 2, "a/ a0", true}, {"", "a/", 0, "a0 b/", false},
		{"a/", "", 1, "b/", true}, {"a/", "b/", 0, strings.Repeat("z", 253), false}, {"none/", "", 0, "", false}, {"", "b/", 1, "", false},
	} {
		p, err := d.Children(t.Context(), d.reader, c.prefix, c.after, c.limit)
		if err != nil || strings.Join(p.Keys, " ") != c.keys || p.More != c.more {
			t.Errorf("%q after %q, %d: %v %v %v", c.prefix, c.after, c.limit, p.Keys, p.More, err)
		}
	}
	p, err := d.Descendants(t.Context(), d.reader, "a/", "", 0)
	if err != nil || strings.Join(p.Keys, " ") != "b/c b/d "+strings.Repeat("z", 253) || p.More {
		t.Errorf("all below: %v %v %v", p.Keys, p.More, err)
	}
	p, err = d.Descendants(t.Context(), d.reader, "", "a-1", 2)
	if err != nil || strings.Join(p.Keys, " ") != "a/b/c a/b/d" || !p.More {
		t.Errorf("two after one: %v %v %v", p.Keys, p.More, err)
	}
	for _, bad := range []string{"a", "/", "a//", "../"} {
		if _, err := d.Children(t.Context(), d.reader, bad, "", 0); core.CodeOf(err) != core.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
