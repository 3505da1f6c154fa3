package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hyperiondb/hyperion-vault/core"
)

// cheap is the cost of tests that need many hashes.
var cheap = Cost{MemoryKiB: 8, Passes: 1, Lanes: 1}

// vectors are those of the reference implementation in C (phc-winner-argon2, src/test.c), for the password "password".
var vectors = []Verifier{
	"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
	"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
}

func TestVectors(t *testing.T) {
	h := New(Cost{})
	for _, v := range vectors {
		ok, outdated, err := h.Matches(t.Context(), v, []byte("password"), nil)
		if err != nil || !ok || !outdated {
			t.Errorf("%.40s: %t, outdated %t, %v", string(v), ok, outdated, err)
		}
		if ok, _, err := h.Matches(t.Context(), v, []byte("passwore"), nil); err != nil || ok {
			t.Errorf("%.40s: a wrong password: %t, %v", string(v), ok, err)
		}
	}
}

func TestCurrentCost(t *testing.T) {
	v, err := New(Cost{}).Make(t.Context(), []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(v), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the parameters are less than OWASP's: %s", string(v)[:40])
	}
	if p, err := parse(v); err != nil || len(p.salt) != 16 || len(p.tag) != 32 || p.verifier() != v {
		t.Errorf("%v: not spelled again as it was", err)
	}
}

func TestRoundTrip(t *testing.T) {
	h := New(cheap)
	for name, c := range map[string]struct {
		set, given string
		want       bool
	}{
		"OK":                 {"correct horse", "correct horse", true},
		"OKLongest":          {strings.Repeat("x", MaxLen), strings.Repeat("x", MaxLen), true},
		"OKBlanksStay":       {" correct horse ", " correct horse ", true},
		"OKComposed":         {"pass\u00f6word", "passo\u0308word", true}, // NFC of what another keyboard sends
		"OKNoBreakSpace":     {"correct\u00a0horse", "correct horse", true},
		"OKJapanese":         {"秘密のパスワード", "秘密のパスワード", true},
		"ErrCase":            {"correct horse", "Correct horse", false},
		"ErrWidth":           {"correct horse", "ｃorrect horse", false},
		"ErrPrefix":          {strings.Repeat("x", 80), strings.Repeat("x", 79), false}, // bcrypt would take both
		"ErrBeyond72":        {strings.Repeat("x", 72) + "a", strings.Repeat("x", 72) + "b", false},
		"ErrEmpty":           {"correct horse", "", false},
		"ErrControl":         {"correct horse", "correct horse\x00", false},
		"ErrTooLong":         {strings.Repeat("x", MaxLen), strings.Repeat("x", MaxLen+1), false},
		"ErrNotUTF8":         {"correct horse", "correct horse\xff", false},
		"ErrBlankAtEnd":      {"correct horse", "correct horse ", false},
		"ErrVerifierIsGiven": {"correct horse", string(vectors[0]), false},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := h.Make(t.Context(), []byte(c.set))
			if err != nil {
				t.Fatal(err)
			}
			before := h.Hashes()
			ok, outdated, err := h.Matches(t.Context(), v, []byte(c.given), nil)
			if err != nil || ok != c.want || outdated {
				t.Errorf("%t, outdated %t, %v", ok, outdated, err)
			}
			if h.Hashes() != before+1 {
				t.Errorf("%d hashes", h.Hashes()-before)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, text := range map[string]string{
		"Empty": "", "Short": "1234567", "SevenCharacters": "üüüüüüü", "TooLong": strings.Repeat("x", MaxLen+1),
		"Control": "correct\x07horse", "Newline": "correct\nhorse", "NotUTF8": "correct\xffhorse", "Unassigned": "correct\u0378horse",
	} {
		t.Run(name, func(t *testing.T) {
			err := Check([]byte(text))
			if core.CodeOf(err) != core.Invalid {
				t.Fatalf("%v", err)
			}
			if text != "" && strings.Contains(err.Error(), text) {
				t.Error("the error quotes the password")
			}
			if _, err := New(cheap).Make(t.Context(), []byte(text)); core.CodeOf(err) != core.Invalid {
				t.Errorf("a verifier is made of it: %v", err)
			}
		})
	}
	for _, text := range []string{"12345678", "üüüüüüüü", strings.Repeat("x", MaxLen)} {
		if err := Check([]byte(text)); err != nil {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
}

// No verifier matches nothing, and costs the same hash.
func TestDummy(t *testing.T) {
	h := New(cheap)
	for _, text := range []string{"correct horse", "", "\x00", strings.Repeat("x", 2000)} {
		before := h.Hashes()
		if ok, _, err := h.Matches(t.Context(), "", []byte(text), nil); ok || err != nil {
			t.Errorf("%t, %v", ok, err)
		}
		if h.Hashes() != before+1 {
			t.Errorf("%d hashes for %d bytes", h.Hashes()-before, len(text))
		}
	}
	if h.dummy.cost != h.cost {
		t.Error("the hash of an unknown user has another cost than that of a new one")
	}
}

func TestMalformed(t *testing.T) {
	good, err := New(cheap).Make(t.Context(), []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{
		"Text": "correct horse", "Bcrypt": "$2y$10$abcdefghijklmnopqrstuuqlxT.KUbBuMpZJ7LUHyHFf1mO4SNJI2", "Argon2i": strings.Replace(string(good), "argon2id", "argon2i", 1),
		"Version": strings.Replace(string(good), "v=19", "v=16", 1), "Memory": strings.Replace(string(good), "m=8", "m=9999999", 1),
		"NoMemory": strings.Replace(string(good), "m=8", "m=7", 1), "Passes": strings.Replace(string(good), "t=1", "t=99", 1),
		"Lanes": strings.Replace(string(good), "p=1", "p=99", 1), "Truncated": string(good)[:len(good)-30], "Padding": string(good) + "=",
		"LeadingZero": strings.Replace(string(good), "m=8", "m=08", 1), "Newline": string(good) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := New(cheap)
			ok, _, err := h.Matches(t.Context(), Verifier(v), []byte("correct horse"), nil)
			if ok || core.CodeOf(err) != core.Corrupt || strings.Contains(err.Error(), v) || h.Hashes() != 0 {
				t.Errorf("%t, %v, %d hashes", ok, err, h.Hashes())
			}
		})
	}
}

func TestPrintsNothing(t *testing.T) {
	for _, text := range []string{fmt.Sprint(vectors[0]), fmt.Sprintf("%q %x %#v %+v", vectors[0], vectors[0], vectors[0], struct{ V Verifier }{vectors[0]}), vectors[0].LogValue().String()} {
		if strings.Contains(text, "argon2") || strings.Contains(text, "6172676f6e") {
			t.Errorf("printed as %s", text)
		}
	}
}

// A crowd waits in a line that is bounded, and never has more than two hashes at once.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(cheap)
		hold, done := make(chan struct{}), make(chan error)
		var entered atomic.Int64
		try := func() {
			_, _, err := h.Matches(t.Context(), "", []byte("x"), func() error {
				entered.Add(1)
				<-hold
				return nil
			})
			done <- err
		}
		for range AtOnce {
			go try()
			synctest.Wait()
		}
		if n := entered.Load(); n != AtOnce {
			t.Fatalf("%d hashes at once", n)
		}
		for range MaxWaiting {
			go try()
		}
		synctest.Wait()
		if n := entered.Load(); n != AtOnce {
			t.Fatalf("%d hashes at once", n)
		}
		if _, _, err := h.Matches(t.Context(), "", []byte("x"), nil); !errors.Is(err, ErrBusy) || core.CodeOf(err) != core.Unavailable {
			t.Fatalf("one too many: %v", err)
		}
		if _, err := h.Make(t.Context(), []byte("correct horse")); !errors.Is(err, ErrBusy) {
			t.Fatalf("one too many: %v", err)
		}
		close(hold)
		for range AtOnce + MaxWaiting {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if h.Hashes() != AtOnce+MaxWaiting {
			t.Errorf("%d hashes", h.Hashes())
		}
		if _, _, err := h.Matches(t.Context(), "", []byte("x"), nil); err != nil {
			t.Errorf("after the crowd: %v", err)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(cheap)
		for range AtOnce {
			h.slots <- struct{}{}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, _, err := h.Matches(ctx, "", []byte("x"), nil)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; core.CodeOf(err) != core.Unavailable || h.Hashes() != 0 || h.waiting.Load() != 0 {
			t.Errorf("%v, %d hashes, %d wait", err, h.Hashes(), h.waiting.Load())
		}
	})
}

// What ready returns ends the try before the hash.
func TestReady(t *testing.T) {
	h, none := New(cheap), errors.New("no more guesses")
	if _, _, err := h.Matches(t.Context(), "", []byte("x"), func() error { return none }); !errors.Is(err, none) || h.Hashes() != 0 {
		t.Errorf("%v, %d hashes", err, h.Hashes())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(vectors[0]))
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(Verifier(text))
		if err == nil && string(p.verifier()) != text {
			t.Error("what parses is spelled in another way")
		}
	})
}
