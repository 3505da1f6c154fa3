// Package vaulttest gives tests a real PostgreSQL with the extension and a real API in front of it.
//
// A package that uses it runs its tests through Main, which stops what they started:
//
//	func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }
//
// NewDB then gives each test a database of its own in the package's one cluster, and NewServer an API for it. The
// cluster is private: a temporary folder, a unix socket and nothing else; as root it runs as another user. It ends with
// the test process, however that ends. Where PostgreSQL or the extension is missing the tests are skipped with the
// reason, or fail when CI or HV_REQUIRE_PG is set.
package vaulttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// Options of a cluster. The zero Options are a server with its defaults that preloads nothing.
type Options struct {
	// Preload puts the extension into shared_preload_libraries.
	Preload bool
	// Settings are lines for postgresql.conf.
	Settings []string
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

// Run runs the tests and stops the shared cluster. It returns the exit code.
func (r Runner) Run() int {
	code := r.m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil {
		return code
	}
	if err := shared.cluster.close(); err != nil {
		fmt.Fprintln(os.Stderr, "vaulttest:", err)
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
		t.Fatal("vaulttest: TestMain does not call vaulttest.Main, so nobody would stop PostgreSQL")
	}
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = newCluster(i, shared.options)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// installation is the PostgreSQL found and who may run it.
type installation struct {
	bin  string // folder of its programs
	path string // PATH
	uid  uint32
	gid  uint32
	cred *syscall.Credential // nil = this process's own user
}

var find = sync.OnceValues(func() (*installation, error) { return findInstallation(config.LoadTests()) })

// need skips t, or fails it where PostgreSQL is required.
func need(t testing.TB) *installation {
	t.Helper()
	i, err := find()
	if err == nil {
		return i
	}
	if config.LoadTests().RequirePostgres {
		t.Fatalf("PostgreSQL is required here: %v", err)
	}
	t.Skipf("needs PostgreSQL with the extension: %v", err)
	return nil
}

func findInstallation(c config.Tests) (*installation, error) {
	out, err := exec.Command(c.PGConfig, "--bindir", "--pkglibdir", "--sharedir").Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 3 {
		return nil, fmt.Errorf("%s does not say where PostgreSQL is: %v", c.PGConfig, err)
	}
	i := &installation{bin: lines[0], path: c.Path, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	for _, f := range []string{
		filepath.Join(i.bin, "initdb"), filepath.Join(i.bin, "postgres"),
		filepath.Join(lines[1], "hyperion_vault.so"), filepath.Join(lines[1], "hyperion_vault_go.so"),
		filepath.Join(lines[2], "extension", "hyperion_vault.control"),
	} {
		if _, err := os.Stat(f); err != nil {
			return nil, fmt.Errorf(`%w ("make install" installs the extension)`, err)
		}
	}
	if os.Getuid() == 0 {
		return i, i.becomeUnprivileged()
	}
	return i, nil
}

// becomeUnprivileged chooses who runs the server when this process is root, which the server refuses to be.
func (i *installation) becomeUnprivileged() error {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uerr, gerr); err != nil {
			return err
		}
		i.uid, i.gid = uint32(uid), uint32(gid)
		i.cred = &syscall.Credential{Uid: i.uid, Gid: i.gid}
		return nil
	}
	return errors.New("root cannot run PostgreSQL and there is no user postgres or nobody")
}

// command is a program of PostgreSQL, run as the server's user, with nothing of this process's environment.
func (i *installation) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(i.bin, program), args...)
	c.Dir = "/"
	c.Env = []string{"PATH=" + i.path, "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: i.cred}
	return c
}
