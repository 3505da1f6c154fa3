package nodecheck_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) {
	os.Exit(vaulttest.Main(m, vaulttest.Options{Preload: true, Settings: []string{"hyperion_vault.database = 'hv_1'"}}).Run())
}

// node is a node that lacks nothing until a test takes something away.
type node struct {
	t       *testing.T
	db      *vaulttest.DB
	env     []string
	options nodecheck.Options
}

// start has a server whose settings are env's, where they say something, and the harness's.
func start(t *testing.T, db *vaulttest.DB, env ...string) *node {
	t.Helper()
	s := vaulttest.NewServer(t, db, env...)
	return &node{t: t, db: db, env: s.Env, options: nodecheck.Options{
		SettingsFile: filepath.Join(t.TempDir(), "api.env"), Unit: "hyperion-vault-api.service",
	}}
}

// check runs the check with env before the settings of the node.
func (n *node) check(env ...string) nodecheck.Report {
	n.t.Helper()
	startedAt := time.Now()
	r := nodecheck.Run(context.Background(), func() []string { return append(env, n.env...) }, n.options)
	if took := time.Since(startedAt); took > nodecheck.Limit+5*time.Second {
		n.t.Errorf("the check took %s", took)
	}
	for _, f := range r.Findings {
		if len(f.Fix) == 0 || strings.HasSuffix(f.What, ".") || strings.Contains(f.What, "CANARY") {
			n.t.Errorf("finding %q, fixed by %q", f.What, f.Fix)
		}
	}
	return r
}

// wantNothing wants no finding.
func (n *node) wantNothing(env ...string) {
	n.t.Helper()
	if r := n.check(env...); len(r.Findings) > 0 {
		n.t.Errorf("found %q", r.Findings)
	}
}

// want wants one finding that says text, and returns what fixes it.
func (n *node) want(text string, env ...string) []string {
	n.t.Helper()
	r := n.check(env...)
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, text) {
		n.t.Fatalf("found %q, want one that says %q", r.Findings, text)
	}
	return r.Findings[0].Fix
}

// run runs the printed commands as they are. What systemd would do is left out.
func (n *node) run(commands ...string) {
	n.t.Helper()
	for _, c := range commands {
		if strings.HasPrefix(c, "systemctl ") {
			continue
		}
		// In a session of its own psql asks standard input for a password.
		cmd := exec.Command("setsid", "bash", "-euc", c)
		cmd.Stdin = strings.NewReader("pw\npw\n")
		cmd.Dir = "/"
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
			n.t.Fatalf("%s: %v: %s", c, err, out)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("acts as other users, which takes root")
	}
	if _, err := exec.LookPath("runuser"); err != nil {
		t.Skip("there is no runuser")
	}
}

func setting(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// fakeAWS puts a program aws first that answers describe-key, and returns what it was called with.
func fakeAWS(t *testing.T) func() string {
	t.Helper()
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$@\" >>" + calls + "\ncase $2 in describe-key) echo the-key ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, _ := os.ReadFile(calls)
		_ = os.Remove(calls)
		return string(text)
	}
}
