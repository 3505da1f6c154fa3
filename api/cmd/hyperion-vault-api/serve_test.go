package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func agentSocket(env []string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "VAULT_AGENT_SOCKET="); ok {
			return v
		}
	}
	return ""
}

// TestServeAlone: without PostgreSQL the process starts, says so once, and stops cleanly.
func TestServeAlone(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			env := lonely(t)
			p := launch(t, env) // no argument: serve
			listening := p.wait(t, 1, "listening")
			addr, _ := listening["listen"].(string)
			if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
				t.Fatalf("the log says it listens on %q", addr)
			}
			if listening["agent_socket"] != agentSocket(env) || listening["database"] != "postgres" {
				t.Errorf("listening: %v", listening)
			}
			p.wait(t, 1, "not ready, trying again")
			if status, _ := do(t, "GET", "http://"+addr+"/healthz", "", ""); status != 200 {
				t.Errorf("healthz: %d", status)
			}
			if status, _ := do(t, "GET", "http://"+addr+"/readyz", "", ""); status != 503 {
				t.Errorf("readyz: %d", status)
			}
			if info, err := os.Stat(agentSocket(env)); err != nil || info.Mode().Perm() != 0o660 {
				t.Errorf("agent socket: %v %v", info, err)
			}
			p.signal(t, sig)
			if code := p.exit(t); code != 0 {
				t.Errorf("exit %d", code)
			}
			p.wait(t, 1, "stopped")
			if _, err := os.Stat(agentSocket(env)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the agent's socket stays: %v", err)
			}
			if found, _ := p.records("not ready, trying again"); len(found) != 1 {
				t.Errorf("said %d times that it is not ready", len(found))
			}
			if p.stdout.Len() != 0 {
				t.Errorf("standard output: %s", p.stdout.String())
			}
			noCanary(t, p.log())
		})
	}
}

// TestServeAfterKill: a process that was killed leaves its socket file, which the next one replaces.
func TestServeAfterKill(t *testing.T) {
	env := lonely(t)
	p := launch(t, env)
	p.wait(t, 1, "listening")
	p.signal(t, syscall.SIGKILL)
	p.exit(t)
	if _, err := os.Lstat(agentSocket(env)); err != nil {
		t.Fatalf("no stale socket to try on: %v", err)
	}
	p = launch(t, env)
	p.wait(t, 1, "listening")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestServePostgresComesAndGoes starts before PostgreSQL does, and lives through its restart.
func TestServePostgresComesAndGoes(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	c.MustStop(t, syscall.SIGINT)
	p := launch(t, db.Environ(t, "VAULT_REQUEST_TIMEOUT_SECS=1"))
	url := "http://" + p.wait(t, 1, "listening")["listen"].(string)
	away := p.wait(t, 1, "not ready, trying again")
	if m, _ := away["missing"].(string); !strings.HasPrefix(m, "reader writer") {
		t.Errorf("not ready: %v", away)
	}
	if status, _ := do(t, "GET", url+"/v1/secrets/x", "", ""); status != 503 {
		t.Errorf("a read without PostgreSQL: %d", status)
	}
	c.MustStart(t)
	p.wait(t, 1, "ready")
	if status, body := do(t, "GET", url+"/readyz", "", ""); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, _ := do(t, "GET", url+"/v1/secrets/x", "", ""); status != 404 {
		t.Errorf("a read: %d", status)
	}
	c.MustStop(t, syscall.SIGINT)
	p.wait(t, 2, "not ready, trying again")
	c.MustStart(t)
	p.wait(t, 2, "ready")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if found, _ := p.records("not ready, trying again"); len(found) != 2 {
		t.Errorf("said %d times that it is not ready", len(found))
	}
}

// blocked is a create that waits in PostgreSQL for a lock the test holds.
type blocked struct {
	backend int // process id of the one that waits
	p       *process
	url     string
	holder  *pgx.Conn
	answer  chan string
}

func (b *blocked) release(t *testing.T) {
	t.Helper()
	if _, err := b.holder.Exec(context.Background(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

func block(t *testing.T, env ...string) *blocked {
	t.Helper()
	db := vaulttest.NewDB(t)
	token := db.MustToken(t, "test")
	b := &blocked{p: launch(t, db.Environ(t, env...), "serve"), holder: db.MustConnect(t, vaulttest.Superuser), answer: make(chan string, 1)}
	b.url = "http://" + b.p.wait(t, 1, "ready")["listen"].(string)
	if _, err := b.holder.Exec(context.Background(), "BEGIN; LOCK TABLE vault.secrets IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	go func() {
		status, body, err := request("POST", b.url+"/v1/secrets", token, `{"name":"x","kind":"manual","value":"s3cr3t"}`)
		b.answer <- fmt.Sprint(status, body, err)
	}()
	b.backend = awaitLockWait(t, db)
	return b
}

// freeze stops the backend that waits, so that its lock_timeout does not end the request however slow the machine is.
func (b *blocked) freeze(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(b.backend, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(b.backend, syscall.SIGCONT) })
}

// awaitLockWait returns the process id of a backend of db that waits for a lock, when there is one.
func awaitLockWait(t *testing.T, db *vaulttest.DB) int {
	t.Helper()
	conn := db.MustConnect(t, vaulttest.Superuser)
	for deadline := time.Now().Add(pgtest.Patience); time.Now().Before(deadline); {
		var pid int
		err := conn.QueryRow(context.Background(), `SELECT coalesce(max(pid), 0) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&pid)
		if err != nil {
			t.Fatal(err)
		}
		if pid > 0 {
			return pid
		}
	}
	t.Fatal("no session waits for the lock")
	return 0
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	b := block(t)
	b.p.signal(t, syscall.SIGTERM)
	b.p.wait(t, 1, "stopping")
	b.release(t)
	if got := <-b.answer; !strings.HasPrefix(got, "201") {
		t.Errorf("the request in flight got %s", got)
	}
	if code := b.p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	b.p.wait(t, 1, "stopped")
	if strings.Contains(b.p.log(), "s3cr3t") {
		t.Error("the log holds the value")
	}
}

func TestStopGivesUp(t *testing.T) {
	b := block(t, "VAULT_SHUTDOWN_TIMEOUT_SECS=1", "VAULT_REQUEST_TIMEOUT_SECS=3")
	b.p.signal(t, syscall.SIGTERM)
	if code := b.p.exit(t); code != 1 {
		t.Errorf("exit %d", code)
	}
	if l := b.p.log(); !strings.Contains(l, "requests in flight were cut off") {
		t.Errorf("log: %s", l)
	}
	b.release(t)
	<-b.answer
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	b := block(t)
	b.freeze(t)
	b.p.signal(t, syscall.SIGTERM)
	b.p.wait(t, 1, "stopping")
	b.p.signal(t, syscall.SIGTERM)
	if code := b.p.exit(t); code != -1 {
		t.Errorf("exit %d, want death by the signal", code)
	}
	b.release(t)
	<-b.answer
}

// TestServeStopsInTime: a database that hangs does not hold up the stop beyond the time for it, though a request, a
// rotation and the audit all wait for it.
func TestServeStopsInTime(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	token := db.MustToken(t, "ops")
	p := launch(t, db.Environ(t, "VAULT_REQUEST_TIMEOUT_SECS=60", "VAULT_SHUTDOWN_TIMEOUT_SECS=2", "VAULT_ROTATION_POLL_SECS=1"))
	url := "http://" + p.wait(t, 1, "listening")["listen"].(string)
	p.wait(t, 1, "ready")
	thaw := c.MustFreeze(t)
	defer thaw()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _, _ = request("POST", url+"/v1/secrets", token, `{"name":"a","value":"x"}`)
	}()
	p.wait(t, 1, "not ready, trying again")
	startedAt := time.Now()
	p.signal(t, syscall.SIGTERM)
	code := p.exit(t)
	<-answered
	if took := time.Since(startedAt); code != 1 || took > 30*time.Second {
		t.Errorf("exit %d after %s", code, took)
	}
}
