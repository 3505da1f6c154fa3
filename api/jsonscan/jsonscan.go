// Package jsonscan takes JSON apart and puts strings together without a copy that cannot be wiped. The transports read
// bodies that hold secrets with it. It decodes nothing that it can leave where it is.
package jsonscan

import (
	"bytes"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Object takes apart a body that is exactly one JSON object in valid UTF-8. It returns the text of each field as a part
// of the body, so that no copy of a value is made: a Go string could not be wiped. Fields must be among known (nil =
// any), spelled exactly, and given once. The error is Invalid.
func Object(body []byte, known []string) (map[string][]byte, error) {
	if !utf8.Valid(body) {
		return nil, core.Errorf(core.Invalid, "the body is not valid UTF-8")
	}
	whole := decode(body)
	object, err := whole.ReadValue()
	if _, end := whole.ReadToken(); err != nil || end != io.EOF {
		return nil, core.Errorf(core.Invalid, "the body is not one valid JSON document") // the cause may quote a value
	}
	if object.Kind() != '{' {
		return nil, core.Errorf(core.Invalid, "the body is not a JSON object")
	}
	return fields(object, known)
}

// decode returns a decoder whose values are parts of text. It leaves to the readers of values what is refused of strings
// and of names in them.
func decode(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// fields returns the fields of a valid object.
func fields(object []byte, known []string) (map[string][]byte, error) {
	d, o := decode(object), map[string][]byte{}
	_, _ = d.ReadToken() // the brace
	for d.PeekKind() != '}' {
		quoted, err := d.ReadValue()
		if err != nil {
			return nil, core.Errorf(core.Internal, "a field cannot be read")
		}
		key, err := Unquote(quoted)
		if err != nil {
			return nil, err
		}
		name := string(key)
		if known != nil && !slices.Contains(known, name) {
			return nil, core.Errorf(core.Invalid, "unknown field %s", core.Quote(name))
		}
		if _, twice := o[name]; twice {
			return nil, core.Errorf(core.Invalid, "field %s is given twice", core.Quote(name))
		}
		if o[name], err = d.ReadValue(); err != nil {
			return nil, core.Errorf(core.Internal, "a field cannot be read")
		}
	}
	return o, nil
}

// Elements calls f with the text of each element of raw, a valid JSON array. It stops at the first error.
func Elements(raw []byte, f func(element []byte) error) error {
	d := decode(raw)
	_, _ = d.ReadToken() // the bracket
	for d.PeekKind() != ']' {
		element, err := d.ReadValue()
		if err != nil {
			return core.Errorf(core.Internal, "an element cannot be read")
		}
		if err := f(element); err != nil {
			return err
		}
	}
	return nil
}

// Unquote returns the bytes that a valid JSON string stands for, in memory of
// their own. Half a surrogate pair stands for no text and is refused.
func Unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, core.Errorf(core.Invalid, "not a string")
	}
	// A buffer that is outgrown would stay unwiped. A text is shorter than its quoted form.
	out, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	if err != nil {
		clear(out)
		return nil, core.Errorf(core.Invalid, "a string holds half a surrogate pair")
	}
	return out, nil
}

// AppendQuoted appends text, which must be valid UTF-8, as a JSON string.
func AppendQuoted[T string | []byte](dst []byte, text T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// QuotedLen is how many bytes AppendQuoted appends.
func QuotedLen[T string | []byte](text T) int {
	n := len(text) + 2
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			n++
		case c < 0x20 || c == 0x7f:
			n += 5
		}
	}
	return n
}
