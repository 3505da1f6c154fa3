package token_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

const goodToken = "hvt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// badTokens are all spellings that are not one.
var badTokens = []string{
	"",
	"hvt_",
	goodToken + "=",
	goodToken[:len(goodToken)-1] + "=",
	goodToken[:len(goodToken)-1] + "9", // the same 32 bytes with other unused bits
	goodToken[:len(goodToken)-1] + "_",
	goodToken[:len(goodToken)-1],
	goodToken + "A",
	goodToken + "\n",
	" " + goodToken,
	goodToken + " ",
	goodToken[:20] + "\n" + goodToken[20:],
	goodToken[:20] + "\n" + goodToken[21:],
	goodToken[:20] + "\r" + goodToken[21:],
	goodToken[:20] + "\r\n\r\n" + goodToken[24:],
	goodToken[:20] + "+" + goodToken[21:],
	goodToken[:20] + "/" + goodToken[21:],
	goodToken[:20] + "\x00" + goodToken[21:],
	goodToken[:20] + "é" + goodToken[22:],
	"HVT_" + goodToken[4:],
	"hvs_" + goodToken[4:],
	"Bearer " + goodToken,
	goodToken[4:],
	goodToken + goodToken,
	strings.Repeat("A", len(goodToken)),
}

func TestNew(t *testing.T) {
	source := make([]byte, 32)
	for i := range source {
		source[i] = byte(i)
	}
	tok, err := token.New(bytes.NewReader(source))
	if err != nil || tok.Reveal() != goodToken {
		t.Fatalf("New = %s, %v; want %s", tok.Reveal(), err, goodToken)
	}
	again, err := token.Parse(tok.Reveal())
	if err != nil || again.Reveal() != goodToken {
		t.Errorf("it reads back as %s, %v", again.Reveal(), err)
	}
	if tok.Fingerprint() != sha256.Sum256([]byte(goodToken)) {
		t.Error("the fingerprint is not the SHA-256 of the text")
	}
}

func TestNewFails(t *testing.T) {
	for name, r := range map[string]*bytes.Reader{"Short": bytes.NewReader(make([]byte, 31)), "Empty": bytes.NewReader(nil)} {
		if tok, err := token.New(r); core.CodeOf(err) != core.Internal || tok.Reveal() != "" {
			t.Errorf("%s: New = %q, %v", name, tok.Reveal(), err)
		}
	}
	cause := errors.New("no randomness")
	if _, err := token.New(iotest.ErrReader(cause)); !errors.Is(err, cause) {
		t.Errorf("New = %v, want the cause", err)
	}
	// A source that gives a byte at a time is a good one.
	if tok, err := token.New(iotest.OneByteReader(bytes.NewReader(make([]byte, 32)))); err != nil || tok.Reveal() == "" {
		t.Errorf("New from single bytes = %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range badTokens {
		tok, err := token.Parse(s)
		if core.CodeOf(err) != core.Unauthenticated || core.MessageOf(err) != "token is malformed" || err.Error() != "token is malformed" {
			t.Errorf("Parse(%q) = %v, want the one error", s, err)
		}
		if tok.Reveal() != "" {
			t.Errorf("Parse(%q) gives a token beside an error", s)
		}
	}
}

// Whatever single byte is changed, the result is refused or another token. Of the
// last character only four of six bits count, so only 16 of 64 are accepted.
func TestOneSpelling(t *testing.T) {
	for i := range len(goodToken) {
		for c := range 256 {
			s := goodToken[:i] + string([]byte{byte(c)}) + goodToken[i+1:]
			tok, err := token.Parse(s)
			if err == nil && tok.Reveal() != s {
				t.Errorf("%q parses as another token", s)
			}
			if err == nil && s != goodToken && tok.Fingerprint() == sha256.Sum256([]byte(goodToken)) {
				t.Errorf("%q has the fingerprint of %q", s, goodToken)
			}
		}
	}
	last := 0
	for c := range 256 {
		if _, err := token.Parse(goodToken[:len(goodToken)-1] + string([]byte{byte(c)})); err == nil {
			last++
		}
	}
	if last != 16 {
		t.Errorf("%d last characters are accepted, want 16", last)
	}
}

func TestMatch(t *testing.T) {
	tok, other := newToken(t, 1), newToken(t, 2)
	fp := tok.Fingerprint()
	if !token.Match(fp, tok) {
		t.Error("a token does not match its fingerprint")
	}
	presented, err := token.Parse(tok.Reveal())
	if err != nil || !token.Match(fp, presented) {
		t.Errorf("a presented token does not match: %v", err)
	}
	if token.Match(fp, other) || token.Match([32]byte{}, tok) {
		t.Error("a token matches another fingerprint")
	}
	for bit := range 256 {
		changed := fp
		changed[bit/8] ^= 1 << (bit % 8)
		if token.Match(changed, tok) {
			t.Errorf("a token matches with bit %d of the fingerprint changed", bit)
		}
	}
	if token.Match(token.Token{}.Fingerprint(), token.Token{}) || token.Match(sha256.Sum256(nil), token.Token{}) || token.Match([32]byte{}, token.Token{}) {
		t.Error("no token matches something")
	}
}

// Match cannot be timed reliably in a test, so the test checks how it is
// written: no comparison of the secret side but subtle's.
func TestMatchIsConstantTime(t *testing.T) {
	text, err := os.ReadFile("token.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\nfunc Match(")
	body, _, found := strings.Cut(body, "\n}\n")
	if !found || !strings.Contains(body, "subtle.ConstantTimeCompare(fp[:], got[:])") {
		t.Error("Match does not compare with crypto/subtle")
	}
	for _, bad := range []string{"bytes.", "strings.", "fp ==", "== fp", "got ==", "== got", "for "} {
		if strings.Contains(body, bad) {
			t.Errorf("Match uses %q", bad)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	source := rand.NewChaCha8([32]byte{3})
	seen := map[string]bool{}
	for range 1000 {
		tok, err := token.New(source)
		if err != nil {
			t.Fatal(err)
		}
		seen[tok.Reveal()] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 tokens differ", len(seen))
	}
}

type holder struct {
	Public  token.Token
	private token.Token
	pointer *token.Token
	list    []token.Token
	byName  map[string]token.Token
	any     any
}

// No way of printing a token, alone or inside something, shows any of it.
func TestRedaction(t *testing.T) {
	tok := newToken(t, 4)
	h := holder{tok, tok, &tok, []token.Token{tok}, map[string]token.Token{"k": tok}, tok}
	values := map[string]any{"Token": tok, "Pointer": &tok, "Struct": h, "StructPointer": &h, "Slice": h.list, "Map": h.byName, "Any": []any{tok}}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%b", "%o", "%c", "%U", "%e", "%g", "%p", "%T", "%w", "%10v", "%-60s", "%.3s", "% x", "%!"} {
			checkRedacted(t, name+" "+verb, tok, fmt.Sprintf(verb, v))
		}
		checkRedacted(t, name+" Print", tok, fmt.Sprint(v)+fmt.Sprintln(v))
		checkRedacted(t, name+" error", tok, fmt.Errorf("no: %v: %w", v, errors.New("cause")).Error())
		if text, err := json.Marshal(v); err == nil {
			checkRedacted(t, name+" json", tok, string(text))
		}
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "token", v, slog.Group("g", "token", v))
		}
		checkRedacted(t, name+" slog", tok, out.String())
	}
	checkRedacted(t, "panic", tok, recovered(func() { panic(tok) }))
	checkRedacted(t, "String", tok, tok.String())
}

func TestRedactedText(t *testing.T) {
	tok := newToken(t, 5)
	text, err := json.Marshal(map[string]any{"t": tok, "p": &tok})
	if err != nil || string(text) != `{"p":"REDACTED","t":"REDACTED"}` {
		t.Errorf("json is %s, %v", text, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, tok); got != "REDACTED" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := tok.LogValue().String(); got != "REDACTED" {
		t.Errorf("LogValue is %s", got)
	}
}

func recovered(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}

// checkRedacted fails if text holds any six characters of the token in a row,
// as text or in hex.
func checkRedacted(t *testing.T, how string, tok token.Token, text string) {
	t.Helper()
	random := strings.TrimPrefix(tok.Reveal(), token.Prefix)
	for i := range len(random) - 6 {
		piece := random[i : i+6]
		for _, form := range []string{piece, fmt.Sprintf("%x", piece), fmt.Sprintf("%X", piece)} {
			if strings.Contains(text, form) {
				t.Fatalf("%s shows part of the token: %s", how, text)
			}
		}
	}
}

func newToken(t *testing.T, seed byte) token.Token {
	t.Helper()
	tok, err := token.New(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func FuzzParse(f *testing.F) {
	f.Add(goodToken)
	for _, s := range badTokens {
		f.Add(s)
	}
	if len(badTokens) < 10 {
		f.Fatalf("%d seeds", len(badTokens))
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := token.Parse(s)
		if err != nil {
			if tok.Reveal() != "" || err.Error() != "token is malformed" {
				t.Errorf("%q: %q beside %v", s, tok.Reveal(), err)
			}
			return
		}
		if tok.Reveal() != s || len(s) != len(goodToken) || !token.Match(sha256.Sum256([]byte(s)), tok) {
			t.Errorf("%q parses as %q", s, tok.Reveal())
		}
	})
}
