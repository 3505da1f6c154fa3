package store

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestFrozenPrimary freezes the primary under load, promotes the standby, and wakes the old primary: every change that
// was answered is there, once, and nothing is believed of the one that was left behind.
func TestFrozenPrimary(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	a.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	a.sql("postgres", "SELECT pg_reload_conf()")
	a.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	d := a.openWith(func(c *Config) { c.WriteTimeout = 30 * time.Second }, a.dir, b.dir)
	load := startLoad(t, d, 4)
	load.await(20)
	thaw := a.MustFreeze(t)
	frozen := time.Now()
	b.promote()
	promoted := time.Now()
	before := load.count()
	load.await(before + 8)
	t.Logf("first change %s after the freeze, %s after the promotion", load.firstSince(promoted).Sub(frozen).Round(time.Millisecond),
		load.firstSince(promoted).Sub(promoted).Round(time.Millisecond))
	thaw()
	load.await(load.count() + 40)
	load.stop()
	load.check(b)
	t.Run("ErrOlderTimeline", func(t *testing.T) {
		// The old primary still believes that it is one, and is the only server.
		b.stop()
		a.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names")
		a.sql("postgres", "SELECT pg_reload_conf()")
		if !value[bool](a, "SELECT NOT pg_is_in_recovery()") {
			t.Fatal("it is no zombie")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := d.CreateSecret(ctx, newSecret("lost"), origin("lost"))
		code(t, err, core.Unavailable)
		_, err = sealedRows(d, ctx, []core.Name{"load/0"}, 0, vault.Freshness{Primary: true})
		code(t, err, core.Unavailable)
		if a.audited("lost") != 0 {
			t.Error("it was done")
		}
	})
}

// TestPromotedAfterTheLook: a change whose answer was lost is found on a primary that is left behind in that moment. What
// the new one commits says nothing of it.
func TestPromotedAfterTheLook(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	cut := a.cutter()
	d := a.open(cut.host(), b.dir)
	ctx := t.Context()
	d.writer.Hooks().HoldSurvey() // nothing queries the other hosts by itself now
	must(t, d.CheckWriter(ctx))
	b.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''")
	b.sql("postgres", "SELECT pg_reload_conf()")
	a.until("SELECT count(*) = 0 FROM pg_stat_replication")
	cut.lose([]byte("token-1"), afterServer, 1)
	tok := vault.NewToken{ID: vault.TokenID{1}, Name: "ops", Fingerprint: [32]byte{1}}
	args, err := newTokenArgs(tok)
	must(t, err)
	var looks []int
	_, err = perform(ctx, d, change[vault.TokenInfo]{
		sql: mintToken, args: append(append(args, vault.AdminRole), originArgs(origin("token-1").Origin)...), row: tokenRow,
		landed: func(ctx context.Context) (vault.TokenInfo, bool, error) {
			active, _, err := d.ListTokens(ctx, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{Primary: true})
			if looks = append(looks, len(active)); len(looks) == 1 {
				b.promote()
				d.writer.Hooks().SurveyAll()
			}
			return vault.TokenInfo{}, len(active) == 1, err
		},
	})
	must(t, err)
	if looks[0] != 1 || d.writer.Timeline() != 2 {
		t.Fatalf("found %v, timeline %d", looks, d.writer.Timeline())
	}
	if b.audited("token-1") != 1 {
		t.Error("acknowledged, and not on the primary")
	}
}

// TestSwitchover stops the primary cleanly under load and promotes the standby: no change is refused, lost or done twice.
func TestSwitchover(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.openWith(func(c *Config) { c.WriteTimeout = 30 * time.Second }, a.dir, b.dir)
	load := startLoad(t, d, 4)
	load.await(40)
	a.MustStop(t, syscall.SIGINT)
	stopped := time.Now()
	b.promote()
	load.await(load.count() + 40)
	load.stop()
	t.Logf("first change %s after the stop", load.firstSince(stopped).Sub(stopped).Round(time.Millisecond))
	load.check(b)
}

// TestTwoPrimaries promotes the standby while the old primary goes on, cut off from all that follows it: changes that
// it cannot finish go to the new one.
func TestTwoPrimaries(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	a.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	a.sql("postgres", "SELECT pg_reload_conf()")
	a.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	d := a.openWith(func(c *Config) { c.WriteTimeout = 30 * time.Second }, a.dir, b.dir)
	load := startLoad(t, d, 4)
	load.await(20)
	b.promote()
	promoted := time.Now()
	load.await(load.count() + 40)
	load.stop()
	t.Logf("first change %s after the promotion", load.firstSince(promoted).Sub(promoted).Round(time.Millisecond))
	load.check(b)
	if took := load.firstSince(promoted).Sub(promoted); took > 10*time.Second {
		t.Errorf("the new primary was found after %s", took)
	}
	t.Run("Reads", func(t *testing.T) {
		// A process that makes no changes, and has found the old primary first.
		reads := a.open(a.dir, b.dir)
		bound := time.After(15 * time.Second)
		for {
			rows, err := sealedRows(reads, t.Context(), []core.Name{"load/0"}, 0, vault.Freshness{Primary: true})
			must(t, err)
			if rows[0].Version == load.acked[0][len(load.acked[0])-1].Expected+1 {
				break
			}
			select {
			case <-bound:
				t.Fatal("the old primary is believed")
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	rows, err := sealedRows(d, t.Context(), []core.Name{"load/0"}, 0, vault.Freshness{Primary: true})
	must(t, err)
	if want := load.acked[0][len(load.acked[0])-1].Expected + 1; rows[0].Version != want {
		t.Errorf("a read of the primary shows version %d, want %d", rows[0].Version, want)
	}
}

// load updates secrets, each worker its own, one version after the other.
type load struct {
	t    *testing.T
	end  chan struct{}
	work sync.WaitGroup

	mu    sync.Mutex
	acked [][]vault.NewVersion
	times []time.Time
	grown chan struct{}
}

func startLoad(t *testing.T, d *DB, workers int) *load {
	t.Helper()
	l := &load{t: t, end: make(chan struct{}), acked: make([][]vault.NewVersion, workers), grown: make(chan struct{})}
	for i := range workers {
		n := newSecret(fmt.Sprintf("load/%d", i))
		_, err := d.CreateSecret(t.Context(), n, origin("load"))
		must(t, err)
		l.work.Go(func() { l.run(d, i, n) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) run(d *DB, i int, n vault.NewSecret) {
	for version := uint64(1); ; version++ {
		select {
		case <-l.end:
			return
		default:
		}
		v := vault.NewVersion{ID: n.ID, Name: n.Name, Expected: version, Sealed: sealedValue(), Action: vault.ActionUpdate}
		made, err := d.AppendVersion(context.Background(), v, origin("load"))
		if err != nil || made.CurrentVersion != version+1 {
			l.t.Errorf("worker %d, version %d: %d %v", i, version+1, made.CurrentVersion, err)
			return
		}
		l.mu.Lock()
		l.acked[i] = append(l.acked[i], v)
		l.times = append(l.times, time.Now())
		close(l.grown)
		l.grown = make(chan struct{})
		l.mu.Unlock()
	}
}

func (l *load) stop() {
	select {
	case <-l.end:
	default:
		close(l.end)
	}
	l.work.Wait()
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

func (l *load) firstSince(t time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.times {
		if x.After(t) {
			return x
		}
	}
	return time.Time{}
}

// await returns once n changes in all were answered.
func (l *load) await(n int) {
	l.t.Helper()
	bound := time.After(60 * time.Second)
	for {
		l.mu.Lock()
		have, grown := len(l.times), l.grown
		l.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-grown:
		case <-bound:
			l.t.Fatalf("%d of %d changes within a minute", have, n)
		}
	}
}

// check finds every answered version on s with the nonce that it was given, and one record of each.
func (l *load) check(s *server) {
	l.t.Helper()
	for i, all := range l.acked {
		name := fmt.Sprintf("load/%d", i)
		for _, v := range all {
			const question = `SELECT count(*) FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id
				WHERE s.name = $1 AND v.version = $2 AND v.nonce = $3`
			if v.Expected+1 < all[len(all)-1].Expected+1 {
				continue // superseded without grace: gone
			}
			if value[int64](s, question, name, int64(v.Expected+1), v.Sealed.Nonce) != 1 {
				l.t.Errorf("%s: version %d was answered and is not there", name, v.Expected+1)
			}
		}
		const records = "SELECT count(*) FROM vault.audit_log WHERE secret_name = $1 AND action = 'update'"
		if got := value[int64](s, records, name); got != int64(len(all)) {
			l.t.Errorf("%s: %d changes were answered, %d recorded", name, len(all), got)
		}
	}
}

// TestAnswersOfAnOlderTimeline: what a server says while a newer primary appears elsewhere does not count, be it that a
// change is done.
func TestAnswersOfAnOlderTimeline(t *testing.T) {
	s := newServer(t)
	d := s.open()
	conn, err := d.writer.AcquireBest(t.Context())
	must(t, err)
	timeline := pgcluster.TimelineOf(conn.Conn())
	if timeline == 0 {
		t.Fatal("its timeline was not asked")
	}
	conn.Release()
	s.sql("app", "CREATE FUNCTION public.waits() RETURNS boolean LANGUAGE sql AS 'SELECT true FROM pg_advisory_xact_lock(7)'; GRANT USAGE ON SCHEMA public TO vault_service")
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	_, err = blocker.Exec(t.Context(), "SELECT pg_advisory_lock(7)")
	must(t, err)
	got := make(chan fate, 1)
	go func() {
		_, f, _ := send(t.Context(), d.writer, change[bool]{sql: "SELECT public.waits()", row: pgx.RowTo[bool]})
		got <- f
	}()
	s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory'")
	d.writer.Hooks().NoteTimeline(timeline + 1)
	_, err = blocker.Exec(t.Context(), "SELECT pg_advisory_unlock(7)")
	must(t, err)
	if f := <-got; f != unknown {
		t.Errorf("fate %d: the answer was believed", f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	code(t, d.CheckWriter(ctx), core.Unavailable)
}
