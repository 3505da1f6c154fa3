package clustertest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardVariable makes the test binary be the guardian of the directory it names.
const guardVariable = "HV_CLUSTER_GUARD"

// guard is another process that sweeps the directory when this one is gone, however it went: Patroni starts PostgreSQL in
// a session of its own, where no signal to a group and no Pdeathsig reaches it.
type guard struct {
	cmd  *exec.Cmd
	hold io.WriteCloser // the guardian acts when this end of the pipe is closed
}

func startGuard(dir string) (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &guard{cmd: exec.Command(self)}
	g.cmd.Env = append(os.Environ(), guardVariable+"="+dir)
	g.cmd.Dir = "/"
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if g.hold, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return g, g.cmd.Start()
}

// release has the guardian sweep now, and waits for it.
func (g *guard) release() error { return errors.Join(g.hold.Close(), g.cmd.Wait()) }

// beGuardian returns the exit code of the guardian of dir.
func beGuardian(dir string) int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := errors.Join(sweep(dir), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "guardian:", err)
		return 1
	}
	return 0
}

// sweep ends everything that works below dir, by pid, and frees the shared memory of PostgreSQLs that were killed.
func sweep(dir string) error {
	segments := segmentsBelow(dir)
	gone := await(20*time.Second, func() bool {
		pids := below(dir)
		for _, p := range pids {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		return len(pids) == 0
	})
	for _, s := range segments {
		s.remove()
	}
	if !gone {
		return fmt.Errorf("processes %v below %s do not end", below(dir), dir)
	}
	return nil
}

// segment is the System V shared memory of one PostgreSQL: it outlives a postmaster that was killed.
type segment struct{ id, creator int }

func segmentsBelow(dir string) []segment {
	var all []segment
	files, _ := filepath.Glob(filepath.Join(dir, "*", "data", "postmaster.pid"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		lines := strings.Split(string(b), "\n")
		if len(lines) < 7 {
			continue
		}
		key := strings.Fields(lines[6])
		pid, perr := strconv.Atoi(lines[0])
		if len(key) != 2 || perr != nil {
			continue
		}
		if id, err := strconv.Atoi(key[1]); err == nil {
			all = append(all, segment{id: id, creator: pid})
		}
	}
	return all
}

// remove leaves a segment alone that another program made under the same number, or that is in use.
func (s segment) remove() {
	var d unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(s.id, unix.IPC_STAT, &d); err == nil && int(d.Cpid) == s.creator && d.Nattch == 0 {
		_, _ = unix.SysvShmCtl(s.id, unix.IPC_RMID, nil)
	}
}
