package exttest

import (
	"fmt"
	"strings"
	"testing"

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
	{"", `'new', 'x'::text, tags => '{"a": "b"}'`, false},
	{"", `'new', 'x'::text, generate_policy => '{"length": 20}'`, false},
	{"", "'new', 'x'::text, 'automatic', rotation_interval_secs => 60", false},
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
	(SELECT jsonb_agg(jsonb_build_array(v.version, v.envelope_version, v.created_at = s.created_at, v.expires_at, v.expired, v.delete_at, octet_length(v.ciphertext)))
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
	count := "SELECT coalesce(pg_stat_get_xact_function_calls('vault.store_secret'::regproc), 0)::int"
	n := get[int](s, count)
	version, err := tryGet[int64](s, "SELECT vault.create_secret("+args+")")
	if err != nil {
		s.exec("ROLLBACK TO before")
		return failureText(s.t, err), true
	}
	called = get[int](s, count) > n
	return fmt.Sprintln(version) + get[string](s, created), called
}

// TestCreateDoesAsDefined makes secrets without a statement and by vault.store_secret, and compares what is stored then, or
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

// TestCreationsMeet has creations of one name meet: each ends as by vault.store_secret.
func TestCreationsMeet(t *testing.T) {
	b, admin := newAppend(t)
	gone := []string{"SELECT vault.create_secret('meet', 'x'::text)", "SELECT vault.delete_secret('meet', NULL)"}
	for _, statement := range []bool{true, false} {
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
			done := second.background("SELECT vault.create_secret('meet', 'y'::text)")
			awaitLock(t, admin, second)
			first.exec(m.end)
			if err := within(t, prompt, done); m.state != "" {
				wantError(t, err, m.state, m.part)
				second.exec("ROLLBACK")
			} else if err != nil {
				t.Errorf("%s, %s: %v", m.begin, m.end, err)
			} else {
				second.exec("COMMIT")
			}
			if got := get[string](admin, "SELECT string_agg(first_version::text, ' ') FROM vault.secrets WHERE name = 'meet'"); got != m.versionsAfter {
				t.Errorf("%s, %s: secrets %s are there", m.begin, m.end, got)
			}
		}
	}
}
