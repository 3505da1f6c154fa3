package vaultapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	marker  = "MARKER-5d1e-plaintext"
	inside  = "10.1.2.3:4711"
	outside = "192.0.2.9:4711"
)

// server is the handler with the protocol, on a door of fakes.
type server struct {
	http.Handler
	t        *testing.T
	store    *doortest.Store
	recorder *doortest.Recorder
	vault    *vault.Vault
	protocol *vaultapi.API
	token    string
	now      time.Time     // by the database
	ahead    time.Duration // the clock of the API
	deadline time.Time     // of the last lease that was issued
	logs     *bytes.Buffer
	meter    meter
}

type meter struct{ routes []string }

func (*meter) Begin() {}
func (m *meter) End(_, route string, _ int, _ time.Duration) {
	m.routes = append(m.routes, route)
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, recorder: &doortest.Recorder{}, logs: &bytes.Buffer{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	clock := func() time.Time { return s.now }
	s.store = &doortest.Store{Recorder: s.recorder, Now: clock}
	allow, err := allowlist.Parse("10.0.0.0/8")
	must(t, err)
	s.vault, err = vault.New(vault.Config{Store: s.store, Keeper: &doortest.Keeper{}, Recorder: s.recorder, Allow: allow, Node: "n", Database: "app", Clock: clock, Leases: leases{server: s}})
	must(t, err)
	tok, err := s.vault.CreateToken(t.Context(), vault.Operator{Name: "root"}, "ops", 0)
	must(t, err)
	s.token = tok.Reveal()
	s.protocol = vaultapi.New(vaultapi.Config{Vault: s.vault, Database: "app", Clock: func() time.Time { return s.now.Add(s.ahead) }})
	s.Handler = httpapi.New(httpapi.Config{Vault: s.vault, Log: slog.New(slog.NewJSONHandler(s.logs, nil)), Protocol: s.protocol, Meter: &s.meter})
	s.recorder.Take()
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is one response.
type answer struct {
	*httptest.ResponseRecorder
	json map[string]any
}

// call is one request, as a Go client of Vault sends it; header lines are "Name: value".
func (s *server) call(method, path, body string, header ...string) answer {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	r.RemoteAddr, r.Host = inside, "localhost"
	r.Header.Set("X-Vault-Request", "true")
	r.Header.Set("X-Vault-Token", s.token)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		switch r.Header.Set(name, value); {
		case name == "From":
			r.RemoteAddr = value
		case name == "Host":
			r.Host = value
		case value == "-":
			r.Header.Del(name)
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	out := answer{ResponseRecorder: w}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out.json); err != nil {
			s.t.Fatalf("%s %s: %d, no JSON: %s", method, path, w.Code, w.Body)
		}
		if ct := w.Header().Get("Content-Type"); ct != "application/json" && r.Header.Get("X-Vault-Request") != "" {
			s.t.Errorf("%s %s: Content-Type %q: clients compare it", method, path, ct)
		}
	}
	if w.Code != http.StatusTemporaryRedirect && w.Header().Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s %s: headers %v", method, path, w.Header())
	}
	return out
}

// want is a call whose answer has a status.
func (s *server) want(status int, method, path, body string, header ...string) answer {
	s.t.Helper()
	got := s.call(method, path, body, header...)
	if got.Code != status {
		s.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got.Code, status, got.Body)
	}
	if status >= 400 && strings.Contains(got.Body.String(), marker) {
		s.t.Fatalf("the error shows the value: %s", got.Body)
	}
	return got
}

// fails is a call that gets exactly these errors.
func (s *server) fails(status int, errors string, method, path, body string, header ...string) {
	s.t.Helper()
	got := s.want(status, method, path, body, header...)
	if text := got.Body.String(); text != `{"errors":`+errors+`}` {
		s.t.Errorf("%s %s: %s, want the errors %s", method, path, text, errors)
	}
}

// at returns what is at a path of members, joined by dots.
func (a answer) at(path string) any {
	var v any = a.json
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[part]
	}
	return v
}

// is compares what is at a path with its JSON.
func (s *server) is(a answer, path, want string) {
	s.t.Helper()
	got, err := json.Marshal(a.at(path))
	must(s.t, err)
	if string(got) != want {
		s.t.Errorf("%s is %s, want %s: %s", path, got, want, a.Body)
	}
}
