package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// as is a call with another token.
func (c call) as(token string) call {
	c.noToken = true
	header := map[string]string{"Authorization": "Bearer " + token}
	for k, v := range c.header {
		header[k] = v
	}
	c.header = header
	return c
}

func (a *api) newToken(body string) (token, accessor string) {
	a.t.Helper()
	got := a.want(call{method: "POST", path: "/v1/tokens", body: body}, 201, "")
	token, _ = got.json["token"].(string)
	accessor, _ = got.json["accessor"].(string)
	if got.Header().Get("Location") != "/v1/tokens/"+accessor || got.Header().Get("Vault-Lsn") == "" {
		a.t.Errorf("headers %v", got.Header())
	}
	return token, accessor
}

func TestTokenRoutes(t *testing.T) {
	a := newAPI(t)
	a.create("app/one", marker)
	a.create("other", marker)
	a.store.AddRole("app")
	a.store.GrantTo("app", "app/*", "read", "update")
	token, accessor := a.newToken(`{"name":"app","role":"app","max_ttl_secs":31536000,"scope":[{"pattern":"app/*","actions":["read"]}],"bound_cidrs":["10.0.0.0/8"]}`)
	own := a.want(call{method: "GET", path: "/v1/tokens/self"}.as(token), 200, "")
	if own.json["accessor"] != accessor || own.json["role"] != "app" || own.json["ttl_secs"] != float64(30*24*3600) || own.json["renewable"] != true || own.json["token"] != nil {
		t.Errorf("%s", own.Body)
	}
	a.want(call{method: "GET", path: "/v1/secrets/app/one"}.as(token), 200, "")
	refused := a.want(call{method: "GET", path: "/v1/secrets/other"}.as(token), 403, "denied")
	missing := a.want(call{method: "GET", path: "/v1/secrets/missing"}.as(token), 403, "denied")
	if refused.json["detail"] != missing.json["detail"] {
		t.Errorf("%s, %s", refused.Body, missing.Body)
	}
	a.want(call{method: "PUT", path: "/v1/secrets/app/one", body: `{"value":"x"}`, header: map[string]string{"If-Match": "*"}}.as(token), 403, "denied")
	child := a.want(call{method: "POST", path: "/v1/tokens", body: `{"name":"child"}`}.as(token), 201, "")
	if child.json["parent"] != accessor || child.json["expires_at"] != own.json["expires_at"] {
		t.Errorf("%s", child.Body)
	}
	list := a.want(call{method: "GET", path: "/v1/tokens"}.as(token), 200, "")
	if n := len(list.json["tokens"].([]any)); n != 2 {
		t.Errorf("%d tokens", n)
	}
	page := a.want(call{method: "GET", path: "/v1/tokens?limit=1"}, 200, "")
	next, _ := page.json["next"].(string)
	if n := len(page.json["tokens"].([]any)); n != 1 || next == "" {
		t.Errorf("%s", page.Body)
	}
	a.want(call{method: "GET", path: "/v1/tokens?after=" + next}, 200, "")
	a.want(call{method: "POST", path: "/v1/tokens/self/renew", body: `{"increment_secs":60}`}.as(token), 200, "")
	a.want(call{method: "POST", path: "/v1/tokens/" + accessor + "/renew"}, 200, "")
	a.want(call{method: "GET", path: "/v1/tokens/" + accessor}.as(child.json["token"].(string)), 404, "not_found")
	a.want(call{method: "DELETE", path: "/v1/tokens/" + accessor}, 204, "")
	for _, gone := range []string{token, child.json["token"].(string)} {
		a.want(call{method: "GET", path: "/v1/secrets/app/one"}.as(gone), 401, "unauthenticated")
	}
	a.want(call{method: "DELETE", path: "/v1/tokens/" + accessor}, 404, "not_found")
	for _, secret := range []string{token, a.token} {
		if strings.Contains(a.logs.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	a := newAPI(t)
	for body, want := range map[string]string{
		`{}`:                                     "a token name is",
		`{"name":"a b"}`:                         "a token name is",
		`{"name":"n","ttl_secs":-1}`:             "ttl_secs must be between",
		`{"name":"n","ttl_secs":1.5}`:            "ttl_secs must be a whole number",
		`{"name":"n","role":""}`:                 "role",
		`{"name":"n","renewable":"yes"}`:         "renewable must be",
		`{"name":"n","scope":{}}`:                "scope must be an array",
		`{"name":"n","scope":["x"]}`:             "scope must be an array of objects",
		`{"name":"n","scope":[]}`:                "a scope has 1 to",
		`{"name":"n","scope":[{"pattern":"a"}]}`: "no actions are given",
		`{"name":"n","scope":[{"pattern":"a","actions":["list"]}]}`:        "unknown action",
		`{"name":"n","scope":[{"pattern":"a","actions":["read"],"x":1}]}`:  "x",
		`{"name":"n","bound_cidrs":["10.0.0.1/8"]}`:                        "bound_cidrs must be networks",
		`{"name":"n","bound_cidrs":[]}`:                                    "bound_cidrs is empty",
		`{"name":"n","max_ttl_secs":5,"role":"vault_admin","ttl_secs":10}`: "must not be less",
		`{"name":"n","max_ttl_secs":5,"role":"vault_admin","ttl_secs":0}`:  "has no longest lifetime",
		`{"name":"n","policies":["x"]}`:                                    "policies",
	} {
		got := a.want(call{method: "POST", path: "/v1/tokens", body: body}, 400, "invalid")
		if !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %s", body, got.Body)
		}
	}
	a.want(call{method: "POST", path: "/v1/tokens", body: `{"name":"n","role":"stranger"}`}, 404, "not_found")
	a.want(call{method: "POST", path: "/v1/tokens", body: `{"name":"ops","role":"vault_admin"}`}, 409, "exists")
	a.want(call{method: "POST", path: "/v1/tokens", body: `{"name":"n"}`, noToken: true}, 401, "unauthenticated")
	a.want(call{method: "GET", path: "/v1/tokens/nonsense"}, 400, "invalid")
	a.want(call{method: "GET", path: "/v1/tokens?limit=0"}, 400, "invalid")
	a.want(call{method: "GET", path: "/v1/tokens", noToken: true}, 401, "unauthenticated")
}

func TestGrantRoutes(t *testing.T) {
	a := newAPI(t)
	a.store.AddRole("team")
	token, _ := a.newToken(`{"name":"t","role":"team"}`)
	grant := `{"role":"team","pattern":"app/*","actions":["read","manage"]}`
	a.want(call{method: "PUT", path: "/v1/grants", body: grant}.as(token), 403, "denied")
	a.want(call{method: "PUT", path: "/v1/grants", body: grant}, 204, "")
	a.want(call{method: "PUT", path: "/v1/grants", body: `{"role":"team","pattern":"app/x/*","actions":["update"]}`}.as(token), 204, "")
	list := a.want(call{method: "GET", path: "/v1/grants"}.as(token), 200, "")
	if n := len(list.json["grants"].([]any)); n != 3 {
		t.Errorf("%s", list.Body)
	}
	got := a.want(call{method: "GET", path: "/v1/access?name=app/one"}.as(token), 200, "")
	if got.json["role"] != "team" || !strings.Contains(got.Body.String(), `{"action":"read","allowed":true,"grantee":"team","pattern":"app/*","how":"granted"}`) ||
		!strings.Contains(got.Body.String(), `{"action":"delete","allowed":false,"cause":"grant"}`) {
		t.Errorf("%s", got.Body)
	}
	a.want(call{method: "GET", path: "/v1/access?name=app/one&role=vault_admin"}.as(token), 200, "")
	a.want(call{method: "GET", path: "/v1/access?name=other&role=vault_admin"}.as(token), 403, "denied")
	a.want(call{method: "GET", path: "/v1/access?name=other", noToken: true}, 200, "")
	a.want(call{method: "GET", path: "/v1/access?name=other", noToken: true, from: outside}, 403, "denied")
	a.want(call{method: "GET", path: "/v1/access"}, 400, "invalid")
	a.want(call{method: "GET", path: "/v1/access?name=a&role="}, 400, "invalid")
	a.want(call{method: "DELETE", path: "/v1/grants", body: grant}, 204, "")
	a.want(call{method: "DELETE", path: "/v1/grants", body: grant}, 404, "not_found")
	a.want(call{method: "PUT", path: "/v1/grants", body: `{"role":"team","pattern":"a*","actions":["read"]}`}, 400, "invalid")
	a.want(call{method: "PUT", path: "/v1/grants", body: `{"role":"team","pattern":"a","actions":"read"}`}, 400, "invalid")
}

// TestTokenHeaders: both headers carry the token; two different tokens are refused.
func TestTokenHeaders(t *testing.T) {
	a := newAPI(t)
	other, _ := a.newToken(`{"name":"o","role":"vault_admin"}`)
	list := call{method: "GET", path: "/v1/tokens", noToken: true}
	for _, header := range []map[string]string{
		{"X-Vault-Token": a.token}, {"Authorization": "Bearer " + a.token}, {"Authorization": "Bearer " + a.token, "X-Vault-Token": a.token},
	} {
		list.header = header
		a.want(list, 200, "")
	}
	for _, header := range []map[string]string{
		{"Authorization": "Bearer " + a.token, "X-Vault-Token": other}, {"Authorization": "Basic x", "X-Vault-Token": a.token},
		{"Authorization": "Bearer " + a.token, "X-Vault-Token": ""},
	} {
		list.header = header
		a.recorder.Take()
		a.want(list, 400, "invalid")
		if e := a.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionTokenList || e[0].Outcome != vault.OutcomeFailed {
			t.Errorf("%+v", e)
		}
	}
	list.header = map[string]string{"X-Vault-Token": "x"}
	a.want(list, 401, "unauthenticated")
	if got := a.do(call{method: "GET", path: "/healthz", header: map[string]string{"X-Vault-Token": "x"}}); got.Code != 200 {
		t.Errorf("%d", got.Code)
	}
}

// TestAnonymousWarning: the status warns while callers without a token may read everything.
func TestAnonymousWarning(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) {
		c.AnonymousWarning = func() *httpapi.Warning { return &httpapi.Warning{Code: "anonymous_reads", Detail: "d"} }
	})
	got := a.want(call{method: "GET", path: "/v1/status"}, 200, "")
	if !strings.Contains(got.Body.String(), "anonymous_reads") {
		t.Errorf("%s", got.Body)
	}
	a.store.RevokeFrom("vault_anonymous", "*", "read")
	a.store.GrantTo("vault_anonymous", "a/*", "read")
	if got = a.want(call{method: "GET", path: "/v1/status"}, 200, ""); strings.Contains(got.Body.String(), "anonymous_reads") {
		t.Errorf("%s", got.Body)
	}
	if http.StatusOK != got.Code {
		t.Fatal(got.Code)
	}
}
