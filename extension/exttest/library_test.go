package exttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

const (
	shim  = "hyperion_vault.so"
	golib = "hyperion_vault_go.so"
)

// wantNoGo checks that a process has one thread and no Go library.
func wantNoGo(t *testing.T, what string, pid int) {
	t.Helper()
	if maps(t, pid, golib) {
		t.Errorf("%s has the Go library mapped", what)
	}
	if n := len(threads(t, pid)); n != 1 {
		t.Errorf("%s has %d threads", what, n)
	}
}

// wantGo checks that a process has the Go library and its threads.
func wantGo(t *testing.T, what string, pid int) {
	t.Helper()
	if !maps(t, pid, golib) || len(threads(t, pid)) < 2 {
		t.Errorf("%s has not loaded the Go library, so this test shows nothing", what)
	}
}

func TestPreloadLeavesNoGo(t *testing.T) {
	c := sharedCluster(t)
	agent := newFakeAgent(t)
	db := c.newDatabase(t, agent.path)
	user := c.connect(t, db, "postgres")
	user.exec("SELECT vault.create_secret('a', 'value of a', content_type => 'text/plain')") // not the usual type: Go seals it
	wantGo(t, "a backend that created a secret", user.pid())

	idle := c.connect(t, db, "postgres")
	idle.exec("SELECT 1")
	idle.exec("SELECT vault.describe_secret('a')")
	idle.exec("SELECT vault.read_sealed(ARRAY['a'], NULL)")
	idle.exec("SHOW hyperion_vault.agent_timeout_ms")
	if !maps(t, idle.pid(), shim) {
		t.Error("a backend of a server that preloads the library has not got it")
	}
	wantNoGo(t, "a backend that used the sealed path only", idle.pid())

	pm := c.PID()
	if !maps(t, pm, shim) {
		t.Error("the postmaster has not preloaded the library")
	}
	wantNoGo(t, "the postmaster", pm)
	clients := map[int]bool{user.pid(): true}
	others := 0
	for _, pid := range children(t, pm) {
		if !clients[pid] && get[bool](idle, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_type <> 'client backend')", pid) {
			wantNoGo(t, "auxiliary process "+strconv.Itoa(pid), pid)
			others++
		}
	}
	if others < 3 {
		t.Errorf("checked %d auxiliary processes only", others)
	}
}

func TestWithoutPreload(t *testing.T) {
	t.Parallel()
	c := startCluster(t, false)
	agent := newFakeAgent(t)
	db := c.newDatabase(t, agent.path)
	s := c.connect(t, db, "postgres")
	s.exec("SELECT 1")
	if maps(t, s.pid(), shim) {
		t.Error("a new backend has the library already")
	}
	s.exec("SELECT vault.create_secret('a', 'value of a', content_type => 'text/plain')") // not the usual type: Go seals it
	if got := get[string](s, "SELECT vault.read_secret('a')"); got != "value of a" {
		t.Errorf("read %q", got)
	}
	wantGo(t, "a backend that created a secret", s.pid())
	wantNoGo(t, "the postmaster", c.PID())
	if maps(t, c.PID(), shim) {
		t.Error("the postmaster has the library")
	}
	lockRounds(t, c, db, s, 5)
}

// The Go library is nothing to preload: a server whose settings name it does not start, rather than run with a Go
// runtime in the postmaster.
func TestPreloadOfGoLibraryRefused(t *testing.T) {
	c := startCluster(t, false)
	c.MustStop(t, syscall.SIGINT)
	conf, err := os.OpenFile(filepath.Join(c.Data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conf.Close()
	if _, err := conf.WriteString("shared_preload_libraries = 'hyperion_vault,hyperion_vault_go'\n"); err != nil {
		t.Fatal(err)
	}
	out, err := c.program(t, "postgres", "-D", c.Data())
	if err == nil || !strings.Contains(out, "incompatible library") {
		t.Errorf("want a refusal, got %v: %s", err, out)
	}
}

// Signals that a backend has handlers for, by number less one: HUP INT QUIT USR1 USR2 ALRM TERM URG. Go does not
// block CHLD and PROF in its threads; a backend ignores both.
const latchSignals = 1<<0 | 1<<1 | 1<<2 | 1<<9 | 1<<11 | 1<<13 | 1<<14 | sigurg

const sigurg = 0x400000

func mask(t *testing.T, pid int, tid string) uint64 {
	t.Helper()
	v, err := status(fmt.Sprintf("/proc/%d/task/%s/status", pid, tid), "SigBlk")
	if err != nil {
		t.Fatal(err)
	}
	m, err := strconv.ParseUint(v, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkMasks checks every thread of a backend; main is what the main thread blocked before Go came.
func checkMasks(t *testing.T, pid int, main uint64) {
	t.Helper()
	for _, tid := range threads(t, pid) {
		m := mask(t, pid, tid)
		switch {
		case tid == strconv.Itoa(pid):
			if m != main {
				t.Errorf("the main thread blocks %#x, before the library was loaded %#x", m, main)
			}
		case m&sigurg == 0:
			t.Errorf("thread %s does not block SIGURG: %#x", tid, m)
		case m&latchSignals != latchSignals:
			t.Errorf("thread %s can take signals of PostgreSQL: it blocks %#x", tid, m)
		}
	}
}

func TestThreadSignalMasks(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	s := c.connect(t, db, "postgres")
	s.exec("SELECT 1")
	before := mask(t, s.pid(), strconv.Itoa(s.pid()))

	s.exec("SELECT vault.create_secret('a', repeat('v', 65536), content_type => 'text/plain')")
	wantGo(t, "the backend", s.pid())
	checkMasks(t, s.pid(), before)

	// Enough for the garbage collector to have run and its threads to have come.
	s.exec("SELECT sum(length(vault.read_secret('a'))) FROM generate_series(1, 200)")
	checkMasks(t, s.pid(), before)
	if err := s.try("SELECT vault.read_secret('..')"); err == nil {
		t.Error("a bad name was accepted")
	}
	checkMasks(t, s.pid(), before)
}

// lockRounds has waiter, a backend that has used Go, wait for a row lock that another session releases, and checks
// that it wakes at once.
func lockRounds(t *testing.T, c cluster, db string, waiter *session, rounds int) {
	t.Helper()
	table := fmt.Sprintf("lock%d", waiter.pid())
	holder, watcher := c.connect(t, db, "postgres"), c.connect(t, db, "postgres")
	holder.exec("CREATE TABLE " + table + " AS SELECT 1 AS id")
	// The check for deadlocks would wake the waiter as well, and hide what is looked for.
	waiter.exec("SET deadlock_timeout = '60s'")
	for round := range rounds {
		holder.exec("BEGIN")
		holder.exec("UPDATE " + table + " SET id = id")
		woke := make(chan error, 1)
		go func() { woke <- waiter.try("UPDATE " + table + " SET id = id") }()
		pgtest.Eventually(t, "the backend waits for the lock", func() bool {
			return get[bool](watcher, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", waiter.pid())
		})
		// So long that its threads have gone idle as well.
		<-time.After(200 * time.Millisecond)
		start := time.Now()
		holder.exec("COMMIT")
		select {
		case err := <-woke:
			if err != nil {
				t.Fatal(err)
			}
			if late := time.Since(start); late > prompt {
				t.Fatalf("round %d: woke %v after the release", round, late)
			}
		case <-time.After(pgtest.Patience):
			t.Fatalf("round %d: the backend did not wake", round)
		}
	}
}

func TestLatchWakesInTime(t *testing.T) {
	c := sharedCluster(t)
	db := c.newDatabase(t, newFakeAgent(t).path)
	c.connect(t, db, "postgres").exec("SELECT vault.create_secret('a', repeat('v', 65536))")

	t.Run("OneCall", func(t *testing.T) {
		t.Parallel()
		s := c.connect(t, db, "postgres")
		s.exec("SELECT vault.verify('a', 'x')")
		wantGo(t, "the backend", s.pid())
		lockRounds(t, c, db, s, 20)
	})
	t.Run("ManyCalls", func(t *testing.T) {
		t.Parallel()
		s := c.connect(t, db, "postgres")
		s.exec("SELECT count(vault.verify('a', 'x')) FROM generate_series(1, 300)")
		lockRounds(t, c, db, s, 20)
	})
	t.Run("OnlyNameChecked", func(t *testing.T) {
		t.Parallel()
		s := c.connect(t, db, "postgres")
		// Not a byte to or from the agent: the first call into Go is all there was.
		s.exec("SELECT vault.check_pattern('a/*')")
		wantGo(t, "the backend", s.pid())
		lockRounds(t, c, db, s, 20)
	})
	t.Run("Notify", func(t *testing.T) {
		t.Parallel()
		listener, sender := c.connect(t, db, "postgres"), c.connect(t, db, "postgres")
		listener.exec("LISTEN hv")
		listener.exec("SELECT vault.verify('a', 'x')")
		wantGo(t, "the backend", listener.pid())
		for round := range 20 {
			<-time.After(50 * time.Millisecond) // idle in its wait for the client
			start := time.Now()
			sender.exec("NOTIFY hv")
			if _, err := listener.WaitForNotification(bounded(t)); err != nil {
				t.Fatal(err)
			}
			if late := time.Since(start); late > prompt {
				t.Fatalf("round %d: the notification came after %v", round, late)
			}
		}
	})
	t.Run("Timeouts", func(t *testing.T) {
		t.Parallel()
		// SIGALRM must reach the main thread.
		s := c.connect(t, db, "postgres")
		s.exec("SELECT vault.verify('a', 'x')")
		s.exec("SET statement_timeout = 200")
		for range 5 {
			start := time.Now()
			wantError(t, s.try("SELECT pg_sleep(120)"), "57014", "statement timeout")
			if late := time.Since(start); late > prompt {
				t.Fatalf("statement_timeout of 200 ms took %v", late)
			}
		}
	})
}

// A package upgrade replaces the Go library under a running server. A backend that opens the new one refuses it if it
// was built for another border, instead of calling it wrongly.
func TestGoLibraryOfAnotherVersion(t *testing.T) {
	c := startCluster(t, false)
	dir, err := os.MkdirTemp("/tmp", "hvlib")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(pgtest.LoadEnv().PGConfig, "--pkglibdir").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), shim))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, shim), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := c.connect(t, "postgres", "postgres")
	s.exec("CREATE FUNCTION check_it(text) RETURNS void AS '" + filepath.Join(dir, shim) + "', 'hv_check_pattern' LANGUAGE C STRICT")
	for name, source := range map[string]string{"Newer": "int HvgABI(void) { return 1000; }", "Older": "int x;"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "lib.c")
			if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", filepath.Join(dir, golib), file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			fresh := c.connect(t, "postgres", "postgres")
			for range 2 {
				wantError(t, fresh.try("SELECT check_it('a')"), "55000", "does not belong to")
			}
			if n := get[int](fresh, "SELECT 1"); n != 1 {
				t.Error("the session is of no use")
			}
		})
	}
}
