package service

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are of a service without PostgreSQL.
func settings(t *testing.T, env ...string) config.Config {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdefghijklmnopqrstuv"))
	c, _, err := config.Load(func() []string {
		return append(env, "VAULT_API_LISTEN=127.0.0.1:0", "VAULT_PG_HOSTS="+dir, "VAULT_PG_PASSWORD=pw", "VAULT_KMS_MODE=local",
			"VAULT_LOCAL_MASTER_KEY="+key, "VAULT_AGENT_SOCKET="+filepath.Join(dir, "a.sock"),
			"VAULT_AUDIT_DIR="+filepath.Join(dir, "audit"),
			"VAULT_AGENT_PEERS="+strconv.Itoa(os.Getuid()), "VAULT_REQUEST_TIMEOUT_SECS=1")
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func closeWithin(t *testing.T, s *Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestOpenWipesSecrets(t *testing.T) {
	for _, peers := range []string{strconv.Itoa(os.Getuid()), "no-such-user"} {
		c := settings(t, "VAULT_AGENT_PEERS="+peers)
		s, err := Open(context.Background(), c, quiet())
		if err == nil {
			closeWithin(t, s)
		}
		if string(c.KMS.MasterKey) != strings.Repeat("\x00", 32) || string(c.Postgres.Password) != "\x00\x00" {
			t.Errorf("with peers %s the secrets are still there", peers)
		}
	}
}

// TestCommandsWipeSecrets: what a command opens wipes the secrets of its settings, whether it can be opened or not.
func TestCommandsWipeSecrets(t *testing.T) {
	type closer func() error
	ended := func(_ *vault.Vault, end func() error, err error) (closer, error) { return end, err }
	for what, c := range map[string]struct {
		open  func(config.Config) (closer, error)
		spoil func(*config.Config)
		fails bool
	}{
		"with keys": {open: func(c config.Config) (closer, error) { return ended(OpenWithKeys(t.Context(), c, quiet())) }},
		"with keys, but the store": {open: func(c config.Config) (closer, error) { return ended(OpenWithKeys(t.Context(), c, quiet())) },
			spoil: func(c *config.Config) { c.Postgres.Hosts = nil }, fails: true},
		"with keys, but the key": {open: func(c config.Config) (closer, error) { return ended(OpenWithKeys(t.Context(), c, quiet())) },
			spoil: func(c *config.Config) { c.KMS.MasterKey = c.KMS.MasterKey[:7] }, fails: true},
		"operator": {open: func(c config.Config) (closer, error) { return ended(OpenOperator(t.Context(), c)) }},
		"recovery without an identity": {open: func(c config.Config) (closer, error) { return ended(OpenRecovery(t.Context(), c, []byte("none"))) },
			fails: true},
	} {
		cfg := settings(t)
		key, password := cfg.KMS.MasterKey, cfg.Postgres.Password
		if c.spoil != nil {
			c.spoil(&cfg)
		}
		end, err := c.open(cfg)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
		if len(strings.Trim(string(password), "\x00")) != 0 || len(strings.Trim(string(key[:7]), "\x00")) != 0 {
			t.Errorf("%s: the secrets are still there", what)
		}
	}
}

// TestOpenFailureLeavesNothing fails in the last part: the parts before it must be closed again.
func TestOpenFailureLeavesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	c := settings(t, "VAULT_API_LISTEN="+addr, "VAULT_AGENT_PEERS=no-such-user")
	if _, err := Open(context.Background(), c, quiet()); core.CodeOf(err) != core.Invalid {
		t.Fatalf("got %v", err)
	}
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = ln.Close()
	if _, err := os.Stat(c.Agent.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the agent's socket is there: %v", err)
	}
}

func TestRunEndsWhenAPartFails(t *testing.T) {
	s, err := Open(context.Background(), settings(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.lns[0].Close()
	if err := s.Run(context.Background()); core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	closeWithin(t, s)
}

func TestRunWithoutAgent(t *testing.T) {
	s, err := Open(context.Background(), settings(t, "VAULT_AGENT_SOCKET=off"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	closeWithin(t, s)
}

func TestOperatorHasNoKeys(t *testing.T) {
	door, closeDoor, err := OpenOperator(context.Background(), settings(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeDoor() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = door.GenerateForSQL(ctx, vault.SQLCaller{Database: "postgres", Role: "r"}, vault.SQLGenerate{ID: core.SecretID{1}, Version: 1})
	if core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
}
