package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// fromInside makes loopback an address that may read: the door's list has 10.0.0.0/8.
func fromInside(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = inside
		h.ServeHTTP(w, r)
	})
}

// dial sends raw bytes to the product's own server and returns the connection's reader.
func dial(t *testing.T, at, raw string) *bufio.Reader {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, raw)
	must(t, err)
	return bufio.NewReader(conn)
}

// TestHead goes through every route that GET has: the same status and headers, no body, and the same record.
func TestHead(t *testing.T) {
	a := newAPI(t)
	a.create("a", marker)
	a.create("long", strings.Repeat("x", 9000))
	at := serve(t, a, func(c *httpapi.ServerConfig, s *http.Server) { c.Handler, s.Handler = fromInside(a), fromInside(a) })
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/openapi.yaml", "/v1/secrets", "/v1/secrets/a", "/v1/secrets/long", "/v1/secrets/none",
		"/v1/secrets/a?version=1", "/v1/secrets/a?unknown=1", "/v1/metadata/a", "/v1/versions/a", "/v1/admin/rewrap", "/v1/status", "/v1/events", "/v1/audit", "/none"} {
		t.Run(path, func(t *testing.T) {
			ask := func(method string) (*http.Response, []vault.Entry) {
				a.recorder.Take()
				r := dial(t, at, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: r\r\nAuthorization: Bearer "+a.token+"\r\nConnection: close\r\n\r\n")
				resp, err := http.ReadResponse(r, &http.Request{Method: method})
				must(t, err)
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				if rest, _ := io.ReadAll(r); method == "HEAD" && len(rest) > 0 {
					t.Errorf("a body: %q", rest)
				}
				return resp, a.recorder.Take()
			}
			get, wantRecord := ask("GET")
			head, record := ask("HEAD")
			if get.StatusCode != head.StatusCode {
				t.Errorf("GET %d, HEAD %d", get.StatusCode, head.StatusCode)
			}
			if strings.HasPrefix(path, "/v1/secrets/") && get.ContentLength < 0 {
				t.Error("the header does not say how long the answer is")
			}
			for _, h := range []http.Header{get.Header, head.Header} {
				h.Del("Date")
				h.Del("X-Accel-Buffering")
			}
			if path == "/v1/status" || path == "/v1/audit" || path == "/v1/events" { // as long as a time is written, or as a stream
				get.Header.Del("Content-Length")
				head.Header.Del("Content-Length")
				get.ContentLength = -1
			}
			if d := cmp.Diff(get.Header, head.Header); d != "" {
				t.Error(d)
			}
			if head.ContentLength != get.ContentLength && get.ContentLength >= 0 {
				t.Errorf("length: GET %d, HEAD %d", get.ContentLength, head.ContentLength)
			}
			if d := cmp.Diff(len(wantRecord), len(record)); d != "" || len(record) > 0 && (record[0].Action != wantRecord[0].Action || record[0].Outcome != wantRecord[0].Outcome) {
				t.Errorf("GET recorded %+v, HEAD %+v", wantRecord, record)
			}
		})
	}
}

// TestBothLengths: a request with Content-Length and Transfer-Encoding is the last of its connection, so that nothing
// can be smuggled behind it.
func TestBothLengths(t *testing.T) {
	a := newAPI(t)
	at := serve(t, a, func(*httpapi.ServerConfig, *http.Server) {})
	smuggled := "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled\r\n\r\n"
	for _, path := range []string{"/v1/secrets", "/none", "/healthz"} {
		for _, lengths := range []string{"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"} {
			r := dial(t, at, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+lengths+"\r\n0\r\n\r\n"+smuggled)
			resp, err := http.ReadResponse(r, nil)
			must(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			if !resp.Close {
				t.Errorf("%s %q: the connection stays open", path, lengths)
			}
			if rest, _ := io.ReadAll(r); len(rest) > 0 {
				t.Errorf("%s %q: the next request was answered: %s", path, lengths, rest)
			}
		}
	}
}

// TestMalformed: what net/http refuses by itself is a problem as well.
func TestMalformed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := httpapi.NewServer(httpapi.ServerConfig{Handler: newAPI(t)})
	go func() { _ = srv.Serve(httpapi.AnswerProblems(ln)) }()
	t.Cleanup(func() { must(t, srv.Close()) })
	for name, tt := range map[string]struct {
		raw    string
		status int
		code   string
	}{
		"Escape":      {"GET /v1/secrets/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "invalid"},
		"NoHost":      {"GET /v1/secrets HTTP/1.1\r\n\r\n", 400, "invalid"},
		"TwoHosts":    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid"},
		"BadHost":     {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid"},
		"HeaderName":  {"GET / HTTP/1.1\r\nHost: localhost\r\nA B: " + marker + "\r\n\r\n", 400, "invalid"},
		"HeaderValue": {"GET / HTTP/1.1\r\nHost: localhost\r\nA: \x01\r\n\r\n", 400, "invalid"},
		"NotHTTP":     {marker + "\r\n\r\n", 400, "invalid"},
		"Version":     {"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "invalid"},
		"Encoding":    {"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "invalid"},
		"TwoLengths":  {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "invalid"},
		"Long":        {"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "too_large"},
		"Options":     {"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.ReadResponse(dial(t, ln.Addr().String(), tt.raw), nil)
			must(t, err)
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
			id := resp.Header.Get("X-Request-Id")
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != "application/problem+json" || id == "" ||
				!strings.Contains(string(body), `"code":"`+tt.code+`","request_id":"`+id+`"`) || strings.Contains(string(body), marker) {
				t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
			}
		})
	}
}

// counts is a Meter that keeps what it is told.
type counts struct {
	mu        sync.Mutex
	startedAt int
	ended     []string
}

func (m *counts) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.startedAt++
}

func (m *counts) End(method, route string, _ int, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, method+" "+route)
}

// TestRoutesOfTheMeter: each route is its template in the document, and a name is in none.
func TestRoutesOfTheMeter(t *testing.T) {
	m := &counts{}
	a := newAPI(t, func(c *httpapi.Config) { c.Meter = m })
	a.create("a", marker)
	known := map[string]bool{"": true}
	for path := range a.doc.Paths.Map() {
		known[path] = true
	}
	for _, c := range secretCalls() {
		a.do(c)
	}
	for _, path := range []string{"/none", "/v1/secrets/a/b/c", "/v1/secrets/", "/metrics", "/healthz"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "TRACE", "BREW"} {
			a.do(call{method: method, path: path})
		}
	}
	if m.startedAt != len(m.ended) || m.startedAt == 0 {
		t.Errorf("%d began, %d ended", m.startedAt, len(m.ended))
	}
	for _, e := range m.ended {
		if _, route, _ := strings.Cut(e, " "); !known[route] {
			t.Errorf("%q is not in the document", e)
		}
	}
}

// TestEveryRouteHasAnAction: what the document has beside public paths can be recorded as what it is.
func TestEveryRouteHasAnAction(t *testing.T) {
	a := newAPI(t)
	public := map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true, "/v1/openapi.yaml": true}
	n := 0
	for path, item := range a.doc.Paths.Map() {
		for method := range item.Operations() {
			if public[path] {
				continue
			}
			n++
			name, recorded := "some/name", "some/name"
			if strings.HasSuffix(path, "/login/{name}") {
				name, recorded = "user", "" // no secret's, and it may be a mistyped password
			}
			d := newAPI(t)
			d.recorder.Take()
			d.do(call{method: method, path: strings.ReplaceAll(path, "{name}", name), host: "evil.example"})
			e := d.recorder.Take()
			if len(e) != 1 || e[0].Action == "" || strings.Contains(path, "{name}") && e[0].Name != recorded {
				t.Errorf("%s %s: recorded %+v", method, path, e)
			}
		}
	}
	if n < 15 {
		t.Errorf("%d operations", n)
	}
}
