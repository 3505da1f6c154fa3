package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// commitsWait returns the reason of the condition, or "" while it does not hold.
func commitsWait(t *testing.T, d *DB) string {
	t.Helper()
	for _, c := range d.Conditions(t.Context()) {
		if c.Name == vault.ConditionCommitsWait {
			if c.Part != "writer" || c.Severity != vault.SeverityDegraded {
				t.Errorf("got %+v", c)
			}
			return c.Reason
		}
	}
	return ""
}

func awaitCommitsWait(t *testing.T, d *DB, want string) {
	t.Helper()
	pgtest.Eventually(t, "the condition commits-wait: "+want, func() bool {
		got := commitsWait(t, d)
		return got == want || want != "" && strings.Contains(got, want)
	})
}

// wantStandbys sets how many standbys a commit waits for.
func (s *server) wantStandbys(names string) {
	s.t.Helper()
	s.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	s.sql("postgres", "SELECT pg_reload_conf()")
}

// TestPrimaryWithoutStandby: a primary that cannot acknowledge changes says so, and to find that out nothing is committed.
func TestPrimaryWithoutStandby(t *testing.T) {
	a := newServer(t)
	d := a.open(a.dir)
	awaitCommitsWait(t, d, "")
	a.wantStandbys("ANY 2 (*)")
	awaitCommitsWait(t, d, "a commit waits for 2 synchronous standbys, and 0 are connected")
	must(t, d.CheckWriter(t.Context()))
	if waiting := value[int64](a, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"); waiting != 0 {
		t.Errorf("the question made %d commits", waiting)
	}
	a.standby()
	awaitCommitsWait(t, d, "a commit waits for 2 synchronous standbys, and 1 are connected")
	for _, names := range []string{"*", "first 1 (a, *)", `"ANY 2 (b"`, "2", "ANY 1(*)"} {
		a.wantStandbys(names)
		a.until("SELECT current_setting('synchronous_standby_names') = '" + names + "'")
		want := ""
		if names == `"ANY 2 (b"` || names == "2" {
			want = "a commit waits for 1 synchronous standby, and 0 are connected"
		}
		awaitCommitsWait(t, d, want)
	}
	a.wantStandbys("ANY 2 (*)")
	awaitCommitsWait(t, d, "a commit waits for 2")
	a.sql("postgres", "SET synchronous_commit = local; ALTER ROLE vault_service SET synchronous_commit = local")
	e := a.open(a.dir) // a connection keeps the setting that it began with
	awaitCommitsWait(t, e, "")
}

// TestCommitsBesideFullPool: changes that wait for a standby may have every connection of the pool.
func TestCommitsBesideFullPool(t *testing.T) {
	a := newServer(t)
	d := a.openWith(func(c *Config) { c.WriterConns = 2 }, a.dir)
	for range 2 {
		c, err := d.writer.Acquire(t.Context())
		must(t, err)
		t.Cleanup(c.Release)
	}
	a.wantStandbys("*")
	a.until("SELECT current_setting('synchronous_standby_names') = '*'")
	c, err := d.queryCommits(t.Context())
	must(t, err)
	if c.Wanted != 1 || c.Connected != 0 {
		t.Errorf("got %+v", c)
	}
}

// TestSilentStandby: a synchronous standby that is connected and does not confirm is noticed when a change waits for it.
func TestSilentStandby(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.openWith(func(c *Config) { c.WriterConns, c.WriteTimeout = 2, time.Minute }, a.dir)
	var secrets []vault.NewSecret
	for _, name := range []string{"a", "b", "c"} {
		n := newSecret(name)
		must(t, only(d.CreateSecret(t.Context(), n, origin("x"))))
		secrets = append(secrets, n)
	}
	a.wantStandbys("*")
	a.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	awaitCommitsWait(t, d, "")
	thaw := b.MustFreeze(t)
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(thaw)
	for _, n := range secrets {
		all.Go(func() {
			_, err := d.AppendVersion(context.Background(), vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
			if err != nil {
				t.Error(err)
			}
		})
	}
	awaitCommitsWait(t, d, "waiting commits has no confirmation")
	thaw()
	all.Wait()
	awaitCommitsWait(t, d, "")
}
