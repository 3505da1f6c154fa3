package store

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m, pgtest.Options{})) }

var must = pgtest.Must

// clearEnvironment hides the libpq variables of the caller of the tests.
func clearEnvironment(t testing.TB) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			must(t, os.Unsetenv(name))
		}
	}
}

// server is a private PostgreSQL of one test, on a unix socket alone.
type server struct {
	*pgtest.Cluster
	t         testing.TB
	dir, data string
}

// newServer starts a server with the extension in database "app", and the service
// role. It skips where PostgreSQL or the extension is not installed.
func newServer(t testing.TB) *server {
	t.Helper()
	clearEnvironment(t)
	return serverOf(t, pgtest.NewCluster(t, pgtest.Options{Database: "app", Settings: []string{"max_connections = 50"}}))
}

func serverOf(t testing.TB, c *pgtest.Cluster) *server {
	return &server{Cluster: c, t: t, dir: c.Dir(), data: c.Data()}
}

// stop goes down without a checkpoint. The server may be stopped already.
func (s *server) stop() {
	s.t.Helper()
	s.MustStop(s.t, syscall.SIGQUIT)
}

// restart starts a stopped server again.
func (s *server) restart() {
	s.t.Helper()
	s.MustStart(s.t)
}

// promote makes a standby a primary.
func (s *server) promote() {
	s.t.Helper()
	s.MustPromote(s.t)
}

// standby starts a second server that follows this one.
func (s *server) standby() *server {
	s.t.Helper()
	return serverOf(s.t, s.NewStandby(s.t))
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
