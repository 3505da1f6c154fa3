package exttest

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

var interrupts = flag.Int("interrupts", 10, "how many cancels and terminations TestInterruptPromptly tries of each statement")

// TestInterruptPromptly measures how soon a statement that never waits ends after it is cancelled or its session is
// terminated. PostgreSQL's own statement, tried in between, tells how much of that is the machine's.
func TestInterruptPromptly(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	admin.exec("SELECT vault.create_secret('small', 'x'), vault.create_secret('large', repeat('0123456789abcdef', 4096))")
	admin.exec("SELECT count(vault.create_secret('many/' || g, 'x')) FROM generate_series(1, 300) g")
	const loop = " FROM (SELECT generate_series(1, 1000000000) AS g) s"
	statements := map[string]string{
		"control":     "SELECT count(md5(g::text))" + loop,
		"read":        "SELECT count(vault.read_secret('small'))" + loop,
		"read large":  "SELECT count(vault.read_secret('large'))" + loop,
		"verify":      "SELECT count(vault.verify('small', g::text))" + loop,
		"update":      "SELECT count(vault.update_secret('small', g::text, NULL))" + loop,
		"write large": "SELECT count(vault.update_secret('large', repeat('0123456789abcdef', 4096), NULL))" + loop,
		"refused":     "DO $$ BEGIN LOOP BEGIN PERFORM vault.read_secret('absent'); EXCEPTION WHEN undefined_object THEN END; END LOOP; END $$",
		"list":        "SELECT count(n) FROM (SELECT (SELECT count(*) FROM vault.list_secrets('many') WHERE g > 0) AS n" + loop + ") x",
		"read many":   "SELECT count(v) FROM (SELECT (SELECT count(vault.read_secret('many/' || m)) FROM generate_series(1, 300 + g * 0) m) AS v" + loop + ") x",
	}
	took := map[string][]time.Duration{}
	for range *interrupts {
		for name, sql := range statements {
			for _, how := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
				victim := c.connect(t, db.Name, vaulttest.Superuser)
				pid := victim.pid()
				done := victim.background(sql)
				// A cancel that comes before the statement has started ends nothing.
				pgtest.Eventually(t, "the statement has started", func() bool {
					return get[bool](admin, "SELECT coalesce(state = 'active', false) FROM pg_stat_activity WHERE pid = $1", pid)
				})
				<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond) // anywhere within it
				startedAt := time.Now()
				admin.exec("SELECT "+how+"($1)", pid)
				if err := within(t, pgtest.Patience, done); err == nil {
					t.Fatalf("%s ended by itself", name)
				}
				took[name] = append(took[name], time.Since(startedAt))
				_ = victim.Close(t.Context())
			}
		}
	}
	for name, all := range took {
		slices.Sort(all)
		slow := 0
		for _, d := range all {
			if d > 100*time.Millisecond {
				slow++
			}
		}
		t.Logf("%-12s median %6.1f ms, p90 %6.1f ms, worst %6.1f ms, %d of %d beyond 100 ms", name,
			ms(all[len(all)/2]), ms(all[len(all)*9/10]), ms(all[len(all)-1]), slow, len(all))
	}
	own := took["control"]
	bound := own[len(own)*9/10] + 100*time.Millisecond
	for name, all := range took {
		// The slowest say more of the machine: two of twenty are enough for nine in ten.
		if median := all[len(all)/2]; median > bound {
			t.Errorf("%s ends %s after it is interrupted (median); PostgreSQL's own statement is at %s (p90)", name, median, own[len(own)*9/10])
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
