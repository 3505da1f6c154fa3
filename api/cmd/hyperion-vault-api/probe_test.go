package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestProbe(t *testing.T) {
	var status atomic.Int32
	var host atomic.Value
	status.Store(http.StatusOK)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host.Store(r.Host)
		if r.URL.Path != "/readyz" {
			status.Store(http.StatusTeapot)
		}
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(`{"status":"of the server"}`))
	}))
	t.Cleanup(srv.Close)
	port := srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	// What else is wrong in the environment does not matter: a health check judges the service that runs.
	env := []string{"VAULT_API_LISTEN=0.0.0.0:" + port, "VAULT_KMS_MODE=none", "HTTP_PROXY=http://192.0.2.1:1"}
	t.Run("OK", func(t *testing.T) {
		code, stdout, stderr := call(t, env, "probe")
		if code != 0 || stdout != `{"status":"of the server"}`+"\n" || stderr != "" || host.Load() != "localhost" {
			t.Errorf("exit %d, %q, %q; asked for %q", code, stdout, stderr, host.Load())
		}
	})
	t.Run("TLS", func(t *testing.T) {
		secure := httptest.NewTLSServer(srv.Config.Handler)
		defer secure.Close()
		code, stdout, stderr := call(t, []string{"VAULT_API_LISTEN=" + secure.URL}, "probe")
		if code != 0 || stdout != `{"status":"of the server"}`+"\n" || stderr != "" {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("ErrNotReady", func(t *testing.T) {
		status.Store(http.StatusServiceUnavailable)
		code, stdout, stderr := call(t, env, "probe")
		if code != 1 || stdout != "" || stderr != `error: the service is not ready: 503 Service Unavailable: {"status":"of the server"}` {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("ErrAway", func(t *testing.T) {
		srv.Close()
		code, stdout, stderr := call(t, env, "probe")
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "error: the service does not answer: ") {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("ErrListen", func(t *testing.T) {
		code, _, stderr := call(t, []string{"VAULT_API_LISTEN=nowhere"}, "probe")
		if code != 2 || !strings.Contains(stderr, "VAULT_API_LISTEN") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
}

func TestLoopback(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:8200": "127.0.0.1:8200", ":8200": "127.0.0.1:8200", "[::]:8200": "[::1]:8200", "10.0.0.7:8200": "10.0.0.7:8200",
	} {
		if got := loopback(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
