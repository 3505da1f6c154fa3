package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
)

// FuzzElements: the standard decoder sees the same elements.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[]`, `[1,"a",{"x":[1,"]"]},null]`, `[ [ ] , "\"," ]`, `["\ud83d\udd11"]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want []any
		if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &want) != nil {
			return
		}
		got := []any{}
		err := jsonscan.Elements(raw, func(element []byte) error {
			var v any
			if err := json.Unmarshal(element, &v); err != nil {
				t.Fatalf("%q: element %q: %v", raw, element, err)
			}
			got = append(got, v)
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, want %v, %v", raw, got, want, err)
		}
	})
}

// FuzzQuoted: what is quoted is read back, and is as long as was said.
func FuzzQuoted(f *testing.F) {
	f.Add("a\"\\\n\x7fü")
	f.Fuzz(func(t *testing.T, text string) {
		q := jsonscan.AppendQuoted(nil, text)
		if len(q) != jsonscan.QuotedLen(text) {
			t.Fatalf("%q: %d bytes, said %d", text, len(q), jsonscan.QuotedLen(text))
		}
		if !json.Valid(q) {
			return // not UTF-8
		}
		if back, err := jsonscan.Unquote(q); err != nil || string(back) != text {
			t.Fatalf("%q: %q, %v", text, back, err)
		}
	})
}

// FuzzObject compares what is accepted, and its fields, with the standard decoder.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, ` {"a":1,"b":[{"a":2,"a":3}],"c":"\u00e9"} `, `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"\ud800":1}`, `[]`, `{} {}`, `{"a":1,}`, "{\"\xff\":1}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := jsonscan.Object(body, nil)
		var want map[string]json.RawMessage
		good := utf8.Valid(body) && json.Unmarshal(body, &want) == nil && want != nil
		if err == nil != good {
			// The standard decoder takes the last of two fields, and replaces half a surrogate pair.
			if text := core.MessageOf(err); good && (strings.HasPrefix(text, "field ") || strings.HasPrefix(text, "a string holds half")) {
				return
			}
			t.Fatalf("%q: %v", body, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %q, want %q", body, got, want)
		}
		for name, raw := range got {
			if !bytes.Equal(raw, want[name]) {
				t.Fatalf("%q: field %q is %q, want %q", body, name, raw, want[name])
			}
		}
	})
}
