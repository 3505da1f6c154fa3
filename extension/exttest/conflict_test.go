package exttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestConcurrentUpdates(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	admin := c.connect(t, db.Name, vaulttest.Superuser)

	t.Run("OneWaitsForTheOther", func(t *testing.T) {
		a, b := c.connect(t, db.Name, vaulttest.Superuser), c.connect(t, db.Name, vaulttest.Superuser)
		for _, end := range []string{"COMMIT", "ROLLBACK"} {
			name := "waits/" + end
			a.exec("SELECT vault.create_secret($1, 'first'::text)", name)
			a.exec("BEGIN")
			a.exec("SELECT vault.update_secret($1, 'of a'::text, 1)", name)
			done := b.background("SELECT vault.update_secret('" + name + "', 'of b', 1)")
			pgtest.Eventually(t, "b waits for a", func() bool {
				return get[bool](admin, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", b.pid())
			})
			a.exec(end)
			err := within(t, prompt, done)
			want := "of b"
			if end == "COMMIT" {
				wantError(t, err, "VT001", "is at version 2")
				want = "of a"
			} else if err != nil {
				t.Error(err)
			}
			if got := get[string](a, "SELECT vault.read_secret($1)", name); got != want {
				t.Errorf("read %q, not %q", got, want)
			}
		}
	})
	t.Run("ExactlyOneWins", func(t *testing.T) {
		admin.exec("SELECT vault.create_secret('race', 'x')")
		const racers, rounds = 4, 20
		var sessions []*session
		for range racers {
			sessions = append(sessions, c.connect(t, db.Name, vaulttest.Superuser))
		}
		for round := range rounds {
			errs := make([]error, racers)
			start := make(chan bool)
			var all sync.WaitGroup
			for i, s := range sessions {
				all.Go(func() {
					<-start
					errs[i] = s.try("SELECT vault.update_secret('race', $1::text, $2)", fmt.Sprintf("round %d of %d", round, i), round+1)
				})
			}
			close(start)
			all.Wait()
			winner := -1
			for i, err := range errs {
				var pg *pgconn.PgError
				switch {
				case err == nil && winner < 0:
					winner = i
				case err == nil:
					t.Fatalf("round %d: two won", round)
				case !errors.As(err, &pg) || pg.Code != "VT001":
					t.Fatalf("round %d: %v", round, err)
				}
			}
			if winner < 0 {
				t.Fatalf("round %d: no session won", round)
			}
			if got := get[string](admin, "SELECT vault.read_secret('race')"); got != fmt.Sprintf("round %d of %d", round, winner) {
				t.Fatalf("round %d: %d won and %q is stored", round, winner, got)
			}
		}
	})
	t.Run("NoneLost", func(t *testing.T) {
		const writers, each = 8, 50
		admin.exec("SELECT vault.create_secret('many', 'x', grace_period_secs => 3600)")
		var mu sync.Mutex
		versions := map[int64]string{1: "x"}
		var all sync.WaitGroup
		for i := range writers {
			s := c.connect(t, db.Name, vaulttest.Superuser)
			all.Go(func() {
				for n := range each {
					value := fmt.Sprintf("%d of %d", n, i)
					var version int64
					if err := s.QueryRow(context.Background(), "SELECT vault.update_secret('many', $1::text, NULL)", value).Scan(&version); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if other, taken := versions[version]; taken {
						t.Errorf("version %d is %q and %q", version, other, value)
					}
					versions[version] = value
					mu.Unlock()
				}
			})
		}
		all.Wait()
		const last = writers*each + 1
		stored := column(admin, "SELECT v.version::text FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE name = 'many' ORDER BY v.version")
		var want []string
		for v := 1; v <= last; v++ {
			want = append(want, fmt.Sprint(v))
		}
		if !slices.Equal(stored, want) {
			t.Errorf("stored are versions %v", stored)
		}
		if n := get[int](admin, "SELECT current_version::int FROM vault.secrets WHERE name = 'many'"); n != last {
			t.Errorf("current is %d", n)
		}
		for version, value := range versions {
			if got := get[string](admin, "SELECT vault.read_secret('many', $1)", version); got != value {
				t.Errorf("version %d reads %q, not %q", version, got, value)
			}
		}
		if n := get[int](admin, "SELECT count(DISTINCT nonce)::int + count(DISTINCT wrapped_dek)::int FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE name = 'many'"); n != 2*last {
			t.Errorf("%d different nonces and keys for %d versions", n, last)
		}
		if n := get[int](admin, "SELECT count(*)::int FROM vault.audit_log WHERE secret_name = 'many' AND action = 'update' AND outcome = 'ok'"); n != writers*each {
			t.Errorf("%d updates are on record", n)
		}
	})
}
