package vaulttest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(vaulttest.Main(m, vaulttest.Options{}))
}

// TestServer is the main job by both ways: each reads what the other wrote.
func TestServer(t *testing.T) {
	db := vaulttest.NewDB(t)
	s := vaulttest.NewServer(t, db)
	s.MustCreate(t, "db/password", "s3cr3t")
	if v := s.MustRead(t, "db/password"); v != "s3cr3t" {
		t.Fatalf("REST reads %q", v)
	}
	ctx := context.Background()
	conn := db.MustConnect(t, vaulttest.Superuser)
	var value string
	if err := conn.QueryRow(ctx, "SELECT vault.read_secret('db/password')").Scan(&value); err != nil || value != "s3cr3t" {
		t.Fatalf("SQL reads %q, %v", value, err)
	}
	if _, err := conn.Exec(ctx, "SELECT vault.create_secret($1, $2)", "app/key", "from SQL"); err != nil {
		t.Fatal(err)
	}
	if v := s.MustRead(t, "app/key"); v != "from SQL" {
		t.Fatalf("REST reads %q", v)
	}
	if status, _ := s.Do(t, "GET", "/readyz", nil); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	for _, secret := range []string{"s3cr3t", "from SQL", s.AdminToken} {
		if strings.Contains(s.Log(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	db.AwaitAudit(t)
	var audited int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM vault.audit('', NULL, 1000) WHERE outcome = 'ok'").Scan(&audited)
	if err != nil || audited < 6 { // a token, two creates, three reads
		t.Errorf("%d audit records, %v", audited, err)
	}
}

func TestServerSettings(t *testing.T) {
	s := vaulttest.NewServer(t, vaulttest.NewDB(t), "VAULT_ALLOWED_IPS=192.0.2.1", "VAULT_AGENT_SOCKET=off")
	if s.AgentSocket != "" {
		t.Errorf("agent at %s", s.AgentSocket)
	}
	if status, _ := s.Do(t, "GET", "/v1/secrets/x", nil); status != 403 {
		t.Errorf("a read from an address that is not listed: %d", status)
	}
	s.MustStop(t)
	s.MustStop(t)
}

func TestDatabasesAreApart(t *testing.T) {
	a, b := vaulttest.NewDB(t), vaulttest.NewDB(t)
	sa, sb := vaulttest.NewServer(t, a), vaulttest.NewServer(t, b)
	sa.MustCreate(t, "x", "in a")
	if status, _ := sb.Do(t, "GET", "/v1/secrets/x", nil); status != 404 {
		t.Errorf("b has a's secret: %d", status)
	}
	// A backend of one database at the other's agent.
	b.MustExec(t, "ALTER DATABASE "+b.Name+" SET hyperion_vault.agent_socket = '"+sa.AgentSocket+"'")
	_, err := b.MustConnect(t, vaulttest.Superuser).Exec(context.Background(), "SELECT vault.create_secret('y', 'z')")
	if err == nil || !strings.Contains(err.Error(), a.Name) || !strings.Contains(err.Error(), b.Name) {
		t.Errorf("want an error with both names, got %v", err)
	}
}

func TestClusterOfItsOwn(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{"work_mem = '7MB'"}})
	db := vaulttest.NewDBIn(t, c)
	conn := db.MustConnect(t, vaulttest.Superuser)
	var mem, preload, fsync string
	err := conn.QueryRow(context.Background(), `SELECT current_setting('work_mem'), current_setting('shared_preload_libraries'),
		current_setting('fsync')`).Scan(&mem, &preload, &fsync)
	if err != nil || mem != "7MB" || preload != "hyperion_vault" || fsync != "off" {
		t.Fatalf("%s %s %s %v", mem, preload, fsync, err)
	}
	if in := filepath.Dir(c.Dir()); in != pgtest.LoadEnv().Dir {
		t.Errorf("it is in %s", in)
	}
	pid := c.PID()
	c.MustStop(t, syscall.SIGINT)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) || c.PID() != 0 {
		t.Errorf("the server is still there: %v", err)
	}
	c.MustStart(t)
	if _, err := os.Stat(c.LogFile()); err != nil {
		t.Error(err)
	}
	t.Run("OKGone", func(t *testing.T) {
		var dir string
		var pid int
		t.Run("Inner", func(t *testing.T) {
			inner := vaulttest.NewCluster(t, vaulttest.Options{})
			dir, pid = inner.Dir(), inner.PID()
		})
		if _, err := os.Stat(dir); dir != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory stays: %v", err)
		}
		if err := syscall.Kill(pid, 0); pid != 0 && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the process stays: %v", err)
		}
	})
}

// TestStandby is a server in front of each node: the standby's reads what the primary's wrote, and writes through it.
func TestStandby(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	onPrimary := vaulttest.NewServer(t, db)
	onStandby := vaulttest.NewServer(t, db.On(standby))
	onPrimary.MustCreate(t, "a", "by the primary's")
	standby.MustCatchUp(t)
	if v := onStandby.MustRead(t, "a"); v != "by the primary's" {
		t.Errorf("the standby's reads %q", v)
	}
	onStandby.MustCreate(t, "b", "by the standby's")
	if v := onPrimary.MustRead(t, "b"); v != "by the standby's" {
		t.Errorf("the primary's reads %q", v)
	}
	ctx := context.Background()
	for node, s := range map[*vaulttest.Cluster]*vaulttest.Server{c: onPrimary, standby: onStandby} {
		var socket string
		conn := db.On(node).MustConnect(t, vaulttest.Superuser)
		err := conn.QueryRow(ctx, "SELECT current_setting('hyperion_vault.agent_socket')").Scan(&socket)
		if err != nil || socket != s.AgentSocket {
			t.Errorf("a node's backends ask the agent at %q, not %q: %v", socket, s.AgentSocket, err)
		}
	}
	c.MustStop(t, syscall.SIGQUIT)
	standby.MustPromote(t)
	onStandby.MustCreate(t, "c", "after the promotion")
}
