package config_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// TestUnusedKeysAreWiped: a master key that ends in no setting is nowhere. The text of the environment stays, which
// no code can wipe.
func TestUnusedKeysAreWiped(t *testing.T) {
	for name, c := range map[string]struct {
		mode, before, after string
		fails               bool
	}{
		"spelled otherwise": {"local", "\n", "", true},
		"not used":          {"aws", "", "", false},
		"another problem":   {"local", "", "", true},
	} {
		v := residue.New(t, 32)
		key := v.Bytes()
		env := []string{"VAULT_KMS_MODE=" + c.mode, "VAULT_KMS_KEY_ID=alias/a", "VAULT_ALLOWED_IPS=127.0.0.1", "VAULT_AUDIT_DIR=/a",
			"VAULT_LOCAL_MASTER_KEY=" + c.before + base64.StdEncoding.EncodeToString(key) + c.after}
		clear(key)
		if name == "another problem" {
			env = append(env, "VAULT_PG_PORT=x")
		}
		if _, _, err := config.Load(environ(env...)); (err != nil) != c.fails {
			t.Fatalf("%s: %v", name, err)
		}
		v.Want(0, name)
	}
}

// TestFilesAreWiped: what was read of a file is wiped, but for the setting and the text that it was parsed from.
func TestFilesAreWiped(t *testing.T) {
	dir := t.TempDir()
	v := residue.New(t, 64)
	text := v.Bytes()
	file := pki.Write(t, filepath.Join(dir, "password"), text)
	clear(text)
	c, _ := mustLoad(t, with("VAULT_PG_PASSWORD_FILE="+file))
	c.Wipe()
	v.Want(1, "the text of the password")

	pair := pki.NewCA(t).Issue(t, "localhost", time.Now().Add(time.Hour))
	cert, key := pki.Write(t, filepath.Join(dir, "c"), pair.Cert), pki.Write(t, filepath.Join(dir, "k"), pair.Key)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	v = residue.Of(t, bytes.Split(text, []byte("\n"))[1]) // below the BEGIN
	clear(text)
	before := v.Count()
	mustLoad(t, with("VAULT_API_LISTEN=https://127.0.0.1:0", "VAULT_API_TLS_CERT="+cert, "VAULT_API_TLS_KEY="+key))
	v.Want(before, "the key of the certificate")
}
