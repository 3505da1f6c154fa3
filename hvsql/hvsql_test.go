package hvsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

// TestPairIsRotatedUnderLoad: no query and no login fails, and both pools move over to the other role.
func TestPairIsRotatedUnderLoad(t *testing.T) {
	s := newSite(t)
	s.mustPair(t)
	f := s.mustFollow(t, hvsql.Secret(s.c, "db"))
	f.OnError(func(err error) { t.Error(err) })
	db := s.mustOpen(t, f)
	pool := mustPool(t, s, f)
	pgxUser := func(ctx context.Context) (name string, err error) {
		err = pool.QueryRow(ctx, "SELECT session_user").Scan(&name)
		return name, err
	}
	stop := load(t, func(ctx context.Context) error {
		_, err := user(ctx, db)
		_, perr := pgxUser(ctx)
		conn, cerr := db.Conn(ctx) // a new login now and then, with one that is thrown away
		if cerr == nil {
			_ = conn.Raw(func(any) error { return errBad })
			_ = conn.Close()
		}
		return errors.Join(err, perr, cerr)
	})
	for _, want := range []string{"app_b", "app_a", "app_b", "app_a"} {
		s.db.MustExec(t, "SELECT vault.rotate_secret('db')")
		pgtest.Eventually(t, "both pools log in as "+want, func() bool {
			name, err := pgxUser(t.Context())
			return err == nil && name == want && mustUser(t, db) == want
		})
	}
	if n := stop(); n < 20 {
		t.Errorf("the load has run %d times only", n)
	}
}

func mustPool(t *testing.T, s *site, f *hvsql.Follower) *pgxpool.Pool {
	t.Helper()
	conf, err := pgxpool.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable pool_max_conns=4", s.addr, pgtest.Port, s.db.Name))
	pgtest.Must(t, err)
	conf.BeforeConnect = hvsql.BeforeConnect(f, func(c *pgx.ConnConfig, username, password string) { c.User, c.Password = username, password })
	conf.PrepareConn = func(_ context.Context, c *pgx.Conn) (bool, error) { return hvsql.IsCurrent(f, c.Config().User), nil }
	pool, err := pgxpool.NewWithConfig(t.Context(), conf)
	pgtest.Must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// errBad makes database/sql throw a connection away.
var errBad = driver.ErrBadConn

// TestOneRoleIsRotated: a login that was refused between the commit and the next read is made again with the new password.
func TestOneRoleIsRotated(t *testing.T) {
	s := newSite(t)
	s.MustCreate(t, "reports", "first-password")
	s.db.MustExec(t, "CREATE ROLE reports LOGIN")
	s.db.MustExec(t, "SELECT vault.bind_role('reports', 'reports')")
	f := s.mustFollow(t, hvsql.PasswordOf(s.c, "reports", "reports"))
	db := s.mustOpen(t, f)
	db.SetMaxIdleConns(-1) // each query logs in
	stop := load(t, func(ctx context.Context) error {
		_, err := user(ctx, db)
		return err
	})
	for i := range 5 {
		_, err := s.c.Update(t.Context(), "reports", client.Any, client.Update{Value: fmt.Appendf(nil, "password-%d", i)})
		pgtest.Must(t, err)
		pgtest.Must(t, s.login("reports", fmt.Sprintf("password-%d", i)))
		pgtest.Eventually(t, "the follower has the password", func() bool { return f.Current().Password == fmt.Sprintf("password-%d", i) })
	}
	stop()
	if name := mustUser(t, db); name != "reports" {
		t.Error(name)
	}
}

// TestConnectionInUseIsLeftAlone: a transaction outlives a rotation, and its connection goes afterwards.
func TestConnectionInUseIsLeftAlone(t *testing.T) {
	s := newSite(t)
	s.mustPair(t)
	f := s.mustFollow(t, hvsql.Secret(s.c, "db"))
	db := s.mustOpen(t, f)
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	pgtest.Must(t, err)
	var before, after int
	pgtest.Must(t, tx.QueryRow("SELECT pg_backend_pid()").Scan(&before))
	s.db.MustExec(t, "SELECT vault.rotate_secret('db')")
	pgtest.Eventually(t, "the follower has the other role", func() bool { return f.Current().Username == "app_b" })
	pgtest.Must(t, tx.QueryRow("SELECT pg_backend_pid()").Scan(&after))
	if _, err := tx.Exec("CREATE TABLE x()"); before != after || err == nil {
		t.Error("the transaction is no longer the read-only one", before, after, err)
	}
	pgtest.Must(t, tx.Rollback())
	if name := mustUser(t, db); name != "app_b" {
		t.Errorf("the pool goes on as %s", name)
	}
	// Nor is a connection handed out that was idle then.
	s.db.MustExec(t, "SELECT vault.rotate_secret('db')")
	pgtest.Eventually(t, "the follower has the first role again", func() bool { return f.Current().Username == "app_a" })
	if name := mustUser(t, db); name != "app_a" {
		t.Errorf("the pool hands out a connection of %s", name)
	}
}

// TestLeaseIsRenewedAndReplaced: the lease of 8 s is renewed until 20 s are over, and another follows. No query fails, though the
// supervisor ends the sessions of each lease.
func TestLeaseIsRenewedAndReplaced(t *testing.T) {
	s := newSite(t)
	s.db.MustExec(t, "SELECT vault.create_role_template('app/reader', '{}', '8 seconds', '20 seconds', role_prefix => 'leased')")
	f := s.mustFollow(t, hvsql.Lease(s.c, "app/reader"))
	f.OnError(func(err error) { t.Error(err) })
	db := s.mustOpen(t, f)
	stop := load(t, func(ctx context.Context) error {
		_, err := user(ctx, db)
		return err
	})
	first := f.Current()
	pgtest.Eventually(t, "the lease is renewed", func() bool {
		now := f.Current()
		return now.LeaseID == first.LeaseID && now.ExpiresAt.After(first.ExpiresAt)
	})
	pgtest.Eventually(t, "another lease takes over", func() bool { return f.Current().LeaseID != first.LeaseID })
	pgtest.Eventually(t, "the first lease is dropped", func() bool {
		_, err := s.c.ShowLease(t.Context(), first.LeaseID)
		return client.CodeOf(err) == client.NotFound
	})
	stop()
	if name := mustUser(t, db); name == first.Username || name != f.Current().Username {
		t.Errorf("the pool goes on as %s", name)
	}
	if s.login(first.Username, first.Password) == nil {
		t.Error("the first lease still logs in")
	}
	if name := first.Username; hvsql.IsCurrent(f, name) || !hvsql.IsCurrent(f, f.Current().Username) {
		t.Error("IsCurrent is wrong")
	}
}

// TestLostLeaseIsReplacedOnce: a lease that was revoked is replaced at the next login, and one that the vault still has is not.
func TestLostLeaseIsReplacedOnce(t *testing.T) {
	s := newSite(t)
	s.db.MustExec(t, "SELECT vault.create_role_template('app/reader', '{}', '1 hour', '1 hour', role_prefix => 'leased')")
	f := s.mustFollow(t, hvsql.Lease(s.c, "app/reader"))
	db := s.mustOpen(t, f)
	db.SetMaxIdleConns(-1)
	first := f.Current()
	mustUser(t, db)
	pgtest.Must(t, s.c.RevokeLease(t.Context(), first.LeaseID))
	if name := mustUser(t, db); name == first.Username {
		t.Error("the revoked lease still logs in")
	}
	second := f.Current()
	s.db.MustExec(t, "ALTER ROLE "+second.Username+" PASSWORD 'changed elsewhere'")
	_, err := user(t.Context(), db)
	if err == nil || !strings.Contains(err.Error(), "still the current one") {
		t.Error(err)
	}
	if refusal, ok := errors.AsType[*pgconn.PgError](err); !ok || refusal.Code != "28P01" {
		t.Error("the error of PostgreSQL is lost:", err)
	}
	if f.Current().LeaseID != second.LeaseID {
		t.Error("a refused login has leased another role")
	}
}

// TestVaultIsAway: the last credential lasts until its end, and then an error says why.
func TestVaultIsAway(t *testing.T) {
	s := newSite(t)
	s.mustPair(t)
	s.db.MustExec(t, "SELECT vault.create_role_template('app/reader', '{}', '5 seconds', '1 hour', role_prefix => 'leased')")
	var mu sync.Mutex
	var reported []error
	leased := s.mustFollow(t, hvsql.Lease(s.c, "app/reader"))
	leased.OnError(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		reported = append(reported, err)
	})
	kept := s.mustFollow(t, hvsql.Secret(s.c, "db"))
	db, pairDB, pool := s.mustOpen(t, leased), s.mustOpen(t, kept), mustPool(t, s, leased)
	db.SetMaxIdleConns(-1)
	pairDB.SetMaxIdleConns(-1)
	s.MustStop(t)
	mustUser(t, db)
	var failure error
	pgtest.Eventually(t, "the lease ends", func() bool {
		_, failure = user(t.Context(), db)
		return failure != nil
	})
	if now := leased.Current(); time.Now().Before(now.ExpiresAt) {
		t.Error("the credential was given up before its end")
	}
	wantClear(t, failure, leased.Current().Password)
	wantClear(t, pool.Ping(t.Context()), leased.Current().Password)
	for range 3 {
		if name := mustUser(t, pairDB); name != "app_a" {
			t.Error(name)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reported) == 0 {
		t.Error("OnError was not called")
	}
	for _, err := range reported {
		wantClear(t, err, leased.Current().Password)
	}
}

func wantClear(t *testing.T, err error, password string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || client.CodeOf(err) != client.Unreachable {
		t.Error("not clear:", err)
	} else if strings.Contains(err.Error(), password) {
		t.Error("the error shows the password")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := newSite(t)
	s.mustPair(t)
	f := s.mustFollow(t, hvsql.Secret(s.c, "db"))
	f.OnError(func(err error) { t.Error(err) })
	db := s.mustOpen(t, f)
	db.SetMaxIdleConns(-1)
	f.Close()
	f.Close()
	s.db.MustExec(t, "SELECT vault.rotate_secret('db')")
	if name := mustUser(t, db); name != "app_a" {
		t.Errorf("the closed follower moved to %s", name)
	}
	s.db.MustExec(t, "ALTER ROLE app_a PASSWORD 'other'")
	if _, err := user(context.Background(), db); err == nil || !strings.Contains(err.Error(), "the follower is closed") {
		t.Error(err)
	}
}

func TestNoPasswordIsShown(t *testing.T) {
	s := newSite(t)
	s.mustPair(t)
	s.MustCreate(t, "text", "first-password")
	s.MustCreate(t, "half", `{"password": "first-password"}`)
	f := s.mustFollow(t, hvsql.Secret(s.c, "db"))
	c := f.Current()
	if c.Password != "first-password" {
		t.Fatal("the credential is not the one of the secret")
	}
	texts := []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q %x", c, &c, c, c, c), fmt.Sprintf("%+v %v %#v", f, f, f)}
	encoded, err := json.Marshal(c)
	pgtest.Must(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "c", c, "f", f)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "c", c, "f", f)
	texts = append(texts, string(encoded), log.String())
	for _, name := range []string{"text", "half", "none"} {
		_, err := hvsql.NewFollower(t.Context(), hvsql.Secret(s.c, name))
		if err == nil {
			t.Fatal(name)
		}
		texts = append(texts, err.Error())
	}
	db := s.mustOpen(t, f)
	s.db.MustExec(t, "ALTER ROLE app_a PASSWORD 'other'")
	_, err = user(t.Context(), db)
	if err == nil {
		t.Fatal("a changed password logs in")
	}
	for _, text := range append(texts, err.Error(), fmt.Sprintf("%+v %#v", err, err)) {
		if strings.Contains(text, "first-password") {
			t.Error("it shows the password:", text)
		}
	}
}

// TestErrorsOfTheVault: a token that may not read the secret, and a secret that is not there.
func TestErrorsOfTheVault(t *testing.T) {
	s := newSite(t)
	_, err := hvsql.NewFollower(t.Context(), hvsql.Secret(s.c, "none"))
	if client.CodeOf(err) != client.NotFound {
		t.Error(err)
	}
	_, err = hvsql.NewFollower(t.Context(), hvsql.Lease(s.client(t, "wrong"), "none"))
	if client.CodeOf(err) != client.Unauthenticated {
		t.Error(err)
	}
}
