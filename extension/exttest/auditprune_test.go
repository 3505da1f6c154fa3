package exttest

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// record adds a record to the present part of the log.
func (s *session) record(action, name string) {
	s.t.Helper()
	s.exec("SELECT vault.append_audit(ROW('here', 'test', NULL, NULL, NULL)::vault.audit_origin, '" + action + "', '" + name + "', NULL, 'ok', '')")
}

// TestAuditPruneBesideOthers empties a part of the log while readers hold it, and while a transaction that began before the
// part was left still writes to it.
func TestAuditPruneBesideOthers(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	s, other := c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres")
	record := func(w *session, name string) { w.record("read", name) }
	prune := func() int64 { return get[int64](s, "SELECT vault.prune_audit('30 days')") }
	left := func(name string) int {
		return get[int](s, "SELECT count(*)::int FROM vault.audit_log WHERE secret_name = '"+name+"'")
	}
	record(s, "old")
	s.exec("UPDATE vault.audit_log SET at = at - interval '31 days'")
	other.exec("BEGIN")
	record(other, "late") // in the part that is about to be left
	if n := prune(); n != 0 || left("old") != 1 {
		t.Errorf("pruned %d records below a transaction that writes", n)
	}
	if part := get[int](s, "SELECT part::int FROM vault.audit_numbering"); part != 1 {
		t.Fatalf("new records go to part %d", part)
	}
	other.exec("COMMIT")
	if n := prune(); n != 0 || left("old") != 1 || left("late") != 1 {
		t.Errorf("pruned %d records beside a young one", n)
	}
	s.exec("UPDATE vault.audit_log SET at = at - interval '31 days' WHERE secret_name = 'late'")

	other.exec("BEGIN")
	other.exec("SELECT count(*) FROM vault.audit_log")
	if n := prune(); n != 0 || left("old") != 1 {
		t.Errorf("pruned %d records under a reader", n)
	}
	record(s, "young") // in another part, so it never waits
	other.exec("COMMIT")
	if n := prune(); n < 2 || left("old")+left("late") != 0 || left("young") != 1 {
		t.Errorf("pruned %d records", n)
	}
}

// TestAuditPruneSeesWhatItWaitedFor: a record that is committed while the function waits for the part stays.
func TestAuditPruneSeesWhatItWaitedFor(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	s, other, admin := c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres")
	s.record("read", "old")
	s.record("read", "late")
	s.exec("UPDATE vault.audit_log SET at = at - interval '31 days', part = 3 WHERE secret_name = 'old'")
	other.exec("BEGIN")
	other.exec("UPDATE vault.audit_log SET part = 3 WHERE secret_name = 'late'")
	done := s.background("SELECT vault.prune_audit('30 days')")
	awaitBlocked(t, admin, s, other)
	other.exec("COMMIT")
	pgtest.Must(t, within(t, pgtest.Patience, done))
	if left := column(admin, "SELECT secret_name FROM vault.audit_log WHERE part = 3 ORDER BY id"); strings.Join(left, " ") != "old late" {
		t.Errorf("%q are left", left)
	}
}

// TestAuditPruneLeavesADeadlock: a part whose lock would be a deadlock is left to the next call, as one that is in use. The
// function holds a part that it has emptied, which a reader waits for, and then needs one that this reader has.
func TestAuditPruneLeavesADeadlock(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	s, other, admin := c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres")
	s.record("audit_prune", "")
	s.record("read", "emptied")
	s.record("read", "read")
	s.exec("UPDATE vault.audit_log SET at = at - interval '31 days', part = CASE secret_name WHEN 'read' THEN 5 ELSE 3 END")
	s.script(strings.Replace(meanwhile, "ON vault.secrets", "ON vault.audit_log", 1)) // which has it wait when part 3 is emptied
	s.exec("SET application_name = 'late'")
	s.exec("SET deadlock_timeout = '1ms'")
	other.exec("SET deadlock_timeout = '1h'")
	other.exec("BEGIN")
	other.exec("SELECT FROM vault.audit_log_5")
	done := s.background("SELECT vault.prune_audit('30 days')")
	pgtest.Eventually(t, "it has emptied a part", func() bool {
		return get[bool](admin, "SELECT coalesce(wait_event = 'PgSleep', false) FROM pg_stat_activity WHERE pid = $1", s.pid())
	})
	reads := other.background("SELECT FROM vault.audit_log_3")
	awaitBlocked(t, admin, other, s)
	admin.exec("INSERT INTO public.taken DEFAULT VALUES")
	pgtest.Must(t, within(t, pgtest.Patience, done))
	pgtest.Must(t, within(t, pgtest.Patience, reads))
	other.exec("COMMIT")
	left := func() int { return get[int](admin, "SELECT count(*)::int FROM vault.audit_log WHERE part IN (3, 5)") }
	if n := left(); n != 1 {
		t.Errorf("%d records are left in the two parts", n)
	}
	s.exec("SELECT vault.prune_audit('30 days')")
	if n := left(); n != 0 {
		t.Errorf("%d records are left once the reader has gone", n)
	}
}
