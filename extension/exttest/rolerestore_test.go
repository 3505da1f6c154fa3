package exttest

import (
	"path/filepath"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// statesBelow are the bound roles of the secrets below a prefix with their states.
func statesBelow(s *session, prefix string) string {
	s.t.Helper()
	return get[string](s, "SELECT coalesce(string_agg(role || ' ' || state, ', ' ORDER BY role), '') FROM vault.bound_roles($1)", prefix)
}

// TestBoundRolesOfADump: bound roles come back with a dump. What is missing on the new server stops no restore, and is missing: no
// other role takes its place, and what is left of a pair is no single role. A dump has no passwords, so what is there is
// unchecked until a repair.
func TestBoundRolesOfADump(t *testing.T) {
	t.Parallel()
	from, to := startCluster(t, true), startCluster(t, true)
	agent := newFakeAgent(t)
	db := from.newDatabase(t, agent.path)
	s := from.connect(t, db, "postgres")
	s.exec("CREATE ROLE reports LOGIN")
	s.exec("SELECT vault.create_secret('reports', 'a value')")
	s.exec("SELECT vault.bind_role('reports', 'reports')")
	for _, pair := range []string{"shop", "half", "lone", "gone"} {
		s.exec("CREATE ROLE " + pair)
		s.exec("CREATE ROLE " + pair + "_a LOGIN IN ROLE " + pair)
		s.exec("CREATE ROLE " + pair + "_b LOGIN IN ROLE " + pair)
		s.exec(`SELECT vault.create_secret($1, format('{"username":"%s_a","password":"one"}', $1::text), content_type => 'application/json',
			generate_policy => '{"json_field":"password"}', grace_period_secs => 3600)`, pair)
		s.exec("SELECT vault.bind_role_pair($1, ($1 || '_a')::regrole, ($1 || '_b')::regrole, $1::text::regrole)", pair)
		s.exec("SELECT vault.rotate_secret($1)", pair)
	}
	s.exec("DROP ROLE half_a") // before the dump
	s.exec("DROP ROLE gone")
	dump := filepath.Join(from.Dir(), "dump.custom")
	mustProgram(t, from, "pg_dump", "-h", from.Dir(), "-U", "postgres", "-Fc", "-f", dump, db)

	there := to.connect(t, "postgres", "postgres")
	for range 30 { // other OIDs than there
		to.newRole(t)
	}
	there.script("CREATE ROLE reports LOGIN; CREATE ROLE shop; CREATE ROLE shop_a LOGIN IN ROLE shop; CREATE ROLE shop_b LOGIN IN ROLE shop")
	there.script("CREATE ROLE half; CREATE ROLE half_b LOGIN IN ROLE half; CREATE ROLE lone_a LOGIN; CREATE ROLE lone_b LOGIN")
	target := to.restoreInto(t, "restored")
	mustProgram(t, to, "pg_restore", "-h", to.Dir(), "-U", "postgres", "--exit-on-error", "-d", target.Name, dump)
	x := to.connect(t, target.Name, vaulttest.Superuser)
	x.exec("SELECT set_config('hyperion_vault.agent_socket', $1, false)", agent.path)
	for prefix, want := range map[string]string{
		"reports": "reports unchecked", "shop": "shop_a unchecked, shop_b unchecked", "half": "half_a missing, half_b unchecked",
		"lone": "lone_a not_member, lone_b not_member", "gone": "gone_a missing, gone_b missing",
	} {
		if got := statesBelow(x, prefix); got != want {
			t.Errorf("restored is %q, not %q", got, want)
		}
	}
	for name, want := range map[string]string{"half": "which is missing here", "lone": "no longer a member", "gone": "which is missing here"} {
		wantError(t, x.try("SELECT vault.rotate_secret($1)", name), "VT006", want)
	}
	x.exec("SELECT vault.repair_role('reports'), vault.repair_role('shop')")
	x.exec("ALTER ROLE shop_a VALID UNTIL '2001-01-01'") // its grace is over
	if got := statesBelow(x, "reports") + ", " + statesBelow(x, "shop"); got != "reports ok, shop_a ok, shop_b ok" {
		t.Errorf("after the repairs the states are %q", got)
	}
	x.exec("SELECT vault.rotate_secret('shop')")
	if got := get[string](x, "SELECT role FROM vault.bound_roles('shop') WHERE current"); got != "shop_a" {
		t.Errorf("the next version is of %s", got)
	}
	x.exec("SELECT vault.unbind_role(name) FROM (SELECT DISTINCT name FROM vault.bound_roles()) b")
}
