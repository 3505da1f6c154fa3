package vaultapi_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestPublic(t *testing.T) {
	s := newServer(t)
	none := "X-Vault-Token: -"
	got := s.want(200, "GET", "/v1/sys/seal-status", "", none, "From: "+outside)
	for member, want := range map[string]string{"type": `"shamir"`, "initialized": "true", "sealed": "false", "t": "1", "n": "1", "progress": "0", "nonce": `""`,
		"migration": "false", "recovery_seal": "false", "storage_type": `"postgresql"`} {
		s.is(got, member, want)
	}
	// Terraform's provider parses it, switches features on from 1.11, and Enterprise's with a suffix.
	if v, _ := got.at("version").(string); !regexp.MustCompile(`^[2-9]\.\d+\.\d+$`).MatchString(v) {
		t.Errorf("version %q", v)
	}
	if id, _ := got.at("cluster_id").(string); !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("cluster_id %q", id)
	}
	s.is(s.want(200, "GET", "/v1/sys/leader", "", none), "ha_enabled", "false")
	s.is(s.want(200, "GET", "/v1/sys/init", "", none), "initialized", "true")
	got = s.want(200, "GET", "/v1/sys/health?standbyok=true&perfstandbyok=true&haunhealhty=1&foo=bar", "", none)
	s.is(got, "replication_performance_mode", `"disabled"`)
	s.is(got, "server_time_utc", "1767323045")
	// An agent's start.
	s.want(299, "GET", "/v1/sys/health?activecode=299&drsecondarycode=299&performancestandbycode=299&removedcode=299&sealedcode=299&standbycode=299&uninitcode=299", "", none)
	s.want(200, "HEAD", "/v1/sys/health", "", none)
	for _, code := range []string{"0", "99", "1000", "x", "100"} {
		s.want(400, "GET", "/v1/sys/health?activecode="+code, "", none)
	}
	got = s.want(200, "GET", "/v1/sys/internal/ui/mounts", "", none)
	s.is(got, "data", `{"auth":{},"secret":{}}`)
	if strings.Contains(got.Body.String(), "kv") {
		t.Error("mounts are shown to any client")
	}
}

func TestSealed(t *testing.T) {
	s := newServer(t)
	s.want(200, "PUT", data+"a", `{"data":{}}`)
	s.store.FailWith(func(string) error { return core.Errorf(core.Unavailable, "away") })
	s.fails(503, `["Vault is sealed"]`, "GET", data+"a", "")
	s.fails(503, `["away"]`, "GET", "/v1/database/creds/app/reader", "") // which is a change
	s.is(s.want(200, "GET", "/v1/sys/seal-status", ""), "sealed", "true")
	s.is(s.want(503, "GET", "/v1/sys/health", ""), "sealed", "true")
	s.want(299, "GET", "/v1/sys/health?sealedcode=299", "")
	s.want(200, "GET", "/v1/sys/leader", "")
	s.want(200, "GET", "/v1/sys/init", "")
}

// TestPreflight: without the path, clients read at the wrong place; without the version, they take the engine for another.
func TestPreflight(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"secret", "secret/", "secret/app/db", "secret/data/x"} {
		got := s.want(200, "GET", "/v1/sys/internal/ui/mounts/"+path, "")
		s.is(got, "data.path", `"secret/"`)
		s.is(got, "data.type", `"kv"`)
		s.is(got, "data.options", `{"version":"2"}`)
	}
	for _, path := range []string{"x", "secretx", "secret-x/a"} {
		s.fails(403, `["preflight capability check returned 403, please ensure client's policies grant access to path \"`+path+`/\""]`,
			"GET", "/v1/sys/internal/ui/mounts/"+path, "")
	}
	s.store.AddRole("nothing")
	tok, _ := s.child(`{"name":"none","role":"nothing"}`)
	got := s.want(403, "GET", "/v1/sys/internal/ui/mounts/secret/a", "", "X-Vault-Token: "+tok)
	if !strings.Contains(got.Body.String(), "preflight capability check returned 403") {
		t.Error(got.Body)
	}
}

func TestMounts(t *testing.T) {
	s := newServer(t)
	got := s.want(200, "GET", "/v1/sys/mounts", "")
	for _, path := range []string{"", "data."} {
		mount := got.at(strings.TrimSuffix(path, "."))
		if path == "" {
			mount = map[string]any(got.json)
		}
		if m, _ := mount.(map[string]any)["secret/"].(map[string]any); m == nil || m["type"] != "kv" {
			t.Errorf("%q: %s", path, got.Body)
		}
	}
	got = s.want(200, "GET", "/v1/sys/mounts/secret", "")
	for _, path := range []string{"", "data."} {
		s.is(got, path+"type", `"kv"`)
		s.is(got, path+"options.version", `"2"`)
	}
	s.want(400, "GET", "/v1/sys/mounts/other", "")
	s.is(s.want(200, "GET", "/v1/sys/internal/ui/mounts", ""), "data.secret.secret/.type", `"kv"`)
	for _, body := range []string{``, `{}`, `{"max_versions":0,"cas_required":false,"delete_version_after":"0s"}`, `{"max_versions":"10"}`} {
		s.want(204, "POST", "/v1/secret/config", body)
	}
	for _, body := range []string{`{"max_versions":5}`, `{"cas_required":true}`, `{"delete_version_after":"1h"}`} {
		s.fails(400, `["the mount has no settings of its own: set max_versions, cas_required and delete_version_after of each secret"]`, "PUT", "/v1/secret/config", body)
	}
	s.is(s.want(200, "GET", "/v1/secret/config", ""), "data", `{"cas_required":false,"delete_version_after":"0s","max_versions":0}`)
}

func TestCapabilities(t *testing.T) {
	s := newServer(t)
	s.store.AddRole("reader")
	s.store.GrantTo("reader", "app/*", "read")
	tok, _ := s.child(`{"name":"r","role":"reader"}`)
	header := "X-Vault-Token: " + tok
	got := s.want(200, "POST", "/v1/sys/capabilities-self", `{"paths":["secret/data/app/a","secret/data/other","secret/metadata/app/a","secret/metadata/","auth/token/lookup-self","sys/x","secret/delete/app/a"]}`, header)
	for path, want := range map[string]string{"secret/data/app/a": `["read"]`, "secret/data/other": `["deny"]`, "secret/metadata/app/a": `["list","read"]`,
		"secret/metadata/": `["list"]`, "auth/token/lookup-self": `["read"]`, "sys/x": `["deny"]`, "secret/delete/app/a": `["deny"]`, "capabilities": `["read"]`} {
		s.is(got, path, want)
		s.is(got, "data."+path, want)
	}
	got = s.want(200, "POST", "/v1/sys/capabilities-self", `{"path":"secret/data/app/a"}`)
	s.is(got, "capabilities", `["create","delete","patch","read","update"]`)
	s.want(400, "POST", "/v1/sys/capabilities-self", `{}`)
	s.fails(403, `["permission denied"]`, "POST", "/v1/sys/capabilities-self", `{"path":"sys/x"}`, "X-Vault-Token: hvt_x")
}

// TestHeaders: what would have to change the answer is refused.
func TestHeaders(t *testing.T) {
	s := newServer(t)
	s.want(200, "PUT", data+"a", `{"data":{"k":"`+marker+`"}}`)
	for _, ns := range []string{"", "root", "root/", "/"} {
		s.want(200, "GET", data+"a", "", "X-Vault-Namespace: "+ns)
	}
	got := s.want(404, "GET", data+"a", "", "X-Vault-Namespace: team/a")
	if got.Body.String() != `{"errors":["namespace not found"]}` || got.Header().Get("X-Vault-Namespace") != "team/a" {
		t.Errorf("%s %v", got.Body, got.Header())
	}
	for _, ttl := range []string{"60", "1m0s", "60s"} {
		s.want(400, "GET", data+"a", "", "X-Vault-Wrap-TTL: "+ttl)
	}
	s.want(200, "GET", data+"a", "", "X-Vault-Wrap-TTL: 0s")
	s.want(400, "GET", data+"a", "", "X-Vault-Inline-Auth-Path: auth/approle/login")
	s.want(200, "GET", data+"a", "", "X-Vault-Policy-Override: true", "X-Vault-Forward: active-node")
	// The guard's refusals have the protocol's shape here.
	s.fails(421, `["the request is for a host that is not in VAULT_ALLOWED_HOSTS"]`, "GET", data+"a", "", "Host: evil.example")
	s.want(403, "GET", data+"a", "", "Origin: https://evil.example")
	s.want(403, "GET", data+"a", "", "X-Forwarded-For: 10.0.0.1")
	s.want(400, "GET", data+"a", "", "Authorization: Bearer hvt_other")
}

func TestIndex(t *testing.T) {
	s := newServer(t)
	index := s.want(200, "PUT", data+"a", `{"data":{}}`).Header().Get("X-Vault-Index")
	s.want(200, "GET", data+"a", "", "X-Vault-Index: "+index)
	if f := s.store.Asked(); f.Position.String() != index || f.Primary {
		t.Errorf("asked for %+v", f)
	}
	s.want(200, "GET", data+"a", "", "X-Vault-Index: "+index, "X-Vault-Inconsistent: forward-active-node")
	if f := s.store.Asked(); !f.Primary {
		t.Errorf("asked for %+v", f)
	}
	s.want(400, "GET", data+"a", "", "X-Vault-Index: v1:abc")
}

// TestUnknown: what is not there is told only to those who may know.
func TestUnknown(t *testing.T) {
	s := newServer(t)
	s.fails(404, `["no handler for route \"other/x\". route entry not found."]`, "GET", "/v1/other/x", "")
	s.fails(404, `["no handler for route \"auth/ldap/config\". route entry not found."]`, "PUT", "/v1/auth/ldap/config", `{}`)
	s.fails(404, `["no handler for route \"auth/userpass/login/a/b\". route entry not found."]`, "PUT", "/v1/auth/userpass/login/a/b", `{"password":"x"}`)
	s.fails(400, `["invalid username or password"]`, "PUT", "/v1/auth/userpass/login/alice", `{"password":"x"}`)
	s.fails(400, `["invalid username or password"]`, "POST", "/v1/auth/userpass/login/%70%40ss", ``)
	s.fails(400, `["password must be a string"]`, "POST", "/v1/auth/userpass/login/alice", `{"password":1}`)
	s.fails(404, `["1 error occurred:\n\t* unsupported path\n\n"]`, "GET", "/v1/sys/policies/rgp/x", "")
	s.fails(404, `["1 error occurred:\n\t* unsupported path\n\n"]`, "PUT", "/v1/sys/wrapping/pubkey", "")
	for _, c := range [][2]string{{"DELETE", "/v1/sys/health"}, {"LIST", data + "a"}, {"OPTIONS", data + "a"}, {"GET", "/v1/secret/delete/a"}, {"LIST", "/v1/secret/detailed-metadata/a"}, {"SCAN", data + "a"}, {"PATCH", self + "renew-self"}} {
		s.fails(405, `["1 error occurred:\n\t* unsupported operation\n\n"]`, c[0], c[1], "")
	}
	for _, path := range []string{"/v1/secret/data/a/../b", "/v1/secret//data/a", "/v1/sys/../secret/data/a", "/v1/secret/data/./a"} {
		if got := s.want(307, "GET", path, ""); strings.Contains(got.Header().Get("Location"), "..") {
			t.Error(got.Header())
		}
	}
	got := s.call("GET", "/v1/other", "", "X-Vault-Token: -", "X-Vault-Request: -")
	if got.Code != 404 || got.at("code") != "not_found" { // our own clients
		t.Errorf("%d %s", got.Code, got.Body)
	}
	for _, name := range []string{"a b", "ü", "a:b", ".", strings.Repeat("a", 300)} {
		s.want(400, "GET", data+strings.ReplaceAll(strings.ReplaceAll(name, " ", "%20"), ".", "%20"), "")
	}
	s.want(415, "PUT", data+"a", `{"data":{}}`, "Content-Encoding: gzip")
	for _, route := range s.meter.routes {
		if strings.Contains(route, "/a") && !strings.Contains(route, "auth") {
			t.Errorf("a metric has the route %q", route)
		}
	}
	if !strings.Contains(s.logs.String(), `"route":"/v1/{kv}/data/{path}"`) || !strings.Contains(s.logs.String(), `"secret":"a"`) {
		t.Error("the access log lacks the route or the name")
	}
}
