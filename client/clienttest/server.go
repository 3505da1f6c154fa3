// Package clienttest has a vault for the tests of programs that use package client. It keeps secrets in memory, and needs
// no PostgreSQL.
//
//	s := clienttest.NewServer(t)
//	s.Put("db/password", "correct-horse-battery")
//	c := s.Client(t)
//
// It is strict: it refuses what the vault would refuse, such as a wrong name, an unknown field or a change that does not
// name what it replaces, and it wants its token for reads as well. The package's own tests compare its answers with those
// of a real vault.
//
// It creates, reads, updates, deletes, rotates, verifies and lists secrets, reads many at once, shows and changes their
// settings, lists their versions, and streams events. It has no grants, no login, no audit, no schedules and no grace: a
// superseded version does not verify, and is read until the server closes. A request for anything else gets 501 and fails
// the test.
package clienttest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/client"
)

// Server is a vault in memory. It is safe for concurrent use.
type Server struct {
	// URL has no slash at its end.
	URL string
	// Token is what requests must present, until ChangeToken.
	Token string

	t      testing.TB
	http   *httptest.Server
	closed chan struct{}

	mu          sync.Mutex
	secrets     map[string]*secret
	lastVersion map[string]int64 // of names that were deleted: no number is used twice
	events      []event
	changed     chan struct{} // closed at the next event
	valid       string        // token
	down        bool
	outages     int
	refusals    int
	retryAfter  int
	requests    map[string]int
}

// NewServer starts a server and stops it with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t: t, Token: "hvt_" + rand.Text() + rand.Text()[:17], secrets: map[string]*secret{}, lastVersion: map[string]int64{},
		changed: make(chan struct{}), closed: make(chan struct{}), requests: map[string]int{},
	}
	s.valid = s.Token
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = s.http.URL
	t.Cleanup(func() {
		close(s.closed) // ends the streams, which Close waits for
		s.http.Close()
	})
	return s
}

// Client returns a client with the server's token. It does not retry.
func (s *Server) Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Address: s.URL, Token: s.Token, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Put stores a value as a text: the first version of a secret, or the next one.
func (s *Server) Put(name, value string) {
	s.t.Helper()
	if !validName(name) {
		s.t.Fatalf("clienttest: %q is no name of a secret", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := s.secrets[name]; sec != nil {
		s.addVersion(sec, []byte(value), "update")
		return
	}
	s.create(newSecret{Name: name, Kind: "manual"}, []byte(value))
}

// Value returns the current value of a secret, and whether there is one.
func (s *Server) Value(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.secrets[name]
	if sec == nil {
		return "", false
	}
	return string(sec.versions[len(sec.versions)-1].value), true
}

// Remove deletes a secret.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := s.secrets[name]; sec != nil {
		s.remove(sec)
	}
}

// SetDown makes the server answer 503 to everything, or stop doing so. It ends the streams of events.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	if down {
		s.outages++
	}
	s.ring()
}

// RefuseNext answers the next n requests with 429 and the given Retry-After.
func (s *Server) RefuseNext(n, retryAfterSecs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals, s.retryAfter = n, retryAfterSecs
}

// ChangeToken makes another token the valid one, so that the clients of the old one are refused.
func (s *Server) ChangeToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = token
}

// Requests returns how many requests there were of a method and path, as in "GET /v1/secrets/db/password".
func (s *Server) Requests(methodAndPath string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[methodAndPath]
}

// answer is a response before it is sent. body nil is none.
type answer struct {
	status int
	header map[string]string
	body   any
}

func problem(status int, code, detail string) answer {
	body := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "request_id": "clienttest"}
	if detail != "" {
		body["detail"] = detail
	}
	return answer{status: status, body: body}
}

func invalid(format string, args ...any) answer {
	return problem(http.StatusBadRequest, "invalid", fmt.Sprintf(format, args...))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.Method+" "+r.URL.Path]++
	a, done := s.refuse(r)
	s.mu.Unlock()
	if !done && r.URL.Path == "/v1/events" {
		s.stream(w, r)
		return
	}
	if !done {
		a = s.route(r)
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if a.status >= 400 && a.status != http.StatusServiceUnavailable || a.header["Retry-After"] != "" {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body)
}

// refuse answers what is refused before it is read.
func (s *Server) refuse(r *http.Request) (answer, bool) {
	switch {
	case r.URL.Path == "/healthz":
		return answer{status: http.StatusOK, body: map[string]string{"status": "ok"}}, true
	case r.URL.Path == "/readyz" && s.down:
		return answer{status: http.StatusServiceUnavailable, body: map[string]string{"status": "unavailable"}}, true
	case r.URL.Path == "/readyz":
		return answer{status: http.StatusOK, body: map[string]string{"status": "ready"}}, true
	case s.down:
		a := problem(http.StatusServiceUnavailable, "unavailable", "clienttest: the server is down")
		a.header = map[string]string{"Retry-After": "1"}
		return a, true
	case s.refusals > 0:
		s.refusals--
		a := problem(http.StatusTooManyRequests, "too_many", "clienttest: refused")
		a.header = map[string]string{"Retry-After": fmt.Sprint(s.retryAfter)}
		return a, true
	case bearer(r) != s.valid:
		a := problem(http.StatusUnauthorized, "unauthenticated", "a valid token is needed")
		a.header = map[string]string{"WWW-Authenticate": `Bearer realm="clienttest"`}
		return a, true
	}
	return answer{}, false
}

func bearer(r *http.Request) string {
	if token := r.Header.Get("X-Vault-Token"); token != "" {
		return token
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// now has the precision of the database.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
