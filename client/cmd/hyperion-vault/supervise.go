package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/client"
)

const (
	connectLimit = 10 * time.Second
	// settle is how long after a change others are waited for, so that several of one transaction start the program once.
	settle = 100 * time.Millisecond
	// outputLimit is how long the output of processes that outlive the program is still masked and passed on.
	outputLimit = 2 * time.Second
	reread      = 5 * time.Second // after a read that failed
)

// supervisor runs a program and stays with it.
type supervisor struct {
	p         *program
	cl        *client.Client
	o         *execOptions
	all       []source
	path      string
	args      []string
	signal    syscall.Signal // 0 = start again
	killAfter time.Duration

	texts [][]byte
	files *secretFiles
	child *exec.Cmd
	lost  chan error // that changes can no longer be followed
	ended chan error // of the child
}

func (p *program) supervise(ctx context.Context, cl *client.Client, o *execOptions, all []source, path string, args []string) error {
	// The kernel ends the child when the thread that started it ends, and this one stays.
	runtime.LockOSThread()
	secs, err := seconds("kill-after", o.killAfter)
	if err != nil {
		return err
	}
	s := &supervisor{p: p, cl: cl, o: o, all: all, path: path, args: args, killAfter: time.Duration(secs) * time.Second}
	if o.signal != "" {
		if s.signal = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(o.signal), "SIG")); s.signal == 0 {
			return usagef("--signal is the name of a signal, as in HUP")
		}
	}
	if s.files, err = newSecretFiles(p, all); err != nil {
		return err
	}
	defer s.files.remove()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	defer signal.Stop(signals)
	// From here on a signal is the child's, and not the end of this process.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	changed := make(chan struct{}, 1)
	if o.watch {
		if err := s.follow(ctx, changed); err != nil {
			return err
		}
	}
	if s.texts, err = readSources(ctx, cl, all); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	return s.loop(ctx, signals, changed)
}

// follow starts to follow the events, and returns when no change can be missed any longer.
func (s *supervisor) follow(ctx context.Context, changed chan struct{}) error {
	names := map[string]bool{}
	for _, src := range s.all {
		names[src.path] = src.path != ""
	}
	open := make(chan struct{}, 1)
	s.lost = make(chan error, 1)
	o := client.WatchOptions{Prefix: commonPrefix(s.all), OnConnect: func(string) { notify(open) }}
	go func() {
		for e, err := range s.cl.Watch(ctx, o) {
			if err != nil {
				s.lost <- err
				return
			}
			if e.Reset || names[e.Name] {
				notify(changed)
			}
		}
	}()
	select {
	case <-open:
		return nil
	case err := <-s.lost:
		return err
	case <-time.After(connectLimit):
		return failuref("the stream of changes cannot be opened; without --watch the program can be run once the vault answers")
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// commonPrefix returns a prefix, of whole segments, that selects every secret.
func commonPrefix(all []source) string {
	common, first := "", true
	for _, s := range all {
		if s.path == "" {
			continue
		}
		if first {
			common, first = s.path, false
			continue
		}
		for common != "" && s.path != common && !strings.HasPrefix(s.path, common+"/") {
			common = common[:max(strings.LastIndexByte(common, '/'), 0)]
		}
	}
	return common
}

// start runs the program with the present texts.
func (s *supervisor) start() error {
	if err := s.files.write(s.all, s.texts); err != nil {
		return failure{err}
	}
	c := exec.Command(s.path, s.args[1:]...)
	c.Args = s.args
	c.Env = s.p.childEnviron(s.all, s.texts, s.files.paths, s.o.keep)
	c.Stdin = s.p.in
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	c.WaitDelay = outputLimit
	var masks []*masker
	c.Stdout, masks = s.output(s.p.out, masks)
	c.Stderr, masks = s.output(s.p.errOut, masks)
	if err := c.Start(); err != nil {
		return failuref("%s cannot be run: %w", s.args[0], err)
	}
	s.child, s.ended = c, make(chan error, 1)
	go func(c *exec.Cmd, ended chan<- error) {
		err := c.Wait()
		for _, m := range masks {
			_ = m.flush()
		}
		ended <- err
	}(c, s.ended)
	return nil
}

func (s *supervisor) output(to io.Writer, masks []*masker) (io.Writer, []*masker) {
	if !s.o.mask {
		return to, masks
	}
	var secrets [][]byte
	for i, src := range s.all {
		if src.path != "" {
			secrets = append(secrets, s.texts[i])
		}
	}
	m := newMasker(to, secrets)
	return m, append(masks, m)
}

// loop passes signals on and handles changes until the program ends.
func (s *supervisor) loop(ctx context.Context, signals <-chan os.Signal, changed <-chan struct{}) error {
	var due <-chan time.Time
	for {
		select {
		case err := <-s.ended:
			return exitOf(err)
		case sig := <-signals:
			s.pass(sig)
		case err := <-s.lost:
			s.note("changes can no longer be followed, and the program goes on with what it has: " + err.Error())
		case <-changed:
			if due == nil {
				due = time.After(settle)
			}
		case <-due:
			due = nil
			if again, err := s.refresh(ctx, signals); err != nil {
				return err
			} else if again {
				due = time.After(reread)
			}
		}
	}
}

// pass sends a signal to the program. From a terminal it has got these two already.
func (s *supervisor) pass(sig os.Signal) {
	if (sig == unix.SIGINT || sig == unix.SIGQUIT) && isTerminal(s.p.in) {
		return
	}
	_ = s.child.Process.Signal(sig)
}

// refresh reads the secrets again and applies what has changed. again: they could not be read now.
func (s *supervisor) refresh(ctx context.Context, signals <-chan os.Signal) (again bool, err error) {
	limited, cancel := context.WithTimeout(ctx, reread)
	defer cancel()
	texts, err := readSources(limited, s.cl, s.all)
	if err != nil {
		s.note("a changed secret cannot be read, and the program goes on with the old one: " + err.Error())
		code := client.CodeOf(err)
		return code == client.Unavailable || code == client.Unreachable || code == client.TooMany, nil
	}
	same := true
	for i := range texts {
		same = same && bytes.Equal(texts[i], s.texts[i])
	}
	if same {
		return false, nil
	}
	for _, old := range s.texts {
		clear(old)
	}
	s.texts = texts
	if s.signal != 0 {
		if err := s.files.write(s.all, s.texts); err != nil {
			return false, failure{err}
		}
		s.note("a secret has changed; sending " + unix.SignalName(s.signal))
		return false, failed(ignoreDone(s.child.Process.Signal(s.signal)))
	}
	s.note("a secret has changed; starting the program again")
	if err := s.stop(signals); err != nil {
		return false, err
	}
	return false, s.start()
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// stop ends the program, in the end by force. A signal that comes meanwhile ends the supervisor as well.
func (s *supervisor) stop(signals <-chan os.Signal) error {
	_ = s.child.Process.Signal(unix.SIGTERM)
	force := time.After(s.killAfter)
	var wanted os.Signal
	for {
		select {
		case err := <-s.ended:
			if wanted != nil {
				return exitOf(err)
			}
			return nil
		case <-force:
			_ = s.child.Process.Kill()
		case sig := <-signals:
			if sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGQUIT {
				wanted = sig
			}
			s.pass(sig)
		}
	}
}

func (s *supervisor) note(text string) {
	_, _ = fmt.Fprintln(s.p.errOut, "hyperion-vault:", oneLine(text))
}

// exitOf makes the exit code of the program that of the command.
func exitOf(err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return failure{err}
	}
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError(128 + int(status.Signal()))
	}
	return exitError(e.ExitCode())
}
