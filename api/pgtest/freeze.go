package pgtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// MustFreeze stops every process of the server: its sockets stay open and nothing answers, as on a machine that hangs.
// What it returns wakes them, as does the end of the test.
func (c *Cluster) MustFreeze(t testing.TB) (thaw func()) {
	t.Helper()
	all := []int{c.PID()}
	if err := syscall.Kill(c.PID(), syscall.SIGSTOP); err != nil { // first, so that there are no new ones
		t.Fatal(err)
	}
	for _, pid := range children(t, c.PID()) {
		if syscall.Kill(pid, syscall.SIGSTOP) == nil {
			all = append(all, pid)
		}
	}
	thaw = sync.OnceFunc(func() {
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	t.Cleanup(thaw)
	return thaw
}

func children(t testing.TB, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(text), ") ") // behind the name, which may be anything
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
