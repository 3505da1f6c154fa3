package audit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

const tmpfsChild = "HV_TEST_TMPFS"

// TestSmallFileSystems: on real file systems that have room for less than a segment, or for no further file, records are
// refused while they wait, and taken again as soon as none does, also after a restart.
func TestSmallFileSystems(t *testing.T) {
	if options := os.Getenv(tmpfsChild); options != "" {
		fillAndDrain(t, options)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	for _, options := range []string{"size=1536k", "size=64k", "size=16k", "size=1536k,nr_inodes=5"} {
		t.Run(options, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestSmallFileSystems$", "-test.v")
			cmd.Env = append(os.Environ(), tmpfsChild+"="+options)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "no mount") || err != nil && len(out) == 0 {
				t.Skipf("nothing can be mounted here: %v %s", err, out)
			}
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// fillAndDrain runs in a mount namespace of its own.
func fillAndDrain(t *testing.T, options string) {
	dir := t.TempDir()
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Skipf("no mount: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("no mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	f := &fixture{t: t, c: Config{Dir: dir + "/audit", segmentSize: 64 << 10}, log: &pgtest.Log{}}
	f.c.complete()
	if !strings.Contains(options, "inodes") {
		f.c.segmentSize = 16 << 20
	}
	f.open()
	t.Cleanup(func() { _ = f.Close() })
	for round := range 3 {
		n := 0
		for ; ; n++ {
			if err := f.Record(t.Context(), read(fmt.Sprintf("%d/%0200d", round, n))); err != nil {
				if core.CodeOf(err) != core.Unavailable {
					t.Fatal(err)
				}
				break
			}
			if n > 20000 {
				t.Fatal("the file system is never full")
			}
		}
		if n < 5 {
			t.Fatalf("round %d: only %d records fit", round, n)
		}
		if round == 1 {
			f.reopen()
		}
		if got := len(f.drain()); got != n {
			t.Fatalf("round %d: %d of %d records are there", round, got, n)
		}
		if err := f.Check(t.Context()); err != nil {
			t.Fatalf("round %d: nothing waits, and it is not ready: %v", round, err)
		}
	}
}
