package scram

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// TestVerifierOfRFC7677 makes the keys of the example in RFC 7677, section 3, whose signatures they reproduce.
func TestVerifierOfRFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verifier([]byte("pencil"), 4096, bytes.NewReader(salt))
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if got != want {
		t.Errorf("verifier is %s, not %s", got, want)
	}
}

func TestVerifierMatchesItsPasswordOnly(t *testing.T) {
	for _, password := range []string{
		"x", "pass word", strings.Repeat("long", 256), "pässword", "Ⅸ", "I\u00adX", "\u00ad", "a\u00a0b", "\u0627\u0031", "a\x07b",
		"a\u0378b", "a\xffb", "SCRAM-SHA-256$1:c2FsdA==$a:b",
	} {
		verifier, err := Verifier([]byte(password), 7, rand.Reader)
		if err != nil {
			t.Fatalf("%q: %v", password, err)
		}
		if !Matches(verifier, []byte(password)) {
			t.Errorf("%q does not match its verifier", password)
		}
		if Matches(verifier, []byte(password+"x")) || Matches(verifier, nil) {
			t.Errorf("another password than %q matches", password)
		}
	}
}

func TestPreparedAlikeMatches(t *testing.T) {
	for _, pair := range [][2]string{{"IX", "Ⅸ"}, {"IX", "I\u00adX"}, {"a b", "a\u00a0b"}, {"\u00e9", "e\u0301"}} {
		verifier, err := Verifier([]byte(pair[0]), 1, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if !Matches(verifier, []byte(pair[1])) {
			t.Errorf("%q and %q are one password by SASLprep", pair[0], pair[1])
		}
	}
}

func TestVerifierRefuses(t *testing.T) {
	for name, try := range map[string]struct {
		password   []byte
		iterations int
	}{
		"empty": {nil, 1}, "too long": {bytes.Repeat([]byte{'x'}, MaxPasswordLen+1), 1}, "zero byte": {[]byte("a\x00b"), 1},
		"no iterations": {[]byte("x"), 0}, "too many iterations": {[]byte("x"), MaxIterations + 1},
	} {
		if v, err := Verifier(try.password, try.iterations, rand.Reader); core.CodeOf(err) != core.Invalid || v != "" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
}

func TestMatchesNoOtherForm(t *testing.T) {
	verifier, err := Verifier([]byte("x"), 1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range verifier {
		if Matches(verifier[:i], []byte("x")) {
			t.Errorf("%d bytes of a verifier match", i)
		}
	}
	for _, other := range []string{"", "x", "md5" + strings.Repeat("0", 32), fmt.Sprintf("SCRAM-SHA-256$%d:c2FsdA==$a:b", MaxIterations+1)} {
		if Matches(other, []byte("x")) {
			t.Errorf("%q matches", other)
		}
	}
}
