package exttest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// logged is a way in which a statement's text or parameters reach the log. %s is the value.
var logged = []struct {
	name     string
	settings string // of the session, for this case
	sql      string
	args     int // 1: the value is a bind parameter
}{
	{name: "fails", sql: "SELECT vault.create_secret('kept', '%s')"},
	{name: "fails bound", sql: "SELECT vault.create_secret('kept', $1::text)", args: 1,
		settings: "log_parameter_max_length_on_error = -1"},
	{name: "syntax error", sql: "SELECT vault.create_secret('new' '%s')"},
	{name: "wrong parameter", sql: "SELECT vault.update_secret('kept', 'x', '%s')"},
	{name: "no such function", sql: "SELECT vault.update_secret('kept', '%s', 1, 2)"},
	{name: "other error", sql: "SELECT vault.verify('kept', '%s'), 1/0"},
	{name: "log_statement", settings: "log_statement = 'all'", sql: "SELECT vault.create_secret('new/a', '%s')"},
	{name: "log_statement bound", settings: "log_statement = 'all'", sql: "SELECT vault.create_secret('new/b', $1::text)", args: 1},
	{name: "log_statement bound bytea", settings: "log_statement = 'all'",
		sql: "SELECT vault.create_secret('new/c', convert_to($1, 'UTF8'))", args: 1},
	{name: "log_statement DO", settings: "log_statement = 'all'",
		sql: "DO $do$ BEGIN PERFORM vault.create_secret('new/d', '%s'); END $do$"},
	{name: "log_statement EXECUTE", settings: "log_statement = 'all'", sql: "EXECUTE made('new/e', '%s')"},
	{name: "log_statement EXECUTE quoted", settings: "log_statement = 'all'", sql: `EXPLAIN ANALYZE EXECUTE "Made"('new/f', '%s')`},
	{name: "duration", settings: "log_min_duration_statement = 0", sql: "SELECT vault.update_secret('kept', '%s', NULL)"},
	{name: "duration bound", settings: "log_min_duration_statement = 0", sql: "SELECT vault.verify('kept', $1::text)", args: 1},
	{name: "duration in a function", settings: "log_min_duration_statement = 0", sql: "SELECT wrapped('new/g', '%s')"},
	{name: "error in a function", sql: "SELECT wrapped('kept', '%s')"},
	{name: "auto_explain", settings: "auto_explain.log_min_duration = 0", sql: "SELECT vault.verify('kept', '%s')"},
	{name: "debug_print", settings: "debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on",
		sql: "SELECT vault.verify('kept', '%s')"},
	{name: "several", settings: "log_statement = 'all'", sql: "SELECT 1; SELECT vault.verify('kept', '%s'); SELECT 1/0"},
}

// TestLogHoldsNoValue goes through the ways by which PostgreSQL logs what it runs.
func TestLogHoldsNoValue(t *testing.T) {
	c := startCluster(t, true)
	b := newBench(t, c)
	b.script(`LOAD 'auto_explain';
		PREPARE made(text, text) AS SELECT vault.create_secret($1, $2);
		PREPARE "Made"(text, text) AS SELECT vault.create_secret($1, $2);
		CREATE FUNCTION wrapped(n text, v text) RETURNS bigint LANGUAGE plpgsql
			AS $$ BEGIN RETURN vault.create_secret(n, v); END $$;`)
	for _, l := range logged {
		t.Run(l.name, func(t *testing.T) {
			marker := "MARK" + randomText(24)
			settings := l.settings
			if settings == "" {
				settings = "log_min_error_statement = error"
			}
			b.script("SET " + settings)
			runLogged(b, l.sql, marker, l.args)
			b.script("RESET ALL")
			wantNotLogged(t, c, marker)
		})
	}
	t.Run("the search finds what is logged", func(t *testing.T) {
		_ = b.try("SELECT 'CONTROL', 1/0", pgx.QueryExecModeSimpleProtocol)
		if !strings.Contains(c.logText(t), "CONTROL") {
			t.Error("a failed statement of no concern is not in the log")
		}
	})
}

// runLogged runs the statement with the value in its text or as its parameter. It may fail: many are made to.
func runLogged(b *bench, sql, value string, args int) {
	if args > 0 {
		_ = b.try(sql, value)
		return
	}
	text := strings.ReplaceAll(sql, "%s", value)
	if _, err := b.PgConn().Exec(bounded(b.t), text).ReadAll(); b.IsClosed() {
		b.t.Fatalf("the session ended: %v", err)
	}
}

func wantNotLogged(t *testing.T, c cluster, marker string) {
	t.Helper()
	text := c.logText(t)
	// debug_print writes a constant as its bytes in decimal.
	var decimal []string
	for _, ch := range []byte(marker) {
		decimal = append(decimal, fmt.Sprint(ch))
	}
	for _, form := range []string{marker, strings.Join(decimal, " ")} {
		if i := strings.Index(text, form); i >= 0 {
			from := max(0, i-300)
			t.Errorf("in the log: %s", text[from:i+len(form)])
		}
	}
}

// TestCrashLogHoldsNoValue kills backends whose last statement held a value: PostgreSQL then logs what they ran.
func TestCrashLogHoldsNoValue(t *testing.T) {
	c := startCluster(t, true)
	for name, sql := range map[string]string{
		"done":          "SELECT vault.create_secret('crash/done', '%s')",
		"in a function": "SELECT wrapped('crash/wrapped', '%s')",
		"not entered":   "SELECT vault.create_secret('crash' '%s')",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c)
			b.script(`CREATE FUNCTION wrapped(n text, v text) RETURNS bigint LANGUAGE plpgsql
				AS $$ BEGIN RETURN vault.create_secret(n, v); END $$;`)
			marker := "MARK" + randomText(24)
			victim := c.connect(t, b.db, "postgres")
			_, _ = victim.PgConn().Exec(bounded(t), strings.ReplaceAll(sql, "%s", marker)).ReadAll()
			before := strings.Count(c.logText(t), "database system is ready to accept connections")
			if err := syscall.Kill(victim.pid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server is up again", func() bool {
				return strings.Count(c.logText(t), "database system is ready to accept connections") > before
			})
			if !strings.Contains(c.logText(t), "Failed process was running") && name != "not entered" {
				t.Error("the log does not say what the process was running: this test shows nothing")
			}
			wantNotLogged(t, c, marker)
		})
	}
}
