package exttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// grant lets a role do actions on a pattern.
func (b *bench) grant(role, pattern, actions string) {
	b.t.Helper()
	b.exec("SELECT vault.grant_access($1::text::regrole, $2, string_to_array($3, ','))", role, pattern, actions)
}

func TestParallelQuery(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.script(`
		CREATE TABLE big AS SELECT g AS id, CASE WHEN g % 100 = 0 THEN 'value that was there before' ELSE md5(g::text) END AS v
			FROM generate_series(1, 20000) g;
		ANALYZE big;
		ALTER TABLE big SET (parallel_workers = 4);
		SET max_parallel_workers_per_gather = 4;
		SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0;
		CREATE FUNCTION opened(n text) RETURNS text LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
			AS $$ BEGIN RETURN vault.read_secret(n); END $$;`)
	for _, query := range []string{
		"SELECT count(*)::int FROM big WHERE v = (SELECT vault.read_secret('kept'))",
		"SELECT count(*)::int FROM big WHERE v = (SELECT opened('kept'))",
		"SELECT count(*)::int FROM (SELECT v, vault.read_secret('kept') AS s FROM big WHERE id % 100 = 0) x WHERE v = s",
		"SELECT count(*)::int FROM (SELECT v, vault.verify('kept', v) AS same FROM big WHERE id % 50 = 0) x WHERE same",
		"SELECT count(*)::int FROM big WHERE id % 100 = 0 AND v = vault.read_secret('kept')",
	} {
		plan := strings.Join(column(b.session, "EXPLAIN "+query), "\n")
		if strings.Contains(query, "(SELECT vault.read_secret") && !strings.Contains(plan, "Gather") {
			t.Errorf("%s is not parallel:\n%s", query, plan)
		}
		if got := get[int](b.session, query); got != 200 {
			t.Errorf("%s: %d, not 200", query, got)
		}
	}
	launched := strings.Join(column(b.session, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM big WHERE v = (SELECT vault.read_secret('kept'))"), "\n")
	if !strings.Contains(launched, "Workers Launched:") || strings.Contains(launched, "Workers Launched: 0") {
		t.Errorf("no worker ran:\n%s", launched)
	}
	// Every plan under a Gather, whether it pays or not.
	b.exec("SET " + forcedParallel(b.session) + " = on")
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
		t.Errorf("read %q", got)
	}
	if got := get[int](b.session, "SELECT count(*)::int FROM vault.list_secrets()"); got != 1 {
		t.Errorf("%d secrets listed", got)
	}
	b.exec("SELECT vault.create_secret('new', 'x')")
	// An error in a plan with workers is the error, and the session goes on.
	wantError(t, b.try("SELECT count(*) FROM big WHERE v = (SELECT vault.read_secret('absent'))"), "42704", "does not exist")
	b.exec("DROP TABLE big")
}

// forcedParallel is the setting that has every plan run under a Gather.
func forcedParallel(s *session) string {
	if serverVersion(s) >= 160000 {
		return "debug_parallel_query"
	}
	return "force_parallel_mode"
}

// column is the only column of a result.
func column(s *session, sql string) (out []string) {
	s.t.Helper()
	rows, err := s.Query(bounded(s.t), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestPreparedStatements(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role := b.c.newRole(t)
	b.grant(role, "app/*", "read,create,update,verify")
	s := b.c.connect(t, b.db, role)
	s.script("PREPARE r(text) AS SELECT vault.read_secret($1)")
	s.script("PREPARE c(text, text) AS SELECT vault.create_secret($1, $2)")
	s.script("PREPARE u(text, text, bigint) AS SELECT vault.update_secret($1, $2, $3)")
	s.script("PREPARE v(text, text) AS SELECT vault.verify($1, $2)")
	for i := range 12 { // the sixth takes the generic plan
		name, value := fmt.Sprintf("app/s%d", i), fmt.Sprintf("value %d", i)
		s.script(fmt.Sprintf("EXECUTE c('%s', '%s')", name, value))
		s.script(fmt.Sprintf("EXECUTE u('%s', '%s.2', 1)", name, value))
		if got := executed(s, fmt.Sprintf("EXECUTE r('%s')", name)); got != value+".2" {
			t.Errorf("%s reads %q", name, got)
		}
		if got := executed(s, fmt.Sprintf("EXECUTE v('%s', '%s.2')", name, value)); got != "t" {
			t.Errorf("%s does not verify: %s", name, got)
		}
		if got := executed(s, fmt.Sprintf("EXECUTE v('%s', '%s')", name, value)); got != "f" {
			t.Errorf("a superseded value of %s verifies: %s", name, got)
		}
	}
	if n := get[int](s, "SELECT count(*)::int FROM pg_prepared_statements WHERE generic_plans > 0 AND name IN ('r', 'c', 'u', 'v')"); n != 4 {
		t.Errorf("%d of 4 statements have gone generic", n)
	}
	// What a plan was made for may be gone at the next execution.
	b.exec("SELECT vault.revoke_access($1::text::regrole, 'app/*', '{read}')", role)
	wantError(t, s.try("EXECUTE r('app/s1')"), "42501", "permission denied")
	b.exec("SELECT vault.grant_access($1::text::regrole, 'app/*', '{read}')", role)
	if got := executed(s, "EXECUTE r('app/s1')"); got != "value 1.2" {
		t.Errorf("read %q", got)
	}
	s.exec("DISCARD ALL")
	s.exec("SELECT vault.read_secret('app/s1')")
}

// The plans that the library keeps outlive the objects they were made for.
func TestPlansAfterDropAndCreate(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
		t.Fatalf("read %q", got)
	}
	other := b.c.connect(t, b.db, vaulttest.Superuser)
	other.exec("SET hyperion_vault.allow_drop_with_secrets = on")
	other.exec("DROP EXTENSION hyperion_vault")
	if err := b.try("SELECT vault.read_secret('kept')"); err == nil {
		t.Fatal("read without the extension")
	}
	other.exec("CREATE EXTENSION hyperion_vault")
	b.exec("SELECT vault.create_secret('kept', 'of the second life')")
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != "of the second life" {
		t.Fatalf("read %q", got)
	}
}

func executed(s *session, sql string) string {
	s.t.Helper()
	results, err := s.PgConn().Exec(bounded(s.t), sql).ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return string(results[0].Rows[0][0])
}

// memory is what a backend's contexts hold, in bytes.
func (s *session) memory() int {
	s.t.Helper()
	return get[int](s, "SELECT sum(total_bytes)::int FROM pg_backend_memory_contexts")
}

func TestSubtransactions(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role := b.c.newRole(t)
	b.grant(role, "app/*", "read,create,update,verify,delete")
	b.exec("GRANT CREATE ON DATABASE " + b.db + " TO " + role)
	s := b.c.connect(t, b.db, role)
	s.script(`
		CREATE SCHEMA mine;
		CREATE FUNCTION mine.rounds(n int) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			me name := current_user;
			seen int[] := '{0,0,0,0,0,0}';
		BEGIN
			FOR i IN 1..n LOOP
				BEGIN PERFORM vault.read_secret('app/absent'); RAISE 'read the absent';
				EXCEPTION WHEN undefined_object THEN seen[1] := seen[1] + 1; END;
				IF current_user <> me THEN RAISE 'became %', current_user; END IF;
				BEGIN PERFORM vault.read_secret('kept'); RAISE 'read the forbidden';
				EXCEPTION WHEN insufficient_privilege THEN seen[2] := seen[2] + 1; END;
				IF current_user <> me THEN RAISE 'became %', current_user; END IF;
				BEGIN PERFORM vault.create_secret('app/there', 'y'::text); RAISE 'created it twice';
				EXCEPTION WHEN unique_violation THEN seen[3] := seen[3] + 1; END;
				IF current_user <> me THEN RAISE 'became %', current_user; END IF;
				BEGIN PERFORM vault.update_secret('app/there', 'y'::text, 77); RAISE 'updated the stale';
				EXCEPTION WHEN sqlstate 'VT001' THEN seen[4] := seen[4] + 1; END;
				BEGIN PERFORM vault.read_secret('../x'); RAISE 'read a bad name';
				EXCEPTION WHEN invalid_parameter_value THEN seen[5] := seen[5] + 1; END;
				BEGIN PERFORM 1 FROM vault.secrets; RAISE 'saw the table';
				EXCEPTION WHEN insufficient_privilege THEN seen[6] := seen[6] + 1; END;
				IF vault.read_secret('app/there') <> 'x' THEN RAISE 'wrong value'; END IF;
			END LOOP;
			RETURN array_to_string(seen, ',');
		END $$;
		SELECT vault.create_secret('app/there', 'x'::text);`)
	b.exec("GRANT pg_read_all_stats TO " + role)
	run := func(n int) {
		t.Helper()
		want := strings.TrimSuffix(strings.Repeat(fmt.Sprint(n)+",", 6), ",")
		if got := get[string](s, "SELECT mine.rounds($1)", n); got != want {
			t.Errorf("errors caught: %s, not %s", got, want)
		}
	}
	run(50)
	contexts, rss := s.memory(), statusKB(t, s.pid(), "RssAnon")
	run(1000)
	if grown := s.memory() - contexts; grown > 256<<10 {
		t.Errorf("contexts grew by %d bytes over 1000 rounds", grown)
	}
	if grown := statusKB(t, s.pid(), "RssAnon") - rss; grown > 8<<10 {
		t.Errorf("the backend grew by %d kB over 1000 rounds", grown)
	}
	denied := 0
	for _, r := range b.agent.recorded() {
		if r.Op == frame.OpRecord && r.Outcome == frame.OutcomeDenied && r.Name == "kept" && r.Origin.Role == role {
			denied++
		}
	}
	if denied != 1050 {
		t.Errorf("%d refusals were recorded, not 1050", denied)
	}

	// Savepoints undo what was done since, and only that.
	s.exec("BEGIN")
	s.exec("SELECT vault.create_secret('app/one', 'x')")
	s.exec("SAVEPOINT a")
	s.exec("SELECT vault.create_secret('app/two', 'x')")
	wantError(t, s.try("SELECT vault.create_secret('app/one', 'y')"), "23505", "already exists")
	s.exec("ROLLBACK TO a")
	s.exec("SELECT vault.update_secret('app/one', 'z', 1)")
	s.exec("COMMIT")
	if got := get[string](s, "SELECT vault.read_secret('app/one')"); got != "z" {
		t.Errorf("read %q", got)
	}
	wantError(t, s.try("SELECT vault.read_secret('app/two')"), "42704", "does not exist")
}

// Many calls in one statement: what one leaves in memory must go before the next.
func TestMemoryOfOneStatement(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.create_secret('large', repeat('v', 65536))")
	for what, sql := range map[string]string{
		"reads":    "SELECT sum(length(vault.read_secret('large'))) FROM generate_series(1, 3000)",
		"verifies": "SELECT count(*) FROM generate_series(1, 3000) WHERE vault.verify('large', repeat('w', 65536))",
		"updates":  "SELECT count(vault.update_secret('large', repeat('v', 65536), NULL)) FROM generate_series(1, 500)",
	} {
		t.Run(what, func(t *testing.T) {
			s := b.c.connect(t, b.db, vaulttest.Superuser)
			s.exec("SELECT vault.read_secret('large')")
			before := statusKB(t, s.pid(), "VmHWM")
			s.exec(sql)
			if grown := statusKB(t, s.pid(), "VmHWM") - before; grown > 48<<10 {
				t.Errorf("the backend's peak grew by %d kB", grown)
			}
		})
	}
}

func TestEffectiveRole(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	reader, group, member, outsider := b.c.newRole(t), b.c.newRole(t), b.c.newRole(t), b.c.newRole(t)
	b.grant(reader, "kept", "read")
	b.grant(group, "shared/*", "read,create")
	b.exec("GRANT " + group + " TO " + member)
	b.exec("CREATE ROLE " + outsider + "_noinherit NOINHERIT LOGIN")
	b.exec("GRANT " + group + " TO " + outsider + "_noinherit")
	b.exec("SELECT vault.create_secret('shared/a', 'of the group')")

	read := func(s *session, name, want string) {
		t.Helper()
		if got := get[string](s, "SELECT vault.read_secret($1)", name); got != want {
			t.Errorf("read %q, not %q", got, want)
		}
	}
	deny := func(s *session, sql string) {
		t.Helper()
		wantError(t, s.try(sql), "42501", "permission denied")
	}
	t.Run("Login", func(t *testing.T) {
		read(b.c.connect(t, b.db, reader), "kept", keptValue)
		deny(b.c.connect(t, b.db, outsider), "SELECT vault.read_secret('kept')")
	})
	t.Run("SetRole", func(t *testing.T) {
		s := b.c.connect(t, b.db, vaulttest.Superuser)
		s.exec("SET ROLE " + reader)
		read(s, "kept", keptValue)
		deny(s, "SELECT vault.read_secret('shared/a')")
		s.exec("SET ROLE " + outsider)
		deny(s, "SELECT vault.read_secret('kept')")
		s.exec("RESET ROLE")
		read(s, "shared/a", "of the group")
		last := b.agent.recorded()
		if r := last[len(last)-2]; r.Origin.Role != reader && r.Origin.Role != outsider {
			t.Errorf("recorded role %q", r.Origin.Role)
		}
		if r := last[0]; r.Origin.SessionRole == "" {
			t.Error("the session's role is not recorded")
		}
	})
	t.Run("Inherited", func(t *testing.T) {
		read(b.c.connect(t, b.db, member), "shared/a", "of the group")
		s := b.c.connect(t, b.db, outsider+"_noinherit")
		deny(s, "SELECT vault.read_secret('shared/a')")
		s.exec("SET ROLE " + group)
		read(s, "shared/a", "of the group")
	})
	t.Run("SecurityDefiner", func(t *testing.T) {
		b.script(`
			CREATE SCHEMA app;
			GRANT USAGE ON SCHEMA app TO PUBLIC;
			CREATE FUNCTION app.kept() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
				AS $$ BEGIN RETURN vault.read_secret('kept'); END $$;
			CREATE FUNCTION app.anything(n text) RETURNS text LANGUAGE plpgsql SECURITY INVOKER
				AS $$ BEGIN RETURN vault.read_secret(n); END $$;
			ALTER FUNCTION app.kept() OWNER TO ` + reader)
		s := b.c.connect(t, b.db, outsider)
		deny(s, "SELECT vault.read_secret('kept')")
		b.agent.recorded()
		if got := get[string](s, "SELECT app.kept()"); got != keptValue {
			t.Errorf("the wrapper reads %q", got)
		}
		if r := b.agent.recorded(); len(r) != 1 || r[0].Origin.Role != reader || r[0].Origin.SessionRole != outsider {
			t.Errorf("recorded %+v", r)
		}
		deny(s, "SELECT app.anything('kept')")
		deny(s, "SELECT vault.read_secret('kept')")
		if who := get[string](s, "SELECT current_user::text"); who != outsider {
			t.Errorf("the session has become %s", who)
		}
	})
	t.Run("NobodyInTheSchema", func(t *testing.T) {
		s := b.c.connect(t, b.db, outsider)
		for _, sql := range []string{
			"SELECT * FROM vault.list_secrets()", "SELECT vault.describe_secret('kept')", "SELECT vault.read_sealed('{kept}', NULL)",
			"TABLE vault.secrets", "TABLE vault.secret_versions", "TABLE vault.audit_log", "TABLE vault.access_grants", "TABLE vault.tokens",
			"SELECT vault.grant_access('" + outsider + "', '*', '{read}')", "SELECT vault.sealed_for(10, 'read', 'kept', NULL)",
			"SET ROLE vault_owner", "SELECT vault.require(10, 'read', 'kept')",
		} {
			deny(s, sql)
		}
	})
}

// What a session may set about itself must not change what the functions do.
func TestSessionSettingsChangeNothing(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role := b.c.newRole(t)
	b.grant(role, "*", "read,create,update,delete,rotate,verify")
	b.exec("ALTER DATABASE " + b.db + " SET lc_messages = 'C'")
	for i, setting := range []string{
		"row_security = off", "transform_null_equals = on", "quote_all_identifiers = on", "bytea_output = escape",
		"standard_conforming_strings = off", "array_nulls = off", "DateStyle = 'SQL, DMY'", "IntervalStyle = sql_standard",
		"TimeZone = 'Asia/Kathmandu'", "client_min_messages = error", "default_transaction_isolation = serializable",
		"check_function_bodies = off", "plan_cache_mode = force_generic_plan", "plan_cache_mode = force_custom_plan",
		"jit_above_cost = 0", "extra_float_digits = -15", "xmloption = document", "default_toast_compression = pglz",
		"synchronous_commit = off", "work_mem = '64kB'", "temp_file_limit = -1", "client_encoding = LATIN1",
		"search_path = ''", "search_path = pg_temp", "search_path = nowhere",
		"default_table_access_method = heap", "backslash_quote = off", "cursor_tuple_fraction = 0.0001",
	} {
		t.Run(setting, func(t *testing.T) {
			s := b.c.connect(t, b.db, role)
			name := fmt.Sprintf("new%d", i) // one that was used does not begin with version 1 again
			if setting == "standard_conforming_strings = off" && serverVersion(s) >= 190000 {
				wantError(t, s.try("SET "+setting), "0A000", "not supported")
				return
			}
			if err := s.try("SET " + setting); err != nil && setting != "temp_file_limit = -1" {
				t.Fatal(err)
			}
			s.exec("SELECT vault.create_secret($1, 'first', description => 'd', tags => '{\"a\": \"1\"}', grace_period_secs => 3600)", name)
			s.exec("SELECT vault.update_secret($1, 'second', 1)", name)
			if got := get[string](s, "SELECT vault.read_secret($1) || vault.read_secret($1, 1)", name); got != "secondfirst" {
				t.Errorf("read %q", got)
			}
			if got := get[string](s, "SELECT convert_from(vault.read_secret_bytes($1), 'UTF8')", name); got != "second" {
				t.Errorf("read %q", got)
			}
			if !get[bool](s, "SELECT vault.verify($1, 'first'::text) AND vault.verify($1, 'second'::text) AND NOT vault.verify($1, 'third'::text)", name) {
				t.Error("verify says another thing")
			}
			if n := get[int](s, "SELECT count(*)::int FROM vault.list_secrets()"); n != 2 {
				t.Errorf("%d secrets listed", n)
			}
			wantError(t, s.try("SELECT vault.read_secret('absent')"), "42704", "does not exist")
			wantError(t, s.try("SELECT vault.update_secret($1, 'third', 1)", name), "VT001", "is at version 2")
			s.exec("SELECT vault.delete_secret($1, 2)", name)
		})
	}
	t.Run("Administrator", func(t *testing.T) {
		other := b.c.newRole(t)
		for _, setting := range []string{"row_security = off", "quote_all_identifiers = on", "transform_null_equals = on", "search_path = pg_temp"} {
			s := b.c.connect(t, b.db, vaulttest.Superuser)
			s.exec("SET " + setting)
			s.exec("SELECT vault.grant_access($1::text::regrole, 'kept', '{read}')", other)
			if n := get[int](s, "SELECT count(*)::int FROM vault.access_list() WHERE grantee = $1::text::regrole", other); n != 1 {
				t.Errorf("%s: %d grants", setting, n)
			}
			s.exec("SELECT vault.revoke_access($1::text::regrole, 'kept', '{read}')", other)
			s.exec("SELECT count(*) FROM vault.audit()")
			// Any DROP asks whether there are secrets.
			s.exec("CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
			s.exec("DROP FUNCTION public.one()")
			wantError(t, s.try("DROP EXTENSION hyperion_vault"), "2BP01", "it holds secrets")
		}
		service := b.c.connect(t, b.db, vaulttest.ServiceRole)
		service.exec("SET row_security = off")
		service.exec("SELECT vault.describe_secret('kept')")
		service.exec("SELECT vault.active_tokens()")
	})
}

// A role whose own schemas come first in its search_path, with everything in them that the functions use.
func TestHostileSearchPath(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role, admin := b.c.newRole(t), vaulttest.Superuser
	b.grant(role, "app/*", "read,create,update,delete,rotate,verify")
	b.exec("GRANT CREATE, TEMP ON DATABASE " + b.db + " TO " + role)
	hostile := `
		CREATE FUNCTION @.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'XT000'; END $$;
		CREATE FUNCTION @.starts_with(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.pg_has_role(oid, regrole, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN NULL; END $$;
		CREATE FUNCTION @.right(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN '/*'; END $$;
		CREATE FUNCTION @."left"(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN ''; END $$;
		CREATE FUNCTION @.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 1; END $$;
		CREATE FUNCTION @.octet_length(bytea) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 1; END $$;
		CREATE FUNCTION @.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 'object'; END $$;
		CREATE FUNCTION @.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
		CREATE FUNCTION @.teq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.beq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.ueq(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.oeq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE OPERATOR @.= (LEFTARG = text, RIGHTARG = text, FUNCTION = @.teq);
		CREATE OPERATOR @.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = @.teq);
		CREATE OPERATOR @.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = @.beq);
		CREATE OPERATOR @.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = @.beq);
		CREATE OPERATOR @.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = @.ueq);
		CREATE OPERATOR @.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = @.oeq);
		CREATE TABLE @.pg_roles AS SELECT r.oid, r.rolname, true AS rolsuper FROM pg_catalog.pg_roles r;
		CREATE TABLE @.pg_proc AS SELECT 1 AS oid;
		CREATE TABLE @.secrets (id uuid, name text);
		CREATE TABLE @.access_grants (grantee oid, pattern text, action text);
		CREATE DOMAIN @.text AS pg_catalog.text CHECK (false);
		CREATE DOMAIN @.bigint AS pg_catalog.int8 CHECK (false);
		CREATE DOMAIN @.timestamptz AS pg_catalog.timestamptz CHECK (false);
		CREATE DOMAIN @.boolean AS pg_catalog.bool CHECK (false);
		CREATE DOMAIN @.regrole AS pg_catalog.regrole CHECK (false);
		CREATE DOMAIN @.sealed_value AS pg_catalog.text;
		CREATE DOMAIN @.audit_origin AS pg_catalog.text;`
	superusersOnly := "CREATE FUNCTION @.format(text, VARIADIC \"any\") RETURNS text LANGUAGE internal AS 'text_format';"
	for _, schema := range []string{"mine", "pg_temp"} {
		t.Run(schema, func(t *testing.T) {
			s := b.c.connect(t, b.db, role)
			if schema == "mine" {
				s.exec("CREATE SCHEMA mine")
			}
			s.script(strings.ReplaceAll(strings.ReplaceAll(hostile, superusersOnly, ""), "@", schema))
			// Where the owner could not look, nothing could trap it.
			s.script(strings.ReplaceAll("GRANT SELECT ON @.pg_roles, @.pg_proc, @.secrets, @.access_grants TO PUBLIC", "@", schema))
			if schema == "mine" {
				s.exec("GRANT USAGE ON SCHEMA mine TO PUBLIC")
			}
			s.script("SET search_path = " + schema + ", vault, pg_catalog")
			b.session.script("GRANT USAGE ON SCHEMA vault TO " + role)

			// The trap works: what is not qualified falls into it.
			if schema == "mine" {
				wantError(t, s.try("SELECT starts_with('a'::pg_catalog.text, 'a'::pg_catalog.text)"), "XT000", "trapped")
			}
			hard(t, s, schema)
		})
	}
	t.Run("OfAnAdministrator", func(t *testing.T) {
		// A superuser who has a role's schema in his path: the role's functions must not run as the owner or as him.
		s := b.c.connect(t, b.db, admin)
		s.script("SET search_path = mine, vault, pg_catalog")
		other := b.c.newRole(t)
		exec := func(sql string) {
			t.Helper()
			if _, err := s.PgConn().Exec(bounded(t), sql).ReadAll(); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		exec("SELECT vault.grant_access('" + other + "', 'app/x', '{read,update}')")
		exec("SELECT vault.revoke_access('" + other + "', 'app/x', '{update}')")
		exec("SELECT * FROM vault.access_list()")
		exec("SELECT * FROM vault.audit()")
		exec("SELECT vault.grant_service_role('" + other + "')")
		exec("SELECT vault.revoke_service_role('" + other + "')")
		exec("DROP TABLE mine.pg_proc")
		exec("CREATE FUNCTION mine.gone() RETURNS int LANGUAGE sql AS 'SELECT 1'")
		exec("DROP FUNCTION mine.gone()")
	})
	t.Run("AtCreateExtension", func(t *testing.T) {
		s := b.c.connect(t, b.db, admin)
		s.script("SET hyperion_vault.allow_drop_with_secrets = on")
		s.script("DROP EXTENSION hyperion_vault")
		s.script("SET search_path = mine, pg_catalog")
		s.script("CREATE EXTENSION hyperion_vault")
		fresh := get[string](b.c.connect(t, b.c.NewDB(t).Name, admin), ownersSQL)
		if got := get[string](b.c.connect(t, b.db, admin), ownersSQL); got != fresh {
			t.Errorf("made under a hostile path: %s, elsewhere %s", got, fresh)
		}
	})
}

// ownersSQL sums up what there is in the schema, and whose it is.
const ownersSQL = `SELECT concat_ws(' ',
	(SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.proowner = 'vault_owner'::regrole),
	(SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.proowner <> 'vault_owner'::regrole),
	(SELECT string_agg(p.oid::regprocedure::text, ',' ORDER BY p.oid::regprocedure::text) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace),
	(SELECT string_agg(c.relname || ' ' || a.attname || ' ' || a.atttypid, ',' ORDER BY c.relname, a.attnum) FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND a.atttypid < 16384))`

// hard does everything a granted role may, and some things it may not, in a session set up to hinder it. The secrets are
// those of app/PREFIX/, since a name that was used does not begin with version 1 again.
func hard(t *testing.T, s *session, prefix string) {
	t.Helper()
	run := func(sql string) (string, error) {
		sql = strings.ReplaceAll(sql, "'app/", "'app/"+prefix+"/")
		results, err := s.PgConn().Exec(bounded(t), sql).ReadAll()
		if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
			return "", err
		}
		return string(results[0].Rows[0][0]), nil
	}
	ok := func(sql, want string) {
		t.Helper()
		if got, err := run(sql); err != nil || got != want {
			t.Errorf("%s: %q, %v", sql, got, err)
		}
	}
	no := func(sql, state string) {
		t.Helper()
		_, err := run(sql)
		wantError(t, err, state, "")
	}
	t8 := "::pg_catalog.text"
	ok("SELECT vault.create_secret('app/a'"+t8+", 'first'"+t8+", grace_period_secs => 3600::pg_catalog.int8)", "1")
	ok("SELECT vault.create_secret('app/auto'"+t8+", NULL"+t8+", 'automatic'"+t8+", rotation_interval_secs => 60::pg_catalog.int8)", "1")
	ok("SELECT vault.update_secret('app/a'"+t8+", 'second'"+t8+", 1::pg_catalog.int8)", "2")
	ok("SELECT vault.read_secret('app/a'"+t8+")", "second")
	ok("SELECT vault.read_secret('app/a'"+t8+", 1::pg_catalog.int8)", "first")
	ok("SELECT vault.verify('app/a'"+t8+", 'first'"+t8+")", "t")
	ok("SELECT vault.verify('app/a'"+t8+", 'third'"+t8+")", "f")
	ok("SELECT vault.rotate_secret('app/auto'"+t8+")", "2")
	ok("SELECT pg_catalog.count(*) FROM vault.list_secrets()", "2")
	no("SELECT vault.read_secret('kept'"+t8+")", "42501")
	no("SELECT vault.create_secret('kept2'"+t8+", 'x'"+t8+")", "42501")
	no("SELECT vault.create_secret('app/a'"+t8+", 'x'"+t8+")", "23505")
	no("SELECT vault.update_secret('app/a'"+t8+", 'x'"+t8+", 1::pg_catalog.int8)", "VT001")
	no("SELECT vault.read_secret('app/absent'"+t8+")", "42704")
	no("TABLE vault.secrets", "42501")
	ok("SELECT vault.delete_secret('app/a'"+t8+", 2::pg_catalog.int8)", "")
	ok("SELECT vault.delete_secret('app/auto'"+t8+", 2::pg_catalog.int8)", "")
}
