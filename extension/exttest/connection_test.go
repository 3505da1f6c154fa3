package exttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// footprint is what sessions could leave behind.
type footprint struct {
	backends    int // those of the API not counted: its pools may grow
	children    int // the same
	agentConns  int
	descriptors int // of the postmaster
	shmSegments int // System V, made by the postmaster
	shmFiles    int // dynamic
}

func measure(t *testing.T, c cluster, watch *session, socket string) footprint {
	t.Helper()
	dynamic, err := os.ReadDir(filepath.Join(c.Data(), "pg_dynshmem"))
	if err != nil {
		t.Fatal(err)
	}
	sysv, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	segments := 0
	for line := range strings.Lines(string(sysv)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == fmt.Sprint(c.PID()) {
			segments++
		}
	}
	pooled := pooled(watch)
	return footprint{
		backends:    get[int](watch, "SELECT count(*)::int FROM pg_stat_activity") - pooled,
		children:    len(children(t, c.PID())) - pooled,
		agentConns:  connectionsTo(t, socket),
		descriptors: descriptors(t, c.PID()),
		shmSegments: segments,
		shmFiles:    len(dynamic),
	}
}

// onceEach opens n connections, at most 50 at a time, uses each once and closes it.
func onceEach(t *testing.T, c cluster, db string, n int) {
	t.Helper()
	slots := make(chan bool, 50)
	errs := make(chan error, n)
	var all sync.WaitGroup
	for i := range n {
		slots <- true
		all.Go(func() {
			defer func() { <-slots }()
			errs <- func() error {
				ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
				defer cancel()
				conn, err := c.dial(ctx, db, vaulttest.Superuser)
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				var value string
				if err := conn.QueryRow(ctx, "SELECT vault.read_secret('kept')").Scan(&value); err != nil {
					return err
				}
				if value != keptValue {
					return fmt.Errorf("connection %d read %q", i, value)
				}
				return nil
			}()
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestThousandConnections(t *testing.T) {
	c := startCluster(t, true, "dynamic_shared_memory_type = mmap") // as files in the data directory, so they can be counted
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db)
	watch := c.connect(t, db.Name, vaulttest.Superuser)
	watch.exec("SELECT vault.create_secret('kept', $1::text)", keptValue)
	onceEach(t, c, db.Name, 100) // caches are warm now
	settle(t, watch, api.AgentSocket)
	// A session is out of the list a moment before its process has ended.
	pgtest.Eventually(t, "their processes have ended", func() bool {
		f := measure(t, c, watch, api.AgentSocket)
		return f.children == f.backends
	})
	before, rss := measure(t, c, watch, api.AgentSocket), statusKB(t, c.PID(), "RssAnon")
	own := descriptors(t, os.Getpid()) - pooled(watch)

	onceEach(t, c, db.Name, 1000)
	settle(t, watch, api.AgentSocket)
	var last footprint
	pgtest.Eventually(t, fmt.Sprintf("everything is as before: %+v", before), func() bool {
		after := measure(t, c, watch, api.AgentSocket)
		if after != before && after != last {
			t.Logf("now %+v", after)
		}
		last = after
		return after == before
	})
	if grown := statusKB(t, c.PID(), "RssAnon") - rss; grown > 1024 {
		t.Errorf("the postmaster grew by %d kB over a thousand connections", grown)
	}
	pgtest.Eventually(t, "the API has closed its ends", func() bool { return descriptors(t, os.Getpid())-pooled(watch) <= own })
	db.AwaitAudit(t)
	if n := get[int](watch, "SELECT count(*)::int FROM vault.audit('kept', NULL, 10000) WHERE action = 'read' AND outcome = 'ok'"); n != 1100 {
		t.Errorf("%d reads are on record, not 1100", n)
	}
}

// settle waits until every session but watch has ended.
func settle(t *testing.T, watch *session, socket string) {
	t.Helper()
	pgtest.Eventually(t, "the sessions have ended", func() bool {
		return get[int](watch, "SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'postgres'") <= 1 &&
			connectionsTo(t, socket) <= 1
	})
}

// pooled is the number of connections the API holds.
func pooled(watch *session) int {
	watch.t.Helper()
	return get[int](watch, "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'vault_service'")
}
