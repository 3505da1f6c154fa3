package exttest

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const (
	supervisors = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'"
	launchers   = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hyperion_vault launcher'"
	lastPass    = "SELECT coalesce(max(last_pass_at), '-infinity') FROM vault.supervisor_passes"
)

// due makes an automatic secret whose rotation is due. Nothing opens it.
const due = `WITH made AS (SELECT s.id FROM vault.create_secret(gen_random_uuid(), $1, 1,
	ROW(1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 17), 'hex'))::vault.sealed_value, 'automatic', 'text/plain',
	ROW(NULL, NULL, 3600, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::vault.secret_settings,
	ROW('n', 'a', NULL, NULL, NULL)::vault.audit_origin) s)
	SELECT id FROM made`

// supervised is a server of the test's own with a supervisor that makes a pass each second. Its tests wait most of the
// time, so they run beside each other.
func supervised(t *testing.T) (cluster, *session) {
	t.Helper()
	t.Parallel()
	c := startCluster(t, true, "hyperion_vault.database = 'app'", "hyperion_vault.scan_interval_secs = 1")
	return c, c.connect(t, "postgres", vaulttest.Superuser)
}

// passes returns when another pass was made after now.
func passes(t testing.TB, s *session) {
	t.Helper()
	now := get[time.Time](s, "SELECT clock_timestamp()")
	pgtest.Eventually(t, "a pass is made", func() bool { return get[bool](s, "SELECT ("+lastPass+") > $1", now) })
}

// waitThreePasses lets three intervals go by: what the worker would repeat, it has repeated by then.
func waitThreePasses(t *testing.T, s *session) {
	t.Helper()
	end := get[time.Time](s, "SELECT clock_timestamp() + '3.5 s'")
	pgtest.Eventually(t, "three seconds go by", func() bool { return get[bool](s, "SELECT clock_timestamp() > $1", end) })
}

func TestSupervisorWaitsForItsDatabase(t *testing.T) {
	c, postgres := supervised(t)
	said := func(part string) int { return strings.Count(c.logText(t), "hyperion_vault supervisor: "+part) }
	pgtest.Eventually(t, "the launcher says what is missing", func() bool { return said(`database "app" does not exist`) > 0 })
	if n := get[int](postgres, launchers); n != 1 {
		t.Errorf("%d launchers", n)
	}
	postgres.exec("CREATE DATABASE app")
	pgtest.Eventually(t, "the supervisor says what is missing", func() bool { return said(`database "app" does not have the extension`) > 0 })
	app := c.connect(t, "app", vaulttest.Superuser)
	waitThreePasses(t, app)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	app.exec("DROP EXTENSION hyperion_vault")
	pgtest.Eventually(t, "it is missing again", func() bool { return said(`database "app" does not have the extension`) == 2 })
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	if n := get[int](postgres, supervisors); n != 1 {
		t.Errorf("%d supervisors", n)
	}
	if a, b := said(`database "app" does not exist`), said(`database "app" does not have the extension`); a != 1 || b != 2 {
		t.Errorf("said %d and %d times what is missing, want 1 and 2", a, b)
	}
}

// TestSupervisorHearsOfTheExtension: with an interval of an hour the supervisor makes its pass as soon as the extension is created.
func TestSupervisorHearsOfTheExtension(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, "hyperion_vault.scan_interval_secs = 3600", "hyperion_vault.database = 'postgres'")
	pgtest.Eventually(t, "the supervisor finds no extension", func() bool { return strings.Contains(c.logText(t), "does not have the extension") })
	s := c.connect(t, "postgres", vaulttest.Superuser)
	s.exec("CREATE EXTENSION hyperion_vault")
	pgtest.Eventually(t, "a pass is made", func() bool { return get[bool](s, "SELECT ("+lastPass+") > '-infinity'") })
}

func TestSupervisorOfADatabaseWithoutConnections(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, "hyperion_vault.database = 'template0'", "hyperion_vault.scan_interval_secs = 1")
	postgres := c.connect(t, "postgres", vaulttest.Superuser)
	const fault = `hyperion_vault supervisor: database "template0" accepts no connections; set hyperion_vault.database`
	pgtest.Eventually(t, "the launcher says so", func() bool { return strings.Contains(c.logText(t), fault) })
	for range 3 {
		postgres.exec("SELECT pg_reload_conf()") // makes it look
		waitThreePasses(t, postgres)
	}
	log := c.logText(t)
	if n := strings.Count(log, fault); n != 1 {
		t.Errorf("said %d times", n)
	}
	if strings.Contains(log, "not currently accepting connections") || strings.Contains(log, "background worker") {
		t.Errorf("a worker tried to connect:\n%s", log)
	}
}

// TestSupervisorReadsCommitted: the isolation of a pass is its own, not the database's.
func TestSupervisorReadsCommitted(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	postgres.exec("ALTER DATABASE app SET default_transaction_isolation = 'serializable'")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	app.exec("CREATE TABLE seen (level text)")
	app.exec(`CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
		AS $$ BEGIN INSERT INTO seen VALUES (current_setting('transaction_isolation')); RETURN NEW; END $$`)
	app.exec("CREATE TRIGGER see BEFORE INSERT OR UPDATE ON vault.supervisor_passes FOR EACH ROW EXECUTE FUNCTION see()")
	// One that connected before the setting does not have it.
	postgres.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'")
	app.exec("DELETE FROM seen")
	passes(t, app)
	passes(t, app)
	if got := get[string](app, "SELECT string_agg(DISTINCT level, ', ') FROM seen"); got != "read committed" {
		t.Errorf("the passes were %s", got)
	}
}

// TestSupervisorFollowsSettings: a worker's session would keep what was set for its database or role when it began.
func TestSupervisorFollowsSettings(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"Database": "DATABASE app", "Role": "ROLE postgres", "RoleInDatabase": "ROLE postgres IN DATABASE app"} {
		t.Run(name, func(t *testing.T) {
			c, postgres := supervised(t)
			postgres.exec("CREATE DATABASE app")
			app := c.connect(t, "app", vaulttest.Superuser)
			app.exec("CREATE EXTENSION hyperion_vault")
			passes(t, app)
			postgres.exec("ALTER " + at + " SET default_transaction_read_only = on")
			reason := "SELECT coalesce(reason, '') LIKE '%read-only%' AND failing_since IS NOT NULL FROM vault.supervisor_state()"
			pgtest.Eventually(t, "it is read-only and says so", func() bool { return get[bool](app, reason) })
			postgres.exec("ALTER " + at + " RESET default_transaction_read_only")
			passes(t, app)
			pgtest.Eventually(t, "nothing is reported now", func() bool { return !get[bool](app, reason) })
		})
	}
}

// TestSupervisionOfTheServer: each way in which nothing rotates is told.
func TestSupervisionOfTheServer(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	postgres.exec("CREATE DATABASE other")
	for name, serves := range map[string]bool{"app": true, "other": false} {
		s := c.connect(t, name, vaulttest.Superuser)
		s.exec("CREATE EXTENSION hyperion_vault")
		if got := get[bool](s, "SELECT (vault.supervision()->>'serves')::boolean"); got != serves {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSupervisorGoesOn(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	t.Run("after an error, which is logged once", func(t *testing.T) {
		app.exec("ALTER TABLE vault.supervisor_passes RENAME TO elsewhere")
		waitThreePasses(t, app)
		app.exec("ALTER TABLE vault.elsewhere RENAME TO supervisor_passes")
		passes(t, app)
		if n := strings.Count(c.logText(t), `relation "vault.supervisor_passes" does not exist`); n != 1 {
			t.Errorf("the error is logged %d times", n)
		}
	})
	t.Run("and autovacuum is told what it did", func(t *testing.T) {
		const seen = "SELECT coalesce(sum(n_tup_ins + n_tup_upd), 0)::int FROM pg_stat_all_tables WHERE relid = 'vault.supervisor_passes'::regclass"
		before := get[int](app, seen)
		pgtest.Eventually(t, "passes are counted", func() bool { return get[int](app, seen) >= before+2 })
	})
	t.Run("after it was ended", func(t *testing.T) {
		before := get[int](postgres, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'")
		postgres.exec("SELECT pg_terminate_backend($1)", before)
		pgtest.Eventually(t, "there is another", func() bool {
			return get[bool](postgres, "SELECT count(*) = 1 AND max(pid) <> $1 FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'", before)
		})
		passes(t, app)
	})
	t.Run("with new settings after a reload", func(t *testing.T) {
		app.exec("ALTER SYSTEM SET hyperion_vault.rotation_enabled = off")
		app.exec("SELECT pg_reload_conf()")
		passes(t, app)
		passes(t, app)
		app.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE id = $1", get[[16]byte](app, due, "a"))
		passes(t, app)
		passes(t, app)
		if n := get[int](app, "SELECT count(*) FROM vault.rotation_jobs"); n != 0 {
			t.Errorf("%d rotations are enqueued while that is off", n)
		}
		app.exec("LISTEN hyperion_vault_rotation")
		app.exec("ALTER SYSTEM SET hyperion_vault.rotation_enabled = on")
		app.exec("SELECT pg_reload_conf()")
		ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
		defer cancel()
		if _, err := app.WaitForNotification(ctx); err != nil {
			t.Fatal(err)
		}
		if n := get[int](app, "SELECT count(*) FROM vault.rotation_jobs WHERE state = 'queued'"); n != 1 {
			t.Errorf("%d rotations are enqueued, want 1", n)
		}
		passes(t, app)
		if n := get[int](app, "SELECT count(*) FROM vault.rotation_jobs"); n != 1 {
			t.Errorf("%d rotations are enqueued, want still 1", n)
		}
	})
	t.Run("and the server stops at once", func(t *testing.T) {
		startedAt := time.Now()
		if out, err := c.program(t, "pg_ctl", "-D", c.Data(), "-m", "fast", "-w", "-t", "15", "stop"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if took := time.Since(startedAt); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestSupervisorRunsOnThePrimaryOnly(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)

	standby := cluster{c.NewStandby(t)}
	standby.MustCatchUp(t)
	s, p := standby.connect(t, "app", vaulttest.Superuser), standby.connect(t, "postgres", vaulttest.Superuser)
	waitThreePasses(t, s)
	if n := get[int](p, launchers) + get[int](p, supervisors); n != 0 {
		t.Fatalf("%d workers run on the standby", n)
	}
	if !get[bool](s, "SELECT (vault.status()->>'in_recovery')::boolean") {
		t.Error("the status of the standby does not say that it is one")
	}
	c.MustStop(t, syscall.SIGQUIT)
	standby.MustPromote(t)
	pgtest.Eventually(t, "the supervisor starts", func() bool { return get[int](p, supervisors) == 1 })
	passes(t, s)
}

// TestLauncherEnded ends the launcher again and again: there is never more than one supervisor in the end.
func TestLauncherEnded(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	for range 2 {
		before := get[int](postgres, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'hyperion_vault launcher'")
		postgres.exec("SELECT pg_terminate_backend($1)", before)
		pgtest.Eventually(t, "its supervisor ends with it", func() bool {
			return get[int](postgres, launchers+" OR backend_type = 'hyperion_vault supervisor'") == 0
		})
		pgtest.Eventually(t, "there are another launcher and its supervisor", func() bool {
			return get[int](postgres, launchers) == 1 && get[int](postgres, supervisors) == 1
		})
		passes(t, app)
	}
	waitThreePasses(t, app)
	if n := get[int](postgres, supervisors); n != 1 {
		t.Errorf("%d supervisors", n)
	}
}

// TestSupervisorWarnsOfOwner gives the vault's owner away.
func TestSupervisorWarnsOfOwner(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	said := func(part string) int {
		return strings.Count(c.logText(t), `WARNING:  hyperion_vault supervisor: role "vault_owner" `+part+": no role may use it")
	}
	if strings.Contains(c.logText(t), `supervisor: role "vault_owner"`) {
		t.Error("the log warns of nothing")
	}
	postgres.exec("CREATE ROLE intruder CREATEROLE")
	postgres.exec("SET hyperion_vault.allow_unsafe_grants = on") // else the library refuses
	postgres.exec("GRANT vault_owner TO intruder")
	pgtest.Eventually(t, "the log warns of a member", func() bool { return said("has members") == 1 })
	passes(t, app)
	passes(t, app)
	t.Run("which hides nothing else", func(t *testing.T) {
		app.exec("ALTER TABLE vault.supervisor_passes RENAME TO elsewhere")
		pgtest.Eventually(t, "the error is logged", func() bool {
			return strings.Contains(c.logText(t), `relation "vault.supervisor_passes" does not exist`)
		})
		app.exec("ALTER TABLE vault.elsewhere RENAME TO supervisor_passes")
		passes(t, app)
		passes(t, app)
		if n := said("has members"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
	postgres.exec("ALTER ROLE vault_owner LOGIN")
	pgtest.Eventually(t, "the log warns of both", func() bool { return said("can log in and has members") == 1 })
	postgres.exec("ALTER ROLE vault_owner NOLOGIN")
	pgtest.Eventually(t, "the log warns of what is left", func() bool { return said("has members") == 2 })
	postgres.exec("REVOKE vault_owner FROM intruder")
	passes(t, app)
	passes(t, app)
	postgres.exec("GRANT vault_owner TO intruder")
	pgtest.Eventually(t, "the log warns again", func() bool { return said("has members") == 3 })
}

// TestSupervisorStalled: a worker that is there and makes no pass is stalled, and no longer so once it goes on.
func TestSupervisorStalled(t *testing.T) {
	c, postgres := supervised(t)
	postgres.exec("CREATE DATABASE app")
	app := c.connect(t, "app", vaulttest.Superuser)
	app.exec("CREATE EXTENSION hyperion_vault")
	passes(t, app)
	const stalled = "SELECT (vault.supervision()->>'stalled')::boolean"
	if get[bool](app, stalled) {
		t.Fatal("stalled while passes are made")
	}
	pid := get[int](postgres, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'hyperion_vault supervisor'")
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !get[bool](app, stalled); <-tick.C { // half a minute without a pass makes it so
		if time.Now().After(end) {
			t.Fatal("not stalled after two minutes")
		}
	}
	if n := get[int](postgres, supervisors); n != 1 {
		t.Errorf("%d supervisors: the test shows nothing", n)
	}
	signal(syscall.SIGCONT)
	pgtest.Eventually(t, "it is not", func() bool { return !get[bool](app, stalled) })
}
