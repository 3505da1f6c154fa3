package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// TestABodyIsLimitedAndItsRequestIsNot: the limit of a body must not end a request whose body is there, or which has none,
// while its handler waits for the database.
func TestABodyIsLimitedAndItsRequestIsNot(t *testing.T) {
	const limit = 200 * time.Millisecond
	for op, c := range map[string]call{
		"DescribeSecrets": {method: "GET", path: "/v1/secrets"},
		"DeleteSecret":    {method: "DELETE", path: "/v1/secrets/a"},
		"CreateSecret":    {method: "POST", path: "/v1/secrets", body: `{"name":"new","value":"` + marker + `"}`},
		"ReadEach":        {method: "POST", path: "/v1/batch-read", body: `{"names":["a"]}`},
	} {
		t.Run(op, func(t *testing.T) {
			a := newAPI(t, func(c *httpapi.Config) { c.SlowLimit = limit })
			a.create("a", marker)
			requests := make(chan context.Context, 1)
			inner := fromInside(a)
			at := serve(t, a, func(c *httpapi.ServerConfig, _ *http.Server) {
				c.SlowLimit = limit
				c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests <- r.Context()
					inner.ServeHTTP(w, r)
				})
			})
			waited := false
			a.store.FailWith(func(asked string) error {
				if asked != op {
					return nil
				}
				waited = true
				ctx := <-requests
				select { // longer than a body has
				case <-ctx.Done():
					t.Errorf("the request was ended: %v", ctx.Err())
				case <-time.After(3 * limit):
				}
				return nil
			})
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+at+c.path, strings.NewReader(c.body))
			must(t, err)
			for name, v := range map[string]string{"Authorization": "Bearer " + a.token, "Content-Type": "application/json", "If-Match": "*"} {
				r.Header.Set(name, v)
			}
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			resp, err := tr.RoundTrip(r)
			must(t, err)
			defer func() { _ = resp.Body.Close() }()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 || !waited {
				t.Errorf("%d %s %v; it waited: %v", resp.StatusCode, body, err, waited)
			}
		})
	}
}

// TestHeadIsRecordedAsGet also when the guard refuses it before its handler: by what its route is for.
func TestHeadIsRecordedAsGet(t *testing.T) {
	a := newAPI(t)
	for path, item := range a.doc.Paths.Map() {
		if item.Get == nil || path == "/healthz" || path == "/readyz" || path == "/metrics" || path == "/v1/openapi.yaml" {
			continue
		}
		refused := func(method string) vault.Entry {
			a.recorder.Take()
			a.do(call{method: method, path: strings.ReplaceAll(path, "{name}", "some/name"), host: "evil.example"})
			e := a.recorder.Take()
			if len(e) != 1 {
				t.Fatalf("%s %s: %d records", method, path, len(e))
			}
			return e[0]
		}
		get, head := refused("GET"), refused("HEAD")
		if head.Action == "" || head.Action != get.Action || head.Name != get.Name || head.Outcome != get.Outcome {
			t.Errorf("%s: GET is recorded as %+v, HEAD as %+v", path, get, head)
		}
	}
}
