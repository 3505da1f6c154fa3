package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func knowing(hosts ...string) func(*httpapi.Config) {
	return func(c *httpapi.Config) {
		p := httpapi.Policy{Hosts: map[string]bool{}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
		for _, h := range hosts {
			p.Hosts[h] = true
		}
		c.Policy = httpapi.NewLivePolicy(p)
	}
}

func TestHosts(t *testing.T) {
	a := newAPI(t, knowing("vault.example.org", "db1"))
	a.create("a", marker)
	for _, host := range []string{"localhost", "LocalHost:8200", "localhost.", "localhost:", "vault.example.org", "Vault.Example.ORG.:443", "db1:1",
		"127.0.0.1", "127.0.0.1:8200", "192.0.2.77:8200", "[::1]", "[::1]:8200", "[2001:DB8::1]:8200"} {
		a.want(call{method: "GET", path: "/v1/secrets/a", host: host}, 200, "")
	}
	for _, host := range []string{"evil.example", "evil.example:8200", "localhost.evil.example", "vault.example.org.evil.example", "xlocalhost",
		"vault.example.org..", "localhost:x", "localhost:82000000", "[::1", "[::1]x", "[::1]:x", "[127.0.0.1]", "::1", "127.1", "0x7f000001", ".", ":8200",
		"localhost@evil.example", "user:pw@localhost", "localhost evil.example", "localhost,evil.example", "db1/evil"} {
		a.recorder.Take()
		a.want(call{method: "GET", path: "/v1/secrets/a", host: host}, 421, "unknown_host")
		if e := a.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionRead || e[0].Name != "a" || e[0].Outcome != vault.OutcomeDenied {
			t.Errorf("%s: recorded %+v", host, e)
		}
		for _, probe := range []string{"/healthz", "/readyz", "/metrics"} {
			if got := a.do(call{method: "GET", path: probe, host: host, from: outside}); got.Code != 200 {
				t.Errorf("%s of %s: %d", probe, host, got.Code)
			}
		}
	}
}

// TestEveryRouteIsGuarded: a page of another origin reaches nothing, and what it tried is recorded as what it was.
func TestEveryRouteIsGuarded(t *testing.T) {
	a := newAPI(t)
	for name, c := range secretCalls() {
		for _, odd := range []struct {
			host   string
			header map[string]string
			status int
			code   string
		}{
			{"evil.example", nil, 421, "unknown_host"},
			{"", map[string]string{"Origin": "https://evil.example"}, 403, "cross_origin"},
			{"", map[string]string{"Origin": "null"}, 403, "cross_origin"},
			{"", map[string]string{"Origin": ""}, 403, "cross_origin"},
			{"", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "cross_origin"},
			{"", map[string]string{"Sec-Fetch-Site": "same-site"}, 403, "cross_origin"},
			{"", map[string]string{"Sec-Fetch-Site": "None"}, 403, "cross_origin"},
		} {
			a.recorder.Take()
			d := newAPI(t) // a burst of refusals of its own
			c.host, c.header = odd.host, odd.header
			d.recorder.Take()
			d.want(c, odd.status, odd.code)
			if e := d.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied || e[0].Action == "" {
				t.Errorf("%s %v: recorded %+v", name, odd, e)
			}
		}
	}
	for _, site := range []string{"none", "same-origin"} {
		a.want(call{method: "GET", path: "/v1/secrets", header: map[string]string{"Sec-Fetch-Site": site}}, 200, "")
	}
	a.want(call{method: "GET", path: "/nowhere", host: "evil.example"}, 421, "unknown_host")
	a.want(call{method: "OPTIONS", path: "/v1/secrets", header: map[string]string{"Origin": "https://evil.example"}}, 403, "cross_origin")
	a.want(call{method: "GET", path: "/v1/openapi.yaml", header: map[string]string{"Origin": "https://evil.example"}}, 403, "cross_origin")
}

func TestForwardingHeaders(t *testing.T) {
	a := newAPI(t, knowing("vault.example.org"))
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded", "Via", "True-Client-IP",
		"CDN-Loop", "CloudFront-Viewer-Address", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Envoy-External-Address", "Fastly-Client-IP"} {
		got := a.want(call{method: "GET", path: "/v1/secrets", header: map[string]string{name: "10.0.0.1"}}, 403, "untrusted_proxy")
		if !strings.Contains(got.Body.String(), "VAULT_TRUST_PROXY") {
			t.Errorf("%s: %s", name, got.Body)
		}
		if name != "X-Forwarded-For" {
			got = a.want(call{method: "GET", path: "/v1/secrets", from: "127.0.0.1:1", header: map[string]string{name: "10.0.0.1"}}, 403, "untrusted_proxy")
			if !strings.Contains(got.Body.String(), "have it set X-Forwarded-For") {
				t.Errorf("%s of a trusted proxy: %s", name, got.Body)
			}
		}
		for _, probe := range []string{"/healthz", "/readyz", "/metrics"} {
			if got := a.do(call{method: "GET", path: probe, header: map[string]string{name: "10.0.0.1"}}); got.Code != 200 {
				t.Errorf("%s with %s: %d", probe, name, got.Code)
			}
		}
	}
	through := func(header map[string]string) call {
		header["X-Forwarded-For"] = "10.0.0.1"
		return call{method: "GET", path: "/v1/secrets", from: "127.0.0.1:1", header: header}
	}
	a.want(through(map[string]string{"Forwarded": "for=10.9.9.9", "X-Real-Ip": "10.9.9.9", "Via": "1.1 p", "X-Forwarded-Proto": "https"}), 200, "")
	a.want(through(map[string]string{"X-Forwarded-Host": "vault.example.org:443"}), 200, "")
	a.want(through(map[string]string{"X-Forwarded-Host": "evil.example"}), 421, "unknown_host")
	a.want(through(map[string]string{"X-Forwarded-Host": "localhost, evil.example"}), 421, "unknown_host")
}

// TestRefusalsAreRationed: a page that tries on and on fills no disk.
func TestRefusalsAreRationed(t *testing.T) {
	a := newAPI(t)
	a.recorder.Take()
	for range 500 {
		a.do(call{method: "GET", path: "/v1/secrets/a", host: "evil.example"})
	}
	if n := len(a.recorder.Take()); n > 100 {
		t.Errorf("%d records", n)
	}
	a.want(call{method: "GET", path: "/v1/secrets"}, 200, "") // an honest reader of the same address
	a.create("b", marker)                                     // and an administrator
}

func TestPublicIPs(t *testing.T) {
	for _, tt := range []struct {
		list string // "-" = none is set
		from string
		ok   bool
	}{{"-", outside, true}, {"192.0.2.0/24", outside, true}, {"192.0.2.0/24", inside, false}, {"", inside, false}} {
		a := newAPI(t, func(c *httpapi.Config) {
			if tt.list != "-" {
				list, err := allowlist.Parse(tt.list)
				must(t, err)
				c.Policy = httpapi.NewLivePolicy(httpapi.Policy{PublicIPs: &list})
			}
		})
		for _, path := range []string{"/metrics", "/v1/openapi.yaml"} {
			got := a.do(call{method: "GET", path: path, from: tt.from})
			if (got.Code == 200) != tt.ok || !tt.ok && got.Code != 403 {
				t.Errorf("%+v %s: %d", tt, path, got.Code)
			}
		}
		a.want(call{method: "GET", path: "/healthz", from: tt.from}, 200, "")
	}
}

// TestRawRequests are what no HTTP library sends.
func TestRawRequests(t *testing.T) {
	at := serve(t, newAPI(t), func(*httpapi.ServerConfig, *http.Server) {})
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"OKHost":            {"GET /v1/secrets HTTP/1.1\r\nHost: localhost:8200\r\n\r\n", 403}, // of the allowlist: loopback is not in it
		"ErrHTTP10NoHost":   {"GET /v1/secrets HTTP/1.0\r\n\r\n", 421},
		"OKHTTP10Probe":     {"GET /healthz HTTP/1.0\r\n\r\n", 200},
		"ErrEmptyHost":      {"GET /v1/secrets HTTP/1.1\r\nHost:\r\n\r\n", 421},
		"ErrTwoHosts":       {"GET /v1/secrets HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
		"ErrAbsolute":       {"GET http://evil.example/v1/secrets HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		"OKAbsolute":        {"GET http://localhost/v1/secrets HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403}, // RFC 9112: the target counts
		"ErrAbsoluteHealth": {"GET http://evil.example/v1/secrets?x=/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		"ErrSlashes":        {"GET //healthz/../v1/secrets HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", at)
			must(t, err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, tt.request)
			must(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
			if resp.StatusCode != tt.status || tt.status == 403 && !strings.Contains(string(body), "not allowed to read") {
				t.Errorf("%d: %s", resp.StatusCode, body)
			}
		})
	}
}
