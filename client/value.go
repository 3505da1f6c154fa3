package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one version of a secret, with its value.
type Value struct {
	Name           string     `json:"name"`
	Kind           string     `json:"kind"`
	ContentType    string     `json:"content_type"`
	Version        int64      `json:"version"`
	CurrentVersion int64      `json:"current_version"`
	CreatedAt      time.Time  `json:"created_at"`
	ExpiresAt      *time.Time `json:"expires_at,omitempty"` // the end of the grace; nil for the current version

	// Bytes is the value. The caller owns it.
	Bytes []byte `json:"-"`
	// StaleSince is set if a Cache answered because the vault is away: it is when the value was last read.
	StaleSince time.Time `json:"-"`
}

// Wipe overwrites the value. It may be called twice, and on nil.
func (v *Value) Wipe() {
	if v != nil {
		wipe(v.Bytes)
		v.Bytes = nil
	}
}

// Format prints what the value is of, and never the value, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "[version %d of %s, %d bytes]", v.Version, v.Name, len(v.Bytes))
}

// LogValue leaves the value out of logs.
func (v Value) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(v)) }

// wireValue is a Value as the API sends it.
type wireValue struct {
	Value
	Text    *textBytes   `json:"value"`
	Base64  *base64Bytes `json:"value_base64"`
	Problem *problem     `json:"problem"`
}

func (w *wireValue) take() Value {
	switch {
	case w.Text != nil:
		w.Bytes = *w.Text
	case w.Base64 != nil:
		w.Bytes = *w.Base64
	}
	return w.Value
}

// textBytes is a JSON string that is decoded without a Go string, which could not be wiped.
type textBytes []byte

// UnmarshalJSON is given a part of the answer, which is valid JSON.
func (t *textBytes) UnmarshalJSON(raw []byte) error {
	text, err := unquote(raw)
	*t = text
	return err
}

type base64Bytes []byte

func (b *base64Bytes) UnmarshalJSON(raw []byte) error {
	text, err := unquote(raw)
	if err != nil {
		return err
	}
	defer wipe(text)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(out, text)
	*b = out[:n]
	return err
}

var errNoText = errors.New("not a JSON string")

// unquote returns what a valid JSON string stands for, in memory of its own.
func unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, errNoText
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
				return nil, errNoText
			}
			if r = utf16.DecodeRune(r, hex4(raw[i+3:])); r == utf8.RuneError {
				return nil, errNoText
			}
			i += 6
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
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

func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		r <<= 4
		if c <= '9' {
			r |= rune(c - '0')
		} else {
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}

// withValue returns a JSON object that has value beside the fields of meta, whose text is an object.
func withValue(meta any, value []byte) []byte {
	text, err := json.Marshal(meta)
	if err != nil { // only our own types get here
		panic("client: " + err.Error())
	}
	if value == nil {
		return text
	}
	const field = `"value_base64":"`
	out := make([]byte, 0, len(text)+len(field)+base64.StdEncoding.EncodedLen(len(value))+3)
	out = append(append(out, '{'), field...)
	out = base64.StdEncoding.AppendEncode(out, value)
	out = append(out, '"')
	if len(text) > 2 {
		out = append(out, ',')
	}
	return append(out, text[1:]...)
}

// WriteTo writes the value and nothing else.
func (v *Value) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(v.Bytes)
	return int64(n), err
}
