package jsonscan_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
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
