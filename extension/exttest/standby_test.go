package exttest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// pair is a primary and its standby with an API before each, and a superuser's session on each.
type pair struct {
	db                *vaulttest.DB
	primary, standby  cluster
	here, there       *session // on the primary, on the standby
	atHere, atStandby *vaulttest.Server
}

// startPair starts both; settings are for both, standbySettings for the standby alone.
func startPair(t *testing.T, settings []string, standbySettings ...string) *pair {
	t.Helper()
	p := &pair{primary: startCluster(t, true, settings...)}
	p.db = p.primary.NewDB(t)
	p.standby = cluster{p.primary.NewStandby(t, standbySettings...)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the standby:\n%s", tail(p.standby.logText(t), 60))
		}
	})
	p.atHere = vaulttest.NewServer(t, p.db)
	p.atStandby = vaulttest.NewServer(t, p.db.On(p.standby.Cluster))
	p.here = p.primary.connect(t, p.db.Name, vaulttest.Superuser)
	p.there = p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	return p
}

// wantReadOnly checks that a change was refused, and that the hint says why or where else.
func wantReadOnly(t testing.TB, err error, message, hint string) {
	t.Helper()
	wantError(t, err, "25006", message)
	var pg *pgconn.PgError
	if errors.As(err, &pg); !strings.Contains(pg.Hint, hint) {
		t.Errorf("the hint is %q, want %q in it", pg.Hint, hint)
	}
}

// change is an SQL function that writes, and how the audit knows it; record "" has none of the database's making.
type change struct{ sql, record string }

var plainChanges = []change{
	{"SELECT vault.create_secret('new', 'x'::text)", "create|new"},
	{"SELECT vault.create_secret('new', 'x'::bytea)", "create|new"},
	{"SELECT vault.update_secret('db/text', 'x'::text, 1)", "update|db/text"},
	{"SELECT vault.update_secret('db/text', 'x'::bytea, NULL)", "update|db/text"},
	{"SELECT vault.rotate_secret('db/auto')", "rotate|db/auto"},
	{"SELECT vault.configure_secret('db/text', description => 'x')", "configure|db/text"},
	{"SELECT vault.expire_version('db/text', 1)", "expire|db/text"},
	{"SELECT vault.delete_secret('db/text', NULL)", "delete|db/text"},
	{"SELECT vault.grant_access('pg_monitor', 'db/*', '{read,verify}')", "grant|read,verify on db/* to pg_monitor"},
	{"SELECT vault.revoke_access('pg_monitor', 'db/*', '{read}')", "revoke|read on db/* from pg_monitor"},
	{"SELECT vault.grant_service_role('pg_monitor')", "grant|service role to pg_monitor"},
	{"SELECT vault.revoke_service_role('pg_monitor')", "revoke|service role from pg_monitor"},
}

// What the API calls is recorded by the API.
var sealedChanges = []change{
	{sql: "SELECT vault.create_secret(NULL, NULL, NULL, NULL::vault.sealed_value, NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.append_version(NULL, NULL, NULL, 'update', NULL, NULL, NULL)"},
	{sql: "SELECT vault.configure_secret(NULL::uuid, NULL, NULL, NULL)"},
	{sql: "SELECT vault.expire_version(NULL::uuid, NULL, NULL, NULL)"},
	{sql: "SELECT vault.delete_secret(NULL::uuid, NULL, NULL, NULL)"},
	{sql: "SELECT vault.claim_rotations('w', 1, 1)"},
	{sql: "SELECT vault.renew_rotations('w', 1)"},
	{sql: "SELECT vault.complete_rotation(NULL, NULL, NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.fail_rotation(NULL, NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.release_rotation(NULL, NULL)"},
	{sql: "SELECT vault.plan_rotation(NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.rewrap_version(NULL, NULL, NULL, NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.create_token(NULL::uuid, NULL, NULL, NULL, NULL)"},
	{sql: "SELECT vault.revoke_token('x', NULL)"},
}

func TestStandbyReads(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	p.here.exec("SELECT vault.create_secret('db/text', 'first', grace_period_secs => 3600)")
	p.here.exec("SELECT vault.update_secret('db/text', 'second', 1)")
	p.here.exec("SELECT vault.create_secret('db/bytes', '\\x00ff'::bytea)")
	role := p.primary.newRole(t)
	p.here.exec("SELECT vault.grant_access($1::text::regrole, 'db/*', '{read,verify}')", role)
	p.standby.MustCatchUp(t)
	s := p.standby.connect(t, p.db.Name, role)
	for sql, want := range map[string]string{
		"SELECT vault.read_secret('db/text')":                                       "second",
		"SELECT vault.read_secret('db/text', 1)":                                    "first",
		"SELECT vault.read_secret_bytes('db/bytes')::text":                          "\\x00ff",
		"SELECT vault.verify('db/text', 'first')::text":                             "true",
		"SELECT vault.verify('db/text', 'third')::text":                             "false",
		"SELECT vault.verify_version('db/text', 'first')::text":                     "1",
		"SELECT string_agg(name, ',' ORDER BY name) FROM vault.list_secrets('db/')": "db/bytes,db/text",
	} {
		if got := get[string](s, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
		pgtest.Eventually(t, "the read is on record on the primary: "+sql, func() bool {
			return get[int](p.here, "SELECT count(*)::int FROM vault.audit_log WHERE node = 'node2' AND actor = $1 AND outcome = 'ok'", "role:"+role) > 0
		})
	}
	pgtest.Eventually(t, "each is on record, by the standby's agent", func() bool {
		got := column(p.here, "SELECT action || '|' || secret_name || '|' || coalesce(version, 0) FROM vault.audit_log WHERE node = 'node2' AND actor = 'role:"+role+"' ORDER BY 1")
		return slices.Equal(got, []string{"list|db/|0", "read|db/bytes|1", "read|db/text|1", "read|db/text|2",
			"verify|db/text|0", "verify|db/text|0", "verify|db/text|0"})
	})
	t.Run("what may not be read", func(t *testing.T) {
		wantError(t, s.try("SELECT vault.read_secret('other')"), "42501", "permission denied")
		wantError(t, s.try("SELECT vault.read_secret('db/none')"), "42704", "does not exist")
		wantError(t, s.try("SELECT vault.delete_secret('other', NULL)"), "42501", "permission denied")
	})
	t.Run("administrators", func(t *testing.T) {
		if !get[bool](p.there, "SELECT (vault.status()->>'in_recovery')::boolean AND (vault.status()->>'secrets')::int = 2") {
			t.Error("the status is not that of the standby")
		}
		if n := get[int](p.there, "SELECT count(*)::int FROM vault.access_list() WHERE grantee = $1::text::regrole", role); n != 2 {
			t.Errorf("%d grants", n)
		}
		if n := get[int](p.there, "SELECT count(*)::int FROM vault.audit('db/') WHERE action = 'create'"); n != 2 {
			t.Errorf("the audit has %d creates", n)
		}
		pgtest.Eventually(t, "the query of the audit is on record", func() bool {
			return get[int](p.here, "SELECT count(*)::int FROM vault.audit_log WHERE node = 'node2' AND action = 'audit' AND secret_name = 'db/' AND actor = 'role:postgres'") == 1
		})
	})
	t.Run("without a trace in the database", func(t *testing.T) {
		for _, x := range []*session{p.there, p.here} {
			x.exec("BEGIN")
			x.exec("SELECT vault.read_secret('db/text'), vault.verify('db/text', 'x'), vault.status()")
			x.exec("SELECT * FROM vault.list_secrets()")
			if id := get[*string](x, "SELECT pg_current_xact_id_if_assigned()::text"); id != nil {
				t.Errorf("a read took transaction id %s", *id)
			}
			// Its own virtual transaction, and tables being read.
			if locks := column(x, "SELECT DISTINCT locktype || ' ' || mode FROM pg_locks WHERE pid = pg_backend_pid() ORDER BY 1"); !slices.Equal(locks, []string{"relation AccessShareLock", "virtualxid ExclusiveLock"}) {
				t.Errorf("a read holds %v", locks)
			}
			x.exec("COMMIT")
		}
		if n := get[int](p.there, "SELECT count(*)::int FROM pg_class WHERE relpersistence = 't'"); n != 0 {
			t.Errorf("%d temporary tables", n)
		}
	})
	t.Run("no agent, no audit", func(t *testing.T) {
		p.there.exec("BEGIN")
		p.there.exec("SET LOCAL hyperion_vault.agent_socket = '/nowhere/agent.sock'")
		wantError(t, p.there.try("SELECT vault.audit()"), "08001", "key agent")
		p.there.exec("ROLLBACK")
	})
	t.Run("prepared and parallel", func(t *testing.T) { readInManyWays(t, p) })
}

// readInManyWays reads on the standby by prepared statements, cursors and parallel plans.
func readInManyWays(t *testing.T, p *pair) {
	p.here.exec("CREATE TABLE names AS SELECT 'db/text' AS n FROM generate_series(1, 20)")
	p.standby.MustCatchUp(t)
	s := p.there
	s.script("PREPARE r(text) AS SELECT vault.read_secret($1)")
	for range 10 { // from the sixth time on by a generic plan
		if v := get[string](s, "EXECUTE r('db/text')", pgx.QueryExecModeSimpleProtocol); v != "second" {
			t.Fatalf("read %q", v)
		}
	}
	s.script("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2")
	const sql = "SELECT count(DISTINCT vault.read_secret(n))::int FROM (SELECT n FROM names WHERE starts_with(n, 'db') OFFSET 0) x WHERE vault.verify(n, 'second')"
	if plan := strings.Join(column(s, "EXPLAIN "+sql), "\n"); !strings.Contains(plan, "Gather") {
		t.Errorf("the plan is not parallel:\n%s", plan)
	}
	for _, mode := range []string{"off", "on"} {
		s.exec("SET " + forcedParallel(s) + " = " + mode)
		if n := get[int](s, sql); n != 1 {
			t.Errorf("%d values", n)
		}
	}
	s.script("RESET ALL; BEGIN; DECLARE c CURSOR FOR SELECT vault.read_secret(n) FROM names")
	if got := column(s, "FETCH 7 FROM c"); len(got) != 7 || got[6] != "second" {
		t.Errorf("the cursor gives %v", got)
	}
	s.exec("COMMIT")
}

func TestStandbyRefusesChanges(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	p.here.exec("SELECT vault.create_secret('db/text', 'first')")
	p.here.exec("SELECT vault.create_secret('db/auto', NULL::text, 'automatic', rotation_interval_secs => 86400)")
	p.standby.MustCatchUp(t)
	upstream := fmt.Sprintf("replicates from %s:5432.", p.primary.Dir())
	t.Run("and says where the primary is", func(t *testing.T) {
		for _, c := range append(plainChanges, sealedChanges...) {
			wantReadOnly(t, p.there.try(c.sql), "this node is a standby", upstream)
		}
		pgtest.Eventually(t, "the attempts are on record", func() bool {
			got := column(p.here, "SELECT action || '|' || secret_name FROM vault.audit_log WHERE node = 'node2' AND outcome = 'failed' AND code = 'unavailable' AND actor = 'role:postgres' ORDER BY id")
			var want []string
			for _, c := range plainChanges {
				want = append(want, c.record)
			}
			return slices.Equal(got, want)
		})
	})
	t.Run("and asks for no key", func(t *testing.T) {
		agent := newFakeAgent(t)
		p.there.exec("SET hyperion_vault.agent_socket = '" + agent.path + "'")
		for _, c := range plainChanges {
			wantReadOnly(t, p.there.try(c.sql), "standby", upstream)
			action, _, _ := strings.Cut(c.record, "|")
			if r := agent.recorded(); len(r) != 1 || r[0].Action != action || r[0].Outcome != "failed" || r[0].Code != "unavailable" {
				t.Errorf("%s: the agent was asked to record %v", c.sql, r)
			}
		}
		if len(agent.keys) != 0 {
			t.Errorf("%d keys were made", len(agent.keys))
		}
		p.there.exec("RESET hyperion_vault.agent_socket")
	})
	t.Run("in a read-only transaction of the primary too", func(t *testing.T) {
		for _, c := range append(plainChanges, sealedChanges...) {
			p.here.exec("BEGIN READ ONLY")
			wantReadOnly(t, p.here.try(c.sql), "this transaction is read-only", "READ WRITE")
			p.here.exec("ROLLBACK")
		}
		p.here.exec("BEGIN READ ONLY")
		if v := get[string](p.here, "SELECT vault.read_secret('db/text')"); v != "first" {
			t.Errorf("read %q", v)
		}
		p.here.exec("COMMIT")
	})
	t.Run("and never says a password", func(t *testing.T) {
		// A reload is enough for the receiver to connect again.
		file := filepath.Join(p.standby.Data(), "postgresql.auto.conf")
		conf, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		const password = "s3cr3tOfTheReplication"
		text := strings.Replace(string(conf), "primary_conninfo = '", "primary_conninfo = 'password="+password+" ", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil || text == string(conf) {
			t.Fatalf("no primary_conninfo: %v", err)
		}
		p.there.exec("SELECT pg_reload_conf()")
		pgtest.Eventually(t, "the receiver has connected again", func() bool {
			return get[bool](p.there, "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE conninfo LIKE '%password=%'")
		})
		err = p.there.try("SELECT vault.delete_secret('db/text', NULL)")
		wantReadOnly(t, err, "standby", upstream)
		if text := fmt.Sprintf("%#v", err); strings.Contains(text, password) {
			t.Error("the password is in the error")
		}
	})
	t.Run("while the primary is away", func(t *testing.T) {
		p.atHere.MustStop(t)
		p.atStandby.MustStop(t) // it would wait for the primary; that the attempt is not on record changes nothing
		p.primary.MustStop(t, syscall.SIGQUIT)
		pgtest.Eventually(t, "the receiver has noticed", func() bool { return get[bool](p.there, "SELECT count(*) = 0 FROM pg_stat_wal_receiver") })
		hint := "is not connected to it now"
		if serverVersion(p.there) >= 190000 { // its next receiver forgets the address before it connects
			hint = "Write to the primary."
		}
		wantReadOnly(t, p.there.try("SELECT vault.delete_secret('db/text', NULL)"), "standby", hint)
		p.standby.MustStop(t, syscall.SIGINT)
		p.standby.MustStart(t)
		s := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
		wantReadOnly(t, s.try("SELECT vault.delete_secret('db/text', NULL)"), "standby", "not known here")
	})
}

// TestStandbyPromoted has sessions of the standby go on when it has become the primary.
func TestStandbyPromoted(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	p.here.exec("SELECT vault.create_secret('db/text', 'first')")
	p.standby.MustCatchUp(t)
	read := func(s *session, want string) {
		t.Helper()
		if v := get[string](s, "EXECUTE r", pgx.QueryExecModeSimpleProtocol); v != want {
			t.Errorf("read %q, not %q", v, want)
		}
	}
	open := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	for _, s := range []*session{p.there, open} {
		s.script("PREPARE r AS SELECT vault.read_secret('db/text')")
		read(s, "first")
		wantReadOnly(t, s.try("SELECT vault.update_secret('db/text', 'x', 1)"), "standby", "replicates from")
	}
	open.exec("BEGIN")
	read(open, "first")
	p.primary.MustStop(t, syscall.SIGQUIT)
	// No server takes writes now. Reads go on, and refused changes are on record as well.
	alone := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	if v := get[string](alone, "SELECT vault.read_secret('db/text', 1)"); v != "first" {
		t.Errorf("read %q without a primary", v)
	}
	wantReadOnly(t, alone.try("SELECT vault.delete_secret('db/text', 1)"), "this node is a standby", "Write to the primary")
	p.standby.MustPromote(t)
	pgtest.Eventually(t, "both have come to the new primary's audit", func() bool {
		got := column(p.there, "SELECT action || ' ' || outcome FROM vault.audit_log WHERE node = 'node2' AND request_id = 'pid-"+fmt.Sprint(alone.pid())+"' ORDER BY id")
		return slices.Equal(got, []string{"read ok", "delete failed"})
	})
	p.there.exec("SELECT vault.update_secret('db/text', 'second', 1)")
	p.there.exec("SELECT vault.create_secret('db/new', 'made')")
	read(p.there, "second")
	wantReadOnly(t, open.try("SELECT vault.update_secret('db/text', 'third', 2)"), "this transaction began on a standby", "has become the primary")
	open.exec("ROLLBACK")
	open.exec("SELECT vault.update_secret('db/text', 'third', 2)")
	read(open, "third")
	read(p.there, "third")
	if v := p.atStandby.MustRead(t, "db/new"); v != "made" {
		t.Errorf("REST reads %q", v)
	}
}

// TestStandbyConflict cancels reads because what they may still see has to go.
func TestStandbyConflict(t *testing.T) {
	p := startPair(t, nil, "max_standby_streaming_delay = 0", "hot_standby_feedback = off")
	p.here.exec("SELECT vault.create_secret('db/text', 'first')")
	p.here.exec("CREATE TABLE swept (i int)")
	p.standby.MustCatchUp(t)
	if v := get[string](p.there, "SELECT vault.read_secret('db/text')"); v != "first" {
		t.Fatalf("read %q", v)
	}
	p.there.exec("SET hyperion_vault.agent_timeout_ms = 600000") // longer than anything is waited for
	var open, memory int
	for round := range 10 {
		// One of its own for each round: the record of the read that failed may still have reached the one before.
		agent := newFakeAgent(t)
		asked := agent.silent()
		p.there.exec("SET hyperion_vault.agent_socket = '" + agent.path + "'")
		p.here.exec("INSERT INTO swept SELECT generate_series(1, 1000)")
		p.standby.MustCatchUp(t)
		done := p.there.background("SELECT vault.read_secret('db/text')")
		wait(t, asked)
		p.here.exec("DELETE FROM swept")
		// A session that reads anything on the primary at that moment keeps the rows for the next VACUUM.
		pgtest.Eventually(t, "the deleted rows are swept", func() bool {
			p.here.exec("VACUUM swept")
			return get[int64](p.here, "SELECT pg_catalog.pg_relation_size('swept')") == 0
		})
		wantError(t, within(t, pgtest.Patience, done), "40001", "conflict with recovery")
		p.there.exec("RESET hyperion_vault.agent_socket")
		p.standby.MustCatchUp(t) // nothing of the read stands in the way of the replay
		if v := get[string](p.there, "SELECT vault.read_secret('db/text')"); v != "first" {
			t.Fatalf("read %q after a conflict", v)
		}
		if n := connectionsTo(t, agent.path); n != 0 {
			t.Errorf("%d connections to the agent are left", n)
		}
		switch fds, kb := descriptors(t, p.there.pid()), statusKB(t, p.there.pid(), "RssAnon"); {
		case round == 2:
			open, memory = fds, kb
		// The file that leased reads are recorded in comes and goes.
		case round > 2 && (fds > open+1 || kb > memory+512):
			t.Errorf("round %d: %d descriptors and %d KB, were %d and %d", round, fds, kb, open, memory)
		}
	}
}
