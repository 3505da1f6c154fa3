package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Own is a vault of this project as a source: it also has content types and descriptions. Prefix is as that of a list of
// secrets. With Current there is no older version.
type Own struct {
	Client  *Client
	Prefix  string
	Current bool

	now   secretBody      // of the name that Names has called for
	texts map[uint64]bool // versions of it that are JSON, but no objects
	bound map[string]bool // names of secrets that are passwords of roles of PostgreSQL; nil = not asked yet
}

// secretBody is what the API shows of a secret, as far as it is needed here.
type secretBody struct {
	Name        string          `json:"name"`
	ContentType string          `json:"content_type"`
	Description string          `json:"description"`
	Error       json.RawMessage `json:"error"`
	rotation
}

// Names implements Source.
func (o *Own) Names(ctx context.Context, f func(string) error, skip func(name, why string)) error {
	for after := ""; ; {
		q := url.Values{"prefix": {o.Prefix}, "limit": {strconv.Itoa(pageSize)}}
		if after != "" {
			q.Set("after", after)
		}
		answer, err := o.Client.doAt(ctx, http.MethodGet, "/v1/secrets?"+q.Encode(), nil)
		if err != nil {
			return fmt.Errorf("list the vault: %w", err)
		}
		var page struct {
			Secrets []secretBody `json:"secrets"`
			Next    string       `json:"next"`
		}
		if json.Unmarshal(answer, &page) != nil {
			return errForm
		}
		for _, s := range page.Secrets {
			if _, err := core.ParseName(s.Name); err != nil || s.ContentType == "" {
				skip(s.Name, "the vault cannot show it")
				continue
			}
			o.now = s
			if err := f(s.Name); err != nil {
				return err
			}
		}
		if page.Next == "" || page.Next == after {
			return nil
		}
		after = page.Next
	}
}

// One returns a source with one secret of the vault.
func (o *Own) One(ctx context.Context, name string) (Source, error) {
	answer, err := o.Client.doAt(ctx, http.MethodGet, "/v1/metadata/"+name, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(name), err)
	}
	if json.Unmarshal(answer, &o.now) != nil || o.now.Name != name {
		return nil, errForm
	}
	o.Prefix = name // of the roles that are asked for
	return single{o, name}, nil
}

type single struct {
	Source
	name string
}

// Names implements Source.
func (s single) Names(_ context.Context, f func(string) error, _ func(name, why string)) error {
	return f(s.name)
}

// Fetch implements Source. The name is the one that Names has called for.
func (o *Own) Fetch(ctx context.Context, name string) (*Secret, error) {
	if err := o.findBound(ctx); err != nil {
		return nil, err
	}
	o.texts = map[uint64]bool{}
	kv := KV{Client: o.Client, read: o.read, current: o.Current}
	s, err := kv.Fetch(ctx, name)
	if err != nil {
		return nil, err
	}
	s.contentType, s.description, s.rotation = o.now.ContentType, o.now.Description, o.now.rotation
	for i := range s.marks {
		s.marks[i].isText = o.texts[s.marks[i].number]
	}
	if o.bound[name] {
		s.missing = append(s.missing, "it is the password of a role of PostgreSQL, and will not be bound")
	}
	return s, nil
}

// findBound asks once which secrets are bound to roles. A vault without such roles knows no such path.
func (o *Own) findBound(ctx context.Context) error {
	if o.bound != nil {
		return nil
	}
	answer, err := o.Client.doAt(ctx, http.MethodGet, "/v1/roles?"+url.Values{"prefix": {o.Prefix}}.Encode(), nil)
	if err != nil && statusOf(err) != http.StatusNotFound {
		return fmt.Errorf("list the bound roles: %w", err)
	}
	var list struct {
		Roles []struct {
			Name string `json:"name"`
		} `json:"roles"`
	}
	if err == nil && json.Unmarshal(answer, &list) != nil {
		return fmt.Errorf("list the bound roles: %s", errForm.Error()) // it is about all secrets, which errForm is not
	}
	o.bound = map[string]bool{}
	for _, r := range list.Roles {
		o.bound[r.Name] = true
	}
	return nil
}

// read returns a version as an object: bytes, text, and JSON that is no object as the KV engine shows them. It is nil if the
// version is deleted or destroyed.
func (o *Own) read(ctx context.Context, name string, version uint64) ([]byte, error) {
	answer, err := o.Client.doAt(ctx, http.MethodGet, "/v1/secrets/"+name+"?version="+strconv.FormatUint(version, 10), nil)
	defer envelope.Wipe(answer)
	if statusOf(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fields, err := jsonscan.Object(answer, nil)
	if err != nil {
		return nil, errForm
	}
	object, isText, err := objectOf(fields, core.ContentType(o.now.ContentType))
	if isText {
		o.texts[version] = true
	}
	return object, err
}

// objectOf returns the object that a value is shown as, and whether it is JSON that is none.
func objectOf(fields map[string][]byte, ct core.ContentType) (object []byte, isText bool, err error) {
	text, coded := fields["value"], fields["value_base64"]
	if !ct.IsJSON() {
		name, raw := `{"value":`, text
		if raw == nil {
			name, raw = `{"value_base64":`, coded
		}
		if len(raw) < 2 || raw[0] != '"' {
			return nil, false, errForm
		}
		out := append(make([]byte, 0, len(name)+len(raw)+1), name...)
		return append(append(out, raw...), '}'), false, nil
	}
	value, err := jsonscan.Unquote(text)
	if err != nil {
		return nil, false, errForm
	}
	if object := bytes.TrimSpace(value); len(object) > 0 && object[0] == '{' {
		return object, false, nil
	}
	envelope.Wipe(value)
	return textOf(text), true, nil
}

// newBody is a secret that our own API makes.
type newBody struct {
	Name         string                     `json:"name"`
	Kind         string                     `json:"kind"`
	ContentType  string                     `json:"content_type"`
	Description  string                     `json:"description"`
	WithoutValue bool                       `json:"without_value,omitempty"`
	KeepVersions int                        `json:"keep_versions"`
	CASRequired  bool                       `json:"cas_required"`
	Tags         map[string]json.RawMessage `json:"tags,omitempty"`
	DeleteAfter  int64                      `json:"delete_version_after_secs,omitempty"`
	rotation
}

// made returns the body that makes a secret: with a first value if it rotates by itself, and without one otherwise.
func (s *Secret) made(name string) (newBody, error) {
	b := newBody{
		Name: name, Kind: "manual", ContentType: s.contentType, Description: s.description, WithoutValue: true, rotation: s.rotation,
		KeepVersions: s.settings.MaxVersions - 1, CASRequired: s.settings.CASRequired, Tags: s.settings.CustomMetadata,
	}
	if s.rotation.automatic() {
		b.Kind, b.WithoutValue = "automatic", false
	}
	if s.settings.DeleteVersionAfter != "" {
		d, err := time.ParseDuration(s.settings.DeleteVersionAfter)
		if err != nil {
			return b, &statusError{status: http.StatusBadRequest, texts: []string{"delete_version_after is no duration"}}
		}
		b.DeleteAfter = int64(d.Seconds())
	}
	return b, nil
}

// reserve makes a secret without a version, with a content type and a description. A KV engine knows neither.
func (c *Client) reserve(ctx context.Context, name string, s *Secret) error {
	made, err := s.made(name)
	if err != nil {
		return err
	}
	body, err := json.Marshal(made)
	if err != nil {
		return errForm
	}
	_, err = c.doAt(ctx, http.MethodPost, "/v1/secrets", body)
	return err
}
