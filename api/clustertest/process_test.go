package clustertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a started program with its output in a file.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // why, once exited is closed
}

// program says what to start.
type program struct {
	name string
	dir  string // its working directory, below the cluster's directory: that is how the guardian knows it
	env  []string
	argv []string
	log  string
	cred *syscall.Credential
}

// start runs p until it ends by itself, is signalled, or this process dies.
func (p program) start() (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	q := &process{name: p.name, cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go q.attend(started)
	return q, <-started
}

// attend starts the program and stays with it: the kernel sends Pdeathsig when the thread that started it ends, so the
// goroutine keeps its thread.
func (p *process) attend(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.exited)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// signal does nothing to a process that has ended.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// stop signals and waits until the process has ended.
func (p *process) stop(s syscall.Signal, bound time.Duration) error {
	if err := p.signal(s); err != nil {
		return err
	}
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-p.exited:
		return nil
	case <-t.C:
		return fmt.Errorf("%s did not end within %s", p.name, bound)
	}
}

// stat is what /proc knows of a process.
type stat struct {
	pid, parent int
	state       byte
}

// processes returns all there are.
func processes() []stat {
	entries, _ := os.ReadDir("/proc")
	var all []stat
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name is in brackets and may hold anything.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		parent, _ := strconv.Atoi(f[1])
		all = append(all, stat{pid: pid, parent: parent, state: f[0][0]})
	}
	return all
}

// family returns pid and its children, which is all that a PostgreSQL consists of.
func family(pid int) []int {
	pids := []int{pid}
	for _, p := range processes() {
		if p.parent == pid && p.state != 'Z' {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// freeze stops pid and its children, those as well that it starts meanwhile.
func freeze(pid int) (frozen []int, err error) {
	for {
		fresh := 0
		for _, p := range family(pid) {
			if slices.Contains(frozen, p) {
				continue
			}
			if err := unix.Kill(p, unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
				return frozen, err
			}
			frozen, fresh = append(frozen, p), fresh+1
		}
		if fresh == 0 {
			return frozen, nil
		}
	}
}

// killFamily ends pid and its children, and returns when they are dead. They are stopped first: a child that is started
// meanwhile would be missed, and could still answer.
func killFamily(pid int) error {
	pids, err := freeze(pid)
	if err != nil {
		return err
	}
	for _, p := range pids {
		if err := unix.Kill(p, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return awaitStates(pids, "ZX")
}

// awaitStates returns when each of pids is in one of the states that /proc calls so, or is gone.
func awaitStates(pids []int, states string) error {
	var other []stat
	if await(10*time.Second, func() bool {
		other = slices.DeleteFunc(processes(), func(p stat) bool {
			return !slices.Contains(pids, p.pid) || strings.IndexByte(states, p.state) >= 0
		})
		return len(other) == 0
	}) {
		return nil
	}
	return fmt.Errorf("processes are not in state %s: %v", states, other)
}

func thaw(pids []int) {
	for _, p := range pids {
		_ = unix.Kill(p, unix.SIGCONT) // ESRCH: it was killed meanwhile
	}
}

// below returns the processes that work in dir or a directory below it.
func below(dir string) []int {
	var pids []int
	for _, p := range processes() {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid))
		if err == nil && p.state != 'Z' && p.pid != os.Getpid() && (cwd == dir || strings.HasPrefix(cwd, dir+"/")) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// await polls until ok, and returns whether that came within the bound.
func await(bound time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(bound)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		if ok() {
			tick.Stop()
			return true
		}
		if time.Now().After(deadline) {
			tick.Stop()
			return false
		}
	}
}
