package exttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
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

func TestAgentMisbehaves(t *testing.T) {
	c := sharedCluster(t)
	raw := func(b []byte) func(*fakeAgent) func(*net.UnixConn) {
		return func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(*frame.Request, *frame.Response) []byte { return b })
		}
	}
	// These agents record as they should.
	keysOnly := map[string]bool{"ErrWrongOp": true, "ErrShortKey": true, "ErrLongKey": true, "ErrEmptyKey": true}
	b, open := newBench(t, c), 0
	b.timeoutMs(2000)
	calls := []string{
		"SELECT vault.read_secret('kept')",
		"SELECT vault.read_secret_bytes('kept', 1)",
		"SELECT vault.verify('kept', 'x'::text)",
		"SELECT vault.create_secret('new', 'new value')",
		"SELECT vault.update_secret('kept', 'new value', NULL)",
		"SELECT vault.create_secret('new', NULL::text, 'automatic', rotation_interval_secs => 60)",
	}
	if os.Getuid() == 0 {
		// After each call has failed once, the backend has opened the tables that it needs.
		b.agent.behave(refuse(core.Internal)(b.agent))
		for _, sql := range append(calls, "SELECT * FROM vault.list_secrets()") {
			_ = b.try(sql)
		}
		b.agent.behave(nil)
		b.wantNothingDone()
		open = descriptors(t, b.pid())
	}
	for _, tt := range []struct {
		name  string
		serve func(a *fakeAgent) func(*net.UnixConn)
		state string
		part  string
	}{
		{"ErrClosesAtOnce", func(*fakeAgent) func(*net.UnixConn) {
			return func(*net.UnixConn) {}
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesAfterTheQuestion", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrHalfCloses", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { _ = c.CloseWrite(); untilClosed(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesItsEar", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { _ = c.CloseRead(); _ = c.CloseWrite(); untilClosed(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesInTheHeader", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c); _, _ = c.Write([]byte{0, 0}) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesInTheBody", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c); _, _ = c.Write(header(100, make([]byte, 99))) }
		}, "08006", "the key agent closed the connection"},
		{"ErrGarbage", raw(random(64)[:64]), "", ""},
		{"ErrHTTP", raw([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")), "08P01", "impossible length"},
		{"ErrGarbageBody", raw(header(64, bytes.Repeat([]byte{0xa5}, 64))), "08006", "the key agent sent a malformed answer"},
		{"ErrZeroBody", raw(header(64, make([]byte, 64))), "08006", "the key agent sent a malformed answer"},
		{"ErrOneByteBody", raw(header(1, []byte{1})), "08006", "the key agent sent a malformed answer"},
		{"ErrLengthZero", raw(header(0, nil)), "08P01", "impossible length"},
		{"ErrLengthOversize", raw(header(frame.MaxSize+1, nil)), "08P01", "impossible length"},
		{"ErrLengthHuge", raw(header(0xffffffff, nil)), "08P01", "impossible length"},
		{"ErrLargestBodyOfNothing", raw(header(frame.MaxSize, make([]byte, frame.MaxSize))), "08006", "the key agent sent a malformed answer"},
		{"ErrTrailingByte", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte {
				b := append(encode(r), 0)
				binary.BigEndian.PutUint32(b, uint32(len(b)-4))
				return b
			})
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrWrongOp", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(*frame.Request, *frame.Response) []byte {
				return encode(&frame.Response{Op: frame.OpRecord})
			})
		}, "08006", "the key agent sent an answer to another question"},
		{"ErrOtherOp", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(r *frame.Request, _ *frame.Response) []byte {
				if r.Op == frame.OpGenerate {
					return encode(&frame.Response{Op: frame.OpUnwrap, Keys: [][]byte{random(32)}})
				}
				return encode(&frame.Response{Op: frame.OpGenerate, Keys: [][]byte{random(32)}, KeyID: "k", Wrapped: random(8)})
			})
		}, "08006", "the key agent sent an answer to another question"},
		{"ErrShortKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 31) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrLongKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 33) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrEmptyKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 0) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrCodeUnavailable", refuse(core.Unavailable), "08006", "key agent: no, unavailable"},
		{"ErrCodeDenied", refuse(core.Denied), "42501", "key agent: no, denied"},
		{"ErrCodeCorrupt", refuse(core.Corrupt), "XX001", "key agent: no, corrupt"},
		{"ErrCodeInvalid", refuse(core.Invalid), "22023", "key agent: no, invalid"},
		{"ErrCodeInternal", refuse(core.Internal), "XX000", "internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := b.in(t)
			b.agent.behave(tt.serve(b.agent))
			pid := b.pid()
			for _, sql := range calls {
				err := b.try(sql)
				if tt.state == "" {
					if err == nil {
						t.Errorf("%s succeeded", sql)
					}
					continue
				}
				wantError(t, err, tt.state, tt.part)
				if b.PgConn().TxStatus() != 'I' {
					t.Fatal("a transaction is left open")
				}
			}
			// The list is recorded by the agent before it leaves.
			if err := b.try("SELECT * FROM vault.list_secrets()"); (err == nil) != keysOnly[tt.name] {
				t.Errorf("a list: %v", err)
			}
			if got := get[int](b.session, "SELECT pg_backend_pid()"); got != pid {
				t.Errorf("another backend: %d, not %d", got, pid)
			}
			b.wantNothingDone()
		})
	}
	if os.Getuid() == 0 { // for others a process that is not dumpable does not show its files
		if n := descriptors(t, b.pid()); n > open+2 { // a connection that is kept; one left open by each case would be many
			t.Errorf("%d files are open after all that, %d before", n, open)
		}
	}
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

// Two keys where one was asked for, or one for two.
func TestAgentWrongNumberOfKeys(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("UPDATE vault.secrets SET grace_period_secs = 3600")
	b.exec("SELECT vault.update_secret('kept', 'second value', 1)")
	for n := 1; n <= 3; n++ {
		b.agent.behave(replace(b.agent, func(r *frame.Request, _ *frame.Response) []byte {
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = random(32)
			}
			return encode(&frame.Response{Op: frame.OpUnwrap, Keys: keys})
		}))
		state, part := "08006", "the key agent sent an answer to another question"
		if n == 1 {
			state, part = "XX001", "" // the right number, but of wrong keys
		}
		wantError(t, b.try("SELECT vault.read_secret('kept')"), state, part)
		if n == 2 {
			state, part = "XX001", ""
		} else {
			state, part = "08006", "the key agent sent an answer to another question"
		}
		wantError(t, b.try("SELECT vault.verify('kept', 'second value'::text)"), state, part)
	}
	b.agent.behave(nil)
	if !get[bool](b.session, "SELECT vault.verify('kept', $1::text)", keptValue) {
		t.Error("the version in grace does not verify")
	}
}

func TestAgentWrongKey(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.behave(replace(b.agent, func(_ *frame.Request, r *frame.Response) []byte {
		if r.Op == frame.OpUnwrap {
			r.Keys = [][]byte{random(32)}
		}
		return encode(r)
	}))
	for range 3 {
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "XX001", "")
		wantError(t, b.try("SELECT vault.verify('kept', $1::text)", keptValue), "XX001", "")
	}
	// The failures are on record, beside the reads that the agent saw.
	failed := 0
	for _, r := range b.agent.recorded() {
		if r.Op == frame.OpRecord && r.Outcome == frame.OutcomeFailed && r.Code == core.Corrupt && r.Name == "kept" {
			failed++
		}
	}
	if failed != 6 {
		t.Errorf("%d failures recorded, not 6", failed)
	}
	b.wantNothingDone()
}

func TestAgentAbsent(t *testing.T) {
	c := sharedCluster(t)
	t.Run("ErrNoSocket", func(t *testing.T) {
		b := newBench(t, c)
		b.agent.stop()
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08001", "could not connect to the key agent: No such file or directory")
		wantError(t, b.try("SELECT vault.create_secret('new', 'x')"), "08001", "could not connect to the key agent")
		// What needs no key answers as ever.
		wantError(t, b.try("SELECT vault.read_secret('absent')"), "42704", "does not exist")
		b.agent.listen()
		b.wantNothingDone()
	})
	t.Run("ErrNobodyListens", func(t *testing.T) {
		b := newBench(t, c)
		b.agent.ln.SetUnlinkOnClose(false)
		b.agent.stop()
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08001", "could not connect to the key agent: Connection refused")
		wantError(t, b.try("SELECT vault.create_secret('new', 'x')"), "08001", "Connection refused")
		if err := os.Remove(b.agent.path); err != nil {
			t.Fatal(err)
		}
		b.agent.listen()
		b.wantNothingDone()
	})
	t.Run("ErrNoAccess", func(t *testing.T) {
		b := newBench(t, c)
		if err := os.Chmod(b.agent.path, 0); err != nil {
			t.Fatal(err)
		}
		b.agent.hangUp()
		if err := b.try("SELECT vault.read_secret('kept')"); os.Getuid() == 0 {
			wantError(t, err, "08001", "could not connect to the key agent: Permission denied")
		}
		if err := os.Chmod(b.agent.path, 0o777); err != nil {
			t.Fatal(err)
		}
		b.wantNothingDone()
	})
	t.Run("ErrNotASocket", func(t *testing.T) {
		b := newBench(t, c)
		b.exec("SET hyperion_vault.agent_socket = '/dev/null'")
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08001", "could not connect to the key agent")
		b.exec("RESET hyperion_vault.agent_socket")
		b.wantNothingDone()
	})
	t.Run("ErrDatagramSocket", func(t *testing.T) {
		b := newBench(t, c)
		path := b.agent.path + "d"
		dgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer dgram.Close()
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		b.exec("SET hyperion_vault.agent_socket = '" + path + "'")
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08001", "could not connect to the key agent")
		b.exec("RESET hyperion_vault.agent_socket")
		b.wantNothingDone()
	})
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

func TestAgentTimeout(t *testing.T) {
	c := sharedCluster(t)
	const limit, most = 300 * time.Millisecond, 1300 * time.Millisecond
	b := newBench(t, c)
	for name, serve := range map[string]func(*net.UnixConn){
		"ErrSilent": func(c *net.UnixConn) { untilClosed(c) },
		"ErrSilentAfterHeader": func(c *net.UnixConn) {
			ask(c)
			_, _ = c.Write(header(100, nil))
			untilClosed(c)
		},
		// Each byte comes long before the limit, all of them long after it: the limit is for the answer.
		"ErrTrickle": func(c *net.UnixConn) {
			ask(c)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for _, b := range header(1000, make([]byte, 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				<-tick.C
			}
		},
		"ErrNeverReads": func(c *net.UnixConn) { <-time.After(most) },
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			b.timeoutMs(int(limit / time.Millisecond))
			b.agent.behave(serve)
			for _, sql := range []string{
				"SELECT vault.read_secret('kept')",
				"SELECT vault.create_secret('new', 'x')",
			} {
				took(t, limit, most, func() {
					wantError(t, b.try(sql), "08006", "the key agent did not answer within 300 ms")
				})
			}
			b.timeoutMs(5000)
			b.wantNothingDone()
		})
	}
}

// In small pieces with pauses, but within the limit.
func TestAgentSlowIsFine(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			tick := time.NewTicker(2 * time.Millisecond)
			for _, by := range encode(b.agent.answer(r)) {
				<-tick.C
				if _, err := c.Write([]byte{by}); err != nil {
					return
				}
			}
			tick.Stop()
		}
	})
	if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
		t.Errorf("read %q", got)
	}
	b.exec("SELECT vault.create_secret('new2', 'x')")
	if got := get[string](b.session, "SELECT vault.read_secret('new2')"); got != "x" {
		t.Errorf("read %q", got)
	}
}

// The answer to a question that was given up must not become the answer to the next one.
func TestAgentLateAnswer(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.create_secret('other', 'the other value')")
	for name, untilLate := range map[string]func(c *net.UnixConn, release chan bool) *frame.Request{
		"BeforeTheNextQuestion": func(_ *net.UnixConn, release chan bool) *frame.Request { <-release; return nil },
		"WithTheNextQuestion":   func(c *net.UnixConn, _ chan bool) *frame.Request { return ask(c) },
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			late, release := make(chan bool, 1), make(chan bool)
			var once sync.Once
			b.agent.behave(func(c *net.UnixConn) {
				for r := ask(c); r != nil; r = ask(c) {
					var next *frame.Request
					once.Do(func() { next = untilLate(c, release); late <- true })
					if _, err := c.Write(encode(b.agent.answer(r))); err != nil {
						return
					}
					if next != nil {
						_, _ = c.Write(encode(b.agent.answer(next)))
					}
				}
			})
			b.exec("SET statement_timeout = 100")
			wantError(t, b.try("SELECT vault.read_secret('other')"), "57014", "statement timeout")
			b.exec("SET statement_timeout = 0")
			close(release)
			if name == "BeforeTheNextQuestion" {
				wait(t, late)
			}
			for range 3 {
				if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
					t.Fatalf("read %q", got)
				}
				if got := get[string](b.session, "SELECT vault.read_secret('other')"); got != "the other value" {
					t.Fatalf("read %q", got)
				}
			}
			b.exec("SELECT vault.update_secret('other', 'the other value', NULL)")
		})
	}
	b.agent.behave(nil)
	if got := get[string](b.session, "SELECT vault.read_secret('other')"); got != "the other value" {
		t.Errorf("read %q", got)
	}
}

// An answer nobody asked for, lying on the kept connection, must not be taken for the next answer.
func TestAgentUnaskedAnswer(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	sent := make(chan bool, 1)
	b.agent.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			honest := encode(b.agent.answer(r))
			if _, err := c.Write(append(honest, honest...)); err != nil {
				return
			}
			select {
			case sent <- true:
			default:
			}
		}
	})
	b.exec("SELECT vault.create_secret('other', 'the other value')")
	<-sent
	for range 3 {
		for name, value := range map[string]string{"kept": keptValue, "other": "the other value"} {
			if got := get[string](b.session, "SELECT vault.read_secret($1)", name); got != value {
				t.Fatalf("read %q for %s", got, name)
			}
		}
		b.exec("SELECT vault.update_secret('other', 'the other value', NULL)")
	}
	b.agent.behave(nil)
	if got := get[string](b.session, "SELECT vault.read_secret('other')"); got != "the other value" {
		t.Errorf("read %q: it was sealed under the key of another question", got)
	}
}

func TestAgentRestart(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	read := func() {
		t.Helper()
		if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
			t.Errorf("read %q", got)
		}
	}
	read()
	before := b.agent.connections()
	for range 10 {
		read()
	}
	if n := b.agent.connections(); n != before {
		t.Errorf("%d connections more for ten reads: it is not kept", n-before)
	}
	for range 3 {
		b.agent.stop()
		b.agent.listen()
		read()
		read()
	}
	if n := b.agent.connections(); n != before+3 {
		t.Errorf("%d connections for 3 restarts", n-before)
	}
	b.agent.stop()
	b.agent.listen()
	b.exec("SELECT vault.create_secret('new', 'x')")
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE name = 'new'"); n != 1 {
		t.Errorf("%d versions of the secret made while the agent restarted", n)
	}
	// Another socket is another agent, at once.
	other := newFakeAgent(t)
	b.exec("SET hyperion_vault.agent_socket = '" + other.path + "'")
	wantError(t, b.try("SELECT vault.read_secret('kept')"), "XX001", "key agent: no such key")
	b.exec("RESET hyperion_vault.agent_socket")
	read()
}

// An agent that closes every connection is tried twice at most.
func TestAgentReopenedOnce(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.behave(func(*net.UnixConn) {})
	before := b.agent.connections()
	wantError(t, b.try("SELECT vault.read_secret('kept')"), "08006", "closed the connection")
	if n := b.agent.connections() - before; n < 1 || n > 2 {
		t.Errorf("%d connections for one read", n)
	}
	b.wantNothingDone()
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

func TestAgentBacklogFull(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.stop()
	ln, free := fullBacklog(t, b.agent)
	b.timeoutMs(300)
	took(t, 300*time.Millisecond, 1300*time.Millisecond, func() {
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08006", "the key agent did not answer within 300 ms")
	})
	// It can be cancelled there as well, and the next call is none the worse.
	b.timeoutMs(10000)
	b.exec("SET statement_timeout = 200")
	took(t, 200*time.Millisecond, 1200*time.Millisecond, func() {
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "57014", "statement timeout")
	})
	b.exec("SET statement_timeout = 0")

	read := make(chan error, 1)
	go func() {
		got, err := tryGet[string](b.session, "SELECT vault.read_secret('kept')")
		if err == nil && got != keptValue {
			err = fmt.Errorf("read %q", got)
		}
		read <- err
	}()
	watch := b.c.connect(t, b.db, "postgres")
	pgtest.Eventually(t, "the backend waits for the agent", func() bool {
		return get[bool](watch, "SELECT coalesce(wait_event = 'Extension', false) FROM pg_stat_activity WHERE pid = $1", b.pid())
	})
	free()
	b.agent.adopt(ln)
	if err := <-read; err != nil {
		t.Errorf("once the backlog was free: %v", err)
	}
	b.wantNothingDone()
}

// Requests larger than a socket's buffer are sent in pieces, to an agent that takes its time.
func TestAgentLargeRequest(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("UPDATE vault.secrets SET grace_period_secs = 3600")
	for range 70 { // more than one request may name
		b.exec("SELECT vault.update_secret('kept', gen_random_uuid()::text, NULL)")
	}
	b.agent.behave(func(c *net.UnixConn) {
		_ = c.SetReadBuffer(2048)
		for r := ask(smallReader{c}); r != nil; r = ask(smallReader{c}) {
			if _, err := c.Write(encode(b.agent.answer(r))); err != nil {
				return
			}
		}
	})
	if !get[bool](b.session, "SELECT vault.verify('kept', $1::text)", keptValue) {
		t.Error("the oldest of 71 versions in grace does not verify")
	}
	if get[bool](b.session, "SELECT vault.verify('kept', 'wrong'::text)") {
		t.Error("a wrong candidate verifies")
	}
}

// smallReader reads a few bytes at a time.
type smallReader struct{ io.Reader }

func (r smallReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 7)]) }
