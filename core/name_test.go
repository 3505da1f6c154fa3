package core_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

var goodNames = []string{
	"a", "db/password", "svc/api-key", "A.b_c-9/0", "...", "..a", "a/..b", ".hidden", "-", "_",
	strings.Repeat("a", 255), strings.Repeat("a/", 127) + "a",
}

// badNames are refused; the text is part of what the error says.
var badNames = []struct{ name, says string }{
	{"", "is empty"},
	{"/", "empty segment"},
	{"/a", "empty segment"},
	{"a/", "empty segment"},
	{"a//b", "empty segment"},
	{".", `segment "."`},
	{"..", `segment ".."`},
	{"a/../b", `segment ".."`},
	{"./a", `segment "."`},
	{"a/..", `segment ".."`},
	{strings.Repeat("a", 256), "256 bytes long, the limit is 255"},
	{strings.Repeat("é", 200), "400 bytes long"},
	{"a b", "at byte 1"},
	{"a%2fb", "at byte 1"},
	{"a*", "at byte 1"},
	{`a\b`, "at byte 1"},
	{"naïve", "at byte 2"},
	{"a\x00b", "at byte 1"},
	{"a\nb", "at byte 1"},
	{"a\x7f", "at byte 1"},
	{"a\u0085b", "at byte 1"},
	{"a\u202eb", "at byte 1"},
	{"a\xffb", "not valid UTF-8"},
	{"\xc0\xaf", "not valid UTF-8"},
	{"\xed\xa0\x80", "not valid UTF-8"},
}

func TestParseName(t *testing.T) {
	for _, s := range goodNames {
		if n, err := core.ParseName(s); err != nil || string(n) != s {
			t.Errorf("ParseName(%q) = %q, %v; want it unchanged", s, n, err)
		}
	}
	for _, tt := range badNames {
		n, err := core.ParseName(tt.name)
		wantInvalid(t, err, tt.says)
		// It may be a value in the place of a name.
		if len(tt.name) > 2 && strings.Contains(err.Error(), tt.name) {
			t.Errorf("the error shows what was given: %v", err)
		}
		if n != "" {
			t.Errorf("ParseName(%q) = %q beside an error", tt.name, n)
		}
	}
}

func TestNameErrorsAreShortAndPrintable(t *testing.T) {
	bad := []string{strings.Repeat("\x1b[31m", 1000), strings.Repeat("\U0001f600", 50), "a\x00\n\r\x7f\xff"}
	for _, tt := range badNames {
		bad = append(bad, tt.name)
	}
	for _, s := range bad {
		for _, parse := range parsers {
			err := parse(s)
			if err == nil {
				continue
			}
			checkPrintable(t, err.Error())
			if len(err.Error()) > 400 {
				t.Errorf("error is %d bytes long: %s", len(err.Error()), err)
			}
		}
	}
}

// parsers are all parsers of the package that quote their input.
var parsers = []func(string) error{
	func(s string) error { _, err := core.ParseName(s); return err },
	func(s string) error { _, err := core.ParsePrefix(s); return err },
	func(s string) error { _, err := core.ParsePattern(s); return err },
	func(s string) error { _, err := core.ParseKind(s); return err },
	func(s string) error { _, err := core.ParseContentType(s); return err },
	func(s string) error { _, err := core.ParseSecretID(s); return err },
}

func checkPrintable(t *testing.T, s string) {
	t.Helper()
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			t.Fatalf("text has the byte %#x: %q", c, s)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for _, s := range append([]string{"", "db/", "a/b/", strings.Repeat("a", 255) + "/"}, goodNames...) {
		if p, err := core.ParsePrefix(s); err != nil || p != s {
			t.Errorf("ParsePrefix(%q) = %q, %v; want it unchanged", s, p, err)
		}
	}
	for _, tt := range []struct{ prefix, says string }{
		{"/", "no name before the slash"},
		{"//", "empty segment"},
		{"a//", "empty segment"},
		{"../", `segment ".."`},
		{"a/*", "not allowed"},
		{"%", "not allowed"},
		{strings.Repeat("a", 256) + "/", "256 bytes long"},
	} {
		p, err := core.ParsePrefix(tt.prefix)
		wantInvalid(t, err, tt.says)
		if p != "" {
			t.Errorf("ParsePrefix(%q) = %q beside an error", tt.prefix, p)
		}
	}
}

func TestHasPrefix(t *testing.T) {
	names := []core.Name{"bul", "bulk", "bulk-2", "bulk.x", "bulk/a", "bulk/a/b", "bulk/ab", "bulk0", "bulk2/a", "bulky", "other"}
	for prefix, want := range map[string]string{
		"": "bul bulk bulk-2 bulk.x bulk/a bulk/a/b bulk/ab bulk0 bulk2/a bulky other", "bul": "bul", "bulk": "bulk bulk/a bulk/a/b bulk/ab",
		"bulk/": "bulk/a bulk/a/b bulk/ab", "bulk/a": "bulk/a bulk/a/b", "bulk/a/": "bulk/a/b", "bu": "", "b/": "", "other/": "",
	} {
		var got []string
		for _, n := range names {
			if core.HasPrefix(n, prefix) {
				got = append(got, string(n))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q selects %q, want %q", prefix, got, want)
		}
		// What is below a prefix is what a grant on it reaches.
		if strings.HasSuffix(prefix, "/") {
			for _, n := range names {
				if core.HasPrefix(n, prefix) != core.Pattern(prefix+"*").Matches(n) {
					t.Errorf("%s: prefix %s and pattern %s* differ", n, prefix, prefix)
				}
			}
		}
	}
	if core.HasPrefix("", "") || core.HasPrefix("", "a") {
		t.Error("no name has a prefix")
	}
}

func TestParsePattern(t *testing.T) {
	for _, s := range append([]string{"*", "a/*", "a/b/*", strings.Repeat("a", 255) + "/*"}, goodNames...) {
		if p, err := core.ParsePattern(s); err != nil || string(p) != s {
			t.Errorf("ParsePattern(%q) = %q, %v; want it unchanged", s, p, err)
		}
	}
	for _, tt := range []struct{ pattern, says string }{
		{"", "is empty"},
		{"/*", "no name before"},
		{"**", "not allowed"},
		{"a*", "not allowed"},
		{"*/a", "not allowed"},
		{"a/*/b", "not allowed"},
		{"*/*", "not allowed"},
		{"a//*", "empty segment"},
		{"a/", "empty segment"},
		{"../*", `segment ".."`},
		{"a?", "not allowed"},
	} {
		p, err := core.ParsePattern(tt.pattern)
		wantInvalid(t, err, tt.says)
		if p != "" {
			t.Errorf("ParsePattern(%q) = %q beside an error", tt.pattern, p)
		}
	}
}

func TestPatternMatches(t *testing.T) {
	matches := func(p core.Pattern, names ...core.Name) {
		for _, n := range names {
			if !p.Matches(n) {
				t.Errorf("%q does not match %q", p, n)
			}
		}
	}
	misses := func(p core.Pattern, names ...core.Name) {
		for _, n := range names {
			if p.Matches(n) {
				t.Errorf("%q matches %q", p, n)
			}
		}
	}
	matches("*", "a", "a/b", "a/b/c")
	misses("*", "")
	matches("a/b", "a/b")
	misses("a/b", "a", "a/bc", "a/b/c", "A/B", "")
	matches("a/*", "a/b", "a/b/c")
	misses("a/*", "a", "ab", "ab/c", "b/a/c", "a/", "")
	matches("a/b/*", "a/b/c")
	misses("a/b/*", "a/b", "a/bc", "a/c/b")
	misses("", "", "a")
}

func TestParseKind(t *testing.T) {
	for _, k := range []core.Kind{core.Manual, core.Automatic} {
		if got, err := core.ParseKind(string(k)); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %q, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "Manual", "auto", "manual ", "automatic\x00"} {
		_, err := core.ParseKind(s)
		wantInvalid(t, err, "must be")
	}
}

var goodIDs = []string{"00000000-0000-0000-0000-000000000000", "0123abcd-4567-89ef-0123-456789abcdef"}

var badIDs = []string{
	"", "0123ABCD-4567-89ef-0123-456789abcdef", "0123abcd456789ef0123456789abcdef", "{0123abcd-4567-89ef-0123-456789abcdef}",
	"0123abcd-4567-89ef-0123-456789abcde", "0123abcd-4567-89ef-0123-456789abcdef0", "0123abcd-4567-89ef-0123-456789abcdeg",
	"0123abcd+4567-89ef-0123-456789abcdef", " 123abcd-4567-89ef-0123-456789abcdef", "urn:uuid:0123abcd-4567-89ef-0123-456",
}

func TestParseSecretID(t *testing.T) {
	for _, s := range goodIDs {
		id, err := core.ParseSecretID(s)
		if err != nil || id.String() != s {
			t.Errorf("ParseSecretID(%q) = %v, %v", s, id, err)
		}
		if id.IsZero() != (s == goodIDs[0]) {
			t.Errorf("IsZero(%q) = %v", s, id.IsZero())
		}
		var again core.SecretID
		if text, _ := id.MarshalText(); again.UnmarshalText(text) != nil || again != id {
			t.Errorf("text of %q does not read back", s)
		}
	}
	for _, s := range badIDs {
		id, err := core.ParseSecretID(s)
		wantInvalid(t, err, "secret id")
		if !id.IsZero() {
			t.Errorf("ParseSecretID(%q) = %v beside an error", s, id)
		}
	}
	id := core.SecretID{1}
	if err := id.UnmarshalText([]byte("x")); err == nil || id != (core.SecretID{1}) {
		t.Errorf("UnmarshalText of nonsense: %v, id %v", err, id)
	}
}

func TestNewSecretID(t *testing.T) {
	ones := strings.NewReader(strings.Repeat("\xff", 16))
	id, err := core.NewSecretID(ones)
	if err != nil || id.String() != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("NewSecretID = %v, %v", id, err)
	}
	if id, err := core.NewSecretID(strings.NewReader("short")); core.CodeOf(err) != core.Internal || !id.IsZero() {
		t.Errorf("NewSecretID from a short source = %v, %v", id, err)
	}
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{"", `""`},
		{"a\"\n\xff", `"a\"\n\xff"`},
		{strings.Repeat("x", 40), `"` + strings.Repeat("x", 40) + `"`},
		{strings.Repeat("x", 41), `"` + strings.Repeat("x", 40) + `"...`},
		{strings.Repeat("x", 39) + "é", `"` + strings.Repeat("x", 39) + `\xc3"...`},
	} {
		if got := core.Quote(tt.in); got != tt.out {
			t.Errorf("Quote(%q) = %s, want %s", tt.in, got, tt.out)
		}
	}
}

func wantInvalid(t *testing.T, err error, says string) {
	t.Helper()
	if core.CodeOf(err) != core.Invalid {
		t.Errorf("error %v has code %q, want %q", err, core.CodeOf(err), core.Invalid)
		return
	}
	if !strings.Contains(core.MessageOf(err), says) {
		t.Errorf("error %q does not say %q", core.MessageOf(err), says)
	}
	if !utf8.ValidString(err.Error()) {
		t.Errorf("error %q is not UTF-8", err)
	}
}
