package vaultapi

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// maxBody bounds the body of a request that holds no value.
const maxBody = 64 << 10

// fields is the body of a request taken apart. Clients send no content type, fields that we do not know, numbers as text
// and null for what they leave out.
type fields map[string][]byte

// readFields reads a body, which may be empty or null, and hands it to use, after which it is wiped.
func (r *request) readFields(limit int64, use func(fields) error) error {
	raw, err := r.ReadBody(limit)
	defer func() { envelope.Wipe(raw) }()
	if err != nil {
		return err
	}
	f, err := parseFields(raw)
	if err != nil {
		return err
	}
	return use(f)
}

func parseFields(raw []byte) (fields, error) {
	if text := bytes.TrimSpace(raw); len(text) == 0 || string(text) == "null" { // which makes no copy
		return fields{}, nil
	}
	o, err := jsonscan.Object(raw, nil)
	if err != nil {
		return nil, invalid("failed to decode JSON input: %s", core.MessageOf(err))
	}
	return o, nil
}

// given reports whether a field is there and not null.
func (f fields) given(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// warnings returns the warning about fields that are not known.
func (f fields) warnings(known ...string) []string {
	var ignored []string
	for name := range f {
		if !slices.Contains(known, name) {
			ignored = append(ignored, printable(name))
		}
	}
	if len(ignored) == 0 {
		return nil
	}
	slices.Sort(ignored)
	return []string{fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", ignored)}
}

// printable cuts a name of a client's choice and leaves it nothing that could pass for something else.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name[:min(len(name), 64)])
}

// text reads a string; "" when it is not there.
func (f fields) text(name string) (string, error) {
	if !f.given(name) {
		return "", nil
	}
	b, err := jsonscan.Unquote(f[name])
	if err != nil {
		return "", invalid("%s must be a string", name)
	}
	return string(b), nil
}

// bytes reads a string as bytes of their own, for the caller to wipe; not nil, and empty when it is not there.
func (f fields) bytes(name string) ([]byte, error) {
	if !f.given(name) {
		return []byte{}, nil
	}
	b, err := jsonscan.Unquote(f[name])
	if err != nil {
		return []byte{}, invalid("%s must be a string", name)
	}
	return b, nil
}

// maxPlain is longer than any number or duration. What is longer may be a value in the wrong place: it is not copied.
const maxPlain = 40

// plain returns what a string, a number or a word says.
func plain(raw []byte) (string, bool) {
	if len(raw) > maxPlain {
		return "", false
	}
	if len(raw) > 0 && raw[0] == '"' {
		b, err := jsonscan.Unquote(raw)
		return string(b), err == nil
	}
	return string(raw), len(raw) > 0 && raw[0] != '{' && raw[0] != '['
}

// boolean reads true or false, also as a string or a number; false when it is not there.
func (f fields) boolean(name string) (bool, error) {
	if !f.given(name) {
		return false, nil
	}
	text, ok := plain(f[name])
	b, err := strconv.ParseBool(text)
	if !ok || err != nil {
		return false, invalid("%s must be true or false", name)
	}
	return b, nil
}

// integer reads a whole number, also as a string; 0 when it is not there.
func (f fields) integer(name string) (int64, error) {
	if !f.given(name) {
		return 0, nil
	}
	n, ok := wholeNumber(f[name])
	if !ok {
		return 0, invalid("%s must be a whole number", name)
	}
	return n, nil
}

func wholeNumber(raw []byte) (int64, bool) {
	text, ok := plain(raw)
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil
}

// duration reads seconds, or a text as in 1h30m, in whole seconds and up to the longest period; 0 when it is not there.
func (f fields) duration(name string) (time.Duration, error) {
	if !f.given(name) {
		return 0, nil
	}
	d, ok := durationOf(f[name])
	if !ok {
		return 0, invalid("%s must be a number of seconds or a duration, as in 1h30m", name)
	}
	return d, nil
}

func durationOf(raw []byte) (time.Duration, bool) {
	text, ok := plain(raw)
	if !ok || text == "" {
		return 0, ok
	}
	if secs, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(secs) || secs < 0 || secs > vault.MaxPeriodSecs {
			return 0, false
		}
		return time.Duration(secs) * time.Second, true
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > vault.MaxPeriodSecs/86400 {
			return 0, false
		}
		return time.Duration(n) * 24 * time.Hour, true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > vault.MaxPeriodSecs*time.Second {
		return 0, false
	}
	return d.Truncate(time.Second), true
}

// texts reads an array of strings, or one string; nil when it is not there.
func (f fields) texts(name string) (out []string, err error) {
	if !f.given(name) {
		return nil, nil
	}
	raw := f[name]
	if raw[0] != '[' {
		one, err := f.text(name)
		return []string{one}, err
	}
	err = jsonscan.Elements(raw, func(element []byte) error {
		b, err := jsonscan.Unquote(element)
		if err != nil {
			return invalid("%s must be an array of strings", name)
		}
		out = append(out, string(b))
		return nil
	})
	return out, err
}
