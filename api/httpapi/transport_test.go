package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/docs"
)

// secretCalls is one well-formed call of every route about secrets.
func secretCalls() map[string]call {
	match := map[string]string{"If-Match": "*"}
	return map[string]call{
		"create":   {method: "POST", path: "/v1/secrets", body: `{"name":"n","value":"v"}`},
		"update":   {method: "PUT", path: "/v1/secrets/a", body: `{"value":"w"}`, header: match},
		"rotate":   {method: "POST", path: "/v1/secrets/a/rotate"},
		"delete":   {method: "DELETE", path: "/v1/secrets/a", header: match},
		"read":     {method: "GET", path: "/v1/secrets/a"},
		"list":     {method: "GET", path: "/v1/secrets"},
		"verify":   {method: "POST", path: "/v1/secrets/a/verify", body: `{"value":"v"}`},
		"describe": {method: "GET", path: "/v1/metadata/a"},
		"versions": {method: "GET", path: "/v1/versions/a"},
	}
}

func isAdmin(route string) bool {
	return route == "create" || route == "update" || route == "rotate" || route == "delete"
}

func TestGuards(t *testing.T) {
	a := newAPI(t)
	a.create("a", "v")
	for route, c := range secretCalls() {
		t.Run(route, func(t *testing.T) {
			if isAdmin(route) {
				for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic " + a.token, a.token, "Bearer " + a.token + "x",
					"Bearer " + strings.ToUpper(a.token), "Bearer " + a.token + " " + a.token} {
					c.noToken, c.from = true, inside
					h := map[string]string{"Authorization": auth}
					for k, v := range c.header {
						h[k] = v
					}
					bad := c
					bad.header = h
					a.recorder.Take()
					got := a.want(bad, 401, "unauthenticated")
					if got.Header().Get("WWW-Authenticate") == "" {
						t.Error("no challenge")
					}
					if e := a.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied || e[0].Origin.Actor != "anonymous" {
						t.Fatalf("%+v", e)
					}
				}
				return
			}
			c.from = outside // with a valid token
			a.recorder.Take()
			a.want(c, 403, "denied")
			if e := a.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied || e[0].Origin.ClientIP.String() != "192.0.2.9" {
				t.Fatalf("%+v", e)
			}
			for _, from := range []string{"", "@", "nonsense", "10.1.2.3", "10.1.2.3:x"} {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
				r.Host = "localhost"
				r.RemoteAddr = from
				w := httptest.NewRecorder()
				a.ServeHTTP(w, r)
				if w.Code != 403 {
					t.Errorf("from %q: %d", from, w.Code)
				}
			}
			c.from, c.noToken = "[::ffff:10.1.2.3]:5", true
			a.want(c, 200, "")
			c.from = "[2001:db8::1]:5"
			a.want(c, 200, "")
		})
	}
}

func TestABadRequestIsAdmittedFirst(t *testing.T) {
	a := newAPI(t)
	for route, c := range secretCalls() {
		c.from, c.noToken = outside, true
		if c.body != "" {
			c.body = "{"
		}
		c.path += "?unknown=1"
		c.header = map[string]string{"If-Match": "nonsense"}
		a.recorder.Take()
		if isAdmin(route) {
			a.want(c, 401, "unauthenticated")
		} else {
			a.want(c, 403, "denied")
		}
		if e := a.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied {
			t.Fatalf("%s: %+v", route, e)
		}
	}
}

func TestForwardedAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		trusted   []string
		from      string
		forwarded []string
		status    int
	}{
		"refused by default":           {nil, inside, []string{"192.0.2.1"}, 403},
		"cannot help by default":       {nil, outside, []string{"10.0.0.1"}, 403},
		"refused from the untrusted":   {[]string{"127.0.0.0/8"}, outside, []string{"10.0.0.1"}, 403},
		"believed from the trusted":    {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1"}, 200},
		"believed, denied":             {[]string{"10.0.0.0/8"}, inside, []string{"192.0.2.1"}, 403},
		"right-most counts":            {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1, 192.0.2.1"}, 403},
		"trusted hops are skipped":     {[]string{"127.0.0.0/8", "192.0.2.0/24"}, "127.0.0.1:1", []string{"10.0.0.1, 192.0.2.1"}, 200},
		"headers are one list":         {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1", "192.0.2.1"}, 403},
		"garbage denies":               {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1, unknown"}, 403},
		"garbage left of it is no use": {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"unknown, 10.0.0.1"}, 200},
		"empty denies":                 {[]string{"10.0.0.0/8"}, inside, []string{""}, 403},
		"empty hop denies":             {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1,"}, 403},
		"no header, trusted peer":      {[]string{"10.0.0.0/8"}, inside, nil, 200},
		"with a port":                  {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"10.0.0.1:99"}, 200},
		"IPv6":                         {[]string{"::1/128"}, "[::1]:1", []string{"[2001:db8::5]:99"}, 200},
		"mapped proxy":                 {[]string{"127.0.0.0/8"}, "[::ffff:127.0.0.1]:1", []string{"2001:db8::5"}, 200},
		"zone denies":                  {[]string{"127.0.0.0/8"}, "127.0.0.1:1", []string{"fe80::1%10"}, 403},
		"all trusted":                  {[]string{"10.0.0.0/8"}, inside, []string{"10.0.0.1, 10.0.0.2"}, 200},
		"too many hops":                {[]string{"10.0.0.0/8"}, inside, []string{strings.Repeat("10.0.0.1,", 100) + "10.0.0.1"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, trusting(c.trusted...))
			r := httptest.NewRequest("GET", "/v1/secrets", nil)
			r.Host = "localhost"
			r.RemoteAddr = c.from
			r.Header["X-Forwarded-For"] = c.forwarded
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%d, want %d", w.Code, c.status)
			}
		})
	}
}

func TestRoutesThatAreNone(t *testing.T) {
	a := newAPI(t)
	for _, p := range []string{"/", "/v1", "/v1/", "/v2/secrets", "/v1/secret/a", "/metrics/", "/healthz/", "/V1/secrets", "/debug/pprof/", "//v1/secrets"} {
		a.want(call{method: "GET", path: p}, 404, "not_found")
	}
	for _, c := range []struct{ method, path, allow string }{
		{"PATCH", "/v1/secrets", "POST, GET, HEAD"}, {"HEAD", "/v1/batch-read", "POST"}, {"POST", "/v1/metadata/a", "GET, HEAD, PATCH"},
		{"DELETE", "/v1/versions/a", "GET, HEAD"}, {"OPTIONS", "/v1/secrets/a", "GET, HEAD, PUT, DELETE, POST"}, {"POST", "/healthz", "GET, HEAD"},
		{"POST", "/v1/secrets/a", "GET, HEAD, PUT, DELETE"}, {"POST", "/v1/secrets/rotate", "GET, HEAD, PUT, DELETE"}, {"TRACE", "/v1/secrets", "POST, GET, HEAD"},
	} {
		got := a.do(call{method: c.method, path: c.path})
		if got.Code != 405 || len(got.Header().Get("Allow")) != len(c.allow) {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, got.Code, got.Header().Get("Allow"))
		}
		for m := range strings.SplitSeq(c.allow, ", ") {
			if !strings.Contains(got.Header().Get("Allow"), m) {
				t.Errorf("%s %s: Allow %q lacks %s", c.method, c.path, got.Header().Get("Allow"), m)
			}
		}
	}
	if n := len(a.recorder.Take()); n != 0 {
		t.Errorf("%d records of what is no operation", n)
	}
}

func TestProbes(t *testing.T) {
	a := newAPI(t)
	a.want(call{method: "GET", path: "/healthz", from: outside, noToken: true}, 200, "")
	a.want(call{method: "HEAD", path: "/healthz", from: outside, noToken: true}, 200, "")
	a.want(call{method: "HEAD", path: "/readyz", from: outside, noToken: true}, 200, "")
	got := a.want(call{method: "GET", path: "/readyz", from: outside, noToken: true}, 200, "")
	if got.json["status"] != "ready" {
		t.Fatalf("%s", got.Body)
	}
	a.store.FailWith(func(op string) error {
		if op == "CheckWriter" {
			return core.Wrap(core.Unavailable, errors.New("host db-internal-7"), "no primary")
		}
		return nil
	})
	got = a.do(call{method: "GET", path: "/readyz", from: outside, noToken: true})
	if got.Code != 503 || got.json["status"] != "unavailable" || got.Header().Get("Retry-After") == "" {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	checks, _ := got.json["checks"].(map[string]any)
	if checks["reader"] != "ok" || checks["writer"] != "unavailable" || checks["keys"] != "ok" {
		t.Fatalf("%v", checks)
	}
	if strings.Contains(got.Body.String(), "db-internal") || !strings.Contains(a.logs.String(), "db-internal") {
		t.Error("the cause is for the log alone")
	}
	a.want(call{method: "GET", path: "/healthz"}, 200, "")
}

func TestServedDocument(t *testing.T) {
	a := newAPI(t)
	got := a.want(call{method: "GET", path: "/v1/openapi.yaml", from: outside, noToken: true}, 200, "")
	if !bytes.Equal(got.Body.Bytes(), docs.OpenAPI) {
		t.Fatal("not the embedded document")
	}
	// Every code has its place in the document.
	codes := a.doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum
	known := map[any]bool{}
	for _, c := range codes {
		known[c] = true
	}
	for _, c := range []core.Code{core.Invalid, core.TooLarge, core.Unauthenticated, core.Denied, core.NotFound, core.Exists, core.Stale,
		core.Unavailable, core.Corrupt, core.Internal} {
		if !known[string(c)] {
			t.Errorf("code %s is not documented", c)
		}
	}
	// What is documented is served.
	for path, item := range a.doc.Paths.Map() {
		name := "some/name"
		if strings.HasPrefix(path, "/v1/auth/") {
			name = "some"
		}
		for method := range item.Operations() {
			got := a.do(call{method: method, path: strings.ReplaceAll(path, "{name}", name)})
			if got.Code == 405 || got.Code == 404 && got.json["detail"] == "no such path" {
				t.Errorf("%s %s is documented and not served", method, path)
			}
		}
	}
	if _, err := openapi3.NewLoader().LoadFromData(got.Body.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestPanicsAreConstant(t *testing.T) {
	a := newAPI(t)
	a.create("a", "v")
	a.store.FailWith(func(op string) error {
		if op == "ReadSealed" {
			panic("the value is " + marker)
		}
		return nil
	})
	got := a.want(call{method: "GET", path: "/v1/secrets/a"}, 500, "internal")
	if got.json["detail"] != "internal error" {
		t.Fatalf("%s", got.Body)
	}
	log := a.logs.String()
	if strings.Contains(log, marker) || !strings.Contains(log, "panic of type string at httpapi_test.TestPanicsAreConstant") {
		t.Fatalf("%s", log)
	}
	if e := a.recorder.Take(); len(e) != 1 || e[0].Code != core.Internal {
		t.Fatalf("%+v", e)
	}
}

func TestRequestIDs(t *testing.T) {
	a := newAPI(t)
	for id, kept := range map[string]bool{
		"abc-123._X": true, "": false, "a b": false, strings.Repeat("x", 65): false, "a\nb": false, `"><script>`: false, "\xff": false,
	} {
		a.recorder.Take()
		r := httptest.NewRequest("GET", "/v1/secrets", nil)
		r.Host = "localhost"
		r.RemoteAddr = inside
		r.Header["X-Request-Id"] = []string{id}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		got := w.Header().Get("X-Request-Id")
		if (got == id) != kept || len(got) == 0 || len(got) > 64 {
			t.Errorf("%q became %q", id, got)
		}
		if e := a.recorder.Take(); len(e) != 1 || e[0].Origin.RequestID != got {
			t.Errorf("%+v", e)
		}
	}
}

func TestAccessLog(t *testing.T) {
	a := newAPI(t)
	a.create("db/password", "v")
	a.logs.Reset()
	a.want(call{method: "GET", path: "/v1/secrets/db/password?version=1", noToken: true, header: map[string]string{"X-Request-Id": "r1", "Cookie": marker}}, 200, "")
	var line map[string]any
	must(t, json.Unmarshal(a.logs.Bytes(), &line)) // exactly one line
	for k, want := range map[string]any{
		"method": "GET", "route": "/v1/secrets/*name", "status": 200.0, "client_ip": "10.1.2.3", "request_id": "r1", "secret": "db/password",
	} {
		if line[k] != want {
			t.Errorf("%s is %v, want %v", k, line[k], want)
		}
	}
	const unseen = "SENT-BY-CLIENT"
	a.logs.Reset()
	a.want(call{method: "GET", path: "/v1/secrets?prefix=" + unseen, noToken: true}, 200, "")
	a.want(call{method: "GET", path: "/v1/secrets/" + unseen + "%20x", noToken: true}, 400, "invalid")
	a.want(call{method: "POST", path: "/v1/secrets", body: `{"` + unseen + `":1}`, header: map[string]string{"Cookie": unseen}}, 400, "invalid")
	if strings.Contains(a.logs.String(), unseen) {
		t.Errorf("the log shows query, body or headers: %s", a.logs)
	}
}

func TestOverARealConnection(t *testing.T) {
	a := newAPI(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := httpapi.NewServer(httpapi.ServerConfig{Handler: a, Addr: "unused"})
	if srv.ReadHeaderTimeout == 0 || srv.ReadTimeout == 0 || srv.WriteTimeout <= srv.ReadTimeout || srv.IdleTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Fatalf("a limit is missing: %+v", srv)
	}
	go func() { _ = srv.Serve(ln) }()
	defer func() { must(t, srv.Shutdown(t.Context())) }()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	send := func(body io.Reader) int {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+ln.Addr().String()+"/v1/secrets", body)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+a.token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		must(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	value := strings.Repeat("v", core.DefaultMaxValueLen)
	if got := send(strings.NewReader(`{"name":"max","value":"` + value + `"}`)); got != 201 {
		t.Errorf("the largest value: %d", got)
	}
	// Chunked: the length is not known beforehand.
	if got := send(io.MultiReader(strings.NewReader(`{"name":"chunked","value":"`+value), strings.NewReader(`"}`))); got != 201 {
		t.Errorf("chunked: %d", got)
	}
	if got := send(io.MultiReader(strings.NewReader(`{"name":"x","value":"`+value+value), strings.NewReader(value+`"}`))); got != 413 {
		t.Errorf("chunked over the limit: %d", got)
	}
	// A body that ends before its length, by hand.
	conn, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	_, err = io.WriteString(conn, "POST /v1/secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer "+a.token+
		"\r\nContent-Length: 50\r\n\r\n{\"name\":\"short\",")
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	must(t, err)
	_ = conn.Close()
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
		t.Errorf("a short body: %.40s", answer)
	}
}
