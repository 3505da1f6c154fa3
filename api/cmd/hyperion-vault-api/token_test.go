package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestToken(t *testing.T) {
	db := vaulttest.NewDB(t)
	s := vaulttest.NewServer(t, db)
	// No key: the commands must do without.
	env := []string{"VAULT_PG_HOSTS=" + db.Cluster.Dir(), "VAULT_PG_DBNAME=" + db.Name, "VAULT_PG_PASSWORD=CANARY-PW"}
	use := func(token string) int {
		status, _ := do(t, "DELETE", s.URL+"/v1/secrets/none?expected_version=1", token, "")
		return status
	}
	code, stdout, stderr := call(t, env, "token", "create", "ops", "--expires-in", "720h")
	if code != 0 || !regexp.MustCompile(`^hvt_[A-Za-z0-9_-]{43}\n$`).MatchString(stdout) {
		t.Fatalf("create: exit %d, %q, %s", code, stdout, stderr)
	}
	token := strings.TrimSpace(stdout)
	if !regexp.MustCompile(`^token "ops" created; it acts as role "vault_admin" and expires in 720h0m0s. Its accessor is \S{36}. It is shown this once only.$`).MatchString(stderr) {
		t.Errorf("create: %s", stderr)
	}
	if got := use(token); got == 401 || got == 403 {
		t.Errorf("the token does not work: %d", got)
	}
	if got := use(testToken); got != 401 {
		t.Errorf("another token: %d", got)
	}
	code, stdout, stderr = call(t, env, "token", "list")
	if code != 0 || !regexp.MustCompile(`(?m)^ops +\S{36} +vault_admin +token +\S+Z +\S+Z +-$`).MatchString(stdout) || !strings.HasPrefix(stdout, "NAME ") ||
		strings.Contains(stdout, token) || stderr != "" {
		t.Errorf("list: exit %d, %s, %s", code, stdout, stderr)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"ErrExists", []string{"create", "ops"}, "ops"},
		{"ErrName", []string{"create", "a b"}, "error: a token name is 1 to 64 of"},
		{"ErrLifetime", []string{"create", "x", "--expires-in", "-1h"}, "error: a token's lifetime must be"},
		{"ErrNoSuchToken", []string{"revoke", "stranger"}, "error: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, env, append([]string{"token"}, tt.args...)...)
			if code != 1 || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, %q, %s", code, stdout, stderr)
			}
			noCanary(t, stderr)
		})
	}
	code, stdout, stderr = call(t, env, "token", "revoke", "ops")
	if code != 0 || stdout != "" || stderr != `token "ops" revoked` {
		t.Errorf("revoke: exit %d, %q, %s", code, stdout, stderr)
	}
	if got := use(token); got != 401 {
		t.Errorf("the revoked token: %d", got)
	}
	if _, stdout, _ = call(t, env, "token", "list"); !regexp.MustCompile(`(?m)^ops +\S{36} +vault_admin +token +\S+Z +\S+Z +\S+Z$`).MatchString(stdout) {
		t.Errorf("list: %s", stdout)
	}
	t.Run("OKAudited", func(t *testing.T) {
		var n int
		err := db.MustConnect(t, vaulttest.Superuser).QueryRow(context.Background(),
			"SELECT count(*) FROM vault.audit('', NULL, 1000) WHERE action LIKE 'token_%' AND actor = 'cli:' || $1", osUser()).Scan(&n)
		if err != nil || n < 4 {
			t.Errorf("%d records, %v", n, err)
		}
	})
}

func TestTokenWithoutPostgres(t *testing.T) {
	code, stdout, stderr := call(t, lonely(t), "token", "create", "x")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "error: ") {
		t.Errorf("exit %d, %q, %s", code, stdout, stderr)
	}
	noCanary(t, stderr)
}
