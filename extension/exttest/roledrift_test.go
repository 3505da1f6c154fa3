package exttest

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// pairStates are the states of the roles of the secret "app", the first role first.
func (b sessionBench) pairStates() string {
	b.t.Helper()
	return get[string](b.session, "SELECT string_agg(state, ' ' ORDER BY role) FROM vault.bound_roles('app')")
}

func (b sessionBench) awaitStates(want string) {
	b.t.Helper()
	pgtest.Eventually(b.t, "the states are "+want, func() bool { return b.pairStates() == want })
}

// TestLoginBeyondTheGraceIsFound: when VALID UNTIL of the role of a pair that is not current is later than the vault has said,
// that is noticed, recorded, counted, and put right by a repair.
func TestLoginBeyondTheGraceIsFound(t *testing.T) {
	b := newSessionBench(t)
	b.bindPair(3600, "ignore", nil)
	b.exec("ALTER ROLE app_b VALID UNTIL 'infinity'")
	if got := b.pairStates(); got != "ok extended" {
		t.Errorf("before its turn the states are %s", got)
	}
	if err := b.c.login("app_b", "one"); err != nil {
		t.Fatal("the test has not let the role in:", err)
	}
	pgtest.Eventually(t, "it is counted", func() bool { return get[string](b.session, "SELECT vault.status()->>'roles_differing'") == "1" })
	if got := get[int](b.session, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'role_drift' AND code = 'extended'"); got != 1 {
		t.Errorf("it was recorded %d times", got)
	}
	b.exec("SELECT vault.repair_role('app')")
	if b.c.login("app_b", "one") == nil || b.pairStates() != "ok ok" {
		t.Error("after the repair the role logs in, in the states", b.pairStates())
	}

	b.exec("SELECT vault.rotate_secret('app')")
	ends := get[string](b.session, "SELECT valid_until::text FROM vault.bound_roles('app') WHERE NOT current")
	for _, until := range []string{"infinity", "2999-01-01"} {
		b.exec("ALTER ROLE app_a VALID UNTIL '" + until + "'")
		if got := b.pairStates(); got != "extended ok" {
			t.Errorf("in the grace, VALID UNTIL %s, the states are %s", until, got)
		}
	}
	b.exec("ALTER ROLE app_a VALID UNTIL '2001-01-01'") // which ends it sooner
	if got := b.pairStates(); got != "ok ok" {
		t.Errorf("with an earlier end the states are %s", got)
	}
	b.exec("ALTER ROLE app_a VALID UNTIL 'infinity'")
	b.exec("SELECT vault.repair_role('app')")
	if got := get[string](b.session, "SELECT valid_until::text FROM vault.bound_roles('app') WHERE NOT current"); got != ends {
		t.Errorf("after the repair the role retires at %s, and not at %s", got, ends)
	}
	b.exec("ALTER ROLE app_a VALID UNTIL 'infinity'")
	b.exec("SELECT vault.configure_role('app', auto_repair => true)")
	b.awaitStates("ok ok")
	if got := get[string](b.session, "SELECT valid_until::text FROM vault.bound_roles('app') WHERE NOT current"); got != ends {
		t.Errorf("the supervisor has it retire at %s, and not at %s", got, ends)
	}
}

// TestLoginBeyondTheGraceAfterAFault: a role that was not what it was when it retired was left alone. When it is that role
// again, it logs in no longer than its version's grace lasts.
func TestLoginBeyondTheGraceAfterAFault(t *testing.T) {
	b := newSessionBench(t)
	b.bindPair(3600, "ignore", nil)
	b.exec("ALTER ROLE app_a CREATEDB")
	b.exec("SELECT vault.rotate_secret('app')")
	if got := b.pairStates(); got != "promoted ok" {
		t.Errorf("the states are %s", got)
	}
	b.exec("ALTER ROLE app_a NOCREATEDB")
	if got := b.pairStates(); got != "extended ok" {
		t.Errorf("after the fault the states are %s", got)
	}
	b.exec("SELECT vault.repair_role('app')")
	if d := get[float64](b.session, `SELECT abs(extract(epoch FROM r.rolvaliduntil - v.expires_at))::float8
		FROM pg_roles r, vault.list_versions('app') v WHERE r.rolname = 'app_a' AND v.version = 1`); d > 0.001 {
		t.Errorf("VALID UNTIL and the end of the grace are %v seconds apart", d)
	}
}

// TestValidUntilOfASingleRoleIsNotTheVaults: who binds its own role with auto_repair may not set VALID UNTIL. One that shuts the
// role out stays.
func TestValidUntilOfASingleRoleIsNotTheVaults(t *testing.T) {
	b := newSessionBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("SELECT vault.grant_access('app', 'app', '{create,update,rotate}')")
	app := b.c.connect(t, "postgres", "app")
	app.exec("SELECT vault.create_secret('app', 'first value')")
	app.exec("SELECT vault.bind_role('app', 'app', auto_repair => true)")
	b.exec("ALTER ROLE app VALID UNTIL '2001-01-01'")
	passes := "SELECT count(*)::int FROM vault.audit_log WHERE action = 'role_drift' AND code = 'expired'"
	pgtest.Eventually(t, "that is recorded", func() bool { return get[int](b.session, passes) == 1 })
	b.exec("ALTER ROLE app PASSWORD 'by hand'") // which is repaired, and the role stays shut out
	pgtest.Eventually(t, "the password is repaired", func() bool {
		return get[int](b.session, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'repair_role'") == 1 && b.pairStates() == "expired"
	})
	if got := get[string](b.session, "SELECT rolvaliduntil::date::text FROM pg_roles WHERE rolname = 'app'"); got != "2001-01-01" {
		t.Errorf("VALID UNTIL is %s", got)
	}
	app.exec("SELECT vault.repair_role('app')")
	if b.c.login("app", "first value") == nil {
		t.Error("the role logs in after its VALID UNTIL")
	}
}
