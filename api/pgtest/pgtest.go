// Package pgtest gives tests a real PostgreSQL in which the extension is installed. It imports no other package of this
// module, so the tests of every package can use it; vaulttest adds an API.
//
// A package that uses it runs its tests through Main, which stops what they started:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, pgtest.Options{}).Run()) }
//
// NewDB then gives each test a database of its own in the package's one cluster. The cluster is private: a temporary
// directory, a unix socket and nothing else. If the tests run as root, it runs as another user. It ends with the test
// process, however that ends. Where PostgreSQL or the extension is missing, the tests are skipped with the reason. They
// fail instead when CI or HV_REQUIRE_PG is set.
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// Options of a cluster. The zero Options are a server with its defaults that preloads nothing, and that does not sync
// its files: tests kill processes, and no machine.
type Options struct {
	// Preload puts the extension into shared_preload_libraries.
	Preload bool
	// Settings are lines for postgresql.conf.
	Settings []string
	// Database is the name of a database with the extension that the cluster has from the start. Empty = none.
	Database string
	// PGConfig names another PostgreSQL than the one that tests run on; empty = that one.
	PGConfig string
}

// shared is the one cluster of the package under test.
var shared struct {
	mu      sync.Mutex
	ready   bool // Main was called
	options Options
	cluster *Cluster
	err     error
}

// Runner is m with the stopping of the shared cluster after it; goleak.VerifyTestMain takes it as well.
type Runner struct{ m *testing.M }

// Main prepares the package's shared cluster, which the first NewDB starts.
func Main(m *testing.M, o Options) Runner {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.ready, shared.options = true, o
	return Runner{m}
}

// Run runs the tests, stops the shared cluster and removes the template of clusters. It returns the exit code.
func (r Runner) Run() int {
	code := r.m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var err error
	if shared.cluster != nil {
		err = shared.cluster.close()
	}
	if err = errors.Join(err, removeTemplates()); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

// Shared returns the package's cluster, starting it at the first call.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	i := need(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.ready {
		t.Fatal("pgtest: TestMain does not call Main, so PostgreSQL would not be stopped")
	}
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = newCluster(i, shared.options)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}
