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
func column(s *session, sql string, args ...any) (out []string) {
	s.t.Helper()
	rows, err := s.Query(bounded(s.t), sql, args...)
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
