package exttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// dba is a session of the role that defines templates.
func (b *leaseBench) dba() *session {
	b.t.Helper()
	return b.c.connect(b.t, "postgres", "dba")
}

// inSession runs a statement in a session of a lease.
func (b *leaseBench) inSession(l lease, statement string) {
	b.t.Helper()
	held, err := b.c.hold(l.username, l.password)
	pgtest.Must(b.t, err)
	_, err = held.Exec(context.Background(), statement)
	pgtest.Must(b.t, err)
	pgtest.Must(b.t, held.Close(context.Background()))
}

func (b *leaseBench) lastError(l lease) string {
	b.t.Helper()
	return get[string](b.session, "SELECT coalesce((SELECT last_error FROM vault.role_leases WHERE id = $1::text::uuid), '')", l.id)
}

// TestLocksDoNotHoldUpTheSupervisor: while a transaction keeps what one lease leaves from being dropped, other leases end, and passes
// are made.
func TestLocksDoNotHoldUpTheSupervisor(t *testing.T) {
	b := newLeaseBench(t)
	b.exec("CREATE SCHEMA app")
	b.exec("GRANT ALL ON SCHEMA app TO owners")
	b.dba().exec("SELECT vault.create_role_template('app/scratch', '{owners}', drop_owned => true)")
	app, reader, admin := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "postgres"), b.c.connect(t, "postgres", "postgres")
	read, altered, other := b.issue(app, "app/scratch", nil), b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil)
	b.inSession(read, "CREATE TABLE app.scratch (x int)")
	reader.exec("BEGIN")
	reader.exec("SELECT * FROM app.scratch")
	admin.exec("BEGIN")
	admin.exec("ALTER ROLE " + altered.username + " CONNECTION LIMIT 7")
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", read.id)
	b.exec("UPDATE vault.role_leases SET expires_at = clock_timestamp() WHERE id = $1::text::uuid", altered.id)
	for _, l := range []lease{read, altered} {
		pgtest.Eventually(t, "the reason is shown", func() bool { return strings.Contains(b.lastError(l), "another transaction holds a lock") })
	}
	admin.exec("SELECT FROM vault.role_leases WHERE id = $1::text::uuid FOR UPDATE", altered.id)
	pgtest.Eventually(t, "another attempt is due", func() bool {
		return get[bool](b.session, "SELECT next_attempt_at <= clock_timestamp() FROM vault.role_leases WHERE id = $1::text::uuid", altered.id)
	})
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", other.id)
	b.gone(other)
	passes(t, b.session)
	passes(t, b.session)
	reader.exec("COMMIT")
	admin.exec("ROLLBACK")
	b.gone(read)
	b.gone(altered)
}

// TestLocksDoNotHoldUpPasses: neither does a transaction that has altered a bound role.
func TestLocksDoNotHoldUpPasses(t *testing.T) {
	b := newSessionBench(t)
	b.bindPair(2, "wait", 3600)
	b.hold(b.c, "app_a", "one")
	b.exec("SELECT vault.rotate_secret('app')")
	admin := b.c.connect(t, "postgres", "postgres")
	admin.exec("BEGIN")
	admin.exec("ALTER ROLE app_a CONNECTION LIMIT 7")
	pgtest.Eventually(t, "the end of the role is near", func() bool {
		return get[bool](b.session, "SELECT rolvaliduntil < clock_timestamp() + '5 s' FROM pg_roles WHERE rolname = 'app_a'")
	})
	passes(t, b.session)
	passes(t, b.session)
	admin.exec("ROLLBACK")
	pgtest.Eventually(t, "the role is prolonged again", func() bool {
		return get[bool](b.session, "SELECT rolvaliduntil > clock_timestamp() + '5 s' FROM pg_roles WHERE rolname = 'app_a'")
	})
}

// TestLocksDoNotHoldUpRepairs: the supervisor repairs a role once the transaction that has altered it is over.
func TestLocksDoNotHoldUpRepairs(t *testing.T) {
	b := newSessionBench(t)
	b.bindOne(0, "ignore")
	b.exec("ALTER ROLE app PASSWORD 'by hand'")
	admin := b.c.connect(t, "postgres", "postgres")
	admin.exec("BEGIN")
	admin.exec("ALTER ROLE app CONNECTION LIMIT 7")
	b.exec("SELECT vault.configure_role('app', auto_repair => true)")
	passes(t, b.session)
	passes(t, b.session)
	admin.exec("ROLLBACK")
	pgtest.Eventually(t, "the password is repaired", func() bool { return b.c.login("app", "first value") == nil })
}

// TestLoginAtTheEndOfALease: a session that has logged in and is not in pg_stat_activity yet when its lease ends is ended too. Each
// client can have its session stay so for as long as it likes.
func TestLoginAtTheEndOfALease(t *testing.T) {
	b := newLeaseBench(t, "log_connections = on")
	l := b.issue(b.session, "app/reader", nil)
	done := make(chan error, 1)
	go func() {
		conn, err := b.c.hold(l.username, l.password, "-c post_auth_delay=300")
		if err == nil { // a process that was told to end may still say that it is ready
			_, err = conn.Exec(context.Background(), "SELECT 1")
		}
		done <- err
	}()
	pgtest.Eventually(t, "the session has logged in", func() bool {
		return strings.Contains(b.c.logText(t), "connection authorized: user="+l.username)
	})
	b.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
	if within(t, pgtest.Patience, done) == nil {
		t.Error("the session goes on")
	}
}

// TestNoRoleIsDroppedUnderItsSession: a session that does not end keeps its role, and the lease shows why.
func TestNoRoleIsDroppedUnderItsSession(t *testing.T) {
	b := newLeaseBench(t)
	l := b.issue(b.session, "app/reader", nil)
	held, err := b.c.hold(l.username, l.password)
	pgtest.Must(t, err)
	pid := int(held.PgConn().PID())
	pgtest.Must(t, syscall.Kill(pid, syscall.SIGSTOP))
	goOn := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(goOn)
	b.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	pgtest.Eventually(t, "the reason is shown", func() bool { return strings.Contains(b.lastError(l), "have not ended yet") })
	if !get[bool](b.session, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", l.username) {
		t.Error("the role is gone")
	}
	goOn()
	b.gone(l)
}

// TestALockedTokenDoesNotHoldUpPasses: passes go on while a transaction has the token of a lease that ends.
func TestALockedTokenDoesNotHoldUpPasses(t *testing.T) {
	b := newLeaseBench(t)
	l, holder := b.issue(b.session, "app/reader", nil), b.c.connect(t, "postgres", "postgres")
	b.exec("SELECT vault.create_token('app', 'ends')")
	b.exec("UPDATE vault.role_leases SET token = (SELECT id FROM vault.tokens WHERE name = 'ends') WHERE id = $1::text::uuid", l.id)
	holder.exec("BEGIN")
	holder.exec("SELECT FROM vault.role_leases FOR UPDATE") // until the token is locked
	b.exec("UPDATE vault.tokens SET expires_at = clock_timestamp() WHERE name = 'ends'")
	holder.exec("SELECT FROM vault.tokens WHERE name = 'ends' FOR UPDATE")
	passes(t, b.session)
	passes(t, b.session)
	holder.exec("ROLLBACK")
	b.gone(l)
}

// TestTemplateSettingsAsAlterRoleTakesThem, also an empty list.
func TestTemplateSettingsAsAlterRoleTakesThem(t *testing.T) {
	b := newLeaseBench(t)
	app, dba, super := b.c.connect(t, "postgres", "app"), b.dba(), b.c.connect(t, "postgres", "postgres")
	for settings, want := range map[string]string{
		`{"search_path": ""}`:                          `search_path=""`,
		`{"search_path": "\"my schema\", app"}`:        `search_path="my schema", app`,
		`{"app.tenant": "it's a 'tenant', \\really"}`:  `app.tenant=it's a 'tenant', \really`,
		`{"DateStyle": "ISO, DMY", "work_mem": "1MB"}`: `DateStyle=ISO, DMY work_mem=1MB`,
	} {
		// Only a superuser may set what no library has defined.
		super.exec("SELECT vault.create_role_template('app/set', '{readers}', settings => $1::jsonb)", settings)
		l := b.issue(app, "app/set", nil)
		got := get[string](b.session, "SELECT coalesce((SELECT string_agg(c, ' ' ORDER BY c) FROM pg_db_role_setting s, unnest(setconfig) c WHERE s.setrole = r.oid), '') FROM pg_roles r WHERE rolname = $1", l.username)
		if got != want {
			t.Errorf("%s has made %q, not %q", settings, got, want)
		}
	}
	wantError(t, dba.try(`SELECT vault.create_role_template('app/set', '{readers}', settings => '{"search_path": "a,,b"}')`), "22023", "list of identifiers")
	wantError(t, dba.try(`SELECT vault.create_role_template('app/set', '{readers}', settings => '{"work_mem": "much"}')`), "22023", "work_mem")
	wantError(t, dba.try(`SELECT vault.create_role_template('app/set', '{readers}', settings => '{"no_such_setting": "x"}')`), "42704", "no_such_setting")
	wantError(t, dba.try(`SELECT vault.create_role_template('app/set', '{readers}', settings => '{"work_mem": 4}')`), "22023", "object of texts")
}

// TestRenewalOfALeaseWithoutItsRoles: a renewal moves the end of the password, or it fails and says why.
func TestRenewalOfALeaseWithoutItsRoles(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	renew := func(l lease) error { return app.try("SELECT vault.renew_lease($1::text::uuid)", l.id) }
	l, dropped, renamed := b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil)
	b.exec("DROP ROLE " + dropped.username)
	wantError(t, renew(dropped), "42704", "no such lease")
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", dropped.id)
	b.gone(dropped)
	b.exec("ALTER ROLE " + renamed.username + " RENAME TO another")
	wantError(t, renew(renamed), "42704", "no such lease")
	b.exec("ALTER ROLE dba NOCREATEROLE")
	wantError(t, renew(l), "VT007", "may no longer prolong its roles")
	b.exec("ALTER ROLE dba CREATEROLE")
	if err := renew(l); err != nil {
		t.Error(err)
	}
	b.exec("SELECT vault.revoke_access('dba', 'app/*', '{manage}')")
	b.exec("REASSIGN OWNED BY dba TO postgres")
	b.exec("DROP OWNED BY dba")
	if serverVersion(b.session) >= 160000 {
		b.exec("REVOKE readers, owners FROM dba CASCADE")
	}
	b.exec("DROP ROLE dba")
	wantError(t, renew(l), "VT007", "is missing")
	wantError(t, app.try("SELECT vault.issue_role('app/reader')"), "VT007", "is missing")
	ends := get[time.Time](b.session, "SELECT expires_at FROM vault.role_leases WHERE id = $1::text::uuid", l.id)
	if until := get[time.Time](b.session, "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", l.username); !until.Equal(ends) {
		t.Errorf("the password is valid until %v, and the lease ends at %v", until, ends)
	}
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
}

// TestMaxLeasesHoldsForConcurrentIssues: as many sessions as issue at a time, each holding its transaction open, get no more than there
// may be.
func TestMaxLeasesHoldsForConcurrentIssues(t *testing.T) {
	b := newLeaseBench(t)
	const most, sessions = 5, 8
	b.dba().exec("SELECT vault.create_role_template('app/few', '{readers}', max_leases => $1)", most)
	for range 2 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		issued, refused := 0, 0
		var apps []*session
		for range sessions {
			app := b.c.connect(t, "postgres", "app")
			app.exec("BEGIN")
			apps = append(apps, app)
		}
		for _, app := range apps {
			watch := b.c.connect(t, "postgres", "postgres")
			wg.Go(func() {
				err := app.try("SELECT vault.issue_role('app/few')")
				pgtest.Eventually(t, "the others have an answer, or wait for one that commits", func() bool {
					return get[bool](watch, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app'
						AND (query = 'BEGIN' OR state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock'))`)
				})
				app.exec("COMMIT")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					issued++
				} else if strings.Contains(err.Error(), "leases already") {
					refused++
				} else {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if issued != most || refused != sessions-most {
			t.Errorf("%d leases were issued, and %d refused, where there may be %d", issued, refused, most)
		}
		app := b.c.connect(t, "postgres", "app")
		app.exec("SELECT vault.revoke_lease(lease) FROM vault.leases('app/few')")
		pgtest.Eventually(t, "all leases end", func() bool {
			return get[int](b.session, "SELECT count(*)::int FROM vault.role_leases WHERE template = 'app/few'") == 0
		})
	}
}

// TestLeasesWithOddNames: groups and definers whose names need quotes, or are as long as can be, and two templates with one prefix.
func TestLeasesWithOddNames(t *testing.T) {
	b := newLeaseBench(t)
	long := strings.Repeat("g", 63)
	odd := `it's a "group", no?`
	definer := `The "definer"`
	quoted := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	b.exec("CREATE SCHEMA app")
	b.exec("CREATE ROLE " + quoted(definer) + " CREATEROLE LOGIN")
	for _, group := range []string{long, odd} {
		b.exec("CREATE ROLE " + quoted(group))
		b.exec("GRANT ALL ON SCHEMA app TO " + quoted(group))
		if serverVersion(b.session) >= 160000 {
			b.exec("GRANT " + quoted(group) + " TO " + quoted(definer) + " WITH ADMIN OPTION")
		}
	}
	b.exec("SELECT vault.grant_access($1::text::regrole, 'app/*', '{manage,create}')", quoted(definer))
	s := b.c.connect(t, "postgres", "postgres")
	s.exec("SET ROLE " + quoted(definer))
	for i, reassign := range []string{long, odd} {
		s.exec("SELECT vault.create_role_template($1, ARRAY[$2, $3]::text[]::regrole[], role_prefix => 'same', reassign_to => $4::text::regrole)",
			fmt.Sprintf("app/odd-%d", i), quoted(long), quoted(odd), quoted(reassign))
		l := b.issue(s, fmt.Sprintf("app/odd-%d", i), nil)
		other := b.issue(s, fmt.Sprintf("app/odd-%d", i), nil)
		b.inSession(l, fmt.Sprintf("CREATE TABLE app.of_%d (x int)", i))
		s.exec("SELECT vault.renew_lease($1::text::uuid)", l.id)
		b.exec("ALTER ROLE " + l.username + " VALID UNTIL 'infinity'")
		s.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
		b.gone(l)
		if err := b.c.login(other.username, other.password); err != nil {
			t.Error(err)
		}
		if got := get[string](b.session, "SELECT tableowner FROM pg_tables WHERE tablename = $1", fmt.Sprintf("of_%d", i)); got != reassign {
			t.Errorf("the table belongs to %s, not to %s", got, reassign)
		}
	}
	if got := get[[]string](s, "SELECT array_agg(definer || ' ' || array_to_string(member_of, ' ')) FROM vault.role_templates() WHERE name LIKE 'app/odd%'"); len(got) != 2 ||
		got[0] != definer+" "+long+" "+odd {
		t.Errorf("the templates are shown as %q", got)
	}
	b.exec("UPDATE vault.role_leases SET expires_at = clock_timestamp()")
	pgtest.Eventually(t, "all leases end", func() bool { return get[int](b.session, "SELECT count(*)::int FROM vault.role_leases") == 0 })
}

// TestLeaseOnAStandby: a standby ends the sessions of a lease that has ended and whose role cannot be dropped. One whose role is gone has
// no rights left.
func TestLeaseOnAStandby(t *testing.T) {
	b := newLeaseBench(t)
	addr := fmt.Sprintf("127.252.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	node := loginCluster{cluster{b.c.NewStandby(t, "listen_addresses = '"+addr+"'")}, addr}
	b.exec("CREATE SCHEMA app")
	b.exec("GRANT ALL ON SCHEMA app TO readers")
	b.exec("CREATE TABLE app.known AS SELECT 1 AS x")
	b.exec("GRANT SELECT ON app.known TO readers")
	app := b.c.connect(t, "postgres", "app")
	stuck, plain := b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil)
	b.exec("CREATE TABLE app.own (x int)")
	b.exec("ALTER TABLE app.own OWNER TO " + stuck.username)
	node.MustCatchUp(t)
	hold := func(l lease) *pgx.Conn {
		t.Helper()
		c, err := node.hold(l.username, l.password)
		pgtest.Must(t, err)
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		_, err = c.Exec(t.Context(), "SELECT FROM app.known")
		pgtest.Must(t, err)
		return c
	}
	ofStuck, ofPlain := hold(stuck), hold(plain)
	app.exec("SELECT vault.revoke_lease($1::text::uuid), vault.revoke_lease($2::text::uuid)", stuck.id, plain.id)
	pgtest.Eventually(t, "the session of the lease that cannot be dropped ends on the standby", func() bool { return !alive(ofStuck) })
	b.gone(plain)
	node.MustCatchUp(t)
	if _, err := ofPlain.Exec(t.Context(), "SELECT FROM app.known"); err == nil {
		t.Error("a session of a role that was dropped still reads on the standby")
	}
	if node.login(stuck.username, stuck.password) == nil || node.login(plain.username, plain.password) == nil {
		t.Error("a lease that has ended logs in on the standby")
	}
}

// TestLeasesOfAClockThatWasAhead last no longer for that.
func TestLeasesOfAClockThatWasAhead(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	l, other := b.issue(app, "app/reader", nil), b.issue(app, "app/reader", nil)
	b.exec("UPDATE vault.role_leases SET issued_at = issued_at + '1 day', expires_at = expires_at + '1 day', max_expires_at = max_expires_at + '1 day' WHERE id = $1::text::uuid", l.id)
	b.exec("DO $$BEGIN EXECUTE format('ALTER ROLE %I VALID UNTIL %L', '" + l.username + "', clock_timestamp() + '25 hours'); END$$")
	b.c.MustStop(t, syscall.SIGINT)
	b.c.MustStart(t)
	b.session = b.c.connect(t, "postgres", "postgres")
	pgtest.Eventually(t, "the end is moved", func() bool {
		return get[bool](b.session, `SELECT l.expires_at < clock_timestamp() + '61 minutes' AND l.max_expires_at < clock_timestamp() + '121 minutes' AND r.rolvaliduntil = l.expires_at
			FROM vault.role_leases l JOIN pg_roles r ON r.rolname = l.role_name WHERE l.id = $1::text::uuid`, l.id)
	})
	if ends := get[time.Time](b.session, "SELECT expires_at FROM vault.role_leases WHERE id = $1::text::uuid", other.id); !ends.Equal(other.expiresAt) {
		t.Errorf("the end of another lease is %v, not %v", ends, other.expiresAt)
	}
	if err := b.c.login(l.username, l.password); err != nil {
		t.Error(err)
	}
}

// countedLeases is how many leases the counter has, and how many rows it has them in.
func (b *leaseBench) countedLeases() string {
	b.t.Helper()
	return get[string](b.session, "SELECT concat_ws(' ', coalesce(sum(leases), 0), count(DISTINCT template)) FROM vault.lease_counts")
}

// TestLeasesAreCountedAnew by the first pass after a start and after a promotion: what was wrong is corrected, and what belongs to a
// template that is gone is removed.
func TestLeasesAreCountedAnew(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	b.dba().exec("SELECT vault.create_role_template('app/gone', '{readers}')")
	gone := b.issue(app, "app/gone", nil)
	for range 3 {
		b.issue(app, "app/reader", nil)
	}
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", gone.id)
	b.gone(gone)
	b.dba().exec("SELECT vault.drop_role_template('app/gone')")
	if got := b.countedLeases(); got != "3 2" {
		t.Errorf("counted %s", got)
	}
	node := loginCluster{cluster{b.c.NewStandby(t, "listen_addresses = ''")}, b.c.addr}
	b.exec("UPDATE vault.lease_counts SET leases = leases - 2 WHERE template = 'app/reader'")
	node.MustCatchUp(t)
	b.c.MustStop(t, syscall.SIGINT)
	b.c.MustStart(t)
	b.session = b.c.connect(t, "postgres", "postgres")
	pgtest.Eventually(t, "the count is corrected after a start", func() bool { return b.countedLeases() == "3 1" })
	b.c.MustStop(t, syscall.SIGINT)
	node.MustPromote(t)
	b.session = node.connect(t, "postgres", "postgres")
	pgtest.Eventually(t, "the count is corrected after a promotion", func() bool { return b.countedLeases() == "3 1" })
}

// TestLeasesAreCountedInADump: where it is restored, the limit holds before any pass.
func TestLeasesAreCountedInADump(t *testing.T) {
	b := newLeaseBench(t)
	app := b.c.connect(t, "postgres", "app")
	b.dba().exec("SELECT vault.create_role_template('app/few', '{readers}', max_leases => 2)")
	for range 2 {
		b.issue(app, "app/few", nil)
	}
	file := filepath.Join(b.c.Dir(), "leases.dump")
	mustProgram(t, b.c.cluster, "pg_dump", "-h", b.c.Dir(), "-U", "postgres", "-Fc", "-f", file, "postgres")
	target := b.c.restoreInto(t, "restored")
	mustProgram(t, b.c.cluster, "pg_restore", "-h", b.c.Dir(), "-U", "postgres", "--exit-on-error", "-d", target.Name, file)
	restored := b.c.connect(t, target.Name, "app")
	wantError(t, restored.try("SELECT vault.issue_role('app/few')"), "VT007", "has 2 leases already")
	if n := get[int](b.c.connect(t, target.Name, "postgres"), "SELECT (vault.status()->>'leases')::int"); n != 2 {
		t.Errorf("the status counts %d leases", n)
	}
}

// TestLeasesKeepTheExtension: without the extension nothing would end a leased role, so it is not dropped while there is one.
func TestLeasesKeepTheExtension(t *testing.T) {
	b := newLeaseBench(t)
	l := b.issue(b.c.connect(t, "postgres", "app"), "app/reader", nil)
	drop := []string{"DROP EXTENSION hyperion_vault", "DROP EXTENSION hyperion_vault CASCADE", "DROP SCHEMA vault CASCADE"}
	for _, sql := range drop[:2] {
		wantError(t, b.try(sql), "2BP01", "it has leased roles")
	}
	if b.try(drop[2]) == nil {
		t.Fatal("the schema was dropped")
	}
	b.exec("SELECT vault.revoke_lease(lease) FROM vault.leases() WHERE ending IS NULL")
	b.gone(l)
	b.exec(drop[0])
	b.exec("CREATE EXTENSION hyperion_vault")
	b.exec("SELECT vault.create_role_template('app/reader', '{readers}')")
	l = b.issue(b.session, "app/reader", nil)
	b.exec("SET hyperion_vault.allow_drop_with_secrets = on")
	b.exec(drop[0])
	b.exec(`DROP ROLE "` + l.username + `"`)
}

// TestLeaseThatIsNotCommittedHoldsUpNoOther: a session that has issued a lease and stays in its transaction has a row of the
// counts. Another one with the same row by its process number issues leases all the same.
func TestLeaseThatIsNotCommittedHoldsUpNoOther(t *testing.T) {
	b := newLeaseBench(t)
	// From 16 on, PostgreSQL itself has one member added to a group at a time. So this template has no group.
	b.dba().exec("SELECT vault.create_role_template('app/lone', '{}')")
	slow := b.c.connect(t, "postgres", "app")
	for range 2 { // so that there are rows
		b.issue(slow, "app/lone", nil)
	}
	b.exec("INSERT INTO vault.lease_counts SELECT 'app/lone', s, 0 FROM generate_series(0, 31) s ON CONFLICT DO NOTHING")
	slow.exec("BEGIN")
	b.issue(slow, "app/lone", nil)
	met := false
	for i := 0; i < 1000 && !met; i++ {
		other := b.c.connect(t, "postgres", "app")
		if met = other.pid()%32 == slow.pid()%32; met {
			other.exec("SET lock_timeout = '10s'")
			b.issue(other, "app/lone", nil)
		}
		_ = other.Close(bounded(t))
	}
	if !met {
		t.Fatal("no session had the row")
	}
	slow.exec("COMMIT")
	if got := b.countedLeases(); got != "4 1" {
		t.Errorf("counted %s", got)
	}
}
