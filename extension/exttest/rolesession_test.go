package exttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// sessionBench is a server with a supervisor that makes a pass each second, whose roles log in by TCP with their passwords.
type sessionBench struct {
	*session
	c loginCluster
}

func newSessionBench(t *testing.T, settings ...string) sessionBench {
	t.Helper()
	t.Parallel()
	agent := newFakeAgent(t)
	c := startLoginCluster(t, append(settings, "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'postgres'",
		"hyperion_vault.agent_socket = '"+agent.path+"'")...)
	s := c.connect(t, "postgres", "postgres")
	s.exec("CREATE EXTENSION hyperion_vault")
	pgtest.Eventually(t, "the supervisor makes a pass", func() bool { return get[bool](s, "SELECT vault.status()->>'last_pass_at' IS NOT NULL") })
	return sessionBench{s, c}
}

// bindOne binds a role "app" to the secret "app", with a grace and what becomes of sessions.
func (b sessionBench) bindOne(grace int, policy string) {
	b.t.Helper()
	b.exec("CREATE ROLE app LOGIN")
	b.exec("SELECT vault.create_secret('app', 'first value', grace_period_secs => $1)", grace)
	b.exec("SELECT vault.bind_role('app', 'app', session_policy => $1)", policy)
}

// bindPair binds the roles "app_a" and "app_b" to the secret "app". The first one is current, with the password "one".
func (b sessionBench) bindPair(grace int, policy string, maxWait any) {
	b.t.Helper()
	b.exec("CREATE ROLE app_a LOGIN")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec(`SELECT vault.create_secret('app', '{"username":"app_a","password":"one"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => $1)`, grace)
	b.exec("SELECT vault.bind_role_pair('app', 'app_a', 'app_b', session_policy => $1, max_wait_secs => $2)", policy, maxWait)
}

// hold logs in and stays for the test.
func (b sessionBench) hold(c loginCluster, role, password string) *pgx.Conn {
	b.t.Helper()
	conn, err := c.hold(role, password)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// sessions are the roles, credentials and fates of the sessions of "app".
func sessionsOf(s *session) string {
	return get[string](s, "SELECT coalesce(string_agg(role || ' ' || credential || ' ' || fate, ', ' ORDER BY started_at), '') FROM vault.role_sessions('app')")
}

func alive(c *pgx.Conn) bool {
	_, err := c.Exec(context.Background(), "SELECT 1")
	return err == nil
}

func (b sessionBench) awaitEnd(what string, c *pgx.Conn) {
	b.t.Helper()
	pgtest.Eventually(b.t, what, func() bool { return !alive(c) })
}

// settled waits until the vault knows which sessions began after a rotation.
func (b sessionBench) settled() {
	b.t.Helper()
	pgtest.Eventually(b.t, "the rotation is settled", func() bool {
		return get[bool](b.session, "SELECT bool_and(settled_at IS NOT NULL) FROM vault.role_verifiers")
	})
}

func (b sessionBench) recorded(action string) string {
	b.t.Helper()
	return get[string](b.session, `SELECT coalesce(string_agg(outcome || ' ' || (details->>'role') || ' ' || (details->>'sessions'), ', ' ORDER BY id), '')
		FROM vault.audit_log WHERE action = $1`, action)
}

// TestCommitsOfPasswordsAreNoted: the supervisor notes soon by when a new password was committed, and not in its next pass.
func TestCommitsOfPasswordsAreNoted(t *testing.T) {
	b := newSessionBench(t)
	b.exec("ALTER SYSTEM SET hyperion_vault.scan_interval_secs = 3600")
	b.exec("SELECT pg_reload_conf()")
	b.bindOne(4, "ignore")
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.settled()
	// A row that another transaction has does not hold up the others.
	b.exec("CREATE ROLE other LOGIN")
	b.exec("SELECT vault.create_secret('other', 'first value'::text)")
	b.exec("SELECT vault.bind_role('other', 'other')")
	b.settled()
	const ofOther = " WHERE secret_id = (SELECT id FROM vault.secrets WHERE name = 'other')"
	b.exec("UPDATE vault.role_verifiers SET settled_at = NULL" + ofOther)
	holder := b.c.connect(t, "postgres", "postgres")
	holder.exec("BEGIN")
	holder.exec("SELECT FROM vault.role_verifiers" + ofOther + " FOR UPDATE")
	b.exec("SELECT vault.update_secret('app', 'last value', NULL)")
	pgtest.Eventually(t, "the commit beside it is noted", func() bool {
		return get[int](b.session, "SELECT count(*)::int FROM vault.role_verifiers WHERE settled_at IS NOT NULL") == 1
	})
}

// TestSessionsOfAFormerPasswordAreEnded: with one role, those from before a rotation, when the grace is over, and no others.
func TestSessionsOfAFormerPasswordAreEnded(t *testing.T) {
	b := newSessionBench(t)
	b.bindOne(4, "terminate")
	before := b.hold(b.c, "app", "first value")
	if got := sessionsOf(b.session); got != "app current stays" {
		t.Errorf("before the rotation: %s", got)
	}
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.settled()
	after := b.hold(b.c, "app", "second value")
	if got := sessionsOf(b.session); got != "app former ends, app current stays" {
		t.Errorf("after the rotation: %s", got)
	}
	if n := get[int](b.session, "SELECT (vault.status()->>'former_sessions')::int"); n != 1 {
		t.Errorf("the status counts %d sessions", n)
	}
	end := get[time.Time](b.session, "SELECT ends_at FROM vault.role_sessions('app') WHERE credential = 'former'")
	if !alive(before) {
		t.Error("a session has ended within the grace")
	}
	b.awaitEnd("the session of the former password ends", before)
	if now := get[time.Time](b.session, "SELECT clock_timestamp()"); now.Before(end) {
		t.Errorf("it has ended at %v, before %v", now, end)
	}
	waitThreePasses(t, b.session)
	if !alive(after) {
		t.Error("a session of the current password has ended")
	}
	if got := b.recorded("session_end"); got != "ok app 1" {
		t.Errorf("the audit has %q", got)
	}
	// A grace may be longer than it takes to the next rotation: each session has that of its own password.
	b.exec("SELECT vault.configure_secret('app', grace_period_secs => 3600)")
	b.exec("SELECT vault.update_secret('app', 'third value', 2)")
	b.settled()
	b.exec("SELECT vault.update_secret('app', 'fourth value', 3)")
	b.settled()
	waitThreePasses(t, b.session)
	if !alive(after) {
		t.Error("a session whose version is in its grace has ended")
	}
	b.exec("SELECT vault.expire_version('app', 2)")
	b.awaitEnd("the session of a version that was expired ends", after)
}

// TestSessionsOfARetiredRoleAreEnded: with a pair, all those of the role whose grace is over.
func TestSessionsOfARetiredRoleAreEnded(t *testing.T) {
	b := newSessionBench(t)
	b.bindPair(3, "terminate", nil)
	before := b.hold(b.c, "app_a", "one")
	b.exec("SELECT vault.rotate_secret('app')")
	b.settled()
	second := get[string](b.session, "SELECT vault.read_secret('app')::jsonb->>'password'")
	during := b.hold(b.c, "app_a", "one") // in its grace
	current := b.hold(b.c, "app_b", second)
	if got := sessionsOf(b.session); got != "app_a former ends, app_a former ends, app_b current stays" {
		t.Errorf("sessions: %s", got)
	}
	b.awaitEnd("a session from before the rotation ends", before)
	b.awaitEnd("a session from within the grace ends", during)
	if !alive(current) {
		t.Error("a session of the current role has ended")
	}
	if got := b.recorded("session_end"); got != "ok app_a 2" {
		t.Errorf("the audit has %q", got)
	}
}

// TestSessionsAreIgnored: without a policy nothing ends.
func TestSessionsAreIgnored(t *testing.T) {
	b := newSessionBench(t)
	b.bindOne(0, "ignore")
	before := b.hold(b.c, "app", "first value")
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.settled()
	if got := sessionsOf(b.session); got != "app former stays" {
		t.Errorf("sessions: %s", got)
	}
	waitThreePasses(t, b.session)
	if !alive(before) {
		t.Error("a session has ended")
	}
	b.exec("SELECT vault.configure_role('app', 'terminate')")
	b.awaitEnd("it ends once the binding says so", before)
}

// TestLoginOfARetiringRoleIsProlonged while it has sessions, and no longer than was said.
func TestLoginOfARetiringRoleIsProlonged(t *testing.T) {
	b := newSessionBench(t)
	b.bindPair(2, "wait", 3600)
	before := b.hold(b.c, "app_a", "one")
	b.exec("SELECT vault.rotate_secret('app')")
	graceOver := func() bool {
		return get[bool](b.session, "SELECT grace_ends_at + interval '3 s' < clock_timestamp() FROM vault.role_bindings WHERE grace_ends_at IS NOT NULL")
	}
	pgtest.Eventually(t, "the grace is over", graceOver)
	if err := b.c.login("app_a", "one"); err != nil {
		t.Errorf("the role with a session does not log in after its grace: %v", err)
	}
	if !alive(before) {
		t.Error("its session has ended")
	}
	_ = before.Close(context.Background())
	pgtest.Eventually(t, "it is shut when it has no session", func() bool { return b.c.login("app_a", "one") != nil })
	pgtest.Eventually(t, "the wait is recorded", func() bool { return b.recorded("session_wait") == "ok app_a 0" })

	second := get[string](b.session, "SELECT vault.read_secret('app')::jsonb->>'password'")
	b.exec("SELECT vault.configure_role('app', max_wait_secs => 2)")
	held := b.hold(b.c, "app_b", second)
	b.exec("SELECT vault.rotate_secret('app')")
	pgtest.Eventually(t, "the wait is over", func() bool { return b.recorded("session_wait") == "ok app_a 0, failed app_b 1" })
	if b.c.login("app_b", second) == nil {
		t.Error("a role logs in after the longest wait")
	}
	if !alive(held) {
		t.Error("its session has ended")
	}
	// An end that a caller has asked for is not prolonged.
	third := get[string](b.session, "SELECT vault.read_secret('app')::jsonb->>'password'")
	b.exec("SELECT vault.configure_role('app', max_wait_secs => 3600)")
	b.hold(b.c, "app_a", third)
	b.exec("SELECT vault.rotate_secret('app')")
	b.exec("SELECT vault.expire_version('app', 3)")
	waitThreePasses(t, b.session)
	if b.c.login("app_a", third) == nil {
		t.Error("a role logs in after its version was expired")
	}
}

// TestSessionsOnAStandby: the standby ends them itself, and shows its own.
func TestSessionsOnAStandby(t *testing.T) {
	b := newSessionBench(t)
	b.bindOne(2, "terminate")
	addr := fmt.Sprintf("127.252.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	node := loginCluster{cluster{b.c.NewStandby(t, "listen_addresses = '"+addr+"'")}, addr}
	node.MustCatchUp(t)
	standby := node.connect(t, "postgres", "postgres")
	held := b.hold(node, "app", "first value")
	if got := sessionsOf(standby); got != "app current stays" {
		t.Errorf("sessions of the standby: %s", got)
	}
	if got := sessionsOf(b.session); got != "" {
		t.Errorf("sessions of the primary: %s", got)
	}
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.awaitEnd("the session on the standby ends", held)
	node.MustCatchUp(t)
	fresh := b.hold(node, "app", "second value")
	wantLog := func() bool {
		log, err := os.ReadFile(node.LogFile())
		return err == nil && strings.Contains(string(log), "1 sessions of former passwords of roles, or of leases, were told to end")
	}
	pgtest.Eventually(t, "the standby logs it", wantLog)
	node.MustPromote(t)
	pgtest.Eventually(t, "the worker of the standby ends with it", func() bool {
		return get[int](standby, "SELECT count(*)::int FROM pg_stat_activity WHERE backend_type LIKE 'hyperion_vault standby%'") == 0 &&
			get[int](standby, "SELECT count(*)::int FROM pg_stat_activity WHERE backend_type LIKE 'hyperion_vault %'") == 2
	})
	if !alive(fresh) {
		t.Error("a session of the current password has ended")
	}
}

// TestSessionsOnAStandbyAreWaitedFor: the node of the standby tells the primary of them. When it falls silent, or when they are waited
// for as long as was said, the login ends.
func TestSessionsOnAStandbyAreWaitedFor(t *testing.T) {
	c := startLoginCluster(t, "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'hv_1'")
	addr := fmt.Sprintf("127.252.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	db := c.NewDB(t)
	node := loginCluster{cluster{c.NewStandby(t, "listen_addresses = '"+addr+"'")}, addr}
	vaulttest.NewServer(t, db)
	onStandby := vaulttest.NewServer(t, db.On(node.Cluster))
	b := sessionBench{c.connect(t, db.Name, "postgres"), c}
	standby := node.connect(t, db.Name, "postgres")
	b.bindPair(1, "wait", 3600)
	logsIn := func(role, password string) bool { return b.c.login(role, password) == nil }
	graceOver := func() {
		t.Helper()
		pgtest.Eventually(t, "the grace is over, and so is the time that nodes have to report", func() bool {
			return get[bool](b.session, `SELECT bool_or(b.grace_ends_at < clock_timestamp()) AND min(v.created_at) < clock_timestamp() - vault.prolonged_by()
				FROM vault.role_bindings b JOIN vault.secrets s ON s.id = b.secret_id JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version`)
		})
		passes(t, b.session)
	}
	current := func() string { return get[string](b.session, "SELECT vault.read_secret('app')::jsonb->>'password'") }
	node.MustCatchUp(t)

	held := b.hold(node, "app_a", "one")
	b.exec("SELECT vault.rotate_secret('app')")
	graceOver()
	if !logsIn("app_a", "one") {
		t.Error("a role with a session on a standby does not log in after its grace")
	}
	_ = held.Close(context.Background())
	pgtest.Eventually(t, "it is shut when it has no session on any server", func() bool { return !logsIn("app_a", "one") })
	pgtest.Eventually(t, "the wait is recorded", func() bool { return b.recorded("session_wait") == "ok app_a 0" })
	if n := get[int](standby, "SELECT count(*)::int FROM vault.standby_sessions"); n != 0 {
		t.Errorf("%d reports are left", n)
	}

	// The node of the standby ends. The primary waits for as long as a report holds, and no longer.
	second := current()
	node.MustCatchUp(t)
	held = b.hold(node, "app_b", second)
	b.exec("SELECT vault.rotate_secret('app')")
	graceOver()
	if !logsIn("app_b", second) {
		t.Error("a role with a session on a standby does not log in after its grace, the second time")
	}
	onStandby.MustStop(t)
	pgtest.Eventually(t, "it is shut when no node tells of its session", func() bool { return !logsIn("app_b", second) })
	if !alive(held) {
		t.Error("its session has ended")
	}
	_ = held.Close(context.Background())
	pgtest.Eventually(t, "the second wait is recorded", func() bool { return b.recorded("session_wait") == "ok app_a 0, ok app_b 0" })

	// The longest wait holds for sessions on standbys too.
	vaulttest.NewServer(t, db.On(node.Cluster))
	third := current()
	b.exec("SELECT vault.configure_role('app', max_wait_secs => 20)")
	node.MustCatchUp(t)
	b.hold(node, "app_a", third)
	b.exec("SELECT vault.rotate_secret('app')")
	pgtest.Eventually(t, "the longest wait is over", func() bool { return b.recorded("session_wait") == "ok app_a 0, ok app_b 0, failed app_a 0" })
	if logsIn("app_a", third) {
		t.Error("a role logs in after the longest wait")
	}
	if got := get[string](b.session, "SELECT details->>'on_standbys' FROM vault.audit_log WHERE action = 'session_wait' AND outcome = 'failed'"); got != "1" {
		t.Errorf("the audit has %q sessions on standbys", got)
	}
}

// TestSessionsOfSuperusersAreNotEnded, nor those of a role that is not what it was.
func TestSessionsOfSuperusersAreNotEnded(t *testing.T) {
	b := newSessionBench(t)
	b.exec("CREATE ROLE chief LOGIN SUPERUSER")
	b.exec("SELECT vault.create_secret('chief', 'value')")
	wantError(t, b.try("SELECT vault.bind_role('chief', 'chief', session_policy => 'terminate')"), "22023", "a superuser are not ended")
	b.bindOne(0, "terminate")
	held := b.hold(b.c, "app", "first value")
	b.exec("BEGIN")
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.exec("ALTER ROLE app SUPERUSER")
	b.exec("COMMIT")
	b.settled()
	waitThreePasses(t, b.session)
	if got := sessionsOf(b.session); got != "app former superuser" || !alive(held) {
		t.Errorf("sessions of a superuser: %s", got)
	}
	b.exec("ALTER ROLE app NOSUPERUSER CREATEDB")
	waitThreePasses(t, b.session)
	if got := sessionsOf(b.session); got != "app former promoted" || !alive(held) {
		t.Errorf("sessions of a role with another attribute: %s", got)
	}
	b.exec("ALTER ROLE app NOCREATEDB")
	b.awaitEnd("the session ends once the role is what it was", held)
}

// TestSessionPolicyIsChecked, and who may see sessions.
func TestSessionPolicyIsChecked(t *testing.T) {
	b := newSessionBench(t)
	b.bindOne(0, "ignore")
	for _, x := range [][2]string{
		{"'app', 'kill'", "must be ignore, wait or terminate"}, {"'app', 'wait'", "is for a pair"}, {"'app', max_wait_secs => 5", "is for the session_policy wait"},
		{"'app', 'terminate', 5", "is for the session_policy wait"},
	} {
		wantError(t, b.try("SELECT vault.configure_role("+x[0]+")"), "22023", x[1])
	}
	b.exec("SELECT vault.create_secret('free', 'value')")
	wantError(t, b.try("SELECT vault.configure_role('free', 'ignore')"), "42704", "is bound to no role")
	wantError(t, b.try("SELECT * FROM vault.role_sessions('free')"), "42704", "is bound to no role")
	b.exec("CREATE ROLE reader LOGIN")
	b.exec("SELECT vault.grant_access('reader', 'app', '{read,update}'), vault.grant_access('reader', 'other', '{rotate}')")
	b.exec("CREATE ROLE rotator LOGIN")
	b.exec("SELECT vault.grant_access('rotator', 'app', '{rotate}'), vault.grant_access('rotator', 'other', '{update}')")
	b.hold(b.c, "app", "first value")
	reader, rotator := b.c.connect(t, "postgres", "reader"), b.c.connect(t, "postgres", "rotator")
	wantError(t, reader.try("SELECT * FROM vault.role_sessions('app')"), "42501", "permission denied to rotate")
	wantError(t, rotator.try("SELECT vault.configure_role('app', 'terminate')"), "42501", "permission denied to update")
	wantError(t, reader.try("SELECT * FROM vault.backends()"), "42501", "permission denied")
	if got := sessionsOf(rotator); got != "app current stays" {
		t.Errorf("a role that may rotate sees %q", got)
	}
	reader.exec("SELECT vault.configure_role('app', auto_repair => true)")
	if got := get[[]string](b.session, "SELECT ARRAY[session_policy, auto_repair::text] FROM vault.bound_roles('app')"); !slices.Equal(got, []string{"ignore", "true"}) {
		t.Errorf("the binding has %v", got)
	}
}
