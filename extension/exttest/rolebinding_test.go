package exttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// boundBench is a vault on a server that others log in to by TCP.
type boundBench struct {
	*bench
	login loginCluster
}

func newBoundBench(t *testing.T, settings ...string) boundBench {
	t.Helper()
	c := startLoginCluster(t, settings...)
	return boundBench{newBench(t, c.cluster), c}
}

// wantLogin checks which of some passwords a role logs in with: the first one, and no other.
func (b boundBench) wantLogin(role string, passwords ...string) {
	b.t.Helper()
	if err := b.login.login(role, passwords[0]); err != nil {
		b.t.Errorf("%s does not log in: %v", role, err)
	}
	for _, p := range passwords[1:] {
		if b.login.login(role, p) == nil {
			b.t.Errorf("%s logs in with another password", role)
		}
	}
}

func (b boundBench) read(name string) string {
	b.t.Helper()
	return get[string](b.session, "SELECT vault.read_secret($1)", name)
}

// state is what the listing says of the role that is current.
func (b boundBench) state(name string) string {
	b.t.Helper()
	return get[string](b.session, "SELECT state FROM vault.bound_roles($1) WHERE current", name)
}

func TestBoundRoleFollowsItsSecret(t *testing.T) {
	b := newBoundBench(t)
	b.exec("CREATE ROLE app LOGIN PASSWORD 'before'")
	b.exec("SELECT vault.create_secret('app/db', $1::text, 'automatic', rotation_interval_secs => 86400)", "first value")
	b.wantLogin("app", "before")
	b.exec("SELECT vault.bind_role('app/db', 'app')")
	b.wantLogin("app", "first value", "before")
	b.exec("SELECT vault.update_secret('app/db', $1::text, 1)", "second value")
	b.wantLogin("app", "second value", "first value")
	b.exec("SELECT vault.rotate_secret('app/db')")
	third := b.read("app/db")
	b.wantLogin("app", third, "second value")
	b.exec("BEGIN")
	b.exec("SELECT vault.rotate_secret('app/db')")
	b.exec("ROLLBACK")
	b.wantLogin("app", third)
	if b.read("app/db") != third {
		t.Error("a rotation that was rolled back has left a value")
	}
	b.exec("BEGIN")
	b.exec("SELECT vault.rotate_secret('app/db')")
	b.exec("SAVEPOINT s")
	b.exec("SELECT vault.rotate_secret('app/db')")
	b.exec("ROLLBACK TO s")
	b.exec("COMMIT")
	b.wantLogin("app", b.read("app/db"), third)
	if got := get[string](b.session, "SELECT details->>'role' FROM vault.audit('app/db') WHERE action = 'rotate' LIMIT 1"); got != "app" {
		t.Errorf("the audit names %q", got)
	}
	for _, gone := range []string{
		"SELECT vault.delete_secret('app/db', NULL)", "SELECT vault.destroy_secret('app/db', NULL)", "SELECT vault.delete_versions('app/db')",
		"SELECT vault.destroy_versions('app/db', ARRAY[(SELECT current_version FROM vault.list_secrets('app/db'))])",
	} {
		wantError(t, b.try(gone), "VT006", "is the password of a role")
	}
	wantError(t, b.try("SELECT vault.set_version_settings('app/db', delete_version_after_secs => 60)"), "22023", "cannot be deleted by themselves")
	wantError(t, b.try("SELECT vault.bind_role('app/db', 'app')"), "22023", "is bound to a role already")
	b.exec("SELECT vault.create_secret('other', 'value')")
	wantError(t, b.try("SELECT vault.bind_role('other', 'app')"), "22023", "is bound to secret")
	wantError(t, b.try("SELECT vault.bind_role('other', 'vault_owner')"), "22023", "has no password")
	b.exec("SELECT vault.unbind_role('app/db')")
	kept := b.read("app/db")
	b.exec("SELECT vault.rotate_secret('app/db')")
	b.wantLogin("app", kept, b.read("app/db"))
	wantError(t, b.try("SELECT vault.unbind_role('app/db')"), "42704", "is bound to no role")
	b.exec("SELECT vault.delete_secret('app/db', NULL)")
}

func TestImportChecksThePassword(t *testing.T) {
	b := newBoundBench(t)
	b.exec("CREATE ROLE app LOGIN PASSWORD 'of old'")
	b.exec("SET password_encryption = md5")
	b.exec("CREATE ROLE older LOGIN PASSWORD 'of old'")
	b.exec("CREATE ROLE bare LOGIN")
	stored := get[string](b.session, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
	wantError(t, b.try("SELECT vault.import_role('app', 'app', 'guess')"), "22023", "has another password")
	wantError(t, b.try("SELECT vault.import_role('bare', 'bare', 'guess')"), "22023", "has another password")
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.list_secrets() WHERE name IN ('app', 'bare')"); n != 0 {
		t.Errorf("%d secrets were made of wrong passwords", n)
	}
	b.exec("SELECT vault.import_role('app', 'app', 'of old')")
	if got := get[string](b.session, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'"); got != stored {
		t.Error("the import has set the password")
	}
	b.exec("SELECT vault.import_role('older', 'older', 'of old')")
	b.wantLogin("older", "of old")
	b.exec("SELECT vault.update_secret('app', 'new', 1)")
	b.wantLogin("app", "new", "of old")
}

// TestMembershipWithoutRights: from PostgreSQL 16 on a member may be one only to grant the role to others. Such a role of a pair could
// not do what the other one does.
func TestMembershipWithoutRights(t *testing.T) {
	b := newBoundBench(t)
	if serverVersion(b.session) < 160000 {
		return // there every member has the rights
	}
	b.exec("CREATE ROLE shared")
	b.exec("CREATE ROLE app_a LOGIN IN ROLE shared")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec("GRANT shared TO app_b WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
	b.exec(`SELECT vault.create_secret('app', '{"username":"app_a","password":"one"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 3600)`)
	wantError(t, b.try("SELECT vault.bind_role_pair('app', 'app_a', 'app_b', 'shared')"), "22023", "must be members")
	for _, option := range []string{"SET", "INHERIT"} {
		b.exec("GRANT shared TO app_b WITH " + option + " TRUE")
		b.exec("SELECT vault.bind_role_pair('app', 'app_a', 'app_b', 'shared')")
		b.exec("GRANT shared TO app_b WITH " + option + " FALSE")
		wantError(t, b.try("SELECT vault.rotate_secret('app')"), "VT006", "no longer a member")
		if got := get[string](b.session, "SELECT string_agg(state, ' ') FROM vault.bound_roles('app')"); got != "ok not_member" {
			t.Errorf("the states are %s", got)
		}
		b.exec("SELECT vault.unbind_role('app')")
	}
}

func TestPairTakesTurns(t *testing.T) {
	b := newBoundBench(t)
	b.exec("CREATE ROLE shared")
	b.exec("CREATE ROLE app_a LOGIN IN ROLE shared")
	b.exec("CREATE ROLE app_b LOGIN PASSWORD 'left over' IN ROLE shared")
	b.exec(`SELECT vault.create_secret('app', '{"username":"app_a","password":"one","host":"db"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 3600)`)
	wantError(t, b.try("SELECT vault.bind_role('app', 'app_b')"), "22023", "must be the role")
	wantError(t, b.try("SELECT vault.bind_role_pair('app', 'app_a', 'app_a')"), "22023", "must be two roles")
	b.exec("CREATE ROLE locked")
	wantError(t, b.try("SELECT vault.bind_role_pair('app', 'app_a', 'locked')"), "22023", "must be able to log in")
	b.exec("SELECT vault.bind_role_pair('app', 'app_a', 'app_b', 'shared')")
	b.exec("ALTER ROLE app_b NOLOGIN")
	wantError(t, b.try("SELECT vault.rotate_secret('app')"), "VT006", "which cannot log in")
	if got := get[string](b.session, "SELECT string_agg(state, ' ') FROM vault.bound_roles('app')"); got != "ok no_login" {
		t.Errorf("the states are %s", got)
	}
	b.exec("ALTER ROLE app_b LOGIN")
	b.wantLogin("app_a", "one")
	if b.login.login("app_b", "left over") == nil || b.login.login("app_b", "one") == nil {
		t.Error("app_b logs in before its turn")
	}
	password := func() (user, password string) {
		value := b.read("app")
		return get[string](b.session, "SELECT $1::jsonb->>'username'", value), get[string](b.session, "SELECT $1::jsonb->>'password'", value)
	}
	b.exec("SELECT vault.rotate_secret('app')")
	user, second := password()
	if user != "app_b" {
		t.Fatalf("the second version is of %s", user)
	}
	b.wantLogin("app_b", second, "left over")
	b.wantLogin("app_a", "one") // in its grace
	if d := get[float64](b.session, `SELECT abs(extract(epoch FROM r.rolvaliduntil - v.expires_at))::float8
		FROM pg_roles r, vault.list_versions('app') v WHERE r.rolname = 'app_a' AND v.version = 1`); d > 0.001 {
		t.Errorf("VALID UNTIL and the end of the grace are %v seconds apart", d)
	}
	wantError(t, b.try(`SELECT vault.update_secret('app', '{"username":"app_b","password":"x"}'::text, 2)`), "22023", "must be the role")
	b.exec(`SELECT vault.update_secret('app', '{"username":"app_a","password":"three"}'::text, 2)`)
	b.wantLogin("app_a", "three", "one")
	b.wantLogin("app_b", second)
	b.exec("SELECT vault.expire_version('app', 2)")
	if b.login.login("app_b", second) == nil {
		t.Error("app_b logs in after its version's grace was ended")
	}
	b.wantLogin("app_a", "three")
	b.exec("DROP ROLE app_b")
	wantError(t, b.try("SELECT vault.rotate_secret('app')"), "VT006", "which is missing here")
	b.wantLogin("app_a", "three")
}

// faults are changes of a bound role after which the vault sets no password of it.
func TestChangedRoleIsRefused(t *testing.T) {
	b := newBoundBench(t)
	for change, want := range map[string]struct{ state, undo string }{
		"ALTER ROLE app RENAME TO renamed":                           {"renamed", "ALTER ROLE renamed RENAME TO app"},
		"ALTER ROLE app SUPERUSER":                                   {"promoted", "ALTER ROLE app NOSUPERUSER"},
		"ALTER ROLE app CREATEROLE":                                  {"promoted", "ALTER ROLE app NOCREATEROLE"},
		"DROP ROLE app; CREATE ROLE app LOGIN PASSWORD 'of another'": {"missing", ""},
	} {
		b.exec("CREATE ROLE app LOGIN")
		b.exec("SELECT vault.create_secret('app', 'value one')")
		b.exec("SELECT vault.bind_role('app', 'app', true)")
		b.script(change)
		before := get[string](b.session, "SELECT string_agg(concat(oid, rolname, rolpassword), ',' ORDER BY oid) FROM pg_authid")
		wantError(t, b.try("SELECT vault.update_secret('app', 'value two', NULL)"), "VT006", "is bound to role \"app\", which")
		wantError(t, b.try("SELECT vault.repair_role('app')"), "VT006", "is bound to role \"app\", which")
		if got := b.state("app"); got != want.state {
			t.Errorf("after %s the state is %s", change, got)
		}
		b.c.connect(t, b.db, "postgres").exec("SET ROLE vault_owner; SELECT vault.check_drift(clock_timestamp(), 100)")
		if got := get[string](b.session, "SELECT string_agg(concat(oid, rolname, rolpassword), ',' ORDER BY oid) FROM pg_authid"); got != before {
			t.Errorf("%s: a role was changed all the same", change)
		}
		if got := get[string](b.session, "SELECT code FROM vault.audit('app') WHERE action = 'role_drift' ORDER BY at DESC LIMIT 1"); got != want.state {
			t.Errorf("%s: the audit says %s", change, got)
		}
		if want.undo != "" {
			b.exec(want.undo)
			b.exec("SELECT vault.update_secret('app', 'value two', NULL)")
			b.wantLogin("app", "value two")
		}
		b.exec("SELECT vault.unbind_role('app')")
		b.exec("SELECT vault.delete_secret('app', NULL)")
		b.exec("DROP ROLE app")
	}
}

func TestDriftIsFoundAndRepaired(t *testing.T) {
	b := newBoundBench(t)
	pass := func() {
		b.c.connect(t, b.db, "postgres").exec("SET ROLE vault_owner; SELECT vault.check_drift(clock_timestamp(), 100)")
	}
	for _, auto := range []bool{false, true} {
		role := map[bool]string{false: "app", true: "auto"}[auto]
		b.exec("CREATE ROLE " + role + " LOGIN")
		b.exec("SELECT vault.create_secret($1, 'value one')", role)
		b.exec("SELECT vault.bind_role($1, $1::text::regrole, $2)", role, auto)
		pass()
		if got := b.state(role); got != "ok" {
			t.Errorf("the state is %s", got)
		}
		b.exec("ALTER ROLE " + role + " PASSWORD 'by hand'")
		if got := b.state(role); got != "changed" {
			t.Errorf("the state is %s", got)
		}
		pass()
		if auto {
			b.wantLogin(role, "value one", "by hand")
			continue
		}
		b.wantLogin(role, "by hand")
		if since := get[bool](b.session, "SELECT drift_since IS NOT NULL FROM vault.bound_roles($1)", role); !since {
			t.Error("the drift has no beginning")
		}
		b.exec("SELECT vault.repair_role($1)", role)
		b.wantLogin(role, "value one", "by hand")
		if got := b.state(role); got != "ok" {
			t.Errorf("the state is %s after the repair", got)
		}
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.audit() WHERE action = 'repair_role' AND outcome = 'ok'"); n != 2 {
		t.Errorf("%d repairs were recorded", n)
	}
}

// TestBindNeedsPostgresqlsRight: who may bind is who may set the password by ALTER ROLE, and has the grants on the name.
func TestBindNeedsPostgresqlsRight(t *testing.T) {
	b := newBoundBench(t)
	major := get[int](b.session, "SELECT current_setting('server_version_num')::int / 10000")
	b.exec("SELECT vault.create_secret('s', 'value')")
	for _, role := range []string{"super SUPERUSER", "creator CREATEROLE", "admin CREATEROLE", "plain", "target LOGIN", "supertarget SUPERUSER LOGIN"} {
		b.exec("CREATE ROLE " + role)
	}
	b.exec("GRANT target TO admin WITH ADMIN OPTION")
	b.exec("GRANT super TO postgres")
	for _, caller := range []string{"super", "creator", "admin", "plain"} {
		if caller != "super" {
			b.exec(fmt.Sprintf("SELECT vault.grant_access('%s', 's', '{update,rotate,create}')", caller))
		}
		for _, target := range []string{"target", "supertarget", caller} {
			allowed := caller == "super" || target == caller || target == "target" && (caller == "admin" || caller == "creator" && major < 16)
			before := get[string](b.session, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1", target)
			b.exec("SET ROLE " + caller)
			err := b.try("SELECT vault.bind_role('s', $1::text::regrole)", target)
			imported := b.try("SELECT vault.import_role('s', $1::text::regrole, 'guess')", target)
			b.exec("RESET ROLE")
			if allowed != (err == nil) {
				t.Errorf("%s binds %s: %v", caller, target, err)
			}
			if err == nil {
				b.exec("SELECT vault.unbind_role('s')")
				continue
			}
			wantError(t, err, "42501", "")
			wantError(t, imported, "42501", "")
			if got := get[string](b.session, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1", target); got != before {
				t.Errorf("%s has changed %s", caller, target)
			}
		}
	}
	b.exec("SELECT vault.revoke_access('admin', 's', '{update}')")
	b.exec("SET ROLE admin")
	err := b.try("SELECT vault.bind_role('s', 'target')")
	b.exec("RESET ROLE")
	wantError(t, err, "42501", "permission denied")
	for _, internal := range []string{"vault.alter_role('target'::regrole, NULL, NULL, NULL)", "vault.offered_verifier(gen_random_uuid(), 1, NULL)",
		"vault.offer_verifier(gen_random_uuid(), 1, 'SCRAM-SHA-256$1:a$b:c', NULL)", "vault.role_has('target'::regrole, 'x')"} {
		b.exec("GRANT USAGE ON SCHEMA vault TO plain")
		wantError(t, b.try("SET ROLE plain; SELECT "+internal), "42501", "permission denied for function")
		b.exec("GRANT EXECUTE ON FUNCTION vault.alter_role, vault.offered_verifier, vault.offer_verifier, vault.role_has TO plain")
		wantError(t, b.try("SET ROLE plain; SELECT "+internal), "42501", "only functions of the vault")
		b.exec("REVOKE EXECUTE ON FUNCTION vault.alter_role, vault.offered_verifier, vault.offer_verifier, vault.role_has FROM plain")
	}
}

// TestPasswordsOfRolesAreNotLogged: neither a password nor a verifier reaches the log, whatever is logged.
func TestPasswordsOfRolesAreNotLogged(t *testing.T) {
	b := newBoundBench(t, "log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1",
		"log_parameter_max_length_on_error = -1", "log_min_messages = debug5", "debug_print_parse = on", "debug_print_plan = on", "debug_print_rewritten = on",
		"session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0", "auto_explain.log_nested_statements = on",
		"auto_explain.log_verbose = on")
	const marker = "marker-of-a-password"
	b.exec("CREATE ROLE app LOGIN")
	b.exec("CREATE ROLE old LOGIN")
	b.exec("SELECT vault.create_secret('app', $1::text)", marker+"-1")
	b.exec("SELECT vault.bind_role('app', 'app')")
	b.exec("SELECT vault.update_secret('app', $1::text, NULL)", marker+"-2")
	b.exec("SELECT vault.repair_role('app')")
	wantError(t, b.try("SELECT vault.import_role('old', 'old', '"+marker+"-3')"), "22023", "has another password")
	wantError(t, b.try("SELECT vault.import_role('old', 'old', $1, 'x')", marker+"-4"), "22P02", "")
	sealed := "ROW(1, 'k', '\\x01', '\\x02', '\\x03')::vault.sealed_value"
	verifier := "SCRAM-SHA-256$4096:" + marker + "$a:b"
	_ = b.try("SELECT vault.append_with_verifier(gen_random_uuid(), 1, "+sealed+", 'update', NULL, false, NULL, $1, 'x')", verifier)
	_ = b.try("SELECT vault.append_with_verifier(gen_random_uuid(), 1, " + sealed + ", 'update', NULL, false, NULL, '" + verifier + "', 'x')")
	_ = b.try("SELECT vault.append_with_verifier_if_free(NULL, '127.0.0.1', NULL, 'update', 'app', 'n', 'r', gen_random_uuid(), 1, "+sealed+", 'update', $1, 'app')", verifier)
	_ = b.try("SELECT vault.complete_with_verifier(gen_random_uuid(), 'w', gen_random_uuid(), 1, "+sealed+", NULL, NULL, $1, 'x')", verifier)
	stored := get[string](b.session, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
	log := b.c.logText(t)
	if !strings.Contains(log, "update_secret") && !strings.Contains(log, "withheld") {
		t.Error("the log says nothing of the calls")
	}
	for _, secret := range []string{marker, stored, stored[strings.LastIndex(stored, ":")+1:]} {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("the log has %q: %s", secret, log[max(0, at-300):at+60])
		}
	}
}

// awaitGone returns when no process uses the shared memory of a server whose postmaster was killed: only then does another one start.
// The threads of a backend that has left /proc may use it for a moment longer.
func (c cluster) awaitGone(t *testing.T) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(c.Data(), "postmaster.pid"))
	pgtest.Must(t, err)
	lines := strings.Split(string(lock), "\n")
	if len(lines) < 7 || len(strings.Fields(lines[6])) != 2 {
		t.Fatalf("postmaster.pid names no shared memory: %q", lock)
	}
	id := strings.Fields(lines[6])[1]
	pgtest.Eventually(t, "every process of the server has ended", func() bool {
		segments, err := os.ReadFile("/proc/sysvipc/shm")
		pgtest.Must(t, err)
		for line := range strings.Lines(string(segments)) {
			if f := strings.Fields(line); len(f) > 6 && f[1] == id {
				return f[6] == "0" // attached processes
			}
		}
		return true
	})
}

// TestKilledServerKeepsSecretAndPasswordTogether: the server, or a backend, is killed in the middle of rotations. Afterwards
// the role logs in with what the vault holds.
func TestKilledServerKeepsSecretAndPasswordTogether(t *testing.T) {
	t.Parallel()
	b := newBoundBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("SELECT vault.create_secret('app', 'value', 'automatic', rotation_interval_secs => 86400)")
	b.exec("SELECT vault.bind_role('app', 'app')")
	versions := get[int64](b.session, "SELECT current_version FROM vault.list_secrets('app')")
	for round := range 4 {
		rotating := b.c.connect(t, b.db, "postgres")
		pid := rotating.pid()
		done := make(chan int)
		go func() {
			made := 0
			for rotating.try("SELECT vault.rotate_secret('app')") == nil {
				made++
			}
			done <- made
		}()
		pgtest.Eventually(t, "some rotations are made", func() bool {
			return get[int64](b.c.connect(t, b.db, "postgres"), "SELECT current_version FROM vault.list_secrets('app')") > versions+int64(round%3)
		})
		if round%2 == 0 {
			b.c.MustStop(t, syscall.SIGKILL)
			<-done
			b.c.awaitGone(t)
			b.c.MustStart(t)
		} else {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-done
			pgtest.Eventually(t, "the server has ended all sessions", func() bool { return b.try("SELECT 1") != nil })
			pgtest.Eventually(t, "the server has recovered", func() bool {
				conn, err := b.c.dial(t.Context(), b.db, "postgres")
				if err != nil {
					return false
				}
				defer conn.Close(t.Context())
				return conn.Ping(t.Context()) == nil
			})
		}
		b.session = b.c.connect(t, b.db, "postgres")
		versions = get[int64](b.session, "SELECT current_version FROM vault.list_secrets('app')")
		b.wantLogin("app", b.read("app"))
		if got := b.state("app"); got != "ok" {
			t.Errorf("round %d: the state is %s", round, got)
		}
	}
}

// TestStandbyAcceptsWhatItHasReplayed: a standby lets a role in with the password of the version that it holds, and no other.
func TestStandbyAcceptsWhatItHasReplayed(t *testing.T) {
	t.Parallel()
	b := newBoundBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("SELECT vault.create_secret('app', 'first value')")
	b.exec("SELECT vault.bind_role('app', 'app')")
	addr := fmt.Sprintf("127.251.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	node := loginCluster{cluster{b.login.NewStandby(t, "listen_addresses = '"+addr+"'")}, addr}
	standby := node.connect(t, b.db, "postgres")
	wants := func(password, other string) {
		t.Helper()
		if err := node.login("app", password); err != nil {
			t.Errorf("the standby refuses %q: %v", password, err)
		}
		if node.login("app", other) == nil {
			t.Errorf("the standby accepts %q", other)
		}
		if got := get[string](standby, "SELECT vault.read_secret('app')"); got != password {
			t.Errorf("the standby holds %q, and accepts %q", got, password)
		}
	}
	node.MustCatchUp(t)
	wants("first value", "second value")
	standby.exec("SELECT pg_wal_replay_pause()")
	pgtest.Eventually(t, "replay has paused", func() bool { return get[string](standby, "SELECT pg_get_wal_replay_pause_state()") == "paused" })
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.wantLogin("app", "second value", "first value")
	wants("first value", "second value")
	standby.exec("SELECT pg_wal_replay_resume()")
	node.MustCatchUp(t)
	wants("second value", "first value")
	wantError(t, standby.try("SELECT vault.repair_role('app')"), "25006", "standby")
	wantError(t, standby.try("SELECT vault.bind_role('app', 'app')"), "25006", "standby")
}
