package clienttest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api/auth/userpass"
)

// TestUserpass: users are made, used and taken away by the paths of Vault, with its library and its login method.
func TestUserpass(t *testing.T) {
	s := newSite(t)
	s.must(t, 200, 201, "PUT", "/v1/auth/userpass", `{"kind":"userpass"}`)
	client := newVaultClient(t, s)
	l := client.Logical()
	_, err := l.Write("auth/userpass/users/alice", map[string]any{"password": "correct horse", "token_policies": "hv_client", "token_ttl": "10m"})
	ok(t, err)
	user, err := l.Read("auth/userpass/users/Alice")
	ok(t, err)
	if d := user.Data; d["token_policies"].([]any)[0] != "hv_client" || d["token_ttl"].(interface{ String() string }).String() != "600" || strings.Contains(fmt.Sprint(d), "argon2") {
		t.Fatalf("%v", d)
	}
	list, err := l.List("auth/userpass/users")
	ok(t, err)
	if keys := list.Data["keys"].([]any); len(keys) != 1 || keys[0] != "alice" {
		t.Fatalf("%v", keys)
	}
	own := newVaultClient(t, s)
	in := func(user, text string) error {
		auth, err := userpass.NewUserpassAuth(user, &userpass.Password{FromString: text})
		ok(t, err)
		_, err = own.Auth().Login(t.Context(), auth)
		return err
	}
	ok(t, in("Alice", "correct horse"))
	_, err = own.KVv2("secret").Put(t.Context(), "app/up", map[string]any{"k": "v"})
	ok(t, err)
	if self, err := own.Auth().Token().LookupSelf(); err != nil || self.Data["display_name"] == nil {
		t.Errorf("%v %v", self, err)
	}
	for _, wrong := range [][2]string{{"alice", "wrong"}, {"bob", "correct horse"}} {
		if err := in(wrong[0], wrong[1]); !mentions(err, 400, "invalid username or password") {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	_, err = l.Write("auth/userpass/users/alice/password", map[string]any{"password": "another horse"})
	ok(t, err)
	if err := in("alice", "correct horse"); !mentions(err, 400, "invalid username or password") {
		t.Errorf("the old password: %v", err)
	}
	ok(t, in("alice", "another horse"))
	_, err = l.Write("auth/userpass/users/alice", map[string]any{"token_ttl": "20m"}) // the password stays
	ok(t, err)
	_, err = l.Write("auth/userpass/users/alice/policies", map[string]any{"token_policies": []string{"default", "vault_anonymous"}})
	ok(t, err)
	ok(t, in("alice", "another horse"))
	if _, err := own.KVv2("secret").Put(t.Context(), "app/up", map[string]any{"k": "v"}); !mentions(err, 403, "permission denied") {
		t.Errorf("with another policy: %v", err)
	}
	refusedUsers(t, s)
	for range 2 {
		_, err = l.Delete("auth/userpass/users/alice")
		ok(t, err)
	}
	if got, err := l.Read("auth/userpass/users/alice"); err != nil || got != nil {
		t.Fatalf("deleted: %v %v", got, err)
	}
	if err := in("alice", "another horse"); !mentions(err, 400, "invalid username or password") {
		t.Errorf("a deleted user: %v", err)
	}
}

// refusedUsers: what would not mean here what it says is refused.
func refusedUsers(t *testing.T, s *site) {
	t.Helper()
	l := newVaultClient(t, s).Logical()
	for text, c := range map[string]map[string]any{
		"missing password":              {"token_policies": "hv_client"},
		"password_hash":                 {"token_policies": "hv_client", "password_hash": "$2a$10$x"},
		"at least 8 characters":         {"token_policies": "hv_client", "password": "short"},
		"must name one policy":          {"password": "correct horse"},
		"is no role":                    {"token_policies": "hv_no_such_role", "password": "correct horse"},
		"token_num_uses":                {"token_policies": "hv_client", "password": "correct horse", "token_num_uses": 3},
		"without control characters":    {"token_policies": "hv_client", "password": "correct\nhorse"},
		"password must be a string":     {"token_policies": "hv_client", "password": []string{"correct horse"}},
		"a password has between 1 and ": {"token_policies": "hv_client", "password": strings.Repeat("x", 2000)},
	} {
		if _, err := l.Write("auth/userpass/users/carol", c); !mentions(err, 400, text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got, err := l.Read("auth/userpass/users/carol"); err != nil || got != nil {
		t.Errorf("a refused user is there: %v %v", got, err)
	}
	for path, c := range map[string]map[string]any{
		"auth/userpass/users/stranger/password": {"password": "correct horse"}, "auth/userpass/users/stranger/policies": {"token_policies": "hv_client"},
	} {
		if _, err := l.Write(path, c); !mentions(err, 400, "username does not exist") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := l.Write("auth/approle/users/x", map[string]any{"token_policies": "hv_client", "password": "correct horse"}); !mentions(err, 404, "no handler for route") {
		t.Errorf("a method of another kind: %v", err)
	}
	own := newVaultClient(t, s)
	login(t, s, own)
	for path, c := range map[string]map[string]any{
		"auth/userpass/users/alice": {"password": "stolen horse"}, "auth/userpass/users/alice/password": {"password": "stolen horse"},
		"auth/userpass/users/alice/policies": {"token_policies": "vault_admin"},
	} {
		if _, err := own.Logical().Write(path, c); !mentions(err, 403, "permission denied") {
			t.Errorf("%s without the right: %v", path, err)
		}
	}
}

// newUserSite is a site with the user alice.
func newUserSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.must(t, 200, 201, "PUT", "/v1/auth/userpass", `{"kind":"userpass"}`)
	s.must(t, 200, 201, "PUT", "/v1/auth/userpass/roles/alice", `{"role":"hv_client"}`)
	if status, answer := s.Do(t, "PUT", "/v1/auth/userpass/roles/alice/password", `{"password":"correct horse"}`); status != 204 {
		t.Fatalf("%d %s", status, answer)
	}
	return s
}

func TestUserpassHvac(t *testing.T) {
	if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import hvac").Run() != nil {
		if os.Getenv("HV_REQUIRE_PG") != "" {
			t.Fatal("python3-hvac is not installed")
		}
		t.Skip("python3-hvac is not installed")
	}
	python(t, newUserSite(t), `
import hvac, os
admin = hvac.Client(url=os.environ["ADDR"], token=os.environ["TOKEN"])
up = admin.auth.userpass
up.create_or_update_user("bob", password="correct horse", policies="hv_client")
assert up.list_user()["data"]["keys"] == ["alice", "bob"], up.list_user()
assert up.read_user("bob")["data"]["token_policies"] == ["hv_client"]
c = hvac.Client(url=os.environ["ADDR"])
c.auth.userpass.login("bob", "correct horse")
assert c.is_authenticated()
c.secrets.kv.v2.create_or_update_secret("app/bob", {"k": "v"})
up.update_password_on_user("bob", "another horse")
try:
    hvac.Client(url=os.environ["ADDR"]).auth.userpass.login("bob", "correct horse")
    raise AssertionError("the old password")
except hvac.exceptions.InvalidRequest as e:
    assert "invalid username or password" in str(e.errors), e
hvac.Client(url=os.environ["ADDR"]).auth.userpass.login("bob", "another horse")
up.delete_user("bob")
assert up.list_user()["data"]["keys"] == ["alice"]
`)
}

// TestUserpassReplay has the sequences of the clients that log in by password and whose programs are not at hand.
func TestUserpassReplay(t *testing.T) {
	s := newUserSite(t)
	in := step{"POST", "/v1/auth/userpass/login/alice", `{"password":"correct horse"}`, 200,
		map[string]string{"auth.renewable": "true", "auth.lease_duration": "", "auth.metadata.username": `"alice"`}, "auth.client_token"}
	self := step{"GET", "/v1/auth/token/lookup-self", "", 200, map[string]string{"data.ttl": "", "data.id": ""}, ""}
	read := step{"GET", "/v1/secret/data/app/a", "", 200, map[string]string{"data.data.k": `"v"`}, ""}
	s.replay(t, s.AdminToken, []step{{"PUT", "/v1/secret/data/app/a", `{"data":{"k":"v"}}`, 200, nil, ""}})
	for name, steps := range map[string][]step{
		"VaultAction": {in, read},
		"Jenkins":     {in, self, read},
		"BaoLogin":    {{"PUT", in.path, in.body, 200, in.needs, in.keep}, self},
		"Spring":      {in, self, {"PUT", "/v1/auth/token/renew-self", `{}`, 200, nil, ""}, read, {"PUT", "/v1/auth/token/revoke-self", "", 204, nil, ""}},
	} {
		t.Run(name, func(t *testing.T) { s.replay(t, "", steps) })
	}
}
