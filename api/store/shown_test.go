package store

import (
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// version reads as a client does and returns what it is shown.
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
	for bound := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(bound) {
			s.t.Fatalf("not within a minute: %s", what)
		}
		wait(s.t.Context(), 50*time.Millisecond)
	}
}

// TestLeftBehindPrimary: an old primary that goes on beside the new one is not what its node reads from.
func TestLeftBehindPrimary(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open(a.dir, b.dir)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	b.run("pg_ctl", "-D", b.data, "-w", "promote")
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

// TestComingHomeGoesNotBack: a standby that is there again and does not catch up is not read from.
func TestComingHomeGoesNotBack(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open(b.dir, a.dir)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	a.version(d, "a")
	b.sql("postgres", "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
	b.stop()
	must(t, only(d.AppendVersion(t.Context(), nextVersion(made), origin("x"))))
	if v := a.version(d, "a"); v != 2 {
		t.Fatalf("version %d of the primary", v)
	}
	a.eventually("the position is known", func() bool {
		a.version(d, "a")
		d.reader.mu.Lock()
		defer d.reader.mu.Unlock()
		return d.reader.shown.lsn != 0
	})
	b.restart()
	for end := time.Now().Add(5 * homeEvery); time.Now().Before(end); wait(t.Context(), 20*time.Millisecond) {
		if v := a.version(d, "a"); v != 2 {
			t.Fatalf("reads went back to version %d", v)
		}
	}
	b.sql("postgres", "ALTER SYSTEM RESET recovery_min_apply_delay")
	b.sql("postgres", "SELECT pg_reload_conf()")
	a.eventually("reads come home", func() bool {
		if v := a.version(d, "a"); v != 2 {
			t.Fatalf("reads went back to version %d", v)
		}
		return d.reader.hosts.current().index == 0
	})
}

// nextVersion replaces the current version of s.
func nextVersion(s vault.Secret) vault.NewVersion {
	return vault.NewVersion{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Sealed: sealedValue(), Action: vault.ActionUpdate}
}
