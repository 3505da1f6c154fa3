package client_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

// serving returns a client of a handler.
func serving(t *testing.T, retries int, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return to(t, client.Config{Address: s.URL, Token: "hvt_marker", MaxRetries: retries})
}

func to(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRetries(t *testing.T) {
	read := func(c *client.Client) error { _, err := c.Get(context.Background(), "a"); return err }
	update := func(c *client.Client) error {
		_, err := c.Update(context.Background(), "a", client.Any, client.Update{Value: []byte("x")})
		return err
	}
	grant := func(c *client.Client) error { return c.Grant(context.Background(), "r", "a", "read") }
	for _, test := range []struct {
		name   string
		call   func(*client.Client) error
		status int
		want   int32
	}{
		{"a read that is unavailable is repeated", read, 503, 3},
		{"a read that is refused is not", read, 403, 1},
		{"a change that is unavailable is not repeated", update, 503, 1},
		{"a change over a quota is repeated", update, 429, 3},
		{"a change that does no harm is repeated", grant, 503, 3},
		{"a gateway's error is repeated for a read", read, 502, 3},
		{"a gateway's error is not for a change", update, 502, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var requests atomic.Int32
			c := serving(t, 2, func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.WriteHeader(test.status)
			})
			if err := test.call(c); err == nil {
				t.Fatal("it succeeded")
			}
			if n := requests.Load(); n != test.want {
				t.Errorf("%d requests, want %d", n, test.want)
			}
		})
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "value")
	s.RefuseNext(1, 1)
	c := to(t, client.Config{Address: s.URL, Token: s.Token})
	start := time.Now()
	v, err := c.Get(t.Context(), "a")
	if err != nil || string(v.Bytes) != "value" {
		t.Fatal(v, err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("it came back after %v, and was told to wait a second", took)
	}
	// A longer wait than the caller has is not startedAt.
	s.RefuseNext(5, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 19*time.Second)
	defer cancel()
	_, err = c.Get(ctx, "a")
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Code != client.TooMany || e.RetryAfter != 20*time.Second || ctx.Err() != nil {
		t.Errorf("%v, and %v", err, ctx.Err())
	}
}

func TestUnknownOutcome(t *testing.T) {
	c := serving(t, 3, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	_, err := c.Update(t.Context(), "a", client.Any, client.Update{Value: []byte("x")})
	if e, ok := errors.AsType[*client.Error](err); !ok || !e.OutcomeUnknown || e.Code != client.Unreachable {
		t.Errorf("a change whose answer was lost: %v", err)
	}
	// Nothing was sent where nothing listens.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	_ = l.Close()
	c = to(t, client.Config{Address: address, MaxRetries: 1})
	_, err = c.Update(t.Context(), "a", client.Any, client.Update{Value: []byte("x")})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.OutcomeUnknown || e.Code != client.Unreachable {
		t.Errorf("a change that was not sent: %v", err)
	}
}

// No error shows the token, even where a server repeats it, or a value.
func TestErrorsShowNoSecret(t *testing.T) {
	bodies := []string{
		`{"status":401,"code":"unauthenticated","detail":"hvt_marker is not valid"}`,
		`{"errors":["hvt_marker"]}`, `hvt_marker`, `{"name":"a","value":"hvt_marker`, `{"value":["hvt_marker"]}`,
	}
	for i, body := range bodies {
		c := serving(t, -1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if i < 3 {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = fmt.Fprint(w, body)
		})
		_, err := c.Get(t.Context(), "a")
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), "marker") {
			t.Errorf("%s: %v", body, err)
		}
	}
	v := client.Value{Name: "a", Version: 2, Bytes: []byte("marker")}
	for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v %#v %x", v, v, v), fmt.Sprintf("%v", &v), v.LogValue().String()} {
		if strings.Contains(text, "marker") || !strings.Contains(text, "6 bytes") {
			t.Error(text)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	c := serving(t, -1, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:9/", http.StatusFound)
	})
	if _, err := c.Get(t.Context(), "a"); client.CodeOf(err) != client.Unexpected || !strings.Contains(err.Error(), "redirects") {
		t.Error(err)
	}
}

func TestCertificates(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"name":"a","value":"x","version":1,"current_version":1}`)
	}))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	c := to(t, client.Config{Address: s.URL, MaxRetries: -1})
	_, err := c.Get(t.Context(), "a")
	if client.CodeOf(err) != client.Untrusted || !strings.Contains(err.Error(), "VAULT_CACERT") {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c = to(t, client.Config{Address: s.URL, TLS: client.TLSFiles{CAFile: ca}, MaxRetries: -1})
	if v, err := c.Get(t.Context(), "a"); err != nil || string(v.Bytes) != "x" {
		t.Error(err)
	}
	c = to(t, client.Config{Address: s.URL, TLS: client.TLSFiles{CADir: filepath.Dir(ca), ServerName: "other.example.net"}, MaxRetries: -1})
	_, err = c.Get(t.Context(), "a")
	if _, ok := errors.AsType[x509.HostnameError](err); !ok || client.CodeOf(err) != client.Untrusted {
		t.Errorf("a certificate of another name: %v", err)
	}
	c = to(t, client.Config{Address: strings.Replace(serverURL(t), "http://", "https://", 1), MaxRetries: -1})
	if _, err := c.Get(t.Context(), "a"); client.CodeOf(err) != client.Unexpected || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

func serverURL(t *testing.T) string { return clienttest.NewServer(t).URL }

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string // in the error; "" = none
	}{
		{nil, ""},
		{[]string{"VAULT_ADDR=http://127.0.0.1:8200"}, ""},
		{[]string{"VAULT_ADDR=http://vault.example.org"}, "in the clear"},
		{[]string{"VAULT_ADDR=http://vault.example.org", "VAULT_PLAIN_HTTP=1"}, ""},
		{[]string{"VAULT_ADDR=vault.example.org:8200"}, "VAULT_ADDR"},
		{[]string{"VAULT_ADDR=https://user:pw@vault.example.org"}, "VAULT_ADDR"},
		{[]string{"VAULT_SKIP_VERIFY=true"}, "VAULT_CACERT"},
		{[]string{"VAULT_SKIP_VERIFY=false"}, ""},
		{[]string{"VAULT_TOKEN=a b"}, "VAULT_TOKEN"},
		{[]string{"VAULT_CACERT=/nonexistent"}, "VAULT_CACERT"},
		{[]string{"VAULT_CACERT=/dev/null"}, "no certificate"},
		{[]string{"VAULT_CLIENT_CERT=/dev/null"}, "VAULT_CLIENT_KEY"},
		{[]string{"VAULT_CLIENT_CERT=/dev/null", "VAULT_CLIENT_KEY=/dev/null"}, "VAULT_CLIENT_CERT"},
		{[]string{"VAULT_CLIENT_TIMEOUT=soon"}, "VAULT_CLIENT_TIMEOUT"},
		{[]string{"VAULT_CLIENT_TIMEOUT=30", "VAULT_MAX_RETRIES=0"}, ""},
		{[]string{"VAULT_MAX_RETRIES=-1"}, "VAULT_MAX_RETRIES"},
		{[]string{"VAULT_READ_CONSISTENCY=often"}, "VAULT_READ_CONSISTENCY"},
	} {
		cfg, err := client.FromEnviron(test.env)
		if err == nil {
			_, err = client.New(cfg)
		}
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%v: %v", test.env, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%v: %v, want %q in it", test.env, err, test.want)
		}
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, client.TokenFile), []byte("hvt_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{"VAULT_TOKEN=": "hvt_file", "VAULT_TOKEN=hvt_env": "hvt_env"} {
		cfg, err := client.FromEnviron([]string{"HOME=" + home, env})
		if err != nil || cfg.Token != want {
			t.Errorf("%s: %q %v", env, cfg.Token, err)
		}
	}
}

func TestReadYourWrites(t *testing.T) {
	var sent atomic.Pointer[string]
	h := func(w http.ResponseWriter, r *http.Request) {
		p := r.Header.Get("Vault-Lsn")
		sent.Store(&p)
		if r.Method == http.MethodPut {
			w.Header().Set("Vault-Lsn", r.Header.Get("If-Match")) // as the test wants it
		}
		_, _ = fmt.Fprint(w, `{"name":"a","value":"x"}`)
	}
	c := serving(t, -1, h)
	for _, step := range []struct{ answer, want string }{
		{"3-16/B374D848", "3-16/B374D848"},
		{"3-15/FFFFFFFF", "3-16/B374D848"}, // older
		{"3-1000/0", "3-1000/0"},           // not as texts
		{"4-1/0", "4-1/0"},                 // another timeline is newer
		{"nonsense", "4-1/0"},
	} {
		if _, err := c.Update(t.Context(), "a", client.Match(step.answer), client.Update{Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), "a"); err != nil || *sent.Load() != step.want || c.Position() != step.want {
			t.Errorf("after %s: %q, want %q (%v)", step.answer, *sent.Load(), step.want, err)
		}
	}
	other := serving(t, -1, h)
	other.Advance(c.Position())
	if _, err := other.Get(t.Context(), "a"); err != nil || *sent.Load() != "4-1/0" {
		t.Error("the position of another client was not sent")
	}
}
