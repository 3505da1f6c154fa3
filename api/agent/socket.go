package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	socketMode = 0o660
	folderMode = 0o755
	// probeTimeout is how long a process behind an existing socket file has to take a connection.
	probeTimeout = time.Second
	// lockTimeout is how long another process that is starting in the same directory is waited for.
	lockTimeout = 2 * time.Second
)

// socket is the listening end and the file it made.
type socket struct {
	ln   *net.UnixListener
	path string
	id   fileID
}

// fileID reports whether a path still leads to the same file.
type fileID struct{ dev, ino uint64 }

// listen makes the socket file, mode 0660, owned by group where this process may give it away (-1: no wish). Its
// directory is made, mode 0755, when only that last part of the path is missing: under /run nothing outlives a boot.
func listen(path string, group int, log *slog.Logger) (*socket, error) {
	dir := filepath.Dir(path)
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := clearStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "the key agent cannot listen on %s", path)
	}
	ln.SetUnlinkOnClose(false) // by path it could remove another agent's file
	s := &socket{ln: ln, path: path}
	if err := s.claim(group, log); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(path))
	}
	return s, nil
}

// claim sets the file's group and mode and remembers which file it is.
func (s *socket) claim(group int, log *slog.Logger) error {
	if group >= 0 && group != os.Getegid() {
		if err := os.Lchown(s.path, -1, group); err != nil {
			log.Warn("key agent cannot give its socket to the peer's group: backends cannot reach it unless this process runs with that group",
				"socket", s.path, "gid", group, "error", err)
		}
	}
	if err := os.Chmod(s.path, socketMode); err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot set the mode of %s", s.path)
	}
	var err error
	if s.id, err = identify(s.path); err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot check %s", s.path)
	}
	return nil
}

// close stops listening and removes the file, unless another process has replaced it.
func (s *socket) close() error {
	err := s.ln.Close()
	if id, ierr := identify(s.path); ierr == nil && id == s.id {
		return errors.Join(err, os.Remove(s.path))
	}
	return err
}

func identify(path string) (fileID, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileID{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, errors.New("no file identity on this system")
	}
	return fileID{dev: uint64(st.Dev), ino: st.Ino}, nil
}

// prepareDir refuses a directory in which every user may put a socket: backends would take keys from its owner. The sticky
// bit keeps others from replacing ours, not from being first while there is none.
func prepareDir(dir string) error {
	err := os.Mkdir(dir, folderMode)
	if err == nil {
		err = os.Chmod(dir, folderMode) // whatever the umask is
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot create the directory of its socket: create %s for this process's user", dir)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot check the directory of its socket")
	}
	if info.Mode().Perm()&0o002 != 0 {
		return core.Errorf(core.Invalid, "every user can write to the key agent's directory %s", dir)
	}
	return nil
}

// lockDir keeps two starting agents from taking each other's socket for a stale one. It is held while starting only.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "the key agent cannot open the directory of its socket")
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil // closing unlocks
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, core.Wrap(core.Unavailable, err, "another process holds the lock of the directory %s", dir)
		}
	}
}

// clearStale removes a socket file that a dead agent left. A file on which a process answers, or that is no socket, stays.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot check %s", path)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return core.Errorf(core.Invalid, "%s exists and is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = c.Close()
		return core.Errorf(core.Exists, "another process answers on %s", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return core.Wrap(core.Exists, err, "cannot find out whether another process uses %s", path)
	}
	if err := os.Remove(path); err != nil {
		return core.Wrap(core.Invalid, err, "the key agent cannot remove the stale socket %s", path)
	}
	return nil
}

// outOfResources tells shortages that pass from a socket that is gone.
func outOfResources(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isReset(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }
