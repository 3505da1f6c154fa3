package privilegetest

import (
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
	"github.com/hyperiondb/hyperion-vault/docs"
)

// row is one request, as every caller sends it.
type row struct {
	route string // method and path of the OpenAPI document
	note  string // what the request is about, where a route has several rows
	query string
	body  string
	path  string // with placeholders, where the route's own are not enough; "" = the route's
	match bool   // If-Match: *
	makes bool   // it is a GET that makes something, which HEAD does not
	shows bool   // the answer shows names or values, so the table says of which secrets
}

// Placeholders, each of which stands for something that no other request uses: {name} is a secret below app/ that
// exists, {new} is a name below app/ that does not, {deleted} the id of a deleted secret below app/, {accessor} a token of vault_admin, {mount} an AppRole method, {role} its role,
// {secret-id} the accessor of one of its secret ids, {userpass} a userpass method, {user} its user, {password} the password of that user, {sql-role} a role of PostgreSQL, {lease} a lease of vault_admin, {doomed-template} a
// template below app/.
var rows = []row{
	{route: "GET /v1/secrets", query: "?prefix=seen/", shows: true},
	{route: "POST /v1/secrets", body: `{"name":"{new}","value":"v"}`},
	{route: "GET /v1/secrets/{name}"},
	{route: "GET /v1/secrets/{name}", note: "missing", path: "/v1/secrets/{new}"},
	{route: "GET /v1/secrets/{name}", note: "elsewhere", path: "/v1/secrets/seen/other"},
	{route: "PUT /v1/secrets/{name}", body: `{"value":"w"}`, match: true},
	{route: "PUT /v1/secrets/{name}", note: "missing", path: "/v1/secrets/{new}", body: `{"value":"w"}`, match: true},
	{route: "DELETE /v1/secrets/{name}", match: true},
	{route: "POST /v1/secrets/{name}/rotate"},
	{route: "POST /v1/secrets/{name}/expire", body: `{"version":1}`},
	{route: "POST /v1/secrets/{name}/delete-versions"},
	{route: "POST /v1/secrets/{name}/undelete-versions", body: `{"versions":[1]}`},
	{route: "POST /v1/secrets/{name}/destroy-versions"},
	{route: "POST /v1/secrets/{name}/verify", body: `{"value":"v"}`},
	{route: "POST /v1/batch-read", body: `{"names":["seen/app","seen/other"]}`, shows: true},
	{route: "GET /v1/metadata/{name}"},
	{route: "PATCH /v1/metadata/{name}", body: `{"description":"d"}`, match: true},
	{route: "GET /v1/versions/{name}"},
	{route: "GET /v1/deleted"},
	{route: "POST /v1/deleted/{id}/restore", path: "/v1/deleted/{deleted}/restore"},
	{route: "POST /v1/deleted/{id}/restore", note: "missing", path: "/v1/deleted/00000000-0000-4000-8000-000000000000/restore"},
	{route: "DELETE /v1/deleted/{id}", path: "/v1/deleted/{deleted}"},
	{route: "DELETE /v1/deleted/{id}", note: "missing", path: "/v1/deleted/00000000-0000-4000-8000-000000000000"},
	{route: "GET /v1/status"},
	{route: "GET /v1/events"},
	{route: "GET /v1/audit", query: "?limit=200", shows: true},
	{route: "GET /v1/access", query: "?name=seen/app"},
	{route: "GET /v1/access", note: "of another role", query: "?name=seen/app&role=vault_admin"},
	{route: "GET /v1/grants"},
	{route: "PUT /v1/grants", body: `{"role":"{sql-role}","pattern":"app/*","actions":["read"]}`},
	{route: "PUT /v1/grants", note: "everywhere", body: `{"role":"{sql-role}","pattern":"*","actions":["read"]}`},
	{route: "DELETE /v1/grants", body: `{"role":"{sql-role}","pattern":"app/granted","actions":["read"]}`},
	{route: "GET /v1/roles"},
	{route: "GET /v1/roles/{name}"},
	{route: "PATCH /v1/roles/{name}", body: `{"session_policy":"ignore"}`},
	{route: "PUT /v1/roles/{name}", body: `{"role":"{sql-role}"}`},
	{route: "POST /v1/roles/{name}"},
	{route: "DELETE /v1/roles/{name}"},
	{route: "GET /v1/tokens"},
	{route: "POST /v1/tokens", note: "a child", body: `{"name":"{new}"}`},
	{route: "POST /v1/tokens", note: "of a role", body: `{"name":"{new}","role":"vault_admin"}`},
	{route: "GET /v1/tokens/{accessor}"},
	{route: "GET /v1/tokens/{accessor}", note: "its own", path: "/v1/tokens/self"},
	{route: "DELETE /v1/tokens/{accessor}"},
	{route: "POST /v1/tokens/{accessor}/renew"},
	{route: "POST /v1/tokens/{accessor}/renew", note: "its own", path: "/v1/tokens/self/renew"},
	{route: "POST /v1/leases", body: `{"template":"app/template"}`},
	{route: "POST /v1/leases", note: "elsewhere", body: `{"template":"other/template"}`},
	{route: "POST /v1/leases", note: "missing", body: `{"template":"{new}"}`},
	{route: "GET /v1/leases"},
	{route: "GET /v1/leases/{id}", path: "/v1/leases/{lease}"},
	{route: "POST /v1/leases/{id}/renew", path: "/v1/leases/{lease}/renew"},
	{route: "DELETE /v1/leases/{id}", path: "/v1/leases/{lease}"},
	{route: "GET /v1/role-templates"},
	{route: "GET /v1/role-templates/{name}", path: "/v1/role-templates/app/template"},
	{route: "PUT /v1/role-templates/{name}", path: "/v1/role-templates/{new}", body: `{"member_of":[]}`},
	{route: "DELETE /v1/role-templates/{name}", path: "/v1/role-templates/{doomed-template}"},
	{route: "GET /v1/database/creds/{template}", path: "/v1/database/creds/app/template", makes: true},
	{route: "PUT /v1/sys/leases/lookup", body: `{"lease_id":"database/creds/app/template/{lease}"}`},
	{route: "PUT /v1/sys/leases/renew", body: `{"lease_id":"database/creds/app/template/{lease}"}`},
	{route: "PUT /v1/sys/leases/renew/{lease_id}", path: "/v1/sys/leases/renew/database/creds/app/template/{lease}"},
	{route: "PUT /v1/sys/leases/revoke", body: `{"lease_id":"database/creds/app/template/{lease}"}`},
	{route: "PUT /v1/sys/leases/revoke/{lease_id}", path: "/v1/sys/leases/revoke/database/creds/app/template/{lease}"},
	{route: "PUT /v1/sys/renew", body: `{"lease_id":"database/creds/app/template/{lease}"}`},
	{route: "PUT /v1/sys/revoke", body: `{"lease_id":"database/creds/app/template/{lease}"}`},
	{route: "GET /v1/auth"},
	{route: "GET /v1/auth/{mount}"},
	{route: "PUT /v1/auth/{mount}", path: "/v1/auth/{mount}-new", body: `{"kind":"approle"}`},
	{route: "DELETE /v1/auth/{mount}"},
	{route: "PUT /v1/auth/{mount}/login", note: "wrong", body: `{"role_id":"{role-id}","secret_id":"wrong"}`},
	{route: "POST /v1/auth/{mount}/login", body: `{"role_id":"{role-id}","secret_id":"{secret}"}`},
	{route: "PUT /v1/auth/{mount}/login/{name}", note: "wrong", path: "/v1/auth/{userpass}/login/{user}", body: `{"password":"wrong password"}`},
	{route: "PUT /v1/auth/{mount}/login/{name}", note: "no such user", path: "/v1/auth/{userpass}/login/stranger", body: `{"password":"wrong password"}`},
	{route: "POST /v1/auth/{mount}/login/{name}", path: "/v1/auth/{userpass}/login/{user}", body: `{"password":"{password}"}`},
	{route: "GET /v1/auth/{mount}/roles"},
	{route: "GET /v1/auth/{mount}/roles/{role}"},
	{route: "PUT /v1/auth/{mount}/roles/{role}", body: `{"role":"vault_anonymous"}`},
	{route: "DELETE /v1/auth/{mount}/roles/{role}"},
	{route: "POST /v1/auth/{mount}/roles/{role}/revoke"},
	{route: "PUT /v1/auth/{mount}/roles/{role}/password", path: "/v1/auth/{userpass}/roles/{user}/password", body: `{"password":"another password"}`},
	{route: "GET /v1/auth/{mount}/roles/{role}/secret-ids"},
	{route: "POST /v1/auth/{mount}/roles/{role}/secret-ids"},
	{route: "DELETE /v1/auth/{mount}/roles/{role}/secret-ids/{accessor}", path: "/v1/auth/{mount}/roles/{role}/secret-ids/{secret-id}"},
	{route: "GET /v1/admin/rewrap"},
	{route: "POST /v1/admin/rewrap"},
	{route: "POST /v1/admin/token-key"},
	{route: "GET /v1/openapi.yaml"},
	{route: "GET /healthz"},
	{route: "GET /readyz"},
	{route: "GET /metrics"},
	// The routes for clients of Vault and OpenBao. PUT stands for POST too, and LIST for GET with list=true.
	{route: "GET /v1/{kv}/data/{path}", path: "/v1/secret/data/{name}"},
	{route: "GET /v1/{kv}/data/{path}", note: "missing", path: "/v1/secret/data/{new}"},
	{route: "GET /v1/{kv}/data/{path}", note: "elsewhere", path: "/v1/secret/data/seen/other"},
	{route: "PUT /v1/{kv}/data/{path}", path: "/v1/secret/data/{name}", body: `{"data":{"value":"w"}}`},
	{route: "PUT /v1/{kv}/data/{path}", note: "missing", path: "/v1/secret/data/{new}", body: `{"data":{"value":"w"}}`},
	{route: "PATCH /v1/{kv}/data/{path}", path: "/v1/secret/data/{name}", body: `{"data":{"value":"w"}}`},
	{route: "DELETE /v1/{kv}/data/{path}", path: "/v1/secret/data/{name}"},
	{route: "PUT /v1/{kv}/delete/{path}", path: "/v1/secret/delete/{name}", body: `{"versions":[1]}`},
	{route: "PUT /v1/{kv}/undelete/{path}", path: "/v1/secret/undelete/{name}", body: `{"versions":[1]}`},
	{route: "PUT /v1/{kv}/destroy/{path}", path: "/v1/secret/destroy/{name}", body: `{"versions":[1]}`},
	{route: "GET /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/{name}"},
	{route: "LIST /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/seen"},
	{route: "SCAN /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/seen"},
	{route: "PUT /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/{name}", body: `{"custom_metadata":{"a":"b"}}`},
	{route: "PUT /v1/{kv}/metadata/{path}", note: "missing", path: "/v1/secret/metadata/{new}", body: `{}`},
	{route: "PATCH /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/{name}", body: `{"custom_metadata":{"a":"b"}}`},
	{route: "DELETE /v1/{kv}/metadata/{path}", path: "/v1/secret/metadata/{name}"},
	{route: "GET /v1/{kv}/subkeys/{path}", path: "/v1/secret/subkeys/{name}"},
	{route: "GET /v1/{kv}/config", path: "/v1/secret/config"},
	{route: "PUT /v1/{kv}/config", path: "/v1/secret/config", body: `{"max_versions":0}`},
	{route: "GET /v1/sys/health"},
	{route: "GET /v1/sys/seal-status"},
	{route: "GET /v1/sys/leader"},
	{route: "GET /v1/sys/init"},
	{route: "GET /v1/sys/mounts"},
	{route: "GET /v1/sys/mounts/{mount}", path: "/v1/sys/mounts/secret"},
	{route: "GET /v1/sys/internal/ui/mounts"},
	{route: "GET /v1/sys/internal/ui/mounts/{path}", path: "/v1/sys/internal/ui/mounts/secret/app/x"},
	{route: "PUT /v1/sys/capabilities-self", body: `{"path":"secret/data/seen/app"}`},
	{route: "PUT /v1/sys/wrapping/wrap", note: "without a lifetime", body: `{"a":"b"}`},
	{route: "PUT /v1/sys/wrapping/unwrap", note: "wrong", body: `{"token":"hvw_x"}`},
	{route: "PUT /v1/sys/wrapping/rewrap", note: "wrong", body: `{"token":"hvw_x"}`},
	{route: "PUT /v1/sys/wrapping/lookup", note: "wrong", body: `{"token":"hvw_x"}`},
	{route: "GET /v1/sys/wrapping/lookup", note: "no such token"},
	{route: "GET /v1/sys/auth"},
	{route: "LIST /v1/sys/policies/acl"},
	{route: "GET /v1/sys/policies/acl/{name}", path: "/v1/sys/policies/acl/vault_anonymous"},
	{route: "PUT /v1/sys/policies/acl/{name}", path: "/v1/sys/policies/acl/{sql-role}", body: `{"policy":""}`},
	{route: "DELETE /v1/sys/policies/acl/{name}", path: "/v1/sys/policies/acl/{sql-role}"},
	{route: "LIST /v1/sys/policy"},
	{route: "GET /v1/sys/policy"},
	{route: "GET /v1/sys/policy/{name}", path: "/v1/sys/policy/vault_anonymous"},
	{route: "PUT /v1/sys/policy/{name}", path: "/v1/sys/policy/{sql-role}", body: `{"policy":""}`},
	{route: "DELETE /v1/sys/policy/{name}", path: "/v1/sys/policy/{sql-role}"},
	{route: "LIST /v1/auth/{mount}/role"},
	{route: "GET /v1/auth/{mount}/role/{name}", path: "/v1/auth/{mount}/role/{role}"},
	{route: "PUT /v1/auth/{mount}/role/{name}", path: "/v1/auth/{mount}/role/{role}", body: `{"token_policies":"vault_anonymous"}`},
	{route: "DELETE /v1/auth/{mount}/role/{name}", path: "/v1/auth/{mount}/role/{role}"},
	{route: "GET /v1/auth/{mount}/role/{name}/role-id", path: "/v1/auth/{mount}/role/{role}/role-id"},
	{route: "LIST /v1/auth/{mount}/role/{name}/secret-id", path: "/v1/auth/{mount}/role/{role}/secret-id"},
	{route: "PUT /v1/auth/{mount}/role/{name}/secret-id", path: "/v1/auth/{mount}/role/{role}/secret-id", body: `{}`},
	{route: "PUT /v1/auth/{mount}/role/{name}/secret-id-accessor/lookup", path: "/v1/auth/{mount}/role/{role}/secret-id-accessor/lookup",
		body: `{"secret_id_accessor":"{secret-id}"}`},
	{route: "PUT /v1/auth/{mount}/role/{name}/secret-id-accessor/destroy", path: "/v1/auth/{mount}/role/{role}/secret-id-accessor/destroy",
		body: `{"secret_id_accessor":"{secret-id}"}`},
	{route: "LIST /v1/auth/{mount}/users", path: "/v1/auth/{userpass}/users"},
	{route: "GET /v1/auth/{mount}/users/{name}", path: "/v1/auth/{userpass}/users/{user}"},
	{route: "PUT /v1/auth/{mount}/users/{name}", path: "/v1/auth/{userpass}/users/{user}", body: `{"token_policies":"vault_anonymous"}`},
	{route: "PUT /v1/auth/{mount}/users/{name}", note: "missing", path: "/v1/auth/{userpass}/users/{user}2", body: `{"token_policies":"vault_anonymous","password":"{password}"}`},
	{route: "DELETE /v1/auth/{mount}/users/{name}", path: "/v1/auth/{userpass}/users/{user}"},
	{route: "PUT /v1/auth/{mount}/users/{name}/password", path: "/v1/auth/{userpass}/users/{user}/password", body: `{"password":"another password"}`},
	{route: "PUT /v1/auth/{mount}/users/{name}/policies", path: "/v1/auth/{userpass}/users/{user}/policies", body: `{"token_policies":"vault_anonymous"}`},
	{route: "GET /v1/auth/token/lookup-self"},
	{route: "PUT /v1/auth/token/lookup-self"},
	{route: "PUT /v1/auth/token/create", note: "a child", body: `{"display_name":"x"}`},
	{route: "PUT /v1/auth/token/create", note: "of a role", body: `{"policies":["vault_admin"],"no_parent":true}`},
	{route: "PUT /v1/auth/token/create-orphan", body: `{}`},
	{route: "PUT /v1/auth/token/lookup", body: `{"token":"hvt_short"}`},
	{route: "PUT /v1/auth/token/lookup-accessor", body: `{"accessor":"{accessor}"}`},
	{route: "LIST /v1/auth/token/accessors"},
	{route: "PUT /v1/auth/token/renew-self"},
	{route: "PUT /v1/auth/token/renew", body: `{"token":"hvt_short"}`},
	{route: "PUT /v1/auth/token/renew-accessor", body: `{"accessor":"{accessor}"}`},
	// Each caller has one token, which the rows after these need.
	{route: "PUT /v1/auth/token/revoke-self", note: "not well-formed", body: `[`},
	{route: "PUT /v1/auth/token/revoke", note: "without a token", body: `{}`},
	{route: "PUT /v1/auth/token/revoke-accessor", body: `{"accessor":"{accessor}"}`},
}

// title is how the table names the row.
func (r row) title() string {
	if r.note == "" {
		return r.route
	}
	return r.route + " (" + r.note + ")"
}

// TestEveryRouteHasARow fails when a route is added without saying here who may use it.
func TestEveryRouteHasARow(t *testing.T) {
	covered := map[string]bool{}
	for _, r := range rows {
		covered[r.route] = true
	}
	known := append(served(t), documented(t)...)
	known = append(known, vaultapi.New(vaultapi.Config{}).Routes()...)
	for _, route := range known {
		if !covered[route] {
			t.Errorf("%s has no row in the privilege matrix", route)
		}
	}
	for route := range covered {
		if !slices.Contains(known, route) {
			t.Errorf("%s has a row and is no route", route)
		}
	}
}

// served returns the routes of the handler, in the document's spelling. HEAD is part of GET, and what POST does with a
// secret depends on the end of its path: the document has these routes.
func served(t *testing.T) (all []string) {
	t.Helper()
	e, ok := httpapi.New(httpapi.Config{Metrics: http.NotFoundHandler()}).(*gin.Engine)
	if !ok {
		t.Fatal("the handler is not gin's")
	}
	for _, r := range e.Routes() {
		if r.Method == http.MethodHead || r.Method == http.MethodPost && r.Path == "/v1/secrets/*name" {
			continue
		}
		parts := strings.Split(r.Path, "/")
		for i, p := range parts {
			if p != "" && strings.ContainsAny(p[:1], ":*") {
				parts[i] = "{" + p[1:] + "}"
			}
		}
		all = append(all, r.Method+" "+strings.Join(parts, "/"))
	}
	if len(all) < 20 {
		t.Fatalf("only %d routes are served", len(all))
	}
	sort.Strings(all)
	return all
}

func documented(t *testing.T) (all []string) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if method != http.MethodHead {
				all = append(all, method+" "+path)
			}
		}
	}
	sort.Strings(all)
	return all
}
