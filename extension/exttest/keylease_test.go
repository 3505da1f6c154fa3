package exttest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// lender is a fake agent that lends its keys, and the file in which their reads are recorded.
type lender struct {
	*bench
	file *os.File
	ms   uint64
}

// newLender is a vault whose agent lends each key for so long.
func newLender(t *testing.T, leased time.Duration) *lender {
	t.Helper()
	b := newBench(t, sharedCluster(t))
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "leased.1"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	l := &lender{bench: b, file: f, ms: uint64(leased.Milliseconds())}
	b.agent.behave(l.serve)
	return l
}

// serve is an honest agent that lends.
func (l *lender) serve(c *net.UnixConn) {
	for r := ask(c); r != nil; r = ask(c) {
		resp := l.agent.answer(r)
		if r.Op != frame.OpLease || resp.Code != "" {
			if _, err := c.Write(encode(resp)); err != nil {
				return
			}
			continue
		}
		resp.LeaseMillis, resp.File = l.ms, 1
		var rights []byte
		if r.File != 1 {
			rights = unix.UnixRights(int(l.file.Fd()))
		}
		if _, _, err := c.WriteMsgUnix(encode(resp), rights, nil); err != nil {
			return
		}
	}
}

// asked returns how many reads the agent was asked about since the last call.
func (l *lender) asked() int {
	l.t.Helper()
	return len(l.agent.recorded())
}

// reads returns the records in the file.
func (l *lender) reads() (all []frame.LeasedRead) {
	l.t.Helper()
	b, err := os.ReadFile(l.file.Name())
	if err != nil {
		l.t.Fatal(err)
	}
	for len(b) > 0 {
		r, ok, skipped, n := frame.NextLeasedRead(b)
		if n == 0 || !ok || skipped {
			l.t.Fatalf("no record: %q", b)
		}
		all = append(all, r)
		b = b[n:]
	}
	return all
}

// wantRead reads the secret that every bench has, in a session.
func (l *lender) wantRead(s *session) {
	l.t.Helper()
	if got := get[string](s, "SELECT vault.read_secret('kept')"); got != keptValue {
		l.t.Fatalf("read %q", got)
	}
}

// wantAsked reads, and checks whether the agent was asked.
func (l *lender) wantAsked(want int) {
	l.t.Helper()
	l.wantRead(l.session)
	if n := l.asked(); n != want {
		l.t.Fatalf("the agent was asked %d times, want %d", n, want)
	}
}

func TestLeasedRead(t *testing.T) {
	l := newLender(t, time.Minute)
	l.wantAsked(1)
	before := time.Now().Add(-time.Millisecond)
	for range 3 {
		l.wantAsked(0)
	}
	all := l.reads()
	if len(all) != 3 {
		t.Fatalf("%d records", len(all))
	}
	r := all[0]
	want := frame.Origin{
		Database: l.db, Role: "postgres", SessionRole: "postgres", RequestID: fmt.Sprintf("pid-%d", l.pid()),
	}
	if r.Origin != want || r.Name != "kept" || r.Version != 1 || r.At.Before(before) || r.At.After(time.Now()) {
		t.Errorf("%+v", r)
	}
	if n := get[[]byte](l.session, "SELECT vault.read_secret_bytes('kept')"); string(n) != keptValue || l.asked() != 0 {
		t.Errorf("bytes: %q", n)
	}
	l.exec("SELECT vault.update_secret('kept', 'next', 1)")
	l.asked()
	if got := get[string](l.session, "SELECT vault.read_secret('kept')"); got != "next" || l.asked() != 1 {
		t.Errorf("after the update: %q", got)
	}
	if got := get[string](l.session, "SELECT vault.read_secret('kept')"); got != "next" || l.asked() != 0 {
		t.Errorf("leased after the update: %q", got)
	}
	if got := get[string](l.session, "SELECT current_setting('hyperion_vault.key_lease_secs')"); got != "1min" {
		t.Errorf("the default is %s", got)
	}
}

// TestLeasedRole: the record has the role that reads, with the bytes that a line cannot have.
func TestLeasedRole(t *testing.T) {
	l := newLender(t, time.Minute)
	const odd = "lease\ttab\\and\nline"
	l.exec(`CREATE ROLE "` + odd + `"`)
	t.Cleanup(func() { l.exec(`RESET ROLE`); l.exec(`DROP OWNED BY "` + odd + `"`); l.exec(`DROP ROLE "` + odd + `"`) })
	l.grant(`"`+odd+`"`, "kept", "read")
	l.wantAsked(1)
	l.exec(`SET ROLE "` + odd + `"`)
	l.wantAsked(0)
	if all := l.reads(); len(all) != 1 || all[0].Origin.Role != odd || all[0].Origin.SessionRole != "postgres" {
		t.Errorf("%+v", all)
	}
}

// TestLeaseNeedsTheGrant: the decision is made for each read, whatever keys the session has.
func TestLeaseNeedsTheGrant(t *testing.T) {
	l := newLender(t, time.Minute)
	role := l.c.newRole(t)
	l.grant(role, "kept", "read")
	l.grant(role, "other", "read") // which keeps the schema open
	s := l.c.connect(t, l.db, role)
	l.wantRead(s)
	l.wantRead(s)
	l.exec("SELECT vault.revoke_access($1::text::regrole, 'kept', '{read}')", role)
	wantError(t, s.try("SELECT vault.read_secret('kept')"), "42501", "permission denied to read secret")
	if n := len(l.reads()); n != 1 {
		t.Errorf("%d leased reads", n)
	}
	sent := l.agent.recorded()
	if len(sent) != 2 || sent[1].Op != frame.OpRecord || sent[1].Code != core.Denied {
		t.Errorf("the refusal is not recorded: %d requests, the last %+v", len(sent), sent[len(sent)-1])
	}
	l.grant(role, "kept", "read")
	l.wantRead(s)
	l.exec("SELECT vault.delete_secret('kept', 1)")
	wantError(t, s.try("SELECT vault.read_secret('kept')"), "42704", "does not exist")
}

// TestLeaseNeedsTheAgent: without the agent there is no read, and it can end all leases by closing the connection.
func TestLeaseNeedsTheAgent(t *testing.T) {
	l := newLender(t, time.Hour)
	l.wantAsked(1)
	l.wantAsked(0)
	l.agent.hangUp()
	l.wantAsked(1)
	l.wantAsked(0)
	n := len(l.reads())
	l.agent.stop()
	wantError(t, l.try("SELECT vault.read_secret('kept')"), "08001", "could not connect to the key agent")
	if len(l.reads()) != n {
		t.Error("a read was recorded that was not answered")
	}
}

// TestLeaseSettings: 0 means none, at once, and no role but a superuser sets it.
func TestLeaseSettings(t *testing.T) {
	l := newLender(t, time.Minute)
	l.wantAsked(1)
	l.exec("SET hyperion_vault.key_lease_secs = 0")
	l.wantAsked(1)
	l.wantAsked(1)
	l.exec("RESET hyperion_vault.key_lease_secs")
	role := l.c.newRole(t)
	wantError(t, l.c.connect(t, l.db, role).try("SET hyperion_vault.key_lease_secs = 3600"), "42501", "permission denied to set parameter")
	wantError(t, l.try("SET hyperion_vault.key_lease_secs = 3601"), "22023", "outside the valid range")
}

// keyOf returns the data key of the secret that every bench has.
func (l *lender) keyOf() []byte {
	l.t.Helper()
	wrapped := get[[]byte](l.session, "SELECT wrapped_dek FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = 'kept'")
	l.agent.mu.Lock()
	defer l.agent.mu.Unlock()
	return bytes.Clone(l.agent.keys[string(wrapped)])
}

// copies counts a key in the memory of a process, which may change meanwhile.
func copies(t *testing.T, pid int, key []byte) (n int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Skipf("the memory of another process cannot be read: %v", err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skipf("the memory of another process cannot be read: %v", err)
	}
	defer memory.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw-p") {
			continue
		}
		b := make([]byte, to-from)
		if _, err := memory.ReadAt(b, from); err == nil {
			n += bytes.Count(b, key)
		}
	}
	return n
}

// TestLeasedKeyIsWiped: a session that does nothing has no key past the end of its lease, or after the agent is gone.
func TestLeasedKeyIsWiped(t *testing.T) {
	gone := func(t *testing.T, l *lender, s *session, key []byte) {
		t.Helper()
		pgtest.Eventually(t, "the key is wiped", func() bool { return copies(t, s.pid(), key) == 0 })
	}
	for name, tt := range map[string]struct {
		leased time.Duration
		end    func(l *lender, s *session)
	}{
		"AtItsEnd":         {3 * time.Second, func(*lender, *session) {}},
		"AfterAnError":     {3 * time.Second, func(_ *lender, s *session) { _ = s.try("SELECT 1/0") }},
		"AgentHangsUp":     {time.Hour, func(l *lender, _ *session) { l.agent.hangUp() }},
		"InATransaction":   {3 * time.Second, func(_ *lender, s *session) { s.exec("BEGIN") }},
		"SettingIsChanged": {time.Hour, func(l *lender, s *session) { s.exec("SET hyperion_vault.key_lease_secs = 0"); l.wantRead(s) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLender(t, tt.leased)
			key := l.keyOf()
			s := l.c.connect(t, l.db, "postgres")
			// A busy machine may look when the lease is over.
			pgtest.Eventually(t, "there is one copy of a leased key", func() bool { l.wantRead(s); return copies(t, s.pid(), key) == 1 })
			tt.end(l, s)
			gone(t, l, s, key)
			l.asked()
			if s.PgConn().TxStatus() == 'I' {
				l.wantRead(s)
			}
		})
	}
}

// TestLeaseEnds: past its end a key is not used, whether or not it has been wiped.
func TestLeaseEnds(t *testing.T) {
	l := newLender(t, 50*time.Millisecond)
	l.wantAsked(1)
	pgtest.Eventually(t, "the agent is asked again", func() bool { l.wantRead(l.session); return l.asked() > 0 })
}

// TestLeasedDiskFull: a read whose record cannot be written is left to the agent, which records it or refuses.
func TestLeasedDiskFull(t *testing.T) {
	l := newLender(t, time.Hour)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	l.file = full
	l.wantAsked(1)
	l.wantAsked(1)
	l.agent.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			_, _ = c.Write(encode(&frame.Response{Op: r.Op, Code: core.Unavailable, Msg: "the audit journal is full"}))
		}
	})
	wantError(t, l.try("SELECT vault.read_secret('kept')"), "08006", "the audit journal is full")
}

// TestOldAgent: an agent that knows no leases serves as before, and is not asked for one each time.
func TestOldAgent(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	leases := 0
	b.agent.behave(func(c *net.UnixConn) {
		for r := ask(c); r != nil; r = ask(c) {
			if r.Op == frame.OpLease {
				leases++
				_, _ = c.Write(encode(&frame.Response{Code: core.Invalid, Msg: "agent request: unknown operation"}))
				return
			}
			_, _ = c.Write(encode(b.agent.answer(r)))
		}
	})
	for range 3 {
		if got := get[string](b.session, "SELECT vault.read_secret('kept')"); got != keptValue {
			t.Fatalf("read %q", got)
		}
	}
	if leases != 1 || len(b.agent.recorded()) != 3 {
		t.Errorf("asked for %d leases", leases)
	}
}

// TestManyLeases: more secrets than a backend keeps keys of are read rightly, and take little memory.
func TestManyLeases(t *testing.T) {
	l := newLender(t, time.Hour)
	l.exec("SELECT vault.create_secret('many/' || i, 'value ' || i) FROM generate_series(1, 1300) i")
	l.asked()
	s := l.c.connect(t, l.db, "postgres")
	l.wantRead(s)
	before := s.memory()
	for range 2 {
		wrong := get[int](s, "SELECT count(*) FROM generate_series(1, 1300) i WHERE vault.read_secret('many/' || i) <> 'value ' || i")
		if wrong != 0 {
			t.Errorf("%d wrong values", wrong)
		}
	}
	recent := "SELECT count(*) FROM generate_series(1200, 1300) i WHERE vault.read_secret('many/' || i) = 'value ' || i"
	l.asked()
	if n := get[int](s, recent); n != 101 || l.asked() != 0 {
		t.Errorf("%d values of the last ones", n)
	}
	if more := s.memory() - before; more > 1<<20 {
		t.Errorf("%d bytes more", more)
	}
}

// TestFirstCallTakesLittleMemory: what the first call of a session loads, and a thousand leased keys, are little that other sessions
// do not share.
func TestFirstCallTakesLittleMemory(t *testing.T) {
	const most = 4 << 10 // kB
	l := newLender(t, time.Hour)
	l.exec("SELECT vault.create_secret('little/' || i, 'value ' || i) FROM generate_series(1, 1000) i")
	s := l.c.connect(t, l.db, "postgres")
	s.exec("SELECT count(*) FROM pg_class")
	before := statusKB(t, s.pid(), "RssAnon")
	l.wantRead(s)
	first := statusKB(t, s.pid(), "RssAnon") - before
	if n := get[int](s, "SELECT count(*) FROM generate_series(1, 1000) i WHERE vault.read_secret('little/' || i) = 'value ' || i"); n != 1000 {
		t.Errorf("%d values", n)
	}
	all := statusKB(t, s.pid(), "RssAnon") - before
	t.Logf("%d kB after the first call, %d kB with 1000 keys", first, all)
	if first > most || all > most {
		t.Errorf("%d kB after the first call, %d kB with 1000 keys: want at most %d", first, all, most)
	}
}
