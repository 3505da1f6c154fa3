package generate_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func field(name string) generate.Policy {
	p := generate.Default()
	p.JSONField = name
	return p
}

func TestReplaceKeepsEverythingElse(t *testing.T) {
	for name, c := range map[string]struct{ field, before, after string }{
		"alone":                   {"password", `{"password":"OLD"}`, `{"password":"NEW"}`},
		"order and spaces":        {"password", " {\n \"z\" : 1 ,\"password\" : \"OLD\" , \"a\":[ ] }\n", " {\n \"z\" : 1 ,\"password\" : \"NEW\" , \"a\":[ ] }\n"},
		"numbers as written":      {"p", `{"n":1.000e+30,"big":123456789012345678901234567890,"p":"OLD","m":-0.0}`, `{"n":1.000e+30,"big":123456789012345678901234567890,"p":"NEW","m":-0.0}`},
		"one of that name deeper": {"p", `{"a":{"p":"deep","x":["}","{"]},"p":"OLD","b":[{"p":1}]}`, `{"a":{"p":"deep","x":["}","{"]},"p":"NEW","b":[{"p":1}]}`},
		"escapes":                 {"p", `{"a\"":"\\","p":"O\"L\\D","c":"\u0070"}`, `{"a\"":"\\","p":"NEW","c":"\u0070"}`},
		"an escaped name":         {"password", `{"pass\u0077ord":"OLD"}`, `{"pass\u0077ord":"NEW"}`},
		"an empty text":           {"p", `{"p":""}`, `{"p":"NEW"}`},
		"a name with a quote":     {`a"b`, `{"a\"b":"OLD"}`, `{"a\"b":"NEW"}`},
		"words":                   {"p", `{"t":true,"f":false,"n":null,"p":"OLD"}`, `{"t":true,"f":false,"n":null,"p":"NEW"}`},
	} {
		t.Run(name, func(t *testing.T) {
			before := []byte(c.before)
			got, err := field(c.field).Replace(before, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			var made map[string]any
			if err := json.Unmarshal(got, &made); err != nil {
				t.Fatalf("made no JSON: %v", err)
			}
			value, _ := made[c.field].(string)
			if len(value) != generate.DefaultLength {
				t.Fatalf("the field holds %d characters", len(value))
			}
			if want := strings.Replace(c.after, "NEW", value, 1); string(got) != want || string(before) != c.before {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestReplaceRefuses(t *testing.T) {
	const marker = "MARKER"
	for name, doc := range map[string]string{
		"no field":     `{"user":"MARKER"}`,
		"a number":     `{"p":1,"MARKER":2}`,
		"null":         `{"p":null}`,
		"an object":    `{"p":{"p":"MARKER"}}`,
		"twice":        `{"p":"MARKER","p":"b"}`,
		"an array":     `["p","MARKER"]`,
		"a text":       `"MARKER"`,
		"no JSON":      `{"p":"MARKER"`,
		"two":          `{"p":"MARKER"}{}`,
		"nothing":      ``,
		"empty":        `{}`,
		"another case": `{"P":"MARKER"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := field("p").Replace([]byte(doc), rand.Reader)
			if core.CodeOf(err) != core.Invalid || got != nil || strings.Contains(err.Error(), marker) {
				t.Errorf("got %q, %v", got, err)
			}
			if err := field("p").CheckDocument([]byte(doc)); core.CodeOf(err) != core.Invalid {
				t.Errorf("the check says %v", err)
			}
		})
	}
	t.Run("a policy that is not valid", func(t *testing.T) {
		p := field("p")
		p.Length = 1
		if _, err := p.Replace([]byte(`{"p":"x"}`), rand.Reader); core.CodeOf(err) != core.Invalid {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzReplace(f *testing.F) {
	for _, s := range []string{`{"p":"a"}`, ` { "x" : [1,{"p":2}] , "p" : "\"" } `, `{}`, `[]`, `{"p":1}`, `{"p":"a","p":"b"}`, `{"\u0070":""}`, `{"a":-1e9,"p":"\\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		out, err := field("p").Replace(doc, rand.Reader)
		if !bytes.Equal(doc, before) {
			t.Fatal("the document was changed")
		}
		if err != nil {
			return
		}
		var was, is map[string]any
		if json.Unmarshal(doc, &was) != nil || json.Unmarshal(out, &is) != nil {
			t.Fatalf("%q became %q", doc, out)
		}
		if was["p"] == is["p"] {
			t.Fatalf("%q was not replaced", doc)
		}
		was["p"] = is["p"]
		if !reflect.DeepEqual(was, is) {
			t.Fatalf("%q became %q", doc, out)
		}
	})
}
