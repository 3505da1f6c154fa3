package httpapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestLifeOfASecret(t *testing.T) {
	a := newAPI(t)
	got := a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"db/password","kind":"manual","value":"` + marker + `",
		"description":"main","tags":{"team":"core"},"grace_period_secs":60}`}, 201, "")
	if got.Header().Get("Location") != "/v1/secrets/db/password" || got.Header().Get("ETag") != `"1"` || strings.Contains(got.Body.String(), marker) {
		t.Fatalf("%v %s", got.Header(), got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/secrets/db/password", noToken: true}, 200, "")
	if got.json["value"] != marker || got.Header().Get("ETag") != `"1"` {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "PUT", path: "/v1/secrets/db/password", body: `{"value":"second"}`, header: map[string]string{"If-Match": `"1"`}}, 200, "")
	if got.Header().Get("ETag") != `"2"` || strings.Contains(got.Body.String(), "second") || got.json["description"] != "main" {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/secrets/db/password?version=1", noToken: true}, 200, "")
	if got.json["value"] != marker || got.Header().Get("ETag") != "" || got.json["expires_at"] == nil {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "POST", path: "/v1/secrets/db/password/verify", body: `{"value":"` + marker + `"}`, noToken: true}, 200, "")
	if got.json["valid"] != true || got.json["version"] != 1.0 {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "POST", path: "/v1/secrets/db/password/verify", body: `{"value":"no"}`, noToken: true}, 200, "")
	if got.json["valid"] != false || got.json["version"] != nil {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/metadata/db/password", noToken: true}, 200, "")
	if got.json["current_version"] != 2.0 {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/versions/db/password", noToken: true}, 200, "")
	if l, _ := got.json["versions"].([]any); len(l) != 2 {
		t.Fatalf("%s", got.Body)
	}
	a.want(call{method: "POST", path: "/v1/secrets/db/password/rotate"}, 400, "invalid") // no policy
	a.want(call{method: "DELETE", path: "/v1/secrets/db/password", header: map[string]string{"If-Match": `"1"`}}, 412, "stale")
	if got = a.want(call{method: "DELETE", path: "/v1/secrets/db/password", header: map[string]string{"If-Match": "*"}}, 204, ""); got.Body.Len() != 0 {
		t.Fatal("204 with a body")
	}
	a.want(call{method: "GET", path: "/v1/secrets/db/password", noToken: true}, 404, "not_found")
	if strings.Contains(a.logs.String(), marker) || strings.Contains(a.logs.String(), a.token) {
		t.Fatal("the log shows a value or a token")
	}
}

// TestOneCorruptSecret: a list shows it beside the others, and it can be deleted.
func TestOneCorruptSecret(t *testing.T) {
	a := newAPI(t)
	a.create("a", marker)
	a.create("b", marker)
	a.create("c", marker)
	a.store.Corrupt("b")
	got := a.want(call{method: "GET", path: "/v1/secrets", noToken: true}, 200, "")
	list := got.json["secrets"].([]any)
	if len(list) != 3 || list[0].(map[string]any)["name"] != "a" || list[2].(map[string]any)["kind"] != "manual" {
		t.Fatalf("%s", got.Body)
	}
	bad := list[1].(map[string]any)
	if p, _ := bad["problem"].(map[string]any); bad["name"] != "b" || p["code"] != "corrupt" {
		t.Errorf("%v", bad)
	}
	a.want(call{method: "GET", path: "/v1/metadata/b", noToken: true}, 500, "corrupt")
	a.want(call{method: "DELETE", path: "/v1/secrets/b", header: map[string]string{"If-Match": `"1"`}}, 204, "")
}

func TestAutomatic(t *testing.T) {
	a := newAPI(t)
	got := a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"svc/key","kind":"automatic","rotation_interval_secs":86400,
		"grace_period_secs":3600,"generate_policy":{"length":20,"upper":false}}`}, 201, "")
	if got.json["next_rotation_at"] == nil || got.json["value"] != nil {
		t.Fatalf("%s", got.Body)
	}
	for _, c := range []call{
		{body: `{}`}, {}, {header: map[string]string{"If-Match": `"3"`}}, {header: map[string]string{"If-Match": `*`}, body: " { } "},
	} {
		c.method, c.path = "POST", "/v1/secrets/svc/key/rotate"
		a.want(c, 200, "")
	}
	a.want(call{method: "POST", path: "/v1/secrets/svc/key/rotate", header: map[string]string{"If-Match": `"1"`}}, 412, "stale")
	a.want(call{method: "POST", path: "/v1/secrets/svc/key/rotate", body: `{"x":1}`}, 400, "invalid")
	a.want(call{method: "POST", path: "/v1/secrets/svc/key/rotate", body: `{}`, header: map[string]string{"Content-Type": "text/plain"}}, 415, "unsupported_media_type")
	got = a.want(call{method: "GET", path: "/v1/secrets/svc/key", noToken: true}, 200, "")
	if v, _ := got.json["value"].(string); len(v) != 20 {
		t.Fatal("the value is not by the policy")
	}
}

func TestContentTypes(t *testing.T) {
	a := newAPI(t)
	raw := []byte{0, 1, 0xfe, 0xff, '\n'}
	for _, c := range []struct{ contentType, field, sent, want string }{
		{"", "value", "tab\t\"quote\" \\ é \u2028 \U0001f511 \x7f", ""},
		{"text/markdown", "value", "# x", ""},
		{"application/json", "value", `{"a": [1, "é"]}`, ""},
		{"application/problem+json", "value", `[]`, ""},
		{"application/octet-stream", "value_base64", base64.StdEncoding.EncodeToString(raw), ""},
		{"application/octet-stream", "value", "text in binary", base64.StdEncoding.EncodeToString([]byte("text in binary"))},
		{"text/plain", "value_base64", base64.StdEncoding.EncodeToString([]byte("coded")), "coded"},
	} {
		t.Run(c.contentType+" "+c.field, func(t *testing.T) {
			body := map[string]any{"name": "x", c.field: c.sent}
			if c.contentType != "" {
				body["content_type"] = c.contentType
			}
			text, err := json.Marshal(body)
			must(t, err)
			a.want(call{method: "POST", path: "/v1/secrets", body: string(text)}, 201, "")
			got := a.want(call{method: "GET", path: "/v1/secrets/x", noToken: true}, 200, "")
			want, field := c.sent, "value"
			if c.want != "" {
				want = c.want
			}
			if c.contentType == "application/octet-stream" {
				field = "value_base64"
			}
			if got.json[field] != want {
				t.Fatalf("%q, want %q", got.json[field], want)
			}
			a.want(call{method: "POST", path: "/v1/secrets/x/verify", body: fmt.Sprintf(`{%q:%s}`, c.field, quoted(c.sent)), noToken: true}, 200, "")
			a.want(call{method: "DELETE", path: "/v1/secrets/x", header: map[string]string{"If-Match": "*"}}, 204, "")
		})
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestNamesInPaths(t *testing.T) {
	a := newAPI(t)
	a.create("a/b/c", "v")
	a.create("a/rotate", "v")
	for _, p := range []string{"/v1/secrets/a/b/c", "/v1/secrets/a%2Fb%2fc", "/v1/secrets/a%2Fb/c", "/v1/secrets/%61/b/c", "/v1/metadata/a%2fb/c", "/v1/versions/a/b%2Fc", "/v1/secrets/a/rotate"} {
		a.want(call{method: "GET", path: p, noToken: true}, 200, "")
	}
	a.want(call{method: "POST", path: "/v1/secrets/a/rotate/verify", body: `{"value":"v"}`, noToken: true}, 200, "")
	a.want(call{method: "POST", path: "/v1/secrets/a%2Frotate%2Fverify", body: `{"value":"v"}`, noToken: true}, 200, "")
	a.want(call{method: "POST", path: "/v1/secrets/a/rotate"}, 404, "not_found") // of the secret "a"
	for name, p := range map[string]string{
		"empty": "/v1/secrets/", "dot": "/v1/secrets/.", "dots": "/v1/secrets/a/../b", "escaped dots": "/v1/secrets/a/%2e%2e/b",
		"double slash": "/v1/secrets/a//b", "trailing slash": "/v1/secrets/a/", "leading slash": "/v1/secrets//a",
		"NUL": "/v1/secrets/a%00", "newline": "/v1/secrets/a%0ab", "invalid UTF-8": "/v1/secrets/%ff", "space": "/v1/secrets/a%20b",
		"double escape": "/v1/secrets/a%252Fb", "256 bytes": "/v1/secrets/" + strings.Repeat("x", 256), "umlaut": "/v1/secrets/%c3%a9",
	} {
		t.Run(name, func(t *testing.T) {
			for _, base := range []string{"/v1/secrets/", "/v1/metadata/", "/v1/versions/"} {
				a.want(call{method: "GET", path: base + strings.TrimPrefix(p, "/v1/secrets/"), noToken: true}, 400, "invalid")
			}
			a.want(call{method: "DELETE", path: p, header: map[string]string{"If-Match": "*"}}, 400, "invalid")
			a.want(call{method: "PUT", path: p, body: `{"value":"v"}`, header: map[string]string{"If-Match": "*"}}, 400, "invalid")
		})
	}
}

func TestUnavailable(t *testing.T) {
	a := newAPI(t)
	a.create("a", "v")
	a.store.FailWith(func(op string) error {
		if op == "ReadSealed" {
			return core.Wrap(core.Unavailable, context.DeadlineExceeded, "the database cannot be reached")
		}
		return nil
	})
	got := a.want(call{method: "GET", path: "/v1/secrets/a", noToken: true}, 503, "unavailable")
	if got.Header().Get("Retry-After") != "1" {
		t.Fatal(got.Header())
	}
	a.store.EditWith(func(v *vault.StoredValue) { v.Sealed.Nonce[0] ^= 1 })
	a.store.FailWith(nil)
	a.want(call{method: "GET", path: "/v1/secrets/a", noToken: true}, 500, "corrupt")
	a.recorder.FailWith(func(vault.Entry) error { return fmt.Errorf("disk full") })
	a.want(call{method: "GET", path: "/v1/secrets", noToken: true}, 503, "unavailable")
	// A full journal refuses every request; the log does not have them one by one.
	a.logs.Reset()
	a.recorder.FailWith(func(vault.Entry) error { return core.Wrap(core.Unavailable, vault.ErrJournalFull, "full") })
	for range 5 {
		a.want(call{method: "GET", path: "/v1/secrets", noToken: true}, 503, "unavailable")
	}
	if n := strings.Count(a.logs.String(), `"level":"ERROR"`); n != 1 {
		t.Errorf("%d lines of errors for 5 requests:\n%s", n, a.logs)
	}
}

func TestDeadlineReachesTheDoor(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) { c.RequestTimeout = 1 })
	got := a.do(call{method: "GET", path: "/v1/secrets", noToken: true})
	if got.Code != http.StatusOK {
		t.Fatal(got.Code) // the fake checks no context; the door and the recorder must not mind
	}
}
