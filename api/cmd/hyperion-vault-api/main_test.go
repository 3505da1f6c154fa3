package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const testToken = "hvt_0123456789012345678901234567890123456789012"

// lonely is an environment that starts without any PostgreSQL: no process listens there.
func lonely(t *testing.T, env ...string) []string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	key := base64.StdEncoding.EncodeToString([]byte("CANARY-KEY-0123456789-0123456789"))
	return append(env, "VAULT_API_LISTEN=127.0.0.1:0", "VAULT_PG_HOSTS="+dir, "VAULT_PG_PASSWORD=CANARY-PW",
		"VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+key, "VAULT_AGENT_SOCKET="+filepath.Join(dir, "agent.sock"), "VAULT_AUDIT_DIR="+filepath.Join(dir, "audit"),
		"VAULT_AGENT_PEERS="+strconv.Itoa(os.Getuid()), "VAULT_REQUEST_TIMEOUT_SECS=1", "VAULT_SHUTDOWN_TIMEOUT_SECS=5")
}

// noCanary fails when the output holds a secret of lonely.
func noCanary(t *testing.T, text string) {
	t.Helper()
	for _, s := range []string{"CANARY", base64.StdEncoding.EncodeToString([]byte("CANARY-KEY"))[:12]} {
		if strings.Contains(text, s) {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // texts in them; "" = must be empty
	}{
		{"OKVersion", []string{"version"}, 0, "hyperion-vault-api dev (go", ""},
		{"OKHelp", []string{"help"}, 0, "token       Create, list, show, renew and revoke tokens", ""},
		{"OKHelpFlag", []string{"token", "create", "--help"}, 0, "--ttl", ""},
		{"ErrUnknownCommand", []string{"frobnicate"}, 2, "", `unknown command "frobnicate"`},
		{"ErrUnknownFlag", []string{"serve", "--fast"}, 2, "", "unknown flag: --fast"},
		{"ErrServeArgument", []string{"serve", "now"}, 2, "", `"hyperion-vault-api serve" takes no argument, and was given one argument`},
		{"ErrHelpUnknown", []string{"help", "nosuch"}, 2, "", `unknown command "nosuch"`},
		{"Completion", []string{"completion", "bash"}, 0, "# bash completion", ""},
		{"ErrCompletionAlone", []string{"completion"}, 2, "", "completion needs bash, zsh, fish or powershell"},
		{"ErrCompletionUnknown", []string{"completion", "nosuch"}, 2, "", "unknown command"},
		{"ErrTokenAlone", []string{"token"}, 2, "", "token needs create, list, show, renew or revoke"},
		{"ErrTokenUnknown", []string{"token", "steal"}, 2, "", "unknown command"},
		{"ErrTokenNoName", []string{"token", "create"}, 2, "", "token create needs a NAME"},
		{"ErrTokenDuration", []string{"token", "create", "x", "--expires-in", "soon"}, 2, "", "--expires-in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, nil, tt.args...)
			if code != tt.code || !holds(stdout, tt.stdout) || !holds(stderr, tt.stderr) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s", code, stdout, stderr)
			}
		})
	}
}

func holds(got, want string) bool {
	if want == "" {
		return got == ""
	}
	return strings.Contains(got, want)
}

func TestConfigErrors(t *testing.T) {
	env := []string{"VAULT_API_LISTEN=nowhere", "VAULT_PG_PORT=x", "VAULT_LOCAL_MASTER_KEY=CANARY", "VAULT_KMS_MODE=local", "VAULT_PG_PORTT=1"}
	for _, args := range [][]string{{}, {"serve"}} {
		code, stdout, stderr := call(t, env, args...)
		want := []string{
			"warning: VAULT_KMS_MODE=local is for development",
			"warning: VAULT_ALLOWED_IPS is empty",
			"warning: VAULT_PG_PORTT is not a setting of hyperion-vault and is ignored; the nearest known name is VAULT_PG_PORT",
			`error: VAULT_API_LISTEN="nowhere": want host:port, as in 0.0.0.0:8200, or several`,
			`error: VAULT_PG_PORT="x": want a port, 1 to 65535`,
			"error: VAULT_LOCAL_MASTER_KEY (value not shown): want base64 of exactly 32 bytes",
		}
		lines := strings.Split(stderr, "\n")
		if code != 2 || stdout != "" || len(lines) != len(want) {
			t.Fatalf("exit %d, %q, %s", code, stdout, stderr)
		}
		for i, w := range want {
			if !strings.HasPrefix(lines[i], w) {
				t.Errorf("line %d: %s", i, lines[i])
			}
		}
		noCanary(t, stderr)
	}
	t.Run("ErrAWS", func(t *testing.T) {
		code, _, stderr := call(t, nil, "serve")
		if code != 2 || !strings.Contains(stderr, "VAULT_KMS_KEY_ID is not set") {
			t.Errorf("exit %d: %s", code, stderr)
		}
		for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
			t.Setenv(name, "")
		}
		t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
		code, _, stderr = call(t, []string{"VAULT_KMS_KEY_ID=alias/x", "VAULT_API_LISTEN=127.0.0.1:0"}, "serve")
		if code != 1 || !strings.Contains(stderr, "no AWS region is set") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
	t.Run("ErrTokenCommand", func(t *testing.T) {
		code, stdout, stderr := call(t, []string{"VAULT_PG_PORT=x", "VAULT_API_LISTEN=nowhere"}, "token", "list")
		if code != 2 || stdout != "" || stderr != `error: VAULT_PG_PORT="x": want a port, 1 to 65535` {
			t.Errorf("exit %d: %s", code, stderr)
		}
	})
}

func TestStartFailures(t *testing.T) {
	fail := func(t *testing.T, env []string, want string) {
		t.Helper()
		code, _, stderr := call(t, env, "serve")
		if code != 1 || !strings.Contains(stderr, "error: "+want) {
			t.Errorf("exit %d: %s", code, stderr)
		}
		noCanary(t, stderr)
	}
	t.Run("ErrPortTaken", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		fail(t, lonely(t, "VAULT_API_LISTEN="+ln.Addr().String()), "VAULT_API_LISTEN: cannot listen on "+ln.Addr().String())
	})
	t.Run("ErrAddressNotHere", func(t *testing.T) {
		fail(t, lonely(t, "VAULT_API_LISTEN=192.0.2.1:0"), "VAULT_API_LISTEN: cannot listen on 192.0.2.1:0")
	})
	t.Run("ErrPeerUnknown", func(t *testing.T) {
		fail(t, lonely(t, "VAULT_AGENT_PEERS=no-such-user"), `VAULT_AGENT_PEERS: there is no OS user "no-such-user" here`)
	})
	t.Run("ErrAgentThere", func(t *testing.T) {
		env := lonely(t)
		p := launch(t, env)
		p.wait(t, 1, "listening")
		fail(t, env, "VAULT_AUDIT_DIR=")
		fail(t, append([]string{"VAULT_AUDIT_DIR=" + filepath.Join(t.TempDir(), "audit")}, env...), "another process answers on ")
	})
	t.Run("ErrJournalOpenToOthers", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		fail(t, lonely(t, "VAULT_AUDIT_DIR="+dir), "VAULT_AUDIT_DIR="+dir+": other users may enter the directory (mode 0750): chmod 700 it")
	})
	t.Run("ErrZeroKey", func(t *testing.T) {
		fail(t, lonely(t, "VAULT_LOCAL_MASTER_KEY="+base64.StdEncoding.EncodeToString(make([]byte, 32))), "the local master key is all zero bytes")
	})
}

func TestHarden(t *testing.T) {
	out, err := command("harden", nil).Output()
	if err != nil || string(out) != "core=0/0 dumpable=0,<nil> umask=77\n" {
		t.Errorf("%s %v", out, err)
	}
}

func TestLogRedacts(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(&b, slog.LevelInfo)
	log.Info("x", "password", "CANARY", "Authorization", "CANARY", "error", errors.New("token "+testToken), "text", "a "+testToken+" b",
		slog.Group("g", "value", "CANARY", "master_key", []byte("CANARY")), "secret", "db/password", "n", 7)
	log.Debug("hidden")
	s := b.String()
	if strings.Contains(s, "CANARY") || strings.Contains(s, testToken) || strings.Contains(s, "hidden") {
		t.Errorf("log: %s", s)
	}
	for _, want := range []string{`"secret":"db/password"`, `"n":7`, `"password":"REDACTED"`, `"g":{"value":"REDACTED"`} {
		if !strings.Contains(s, want) {
			t.Errorf("%s is missing in %s", want, s)
		}
	}
}

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{{nil, 0}, {failed(nil), 0}, {failed(errors.New("x")), 1}, {errors.New("x"), 2}, {fmt.Errorf("x: %w", failed(errors.New("y"))), 1}} {
		var b bytes.Buffer
		if code := report(&b, "hyperion-vault-api", tt.err); code != tt.code || (b.Len() == 0) != (code == 0) {
			t.Errorf("%v: exit %d, %s", tt.err, code, b.String())
		}
	}
}

func TestSaidOnce(t *testing.T) {
	for text, want := range map[string]string{
		"a":                                      "a",
		"no record: away:\n\tx\n\tx":             "no record: away:\n\tx",
		"no record: away:\n\tx\naway:\n\tx\n\ty": "no record: away:\n\tx\n\ty",
	} {
		if got := saidOnce(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
