package hvsql_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

// logIn makes a new connection by each pool, and throws it away.
func logIn(ctx context.Context, conns ...func(context.Context) error) (err error) {
	for _, connect := range conns {
		err = errors.Join(err, connect(ctx))
	}
	return err
}

// TestPairOnAStandbyLosesNoLogin: pools that log in to a standby follow the API of that node, which knows a version once the standby
// has replayed it, and with it the password. So no login fails, also while replay pauses.
func TestPairOnAStandbyLosesNoLogin(t *testing.T) {
	primary, standby := newSites(t)
	primary.mustPair(t)
	standby.db.Cluster.MustCatchUp(t)
	f := standby.mustFollow(t, hvsql.Secret(standby.c, "db"))
	db, pool := standby.mustOpen(t, f), mustPool(t, standby, f)
	db.SetMaxIdleConns(-1) // each query logs in
	stop := load(t, func(ctx context.Context) error {
		return logIn(ctx, func(ctx context.Context) error {
			_, err := user(ctx, db)
			return err
		}, func(ctx context.Context) error {
			_, err := pool.Exec(ctx, "SELECT 1")
			pool.Reset() // the next one logs in
			return err
		})
	})
	for i, want := range []string{"app_b", "app_a", "app_b", "app_a"} {
		paused := i%2 == 1
		if paused {
			standby.db.MustExec(t, "SELECT pg_wal_replay_pause()")
			standby.db.Await(t, "replay has paused", "SELECT pg_get_wal_replay_pause_state() = 'paused'")
		}
		primary.db.MustExec(t, "SELECT vault.rotate_secret('db')")
		if paused {
			for range 20 { // under load
				if name := mustUser(t, db); name == want {
					t.Errorf("%s logs in before the standby has replayed it", want)
				}
			}
			standby.db.MustExec(t, "SELECT pg_wal_replay_resume()")
		}
		pgtest.Eventually(t, "the pools log in as "+want, func() bool { return mustUser(t, db) == want && hvsql.IsCurrent(f, want) })
	}
	t.Logf("%d times both pools have logged in on the standby, and no login failed", stop())
}

// TestOneRoleOnAStandby: with one role the connector of database/sql repeats a login that was refused. A client that does not, fails
// at most between the commit and its next read. These failures are counted, and each must be for a password that was superseded.
func TestOneRoleOnAStandby(t *testing.T) {
	primary, standby := newSites(t)
	primary.MustCreate(t, "reports", "password-0")
	primary.db.MustExec(t, "CREATE ROLE reports LOGIN")
	primary.db.MustExec(t, "SELECT vault.bind_role('reports', 'reports')")
	standby.db.Cluster.MustCatchUp(t)
	f := standby.mustFollow(t, hvsql.PasswordOf(standby.c, "reports", "reports"))
	db := standby.mustOpen(t, f)
	db.SetMaxIdleConns(-1)
	var logins, refused atomic.Int64
	stop := load(t, func(ctx context.Context) error {
		if _, err := user(ctx, db); err != nil {
			return err
		}
		logins.Add(1)
		before := standby.MustRead(t, "reports")
		err := standby.login("reports", before)
		if err == nil {
			return nil
		}
		refused.Add(1)
		if standby.MustRead(t, "reports") == before {
			return fmt.Errorf("the current password is refused: %w", err)
		}
		return nil
	})
	for i := range 6 {
		_, err := primary.c.Update(t.Context(), "reports", client.Any, client.Update{Value: fmt.Appendf(nil, "password-%d", i+1)})
		pgtest.Must(t, err)
		pgtest.Eventually(t, "the follower has the password", func() bool { return f.Current().Password == fmt.Sprintf("password-%d", i+1) })
		mustUser(t, db)
	}
	stop()
	t.Logf("%d logins each: the connector failed in none, a client without it in %d, with a password that it had read before the commit", logins.Load(), refused.Load())
	if _, err := pgx.ConnectConfig(t.Context(), standby.config("reports", "password-0")); err == nil {
		t.Error("the first password still logs in")
	}
}
