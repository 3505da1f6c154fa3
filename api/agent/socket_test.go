package agent

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestStartSocketFile(t *testing.T) {
	path := func(t *testing.T) string { return filepath.Join(shortDir(t), "a.sock") }
	try := func(t *testing.T, p string, code core.Code, text string) {
		t.Helper()
		s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
		if err == nil {
			_ = s.Close(context.Background())
		}
		if core.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
			t.Fatalf("got %v, want %s %q", err, code, text)
		}
	}
	t.Run("OKMode", func(t *testing.T) {
		defer syscall.Umask(syscall.Umask(0o077))
		s, _ := start(t, Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "sub", "a.sock")})
		info, err := os.Lstat(s.Socket())
		if err != nil || info.Mode().Perm() != 0o660 || info.Mode()&os.ModeSocket == 0 {
			t.Errorf("socket: %v %v", info.Mode(), err)
		}
		if info, err = os.Stat(filepath.Dir(s.Socket())); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("directory: %v %v", info.Mode(), err)
		}
	})
	t.Run("OKStale", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Socket: stale(t)})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("ErrLive", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor()})
		try(t, s.Socket(), core.Exists, "another process answers on")
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal("the first agent suffered: " + r.Msg)
		}
	})
	t.Run("ErrNoSocket", func(t *testing.T) {
		p := path(t)
		if err := os.WriteFile(p, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Invalid, "is not a socket")
		if b, _ := os.ReadFile(p); string(b) != "precious" {
			t.Error("the file is gone")
		}
	})
	t.Run("ErrSymlink", func(t *testing.T) {
		p := path(t)
		if err := os.Symlink("/etc/passwd", p); err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Invalid, "is not a socket")
	})
	t.Run("ErrDirectoryMissing", func(t *testing.T) {
		try(t, filepath.Join(shortDir(t), "no", "such", "a.sock"), core.Invalid, "cannot create the directory")
	})
	t.Run("ErrDirectoryOpen", func(t *testing.T) {
		for _, mode := range []os.FileMode{0o777, 0o777 | os.ModeSticky} {
			p := path(t)
			if err := os.Chmod(filepath.Dir(p), mode); err != nil {
				t.Fatal(err)
			}
			try(t, p, core.Invalid, "every user can write to")
		}
	})
	t.Run("OKCloseLeavesAnothersFile", func(t *testing.T) {
		p := path(t)
		s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		other, _ := start(t, Config{Door: okDoor(), Socket: p})
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if r := ask(t, dial(t, other), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	// Without the lock of the directory, an agent that starts could remove the socket that another has just made.
	t.Run("ErrDirectoryLocked", func(t *testing.T) {
		p := stale(t)
		unlock, err := lockDir(filepath.Dir(p))
		if err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Unavailable, "holds the lock of the directory")
		if _, err := os.Lstat(p); err != nil {
			t.Errorf("the file was touched: %v", err)
		}
		unlock()
		s, _ := start(t, Config{Door: okDoor(), Socket: p})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("OKManyStartAtOnce", func(t *testing.T) {
		for range 10 {
			startMany(t, stale(t))
		}
	})
}

// stale leaves a socket file on which no process answers.
func stale(t *testing.T) string {
	t.Helper()
	p := filepath.Join(shortDir(t), "a.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	return p
}

func startMany(t *testing.T, p string) {
	t.Helper()
	const n = 8
	got := make(chan error, n)
	servers := make(chan *Server, n)
	begin := make(chan struct{})
	for range n {
		go func() {
			<-begin
			s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
			if err == nil {
				servers <- s
			}
			got <- err
		}()
	}
	close(begin)
	for range n {
		if err := <-got; err != nil && core.CodeOf(err) != core.Exists {
			t.Error(err)
		}
	}
	close(servers)
	started := 0
	for s := range servers {
		started++
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if started != 1 {
		t.Fatalf("%d agents on one socket", started)
	}
}

func TestStartPeers(t *testing.T) {
	t.Run("ErrUnknownUsers", func(t *testing.T) {
		_, err := Start(Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "a.sock"), Peers: []string{"no-such-user-1", me(), "no-such-user-2"}})
		if core.CodeOf(err) != core.Invalid || !strings.Contains(err.Error(), "no-such-user-1") || !strings.Contains(err.Error(), "no-such-user-2") {
			t.Fatal(err)
		}
	})
	t.Run("ErrNobody", func(t *testing.T) {
		if _, err := Start(Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "a.sock")}); core.CodeOf(err) != core.Invalid {
			t.Fatal(err)
		}
	})
	t.Run("OKByName", func(t *testing.T) {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{u.Username}})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("ErrOwnUserNotListed", func(t *testing.T) {
		s, logs := start(t, Config{Door: okDoor(), Peers: []string{"4294967294"}})
		c := dial(t, s)
		if r := receive(t, c); r.Code != core.Denied || !strings.Contains(r.Msg, "VAULT_AGENT_PEERS") {
			t.Fatalf("got %s %q", r.Code, r.Msg)
		}
		wantClosed(t, c)
		if !strings.Contains(logs.String(), "uid="+me()) {
			t.Errorf("log: %s", logs)
		}
	})
}

// TestPeerUser runs this binary as another user, which only root can.
func TestPeerUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	const unprivileged = 65534
	dir := shortDir(t)
	bin := copySelf(t, dir)
	asOtherUser := func(t *testing.T, s *Server) string {
		t.Helper()
		cmd := exec.Command(bin)
		cmd.Env = []string{childEnv + "=" + s.Socket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	t.Run("OKListed", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{strconv.Itoa(unprivileged)}})
		if got := asOtherUser(t, s); got != "|" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("ErrFileMode", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{"0"}})
		if got := asOtherUser(t, s); !strings.Contains(got, "permission denied") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("ErrCredentials", func(t *testing.T) {
		s, logs := start(t, Config{Door: okDoor(), Peers: []string{"0"}})
		if err := os.Chmod(s.Socket(), 0o666); err != nil { // past the file mode, as a member of the group is
			t.Fatal(err)
		}
		if got := asOtherUser(t, s); got != "denied|OS user 65534 may not use the key agent; VAULT_AGENT_PEERS lists the users that may" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(logs.String(), "uid=65534") {
			t.Errorf("log: %s", logs)
		}
	})
}

func copySelf(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "peer")
	if err := os.WriteFile(p, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}
