package exttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

var roleSeq atomic.Int64

func TestMain(m *testing.M) {
	if os.Getenv(apiEnv) != "" {
		os.Exit(serveAPI())
	}
	os.Exit(vaulttest.Main(m, vaulttest.Options{Preload: true, Settings: quick}).Run())
}

// quick are settings of servers whose data is not needed after the test.
var quick = []string{
	"shared_buffers = 16MB", "autovacuum = off", "max_worker_processes = 16", "max_parallel_workers = 16",
}

// cluster is a private server, on a unix socket only.
type cluster struct{ *vaulttest.Cluster }

// sharedCluster preloads the library; no test stops or crashes it.
func sharedCluster(t testing.TB) cluster {
	t.Helper()
	return cluster{vaulttest.Shared(t)}
}

// startCluster starts a server of the test's own.
func startCluster(t testing.TB, preload bool, settings ...string) cluster {
	t.Helper()
	c := cluster{vaulttest.NewCluster(t, vaulttest.Options{Preload: preload, Settings: append(settings, quick...)})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("server log:\n%s", tail(c.logText(t), 60))
		}
	})
	return c
}

func (c cluster) logText(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(c.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// owner is the user who runs the server.
func (c cluster) owner(t testing.TB) (uid, gid int) {
	t.Helper()
	info, err := os.Stat(c.Data())
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

// program runs one of PostgreSQL's programs as the server's user and returns what it printed.
func (c cluster) program(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	env := pgtest.LoadEnv()
	dir, err := exec.Command(env.PGConfig, "--bindir").Output()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(strings.TrimSpace(string(dir)), name), args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + env.Path, "LC_ALL=C", "TZ=UTC"}
	if os.Getuid() == 0 {
		uid, gid := c.owner(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// dial connects; settings are name, value pairs of the start-up packet.
func (c cluster) dial(ctx context.Context, db, role string, settings ...string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig(c.DSN(db, role))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(settings); i += 2 {
		conf.RuntimeParams[settings[i]] = settings[i+1]
	}
	return pgx.ConnectConfig(ctx, conf)
}

// session is one connection of a test, closed when the test ends. Its methods fail the test.
type session struct {
	*pgx.Conn
	t testing.TB
}

func (c cluster) connect(t testing.TB, db, role string, settings ...string) *session {
	t.Helper()
	conn, err := c.dial(bounded(t), db, role, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &session{Conn: conn, t: t}
}

// bounded ends with the test, and after pgtest.Patience.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (s *session) pid() int { return int(s.PgConn().PID()) }

// try runs a statement and returns its error.
func (s *session) try(sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	_, err := s.Exec(ctx, sql, args...)
	return err
}

func (s *session) exec(sql string, args ...any) {
	s.t.Helper()
	if err := s.try(sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// script runs several statements at once.
func (s *session) script(sql string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// get is the only column of the only row.
func get[T any](s *session, sql string, args ...any) T {
	s.t.Helper()
	v, err := tryGet[T](s, sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func tryGet[T any](s *session, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	err = s.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

// wantError checks SQLSTATE and a part of the message.
func wantError(t testing.TB, err error, state, part string) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatalf("want SQLSTATE %s, got %v", state, err)
	}
	if pg.Code != state || !strings.Contains(pg.Message, part) {
		t.Fatalf("want %s %q, got %s %q (detail %q, hint %q)", state, part, pg.Code, pg.Message, pg.Detail, pg.Hint)
	}
}

// NewDB makes a fresh database that servers can use.
func (c cluster) NewDB(t testing.TB) *vaulttest.DB {
	t.Helper()
	return vaulttest.NewDBIn(t, c.Cluster)
}

// newDatabase makes a database with the extension, whose sessions look for the key agent at socket.
func (c cluster) newDatabase(t testing.TB, socket string) string {
	t.Helper()
	db := c.NewDB(t)
	db.MustExec(t, "ALTER DATABASE "+db.Name+" SET hyperion_vault.agent_socket = '"+socket+"'")
	return db.Name
}

// newRole makes a login role of the cluster. It is left behind: its name is its own.
func (c cluster) newRole(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("role%d", roleSeq.Add(1))
	c.connect(t, "postgres", vaulttest.Superuser).exec("CREATE ROLE " + name + " LOGIN")
	return name
}

// socketFolder is a directory with a path short enough for a socket.
func socketFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// status is a field of /proc/PID/status or of a thread's.
func status(path, field string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", path, field)
}

// statusKB is a memory field of a process.
func statusKB(t testing.TB, pid int, field string) int {
	t.Helper()
	v, err := status(fmt.Sprintf("/proc/%d/status", pid), field)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := strconv.Atoi(strings.TrimSuffix(v, " kB"))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// threads are the thread ids of a process.
func threads(t testing.TB, pid int) []string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.Name()
	}
	return ids
}

// maps reports whether a process has a file of this name mapped.
func maps(t testing.TB, pid int, file string) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if errors.Is(err, os.ErrPermission) {
		return true // not dumpable, which only loading the Go library makes it
	}
	if err != nil {
		t.Fatal(err)
	}
	// A file that was installed again since is marked.
	return bytes.Contains(b, []byte("/"+file+"\n")) || bytes.Contains(b, []byte("/"+file+" (deleted)\n"))
}

// children are the processes whose parent is pid.
func children(t testing.TB, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for f := range strings.FieldsSeq(string(b)) {
		if p, err := strconv.Atoi(f); err == nil {
			pids = append(pids, p)
		}
	}
	return pids
}

// descriptors is the number of open files of a process.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		// The server opens files of its data directory as it comes to them, and keeps them open.
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		if err == nil && !strings.Contains(target, "/data/") {
			n++
		}
	}
	return n
}

// connectionsTo is the number of sockets accepted at path that are still open.
func connectionsTo(t testing.TB, path string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		// The sixth column is the state: 03 is connected.
		if len(f) == 8 && f[7] == path && f[5] == "03" {
			n++
		}
	}
	return n
}
