package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// DotenvWriter is a Sink that writes the current version of one secret as lines KEY='value'. Dotenv reads the same object
// from them, and a POSIX shell reads the same values.
type DotenvWriter struct {
	w    io.Writer
	done bool
}

// NewDotenvWriter writes nothing yet.
func NewDotenvWriter(w io.Writer) *DotenvWriter { return &DotenvWriter{w: w} }

// Put implements Sink.
func (d *DotenvWriter) Put(_ string, s *Secret) error {
	if len(s.values) == 0 {
		return &unfit{"it has no version"}
	}
	if s.isText(len(s.values) - 1) {
		return errNoObject
	}
	object, err := jsonscan.Object(s.values[len(s.values)-1], nil)
	if err != nil {
		return errForm
	}
	size := 0
	for key, raw := range object {
		size += len(key) + 2*len(raw) + len("=''\n")
	}
	text := make([]byte, 0, size)
	defer func() { envelope.Wipe(text) }()
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if text, err = appendVariable(text, key, object[key]); err != nil {
			return err
		}
	}
	d.done = true
	_, err = d.w.Write(text)
	return err
}

// loses is what lines of variables have no place for.
func (*DotenvWriter) loses(s *Secret) []string { return s.rotation.notHere() }

// Close implements Sink.
func (d *DotenvWriter) Close() error {
	if !d.done {
		return errors.New("nothing was exported")
	}
	return nil
}

func appendVariable(text []byte, key string, raw []byte) ([]byte, error) {
	for i := range len(key) {
		if !isKeyByte(key[i]) {
			return text, &unfit{"a key of it has other characters than letters, digits, dots, dashes and underscores"}
		}
	}
	if key == "" || raw[0] != '"' {
		return text, &unfit{fmt.Sprintf("a dotenv file has texts only, and its key %q has none", key)}
	}
	value, err := jsonscan.Unquote(raw)
	defer envelope.Wipe(value)
	if err != nil || bytes.IndexByte(value, 0) >= 0 {
		return text, &unfit{fmt.Sprintf("its key %q has characters that no dotenv file can have", key)}
	}
	text = append(append(text, key...), '=')
	if bytes.IndexByte(value, '\'') < 0 {
		return append(append(append(text, '\''), value...), "'\n"...), nil
	}
	text = append(text, '"')
	for _, b := range value {
		if bytes.IndexByte([]byte("\"\\$`"), b) >= 0 {
			text = append(text, '\\')
		}
		text = append(text, b)
	}
	return append(text, "\"\n"...), nil
}
