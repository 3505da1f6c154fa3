package generate_test

import (
	"math"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func TestBits(t *testing.T) {
	digits := "0123456789"
	for _, test := range []struct {
		name   string
		policy generate.Policy
		want   int
	}{
		{"Default", generate.Default(), 190},
		{"a PIN", generate.Policy{Length: 8, Digits: true}, 26},
		{"one character", generate.Policy{Length: 1024, Lower: true, Exclude: "abcdefghijklmnopqrstuvwxy"}, 0},
		{"excluded twice counts once", generate.Policy{Length: 10, Digits: true, Exclude: "99999"}, int(10 * math.Log2(9))},
		{"two characters", generate.Policy{Length: 64, Digits: true, Exclude: digits[2:]}, 64},
		// 2^64 texts of two characters, less the two that lack a class.
		{"two classes of one character", generate.Policy{
			Length: 64, Digits: true, Lower: true, Exclude: digits[1:] + "bcdefghijklmnopqrstuvwxyz"}, 63},
		{"not valid", generate.Policy{}, 0},
	} {
		if got := test.policy.Bits(); got != test.want {
			t.Errorf("%s: %d bits, want %d", test.name, got, test.want)
		}
	}
}

// Bits counts what Generate can make: all texts of small policies, one by one.
func TestBitsAgainstTexts(t *testing.T) {
	p := generate.Policy{Length: 8, Digits: true, Lower: true, Exclude: "3456789cdefghijklmnopqrstuvwxyz"} // 012 and ab
	texts := 0
	for n := range int(math.Pow(5, 8)) {
		digit, letter := false, false
		for range 8 {
			if n%5 < 3 {
				digit = true
			} else {
				letter = true
			}
			n /= 5
		}
		if digit && letter {
			texts++
		}
	}
	if want := int(math.Log2(float64(texts))); p.Bits() != want {
		t.Errorf("%d bits, want %d of %d texts", p.Bits(), want, texts)
	}
}

func TestCheckStrength(t *testing.T) {
	weak := generate.Policy{Length: 8, Lower: true, Exclude: "abcdefghijklmnopqrstuvwxy"}
	err := weak.CheckStrength()
	if core.CodeOf(err) != core.Invalid || !strings.Contains(core.MessageOf(err), "0 bits") || !strings.Contains(core.MessageOf(err), "64") {
		t.Errorf("%v", err)
	}
	if err := (generate.Policy{Length: 19, Digits: true}).CheckStrength(); !strings.Contains(core.MessageOf(err), "63 bits") {
		t.Errorf("%v", err)
	}
	if err := (generate.Policy{Length: 20, Digits: true}).CheckStrength(); err != nil {
		t.Error(err)
	}
	weak.AllowWeak = true
	if err := weak.CheckStrength(); err != nil {
		t.Error(err)
	}
	if err := (generate.Policy{AllowWeak: true}).CheckStrength(); core.CodeOf(err) != core.Invalid {
		t.Errorf("a policy that is not valid: %v", err)
	}
	// A policy that is stored keeps working.
	p, err := generate.Parse([]byte(`{"length":8,"lower":false,"upper":false}`))
	if err != nil || p.AllowWeak {
		t.Fatal(p, err)
	}
	if p, err = generate.Parse([]byte(`{"length":8,"lower":false,"upper":false,"allow_weak":true}`)); err != nil || !p.AllowWeak {
		t.Error(p, err)
	}
}
