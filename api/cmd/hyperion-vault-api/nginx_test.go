package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// nginx is a private one, on an address of loopback.
type nginx struct {
	at  string
	dir string
}

// startNginx runs one with the documented location, for the API at url. more are further directives of the location.
func startNginx(t *testing.T, url, more string) nginx {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed")
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := nginx{ln.Addr().String(), t.TempDir()}
	_ = ln.Close()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log warn;
events { worker_connections 2048; }
http {
  access_log off; keepalive_timeout 5m; send_timeout 5m; client_body_timeout 5m; client_max_body_size 2m; proxy_read_timeout 5m;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s sndbuf=64k; server_name _; %[3]s }
}
`, n.dir, n.at, strings.Replace(documentedLocation(t, url), "}", more+"\n}", 1))
	file := filepath.Join(n.dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-p", n.dir, "-e", filepath.Join(n.dir, "log"), "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", n.log(t))
		}
	})
	pgtest.Eventually(t, "nginx answers", func() bool {
		c, err := net.Dial("tcp", n.at)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return n
}

// documentedLocation is the block of docs/SERVER.md.
func documentedLocation(t *testing.T, url string) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/SERVER.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(page)
	if block == nil || strings.Count(string(block[1]), "http://127.0.0.1:8200") != 1 {
		t.Fatal("SERVER.md has no location for nginx")
	}
	return strings.Replace(string(block[1]), "http://127.0.0.1:8200", url, 1)
}

func (n nginx) log(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// dial connects from an address of loopback.
func (n nginx) dial(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: pgtest.Patience}
	return d.Dial("tcp", n.at)
}

// do sends a request from an address and returns the status and the code of its problem.
func (n nginx) do(t *testing.T, from, method, path, body string, headers ...string) (status int, answer string) {
	t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial(from) }}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.at+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(body, "chunked ") {
		req.ContentLength = -1
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestBehindNginx runs the documented location of a real nginx before a real API: clients are told apart by their own
// addresses, and values reach no temporary file of the proxy.
func TestBehindNginx(t *testing.T) {
	db := vaulttest.NewDB(t)
	s := vaulttest.NewServer(t, db, "VAULT_TRUST_PROXY=127.0.0.1", "VAULT_ALLOWED_IPS=127.0.2.0/24", "VAULT_ALLOWED_HOSTS=vault.example", "VAULT_MAX_VALUE_BYTES=1048576")
	n := startNginx(t, s.URL, "")
	token := []string{"Authorization", "Bearer " + s.AdminToken}
	want := func(status int, text, from, path string, headers ...string) {
		t.Helper()
		if got, body := n.do(t, from, "GET", path, "", headers...); got != status || !strings.Contains(body, text) {
			t.Errorf("%s from %s with %q: %d %.300s, want %d and %s", path, from, headers, got, body, status, text)
		}
	}
	body, _ := json.Marshal(map[string]string{"name": "a", "kind": "manual", "value": strings.Repeat("x", 1_000_000)})
	if status, answer := n.do(t, "127.0.2.1", "POST", "/v1/secrets", string(body), token...); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	want(200, "xxx", "127.0.2.1", "/v1/secrets/a")
	want(200, "xxx", "127.0.2.1", "/v1/secrets/a", "Host", "vault.example")
	want(403, "denied", "127.0.4.1", "/v1/secrets/a")
	want(403, "denied", "127.0.4.1", "/v1/secrets/a", "X-Forwarded-For", "127.0.2.1")
	want(403, "denied", "127.0.4.1", "/v1/secrets/a", token...) // the allowlist bounds reads with a token, too
	want(421, "unknown_host", "127.0.2.1", "/v1/secrets/a", "Host", "vault.attacker.example")
	if status, answer := n.do(t, "127.0.2.1", "PUT", "/v1/secrets/a", "chunked "+string(body), token...); status != 400 {
		t.Errorf("%d %s", status, answer)
	}
	want(403, "cross_origin", "127.0.2.1", "/v1/secrets/a", "Origin", "http://vault.example")
	if log := n.log(t); strings.Contains(log, "temporary file") {
		t.Errorf("a value reached a file of the proxy: %s", log)
	}
	t.Run("ErrNotNamed", func(t *testing.T) {
		unnamed := vaulttest.NewServer(t, db, "VAULT_ALLOWED_IPS=127.0.0.1,::1,127.0.2.0/24")
		n := startNginx(t, unnamed.URL, "")
		if status, body := n.do(t, "127.0.2.1", "GET", "/v1/secrets/a", ""); status != 403 || !strings.Contains(body, "untrusted_proxy") {
			t.Errorf("%d %.300s", status, body)
		}
	})
}

// TestSlowBehindNginx: clients that stop sending a body or taking an answer are cut off by the API behind a proxy, with or
// without the buffers of the proxy, and hold up no other client of it. One that takes an answer slowly gets all of it.
func TestSlowBehindNginx(t *testing.T) {
	const values = 16
	s := vaulttest.NewServer(t, vaulttest.NewDB(t), "VAULT_TRUST_PROXY=127.0.0.1", "VAULT_ALLOWED_IPS=127.0.0.0/8", "VAULT_MAX_VALUE_BYTES=1048576")
	names := make([]string, values)
	for i := range names {
		names[i] = fmt.Sprintf("big/%d", i)
		s.MustCreate(t, names[i], strings.Repeat("x", 1_000_000))
	}
	s.MustCreate(t, "a", "small")
	batch, _ := json.Marshal(map[string][]string{"names": names})
	ask := fmt.Sprintf("POST /v1/batch-read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(batch), batch)
	stalled := fmt.Sprintf("POST /v1/secrets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\nAuthorization: Bearer %s\r\n\r\n{", s.AdminToken)
	for _, buffering := range []string{"off", "on"} {
		t.Run(buffering, func(t *testing.T) {
			n := startNginx(t, s.URL, "proxy_buffering "+buffering+";")
			send := func(from, text string) net.Conn {
				t.Helper()
				conn, err := n.dial(from)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
				_ = conn.SetDeadline(time.Now().Add(pgtest.Patience))
				if _, err := io.WriteString(conn, text); err != nil {
					t.Fatal(err)
				}
				return conn
			}
			var bodies []net.Conn
			for range 100 {
				bodies = append(bodies, send("127.0.2.2", stalled))
			}
			for range 20 { // more than all places of batch reads
				send("127.0.2.3", ask)
			}
			pgtest.Eventually(t, "all are being answered", func() bool { return inFlight(t, s) > 110 })
			for range 20 {
				if status, body := n.do(t, "127.0.2.1", "GET", "/v1/secrets/a", ""); status != 200 {
					t.Fatalf("an honest read: %d %s", status, body)
				}
			}
			moving := send("127.0.2.4", ask)
			if got := takeSlowly(t, moving); got < values*1_000_000 {
				t.Errorf("a slow client got %d bytes", got)
			}
			for _, conn := range bodies {
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil && resp.StatusCode != http.StatusRequestTimeout {
					t.Fatalf("a body that stalls: %d", resp.StatusCode)
				}
				if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
					t.Fatal("a body that stalls is not cut off")
				}
			}
			pgtest.Eventually(t, "answers that are not taken are cut off", func() bool { return inFlight(t, s) == 1 })
		})
	}
}

// inFlight is how many requests the API works on, with the one that asks for it.
func inFlight(t *testing.T, s *vaulttest.Server) (n int) {
	t.Helper()
	_, metrics := s.Do(t, http.MethodGet, "/metrics", nil)
	if _, after, ok := strings.Cut(metrics, "\nhyperion_vault_http_requests_in_flight "); ok {
		_, _ = fmt.Sscan(after, &n)
	}
	return n
}

// takeSlowly reads an answer in small pieces and returns how long its body is.
func takeSlowly(t *testing.T, c net.Conn) (got int) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16<<10), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 128<<10)
	for {
		n, err := io.ReadFull(resp.Body, buf)
		if got += n; err != nil {
			return got
		}
		<-tick.C
	}
}
