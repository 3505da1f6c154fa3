package vault_test

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestParseLSN(t *testing.T) {
	for text, want := range map[string]vault.LSN{
		"16/B374D848": 0x16B374D848, "0/1": 1, "1/0": 1 << 32, "FFFFFFFF/FFFFFFFF": 1<<64 - 1, "ab/cd": 0xAB000000CD, "0000000A/00000001": 0xA00000001,
	} {
		got, err := vault.ParseLSN(text)
		if err != nil || got != want {
			t.Errorf("%s: %x %v", text, uint64(got), err)
		}
	}
	for _, l := range []vault.LSN{1, 0x16B374D848, 1 << 32, 1<<64 - 1} {
		if got, err := vault.ParseLSN(l.String()); err != nil || got != l {
			t.Errorf("%s: %x %v", l, uint64(got), err)
		}
	}
	for _, text := range []string{
		"", "/", "0", "0/0", "1", "1/", "/1", "1/2/3", "g/1", "1/g", "-1/1", "+1/1", "1/+1", " 1/1", "1/1 ", "0x1/1", "1_0/1", "100000000/1", "1/100000000",
	} {
		if _, err := vault.ParseLSN(text); core.CodeOf(err) != core.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParsePosition(t *testing.T) {
	for text, want := range map[string]vault.Position{
		"16/B374D848": {LSN: 0x16B374D848}, "3-16/B374D848": {Timeline: 3, LSN: 0x16B374D848}, "4294967295-0/1": {Timeline: 1<<32 - 1, LSN: 1},
	} {
		got, err := vault.ParsePosition(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "-", "-0/1", "0-0/1", "01-0/1", "+1-0/1", " 1-0/1", "1 -0/1", "1--0/1", "1-1-0/1", "a-0/1", "4294967296-0/1", "1-", "1-0/0", "1-0", "1/0-1",
	} {
		if got, err := vault.ParsePosition(text); core.CodeOf(err) != core.Invalid || got != (vault.Position{}) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

// TestFreshness: what a caller asks for reaches the store with every read of a secret.
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
		for _, f := range []vault.Freshness{{Primary: true}, {Position: vault.Position{Timeline: 2, LSN: 7}}, {}} {
			c := d.reader
			c.Freshness = f
			wantCode(t, read(c), "")
			if got := d.store.Asked(); got != f {
				t.Errorf("%s: the store was asked for %+v, want %+v", name, got, f)
			}
		}
	}
}
