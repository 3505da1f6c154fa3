package nodecheck_test

import (
	"encoding/base64"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// TestMasterKeyIsWiped: a check leaves no copy of the master key behind. The text of the environment stays, which no code
// can wipe.
func TestMasterKeyIsWiped(t *testing.T) {
	v := residue.New(t, 32)
	key := v.Bytes()
	env := []string{"VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY=" + base64.StdEncoding.EncodeToString(key), "VAULT_PG_HOSTS=" + t.TempDir(),
		"VAULT_PG_PASSWORD=x", "VAULT_ALLOWED_IPS=127.0.0.1", "VAULT_AUDIT_DIR=" + t.TempDir()}
	clear(key)
	r := nodecheck.Run(t.Context(), func() []string { return env }, nodecheck.Options{})
	if len(r.Findings) == 0 {
		t.Error("a node without a database has no finding")
	}
	v.Want(0, "after the check")
}
