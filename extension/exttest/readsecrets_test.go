package exttest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// secretRow is a row of vault.read_secrets().
type secretRow struct {
	Name    *string
	Version *int64
	Value   *string
	Code    *string
	Error   *string
}

func (r secretRow) String() string {
	show := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	return show(r.Name) + " " + show(r.Value) + " " + show(r.Code)
}

func readSecrets(s *session, sql string, args ...any) (shown []string) {
	s.t.Helper()
	rows, err := s.Query(bounded(s.t), sql, args...)
	if err == nil {
		var all []secretRow
		if all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[secretRow]); err == nil {
			for _, r := range all {
				if (r.Value == nil) != (r.Version == nil) || (r.Code == nil) != (r.Error == nil) || (r.Value == nil) == (r.Code == nil) {
					s.t.Errorf("a row is half a value: %+v", r)
				}
				shown = append(shown, r.String())
			}
			return shown
		}
	}
	s.t.Fatalf("%s: %v", sql, err)
	return nil
}

// manySecrets is a role that may read m/*, and its session; "other" is there too, and m/bytes, m/broken, m/lost.
func manySecrets(t *testing.T) (b *bench, s *session) {
	t.Helper()
	b = newBench(t, sharedCluster(t))
	for _, name := range []string{"m/a", "m/b", "m/json", "m/broken", "m/lost", "other"} {
		contentType := "text/plain; charset=utf-8"
		if name == "m/json" {
			contentType = "application/json"
		}
		b.exec("SELECT vault.create_secret($1, $2::text, content_type => $3)", name, `"value of `+name+`"`, contentType)
	}
	b.exec("SELECT vault.create_secret('m/bytes', '\\x00ff'::bytea)")
	b.exec("UPDATE vault.secret_versions v SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) FROM vault.secrets s WHERE s.id = v.secret_id AND s.name = 'm/broken'")
	b.exec("DELETE FROM vault.secret_versions v USING vault.secrets s WHERE s.id = v.secret_id AND s.name = 'm/lost'")
	role := b.c.newRole(t)
	b.grant(role, "m/*", "read")
	b.agent.recorded()
	return b, b.c.connect(t, b.db, role)
}

func TestReadSecrets(t *testing.T) {
	b, s := manySecrets(t)
	names := []any{"m/b", "other", "m/none", "nowhere/none", "../m", nil, "m/json", "m/bytes", "m/broken", "m/lost", "m/a", "m/b"}
	got := readSecrets(s, "SELECT * FROM vault.read_secrets($1)", names)
	want := []string{
		`m/b "value of m/b" -`, "other - 42501", "m/none - 42704", "nowhere/none - 42501", "../m - 22023", "- - 22004",
		`m/json "value of m/json" -`, "m/bytes - 22023", "m/broken - XX001", "m/lost - XX001", `m/a "value of m/a" -`, `m/b "value of m/b" -`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	sent := b.agent.recorded()
	if len(sent) != 2 || sent[0].Op != frame.OpReadEach || len(sent[0].Items) != len(names) {
		t.Fatalf("sent %+v", sent)
	}
	for i, code := range []core.Code{"", core.Denied, core.NotFound, core.Denied, core.Invalid, core.Invalid, "", core.Invalid, "", core.Corrupt, "", ""} {
		if it := sent[0].Items[i]; it.Code != code || (it.Code == "") != (it.Key.Version == 1) {
			t.Errorf("%v is recorded as %q of version %d, want %q", names[i], it.Code, it.Key.Version, code)
		}
	}
	// What did not open got its key, and has a second record that says so.
	if r := sent[1]; r.Op != frame.OpRecord || r.Name != "m/broken" || r.Outcome != "failed" || r.Code != core.Corrupt {
		t.Errorf("sent %+v", r)
	}
}

func TestReadSecretsBelow(t *testing.T) {
	b, s := manySecrets(t)
	b.exec("SELECT vault.delete_secret('m/b', NULL)")
	got := readSecrets(s, "SELECT * FROM vault.read_secrets_below('m/')")
	want := []string{`m/a "value of m/a" -`, "m/broken - XX001", "m/bytes - 22023", `m/json "value of m/json" -`, "m/lost - XX001"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if got := readSecrets(s, "SELECT * FROM vault.read_secrets_below('')"); len(got) != len(want) {
		t.Errorf("of everything a role sees %q", got)
	}
	if got := readSecrets(s, "SELECT * FROM vault.read_secrets_below('other')"); got != nil {
		t.Errorf("got %q", got)
	}
	if got := readSecrets(s, "SELECT * FROM vault.read_secrets('{}')"); got != nil {
		t.Errorf("of no names there is %q", got)
	}
	wantError(t, s.try("SELECT * FROM vault.read_secrets(NULL)"), "22004", "must not be null")
	wantError(t, s.try("SELECT * FROM vault.read_secrets_below('no//prefix')"), "22023", "")
}

// An array may have any shape and length, and every value that was read is recorded, also one that the statement leaves out.
func TestReadSecretsOfOddArrays(t *testing.T) {
	b, s := manySecrets(t)
	a, other := `m/a "value of m/a" -`, `m/b "value of m/b" -`
	for sql, want := range map[string][]string{
		"SELECT * FROM vault.read_secrets('{{m/a,m/b},{m/b,m/a}}')":              {a, other, other, a},
		"SELECT * FROM vault.read_secrets('[7:8]={m/b,m/a}')":                    {other, a},
		"SELECT * FROM vault.read_secrets('{m/a,m/b}') LIMIT 1":                  {a},
		"SELECT * FROM vault.read_secrets('{m/a,m/b}') r WHERE r.name = 'm/b'":   {other},
		"SELECT r.* FROM (VALUES ('m/b')) v (n), vault.read_secrets(ARRAY[n]) r": {other},
	} {
		if got := readSecrets(s, sql); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%s", sql, strings.Join(got, "\n"))
		}
	}
	b.agent.recorded()
	_ = readSecrets(s, "SELECT * FROM vault.read_secrets('{m/a,m/b}') LIMIT 1")
	if sent := b.agent.recorded(); len(sent) != 1 || len(sent[0].Items) != 2 {
		t.Errorf("sent %+v", sent)
	}
	const many = "SELECT * FROM vault.read_secrets(ARRAY(SELECT (ARRAY['m/a', 'm/none', 'm/b', NULL])[i % 4 + 1] FROM generate_series(0, 9999) i))"
	got := readSecrets(s, many)
	for i, row := range got {
		if want := []string{a, "m/none - 42704", other, "- - 22004"}[i%4]; row != want {
			t.Fatalf("row %d of 10000 is %s", i, row)
		}
	}
	items := 0
	for _, r := range b.agent.recorded() {
		items += len(r.Items)
	}
	if len(got) != 10000 || items != 10000 {
		t.Errorf("%d rows, %d of them recorded", len(got), items)
	}
}

// A prefix means its characters, and ends where a segment of a name does.
func TestReadSecretsBelowOddPrefixes(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	for _, name := range []string{"p_x/a", "p_x", "p_xy", "pax/a", "p.x/a"} {
		b.exec("SELECT vault.create_secret($1, 'v'::text)", name)
	}
	for prefix, want := range map[string]string{"p_x": "p_x v -, p_x/a v -", "p_x/": "p_x/a v -", "p.x": "p.x/a v -", "p": "", "_": "", "p_x/a/": ""} {
		if got := strings.Join(readSecrets(b.session, "SELECT * FROM vault.read_secrets_below($1)", prefix), ", "); got != want {
			t.Errorf("below %q: %s", prefix, got)
		}
	}
	for _, prefix := range []string{"%", "p%", `p\_x`, "*", "/", "p_x//", "p x", " "} {
		wantError(t, b.try("SELECT * FROM vault.read_secrets_below('"+prefix+"')"), "22023", "prefix")
	}
	wantError(t, b.try("SELECT * FROM vault.read_secrets_below(NULL)"), "22004", "must not be null")
}

// Without the agent nothing leaves, and a revocation is in force for the next statement of an old snapshot.
func TestReadSecretsFailsClosed(t *testing.T) {
	b, s := manySecrets(t)
	s.exec("BEGIN ISOLATION LEVEL REPEATABLE READ")
	s.exec("SELECT 1")
	role := get[string](s, "SELECT current_user")
	b.exec("SELECT vault.revoke_access($1::text::regrole, 'm/*', '{read}')", role)
	b.grant(role, "n/*", "read")
	if got := readSecrets(s, "SELECT * FROM vault.read_secrets('{m/a}')"); len(got) != 1 || got[0] != "m/a - 42501" {
		t.Errorf("after the revocation: %q", got)
	}
	s.exec("ROLLBACK")
	b.grant(role, "m/*", "read")
	b.agent.behave(func(c *net.UnixConn) {
		r := ask(c)
		_, _ = c.Write(encode(&frame.Response{Op: r.Op, Code: core.Unavailable, Msg: "the audit record could not be written"}))
		untilClosed(c)
	})
	wantError(t, s.try("SELECT * FROM vault.read_secrets('{m/a}')"), "08006", "could not be written")
	b.agent.behave(func(c *net.UnixConn) {
		_ = ask(c)
		_, _ = c.Write(encode(&frame.Response{Op: frame.OpReadEach, Results: []frame.Result{{Key: random(32)}, {Key: random(32)}}}))
		untilClosed(c)
	})
	wantError(t, s.try("SELECT * FROM vault.read_secrets('{m/a}')"), "08006", "another question")
	b.agent.stop()
	wantError(t, s.try("SELECT * FROM vault.read_secrets('{m/a}')"), "08001", "key agent")
	b.agent.listen()
	b.agent.behave(nil)
	if got := readSecrets(s, "SELECT * FROM vault.read_secrets('{m/a}')"); len(got) != 1 || got[0] != `m/a "value of m/a" -` {
		t.Errorf("got %q", got)
	}
}

// Many values go in few requests, and into no temporary file however little work_mem there is.
func TestReadSecretsOfManyValues(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	value := strings.Repeat("0123456789abcdef", 2048)
	b.exec("SELECT vault.create_secret('big/' || i, $1 || i) FROM generate_series(1, 60) i", value)
	b.agent.recorded()
	b.exec("SET work_mem = '64kB'")
	b.exec("SET log_temp_files = 0")
	temporary := filepath.Join(b.c.Data(), "base", "pgsql_tmp")
	_ = os.RemoveAll(temporary) // it is made with the first file
	names := make([]string, 1500)
	for i := range names {
		names[i] = fmt.Sprintf("big/%d", i%60+1)
	}
	b.exec("BEGIN")
	b.exec("DECLARE c CURSOR FOR SELECT length(value) FROM vault.read_secrets($1::text[])", names)
	if n := get[int](b.session, "FETCH c"); n != len(value)+1 {
		t.Errorf("a value of %d", n)
	}
	if made, err := os.ReadDir(temporary); err == nil && len(made) > 0 {
		t.Errorf("there is a temporary file: %v", made)
	}
	b.exec("COMMIT")
	if sent := b.agent.recorded(); len(sent) != 2 || len(sent[0].Items) != 1024 || len(sent[1].Items) != 476 {
		t.Errorf("%d requests", len(sent))
	}
}
