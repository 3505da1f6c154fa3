package exttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// mayDiffers are the questions that vault.may() answers otherwise than the SQL definition of the decision.
const mayDiffers = `
	SELECT format('%s %s %s: %s', r, a, t, vault.may(r, a, t))
	FROM unnest($1::oid[] || NULL::oid) r, unnest($2::text[] || NULL::text) a, unnest($3::text[] || NULL::text) t
	WHERE vault.may(r, a, t) IS DISTINCT FROM
		(vault.is_superuser(r) OR EXISTS (SELECT FROM vault.granting(r, a, vault.matching_patterns(t))))`

// readsDefined are reads, and what the SQL definition says of each. A probe ends with how often vault.sealed_for() has returned:
// the shim asks that only if its own scan has found nothing, and then it has to raise.
const readsDefined = `
	SELECT format('%s of %s as %s', v, n, r::regrole), pg_temp.probe(r, n, v), CASE
		WHEN NOT vault.is_superuser(r) AND NOT EXISTS (SELECT FROM vault.granting(r, 'read', vault.matching_patterns(n)))
			THEN '42501 0'
		ELSE coalesce((SELECT format('%s#%s 0', n, x.version) FROM vault.readable_versions(ARRAY[n], v) x), 'missing 0') END
	FROM unnest($1::oid[]) r, unnest($2::text[]) n, unnest('{NULL,1,2,3,4,5}'::bigint[]) v`

// probeSQL reads as a role: the value, or why there is none.
const probeSQL = `
	CREATE FUNCTION pg_temp.probe(r oid, n text, v bigint) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		sealed_for oid := 'vault.sealed_for(oid,text,text,bigint)'::regprocedure;
		before bigint := coalesce(pg_stat_get_xact_function_calls(sealed_for), 0);
		got text;
	BEGIN
		BEGIN
			PERFORM set_config('role', r::regrole::text, false);
			got := vault.read_secret(n, v);
		EXCEPTION WHEN insufficient_privilege THEN
			got := SQLSTATE;
		WHEN undefined_object OR data_corrupted THEN
			got := 'missing';
		END;
		PERFORM set_config('role', 'none', false);
		RETURN got || ' ' || coalesce(pg_stat_get_xact_function_calls(sealed_for), 0) - before;
	END $$`

// stateNames are names of secrets that differ in little.
var stateNames = []string{"a", "A", "a/b", "a/b/c", "a/b0", "a/b-", "a/b.c", "a/bb/c", "ab/c", "z/z/z/z", "a0", "a/0"}

// decisionTargets are what a decision can be asked about: names, patterns, and what is neither.
var decisionTargets = append([]string{"", "*", "a/*", "a/b/*", "/", "//", "a/", "*/a", "a/b/", "ä/é", "a*", "%", "_/b"}, stateNames...)

// decisionState is a vault with roles and secrets, whose grants and versions become others.
type decisionState struct {
	*bench
	rand  *rand.Rand
	roles []string
	oids  []uint32
}

func newDecisionState(t *testing.T) *decisionState {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b := newBench(t, sharedCluster(t))
	d := &decisionState{bench: b, rand: rand.New(rand.NewPCG(seed, 0))}
	b.exec("SET track_functions = 'all'")
	b.exec(probeSQL)
	for _, name := range stateNames {
		b.exec("SELECT vault.create_secret($1::text, $1::text || '#1')", name)
		for v := 2; v <= 4; v++ {
			b.exec("SELECT vault.update_secret($1::text, $1::text || '#' || $2::int::text, NULL)", name, v)
		}
	}
	for i := range 7 {
		role := b.c.newRole(t)
		b.exec("GRANT USAGE ON SCHEMA vault TO " + role)
		b.exec("GRANT EXECUTE ON FUNCTION vault.read_secret(text, bigint) TO " + role)
		if i == 6 {
			b.exec("ALTER ROLE " + role + " SUPERUSER")
		}
		d.roles = append(d.roles, role)
		d.oids = append(d.oids, get[uint32](b.session, "SELECT $1::text::regrole::oid", role))
	}
	return d
}

func (d *decisionState) pick(of ...string) string { return of[d.rand.IntN(len(of))] }

// mixRoles gives the roles other members and attributes.
func (d *decisionState) mixRoles() {
	with := serverVersion(d.session) >= 160000
	for i, member := range d.roles {
		d.exec("ALTER ROLE " + member + " " + d.pick("INHERIT", "NOINHERIT"))
		for _, group := range d.roles[i+1:] {
			d.exec(fmt.Sprintf("REVOKE %s FROM %s", group, member))
			if d.rand.IntN(3) > 0 {
				continue
			}
			option := ""
			if with {
				option = d.pick("", " WITH INHERIT TRUE", " WITH INHERIT FALSE", " WITH SET FALSE")
			}
			d.exec(fmt.Sprintf("GRANT %s TO %s%s", group, member, option))
		}
	}
}

// mixGrants makes grants, those of missing roles and those made with the extension among them.
func (d *decisionState) mixGrants() {
	d.exec("DELETE FROM vault.access_grants")
	d.exec("DELETE FROM vault.revoked_defaults")
	for range d.rand.IntN(20) {
		holder := "vault.hold('" + d.pick(append(d.roles, "vault_anonymous")...) + "')"
		if d.rand.IntN(10) == 0 {
			holder = "'?gone'::vault.grantee"
		}
		d.exec(`INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by, builtin)
			VALUES (`+holder+`, $1, $2, now(), 'test', $3) ON CONFLICT DO NOTHING`,
			d.pick("*", "a/*", "a/b/*", "a/b/c/*", "z/*", "z/z/z/*", "a", "a/b", "a/b/c", "z/z/z/z", "A"),
			d.pick("read", "read", "read", "verify", "manage"),
			map[bool]any{true: d.pick("first", "second"), false: nil}[d.rand.IntN(3) == 0])
	}
	for range d.rand.IntN(3) {
		d.exec("INSERT INTO vault.revoked_defaults VALUES ($1, $2) ON CONFLICT DO NOTHING", d.pick("first", "second"), d.pick("read", "verify"))
	}
}

// mixVersions gives versions other times, and secrets another current version. Some are deleted.
func (d *decisionState) mixVersions() {
	times := []string{"NULL", "NULL", "clock_timestamp() + interval '1 hour'", "clock_timestamp() - interval '1 microsecond'", "'infinity'", "'-infinity'"}
	for _, name := range stateNames {
		for v := 1; v <= 4; v++ {
			d.exec(fmt.Sprintf(`UPDATE vault.secret_versions v SET expires_at = %s, expired = %s, delete_at = %s
				FROM vault.secrets s WHERE s.id = v.secret_id AND s.name = $1 AND v.version = $2`,
				d.pick(times...), d.pick("true", "false"), d.pick(append(times, "NULL", "NULL", "NULL")...)), name, v)
		}
		d.exec("UPDATE vault.secrets SET keep_versions = $2, current_version = $3, deleted_at = "+d.pick("NULL", "NULL", "NULL", "now()")+
			" WHERE name = $1 AND (SELECT count(*) FROM vault.secrets x WHERE x.name = $1) = 1", name, d.rand.IntN(4), 1+d.rand.IntN(5))
	}
}

// compareReads reads everything as each role, and counts what the reads gave.
func (d *decisionState) compareReads(gave map[string]int) {
	d.t.Helper()
	rows, err := d.Query(bounded(d.t), readsDefined, d.oids, stateNames)
	if err != nil {
		d.t.Fatal(err)
	}
	type read struct{ What, Got, Want string }
	reads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[read])
	if err != nil {
		d.t.Fatal(err)
	}
	wrong := 0
	for _, r := range reads {
		if r.Got != r.Want && wrong < 10 {
			d.t.Errorf("%s: %s, want %s", r.What, r.Got, r.Want)
			wrong++
		}
		kind, _, value := strings.Cut(r.Want, "#")
		gave[map[bool]string{true: "value", false: kind}[value]]++
	}
}

// tokensSQL are tokens of a role, valid and not, and a login role whose batch tokens are valid.
const tokensSQL = `
	INSERT INTO vault.tokens (id, name, fingerprint, created_at, expires_at, revoked_at, holder, method, renewable, scopes, bound_cidrs, parent)
	SELECT gen_random_uuid(), 't' || i, sha256(i::text::bytea), now(), CASE WHEN i = 2 THEN now() - interval '1 second' END,
		CASE WHEN i = 3 THEN now() END, CASE WHEN i = 4 THEN '?gone'::vault.grantee
			ELSE vault.hold((CASE WHEN i = 9 THEN $2 ELSE $1 END)::text::regrole) END, 'token', false,
		CASE WHEN i IN (5, 6) THEN '[[{"pattern": "a/*", "actions": ["read"]}]]'::jsonb END,
		CASE i WHEN 6 THEN '{10.0.0.0/8}'::cidr[] WHEN 7 THEN '{192.0.2.0/24}' END, CASE WHEN i = 8 THEN gen_random_uuid() END
	FROM generate_series(1, 9) i`

// askersSQL are those who ask: without a token, with each of the tokens and an unknown one, and with the claims of a batch token.
const askersSQL = `
	CREATE FUNCTION pg_temp.answers(defined boolean, v bigint, batch boolean) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
	DECLARE
		prints bytea[] := (SELECT array_agg(sha256(i::text::bytea) ORDER BY i) FROM generate_series(1, 10) i) || NULL::bytea;
		addresses inet[] := array_fill('192.0.2.1'::inet, ARRAY[11]);
		claims jsonb[] := array_fill(NULL::jsonb, ARRAY[11]);
		askers integer[];
		names text[];
	BEGIN
		IF batch THEN
			prints := prints || NULL::bytea;
			addresses := addresses || '192.0.2.1'::inet;
			claims := claims || (SELECT jsonb_build_object('login_role', l.id, 'name', 'batch', 'valid_from', l.valid_from,
				'expires_at', now() + interval '1 hour', 'scopes', NULL) FROM vault.login_roles l);
		END IF;
		SELECT array_agg(a ORDER BY a, n), array_agg(n ORDER BY a, n) INTO askers, names
		FROM unnest('{0,1,2,3,4,5,6,7,8,9,10,11,12,NULL}'::integer[]) a,
			unnest('{a,A,a/b,a/b/c,a/b0,z/z/z/z,ab/c,none,../x,"",NULL}'::text[]) n;
		IF defined THEN
			RETURN QUERY SELECT r::text FROM vault.read_as_defined(prints, addresses, claims, askers, names, v) r;
		ELSE
			RETURN QUERY SELECT r::text FROM vault.read_as(prints, addresses, claims, askers, names, v) r;
		END IF;
	END $$`

// childrenSQL are tokens that were made by a token that is valid, and by one that was revoked.
const childrenSQL = `
	INSERT INTO vault.tokens (id, name, fingerprint, created_at, holder, method, renewable, parent)
	SELECT gen_random_uuid(), 'child', sha256((p.name || '+')::bytea), now(), p.holder, 'approle', false, p.id
	FROM vault.tokens p WHERE p.name IN ('t1', 't3')`

// decisionsDiffer are the decisions of vault.decide() about clients at one address that are not those of its definition.
const decisionsDiffer = `
	WITH question AS MATERIALIZED (
		SELECT f.f, a.a, w.w, n.n
		FROM (SELECT sha256(i::text::bytea) AS f FROM generate_series(1, 10) i UNION ALL SELECT NULL
			UNION ALL SELECT sha256('t1+') UNION ALL SELECT sha256('t3+') UNION ALL SELECT ''
			UNION ALL SELECT substring(sha256('1'), 1, 31) || '\x00' UNION ALL SELECT substring(sha256('1'), 1, 8)) f,
			(SELECT $1::text::inet) a (a),
			unnest(vault.all_actions() || '{list,self,issue,watch,status,no action,NULL}'::text[]) w (w),
			unnest('{a,A,a/b,a/b/c,z/z/z/z,*,a/*,"",NULL}'::text[]) n (n)
	)
	SELECT format('%s: %s, not %s', q, d, x)
	FROM question q CROSS JOIN LATERAL vault.decide(q.f, q.a, NULL, q.w, q.n) d
	CROSS JOIN LATERAL vault.decide_defined(q.f, q.a, NULL, q.w, q.n) x
	WHERE d IS DISTINCT FROM x LIMIT 5`

// admissionsDiffer are what vault.admit() says otherwise than its definition.
const admissionsDiffer = `
	SELECT format('%s %s %s: %s, not %s', f, w, n, pg_temp.admitted('', f, w, n), pg_temp.admitted('_defined', f, w, n))
	FROM (SELECT sha256(i::text::bytea) AS f FROM generate_series(1, 10) i UNION ALL SELECT NULL) f,
		unnest('{read,update,manage,list}'::text[]) w, unnest('{a,a/b/c,z/z/z/z,NULL}'::text[]) n
	WHERE pg_temp.admitted('', f, w, n) IS DISTINCT FROM pg_temp.admitted('_defined', f, w, n)`

// admittedSQL is the origin that a caller gets, or how it is refused.
const admittedSQL = `
	CREATE FUNCTION pg_temp.admitted(which text, f bytea, w text, n text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		got text;
		detail text;
	BEGIN
		EXECUTE format('SELECT o::text FROM vault.admit%s($1, ''192.0.2.1'', NULL, $2, $3, ''node'', NULL) o', which) INTO got USING f, w, n;
		RETURN got;
	EXCEPTION WHEN insufficient_privilege OR invalid_authorization_specification THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || SQLERRM || detail;
	END $$`

// compareDecisions compares the decisions about those who ask by REST with their definitions.
func (d *decisionState) compareDecisions() {
	d.t.Helper()
	differ := column(d.session, admissionsDiffer)
	for _, address := range []any{"192.0.2.1", "10.1.2.3", nil} {
		differ = append(differ, column(d.session, decisionsDiffer, address)...)
	}
	for _, differs := range differ {
		d.t.Errorf("%.300s", differs)
	}
}

// addTokens makes the tokens of a role, and one of a superuser.
func (d *decisionState) addTokens(role, super string) {
	d.exec(tokensSQL, role, super)
	d.exec(childrenSQL)
	d.exec(admittedSQL)
	d.exec("INSERT INTO vault.login_methods (mount, kind, created_at, updated_at) VALUES ('approle', 'approle', now(), now())")
	d.exec(`INSERT INTO vault.login_roles (id, mount, name, holder, token_ttl_secs, token_max_ttl_secs, valid_from, created_at, updated_at)
		VALUES (gen_random_uuid(), 'approle', 'app', vault.hold($1::text::regrole), 3600, 7200, now(), now(), now())`, role)
	d.exec(askersSQL)
}

// compareAnswers has all who ask by REST read, at once and each in its own call.
func (d *decisionState) compareAnswers() {
	d.t.Helper()
	for _, v := range []any{nil, 0, -1, 1, 3, 4, 9} {
		for _, batch := range []bool{false, true} {
			for _, differs := range column(d.session, `(SELECT 'more: ' || answer FROM pg_temp.answers(false, $1, $2)
				EXCEPT ALL SELECT 'more: ' || answer FROM pg_temp.answers(true, $1, $2))
				UNION ALL (SELECT 'less: ' || answer FROM pg_temp.answers(true, $1, $2)
				EXCEPT ALL SELECT 'less: ' || answer FROM pg_temp.answers(false, $1, $2))`, v, batch) {
				d.t.Errorf("version %v: %.300s", v, differs)
			}
		}
		for _, differs := range column(d.session, `SELECT coalesce(x, y)::text
			FROM vault.read_as('{NULL}', '{192.0.2.9}', '{NULL}', array_fill(1, ARRAY[cardinality($2::text[])]), $2, $1) x
			FULL JOIN vault.read_as_defined('{NULL}', '{192.0.2.9}', '{NULL}', array_fill(1, ARRAY[cardinality($2::text[])]), $2, $1) y
				ON x.asked = y.asked AND x IS NOT DISTINCT FROM y
			WHERE x.asked IS NULL OR y.asked IS NULL`, v, stateNames) {
			d.t.Errorf("version %v without a token: %.300s", v, differs)
		}
	}
}

// invalidScans is how often the session has scanned an index that is not valid.
const invalidScans = `SELECT coalesce(sum(pg_stat_get_xact_numscans(indexrelid)), 0)::int FROM pg_index WHERE NOT indisvalid`

// TestScansSurviveChangesOfTheSchema takes an index or a column's place away. The decision and the read stay what they were, and
// are scans again when the index is back.
func TestScansSurviveChangesOfTheSchema(t *testing.T) {
	d := newDecisionState(t)
	d.exec("GRANT " + d.roles[1] + " TO " + d.roles[0])
	d.exec("ALTER ROLE " + d.roles[0] + " INHERIT")
	d.grant(d.roles[1], "a/*", "read")
	for _, change := range []string{
		"SELECT",
		"DROP INDEX vault.access_grants_pattern_idx",
		"DROP INDEX vault.secrets_name_key",
		"DROP INDEX vault.secrets_name_key; CREATE INDEX secrets_name_key ON vault.secrets (name) WHERE name > 'b'",
		"DROP INDEX vault.access_grants_pattern_idx; CREATE INDEX access_grants_pattern_idx ON vault.access_grants USING hash (pattern)",
		"DROP INDEX vault.access_grants_pattern_idx; CREATE INDEX access_grants_pattern_idx ON vault.access_grants (action)",
		"ALTER INDEX vault.access_grants_pattern_idx RENAME TO other_idx",
		// The second statement makes kept plans invalid, which use the index otherwise.
		"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'vault.access_grants_pattern_idx'::regclass; ALTER TABLE vault.access_grants SET (fillfactor = 90)",
		"ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_pkey",
		"ALTER TABLE vault.secrets ADD other text; ALTER TABLE vault.secrets DROP other",
		"REINDEX TABLE vault.access_grants; REINDEX TABLE vault.secrets; REINDEX TABLE vault.secret_versions",
		"CLUSTER vault.access_grants USING access_grants_pkey",
		"SELECT",
	} {
		d.exec("BEGIN")
		d.script(change)
		before := get[int](d.session, invalidScans)
		for _, sql := range column(d.session, mayDiffers, d.oids, []string{"read", "list"}, decisionTargets) {
			t.Errorf("after %s: %s", change, sql)
		}
		for name, want := range map[string]string{"a/b": "a/b#4", "a": "42501", "a/none": "missing"} {
			got := get[string](d.session, "SELECT pg_temp.probe($1, $2, NULL)", d.oids[0], name)
			if !strings.HasPrefix(got, want+" ") || change == "SELECT" && got != want+" 0" {
				t.Errorf("after %s, %s is read as %s", change, name, got)
			}
		}
		if get[int](d.session, invalidScans) != before {
			t.Errorf("after %s an invalid index was scanned", change)
		}
		d.exec("ROLLBACK")
	}
	// A column of that name is another one.
	d.exec("BEGIN")
	d.script(`ALTER TABLE vault.access_grants RENAME action TO old_action;
		ALTER TABLE vault.access_grants ADD action text NOT NULL DEFAULT 'verify'`)
	if got := get[string](d.session, "SELECT pg_temp.probe($1, 'a/b', NULL)", d.oids[0]); got != "42501 0" {
		t.Errorf("by a grant of another action a secret is read as %s", got)
	}
	d.exec("ROLLBACK")
}

// TestScansUnderReindex reads while another session rebuilds the indexes repeatedly.
func TestScansUnderReindex(t *testing.T) {
	d := newDecisionState(t)
	d.grant(d.roles[0], "a/*", "read")
	s := d.c.connect(t, d.db, d.roles[0])
	done := make(chan error, 1)
	other := d.c.connect(t, d.db, "postgres")
	go func() {
		var err error
		for i := range 15 {
			err = errors.Join(err, other.try([]string{
				"REINDEX TABLE CONCURRENTLY vault.access_grants", "REINDEX TABLE CONCURRENTLY vault.secrets",
				"REINDEX TABLE CONCURRENTLY vault.secret_versions", "REINDEX TABLE vault.access_grants", "VACUUM FULL vault.secrets",
			}[i%5]))
		}
		done <- err
	}()
	for reads := 0; ; reads++ {
		if got := get[string](s, "SELECT vault.read_secret('a/b')"); got != "a/b#4" {
			t.Fatalf("read %q", got)
		}
		wantError(t, s.try("SELECT vault.read_secret('ab/c')"), "42501", "permission denied")
		select {
		case err := <-done:
			if err != nil || reads < 3 {
				t.Errorf("%d reads meanwhile: %v", reads, err)
			}
			return
		default:
		}
	}
}

// TestScansSeeWhatIsCommitted reads in an old snapshot: a revocation and a deletion by others are in force at once, and what the
// transaction has made is there until it is rolled back.
func TestScansSeeWhatIsCommitted(t *testing.T) {
	d := newDecisionState(t)
	d.grant(d.roles[0], "a/*", "read,create")
	s := d.c.connect(t, d.db, d.roles[0])
	for _, level := range []string{"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"} {
		s.exec("BEGIN ISOLATION LEVEL " + level)
		s.exec("SAVEPOINT one")
		s.exec("SELECT vault.create_secret('a/new', 'own'::text)")
		if got := get[string](s, "SELECT vault.read_secret('a/new')"); got != "own" {
			t.Errorf("%s: read %q", level, got)
		}
		s.exec("ROLLBACK TO one")
		wantError(t, s.try("SELECT vault.read_secret('a/new')"), "42704", "does not exist")
		s.exec("ROLLBACK TO one")
		if got := get[string](s, "SELECT vault.read_secret('a/b')"); got != "a/b#4" {
			t.Errorf("%s: read %q", level, got)
		}
		d.exec("SELECT vault.revoke_access($1::text::regrole, 'a/*', '{read}')", d.roles[0])
		wantError(t, s.try("SELECT vault.read_secret('a/b')"), "42501", "permission denied")
		s.exec("ROLLBACK")
		d.grant(d.roles[0], "a/*", "read")
	}
}

// TestScansDecideAsTheDefinition compares the decision and the fetch by index with their definitions in SQL, for generated
// roles, grants and versions: those that have just been committed, and the transaction's own.
func TestScansDecideAsTheDefinition(t *testing.T) {
	d := newDecisionState(t)
	d.addTokens(d.roles[0], d.roles[6])
	actions := []string{"read", "verify", "manage", "list", "lis", "", "no action"}
	gave := map[string]int{}
	for round := range 24 {
		d.exec("BEGIN")
		d.mixRoles()
		d.mixGrants()
		d.mixVersions()
		if round%2 == 0 {
			d.exec("COMMIT")
			d.exec("BEGIN ISOLATION LEVEL " + d.pick("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
		}
		for _, differs := range column(d.session, mayDiffers, d.oids, actions, decisionTargets) {
			t.Error(differs)
		}
		d.compareReads(gave)
		if round%3 == 0 {
			d.compareAnswers()
			d.compareDecisions()
			d.compareLooks()
		}
		d.exec("ROLLBACK")
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if gave["value"] < 100 || gave["42501 0"] < 500 || gave["missing 0"] < 500 {
		t.Errorf("the states are too much alike: %v", gave)
	}
}
