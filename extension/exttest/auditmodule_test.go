package exttest

import (
	"context"
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// auditModules are the settings under which pgaudit logs all that it sees. It also sends that to the client, where the
// library withholds nothing.
var auditModules = []string{
	"pgaudit.log = 'all'", "pgaudit.log_parameter = on", "pgaudit.log_relation = on", "pgaudit.log_rows = on", "pgaudit.log_level = notice",
	"pgaudit.log_client = on", "pgaudit.role = 'auditor'", "log_min_messages = notice", "log_line_prefix = '%p '",
	"pg_stat_statements.track = all", "hyperion_vault.rotation_enabled = off",
}

// auditedTables are tables whose use pgaudit logs as that of objects, because pgaudit.role has privileges on them.
const auditedTables = "vault.secrets, vault.secret_versions, vault.changes, vault.audit_log"

// auditCase is a call by SQL, and what the modules see of it. $n is replaced by a number, so that no two calls are alike,
// and $value by a value.
type auditCase struct {
	name, sql string
	bound     bool     // $value is a bind parameter
	shown     bool     // the log shows it: a function of the application has it first (docs/SECURITY.md)
	audited   []string // by pgaudit, without numbers and texts
	logged    []string // of that, what is not withheld from the log
	collected []string // by pg_stat_statements
	state     string   // SQLSTATE of its refusal
}

const (
	callOf        = "SESSION FUNCTION EXECUTE "
	theSelect     = "SESSION READ SELECT"
	scanOfSecrets = "OBJECT READ SELECT vault.secrets,SESSION READ SELECT vault.secrets"
)

var auditCases = []auditCase{
	{name: "create", sql: "SELECT vault.create_secret('created/$n', '$value'::text)", audited: []string{callOf + "vault.create_secret", theSelect}},
	{name: "create with a grace", sql: "SELECT vault.create_secret('kept/$n', '$value'::text, grace_period_secs => 60, keep_versions => 2)",
		audited: []string{callOf + "vault.create_secret", theSelect}},
	{name: "create, bound", sql: "SELECT vault.create_secret('bound/$n', '$value'::text)", bound: true,
		audited: []string{callOf + "vault.create_secret", theSelect}},
	{name: "update", sql: "SELECT vault.update_secret('kept', '$value'::text, NULL)", audited: []string{callOf + "vault.update_secret", theSelect}},
	{name: "update, bound", sql: "SELECT vault.update_secret('kept', '$value'::text, NULL)", bound: true,
		audited: []string{callOf + "vault.update_secret", theSelect}},
	{name: "update of bytes", sql: "SELECT vault.update_secret('bytes', '$value'::bytea, NULL)", audited: []string{callOf + "vault.update_secret", theSelect}},
	{name: "update with a grace", sql: "SELECT vault.update_secret('graced', '$value'::text, NULL)", audited: []string{callOf + "vault.update_secret", theSelect}},
	{name: "update by a function, bound", sql: "SELECT app_set('$value')", bound: true, collected: []string{"SELECT app_set($1)"},
		audited: []string{callOf + "public.app_set", callOf + "vault.update_secret", theSelect}, logged: []string{callOf + "public.app_set"}},
	{name: "update by a function", sql: "SELECT app_set('$value')", shown: true, collected: []string{"SELECT app_set($1)"},
		audited: []string{callOf + "public.app_set", callOf + "vault.update_secret", theSelect}, logged: []string{callOf + "public.app_set"}},
	{name: "rotate", sql: "SELECT vault.rotate_secret('made')", audited: []string{callOf + "vault.rotate_secret", theSelect},
		collected: []string{"SELECT vault.rotate_secret($1)"}},
	{name: "rotate with a grace", sql: "SELECT vault.rotate_secret('graced')", audited: []string{callOf + "vault.rotate_secret", theSelect},
		collected: []string{"SELECT vault.rotate_secret($1)"}},
	{name: "rotate by a function", sql: "SELECT app_rotate()", collected: []string{"SELECT app_rotate()"},
		audited: []string{callOf + "public.app_rotate", callOf + "vault.rotate_secret", theSelect},
		logged:  []string{callOf + "public.app_rotate", theSelect}},
	{name: "stale", sql: "SELECT vault.update_secret('kept', '$value'::text, 999999)", state: "VT001",
		audited: []string{callOf + "vault.update_secret", scanOfSecrets, callOf + "vault.raise_stale"}},
	{name: "absent", sql: "SELECT vault.update_secret('absent', '$value'::text, NULL)", state: "42704",
		audited: []string{callOf + "vault.update_secret", scanOfSecrets, callOf + "vault.raise_missing", scanOfSecrets, callOf + "vault.raise_not_found"}},
}

// auditBench is a session whose statements are audited, with what pgaudit has sent it.
type auditBench struct {
	*bench
	audited *session
	entries *[]string
	n       int
	value   marker // of the present call
	markers []marker
}

func newAuditBench(t *testing.T, libraries string) *auditBench {
	t.Helper()
	b := newBench(t, startCluster(t, false, append([]string{"shared_preload_libraries = '" + libraries + "'"}, auditModules...)...))
	b.script("SET hyperion_vault.allow_unsafe_grants = on; CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgaudit; CREATE ROLE auditor;" +
		"GRANT ALL ON " + auditedTables + " TO auditor")
	b.script(`CREATE FUNCTION app_set(v text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN vault.update_secret('kept', v, NULL); END $$;
		CREATE FUNCTION app_rotate() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN vault.rotate_secret('made'); END $$`)
	b.exec("SELECT vault.create_secret('made', NULL::text, 'automatic', rotation_interval_secs => 86400)")
	b.exec("SELECT vault.create_secret('graced', NULL::text, 'automatic', rotation_interval_secs => 86400, grace_period_secs => 60)")
	b.exec("SELECT vault.create_secret('bytes', 'x'::bytea)")
	conf, err := pgx.ParseConfig(b.c.DSN(b.db, "postgres"))
	pgtest.Must(t, err)
	var entries []string
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { entries = append(entries, n.Message) }
	conn, err := pgx.ConnectConfig(bounded(t), conf)
	pgtest.Must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &auditBench{bench: b, audited: &session{Conn: conn, t: t}, entries: &entries}
}

// call makes the call of a case with a new value.
func (b *auditBench) call(c auditCase) error {
	b.n++
	b.value = newMarker()
	if !c.shown {
		b.markers = append(b.markers, b.value)
	}
	sql := strings.ReplaceAll(c.sql, "$n", fmt.Sprint(b.n))
	*b.entries = nil
	if c.bound {
		return b.audited.try(strings.Replace(sql, "'$value'", "$1", 1), string(b.value))
	}
	return b.audited.try(strings.ReplaceAll(sql, "$value", string(b.value)), pgx.QueryExecModeSimpleProtocol)
}

// ofChecks are functions that the checks of rows call. A session is seen to call one when it makes a check ready, which is not
// at each call.
var ofChecks = regexp.MustCompile(`vault\.(settings_fit|version_fits|record_fits|next_audit_id|audit_base|audit_numbering)\b`)

// seen is an entry of pgaudit without numbers, texts and parameters; "" for one of a check.
func seen(t *testing.T, entry string) string {
	t.Helper()
	text, ok := strings.CutPrefix(entry, "AUDIT: ")
	if !ok {
		t.Fatalf("no entry of pgaudit: %q", entry)
	}
	f, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil || len(f) < 8 {
		t.Fatalf("%q: %d fields, %v", entry, len(f), err)
	}
	if ofChecks.MatchString(f[6]) || ofChecks.MatchString(f[7]) {
		return ""
	}
	return strings.TrimSpace(strings.Join([]string{f[0], f[3], f[4], f[6]}, " "))
}

func allSeen(t *testing.T, entries []string) (out []string) {
	t.Helper()
	for _, e := range entries {
		if s := seen(t, e); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// logOf is what the log has of pgaudit from the session, from a position on: entries, and how many are withheld.
func (b *auditBench) logOf(t *testing.T, from int) (entries []string, withheld int) {
	t.Helper()
	begin := fmt.Sprint(b.audited.pid(), " ")
	for line := range strings.Lines(b.c.logText(t)[from:]) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), begin)
		_, entry, found := strings.Cut(line, ":  AUDIT: ")
		switch {
		case !ok || !found:
		case entry == "<withheld by hyperion_vault>":
			withheld++
		default:
			entries = append(entries, "AUDIT: "+entry)
		}
	}
	return entries, withheld
}

func (b *auditBench) collected() []string {
	return column(b.session, `SELECT regexp_replace(query, '\s+', ' ', 'g') FROM pg_stat_statements WHERE query !~ 'pg_stat_statements' ORDER BY 1`)
}

// wantSeen makes the call of a case and compares what is seen of it.
func (b *auditBench) wantSeen(t *testing.T, c auditCase) {
	t.Helper()
	b.exec("SELECT pg_stat_statements_reset()")
	from := len(b.c.logText(t))
	if err := b.call(c); c.state != "" {
		wantError(t, err, c.state, "")
	} else if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.Join(c.audited, ","), ",")
	if got := allSeen(t, *b.entries); !slices.Equal(got, want) {
		t.Errorf("pgaudit sees\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	logged, withheld := b.logOf(t, from)
	if got := allSeen(t, logged); !slices.Equal(got, c.logged) || withheld != len(*b.entries)-len(logged) {
		t.Errorf("the log has %q and %d withheld entries, and not %q and %d", got, withheld, c.logged, len(*b.entries)-len(logged))
	}
	if shown := strings.Contains(b.c.logText(t)[from:], string(b.value)); shown != c.shown {
		t.Errorf("that the log shows the value is %v", shown)
	}
	if got := b.collected(); !slices.Equal(got, c.collected) {
		t.Errorf("pg_stat_statements has %q and not %q", got, c.collected)
	}
}

// TestAuditModulesSeeTheCall states what pgaudit and pg_stat_statements see of a change by SQL: that its function was called, and
// no table, because the rows are written without a statement (decision 197). The log of the vault has the rest.
func TestAuditModulesSeeTheCall(t *testing.T) {
	t.Parallel()
	if !hasLibrary(t, "pgaudit") {
		t.Skip("pgaudit is not installed") // as in the chroots of other versions; "make test" allows no skip
	}
	for _, libraries := range []string{"pgaudit,pg_stat_statements,hyperion_vault", "hyperion_vault,pg_stat_statements,pgaudit"} {
		t.Run(libraries, func(t *testing.T) {
			t.Parallel()
			b := newAuditBench(t, libraries)
			for _, c := range auditCases {
				t.Run(c.name, func(t *testing.T) { b.wantSeen(t, c) })
			}
			t.Run("by statements", b.seeStatements)
			b.wantNoValue(t)
		})
	}
}

// byStatements has every change of a secret made by statements.
const byStatements = `CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER by_hand AFTER INSERT OR UPDATE ON vault.secrets FOR EACH STATEMENT EXECUTE FUNCTION public.nothing()`

// seeStatements makes the same calls where a trigger has the tables written by statements. pgaudit sees each table then, and so
// would be seen to miss none before.
func (b *auditBench) seeStatements(t *testing.T) {
	b.exec("SET hyperion_vault.allow_unsafe_grants = on")
	b.script(byStatements)
	written := map[string][]string{
		"create": {"WRITE INSERT vault.secrets", "WRITE INSERT vault.secret_versions", "WRITE INSERT vault.changes", "WRITE INSERT vault.audit_log"},
		"update": {"WRITE UPDATE vault.secrets", "WRITE INSERT vault.secret_versions", "WRITE INSERT vault.changes", "WRITE INSERT vault.audit_log"},
	}
	written["rotate"] = written["update"]
	for _, c := range auditCases {
		if written[c.name] == nil {
			continue
		}
		pgtest.Must(t, b.call(c))
		got := allSeen(t, *b.entries)
		for _, want := range written[c.name] {
			if !slices.Contains(got, "OBJECT "+want) || !slices.Contains(got, "SESSION "+want) {
				t.Errorf("%s: pgaudit does not see %s:\n%s", c.name, want, strings.Join(got, "\n"))
			}
		}
	}
}

// wantNoValue looks for the values and the data keys in the log and in what is collected. The client is sent what it sent itself.
func (b *auditBench) wantNoValue(t *testing.T) {
	t.Helper()
	b.agent.mu.Lock()
	markers := slices.Clone(b.markers)
	for _, key := range b.agent.keys {
		markers = append(markers, marker(key))
	}
	b.agent.mu.Unlock()
	for _, name := range []string{"made", "graced"} {
		markers = append(markers, marker(get[string](b.session, "SELECT vault.read_secret($1)", name)))
	}
	hits, files := search(t, markers, []string{b.c.Data()}, map[string]string{
		"the log": b.c.logText(t), "pg_stat_statements": strings.Join(b.collected(), "\n"),
	})
	for _, h := range hits {
		t.Errorf("a value or a key is in %s, %s: %q", h.file, h.form, h.around)
	}
	if files < 500 || len(markers) < 30 {
		t.Errorf("searched %d files for %d values and keys only", files, len(markers))
	}
}
