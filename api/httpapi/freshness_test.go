package httpapi_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestLSNOfChanges: every change of a secret answers where the log stands after it.
func TestLSNOfChanges(t *testing.T) {
	a := newAPI(t)
	const grantOfAB = `{"role":"vault_anonymous","pattern":"a/b","actions":["read"]}`
	any := map[string]string{"If-Match": "*"}
	for _, c := range []call{
		{method: "POST", path: "/v1/secrets", body: `{"name":"a","value":"one","grace_period_secs":60,"generate_policy":{"length":16}}`},
		{method: "PUT", path: "/v1/secrets/a", body: `{"value":"two"}`, header: any},
		{method: "POST", path: "/v1/secrets/a/rotate"},
		{method: "PATCH", path: "/v1/metadata/a", body: `{"description":"x"}`, header: any},
		{method: "POST", path: "/v1/secrets/a/expire", body: `{"version":1}`},
		{method: "PUT", path: "/v1/roles/a", body: `{"role":"app"}`},
		{method: "PATCH", path: "/v1/roles/a", body: `{"auto_repair":true}`},
		{method: "POST", path: "/v1/roles/a"},
		{method: "DELETE", path: "/v1/roles/a"},
		{method: "DELETE", path: "/v1/secrets/a", header: any},
		{method: "PUT", path: "/v1/grants", body: grantOfAB},
		{method: "DELETE", path: "/v1/grants", body: grantOfAB},
	} {
		got := a.do(c)
		if want := a.store.LastPosition().String(); got.Code >= 300 || got.Header().Get("Vault-Lsn") != want {
			t.Errorf("%s %s: %d, Vault-Lsn %q, want %s: %s", c.method, c.path, got.Code, got.Header().Get("Vault-Lsn"), want, got.Body)
		}
	}
	refused := a.want(call{method: "DELETE", path: "/v1/secrets/a", header: any}, 404, "not_found")
	if v := refused.Header().Values("Vault-Lsn"); v != nil {
		t.Errorf("a refusal has Vault-Lsn %q", v)
	}
}

var freshReads = []call{
	{method: "GET", path: "/v1/secrets/a"},
	{method: "GET", path: "/v1/secrets/a?version=1"},
	{method: "GET", path: "/v1/secrets"},
	{method: "GET", path: "/v1/metadata/a"},
	{method: "GET", path: "/v1/versions/a"},
	{method: "POST", path: "/v1/secrets/a/verify", body: `{"value":"one"}`},
}

func TestFreshnessOfReads(t *testing.T) {
	for _, byDefault := range []bool{false, true} {
		a := newAPI(t, func(c *httpapi.Config) { c.ReadPrimary = byDefault })
		a.create("a", "one")
		for _, tt := range []struct {
			header map[string]string
			want   vault.Freshness
		}{
			{nil, vault.Freshness{Primary: byDefault}},
			{map[string]string{"Vault-Read-Consistency": "primary"}, vault.Freshness{Primary: true}},
			{map[string]string{"Vault-Read-Consistency": "local"}, vault.Freshness{}},
			{map[string]string{"Vault-Lsn": "16/b374D848"}, vault.Freshness{Primary: byDefault, Position: core.Position{LSN: 0x16B374D848}}},
			{map[string]string{"Vault-Lsn": "4294967295-0/1"}, vault.Freshness{Primary: byDefault, Position: core.Position{Timeline: 1<<32 - 1, LSN: 1}}},
			{map[string]string{"Vault-Lsn": "0/1", "Vault-Read-Consistency": "local"}, vault.Freshness{Position: core.Position{LSN: 1}}},
			{map[string]string{"Vault-Lsn": "0/1", "Vault-Read-Consistency": "primary"}, vault.Freshness{Primary: true, Position: core.Position{LSN: 1}}},
		} {
			for _, c := range freshReads {
				c.header = tt.header
				a.want(c, 200, "")
				if got := a.store.Asked(); got != tt.want {
					t.Errorf("%s %s with %v (by default primary: %t): asked for %+v", c.method, c.path, tt.header, byDefault, got)
				}
			}
		}
	}
}

func TestErrFreshness(t *testing.T) {
	a := newAPI(t)
	a.create("a", "one")
	for _, header := range []map[string]string{
		{"Vault-Lsn": ""}, {"Vault-Lsn": "1"}, {"Vault-Lsn": "0/0"}, {"Vault-Lsn": "0/1, 0/2"}, {"Vault-Lsn": "zz/1"}, {"Vault-Lsn": "0-0/1"}, {"Vault-Lsn": "1-0/0"},
		{"Vault-Read-Consistency": ""}, {"Vault-Read-Consistency": "Primary"}, {"Vault-Read-Consistency": "strong"},
	} {
		for _, c := range freshReads {
			c.header = header
			a.want(c, 400, "invalid")
			if n := len(a.recorder.Take()); n != 1 {
				t.Errorf("%s %s with %v: %d records", c.method, c.path, header, n)
			}
			// Who may not read does not learn what is wrong with the request.
			c.from = outside
			a.want(c, 403, "denied")
			a.recorder.Take()
		}
	}
	t.Run("Twice", func(t *testing.T) {
		for _, h := range []string{"Vault-Lsn", "Vault-Read-Consistency"} {
			if got := a.twice("/v1/secrets/a", h, "0/1", "0/2"); got != 400 {
				t.Errorf("%s twice: %d", h, got)
			}
		}
	})
	t.Run("OKChange", func(t *testing.T) {
		// A change is made on the primary whatever the headers for reads say.
		for i, v := range []string{"nonsense", "0/1"} {
			a.want(call{method: "POST", path: "/v1/secrets", body: fmt.Sprintf(`{"name":"b%d","value":"x"}`, i), header: map[string]string{"Vault-Lsn": v}}, 201, "")
		}
	})
}

// twice sends a header with two values.
func (a *api) twice(path, header string, values ...string) int {
	a.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "localhost"
	r.RemoteAddr = inside
	r.Header[header] = values
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Code
}
