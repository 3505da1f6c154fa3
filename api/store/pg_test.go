package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	environment "github.com/hyperiondb/hyperion-vault/api/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if template.dir != "" {
			_ = os.RemoveAll(template.dir)
		}
		os.Exit(code)
	}))
}

// template is a stopped server's data with the extension in database "app", made
// once and copied for each test.
var template struct {
	once sync.Once
	dir  string
}

// clearEnvironment hides the libpq variables of whoever runs the tests.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			must(t, os.Unsetenv(name))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is a private PostgreSQL of one test, on a unix socket alone.
type server struct {
	t         *testing.T
	dir, data string
	bin       string
	cred      *syscall.Credential
}

// newServer starts a server with the extension in database "app", and the service
// role. It skips where PostgreSQL or the extension is not installed.
func newServer(t *testing.T) *server {
	t.Helper()
	clearEnvironment(t)
	s := &server{t: t}
	s.find()
	template.once.Do(s.makeTemplate)
	if template.dir == "" {
		t.Fatal("the template could not be made")
	}
	s.makeFolder()
	s.run("cp", "-a", filepath.Join(template.dir, "data"), s.data)
	s.start()
	return s
}

func (s *server) makeTemplate() {
	s.t.Helper()
	made := &server{t: s.t, bin: s.bin, cred: s.cred}
	dir := made.mkdir()
	made.dir, made.data = dir, filepath.Join(dir, "data")
	made.run("initdb", "-D", made.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
	made.start()
	made.sql("postgres", "CREATE DATABASE app")
	made.sql("app", "CREATE EXTENSION hyperion_vault; CREATE ROLE vault_service LOGIN; SELECT vault.grant_service_role('vault_service')")
	made.run("pg_ctl", "-D", made.data, "-w", "-m", "fast", "stop")
	template.dir = dir
}

// mkdir makes a folder that the server's user owns.
func (s *server) mkdir() string {
	s.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvstore")
	must(s.t, err)
	if s.cred != nil {
		must(s.t, os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)))
	}
	return dir
}

func (s *server) makeFolder() {
	s.t.Helper()
	s.dir = s.mkdir()
	s.data = filepath.Join(s.dir, "data")
	s.t.Cleanup(func() { must(s.t, os.RemoveAll(s.dir)) })
}

func (s *server) find() {
	s.t.Helper()
	skip, env := s.t.Skip, environment.LoadTests()
	if env.RequirePostgres {
		skip = s.t.Fatal
	}
	out, err := exec.Command(env.PGConfig, "--bindir", "--sharedir").Output()
	if err != nil {
		skip("PostgreSQL is not installed: ", err)
	}
	dirs := strings.Fields(string(out))
	s.bin = dirs[0]
	if _, err := os.Stat(filepath.Join(dirs[1], "extension", "hyperion_vault.control")); err != nil {
		skip("the extension is not installed: ", err)
	}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			skip("root needs a user postgres to run the server: ", err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
}

func (s *server) run(name string, args ...string) {
	s.t.Helper()
	var out bytes.Buffer
	if path, err := exec.LookPath(filepath.Join(s.bin, name)); err == nil {
		name = path
	}
	c := exec.Command(name, args...)
	c.Dir, c.Stdout, c.Stderr = s.dir, &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	if err := c.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
}

func (s *server) start() {
	s.t.Helper()
	conf, err := os.OpenFile(filepath.Join(s.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(s.t, err)
	_, err = fmt.Fprintf(conf, "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nmax_connections = 50\n", s.dir)
	must(s.t, errors.Join(err, conf.Close()))
	s.run("pg_ctl", "-D", s.data, "-l", filepath.Join(s.dir, "log"), "-w", "-t", "60", "start")
	s.t.Cleanup(s.stop)
}

func (s *server) stop() {
	if _, err := os.Stat(filepath.Join(s.data, "postmaster.pid")); err == nil {
		s.run("pg_ctl", "-D", s.data, "-w", "-m", "immediate", "stop")
	}
}

// standby starts a second server that follows this one.
func (s *server) standby() *server {
	s.t.Helper()
	b := &server{t: s.t, bin: s.bin, cred: s.cred}
	b.makeFolder()
	b.run("pg_basebackup", "-h", s.dir, "-U", "postgres", "-D", b.data, "-R", "-c", "fast", "-X", "stream")
	b.start()
	return b
}

func (s *server) connect(database string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), "host="+s.dir+" user=postgres dbname="+database)
	must(s.t, err)
	return c
}

// sql runs statements as superuser.
func (s *server) sql(database, text string) {
	s.t.Helper()
	c := s.connect(database)
	defer func() { _ = c.Close(context.Background()) }()
	_, err := c.Exec(s.t.Context(), text, pgx.QueryExecModeSimpleProtocol)
	must(s.t, err)
}

// value asks for one value as superuser.
func value[T any](s *server, text string, args ...any) T {
	s.t.Helper()
	c := s.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	var v T
	must(s.t, c.QueryRow(s.t.Context(), text, args...).Scan(&v))
	return v
}

// open returns a DB on the given hosts, or on this server.
func (s *server) open(hosts ...string) *DB {
	s.t.Helper()
	if len(hosts) == 0 {
		hosts = []string{s.dir}
	}
	d, err := Open(s.t.Context(), Config{Hosts: hosts, User: "vault_service", Database: "app"})
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, d.Close(context.Background())) })
	return d
}

// cutter is a TCP way to the server that can lose what a client waits for.
type cutter struct {
	ln     net.Listener
	socket string
	wg     sync.WaitGroup

	mu     sync.Mutex
	marker []byte // in what the client sends
	mode   cutMode
	times  int
	first  func() // called before the next loss, when the server has done what it is to do
	open   map[net.Conn]bool
}

type cutMode int

const (
	beforeServer cutMode = iota // the server never sees it
	afterServer                 // the server does it, the client does not hear of it
)

func (s *server) cutter() *cutter {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	c := &cutter{ln: ln, socket: filepath.Join(s.dir, ".s.PGSQL.5432"), open: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	s.t.Cleanup(c.close)
	return c
}

func (c *cutter) close() {
	_ = c.ln.Close()
	c.mu.Lock()
	for conn := range c.open {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// lose arms the cutter: the next times that marker passes, the connection is cut.
func (c *cutter) lose(marker []byte, mode cutMode, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marker, c.mode, c.times = marker, mode, times
}

// left is how many losses are still to come.
func (c *cutter) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// meanwhile has f happen just before the connection is cut next.
func (c *cutter) meanwhile(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = f
}

func (c *cutter) hit(b []byte) (cutMode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == 0 || !bytes.Contains(b, c.marker) {
		return 0, false
	}
	c.times--
	return c.mode, true
}

func (c *cutter) happen() {
	c.mu.Lock()
	f := c.first
	c.first = nil
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

func (c *cutter) accept() {
	for {
		client, err := c.ln.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("unix", c.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		c.mu.Lock()
		c.open[client], c.open[back] = true, true
		c.mu.Unlock()
		deaf := make(chan struct{})
		c.wg.Go(func() { c.toServer(client, back, deaf) })
		c.wg.Go(func() { c.toClient(client, back, deaf) })
	}
}

// toServer passes on what the client sends. Messages of these tests are small
// enough to arrive in one piece.
func (c *cutter) toServer(client, back net.Conn, deaf chan struct{}) {
	defer func() { _ = client.Close(); _ = back.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		mode, hit := c.hit(buf[:n])
		if hit && mode == beforeServer {
			c.happen()
			return
		}
		if hit {
			close(deaf)
		}
		if _, err := back.Write(buf[:n]); err != nil {
			return
		}
		if hit {
			_, _ = io.Copy(io.Discard, client) // until toClient closes it
			return
		}
	}
}

// toClient passes on answers, until told that the next is to be lost.
func (c *cutter) toClient(client, back net.Conn, deaf chan struct{}) {
	defer func() { _ = client.Close(); _ = back.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := back.Read(buf)
		select {
		case <-deaf:
			c.happen() // the answer is here, so it is done
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) host() string { return c.ln.Addr().String() }
