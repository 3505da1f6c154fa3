package exttest

import (
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestLogHoldsNoValue goes through the ways by which PostgreSQL logs what it runs.
func TestLogHoldsNoValue(t *testing.T) {
	c := startCluster(t, true, collected...)
	b := newBench(t, c)
	b.script("PREPARE one AS SELECT 1")
	b.script(logSetup)
	for _, l := range logged {
		t.Run(l.name, func(t *testing.T) {
			marker := "mark" + randomText(24)
			settings := l.settings
			if settings == "" {
				settings = "log_min_error_statement = error"
			}
			if l.before != "" {
				b.script(strings.ReplaceAll(l.before, "%s", marker))
			}
			b.script("SET " + settings)
			runLogged(b, l.sql, marker, l.args)
			b.script("ROLLBACK; RESET ALL")
			for name, text := range collectedLogs(t, b) {
				wantNotLogged(t, name, text, marker)
			}
		})
	}
}

// boundSlips are calls that take the value for what another parameter should have been, in text, as most drivers send it.
var boundSlips = []string{
	"SELECT vault.read_secret('kept', $1)", "SELECT vault.read_secret($2, $1)", "SELECT vault.delete_secret($2, $1)",
	"SELECT * FROM vault.audit(max_rows => $1)", "SELECT vault.put($2, $1, nofoo)", "SELECT vault.delete_secret($2, $1::text::bigint)",
}

// TestLogHoldsNoBoundSlip: the error quotes the value, and the statement has no literal.
func TestLogHoldsNoBoundSlip(t *testing.T) {
	c := startCluster(t, true)
	b := newBench(t, c)
	b.script("SET log_parameter_max_length_on_error = -1")
	for _, sql := range boundSlips {
		marker := "mark" + randomText(24)
		args := [][]byte{[]byte(marker)}
		if strings.Contains(sql, "$2") {
			args = append(args, []byte("kept"))
		}
		before := len(c.logText(t))
		if err := b.PgConn().ExecParams(bounded(t), sql, args, nil, nil, nil).Read().Err; err == nil {
			t.Errorf("%s is no slip", sql)
		}
		if text := c.logText(t)[before:]; strings.Contains(text, marker) || !strings.Contains(text, "a statement that calls hyperion_vault failed") {
			t.Errorf("%s: %s", sql, text)
		}
	}
}

// TestLogKeepsTheRest checks that the log says what it can.
func TestLogKeepsTheRest(t *testing.T) {
	c := startCluster(t, true)
	b := newBench(t, c)
	b.script("PREPARE one AS SELECT 1")
	b.script(logSetup)
	for _, k := range kept {
		t.Run(k.name, func(t *testing.T) {
			before := len(c.logText(t))
			if k.settings != "" {
				b.script("SET " + k.settings)
			}
			_ = b.try(k.sql, pgx.QueryExecModeSimpleProtocol)
			b.script("RESET ALL")
			if text := c.logText(t)[before:]; !regexp.MustCompile(k.want).MatchString(text) {
				t.Errorf("%s is not in the log:\n%s", k.want, text)
			}
		})
	}
	t.Run("what the client sees", func(t *testing.T) {
		err := b.try("DO $$ BEGIN EXECUTE 'SELECT vault.verify(''kept'', nofoo)'; END $$", pgx.QueryExecModeSimpleProtocol)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Message != `column "nofoo" does not exist` || pg.InternalQuery == "" || pg.Where == "" {
			t.Errorf("%+v", err)
		}
	})
	t.Run("waits for locks", func(t *testing.T) {
		other := c.connect(t, b.db, vaulttest.Superuser)
		other.script("SET log_lock_waits = on; SET deadlock_timeout = '1ms'")
		b.script("BEGIN; SELECT vault.update_secret('kept', 'x', NULL)")
		before := len(c.logText(t))
		done := other.background("SELECT vault.update_secret('kept', 'y', NULL)")
		pgtest.Eventually(t, "the wait is logged", func() bool {
			return strings.Contains(c.logText(t)[before:], "still waiting for ShareLock on transaction")
		})
		b.script("ROLLBACK")
		if err := within(t, pgtest.Patience, done); err != nil {
			t.Error(err)
		}
	})
	t.Run("the end of the session", func(t *testing.T) {
		s := c.connect(t, b.db, vaulttest.Superuser, "log_disconnections", "on")
		s.exec("SELECT vault.verify('kept', 'x')")
		before := len(c.logText(t))
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, "the end is logged", func() bool {
			return strings.Contains(c.logText(t)[before:], "disconnection: session time: 0:")
		})
	})
}

// TestDeadlockLogHoldsNoValue has a deadlock of a statement of no concern with one that has not come to its call yet:
// the log tells what both were running.
func TestDeadlockLogHoldsNoValue(t *testing.T) {
	for name, sql := range map[string]string{
		"text":    "LOCK TABLE second; SELECT vault.verify('kept', '%s')",
		"EXECUTE": "LOCK TABLE second; EXECUTE held('%s')",
		"cut":     "LOCK TABLE second; SELECT '%s', '" + strings.Repeat("x", 1024) + "'; SELECT vault.verify('kept', 'x')",
	} {
		t.Run(name, func(t *testing.T) {
			c := sharedCluster(t)
			b := newBench(t, c)
			b.script("CREATE TABLE first (); CREATE TABLE second (); SET deadlock_timeout = '1ms'")
			marker := "mark" + randomText(24)
			other := c.connect(t, b.db, vaulttest.Superuser)
			other.script(`PREPARE held(text) AS SELECT vault.verify('kept', $1);
				SET deadlock_timeout = '1h'; BEGIN; LOCK TABLE first`)
			b.script("BEGIN; LOCK TABLE second")
			done := make(chan error, 1)
			go func() {
				_, err := other.PgConn().Exec(bounded(t), strings.ReplaceAll(sql, "%s", marker)).ReadAll()
				done <- err
			}()
			pgtest.Eventually(t, "the other waits", func() bool {
				return get[bool](b.session, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", other.pid())
			})
			before := len(c.logText(t))
			wantError(t, b.try("LOCK TABLE first"), "40P01", "deadlock detected")
			b.script("ROLLBACK")
			if err := within(t, pgtest.Patience, done); err != nil {
				t.Error(err)
			}
			text := c.logText(t)[before:]
			if !strings.Contains(text, "ERROR:  deadlock detected") || !strings.Contains(text, "waits for AccessExclusiveLock") {
				t.Errorf("the log does not tell the deadlock: %s", text)
			}
			wantNotLogged(t, "of the server", text, marker)
		})
	}
}

// TestCrashLogHoldsNoValue kills backends whose last statement held a value: PostgreSQL then logs what they ran.
func TestCrashLogHoldsNoValue(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	for name, sql := range map[string]string{
		"done":                 "SELECT vault.create_secret('crash/done', '%s')",
		"in a function":        "SELECT wrapped('crash/wrapped', '%s')",
		"not entered":          "SELECT vault.create_secret('crash' '%s')",
		"not entered, EXECUTE": "EXECUTE made('crash', '%s', 'too many')",
		"not entered, cut":     "SELECT '%s', '" + strings.Repeat("x", 1024) + "', vault.create_secret('crash' 'x')",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c)
			b.script(`CREATE FUNCTION wrapped(n text, v text) RETURNS bigint LANGUAGE plpgsql
				AS $$ BEGIN RETURN vault.create_secret(n, v); END $$;`)
			marker := "mark" + randomText(24)
			victim := c.connect(t, b.db, "postgres")
			victim.script("PREPARE made(text, text) AS SELECT vault.create_secret($1, $2)")
			_, _ = victim.PgConn().Exec(bounded(t), strings.ReplaceAll(sql, "%s", marker)).ReadAll()
			before := strings.Count(c.logText(t), "database system is ready to accept connections")
			if err := syscall.Kill(victim.pid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, "the server is up again", func() bool {
				return strings.Count(c.logText(t), "database system is ready to accept connections") > before
			})
			if !strings.Contains(c.logText(t), "Failed process was running") && !strings.HasPrefix(name, "not entered") {
				t.Error("the log does not say what the process was running: this test shows nothing")
			}
			wantNotLogged(t, "of the server", c.logText(t), marker)
		})
	}
}
