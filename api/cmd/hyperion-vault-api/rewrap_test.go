package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// keyService is a fake KMS, and what a server and the commands need to be told about it.
type keyService struct {
	*kmstest.Server
	db  *vaulttest.DB
	env []string // of the SDK, for the commands
}

func startKeyService(t *testing.T) *keyService {
	t.Helper()
	s, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	k := &keyService{Server: s, db: vaulttest.NewDB(t)}
	for name, value := range s.Environ() {
		t.Setenv(name, value)
		k.env = append(k.env, name+"="+value)
	}
	return k
}

func (k *keyService) settings(key string, more ...string) []string {
	return append(more, "VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID="+key)
}

// create makes n secrets under key.
func (k *keyService) create(t *testing.T, key, prefix string, n int, more ...string) {
	t.Helper()
	s := vaulttest.NewServer(t, k.db, k.settings(key, more...)...)
	for i := range n {
		if status, body := do(t, "POST", s.URL+"/v1/secrets", s.AdminToken, fmt.Sprintf(`{"name":"%s/%d","value":"CANARY-%d"}`, prefix, i, i)); status != 201 {
			t.Fatalf("%d %s", status, body)
		}
	}
	s.MustStop(t)
}

// TestRewrapCommand moves keys, says how many, and fails when one could not be moved.
func TestRewrapCommand(t *testing.T) {
	k := startKeyService(t)
	old, next, lost := k.CreateKey(), k.CreateKey(), k.CreateKey()
	k.create(t, old, "app", 5)
	rewrap := func(code int, out, errOut string) {
		t.Helper()
		got, stdout, stderr := call(t, append(k.db.Environ(t, k.settings(next)...), k.env...), "rewrap", "--rate", "1000")
		if got != code || stdout != out || !strings.Contains(stderr, errOut) {
			t.Errorf("exit %d\n%s\n%s", got, stdout, stderr)
		}
		noCanary(t, stdout+stderr)
	}
	rewrap(0, fmt.Sprintf("done: 5 moved, 0 skipped, 0 failed of 5, 0 remaining; key %s\n", next), "")
	rewrap(0, fmt.Sprintf("done: 0 moved, 0 skipped, 0 failed of 0, 0 remaining; key %s\n", next), "")
	k.SetState(old, kmstest.PendingDeletion)
	s := vaulttest.NewServer(t, k.db, k.settings(next)...)
	if status, body := do(t, "GET", s.URL+"/v1/secrets/app/3", "", ""); status != 200 || !strings.Contains(body, "CANARY-3") {
		t.Errorf("%d %s", status, body)
	}
	s.MustStop(t)
	k.create(t, lost, "lost", 1)
	k.SetState(lost, kmstest.Disabled)
	rewrap(1, fmt.Sprintf("failed: 0 moved, 0 skipped, 1 failed of 1, 1 remaining; key %s\n", next), "the last that failed: lost/0, version 1: the master key cannot be used now")
	conn := k.db.MustConnect(t, vaulttest.Superuser)
	var ok, failed, runs int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE outcome = 'ok' AND secret_name LIKE 'app/%'), count(*) FILTER (WHERE outcome = 'failed'),
		count(*) FILTER (WHERE secret_name IS NULL OR secret_name = '') FROM vault.audit_log WHERE action = 'rewrap' AND actor LIKE 'cli:%'`).Scan(&ok, &failed, &runs); err != nil || ok != 5 || failed != 1 || runs != 3 {
		t.Errorf("%d moved, %d failed, %d runs on record, %v", ok, failed, runs, err)
	}
}

// TestRecoverCommand prints the value as it is, and nothing else, without a key service.
func TestRecoverCommand(t *testing.T) {
	k := startKeyService(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	k.create(t, k.CreateKey(), "app", 2, "VAULT_RECOVERY_RECIPIENT="+id.Recipient().String())
	k.Stop()
	file := filepath.Join(t.TempDir(), "recovery.key")
	if err := os.WriteFile(file, []byte("# public key: "+id.Recipient().String()+"\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"VAULT_PG_HOSTS=" + k.db.Cluster.Dir(), "VAULT_PG_DBNAME=" + k.db.Name}
	for _, args := range [][]string{{"app/1"}, {"app/1", "--version", "1"}} {
		code, stdout, stderr := call(t, env, append([]string{"recover", "--identity", file}, args...)...)
		if code != 0 || stdout != "CANARY-1" || stderr != "" {
			t.Errorf("%v: exit %d, %q, %s", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := call(t, env, "recover", "--identity", file, "app/none")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "error: ") {
		t.Errorf("exit %d, %q, %s", code, stdout, stderr)
	}
}
