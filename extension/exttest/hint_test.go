package exttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A message that suggests a command has it after a colon and ends it with a semicolon.
var (
	suggested = regexp.MustCompile(`: ((?:SELECT|SET|ALTER|GRANT|REVOKE|CREATE|DROP)\b[^;]*);`)
	verb      = regexp.MustCompile(`\b(?:SELECT|SET|ALTER|GRANT|REVOKE|CREATE|DROP) [a-z(*]`)
)

var oddRoles = []string{
	"App", "with blank", " leading", `quo"te`, "apo'strophe", `back\slash`, "ünïcode", "名前", "PUBLIC", "NONE", "current_user",
	"session_user", "user", "select", "123", "-", "0x1", "a.b", "$1", "%s", "%L", "x;--", "{read}", "a,b", "E'x'", "new\nline",
	strings.Repeat("X", 63), "vault", "authenticated",
}

var oddNames = []string{"other/secret", "0", "-", "_", "select", "public", "a.b/c-d_E", "123", strings.Repeat("x", 255)}

// TestHintsGrantWhatTheySay: an administrator who runs the hint of a refusal gives the caller what it was refused, and
// no other role anything. A hint quotes the role, the name and the action each by itself, so each pair of them is tried,
// and not each three.
func TestHintsGrantWhatTheySay(t *testing.T) {
	t.Parallel()
	b := newBench(t, startCluster(t, true))
	calls := []struct{ action, sql string }{
		{"read", "SELECT vault.read_secret($1)"}, {"verify", "SELECT vault.verify($1, 'x'::text)"},
		{"create", "SELECT vault.create_secret($1, '')"}, {"update", "SELECT vault.update_secret($1, 'x', 7)"},
		{"rotate", "SELECT vault.rotate_secret($1)"}, {"delete", "SELECT vault.delete_secret($1, 7)"},
	}
	for nth, role := range oddRoles {
		t.Run(role, func(t *testing.T) {
			b := b.in(t)
			quoted := pgx.Identifier{role}.Sanitize()
			if strings.Contains(role, "\n") && serverVersion(b.session) >= 190000 {
				wantError(t, b.try("CREATE ROLE "+quoted), "22023", "contains a newline")
				return
			}
			b.exec("CREATE ROLE " + quoted)
			if lower := strings.ToLower(role); lower != role && lower != "public" && lower != "none" {
				_ = b.try("CREATE ROLE " + pgx.Identifier{lower}.Sanitize())
			}
			oid := get[uint32](b.session, "SELECT oid FROM pg_roles WHERE rolname = $1", role)
			b.exec("SELECT vault.grant_access($1::oid, 'only/this', '{read,create,update,delete,rotate,verify}')", oid)
			for i, name := range oddNames {
				call := calls[(nth+i)%len(calls)]
				b.exec("SET ROLE " + quoted)
				err := b.try(call.sql, name)
				b.exec("RESET ROLE")
				wantError(t, err, "42501", fmt.Sprintf("permission denied to %s secret %q", call.action, name))
				b.script(suggestion(t, err))
				want := fmt.Sprintf("%d %s %s", oid, name, call.action)
				if got := strings.Join(column(b.session, "SELECT grantee::oid || ' ' || pattern || ' ' || action FROM vault.access_list() WHERE pattern <> 'only/this' AND granted_by <> 'CREATE EXTENSION'"), "\n"); got != want {
					t.Errorf("granted %q, not %q", got, want)
				}
				b.exec("SET ROLE " + quoted)
				var pg *pgconn.PgError
				if err := b.try(call.sql, name); !errors.As(err, &pg) || pg.Code == "42501" {
					t.Errorf("after the grant: %v", err)
				}
				b.exec("RESET ROLE")
				b.exec("SELECT vault.revoke_access($1::oid, $2, ARRAY[$3])", oid, name, call.action)
			}
		})
	}
}

// TestAdministrativeHintsGrantWhatTheySay does so for those who may call the functions, and not for this pattern.
func TestAdministrativeHintsGrantWhatTheySay(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	b := newBench(t, c)
	b.exec("CREATE ROLE other")
	var last string
	for _, role := range oddRoles {
		t.Run(role, func(t *testing.T) {
			b := b.in(t)
			quoted := pgx.Identifier{role}.Sanitize()
			if strings.Contains(role, "\n") && serverVersion(b.session) >= 190000 {
				t.Skip("not a name there")
			}
			b.exec("CREATE ROLE " + quoted)
			oid := get[uint32](b.session, "SELECT oid FROM pg_roles WHERE rolname = $1", role)
			b.exec("SELECT vault.grant_access($1::oid, 'only/this', '{manage,audit}')", oid)
			b.exec("SELECT vault.revoke_access($1::oid, 'only/this', '{audit}')", oid)
			b.exec("GRANT EXECUTE ON FUNCTION vault.audit_after(bigint, integer) TO " + quoted)
			for call, right := range map[string]string{
				"SELECT vault.grant_access('other', 'team''s'::text || chr(47) || '*', '{read}')": "",
				"SELECT vault.grant_access('other', 'team/*', '{read}')":                          "team/* manage",
				"SELECT vault.audit_after(0, 10)":                                                 "* audit",
			} {
				b.exec("SET ROLE " + quoted)
				err := b.try(call)
				b.exec("RESET ROLE")
				if right == "" { // no grant makes that a pattern
					if err == nil || strings.Contains(hintOf(err), "SELECT") {
						t.Errorf("%s: %v, %s", call, err, hintOf(err))
					}
					continue
				}
				wantError(t, err, "42501", "permission denied to")
				b.script(suggestion(t, err))
				got := strings.Join(column(b.session, "SELECT grantee::oid || ' ' || pattern || ' ' || action FROM vault.access_list() WHERE pattern <> 'only/this' AND granted_by <> 'CREATE EXTENSION' AND grantee <> 'other'::regrole"), "\n")
				if want := fmt.Sprintf("%d %s", oid, right); got != want {
					t.Errorf("granted %q, not %q", got, want)
				}
				b.exec("SET ROLE " + quoted)
				b.exec(call)
				b.exec("RESET ROLE")
				pattern, action, _ := strings.Cut(right, " ")
				b.exec("SELECT vault.revoke_access($1::oid, $2, ARRAY[$3])", oid, pattern, action)
			}
			last = role
		})
	}
	// A name that is no text can stand in no command.
	ascii := c.connect(t, encodedDatabase(t, c, "SQL_ASCII"), "postgres", "client_encoding", "SQL_ASCII")
	b.exec("GRANT EXECUTE ON FUNCTION vault.audit_after(bigint, integer) TO " + pgx.Identifier{last}.Sanitize())
	ascii.exec("ALTER ROLE " + pgx.Identifier{last}.Sanitize() + " RENAME TO \"odd\xff\"")
	ascii.exec("ALTER ROLE \"odd\xff\" LOGIN")
	odd := c.connect(t, b.db, "odd\xff")
	for _, call := range []string{"SELECT vault.grant_access('other', 'team/*', '{read}')", "SELECT vault.audit_after(0, 10)"} {
		err := odd.try(call)
		wantError(t, err, "42501", "permission denied to")
		if hint := hintOf(err); !strings.Contains(hint, "rename it first") {
			t.Errorf("%s: the hint is %q", call, hint)
		}
	}
}

// TestHintsOfTheConfiguration: the lines that CREATE EXTENSION asks for are those that postgresql.conf needs, whatever the
// database is called and whatever else is preloaded.
func TestHintsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	c := startCluster(t, false, "shared_preload_libraries = 'auto_explain, \"$libdir/auto_explain\"'")
	for _, name := range []string{"it's", `back\slash`, `\'n`, "a,b", "#x", "new\nline", "App", ""} {
		t.Run(name, func(t *testing.T) {
			admin := c.connect(t, "postgres", "postgres")
			if strings.Contains(name, "\n") && serverVersion(admin) >= 190000 {
				t.Skip("not a name there")
			}
			if name == "" {
				name = "postgres"
			} else {
				admin.exec("CREATE DATABASE " + pgx.Identifier{name}.Sanitize())
			}
			hint := c.hintOfInstallation(t, name)
			if err := appendTo(filepath.Join(c.Data(), "postgresql.conf"), hint); err != nil {
				t.Fatal(err)
			}
			c.MustStop(t, syscall.SIGINT)
			c.MustStart(t)
			admin = c.connect(t, "postgres", "postgres")
			if got := get[string](admin, "SHOW hyperion_vault.database"); got != name {
				t.Errorf("the supervisor serves %q", got)
			}
			if got := get[string](admin, "SHOW shared_preload_libraries"); got != `auto_explain, "$libdir/auto_explain",hyperion_vault` && got != `auto_explain, "$libdir/auto_explain", hyperion_vault` {
				t.Errorf("preloaded is %s", got)
			}
		})
	}
}

// hintOfInstallation makes the extension in a database, and returns the lines that the hint of its warning has.
func (c cluster) hintOfInstallation(t *testing.T, database string) (lines string) {
	t.Helper()
	conf, err := pgx.ParseConfig(c.DSN("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	conf.Database = database
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if _, after, ok := strings.Cut(n.Hint, "postgresql.conf, and restart the server:\n"); ok {
			lines = after
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE EXTENSION hyperion_vault"); err != nil {
		t.Fatal(err)
	}
	if lines == "" {
		t.Fatal("no hint has lines of postgresql.conf")
	}
	return lines
}

// serverVersion is that of the server, as 150020.
func serverVersion(s *session) int {
	return get[int](s, "SELECT current_setting('server_version_num')::int")
}

// suggestion is the command in the hint of an error.
func suggestion(t *testing.T, err error) string {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatal(err)
	}
	found := suggested.FindAllStringSubmatch(pg.Hint+"\n", -1)
	// A name may have a semicolon in it.
	if start := strings.Index(pg.Hint, ": SELECT "); start >= 0 && strings.HasSuffix(pg.Hint, ";") {
		return strings.TrimSuffix(pg.Hint[start+2:], ";")
	}
	if len(found) == 0 {
		t.Fatalf("no command in %q", pg.Hint)
	}
	return found[0][1]
}

// TestSuggestionsRun runs every command that stands in a hint or detail of the sources, as it is printed, and finds those
// that are written in another way.
func TestSuggestionsRun(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	hint := regexp.MustCompile(`(?s)(?:errhint|errdetail|HV_TOO_LONG_HINT|HV_ALLOW_HINT|(?:HINT|DETAIL)\s*=)[^;]*?((?:["'](?:[^"'\n]|'')*["'][\s|]*)+)`)
	var n int
	for _, pattern := range []string{"../../sql/[a-z]*.sql", "../shim/*.[ch]"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(file, "--") { // assembled of the others
				continue
			}
			for _, m := range hint.FindAllStringSubmatch(string(text), -1) {
				said := regexp.MustCompile(`["'][\s|]+["']`).ReplaceAllString(m[1], "")
				if !verb.MatchString(said) || strings.Contains(said, "%L") {
					continue // the latter have a test of their own
				}
				commands := suggested.FindAllStringSubmatch(said, -1)
				if len(commands) == 0 {
					t.Errorf("%s: %s: a command stands after a colon and ends with a semicolon", file, said)
				}
				for _, command := range commands {
					b.script("BEGIN; " + command[1] + "; ROLLBACK")
					n++
				}
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d commands were found", n)
	}
}
