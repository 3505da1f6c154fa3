package exttest

import (
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// TestRolesOfAReadOnlyPrimary: where default_transaction_read_only fences a primary off, no change of a role is made, and each says
// why. No lease logs in beyond its end. All that was due is done once the fence is gone.
func TestRolesOfAReadOnlyPrimary(t *testing.T) {
	b := newLeaseBench(t)
	for _, name := range []string{"one", "drifting", "free"} {
		b.exec("CREATE ROLE " + name + " LOGIN")
		b.exec("SELECT vault.create_secret($1, 'first value', generate_policy => '{}')", name)
	}
	b.exec("SELECT vault.bind_role('one', 'one')")
	b.exec("SELECT vault.bind_role('drifting', 'drifting', auto_repair => true)")
	l, ending := b.issue(b.session, "app/reader", nil), b.issue(b.session, "app/reader", "4 seconds")
	b.exec("ALTER SYSTEM SET default_transaction_read_only = on")
	b.exec("SELECT pg_reload_conf()")
	pgtest.Eventually(t, "the server is read-only", func() bool {
		return get[string](b.c.connect(t, "postgres", "postgres"), "SHOW transaction_read_only") == "on"
	})
	fenced, past := b.c.connect(t, "postgres", "postgres"), b.c.connect(t, "postgres", "postgres", "default_transaction_read_only", "off")
	const state = `SELECT concat_ws(' ', (SELECT string_agg(rolname || coalesce(rolpassword, '') || coalesce(rolvaliduntil::text, '') || rolcanlogin, ' ' ORDER BY oid) FROM pg_authid),
		(SELECT string_agg(l::text, ' ' ORDER BY id) FROM vault.role_leases l), (SELECT string_agg(b::text, ' ' ORDER BY secret_id, place) FROM vault.role_bindings b))`
	past.exec("ALTER ROLE drifting PASSWORD 'by hand'")
	before := get[string](past, state)
	for _, change := range []string{
		"vault.bind_role('free', 'free')", "vault.unbind_role('one')", "vault.rotate_secret('one')", "vault.update_secret('one', 'second value', 1)",
		"vault.repair_role('drifting')", "vault.configure_role('one', auto_repair => true)", "vault.import_role('imported', 'free', 'none')",
		"vault.issue_role('app/reader')", "vault.renew_lease('" + l.id + "')", "vault.revoke_lease('" + l.id + "')",
		"vault.create_role_template('app/other', '{readers}')", "vault.drop_role_template('app/reader')",
	} {
		wantError(t, fenced.try("SELECT "+change), "25006", "read-only")
	}
	pgtest.Eventually(t, "a lease is over", func() bool { return time.Now().After(ending.expiresAt) })
	if b.c.login(ending.username, ending.password) == nil {
		t.Error("a lease logs in after its end")
	}
	if err := b.c.login(l.username, l.password); err != nil {
		t.Error("a lease that lasts: ", err)
	}
	pgtest.Eventually(t, "the supervisor says why it makes no pass", func() bool {
		return get[bool](past, "SELECT coalesce(reason, '') LIKE '%read-only%' FROM vault.supervisor_state()")
	})
	if get[string](past, state) != before {
		t.Error("something was changed behind the fence")
	}
	past.exec("SELECT vault.rotate_secret('one')") // a session may pass the fence
	past.exec("ALTER SYSTEM RESET default_transaction_read_only")
	past.exec("SELECT pg_reload_conf()")
	b.session = past
	b.gone(ending)
	pgtest.Eventually(t, "the password is repaired", func() bool { return b.c.login("drifting", "first value") == nil })
	pgtest.Eventually(t, "the password is settled", func() bool {
		return get[int](past, "SELECT count(*)::int FROM vault.role_verifiers WHERE settled_at IS NULL") == 0
	})
	past.exec("SELECT vault.renew_lease($1::text::uuid)", l.id)
	past.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
	past.exec("SELECT vault.bind_role('free', 'free')")
	if err := b.c.login("free", "first value"); err != nil {
		t.Error(err)
	}
}
