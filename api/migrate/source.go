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

// Secret is one secret of a source. Its holder wipes its values.
type Secret struct {
	settings    settings
	contentType string // what this project stores it as; "" = what a KV engine stores
	description string
	values      [][]byte // JSON objects, oldest first; the last is the current one
	marks       []mark   // of the values, if the source has them
	missing     []string // what of it is no longer there
	refused     string   // why it is not moved; "" = it is
}

// mark is what a source says of a version.
type mark struct {
	number  uint64
	created string
}

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
	folder, err := core.ParsePrefix(strings.TrimSuffix(k.Prefix, "/"))
	if err != nil {
		return err
	}
	if folder != "" {
		folder += "/"
	}
	keys, err := k.Client.list(ctx, folder)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return fmt.Errorf("the source has nothing at this mount and prefix")
	case err != nil:
		return fmt.Errorf("list the source: %w", err)
	}
	return k.walk(ctx, folder, keys, f, skip)
}

// walk goes through a prefix. A prefix with a name that we refuse is left out as a whole, which bounds the depth as well.
func (k *KV) walk(ctx context.Context, folder string, keys []string, f func(string) error, skip func(name, why string)) error {
	for _, key := range keys {
		name := folder + key
		bare, isFolder := strings.CutSuffix(name, "/")
		if _, err := core.ParseName(bare); err != nil {
			skip(name, core.MessageOf(err))
			continue
		}
		if !isFolder {
			if err := f(name); err != nil {
				return err
			}
			continue
		}
		below, err := k.Client.list(ctx, name)
		switch s := statusOf(err); {
		case s == http.StatusForbidden:
			skip(name, "the source does not let the token list it")
			continue
		case s == http.StatusNotFound: // it was emptied meanwhile
			continue
		case err != nil:
			return fmt.Errorf("list the source: %w", err)
		}
		if err := k.walk(ctx, name, below, f, skip); err != nil {
			return err
		}
	}
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
			s.marks = append(s.marks, mark{n, m.Versions[strconv.FormatUint(n, 10)].CreatedTime})
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
