package exttest

import (
	"fmt"
	"testing"
)

// TestUpgradeOfAnOldLog: the log of an earlier release becomes the first part of the new one without being written again. It is
// searched as before, pruned by age, and emptied as a whole when its last record is old enough.
func TestUpgradeOfAnOldLog(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	_, s := c.install(t, "old_log", "0.1.0")
	const daily = 10
	s.exec("UPDATE vault.audit_log SET at = at - interval '401 days'") // what installing wrote
	s.exec(fmt.Sprintf(`INSERT INTO vault.audit_log (at, node, actor, action, secret_name, version, outcome, change)
		SELECT clock_timestamp() - (400 - i / %d) * interval '1 day', 'old', 'token:x', 'update', 'log/' || i %% 7, 1, 'ok',
			CASE WHEN i %% 5 = 0 THEN md5(i::text)::uuid END FROM generate_series(1, 4000) i`, daily))
	s.exec(`INSERT INTO vault.audit_journals (journal, node, last_sequence, created_at, shipped_at) VALUES (md5('j')::uuid, 'old', 7, now(), now());
		INSERT INTO vault.audit_log (at, node, actor, action, secret_name, version, outcome, journal, sequence)
		VALUES ('2025-01-02 03:04Z', 'old', 'role:x', 'read', 'log/read', 1, 'ok', md5('j')::uuid, 7)`)
	file := get[uint32](s, "SELECT pg_relation_filenode('vault.audit_log')")
	s.exec("ALTER EXTENSION hyperion_vault UPDATE")

	part := func() (file uint32, records int) {
		return get[uint32](s, "SELECT pg_relation_filenode('vault.audit_log_0')"), get[int](s, "SELECT count(*)::int FROM vault.audit_log_0")
	}
	if now, n := part(); now != file || n < 4001 {
		t.Errorf("the first part has file %d, not %d, and %d records", now, file, n)
	}
	for sql, want := range map[string]int{
		"SELECT count(*)::int FROM vault.audit('log/3', max_rows => 10000) WHERE node = 'old'":                              572,
		"SELECT count(*)::int FROM vault.audit('log/3', max_rows => 100)":                                                   100,
		"SELECT count(*)::int FROM vault.audit('log/read') WHERE version = 1 AND action = 'read'":                           1,
		"SELECT count(*)::int FROM vault.audit(since => now() - interval '2.5 days', max_rows => 10000) WHERE node = 'old'": 2*daily + 1,
		"SELECT count(*)::int FROM vault.audit_journals WHERE last_at = '2025-01-02 03:04Z'":                                1,
		"SELECT count(*)::int FROM vault.sent_changes":                                                                      13,
	} {
		if got := get[int](s, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}

	prune := func() int { return get[int](s, "SELECT vault.prune_audit('90 days')::int") }
	pruned := prune() // what is older by a quarter than it may be, for no part explains it
	if now, n := part(); pruned < 2800 || n > 1200 || now != file {
		t.Errorf("%d records were pruned, %d are left, in file %d", pruned, n, now)
	}
	if n := get[int](s, "SELECT part::int FROM vault.audit_numbering"); n != 1 {
		t.Errorf("new records go to part %d", n)
	}
	s.exec("UPDATE vault.audit_log SET at = at - interval '100 days' WHERE part = 0")
	s.exec("INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, part) VALUES (now(), 'new', 'x', 'read', 'log/new', 'ok', 1)")
	_, left := part()
	pruned = prune()
	if now, n := part(); pruned != left || n != 0 || now == file {
		t.Errorf("%d of %d records were pruned, %d are left, in the same file: %v", pruned, left, n, now == file)
	}
	if n := get[int](s, "SELECT count(*)::int FROM vault.audit('log/new') WHERE action = 'read'"); n != 1 {
		t.Errorf("%d records of the present part", n)
	}
}
