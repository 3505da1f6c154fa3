package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

var errForm = errors.New("the server's answer has not the form of a KV engine of version 2")

// metadata is what the engine tells about a secret.
type metadata struct {
	CASRequired        bool                       `json:"cas_required"`
	CurrentVersion     uint64                     `json:"current_version"`
	CustomMetadata     map[string]json.RawMessage `json:"custom_metadata"`
	DeleteVersionAfter string                     `json:"delete_version_after"`
	MaxVersions        int                        `json:"max_versions"`
	Versions           map[string]struct {
		CreatedTime  string `json:"created_time"`
		DeletionTime string `json:"deletion_time"`
		Destroyed    bool   `json:"destroyed"`
	} `json:"versions"`
}

// keeps returns how many versions the secret keeps; 0 is the engine's ten.
func (m *metadata) keeps() int {
	if m.MaxVersions == 0 {
		return defaultVersions
	}
	return m.MaxVersions
}

// numbers returns the numbers of all versions, oldest first.
func (m *metadata) numbers() ([]uint64, error) {
	out := make([]uint64, 0, len(m.Versions))
	for text := range m.Versions {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || n == 0 {
			return nil, errForm
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

// check reports whether the mount is there and the token may do anything with it.
func (c *Client) check(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/config", nil)
	return err
}

const pageSize = 1000

// list returns what is directly below a prefix. Vault knows no pages and answers with everything at once, which shows in
// a page without a new key.
func (c *Client) list(ctx context.Context, prefix string) (keys []string, err error) {
	seen := map[string]bool{}
	for after := ""; ; after = keys[len(keys)-1] {
		q := url.Values{"list": {"true"}, "limit": {strconv.Itoa(pageSize)}}
		if after != "" {
			q.Set("after", after)
		}
		page, err := c.page(ctx, prefix, q)
		if err != nil && (after == "" || statusOf(err) != http.StatusNotFound) {
			return nil, err
		}
		known := len(keys)
		for _, k := range page {
			if !seen[k] {
				keys, seen[k] = append(keys, k), true
			}
		}
		if len(page) != pageSize || len(keys) == known {
			return keys, nil
		}
	}
}

func (c *Client) page(ctx context.Context, prefix string, q url.Values) ([]string, error) {
	answer, err := c.do(ctx, http.MethodGet, "/metadata/"+prefix+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if json.Unmarshal(answer, &out) != nil {
		return nil, errForm
	}
	return out.Data.Keys, nil
}

func (c *Client) metadata(ctx context.Context, name string) (m metadata, err error) {
	answer, err := c.do(ctx, http.MethodGet, "/metadata/"+name, nil)
	if err != nil {
		return m, err
	}
	out := struct {
		Data *metadata `json:"data"`
	}{}
	if json.Unmarshal(answer, &out) != nil || out.Data == nil {
		return m, errForm
	}
	return *out.Data, nil
}

// read returns the object of a version, which the caller wipes; nil if it is deleted or destroyed.
func (c *Client) read(ctx context.Context, name string, version uint64) ([]byte, error) {
	answer, err := c.do(ctx, http.MethodGet, "/data/"+name+"?version="+strconv.FormatUint(version, 10), nil)
	defer envelope.Wipe(answer)
	if statusOf(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	outer, err := jsonscan.Object(answer, nil)
	if err != nil {
		return nil, errForm
	}
	inner, err := jsonscan.Object(outer["data"], nil)
	if err != nil {
		return nil, errForm
	}
	object := inner["data"]
	if len(object) == 0 || object[0] != '{' {
		return nil, errForm
	}
	return slices.Clone(object), nil
}

// write stores an object if version is the current one, 0 for none, and returns the version that it has now.
func (c *Client) write(ctx context.Context, name string, object []byte, version uint64) (uint64, error) {
	const frame = 64
	body := append(make([]byte, 0, len(object)+frame), `{"options":{"cas":`...)
	body = strconv.AppendUint(body, version, 10)
	body = append(append(append(body, `},"data":`...), object...), '}')
	defer envelope.Wipe(body)
	answer, err := c.do(ctx, http.MethodPut, "/data/"+name, body)
	if err != nil {
		return 0, err
	}
	var out struct {
		Data struct {
			Version uint64 `json:"version"`
		} `json:"data"`
	}
	if json.Unmarshal(answer, &out) != nil || out.Data.Version == 0 {
		return 0, errForm
	}
	return out.Data.Version, nil
}

func (c *Client) configure(ctx context.Context, name string, s settings) error {
	body, err := json.Marshal(s)
	if err != nil {
		return errForm
	}
	_, err = c.do(ctx, http.MethodPut, "/metadata/"+name, body)
	return err
}

// settings are what a secret is made with.
type settings struct {
	MaxVersions        int                        `json:"max_versions"`
	CASRequired        bool                       `json:"cas_required"`
	DeleteVersionAfter string                     `json:"delete_version_after,omitempty"`
	CustomMetadata     map[string]json.RawMessage `json:"custom_metadata,omitempty"`
}
