package exttest

import (
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// over waits until the time of a lease is over, as it was issued, and the supervisor has looked since.
func (b *leaseBench) over(l lease) {
	b.t.Helper()
	pgtest.Eventually(b.t, "the time of the lease is over", func() bool {
		return get[bool](b.session, "SELECT clock_timestamp() > $1", l.expiresAt)
	})
	passes(b.t, b.session)
}

// wantLast wants a lease that lasts beyond the time that it was issued for, as its password does.
func (b *leaseBench) wantLast(l lease) {
	b.t.Helper()
	passes(b.t, b.session)
	var ends, until time.Time
	var ending *string
	err := b.QueryRow(bounded(b.t), `SELECT l.expires_at, r.rolvaliduntil, l.ending FROM vault.role_leases l JOIN pg_roles r ON r.oid = l.role
		WHERE l.id = $1::text::uuid AND r.rolcanlogin`, l.id).Scan(&ends, &until, &ending)
	if err != nil || ending != nil || !ends.Equal(until) || !ends.After(l.expiresAt.Add(time.Minute)) {
		b.t.Errorf("the lease ends at %v (%v), and its password at %v: %v", ends, ending, until, err)
	}
	if err := b.c.login(l.username, l.password); err != nil {
		b.t.Error("a lease that was renewed does not log in:", err)
	}
	if n := b.audited("lease_renew", l.id); n != 1 {
		b.t.Errorf("%d records of the renewal", n)
	}
}

// wantEnd wants a lease to end, once, and without a record of a renewal.
func (b *leaseBench) wantEnd(l lease) {
	b.t.Helper()
	b.gone(l)
	if n := b.audited("lease_end", l.id); n != 1 {
		b.t.Errorf("%d records of the end", n)
	}
	if n := b.audited("lease_renew", l.id); n != 0 {
		b.t.Errorf("%d records of a renewal", n)
	}
}

// TestRenewalBeforeTheEndOfALease: the supervisor finds a lease whose renewal is not committed yet when its time is over.
func TestRenewalBeforeTheEndOfALease(t *testing.T) {
	b := newLeaseBench(t)
	app, other := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "app")
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		l := b.issue(app, "app/reader", "2 seconds")
		held, err := b.c.hold(l.username, l.password)
		pgtest.Must(t, err)
		defer func() { _ = held.Close(t.Context()) }()
		other.exec("BEGIN")
		other.exec("SELECT vault.renew_lease($1::text::uuid, '1 hour')", l.id)
		b.over(l)
		if !alive(held) {
			t.Error("its session was ended")
		}
		other.exec(end)
		if end == "ROLLBACK" {
			b.wantEnd(l)
			continue
		}
		b.wantLast(l)
		if !alive(held) {
			t.Error("a session of a lease that was renewed was ended")
		}
	}
}

// TestRenewalBehindTheEndOfALease: a renewal that began in time waits for a supervisor that ends the lease.
func TestRenewalBehindTheEndOfALease(t *testing.T) {
	b := newLeaseBench(t)
	app, supervisor := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "postgres")
	l := b.issue(app, "app/reader", "1 hour")
	supervisor.exec("BEGIN")
	// The row says that its time is over only to this transaction, which ends it as the supervisor does.
	supervisor.exec("UPDATE vault.role_leases SET expires_at = clock_timestamp() WHERE id = $1::text::uuid", l.id)
	if got := get[string](supervisor, "SELECT lease::text FROM vault.ending_leases(100)"); got != l.id {
		t.Errorf("the lease that ends is %q", got)
	}
	done := app.background("SELECT vault.renew_lease('" + l.id + "', '1 hour')")
	awaitLock(t, b.session, app)
	supervisor.exec("COMMIT")
	wantError(t, within(t, pgtest.Patience, done), "42704", "no such lease")
	b.wantEnd(l)
}

// TestRenewalThatWaitsTooLong: the time of a lease is over when its renewal gets the lock of its row.
func TestRenewalThatWaitsTooLong(t *testing.T) {
	b := newLeaseBench(t)
	app, holder := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "postgres")
	l := b.issue(app, "app/reader", "3 seconds")
	holder.exec("BEGIN")
	holder.exec("SELECT FROM vault.role_leases WHERE id = $1::text::uuid FOR UPDATE", l.id)
	done := app.background("SELECT vault.renew_lease('" + l.id + "', '1 hour')")
	awaitLock(t, b.session, app)
	b.over(l)
	holder.exec("COMMIT")
	wantError(t, within(t, pgtest.Patience, done), "42704", "no such lease")
	b.wantEnd(l)
}

// TestRenewalBehindAnotherChangeOfTheRole: a renewal waits for who alters its role by hand until its time is over. The supervisor meets
// the lock of the renewal and does not end the lease meanwhile.
func TestRenewalBehindAnotherChangeOfTheRole(t *testing.T) {
	b := newLeaseBench(t)
	app, admin := b.c.connect(t, "postgres", "app"), b.c.connect(t, "postgres", "postgres")
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		l := b.issue(app, "app/reader", "3 seconds")
		admin.exec("BEGIN")
		admin.exec("ALTER ROLE " + l.username + " CONNECTION LIMIT 7")
		done := app.background("SELECT vault.renew_lease('" + l.id + "', '1 hour')")
		awaitLock(t, b.session, app)
		b.over(l)
		admin.exec(end)
		if err := within(t, pgtest.Patience, done); end == "COMMIT" {
			wantError(t, err, "40001", "altered by another transaction")
			b.wantEnd(l)
			continue
		} else if err != nil {
			t.Error(err)
		}
		b.wantLast(l)
	}
}

// TestRolesAlteredByHandMeanwhile: a change waits for a transaction that alters its role. What was decided before holds no longer once
// that is committed, so the change is refused, with a SQLSTATE that says that it can be tried again.
func TestRolesAlteredByHandMeanwhile(t *testing.T) {
	b := newLeaseBench(t)
	admin, changer := b.c.connect(t, "postgres", "postgres"), b.c.connect(t, "postgres", "postgres")
	for _, name := range []string{"one", "a", "b", "free"} {
		b.exec("CREATE ROLE " + name + " LOGIN")
	}
	b.exec("SELECT vault.create_secret('one', 'first value', generate_policy => '{}')")
	b.exec("SELECT vault.create_secret('free', 'first value')")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"a","password":"one"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 3600)`)
	b.exec("SELECT vault.bind_role('one', 'one')")
	b.exec("SELECT vault.bind_role_pair('pair', 'a', 'b')")
	l := b.issue(b.session, "app/reader", nil)
	for _, c := range []struct{ role, change string }{
		{"one", "vault.rotate_secret('one')"}, {"one", "vault.update_secret('one', 'second value', NULL)"}, {"one", "vault.repair_role('one')"},
		{"a", "vault.rotate_secret('pair')"}, {"b", "vault.rotate_secret('pair')"}, {"free", "vault.bind_role('free', 'free')"},
		{l.username, "vault.revoke_lease('" + l.id + "')"},
	} {
		for _, end := range []string{"COMMIT", "ROLLBACK"} {
			admin.exec("BEGIN")
			admin.exec("ALTER ROLE " + c.role + " SUPERUSER") // which the vault would give no password
			done := changer.background("SELECT " + c.change)
			awaitBlocked(t, b.session, changer, admin)
			admin.exec(end)
			err := within(t, pgtest.Patience, done)
			if end == "COMMIT" {
				wantError(t, err, "40001", "altered by another transaction")
				b.exec("ALTER ROLE " + c.role + " NOSUPERUSER")
			} else if err != nil {
				t.Errorf("%s: %v", c.change, err)
			}
		}
	}
}

// TestPassesMeetRolesAlteredByHand: a pass that waits for who alters a role goes on without that role, also when it gets the lock.
func TestPassesMeetRolesAlteredByHand(t *testing.T) {
	b := newBoundBench(t)
	admin, pass := b.c.connect(t, b.db, "postgres"), b.c.connect(t, b.db, "postgres")
	b.exec("CREATE ROLE app LOGIN")
	b.exec("SELECT vault.create_secret('app', 'value')")
	b.exec("SELECT vault.bind_role('app', 'app', auto_repair => true)")
	b.exec("ALTER ROLE app PASSWORD 'by hand'")
	b.exec("ALTER FUNCTION vault.check_drift(timestamptz, integer) SET lock_timeout = '1min'") // longer than it takes here
	admin.exec("BEGIN")
	admin.exec("ALTER ROLE app CONNECTION LIMIT 7")
	pass.exec("SET ROLE vault_owner")
	done := pass.background("SELECT vault.check_drift(clock_timestamp(), 100)")
	awaitLock(t, b.session, pass)
	admin.exec("COMMIT")
	pgtest.Must(t, within(t, pgtest.Patience, done))
	pass.exec("SELECT vault.check_drift(clock_timestamp(), 100)")
	b.wantLogin("app", "value")
}
