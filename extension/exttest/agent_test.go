package exttest

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

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

func TestAgentTimeout(t *testing.T) {
	c := sharedCluster(t)
	const limit, most = 300 * time.Millisecond, 10 * time.Second
	b := newBench(t, c)
	over := make(chan struct{})
	defer close(over)
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
		"ErrNeverReads": func(*net.UnixConn) { <-over },
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

// An answer without a request, lying on the kept connection, must not be used as the next answer.
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

func TestAgentBacklogFull(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.stop()
	ln, free := fullBacklog(t, b.agent)
	b.timeoutMs(300)
	took(t, 300*time.Millisecond, prompt, func() {
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "08006", "the key agent did not answer within 300 ms")
	})
	// It can be cancelled there as well, and the next call is none the worse.
	b.timeoutMs(60000)
	b.exec("SET statement_timeout = 200")
	took(t, 200*time.Millisecond, prompt, func() {
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
