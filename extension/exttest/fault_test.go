package exttest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// declareFault makes the function that fails on purpose, which no script of the extension declares.
func declareFault(s *session) {
	s.exec("CREATE FUNCTION hv_test_fault(int) RETURNS void AS '$libdir/hyperion_vault', 'hv_test_fault' LANGUAGE C STRICT")
}

func TestFaultIsError(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	s := c.connect(t, db, "postgres")
	declareFault(s)
	s.exec("SELECT vault.create_secret('a', 'value of a')")
	pid, threadsBefore := s.pid(), 0
	for round := range 20 {
		for kind, name := range map[int]string{1: "panic", 2: "nil dereference", 3: "division by zero"} {
			err := s.try("SELECT hv_test_fault($1)", kind)
			wantError(t, err, "XX000", "internal error")
			if strings.Contains(err.Error(), "on purpose") || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("%s: the text of the panic came out: %v", name, err)
			}
		}
		wantError(t, s.try("SELECT hv_test_fault(9)"), "22023", "on purpose")
		if got := get[string](s, "SELECT vault.read_secret('a')"); got != "value of a" {
			t.Fatalf("after the faults, read %q", got)
		}
		if round == 0 {
			threadsBefore = len(threads(t, pid))
		}
	}
	if n := get[int](s, "SELECT pg_backend_pid()"); n != pid {
		t.Errorf("another backend: %d, not %d", n, pid)
	}
	if n := len(threads(t, pid)); n > threadsBefore+2 {
		t.Errorf("%d threads after the first round of faults, %d after the last", threadsBefore, n)
	}
	// In a transaction, the error is caught like any other.
	s.exec(`DO $$ BEGIN PERFORM hv_test_fault(2); RAISE EXCEPTION 'no error'; EXCEPTION WHEN internal_error THEN NULL; END $$`)
}

func TestArithmeticErrorsAfterGo(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	s := c.connect(t, db, "postgres")
	s.exec("SELECT vault.create_secret('a', 'value of a')")
	declareFault(s)
	for range 3 {
		wantError(t, s.try("SELECT 1/0"), "22012", "division by zero")
		wantError(t, s.try("SELECT 1e300::float8 * 1e300::float8"), "22003", "out of range")
		wantError(t, s.try("SELECT (-2147483648)::int / (-1)::int"), "22003", "out of range")
		wantError(t, s.try("SELECT power(10::float8, 400)"), "22003", "out of range")
		wantError(t, s.try("SELECT hv_test_fault(3)"), "XX000", "internal error")
	}
	// Deep recursion still ends at max_stack_depth.
	s.exec(`CREATE FUNCTION deep(n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM vault.check_pattern('a/*'); RETURN deep(n + 1); END $$`)
	wantError(t, s.try("SELECT deep(1)"), "54001", "stack depth")
	s.exec("SELECT 1")
}

// Go takes over SIGPIPE; PostgreSQL ignores it, and must go on doing so.
func TestBrokenPipeAfterGo(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	s := c.connect(t, db, "postgres")
	s.exec("SELECT vault.create_secret('a', 'value of a')")
	s.exec("SELECT vault.read_secret('a')")
	err := s.try("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO PROGRAM 'head -c 1 > /dev/null'")
	if err != nil && !strings.Contains(err.Error(), "Broken pipe") && !strings.Contains(err.Error(), "closed pipe") {
		t.Errorf("COPY TO PROGRAM: %v", err)
	}
	if got := get[string](s, "SELECT vault.read_secret('a')"); got != "value of a" {
		t.Errorf("read %q", got)
	}

	// A client that vanishes in the middle of a result ends its backend, not the server.
	gone := c.connect(t, db, "postgres")
	gone.exec("SELECT vault.read_secret('a')")
	pid := gone.pid()
	gone.PgConn().Frontend().Send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"})
	if err := gone.PgConn().Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	_ = gone.PgConn().Conn().Close()
	pgtest.Eventually(t, "the backend of the client that vanished ends", func() bool {
		return syscall.Kill(pid, 0) != nil
	})
	if got := get[string](s, "SELECT vault.read_secret('a')"); got != "value of a" {
		t.Errorf("read %q", got)
	}
}

// A backend that has used the library holds keys and plaintext now and then: no core file, and no other process of its
// user may look into it.
func TestNotDumpable(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	s := c.connect(t, db, "postgres")
	environ := fmt.Sprintf("/proc/%d/environ", s.pid())
	// What is not dumpable belongs to root in /proc, and is closed to the process's own user.
	dumpable := func() bool {
		if os.Getuid() != 0 {
			_, err := os.ReadFile(environ)
			return err == nil
		}
		info, err := os.Stat(environ)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid != 0
	}
	if !dumpable() {
		t.Fatal("a new backend is not dumpable, so this test shows nothing")
	}
	s.exec("SELECT vault.create_secret('a', 'value of a')")
	if dumpable() {
		t.Error("after a call the process is still dumpable")
	}
}

// A crash in C stays a crash: the backend dies at once and the server restarts, whatever handlers Go has installed.
func TestCrashAfterGo(t *testing.T) {
	c := startCluster(t, true)
	b := newBench(t, c)
	for _, signal := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT} {
		victim := c.connect(t, b.db, "postgres")
		victim.exec("SELECT vault.read_secret('kept')")
		before := strings.Count(c.logText(t), "terminating any other active server processes")
		start := time.Now()
		if err := syscall.Kill(victim.pid(), signal); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, "the server noticed", func() bool {
			return strings.Count(c.logText(t), "terminating any other active server processes") > before
		})
		if late := time.Since(start); late > prompt {
			t.Errorf("%v: the backend died after %v", signal, late)
		}
		pgtest.Eventually(t, "the server is back", func() bool {
			conn, err := c.dial(t.Context(), b.db, "postgres")
			if err != nil {
				return false
			}
			defer conn.Close(t.Context())
			var value string
			return conn.QueryRow(t.Context(), "SELECT vault.read_secret('kept')").Scan(&value) == nil && value == keptValue
		})
	}
	if strings.Contains(c.logText(t), "goroutine ") {
		t.Error("a trace of Go is in the server's log")
	}
}
