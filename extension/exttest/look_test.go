package exttest

import (
	"strings"
	"testing"
)

// looksSQL are the rows of vault.look_as() for given arrays, or those of its definition.
const looksSQL = `
	CREATE FUNCTION pg_temp.looks(defined boolean, f bytea[], a inet[], c jsonb[], w text[], n text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
	BEGIN
		IF defined THEN
			RETURN QUERY SELECT l::text FROM vault.look_as_defined(f, a, c, w, n) l;
		ELSE
			RETURN QUERY SELECT l::text FROM vault.look_as(f, a, c, w, n) l;
		END IF;
	END $$`

// looksDiffer are the rows of looks that are not those of the definition, for the arrays that a query has as q.
const looksDiffer = `
	SELECT format('%%s: %%s', x.of, x.l) FROM q CROSS JOIN LATERAL (
		(SELECT 'more' AS of, l FROM pg_temp.looks(false, q.f, q.a, q.c, q.w, q.n) l EXCEPT ALL SELECT 'more', l FROM pg_temp.looks(true, q.f, q.a, q.c, q.w, q.n) l)
		UNION ALL
		(SELECT 'less', l FROM pg_temp.looks(true, q.f, q.a, q.c, q.w, q.n) l EXCEPT ALL SELECT 'less', l FROM pg_temp.looks(false, q.f, q.a, q.c, q.w, q.n) l)) x`

// manyLooks are the questions of all tokens, some of which are batch tokens, about all actions on names of all kinds.
const manyLooks = `
	WITH each AS (
		SELECT f.f, a.a, f.c, w.w, n.n FROM (
			SELECT sha256(i::text::bytea) AS f, NULL::jsonb AS c FROM generate_series(1, 10) i UNION ALL SELECT NULL, NULL
			UNION ALL SELECT sha256('t1+'), NULL UNION ALL SELECT NULL, jsonb_build_object('login_role', l.id, 'name', 'batch', 'valid_from', l.valid_from,
				'expires_at', now() + interval '1 hour', 'scopes', NULL) FROM vault.login_roles l) f,
			unnest('{192.0.2.1,NULL}'::inet[]) a (a), unnest('{read,update,manage,list,self,no action,NULL}'::text[]) w (w),
			unnest($1::text[] || '{none,../x,*,"",NULL}'::text[]) n (n)
	), q AS (SELECT array_agg(f) AS f, array_agg(a) AS a, array_agg(c) AS c, array_agg(w) AS w, array_agg(n) AS n FROM each)`

// oddLooks are arrays that no program of ours sends.
const oddLooks = `
	WITH q (f, a, c, w, n) AS (VALUES
		(NULL::bytea[], NULL::inet[], NULL::jsonb[], NULL::text[], NULL::text[]),
		('{}', '{}', '{}', '{}', '{}'),
		('{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}'),
		(ARRAY[sha256('1')], NULL, NULL, '{read,read,read}', '{a,a/b}'),
		(ARRAY[sha256('1'), sha256('6'), sha256('7')], '{10.0.0.1}', '{}', '{read}', '{a,a/b/c,a,a/b}'),
		(ARRAY[[sha256('1')], [sha256('3')]], '{{10.0.0.1},{192.0.2.1}}', '{}', '{{read},{update}}', '{{a/b},{a}}'))`

// compareLooks compares what changes by REST query first with its definition.
func (d *decisionState) compareLooks() {
	d.t.Helper()
	d.exec(strings.Replace(looksSQL, "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
	for _, differs := range append(column(d.session, manyLooks+looksDiffer, stateNames), column(d.session, oddLooks+looksDiffer)...) {
		d.t.Errorf("%.400s", differs)
	}
}

// byDefinition is how often the definition of vault.look_as() has been asked so far.
func (b *bench) byDefinition() int {
	b.t.Helper()
	return get[int](b.session, "SELECT coalesce(pg_stat_get_xact_function_calls('vault.look_as_defined(bytea[],inet[],jsonb[],text[],text[])'::regprocedure), 0)::int")
}

// TestLooksSayWhoseTurnItIs compares looks of bound secrets in many states with their definition. A role that is not what it
// was is not named, and no look fails because of it.
func TestLooksSayWhoseTurnItIs(t *testing.T) {
	b := newBoundBench(t, "track_functions = all", "hyperion_vault.rotation_enabled = off")
	b.exec("CREATE ROLE shared")
	b.exec("SELECT vault.grant_access('vault_anonymous', '*', '{update}')")
	b.exec(looksSQL)
	named := map[string]string{}
	for _, c := range roleCases {
		b.bindFor(c.name, c.options, c.pair)
		for part := range strings.SplitSeq(strings.ReplaceAll(c.state, "$s", c.name), ";") {
			b.exec(part)
		}
		b.exec("BEGIN")
		before := b.byDefinition()
		const looked = `FROM vault.look_as('{NULL}', '{192.0.2.1}', '{NULL}', '{update}', ARRAY[$1::text]) l`
		named[c.name] = get[string](b.session, "SELECT concat(l.next_role, ' ', l.iterations, ' ', (l.state).name, (l.state).bound) "+looked, c.name)
		if n := b.byDefinition() - before; n != 0 {
			t.Errorf("%s: a statement has answered %d times", c.name, n)
		}
		b.exec("ROLLBACK")
		for _, differs := range column(b.session, "WITH q AS (SELECT '{NULL}'::bytea[] AS f, '{192.0.2.1}'::inet[] AS a, '{NULL}'::jsonb[] AS c, '{update}'::text[] AS w, ARRAY[$1::text] AS n)"+looksDiffer, c.name) {
			t.Errorf("%s: %.400s", c.name, differs)
		}
	}
	for name, want := range map[string]string{
		"one": "one_a 4096 onet", "two": "two_b 4096 twot", "two_again": "two_again_a 4096 two_againt", "one_renamed": "  one_renamedt",
		"one_promoted": "  one_promotedt", "one_dropped": "  one_droppedt", "two_shared_left": "  two_shared_leftt",
		"one_without_binding": "  one_without_bindingt",
	} {
		if named[name] != want {
			t.Errorf("%s: %q, want %q", name, named[name], want)
		}
	}
}

// TestLooksSurviveChangesOfTheSchema takes away what a look scans. The definition answers then, and a scan again afterwards.
func TestLooksSurviveChangesOfTheSchema(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.create_secret('a/b', 'x'::text)")
	b.exec("SELECT vault.grant_access('vault_anonymous', 'a/*', '{update}')")
	// The definition has its plan by the first change. With the changed type it could not be planned.
	for _, c := range []struct {
		change       string
		byDefinition int
	}{
		{"SELECT", 0},
		{"DROP INDEX vault.secrets_name_key; CREATE INDEX secrets_name_key ON vault.secrets (name) WHERE name > 'b'", 1},
		{"DROP INDEX vault.access_grants_pattern_idx", 1},
		{"ALTER INDEX vault.tokens_fingerprint_key RENAME TO other_key", 1},
		{"ALTER TYPE vault.secret_state ADD ATTRIBUTE more integer", 1},
		{"ALTER TABLE vault.secrets ADD more integer", 0},
		{"ALTER TABLE vault.role_bindings DROP CONSTRAINT role_bindings_pkey", 0},
		{"ALTER TABLE vault.role_bindings RENAME max_wait_secs TO max_wait_other", 0},
	} {
		b.exec("BEGIN")
		b.exec("SET LOCAL track_functions = 'all'")
		b.script(c.change)
		before := b.byDefinition()
		if name := get[string](b.session, "SELECT (l.state).name FROM vault.look_as('{NULL}', '{192.0.2.1}', '{NULL}', '{update}', '{a/b}') l"); name != "a/b" {
			t.Errorf("after %s: %q", c.change, name)
		}
		if n := b.byDefinition() - before; n != c.byDefinition {
			t.Errorf("after %s the definition was asked %d times, not %d", c.change, n, c.byDefinition)
		}
		b.exec("ROLLBACK")
	}
}
