package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestAuth(t *testing.T) {
	db := vaulttest.NewDB(t)
	s := vaulttest.NewServer(t, db)
	s.MustCreate(t, "web/a", "x")
	env := []string{"VAULT_PG_HOSTS=" + db.Cluster.Dir(), "VAULT_PG_DBNAME=" + db.Name, "VAULT_PG_PASSWORD=CANARY-PW"}
	db.MustExec(t, "DO $$ BEGIN CREATE ROLE hv_auth_web; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	db.MustExec(t, "SELECT vault.grant_access('hv_auth_web', 'web/*', '{read}')")
	run := func(args ...string) (string, string) {
		t.Helper()
		code, stdout, stderr := call(t, env, append([]string{"auth"}, args...)...)
		if code != 0 {
			t.Fatalf("%v: exit %d, %s", args, code, stderr)
		}
		noCanary(t, stderr)
		return stdout, stderr
	}
	want := func(got, pattern string) {
		t.Helper()
		if !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("got %q, want %s", got, pattern)
		}
	}
	_, said := run("method", "set", "approle", "approle", "--description", "machines")
	want(said, `^login method "approle" set$`)
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"issuer":"https://i.example","jwks_url":"https://i.example/keys"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run("method", "set", "ci", "jwt", "--config", "@"+file)
	list, _ := run("method", "list")
	want(list, `(?m)^approle +approle +\S+Z +machines$`)
	shown, _ := run("method", "show", "ci")
	var method struct {
		Kind   string
		Config struct{ Issuer string }
	}
	if err := json.Unmarshal([]byte(shown), &method); err != nil || method.Kind != "jwt" || method.Config.Issuer != "https://i.example" {
		t.Errorf("%s: %v", shown, err)
	}
	roleID, _ := run("role", "set", "approle", "web", "--role", "hv_auth_web", "--ttl", "10m", "--scope", "web/a=read,verify", "--bound-cidr", "127.0.0.0/8",
		"--config", `{"secret_id_num_uses": 5}`)
	want(roleID, `^\S{36}\n$`)
	list, _ = run("role", "list", "approle")
	want(list, `(?m)^web +hv_auth_web +service +10m0s +24h0m0s +`+strings.TrimSpace(roleID)+`$`)
	shown, _ = run("role", "show", "approle", "web")
	want(shown, `"pattern": "web/a"`)

	made, said := run("secret-id", "create", "approle", "web", "--uses", "2", "--ttl", "1h")
	want(made, `^hvi_[A-Za-z0-9_-]{43}\n$`)
	want(said, `^secret id with accessor \S{36} created; it ends: \S+Z; uses: 2\. It is shown this once only\.$`)
	body := `{"role_id":"` + strings.TrimSpace(roleID) + `","secret_id":"` + strings.TrimSpace(made) + `"}`
	status, answer := do(t, "POST", s.URL+"/v1/auth/approle/login", "", body)
	if status != 200 || !strings.Contains(answer, `"client_token":"hvt_`) {
		t.Errorf("login: %d %s", status, answer)
	}
	list, _ = run("secret-id", "list", "approle", "web")
	want(list, `(?m)^\S{36} +\S+Z +\S+Z +1$`)
	if strings.Contains(list, "hvi_") {
		t.Error("a secret id is listed")
	}
	accessor := regexp.MustCompile(`accessor (\S{36})`).FindStringSubmatch(said)[1]
	run("secret-id", "destroy", "approle", "web", accessor)
	if status, _ = do(t, "POST", s.URL+"/v1/auth/approle/login", "", body); status != 400 {
		t.Errorf("with a destroyed secret id: %d", status)
	}
	run("role", "revoke-batch-tokens", "approle", "web")

	code, stdout, stderr := call(t, s.Env, "auth", "rotate-key")
	if code != 0 || stdout != "" || !strings.Contains(stderr, "batch tokens are sealed with the new key ") {
		t.Errorf("rotate-key: exit %d, %s", code, stderr)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"ErrAlone":      {nil, 2, "error: auth needs"},
		"ErrKind":       {[]string{"method", "set", "x", "ldap"}, 1, "error: a login method is of kind"},
		"ErrConfig":     {[]string{"method", "set", "x", "jwt", "--config", "{}"}, 1, "error: issuer needs"},
		"ErrConfigFile": {[]string{"method", "set", "x", "jwt", "--config", "@/nonexistent"}, 2, "error: "},
		"ErrNoMethod":   {[]string{"role", "list", "approle", "x"}, 2, "error: "},
		"ErrNoRole":     {[]string{"role", "set", "approle", "x"}, 2, "error: "},
		"ErrScope":      {[]string{"role", "set", "approle", "x", "--role", "hv_auth_web", "--scope", "web"}, 2, "error: --scope"},
		"ErrCIDR":       {[]string{"role", "set", "approle", "x", "--role", "hv_auth_web", "--bound-cidr", "10.0.0.1/8"}, 2, "error: --bound-cidr"},
		"ErrSecretID":   {[]string{"secret-id", "create", "ci", "web"}, 1, "error: "},
		"ErrAccessor":   {[]string{"secret-id", "destroy", "approle", "web", "x"}, 2, "error: an accessor is a UUID"},
		"ErrRotateKey":  {[]string{"rotate-key"}, 2, "VAULT_KMS_KEY_ID is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := call(t, env, append([]string{"auth"}, c.args...)...)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d, %q, %s", code, stdout, stderr)
			}
			noCanary(t, stderr)
		})
	}
	run("role", "delete", "approle", "web")
	run("method", "delete", "approle")
	list, _ = run("method", "list")
	if strings.Contains(list, "approle") {
		t.Errorf("after the deletion: %s", list)
	}
}
