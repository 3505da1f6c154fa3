package generate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	symbols = "!#$%&()*+,-./:;<=>?@[]^_{|}~"
)

// source is random but the same in every run.
func source(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// allPolicies is every choice of classes with the shortest and a longer length.
func allPolicies() (ps []generate.Policy) {
	for bits := 1; bits < 16; bits++ {
		for _, n := range []int{generate.MinLength, 9, 64, generate.MaxLength} {
			ps = append(ps, generate.Policy{Length: n, Lower: bits&1 > 0, Upper: bits&2 > 0, Digits: bits&4 > 0, Symbols: bits&8 > 0})
		}
	}
	return ps
}

func alphabet(p generate.Policy) (classes []string) {
	for _, c := range []struct {
		on    bool
		chars string
	}{{p.Lower, lower}, {p.Upper, upper}, {p.Digits, digits}, {p.Symbols, symbols}} {
		if c.on {
			classes = append(classes, strings.Map(func(r rune) rune {
				if strings.ContainsRune(p.Exclude, r) {
					return -1
				}
				return r
			}, c.chars))
		}
	}
	return classes
}

func mustGenerate(t *testing.T, p generate.Policy, r io.Reader) []byte {
	t.Helper()
	v, err := p.Generate(r)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	return v
}

func TestEveryClassIsPresentAndNothingElse(t *testing.T) {
	r := source(1)
	for _, p := range allPolicies() {
		for range 30 {
			v := mustGenerate(t, p, r)
			if len(v) != p.Length {
				t.Fatalf("%+v: %d characters", p, len(v))
			}
			classes := alphabet(p)
			for _, c := range classes {
				if !bytes.ContainsAny(v, c) {
					t.Fatalf("%+v: %q has none of %q", p, v, c)
				}
			}
			if i := bytes.IndexFunc(v, func(r rune) bool { return !strings.ContainsRune(strings.Join(classes, ""), r) }); i >= 0 {
				t.Fatalf("%+v: %q has %q", p, v, v[i])
			}
		}
	}
}

func TestExcludedNeverAppears(t *testing.T) {
	p := generate.Policy{Length: 64, Lower: true, Upper: true, Digits: true, Symbols: true, Exclude: "0O1lI$"}
	r := source(2)
	seen := map[byte]bool{}
	for range 500 {
		for _, c := range mustGenerate(t, p, r) {
			seen[c] = true
		}
	}
	for _, c := range []byte(lower + upper + digits + symbols) {
		if excluded := strings.IndexByte(p.Exclude, c) >= 0; seen[c] == excluded {
			t.Errorf("%q: excluded %v, seen %v", c, excluded, seen[c])
		}
	}
}

// The narrowest policies still generate: one character of a class is enough.
func TestNarrowestPolicies(t *testing.T) {
	r := source(3)
	for _, p := range []generate.Policy{
		{Length: 8, Lower: true, Upper: true, Digits: true, Symbols: true, Exclude: lower[1:] + upper[1:] + digits[1:]},
		{Length: 8, Lower: true, Upper: true, Digits: true, Symbols: true, Exclude: lower[1:] + upper[1:] + digits[1:] + symbols[1:]},
		{Length: 8, Lower: true, Digits: true, Exclude: digits[1:]},
		{Length: 8, Digits: true, Exclude: digits[1:]},
	} {
		for range 50 {
			v := mustGenerate(t, p, r)
			for _, c := range alphabet(p) {
				if !bytes.ContainsAny(v, c) {
					t.Fatalf("%+v: %q lacks %q", p, v, c)
				}
			}
		}
	}
}

// checkUniform is a chi-square test: it fails when the counts of cells that
// should be equally likely are further apart than chance allows (five standard
// deviations; the sources are fixed, so a run cannot fail by bad luck).
func checkUniform(t *testing.T, what string, counts map[string]int, cells, total int) {
	t.Helper()
	expected := float64(total) / float64(cells)
	if len(counts) > cells || expected < 20 {
		t.Fatalf("%s: %d cells seen of %d, %.1f expected in each", what, len(counts), cells, expected)
	}
	chi := float64(cells-len(counts)) * expected
	for _, n := range counts {
		chi += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	mean := float64(cells - 1)
	if limit := mean + 5*math.Sqrt(2*mean); chi > limit {
		t.Errorf("%s: chi-square %.1f above %.1f: not uniform", what, chi, limit)
	}
}

// Within a class every character is as likely as every other, at every place.
func TestCharactersAreUnbiased(t *testing.T) {
	policies := []generate.Policy{
		generate.Default(),
		{Length: 16, Lower: true, Upper: true, Digits: true, Symbols: true},
		{Length: 8, Digits: true},
		{Length: 8, Lower: true, Symbols: true, Exclude: "abc!#"},
	}
	for i, p := range policies {
		r := source(byte(10 + i))
		perClass := make([]map[string]int, len(alphabet(p)))
		totals := make([]int, len(perClass))
		first := map[string]int{}
		const values = 10000
		for range values {
			v := mustGenerate(t, p, r)
			for k, c := range alphabet(p) {
				if perClass[k] == nil {
					perClass[k] = map[string]int{}
				}
				for _, b := range v {
					if strings.IndexByte(c, b) >= 0 {
						perClass[k][string(b)]++
						totals[k]++
					}
				}
			}
			if strings.IndexByte(alphabet(p)[0], v[0]) >= 0 {
				first[string(v[0])]++
			}
		}
		for k, c := range alphabet(p) {
			checkUniform(t, c, perClass[k], len(c), totals[k])
		}
		n := 0
		for _, c := range first {
			n += c
		}
		checkUniform(t, "first place of "+alphabet(p)[0], first, len(alphabet(p)[0]), n)
	}
}

// Every whole text a policy allows is equally likely. Of a, b and 0 there are
// 3^8 texts of 8 characters; 2^8 have no digit, one has no letter.
func TestWholeTextsAreUnbiased(t *testing.T) {
	p := generate.Policy{Length: 8, Lower: true, Digits: true, Exclude: lower[2:] + digits[1:]}
	const cells, total = 6561 - 256 - 1, 150_000
	r := source(20)
	counts := map[string]int{}
	for range total {
		counts[string(mustGenerate(t, p, r))]++
	}
	checkUniform(t, "texts of a, b and 0", counts, cells, total)
}

func TestValuesDiffer(t *testing.T) {
	r := source(30)
	seen := map[string]bool{}
	for range 1000 {
		seen[string(mustGenerate(t, generate.Default(), r))] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 values differ", len(seen))
	}
}

// constant is an endless source of one byte.
type constant byte

func (c constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

// A broken source is an error in the end, never a loop or a poor value.
func TestBrokenSources(t *testing.T) {
	cause := errors.New("no randomness")
	for name, r := range map[string]io.Reader{
		"Zeros": constant(0), "Ones": constant(0xff), "Empty": strings.NewReader(""),
		"Short": strings.NewReader("0123456789"), "Fails": iotest.ErrReader(cause),
	} {
		v, err := generate.Default().Generate(r)
		if core.CodeOf(err) != core.Internal || v != nil {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	if _, err := generate.Default().Generate(iotest.ErrReader(cause)); !errors.Is(err, cause) {
		t.Errorf("%v does not hold the cause", err)
	}
	if v, err := generate.Default().Generate(iotest.HalfReader(source(31))); err != nil || len(v) != 32 {
		t.Errorf("from a slow source: %q, %v", v, err)
	}
}

// impossible policies are refused, with these words.
var impossible = []struct {
	policy generate.Policy
	says   string
}{
	{generate.Policy{}, "length 0 is not between 8 and 1024"},
	{generate.Policy{Length: 3, Lower: true, Upper: true, Digits: true, Symbols: true}, "length 3 is not between"},
	{generate.Policy{Length: 7, Lower: true}, "length 7 is not between"},
	{generate.Policy{Length: 1025, Lower: true}, "length 1025 is not between"},
	{generate.Policy{Length: -1, Lower: true}, "length -1 is not between"},
	{generate.Policy{Length: math.MaxInt, Lower: true}, "is not between"},
	{generate.Policy{Length: 32}, "no class"},
	{generate.Policy{Length: 32, Lower: true, Digits: true, Exclude: digits}, "no character of the class digits"},
	{generate.Policy{Length: 32, Symbols: true, Exclude: symbols}, "no character of the class symbols"},
	{generate.Policy{Length: 32, Lower: true, Exclude: "a b"}, "not printable ASCII"},
	{generate.Policy{Length: 32, Lower: true, Exclude: "é"}, "not printable ASCII"},
	{generate.Policy{Length: 32, Lower: true, Exclude: "\x00"}, "not printable ASCII"},
	{generate.Policy{Length: 32, Lower: true, Exclude: strings.Repeat("A", 95)}, "exclude is longer than 94"},
}

func TestImpossiblePolicies(t *testing.T) {
	for _, tt := range impossible {
		err := tt.policy.Validate()
		if core.CodeOf(err) != core.Invalid || !strings.Contains(core.MessageOf(err), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.policy, err, tt.says)
		}
		if v, err := tt.policy.Generate(constant(0)); core.CodeOf(err) != core.Invalid || v != nil {
			t.Errorf("%+v generates %q, %v", tt.policy, v, err)
		}
		text, err := json.Marshal(tt.policy)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := generate.Parse(text); core.CodeOf(err) != core.Invalid || p != (generate.Policy{}) {
			t.Errorf("%s parses as %+v, %v", text, p, err)
		}
	}
	if err := (generate.Policy{Length: 8, Lower: true, Exclude: symbols + digits + upper}).Validate(); err != nil {
		t.Errorf("exclude may name characters of classes that are off: %v", err)
	}
}

var goodJSON = []struct {
	text string
	want generate.Policy
}{
	{"", generate.Default()},
	{" \n", generate.Default()},
	{"null", generate.Default()},
	{" null ", generate.Default()},
	{"{}", generate.Default()},
	{`{"length":64}`, generate.Policy{Length: 64, Lower: true, Upper: true, Digits: true}},
	{`{"symbols":true}`, generate.Policy{Length: 32, Lower: true, Upper: true, Digits: true, Symbols: true}},
	{`{"lower":false,"upper":false}`, generate.Policy{Length: 32, Digits: true}},
	{` {"length":8,"lower":true,"upper":false,"digits":false,"symbols":false,"exclude":"l\"\\"} `, generate.Policy{Length: 8, Lower: true, Exclude: `l"\`}},
}

var badJSON = []struct{ text, says string }{
	{`{`, "not valid JSON"},
	{`{"length":32`, "not valid JSON"},
	{`{"length":32,}`, "not valid JSON"},
	{`{"length"}`, "not valid JSON"},
	{`{length:32}`, "not valid JSON"},
	{`{}{}`, "text after the JSON object"},
	{`{} x`, "text after the JSON object"},
	{`[]`, "not a JSON object"},
	{`"x"`, "not a JSON object"},
	{`32`, "not a JSON object"},
	{`nul`, "not a JSON object"},
	{`{"length":"32"}`, "length is not a whole number"},
	{`{"length":32.5}`, "length is not a whole number"},
	{`{"length":1e999}`, "length is not a whole number"},
	{`{"length":99999999999999999999}`, "length is not a whole number"},
	{`{"length":null}`, "length is not a whole number"},
	{`{"length":true}`, "length is not a whole number"},
	{`{"lower":1}`, "lower is not true or false"},
	{`{"upper":"true"}`, "upper is not true or false"},
	{`{"digits":null}`, "digits is not true or false"},
	{`{"symbols":[]}`, "symbols is not true or false"},
	{`{"exclude":7}`, "exclude is not a text"},
	{`{"exclude":null}`, "exclude is not a text"},
	{`{"Length":32}`, `unknown field "Length"`},
	{`{"size":32}`, `unknown field "size"`},
	{`{"length":32,"length":33}`, `the field "length" twice`},
	{`{"length":32,"le\u006egth":33}`, `the field "length" twice`},
	{`{"length":7}`, "not between"},
	{`{"lower":false,"upper":false,"digits":false}`, "no class"},
	{`{"exclude":"\ud800"}`, "not printable ASCII"},
	{"{\"exclude\":\"\xff\"}", "not printable ASCII"},
	{`{"exclude":"` + strings.Repeat("a", 4096) + `"}`, "the limit is 4096"},
}

func TestParse(t *testing.T) {
	for _, tt := range goodJSON {
		p, err := generate.Parse([]byte(tt.text))
		if err != nil || p != tt.want {
			t.Errorf("Parse(%s) = %+v, %v; want %+v", tt.text, p, err, tt.want)
		}
	}
	for _, tt := range badJSON {
		p, err := generate.Parse([]byte(tt.text))
		if core.CodeOf(err) != core.Invalid || !strings.Contains(core.MessageOf(err), tt.says) || p != (generate.Policy{}) {
			t.Errorf("Parse(%.60s) = %+v, %v; want %q", tt.text, p, err, tt.says)
		}
	}
	if p, err := generate.Parse(nil); err != nil || p != generate.Default() {
		t.Errorf("Parse(nil) = %+v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range goodJSON {
		f.Add([]byte(tt.text))
	}
	for _, tt := range badJSON {
		f.Add([]byte(tt.text))
	}
	if len(goodJSON) < 5 || len(badJSON) < 10 {
		f.Fatalf("%d and %d seeds", len(goodJSON), len(badJSON))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := generate.Parse(data)
		if err != nil {
			if core.CodeOf(err) != core.Invalid || p != (generate.Policy{}) {
				t.Errorf("%q: %+v beside %v", data, p, err)
			}
			return
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := generate.Parse(text)
		if err != nil || again != p {
			t.Errorf("%q is %+v, written %s, read %+v: %v", data, p, text, again, err)
		}
		if v, err := p.Generate(source(40)); err != nil || len(v) != p.Length {
			t.Errorf("%+v parses and generates %q, %v", p, v, err)
		}
	})
}
