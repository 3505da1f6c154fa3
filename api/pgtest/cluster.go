package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// Port is in the socket's name only.
	Port = 5432
	// Superuser and ServiceRole are the roles every cluster has.
	Superuser   = "postgres"
	ServiceRole = "vault_service"
	// turnLimit bounds starting and stopping a server.
	turnLimit = 60 * time.Second
)

// Cluster is one running PostgreSQL. Its methods are for one goroutine at a time.
type Cluster struct {
	i    *installation
	dir  string
	run  *postmaster // nil while stopped
	dbs  int         // made by NewDB
	dbMu sync.Mutex  // NewDB: roles belong to the whole cluster

	follows *Cluster // what a standby streams from; nil for a primary from the start
	nodes   *nodes   // the primary and its standbys, in the order they were made
}

type nodes struct{ all []*Cluster }

// postmaster is a started server process.
type postmaster struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // why, once exited is closed
}

// NewCluster starts a PostgreSQL of the test's own and stops it with the test.
func NewCluster(t testing.TB, o Options) *Cluster {
	t.Helper()
	i := need(t)
	if o.PGConfig != "" {
		var err error
		if i, err = installationOf(o.PGConfig); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newCluster(i, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func newCluster(i *installation, o Options) (*Cluster, error) {
	dir, err := i.mkdir()
	if err != nil {
		return nil, err
	}
	c := &Cluster{i: i, dir: dir, nodes: &nodes{}}
	c.nodes.all = []*Cluster{c}
	if err := c.create(o); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *Cluster) create(o Options) error {
	if err := c.i.copyTemplate(o.Database, c.Data()); err != nil {
		return err
	}
	settings := append([]string{
		"listen_addresses = ''", fmt.Sprintf("port = %d", Port), "unix_socket_directories = '" + c.dir + "'",
		"unix_socket_permissions = 0777", "max_connections = 200", "fsync = off",
		"dynamic_shared_memory_type = mmap", // files in the data directory: a killed server leaves none in /dev/shm
	}, o.Settings...)
	if o.Preload {
		settings = append(settings, "shared_preload_libraries = 'hyperion_vault'")
	}
	if err := c.configure(settings...); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	if o.Database != "" {
		return nil // the template has it
	}
	return c.execute("postgres", "CREATE ROLE "+ServiceRole+" LOGIN")
}

// execute runs statements as the superuser.
func (c *Cluster) execute(database string, statements ...string) error {
	conn, err := pgx.Connect(context.Background(), c.DSN(database, Superuser))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Dir returns the directory that holds everything of the cluster, its socket included.
func (c *Cluster) Dir() string { return c.dir }

// Data returns the data directory.
func (c *Cluster) Data() string { return filepath.Join(c.dir, "data") }

// LogFile returns the file with the server's log since the cluster was made.
func (c *Cluster) LogFile() string { return filepath.Join(c.dir, "server.log") }

// DSN returns a connection string. Every role may connect without a password.
func (c *Cluster) DSN(database, role string) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s user=%s connect_timeout=10", c.dir, Port, database, role)
}

// PID returns the postmaster's process id, or 0 while the server is stopped.
func (c *Cluster) PID() int {
	if c.run == nil {
		return 0
	}
	return c.run.cmd.Process.Pid
}

// UID is the user id of the server.
func (c *Cluster) UID() uint32 { return c.i.uid }

// Running reports whether the server was started and not stopped since.
func (c *Cluster) Running() bool { return c.run != nil }

// MustMakeDir makes a directory of the server's user that is removed with the test. Its path is short enough for a socket.
func (c *Cluster) MustMakeDir(t testing.TB) string {
	t.Helper()
	dir, err := c.i.mkdir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	return dir
}

// Command is a program, of PostgreSQL or another, that runs as the server's user and with nothing of this process's
// environment.
func (c *Cluster) Command(program string, args ...string) *exec.Cmd {
	if path := filepath.Join(c.i.bin, program); !filepath.IsAbs(program) && exists(path) {
		program = path
	}
	return c.i.run(program, args...)
}

// MustRun runs a Command to its end.
func (c *Cluster) MustRun(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := c.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// MustStart starts a stopped server and returns when it takes connections.
func (c *Cluster) MustStart(t testing.TB) {
	t.Helper()
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
}

// MustStop stops the server: SIGTERM waits for clients, SIGINT ends their sessions, SIGQUIT goes down without a
// checkpoint, and SIGKILL is a crash of the postmaster, whose children take a moment to notice.
func (c *Cluster) MustStop(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := c.stop(s); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) start() error {
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := c.i.command("postgres", "-D", c.Data())
	cmd.Stdout, cmd.Stderr = log, log
	// The server must not outlive a test process that is killed, nor get the terminal's interrupt before the tests do.
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Setpgid = syscall.SIGQUIT, true
	p := &postmaster{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go p.attend(started)
	if err := <-started; err != nil {
		return err
	}
	c.run = p
	if err := c.await(); err != nil {
		return errors.Join(fmt.Errorf("the server does not answer: %w: %s", err, c.logTail()), c.stop(syscall.SIGQUIT))
	}
	return nil
}

// attend starts the server and stays with it. The kernel sends Pdeathsig when the thread that started the process
// ends, so the goroutine keeps its thread.
func (p *postmaster) attend(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.exited)
	}
}

// await returns when the server takes connections.
func (c *Cluster) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), turnLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.DSN("postgres", Superuser))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.run.exited:
			return fmt.Errorf("it exited: %w", c.run.err)
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (c *Cluster) stop(s syscall.Signal) error {
	p := c.run
	if p == nil {
		return nil
	}
	c.run = nil
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(turnLimit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("the server did not stop within %s: %s", turnLimit, c.logTail()), p.cmd.Process.Kill())
	}
}

func (c *Cluster) close() error {
	return errors.Join(c.stop(syscall.SIGINT), os.RemoveAll(c.dir))
}

// logTail is for messages about a server that does not do what it should.
func (c *Cluster) logTail() string {
	b, err := os.ReadFile(c.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
