package console

import (
	"bytes"
	"mime"
	"net/http"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// form is a decoded body. Its fields share the buffer that the body came in, so that one wipe is enough.
type form struct {
	buf    []byte
	fields map[string][]byte
}

// parseForm decodes a body in place and takes it over: the caller wipes the form, also with an error. Each field may be
// given once.
func parseForm(h http.Header, body []byte) (form, error) {
	f := form{buf: body, fields: map[string][]byte{}}
	if base, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || base != "application/x-www-form-urlencoded" {
		return f, core.Errorf(core.Invalid, "the body is not a form")
	}
	for pair := range bytes.SplitSeq(body, []byte("&")) {
		if len(pair) == 0 {
			continue
		}
		key, value, _ := bytes.Cut(pair, []byte("="))
		key, ok := unescape(key)
		if !ok {
			return f, errForm()
		}
		if value, ok = unescape(value); !ok {
			return f, errForm()
		}
		if _, twice := f.fields[string(key)]; twice {
			return f, errForm()
		}
		f.fields[string(key)] = value
	}
	return f, nil
}

func errForm() error { return core.Errorf(core.Invalid, "the form cannot be read") }

// unescape decodes in place: what is decoded is never longer.
func unescape(b []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(b) {
				return nil, false
			}
			high, low := hexDigit(b[i+1]), hexDigit(b[i+2])
			if high < 0 || low < 0 {
				return nil, false
			}
			c = byte(high<<4 | low)
			i += 2
		}
		b[n] = c
		n++
	}
	return b[:n], true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// text returns a field that is no secret, "" when it is not given.
func (f form) text(name string) string { return string(f.fields[name]) }

// given reports whether a field has a text.
func (f form) given(name string) bool { return len(f.fields[name]) > 0 }

// value returns a copy of a field with the line ends of the text that was typed: browsers send CRLF for each. The
// receiver wipes it.
func (f form) value(name string) []byte {
	raw := f.fields[name]
	out := make([]byte, 0, len(raw))
	for i, c := range raw {
		if c == '\r' && i+1 < len(raw) && raw[i+1] == '\n' {
			continue
		}
		out = append(out, c)
	}
	return out
}

// wipe overwrites everything that was sent.
func (f form) wipe() { envelope.Wipe(f.buf) }
