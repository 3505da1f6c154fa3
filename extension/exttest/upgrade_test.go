package exttest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// forEachRelease runs a test for each released version whose schema can be installed.
func forEachRelease(t *testing.T, c cluster, test func(t *testing.T, version string)) {
	t.Helper()
	admin := c.connect(t, "postgres", vaulttest.Superuser)
	versions := column(admin, `SELECT v.version FROM pg_available_extension_versions v
		JOIN pg_available_extensions e ON e.name = v.name AND e.default_version <> v.version WHERE v.name = 'hyperion_vault' ORDER BY 1`)
	if len(versions) == 0 {
		t.Skip("no version has been released")
	}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { test(t, v) })
	}
}

// install makes a database with the extension at a version and the service role's rights.
func (c cluster) install(t *testing.T, name, version string) (*vaulttest.DB, *session) {
	t.Helper()
	db := c.restoreInto(t, name)
	admin := c.connect(t, name, vaulttest.Superuser)
	admin.exec("CREATE EXTENSION hyperion_vault VERSION '" + version + "'")
	admin.exec("SELECT vault.grant_service_role('" + vaulttest.ServiceRole + "')")
	return db, admin
}

// An installation that was updated has what a fresh one has, object for object, and gives roles the same rights.
func TestUpgradedCatalog(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	current := get[string](c.connect(t, "postgres", vaulttest.Superuser),
		"SELECT default_version FROM pg_available_extensions WHERE name = 'hyperion_vault'")
	fresh := func(t *testing.T, name, version string) *session {
		_, admin := c.install(t, name, version)
		admin.exec("SELECT vault.grant_access('upgrade_reader', 'a/*', '{read,verify}')")
		return admin
	}
	c.connect(t, "postgres", vaulttest.Superuser).script("CREATE ROLE upgrade_reader; CREATE ROLE upgrade_stranger")
	want := catalogOf(fresh(t, "fresh", current))
	n := 0
	forEachRelease(t, c, func(t *testing.T, version string) {
		n++
		admin := fresh(t, fmt.Sprintf("old_%d", n), version)
		// New objects must not take what the updating role gives to all that it makes.
		admin.script(`ALTER DEFAULT PRIVILEGES IN SCHEMA vault GRANT ALL ON FUNCTIONS TO upgrade_stranger;
			ALTER DEFAULT PRIVILEGES IN SCHEMA vault GRANT ALL ON TABLES TO upgrade_stranger;
			ALTER DEFAULT PRIVILEGES IN SCHEMA vault GRANT ALL ON TYPES TO upgrade_stranger;`)
		admin.exec("ALTER EXTENSION hyperion_vault UPDATE")
		sameCatalog(t, catalogOf(admin), want)
	})
}

// TestDropOfAnEarlierRelease drops an extension that was not updated yet: what guards it knows the columns of that schema only.
func TestDropOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	n := 0
	forEachRelease(t, c, func(t *testing.T, version string) {
		n++
		_, admin := c.install(t, fmt.Sprintf("drop_%d", n), version)
		admin.exec("DROP EXTENSION hyperion_vault")
	})
}

// TestSupervisorUsesAnUpdatedSchema: with an interval of an hour the supervisor does what comes between two passes as soon as the
// extension is updated, whatever its last pass has found.
func TestSupervisorUsesAnUpdatedSchema(t *testing.T) {
	t.Parallel()
	c := startLoginCluster(t, "hyperion_vault.scan_interval_secs = 1", "hyperion_vault.database = 'postgres'",
		"hyperion_vault.agent_socket = '"+newFakeAgent(t).path+"'")
	b := sessionBench{c.connect(t, "postgres", "postgres"), c}
	b.exec("CREATE EXTENSION hyperion_vault VERSION '0.1.0'")
	b.exec("ALTER SYSTEM SET hyperion_vault.scan_interval_secs = 3600")
	before := get[time.Time](b.session, "SELECT clock_timestamp()") // a reload makes a pass at once
	b.exec("SELECT pg_reload_conf()")
	pgtest.Eventually(t, "the supervisor makes its last pass for an hour", func() bool {
		return get[bool](b.session, "SELECT coalesce((vault.status()->>'last_pass_at')::timestamptz > $1, false)", before)
	})
	b.exec("ALTER EXTENSION hyperion_vault UPDATE")
	b.bindOne(4, "ignore")
	b.exec("SELECT vault.update_secret('app', 'second value', 1)")
	b.settled()
	b.exec("SELECT vault.create_role_template('app/any', '{}')")
	leases := leaseBench{session: b.session, c: c}
	l := leases.issue(b.session, "app/any", nil)
	b.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	leases.gone(l)
}

// TestUpgradeTakesOverAnIndex builds the index of the audit log by name before the update, as docs/UPGRADE.md says. The
// update must not build another one.
func TestUpgradeTakesOverAnIndex(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	_, admin := c.install(t, "indexed", "0.1.0")
	admin.exec(`CREATE INDEX CONCURRENTLY audit_log_0_secret_name_at_idx ON vault.audit_log (secret_name COLLATE "C", at)`)
	built := get[uint32](admin, "SELECT 'vault.audit_log_0_secret_name_at_idx'::regclass::oid")
	admin.exec("ALTER EXTENSION hyperion_vault UPDATE")
	if parent := get[string](admin, "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = $1", built); parent != "vault.audit_log_secret_name_idx" {
		t.Errorf("the index belongs to %q", parent)
	}
	if n := get[int64](admin, "SELECT count(*) FROM pg_index WHERE indrelid = 'vault.audit_log_0'::regclass"); n != 3 {
		t.Errorf("%d indexes of the first part, want 3", n)
	}
}

// Secrets, grants, tokens and rotations of an earlier version are what they were after the update, which happens while
// clients read and change: the old schema is served by the new library and the new API, as in a rolling upgrade.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	n := 0
	forEachRelease(t, c, func(t *testing.T, version string) {
		n++
		db, _ := c.install(t, fmt.Sprintf("loaded_%d", n), version)
		api := vaulttest.NewServer(t, db, "VAULT_LOCAL_MASTER_KEY="+strings.Repeat("QUFB", 10)+"QUE=")
		admin := c.connect(t, db.Name, vaulttest.Superuser) // which knows the socket of the API
		fill(t, api, admin)
		var reads, changes, updating atomic.Int64
		load := startLoad(t, c, api, db.Name, &updating, &reads, &changes)
		awaitMore(t, &reads, &changes)
		updating.Add(1)
		admin.exec("ALTER EXTENSION hyperion_vault UPDATE")
		updating.Add(1)
		awaitMore(t, &reads, &changes)
		load()
		api.MustStop(t)
		checkRestored(t, c, db, api, contents(admin))
	})
}

// A dump of an earlier release needs that release's schema, which this package has: tables have other names since.
func TestRestoreOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	forEachRelease(t, c, func(t *testing.T, version string) {
		db, _ := c.install(t, "earlier", version)
		api := vaulttest.NewServer(t, db, "VAULT_LOCAL_MASTER_KEY="+strings.Repeat("QUFB", 10)+"QUE=")
		admin := c.connect(t, db.Name, vaulttest.Superuser) // which knows the socket of the API
		fill(t, api, admin)
		db.AwaitAudit(t)
		dump := filepath.Join(c.Dir(), "earlier.dump")
		mustProgram(t, c, "pg_dump", "-h", c.Dir(), "-U", "postgres", "-Fc", "-f", dump, db.Name)
		api.MustStop(t)
		target := c.restoreInto(t, "earlier_restored")
		s := c.connect(t, target.Name, vaulttest.Superuser)
		s.exec("CREATE EXTENSION hyperion_vault VERSION '" + version + "'")
		mustProgram(t, c, "pg_restore", "-h", c.Dir(), "-U", "postgres", "--exit-on-error", "-d", target.Name, dump)
		for _, updated := range []*session{admin, s} {
			updated.exec("ALTER EXTENSION hyperion_vault UPDATE")
		}
		checkRestored(t, c, target, api, contents(admin))
	})
}

// startLoad reads by REST and SQL and changes by REST until the returned function is called. Each failure fails the test. A
// request that the update kept waiting for longer than its lock timeout is refused as one to try again, and is tried again. A
// request that is refused so before or after the update fails. The number updating is odd while the update runs.
func startLoad(t *testing.T, c cluster, api *vaulttest.Server, db string, updating, reads, changes *atomic.Int64) (stop func()) {
	t.Helper()
	rest, sql := clientOf(t, api), c.connect(t, db, vaulttest.Superuser)
	var stopped atomic.Bool
	failed := make(chan string, 3)
	run := func(work func() string) {
		why := "ended its goroutine"
		defer func() {
			if why != "" {
				t.Logf("the load ends: %s", why) // at once: what waits for more of it says only that none came
			}
			failed <- why
		}()
		for why = work(); why == "" && !stopped.Load(); {
			why = work()
		}
	}
	go run(func() string {
		return countDone(updating, reads, "read", 200, func() (int, string) { return rest.do("GET", "/v1/secrets/rest/one", "", nil) })
	})
	go run(func() string {
		v, err := tryGet[[]byte](sql, "SELECT vault.read_secret_bytes('sql/one')")
		if err != nil || !bytes.HasPrefix(v, []byte("value of sql/one")) {
			return fmt.Sprintf("SQL read: %q %v", v, err)
		}
		reads.Add(1)
		return ""
	})
	go run(func() string {
		body := map[string]any{"name": fmt.Sprintf("load/%d", changes.Load()), "kind": "manual", "value": "x"}
		return countDone(updating, changes, "create", 201, func() (int, string) { return rest.do("POST", "/v1/secrets", "", body) })
	})
	return func() {
		t.Helper()
		stopped.Store(true)
		problems := []string{<-failed, <-failed, <-failed}
		if slices.ContainsFunc(problems, func(p string) bool { return p != "" }) {
			t.Fatalf("failed under load: %q", problems)
		}
	}
}

// countDone counts a request that is answered as it should be, and says what is wrong with one that is not.
func countDone(updating, n *atomic.Int64, what string, want int, do func() (status int, answer string)) string {
	before := updating.Load()
	status, answer := do()
	meanwhile := before%2 == 1 || updating.Load() != before
	if meanwhile && status == 503 && strings.Contains(answer, "a lock was not to be had in time") {
		return ""
	}
	if status != want {
		return fmt.Sprintf("%s: %d %s", what, status, answer)
	}
	n.Add(1)
	return ""
}

// awaitMore waits until both have gone on a bit.
func awaitMore(t *testing.T, counts ...*atomic.Int64) {
	t.Helper()
	for _, n := range counts {
		want := n.Load() + 20
		pgtest.Eventually(t, fmt.Sprintf("%d operations", want), func() bool { return n.Load() >= want })
	}
}
