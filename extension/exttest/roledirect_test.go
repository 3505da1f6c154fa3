package exttest

import (
	"fmt"
	"strings"
	"testing"
)

// bindFor makes a secret of a role, or of two in turn, whose names begin with prefix.
func (b boundBench) bindFor(prefix, options string, pair bool) {
	b.t.Helper()
	groups := ""
	if strings.Contains(options, "shared") {
		groups = " IN ROLE shared"
	}
	b.exec("CREATE ROLE " + prefix + "_a LOGIN" + groups)
	if !pair {
		b.exec("SELECT vault.create_secret('"+prefix+"', $1::text, 'automatic', rotation_interval_secs => 86400)", "first value")
		b.exec("SELECT vault.bind_role('" + prefix + "', '" + prefix + "_a'" + options + ")")
		return
	}
	b.exec("CREATE ROLE " + prefix + "_b LOGIN" + groups)
	b.exec(`SELECT vault.create_secret('` + prefix + `', '{"username":"` + prefix + `_a","password":"one"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}')`)
	b.exec("SELECT vault.bind_role_pair('" + prefix + "', '" + prefix + "_a', '" + prefix + "_b'" + options + ")")
}

// TestRotationsOfRolesPlanNothing rotates bound secrets by SQL and as the API does, with pg_stat_statements, which counts plans. Each rotation changes a
// role, after which PostgreSQL plans each statement on a table with row security once more. So there must be none.
func TestRotationsOfRolesPlanNothing(t *testing.T) {
	c := newLoginCluster(t, false, "shared_preload_libraries = 'pg_stat_statements,hyperion_vault'", "pg_stat_statements.track = all",
		"pg_stat_statements.track_planning = on", "hyperion_vault.rotation_enabled = off")
	b := boundBench{newBench(t, c.cluster), c}
	b.exec("CREATE EXTENSION pg_stat_statements")
	b.bindFor("one", "", false)
	b.bindFor("two", "", true)
	b.bindFor("three", "", false)
	b.bindFor("four", "", true)
	b.exec("SELECT vault.configure_secret('two', grace_period_secs => 3600)")
	b.exec("CREATE FUNCTION pg_temp.verifier(bytea) RETURNS text AS 'hyperion_vault', 'hv_test_verifier' LANGUAGE c VOLATILE STRICT")
	b.exec("SELECT vault.grant_access('vault_anonymous', '*', '{rotate,update}')")
	const times = 10
	rotate := func() {
		for range times {
			b.exec("SELECT vault.rotate_secret('one')")
			b.exec("SELECT vault.update_secret('one', md5(random()::text), NULL)")
			b.exec("SELECT vault.rotate_secret('two')")
			for _, name := range []string{"three", "four"} {
				b.changeAsREST(name)
			}
		}
	}
	rotate()
	b.exec("SELECT pg_stat_statements_reset()")
	rotate()
	for _, text := range column(b.session, `SELECT plans || ' times in ' || calls || ' calls: ' || left(query, 300) FROM pg_stat_statements
		WHERE NOT toplevel AND plans >= 5`) {
		t.Errorf("planned %s", text)
	}
}

// changeAsREST sends what the API does to change a bound secret.
func (b boundBench) changeAsREST(name string) {
	b.t.Helper()
	b.exec("SELECT * FROM vault.look_as('{NULL}', '{127.0.0.1}', '{NULL}', '{rotate}', ARRAY[$1::text])", name)
	b.exec(`SELECT vault.append_with_verifier(s.id, s.current_version, `+planSealed+`, 'rotate', NULL, false,
		vault.admit(NULL, '127.0.0.1', NULL, 'rotate', s.name, 'here', 'r'), pg_temp.verifier('x'), l.username) FROM vault.secrets s, vault.next_login(s.id) l WHERE s.name = $1`, name)
	b.exec(`SELECT f FROM vault.secrets s, vault.next_login(s.id) l, vault.append_with_verifier_if_free(NULL, '127.0.0.1', NULL, 'rotate', s.name, 'here', 'r',
		s.id, s.current_version, `+planSealed+`, 'rotate', pg_temp.verifier('x'), l.username) f WHERE s.name = $1`, name)
}

// TestGraceOfAPairIsExact has graces that are shorter than the time between two passes of the supervisor.
func TestGraceOfAPairIsExact(t *testing.T) {
	b := newBoundBench(t)
	for i, by := range []string{"direct", "defined"} {
		b.bindFor(by, "", true)
		b.exec("SELECT vault.configure_secret('" + by + "', grace_period_secs => 2, keep_versions => 2)")
		if i == 1 {
			b.exec(rolesByStatement)
		}
		b.exec("SELECT vault.rotate_secret('" + by + "')")
		if d := get[float64](b.session, `SELECT abs(extract(epoch FROM r.rolvaliduntil - v.expires_at))::float8
			FROM pg_roles r, vault.list_versions($1) v WHERE r.rolname = $1 || '_a' AND v.version = 1`, by); d > 0.001 {
			t.Errorf("%s: VALID UNTIL and the end of the grace are %v seconds apart", by, d)
		}
	}
}

// rolesByStatement has the vault change bound roles by statements.
const rolesByStatement = `CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER by_hand AFTER UPDATE ON vault.role_bindings FOR EACH STATEMENT EXECUTE FUNCTION public.nothing()`

// roleCase is a rotation of a bound secret s, or of a pair.
type roleCase struct {
	name    string
	pair    bool
	options string
	state   string // statements that bring about the state of the secret and its roles; $s stands for its name
}

var roleCases = []roleCase{
	{name: "one"},
	{name: "one_repaired", options: ", auto_repair => true"},
	{name: "one_drifted", state: "UPDATE vault.role_bindings SET drift = 'changed', drift_since = now() WHERE role_name = '$s_a'"},
	{name: "one_without_verifier", state: "DELETE FROM vault.role_verifiers"},
	{name: "one_renamed", state: "ALTER ROLE $s_a RENAME TO $s_c"},
	{name: "one_promoted", state: "ALTER ROLE $s_a CREATEDB"},
	{name: "one_bypassing", state: "ALTER ROLE $s_a BYPASSRLS"},
	{name: "one_replicating", state: "ALTER ROLE $s_a REPLICATION"},
	{name: "one_superuser", state: "ALTER ROLE $s_a SUPERUSER"},
	{name: "one_dropped", state: "DROP ROLE $s_a"},
	{name: "one_without_binding", state: "DELETE FROM vault.role_bindings"},
	{name: "one_with_grace", state: "SELECT vault.configure_secret('$s', grace_period_secs => 60, keep_versions => 3)"},
	{name: "two", pair: true},
	{name: "two_with_grace", pair: true, state: "SELECT vault.configure_secret('$s', grace_period_secs => 3600)"},
	{name: "two_again", pair: true, state: "SELECT vault.configure_secret('$s', grace_period_secs => 3600); SELECT vault.rotate_secret('$s')"},
	{name: "two_awaited", pair: true, options: ", session_policy => 'wait', max_wait_secs => 100",
		state: "SELECT vault.configure_secret('$s', grace_period_secs => 1)"},
	{name: "two_awaited_long", pair: true, options: ", session_policy => 'wait', max_wait_secs => 100",
		state: "SELECT vault.configure_secret('$s', grace_period_secs => 3600)"},
	{name: "two_awaited_little", pair: true, options: ", session_policy => 'wait', max_wait_secs => 2"},
	{name: "two_retiring_renamed", pair: true, state: "ALTER ROLE $s_a RENAME TO $s_c"},
	{name: "two_retiring_promoted", pair: true, state: "ALTER ROLE $s_a CREATEROLE"},
	{name: "two_retiring_dropped", pair: true, state: "DROP ROLE $s_a"},
	{name: "two_next_dropped", pair: true, state: "DROP ROLE $s_b"},
	{name: "one_no_login", state: "ALTER ROLE $s_a NOLOGIN"},
	{name: "two_retiring_no_login", pair: true, state: "ALTER ROLE $s_a NOLOGIN"},
	{name: "two_next_no_login", pair: true, state: "ALTER ROLE $s_b NOLOGIN"},
	{name: "two_shared", pair: true, options: ", shared_role => 'shared'"},
	{name: "two_shared_left", pair: true, options: ", shared_role => 'shared'", state: "REVOKE shared FROM $s_b"},
	{name: "two_shared_retiring_left", pair: true, options: ", shared_role => 'shared'", state: "REVOKE shared FROM $s_a"},
}

// rotatedRole is what there is after a rotation. Of times it is said how far from the new version's they are, in whole seconds.
const rotatedRole = `SELECT concat_ws(E'\n',
	(SELECT string_agg((to_jsonb(b) - '{secret_id,holder,role,bound_at,checked_at,told,role_name,shared_role,grace_ends_at,wait_until}'::text[])::text
			|| coalesce(' grace ' || round(extract(epoch FROM b.grace_ends_at - v.created_at)), '')
			|| coalesce(' wait ' || round(extract(epoch FROM b.wait_until - v.created_at)), '')
			|| coalesce(' ends ' || round(extract(epoch FROM nullif(r.rolvaliduntil, 'infinity') - v.created_at)), '')
			|| ' has ' || coalesce((r.rolpassword = k.verifier)::text, 'none') || ' settled ' || (k.settled_at > v.created_at - interval '1 hour' OR k.settled_at IS NULL)::text, E'\n' ORDER BY b.place)
	 FROM vault.role_bindings b JOIN vault.secrets s ON s.id = b.secret_id
	 JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
	 LEFT JOIN pg_authid r ON r.oid = b.role LEFT JOIN vault.role_verifiers k ON k.secret_id = b.secret_id AND k.place = b.place WHERE s.name = $1),
	(SELECT string_agg(v.version || coalesce(' ' || round(extract(epoch FROM v.expires_at - v.next)), ''), ', ' ORDER BY v.version)
	 FROM (SELECT *, lead(created_at) OVER (PARTITION BY secret_id ORDER BY version) AS next FROM vault.secret_versions) v
	 JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = $1),
	(SELECT replace((a.details - 'valid_until')::text, $1, 's') || (a.details ? 'valid_until')::text || a.version::text FROM vault.audit($1) a
	 WHERE a.action = 'rotate' ORDER BY a.id DESC LIMIT 1),
	(SELECT string_agg(c.action || c.version, ',' ORDER BY c.id) FROM vault.changes c WHERE c.name = $1))`

// TestGivenPasswordsAreAsDefined compares rotations that write the rows of bound roles directly with those by statements.
func TestGivenPasswordsAreAsDefined(t *testing.T) {
	b := newBoundBench(t, "track_functions = all", "hyperion_vault.rotation_enabled = off", "hyperion_vault.scan_interval_secs = 3")
	b.exec("CREATE ROLE shared")
	calls := func() int {
		b.exec("SELECT pg_stat_force_next_flush()")
		return get[int](b.session, "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_user_functions WHERE funcname = 'set_role_password'")
	}
	run := func(way string) (found []string, by []int) {
		for _, c := range roleCases {
			s := way + "_" + c.name
			b.bindFor(s, c.options, c.pair)
			for part := range strings.SplitSeq(strings.ReplaceAll(c.state, "$s", s), ";") {
				b.exec(part)
			}
			before := calls()
			answer := ""
			if err := b.try("SELECT vault.rotate_secret('" + s + "')"); err != nil {
				answer = err.Error() + "\n"
			}
			by = append(by, calls()-before)
			found = append(found, strings.ReplaceAll(answer+get[string](b.session, rotatedRole, s), s, "s"))
		}
		return found, by
	}
	direct, byDirect := run("d")
	b.exec(rolesByStatement)
	defined, byDefined := run("s")
	for i, c := range roleCases {
		if direct[i] != defined[i] {
			t.Errorf("%s: directly\n%s\nby statement\n%s", c.name, direct[i], defined[i])
		}
		refused := strings.Contains(direct[i], "SQLSTATE") // before a password is set
		if byDirect[i] != 0 {
			t.Errorf("%s: a statement has done it", c.name)
		}
		if byDefined[i] != 1 && !refused {
			t.Errorf("%s: no statement has done it", c.name)
		}
	}
}

// TestAppendIfFreeLeavesBoundSecrets: a change of a bound secret that comes without the verifier is left to a transaction of its
// own, which has the words of the refusal. With one it waits for no role, as TestGroupsWaitForNoRole shows.
func TestAppendIfFreeLeavesBoundSecrets(t *testing.T) {
	b := newBoundBench(t)
	b.exec("CREATE FUNCTION pg_temp.verifier(bytea) RETURNS text AS 'hyperion_vault', 'hv_test_verifier' LANGUAGE c VOLATILE STRICT")
	b.bindFor("appended", "", false)
	b.exec("SELECT vault.grant_access('vault_anonymous', 'appended', '{update}')")
	const free, offer = "append_if_free(" + planCaller + ", %s)", "vault.offer_verifier(s.id, s.current_version + 1, pg_temp.verifier('x'), NULL)"
	for _, c := range []struct {
		function, offer string
		made            bool
	}{
		{free, "''", false},
		{free, offer, true},
		{"append_version(%s, NULL, false, vault.admit(" + planCaller + "))", offer, true},
	} {
		made := get[bool](b.session, `WITH offered AS MATERIALIZED (SELECT s.*, `+c.offer+`::text AS nothing FROM vault.secrets s WHERE s.name = 'appended')
			SELECT NOT (f IS NULL) FROM offered s, LATERAL vault.`+fmt.Sprintf(c.function, "s.id, s.current_version, "+planSealed+", 'update' || nothing")+" f")
		if made != c.made {
			t.Errorf("%s after %s: made %v", c.function, c.offer, made)
		}
	}
}
