package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// openWith returns a DB for reads on the first host, with a change to its Config.
func (s *server) openWith(change func(*Config), hosts ...string) *DB {
	s.t.Helper()
	c := Config{Hosts: hosts, User: "vault_service", Database: "app"}
	change(&c)
	d, err := Open(s.t.Context(), c)
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, d.Close(context.Background())) })
	return d
}

// stale pauses replay on a standby, so that it stays as it is.
func (s *server) stale() {
	s.t.Helper()
	s.sql("postgres", "SELECT pg_wal_replay_pause()")
	s.until("SELECT pg_get_wal_replay_pause_state() = 'paused'")
}

func (s *server) resume() {
	s.t.Helper()
	s.sql("postgres", "SELECT pg_wal_replay_resume()")
}

// TestReadYourWrites: on a standby that replays nothing, only a read that asks for freshness sees the last change.
func TestReadYourWrites(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	ctx := t.Context()
	d := a.openWith(func(c *Config) { c.LSNWait = 50 * time.Millisecond }, b.dir, a.dir)
	n := newSecret("a")
	first, err := d.CreateSecret(ctx, n, origin("one"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	b.stale()
	second, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
	must(t, err)
	if first.Position.LSN == 0 || second.Position.LSN <= first.Position.LSN || first.Position.Timeline != 1 {
		t.Fatalf("%s, then %s", first.Position, second.Position)
	}
	sees := func(f vault.Freshness) uint64 {
		t.Helper()
		rows, err := sealedRows(d, ctx, []core.Name{"a"}, 0, f)
		must(t, err)
		s, err := described(d, ctx, "a", f)
		must(t, err)
		verifiable, err := verifiableRows(d, ctx, "a", f)
		must(t, err)
		list, err := listed(d, ctx, "", "", 10, f)
		must(t, err)
		versions, err := versionsOf(d, ctx, "a", f)
		must(t, err)
		v := rows[0].Version
		if s.CurrentVersion != v || verifiable[0].Version != v || list[0].CurrentVersion != v || versions[0].Version != v {
			t.Fatalf("with %+v: %d %d %d %d %d", f, v, s.CurrentVersion, verifiable[0].Version, list[0].CurrentVersion, versions[0].Version)
		}
		return v
	}
	at := stands(t, d)
	if !at.InRecovery || !at.Home || at.Host != b.dir || at.Primary != a.dir || !at.Known || at.LagBytes <= 0 || at.Lag <= 0 || at.LSN < first.Position.LSN || at.LSN >= second.Position.LSN {
		t.Errorf("while it replays nothing: %+v", at)
	}
	for _, tt := range []struct {
		f    vault.Freshness
		want uint64
	}{
		{vault.Freshness{}, 1},
		{vault.Freshness{Position: first.Position}, 1}, // replayed: no reason to query the primary
		{vault.Freshness{Position: first.Position, Here: true}, 1},
		{vault.Freshness{Position: second.Position}, 2},
		{vault.Freshness{Primary: true}, 2},
		{vault.Freshness{Primary: true, Position: second.Position}, 2},
	} {
		if got := sees(tt.f); got != tt.want {
			t.Errorf("%+v sees version %d, want %d", tt.f, got, tt.want)
		}
	}
	t.Run("ErrNotHere", func(t *testing.T) {
		_, err := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{Position: second.Position, Here: true})
		if !errors.Is(err, vault.ErrNotReplayed) || core.CodeOf(err) != core.Stale {
			t.Errorf("a read of this node alone: %v", err)
		}
	})
	t.Run("OKWaits", func(t *testing.T) {
		patient := a.openWith(func(c *Config) { c.LSNWait = time.Minute }, b.dir)
		got := make(chan error, 1)
		go func() {
			rows, err := sealedRows(patient, ctx, []core.Name{"a"}, 0, vault.Freshness{Position: second.Position})
			if err == nil && rows[0].Version != 2 {
				err = core.Errorf(core.Internal, "version %d", rows[0].Version)
			}
			got <- err
		}()
		b.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'vault_service' AND query LIKE '%read_as%'")
		select {
		case err := <-got:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		b.resume()
		must(t, <-got)
	})
	t.Run("ErrNobodyHasIt", func(t *testing.T) {
		d := a.openWith(func(c *Config) { c.LSNWait, c.RequestTimeout = 50*time.Millisecond, 2*time.Minute }, b.dir, a.dir)
		start := time.Now()
		_, err := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{Position: core.Position{LSN: 1 << 60}})
		code(t, err, core.Unavailable)
		if !strings.Contains(core.MessageOf(err), "reached the given position") || time.Since(start) > 20*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		must(t, d.CheckWriter(ctx))
	})
	t.Run("ErrNoPrimary", func(t *testing.T) {
		b.until("SELECT pg_last_wal_replay_lsn() >= '" + second.Position.LSN.String() + "'")
		if at := stands(t, d); !at.InRecovery || at.LSN < second.Position.LSN || !at.Known || at.LagBytes > 1<<20 {
			t.Errorf("after it has replayed: %+v", at)
		}
		a.stop()
		if at := stands(t, d); !at.InRecovery || at.LSN < second.Position.LSN || at.Known || at.LagBytes != 0 || at.Primary != a.dir {
			t.Errorf("without a primary: %+v", at)
		}
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		if got := sees(vault.Freshness{Position: second.Position}); got != 2 {
			t.Errorf("the standby that has it: version %d", got)
		}
		_, err := sealedRows(d, short, []core.Name{"a"}, 0, vault.Freshness{Primary: true})
		code(t, err, core.Unavailable)
	})
}

// TestPositionOfAnotherHistory: the old primary has flushed more than the new one, so by its LSN alone a change of the
// new one would seem to be there.
func TestPositionOfAnotherHistory(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	ctx := t.Context()
	n := newSecret("a")
	_, err := a.open().CreateSecret(ctx, n, origin("one"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	b.promote()
	a.sql("postgres", "SELECT pg_logical_emit_message(true, '', repeat('x', 1 << 20))")
	made, err := b.open().AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
	must(t, err)
	if at := made.Position; at.Timeline != 2 || !value[bool](a, "SELECT pg_current_wal_flush_lsn() > $1::text::pg_lsn", at.LSN.String()) {
		t.Fatalf("the change is at %s", at)
	}
	brief := func(c *Config) { c.LSNWait = 50 * time.Millisecond }
	sees := func(d *DB, f vault.Freshness) uint64 {
		t.Helper()
		rows, err := sealedRows(d, ctx, []core.Name{"a"}, 0, f)
		must(t, err)
		return rows[0].Version
	}
	fresh := vault.Freshness{Position: made.Position}
	t.Run("ErrOldPrimaryAlone", func(t *testing.T) {
		d := a.openWith(brief, a.dir)
		must(t, d.CheckWriter(ctx))
		_, err := sealedRows(d, ctx, []core.Name{"a"}, 0, fresh)
		code(t, err, core.Unavailable)
		if sees(d, vault.Freshness{}) != 1 {
			t.Error("it is not the old primary")
		}
	})
	d := a.openWith(brief, a.dir, b.dir)
	t.Run("OldPrimaryBelieved", func(t *testing.T) {
		d.writer.Hooks().HoldSurvey() // nothing queries the other hosts by itself now
		must(t, d.CheckWriter(ctx))
		if d.writer.Timeline() != 1 || sees(d, fresh) != 2 {
			t.Errorf("timeline %d, version %d", d.writer.Timeline(), sees(d, fresh))
		}
	})
	t.Run("OldPrimaryFoundOut", func(t *testing.T) {
		for _, f := range []vault.Freshness{fresh, {Position: core.Position{LSN: made.Position.LSN}}} {
			if d.writer.Timeline() != 2 || d.reader.Current().Index != 0 || sees(d, vault.Freshness{}) != 1 || sees(d, f) != 2 {
				t.Errorf("%+v: version %d, of timeline %d", f, sees(d, f), d.writer.Timeline())
			}
		}
	})
	t.Run("OldPrimaryDemoted", func(t *testing.T) {
		a.MustStop(t, syscall.SIGINT)
		a.MustRun(t, "touch", filepath.Join(a.data, "standby.signal"))
		a.restart()
		if !value[bool](a, "SELECT pg_is_in_recovery()") {
			t.Fatal("it is no standby")
		}
		d := a.openWith(brief, a.dir, b.dir)
		if sees(d, vault.Freshness{}) != 1 || sees(d, fresh) != 2 || d.reader.Current().Index != 0 {
			t.Errorf("version %d", sees(d, fresh))
		}
	})
	t.Run("OKStandbyOfTheNewOne", func(t *testing.T) {
		c := b.standby()
		d := c.openWith(brief, c.dir)
		c.until("SELECT max(version) = 2 FROM vault.secret_versions")
		if sees(d, fresh) != 2 { // there is no primary to ask
			t.Error("an old version")
		}
	})
}

// stands asks again.
func stands(t *testing.T, d *DB) vault.Replication {
	t.Helper()
	d.replicated.mu.Lock()
	d.replicated.at = time.Time{}
	d.replicated.mu.Unlock()
	at, err := d.Replication(t.Context())
	must(t, err)
	return at
}

// TestLSNIsReached: what an idle primary answers is where a standby gets to by itself, also where a record ends at the
// end of a page or a segment.
func TestLSNIsReached(t *testing.T) {
	for _, preload := range []bool{false, true} {
		t.Run(fmt.Sprintf("preload=%t", preload), func(t *testing.T) {
			clearEnvironment(t)
			a := serverOf(t, pgtest.NewCluster(t, pgtest.Options{Database: "app", Preload: preload}))
			positionsAreReached(t, a)
			asked := value[bool](a, "SELECT bool_or(query LIKE '%flush_lsn()::text') FROM pg_stat_activity WHERE usename = 'vault_service'")
			if asked == preload {
				t.Errorf("the writer asked for its position in a statement: %t", asked)
			}
		})
	}
}

func positionsAreReached(t *testing.T, a *server) {
	t.Helper()
	b := a.standby()
	ctx := t.Context()
	d := a.open()
	local := b.open()
	local.lsnWait = 10 * time.Second
	n := newSecret("a")
	made, err := d.CreateSecret(ctx, n, origin("x"))
	must(t, err)
	for i := range 24 {
		switch i % 4 {
		case 1:
			a.sql("postgres", "SELECT pg_switch_wal()")
		case 2:
			a.sql("postgres", fmt.Sprintf("SELECT pg_logical_emit_message(true, '', repeat('x', "+
				"(8192 - (pg_current_wal_insert_lsn() - '0/0') %% 8192)::integer + 7800 - 8 * %d))", i))
		}
		made, err = d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: made.CurrentVersion, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("x"))
		must(t, err)
		rows, err := readReplayed(ctx, local, made.Position, plain(readSealed, []any{[]string{"a"}, nil}, storedRow))
		must(t, err)
		if len(rows) != 1 || rows[0].Version != made.CurrentVersion {
			t.Fatalf("%d: at %s the standby has %+v", i, made.Position, rows)
		}
	}
}

// TestWriterCommitsDurably: a server whose default is not to wait for the disk is overridden, and nothing stricter is.
func TestWriterCommitsDurably(t *testing.T) {
	s := newServer(t)
	for setting, want := range map[string]string{"off": "on", "on": "on", "remote_apply": "remote_apply", "remote_write": "remote_write", "local": "local"} {
		s.sql("postgres", "ALTER SYSTEM SET synchronous_commit = "+setting)
		s.sql("postgres", "SELECT pg_reload_conf()")
		s.until("SELECT current_setting('synchronous_commit') = '" + setting + "'")
		d := s.open()
		var got string
		must(t, d.writer.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&got))
		if got != want {
			t.Errorf("%s: the writer has %s", setting, got)
		}
		must(t, d.writer.QueryRow(t.Context(), "SHOW transaction_isolation").Scan(&got))
		if got != "read committed" {
			t.Error(got)
		}
	}
}
