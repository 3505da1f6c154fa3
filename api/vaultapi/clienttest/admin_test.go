package clienttest

import (
	"strings"
	"testing"
)

// TestAppRoleAdministration: an AppRole is made, used and taken away by the paths of Vault.
func TestAppRoleAdministration(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	l := client.Logical()
	_, err := l.Write("auth/approle/role/ci", map[string]any{
		"token_policies": []string{"default", "hv_client"}, "token_ttl": "20m", "token_max_ttl": "30m", "secret_id_num_uses": 1, "secret_id_ttl": "1h",
		"token_bound_cidrs": "127.0.0.0/8", "bind_secret_id": true,
	})
	ok(t, err)
	role, err := l.Read("auth/approle/role/ci")
	ok(t, err)
	if d := role.Data; d["token_policies"].([]any)[0] != "hv_client" || d["secret_id_num_uses"].(interface{ String() string }).String() != "1" ||
		d["token_ttl"].(interface{ String() string }).String() != "1200" || d["token_bound_cidrs"].([]any)[0] != "127.0.0.0/8" {
		t.Fatalf("%v", d)
	}
	_, err = l.Write("auth/approle/role/ci", map[string]any{"token_ttl": "10m"}) // the rest stays
	ok(t, err)
	role, err = l.Read("auth/approle/role/ci")
	ok(t, err)
	if d := role.Data; d["secret_id_num_uses"].(interface{ String() string }).String() != "1" || d["token_ttl"].(interface{ String() string }).String() != "600" {
		t.Fatalf("after a change of one setting: %v", d)
	}
	id, err := l.Read("auth/approle/role/ci/role-id")
	ok(t, err)
	delivered, err := wrapped(t, s, "60s").Logical().Write("auth/approle/role/ci/secret-id", map[string]any{})
	ok(t, err)
	secret, err := l.Unwrap(delivered.WrapInfo.Token)
	ok(t, err)
	accessor := map[string]any{"secret_id_accessor": secret.Data["secret_id_accessor"]}
	known, err := l.Write("auth/approle/role/ci/secret-id-accessor/lookup", accessor)
	ok(t, err)
	if known.Data["secret_id_num_uses"].(interface{ String() string }).String() != "1" || known.Data["secret_id"] != nil {
		t.Fatalf("%v", known.Data)
	}
	in, err := l.Write("auth/approle/login", map[string]any{"role_id": id.Data["role_id"], "secret_id": secret.Data["secret_id"]})
	ok(t, err)
	if in.Auth.LeaseDuration != 600 || in.Auth.Policies[0] != "hv_client" {
		t.Fatalf("%+v", in.Auth)
	}
	if _, err := l.Write("auth/approle/login", map[string]any{"role_id": id.Data["role_id"], "secret_id": secret.Data["secret_id"]}); !mentions(err, 400, "invalid role or secret ID") {
		t.Fatalf("a secret id that is used up: %v", err)
	}
	list, err := l.List("auth/approle/role")
	ok(t, err)
	if keys := list.Data["keys"].([]any); len(keys) != 2 || keys[1] != "ci" {
		t.Fatalf("%v", keys)
	}
	for range 2 {
		_, err = l.Write("auth/approle/role/ci/secret-id-accessor/destroy", accessor)
		ok(t, err)
	}
	if _, err := l.Write("auth/approle/role/ci/secret-id-accessor/lookup", accessor); err == nil {
		t.Error("a destroyed secret id is found")
	}
	_, err = l.Delete("auth/approle/role/ci")
	ok(t, err)
	if got, err := l.Read("auth/approle/role/ci"); err != nil || got != nil {
		t.Fatalf("deleted: %v %v", got, err)
	}
	methods, err := client.Sys().ListAuth()
	ok(t, err)
	if methods["approle/"].Type != "approle" || methods["token/"].Type != "token" {
		t.Fatalf("%v", methods)
	}
	refusedAdministration(t, s)
}

// refusedAdministration: what would not mean here what it says is refused.
func refusedAdministration(t *testing.T, s *site) {
	t.Helper()
	l := newVaultClient(t, s).Logical()
	for text, c := range map[string]map[string]any{
		"must name one policy":   {},
		"a token has one policy": {"token_policies": "a,b"},
		"is no role":             {"token_policies": "hv_no_such_role"},
		"bind_secret_id":         {"token_policies": "hv_client", "bind_secret_id": false},
		"token_num_uses":         {"token_policies": "hv_client", "token_num_uses": 3},
		"token_period":           {"token_policies": "hv_client", "token_period": "1h"},
		"local_secret_ids":       {"token_policies": "hv_client", "local_secret_ids": true},
		"token_bound_cidrs":      {"token_policies": "hv_client", "token_bound_cidrs": "10.0.0.1/8"},
	} {
		if _, err := l.Write("auth/approle/role/x", c); !mentions(err, 400, text) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if got, err := l.Read("auth/approle/role/x"); err != nil || got != nil {
		t.Errorf("a refused role is there: %v %v", got, err)
	}
	if _, err := l.Write("auth/nothing/role/x", map[string]any{"token_policies": "hv_client"}); !mentions(err, 404, "no handler for route") {
		t.Errorf("no such mount: %v", err)
	}
	own := newVaultClient(t, s)
	login(t, s, own)
	for _, path := range []string{"auth/approle/role/app", "auth/approle/role/app/role-id", "sys/auth", "sys/policies/acl/hv_client"} {
		if _, err := own.Logical().Read(path); !mentions(err, 403, "permission denied") {
			t.Errorf("%s without the right: %v", path, err)
		}
	}
	for path, data := range map[string]map[string]any{
		"auth/approle/role/app": {"token_policies": "vault_admin"}, "sys/policies/acl/hv_client": {"policy": `path "secret/*" { capabilities = ["read"] }`},
	} {
		if _, err := own.Logical().Write(path, data); !mentions(err, 403, "permission denied") {
			t.Errorf("%s without the right: %v", path, err)
		}
	}
}

// TestPolicies: a policy is a role, and its rules are the grants of the role.
func TestPolicies(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	sys := client.Sys()
	before, err := sys.GetPolicy("hv_client")
	ok(t, err)
	if !strings.Contains(before, `path "secret/data/app/*"`) || !strings.Contains(before, `["create", "read", "update", "delete", "patch"]`) {
		t.Fatalf("%s", before)
	}
	ok(t, sys.PutPolicy("hv_client", before)) // as Terraform writes what it has read
	after, err := sys.GetPolicy("hv_client")
	ok(t, err)
	if after != before {
		t.Fatalf("%s\nafter\n%s", after, before)
	}
	s.db.MustExec(t, "SELECT vault.grant_access('hv_client', 'app/*', '{verify}')")
	ok(t, sys.PutPolicy("hv_client", `path "secret/data/team/*" { capabilities = ["read"] } path "secret/metadata/team/*" { capabilities = ["list"] }`))
	if got := queried(t, s, "SELECT string_agg(pattern || ' ' || action, ', ' ORDER BY pattern, action) FROM vault.access_list() WHERE grantee = 'hv_client'::regrole"); got != "app/* verify, team/* read" {
		t.Errorf("granted: %s", got)
	}
	app := newVaultClient(t, s)
	login(t, s, app)
	s.MustCreate(t, "team/a", "v")
	s.MustCreate(t, "app/a", "v")
	if got, err := app.Logical().Read("secret/data/team/a"); err != nil || got == nil {
		t.Errorf("what the policy allows: %v %v", got, err)
	}
	if _, err := app.Logical().Read("secret/data/app/a"); !mentions(err, 403, "permission denied") {
		t.Errorf("what the policy allows no longer: %v", err)
	}
	for text, policy := range map[string]string{
		"has no counterpart here": `path "secret/data/team/*" { capabilities = ["deny"] }`,
		"is not below secret/":    `path "sys/mounts" { capabilities = ["read"] }`,
		"failed to parse policy":  `path "secret/data/team/*" { capabilities = ["read"], allowed_parameters = {} }`,
	} {
		if err := sys.PutPolicy("hv_client", policy); !mentions(err, 400, text) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	if err := sys.PutPolicy("hv_no_such_role", ""); !mentions(err, 400, "is no role of PostgreSQL") {
		t.Errorf("no such role: %v", err)
	}
	if err := sys.PutPolicy("vault_admin", ""); !mentions(err, 400, "cannot update or delete") {
		t.Errorf("the administrators: %v", err)
	}
	names, err := sys.ListPolicies()
	ok(t, err)
	if list := strings.Join(names, " "); !strings.Contains(list, "hv_client") || !strings.Contains(list, "vault_admin") {
		t.Errorf("%v", names)
	}
	ok(t, sys.DeletePolicy("hv_client"))
	ok(t, sys.DeletePolicy("hv_no_such_role"))
	if _, err := app.Logical().Read("secret/data/team/a"); !mentions(err, 403, "permission denied") {
		t.Errorf("after the policy is gone: %v", err)
	}
	if text, err := sys.GetPolicy("hv_no_such_role"); err != nil || text != "" {
		t.Errorf("none: %q %v", text, err)
	}
}
