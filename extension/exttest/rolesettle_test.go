package exttest

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// TestNotesOfCommitsWaitForNoStandby has a synchronous standby that never comes, for which the supervisor's commits wait if they
// wait at all. It notes by when a password was committed all the same, and so holds up no rotation.
func TestNotesOfCommitsWaitForNoStandby(t *testing.T) {
	b := newSessionBench(t, "synchronous_commit = local", "synchronous_standby_names = 'none_that_comes'")
	b.bindOne(4, "ignore")
	b.exec("SET synchronous_commit = local")
	b.exec("ALTER SYSTEM SET synchronous_commit = on")
	b.exec("ALTER SYSTEM SET hyperion_vault.scan_interval_secs = 3600")
	b.exec("SELECT pg_reload_conf()")
	const supervisor = " FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'"
	pgtest.Eventually(t, "the pass after the reload waits", func() bool {
		return get[bool](b.session, "SELECT coalesce(bool_or(wait_event = 'SyncRep'), false)"+supervisor)
	})
	pgtest.Eventually(t, "it has stopped waiting", func() bool {
		b.exec("SELECT pg_cancel_backend(pid)" + supervisor + " AND wait_event = 'SyncRep'")
		return get[bool](b.session, "SELECT coalesce(bool_or(wait_event = 'Extension'), false)"+supervisor)
	})
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.settled()
}

// TestRotationsWaitForNotes has another transaction change a row that a rotation locks, as the supervisor does when it notes a
// commit. The rotation goes on with the row as it is then, and leaves nothing to a statement, which would be planned once more.
func TestRotationsWaitForNotes(t *testing.T) {
	b := newBoundBench(t, "track_functions = all", "hyperion_vault.rotation_enabled = off")
	holder := b.c.connect(t, b.db, "postgres")
	b.bindFor("one", "", false)
	b.bindFor("two", "", true)
	b.exec("SELECT vault.rotate_secret('two')") // so that both roles of the pair have a password
	for _, name := range []string{"one", "two"} {
		for _, note := range []string{"vault.role_verifiers SET settled_at = clock_timestamp()", "vault.role_bindings SET told = '{}'"} {
			holder.exec("BEGIN")
			holder.exec("UPDATE "+note+" WHERE secret_id = (SELECT id FROM vault.secrets WHERE name = $1)", name)
			done := b.background("SELECT vault.rotate_secret('" + name + "')")
			awaitBlocked(t, b.c.connect(t, b.db, "postgres"), b.session, holder)
			holder.exec("COMMIT")
			pgtest.Must(t, within(t, pgtest.Patience, done))
			b.wantLoginOf(name, false)
		}
	}
	b.exec("SELECT pg_stat_force_next_flush()")
	if n := get[int](b.session, "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_user_functions WHERE funcname = 'append_version'"); n != 0 {
		t.Errorf("%d rotations were left to a statement", n)
	}
}
