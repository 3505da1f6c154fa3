package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

// secured is a service on two addresses: TLS first, plain second.
type secured struct {
	*Service
	ca        *pki.CA
	cert, key string
}

func serveTLS(t *testing.T, env ...string) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{ca: pki.NewCA(t), cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	s.issue(t, "first", time.Now().Add(time.Hour))
	env = append(env, "VAULT_API_LISTEN=https://127.0.0.1:0,http://127.0.0.1:0", "VAULT_API_TLS_CERT="+s.cert, "VAULT_API_TLS_KEY="+s.key)
	var err error
	if s.Service, err = Open(context.Background(), settings(t, env...), quiet()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		closeWithin(t, s.Service)
	})
	return s
}

func (s *secured) issue(t *testing.T, name string, notAfter time.Time) {
	t.Helper()
	p := s.ca.Issue(t, name, notAfter)
	pki.Write(t, s.cert, p.Cert)
	pki.Write(t, s.key, p.Key)
}

// client trusts the service's authority; each request has a connection of its own.
func (s *secured) client(change func(*tls.Config)) *http.Client {
	conf := &tls.Config{RootCAs: s.ca.Pool()}
	if change != nil {
		change(conf)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true, ForceAttemptHTTP2: true}, Timeout: 30 * time.Second}
}

func get(c *http.Client, url string) (*http.Response, error) {
	resp, err := c.Get(url + "/healthz")
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp, resp.Body.Close()
}

func environ(env ...string) func() []string { return func() []string { return env } }

func TestTLS(t *testing.T) {
	s := serveTLS(t)
	url := s.Addrs()[0]
	t.Run("OKHTTP2", func(t *testing.T) {
		resp, err := get(s.client(nil), url)
		if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 || resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%+v %v", resp, err)
		}
	})
	t.Run("OKTLS12HTTP1", func(t *testing.T) {
		resp, err := get(s.client(func(c *tls.Config) { c.MaxVersion, c.NextProtos = tls.VersionTLS12, []string{"http/1.1"} }), url)
		if err != nil || resp.TLS.Version != tls.VersionTLS12 {
			t.Errorf("%+v %v", resp, err)
		}
	})
	t.Run("ErrTLS11", func(t *testing.T) {
		_, err := get(s.client(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), url)
		if err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Error(err)
		}
	})
	t.Run("ErrOtherCA", func(t *testing.T) {
		other := pki.NewCA(t)
		if _, err := get(s.client(func(c *tls.Config) { c.RootCAs = other.Pool() }), url); err == nil {
			t.Error("trusted")
		}
	})
	t.Run("ErrWrongName", func(t *testing.T) {
		_, err := get(s.client(func(c *tls.Config) { c.ServerName = "other.example" }), url)
		if err == nil || !strings.Contains(err.Error(), "other.example") {
			t.Error(err)
		}
	})
	t.Run("OKPlainBeside", func(t *testing.T) {
		if resp, err := get(http.DefaultClient, "http://"+s.Addrs()[1]); err != nil || resp.StatusCode != 200 {
			t.Errorf("%+v %v", resp, err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	t.Run("ErrPlainToTLS", func(t *testing.T) {
		if resp, err := get(http.DefaultClient, "http://"+s.Addr()); err != nil || resp.StatusCode != 400 {
			t.Errorf("%+v %v", resp, err)
		}
	})
}

// TestPlainWarning: what the status says of the settings.
func TestPlainWarning(t *testing.T) {
	if got := warningsOf(settings(t, "VAULT_API_LISTEN=127.0.0.1:0,[::1]:0")); got != nil {
		t.Errorf("loopback: %v", got)
	}
	got := warningsOf(settings(t, "VAULT_API_LISTEN=127.0.0.1:0,0.0.0.0:8200"))
	if len(got) != 1 || got[0].Code != "plain_http" || !strings.HasPrefix(got[0].Detail, "0.0.0.0:8200 ") {
		t.Errorf("beyond loopback: %v", got)
	}
}

func TestClientCertificates(t *testing.T) {
	clients, strangers := pki.NewCA(t), pki.NewCA(t)
	caFile := pki.Write(t, filepath.Join(t.TempDir(), "ca"), clients.PEM)
	with := func(p pki.Pair) func(*tls.Config) {
		// Sent whatever authorities the server names, as another client might.
		return func(c *tls.Config) {
			cert := p.TLS(t)
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
	}
	soon := time.Now().Add(time.Hour)
	good, stranger := clients.Issue(t, "good", soon), strangers.Issue(t, "stranger", soon)
	expired := clients.Issue(t, "expired", time.Now().Add(-time.Minute))
	for _, tt := range []struct {
		mode, name string
		change     func(*tls.Config)
		ok         bool
	}{
		{"require", "None", nil, false},
		{"require", "Good", with(good), true},
		{"require", "WrongCA", with(stranger), false},
		{"require", "Expired", with(expired), false},
		{"optional", "None", nil, true},
		{"optional", "Good", with(good), true},
		{"optional", "WrongCA", with(stranger), false},
		{"optional", "Expired", with(expired), false},
	} {
		t.Run(tt.mode+tt.name, func(t *testing.T) {
			s := serveTLS(t, "VAULT_API_TLS_CLIENT_CA="+caFile, "VAULT_API_TLS_CLIENT_AUTH="+tt.mode)
			_, err := get(s.client(tt.change), s.Addrs()[0])
			if (err == nil) != tt.ok {
				t.Error(err)
			}
		})
	}
}

// TestClientCAReload: a session that an authority of before allowed is not taken up again.
func TestClientCAReload(t *testing.T) {
	before, after := pki.NewCA(t), pki.NewCA(t)
	caFile := pki.Write(t, filepath.Join(t.TempDir(), "ca"), before.PEM)
	s := serveTLS(t, "VAULT_API_TLS_CLIENT_CA="+caFile)
	c := s.client(func(c *tls.Config) {
		c.Certificates = []tls.Certificate{before.Issue(t, "c", time.Now().Add(time.Hour)).TLS(t)}
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	})
	for range 2 {
		if _, err := get(c, s.Addrs()[0]); err != nil {
			t.Fatal(err)
		}
	}
	pki.Write(t, caFile, after.PEM)
	s.Reload(environ())
	if _, err := get(c, s.Addrs()[0]); err == nil {
		t.Error("a client of the old authority is still served")
	}
}

// TestReloadUnderLoad changes the certificate again and again, half-written between, while clients connect: no request
// fails, and each new certificate arrives.
func TestReloadUnderLoad(t *testing.T) {
	s := serveTLS(t)
	url := s.Addrs()[0]
	var stop atomic.Bool
	var clients sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		clients.Go(func() {
			c := s.client(nil)
			for !stop.Load() {
				if _, err := get(c, url); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 10 {
		name := fmt.Sprint("c", i)
		p := s.ca.Issue(t, name, time.Now().Add(time.Hour))
		for _, half := range [][2][]byte{{nil, p.Key}, {p.Cert[:80], p.Key}, {p.Cert, p.Key[:50]}, {p.Cert, nil}} {
			pki.Write(t, s.cert, half[0])
			pki.Write(t, s.key, half[1])
			s.Reload(environ())
		}
		pki.Write(t, s.cert, p.Cert)
		pki.Write(t, s.key, p.Key)
		s.Reload(environ())
		resp, err := get(s.client(nil), url)
		if err != nil || resp.TLS.PeerCertificates[0].Subject.CommonName != name {
			t.Fatalf("%v: not %s", err, name)
		}
	}
	stop.Store(true)
	clients.Wait()
	if served.Load() == 0 {
		t.Error("nothing was served meanwhile")
	}
}

// TestReloadSettings: each setting takes what its file holds now; a wrong one stays, and does not hold up the others.
func TestReloadSettings(t *testing.T) {
	dir := t.TempDir()
	ips, proxies := filepath.Join(dir, "ips"), filepath.Join(dir, "proxies")
	pki.Write(t, ips, []byte("10.0.0.1\n"))
	pki.Write(t, proxies, []byte("10.0.0.2\n"))
	env := []string{"VAULT_ALLOWED_IPS_FILE=" + ips, "VAULT_TRUST_PROXY_FILE=" + proxies}
	s, err := Open(context.Background(), settings(t, env...), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWithin(t, s)
	for _, tt := range []struct{ ips, proxies, wantIPs, wantProxies string }{
		{"10.0.0.1\n::1\n", "10.0.0.3\n", "10.0.0.1,::1", "[10.0.0.3/32]"},
		{"10.0.0.9\n10.0.0", "10.0.0.4\n", "10.0.0.1,::1", "[10.0.0.4/32]"},
		{"10.0.0.0/33\n", "true", "10.0.0.1,::1", "[127.0.0.0/8 ::1/128]"},
		{"", "", "10.0.0.1,::1", "[127.0.0.0/8 ::1/128]"},
		{"# none\n", "# none\n", "", "[]"},
		{"10.0.0.7\n", "x\n", "10.0.0.7", "[]"},
	} {
		pki.Write(t, ips, []byte(tt.ips))
		pki.Write(t, proxies, []byte(tt.proxies))
		c := s.Reload(environ(env...))
		if got := c.AllowedIPs.String(); got != tt.wantIPs {
			t.Errorf("after %q: allowed %s", tt.ips, got)
		}
		if got := fmt.Sprint(s.policy.Load().TrustedProxies); got != tt.wantProxies {
			t.Errorf("after %q: proxies %s", tt.proxies, got)
		}
	}
	if err := os.Remove(ips); err != nil {
		t.Fatal(err)
	}
	if got := s.Reload(environ(env...)).AllowedIPs.String(); got != "10.0.0.7" {
		t.Errorf("without its file: allowed %s", got)
	}
}

// TestAuthority: in HTTP/2 the host is the :authority, and the same rule holds.
func TestAuthority(t *testing.T) {
	s := serveTLS(t, "VAULT_NODE_NAME=Node-1", "VAULT_ALLOWED_HOSTS=vault.example.org")
	c := s.client(func(c *tls.Config) { c.ServerName = "localhost" })
	for host, want := range map[string]int{
		"evil.example": 421, "localhost": 403, "node-1:8200": 403, "NODE-1": 403, "vault.example.org": 403, "127.0.0.1:1": 403, // 403: no caller may read
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Addrs()[0]+"/v1/secrets/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("%s: %d over %s, want %d", host, resp.StatusCode, resp.Proto, want)
		}
	}
}

// TestReloadQuota: the door's quotas are those of the files, from the reload on.
func TestReloadQuota(t *testing.T) {
	file := pki.Write(t, filepath.Join(t.TempDir(), "q"), []byte("5/m\n"))
	env := []string{"VAULT_QUOTA_READS_FILE=" + file}
	s, err := Open(context.Background(), settings(t, env...), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWithin(t, s)
	for _, tt := range [][2]string{{"", "5/m"}, {"7", "7/s"}, {"many", "7/s"}, {"0", "0"}} {
		if tt[0] != "" {
			pki.Write(t, file, []byte(tt[0]))
			s.Reload(environ(env...))
		}
		if got := s.door.Quota().Reads.String(); got != tt[1] {
			t.Errorf("after %q: %s", tt[0], got)
		}
	}
}
