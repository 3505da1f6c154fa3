package exttest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// hintOf is the hint of a server's error.
func hintOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Hint
	}
	return ""
}

// encodedDatabase makes a database of another encoding and returns its name.
func encodedDatabase(t *testing.T, c cluster, encoding string) string {
	t.Helper()
	name := "enc_" + strings.ToLower(encoding)
	admin := c.connect(t, "postgres", vaulttest.Superuser)
	admin.exec("CREATE DATABASE " + name + " TEMPLATE template0 ENCODING '" + encoding + "' LOCALE 'C'")
	t.Cleanup(func() {
		c.connect(t, "postgres", vaulttest.Superuser).exec("DROP DATABASE " + name + " WITH (FORCE)")
	})
	return name
}

// A database whose texts need not be UTF-8 is refused when the extension is made.
func TestOtherEncodingsAreRefused(t *testing.T) {
	c := sharedCluster(t)
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			s := c.connect(t, encodedDatabase(t, c, encoding), vaulttest.Superuser)
			err := s.try("CREATE EXTENSION hyperion_vault")
			wantError(t, err, "0A000", "needs a database in UTF8, this one is in "+encoding)
			s.exec(suggestion(t, err))
			made := c.connect(t, "vault_utf8", vaulttest.Superuser)
			made.exec("CREATE EXTENSION hyperion_vault")
			made.exec("DROP EXTENSION hyperion_vault")
			_ = made.Close(t.Context())
			s.exec("DROP DATABASE vault_utf8")
		})
	}
}

// One that has the extension all the same, from an earlier version, is refused by each function that takes or gives a value.
func TestExtensionInAnotherEncoding(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	c.connect(t, "postgres", vaulttest.Superuser).exec("UPDATE pg_database SET encoding = pg_char_to_encoding('LATIN1') WHERE datname = $1", db.Name)
	s := c.connect(t, db.Name, vaulttest.Superuser)
	for _, call := range []string{
		"vault.create_secret('a', 'x')", "vault.read_secret('a')", "vault.update_secret('a', 'x', 1)", "vault.verify('a', 'x')",
		"vault.delete_secret('a', 1)", "vault.list_secrets()", "vault.audit()", "vault.grant_access('postgres', '*', '{read}')",
	} {
		wantError(t, s.try("SELECT "+call), "0A000", "needs a database in UTF8, this one is in LATIN1")
	}
}

// Names of roles are shared with databases where any byte is a character. Such a name stops no role, and not the role itself either.
func TestRoleNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db)
	ascii := c.connect(t, encodedDatabase(t, c, "SQL_ASCII"), vaulttest.Superuser, "client_encoding", "SQL_ASCII")
	ascii.script("CREATE ROLE app; CREATE ROLE \"app\xff\" LOGIN IN ROLE app; CREATE ROLE \"dba\xfe\" LOGIN SUPERUSER; CREATE ROLE other LOGIN")
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	admin.exec("SELECT vault.grant_access('app', 'app/*', '{read,create,update,rotate,verify}'), vault.grant_access('other', 'app/*', '{read}')")
	admin.exec("SELECT vault.create_secret('app/a', 'value of app/a')")

	odd, dba := c.connect(t, db.Name, "app\xff"), c.connect(t, db.Name, "dba\xfe")
	for _, s := range []*session{odd, dba} {
		if v := get[string](s, "SELECT vault.read_secret('app/a')"); v != "value of app/a" {
			t.Errorf("read %q", v)
		}
		s.exec("SELECT vault.update_secret('app/a', 'value of app/a', NULL), vault.verify('app/a', 'x')")
		if n := get[int](s, "SELECT count(*)::int FROM vault.list_secrets()"); n != 1 {
			t.Errorf("lists %d", n)
		}
	}
	err := odd.try("SELECT vault.read_secret('other/a')")
	wantError(t, err, "42501", "permission denied")
	if hint := hintOf(err); !strings.Contains(hint, "rename it first") {
		t.Errorf("the hint is %q", hint)
	}
	for _, grant := range []string{"grant_access(%d::oid::regrole, '*', '{read}')", "grant_service_role(%d::oid::regrole)"} {
		err := admin.try("SELECT vault." + fmt.Sprintf(grant, get[uint32](ascii, "SELECT oid FROM pg_roles WHERE rolname LIKE 'app_' ")))
		wantError(t, err, "0LP01", `the name of role app\xFF is not valid UTF-8`)
	}
	dba.exec("SELECT vault.grant_access('other', 'more/*', '{read}'), vault.revoke_access('other', 'app/*', '{read}'), vault.grant_access('other', 'app/a', '{read}')")
	db.AwaitAudit(t)

	// A client in another encoding converts every text that it gets, and fails at the first that is none.
	latin := c.connect(t, db.Name, vaulttest.Superuser, "client_encoding", "LATIN1")
	actors := column(latin, "SELECT DISTINCT actor || ' ' || session_role FROM vault.audit() WHERE actor LIKE '%\\\\x%' ORDER BY 1")
	if !slices.Equal(actors, []string{`role:app\xFF app\xFF`, `role:dba\xFE dba\xFE`}) {
		t.Errorf("on record are %q", actors)
	}
	if got := column(latin, "SELECT role || ' ' || how FROM vault.who_may('app/a', 'read') ORDER BY 1"); !slices.Contains(got, `app\xFF inherited`) || !slices.Contains(got, `dba\xFE superuser`) {
		t.Errorf("who may: %q", got)
	}
	if got := column(latin, "SELECT granted_by FROM vault.access_list() WHERE pattern = 'more/*'"); !slices.Equal(got, []string{`dba\xFE`}) {
		t.Errorf("granted by %q", got)
	}
	latin.exec("SELECT vault.status()")
	clientOf(t, api).must(200, "GET", "/v1/audit", "", nil)

	// A role that is renamed so takes no other's grants along in a dump.
	ascii.script("ALTER ROLE other RENAME TO \"other\xfd\"")
	if n := get[int](admin, "SELECT count(*)::int FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION'"); n != 7 {
		t.Errorf("%d grants are listed", n)
	}
	dump := filepath.Join(c.Dir(), "odd.dump")
	mustProgram(t, c, "pg_dump", "-h", c.Dir(), "-U", "postgres", "-Fc", "-f", dump, db.Name)
	restored := c.restoreInto(t, "restored_odd")
	_, _ = c.program(t, "pg_restore", "-h", c.Dir(), "-U", "postgres", "-d", restored.Name, dump) // the privileges of that role fail
	s := c.connect(t, restored.Name, vaulttest.Superuser)
	if n := get[int](s, "SELECT count(*)::int FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION'"); n != 5 {
		t.Errorf("%d grants of others were restored", n)
	}
	if got := column(s, "SELECT role_name || ' ' || pattern FROM vault.missing_grants() ORDER BY 1"); !slices.Equal(got, []string{`other\xFD app/a`, `other\xFD more/*`}) {
		t.Errorf("set aside are %q", got)
	}
	admin.exec("SELECT vault.revoke_access(grantee, pattern, '{read}') FROM vault.access_list() WHERE pattern = 'more/*'")
}
