package exttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// bench is a database, its agent, a secret "kept" whose value is keptValue, and a session.
type bench struct {
	*session
	c     cluster
	db    string
	agent *fakeAgent
}

const keptValue = "value that was there before"

func newBench(t testing.TB, c cluster) *bench {
	t.Helper()
	agent := newFakeAgent(t)
	db := c.newDatabase(t, agent.path)
	s := c.connect(t, db, "postgres")
	s.exec("SELECT vault.create_secret('kept', $1::text)", keptValue)
	agent.recorded()
	return &bench{session: s, c: c, db: db, agent: agent}
}

// in is b within a subtest.
func (b *bench) in(t testing.TB) *bench {
	inner := *b
	inner.session = &session{Conn: b.Conn, t: t}
	return &inner
}

func (b *bench) timeoutMs(ms int) {
	b.exec(fmt.Sprintf("SET hyperion_vault.agent_timeout_ms = %d", ms))
}

// wantNothingDone checks that the failed attempts stored nothing, and that the session works once the agent does.
func (b *bench) wantNothingDone() {
	b.t.Helper()
	b.agent.behave(nil)
	for what, want := range map[string]int{
		"SELECT count(*)::int FROM vault.secrets":                                                        1,
		"SELECT count(*)::int FROM vault.secret_versions":                                                1,
		"SELECT count(*)::int FROM vault.secrets WHERE name = 'new'":                                     0,
		"SELECT max(version)::int FROM vault.secret_versions":                                            1,
		"SELECT count(*)::int FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'transactionid'": 0,
	} {
		if got := get[int](b.session, what); got != want {
			b.t.Errorf("%s: %d, not %d", what, got, want)
		}
	}
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
		b.t.Errorf("after the failures, read %q", got)
	}
	if !get[bool](b.session, "SELECT vault.verify('kept', $1::text)", keptValue) {
		b.t.Error("after the failures, the value does not verify")
	}
}

// header is a frame's length and n bytes of what should be its body.
func header(length uint32, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, length), body...)
}

// replace answers each request with what f makes of the honest answer.
func replace(a *fakeAgent, f func(r *frame.Request, honest *frame.Response) []byte) func(*net.UnixConn) {
	return func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			if _, err := c.Write(f(r, a.answer(r))); err != nil {
				return
			}
		}
	}
}

// rewritten is an encoded answer with its key cut or grown to n bytes, which the encoder would refuse.
func rewritten(r *frame.Response, n int) []byte {
	if r.Op == frame.OpRecord {
		return encode(r)
	}
	b := []byte{frame.ProtocolVersion, byte(r.Op), 0, 0, 0, 0}
	key := append(bytes.Clone(r.Keys[0]), make([]byte, 64)...)[:n]
	if r.Op == frame.OpUnwrap {
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.Keys)))
	}
	b = append(binary.BigEndian.AppendUint32(b, uint32(n)), key...)
	if r.Op == frame.OpGenerate {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.KeyID))), r.KeyID...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(r.Wrapped))), r.Wrapped...)
	}
	return header(uint32(len(b)), b)
}

// refuse answers every request with a code.
func refuse(code core.Code) func(*fakeAgent) func(*net.UnixConn) {
	return func(*fakeAgent) func(*net.UnixConn) {
		return func(c *net.UnixConn) {
			for r := ask(c); r != nil; r = ask(c) {
				if _, err := c.Write(encode(&frame.Response{Op: r.Op, Code: code, Msg: "no, " + string(code)})); err != nil {
					return
				}
			}
		}
	}
}

// took runs f and checks how long that was.
func took(t *testing.T, least, most time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d < least || d > most {
		t.Errorf("took %v, not between %v and %v", d, least, most)
	}
}

// fullBacklog listens at a's path with room for one connection, which is taken. It returns the listener and what
// frees the room.
func fullBacklog(t *testing.T, a *fakeAgent) (*net.UnixListener, func()) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: a.path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.path, 0o777); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		c, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, c)
		if err := syscall.Connect(c, &syscall.SockaddrUnix{Name: a.path}); err == syscall.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(fd), a.path)
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	return ln.(*net.UnixListener), func() {
		for _, c := range taken {
			_ = syscall.Close(c)
		}
	}
}

// smallReader reads a few bytes at a time.
type smallReader struct{ io.Reader }

func (r smallReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 7)]) }
