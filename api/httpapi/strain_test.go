package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// unread fails the test when it is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// TestBodiesOfStrangersAreNotRead: who is refused whatever the body says does not get it read.
func TestBodiesOfStrangersAreNotRead(t *testing.T) {
	a := newAPI(t)
	calls := secretCalls()
	calls["batch"] = call{method: "POST", path: "/v1/batch-read", body: "{}"}
	calls["expire"] = call{method: "POST", path: "/v1/secrets/a/expire", body: "{}"}
	calls["configure"] = call{method: "PATCH", path: "/v1/metadata/a", body: "{}"}
	for route, c := range calls {
		for _, auth := range []string{"", "Bearer hvt_short"} {
			r := httptest.NewRequest(c.method, c.path, unread{t})
			r.Host = "localhost"
			r.RemoteAddr, r.ContentLength = outside, 150_000
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", auth)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != 401 && w.Code != 403 {
				t.Errorf("%s: %d", route, w.Code)
			}
		}
	}
}

// TestAnnouncedBodiesCostNothing: memory is taken as bytes come.
func TestAnnouncedBodiesCostNothing(t *testing.T) {
	a := newAPI(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 200
	for range n {
		r := httptest.NewRequest("POST", "/v1/secrets/a/verify", strings.NewReader(`{"v`))
		r.Host = "localhost"
		r.RemoteAddr, r.ContentLength = inside, 100_000
		r.Header.Set("Content-Type", "application/json")
		a.ServeHTTP(httptest.NewRecorder(), r)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 50_000 {
		t.Errorf("%d bytes are allocated for each", each)
	}
}

// TestRefusalsRunOut: 429 says when to come back, and a caller that may read goes on.
func TestRefusalsRunOut(t *testing.T) {
	a := newAPI(t)
	a.create("a", "v")
	for range 60 {
		a.want(call{method: "GET", path: "/v1/secrets/a", from: outside}, 403, "denied")
	}
	for _, c := range secretCalls() {
		c.from, c.noToken = outside, true
		if got := a.want(c, 429, "too_many"); got.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	a.want(call{method: "GET", path: "/v1/secrets/a"}, 200, "")
	a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"b","value":"v"}`}, 201, "")
}

// TestClientsThatHangUp are nothing that an operator has to check.
func TestClientsThatHangUp(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.store.FailWith(func(string) error { cancel(); return context.Canceled })
	r := httptest.NewRequest("GET", "/v1/secrets/a", nil).WithContext(ctx)
	r.Host = "localhost"
	r.RemoteAddr = inside
	a.ServeHTTP(httptest.NewRecorder(), r)
	if log := a.logs.String(); strings.Contains(log, `"ERROR"`) || !strings.Contains(log, "the client went away") {
		t.Error(log)
	}
	if e := a.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeFailed {
		t.Errorf("%+v", e)
	}
}

// serve runs a server of the product's own on loopback.
func serve(t *testing.T, a *api, change func(*httpapi.ServerConfig, *http.Server)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := httpapi.ServerConfig{Handler: a, Addr: "unused"}
	change(&c, &http.Server{})
	srv := httpapi.NewServer(c)
	change(&c, srv)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { must(t, srv.Close()) })
	return ln.Addr().String()
}

func TestABodyThatTakesTooLong(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) { c.SlowLimit = 200 * time.Millisecond })
	at := serve(t, a, func(c *httpapi.ServerConfig, _ *http.Server) { c.SlowLimit = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", at)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /v1/secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer "+a.token+
		"\r\nContent-Length: 50\r\n\r\n{\"name\":\"slow\",")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 408 || !strings.Contains(string(body), `"code":"request_timeout"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if e := a.recorder.Take(); len(e) != 1 || e[0].Origin.Actor != "token:ops" {
		t.Errorf("%+v", e)
	}
}

// TestConnectionsAreBounded: a client has a quarter of them, a trusted proxy all, and the one that was idle for longest
// makes room for a new one.
func TestConnectionsAreBounded(t *testing.T) {
	for name, test := range map[string]struct {
		proxies []netip.Prefix
		want    int
	}{
		"a client": {nil, 2},
		"a proxy":  {[]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			at := serve(t, newAPI(t), func(c *httpapi.ServerConfig, _ *http.Server) {
				c.MaxConns, c.Policy = 8, httpapi.NewLivePolicy(httpapi.Policy{TrustedProxies: test.proxies})
			})
			connect := func() (net.Conn, error) {
				conn, err := net.Dial("tcp", at)
				must(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
				if _, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
					return conn, err
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
				}
				return conn, err
			}
			var all []net.Conn
			for i := range test.want + 3 {
				conn, err := connect()
				if err != nil {
					t.Fatalf("connection %d: %v", i+1, err)
				}
				all = append(all, conn)
			}
			// Which one was idle for longest is not decided by the order in which they asked: the server notices each
			// a moment after its answer. As many as there may be are served once more, the last one among them.
			open, last := 0, false
			for i, conn := range all {
				_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
				if err == nil {
					_, err = http.ReadResponse(bufio.NewReader(conn), nil)
				}
				if err == nil {
					open++
					last = i == len(all)-1
				}
			}
			if open != test.want || !last {
				t.Errorf("%d connections are open, want %d; the last one: %v", open, test.want, last)
			}
		})
	}
}

// stuck is an answer that its client does not take.
type stuck struct {
	*httptest.ResponseRecorder
	startedAt chan<- struct{}
	release   <-chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	s.startedAt <- struct{}{}
	<-s.release
	return s.ResponseRecorder.Write(b)
}

// TestBatchesThatAreNotTaken: an answer counts among those at a time until its client has taken it.
func TestBatchesThatAreNotTaken(t *testing.T) {
	a := newAPI(t)
	a.create("a", marker)
	ask := func(ctx context.Context, from int, w http.ResponseWriter) {
		r := httptest.NewRequest("POST", "/v1/batch-read", strings.NewReader(`{"names":["a"]}`)).WithContext(ctx)
		r.Host = "localhost"
		r.RemoteAddr = fmt.Sprintf("10.1.2.%d:4711", from)
		r.Header.Set("Content-Type", "application/json")
		a.ServeHTTP(w, r)
	}
	startedAt, release := make(chan struct{}, 16), make(chan struct{})
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	full := func(from int, want string) {
		t.Helper()
		a.recorder.Take()
		w := httptest.NewRecorder()
		ask(ctx, from, w)
		if e := a.recorder.Take(); w.Code != 503 || !strings.Contains(w.Body.String(), want) || len(e) != 1 || e[0].Outcome != vault.OutcomeFailed {
			t.Errorf("%d %s, %+v", w.Code, w.Body, e)
		}
	}
	for client := range 4 { // each has a share, and no more
		for range 4 {
			all.Go(func() { ask(t.Context(), client, stuck{httptest.NewRecorder(), startedAt, release}) })
		}
		for range 4 {
			<-startedAt
		}
		full(client, "too many batch reads of this client at once")
		if client < 3 {
			w := httptest.NewRecorder()
			if ask(t.Context(), 99, w); w.Code != 200 {
				t.Errorf("another client: %d %s", w.Code, w.Body)
			}
		}
	}
	full(99, "too many batch reads at once")
	close(release)
	all.Wait()
	w := httptest.NewRecorder()
	ask(t.Context(), 0, w)
	if w.Code != 200 {
		t.Errorf("afterwards: %s", fmt.Sprint(w.Code, w.Body))
	}
}
