package core_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// goodTypes are accepted and become the second text.
var goodTypes = []struct {
	in   string
	want core.ContentType
}{
	{"", core.Text},
	{"text/plain; charset=utf-8", core.Text},
	{"Text/Plain;Charset=UTF-8", core.Text},
	{`text/plain; charset="utf-8"`, core.Text},
	{" text/plain ; charset=utf-8 ", core.Text},
	{"application/json", core.JSON},
	{"APPLICATION/JSON", core.JSON},
	{"application/octet-stream", core.Binary},
	{"text/plain", "text/plain"},
	{"text/plain; charset=us-ascii", "text/plain; charset=us-ascii"},
	{"application/problem+json", "application/problem+json"},
	{"application/x; b=2; a=1", "application/x; a=1; b=2"},
	{`application/x; a="q\"x"`, `application/x; a="q\"x"`},
	{"application/x; a=\"é\"", "application/x; a*=utf-8''%C3%A9"},
	{"application/x; charset=latin1", "application/x; charset=latin1"},
	{"application/vnd.a.b-c_d+xml", "application/vnd.a.b-c_d+xml"},
}

var badTypes = []string{
	"text", "/", "text/", "/plain", "text/*", "*/*", "text plain", "text/plain, text/html", "a/b/c",
	"text/plain; charset", "text/plain; a=1; a=2", "text/plain; charset=latin1", "application/json; charset=utf-16",
	"text/plain\x00", "text/pl\nain", "text/\xff", "tëxt/plain", "application/x; a=\"b\nc\"",
	"application/x; a=\"" + strings.Repeat("é", 100) + "\"", // canonical form above the limit
	"-a/b", "a/.b", "application/x; a=" + strings.Repeat("b", 255),
}

func TestParseContentType(t *testing.T) {
	for _, tt := range goodTypes {
		got, err := core.ParseContentType(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseContentType(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		again, err := core.ParseContentType(string(got))
		if err != nil || again != got {
			t.Errorf("ParseContentType(%q) = %q, %v; want it unchanged", got, again, err)
		}
	}
	for _, s := range badTypes {
		got, err := core.ParseContentType(s)
		wantInvalid(t, err, "content type")
		if got != "" {
			t.Errorf("ParseContentType(%q) = %q beside an error", s, got)
		}
	}
}

func TestContentTypeIsText(t *testing.T) {
	for _, ct := range []core.ContentType{"", core.Text, core.JSON, "text/html", "application/problem+json", "application/json; a=1"} {
		if !ct.IsText() {
			t.Errorf("%q is not text", ct)
		}
	}
	for _, ct := range []core.ContentType{core.Binary, "application/xml", "application/jsonl", "image/png", "application/x; a=text/plain", "context/plain"} {
		if ct.IsText() {
			t.Errorf("%q is text", ct)
		}
	}
}

func TestCheckValue(t *testing.T) {
	ok := func(ct core.ContentType, limit int, value string) {
		t.Helper()
		if err := ct.CheckValue([]byte(value), limit); err != nil {
			t.Errorf("%q as %q: %v", short(value), ct, err)
		}
	}
	refused := func(code core.Code, ct core.ContentType, limit int, value string) {
		t.Helper()
		if err := ct.CheckValue([]byte(value), limit); core.CodeOf(err) != code {
			t.Errorf("%q as %q: %v, want code %q", short(value), ct, err, code)
		}
	}
	ok(core.Text, 5, "hello")
	ok("", 5, "héé")
	ok(core.Binary, 3, "\x00\xff\x00")
	ok(core.JSON, 99, ` {"a": [1, "x"]} `)
	ok(core.JSON, 99, `null`)
	ok("application/problem+json", 99, `"x"`)
	ok("application/xml", 9, "\xff\x00")
	ok(core.Text, 0, strings.Repeat("x", 64<<10))
	ok(core.Text, 1<<30, strings.Repeat("x", 1<<20))

	refused(core.Invalid, core.Binary, 10, "")
	refused(core.Invalid, core.Text, 10, "")
	refused(core.TooLarge, core.Binary, 3, "four")
	refused(core.TooLarge, core.Text, 0, strings.Repeat("x", 64<<10+1))
	refused(core.TooLarge, core.Text, -1, strings.Repeat("x", 64<<10+1))
	refused(core.TooLarge, core.Text, 1<<30, strings.Repeat("x", 1<<20+1))
	refused(core.Invalid, core.Text, 10, "a\xffb")
	refused(core.Invalid, core.Text, 10, "a\x00b")
	refused(core.Invalid, "", 10, "a\x00b")
	refused(core.Invalid, core.JSON, 99, `{"a":}`)
	refused(core.Invalid, core.JSON, 99, `{} {}`)
	refused(core.Invalid, core.JSON, 99, ` `)
	refused(core.Invalid, core.JSON, 99, "\"\xff\"")
	refused(core.Invalid, "application/problem+json", 99, "nonsense")
}

func TestCheckValueErrorsHoldNothingOfTheValue(t *testing.T) {
	const marker = "Tr0ub4dor"
	values := []string{marker + "\xff", marker + "\x00", `{"` + marker + `": }`, strings.Repeat(marker, 100)}
	refused := 0
	for _, v := range values {
		for _, ct := range []core.ContentType{core.Text, core.JSON, core.Binary} {
			value := []byte(v)
			err := ct.CheckValue(value, 100)
			if err == nil {
				continue
			}
			refused++
			for i := range len(marker) - 2 {
				if strings.Contains(err.Error(), marker[i:i+3]) {
					t.Errorf("error %q repeats the value", err)
				}
			}
			if !bytes.Equal(value, []byte(v)) {
				t.Error("CheckValue changed the value")
			}
		}
	}
	if refused < 6 {
		t.Errorf("%d values refused, want at least 6", refused)
	}
}

func short(s string) string { return s[:min(len(s), 40)] }
