package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

// TestImportOverTLS: an import trusts whom the other commands trust, and an address without TLS needs the same permission.
func TestImportOverTLS(t *testing.T) {
	dir, ca := t.TempDir(), pki.NewCA(t)
	pair := ca.Issue(t, "server", time.Now().Add(time.Hour))
	s := vaulttest.NewServer(t, vaulttest.NewDB(t), "VAULT_API_LISTEN=http://127.0.0.1:0,https://127.0.0.1:0",
		"VAULT_API_TLS_CERT="+pki.Write(t, filepath.Join(dir, "cert"), pair.Cert), "VAULT_API_TLS_KEY="+pki.Write(t, filepath.Join(dir, "key"), pair.Key))
	file := filepath.Join(dir, "file.json")
	if err := os.WriteFile(file, []byte(`{"a":{"k":"canary"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	secured := &clienttest.Server{URL: regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(s.Log()), Token: s.AdminToken}
	run := func(at *clienttest.Server, code int, want string, env ...string) {
		t.Helper()
		c := command(t, at, "import", "--from", "json", file)
		c.Env = append(c.Env, env...)
		out, _ := c.CombinedOutput()
		if c.ProcessState.ExitCode() != code || !strings.Contains(string(out), want) || strings.Contains(string(out), "canary") {
			t.Errorf("exit %d, want %d and %q:\n%s", c.ProcessState.ExitCode(), code, want, out)
		}
	}
	run(secured, exitFailed, "signed by unknown authority")
	run(secured, exitFailed, "other.example.net", "VAULT_CACERT="+pki.Write(t, filepath.Join(dir, "ca"), ca.PEM), "VAULT_TLS_SERVER_NAME=other.example.net")
	run(secured, 0, "imported: 1 ", "VAULT_CACERT="+filepath.Join(dir, "ca"))
	run(secured, exitUsage, "VAULT_CACERT", "VAULT_CACERT=/none")
	run(&clienttest.Server{URL: "http://vault.invalid", Token: s.AdminToken}, exitUsage, "in the clear")
	run(&clienttest.Server{URL: "http://vault.invalid", Token: s.AdminToken}, exitFailed, "cannot be reached", "VAULT_PLAIN_HTTP=true")
}
