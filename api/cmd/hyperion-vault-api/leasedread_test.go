package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// sqlReader reads one secret by SQL until stop ends, and connects again when it has to.
type sqlReader struct {
	name     string
	answered atomic.Int64 // reads that gave the value
	failed   atomic.Int64 // reads that did not, of which each may have a record
	pid      atomic.Uint32
}

func (r *sqlReader) run(stop context.Context, dsn string) {
	for stop.Err() == nil {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			continue
		}
		r.pid.Store(conn.PgConn().PID())
		for stop.Err() == nil && !conn.IsClosed() {
			var value string
			if err := conn.QueryRow(context.Background(), "SELECT vault.read_secret($1)", r.name).Scan(&value); err != nil {
				r.failed.Add(1)
				continue
			}
			r.answered.Add(1)
		}
		_ = conn.Close(context.Background())
	}
}

// killed is a vault with SQL readers, of which parts are killed.
type killed struct {
	c       *vaulttest.Cluster
	db      *vaulttest.DB
	env     []string
	api     *process
	readers []*sqlReader
}

func newKilled(t *testing.T) *killed {
	t.Helper()
	k := &killed{c: vaulttest.NewCluster(t, vaulttest.Options{})}
	k.db = vaulttest.NewDBIn(t, k.c)
	k.env = k.db.Environ(t)
	k.db.MustExec(t, fmt.Sprintf("ALTER DATABASE %s SET hyperion_vault.agent_socket = '%s'", k.db.Name, setting(k.env, "VAULT_AGENT_SOCKET")))
	k.start(t)
	conn := k.db.MustConnect(t, vaulttest.Superuser)
	for i := range 4 {
		r := &sqlReader{name: fmt.Sprintf("leased/%d", i)}
		if _, err := conn.Exec(t.Context(), "SELECT vault.create_secret($1, 'CANARY-VALUE'::text)", r.name); err != nil {
			t.Fatal(err)
		}
		k.readers = append(k.readers, r)
	}
	_ = conn.Close(context.Background())
	return k
}

func (k *killed) start(t *testing.T) {
	t.Helper()
	k.api = launch(t, k.env)
	k.api.wait(t, 1, "ready")
}

func (k *killed) total() (n int64) {
	for _, r := range k.readers {
		n += r.answered.Load()
	}
	return n
}

// round has the readers read, does something to the vault meanwhile, and has them read on afterwards.
func (k *killed) round(t *testing.T, harm func()) {
	t.Helper()
	stop, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range k.readers {
		running.Go(func() { r.run(stop, k.c.DSN(k.db.Name, vaulttest.Superuser)) })
	}
	reading := func() {
		before := k.total()
		most := int64(200 + rand.IntN(500))
		pgtest.Eventually(t, "reads are answered", func() bool { return k.total() > before+most })
	}
	reading()
	harm()
	reading()
	end()
	running.Wait()
}

// wantEach waits for the record of every answered read, and wants none twice.
func (k *killed) wantEach(t *testing.T) {
	t.Helper()
	for _, r := range k.readers {
		k.db.Await(t, "the records of "+r.name+" arrive", `SELECT count(*) >= $2 FROM vault.audit_log
			WHERE secret_name = $1 AND action = 'read' AND outcome = 'ok'`, r.name, r.answered.Load())
	}
	k.db.Await(t, "nothing more arrives", `SELECT bool_and(j.last_sequence = (SELECT count(*) FROM vault.audit_log l WHERE l.journal = j.journal))
		FROM vault.audit_journals j`)
	conn := k.db.MustConnect(t, vaulttest.Superuser)
	defer conn.Close(context.Background())
	for _, r := range k.readers {
		var n, distinct int64
		if err := conn.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT (at, request_id)) FROM vault.audit_log
			WHERE secret_name = $1 AND action = 'read' AND outcome = 'ok'`, r.name).Scan(&n, &distinct); err != nil {
			t.Fatal(err)
		}
		if a, f := r.answered.Load(), r.failed.Load(); n != distinct || n < a || n > a+f {
			t.Errorf("%s: %d answered and %d failed reads have %d records, %d of them different", r.name, a, f, n, distinct)
		} else {
			t.Logf("%s: %d answered and %d failed reads, %d records", r.name, a, f, n)
		}
	}
}

// wantLeased checks that the reads were leased ones, without which the test says nothing.
func (k *killed) wantLeased(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(setting(k.env, "VAULT_AUDIT_DIR"), "leased.*"))
	if err != nil || len(files) == 0 {
		t.Errorf("there are no files of leased reads (%v)", err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", f, info.Mode().Perm())
		}
	}
}

// worksIn reports whether a process has dir as its working directory.
func worksIn(dir string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	return slices.ContainsFunc(all, func(link string) bool {
		at, err := os.Readlink(link)
		return err == nil && at == dir
	})
}

// TestLeasedReadsSurviveKills: whichever process is killed, each answered read is on record once.
func TestLeasedReadsSurviveKills(t *testing.T) {
	k := newKilled(t)
	for range 3 {
		k.round(t, func() {
			k.wantLeased(t)
			k.api.signal(t, syscall.SIGKILL)
			k.api.exit(t)
			k.start(t)
		})
	}
	for range 2 {
		k.round(t, func() {
			if err := syscall.Kill(int(k.readers[0].pid.Load()), syscall.SIGKILL); err != nil {
				t.Log(err)
			}
		})
	}
	for range 2 {
		k.round(t, func() {
			k.c.MustStop(t, syscall.SIGKILL)
			pgtest.Eventually(t, "its processes are gone", func() bool { return !worksIn(k.c.Data()) })
			k.c.MustStart(t)
		})
	}
	k.round(t, func() { // an orderly restart
		k.api.signal(t, syscall.SIGTERM)
		k.api.exit(t)
		k.start(t)
	})
	k.wantEach(t)
	k.api.signal(t, syscall.SIGTERM)
	k.api.exit(t)
}
