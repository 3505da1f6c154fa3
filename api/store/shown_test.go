package store

import (
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// version reads as a client does and returns what it is shown.
// How long a reader takes to look for a better host again, and for how long a host that refused is passed over.
const (
	homeInterval = time.Second
	shortSkip    = 200 * time.Millisecond
)

func (s *server) version(d *DB, name string) uint64 {
	s.t.Helper()
	rows, err := sealedRows(d, s.t.Context(), []core.Name{core.Name(name)}, 0, vault.Freshness{})
	must(s.t, err)
	if len(rows) != 1 {
		s.t.Fatalf("%d rows of %s", len(rows), name)
	}
	return rows[0].Version
}

func (s *server) eventually(what string, f func() bool) {
	s.t.Helper()
	pgtest.Eventually(s.t, what, f)
}

// TestLeftBehindPrimary: an old primary that goes on beside the new one is not what its node reads from.
func TestLeftBehindPrimary(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open(a.dir, b.dir)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	b.promote()
	elsewhere := a.open(b.dir)
	must(t, only(elsewhere.AppendVersion(t.Context(), nextVersion(made), origin("x"))))
	a.eventually("reads follow the new primary", func() bool {
		_ = d.CheckWriter(t.Context())
		a.holds(d, vault.ConditionLeftBehind)
		return a.version(d, "a") == 2
	})
	if !a.holds(d, vault.ConditionLeftBehind) {
		t.Error("it is not told")
	}
	a.staysAway(d)
	stays := a.openWith(func(c *Config) { c.StayHome = true }, a.dir, b.dir)
	a.eventually("it is told where reads stay", func() bool {
		_ = stays.CheckWriter(t.Context())
		return a.holds(stays, vault.ConditionLeftBehind)
	})
	r, err := stays.Replication(t.Context())
	if err != nil || r.Known || !r.LeftBehind || a.version(stays, "a") != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// staysAway wants version 2 of each read although the server that was left behind has the longer log by now: the length
// alone does not keep reads from it. Neither the way home nor a new connection leads there.
func (s *server) staysAway(d *DB) {
	s.t.Helper()
	s.sql("app", "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1 << 20)); CHECKPOINT")
	for end := time.Now().Add(3 * homeInterval); time.Now().Before(end); backoff.Sleep(s.t.Context(), 20*time.Millisecond) {
		if v := s.version(d, "a"); v != 2 {
			s.t.Fatalf("reads went back to version %d of the server that was left behind", v)
		}
	}
	d.reader.Hooks().ForgetLeftBehind() // as before any query of it
	d.reader.Reset()
	if v := s.version(d, "a"); v != 2 || d.reader.Current().Index == 0 {
		s.t.Fatalf("a new connection reads version %d", v)
	}
}

// away is a DB whose reads go to a, where they have shown version 2 of secret "a", while its home b has version 1 and
// does not replay. Nothing looks for a way home by itself.
func away(t *testing.T) (a, b *server, d *DB, made vault.Secret) {
	t.Helper()
	a = newServer(t)
	b = a.standby()
	d = a.open(b.dir, a.dir)
	d.reader.Hooks().StayAway(true)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	b.sql("postgres", "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
	b.stop()
	made, err = d.AppendVersion(t.Context(), nextVersion(made), origin("x"))
	must(t, err)
	if v := a.version(d, "a"); v != 2 {
		t.Fatalf("version %d of the primary", v)
	}
	return a, b, d, made
}

// replay has a standby go on.
func (s *server) replay() {
	s.t.Helper()
	s.sql("postgres", "ALTER SYSTEM RESET recovery_min_apply_delay")
	s.sql("postgres", "SELECT pg_reload_conf()")
}

// returnNow has a DB of away try the preferred host as it does by itself.
func returnNow(d *DB) {
	d.reader.Hooks().ComeHome()
}

// TestComingHomeGoesNotBack: a standby that is there again and does not catch up is not read from.
func TestComingHomeGoesNotBack(t *testing.T) {
	a, b, d, _ := away(t)
	returnNow(d)
	a.eventually("it is told that home does not answer", func() bool { return strings.Contains(a.reason(d, vault.ConditionReadsAway), "cannot be reached") })
	b.restart()
	a.eventually("it is told that home does not catch up", func() bool {
		return strings.Contains(a.reason(d, vault.ConditionReadsAway), "has not replayed yet")
	})
	for end := time.Now().Add(5 * homeInterval); time.Now().Before(end); backoff.Sleep(t.Context(), 20*time.Millisecond) {
		if v := a.version(d, "a"); v != 2 {
			t.Fatalf("reads went back to version %d", v)
		}
	}
	b.replay()
	a.eventually("reads come home", func() bool {
		if v := a.version(d, "a"); v != 2 {
			t.Fatalf("reads went back to version %d", v)
		}
		return d.reader.Current().Index == 0
	})
	a.eventually("nothing is told", func() bool { return !a.holds(d, vault.ConditionReadsAway) })
}

// TestNewConnectionGoesNotBack: one answer from elsewhere is enough that a new connection home is refused, however soon
// it is made.
func TestNewConnectionGoesNotBack(t *testing.T) {
	a, b, d, _ := away(t)
	b.restart()
	d.reader.Reset() // as when connections have lived long enough
	backoff.Sleep(t.Context(), 2*shortSkip)
	if v := a.version(d, "a"); v != 2 {
		t.Fatalf("reads went back to version %d", v)
	}
}

// TestAnswerOnTheWayHome: an answer from elsewhere that comes when reads have gone home already counts too.
func TestAnswerOnTheWayHome(t *testing.T) {
	a, b, d, made := away(t)
	b.restart()
	b.replay()
	onTheWay, err := d.reader.AcquireBest(t.Context())
	must(t, err)
	defer onTheWay.Release()
	b.until("SELECT pg_last_wal_replay_lsn() >= '" + d.reader.Hooks().Shown().String() + "'")
	b.stale()
	must(t, d.reader.Hooks().ProbeHome())
	a.eventually("reads come home", func() bool {
		a.version(d, "a")
		return d.reader.Current().Index == 0
	})
	must(t, only(d.AppendVersion(t.Context(), nextVersion(made), origin("x"))))
	rows, err := pgcluster.QueryOn(t.Context(), d.reader, onTheWay.Conn(), readSealed, []any{[]string{"a"}, nil}, storedRow)
	if err != nil || len(rows) != 1 || rows[0].Version != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if v := a.version(d, "a"); v != 3 {
		t.Fatalf("reads went back to version %d", v)
	}
	b.sql("postgres", "SELECT pg_wal_replay_resume()")
}

// TestReadsThatWentBack: when only an older server answers it is read, which is told, and no longer than another is away.
func TestReadsThatWentBack(t *testing.T) {
	a, b, d, _ := away(t)
	d.reader.Hooks().StayAway(false)
	b.restart()
	a.stop()
	// What it had at its last restartpoint may be less than version 1.
	old := func() (yes, answered bool) {
		rows, err := sealedRows(d, t.Context(), []core.Name{"a"}, 0, vault.Freshness{})
		return len(rows) == 0 || rows[0].Version == 1, err == nil
	}
	a.eventually("the old server is read", func() bool { yes, answered := old(); return answered && yes })
	a.eventually("it is told", func() bool { return a.holds(d, vault.ConditionReadsBehind) })
	a.restart()
	a.eventually("reads are where they were", func() bool { yes, answered := old(); return answered && !yes })
	for end := time.Now().Add(2 * homeInterval); time.Now().Before(end); backoff.Sleep(t.Context(), 20*time.Millisecond) {
		if v := a.version(d, "a"); v != 2 {
			t.Fatalf("reads went back to version %d again", v)
		}
	}
	if a.holds(d, vault.ConditionReadsBehind) {
		t.Error("it is told still")
	}
}

// nextVersion replaces the current version of s.
func nextVersion(s vault.Secret) vault.NewVersion {
	return vault.NewVersion{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Sealed: sealedValue(), Action: vault.ActionUpdate}
}
