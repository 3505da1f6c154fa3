package exttest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

const leasesLeft = "SELECT ((SELECT count(*) FROM vault.role_leases) + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'lease%'))::int"

// leaseBench is a server with a supervisor that makes a pass each second, a template "app/reader", and an agent.
type leaseBench struct {
	*session
	c     loginCluster
	agent *fakeAgent
}

func newLeaseBench(t *testing.T, settings ...string) *leaseBench {
	t.Helper()
	t.Parallel()
	agent := newFakeAgent(t)
	c := startLoginCluster(t, append(settings, "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'postgres'",
		"hyperion_vault.agent_socket = '"+agent.path+"'", "max_connections = 40")...)
	s := c.connect(t, "postgres", "postgres")
	s.exec("CREATE EXTENSION hyperion_vault")
	s.exec("CREATE ROLE readers")
	s.exec("CREATE ROLE owners")
	s.exec("CREATE ROLE dba CREATEROLE LOGIN")
	s.exec("CREATE ROLE app LOGIN")
	s.exec("SELECT vault.grant_access('dba', 'app/*', '{manage}')")
	s.exec("SELECT vault.grant_access('app', 'app/*', '{create}')")
	if serverVersion(s) >= 160000 {
		s.exec("GRANT readers, owners TO dba WITH ADMIN OPTION")
	}
	s.exec("SET ROLE dba")
	s.exec("SELECT vault.create_role_template('app/reader', '{readers}', '1 hour', '2 hours', settings => $1::jsonb)",
		`{"search_path": "app, pg_catalog", "statement_timeout": "7s"}`)
	s.exec("RESET ROLE")
	return &leaseBench{session: s, c: c, agent: agent}
}

// lease is what issue_role hands out.
type lease struct {
	id, username, password string
	expiresAt              time.Time
}

func (b *leaseBench) issue(s *session, template string, ttl any) (l lease) {
	b.t.Helper()
	err := s.QueryRow(bounded(b.t), "SELECT lease::text, username, password, expires_at FROM vault.issue_role($1, $2::text::interval)", template, ttl).
		Scan(&l.id, &l.username, &l.password, &l.expiresAt)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// gone waits until neither the role nor the row of a lease is there.
func (b *leaseBench) gone(l lease) {
	b.t.Helper()
	pgtest.Eventually(b.t, "the lease "+l.username+" ends", func() bool {
		return !get[bool](b.session, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) OR EXISTS (SELECT FROM vault.role_leases WHERE id = $2::text::uuid)",
			l.username, l.id)
	})
}

func (b *leaseBench) audited(action, lease string) int {
	b.t.Helper()
	return get[int](b.session, "SELECT count(*)::int FROM vault.audit_log WHERE action = $1 AND details ->> 'lease' = $2 AND outcome = 'ok'", action, lease)
}

func TestLeaseIsARoleWithAnEnd(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	l := b.issue(app, "app/reader", nil)
	if err := b.c.login(l.username, l.password); err != nil {
		t.Fatal(err)
	}
	if b.c.login(l.username, "another password") == nil {
		t.Error("another password logs in")
	}
	if !strings.HasPrefix(l.username, "lease_app_reader_") || len(l.password) != 32 {
		t.Errorf("the credential is %q with a password of %d characters", l.username, len(l.password))
	}
	if left := time.Until(l.expiresAt); left < 59*time.Minute || left > 61*time.Minute {
		t.Errorf("the lease ends in %v", left)
	}
	got := get[string](b.session, `SELECT concat_ws(' ', pg_has_role(r.oid, 'readers', 'USAGE'), r.rolcanlogin, r.rolsuper, r.rolcreaterole,
		r.rolvaliduntil = $2, array_to_string((SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid), ';'))
		FROM pg_roles r WHERE rolname = $1`, l.username, l.expiresAt)
	if want := "t t f f t search_path=app, pg_catalog;statement_timeout=7s"; got != want {
		t.Errorf("the role is %q, want %q", got, want)
	}
	if b.audited("lease_issue", l.id) != 1 {
		t.Error("the lease is not in the audit")
	}
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
	if b.c.login(l.username, l.password) == nil {
		t.Error("a revoked lease logs in")
	}
	if b.audited("lease_revoke", l.id) != 1 || b.audited("lease_end", l.id) != 1 {
		t.Error("the end is not in the audit once")
	}
}

func TestLeaseIsRolledBackWithItsTransaction(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	app.exec("BEGIN")
	l := b.issue(app, "app/reader", nil)
	app.exec("ROLLBACK")
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname = $1", l.username); n != 0 {
		t.Error("the role is there")
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.role_leases"); n != 0 {
		t.Error("the lease is there")
	}
}

func TestLeaseEndsByItself(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	l := b.issue(app, "app/reader", "2 seconds")
	held, err := b.c.hold(l.username, l.password)
	if err != nil {
		t.Fatal(err)
	}
	b.gone(l)
	if _, err := held.Exec(context.Background(), "SELECT 1"); err == nil {
		t.Error("a session of a lease that has ended goes on")
	}
	if time.Now().Before(l.expiresAt) {
		t.Error("the lease has ended too early")
	}
	if n := b.audited("lease_end", l.id); n != 1 {
		t.Errorf("%d records of the end", n)
	}
}

func TestLeaseRenewal(t *testing.T) {
	b := newLeaseBench(t)
	app, other := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "app")
	l := b.issue(app, "app/reader", "1 minute")
	ends := get[time.Time](app, "SELECT vault.renew_lease($1::text::uuid)", l.id)
	if !ends.After(l.expiresAt) {
		t.Errorf("renewed to %v from %v", ends, l.expiresAt)
	}
	ends = get[time.Time](app, "SELECT vault.renew_lease($1::text::uuid, '1 year')", l.id)
	if left := time.Until(ends); left > 2*time.Hour {
		t.Errorf("renewed beyond the longest lifetime: %v", left)
	}
	if until := get[time.Time](b.session, "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", l.username); !until.Equal(ends) {
		t.Errorf("the password is valid until %v, and the lease ends at %v", until, ends)
	}
	wantError(t, app.try("SELECT vault.renew_lease($1::text::uuid, '-1 second')", l.id), "22023", "increment")
	// Another role has no say, and does not learn that there is such a lease.
	b.exec("CREATE ROLE stranger LOGIN")
	b.exec("SELECT vault.grant_access('stranger', 'other/*', '{create}')")
	stranger := b.c.connect(t, "postgres", "stranger")
	wantError(t, stranger.try("SELECT vault.renew_lease($1::text::uuid)", l.id), "42704", "no such lease")
	wantError(t, stranger.try("SELECT vault.revoke_lease($1::text::uuid)", l.id), "42704", "no such lease")
	if n := get[int](stranger, "SELECT count(*)::int FROM vault.leases()"); n != 0 {
		t.Error("a stranger sees the lease")
	}
	wantError(t, stranger.try("SELECT vault.issue_role('app/reader')"), "42501", "permission denied")
	if n := get[int](other, "SELECT count(*)::int FROM vault.leases()"); n != 1 {
		t.Errorf("the role sees %d of its leases", n)
	}
	// Without the grant the lease is not renewed, and can still be given back.
	b.exec("SELECT vault.revoke_access('app', 'app/*', '{create}')")
	b.exec("SELECT vault.grant_access('app', 'elsewhere/*', '{create}')")
	wantError(t, app.try("SELECT vault.renew_lease($1::text::uuid)", l.id), "42704", "no such lease")
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
}

func TestTemplateNeedsTheRightsOfItsDefiner(t *testing.T) {
	b := newLeaseBench(t)
	b.exec("CREATE ROLE weak LOGIN")
	b.exec("CREATE ROLE boss SUPERUSER")
	b.exec("SELECT vault.grant_access('weak', 'app/*', '{manage}')")
	weak, dba := b.c.connect(t, "postgres", "weak"), b.c.connect(t, "postgres", "dba")
	wantError(t, weak.try("SELECT vault.create_role_template('app/x', '{readers}')"), "42501", "permission denied")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{boss}')"), "42501", "")
	wantError(t, dba.try("SELECT vault.create_role_template('other/x', '{readers}')"), "42501", "permission denied to manage")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{readers}', settings => '{\"log_statement\": \"none\"}')"), "42501", "")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{vault_owner}')"), "0LP01", "vault_owner")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{readers}', reassign_to => 'owners')"), "22023", "one of the groups")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{readers}', role_prefix => 'pg_x')"), "22023", "role_prefix")
	wantError(t, dba.try("SELECT vault.create_role_template('app/x', '{readers,owners,readers}')"), "22023", "a group twice")
	for _, name := range []string{"app/a name", "app/*", "*", ""} {
		wantError(t, dba.try("SELECT vault.create_role_template($1, '{readers}')", name), "22023", "name ")
		wantError(t, dba.try("SELECT vault.drop_role_template($1)", name), "22023", "name ")
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname LIKE 'lease%'"); n != 0 {
		t.Errorf("a template has left %d roles", n)
	}
	// What the definer loses later is refused at the next issue, with the cause.
	b.exec("ALTER ROLE dba NOCREATEROLE")
	app := b.c.connect(t, "postgres", "app")
	wantError(t, app.try("SELECT vault.issue_role('app/reader')"), "VT007", "may no longer make such a role")
	b.exec("ALTER ROLE dba CREATEROLE")
	b.issue(app, "app/reader", nil)
	b.exec("DROP ROLE readers")
	wantError(t, app.try("SELECT vault.issue_role('app/reader')"), "VT007", "no longer exists")
}

func TestLeaseWithObjects(t *testing.T) {
	b := newLeaseBench(t)
	b.exec("CREATE SCHEMA app")
	b.exec("GRANT ALL ON SCHEMA app TO owners, readers")
	dba, app := b.c.connect(t, "postgres", "dba"), b.c.connect(t, "postgres", "app")
	dba.exec("SELECT vault.create_role_template('app/owner', '{owners}', reassign_to => 'owners')")
	dba.exec("SELECT vault.create_role_template('app/scratch', '{owners}', drop_owned => true)")
	make := func(template, table string) lease {
		l := b.issue(app, template, nil)
		held, err := b.c.hold(l.username, l.password)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.Exec(context.Background(), "CREATE TABLE app."+table+" (x int)"); err != nil {
			t.Fatal(err)
		}
		return l
	}
	kept, scratch, stuck := make("app/owner", "kept"), make("app/scratch", "scratch"), make("app/reader", "stuck")
	other := b.issue(app, "app/reader", nil)
	for _, l := range []lease{stuck, kept, scratch, other} {
		app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	}
	b.gone(kept)
	b.gone(scratch)
	b.gone(other)
	if got := get[string](b.session, "SELECT string_agg(tablename || ' ' || tableowner, ', ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'app'"); got != "kept owners, stuck "+stuck.username {
		t.Errorf("the tables are %s", got)
	}
	// One that owns something is shown with the reason, and logs in no longer.
	pgtest.Eventually(t, "the reason is shown", func() bool {
		return get[bool](dba, "SELECT bool_or(last_error LIKE '%objects depend on it%table app.stuck%') FROM vault.leases('app/reader')")
	})
	if b.c.login(stuck.username, stuck.password) == nil {
		t.Error("the role logs in")
	}
	b.exec("DROP TABLE app.stuck")
	b.gone(stuck)
	if n := b.audited("lease_end", stuck.id); n != 1 {
		t.Errorf("%d records of the end", n)
	}
}

func TestLeaseOfARenamedRole(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	l, dropped := b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil)
	b.exec("ALTER ROLE " + l.username + " RENAME TO stranger")
	b.exec("DROP ROLE " + dropped.username)
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", dropped.id)
	b.gone(dropped)
	pgtest.Eventually(t, "the reason is shown", func() bool {
		return get[bool](b.session, "SELECT bool_or(last_error LIKE '%is called \"stranger\" now%') FROM vault.leases()")
	})
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname = 'stranger' AND NOT rolcanlogin"); n != 1 {
		t.Error("a renamed role was dropped, or logs in")
	}
}

// howManyLeases is how many leases TestLeasesEndOnceAfterCrashes ends: 2,000, which takes 20 seconds of the processor, or HV_LEASES.
func howManyLeases(t *testing.T) int {
	t.Helper()
	given := os.Getenv("HV_LEASES")
	if given == "" {
		return 2000
	}
	n, err := strconv.Atoi(given)
	pgtest.Must(t, err)
	return n
}

// issueMany issues leases by several sessions, and returns their ids.
func (b *leaseBench) issueMany(n int) (ids []string) {
	b.t.Helper()
	const sessions, batch = 4, 25 // a statement has an end of its own, on a busy machine too
	var wg sync.WaitGroup
	made := make([][]string, sessions)
	for i := range sessions {
		s := b.c.connect(b.t, "postgres", "postgres")
		wg.Go(func() {
			for len(made[i]) < n/sessions {
				some, err := tryGet[[]string](s, `SELECT array_agg(l.lease::text)
					FROM generate_series(1, $1::int) g, LATERAL vault.issue_role('app/reader', make_interval(secs => 3600 + 0 * g)) l`, batch)
				if err != nil {
					b.t.Error(err)
					return
				}
				made[i] = append(made[i], some...)
			}
		})
	}
	wg.Wait()
	return slices.Concat(made...)
}

// TestLeasesEndOnceAfterCrashes has many leases end, and kills the supervisor meanwhile: by SIGTERM and by SIGKILL, which takes the
// server down, between its steps and in the one that drops roles.
func TestLeasesEndOnceAfterCrashes(t *testing.T) {
	b := newLeaseBench(t, "restart_after_crash = on")
	ids := b.issueMany(howManyLeases(t))
	n := len(ids)
	b.script(`CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
		CREATE TRIGGER gate AFTER DELETE ON vault.role_leases FOR EACH ROW EXECUTE FUNCTION public.gate()`)
	b.exec("UPDATE vault.role_leases SET expires_at = clock_timestamp()")
	const of = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'"
	for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		s := b.c.connect(t, "postgres", "postgres")
		limit := n - (i+1)*n/8
		pgtest.Eventually(t, fmt.Sprintf("less than %d leases are left", limit), func() bool {
			return get[int](s, "SELECT count(*)::int FROM vault.role_leases") < limit
		})
		where := of
		if i%2 == 0 { // in the transaction that drops roles
			s.exec("SELECT pg_advisory_lock(1)")
			where += " AND wait_event = 'advisory'"
		}
		var pid int
		pgtest.Eventually(t, "a supervisor is at work", func() bool {
			pid = get[int](s, where)
			return pid != 0
		})
		if signal == syscall.SIGKILL {
			kill(t, b.c.cluster, pid)
		} else {
			pgtest.Must(t, syscall.Kill(pid, signal))
		}
		_ = s.Close(context.Background())
	}
	s := b.c.connect(t, "postgres", "postgres")
	pgtest.Eventually(t, "all leases end", func() bool { return get[int](s, leasesLeft) == 0 })
	got := get[string](s, `SELECT concat_ws(' ', count(*), count(DISTINCT details ->> 'lease'), count(*) FILTER (WHERE details ->> 'lease' = ANY ($1)))
		FROM vault.audit_log WHERE action = 'lease_end'`, ids)
	if want := fmt.Sprintf("%[1]d %[1]d %[1]d", n); got != want {
		t.Errorf("records, leases that ended, and those of ours: %s, want %s", got, want)
	}
	if issued := get[int](s, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'lease_issue'"); issued != n {
		t.Errorf("%d records of leases that were issued", issued)
	}
}

func TestManyLeasesLeaveNothing(t *testing.T) {
	b := newLeaseBench(t)
	const clients, each = 4, 50
	var wg sync.WaitGroup
	for range clients {
		app := b.c.connect(t, "postgres", "app")
		wg.Go(func() {
			for range each {
				l := b.issue(app, "app/reader", nil)
				app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
			}
		})
	}
	wg.Wait()
	pgtest.Eventually(t, "all leases end", func() bool {
		return get[int](b.session, leasesLeft) == 0
	})
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'lease_end'"); n != clients*each {
		t.Errorf("%d records of ends", n)
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_auth_members m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.member)"); n != 0 {
		t.Errorf("%d memberships are left", n)
	}
}

// hold logs in by TCP with a password and options, and stays.
func (c loginCluster) hold(role, password string, options ...string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=postgres sslmode=disable", c.addr, pgtest.Port))
	if err != nil {
		return nil, err
	}
	conf.User, conf.Password = role, password
	conf.RuntimeParams["options"] = strings.Join(options, " ")
	return pgx.ConnectConfig(context.Background(), conf)
}

func TestLeasesEndWithTheirToken(t *testing.T) {
	b := newLeaseBench(t)
	const issue = `SELECT vault.issue_role_as(sha256($1::bytea), '127.0.0.1', NULL, 'app/reader', 600, $2, 'here', 'r')->>'role'`
	const verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	revoked := get[string](b.session, "SELECT vault.create_token('app', 'revoked')")
	expiring := get[string](b.session, "SELECT vault.create_token('app', 'expiring', '3 seconds')")
	lasting := get[string](b.session, "SELECT vault.create_token('app', 'lasting')")
	roles := map[string]string{}
	for _, token := range []string{revoked, expiring, lasting} {
		roles[token] = get[string](b.session, issue, []byte(token), verifier)
	}
	b.exec("SELECT vault.revoke_token((SELECT accessor FROM vault.token_list() WHERE name = 'revoked'))")
	if get[bool](b.session, "SELECT coalesce(bool_or(rolcanlogin), false) FROM pg_roles WHERE rolname = $1", roles[revoked]) {
		t.Error("a lease of a revoked token logs in")
	}
	for _, token := range []string{revoked, expiring} {
		pgtest.Eventually(t, "the lease ends", func() bool {
			return get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname = $1", roles[token]) == 0
		})
	}
	passes(t, b.session)
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname = $1 AND rolcanlogin", roles[lasting]); n != 1 {
		t.Error("the lease of another token has ended")
	}
}

// TestLeaseOfATokenThatHasExpiredLongAgo: a pass looks for the tokens that have expired since the last one, and skips a lease that
// another transaction holds. One pass of each hour looks for all.
func TestLeaseOfATokenThatHasExpiredLongAgo(t *testing.T) {
	b := newLeaseBench(t)
	l := b.issue(b.c.connect(t, "postgres", "app"), "app/reader", nil)
	b.exec("SELECT vault.create_token('app', 'expired')")
	b.exec("UPDATE vault.tokens SET expires_at = clock_timestamp() - interval '3 hours' WHERE name = 'expired'")
	b.exec("UPDATE vault.role_leases SET token = (SELECT id FROM vault.tokens WHERE name = 'expired') WHERE id = $1::text::uuid", l.id)
	pgtest.Eventually(t, "a pass begins an hour after the last one", func() bool {
		// Once more where a pass that was under way has written when it began.
		b.exec("UPDATE vault.supervisor_passes SET last_pass_at = clock_timestamp() - interval '1 hour'")
		return get[bool](b.session, "SELECT NOT EXISTS (SELECT FROM vault.role_leases WHERE ending IS NULL)")
	})
	b.gone(l)
	if got := get[string](b.session, "SELECT details ->> 'cause' FROM vault.audit_log WHERE action = 'lease_end'"); got != "token" {
		t.Errorf("it has ended by %q", got)
	}
}

// TestLeaseLeavesNothingInTheLog issues a lease by SQL, and by what the API sends, under the settings that log most, also where
// that fails after the verifier was given.
func TestLeaseLeavesNothingInTheLog(t *testing.T) {
	b := newLeaseBench(t, "log_statement = 'all'", "log_min_duration_statement = 0", "log_min_messages = debug1", "log_error_verbosity = verbose",
		"log_parameter_max_length = -1", "log_parameter_max_length_on_error = -1", "debug_print_parse = on", "debug_print_rewritten = on",
		"debug_print_plan = on", "log_min_error_statement = debug5")
	b.exec("LOAD 'auto_explain'")
	b.exec("SET auto_explain.log_min_duration = 0")
	b.exec("SET auto_explain.log_nested_statements = on")
	b.exec("SET auto_explain.log_verbose = on")
	const issue = `SELECT vault.issue_role_as(sha256($1::bytea), '127.0.0.1', NULL, $2, 600, $3, 'here', 'r')`
	const verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$MARKERAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	var secrets []string
	for range 7 { // also with the plan that is kept
		l := b.issue(b.session, "app/reader", nil)
		var stored string
		if err := b.QueryRow(bounded(t), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", l.username).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, l.password, stored)
	}
	token := get[string](b.session, "SELECT vault.create_token('app', 'one')")
	for range 7 {
		b.exec(issue, []byte(token), "app/reader", verifier)
	}
	wantError(t, b.try(issue, []byte(token), "app/missing", verifier), "42704", "does not exist")
	wantError(t, b.try(issue, []byte(token), "app/reader", verifier+"MARKER"), "22023", "verifier")
	b.exec("ALTER ROLE dba NOCREATEROLE")
	wantError(t, b.try(issue, []byte(token), "app/reader", verifier), "VT007", "may no longer make")
	log := b.c.logText(t)
	if !strings.Contains(log, "SELECT rolpassword FROM pg_authid") || !strings.Contains(log, "withheld by hyperion_vault") {
		t.Fatal("the log has no statements: this test finds nothing")
	}
	for _, secret := range append(secrets, "MARKER") {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("the log has a password or a verifier: %q", log[max(0, i-600):i+100])
		}
	}
}
