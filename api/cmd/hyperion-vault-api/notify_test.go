package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// manager is a service manager: it collects what the process tells it.
type manager struct {
	env string // NOTIFY_SOCKET=...

	mu    sync.Mutex
	told  []string
	grown chan struct{} // closed and replaced with every message
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	addr := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{env: "NOTIFY_SOCKET=" + addr.Name, grown: make(chan struct{})}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, string(buf[:n]))
			close(m.grown)
			m.grown = make(chan struct{})
			m.mu.Unlock()
		}
	}()
	return m
}

func (m *manager) all() ([]string, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.told...), m.grown
}

// wait returns once n messages hold text.
func (m *manager) wait(t *testing.T, n int, text string) string {
	t.Helper()
	timer := time.NewTimer(pgtest.Patience)
	defer timer.Stop()
	for {
		told, grown := m.all()
		found := 0
		for _, s := range told {
			if strings.Contains(s, text) {
				if found++; found == n {
					return s
				}
			}
		}
		select {
		case <-grown:
		case <-timer.C:
			t.Fatalf("the manager was not told %q %d times, but %q", text, n, told)
		}
	}
}

// TestServiceManager: readiness comes with the sockets and without PostgreSQL, and the watchdog until the end.
func TestServiceManager(t *testing.T) {
	m := newManager(t)
	p := launch(t, lonely(t, m.env, "WATCHDOG_USEC=40000"))
	m.wait(t, 1, "READY=1")
	url := "http://" + p.wait(t, 1, "listening")["listen"].(string)
	if status, _ := do(t, "GET", url+"/healthz", "", ""); status != 200 {
		t.Errorf("ready, but healthz says %d", status)
	}
	m.wait(t, 1, "STATUS=not ready, trying again: reader, writer")
	m.wait(t, 3, "WATCHDOG=1")
	p.signal(t, syscall.SIGTERM)
	m.wait(t, 1, "STOPPING=1")
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	told, _ := m.all()
	noCanary(t, strings.Join(told, "\n"))
}

// TestServiceManagerAway: one that cannot be reached is logged once and harms nothing.
func TestServiceManagerAway(t *testing.T) {
	p := launch(t, lonely(t, "NOTIFY_SOCKET=/none/notify", "WATCHDOG_USEC=1000"))
	p.wait(t, 1, "not ready, trying again")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if found, _ := p.records("the service manager cannot be notified (NOTIFY_SOCKET)"); len(found) != 1 {
		t.Errorf("logged %d times", len(found))
	}
}

// TestHangup: SIGHUP puts the files' new content in force, of which the manager hears; what is wrong stays and is logged.
func TestHangup(t *testing.T) {
	dir := t.TempDir()
	ips, level := filepath.Join(dir, "ips"), filepath.Join(dir, "level")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(ips, "10.0.0.1\n")
	put(level, "info\n")
	m := newManager(t)
	p := launch(t, lonely(t, m.env, "VAULT_ALLOWED_IPS_FILE="+ips, "VAULT_LOG_LEVEL_FILE="+level, "VAULT_TRUST_PROXY=false"))
	url := "http://" + p.wait(t, 1, "listening")["listen"].(string) + "/v1/secrets/x"
	m.wait(t, 1, "READY=1")
	expect := func(status int) {
		t.Helper()
		if got, _ := do(t, "GET", url, "", ""); got != status {
			t.Fatalf("status %d, want %d", got, status)
		}
	}
	expect(403)
	put(ips, "127.0.0.1\n")
	p.signal(t, syscall.SIGHUP)
	p.wait(t, 1, "reloaded")
	m.wait(t, 1, "RELOADING=1\nMONOTONIC_USEC=")
	m.wait(t, 2, "READY=1")
	expect(503) // allowed; PostgreSQL is not there
	if fixed := p.wait(t, 1, "a reload cannot change the environment; use NAME_FILE in place of NAME"); fixed["variables"] != "VAULT_TRUST_PROXY" {
		t.Errorf("fixed: %v", fixed)
	}
	put(ips, "127.0.0.1\n10.0.0.0/33\n")
	put(level, "debug\n")
	p.signal(t, syscall.SIGHUP)
	p.wait(t, 2, "reloaded")
	wrong := p.wait(t, 1, `a reload did not change a setting: VAULT_ALLOWED_IPS_FILE="`+ips+`": want comma-separated addresses or CIDR networks; wrong in line 2`)
	if wrong["variable"] != "VAULT_ALLOWED_IPS_FILE" {
		t.Errorf("wrong: %v", wrong)
	}
	expect(503)
	put(level, "error\n")
	p.signal(t, syscall.SIGHUP)
	m.wait(t, 4, "READY=1")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if found, _ := p.records("stopped"); len(found) != 0 {
		t.Error("the level error still logs what is said at the end")
	}
}
