package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyCommands: what rewrap and recover refuse before they touch anything.
func TestKeyCommands(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.key")
	if err := os.WriteFile(empty, []byte("AGE-SECRET-KEY-1CANARY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		exit int
		text string
		args []string
	}{
		{2, "VAULT_KMS_KEY_ID is not set", []string{"rewrap"}},
		{2, "invalid argument", []string{"rewrap", "--rate", "x"}},
		{2, "takes no argument, and was given one argument", []string{"rewrap", "now"}},
		{2, `required flag(s) "identity" not set`, []string{"recover", "a"}},
		{2, "takes NAME, and was given no argument", []string{"recover", "--identity", empty}},
		{1, "no such file", []string{"recover", "a", "--identity", filepath.Join(dir, "none")}},
		{1, "holds no identity of age", []string{"recover", "a", "--identity", empty}},
	} {
		code, stdout, stderr := call(t, nil, c.args...)
		if code != c.exit || stdout != "" || !strings.Contains(stderr, c.text) {
			t.Errorf("%v: exit %d, %q: %s", c.args, code, stdout, stderr)
		}
		noCanary(t, stderr)
	}
}
