package exttest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// The two that are compared: a change without a statement, and the definition of what it has to do.
const (
	direct  = "append_version"
	defined = "append_anyhow"
)

// appendCase is a change of the secret s with the id that stands for $id.
type appendCase struct {
	name  string
	state string // statements that bring about the state of the secret
	args  string // those of a change of it that is not the usual one
	plain bool   // it is made without a statement
}

const usualAppend = `$id, 1, ` + planSealed + `, 'update', NULL, false, ` + planOrigin

// settled are the first two versions of a secret whose grace was an hour: the first one waits for its end.
const settled = `UPDATE vault.secrets SET grace_period_secs = 3600 WHERE id = $id;
	SELECT vault.append_anyhow($id, 1, ` + planSealed + `, 'rotate', NULL, false, ` + planOrigin + `);
	UPDATE vault.secrets SET grace_period_secs = 0 WHERE id = $id;`

// many are six versions with a grace of an hour.
const many = `UPDATE vault.secrets SET grace_period_secs = 3600 WHERE id = $id;
	SELECT (SELECT vault.append_anyhow($id, v, ` + planSealed + `, 'update', NULL, false, ` + planOrigin + `)) FROM generate_series(1, 5) v;`

var appendCases = []appendCase{
	{name: "usual", plain: true},
	{name: "rotate", args: strings.Replace(usualAppend, "'update'", "'rotate'", 1), plain: true},
	{name: "settings without a field", args: strings.Replace(usualAppend, "NULL, false", planNoSet+", NULL", 1), plain: true},
	{name: "deleted by itself", state: "UPDATE vault.secrets SET delete_version_after_secs = 100000 WHERE id = $id;", plain: true},
	{name: "in grace", state: settled, args: strings.Replace(usualAppend, ", 1,", ", 2,", 1), plain: true},
	{name: "grace is over", state: settled + "UPDATE vault.secret_versions SET expires_at = now() - interval '1 s' WHERE secret_id = $id AND version = 1;",
		args: strings.Replace(usualAppend, ", 1,", ", 2,", 1), plain: true},
	{name: "expired by a clock", state: settled + "UPDATE vault.secret_versions SET expired = true WHERE secret_id = $id AND version = 1;",
		args: strings.Replace(usualAppend, ", 1,", ", 2,", 1), plain: true},
	{name: "a version ahead", state: "UPDATE vault.secret_versions SET version = 9 WHERE secret_id = $id;", plain: true},
	{name: "the next version is there", state: "UPDATE vault.secret_versions SET version = 2 WHERE secret_id = $id;", plain: true},
	{name: "no version at all", state: "DELETE FROM vault.secret_versions WHERE secret_id = $id;", plain: true},
	{name: "a token", args: strings.Replace(usualAppend, "'role:x'", `E'token:t\x1f3f0e6f0a-1111-4222-8333-444455556666\x1fjwt'`, 1), plain: true},
	{name: "an odd token", args: strings.Replace(usualAppend, "'role:x'", `E'token:t\x1f3f0e6f0a-1111-4222-8333-44445555666G\x1f'`, 1), plain: true},
	{name: "a shifted accessor", args: strings.Replace(usualAppend, "'role:x'", `E'token:t\x1f3f0e6f0-a1111-4222-8333-444455556666\x1fa\x1fb'`, 1), plain: true},
	{name: "an accessor in capitals", args: strings.Replace(usualAppend, "'role:x'", `E'\x1f3F0E6F0A-1111-4222-8333-444455556666'`, 1), plain: true},
	{name: "an address", args: strings.Replace(usualAppend, "NULL, NULL, 'r'", "'x', '10.1.2.3/8', NULL", 1), plain: true},
	{name: "no node", args: strings.Replace(usualAppend, "'here'", "NULL", 1), plain: true},
	{name: "no actor", args: strings.Replace(usualAppend, "'role:x'", "NULL", 1), plain: true},
	{name: "no origin", args: `$id, 1, ` + planSealed + `, 'update', NULL, false, NULL`, plain: true},
	{name: "no value", args: `$id, 1, NULL, 'update', NULL, false, ` + planOrigin, plain: true},
	{name: "no nonce", args: strings.Replace(usualAppend, "decode(repeat('ab', 24), 'hex')", "NULL", 1), plain: true},
	{name: "a short nonce", args: strings.Replace(usualAppend, "24", "23", 1), plain: true},
	{name: "a long value", args: strings.Replace(usualAppend, "repeat('cd', 40)", "repeat('cd', 1000000)", 1), plain: true},
	{name: "too long a value", args: strings.Replace(usualAppend, "repeat('cd', 40)", "repeat('cd', 1048593)", 1), plain: true},
	{name: "a large policy", plain: true,
		state: `UPDATE vault.secrets SET generate_policy = jsonb_build_object('a', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 120) g)) WHERE id = $id;`},
	{name: "scheduled", args: strings.Replace(usualAppend, "NULL, false", "NULL, true", 1)},
	{name: "settings", args: strings.Replace(usualAppend, "NULL, false", strings.Replace(planNoSet, "NULL", "'d'", 1)+", false", 1)},
	{name: "grace", state: "UPDATE vault.secrets SET grace_period_secs = 60 WHERE id = $id;", plain: true},
	{name: "grace, and deleted by itself", state: "UPDATE vault.secrets SET grace_period_secs = 60, delete_version_after_secs = 90 WHERE id = $id;" +
		"UPDATE vault.secret_versions SET delete_at = created_at + interval '1 day' WHERE secret_id = $id;", plain: true},
	{name: "grace of a version that has ended", plain: true,
		state: "UPDATE vault.secrets SET grace_period_secs = 60 WHERE id = $id; UPDATE vault.secret_versions SET expired = true WHERE secret_id = $id;"},
	{name: "kept", state: "UPDATE vault.secrets SET keep_versions = 2 WHERE id = $id;", plain: true},
	{name: "kept with grace", state: "UPDATE vault.secrets SET keep_versions = 1, grace_period_secs = 60 WHERE id = $id;", plain: true},
	{name: "kept, and more were", state: many + "UPDATE vault.secrets SET keep_versions = 2, grace_period_secs = 0 WHERE id = $id;",
		args: strings.Replace(usualAppend, ", 1,", ", 6,", 1), plain: true},
	{name: "grace, and some are over", state: many + "UPDATE vault.secret_versions SET expires_at = now() - interval '1 s' WHERE secret_id = $id AND version IN (2, 4);",
		args: strings.Replace(usualAppend, ", 1,", ", 6,", 1), plain: true},
	{name: "grace, and some never end", state: many + "UPDATE vault.secret_versions SET expires_at = NULL WHERE secret_id = $id AND version IN (2, 4);",
		args: strings.Replace(usualAppend, ", 1,", ", 6,", 1), plain: true},
	{name: "no grace, and some never end", state: many + "UPDATE vault.secret_versions SET expires_at = NULL WHERE secret_id = $id AND version IN (2, 4);" +
		"UPDATE vault.secrets SET keep_versions = 3, grace_period_secs = 0 WHERE id = $id;",
		args: strings.Replace(usualAppend, ", 1,", ", 6,", 1), plain: true},
	{name: "has deleted versions", state: "SELECT vault.change_versions($id, '{1}', 'delete_version', " + planOrigin + ");"},
	{name: "stale", args: strings.Replace(usualAppend, ", 1,", ", 7,", 1)},
	{name: "deleted", state: "SELECT vault.delete_secret($id, 1, " + planOrigin + ");"},
	{name: "gone", state: "DELETE FROM vault.secrets WHERE id = $id;"},
	{name: "no id", args: strings.Replace(usualAppend, "$id", "NULL", 1)},
	{name: "no expected version", args: strings.Replace(usualAppend, ", 1,", ", NULL,", 1)},
}

// appended is what there is of a change. Ids and times are left out, but for how they are to each other.
const appended = `SELECT concat_ws(E'\n',
	(SELECT to_jsonb(s) - '{id,created_at,updated_at}'::text[] || jsonb_build_object('later', s.updated_at > s.created_at) FROM vault.secrets s WHERE s.id = $1),
	(SELECT jsonb_agg(to_jsonb(v) - '{secret_id,created_at,expires_at,delete_at}'::text[] || jsonb_build_object('ends', v.expires_at > now(),
		'grace', CASE WHEN v.version = s.current_version - 1 THEN v.expires_at - s.updated_at END, 'stamped', v.created_at = s.updated_at, 'lasts', v.delete_at - v.created_at) ORDER BY v.version)
	 FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.id = $1),
	(SELECT jsonb_agg(to_jsonb(l) - '{id,at}'::text[] || jsonb_build_object('at', l.at > s.created_at, 'in', l.tableoid::regclass) ORDER BY l.id)
	 FROM vault.audit_log l JOIN vault.secrets s ON s.name = l.secret_name WHERE s.id = $1),
	(SELECT jsonb_agg(to_jsonb(c) - '{xid,id,at}'::text[] || jsonb_build_object('mine', c.xid = pg_current_xact_id(), 'at', c.at > s.created_at) ORDER BY c.id)
	 FROM vault.changes c JOIN vault.secrets s ON s.name = c.name WHERE s.id = $1 AND c.xid = pg_current_xact_id()))`

// appendSQL is a call of one of the two with the arguments, as a statement.
func (c appendCase) appendSQL(function, id string) string {
	args := c.args
	if args == "" {
		args = usualAppend
	}
	return strings.ReplaceAll("SELECT vault.info_text(vault."+function+"("+args+"))", "$id", id)
}

// made makes the change by the function in a transaction of its own, and takes it back. It returns what there was of it, or
// its error, and whether the definition was called.
func (c appendCase) made(s *session, function string) (outcome string, called bool) {
	s.t.Helper()
	const id = "md5('appended')::uuid"
	s.exec("BEGIN")
	defer s.exec("ROLLBACK")
	s.exec("SELECT vault.store_secret(" + id + ", 'appended', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")")
	s.script(strings.ReplaceAll(c.state, "$id", id))
	s.exec("SAVEPOINT before")
	before := calls(s)
	info, err := tryGet[string](s, c.appendSQL(function, id))
	if err != nil {
		s.exec("ROLLBACK TO before")
		return failureText(s.t, err), strings.Contains(err.Error(), "append_anyhow")
	}
	return info + "\n" + get[string](s, appended, get[string](s, "SELECT "+id+"::text")), calls(s) > before
}

func calls(s *session) int {
	s.t.Helper()
	return get[int](s, "SELECT coalesce(pg_stat_get_xact_function_calls('vault.append_anyhow'::regproc), 0)::int")
}

// failureText is what an error says, but for where.
func failureText(t testing.TB, err error) string {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s (%s, %s) %s.%s.%s %s", pg.Code, pg.Message, pg.Detail, pg.Hint, pg.SchemaName, pg.TableName, pg.ColumnName, pg.ConstraintName)
}

// newAppend is a session that compares changes.
func newAppend(t *testing.T) (*bench, *session) {
	b := newBench(t, sharedCluster(t))
	s := b.c.connect(t, b.db, vaulttest.Superuser)
	s.exec("SET track_functions = 'all'")
	s.exec("ALTER FUNCTION vault.append_anyhow SECURITY DEFINER") // it runs as the owner for every caller here
	s.script(`CREATE FUNCTION vault.info_text(i vault.secret_info) RETURNS text LANGUAGE sql AS
		$$ SELECT (to_jsonb(i) - '{id,created_at,updated_at}'::text[] || jsonb_build_object('later', i.updated_at > i.created_at))::text $$`)
	return b, s
}

// TestAppendDoesAsDefined makes changes without a statement and by the definition, and compares what is stored then, or the
// error.
func TestAppendDoesAsDefined(t *testing.T) {
	_, s := newAppend(t)
	for _, c := range appendCases {
		s := &session{Conn: s.Conn, t: t}
		want, _ := c.made(s, defined)
		got, called := c.made(s, direct)
		if got != want {
			t.Errorf("%s: without a statement\n%s\nand by the definition\n%s", c.name, got, want)
		}
		if strings.HasPrefix(got, "{") && called == c.plain {
			t.Errorf("%s: that the definition was called is %v", c.name, called)
		}
	}
}

// alteration is what may have been done to a table. If it is plain, the change is made without a statement all the same.
type alteration struct {
	sql   string
	plain bool
}

// alterations are what an administrator may have done to the tables. The first ones leave the change what it was, and it is
// made without a statement all the same.
var alterations = []alteration{
	{"ALTER TABLE vault.secrets ADD COLUMN more int; ALTER TABLE vault.secrets DROP COLUMN more", true},
	{"ALTER TABLE vault.changes ADD COLUMN more int; ALTER TABLE vault.changes DROP COLUMN more; ALTER TABLE vault.changes ADD COLUMN other text", true},
	{"ALTER TABLE vault.audit_log DROP COLUMN journal, ADD COLUMN journal uuid", true}, // and with it goes the check of what fits
	{"ALTER TABLE vault.audit_log ADD COLUMN more text; ALTER TABLE vault.audit_log DROP COLUMN more", true},
	{"ALTER TABLE vault.changes ADD COLUMN more text NOT NULL DEFAULT 'given'", false},
	{"DELETE FROM vault.changes; ALTER TABLE vault.changes ADD COLUMN more text NOT NULL", true},
	{"CREATE DOMAIN filled AS text DEFAULT 'by the domain'; ALTER TABLE vault.changes ADD COLUMN more filled", false},
	{"ALTER TABLE vault.secret_versions ADD COLUMN doubled bigint GENERATED ALWAYS AS (version * 2) STORED", true},
	{"ALTER TABLE vault.secrets ADD COLUMN doubled bigint GENERATED ALWAYS AS (current_version * 2) STORED", true},
	{"ALTER TABLE vault.changes ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY", false},
	{"ALTER TABLE vault.secrets ADD CONSTRAINT low CHECK (current_version < 2) NOT VALID", true},
	{"ALTER TABLE vault.secret_versions ADD CONSTRAINT low CHECK (version < 2) NOT VALID", true},
	{"ALTER TABLE vault.audit_log_0 ADD CONSTRAINT low CHECK (version < 2) NOT VALID", true},
	{"CREATE INDEX ON vault.secrets (updated_at)", true},
	{"CREATE INDEX ON vault.secret_versions ((version * 2)) WHERE version > 1", true},
	{"CREATE UNIQUE INDEX ON vault.changes (action)", true},
	{"CREATE UNIQUE INDEX once ON vault.audit_log_0 (secret_name) WHERE action IN ('create', 'update') AND secret_name = 'altered'", true},
	{"CREATE INDEX ON vault.changes USING brin (at)", false},
	{"CREATE INDEX ON vault.secrets USING hash (current_version)", false},
	{"ALTER TABLE vault.changes ADD UNIQUE (action) DEFERRABLE", false},
	{"CREATE TABLE known (id uuid PRIMARY KEY); ALTER TABLE vault.secret_versions ADD FOREIGN KEY (secret_id) REFERENCES known NOT VALID", false},
	{"CREATE TRIGGER seen AFTER INSERT ON vault.changes FOR EACH STATEMENT EXECUTE FUNCTION note_seen()", false},
	{"CREATE TRIGGER seen AFTER INSERT ON vault.audit_log FOR EACH STATEMENT EXECUTE FUNCTION note_seen()", false},
	{"CREATE TRIGGER seen BEFORE DELETE ON vault.secret_versions FOR EACH ROW EXECUTE FUNCTION note_seen()", false},
	{"CREATE TRIGGER seen BEFORE UPDATE OF current_version ON vault.secrets FOR EACH ROW EXECUTE FUNCTION note_seen()", false},
	{"CREATE TRIGGER seen AFTER INSERT ON vault.audit_log FOR EACH ROW EXECUTE FUNCTION note_seen()", false},
	{"CREATE TRIGGER seen BEFORE UPDATE OF current_version ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.note_seen()", true},
	{"CREATE TRIGGER seen BEFORE UPDATE OF description ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.note_seen()", true},
	{"CREATE TRIGGER seen AFTER UPDATE ON vault.secrets FOR EACH ROW WHEN (NEW.current_version > 1) EXECUTE FUNCTION vault.note_seen()", true},
	{"CREATE TRIGGER seen AFTER INSERT OR DELETE ON vault.secret_versions FOR EACH ROW EXECUTE FUNCTION vault.note_seen()", true},
	{"CREATE TRIGGER seen BEFORE INSERT OR DELETE ON vault.secret_versions FOR EACH ROW EXECUTE FUNCTION vault.note_seen()", true},
	{"CREATE RULE seen AS ON INSERT TO vault.changes DO ALSO INSERT INTO seen VALUES ('rule', 'changes')", false},
	{"CREATE RULE seen AS ON UPDATE TO vault.secrets DO ALSO INSERT INTO seen VALUES ('rule', 'secrets')", false},
	{"CREATE RULE seen AS ON DELETE TO vault.secret_versions DO ALSO INSERT INTO seen VALUES ('rule', 'versions')", false},
	{"CREATE RULE seen AS ON INSERT TO vault.audit_log DO INSTEAD NOTHING", false},
	{"UPDATE vault.audit_numbering SET part = 7", true},
	{"ALTER TABLE vault.audit_log DETACH PARTITION vault.audit_log_0", false},
	{"ALTER TABLE vault.secret_versions REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE vault.secret_versions", true},
	{"ALTER TABLE vault.secrets REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE vault.secrets", true},
	{"DROP INDEX vault.changes_at_idx", true},
	{"ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_pkey", false},
	{"ALTER TABLE vault.secrets RENAME COLUMN bound TO unbound", false},
}

// alterationsOf18 are more of them, which PostgreSQL has from version 18 on.
var alterationsOf18 = []alteration{
	{"ALTER TABLE vault.secret_versions ADD COLUMN doubled bigint GENERATED ALWAYS AS (version * 2) VIRTUAL", true},
	{"ALTER TABLE vault.secrets ADD COLUMN doubled bigint GENERATED ALWAYS AS (current_version * 2) VIRTUAL", true},
	{"ALTER TABLE vault.secrets ADD COLUMN doubled bigint GENERATED ALWAYS AS (current_version * 2) VIRTUAL; " +
		"ALTER TABLE vault.secrets ADD CONSTRAINT low CHECK (doubled < 4) NOT VALID", true},
	{"ALTER TABLE vault.secret_versions ADD COLUMN other bigint GENERATED ALWAYS AS (nullif(version, 2)) VIRTUAL; " +
		"ALTER TABLE vault.secret_versions ADD CONSTRAINT other_given NOT NULL other NOT VALID", true},
	{"ALTER TABLE vault.changes ADD CONSTRAINT low CHECK (action <> 'update') NOT ENFORCED", true},
}

// TestAppendToAlteredTables makes the change in altered tables: in each state as by the definition.
func TestAppendToAlteredTables(t *testing.T) {
	_, s := newAppend(t)
	s.exec("CREATE TABLE public.seen (op text, of text)")
	s.exec("GRANT INSERT ON public.seen TO PUBLIC")
	for _, schema := range []string{"public", "vault"} {
		s.exec(`CREATE FUNCTION ` + schema + `.note_seen() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
			BEGIN INSERT INTO public.seen VALUES (TG_OP, TG_TABLE_NAME); RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END; END $$`)
	}
	altered := alterations
	if serverVersion(s) >= 180000 {
		altered = slices.Concat(alterations, alterationsOf18)
	}
	saw := 0
	for _, a := range altered {
		s.exec("BEGIN")
		s.exec("SELECT vault.update_secret('kept', 'next'::text, NULL)") // what a session keeps of the tables is of before
		s.script(a.sql)
		wants, _ := alteredChange(s, defined)
		got, called := alteredChange(s, direct)
		if got != wants {
			t.Errorf("%s: without a statement\n%s\nand by the definition\n%s", a.sql, got, wants)
		}
		if strings.HasPrefix(got, "{") && called == a.plain {
			t.Errorf("%s: that the definition was called is %v", a.sql, called)
		}
		saw += strings.Count(got, "INSERT") + strings.Count(got, "UPDATE") + strings.Count(got, "DELETE") + strings.Count(got, "rule")
		s.exec("ROLLBACK")
	}
	if saw < 6 {
		t.Errorf("triggers and rules ran %d times", saw)
	}
}

// alteredChange makes the usual change of a secret in the present transaction and takes it back. It returns what there was
// of it, with what triggers and rules have noted, or the error.
func alteredChange(s *session, function string) (outcome string, called bool) {
	s.t.Helper()
	const id = "md5('altered')::uuid"
	s.exec("SAVEPOINT altered")
	defer s.exec("ROLLBACK TO altered")
	const made = "SELECT vault.store_secret(" + id + ", 'altered', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")"
	if err := s.try(made); err != nil {
		return "created: " + failureText(s.t, err), false
	}
	s.exec("DELETE FROM public.seen")
	s.exec("SAVEPOINT before")
	before := calls(s)
	info, err := tryGet[string](s, appendCase{}.appendSQL(function, id))
	if err == nil {
		err = s.try("SET CONSTRAINTS ALL IMMEDIATE")
	}
	if err != nil {
		s.exec("ROLLBACK TO before")
		return failureText(s.t, err), false
	}
	seen := strings.Join(column(s, "SELECT op || ' ' || of FROM public.seen"), ", ")
	stored := get[string](s, appended, get[string](s, "SELECT "+id+"::text"))
	called = calls(s) > before
	return info + "\n" + generatedNumber.ReplaceAllString(stored, "") + "\n" + seen, called
}

// generatedNumber is the number that an identity column gives, which is never given again.
var generatedNumber = regexp.MustCompile(`"n": \d+, `)

// TestAppendsMeet has changes of one secret meet that was not locked before, as those by REST do. Each ends as by the definition.
func TestAppendsMeet(t *testing.T) {
	b, admin := newAppend(t)
	meets := []struct {
		name, first, begin, end string
		state                   string // "": the second one succeeds
	}{
		{"the first commits", usualAppend, "BEGIN", "COMMIT", "VT001"},
		{"the first is taken back", usualAppend, "BEGIN", "ROLLBACK", ""},
		{"in a snapshot", usualAppend, "BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT", "40001"},
		{"serializable", usualAppend, "BEGIN ISOLATION LEVEL SERIALIZABLE", "COMMIT", "40001"},
		{"in a snapshot, taken back", usualAppend, "BEGIN ISOLATION LEVEL REPEATABLE READ", "ROLLBACK", ""},
	}
	for i, function := range []string{defined, direct} {
		for j, m := range meets {
			id := fmt.Sprintf("md5('%d %d')::uuid", i, j)
			admin.exec("SELECT vault.store_secret(" + id + ", '" + fmt.Sprintf("meet/%d/%d", i, j) + "', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")")
			first, second := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
			second.exec(m.begin)
			second.exec("SELECT count(*) FROM vault.secrets")
			first.exec("BEGIN")
			first.exec("SELECT vault." + function + "(" + strings.ReplaceAll(m.first, "$id", id) + ")")
			done := second.background("SELECT vault." + function + "(" + strings.ReplaceAll(usualAppend, "$id", id) + ")")
			awaitLock(t, admin, second)
			first.exec(m.end)
			err := within(t, prompt, done)
			if m.state != "" {
				wantError(t, err, m.state, "")
			} else if err != nil {
				t.Errorf("%s by %s: %v", m.name, function, err)
			}
		}
	}
}

func awaitLock(t *testing.T, admin, waiting *session) {
	t.Helper()
	pgtest.Eventually(t, "it waits", func() bool {
		return get[bool](admin, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", waiting.pid())
	})
}

// awaitBlocked waits until a session waits for another one, and not for what else takes locks for a moment.
func awaitBlocked(t *testing.T, admin, waiting, by *session) {
	t.Helper()
	pgtest.Eventually(t, "it waits for the other", func() bool {
		return get[bool](admin, "SELECT $2::integer = ANY (pg_blocking_pids($1))", waiting.pid(), by.pid())
	})
}

// TestAppendMeetsOtherHands has a change meet what is done to the rows by hand, a deletion, a cancellation and a deadlock.
func TestAppendMeetsOtherHands(t *testing.T) {
	b, admin := newAppend(t)
	first, second := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
	const id = "md5('hands')::uuid"
	call := "SELECT vault.append_version(" + strings.ReplaceAll(usualAppend, "$id", id) + ")"
	admin.exec("SELECT vault.store_secret(" + id + ", 'hands', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")")
	meet := func(sql, end string) error {
		t.Helper()
		first.exec("BEGIN")
		first.exec(sql)
		done := second.background(call)
		awaitLock(t, admin, second)
		if end == "" {
			admin.exec("SELECT pg_cancel_backend($1)", second.pid())
			err := within(t, prompt, done)
			first.exec("ROLLBACK")
			return err
		}
		first.exec(end)
		return within(t, prompt, done)
	}
	wantError(t, meet("SELECT FROM vault.secrets WHERE name = 'hands' FOR UPDATE", ""), "57014", "")
	wantError(t, meet("SELECT FROM vault.secret_versions WHERE secret_id = "+id+" FOR UPDATE", ""), "57014", "")
	if err := meet("DELETE FROM vault.secret_versions WHERE secret_id = "+id, "COMMIT"); err != nil {
		t.Errorf("a version was deleted by hand: %v", err)
	}
	if got := get[string](admin, "SELECT string_agg(version::text, ' ') FROM vault.secret_versions WHERE secret_id = "+id); got != "2" {
		t.Errorf("versions %s are there", got)
	}
	call = strings.Replace(call, ", 1,", ", 2,", 1)
	if err := meet("UPDATE vault.secret_versions SET expires_at = now() + interval '1 day' WHERE secret_id = "+id, "COMMIT"); err != nil {
		t.Errorf("a version was changed by hand: %v", err)
	}
	if got := get[string](admin, "SELECT string_agg(version::text, ' ' ORDER BY version) FROM vault.secret_versions WHERE secret_id = "+id); got != "2 3" {
		t.Errorf("versions %s are there", got)
	}
	call = strings.Replace(call, ", 2,", ", 3,", 1)
	wantError(t, meet("SELECT vault.delete_secret("+id+", 3, "+planOrigin+")", "COMMIT"), "42704", "does not exist")
}

// failing are triggers that fail while a setting says so: before and after a row is updated, and after one is inserted.
const failing = `CREATE FUNCTION vault.fail() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN IF current_setting('test.fail', true) = TG_NAME THEN RAISE division_by_zero; END IF; RETURN NEW; END $$;
	CREATE TRIGGER before_update BEFORE UPDATE ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.fail();
	CREATE TRIGGER after_update AFTER UPDATE ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.fail();
	CREATE TRIGGER after_insert AFTER INSERT ON vault.changes FOR EACH ROW EXECUTE FUNCTION vault.fail()`

// TestAppendFailsInTriggers has triggers fail, and the session goes on: the row that a trigger had is not that of the next one.
func TestAppendFailsInTriggers(t *testing.T) {
	b, s := newAppend(t)
	s.script(failing)
	s.exec("SELECT vault.update_secret('kept', 'before'::text, NULL)")
	for i, at := range []string{"before_update", "after_update", "after_insert", "before_update"} {
		s.exec("SET test.fail = '" + at + "'")
		wantError(t, s.try("SELECT vault.update_secret('kept', 'not kept'::text, NULL)"), "22012", "")
		s.exec("SET test.fail = 'none'")
		s.exec("SELECT vault.update_secret('kept', $1::text, NULL)", fmt.Sprint("kept ", i))
		if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != fmt.Sprint("kept ", i) {
			t.Errorf("after %s read %q", at, got)
		}
	}
}

// TestAppendFailsAndGoesOn has changes fail in the middle of a session that keeps what it knows of the tables.
func TestAppendFailsAndGoesOn(t *testing.T) {
	b, s := newAppend(t)
	s.exec("BEGIN")
	for i := range 20 {
		s.exec("SAVEPOINT p")
		bad := []string{"24", "40"}[i%2]
		if err := s.try("SELECT vault.update_secret('kept', $1::text, NULL)", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		id := get[string](s, "SELECT id::text FROM vault.secrets WHERE name = 'kept'")
		version := get[int](s, "SELECT current_version::int FROM vault.secrets WHERE name = 'kept'")
		sealed := strings.Replace(planSealed, bad, "3", 1)
		wantError(t, s.try(fmt.Sprintf("SELECT vault.append_version('%s', %d, %s, 'update', NULL, false, %s)", id, version, sealed, planOrigin)), "23514", "secret_versions_fit")
		s.exec("ROLLBACK TO p")
		s.exec("SELECT vault.update_secret('kept', $1::text, NULL)", fmt.Sprint("kept ", i))
	}
	s.exec("COMMIT")
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != "kept 19" {
		t.Errorf("read %q", got)
	}
	if got := get[int](s, "SELECT count(*)::int FROM pg_backend_memory_contexts WHERE name = 'hyperion_vault table'"); got > 5 {
		t.Errorf("%d tables are kept", got)
	}
	_ = s.Close(context.Background())
}

// usualEnd is what the usual change has behind what vault.append_if_free() takes.
const usualEnd = `, NULL, false, ` + planOrigin

// planCaller is a caller by REST, before the arguments of its change.
const planCaller = `NULL, '127.0.0.1', NULL, 'update', 'appended', 'here', 'r'`

// TestAppendIfFree: what vault.append_if_free() does is what vault.append_version() does, and what it leaves to that leaves
// no trace.
func TestAppendIfFree(t *testing.T) {
	_, s := newAppend(t)
	s.exec("SELECT vault.grant_access('vault_anonymous', 'appended', '{update}')")
	bound := appendCase{name: "bound", state: "UPDATE vault.secrets SET bound = true WHERE id = $id;"}
	compared := 0
	for _, c := range append(appendCases, bound) {
		if c.args == "" {
			c.args = usualAppend
		}
		change, usual := strings.CutSuffix(c.args, usualEnd)
		if !usual {
			continue
		}
		compared++
		s := &session{Conn: s.Conn, t: t}
		free := c.tried(s, "vault.append_if_free("+planCaller+", "+change+")")
		if !c.plain {
			if free.outcome != "nothing" || free.stored != free.before {
				t.Errorf("%s: %s, and there is\n%s\ninstead of\n%s", c.name, free.outcome, free.stored, free.before)
			}
			continue
		}
		whole := c.tried(s, "vault.append_version("+change+", NULL, false, vault.admit("+planCaller+"))")
		if free.outcome != whole.outcome || free.stored != whole.stored {
			t.Errorf("%s: at once\n%+v\nand alone\n%+v", c.name, free, whole)
		}
	}
	if compared < 25 {
		t.Errorf("only %d cases", compared)
	}
	refused := appendCase{}.tried(s, "vault.append_if_free("+strings.Replace(planCaller, "appended", "other", 1)+", "+strings.TrimSuffix(usualAppend, usualEnd)+")")
	if refused.outcome != "nothing" || refused.stored != refused.before {
		t.Errorf("a caller without the right: %+v", refused)
	}
	for _, role := range []string{"PUBLIC", "vault_anonymous"} {
		if get[bool](s, "SELECT has_function_privilege($1, 'vault.append_if_free(bytea, inet, jsonb, text, text, text, text, uuid, bigint, vault.sealed_value, text)', 'EXECUTE')", strings.ToLower(role)) {
			t.Errorf("%s may call it", role)
		}
	}
}

// attempt is what became of a call, and what there is of the secret before and after it.
type attempt struct{ outcome, before, stored string }

// tried calls a function in a transaction of its own, and takes that back.
func (c appendCase) tried(s *session, call string) attempt {
	s.t.Helper()
	s.exec("BEGIN")
	defer s.exec("ROLLBACK")
	s.exec(storeAppended)
	s.script(strings.ReplaceAll(c.state, "$id", appendedID))
	return s.attempted(call)
}

// The secret that is changed, and the statement that makes it.
const (
	appendedID    = "md5('appended')::uuid"
	storeAppended = "SELECT vault.store_secret(" + appendedID + ", 'appended', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")"
)

// attempted calls a function in the present transaction.
func (s *session) attempted(call string) (a attempt) {
	s.t.Helper()
	there := func() string {
		rows := column(s, "SELECT coalesce(x, '') FROM ("+strings.ReplaceAll(appended, "$1", appendedID)+") AS x (x)")
		return strings.Join(rows, "\n")
	}
	a.before = there()
	s.exec("SAVEPOINT before")
	outcome, err := tryGet[string](s, "SELECT CASE WHEN f IS NULL THEN 'nothing' ELSE vault.info_text(f) END FROM "+strings.ReplaceAll(call, "$id", appendedID)+" f")
	if err != nil {
		s.exec("ROLLBACK TO before")
		outcome = failureText(s.t, err)
	}
	a.outcome, a.stored = outcome, there()
	return a
}

// TestAppendIfFreeWaitsForNoRow: what another session holds has the change left undone, or fails it once it has started. Only for
// a table it waits, and not for long.
func TestAppendIfFreeWaitsForNoRow(t *testing.T) {
	b, s := newAppend(t)
	s.exec("SELECT vault.grant_access('vault_anonymous', 'appended', '{update}')")
	s.exec(storeAppended)
	s.script(strings.ReplaceAll(many+"UPDATE vault.secret_versions SET expires_at = now() - interval '1 s' WHERE secret_id = $id AND version IN (2, 4)", "$id", appendedID))
	s.exec("SET statement_timeout = '20s'")
	const versions = "SELECT FROM vault.secret_versions WHERE secret_id = " + appendedID + " AND version = "
	holder := b.c.connect(t, b.db, vaulttest.Superuser)
	const inUse, timeout = "55P03 a version of the secret is in use by another transaction", "55P03 canceling statement due to lock timeout"
	for holds, want := range map[string]string{
		"SELECT FROM vault.secrets WHERE name = 'appended' FOR UPDATE":    "nothing",
		"SELECT FROM vault.secrets WHERE name = 'appended' FOR SHARE":     "nothing",
		"SELECT FROM vault.secrets WHERE name = 'appended' FOR KEY SHARE": "{",
		versions + "2 FOR KEY SHARE":                                      "nothing",
		versions + "4 FOR KEY SHARE":                                      inUse,
		versions + "6 FOR SHARE":                                          inUse,
		versions + "6 FOR KEY SHARE":                                      "{",
		versions + "5 FOR UPDATE":                                         "{",
		"LOCK TABLE vault.secret_versions IN SHARE MODE":                  timeout,
	} {
		holder.exec("BEGIN")
		holder.exec(holds)
		s.exec("BEGIN")
		got := s.attempted("vault.append_if_free(" + planCaller + ", $id, 6, " + planSealed + ", 'update')")
		s.exec("ROLLBACK")
		holder.exec("ROLLBACK")
		if made := want == "{"; !strings.HasPrefix(got.outcome, want) || made == (got.stored == got.before) {
			t.Errorf("%s: %s, not %s, and there is\n%s\nafter\n%s", holds, got.outcome, want, got.stored, got.before)
		}
	}
}

// TestAppendIfFreeSeesARevocation: a right that is revoked while the statement runs is none, although its snapshot has it.
func TestAppendIfFreeSeesARevocation(t *testing.T) {
	b, s := newAppend(t)
	s.exec("SELECT vault.grant_access('vault_anonymous', 'appended', '{update}')")
	s.exec(storeAppended)
	holder, admin := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
	for _, revoked := range []bool{true, false} {
		holder.exec("SELECT pg_advisory_lock(5)")
		made := make(chan bool, 1)
		go func() {
			got, err := tryGet[bool](s, "WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock(5)::text AS nothing) SELECT NOT (f IS NULL) FROM gate, LATERAL vault.append_if_free("+
				planCaller+", "+appendedID+", 1, "+planSealed+", 'update' || nothing) f")
			if err != nil {
				t.Error(err)
			}
			made <- got
		}()
		awaitLock(t, admin, s)
		if revoked {
			admin.exec("SELECT vault.revoke_access('vault_anonymous', 'appended', '{update}')")
		} else {
			admin.exec("SELECT vault.grant_access('vault_anonymous', 'appended', '{update}')")
		}
		holder.exec("SELECT pg_advisory_unlock(5)")
		if got := <-made; got == revoked {
			t.Errorf("the change was made: %v", got)
		}
	}
}

// TestAppendIfFreeRefusesAtOnce: the function decides by itself about the caller whom it is told of, so it is of no use to
// one who runs it without the rights of its owner. It refuses at once where nothing can be changed.
func TestAppendIfFreeRefusesAtOnce(t *testing.T) {
	b, s := newAppend(t)
	const call = "SELECT vault.append_if_free(" + planCaller + ", " + appendedID + ", 1, " + planSealed + ", 'update')"
	s.exec("BEGIN READ ONLY")
	wantError(t, s.try(call), "25006", "this transaction is read-only")
	s.exec("ROLLBACK")
	s.exec("ALTER FUNCTION vault.append_if_free SECURITY INVOKER")
	s.exec("GRANT EXECUTE ON FUNCTION vault.append_if_free TO PUBLIC")
	stranger := b.c.newRole(t)
	s.exec("GRANT USAGE ON SCHEMA vault TO " + stranger)
	s.exec("SET ROLE " + stranger)
	wantError(t, s.try(call), "42501", "permission denied for table")
	s.exec("RESET ROLE")
}
