package pgtest

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
)

// installation is the PostgreSQL found and who may run it.
type installation struct {
	bin  string // directory of its programs
	path string // PATH
	dir  string // has what is made for tests
	uid  uint32
	gid  uint32
	cred *syscall.Credential // nil = this process's own user
}

var find = sync.OnceValues(func() (*installation, error) { return findInstallation(LoadEnv()) })

// Need skips t where PostgreSQL or the extension is missing, or fails it where they are required.
func Need(t testing.TB) {
	t.Helper()
	need(t)
}

func need(t testing.TB) *installation {
	t.Helper()
	i, err := find()
	if err == nil {
		return i
	}
	if LoadEnv().RequirePostgres {
		t.Fatalf("PostgreSQL is required here: %v", err)
	}
	t.Skipf("needs PostgreSQL with the extension: %v", err)
	return nil
}

// installationOf returns the PostgreSQL that a pg_config belongs to; empty means the one that tests run on.
func installationOf(pgConfig string) (*installation, error) {
	if pgConfig == "" {
		return find()
	}
	e := LoadEnv()
	e.PGConfig = pgConfig
	return findInstallation(e)
}

func findInstallation(e Env) (*installation, error) {
	out, err := exec.Command(e.PGConfig, "--bindir", "--pkglibdir", "--sharedir").Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 3 {
		return nil, fmt.Errorf("%s does not say where PostgreSQL is: %v", e.PGConfig, err)
	}
	i := &installation{bin: lines[0], path: e.Path, dir: e.Dir, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
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
	return i.run(filepath.Join(i.bin, program), args...)
}

// run is any program, run like command.
func (i *installation) run(program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir = "/"
	c.Env = []string{"PATH=" + i.path, "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: i.cred}
	return c
}

// mkdir makes a directory that the server's user owns. It is not below os.TempDir: a socket's path must be short, and
// the server's user must be able to enter.
func (i *installation) mkdir() (string, error) {
	dir, err := os.MkdirTemp(i.dir, "hvt")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, int(i.uid), int(i.gid)))
}
