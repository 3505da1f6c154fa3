package exttest

import (
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// pg_upgrade moves secrets, versions in grace, grants, tokens and the audit to newer versions of PostgreSQL, one after
// the other. The older ones are installed beside this one by "make test-pgupgrade".
func TestPgUpgrade(t *testing.T) {
	older := pgtest.LoadEnv().OlderPGConfigs
	if len(older) == 0 {
		t.Skip("HV_OLDER_PG_CONFIGS names no older PostgreSQL to upgrade from")
	}
	c := cluster{vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: quick, PGConfig: older[0]})}
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db)
	fill(t, api, c.connect(t, db.Name, vaulttest.Superuser))
	db.AwaitAudit(t)
	key := masterKeyOf(t, api)
	api.MustStop(t)
	for _, next := range append(older[1:], "") {
		admin := c.connect(t, db.Name, vaulttest.Superuser)
		want := contents(admin)
		version := get[string](admin, "SHOW server_version")
		_ = admin.Close(t.Context())
		c.MustUpgrade(t, next)
		admin = c.connect(t, db.Name, vaulttest.Superuser)
		t.Logf("from %s to %s", version, get[string](admin, "SHOW server_version"))
		if got := contents(admin); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("the rows differ after the upgrade:\n%s\nbefore:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		again := vaulttest.NewServer(t, db, key)
		withOldToken := &client{t, again.URL, api.AdminToken}
		if v := withOldToken.read("rest/one", "1"); v != "value of rest/one 1" {
			t.Errorf("read %q", v)
		}
		withOldToken.must(200, "POST", "/v1/secrets/rest/auto/rotate", "", nil)
		db.AwaitAudit(t)
		again.MustStop(t)
	}
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	fresh := c.NewDB(t)
	upgraded, want := catalogOf(admin), catalogOf(c.connect(t, fresh.Name, vaulttest.Superuser))
	sameCatalog(t, withoutPrivileges(upgraded), withoutPrivileges(want))
	checkRestored(t, c, db, api, contents(admin))
}

// withoutPrivileges leaves out the privileges: newer versions know more of them, and the test grants some.
func withoutPrivileges(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, "acl ") })
}
