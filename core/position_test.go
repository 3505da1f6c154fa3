package core_test

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestParseLSN(t *testing.T) {
	for text, want := range map[string]core.LSN{
		"16/B374D848": 0x16B374D848, "0/1": 1, "1/0": 1 << 32, "FFFFFFFF/FFFFFFFF": 1<<64 - 1, "ab/cd": 0xAB000000CD, "0000000A/00000001": 0xA00000001,
	} {
		got, err := core.ParseLSN(text)
		if err != nil || got != want {
			t.Errorf("%s: %x %v", text, uint64(got), err)
		}
	}
	for _, l := range []core.LSN{1, 0x16B374D848, 1 << 32, 1<<64 - 1} {
		if got, err := core.ParseLSN(l.String()); err != nil || got != l {
			t.Errorf("%s: %x %v", l, uint64(got), err)
		}
	}
	for _, text := range []string{
		"", "/", "0", "0/0", "1", "1/", "/1", "1/2/3", "g/1", "1/g", "-1/1", "+1/1", "1/+1", " 1/1", "1/1 ", "0x1/1", "1_0/1", "100000000/1", "1/100000000",
	} {
		if _, err := core.ParseLSN(text); core.CodeOf(err) != core.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParsePosition(t *testing.T) {
	for text, want := range map[string]core.Position{
		"16/B374D848": {LSN: 0x16B374D848}, "3-16/B374D848": {Timeline: 3, LSN: 0x16B374D848}, "4294967295-0/1": {Timeline: 1<<32 - 1, LSN: 1},
	} {
		got, err := core.ParsePosition(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "-", "-0/1", "0-0/1", "01-0/1", "+1-0/1", " 1-0/1", "1 -0/1", "1--0/1", "1-1-0/1", "a-0/1", "4294967296-0/1", "1-", "1-0/0", "1-0", "1/0-1",
	} {
		if got, err := core.ParsePosition(text); core.CodeOf(err) != core.Invalid || got != (core.Position{}) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

// TestFreshness: what a caller asks for reaches the store with every read of a secret.
