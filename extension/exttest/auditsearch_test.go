package exttest

import (
	"testing"
)

// auditSearchRows are records of few names below one prefix and of many below another, beside names that only look like
// theirs. Some times are equal.
const auditSearchRows = `INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome)
	SELECT timestamptz '2026-01-01' + make_interval(secs => i % 37), 'here', 'role:r' || i % 3,
		CASE WHEN i % 5 = 0 THEN 'verify' ELSE 'read' END,
		(ARRAY['few/n' || i % 40, 'few/a/' || i % 7, 'many/n' || i % 230, 'few', 'few-x', 'few.x', 'few/', 'few0', 'fewer/x', 'few//x',
		       'Few/x', 'many', 'one/hot', 'one/hot', 'one/hot', 'one/hot', 'one/cold', NULL])[1 + i % 18], 'ok'
	FROM generate_series(1, 4500) i`

// auditSearchDiffers are the searches, of all combinations, that find other records than their definition.
const auditSearchDiffers = `SELECT format('%s of %L, exact %s, by %s, action %s, since %s, before %s %s: %s records, want %s',
		c.most, c.prefix, c.exact, c.caller, c.action, c.since, c.before_at, c.before_id, cardinality(got.ids), cardinality(want.ids))
	FROM (SELECT * FROM unnest('{"",few,few/,few//,few/a,few/n1,few/n,many,many/,many/n7,one,one/hot,one/cold,no,n}'::text[]) prefix,
		unnest('{t,f}'::boolean[]) exact, unnest('{vault_admin,few_auditor}'::regrole[]) caller, unnest('{NULL,verify}'::text[]) action,
		unnest('{-infinity,2026-01-01 00:00:20}'::timestamptz[]) since, unnest('{NULL,2026-01-01 00:00:30}'::timestamptz[]) before_at,
		(SELECT id FROM vault.audit_log WHERE at = '2026-01-01 00:00:30' ORDER BY id OFFSET 50 LIMIT 1) b (before_id),
		unnest('{1,7,100,5000}'::integer[]) most) c
	CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.id FROM vault.audit_newest_visible(c.caller, NULL, c.prefix, c.exact, c.action, NULL, NULL,
		c.since, c.before_at, c.before_id, c.most) f)) got (ids)
	CROSS JOIN LATERAL (SELECT ARRAY(SELECT l.id FROM vault.audit_log l
		WHERE (c.prefix = '' OR CASE WHEN c.exact THEN l.secret_name = c.prefix ELSE vault.has_prefix(l.secret_name, c.prefix) END)
			AND (c.caller = 'vault_admin'::regrole OR starts_with(l.secret_name, 'few/a/') OR starts_with(l.secret_name, 'many/'))
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
	s.exec("SELECT vault.grant_access('few_auditor', 'few/a/*', '{audit}'), vault.grant_access('few_auditor', 'many/*', '{audit}')")
	s.exec(auditSearchRows)
	for _, differs := range column(s, auditSearchDiffers) {
		t.Error(differs)
	}
	found := "SELECT count(*)::int FROM vault.audit_newest_visible('vault_admin'::regrole, NULL, $1, false, NULL, NULL, NULL, '-infinity', NULL, 0, 5000)"
	for prefix, want := range map[string]int{"few/a": 250, "many/": 250, "one/hot": 1000, "few": 1250} {
		if n := get[int](s, found, prefix); n != want {
			t.Errorf("%d records below %s, want %d", n, prefix, want)
		}
	}
	s.exec("ROLLBACK")
}
