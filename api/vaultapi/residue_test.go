package vaultapi_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// sink is a client that keeps nothing of an answer but its status. It may break at the first byte.
type sink struct {
	header http.Header
	status int
	breaks bool
}

func (s *sink) Header() http.Header    { return s.header }
func (s *sink) WriteHeader(status int) { s.status = status }
func (s *sink) Write(b []byte) (int, error) {
	if s.breaks {
		panic("the connection broke")
	}
	return len(b), nil
}

// discard serves a request whose body is wiped once it has been answered, and returns the status.
func (s *server) discard(method, path string, body []byte, breaks bool) int {
	s.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.RemoteAddr, r.Host = inside, "localhost"
	r.Header.Set("X-Vault-Token", s.token)
	to := &sink{header: http.Header{}, breaks: breaks}
	func() {
		defer func() { _ = recover() }()
		s.ServeHTTP(to, r)
	}()
	clear(body)
	return to.status
}

// TestValuesAreWiped: no copy of what a request carried, or an answer, is in memory afterwards.
func TestValuesAreWiped(t *testing.T) {
	for _, c := range []struct {
		method, path, before, after string
		want                        int
	}{
		{"PUT", data + "new", `{"data":{"k":"`, `"}}`, 200},
		{"PUT", data + "a", `{"data":{"k":"`, `"}}`, 200},
		{"PUT", data + "a", `{"data":{"k":"`, `"},"options":{"cas":7}}`, 400},
		{"PUT", data + "a", `{"data":{"k":"`, `"},"options":{"cas":"x"}}`, 400},
		{"PUT", data + "a", `{"data":{"k":"`, `"}`, 400},
		{"PUT", data + "text", `{"data":{"value":"`, `"}}`, 200},
		{"PUT", data + "text", `{"data":{"value":"`, `","more":1}}`, 400},
		{"PATCH", data + "a", `{"data":{"k":"`, `"}}`, 200},
		{"PATCH", data + "a", `{"data":{"k":{"k":"`, `"}}}`, 200},
		{"PATCH", data + "a", `{"data":{"k":"`, `"},"options":{"cas":7}}`, 400},
		{"PATCH", data + "text", `{"data":{"k":"`, `"}}`, 400},
		{"PATCH", data + "none", `{"data":{"k":"`, `"}}`, 404},
		{"PUT", "/v1/secret/metadata/a", `{"other":"`, `"}`, 200},
		{"PUT", "/v1/secret/delete/a", `{"versions":"`, `"}`, 400},
		{"PUT", "/v1/auth/token/renew-self", `{"increment":"`, `"}`, 400},
	} {
		s := newServer(t)
		s.want(200, "PUT", data+"a", `{"data":{"old":"x"}}`)
		s.want(201, "POST", "/v1/secrets", `{"name":"text","value":"old"}`, "Content-Type: application/json")
		v := residue.New(t, 64)
		if got := s.discard(c.method, c.path, v.Within(c.before, c.after), false); got != c.want {
			t.Errorf("%s %s %s…%s: %d, want %d", c.method, c.path, c.before, c.after, got, c.want)
		}
		v.Want(0, c.method+" "+c.path+" "+c.after)
	}
}

func TestAnswersAreWiped(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		for _, path := range []string{"a", "text"} {
			s := newServer(t)
			v := residue.New(t, 64)
			s.want(201, "POST", "/v1/secrets", `{"name":"text","value":"old"}`, "Content-Type: application/json")
			member := "value"
			if path == "a" {
				member = "k"
			}
			if got := s.discard("PUT", data+path, v.Within(`{"data":{"`+member+`":"`, `"}}`), false); got != 200 {
				t.Fatal(got)
			}
			v.Want(0, "before")
			if got := s.discard("GET", data+path, nil, breaks); got != 200 {
				t.Errorf("%s: %d", path, got)
			}
			v.Want(0, path)
		}
	}
}
