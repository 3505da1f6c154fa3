package exttest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// prompt is how soon a wait must end once something wants it to. It is far less than what the wait would take otherwise, and
// more than a busy machine needs.
const prompt = 20 * time.Second

// silent takes questions and never answers; asked says that one has come.
func (a *fakeAgent) silent() (asked chan bool) {
	asked = make(chan bool, 64)
	a.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			asked <- true
		}
	})
	return asked
}

// background runs a statement that ought to wait for the agent.
func (s *session) background(sql string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.try(sql) }()
	return done
}

// within waits for the end of what happens in the background.
func within(t *testing.T, limit time.Duration, done <-chan error) error {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		t.Fatalf("the wait did not end within %v", limit)
		return nil
	}
}

func wait(t *testing.T, asked <-chan bool) {
	t.Helper()
	select {
	case <-asked:
	case <-time.After(pgtest.Patience):
		t.Fatal("the agent was not asked")
	}
}

var waitingStatements = []string{
	"SELECT vault.read_secret('kept')",
	"SELECT vault.verify('kept', 'x'::text)",
	"SELECT vault.create_secret('new', 'new value')",
	"SELECT vault.update_secret('kept', 'new value', 1)",
	"SELECT * FROM vault.list_secrets()",
}

func TestInterruptCancel(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	other := b.c.connect(t, b.db, vaulttest.Superuser)
	b.timeoutMs(60000)
	asked := b.agent.silent()
	for _, sql := range waitingStatements {
		done := b.background(sql)
		wait(t, asked)
		if !get[bool](other, "SELECT pg_cancel_backend($1)", b.pid()) {
			t.Fatal("no such backend")
		}
		wantError(t, within(t, prompt, done), "57014", "canceling statement due to user request")
	}
	b.wantNothingDone()
}

func TestInterruptStatementTimeout(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.timeoutMs(60000)
	b.exec("SET statement_timeout = 300")
	b.agent.silent()
	for _, sql := range waitingStatements {
		took(t, 300*time.Millisecond, prompt, func() {
			wantError(t, b.try(sql), "57014", "canceling statement due to statement timeout")
		})
	}
	b.exec("SET statement_timeout = 0")
	b.wantNothingDone()
}

// A refusal is recorded before it is raised; that wait can be cut short as well.
func TestInterruptWhileRecording(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.timeoutMs(60000)
	asked := b.agent.silent()
	other := b.c.connect(t, b.db, vaulttest.Superuser)
	done := b.background("SELECT vault.read_secret('absent')")
	wait(t, asked)
	other.exec("SELECT pg_cancel_backend($1)", b.pid())
	wantError(t, within(t, prompt, done), "57014", "canceling statement")
	b.wantNothingDone()

	b.timeoutMs(300)
	b.agent.silent()
	took(t, 300*time.Millisecond, prompt, func() {
		wantError(t, b.try("SELECT vault.read_secret('absent')"), "42704", "does not exist")
	})
	b.timeoutMs(5000)
	b.wantNothingDone()
}

func TestInterruptTerminate(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	other := b.c.connect(t, b.db, vaulttest.Superuser)
	for _, sql := range waitingStatements {
		asked := b.agent.silent()
		victim := b.c.connect(t, b.db, vaulttest.Superuser)
		victim.exec("SET hyperion_vault.agent_timeout_ms = 60000")
		pid := victim.pid()
		done := victim.background(sql)
		wait(t, asked)
		other.exec("SELECT pg_terminate_backend($1)", pid)
		wantError(t, within(t, prompt, done), "57P01", "terminating connection")
		pgtest.Eventually(t, "the backend is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
	b.wantNothingDone()
}

// A client that vanishes while its backend waits: the backend ends when the wait does, by the agent's time limit.
func TestInterruptClientGone(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	asked := b.agent.silent()
	victim := b.c.connect(t, b.db, vaulttest.Superuser)
	victim.exec("SET hyperion_vault.agent_timeout_ms = 500")
	pid := victim.pid()
	done := victim.background("SELECT vault.read_secret('kept')")
	wait(t, asked)
	_ = victim.PgConn().Conn().Close()
	if err := within(t, prompt, done); err == nil || pgconn.Timeout(err) {
		t.Errorf("the client's end: %v", err)
	}
	pgtest.Eventually(t, "the backend is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	b.wantNothingDone()
}

func TestInterruptShutdown(t *testing.T) {
	c := startCluster(t, true)
	for name, signal := range map[string]syscall.Signal{
		"Fast":      syscall.SIGINT,
		"Immediate": syscall.SIGQUIT,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c)
			sessions := []*session{b.session}
			for range 4 {
				sessions = append(sessions, c.connect(t, b.db, vaulttest.Superuser))
			}
			asked := b.agent.silent()
			var done []<-chan error
			for i, s := range sessions {
				s.exec("SET hyperion_vault.agent_timeout_ms = 60000")
				done = append(done, s.background(waitingStatements[i]))
				if i != 3 { // it waits for the row that number 2 has not locked, or for the agent: either will do
					wait(t, asked)
				}
			}
			took(t, 0, prompt, func() { c.MustStop(t, signal) })
			for _, d := range done {
				err := within(t, prompt, d)
				var pg *pgconn.PgError
				// One that was not sent yet when the server went finds its connection closed.
				unsent := err != nil && err.Error() == "conn closed"
				if !unsent && !errors.As(err, &pg) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("want the end of the session, got %v", err)
				}
			}
			c.MustStart(t)
			s := c.connect(t, b.db, vaulttest.Superuser)
			(&bench{session: s, c: c, db: b.db, agent: b.agent}).wantNothingDone()
		})
	}
}

// A postmaster that dies takes its backends with it, waiting ones as well.
func TestInterruptPostmasterDeath(t *testing.T) {
	c := startCluster(t, true)
	b := newBench(t, c)
	b.timeoutMs(60000)
	asked := b.agent.silent()
	pid := b.pid()
	done := b.background("SELECT vault.read_secret('kept')")
	wait(t, asked)
	c.MustStop(t, syscall.SIGKILL)
	if err := within(t, pgtest.Patience, done); err == nil {
		t.Error("a read came back")
	}
	pgtest.Eventually(t, "the backend is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// TestInterruptWithoutWaiting: an agent that answers at once leaves no wait in which a cancel could be noticed. A statement
// that makes call after call ends all the same.
func TestInterruptWithoutWaiting(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	other := b.c.connect(t, b.db, vaulttest.Superuser)
	asked := make(chan bool, 1)
	b.agent.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			if _, err := c.Write(encode(b.agent.answer(r))); err != nil {
				return
			}
			select {
			case asked <- true:
			default:
			}
		}
	})
	for _, sql := range []string{
		"SELECT count(vault.read_secret('kept')) FROM (SELECT generate_series(1, 1000000000) AS g) s",
		"SELECT count(vault.verify('kept', g::text)) FROM (SELECT generate_series(1, 1000000000) AS g) s",
		"DO $$ BEGIN LOOP PERFORM vault.read_secret('kept'); END LOOP; END $$",
		"DO $$ BEGIN LOOP BEGIN PERFORM vault.read_secret('absent'); EXCEPTION WHEN undefined_object THEN END; END LOOP; END $$",
		"SELECT count(vault.update_secret('kept', g::text, NULL)) FROM (SELECT generate_series(1, 1000000000) AS g) s",
	} {
		for how, state := range map[string]string{"pg_cancel_backend": "57014", "pg_terminate_backend": "57P01"} {
			victim := b.c.connect(t, b.db, vaulttest.Superuser)
			for len(asked) > 0 {
				<-asked
			}
			done := victim.background(sql)
			select {
			case <-asked:
			case err := <-done:
				t.Fatalf("%s: %v", sql, err)
			}
			other.exec("SELECT "+how+"($1)", victim.pid())
			wantError(t, within(t, pgtest.Patience, done), state, "")
		}
	}
}
