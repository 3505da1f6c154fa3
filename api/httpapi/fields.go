package httpapi

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

// object is a JSON object taken apart: each field's text as a part of the body, so
// that no copy of a value is made on the way (a Go string could not be wiped).
type object map[string][]byte

// parseObject takes apart a body that is exactly one JSON object in valid UTF-8.
// Fields must be among known (nil = any), spelled exactly, and given once.
func parseObject(body []byte, known []string) (object, error) {
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
func (s *scanner) fields(known []string) (object, error) {
	o := object{}
	for {
		s.space()
		if b := s.peek(); b == '}' {
			return o, nil
		} else if b == ',' {
			s.at++
			s.space()
		}
		key, err := unquote(s.value())
		if err != nil {
			return nil, err
		}
		name := string(key)
		if known != nil && !isKnown(known, name) {
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

func isKnown(known []string, name string) bool {
	for _, k := range known {
		if k == name {
			return true
		}
	}
	return false
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

// unquote returns the bytes that a valid JSON string stands for, in memory of
// their own. Half a surrogate pair stands for no text and is refused.
func unquote(raw []byte) ([]byte, error) {
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

// appendQuoted appends text, which must be valid UTF-8, as a JSON string.
func appendQuoted[T string | []byte](dst []byte, text T) []byte {
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

// quotedLen is how many bytes appendQuoted appends.
func quotedLen[T string | []byte](text T) int {
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

// integer reads a whole number without fraction or exponent; 0 when absent.
func (o object) integer(field string) (int64, error) {
	raw, ok := o[field]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, core.Errorf(core.Invalid, "%s must be a whole number", field)
	}
	return n, nil
}

// boolean reads true or false; false when absent.
func (o object) boolean(field string) (bool, error) {
	switch raw, ok := o[field]; {
	case !ok || string(raw) == "false":
		return false, nil
	case string(raw) == "true":
		return true, nil
	}
	return false, core.Errorf(core.Invalid, "%s must be true or false", field)
}

// text reads a string; "" when absent.
func (o object) text(field string) (string, error) {
	raw, ok := o[field]
	if !ok {
		return "", nil
	}
	b, err := o.bytes(field, raw)
	return string(b), err
}

// notEmpty refuses the empty string in fields where it is not what leaving them out is, and means nothing else.
func (o object) notEmpty(fields ...string) error {
	for _, f := range fields {
		if string(o[f]) == `""` {
			return core.Errorf(core.Invalid, "%s must not be empty: leave it out for its default", f)
		}
	}
	return nil
}

func (o object) bytes(field string, raw []byte) ([]byte, error) {
	if raw[0] != '"' {
		return nil, core.Errorf(core.Invalid, "%s must be a string", field)
	}
	b, err := unquote(raw)
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "%s holds half a surrogate pair", field)
	}
	return b, nil
}
