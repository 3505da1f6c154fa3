package exttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cryptorand "crypto/rand"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/scram"
)

// loginCluster is a server that others reach by TCP on an address of the loopback network, with SCRAM and no other way.
type loginCluster struct {
	cluster
	addr string
}

func startLoginCluster(t *testing.T, settings ...string) loginCluster {
	t.Helper()
	return newLoginCluster(t, true, settings...)
}

// newLoginCluster leaves the libraries that are preloaded to the settings, unless preload.
func newLoginCluster(t *testing.T, preload bool, settings ...string) loginCluster {
	t.Helper()
	addr := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	c := startCluster(t, preload, append(settings, "listen_addresses = '"+addr+"'")...)
	c.demandScram(t)
	return loginCluster{c, addr}
}

// demandScram lets clients in by TCP only with SCRAM.
func (c cluster) demandScram(t *testing.T) {
	t.Helper()
	hba := "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\nlocal replication all trust\n"
	if err := os.WriteFile(filepath.Join(c.Data(), "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	s := c.connect(t, "postgres", "postgres")
	s.exec("SELECT pg_reload_conf()")
	pgtest.Eventually(t, "pg_hba.conf is read again", func() bool {
		return get[int](s, "SELECT count(*)::int FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'") == 1
	})
}

// login connects by TCP with a password and returns how that went.
func (c loginCluster) login(role, password string) error {
	conf, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=postgres sslmode=disable", c.addr, pgtest.Port))
	if err != nil {
		return err
	}
	conf.User, conf.Password = role, password
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// psqlLogin is the same with libpq, which does SASLprep.
func (c loginCluster) psqlLogin(t *testing.T, role, password string) error {
	t.Helper()
	file := filepath.Join(c.Dir(), "pgpass")
	escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password)
	if err := os.WriteFile(file, []byte("*:*:*:*:"+escaped+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := c.owner(t)
	if err := os.Chown(file, uid, gid); err != nil {
		t.Fatal(err)
	}
	out, err := c.program(t, "psql", "-XAtw", "-c", "SELECT 1",
		fmt.Sprintf("host=%s port=%d dbname=postgres user=%s passfile=%s", c.addr, pgtest.Port, role, file))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func declareRolePassword(s *session) {
	s.exec("CREATE FUNCTION alter_role(oid, oid, bytea, text) RETURNS boolean AS '$libdir/hyperion_vault', 'hv_test_alter_role' LANGUAGE C")
	s.exec("CREATE FUNCTION matches(text, bytea) RETURNS boolean AS '$libdir/hyperion_vault', 'hv_test_matches' LANGUAGE C")
}

func TestAlterRoleSetsWhatLogsIn(t *testing.T) {
	c := startLoginCluster(t)
	s := c.connect(t, "postgres", "postgres")
	declareRolePassword(s)
	s.exec("CREATE ROLE app LOGIN")
	set := func(password string, until any) {
		t.Helper()
		if !get[bool](s, "SELECT alter_role(0, 'app'::regrole, $1, $2)", []byte(password), until) {
			t.Errorf("the password of app is not %q", password)
		}
	}
	set("first password", nil)
	if err := c.login("app", "first password"); err != nil {
		t.Error(err)
	}
	set("SCRAM-SHA-256$4096:c2FsdA==$a:b", nil) // a password that looks like a verifier
	if err := c.login("app", "SCRAM-SHA-256$4096:c2FsdA==$a:b"); err != nil {
		t.Error(err)
	}
	if c.login("app", "first password") == nil {
		t.Error("the former password logs in")
	}
	for _, password := range []string{"pässword", "Ⅸ", "a\u00a0b", "\u00ad", "a\xffb", "\u0627\u0031", strings.Repeat("ü", 400)} {
		set(password, nil)
		if err := c.psqlLogin(t, "app", password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
	set("Ⅸ", nil)
	if err := c.psqlLogin(t, "app", "IX"); err != nil {
		t.Errorf("SASLprep has not made IX of Ⅸ: %v", err)
	}
	set("old", "2001-01-01")
	if c.login("app", "old") == nil {
		t.Error("app logs in after VALID UNTIL")
	}
	set("old", "infinity")
	if err := c.login("app", "old"); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "a\x00b", strings.Repeat("x", 1025)} {
		wantError(t, s.try("SELECT alter_role(0, 'app'::regrole, $1, NULL)", []byte(wrong)), "22023", "the password of a role must")
	}
	wantError(t, s.try("SELECT alter_role(0, 4000000000, 'x', NULL)"), "42704", "role with OID 4000000000 does not exist")
	if c.login("app", "old") != nil {
		t.Error("a refused change has changed the password")
	}
}

// TestVerifierIsTheServers: what the API makes of a password matches by the rule of the server, for every character.
func TestVerifierIsTheServers(t *testing.T) {
	s := startLoginCluster(t).connect(t, "postgres", "postgres")
	declareRolePassword(s)
	var passwords [][]byte
	for r := rune(1); r < 0x3000; r++ {
		passwords = append(passwords, []byte("a"+string(r)+"b"))
	}
	for r := rune(0x3000); r < 0x30000; r += 1 + rand.Int32N(12) {
		passwords = append(passwords, []byte(string(r)+string(rune(0x300+rand.IntN(64)))+string(rune(0x80+rand.IntN(0x3000)))))
	}
	for len(passwords) > 0 {
		n := min(1000, len(passwords))
		verifiers := make([]string, n)
		for i := range n {
			v, err := scram.Verifier(passwords[i], 1, cryptorand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			verifiers[i] = v
		}
		differing := get[string](s, "SELECT coalesce(string_agg(encode(p, 'hex'), ' '), '') FROM unnest($1::text[], $2::bytea[]) u (v, p) WHERE NOT matches(v, p)",
			verifiers, passwords[:n])
		if differing != "" {
			t.Errorf("by the server's rule other passwords than %s", differing)
		}
		passwords = passwords[n:]
	}
}

func TestAlterRoleHasPostgresqlDecide(t *testing.T) {
	s := startLoginCluster(t).connect(t, "postgres", "postgres")
	declareRolePassword(s)
	major := get[int](s, "SELECT current_setting('server_version_num')::int / 10000")
	for _, role := range []string{"super SUPERUSER", "creator CREATEROLE", "admin CREATEROLE", "manager", "plain", "target LOGIN",
		"supertarget SUPERUSER LOGIN", "replica REPLICATION LOGIN", "othertarget LOGIN CREATEDB"} {
		s.exec("CREATE ROLE " + role)
	}
	s.exec("GRANT target, othertarget, replica TO admin, manager WITH ADMIN OPTION")
	with := func(old, since16 string) string {
		if major >= 16 {
			return since16
		}
		return old
	}
	all := "supertarget replica target othertarget "
	for caller, want := range map[string]string{
		"super":   all + "super",
		"creator": with("target othertarget creator", "creator"),
		"admin":   with("target othertarget admin", "replica target othertarget admin"),
		"manager": "manager",
		"plain":   "plain",
	} {
		for _, target := range append(strings.Fields(all), caller) {
			err := s.try("SELECT alter_role($1::text::regrole, $2::text::regrole, 'x', NULL)", caller, target)
			byCommand := s.try(fmt.Sprintf("SET ROLE %s; ALTER ROLE %s PASSWORD 'x'; RESET ROLE", caller, target))
			s.exec("RESET ROLE")
			if (err == nil) != (byCommand == nil) {
				t.Errorf("%s on %s: %v, and by a command %v", caller, target, err, byCommand)
			}
			if allowed := strings.Contains(" "+want+" ", " "+target+" "); allowed != (err == nil) {
				t.Errorf("%s on %s: %v", caller, target, err)
			}
			if err != nil {
				wantError(t, err, "42501", "")
			}
		}
	}
	if got := get[string](s, "SELECT current_user::text"); got != "postgres" {
		t.Errorf("the session goes on as %s", got)
	}
}
