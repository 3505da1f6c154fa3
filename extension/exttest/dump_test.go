package exttest

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// A dump, restored into another cluster under another name, with roles of the same names but other OIDs, works with
// the same master key.
func TestDumpAndRestore(t *testing.T) {
	t.Parallel()
	from, to := startCluster(t, true), startCluster(t, true)
	db := from.NewDB(t)
	api := vaulttest.NewServer(t, db)
	admin := from.connect(t, db.Name, vaulttest.Superuser)
	fill(t, api, admin)
	admin.exec("SELECT vault.create_secret('sql/gone', 'value of sql/gone'), vault.delete_versions('sql/gone')")
	admin.exec("SELECT vault.revoke_access('vault_admin', '*', '{audit}')") // CREATE EXTENSION makes this grant again
	db.AwaitAudit(t)
	want := contents(admin)

	custom, plain := filepath.Join(from.Dir(), "dump.custom"), filepath.Join(from.Dir(), "dump.sql")
	roles := filepath.Join(from.Dir(), "roles.sql")
	mustProgram(t, from, "pg_dump", "-h", from.Dir(), "-U", "postgres", "-Fc", "-f", custom, db.Name)
	mustProgram(t, from, "pg_dump", "-h", from.Dir(), "-U", "postgres", "-Fp", "-f", plain, db.Name)
	mustProgram(t, from, "pg_dumpall", "-h", from.Dir(), "-U", "postgres", "--roles-only", "-f", roles)
	api.MustStop(t)
	for _, f := range []string{custom, plain} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "value of") {
			t.Errorf("%s holds plaintext", f)
		}
	}

	// Other OIDs than there.
	for range 30 {
		to.newRole(t)
	}
	// Roles that are there already make errors that mean nothing.
	mustProgram(t, to, "psql", "-X", "-q", "-h", to.Dir(), "-U", "postgres", "-d", "postgres", "-f", roles)
	t.Run("Custom", func(t *testing.T) {
		target := to.restoreInto(t, "restored_custom")
		mustProgram(t, to, "pg_restore", "-h", to.Dir(), "-U", "postgres", "--exit-on-error", "-d", target.Name, custom)
		checkRestored(t, to, target, api, want)
		checkNoStrayGrant(to.connect(t, target.Name, vaulttest.Superuser))
	})
	t.Run("Parallel", func(t *testing.T) {
		target := to.restoreInto(t, "restored_parallel")
		mustProgram(t, to, "pg_restore", "-h", to.Dir(), "-U", "postgres", "--exit-on-error", "--jobs=2", "-d", target.Name, custom)
		checkRestored(t, to, target, api, want)
	})
	// Rows without the schema, into an installation that is there.
	t.Run("DataOnly", func(t *testing.T) {
		target := to.restoreInto(t, "restored_data")
		s := to.connect(t, target.Name, vaulttest.Superuser)
		s.exec("CREATE EXTENSION hyperion_vault")
		mustProgram(t, to, "pg_restore", "-h", to.Dir(), "-U", "postgres", "--exit-on-error", "--data-only", "-d", target.Name, custom)
		if got := versionsOf(s); got != versionsOf(admin) {
			t.Errorf("restored %s, not %s", got, versionsOf(admin))
		}
	})
	t.Run("Plain", func(t *testing.T) {
		target := to.restoreInto(t, "restored_plain")
		mustProgram(t, to, "psql", "-X", "-q", "-h", to.Dir(), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-d", target.Name, "-f", plain)
		checkRestored(t, to, target, api, want)
		checkNoStrayGrant(to.connect(t, target.Name, vaulttest.Superuser))
	})
	t.Run("ErrOtherMasterKey", func(t *testing.T) {
		target := to.restoreInto(t, "restored_other")
		mustProgram(t, to, "pg_restore", "-h", to.Dir(), "-U", "postgres", "--exit-on-error", "-d", target.Name, custom)
		other := vaulttest.NewServer(t, target, "VAULT_LOCAL_MASTER_KEY="+strings.Repeat("QUFB", 10)+"QUE=")
		status, answer := clientOf(t, other).do("GET", "/v1/secrets/rest/one", "", nil)
		if status == http.StatusOK || strings.Contains(answer, "value of") {
			t.Errorf("read with another master key: %d %s", status, answer)
		}
		s := to.connect(t, target.Name, vaulttest.Superuser)
		wantError(t, s.try("SELECT vault.read_secret('sql/one')"), "08006", "wrapped under another master key")
	})
}

// versionsOf sums up what is sealed.
func versionsOf(s *session) string {
	s.t.Helper()
	return get[string](s, `SELECT string_agg(md5(v::text), ' ' ORDER BY v.secret_id, v.version)
		|| (SELECT string_agg(md5(d::text), ' ' ORDER BY d.secret_id, d.version) FROM vault.deleted_versions d) FROM vault.secret_versions v`)
}

// No foreign key says so: what a secret leaves when it goes is its own row alone, also when it goes while its rotation is
// being enqueued.
func TestDeletionLeavesNothing(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	s, other := c.connect(t, db.Name, vaulttest.Superuser), c.connect(t, db.Name, vaulttest.Superuser)
	s.exec("SELECT vault.create_secret('a', NULL::text, kind => 'automatic', rotation_interval_secs => 3600, grace_period_secs => 3600)")
	s.exec("SELECT vault.rotate_secret('a'), vault.create_secret('b', 'x')")
	s.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name = 'a'")
	other.exec("BEGIN")
	other.exec("SELECT vault.delete_secret('a', NULL)")
	s.exec("SELECT vault.supervise(100, true)")
	other.exec("COMMIT")
	s.exec("SELECT vault.supervise(100, true)")
	const orphans = `SELECT (SELECT count(*) FROM vault.secret_versions v WHERE NOT EXISTS (SELECT FROM vault.secrets s WHERE s.id = v.secret_id AND s.deleted_at IS NULL))::int
		+ (SELECT count(*) FROM vault.rotation_jobs j WHERE NOT EXISTS (SELECT FROM vault.secrets s WHERE s.id = j.secret_id AND s.deleted_at IS NULL))::int`
	if n := get[int](s, orphans); n != 0 {
		t.Errorf("%d rows are left of a deleted secret", n)
	}
	if n := get[int](s, "SELECT count(*)::int FROM vault.secret_versions"); n != 1 {
		t.Errorf("%d versions are left", n)
	}
}

func mustProgram(t *testing.T, c cluster, program string, args ...string) {
	t.Helper()
	if out, err := c.program(t, program, args...); err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, out)
	}
}

// restoreInto makes an empty database for a dump.
func (c cluster) restoreInto(t *testing.T, name string) *vaulttest.DB {
	t.Helper()
	c.connect(t, "postgres", vaulttest.Superuser).exec("CREATE DATABASE " + name)
	return vaulttest.Of(c.Database(name))
}

// fill makes some of everything that can be in a vault.
func fill(t *testing.T, api *vaulttest.Server, admin *session) {
	t.Helper()
	c := clientOf(t, api)
	c.must(http.StatusCreated, "POST", "/v1/secrets", "", map[string]any{
		"name": "rest/one", "kind": "manual", "value": "value of rest/one 1", "grace_period_secs": 86400,
		"description": "one", "tags": map[string]string{"a": "b"},
	})
	c.must(http.StatusOK, "PUT", "/v1/secrets/rest/one", `"1"`, map[string]any{"value": "value of rest/one 2"})
	c.must(http.StatusCreated, "POST", "/v1/secrets", "", map[string]any{
		"name": "rest/auto", "kind": "automatic", "rotation_interval_secs": 3600, "grace_period_secs": 60,
		"generate_policy": map[string]any{"length": 20, "lower": true},
	})
	c.must(http.StatusOK, "POST", "/v1/secrets/rest/auto/rotate", "", nil)
	c.must(http.StatusCreated, "POST", "/v1/secrets", "", map[string]any{"name": "rest/gone", "kind": "manual", "value": "value of rest/gone"})
	c.must(http.StatusNoContent, "DELETE", "/v1/secrets/rest/gone", `"1"`, nil)

	admin.script(`CREATE ROLE dump_reader LOGIN; CREATE ROLE dump_group; CREATE ROLE dump_member LOGIN IN ROLE dump_group;
		CREATE ROLE dump_gone;
		SELECT vault.grant_access('dump_reader', 'sql/one', '{read,verify}');
		SELECT vault.grant_access('dump_group', 'sql/*', '{read,create,update}');
		SELECT vault.grant_access('dump_gone', '*', '{read}');
		`)
	if get[bool](admin, "SELECT to_regprocedure('vault.secret_id_list(text,text)') IS NOT NULL") { // not in the schema of 0.1.0
		admin.script(`SELECT vault.set_login_method('approle', 'approle');
			SELECT vault.set_login_role('approle', 'reader', 'dump_reader');
			SELECT vault.create_secret_id('approle', 'reader', '1 day', 3, '{127.0.0.0/8}');
			SELECT vault.put_secret_id(gen_random_uuid(), 'approle', 'reader', sha256('` + dumpedSecretID + `'), NULL, 100, NULL, vault.local_origin());
			SELECT vault.set_login_role('approle', 'gone', 'dump_gone');
			SELECT vault.create_secret_id('approle', 'gone');
			SELECT vault.set_login_method('userpass', 'userpass');
			SELECT vault.set_login_role('userpass', 'alice', 'dump_reader');
			SELECT vault.set_login_role('userpass', 'gone', 'dump_gone');
			SELECT vault.set_password_with_verifier('userpass', n, '` + dumpedVerifier + `', vault.local_origin()) FROM unnest('{alice,gone}'::text[]) n;`)
		c.must(http.StatusOK, "POST", "/v1/admin/token-key", "", nil)
	}
	admin.script("DROP OWNED BY dump_gone; DROP ROLE dump_gone;")
	admin.exec("SELECT vault.create_secret('sql/one', 'value of sql/one 1', grace_period_secs => 86400)")
	admin.exec("SELECT vault.update_secret('sql/one', 'value of sql/one 2', 1)")
	admin.exec("SELECT vault.create_secret('sql/bytes', $1::bytea)", append([]byte{0, 1, 0xff}, "value of sql/bytes"...))
	admin.exec("SELECT vault.create_secret('sql/large', repeat('value of sql/large', 3000))")
	admin.exec("SELECT vault.read_secret('sql/one')")
	if err := admin.try("SELECT vault.read_secret('sql/absent')"); err == nil {
		t.Fatal("read what is not there")
	}
}

// dumpedSecretID is a secret id that fill makes.
const dumpedSecretID = "hvi_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// dumpedVerifier is that of the password "password", with another cost than new ones.
const dumpedVerifier = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

// checkLogin logs in with a secret id that was dumped, and reads what its role may read and no more.
func checkLogin(t *testing.T, admin *session, url string) {
	t.Helper()
	roleID := get[string](admin, "SELECT id::text FROM vault.login_role_list('approle') WHERE name = 'reader'")
	anonymous := &client{t, url, ""}
	status, answer := anonymous.do("POST", "/v1/auth/approle/login", "", map[string]string{"role_id": roleID, "secret_id": dumpedSecretID})
	var out struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != http.StatusOK {
		t.Fatalf("a login after the restore: %d %s", status, answer)
	}
	reader := &client{t, url, out.Auth.Token}
	if v := reader.read("sql/one", ""); v != "value of sql/one 2" {
		t.Errorf("a login reads %q", v)
	}
	reader.must(http.StatusForbidden, "GET", "/v1/secrets/rest/one", "", nil)
	if status, answer := anonymous.do("POST", "/v1/auth/approle/login", "", map[string]string{"role_id": roleID, "secret_id": "hvi_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"}); status != http.StatusBadRequest {
		t.Errorf("a login with another secret id: %d %s", status, answer)
	}
	for range 2 { // the first one replaces the verifier
		if status, answer := anonymous.do("POST", "/v1/auth/userpass/login/alice", "", map[string]string{"password": "password"}); status != http.StatusOK {
			t.Errorf("a login by password: %d %s", status, answer)
		}
	}
	if !get[bool](admin, "SELECT verifier LIKE '$argon2id$v=19$m=19456,t=2,p=1$%' FROM vault.login_passwords p JOIN vault.login_roles l ON l.id = p.login_role WHERE name = 'alice'") {
		t.Error("the verifier was not replaced")
	}
	if status, answer := anonymous.do("POST", "/v1/auth/userpass/login/alice", "", map[string]string{"password": "passwort"}); status != http.StatusBadRequest {
		t.Errorf("a login by another password: %d %s", status, answer)
	}
}

// contents sums up the rows of every table, role names for their OIDs.
func contents(admin *session) []string {
	return column(admin, `
		SELECT 'secret ' || md5(s::text) FROM vault.secrets s
		UNION ALL SELECT 'version ' || md5(v::text) FROM vault.secret_versions v
		UNION ALL SELECT 'deleted ' || md5(d::text) FROM vault.deleted_versions d
		UNION ALL SELECT 'token ' || md5(a::text) FROM vault.tokens a
		UNION ALL SELECT 'method ' || md5(m::text) FROM vault.login_methods m
		UNION ALL SELECT 'role ' || md5(l::text) FROM vault.login_roles l JOIN pg_roles r ON r.oid = l.role
		UNION ALL SELECT 'secret id ' || md5(s::text) FROM vault.secret_ids s
			JOIN vault.login_roles l ON l.id = s.login_role JOIN pg_roles r ON r.oid = l.role
		UNION ALL SELECT 'password ' || md5(p::text) FROM vault.login_passwords p
			JOIN vault.login_roles l ON l.id = p.login_role JOIN pg_roles r ON r.oid = l.role
		UNION ALL SELECT 'key ' || md5(k::text) FROM vault.token_keys k
		UNION ALL SELECT 'audit ' || md5(l::text) FROM vault.audit_log l
		UNION ALL SELECT 'journal ' || md5(j::text) FROM vault.audit_journals j
		UNION ALL SELECT 'grant ' || concat_ws(' ', r.rolname, g.pattern, g.action, g.granted_at, g.granted_by)
			FROM vault.access_grants g JOIN pg_roles r ON r.oid = g.grantee WHERE g.builtin IS NULL
		UNION ALL SELECT concat_ws(' ', 'default', g.grantee, g.pattern, g.action) FROM vault.grants() g WHERE g.builtin IS NOT NULL
		UNION ALL SELECT concat_ws(' ', 'acl', p.oid::regprocedure, g.rolname)
			FROM pg_proc p, aclexplode(p.proacl) x JOIN pg_roles g ON g.oid = x.grantee WHERE p.pronamespace = 'vault'::regnamespace
		ORDER BY 1`)
}

// checkRestored starts an API with the old one's master key in front of a restored database.
func checkRestored(t *testing.T, c cluster, target *vaulttest.DB, old *vaulttest.Server, want []string) {
	t.Helper()
	admin := c.connect(t, target.Name, vaulttest.Superuser)
	got := contents(admin)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("not restored: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("was not there before: %s", line)
		}
	}

	a := follow(admin)
	a.takeAll(t, "")
	restored := len(a.have)
	api := vaulttest.NewServer(t, target, masterKeyOf(t, old))
	withOldToken := &client{t, api.URL, old.AdminToken}
	if v := withOldToken.read("rest/one", ""); v != "value of rest/one 2" {
		t.Errorf("read %q", v)
	}
	if v := withOldToken.read("rest/one", "1"); v != "value of rest/one 1" {
		t.Errorf("read %q", v)
	}
	for value, valid := range map[string]bool{"value of rest/one 1": true, "value of rest/one 2": true, "value of rest/one 3": false} {
		if withOldToken.verifies("rest/one", value) != valid {
			t.Errorf("%q: valid is not %v", value, valid)
		}
	}
	withOldToken.must(http.StatusNotFound, "GET", "/v1/secrets/rest/gone", "", nil)
	if len(column(admin, "SELECT mount FROM vault.login_methods")) > 0 { // the schema of 0.1.0 has none to dump
		checkLogin(t, admin, api.URL)
	}
	// New rows have numbers beyond those that were restored.
	withOldToken.must(http.StatusCreated, "POST", "/v1/secrets", "", map[string]any{"name": "rest/new", "kind": "manual", "value": "new"})
	withOldToken.must(http.StatusCreated, "POST", "/v1/secrets", "", map[string]any{"name": "rest/gone", "kind": "manual", "value": "again"})
	withOldToken.must(http.StatusOK, "POST", "/v1/secrets/rest/auto/rotate", "", nil)

	a.takeAll(t, "AND action <> 'read' AND action <> 'verify'") // which are still on their way
	if len(a.have) <= restored {
		t.Error("what was done since does not follow the restored records")
	}

	reader, member := c.connect(t, target.Name, "dump_reader"), c.connect(t, target.Name, "dump_member")
	if v := get[string](reader, "SELECT vault.read_secret('sql/one') || vault.read_secret('sql/one', 1)"); v != "value of sql/one 2value of sql/one 1" {
		t.Errorf("read %q", v)
	}
	wantError(t, reader.try("SELECT vault.read_secret('sql/large')"), "42501", "permission denied")
	if v := get[string](member, "SELECT vault.read_secret('sql/large')"); v != strings.Repeat("value of sql/large", 3000) {
		t.Errorf("the large value reads back as %d bytes", len(v))
	}
	if v := get[[]byte](member, "SELECT vault.read_secret_bytes('sql/bytes')"); string(v) != "\x00\x01\xffvalue of sql/bytes" {
		t.Errorf("read %q", v)
	}
	member.exec("SELECT vault.create_secret('sql/new', 'x')")
	wantError(t, member.try("SELECT vault.create_secret('rest/new2', 'x')"), "42501", "permission denied")
	wantError(t, admin.try("DROP EXTENSION hyperion_vault"), "2BP01", "it holds secrets")
}

// checkNoStrayGrant looks for a grant of a role that is gone: here its OID may be any role's.
func checkNoStrayGrant(admin *session) {
	admin.t.Helper()
	if n := get[int](admin, "SELECT count(*)::int FROM vault.access_grants g WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.grantee)"); n != 0 {
		admin.t.Errorf("%d grants of a role that is gone were restored: their OID may belong to another role here", n)
	}
}

// masterKeyOf is the setting of a server's master key.
func masterKeyOf(t *testing.T, s *vaulttest.Server) string {
	t.Helper()
	for _, e := range s.Env {
		if strings.HasPrefix(e, "VAULT_LOCAL_MASTER_KEY=") {
			return e
		}
	}
	t.Fatal("the server has no master key")
	return ""
}
