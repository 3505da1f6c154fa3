package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestWrongMasterKey: a valid master key that is not the one of what is stored is no reason to write.
func TestWrongMasterKey(t *testing.T) {
	db := vaulttest.NewDB(t)
	right := vaulttest.NewServer(t, db)
	right.MustCreate(t, "a", "old")
	right.MustStop(t)

	other := make([]byte, 32)
	_, _ = rand.Read(other)
	wrong := vaulttest.NewServer(t, db, "VAULT_LOCAL_MASTER_KEY="+base64.StdEncoding.EncodeToString(other))
	wants := func(status int, text, method, path string, body any) string {
		t.Helper()
		got, answer := wrong.Do(t, method, path, body)
		if got != status || !strings.Contains(answer, text) {
			t.Errorf("%s %s: %d %s, want %d and %q", method, path, got, answer, status, text)
		}
		return answer
	}
	wants(503, `"key-mismatch"`, http.MethodGet, "/readyz", nil)
	wants(503, "another master key (local:", http.MethodPost, "/v1/secrets", map[string]any{"name": "b", "kind": "manual", "value": "new"})
	wants(503, "another master key", http.MethodGet, "/v1/secrets/a", nil)
	status := wants(200, "key-mismatch", http.MethodGet, "/v1/status", nil)
	if strings.Count(status, "local:") != 2 {
		t.Errorf("the status names not both keys: %s", status)
	}
	wants(200, `hyperion_vault_condition{condition="key-mismatch",severity="unavailable"} 1`, http.MethodGet, "/metrics", nil)
	// The harness preloads nothing.
	wants(200, "append hyperion_vault to shared_preload_libraries", http.MethodGet, "/v1/status", nil)
	conn := db.MustConnect(t, vaulttest.Superuser)
	if _, err := conn.Exec(context.Background(), "SELECT vault.create_secret('c', 'new')"); err == nil || !strings.Contains(err.Error(), "key-mismatch") {
		t.Errorf("by SQL: %v", err)
	}
	wrong.MustStop(t)

	again := vaulttest.NewServer(t, db)
	if v := again.MustRead(t, "a"); v != "old" {
		t.Errorf("%q", v)
	}
	again.MustCreate(t, "b", "new")
}
