package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// diskChild is set in the process that has mounts of its own.
const diskChild = "HV_TEST_DISK"

// TestReallyFullDisk runs itself in a mount namespace of its own, where the server's data is on a small disk.
func TestReallyFullDisk(t *testing.T) { onOwnMounts(t, fillDisk) }

// TestReallyFullLog is the same for the write-ahead log alone.
func TestReallyFullLog(t *testing.T) { onOwnMounts(t, fillLog) }

func onOwnMounts(t *testing.T, test func(*testing.T)) {
	if os.Getenv(diskChild) != "" {
		test(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system, as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
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

// logOnSmallDisk moves the write-ahead log to a file system of 64 MB.
func (s *server) logOnSmallDisk() (wal string) {
	s.t.Helper()
	s.stop()
	wal = filepath.Join(s.data, "pg_wal")
	copied := filepath.Join(s.dir, "wal")
	must(s.t, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	s.MustRun(s.t, "cp", "-a", wal, copied)
	must(s.t, syscall.Mount("tmpfs", wal, "tmpfs", 0, fmt.Sprintf("size=64m,mode=0700,uid=%d", s.UID())))
	s.t.Cleanup(func() { must(s.t, syscall.Unmount(wal, syscall.MNT_DETACH)) })
	s.MustRun(s.t, "cp", "-a", copied+"/.", wal)
	s.restart()
	return wal
}

// leaveInSegment fills the current segment of the log, except for so many bytes: some hundred changes in place of thousands.
func (s *server) leaveInSegment(bytes int) {
	s.t.Helper()
	s.sql("app", fmt.Sprintf(`SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 16 << 20 - %d - file_offset))
		FROM pg_walfile_name_offset(pg_current_wal_insert_lsn()) WHERE file_offset < 16 << 20 - %[1]d`, bytes))
}

// fillLog: a server that cannot write its log stops. Each change until then, and each one after it, says that the database
// is away, and why. When there is space and the server is started again, changes go on and none is lost.
func fillLog(t *testing.T) {
	s := newServer(t)
	ballast := filepath.Join(s.logOnSmallDisk(), "ballast")
	d := s.open()
	must(t, d.CheckWriter(t.Context()))
	s.leaveInSegment(1 << 20)
	if err := os.WriteFile(ballast, make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	made, refused := 0, 0
	for i := 0; refused < 5 && i < 40000; i++ { // the segment that there is has space for some
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := only(d.CreateSecret(ctx, newSecret(fmt.Sprintf("fill/%d", i)), origin("x")))
		cancel()
		if err == nil && refused == 0 {
			made++
			continue
		}
		refused++
		if core.CodeOf(err) != core.Unavailable || core.MessageOf(err) == "" {
			t.Errorf("change %d is answered %v", i, err)
		}
		t.Logf("change %d is answered %q", i, core.MessageOf(err))
	}
	if made == 0 || refused < 5 {
		t.Fatalf("%d changes were made and %d refused", made, refused)
	}
	if err := d.CheckWriter(t.Context()); core.CodeOf(err) != core.Unavailable {
		t.Errorf("readiness says %v", err)
	}
	must(t, os.Remove(ballast))
	s.stop()
	s.restart()
	s.eventually("it is ready again", func() bool { return d.CheckWriter(t.Context()) == nil })
	must(t, only(d.CreateSecret(t.Context(), newSecret("after"), origin("x"))))
	for _, i := range []int{0, made - 1} {
		if v := s.version(d, fmt.Sprintf("fill/%d", i)); v != 1 {
			t.Errorf("version %d is read of what was acknowledged", v)
		}
	}
}
