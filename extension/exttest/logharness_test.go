package exttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// logged is a way in which a statement's text, its parameters or its errors reach the log. %s is the value.
var logged = []struct {
	name     string
	settings string // of the session, for this case
	before   string // run first
	sql      string
	args     int // 1: the value is a bind parameter
}{
	{name: "fails", sql: "SELECT vault.create_secret('kept', '%s')"},
	{name: "fails bound", sql: "SELECT vault.create_secret('kept', $1::text)", args: 1,
		settings: "log_parameter_max_length_on_error = -1"},
	{name: "syntax error", sql: "SELECT vault.create_secret('new' '%s')"},
	{name: "wrong parameter", sql: "SELECT vault.update_secret('kept', 'x', '%s')"},
	{name: "no such function", sql: "SELECT vault.update_secret('kept', '%s', 1, 2)"},
	{name: "no such function, escaped", sql: `SELECT vault.U&"cr\0065ate_secret"('new', '%s', nofoo)`},
	{name: "no such function, other escape", sql: `SELECT vault.u&"cr!0065ate_secret" UESCAPE '!' ('new', '%s', nofoo)`},
	{name: "other error", sql: "SELECT vault.verify('kept', '%s'), 1/0"},
	{name: "not quoted", sql: "SELECT vault.create_secret('new/unquoted', %s)"},

	{name: "misspelt", sql: "SELECT vault.create_secrt('new', '%s')"},
	{name: "of no such name", sql: "SELECT vault.set_secret('new', '%s')"},
	{name: "wrong function", sql: "SELECT vault.rotate_secret('kept', '%s')"},
	{name: "wrong function to read", sql: "SELECT vault.read_secret('kept', '%s')"},
	{name: "too many arguments", sql: "SELECT vault.read_secret_bytes('kept', '%s', 1, 2)"},
	{name: "administrative function", sql: "SELECT vault.grant_access('kept', '%s')"},
	{name: "missing cast", sql: "SELECT vault.list_secrets('%s'::date)"},
	{name: "table of the vault", sql: "INSERT INTO vault.secret (name, value) VALUES ('new', '%s')"},
	{name: "misspelt, a number in quotes", sql: "SELECT vault.put(1, '%s', 2)"},
	{name: "misspelt, dollar quoted", sql: "SELECT vault.put($v$%s$v$)"},
	{name: "misspelt, schema quoted", sql: `SELECT "vault" . "createsecret"('new', '%s')`},
	{name: "misspelt, schema in capitals", sql: "SELECT VAULT.createsecret('new', '%s')"},
	{name: "misspelt, schema escaped", sql: `SELECT U&"v\0061ult".createsecret('new', '%s')`},
	{name: "misspelt, a comment", sql: "SELECT vault/* . */.createsecret('new', '%s')"},
	{name: "misspelt, CALL", sql: "CALL vault.createsecret('new', '%s')"},
	{name: "misspelt, in a DO", sql: "DO $$ BEGIN PERFORM vault.createsecret('new', '%s'); END $$"},
	{name: "misspelt, prepared", sql: "PREPARE slip AS SELECT vault.createsecret('new', '%s')"},
	{name: "misspelt, explained", sql: "EXPLAIN SELECT vault.createsecret('new', '%s')"},
	{name: "misspelt, dynamic in a function", sql: "DO $$ BEGIN EXECUTE 'SELECT vault.' || 'createsecret(''new'', ''%s'')'; END $$"},
	{name: "syntax error near it", sql: "SELECT vault.createsecret('new' '%s' x"},
	{name: "unquoted", sql: "SELECT vault.createsecret('new', %s)"},
	{name: "wrong function by search_path", settings: "search_path = vault", sql: "SELECT rotate_secret('kept', '%s', nofoo)"},
	{name: "misspelt by search_path", settings: "search_path = public, vault", sql: "SELECT createsecret('kept', '%s')"},
	{name: "syntax error by search_path", settings: `search_path = "vault", public`, sql: "SELECT createsecret('kept' '%s')"},
	{name: "schema misspelt", sql: "SELECT vualt.put('new', '%s')"},
	{name: "schema misspelt, quoted", sql: `SELECT "Vaults" . put('new', '%s')`},
	{name: "schema misspelt, known function", sql: "SELECT vualt.create_secret('new', '%s')"},
	{name: "schema and function misspelt", sql: "CALL valt.create_secrt('new', '%s')"},
	{name: "extension for schema", sql: "SELECT hyperion_vault.put('new', '%s')"},
	{name: "database before it", sql: "SELECT nowhere.vault.put('new', '%s')"},
	{name: "no schema", sql: "SELECT put_secret('new', '%s')"},
	{name: "no schema, misspelt", sql: "SELECT create_secrt('new', '%s')"},
	{name: "no point", sql: "SELECT vault create('new', '%s')"},
	{name: "EXECUTE for SELECT", sql: "EXECUTE create_secret('new', '%s')"},
	{name: "EXECUTE for SELECT, misspelt", sql: "EXECUTE vault_put('new', '%s')"},
	{name: "comma for the point", sql: "SELECT vault,put('new', '%s')"},
	{name: "colons for the point", sql: "SELECT vault::put('new', '%s')"},
	{name: "no command", sql: "vault put new '%s'"},
	{name: "as a table", sql: "UPDATE vault SET value = '%s' WHERE name = 'new'"},
	{name: "secrets as a table", sql: "INSERT INTO secrets (name, value) VALUES ('new', '%s')"},
	{name: "as a type", sql: "SELECT '%s'::vault"},
	{name: "unterminated", sql: "SELECT vault.put('new', '%s"},
	{name: "unterminated, no point", sql: "SELECT vault put('new', '%s"},

	{name: "verify by search_path", settings: "search_path = vault", sql: "SELECT verify('kept', '%s', nofoo)"},
	{name: "verify, spaced", settings: "search_path = vault", sql: "SELECT verify \n\t('kept', '%s', nofoo)"},
	{name: "verify, comment", settings: "search_path = vault", sql: "SELECT verify/* ( */('kept', '%s', nofoo)"},
	{name: "verify, comment to the end", settings: "search_path = vault", sql: "SELECT Verify -- (\n('kept', '%s', nofoo)"},
	{name: "verify, quoted", settings: "search_path = vault", sql: `SELECT "verify" ('kept', '%s', nofoo)`},
	{name: "verify_version", settings: "search_path = vault", sql: "SELECT verify_version('kept', '%s', nofoo)"},

	{name: "several", settings: "log_statement = 'all'", sql: "SELECT 1; SELECT vault.verify('kept', '%s'); SELECT 1/0"},
	{name: "second fails", sql: "SELECT vault.create_secret('new/first', 'x'); SELECT vault.create_secret('new/second', %s)"},
	{name: "second has a syntax error", sql: "SELECT vault.verify('kept', 'x'); SELECT vault.create_secret('new' '%s')"},
	{name: "second names it", sql: "SELECT '%s'::int; SELECT vault.verify('kept', 'x')"},
	{name: "error after the call", sql: "SELECT vault.verify('kept', 'x'), ('%s' || g)::int FROM generate_series(1, 2) g"},
	{name: "error in a worker", settings: "parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
		sql: "SELECT count(*) FROM pg_class WHERE (SELECT vault.verify('kept', 'x')) IS NOT NULL AND ('%s' || oid)::int > 0"},
	{name: "detail after the call", before: "CREATE TABLE taken (v text UNIQUE)",
		sql: "SELECT vault.verify('kept', 'x'); INSERT INTO taken VALUES ('%s'), ('%s')"},
	{name: "notice", settings: "log_min_messages = notice", sql: `SELECT vault.verify('kept', 'x') AS "%s........................................"`},
	{name: "warning after the call",
		sql: "DO $do$ BEGIN PERFORM vault.verify('kept', '%s'); RAISE WARNING 'tried %', '%s' USING DETAIL = '%s'; END $do$"},

	{name: "log_statement", settings: "log_statement = 'all'", sql: "SELECT vault.create_secret('new/a', '%s')"},
	{name: "log_statement bound", settings: "log_statement = 'all'", sql: "SELECT vault.create_secret('new/b', $1::text)", args: 1},
	{name: "log_statement bound bytea", settings: "log_statement = 'all'",
		sql: "SELECT vault.create_secret('new/c', convert_to($1, 'UTF8'))", args: 1},
	{name: "log_statement DO", settings: "log_statement = 'all'",
		sql: "DO $do$ BEGIN PERFORM vault.create_secret('new/d', '%s'); END $do$"},
	{name: "log_statement PREPARE", settings: "log_statement = 'all'", sql: "PREPARE literal AS SELECT vault.verify('kept', '%s')"},
	{name: "log_statement EXECUTE", settings: "log_statement = 'all'", sql: "EXECUTE made('new/e', '%s')"},
	{name: "log_statement EXECUTE quoted", settings: "log_statement = 'all'", sql: `EXPLAIN ANALYZE EXECUTE "Made"('new/f', '%s')`},
	{name: "log_statement EXECUTE after a comment", settings: "log_statement = 'all'", sql: "/* execute */ EXECUTE made('new/j', '%s')"},
	{name: "log_statement EXECUTE with a comment", settings: "log_statement = 'all'", sql: "EXECUTE/**/made('new/k', '%s')"},
	{name: "EXECUTE fails", sql: "EXECUTE made('new', '%s', 1)"},
	{name: "EXECUTE fails after a comment", sql: "/* execute */ EXECUTE--\nmade('new', '%s', 1)"},
	{name: "EXECUTE fails after others", sql: "EXECUTE one; EXECUTE made('new', '%s', 1)"},
	{name: "EXECUTE fails after a quote", sql: `SELECT '"'; EXECUTE made('new', '%s', 1)`},
	{name: "EXECUTE of a quoted name fails", sql: `EXECUTE"ma""de"('new', '%s', 1)`},
	{name: "EXECUTE of a long name fails", sql: "EXECUTE m" + rest + "écd('new', '%s', 1)"},
	{name: "EXECUTE of a long quoted name fails", sql: `EXECUTE "Q` + rest + `écd"('new', '%s', 1)`},
	{name: "CREATE TABLE AS EXECUTE", settings: "log_statement = 'all'", sql: "CREATE TEMP TABLE t AS EXECUTE made('new/p', '%s')"},
	{name: "FETCH", before: "BEGIN; DECLARE cur CURSOR FOR SELECT vault.verify('kept', ('%s' || g)::int::text) FROM generate_series(1, 2) g",
		sql: "FETCH ALL FROM cur"},
	{name: "MOVE", before: "BEGIN; DECLARE cur CURSOR FOR SELECT vault.verify('kept', ('%s' || g)::int::text) FROM generate_series(1, 2) g",
		sql: "MOVE 1 IN cur"},
	{name: "protocol", settings: "log_min_messages = debug2", sql: "SELECT vault.verify('kept', $1::text)", args: 1},

	{name: "duration", settings: "log_min_duration_statement = 0", sql: "SELECT vault.update_secret('kept', '%s', NULL)"},
	{name: "duration bound", settings: "log_min_duration_statement = 0", sql: "SELECT vault.verify('kept', $1::text)", args: 1},
	{name: "duration bound, sampled", settings: "log_min_duration_sample = 0; SET log_statement_sample_rate = 1; SET log_parameter_max_length = 100",
		sql: "SELECT vault.verify('kept', $1::text)", args: 1},
	{name: "transaction sampled", settings: "log_transaction_sample_rate = 1", sql: "SELECT vault.verify('kept', '%s')"},
	{name: "duration in a function", settings: "log_min_duration_statement = 0", sql: "SELECT wrapped('new/g', '%s')"},
	{name: "statistics", settings: "log_statement_stats = on; SET log_min_error_statement = debug5", sql: "SELECT wrapped('new/q', '%s')"},

	{name: "error in a function", sql: "SELECT wrapped('kept', '%s')"},
	{name: "error in a function before the call", sql: "SELECT early('%s')"},
	{name: "dynamic, after a call",
		sql: "DO $do$ BEGIN PERFORM vault.create_secret('new/r', 'x'); EXECUTE 'SELECT vault.create_secret(''new'', ''%s'', nofoo)'; END $do$"},
	{name: "dynamic", sql: "DO $do$ BEGIN EXECUTE 'SELECT vault.create_secret(''new'', ''%s'', nofoo)'; END $do$"},
	{name: "dynamic in a function", sql: "SELECT built('%s')"},
	{name: "dynamic EXECUTE in a function", sql: "SELECT executed('%s')"},
	{name: "dynamic, fixed error at a place", before: "CREATE TABLE one_column (b bool)",
		sql: "DO $do$ BEGIN EXECUTE 'INSERT INTO one_column SELECT vault.verify(''kept'', ''%s''), 1'; END $do$"},
	{name: "dynamic, fixed error in a context",
		sql: "DO $do$ BEGIN EXECUTE 'SELECT vault.verify(''kept'', ''%s''), 1 / (g - 1) FROM generate_series(1, 1) g'; END $do$"},
	{name: "fixed error with a detail", sql: "SELECT strictly('%s')"},
	{name: "in a trigger", before: `CREATE TABLE given (v text CHECK (v = 'x'));
		CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM vault.verify('kept', NEW.v); RETURN NEW; END $$;
		CREATE TRIGGER tried BEFORE INSERT ON given FOR EACH ROW EXECUTE FUNCTION tried()`,
		sql: "INSERT INTO given VALUES ('%s')"},
	{name: "while a statement of a function is parsed", before: `CREATE FUNCTION noisy(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
			$$ BEGIN RAISE WARNING 'comparing'; RETURN CASE WHEN a < b THEN -1 WHEN a > b THEN 1 ELSE 0 END; END $$;
		CREATE OPERATOR CLASS noisy FOR TYPE int USING btree AS
			OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 noisy(int, int);
		CREATE TYPE noisyrange AS RANGE (subtype = int, subtype_opclass = noisy)`,
		sql: "DO $do$ BEGIN PERFORM vault.verify('kept', '%s'); EXECUTE 'SELECT ''[1,2]''::noisyrange'; END $do$"},
	{name: "at a commit", before: `CREATE TABLE later (v text);
		CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM vault.verify('kept', NEW.v); PERFORM NEW.v::int; RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()`,
		sql: "INSERT INTO later VALUES ($1)", args: 1},

	{name: "auto_explain", settings: "auto_explain.log_min_duration = 0", sql: "SELECT vault.verify('kept', '%s')"},
	{name: "auto_explain of a function", settings: "auto_explain.log_min_duration = 0", sql: "SELECT wrapped('new/s',\n '%s')"},
	{name: "auto_explain in JSON", settings: "auto_explain.log_min_duration = 0; SET auto_explain.log_format = json", sql: "SELECT wrapped('new/t',\n '%s')"},
	{name: "auto_explain in XML", settings: "auto_explain.log_min_duration = 0; SET auto_explain.log_format = xml", sql: "SELECT wrapped('new/u',\n '%s') AS \"<x>\""},
	{name: "auto_explain of what a function makes", settings: "auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on",
		sql: "SELECT built('%s')"},
	{name: "debug_print", settings: "debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on",
		sql: "SELECT vault.verify('kept', '%s')"},
	{name: "memory contexts", before: "PREPARE remembered AS SELECT vault.verify('kept', '%s')",
		sql: "SELECT pg_log_backend_memory_contexts(pg_backend_pid())"},

	{name: "error quotes what was read", before: "SELECT vault.create_secret('read/a', '%s')", sql: "SELECT vault.read_secret('read/a')::int"},
	{name: "statement made with what was read", before: "SELECT vault.create_secret('read/b', '%s')",
		sql: "DO $do$ BEGIN EXECUTE format('ALTER ROLE nobody_there PASSWORD %L', vault.read_secret('read/b')); END $do$"},
	{name: "explained statement made with what was read", before: "SELECT vault.create_secret('read/c', '%s')",
		settings: "auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on",
		sql:      "DO $do$ BEGIN EXECUTE format('SELECT 1 WHERE %L = CURRENT_USER', vault.read_secret('read/c')); END $do$"},
}

// rest is as much of an identifier as PostgreSQL keeps, but for a letter before and one byte after, half of the é.
const rest = "ade_that_is_a_name_which_is_62_bytes_long_so_that_one_remains"

// logSetup makes what the cases call.
const logSetup = `LOAD 'auto_explain';
	PREPARE made(text, text) AS SELECT vault.create_secret($1, $2);
	PREPARE "Made"(text, text) AS SELECT vault.create_secret($1, $2);
	PREPARE "ma""de"(text, text) AS SELECT vault.create_secret($1, $2);
	PREPARE m` + rest + `é(text, text) AS SELECT vault.create_secret($1, $2);
	PREPARE "Q` + rest + `é"(text, text) AS SELECT vault.create_secret($1, $2);
	CREATE FUNCTION wrapped(n text, v text) RETURNS bigint LANGUAGE plpgsql
		AS $$ BEGIN RETURN vault.create_secret(n, v); END $$;
	CREATE FUNCTION early(v text) RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN PERFORM vault.create_secret('new', v::int::text); END $$;
	CREATE FUNCTION built(v text) RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN EXECUTE format('SELECT vault.create_secret(%L, %L, nofoo)', 'new', v); END $$;
	CREATE FUNCTION strictly(v text) RETURNS void LANGUAGE plpgsql
		AS $$ #print_strict_params on
			DECLARE found_one int;
			BEGIN PERFORM vault.verify('kept', v); SELECT 1 INTO STRICT found_one FROM pg_class WHERE relname = v; END $$;
	CREATE FUNCTION executed(v text) RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN EXECUTE format('EXECUTE made(%L, %L, 1)', 'new', v); END $$;`

// collected are settings under which a server logs in every format, to files in the directory log.
var collected = []string{"logging_collector = on", "log_destination = 'stderr,csvlog,jsonlog'"}

// collectedLogs are the texts of the log in each format, with what the session has written until now.
func collectedLogs(t *testing.T, b *bench) map[string]string {
	t.Helper()
	control := "CONTROL" + randomText(24)
	_ = b.try("SELECT '"+control+"', 1/0", pgx.QueryExecModeSimpleProtocol)
	texts := map[string]string{}
	for _, format := range []string{"log", "csv", "json"} {
		pgtest.Eventually(t, "a failed statement of no concern is in the log "+format, func() bool {
			files, err := filepath.Glob(filepath.Join(b.c.Data(), "log", "*."+format))
			if err != nil || len(files) == 0 {
				return false
			}
			texts[format] = ""
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				texts[format] += string(content)
			}
			return strings.Contains(texts[format], control)
		})
	}
	return texts
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

func wantNotLogged(t *testing.T, log, text, marker string) {
	t.Helper()
	// debug_print writes a constant as its bytes in decimal.
	var decimal []string
	for _, ch := range []byte(marker) {
		decimal = append(decimal, fmt.Sprint(ch))
	}
	for _, form := range []string{marker, strings.Join(decimal, " ")} {
		if i := strings.Index(text, form); i >= 0 {
			from := max(0, i-300)
			t.Errorf("in the log %s: %s", log, text[from:i+len(form)])
		}
	}
}

// kept is what the log still says: of our statements what cannot hold a value, of the others everything.
var kept = []struct {
	name     string
	settings string
	sql      string
	want     string // a regular expression
}{
	{"our errors", "", "SELECT vault.create_secret('kept', 'x')", `ERROR:  secret "kept" already exists\n`},
	{"fixed errors", "", "SELECT vault.verify('kept', 'x'), 1/0", `ERROR:  division by zero\n`},
	{"cancels", "statement_timeout = 1", "SELECT vault.verify('kept', 'x'), pg_sleep(60)",
		`ERROR:  canceling statement due to statement timeout\n`},
	{"fixed part of an error", "", "SELECT vault.verify('kept', nofoo)",
		`SQLSTATE 42703, text column "<withheld by hyperion_vault>\n`},
	{"durations", "log_min_duration_statement = 0", "SELECT vault.verify('kept', 'x')",
		`duration: \d+\.\d+ ms  statement: <withheld by hyperion_vault>\n`},
	{"durations alone", "log_duration = on", "SELECT vault.verify('kept', 'x')", `duration: \d+\.\d+ ms\n`},
	{"fixed part of a plan", "auto_explain.log_min_duration = 0", "SELECT vault.verify('kept', 'x')",
		`duration: \d+\.\d+ ms  plan:\n\t?<withheld by hyperion_vault>\n`},
	{"verify-full", "", "SELECT 'sslmode=verify-full', 1/0", `STATEMENT:  SELECT 'sslmode=verify-full', 1/0\n`},
	{"a path", "", "SELECT '/verify/7', 1/0", `STATEMENT:  SELECT '/verify/7', 1/0\n`},
	{"other functions", "", "SELECT verify_email('x'), reverify('x')", `STATEMENT:  SELECT verify_email\('x'\), reverify\('x'\)\n`},
	{"misspelt names of others", "", "SELECT coalesse('x', 7)", `STATEMENT:  SELECT coalesse\('x', 7\)\n`},
	{"a string that names it", "", "SELECT 'a vault of secrets', 1/0", `STATEMENT:  SELECT 'a vault of secrets', 1/0\n`},
	{"EXECUTE of others", "log_statement = 'all'", "EXECUTE one", `statement: EXECUTE one\n`},
	{"RAISE of others", "", "DO $$ BEGIN RAISE WARNING 'seen %', 7; END $$", `WARNING:  seen 7\n`},
	{"parameters of others", "log_statement = 'all'; SELECT vault.verify('kept', 'x'); SET log_statement = 'all'",
		"SELECT 'next'", `statement: SELECT 'next'\n`},
}
