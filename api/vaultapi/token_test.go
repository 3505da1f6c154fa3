package vaultapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
)

const self = "/v1/auth/token/"

// child makes a token by our own API and returns its text and accessor.
func (s *server) child(body string) (token, accessor string) {
	s.t.Helper()
	got := s.want(201, "POST", "/v1/tokens", body, "Content-Type: application/json")
	return got.json["token"].(string), got.json["accessor"].(string)
}

// TestLookupSelf: agents panic, or take the token for no good, if one of these has another type.
func TestLookupSelf(t *testing.T) {
	s := newServer(t)
	tok, accessor := s.child(`{"name":"web","role":"vault_admin","ttl_secs":3600,"max_ttl_secs":7200}`)
	got := s.want(200, "GET", self+"lookup-self", "", "X-Vault-Token: "+tok)
	for member, want := range map[string]string{
		"accessor": `"` + accessor + `"`, "creation_ttl": "3600", "display_name": `"web"`, "expire_time": `"2026-01-02T04:04:05Z"`,
		"explicit_max_ttl": "7200", "id": `"` + tok + `"`, "meta": "null", "num_uses": "0", "orphan": "true", "path": `"auth/token/create"`,
		"policies": `["vault_admin"]`, "renewable": "true", "ttl": "3600", "type": `"service"`, "entity_id": `""`, "creation_time": fmt.Sprint(s.now.Unix()),
	} {
		s.is(got, "data."+member, want)
	}
	got = s.want(200, "GET", self+"lookup-self", "") // without an end
	s.is(got, "data.expire_time", "null")
	s.is(got, "data.ttl", "0")
	s.is(got, "data.renewable", "false")
	s.want(200, "GET", self+"lookup-self", "", "X-Vault-Token: -", "Authorization: Bearer "+tok)
}

// TestRenewalAgrees: an agent that is told of a longer life by lookup-self than by renew-self logs in again and again.
func TestRenewalAgrees(t *testing.T) {
	s := newServer(t)
	tok, _ := s.child(`{"name":"web","role":"vault_admin","ttl_secs":3600,"max_ttl_secs":5400}`)
	header := "X-Vault-Token: " + tok
	for range 6 {
		got := s.want(200, "PUT", self+"renew-self", `{"increment":0}`, header)
		ttl := s.want(200, "GET", self+"lookup-self", "", header).at("data.ttl")
		if lease := got.at("auth.lease_duration"); lease != ttl || lease.(float64) < 1 {
			t.Errorf("lease_duration %v, ttl %v", lease, ttl)
		}
		s.is(got, "data", "null")
		s.is(got, "auth.client_token", `"`+tok+`"`)
		s.is(got, "auth.token_policies", `["vault_admin"]`)
		s.is(got, "auth.renewable", "true")
		capped := s.now.Sub(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) > 30*time.Minute
		if (got.at("warnings") != nil) != capped {
			t.Errorf("warnings %v", got.at("warnings"))
		}
		s.now = s.now.Add(14*time.Minute + 100*time.Millisecond)
	}
	got := s.want(200, "POST", self+"renew-self", `{"increment":"30s","foo":1}`, header)
	s.is(got, "auth.lease_duration", "30")
	s.is(got, "warnings", `["Endpoint ignored these unrecognized parameters: [foo]"]`)
	s.want(200, "POST", self+"renew-self", ``, header)
	s.fails(400, `["lease is not renewable"]`, "PUT", self+"renew-self", `{}`)
	for _, body := range []string{`{"increment":-1}`, `{"increment":"x"}`, `{"increment":[]}`, `{"increment":"NaN"}`, `{"increment":1e99}`} {
		s.want(400, "PUT", self+"renew-self", body, header)
	}
}

// TestPace: an agent in such a loop costs no more than its share, and is told so with a status that clients wait for.
func TestPace(t *testing.T) {
	s := newServer(t)
	limited := 0
	for range 150 {
		if got := s.call("GET", self+"lookup-self", ""); got.Code == http.StatusTooManyRequests {
			limited++
			if got.Header().Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
		}
	}
	if limited != 50 {
		t.Errorf("%d of 150 were refused, want 50", limited)
	}
	tok, _ := s.child(`{"name":"other"}`)
	s.want(200, "GET", self+"lookup-self", "", "X-Vault-Token: "+tok)
	s.now = s.now.Add(time.Second)
	s.want(200, "GET", self+"lookup-self", "")
}

func TestRevoke(t *testing.T) {
	s := newServer(t)
	tok, accessor := s.child(`{"name":"a"}`)
	s.is(s.want(200, "POST", self+"lookup", `{"token":"`+tok+`"}`), "data.accessor", `"`+accessor+`"`)
	got := s.want(200, "POST", self+"lookup-accessor", `{"accessor":"`+accessor+`"}`)
	s.is(got, "data.id", `""`)
	s.is(got, "data.orphan", "false")
	if keys := s.want(200, "LIST", self+"accessors", "").at("data.keys").([]any); len(keys) != 2 {
		t.Errorf("accessors %v", keys)
	}
	s.want(204, "PUT", self+"revoke-self", `null`, "X-Vault-Token: "+tok)
	s.fails(403, `["permission denied"]`, "GET", self+"lookup-self", "", "X-Vault-Token: "+tok)
	s.fails(403, `["bad token"]`, "POST", self+"lookup", `{"token":"`+tok+`"}`)
	s.fails(403, `["permission denied"]`, "POST", self+"lookup", `{"token":"`+s.token+`"}`, "X-Vault-Token: "+tok)
	tok, accessor = s.child(`{"name":"b","role":"vault_admin","ttl_secs":60}`)
	s.is(s.want(200, "PUT", self+"renew", `{"token":"`+tok+`","increment":30}`), "auth.lease_duration", "30")
	s.is(s.want(200, "PUT", self+"renew-accessor", `{"accessor":"`+accessor+`","increment":20}`), "auth.client_token", `""`)
	s.want(204, "PUT", self+"revoke-accessor", `{"accessor":"`+accessor+`"}`)
	s.fails(403, `["permission denied"]`, "GET", self+"lookup-self", "", "X-Vault-Token: "+tok)
	tok, _ = s.child(`{"name":"c"}`)
	s.want(204, "PUT", self+"revoke", `{"token":"`+tok+`"}`)
	s.want(400, "PUT", self+"revoke", `{}`)
	for _, op := range []string{"lookup-accessor", "renew-accessor", "revoke-accessor"} {
		s.fails(400, `["invalid accessor"]`, "PUT", self+op, `{"accessor":"x"}`)
	}
	if strings.Contains(s.logs.String(), tok) || strings.Contains(s.logs.String(), s.token) {
		t.Error("a token is in the log")
	}
}

// TestRefusals: there is no 401, and a token that is not valid reads differently from one without the right.
func TestRefusals(t *testing.T) {
	s := newServer(t)
	s.want(200, "PUT", data+"a", `{"data":{"k":"`+marker+`"}}`)
	s.store.AddRole("nothing")
	tok, _ := s.child(`{"name":"none","role":"nothing"}`)
	const denied = `["1 error occurred:\n\t* permission denied\n\n"]`
	none := "X-Vault-Token: " + tok
	for _, c := range [][3]string{
		{"GET", data + "a", ""}, {"GET", data + "missing", ""}, {"PUT", data + "a", `{"data":{}}`}, {"PUT", data + "missing", `{"data":{}}`},
		{"LIST", "/v1/secret/metadata/", ""}, {"PATCH", data + "a", `{"data":{}}`}, {"DELETE", data + "a", ""}, {"GET", "/v1/secret/metadata/a", ""},
		{"PUT", "/v1/secret/metadata/missing", `{}`}, {"DELETE", "/v1/secret/metadata/a", ""}, {"GET", "/v1/sys/mounts", ""}, {"POST", data + "a", `{`},
		{"GET", "/v1/sys/unknown", ""}, {"GET", "/v1/other/x", ""}, {"LIST", data + "a", ""},
	} {
		s.fails(403, denied, c[0], c[1], c[2], none)
		s = fresh(t, s)
		s.fails(403, `["permission denied"]`, c[0], c[1], c[2], "X-Vault-Token: hvt_"+strings.Repeat("A", 43))
	}
	s.fails(403, `["1 error occurred:\n\t* permission denied\n\n"]`, "GET", data+"a", "", "X-Vault-Token: -", "From: "+outside)
}

// fresh gives a server a protocol of its own on the same door: nothing is remembered of former refusals.
func fresh(t *testing.T, s *server) *server {
	t.Helper()
	s.now = s.now.Add(2 * time.Minute)
	s.protocol = vaultapi.New(vaultapi.Config{Vault: s.vault})
	return s
}
