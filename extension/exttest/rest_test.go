package exttest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// client speaks to a real API; an empty token is none.
type client struct {
	t          testing.TB
	url, token string
}

func clientOf(t testing.TB, s *vaulttest.Server) *client { return &client{t, s.URL, s.AdminToken} }

// do sends a request and returns status and body. body may be nil, text, or what encoding/json takes.
func (c *client) do(method, path, ifMatch string, body any) (int, string) {
	c.t.Helper()
	var content []byte
	switch b := body.(type) {
	case nil:
	case string:
		content = []byte(b)
	default:
		var err error
		if content, err = json.Marshal(b); err != nil {
			c.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if ifMatch != "" {
		req.Header.Set("If-Match", ifMatch)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// must sends a request that has to be answered with want.
func (c *client) must(want int, method, path, ifMatch string, body any) string {
	c.t.Helper()
	status, answer := c.do(method, path, ifMatch, body)
	if status != want {
		c.t.Fatalf("%s %s: %d, not %d: %s", method, path, status, want, answer)
	}
	return answer
}

// read is the value of a secret of text; version "" is the current one.
func (c *client) read(name, version string) string {
	c.t.Helper()
	path := "/v1/secrets/" + name
	if version != "" {
		path += "?version=" + version
	}
	var out struct{ Value string }
	if err := json.Unmarshal([]byte(c.must(http.StatusOK, "GET", path, "", nil)), &out); err != nil {
		c.t.Fatal(err)
	}
	return out.Value
}

// verifies asks whether a candidate is valid.
func (c *client) verifies(name, candidate string) bool {
	c.t.Helper()
	var out struct{ Valid bool }
	answer := c.must(http.StatusOK, "POST", "/v1/secrets/"+name+"/verify", "", map[string]any{"value": candidate})
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		c.t.Fatal(err)
	}
	return out.Valid
}
