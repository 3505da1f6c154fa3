package nodecheck_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestJournal(t *testing.T) {
	needRoot(t)
	n := start(t, vaulttest.NewDB(t))
	n.options.ServiceUser = "nobody"
	find := func(dir string) []nodecheck.Finding {
		t.Helper()
		return slices.DeleteFunc(n.check("VAULT_AUDIT_DIR="+dir).Findings, func(f nodecheck.Finding) bool { return !strings.Contains(f.What, "journal") })
	}
	top, err := os.MkdirTemp("/tmp", "hvj")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "the journal's")
	fixed := func(what string) {
		t.Helper()
		f := find(dir)
		if len(f) != 1 || !strings.Contains(f[0].What, what) {
			t.Fatalf("found %q, want %q", f, what)
		}
		n.run(f[0].Fix...)
		if f := find(dir); len(f) != 0 {
			t.Errorf("afterwards: %q", f)
		}
	}
	fixed("does not exist")
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	fixed("user nobody cannot write")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fixed("its mode is 0755")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	fixed("is a file")
}

func TestFullJournal(t *testing.T) {
	needRoot(t)
	n := start(t, vaulttest.NewDB(t))
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Skipf("needs a small file system of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	r := n.check("VAULT_AUDIT_DIR=" + dir)
	if !slices.ContainsFunc(r.Findings, func(f nodecheck.Finding) bool { return strings.Contains(f.What, "is full") }) {
		t.Errorf("%q", r.Findings)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r = n.check("VAULT_AUDIT_DIR=" + dir)
	at := slices.IndexFunc(r.Findings, func(f nodecheck.Finding) bool { return strings.Contains(f.What, "read-only") })
	if at < 0 {
		t.Fatalf("%q", r.Findings)
	}
	n.run(r.Findings[at].Fix...)
	if f, err := os.Create(filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
}
