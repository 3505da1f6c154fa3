package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
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

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(status int) {
	s.status = status
}
func (s *sink) Write(b []byte) (int, error) {
	if s.breaks {
		panic("the connection broke")
	}
	return len(b), nil
}

// discard serves a request whose body is wiped once it has been answered, and returns the status.
func (a *api) discard(method, path string, body []byte, in io.Reader, to *sink) int {
	a.t.Helper()
	if in == nil {
		in = bytes.NewReader(body)
	}
	r := httptest.NewRequest(method, path, in)
	r.RemoteAddr, r.Host = inside, "localhost"
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("If-Match", "*")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	to.header = http.Header{}
	a.ServeHTTP(to, r)
	clear(body)
	return to.status
}

// TestBodiesAreWiped: no copy of what a request carried is in memory once it has been answered, whatever the answer is.
func TestBodiesAreWiped(t *testing.T) {
	broken := func(b []byte) io.Reader {
		return io.MultiReader(bytes.NewReader(b), errorReader{})
	}
	for _, c := range []struct {
		name, method, path, before, after string
		in                                func([]byte) io.Reader
		want                              int
	}{
		{"create", "POST", "/v1/secrets", `{"name":"x/1","value":"`, `"}`, nil, 201},
		{"create, bad query", "POST", "/v1/secrets?a=%zz", `{"name":"x/1","value":"`, `"}`, nil, 400},
		{"create, unknown field", "POST", "/v1/secrets", `{"name":"x/1","other":"`, `"}`, nil, 400},
		{"create, broken off", "POST", "/v1/secrets", `{"name":"x/1","value":"`, `"}`, broken, 400},
		{"create, of unknown length", "POST", "/v1/secrets", `{"name":"x/1","value":"`, `"}` + string(bytes.Repeat([]byte(" "), 64<<10)),
			func(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }, 201},
		{"update", "PUT", "/v1/secrets/r", `{"value":"`, `"}`, nil, 200},
		{"update, bad query", "PUT", "/v1/secrets/r?a=%zz", `{"value":"`, `"}`, nil, 400},
		{"verify", "POST", "/v1/secrets/r/verify", `{"value":"`, `"}`, nil, 200},
		{"verify, bad query", "POST", "/v1/secrets/r/verify?a=%zz", `{"value":"`, `"}`, nil, 400},
		{"rotate", "POST", "/v1/secrets/r/rotate", `{"value":"`, `"}`, nil, 400},
		{"expire", "POST", "/v1/secrets/r/expire", `{"value":"`, `"}`, nil, 400},
		{"configure", "PATCH", "/v1/metadata/r", `{"value":"`, `"}`, nil, 400},
		{"batch", "POST", "/v1/batch-read", `{"value":"`, `"}`, nil, 400},
		{"rewrap", "POST", "/v1/admin/rewrap", `{"value":"`, `"}`, nil, 400},
	} {
		a := newAPI(t)
		a.create("r", "old")
		v := residue.New(t, 64)
		body := v.Within(c.before, c.after)
		var in io.Reader
		if c.in != nil {
			in = c.in(body)
		}
		if got := a.discard(c.method, c.path, body, in, &sink{}); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		v.Want(0, c.name)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("reset by peer") }

// TestBase64IsWiped: neither spelling of a value stays, also when it is not what it should be.
func TestBase64IsWiped(t *testing.T) {
	for name, end := range map[string]string{"right": "", "wrong": "=A=="} {
		a := newAPI(t)
		v := residue.New(t, 63)
		text := make([]byte, base64.StdEncoding.EncodedLen(63))
		plain := v.Bytes()
		base64.StdEncoding.Encode(text, plain)
		clear(plain)
		coded := residue.Of(t, text)
		clear(text)
		want := http.StatusCreated
		if end != "" {
			want = http.StatusBadRequest
		}
		body := coded.Within(`{"name":"x/1","value_base64":"`, end+`"}`)
		if got := a.discard("POST", "/v1/secrets", body, nil, &sink{}); got != want {
			t.Errorf("%s: %d", name, got)
		}
		v.Want(0, name+": the value")
		coded.Want(0, name+": its base64")
	}
}

// TestAnswersAreWiped: no copy of a value is in memory once it has been sent, or could not be.
func TestAnswersAreWiped(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		for _, path := range []string{"/v1/secrets/r", "/v1/batch-read"} {
			a := newAPI(t)
			v := residue.New(t, 64)
			if got := a.discard("POST", "/v1/secrets", v.Within(`{"name":"r","value":"`, `"}`), nil, &sink{}); got != 201 {
				t.Fatal(got)
			}
			v.Want(0, "before")
			method, body := "GET", []byte(nil)
			if path == "/v1/batch-read" {
				method, body = "POST", []byte(`{"names":["r","r"]}`)
			}
			func() {
				defer func() { _ = recover() }()
				if got := a.discard(method, path, body, nil, &sink{breaks: breaks}); got != 200 {
					t.Errorf("%s: %d", path, got)
				}
			}()
			v.Want(0, path)
		}
	}
}
