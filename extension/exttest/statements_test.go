package exttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// collectedStatements are statements that end well and whose text pg_stat_statements would keep. %s is the value, which
// stands in the text.
var collectedStatements = []struct{ name, before, sql string }{
	{name: "SELECT", sql: "SELECT vault.verify('kept', '%s')"},
	{name: "EXPLAIN", sql: "EXPLAIN SELECT vault.verify('kept', '%s')"},
	{name: "EXPLAIN ANALYZE", sql: "EXPLAIN ANALYZE SELECT vault.verify('kept', '%s')"},
	{name: "EXPLAIN with options", sql: "EXPLAIN (ANALYZE, VERBOSE, FORMAT json) SELECT vault.create_secret('new/explained', '%s')"},
	{name: "CREATE TABLE AS", sql: "CREATE TABLE made_1 AS SELECT vault.verify('kept', '%s')"},
	{name: "SELECT INTO", sql: "SELECT vault.verify('kept', '%s') INTO made_2"},
	{name: "CREATE MATERIALIZED VIEW", sql: "CREATE MATERIALIZED VIEW made_3 AS SELECT vault.verify_version('kept', '%s')"},
	{name: "CREATE VIEW", sql: "CREATE VIEW made_4 AS SELECT vault.verify('kept', '%s')"},
	{name: "DECLARE", sql: "BEGIN; DECLARE c CURSOR FOR SELECT vault.verify('kept', '%s'); FETCH c; COMMIT"},
	{name: "DECLARE WITH HOLD", sql: "DECLARE held CURSOR WITH HOLD FOR SELECT vault.verify('kept', '%s')"},
	{name: "DO", sql: "DO $$ BEGIN PERFORM vault.verify('kept', '%s'); END $$"},
	{name: "DO of a function that calls it", sql: "DO $$ BEGIN PERFORM app_verify('%s'); END $$"},
	{name: "COPY", sql: "COPY (SELECT vault.verify('kept', '%s')) TO '/dev/null'"},
	{name: "CALL", sql: "CALL keep_text(vault.verify('kept', '%s')::text)"},
	{name: "CALL of a procedure that calls it", sql: "CALL app_set('%s')"},
	{name: "CALL of a procedure that calls one", sql: `CALL "App set" ('%s')`},
	{name: "EXPLAIN of a function that calls it", sql: "EXPLAIN ANALYZE SELECT app_verify('%s')"},
	{name: "PREPARE", sql: "PREPARE p_1 AS SELECT vault.verify('kept', '%s'); EXECUTE p_1"},
	{name: "EXECUTE", sql: "EXECUTE checked('%s')"},
	{name: "EXPLAIN EXECUTE", sql: "EXPLAIN ANALYZE EXECUTE checked('%s')"},
	{name: "CREATE TABLE AS EXECUTE", sql: "CREATE TABLE made_5 AS EXECUTE checked('%s')"},
	{name: "entry made again", before: "PREPARE again AS SELECT vault.verify('kept', '%s'); SELECT pg_stat_statements_reset()", sql: "EXECUTE again"},
	{name: "several", sql: "SELECT 1; EXPLAIN SELECT vault.verify('kept', '%s'); SET application_name = '%s'"},
	{name: "dynamic in a function", sql: "SELECT app_dynamic('%s')"},
	{name: "command made of what was read", before: "SELECT vault.create_secret('read/collected', '%s')",
		sql: "DO $$ BEGIN EXECUTE format('COMMENT ON TABLE kept_text IS %L', vault.read_secret('read/collected')); END $$"},
	{name: "CREATE FUNCTION", sql: "CREATE FUNCTION made_6() RETURNS bool LANGUAGE sql AS $$ SELECT vault.verify('kept', '%s') $$; SELECT made_6()"},
	{name: "CREATE RULE", sql: "CREATE RULE made_7 AS ON INSERT TO kept_text DO ALSO SELECT vault.verify('kept', '%s')"},
}

// TestStatementsAreNotCollected looks for values in the view and in the file of pg_stat_statements.
func TestStatementsAreNotCollected(t *testing.T) {
	t.Parallel()
	for _, libraries := range []string{"pg_stat_statements,hyperion_vault", "hyperion_vault,pg_stat_statements"} {
		t.Run(libraries, func(t *testing.T) {
			b := newBench(t, startCluster(t, false, "shared_preload_libraries = '"+libraries+"'",
				"pg_stat_statements.track = all", "pg_stat_statements.track_planning = on"))
			b.script(`CREATE EXTENSION pg_stat_statements; CREATE TABLE kept_text (v text);
				CREATE FUNCTION app_verify(v text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN vault.verify('kept', v); END $$;
				CREATE FUNCTION app_dynamic(v text) RETURNS void LANGUAGE plpgsql AS $$ DECLARE x text; BEGIN
					EXECUTE format('EXPLAIN ANALYZE SELECT vault.verify(''kept'', %L)', v) INTO x; END $$;
				CREATE PROCEDURE keep_text(v text) LANGUAGE sql AS $$ INSERT INTO kept_text VALUES (v) $$;
				CREATE PROCEDURE app_set(v text) LANGUAGE plpgsql AS $$ BEGIN PERFORM vault.update_secret('kept', v, NULL); END $$;
				CREATE PROCEDURE "App set"(v text) LANGUAGE plpgsql AS $$ BEGIN CALL app_set(v); END $$;
				PREPARE checked(text) AS SELECT vault.verify('kept', $1)`)
			for _, s := range collectedStatements {
				t.Run(s.name, func(t *testing.T) {
					marker := "mark" + randomText(24)
					b := b.in(t)
					b.script(strings.ReplaceAll(s.before, "%s", marker))
					b.script(strings.ReplaceAll(s.sql, "%s", marker))
					wantNotCollected(t, b, marker)
				})
			}
			// What is of no concern is collected as ever.
			b.script("CREATE TABLE of_no_concern AS SELECT 'of no concern'")
			if n := get[int](b.session, "SELECT count(*)::int FROM pg_stat_statements WHERE query LIKE 'CREATE TABLE of_no_concern%'"); n < 1 { // from version 18 on also of what is in it
				t.Errorf("%d entries of a statement of no concern", n)
			}
		})
	}
}

func wantNotCollected(t *testing.T, b *bench, marker string) {
	t.Helper()
	// The view reads the file, so what the file holds is the server's word for it.
	for _, text := range column(b.session, "SELECT query FROM pg_stat_statements") {
		if strings.Contains(text, marker) {
			t.Errorf("in the view: %s", text)
		}
	}
	files, err := filepath.Glob(filepath.Join(b.c.Data(), "pg_stat_tmp", "pgss_query_texts*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file of texts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), marker) {
			t.Errorf("%s holds the value", file)
		}
	}
	// The session goes on.
	if err := b.try("SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
}
