package exttest

import (
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// TestCommitState: a server says how many synchronous standbys a commit waits for, how many it has, and how many commits
// wait. A standby makes no commit that waits.
func TestCommitState(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	named := func(standbys string) {
		p.here.exec("ALTER SYSTEM SET synchronous_standby_names = '" + standbys + "'")
		p.here.exec("SELECT pg_reload_conf()")
	}
	t.Cleanup(func() { named("") }) // or what cleans up after the test would wait
	await := func(want string) {
		t.Helper()
		pgtest.Eventually(t, want, func() bool {
			return get[string](p.here, `SELECT format('%s wanted, %s connected, %s waiting, since then: %s', c->'standbys_wanted', c->'standbys_connected',
				c->'commits_waiting', c->>'waiting_since' IS NOT NULL AND (c->>'waiting_secs')::float8 >= 0)
				FROM (SELECT vault.supervision()->'commits') s(c)`) == want
		})
	}
	await("0 wanted, 0 connected, 0 waiting, since then: f")
	named("FIRST 2 (*)")
	await("2 wanted, 1 connected, 0 waiting, since then: f")
	if n := get[int64](p.there, "SELECT (vault.supervision()->'commits'->>'standbys_wanted')::bigint"); n != 0 {
		t.Errorf("a commit on the standby waits for %d", n)
	}
	p.here.exec("SET synchronous_commit = local")
	await("0 wanted, 0 connected, 0 waiting, since then: f")
	p.here.exec("RESET synchronous_commit")
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { named("") })
	other := p.primary.connect(t, p.db.Name, "postgres", "synchronous_commit", "on")
	wg.Go(func() {
		if err := other.try("SELECT vault.create_secret('waits', 'v')"); err != nil {
			t.Error(err)
		}
	})
	await("2 wanted, 1 connected, 1 waiting, since then: t")
	named("ANY 1 (*)")
	await("1 wanted, 1 connected, 0 waiting, since then: f")
}
