package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func newMasterKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// reading reads every secret by REST and by SQL, over and over, until stop, which reports how often.
func reading(t *testing.T, s *vaulttest.Server, db *vaulttest.DB, names []string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := db.MustConnect(t, vaulttest.Superuser)
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for ctx.Err() == nil {
			for _, name := range names {
				if status, body, err := request(http.MethodGet, s.URL+"/v1/secrets/"+name, "", ""); err != nil || status != 200 || !strings.Contains(body, "value of "+name) {
					t.Errorf("%s by REST: %d %s %v", name, status, body, err)
				}
				var v string
				if err := conn.QueryRow(t.Context(), "SELECT vault.read_secret($1)", name).Scan(&v); err != nil || v != "value of "+name {
					t.Errorf("%s by SQL: %q %v", name, v, err)
				}
				n++
			}
		}
	}()
	return func() int { cancel(); return <-done }
}

// TestMoveToKMS is the way of docs/KMS.md from local mode to AWS KMS, with a run that is killed in the middle.
func TestMoveToKMS(t *testing.T) {
	k := startKeyService(t)
	key := k.CreateKey()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recovery := "VAULT_RECOVERY_RECIPIENT=" + id.Recipient().String()
	var names []string
	before := vaulttest.NewServer(t, k.db, recovery)
	for i := range 40 {
		names = append(names, fmt.Sprintf("app/%d", i))
		before.MustCreate(t, names[i], "value of "+names[i])
	}
	master := before.Env[slices.IndexFunc(before.Env, func(e string) bool { return strings.HasPrefix(e, "VAULT_LOCAL_MASTER_KEY=") })]
	file := filepath.Join(t.TempDir(), "old.key")
	if err := os.WriteFile(file, []byte(strings.TrimPrefix(master, "VAULT_LOCAL_MASTER_KEY=")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before.MustStop(t)

	both := k.settings(key, "VAULT_OLD_LOCAL_MASTER_KEY_FILE="+file, recovery)
	// A node that has yet to change reads what one that has changed writes.
	waiting := vaulttest.NewServer(t, k.db, "VAULT_OLD_KMS_KEY_ID="+key, recovery)
	during := vaulttest.NewServer(t, k.db, both...)
	if status, body := during.Do(t, "GET", "/readyz", nil); status != 200 || strings.Contains(body, "key-") {
		t.Errorf("%d %s", status, body)
	}
	during.MustCreate(t, "app/new", "value of app/new")
	names = append(names, "app/new")
	waiting.MustCreate(t, "app/newer", "value of app/newer")
	names = append(names, "app/newer")
	if v := waiting.MustRead(t, "app/new"); v != "value of app/new" {
		t.Errorf("%q", v)
	}
	waiting.MustStop(t)
	stop := reading(t, during, k.db, names)

	env := append(k.db.Environ(t, both...), k.env...)
	killed := launch(t, env, "rewrap", "--rate", "10")
	k.db.Await(t, "some are moved", "SELECT count(*) > 5 FROM vault.secret_versions WHERE kms_key_id = $1", key)
	killed.signal(t, syscall.SIGKILL)
	<-killed.exited
	var left int
	conn := k.db.MustConnect(t, vaulttest.Superuser)
	const old = "SELECT count(*) FROM vault.secret_versions WHERE kms_key_id LIKE 'local:%'"
	if err := conn.QueryRow(t.Context(), old).Scan(&left); err != nil || left == 0 {
		t.Fatalf("%d are left after the kill, %v: the test proves nothing", left, err)
	}
	code, out, errOut := call(t, env, "rewrap", "--rate", "1000")
	if want := fmt.Sprintf("done: %d moved, 0 skipped, 0 failed of %d, 0 remaining; key %s\n", left, left, key); code != 0 || out != want {
		t.Errorf("exit %d, %s, want %s\n%s", code, out, want, errOut)
	}
	if n := stop(); n == 0 {
		t.Error("nothing was read meanwhile")
	}
	during.MustStop(t)
	after := vaulttest.NewServer(t, k.db, k.settings(key)...)
	stop = reading(t, after, k.db, names)
	after.MustCreate(t, "later", "v")
	if stop() == 0 {
		t.Error("nothing was read afterwards")
	}
	after.MustStop(t)
	k.Stop()
	identity := filepath.Join(t.TempDir(), "recovery.key")
	if err := os.WriteFile(identity, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := call(t, k.db.Environ(t), "recover", "--identity", identity, "app/3"); code != 0 || out != "value of app/3" {
		t.Errorf("recovery after the move: %d %q %s", code, out, errOut)
	}
}

// TestMoveBetween is every other direction, by REST; the KMS of the old key is another one than that of the new.
func TestMoveBetween(t *testing.T) {
	k := startKeyService(t)
	elsewhere, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	first, second := newMasterKey(), newMasterKey()
	a, b := elsewhere.CreateKey(), k.CreateKey()
	t.Setenv("AWS_ENDPOINT_URL_KMS", elsewhere.URL())
	k.create(t, a, "remote", 1)
	t.Setenv("AWS_ENDPOINT_URL_KMS", k.URL())
	move := func(from string, settings ...string) {
		t.Helper()
		s := vaulttest.NewServer(t, k.db, settings...)
		defer s.MustStop(t)
		if v := s.MustRead(t, "remote/0"); v != "CANARY-0" {
			t.Errorf("%q", v)
		}
		if status, body := s.Do(t, "POST", "/v1/admin/rewrap", `{"rate":1000}`); status != 202 {
			t.Fatalf("%d %s", status, body)
		}
		k.db.Await(t, "the rows are moved", "SELECT count(DISTINCT kms_key_id) = 1 AND count(*) = count(*) FILTER (WHERE kms_key_id <> $1) FROM vault.secret_versions", from)
		if v := s.MustRead(t, "remote/0"); v != "CANARY-0" {
			t.Errorf("%q", v)
		}
	}
	keyID := func() (id string) {
		t.Helper()
		if err := k.db.MustConnect(t, vaulttest.Superuser).QueryRow(t.Context(), "SELECT kms_key_id FROM vault.secret_versions").Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	move(keyID(), "VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID="+b, "VAULT_OLD_KMS_KEY_ID="+a, "VAULT_OLD_KMS_ENDPOINT="+elsewhere.URL())
	if keyID() != b {
		t.Errorf("under %s", keyID())
	}
	move(keyID(), "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+first, "VAULT_OLD_KMS_KEY_ID="+b)
	move(keyID(), "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+second, "VAULT_OLD_LOCAL_MASTER_KEY="+first)
	move(keyID(), "VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID="+b, "VAULT_OLD_LOCAL_MASTER_KEY="+second, "VAULT_OLD_KMS_KEY_ID="+a)
	last := vaulttest.NewServer(t, k.db, k.settings(b)...)
	if v := last.MustRead(t, "remote/0"); v != "CANARY-0" {
		t.Errorf("%q", v)
	}
}

// TestMoveWithAWrongOldKey moves nothing, says so, and names what is left.
func TestMoveWithAWrongOldKey(t *testing.T) {
	k := startKeyService(t)
	s := vaulttest.NewServer(t, k.db)
	s.MustCreate(t, "a", "CANARY-a")
	s.MustStop(t)
	env := append(k.db.Environ(t, k.settings(k.CreateKey(), "VAULT_OLD_LOCAL_MASTER_KEY="+newMasterKey())...), k.env...)
	code, out, errOut := call(t, env, "rewrap", "--rate", "1000")
	if code != 1 || !strings.HasPrefix(out, "failed: 0 moved, 0 skipped, 1 failed of 1, 1 remaining") || !strings.Contains(errOut, `1 remain under "local:`) {
		t.Errorf("exit %d, %s\n%s", code, out, errOut)
	}
	again := vaulttest.NewServer(t, k.db)
	if v := again.MustRead(t, "a"); v != "CANARY-a" {
		t.Errorf("%q", v)
	}
}
