package browsertest

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

// TestCertificate logs in with the certificate of the connection. Chromium asks its user which one to use, so a client of
// Go stands for it.
func TestCertificate(t *testing.T) {
	dir, ca := t.TempDir(), pki.NewCA(t)
	p := ca.Issue(t, "server", time.Now().Add(time.Hour))
	s := newSite(t, "VAULT_API_TLS_CERT="+pki.Write(t, filepath.Join(dir, "cert"), p.Cert), "VAULT_API_TLS_KEY="+pki.Write(t, filepath.Join(dir, "key"), p.Key),
		"VAULT_API_LISTEN=http://127.0.0.1:0", "VAULT_API_TLS_CLIENT_CA="+pki.Write(t, filepath.Join(dir, "ca"), ca.PEM), "VAULT_API_TLS_CLIENT_AUTH=optional")
	fillVault(s)
	if !strings.HasPrefix(s.ConsoleURL, "https://") {
		t.Fatalf("the console is at %s", s.ConsoleURL)
	}
	s.must("PUT", "/v1/auth/cert", map[string]any{"kind": "cert"})
	s.must("PUT", "/v1/auth/cert/roles/people", map[string]any{"role": "hv_reader", "config": map[string]any{"allowed_common_names": []string{"alice"}}})
	for _, tt := range []struct {
		name string // of the certificate; "" = none
		has  string
	}{
		{"alice", "app/db/password"}, {"mallory", "role=\"alert\""}, {"", "the browser presented no client certificate"},
	} {
		conf := &tls.Config{RootCAs: ca.Pool()}
		if tt.name != "" {
			conf.Certificates = []tls.Certificate{ca.Issue(t, tt.name, time.Now().Add(time.Hour)).TLS(t)}
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: conf}}
		page := fetch(t, client, s.ConsoleURL+"/login", nil)
		if shown := strings.Contains(page, "CN="+tt.name); shown != (tt.name != "") {
			t.Errorf("%q: the log-in page shows the certificate: %v", tt.name, shown)
		}
		if page = fetch(t, client, s.ConsoleURL+"/login", url.Values{"method": {"cert"}, "mount": {"cert"}}); !strings.Contains(page, tt.has) {
			t.Errorf("%q: %s", tt.name, page)
		}
	}
}

// fetch returns the page at the end of all redirects. form nil = GET.
func fetch(t *testing.T, client *http.Client, at string, form url.Values) string {
	t.Helper()
	var resp *http.Response
	var err error
	if form == nil {
		resp, err = client.Get(at)
	} else {
		resp, err = client.PostForm(at, form)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}
