package exttest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// recoveryBench is a vault whose log is archived, and a base backup of it.
type recoveryBench struct {
	boundBench
	backup, archive string
}

func newRecoveryBench(t *testing.T) *recoveryBench {
	t.Helper()
	b := &recoveryBench{boundBench: newBoundBench(t, "wal_level = replica", "archive_mode = on", "hyperion_vault.rotation_enabled = off")}
	b.archive, b.backup = b.c.MustMakeDir(t), filepath.Join(b.c.Dir(), "backup")
	b.exec("ALTER SYSTEM SET archive_command = 'cp %p " + b.archive + "/%f'")
	b.exec("SELECT pg_reload_conf()")
	return b
}

// settle stops the server once its whole log is archived.
func (b *recoveryBench) settle() {
	b.t.Helper()
	last := get[string](b.session, "SELECT pg_walfile_name(pg_switch_wal())")
	pgtest.Eventually(b.t, "the log is archived", func() bool {
		return get[bool](b.session, "SELECT last_archived_wal >= $1 FROM pg_stat_archiver", last)
	})
	_ = b.Close(b.t.Context())
	b.c.MustStop(b.t, syscall.SIGINT)
}

// recover starts the server on the base backup, recovered to a target, and connects to it.
func (b *recoveryBench) recover(t *testing.T, target ...string) boundBench {
	t.Helper()
	b.c.MustRun(t, "rm", "-rf", b.c.Data())
	b.c.MustRun(t, "cp", "-a", b.backup, b.c.Data())
	b.c.MustRun(t, "touch", filepath.Join(b.c.Data(), "recovery.signal"))
	settings := append(slices.Clone(target), "archive_mode = off", "restore_command = 'cp "+b.archive+"/%f %p'", "recovery_target_timeline = '1'",
		"recovery_target_action = 'promote'")
	file, err := os.OpenFile(filepath.Join(b.c.Data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	pgtest.Must(t, err)
	_, err = file.WriteString(strings.Join(settings, "\n") + "\n")
	pgtest.Must(t, err)
	pgtest.Must(t, file.Close())
	b.c.MustStart(t)
	t.Cleanup(func() { b.c.MustStop(t, syscall.SIGQUIT) })
	b.c.MustBecome(t, "SELECT NOT pg_is_in_recovery()")
	again := b.boundBench
	inner := *b.bench
	inner.session = b.c.connect(t, b.db, "postgres")
	again.bench = &inner
	return again
}

// TestRecoveryBringsSecretAndPasswordTogether recovers a server to points before, in and after a rotation. Its roles log in with what
// the vault then holds, and with no other password of theirs.
func TestRecoveryBringsSecretAndPasswordTogether(t *testing.T) {
	t.Parallel()
	b := newRecoveryBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("CREATE ROLE app_a LOGIN")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec("SELECT vault.create_secret('app', 'first value', 'automatic', rotation_interval_secs => 86400)")
	b.exec("SELECT vault.bind_role('app', 'app')")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"app_a","password":"first of pair"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 86400)`)
	b.exec("SELECT vault.bind_role_pair('pair', 'app_a', 'app_b')")
	b.c.MustRun(t, "pg_basebackup", "-D", b.backup, "-h", b.c.Dir(), "-U", "postgres", "-X", "none", "-c", "fast", "--no-sync")

	var values, pairs []string // by version, from 1 on
	note := func() { values, pairs = append(values, b.read("app")), append(pairs, b.read("pair")) }
	rotate := func() (xid string) {
		b.exec("BEGIN")
		b.exec("SELECT vault.rotate_secret('app')")
		b.exec("SELECT vault.rotate_secret('pair')")
		xid = get[string](b.session, "SELECT pg_current_xact_id()::xid::text")
		b.exec("COMMIT")
		note()
		return xid
	}
	note()
	b.exec("SELECT pg_create_restore_point('before')")
	second := rotate()
	moment := get[string](b.session, "SELECT clock_timestamp()::text")
	rotate()
	position := get[string](b.session, "SELECT pg_current_wal_insert_lsn()::text")
	rotate()
	b.settle()

	for _, r := range []struct {
		name    string
		version int
		target  []string
	}{
		{"Before", 1, []string{"recovery_target_name = 'before'"}},
		{"AllButTheCommit", 1, []string{"recovery_target_xid = '" + second + "'", "recovery_target_inclusive = off"}},
		{"TheCommit", 2, []string{"recovery_target_xid = '" + second + "'"}},
		{"Between", 2, []string{"recovery_target_time = '" + moment + "'"}},
		{"After", 3, []string{"recovery_target_lsn = '" + position + "'"}},
		{"TheEnd", 4, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			b := b.recover(t, r.target...)
			if got := get[int](b.session, "SELECT current_version FROM vault.list_secrets('app')"); got != r.version {
				t.Fatalf("the secret is at version %d", got)
			}
			if b.read("app") != values[r.version-1] || b.read("pair") != pairs[r.version-1] {
				t.Error("the vault holds another value than it did")
			}
			b.wantOnly(t, "app", b.read("app"), values)
			b.wantPair(t, r.version, pairs)
			b.exec("SELECT vault.rotate_secret('app')")
			b.wantOnly(t, "app", b.read("app"), values)
		})
	}
}

// wantOnly checks that a role logs in with one password, and with none of the others that it has had.
func (b boundBench) wantOnly(t *testing.T, role, password string, others []string) {
	t.Helper()
	pgtest.Must(t, b.login.login(role, password))
	if state := b.state(role); state != "ok" {
		t.Errorf("the state of %s is %s", role, state)
	}
	for _, other := range others {
		if other != password {
			wantError(t, b.login.login(role, other), "28P01", "password authentication failed")
		}
	}
}

// wantPair checks the roles of a pair at a version: the current one, the retiring one in its grace, and nothing of other versions.
func (b boundBench) wantPair(t *testing.T, version int, values []string) {
	t.Helper()
	for i, value := range values {
		user := get[string](b.session, "SELECT $1::jsonb->>'username'", value)
		err := b.login.login(user, get[string](b.session, "SELECT $1::jsonb->>'password'", value))
		if v := i + 1; v == version || v == version-1 {
			pgtest.Must(t, err)
		} else {
			wantError(t, err, "28P01", "password authentication failed")
		}
	}
}
