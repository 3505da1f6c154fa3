package exttest

import (
	"testing"
)

// TestAuditPruneBesideOthers empties a part of the log while readers hold it, and while a transaction that began before the
// part was left still writes to it.
func TestAuditPruneBesideOthers(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	s, other := c.connect(t, db.Name, "postgres"), c.connect(t, db.Name, "postgres")
	record := func(w *session, name string) {
		w.exec("SELECT vault.append_audit(ROW('here', 'test', NULL, NULL, NULL)::vault.audit_origin, 'read', '" + name + "', NULL, 'ok', '')")
	}
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
