package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// diskChild is set in the process that has mounts of its own.
const diskChild = "HV_TEST_DISK"

// TestReallyFullDisk runs itself in a mount namespace of its own, where the server's data is on a small disk.
func TestReallyFullDisk(t *testing.T) {
	if os.Getenv(diskChild) != "" {
		fillDisk(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system, as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReallyFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), diskChild+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("no mounts here: ", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// onSmallDisk moves the server's data to a file system of 128 MB.
func (s *server) onSmallDisk() (disk string) {
	s.t.Helper()
	s.stop()
	disk = filepath.Join(s.dir, "disk")
	must(s.t, os.Mkdir(disk, 0o755))
	must(s.t, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(s.t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128m,mode=0777"))
	s.t.Cleanup(func() { must(s.t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	s.MustRun(s.t, "cp", "-a", s.data, disk)
	must(s.t, os.RemoveAll(s.data))
	must(s.t, os.Symlink(filepath.Join(disk, "data"), s.data))
	s.restart()
	s.t.Cleanup(s.stop)
	return disk
}

// fillDisk: the first change that a full disk refuses says so, as does readiness. Reads go on, and so do changes when
// there is space again.
func fillDisk(t *testing.T) {
	s := newServer(t)
	ballast := filepath.Join(s.onSmallDisk(), "ballast")
	d := s.open()
	must(t, d.CheckWriter(t.Context()))
	must(t, only(d.CreateSecret(t.Context(), newSecret("kept"), origin("x"))))
	if err := os.WriteFile(ballast, make([]byte, 128<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	var err error
	for i := 0; err == nil && i < 5000; i++ { // the pages that there are have room for some
		err = only(d.CreateSecret(t.Context(), newSecret(fmt.Sprintf("fill/%d", i)), origin("x")))
	}
	if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "disk is full") {
		t.Fatalf("a change is answered %v", err)
	}
	if err := d.CheckWriter(t.Context()); core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "disk is full") || !s.holds(d, vault.ConditionChangesFail) {
		t.Errorf("readiness says %v", err)
	}
	if v := s.version(d, "kept"); v != 1 {
		t.Errorf("version %d is read", v)
	}
	must(t, os.Remove(ballast))
	s.eventually("it is ready again", func() bool { return d.CheckWriter(t.Context()) == nil })
	must(t, only(d.CreateSecret(t.Context(), newSecret("after"), origin("x"))))
	if s.holds(d, vault.ConditionChangesFail) {
		t.Error("the condition has not ended")
	}
}
