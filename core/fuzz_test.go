package core_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

// addSeeds fails if there is none: a fuzz target without seeds tests nothing in
// an ordinary test run, and says nothing about it.
func addSeeds(f *testing.F, seeds ...[]string) {
	f.Helper()
	n := 0
	for _, list := range seeds {
		for _, s := range list {
			f.Add(s)
			n++
		}
	}
	if n < 5 {
		f.Fatalf("%d seeds, want at least 5", n)
	}
}

func badNameSeeds() (seeds []string) {
	for _, b := range badNames {
		seeds = append(seeds, b.name)
	}
	return seeds
}

// checkParsed holds for every parser: what parses is returned unchanged, what
// does not is an Invalid error beside the zero value.
func checkParsed(t *testing.T, in, out string, err error) {
	t.Helper()
	if err == nil && out != in {
		t.Errorf("%q parses as %q", in, out)
	}
	if err != nil && (out != "" || core.CodeOf(err) != core.Invalid) {
		t.Errorf("%q: %q beside error %v of code %q", in, out, err, core.CodeOf(err))
	}
	if err != nil {
		checkPrintable(t, err.Error())
	}
}

func FuzzParseName(f *testing.F) {
	addSeeds(f, goodNames, badNameSeeds())
	f.Fuzz(func(t *testing.T, s string) {
		n, err := core.ParseName(s)
		checkParsed(t, s, string(n), err)
		if err != nil {
			return
		}
		if len(s) > core.MaxNameLen || !utf8.ValidString(s) || strings.ContainsAny(s, "*%\\ \x00") || strings.Contains("/"+s+"/", "/../") {
			t.Errorf("%q is not a name", s)
		}
		if p, err := core.ParsePattern(s); err != nil || !p.Matches(n) {
			t.Errorf("%q is no pattern of itself: %v", s, err)
		}
		if _, err := core.ParsePrefix(s + "/"); err != nil {
			t.Errorf("%q is no prefix: %v", s+"/", err)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	addSeeds(f, goodNames, badNameSeeds(), []string{"a/", "a//", "a/b/"})
	f.Fuzz(func(t *testing.T, s string) {
		p, err := core.ParsePrefix(s)
		checkParsed(t, s, p, err)
		if _, nameErr := core.ParseName(s + "x"); err == nil && nameErr != nil && len(s) < core.MaxNameLen {
			t.Errorf("no name starts with the prefix %q: %v", s, nameErr)
		}
	})
}

func FuzzParsePattern(f *testing.F) {
	addSeeds(f, goodNames, badNameSeeds(), []string{"*", "a/*", "a*", "*/a", "a/*/b"})
	f.Fuzz(func(t *testing.T, s string) {
		p, err := core.ParsePattern(s)
		checkParsed(t, s, string(p), err)
		if err != nil {
			return
		}
		base, below := strings.CutSuffix(s, "/*")
		if below && (p.Matches(core.Name(base)) || p.Matches(core.Name(base+"x/y")) || !p.Matches(core.Name(base+"/x"))) {
			t.Errorf("%q does not mean what is below %q", p, base)
		}
	})
}

func FuzzParseContentType(f *testing.F) {
	var good []string
	for _, g := range goodTypes {
		good = append(good, g.in)
	}
	addSeeds(f, good, badTypes)
	f.Fuzz(func(t *testing.T, s string) {
		ct, err := core.ParseContentType(s)
		if err != nil {
			checkParsed(t, s, string(ct), err)
			return
		}
		checkPrintable(t, string(ct))
		again, err := core.ParseContentType(string(ct))
		if err != nil || again != ct {
			t.Errorf("%q is %q, which is %q: %v", s, ct, again, err)
		}
		if len(ct) > core.MaxContentTypeLen {
			t.Errorf("%q is %d bytes long", s, len(ct))
		}
	})
}

func FuzzParseSecretID(f *testing.F) {
	addSeeds(f, goodIDs, badIDs)
	f.Fuzz(func(t *testing.T, s string) {
		id, err := core.ParseSecretID(s)
		out := id.String()
		if err != nil && id.IsZero() {
			out = ""
		}
		checkParsed(t, s, out, err)
	})
}

func FuzzCheckValue(f *testing.F) {
	f.Add("application/json", []byte(`{"a":1}`))
	f.Add("application/json", []byte(`{"a":`))
	f.Add("text/plain", []byte("a\x00b"))
	f.Add("", []byte("\xff"))
	f.Add("application/octet-stream", []byte{0})
	f.Fuzz(func(t *testing.T, s string, value []byte) {
		ct, err := core.ParseContentType(s)
		if err != nil {
			return
		}
		if ct.CheckValue(value, 64) == nil && (len(value) == 0 || len(value) > 64 || ct.IsText() && !utf8.Valid(value)) {
			t.Errorf("%q takes %q", ct, value)
		}
	})
}
