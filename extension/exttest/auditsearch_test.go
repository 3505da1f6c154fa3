package exttest

import (
	"testing"
	"time"
)

// auditSearchRows are records of few names below one prefix and of many below others, beside names that only look like
// theirs. Some times are equal. Some names have far more records than others, and the newest of them. The last record is
// of the time before which is searched, and has a higher id than where such a search begins.
const auditSearchRows = `INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, part)
	SELECT timestamptz '2026-01-01' + make_interval(secs => i % 37 + CASE WHEN i % 3 = 0 THEN 0 ELSE i * 7919 % 1000 / 1000.0 END), 'here',
		'role:r' || i % 3, CASE WHEN i % 5 = 0 THEN 'verify' ELSE 'read' END,
		(ARRAY['few/n' || i % 40, 'few/a/' || i % 7, 'many/n' || i % 230, 'few', 'few-x', 'few.x', 'few/', 'few0', 'fewer/x', 'few//x',
		       'Few/x', 'many', 'one/hot', 'one/hot', 'one/hot', 'one/hot', 'one/cold', NULL])[1 + i % 18], 'ok', i % 4
	FROM generate_series(1, 4500) i
	UNION ALL
	SELECT timestamptz '2026-01-01' + make_interval(secs => CASE WHEN i % 10 < 4 THEN 25 + i % 100 / 8.0 ELSE i % 1000 / 27.0 END), 'here',
		'role:r', 'read', 'wide/' || CASE WHEN i % 10 < 4 THEN 'n' || i % 10 || '00' ELSE 'n' || i % 500 END, 'ok', i % 3
	FROM generate_series(1, 2500) i
	UNION ALL
	SELECT timestamptz '2026-01-01' + make_interval(secs => i), 'here', 'role:r', 'read', 'late/n' || i, 'ok', 0 FROM unnest('{10,30}'::integer[]) i`

// auditSearched are the prefixes that are searched.
var auditSearched = []string{"", "few", "few/", "few//", "few/a", "few/n1", "few/n", "many", "many/", "many/n7", "wide", "wide/", "late", "one", "one/hot",
	"one/cold", "no", "n"}

// auditSearchDiffers are the searches of one prefix, of all combinations, that find other records than their definition.
const auditSearchDiffers = `SELECT format('%s of %L, exact %s, by %s, action %s, since %s, before %s %s: %s records, want %s',
		c.most, c.prefix, c.exact, c.caller, c.action, c.since, c.before_at, c.before_id, cardinality(got.ids), cardinality(want.ids))
	FROM (SELECT * FROM (SELECT $1::text) p (prefix),
		unnest('{t,f}'::boolean[]) exact, unnest('{vault_admin,few_auditor}'::regrole[]) caller, unnest('{NULL,verify}'::text[]) action,
		unnest('{-infinity,2026-01-01 00:00:20}'::timestamptz[]) since, unnest('{NULL,2026-01-01 00:00:30}'::timestamptz[]) before_at,
		(SELECT id FROM vault.audit_log WHERE at = '2026-01-01 00:00:30' ORDER BY id OFFSET 50 LIMIT 1) b (before_id),
		unnest('{1,100,5000}'::integer[]) most) c
	CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.id FROM vault.audit_newest_visible(c.caller, NULL, c.prefix, c.exact, c.action, NULL, NULL,
		c.since, c.before_at, c.before_id, c.most) f)) got (ids)
	CROSS JOIN LATERAL (SELECT ARRAY(SELECT l.id FROM vault.audit_log l
		WHERE (c.prefix = '' OR CASE WHEN c.exact THEN l.secret_name = c.prefix ELSE vault.has_prefix(l.secret_name, c.prefix) END)
			AND (c.caller = 'vault_admin'::regrole OR starts_with(l.secret_name, 'few/a/') OR starts_with(l.secret_name, 'many/')
				OR starts_with(l.secret_name, 'wide/'))
			AND (c.action IS NULL OR l.action = c.action) AND l.at >= c.since
			AND (c.before_at IS NULL OR (l.at, l.id) < (c.before_at, c.before_id))
		ORDER BY l.at DESC, l.id DESC LIMIT c.most)) want (ids)
	WHERE got.ids IS DISTINCT FROM want.ids`

// TestAuditSearchFindsWhatItDefines compares searches of the audit with a plain condition.
func TestAuditSearchFindsWhatItDefines(t *testing.T) {
	c := sharedCluster(t)
	s := c.connect(t, c.NewDB(t).Name, "postgres")
	s.exec("CREATE ROLE few_auditor")
	defer s.exec("DROP ROLE few_auditor")
	s.exec("BEGIN")
	s.exec("SELECT vault.grant_access('few_auditor', pattern, '{audit}') FROM unnest('{few/a/*,many/*,wide/*}'::text[]) pattern")
	s.exec(auditSearchRows)
	for _, prefix := range auditSearched {
		for _, differs := range column(s, auditSearchDiffers, prefix) {
			t.Error(differs)
		}
	}
	found := "SELECT count(*)::int FROM vault.audit_newest_visible('vault_admin'::regrole, NULL, $1, false, NULL, NULL, NULL, '-infinity', NULL, 0, 5000)"
	for prefix, want := range map[string]int{"few/a": 250, "many/": 250, "one/hot": 1000, "few": 1250, "wide": 2500, "late": 2} {
		if n := get[int](s, found, prefix); n != want {
			t.Errorf("%d records below %s, want %d", n, prefix, want)
		}
	}
	s.exec("ROLLBACK")
}

// crowdedSQL fills one prefix with names of few records, and another one with names of many. The newest of these are of one name.
var crowdedSQL = []string{
	`INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, part)
	SELECT now() - make_interval(secs => i), 'here', 'role:r', 'read', 'thin/n' || i % 1000, 'ok', i % 3 FROM generate_series(1, 10000) i`,
	`INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, part)
	SELECT now() - make_interval(secs => i), 'here', 'role:r', 'read', 'fat/n' || CASE WHEN i < 800 THEN 7 ELSE i % 120 END, 'ok', i % 3
	FROM generate_series(1, 24000) i`,
	`VACUUM ANALYZE vault.audit_log`,
}

// auditReads are what this transaction has read of the audit log: entries of its indexes, and records by them.
const auditReads = `SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(i.indexrelid)), 0)::int,
		coalesce(sum(pg_stat_get_xact_tuples_fetched(i.indexrelid)), 0)::int
	FROM pg_index i JOIN pg_inherits p ON p.inhrelid = i.indrelid WHERE p.inhparent = 'vault.audit_log'::regclass`

// TestAuditSearchReadsFewRecords counts what searches below a crowded prefix read.
func TestAuditSearchReadsFewRecords(t *testing.T) {
	c := sharedCluster(t)
	s := c.connect(t, c.NewDB(t).Name, "postgres")
	for _, sql := range crowdedSQL {
		s.exec(sql)
	}
	const search = "SELECT count(*)::int FROM vault.audit_newest_visible('vault_admin'::regrole, NULL, $1, false, NULL, NULL, NULL, '-infinity', $2, 0, 100)"
	for prefix, most := range map[string]int{"thin": 11000, "fat": 6000} {
		for _, before := range []any{nil, time.Now().Add(-time.Hour)} {
			s.exec("BEGIN")
			entries, records := auditReadsOf(s)
			if n := get[int](s, search, prefix, before); n != 100 {
				t.Errorf("a search below %s before %v found %d records", prefix, before, n)
			}
			moreEntries, moreRecords := auditReadsOf(s)
			s.exec("ROLLBACK")
			entries, records = moreEntries-entries, moreRecords-records
			if entries > most || entries < 100 || records > 110 || records < 100 {
				t.Errorf("a search below %s before %v has read %d entries of indexes, want at most %d, and %d records, want about 100",
					prefix, before, entries, most, records)
			}
		}
	}
}

func auditReadsOf(s *session) (entries, records int) {
	if err := s.QueryRow(bounded(s.t), auditReads).Scan(&entries, &records); err != nil {
		s.t.Fatal(err)
	}
	return entries, records
}
