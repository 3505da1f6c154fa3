// Package jsonscan takes JSON apart and puts strings together without a copy that cannot be wiped. The transports read
// bodies that hold secrets with it. It decodes nothing that it can leave where it is.
package jsonscan

import (
	"encoding/json"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Object takes apart a body that is exactly one JSON object in valid UTF-8. It returns the text of each field as a part
// of the body, so that no copy of a value is made: a Go string could not be wiped. Fields must be among known (nil =
// any), spelled exactly, and given once. The error is Invalid.
func Object(body []byte, known []string) (map[string][]byte, error) {
	if !utf8.Valid(body) {
		return nil, core.Errorf(core.Invalid, "the body is not valid UTF-8")
	}
	if !json.Valid(body) {
		return nil, core.Errorf(core.Invalid, "the body is not one valid JSON document")
	}
	s := scanner{text: body}
	s.space()
	if s.next() != '{' {
		return nil, core.Errorf(core.Invalid, "the body is not a JSON object")
	}
	return s.fields(known)
}

// scanner walks over text that json.Valid accepts; it checks nothing again.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) next() byte {
	b := s.peek()
	s.at++
	return b
}

func (s *scanner) space() {
	for b := s.peek(); b == ' ' || b == '\t' || b == '\n' || b == '\r'; b = s.peek() {
		s.at++
	}
}

// fields reads from after the opening brace to the closing one.
func (s *scanner) fields(known []string) (map[string][]byte, error) {
	o := map[string][]byte{}
	for {
		s.space()
		if b := s.peek(); b == '}' {
			return o, nil
		} else if b == ',' {
			s.at++
			s.space()
		}
		key, err := Unquote(s.value())
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
		s.space()
		s.at++ // colon
		s.space()
		o[name] = s.value()
	}
}

// value returns the text of the value at the scanner, and goes past it.
func (s *scanner) value() []byte {
	start, depth := s.at, 0
	for s.at < len(s.text) {
		switch s.peek() {
		case '"':
			s.skipString()
			if depth == 0 {
				return s.text[start:s.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // the end of what holds a bare number or word
				return s.text[start:s.at]
			}
			if depth--; depth == 0 {
				s.at++
				return s.text[start:s.at]
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return s.text[start:s.at]
			}
		}
		s.at++
	}
	return s.text[start:]
}

// Elements calls f with the text of each element of raw, a valid JSON array. It stops at the first error.
func Elements(raw []byte, f func(element []byte) error) error {
	s := scanner{text: raw[1:]}
	for s.element() {
		if err := f(s.value()); err != nil {
			return err
		}
	}
	return nil
}

// element goes to the next element of an array, from after the opening bracket; false at its end.
func (s *scanner) element() bool {
	s.space()
	if s.peek() == ',' {
		s.at++
		s.space()
	}
	return s.peek() != ']'
}

func (s *scanner) skipString() {
	for s.at++; s.at < len(s.text) && s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
}

// Unquote returns the bytes that a valid JSON string stands for, in memory of
// their own. Half a surrogate pair stands for no text and is refused.
func Unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, core.Errorf(core.Invalid, "not a string")
	}
	raw = raw[1 : len(raw)-1]
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if raw[i] != 'u' {
			out = append(out, unescape(raw[i]))
			continue
		}
		r := hex4(raw[i+1:])
		i += 4
		if utf16.IsSurrogate(r) {
			if len(raw) < i+7 || raw[i+1] != '\\' || raw[i+2] != 'u' {
				return nil, errSurrogate()
			}
			if r = utf16.DecodeRune(r, hex4(raw[i+3:])); r == utf8.RuneError {
				return nil, errSurrogate()
			}
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

func errSurrogate() error {
	return core.Errorf(core.Invalid, "a string holds half a surrogate pair")
}

func unescape(b byte) byte {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default: // quote, backslash, slash
		return b
	}
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		default:
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
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
