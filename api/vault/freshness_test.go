package vault_test

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestFreshness(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "one")
	for name, read := range map[string]func(c vault.Caller) error{
		"Read":     func(c vault.Caller) error { v, err := d.Read(t.Context(), c, "a", 0); v.Wipe(); return err },
		"Verify":   func(c vault.Caller) error { return only(d.Verify(t.Context(), c, "a", []byte("one"))) },
		"Describe": func(c vault.Caller) error { return only(d.Describe(t.Context(), c, "a")) },
		"List":     func(c vault.Caller) error { return only(d.List(t.Context(), c, "", "", 0)) },
		"Versions": func(c vault.Caller) error { return only(d.Versions(t.Context(), c, "a")) },
	} {
		for _, f := range []vault.Freshness{{Primary: true}, {Position: core.Position{Timeline: 2, LSN: 7}}, {}} {
			c := d.reader
			c.Freshness = f
			wantCode(t, read(c), "")
			if got := d.store.Asked(); got != f {
				t.Errorf("%s: the store was asked for %+v, want %+v", name, got, f)
			}
		}
	}
}
