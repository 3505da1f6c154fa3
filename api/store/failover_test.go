package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestEndedSessionsAreReplaced(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	must(t, d.CheckReader(ctx))
	must(t, d.CheckWriter(ctx))
	for i := range 3 {
		s.sql("app", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault_service'")
		_, err := d.CreateSecret(ctx, newSecret(fmt.Sprintf("n%d", i)), origin("x"))
		must(t, err)
		_, err = described(d, ctx, core.Name(fmt.Sprintf("n%d", i)), vault.Freshness{})
		must(t, err)
	}
}

func TestAServerThatRefusesWrites(t *testing.T) {
	s := newServer(t)
	d := s.open()
	must(t, d.CheckWriter(t.Context()))
	s.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
	s.sql("postgres", "SELECT pg_reload_conf()")
	s.until("SELECT current_setting('default_transaction_read_only') = 'on'")
	// A busy machine may not reach the refusal in the first of these times.
	var err error
	for limit := time.Second / 2; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err = d.CreateSecret(ctx, newSecret("a"), origin("x"))
		cancel()
		code(t, err, core.Unavailable)
		if strings.Contains(core.MessageOf(err), "default_transaction_read_only") {
			break
		}
		if limit > 10*time.Second {
			t.Fatalf("a refusal is certain, and has a cause: %v", err)
		}
	}
	// It comes back while a change is being tried.
	got := make(chan error, 1)
	go func() {
		_, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
		got <- err
	}()
	s.sql("postgres", "ALTER SYSTEM RESET default_transaction_read_only")
	s.sql("postgres", "SELECT pg_reload_conf()")
	must(t, <-got)
}

func TestFailover(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	hosts := []string{b.dir, a.dir} // this node is the standby
	d := a.open(hosts...)
	ctx := t.Context()
	n := newSecret("a")
	_, err := d.CreateSecret(ctx, n, origin("one"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	rows, err := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
	if err != nil || len(rows) != 1 {
		t.Fatal(err)
	}
	if got := value[int64](b, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault_service'"); got == 0 {
		t.Error("reads are not on the first host")
	}
	a.stop()
	rows, err = sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
	if err != nil || len(rows) != 1 {
		t.Errorf("reads do not go on without the primary: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, _, err = d.ListTokens(short, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{Primary: true})
	code(t, err, core.Unavailable)
	// A change that is tried while no server is primary is done once one is.
	got := make(chan error, 1)
	go func() {
		_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
		got <- err
	}()
	b.promote()
	must(t, <-got)
	if b.audited("two") != 1 {
		t.Error("not there once")
	}
}

// TestFailoverDuringTheSearch: the answer to a change is lost, and its primary while the change is looked for. It is in
// force once on the new primary, which has it already or never got it.
func TestFailoverDuringTheSearch(t *testing.T) {
	for _, replicated := range []bool{true, false} {
		t.Run(fmt.Sprintf("Replicated=%t", replicated), func(t *testing.T) { failOverDuringTheSearch(t, replicated) })
	}
}

func failOverDuringTheSearch(t *testing.T, replicated bool) {
	a := newServer(t)
	b := a.standby()
	cut := a.cutter()
	d := a.open(cut.host(), b.dir)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	if !replicated {
		b.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''")
		b.sql("postgres", "SELECT pg_reload_conf()")
		b.until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
	}
	failedOver := false
	cut.lose([]byte("searched"), afterServer, 1)
	cut.meanwhile(func() {
		// The first confirmation is lost too: the change has been found by then, and the search is not over.
		cut.lose([]byte("pg_logical_emit_message"), beforeServer, 1)
		cut.meanwhile(func() {
			failedOver = true
			if got := a.audited("searched"); got != 1 {
				t.Errorf("the old primary has %d records", got)
			}
			if replicated {
				b.until("SELECT count(*) = 2 FROM vault.secret_versions")
			}
			a.stop()
			b.promote()
		})
	})
	next, err := d.AppendVersion(t.Context(), nextVersion(made), origin("searched"))
	must(t, err)
	cut.close() // and waits for what it does
	if !failedOver || next.CurrentVersion != 2 || next.Position.Timeline != 2 {
		t.Errorf("failed over: %t, answered %+v", failedOver, next)
	}
	if got := b.audited("searched"); got != 1 {
		t.Errorf("the new primary has %d records", got)
	}
}

func TestThePrimaryIsAskedWhetherItIs(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open()
	// A writer pool that has been left with connections to a demoted server.
	stale := b.open()
	must(t, stale.writer.CloseWithin(t.Context()))
	var err error
	stale.writer, err = Config{Hosts: []string{b.dir}, User: "vault_service", Database: "app"}.withDefaults().reader(nil)
	must(t, err)
	must(t, only(d.CreateToken(t.Context(), vault.NewToken{ID: vault.TokenID{1}, Name: "ops", Fingerprint: [32]byte{1}}, vault.AdminRole, origin("x"))))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err = stale.ListTokens(ctx, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{Primary: true})
	code(t, err, core.Unavailable)
	code(t, stale.CheckWriter(ctx), core.Unavailable)
	must(t, stale.CheckReader(t.Context()))
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	s := newServer(t)
	d, err := Open(t.Context(), Config{Hosts: []string{s.dir}, User: "vault_service", Database: "app"})
	must(t, err)
	s.sql("app", "CREATE FUNCTION public.waits() RETURNS boolean LANGUAGE sql AS 'SELECT true FROM pg_sleep(60)'; GRANT USAGE ON SCHEMA public TO vault_service")
	got := make(chan error, 1)
	go func() {
		_, err := perform(context.Background(), d, change[bool]{sql: "SELECT public.waits()", row: pgx.RowTo[bool]})
		got <- err
	}()
	s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%waits()' AND wait_event = 'PgSleep'")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if err := d.Close(ctx); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if err := <-got; !strings.Contains(core.MessageOf(err), "unknown") {
		t.Error(err)
	}
}
