package store

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestReaderFallsBackAndComesHome(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.openWith(func(c *Config) { c.RequestTimeout = 2 * time.Minute }, b.dir, a.dir)
	_, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	a.mustRead(d, "a")
	if b.sessions() == 0 {
		t.Error("reads are not on the first host")
	}
	b.stop()
	startedAt := time.Now()
	a.mustRead(d, "a")
	if took := time.Since(startedAt); took > 20*time.Second {
		t.Errorf("it took %s to fall back from a server that is gone", took)
	}
	b.restart()
	bound := time.After(20 * time.Second)
	for b.sessions() == 0 {
		select {
		case <-bound:
			t.Fatal("reads do not come home")
		case <-time.After(50 * time.Millisecond):
			a.mustRead(d, "a")
		}
	}
}

func TestReaderHangs(t *testing.T) {
	a := newServer(t)
	w := a.wire()
	d := a.openWith(func(c *Config) { c.RequestTimeout = time.Minute }, w.host(), a.dir)
	_, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	var all sync.WaitGroup
	for range 20 { // fill the pool
		all.Go(func() { a.mustRead(d, "a") })
	}
	all.Wait()
	w.hang()
	startedAt := time.Now()
	for range 40 { // more than there are places in the pool
		all.Go(func() {
			if _, err := sealedRows(d, t.Context(), []core.Name{"a"}, 0, vault.Freshness{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took := time.Since(startedAt); took > 15*time.Second {
		t.Errorf("reads took %s past a host that hangs", took)
	}
	t.Logf("reads past a host that hangs took %s", time.Since(startedAt).Round(time.Millisecond))
	best := time.Hour // of a machine that does other work too
	for range 5 {
		startedAt = time.Now()
		a.mustRead(d, "a")
		best = min(best, time.Since(startedAt))
	}
	if best > time.Second {
		t.Errorf("the next reads took %s or more: the host that hangs is asked again", best)
	}
}

// TestHungConnections: the pool gives up connections that hang although the server answers others. A change that was sent
// on one takes effect once, even if it arrives later.
func TestHungConnections(t *testing.T) {
	s := newServer(t)
	w := s.wire()
	d := s.open(w.host())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := newSecret("a")
	_, err := d.CreateSecret(ctx, n, origin("x"))
	must(t, err)
	thaw := w.hangOpen()
	defer thaw()
	startedAt := time.Now()
	made, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("once"))
	must(t, err)
	if made.CurrentVersion != 2 || made.Position.LSN == 0 {
		t.Errorf("%+v", made)
	}
	t.Logf("a change on a connection that hangs took %s", time.Since(startedAt).Round(time.Millisecond))
	thaw()
	must(t, d.CheckWriter(ctx))
	if got := value[int64](s, "SELECT max(version) FROM vault.secret_versions"); got != 2 || s.audited("once") != 1 {
		t.Errorf("version %d, %d records", got, s.audited("once"))
	}
}

// TestLateSettings: a try that arrives when another client has changed the settings after it undoes nothing.
func TestLateSettings(t *testing.T) {
	s := newServer(t)
	w := s.wire()
	d := s.open(w.host())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := newSecret("a")
	_, err := d.CreateSecret(ctx, n, origin("x"))
	must(t, err)
	configure := func(d *DB, text string) {
		t.Helper()
		got, err := d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, origin(text))
		if err != nil || got.Description != text {
			t.Fatalf("%q %v", got.Description, err)
		}
	}
	configure(d, "first") // prepares the statement: what hangs next is the change itself
	thaw := w.hangOpen()
	defer thaw()
	configure(d, "mine")
	configure(s.open(), "theirs")
	thaw()
	refused := func() bool {
		log, err := os.ReadFile(s.LogFile())
		must(t, err)
		return strings.Contains(string(log), "23505") // the name of the constraint is withheld
	}
	for end := time.Now().Add(time.Minute); !refused() && time.Now().Before(end) && value[string](s, "SELECT description FROM vault.secrets") == "theirs"; {
		must(t, d.CheckWriter(t.Context()))
	}
	if got := value[string](s, "SELECT description FROM vault.secrets"); got != "theirs" || s.audited("mine") != 1 || s.audited("theirs") != 1 {
		t.Errorf("%q, %d and %d records", got, s.audited("mine"), s.audited("theirs"))
	}
	if !refused() {
		t.Error("the late try did not arrive")
	}
}

// TestALockIsNoProof: a refusal because of a lock says nothing about an earlier try whose answer was lost; that may be
// who holds it.
func TestALockIsNoProof(t *testing.T) {
	s := newServer(t)
	w := s.wire()
	d := s.open(w.host())
	n := newSecret("a")
	_, err := d.CreateSecret(t.Context(), n, origin("x"))
	must(t, err)
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	// It delays the session that has got the lock on the secret, after that: as a commit that waits for a standby.
	s.sql("app", `CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
		CREATE TRIGGER hold AFTER INSERT ON vault.secret_versions FOR EACH ROW EXECUTE FUNCTION public.hold();
		GRANT USAGE ON SCHEMA public TO vault_owner`)
	_, err = blocker.Exec(t.Context(), "SELECT pg_advisory_lock(7)")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 16*time.Second)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("once"))
		got <- err
	}()
	s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory'")
	w.hangOpen() // its answer never comes
	// The second try waits for the lock of the first, and does not get it.
	s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory'")
	s.until("SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory'")
	_, err = blocker.Exec(t.Context(), "SELECT pg_advisory_unlock(7)")
	must(t, err)
	must(t, <-got)
	if v := value[int64](s, "SELECT max(version) FROM vault.secret_versions"); v != 2 || s.audited("once") != 1 {
		t.Errorf("version %d, %d records", v, s.audited("once"))
	}
}

// TestEndedWhileWaiting: a session that is ended while its commit waits for a standby has committed what no standby has.
// It is answered when a standby has it.
func TestEndedWhileWaiting(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	a.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	a.sql("postgres", "SELECT pg_reload_conf()")
	a.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	d := a.openWith(func(c *Config) { c.WriteTimeout = 60 * time.Second }, a.dir)
	n := newSecret("a")
	_, err := d.CreateSecret(t.Context(), n, origin("x"))
	must(t, err)
	thaw := b.MustFreeze(t)
	got := make(chan error, 1)
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(thaw)
	all.Go(func() {
		_, err := d.AppendVersion(context.Background(), vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
		got <- err
	})
	a.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%append_version%'")
	a.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	a.until("SELECT count(*) = 1 FROM vault.secret_versions WHERE version = 2")
	// The change is found, and something after it waits for the standby too.
	a.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%pg_logical_emit_message%'")
	select {
	case err := <-got:
		t.Fatalf("answered without a standby: %v", err)
	default:
	}
	thaw()
	must(t, <-got)
	b.until("SELECT count(*) = 1 FROM vault.secret_versions WHERE version = 2")
	if a.audited("two") != 1 {
		t.Error("not there once")
	}
}
