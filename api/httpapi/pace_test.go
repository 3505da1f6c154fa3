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
		"AppendVersion":   {method: "POST", path: "/v1/secrets/svc/key/rotate"}, // whose handler looks for a body that is not there
	} {
		t.Run(op, func(t *testing.T) {
			a := newAPI(t, func(c *httpapi.Config) { c.SlowLimit = limit })
			a.create("a", marker)
			a.want(call{method: "POST", path: "/v1/secrets", body: automatic}, 201, "")
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
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			if status, body := a.overConnection(tr, at, c); status >= 300 || !waited {
				t.Errorf("%d %s; it waited: %v", status, body, waited)
			}
			// A limit that had not been lifted would have cancelled every later request of the connection too.
			if status, body := a.overConnection(tr, at, call{method: "GET", path: "/v1/metadata/svc/key"}); status != 200 {
				t.Errorf("the next request on the connection: %d %s", status, body)
			}
		})
	}
}

// overConnection sends a call over one connection, as long as that lasts, and reads the whole answer.
func (a *api) overConnection(tr *http.Transport, at string, c call) (status int, body []byte) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), c.method, "http://"+at+c.path, strings.NewReader(c.body))
	must(a.t, err)
	for name, v := range map[string]string{"Authorization": "Bearer " + a.token, "Content-Type": "application/json", "If-Match": "*"} {
		r.Header.Set(name, v)
	}
	resp, err := tr.RoundTrip(r)
	must(a.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	must(a.t, err)
	return resp.StatusCode, body
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
