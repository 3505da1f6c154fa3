package exttest

import (
	"strings"
	"testing"
)

// isolated is a granted role's session within a transaction whose snapshot is older than what follows.
func isolated(t *testing.T, b *bench, level, actions string) (s *session, role string) {
	t.Helper()
	role = b.c.newRole(t)
	b.grant(role, "app/*", actions)
	s = b.c.connect(t, b.db, role)
	s.exec("BEGIN ISOLATION LEVEL " + level)
	s.exec("SELECT 1")
	return s, role
}

// TestIsolation has transactions that keep one snapshot meet what others commit meanwhile.
func TestIsolation(t *testing.T) {
	for _, level := range []string{"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"} {
		t.Run(strings.ReplaceAll(level, " ", ""), func(t *testing.T) {
			b := newBench(t, sharedCluster(t))
			for _, name := range []string{"app/a", "app/b", "app/json"} {
				b.exec("SELECT vault.create_secret($1, 'first'::text, grace_period_secs => 3600, generate_policy => '{}')", name)
			}
			t.Run("ErrRevoked", func(t *testing.T) { isolatedRevoked(t, b, level) })
			t.Run("ErrDeleted", func(t *testing.T) { isolatedDeleted(t, b, level) })
			t.Run("Granted", func(t *testing.T) { isolatedGranted(t, b, level) })
			t.Run("ErrSuperseded", func(t *testing.T) { isolatedSuperseded(t, b, level) })
			t.Run("OwnChanges", func(t *testing.T) { isolatedOwn(t, b, level) })
			t.Run("Parallel", func(t *testing.T) { isolatedParallel(t, b, level) })
		})
	}
}

func isolatedRevoked(t *testing.T, b *bench, level string) {
	s, role := isolated(t, b, level, "read,create,update,delete,rotate,verify")
	// What is left keeps the role's EXECUTE, so that it is the vault that refuses.
	b.grant(role, "other", "read,create,update,delete,rotate,verify")
	if got := get[string](s, "SELECT vault.read_secret('app/a')"); got != "first" {
		t.Errorf("read %q", got)
	}
	b.exec("SELECT vault.revoke_access($1::text::regrole, 'app/*', '{read,create,update,delete,rotate,verify}')", role)
	for _, sql := range []string{
		"SELECT vault.read_secret('app/a')",
		"SELECT vault.verify('app/a', 'first'::text)",
		"SELECT vault.verify_version('app/a', 'first'::text)",
		"SELECT vault.create_secret('app/new', 'x'::text)",
		"SELECT vault.update_secret('app/a', 'x'::text, 1)",
		"SELECT vault.configure_secret('app/a', description => 'x')",
		"SELECT vault.rotate_secret('app/a')",
		"SELECT vault.expire_version('app/a', 1)",
		"SELECT vault.delete_secret('app/a', 1)",
	} {
		s.exec("SAVEPOINT a")
		wantError(t, s.try(sql), "42501", "permission denied to")
		s.exec("ROLLBACK TO a")
	}
	if n := get[int](s, "SELECT count(*)::int FROM vault.list_secrets()"); n != 0 {
		t.Errorf("%d secrets are listed", n)
	}
}

func isolatedDeleted(t *testing.T, b *bench, level string) {
	s, _ := isolated(t, b, level, "read,verify,update,rotate")
	b.exec("SELECT vault.update_secret('app/b', 'second'::text, 1)")
	if got := get[string](s, "SELECT vault.read_secret('app/b')"); got != "second" {
		t.Errorf("read %q", got)
	}
	if !get[bool](s, "SELECT vault.verify('app/b', 'first'::text)") {
		t.Error("the version in grace does not verify")
	}
	b.exec("SELECT vault.expire_version('app/b', 1)")
	if get[bool](s, "SELECT vault.verify('app/b', 'first'::text)") {
		t.Error("an expired version verifies")
	}
	b.exec("SELECT vault.delete_secret('app/b', 2)")
	for _, sql := range []string{"SELECT vault.read_secret('app/b')", "SELECT vault.verify('app/b', 'second'::text)"} {
		s.exec("SAVEPOINT a")
		wantError(t, s.try(sql), "42704", "does not exist")
		s.exec("ROLLBACK TO a")
	}
	want := "40001"
	if level == "READ COMMITTED" {
		want = "42704"
	}
	wantError(t, s.try("SELECT vault.update_secret('app/b', 'x'::text, 2)"), want, "")
}

// What is newer than the transaction can be read; to change it, the transaction has to be a newer one.
func isolatedGranted(t *testing.T, b *bench, level string) {
	role := b.c.newRole(t)
	b.grant(role, "else", "read,create,update")
	s := b.c.connect(t, b.db, role)
	s.exec("BEGIN ISOLATION LEVEL " + level)
	s.exec("SELECT 1")
	b.exec("SELECT vault.create_secret('app/young', 'y'::text)")
	b.grant(role, "app/*", "read,create,update")
	if got := get[string](s, "SELECT vault.read_secret('app/young')"); got != "y" {
		t.Errorf("read %q", got)
	}
	s.exec("SAVEPOINT a")
	wantError(t, s.try("SELECT vault.update_secret('app/none', 'x'::text, NULL)"), "42704", "does not exist")
	s.exec("ROLLBACK TO a")
	if level == "READ COMMITTED" {
		s.exec("SELECT vault.update_secret('app/young', 'x'::text, 1)")
		return
	}
	wantError(t, s.try("SELECT vault.update_secret('app/young', 'x'::text, 1)"), "40001", "created meanwhile")
	s.exec("ROLLBACK TO a")
	wantError(t, s.try("SELECT vault.create_secret('app/young', 'x'::text)"), "40001", "could not serialize access")
}

func isolatedSuperseded(t *testing.T, b *bench, level string) {
	for _, sql := range []string{
		"SELECT vault.update_secret('app/a', 'mine'::text, NULL)", "SELECT vault.rotate_secret('app/a')",
		"SELECT vault.configure_secret('app/a', description => 'mine')", "SELECT vault.delete_secret('app/a', NULL)",
	} {
		s, _ := isolated(t, b, level, "read,update,rotate,delete")
		b.exec("SELECT vault.update_secret('app/a', 'theirs'::text, NULL)")
		if got := get[string](s, "SELECT vault.read_secret('app/a')"); got != "theirs" {
			t.Errorf("read %q", got)
		}
		if level == "READ COMMITTED" {
			s.exec(sql)
		} else {
			wantError(t, s.try(sql), "40001", "could not serialize access")
		}
		s.exec("ROLLBACK")
	}
}

func isolatedOwn(t *testing.T, b *bench, level string) {
	s, _ := isolated(t, b, level, "read,create,update,delete,rotate,verify")
	s.exec("SELECT vault.create_secret('app/own', '{\"user\": \"u\", \"p\": \"first\"}'::text, content_type => 'application/json', " +
		"generate_policy => '{\"json_field\": \"p\"}')")
	s.exec("SELECT vault.rotate_secret('app/own')")
	if got := get[string](s, "SELECT vault.read_secret('app/own')"); strings.Contains(got, "first") || !strings.Contains(got, `"u"`) {
		t.Errorf("read %q", got)
	}
	if got := get[string](s, "SELECT vault.update_secret('app/own', '{\"p\": \"x\"}'::text, 2) || vault.read_secret('app/own')"); got != `3{"p": "x"}` {
		t.Errorf("within one statement: %q", got)
	}
	s.exec("SELECT vault.delete_secret('app/own', 3)")
	wantError(t, s.try("SELECT vault.read_secret('app/own')"), "42704", "does not exist")
	s.exec("ROLLBACK")
}

// A function that waits for no worker may still run while there are some, and a new snapshot is not always to be had then.
func isolatedParallel(t *testing.T, b *bench, level string) {
	s, role := isolated(t, b, level, "read,verify")
	s.exec("SET LOCAL " + forcedParallel(s) + " = on")
	const sql = "SELECT count(*)::int FROM (SELECT n FROM (VALUES ('app/json')) v(n) OFFSET 0) x WHERE vault.verify(n, 'first'::text)"
	if n := get[int](s, sql); n != 1 {
		t.Errorf("%d verify", n)
	}
	b.grant(role, "other", "verify")
	b.exec("SELECT vault.revoke_access($1::text::regrole, 'app/*', '{verify}')", role)
	wantError(t, s.try(sql), "42501", "permission denied")
	s.exec("ROLLBACK")
}

// TestIsolationOnStandby: what is replayed counts at once there.
func TestIsolationOnStandby(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	p.here.exec("SELECT vault.create_secret('db/text', 'first', grace_period_secs => 3600)")
	p.here.exec("SELECT vault.update_secret('db/text', 'second', 1)")
	role := p.primary.newRole(t)
	p.here.exec("SELECT vault.grant_access($1::text::regrole, 'db/*', '{read,verify}')", role)
	p.here.exec("SELECT vault.grant_access($1::text::regrole, 'other', '{read,verify}')", role)
	p.standby.MustCatchUp(t)
	s := p.standby.connect(t, p.db.Name, role)
	s.exec("BEGIN ISOLATION LEVEL REPEATABLE READ")
	if got := get[string](s, "SELECT vault.read_secret('db/text', 1)"); got != "first" {
		t.Errorf("read %q", got)
	}
	p.here.exec("SELECT vault.expire_version('db/text', 1)")
	p.standby.MustCatchUp(t)
	if get[bool](s, "SELECT vault.verify('db/text', 'first'::text)") {
		t.Error("an expired version verifies")
	}
	p.here.exec("SELECT vault.revoke_access($1::text::regrole, 'db/*', '{read}')", role)
	p.standby.MustCatchUp(t)
	wantError(t, s.try("SELECT vault.read_secret('db/text')"), "42501", "permission denied")
}
