package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Source is where secrets come from.
type Source interface {
	// Names calls f with the name of each secret, and skip with what cannot be one. It stops at the first error.
	Names(ctx context.Context, f func(name string) error, skip func(name, why string)) error
	// Fetch returns all that there is of a secret.
	Fetch(ctx context.Context, name string) (*Secret, error)
}

// Count returns how many names a source has, those that cannot be moved among them. A source that is read once, which a stream
// of lines is, has no count: -1.
func Count(ctx context.Context, s Source) (n int, err error) {
	if _, once := s.(*Lines); once {
		return -1, nil
	}
	err = s.Names(ctx, func(string) error { n++; return nil }, func(string, string) { n++ })
	return n, err
}

// Secret is one secret of a source. Its holder wipes its values.
type Secret struct {
	settings    settings
	contentType string // what this project stores it as; "" = what a KV engine stores
	description string
	rotation    rotation
	values      [][]byte // JSON objects, oldest first; the last is the current one
	marks       []mark   // of the values, if the source has them
	missing     []string // what of it is no longer there
	refused     string   // why it is not moved; "" = it is
}

// mark is what a source says of a version.
type mark struct {
	number  uint64
	created string
	isText  bool // it is JSON, but no object
}

// isText reports whether a value is JSON that is no object.
func (s *Secret) isText(i int) bool { return i < len(s.marks) && s.marks[i].isText }

// hasText reports whether any value is.
func (s *Secret) hasText() bool {
	for i := range s.values {
		if s.isText(i) {
			return true
		}
	}
	return false
}

// errNoObject is why a form cannot hold such a value.
var errNoObject = &unfit{"a version is JSON, but no object, which this form cannot hold"}

// Refuse returns a secret that is not moved.
func Refuse(why string) *Secret { return &Secret{refused: why} }

// Text returns a secret with one version, which is text; nil is none. The value stays the caller's.
func Text(value []byte, description string) *Secret {
	switch {
	case value == nil:
		return Refuse("it has no value")
	case !utf8.Valid(value):
		return Refuse("its value is not text in UTF-8")
	}
	const name = `{"value":`
	object := append(make([]byte, 0, len(name)+jsonscan.QuotedLen(value)+1), name...)
	object = append(jsonscan.AppendQuoted(object, value), '}')
	return &Secret{contentType: string(core.Text), description: description, values: [][]byte{object}, marks: []mark{{number: 1}}}
}

// Wipe wipes the values.
func (s *Secret) Wipe() { wipeAll(s.values) }

// KV is a KV engine as a source. Prefix is a part of the names before a slash, or empty.
type KV struct {
	Client *Client
	Prefix string

	read    func(ctx context.Context, name string, version uint64) ([]byte, error) // nil = that of Client
	current bool                                                                   // no older version is read
}

// Names implements Source.
func (k *KV) Names(ctx context.Context, f func(string) error, skip func(name, why string)) error {
	prefix, err := core.ParsePrefix(strings.TrimSuffix(k.Prefix, "/"))
	if err != nil {
		return err
	}
	if prefix != "" {
		prefix += "/"
	}
	keys, err := k.Client.list(ctx, prefix)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return fmt.Errorf("the source has nothing at this mount and prefix")
	case err != nil:
		return fmt.Errorf("list the source: %w", err)
	}
	w := walk{KV: k, f: f, skip: skip}
	return w.below(ctx, prefix, keys)
}

// maxSkipped bounds the names of a source that cannot be secrets here. A source that lists itself below itself has no end.
const maxSkipped = 100_000

// walk goes through the names of a KV engine.
type walk struct {
	*KV
	f       func(string) error
	skip    func(name, why string)
	skipped int
}

// below calls f with what is below a prefix. A prefix that we refuse is left out as a whole, which bounds the depth as well.
func (w *walk) below(ctx context.Context, prefix string, keys []string) error {
	for _, key := range keys {
		name := prefix + key
		bare, isPrefix := strings.CutSuffix(name, "/")
		if _, err := core.ParseName(bare); err != nil {
			if err := w.refuse(name, core.MessageOf(err)); err != nil {
				return err
			}
			continue
		}
		next := w.f
		if isPrefix {
			next = func(name string) error { return w.enter(ctx, name) }
		}
		if err := next(name); err != nil {
			return err
		}
	}
	return nil
}

// enter goes through one prefix.
func (w *walk) enter(ctx context.Context, prefix string) error {
	keys, err := w.Client.list(ctx, prefix)
	switch s := statusOf(err); {
	case s == http.StatusForbidden:
		return w.refuse(prefix, "the source does not let the token list it")
	case s == http.StatusNotFound: // it was emptied meanwhile
		return nil
	case err != nil:
		return fmt.Errorf("list the source: %w", err)
	}
	return w.below(ctx, prefix, keys)
}

func (w *walk) refuse(name, why string) error {
	if w.skipped++; w.skipped > maxSkipped {
		return fmt.Errorf("the source lists over %d names that cannot be moved; move one prefix after the other", maxSkipped)
	}
	w.skip(name, why)
	return nil
}

// Fetch implements Source.
func (k *KV) Fetch(ctx context.Context, name string) (*Secret, error) {
	m, err := k.Client.metadata(ctx, name)
	if s := statusOf(err); s == http.StatusForbidden || s == http.StatusNotFound {
		return &Secret{refused: "the source does not show its metadata: " + err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Secret{settings: settings{
		MaxVersions: m.MaxVersions, CASRequired: m.CASRequired, DeleteVersionAfter: m.DeleteVersionAfter, CustomMetadata: m.CustomMetadata,
	}}
	if err := k.fetchVersions(ctx, name, &m, s); err != nil {
		s.Wipe()
		return nil, err
	}
	return s, nil
}

func (k *KV) fetchVersions(ctx context.Context, name string, m *metadata, s *Secret) error {
	numbers, err := m.numbers()
	if err != nil {
		return err
	}
	if k.current && m.CurrentVersion > 0 {
		numbers = []uint64{m.CurrentVersion}
	}
	read := k.read
	if read == nil {
		read = k.Client.read
	}
	for _, n := range numbers {
		value, err := read(ctx, name, n)
		if u, ok := errors.AsType[*unfit](err); ok {
			s.refused = u.why
			return nil
		}
		switch {
		case statusOf(err) == http.StatusForbidden:
			s.refused = "the source does not let the token read it"
			return nil
		case err != nil:
			return err
		case value != nil:
			s.values = append(s.values, value)
			s.marks = append(s.marks, mark{number: n, created: m.Versions[strconv.FormatUint(n, 10)].CreatedTime})
			continue
		}
		s.missing = append(s.missing, fmt.Sprintf("version %d is deleted or destroyed", n))
		if n == m.CurrentVersion { // an older value must not become the current one
			s.refused = "its current version is deleted or destroyed"
			return nil
		}
	}
	return nil
}
