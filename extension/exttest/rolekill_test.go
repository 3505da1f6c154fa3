package exttest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// gates are the steps at which a change of a bound secret is stopped, in their order: the secret has its new version, the password
// of the role is about to be set, the verifier is kept beside it, the audit has the record, all is done but the commit, and the
// commit is durable but not yet acknowledged.
var gates = []string{"stored", "password", "kept", "recorded", "committing", "committed"}

// gateKey is the advisory lock that the test holds to stop the change at a gate.
const gateKey = "pg_catalog.hashtextextended('gate ' || $1, 0)"

// declareGates makes each gate but "password" a trigger, of a function as the vault has them: the vault writes such tables directly. A record that the API's journal brings is not one of the change itself. No role commits synchronously by itself, so a change that comes to the
// gate "committed" is the only one to wait for the standby that never comes.
const declareGates = `
CREATE FUNCTION vault.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_ARGV[0] <> 'committed' THEN
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtextextended('gate ' || TG_ARGV[0], 0));
	ELSIF NOT pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('gate committed', 0)) THEN
		PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER stored AFTER INSERT ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.gate('stored');
CREATE TRIGGER changed AFTER UPDATE ON vault.secrets FOR EACH ROW
	WHEN (OLD.current_version <> NEW.current_version OR OLD.bound <> NEW.bound) EXECUTE FUNCTION vault.gate('stored');
CREATE TRIGGER kept AFTER INSERT OR UPDATE ON vault.role_verifiers FOR EACH ROW EXECUTE FUNCTION vault.gate('kept');
CREATE TRIGGER recorded AFTER INSERT ON vault.audit_log FOR EACH ROW
	WHEN (NEW.action IN ('bind_role', 'update', 'rotate', 'import_role', 'repair_role') AND NEW.outcome = 'ok' AND NEW.journal IS NULL) EXECUTE FUNCTION vault.gate('recorded');
CREATE CONSTRAINT TRIGGER committing AFTER INSERT ON vault.audit_log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	WHEN (NEW.action IN ('bind_role', 'update', 'rotate', 'import_role', 'repair_role') AND NEW.outcome = 'ok' AND NEW.journal IS NULL) EXECUTE FUNCTION vault.gate('committing');
CREATE TRIGGER committed AFTER INSERT ON vault.audit_log FOR EACH ROW
	WHEN (NEW.action IN ('bind_role', 'update', 'rotate', 'import_role', 'repair_role') AND NEW.outcome = 'ok' AND NEW.journal IS NULL) EXECUTE FUNCTION vault.gate('committed');
`

// killBench is a vault whose changes stop at gates, and whose processes are killed there.
type killBench struct {
	whole *testing.T // which the API lives as long as
	t     *testing.T // of the one kill
	c     loginCluster
	db    *vaulttest.DB
	env   []string
	token string
	api   *apiProcess
	*session
	holder *session // holds the gates: in its transaction it would not see who comes
}

func newKillBench(t *testing.T) *killBench {
	t.Helper()
	addr := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	private := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Database: "app", Settings: append([]string{
		"listen_addresses = '" + addr + "'", "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'app'",
		"synchronous_commit = local", "synchronous_standby_names = 'none_that_comes'", "restart_after_crash = on",
	}, quick...)})
	b := &killBench{whole: t, t: t, c: loginCluster{cluster{private}, addr}, db: vaulttest.Of(private.Database("app"))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("server log:\n%s", tail(b.c.logText(t), 40))
		}
	})
	b.c.demandScram(t)
	b.env = b.db.Environ(t, "VAULT_ROTATION_POLL_SECS=1")
	b.connectAgain()
	b.script(declareGates)
	for _, kv := range b.env {
		if socket, ok := strings.CutPrefix(kv, "VAULT_AGENT_SOCKET="); ok {
			b.exec("ALTER DATABASE app SET hyperion_vault.agent_socket = '" + socket + "'")
		}
	}
	b.exec("ALTER ROLE vault_admin CREATEROLE")
	b.token = b.db.MustToken(t, "kills")
	b.api = startAPI(b.whole, b.env)
	b.api.ready(t)
	b.connectAgain()
	return b
}

// connectAgain opens the sessions of the test again, as after a crash.
func (b *killBench) connectAgain() {
	b.session, b.holder = b.c.connect(b.t, b.db.Name, "postgres"), b.c.connect(b.t, b.db.Name, "postgres")
}

// subject is a secret with its role, or its two roles.
type subject struct{ secret, role, other string }

const (
	firstPassword = "password-before"
	nextPassword  = "password-after"
	pairOf        = `{"username":"%s","password":"%s"}`
)

// makeRoles makes a subject whose first role logs in with firstPassword.
func (b *killBench) makeRoles(n int, paired bool) subject {
	b.t.Helper()
	s := subject{secret: fmt.Sprintf("app%d", n), role: fmt.Sprintf("app%d", n)}
	b.exec("CREATE ROLE " + s.role + " LOGIN PASSWORD '" + firstPassword + "'")
	if paired {
		s.other = s.role + "_b"
		b.exec("CREATE ROLE " + s.other + " LOGIN")
	}
	if serverVersion(b.session) >= 160000 {
		b.exec("GRANT " + strings.TrimSuffix(s.role+", "+s.other, ", ") + " TO vault_admin WITH ADMIN OPTION")
	}
	return s
}

func (s subject) value(password string) string {
	if s.other == "" {
		return password
	}
	return fmt.Sprintf(pairOf, s.role, password)
}

// create makes the secret, with a password.
func (b *killBench) create(s subject, password string) {
	b.t.Helper()
	contentType, policy := "text/plain; charset=utf-8", any(nil)
	if s.other != "" {
		contentType, policy = "application/json", `{"json_field":"password"}`
	}
	b.exec(`SELECT vault.create_secret($1, $2::text, 'automatic', $3, rotation_interval_secs => 86400, grace_period_secs => 3600,
		generate_policy => $4::jsonb)`, s.secret, s.value(password), contentType, policy)
}

const (
	bindSQL = "SELECT vault.bind_role($1, $1::text::regrole)"
	pairSQL = "SELECT vault.bind_role_pair($1, $1::text::regrole, ($1::text || '_b')::regrole)"
)

// bind makes the secret, and binds it to the role that has its value as the password.
func (b *killBench) bind(s subject) {
	b.t.Helper()
	b.create(s, firstPassword)
	if s.other == "" {
		b.exec(bindSQL, s.secret)
	} else {
		b.exec(pairSQL, s.secret)
	}
}

// roleChange is a change that sets the password of a role, or checks it.
type roleChange struct {
	name    string
	paired  bool
	prepare func(b *killBench, s subject)
	// sql is run with the secret's name by a session of its own; method, path and body are sent to the API. Neither: the API rotates
	// by schedule.
	sql, method, path, body string
	unset                   bool // no password is set
	byStatement             bool // the vault changes bound roles by statements
}

var roleChanges = []roleChange{
	{name: "BindBySQL", prepare: func(b *killBench, s subject) { b.create(s, nextPassword) }, sql: bindSQL},
	{name: "BindByREST", prepare: func(b *killBench, s subject) { b.create(s, nextPassword) }, method: "PUT", path: "/v1/roles/%s", body: `{"role":"%[1]s"}`},
	{name: "PairBySQL", paired: true, prepare: func(b *killBench, s subject) { b.create(s, nextPassword) }, sql: pairSQL},
	{name: "Import", prepare: func(*killBench, subject) {}, sql: "SELECT vault.import_role($1, $1::text::regrole, '" + firstPassword + "')", unset: true},
	{name: "UpdateBySQL", prepare: (*killBench).bind, sql: "SELECT vault.update_secret($1, '" + nextPassword + "', NULL)"},
	{name: "UpdateByREST", prepare: (*killBench).bind, method: "PUT", path: "/v1/secrets/%s", body: `{"value":"` + nextPassword + `"}`},
	{name: "RotateBySQL", prepare: (*killBench).bind, sql: "SELECT vault.rotate_secret($1)"},
	{name: "RotateByStatement", prepare: (*killBench).bind, sql: "SELECT vault.rotate_secret($1)", byStatement: true},
	{name: "RotatePair", paired: true, prepare: (*killBench).bind, sql: "SELECT vault.rotate_secret($1)"},
	{name: "RotatePairByREST", paired: true, prepare: (*killBench).bind, method: "POST", path: "/v1/secrets/%s/rotate"},
	{name: "RotateBySchedule", prepare: (*killBench).bind},
}

// begin runs the change in the background. What comes is its error; a scheduled rotation is acknowledged to no one.
func (b *killBench) begin(c roleChange, s subject) <-chan error {
	b.t.Helper()
	done := make(chan error, 1)
	switch {
	case c.sql != "":
		own := b.c.connect(b.t, b.db.Name, "postgres")
		go func() { done <- own.try(c.sql, s.secret) }()
	case c.method != "":
		api, path, body := b.api, fmt.Sprintf(c.path, s.secret), c.body
		if strings.Contains(body, "%") {
			body = fmt.Sprintf(body, s.secret)
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
			defer cancel()
			done <- api.attempt(ctx, b.token, c.method, path, body)
		}()
	default:
		b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name = $1", s.secret)
		done <- errUnacknowledged
	}
	return done
}

// hold closes a gate. The gate "password" is the row of the role that the change comes to, which the test changes and does not commit.
func (b *killBench) hold(gate string, s subject, c roleChange) {
	b.t.Helper()
	if gate != "password" {
		b.holder.exec("SELECT pg_catalog.pg_advisory_lock("+gateKey+")", gate)
		return
	}
	role := s.role
	if c.paired && c.sql != pairSQL {
		role = s.other // whose turn it is
	}
	b.holder.exec("BEGIN")
	b.holder.exec("ALTER ROLE " + role + " CONNECTION LIMIT 7")
}

// release opens a gate for the process that waits there.
func (b *killBench) release(gate string, waiting int) {
	b.t.Helper()
	switch gate {
	case "password":
		b.holder.exec("ROLLBACK")
	case "committed":
		b.exec("SELECT pg_cancel_backend($1)", waiting) // which ends its wait and not what it has committed
	}
	b.holder.exec("SELECT pg_catalog.pg_advisory_unlock_all()")
}

// atGate is the process that waits for the one that holds the gate, or for the standby that never comes.
const atGate = `SELECT coalesce(max(pid), 0) FROM pg_stat_activity
	WHERE CASE WHEN $1::text = 'committed' THEN wait_event = 'SyncRep' ELSE $2::int = ANY (pg_blocking_pids(pid)) END`

// awaitGate returns the process that has come to the gate.
func (b *killBench) awaitGate(gate string) (pid int) {
	b.t.Helper()
	pgtest.Eventually(b.t, "the change comes to the gate "+gate, func() bool {
		pid = get[int](b.session, atGate, gate, b.holder.pid())
		return pid != 0
	})
	return pid
}

var victims = []string{"backend", "API", "supervisor", "postmaster"}

// strike kills a process while the change waits at a gate, and has all of them run again.
func (b *killBench) strike(victim, gate string, waiting int) {
	b.t.Helper()
	const supervisor = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'"
	switch victim {
	case "backend":
		kill(b.t, b.c.cluster, waiting)
	case "supervisor":
		var pid int
		pgtest.Eventually(b.t, "there is a supervisor", func() bool {
			var err error
			pid, err = tryGet[int](b.session, supervisor)
			return err == nil
		})
		kill(b.t, b.c.cluster, pid)
	case "postmaster":
		b.c.MustStop(b.t, syscall.SIGKILL)
		b.c.awaitGone(b.t)
		b.c.MustStart(b.t)
	case "API":
		b.api.kill()
		b.release(gate, waiting)
		pgtest.Eventually(b.t, "the change that is left alone ends", func() bool {
			return get[bool](b.session, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state <> 'idle')", waiting)
		})
		b.api = startAPI(b.whole, b.env)
	}
	b.connectAgain()
	b.api.ready(b.t)
}

// credential is what the vault returns for a subject, by REST and by SQL.
func (b *killBench) credential(s subject) (user, password string) {
	b.t.Helper()
	value := (&client{b.t, b.api.url, b.token}).read(s.secret, "")
	if bySQL := get[string](b.session, "SELECT vault.read_secret($1)", s.secret); bySQL != value {
		b.t.Errorf("by SQL the value is another one than by REST")
	}
	if s.other == "" {
		return s.role, value
	}
	var v struct{ Username, Password string }
	pgtest.Must(b.t, json.Unmarshal([]byte(value), &v))
	return v.Username, v.Password
}

// refused checks that a password does not log in, because it is wrong.
func (b *killBench) refused(role, password string) {
	b.t.Helper()
	wantError(b.t, b.c.login(role, password), "28P01", "password authentication failed")
}

// agree checks that what the vault has of a subject is what PostgreSQL lets in, by two implementations of SCRAM.
func (b *killBench) agree(s subject) (user, password string) {
	b.t.Helper()
	if state := get[string](b.session, "SELECT string_agg(state, ',') FROM vault.bound_roles($1) WHERE name = $1", s.secret); strings.Trim(state, "ok,") != "" {
		b.t.Errorf("the state is %s", state)
	}
	user, password = b.credential(s)
	if err := b.c.login(user, password); err != nil {
		b.t.Errorf("pgx does not log in: %v", err)
	}
	if err := b.c.psqlLogin(b.t, user, password); err != nil {
		b.t.Errorf("psql does not log in: %v", err)
	}
	b.refused(user, password+"x")
	return user, password
}

// judge compares secret and role after the kill. made says whether the change was made, which for a kill before the commit
// only the version tells.
func (b *killBench) judge(c roleChange, s subject) (made bool) {
	b.t.Helper()
	bound := get[int](b.session, "SELECT count(*)::int FROM vault.bound_roles($1) WHERE name = $1", s.secret)
	if bound == 0 {
		pgtest.Must(b.t, b.c.login(s.role, firstPassword))
		b.refused(s.role, nextPassword)
		if n := get[int](b.session, "SELECT count(*)::int FROM vault.list_secrets($1)", s.secret); c.unset && n != 0 {
			b.t.Error("the import has left a secret without a role")
		}
		return false
	}
	user, password := b.agree(s)
	version := get[int](b.session, "SELECT current_version FROM vault.list_secrets($1)", s.secret)
	switch made = c.unset || version == 2 || c.sql == bindSQL || c.sql == pairSQL || strings.Contains(c.path, "/roles/"); {
	case version > 2:
		b.t.Errorf("the secret is at version %d", version)
	case !made && password != firstPassword, made && !c.unset && password == firstPassword:
		b.t.Errorf("version %d is another password", version)
	case made && user == s.other:
		pgtest.Must(b.t, b.c.login(s.role, firstPassword)) // in its grace
	case made && !c.unset:
		b.refused(s.role, firstPassword)
	}
	return made
}

// goOn makes the change, if it was not made, and another one.
func (b *killBench) goOn(c roleChange, s subject, made bool) {
	b.t.Helper()
	if !made && c.sql != "" {
		b.exec(c.sql, s.secret)
		b.agree(s)
	} else if !made && strings.Contains(c.path, "/roles/") {
		pgtest.Must(b.t, b.api.attempt(b.t.Context(), b.token, c.method, fmt.Sprintf(c.path, s.secret), fmt.Sprintf(c.body, s.secret)))
	}
	_, before := b.credential(s)
	if c.unset { // a secret that is imported is manual
		b.exec("SELECT vault.update_secret($1, $2::text, NULL)", s.secret, nextPassword)
	} else {
		b.exec("SELECT vault.rotate_secret($1)", s.secret)
	}
	if user, password := b.agree(s); password == before {
		b.t.Error("the next change has changed nothing")
	} else {
		b.refused(user, before)
	}
}

// TestKillsPartNoPasswordFromItsSecret stops each change that sets a password at each of its steps, and kills a backend, the API, the
// supervisor or the postmaster there. Afterwards the role logs in with what the vault returns, and with nothing else. Each victim
// dies at each step, and for each change; with HV_ALL_KILLS each change suffers each kill at each step.
func TestKillsPartNoPasswordFromItsSecret(t *testing.T) {
	for i, c := range roleChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newKillBench(t)
			if c.byStatement {
				b.script(rolesByStatement)
			}
			n := 0
			for j, gate := range gates {
				for v, victim := range victims {
					if c.unset && gate == "password" || (v != (i+j)%len(victims) && os.Getenv("HV_ALL_KILLS") == "") {
						continue
					}
					n++
					t.Run(gate+"/"+victim, func(t *testing.T) { b.in(t).suffer(n, c, gate, victim) })
				}
			}
		})
	}
}

// in is b within a subtest.
func (b *killBench) in(t *testing.T) *killBench {
	b.t, b.session.t = t, t
	return b
}

func (b *killBench) suffer(n int, c roleChange, gate, victim string) {
	b.connectAgain()
	s := b.makeRoles(n, c.paired)
	c.prepare(b, s)
	b.hold(gate, s, c)
	done := b.begin(c, s)
	waiting := b.awaitGate(gate)
	b.strike(victim, gate, waiting)
	err := within(b.t, 2*pgtest.Patience, done)
	if c.sql == "" && c.method == "" { // the API tries again until it is made
		pgtest.Eventually(b.t, "the rotation that is due is made", func() bool {
			return get[int](b.session, "SELECT current_version FROM vault.list_secrets($1)", s.secret) > 1
		})
	}
	made := b.judge(c, s)
	switch {
	case err == nil && !made:
		b.t.Error("an acknowledged change is lost")
	case gate == "committed" && !made:
		b.t.Error("a commit that was durable is lost")
	case made && gate != "committed" && c.sql != "" && (victim == "backend" || victim == "supervisor"): // no other kill ends the backend itself
		b.t.Error("a change that was killed before its commit is there")
	}
	b.goOn(c, s, made)
}

// TestKilledSupervisorRepairsOnce: the supervisor is ended while it repairs a role. The next one repairs it, which is recorded once.
func TestKilledSupervisorRepairsOnce(t *testing.T) {
	t.Parallel()
	whole := newKillBench(t)
	n := 0
	for _, gate := range []string{"recorded", "committing", "committed"} {
		for _, end := range []string{"SIGKILL", "SIGTERM", "postmaster"} {
			n++
			s := subject{secret: fmt.Sprintf("app%d", n), role: fmt.Sprintf("app%d", n)}
			t.Run(gate+"/"+end, func(t *testing.T) { whole.in(t).repair(s, gate, end) })
		}
	}
}

func (b *killBench) repair(s subject, gate, end string) {
	b.connectAgain()
	b.exec("CREATE ROLE " + s.role + " LOGIN")
	b.create(s, firstPassword)
	b.exec("SELECT vault.bind_role($1, $1::text::regrole, true)", s.secret)
	b.hold(gate, s, roleChange{})
	b.exec("ALTER ROLE " + s.role + " PASSWORD 'by hand'")
	supervisor := b.awaitGate(gate)
	switch end {
	case "SIGKILL":
		b.strike("backend", gate, supervisor)
	case "SIGTERM":
		pgtest.Must(b.t, syscall.Kill(supervisor, syscall.SIGTERM))
		b.release(gate, supervisor)
	case "postmaster":
		b.strike("postmaster", gate, supervisor)
	}
	pgtest.Eventually(b.t, "the role is repaired", func() bool {
		return get[string](b.session, "SELECT state FROM vault.bound_roles($1) WHERE name = $1", s.secret) == "ok"
	})
	b.agree(s)
	b.refused(s.role, "by hand")
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'repair_role' AND outcome = 'ok' AND secret_name = $1", s.secret); n != 1 {
		b.t.Errorf("%d repairs are recorded", n)
	}
}
