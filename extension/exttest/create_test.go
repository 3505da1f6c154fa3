package exttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// unknownDefault has every change take statements: the library does not know the column, which has a default.
const unknownDefault = "ALTER TABLE vault.changes ADD COLUMN more text DEFAULT 'x'"

// creations are calls of vault.create_secret, with what was before them, and whether they are made without a statement.
var creations = []struct {
	before, args string
	plain        bool
}{
	{"", "'new', 'x'::text", true},
	{"", "'new', 'x'::bytea", true},
	{"", "'new', 'x'::text, description => 'what it is'", true},
	{"", "'new', 'x'::text, description => repeat('ä', 512)", true},
	{"", "'new', 'x'::text, description => repeat('ä', 513)", false},
	{"", "'new', 'x'::text, content_type => 'application/json'", true},
	{"", "'new', '{}'::text, content_type => 'application/json'", true},
	{"", "'new', 'x'::text, grace_period_secs => 3600, keep_versions => 100", true},
	{"", "'new', 'x'::text, grace_period_secs => 315360001", false},
	{"", "'new', 'x'::text, grace_period_secs => -1", false},
	{"", "'new', 'x'::text, keep_versions => 101", false},
	{"", "'new', 'x'::text, keep_versions => -1", false},
	{"", `'new', 'x'::text, tags => '{"a": "b"}'`, true},
	{"", `'new', 'x'::text, generate_policy => '{"length": 20}'`, true},
	{"", "'new', 'x'::text, 'automatic', rotation_interval_secs => 60", true},
	{"", "'new', NULL::text, 'automatic', rotation_interval_secs => 60", true},
	{"", "'new', 'x'::text, rotation_time_zone => 'UTC', tags => '{}'", true},
	{"", "'new', 'x'::text, rotation_time_zone => 'Europe/Rome'", false},
	{"", "'new', 'x'::text, tags => '[]'", false},
	{"", "'new', 'x'::text, description => NULL, tags => NULL, grace_period_secs => NULL, keep_versions => NULL", true},
	{"", "'new', 'x'::text, 'odd'", false},
	{"", "'new', NULL::text", false},
	{"SELECT vault.create_secret('new', 'x'::text)", "'new', 'x'::text", false},
	{lived, "'new', 'x'::text", true},
	{lived + ";" + lived, "'new', 'x'::text", true},
	{lived + "; SELECT vault.create_secret('new', 'x'::text)", "'new', 'x'::text", false},
	{"SELECT vault.create_secret('new', 'x'::text); UPDATE vault.secrets SET current_version = 0 WHERE name = 'new'; UPDATE vault.secrets SET deleted_at = now() WHERE name = 'new'", "'new', 'x'::text", true},
	{"SELECT vault.create_secret('newer', 'x'::text)", "'new', 'x'::text", true},
	{"ALTER TABLE vault.secrets ADD COLUMN more text DEFAULT 'given'", "'new', 'x'::text", false},
	{"ALTER TABLE vault.secrets ADD COLUMN more bigint GENERATED ALWAYS AS (current_version * 2) STORED", "'new', 'x'::text", true},
	{"ALTER TABLE vault.secrets ADD COLUMN more text; ALTER TABLE vault.secrets DROP COLUMN more", "'new', 'x'::text", true},
	{"ALTER TABLE vault.secrets ADD CHECK (description <> '') NOT VALID", "'new', 'x'::text", true},
	{"CREATE UNIQUE INDEX ON vault.secrets (content_type)", "'new', 'x'::text", true},
	{"ALTER TABLE vault.secrets DROP COLUMN bound CASCADE", "'new', 'x'::text", false},
	{"DROP INDEX vault.secrets_first_version_key; CREATE UNIQUE INDEX secrets_first_version_key ON vault.secrets (first_version, name)", "'new', 'x'::text", false},
	{"DROP TRIGGER secrets_settings_fit ON vault.secrets", "'new', 'x'::text", true},
}

const lived = "SELECT vault.create_secret('new', 'x'::text); SELECT vault.update_secret('new', 'x'::text, NULL); SELECT vault.delete_secret('new', NULL)"

// created is what there is of a new secret. Ids, times and the sealed value are left out, but for how they are to each other.
const created = `SELECT coalesce(string_agg(concat_ws(E'\n',
	to_jsonb(s) - '{id,created_at,updated_at,deleted_at,restorable_until,next_rotation_at}'::text[] || jsonb_build_object('same', s.updated_at = s.created_at, 'next', s.next_rotation_at - s.created_at, 'gone', s.deleted_at IS NOT NULL),
	(SELECT jsonb_agg(jsonb_build_array(v.version, v.envelope_version, v.created_at = s.created_at, v.expires_at, v.expired, v.delete_at - v.created_at, octet_length(v.ciphertext)))
	 FROM vault.secret_versions v WHERE v.secret_id = s.id),
	(SELECT jsonb_agg(to_jsonb(l) - '{id,at,request_id}'::text[] ORDER BY l.id) FROM vault.audit_log l WHERE s.name = l.secret_name),
	(SELECT jsonb_agg(to_jsonb(c) - '{xid,id,at,more}'::text[] ORDER BY c.id) FROM vault.changes c WHERE s.name = c.name)), E'\n' ORDER BY s.first_version), 'none')
	FROM vault.secrets s WHERE s.name = 'new'`

// made makes the creation in a transaction and takes it back. It returns what there was then, or the error, and whether a
// statement was called.
func creationMade(s *session, before, args, begin string, statement bool) (outcome string, called bool) {
	s.t.Helper()
	s.exec(begin)
	defer s.exec("ROLLBACK")
	if before != "" {
		s.script(before)
	}
	if statement {
		s.exec(unknownDefault)
	}
	s.exec("SAVEPOINT before")
	count := "SELECT coalesce(pg_stat_get_xact_function_calls('vault.create_anyhow'::regproc), 0)::int"
	n := get[int](s, count)
	version, err := tryGet[int64](s, "SELECT vault.create_secret("+args+")")
	if err != nil {
		s.exec("ROLLBACK TO before")
		return failureText(s.t, err), true
	}
	called = get[int](s, count) > n
	return fmt.Sprintln(version) + get[string](s, created), called
}

// TestCreateDoesAsDefined makes secrets without a statement and by vault.create_anyhow, and compares what is stored then, or
// the error.
func TestCreateDoesAsDefined(t *testing.T) {
	_, s := newAppend(t)
	for _, c := range creations {
		for _, begin := range []string{"BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE"} {
			want, called := creationMade(s, c.before, c.args, begin, true)
			if !called {
				t.Errorf("%s after %s: no statement was called", c.args, c.before)
			}
			got, called := creationMade(s, c.before, c.args, begin, false)
			if got != want {
				t.Errorf("%s after %s: without a statement\n%s\nand by one\n%s", c.args, c.before, got, want)
			}
			if strings.Contains(got, "\n") && called == c.plain {
				t.Errorf("%s after %s: that a statement was called is %v", c.args, c.before, called)
			}
		}
	}
}

// storeCase is a call of vault.store_secret, with what was before it, and whether it is made without a statement.
type storeCase struct {
	before string
	args   []any // pairs of the number of an argument, from 0, and what stands for the usual one
	plain  bool
}

const (
	storeID = iota
	storeName
	storeVersion
	storeSealed
	storeKind
	storeContentType
	storeSettings
	storeMore
	storeOrigin
)

var usualStore = []string{"md5('new')::uuid", "'new'", "1", planSealed, "'manual'", "'text/plain'", planNoSet, "NULL", planOrigin}

// setting is a row of vault.secret_settings with one field or two: pairs of its number, from 0, and its text.
func setting(pairs ...any) string {
	fields := strings.Split(strings.Repeat("NULL ", 10), " ")[:10]
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(int)] = pairs[i+1].(string)
	}
	return "ROW(" + strings.Join(fields, ", ") + ")::vault.secret_settings"
}

const (
	description = iota
	tags
	interval
	schedule
	timeZone
	window
	paused
	grace
	keep
	policy
)

// given are the arguments of vault.store_secret.
func (c storeCase) given() []string {
	args := slices.Clone(usualStore)
	for i := 0; i < len(c.args); i += 2 {
		args[c.args[i].(int)] = c.args[i+1].(string)
	}
	return args
}

func (c storeCase) sql(function string) string {
	return "SELECT vault.state_text(vault." + function + "(" + strings.Join(c.given(), ", ") + "))"
}

// plainSQL is sql of vault.store_secret for any session.
func (c storeCase) plainSQL() string {
	return strings.Replace(strings.TrimSuffix(c.sql("store_secret"), ")"), "vault.state_text(", "", 1)
}

func with(pairs ...any) []any { return pairs }

func automatic(pairs ...any) []any {
	return with(storeKind, "'automatic'", storeSettings, setting(pairs...))
}

func manual(pairs ...any) []any { return with(storeSettings, setting(pairs...)) }

func more(fields string) []any { return with(storeMore, "ROW("+fields+")::vault.version_settings") }

var storeCases = []storeCase{
	{"", nil, true},
	{"", with(storeSettings, "NULL"), true},
	{"", more("NULL, NULL"), true},
	{"", more("true, 0"), true},
	{"", more("false, 1"), true},
	{"", more("NULL, 315360000"), true},
	{"", more("NULL, 315360001"), false},
	{"", more("NULL, -1"), false},
	{"", with(storeContentType, "'application/json'"), true},
	{"", with(storeContentType, "''"), true}, // the check of the table refuses it
	{"", with(storeName, "''"), true},
	{"", with(storeName, "repeat('n', 256)"), true},
	{"", with(storeKind, "'odd'"), false},
	{"", with(storeKind, "'automatic'"), false},
	{"", automatic(interval, "60"), true},
	{"", automatic(interval, "1"), true},
	{"", automatic(interval, "315360000", paused, "true"), true},
	{"", automatic(interval, "0"), false},
	{"", automatic(interval, "315360001"), false},
	{"", automatic(schedule, "'0 3 * * *'"), true},
	{"", automatic(schedule, "'0 3 * * *'", window, "60"), true},
	{"", automatic(schedule, "'0 3 * * *'", window, "31536000"), true},
	{"", automatic(schedule, "'0 3 * * *'", window, "0"), true},
	{"", automatic(schedule, "'0 3 * * *'", window, "59"), false},
	{"", automatic(schedule, "'0 3 * * *'", window, "31536001"), false},
	{"", automatic(schedule, "'0 3 * * *'", timeZone, "'UTC'"), true},
	{"", automatic(schedule, "'0 3 * * *'", timeZone, "'Europe/Rome'"), false},
	{"", automatic(schedule, "'0 3 * * *'", timeZone, "'utc'"), false},
	{"", automatic(schedule, "'0 3 * * '"), false},
	{"", automatic(schedule, "repeat('9', 255)"), true},
	{"", automatic(schedule, "repeat('9', 256)"), false},
	{"", automatic(schedule, "'0 3 * * *'", interval, "60"), false},
	{"", manual(interval, "60"), false},
	{"", manual(schedule, "'0 3 * * *'"), false},
	{"", manual(window, "600"), true},
	{"", manual(description, "repeat('ä', 512)"), true},
	{"", manual(description, "repeat('ä', 513)"), false},
	{"", manual(grace, "315360000", keep, "100"), true},
	{"", manual(grace, "315360001"), false},
	{"", manual(grace, "-1"), false},
	{"", manual(keep, "101"), false},
	{"", manual(keep, "-1"), false},
	{"", manual(policy, `'{"length": 20}'`), true},
	{"", manual(policy, `'[]'`), false},
	{"", manual(policy, `'null'`), false},
	{"", manual(policy, `jsonb_build_object('a', repeat('x', 4087))`), true},
	{"", manual(policy, `jsonb_build_object('a', repeat('x', 4088))`), false},
	{"", manual(policy, `jsonb_build_object('a', 1e4088)`), true},
	{"", manual(policy, `jsonb_build_object('a', 1e4089)`), false},
	{"", manual(tags, `'{}'`), true},
	{"", manual(tags, `'{"a": "b", "c": ""}'`), true},
	{"", manual(tags, `'[]'`), false},
	{"", manual(tags, `'["a"]'`), false},
	{"", manual(tags, `'"a"'`), false},
	{"", manual(tags, `'{"a": 1}'`), false},
	{"", manual(tags, `'{"a": null}'`), false},
	{"", manual(tags, `'{"a": {"b": "c"}}'`), false},
	{"", manual(tags, `'{"a": ["b"]}'`), false},
	{"", manual(tags, `'{"": "b"}'`), false},
	{"", manual(tags, `jsonb_build_object(repeat('ä', 64), repeat('ä', 256))`), true},
	{"", manual(tags, `jsonb_build_object(repeat('a', 129), '')`), false},
	{"", manual(tags, `jsonb_build_object('a', repeat('ä', 257))`), false},
	{"", manual(tags, `(SELECT jsonb_object_agg(g, repeat('x', 512)) FROM generate_series(1, 64) g)`), true},
	{"", manual(tags, `(SELECT jsonb_object_agg(g, '') FROM generate_series(1, 65) g)`), false},
	{"", manual(tags, `(SELECT jsonb_object_agg(g, repeat(E'\\x01', 512)) FROM generate_series(1, 64) g)`), false},
	{"", with(storeOrigin, "NULL"), true},
	{"", with(storeOrigin, strings.Replace(planOrigin, "'role:x'", `E'token:t\x1f3f0e6f0a-1111-4222-8333-444455556666\x1fjwt'`, 1)), true},
	{"", with(storeOrigin, strings.Replace(planOrigin, "NULL, NULL, 'r'", "'x', '10.1.2.3/8', NULL", 1)), true},
	{"", with(storeOrigin, strings.Replace(planOrigin, "'here'", "NULL", 1)), true},
	{"", with(storeSealed, "NULL"), true},
	{"", with(storeSealed, strings.Replace(planSealed, "24", "23", 1)), true},
	{"", with(storeSealed, strings.Replace(planSealed, "repeat('cd', 40)", "repeat('cd', 1000000)", 1)), true},
	{"", with(storeSealed, strings.Replace(planSealed, "repeat('cd', 40)", "repeat('cd', 1048593)", 1)), true},
	{"", with(storeID, "NULL"), false},
	{"", with(storeName, "NULL"), false},
	{"", with(storeVersion, "NULL"), false},
	{"", with(storeKind, "NULL"), false},
	{"", with(storeContentType, "NULL"), false},
	{"", with(storeVersion, "2"), false},
	{"", with(storeVersion, "0"), false},
	{"SELECT vault.create_secret('new', 'x'::text)", nil, false},
	{"SELECT vault.create_secret('newer', 'x'::text)", nil, true},
	{lived, nil, false},
	{lived, with(storeVersion, "3"), true},
	{lived, with(storeVersion, "4"), false},
	{"SET hyperion_vault.deleted_retention_days = 1;" + lived, with(storeVersion, "3"), true},
	{"SELECT vault.store_metadata(md5('new')::uuid, 'new', 'text/plain', NULL, NULL, " + planOrigin + "); SELECT vault.delete_secret(md5('new')::uuid, 0, " + planOrigin + ")",
		with(storeID, "md5('other')::uuid", storeVersion, "2"), true},
	{"SELECT vault.create_secret('other', 'x'::text); UPDATE vault.secrets SET id = md5('new')::uuid WHERE name = 'other'", nil, true}, // the id is taken
	{"CREATE TRIGGER seen BEFORE INSERT ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.describe_row()", nil, true},
	{"ALTER TABLE vault.secrets ADD COLUMN more text DEFAULT 'given'", nil, false},
	{unknownDefault, nil, false},
	{"SET TRANSACTION READ ONLY", nil, false},
}

// made makes the secret by the function in a transaction and takes it back. It returns what there was then, or the error, and
// whether the definition was called.
func (c storeCase) made(s *session, function, begin string) (outcome string, called bool) {
	s.t.Helper()
	s.exec(begin)
	defer s.exec("ROLLBACK")
	if c.before != "" {
		s.script(c.before)
	}
	s.exec("SAVEPOINT before")
	count := "SELECT coalesce(pg_stat_get_xact_function_calls('vault.create_anyhow'::regproc), 0)::int"
	before := get[int](s, count)
	state, err := tryGet[string](s, c.sql(function))
	if err != nil {
		s.exec("ROLLBACK TO before")
		var pg *pgconn.PgError
		return failureText(s.t, err), errors.As(err, &pg) && strings.Contains(pg.Where, "create_anyhow")
	}
	return state + "\n" + get[string](s, created), get[int](s, count) > before
}

// newStore is a session that compares creations.
func newStore(t *testing.T) (*bench, *session) {
	b, s := newAppend(t)
	s.exec("ALTER FUNCTION vault.create_anyhow SECURITY DEFINER") // it runs as the owner for every caller here
	s.script(`CREATE FUNCTION vault.state_text(i vault.secret_state) RETURNS text LANGUAGE sql AS
		$$ SELECT (to_jsonb(i) - '{created_at,updated_at,next_rotation_at}'::text[]
			|| jsonb_build_object('same', i.updated_at = i.created_at, 'next', i.next_rotation_at - i.created_at))::text $$;
		CREATE FUNCTION vault.describe_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.description := 'by a trigger'; RETURN NEW; END $$`)
	return b, s
}

// TestStoreDoesAsDefined makes secrets as the API does, without a statement and by vault.create_anyhow, and compares what is
// stored and returned then, or the error.
func TestStoreDoesAsDefined(t *testing.T) {
	_, s := newStore(t)
	for _, c := range storeCases {
		for _, begin := range []string{"BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE"} {
			want, _ := c.made(s, "create_anyhow", begin)
			got, called := c.made(s, "store_secret", begin)
			if got != want {
				t.Errorf("%v after %s: without a statement\n%s\nand by the definition\n%s", c.args, c.before, got, want)
			}
			if strings.HasPrefix(got, "{") && called == c.plain {
				t.Errorf("%v after %s: that the definition was called is %v", c.args, c.before, called)
			}
			if !strings.HasPrefix(got, "{") && c.plain && called {
				t.Errorf("%v after %s: the definition was called: %s", c.args, c.before, got)
			}
		}
	}
}

// TestCreationsMeet has creations of one name meet: each ends as by vault.create_anyhow.
func TestCreationsMeet(t *testing.T) {
	b, admin := newAppend(t)
	gone := []string{"SELECT vault.create_secret('meet', 'x'::text)", "SELECT vault.delete_secret('meet', NULL)"}
	creations := []string{"SELECT vault.create_secret('meet', 'y'::text)", storeCase{args: with(storeID, "gen_random_uuid()", storeName, "'meet'")}.plainSQL()}
	for i := range 4 {
		statement, create := i%2 == 0, creations[i/2]
		for _, m := range []struct {
			first         []string
			begin, end    string
			state, part   string
			versionsAfter string
		}{
			{gone[:1], "BEGIN", "COMMIT", "23505", `secret "meet" already exists`, "1"},
			{gone[:1], "BEGIN", "ROLLBACK", "", "", "1"},
			{gone, "BEGIN", "COMMIT", "40001", "was used and freed meanwhile", "1"},
			{gone[:1], "BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT", "40001", "", "1"},
			{gone[:1], "BEGIN ISOLATION LEVEL SERIALIZABLE", "COMMIT", "40001", "", "1"},
			{gone[:1], "BEGIN ISOLATION LEVEL REPEATABLE READ", "ROLLBACK", "", "", "1"},
		} {
			if admin.exec("DELETE FROM vault.secrets WHERE name = 'meet'"); statement {
				admin.exec("ALTER TABLE vault.changes ADD COLUMN IF NOT EXISTS more text DEFAULT 'x'")
			} else {
				admin.exec("ALTER TABLE vault.changes DROP COLUMN IF EXISTS more")
			}
			first, second := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
			second.exec(m.begin)
			second.exec("SELECT count(*) FROM vault.secrets")
			first.exec("BEGIN")
			for _, sql := range m.first {
				first.exec(sql)
			}
			done := second.background(create)
			awaitLock(t, admin, second)
			first.exec(m.end)
			if err := within(t, prompt, done); m.state != "" {
				wantError(t, err, m.state, m.part)
				second.exec("ROLLBACK")
			} else if err != nil {
				t.Errorf("%s, %s, %s: %v", create, m.begin, m.end, err)
			} else {
				second.exec("COMMIT")
			}
			if got := get[string](admin, "SELECT string_agg(first_version::text, ' ') FROM vault.secrets WHERE name = 'meet'"); got != m.versionsAfter {
				t.Errorf("%s, %s, %s: secrets %s are there", create, m.begin, m.end, got)
			}
		}
	}
}
