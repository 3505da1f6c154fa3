package outagetest

import (
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestKeyLost: the KMS key is gone for good, and the recovery key reads what was written by REST and by SQL.
func TestKeyLost(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=0")
	b.want("POST", "/v1/secrets", `{"name":"before","value":"v0"}`, 201)
	b.api.MustStop(t)
	b.api = b.serve("VAULT_DEK_CACHE_TTL_SECS=0", "VAULT_RECOVERY_RECIPIENT="+id.Recipient().String())
	b.want("POST", "/v1/secrets", `{"name":"rest","value":"v1","grace_period_secs":3600}`, 201)
	b.want("PUT", "/v1/secrets/rest", `{"value":"v2"}`, 200)
	b.db.MustExec(t, "SELECT vault.create_secret('sql', 'v3')")
	for name, value := range map[string]string{"before": "v0", "rest": "v2", "sql": "v3"} {
		if a := b.want("GET", "/v1/secrets/"+name, "", 200); a.body["value"] != value {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	b.kms.SetState(b.key, kmstest.PendingDeletion)
	b.want("GET", "/v1/secrets/rest", "", 503)
	b.api.MustStop(t)
	b.kms.Stop()

	read := func(id *age.X25519Identity, name string, version uint64) (string, error) {
		t.Helper()
		cfg, _, err := config.LoadStore(func() []string { return b.api.Env })
		if err != nil {
			t.Fatal(err)
		}
		door, end, err := service.OpenRecovery(t.Context(), cfg, []byte(id.String()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = end() }()
		v, err := door.Recover(t.Context(), vault.Operator{Name: "root"}, name, version)
		defer v.Wipe()
		return string(v.Plain), err
	}
	for _, want := range []struct {
		name    string
		version uint64
		value   string
	}{{"rest", 0, "v2"}, {"rest", 1, "v1"}, {"sql", 0, "v3"}} {
		if got, err := read(id, want.name, want.version); err != nil || got != want.value {
			t.Errorf("%s: %q, %v", want.name, got, err)
		}
	}
	if _, err := read(id, "before", 0); core.CodeOf(err) != core.Invalid {
		t.Errorf("a version from before: %v", err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(other, "rest", 0); core.CodeOf(err) != core.Unavailable {
		t.Errorf("another key: %v", err)
	}
	got := b.column("SELECT outcome FROM vault.audit_log WHERE actor = 'cli:root' AND action = 'read' ORDER BY id")
	if len(got) != 5 || got[0] != "ok" || got[3] != "failed" || got[4] != "failed" {
		t.Errorf("recorded %v", got)
	}
	// Moved to another row, the wrapped key opens nothing.
	b.db.MustExec(t, `UPDATE vault.secret_versions v SET wrapped_dek = o.wrapped_dek FROM vault.secret_versions o JOIN vault.secrets s ON s.id = o.secret_id
		WHERE s.name = 'sql' AND v.secret_id = (SELECT id FROM vault.secrets WHERE name = 'rest')`)
	if _, err := read(id, "rest", 0); core.CodeOf(err) != core.Corrupt {
		t.Errorf("a moved key: %v", err)
	}
}
