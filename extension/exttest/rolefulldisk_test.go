package exttest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// diskChild is set in the process that has mounts of its own.
const diskChild = "HV_TEST_DISK"

// onOwnMounts runs a test in a process that may mount a small file system.
func onOwnMounts(t *testing.T, test func(*testing.T)) {
	if os.Getenv(diskChild) != "" {
		test(t)
		return
	}
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system, as root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), diskChild+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	switch out, err := cmd.CombinedOutput(); {
	case errors.Is(err, syscall.EPERM):
		t.Skip("no mounts here: ", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// onSmallDisk moves a directory of a server to a file system of 128 MB, and starts it again. fill leaves no space there, and empty makes
// it again.
func (c cluster) onSmallDisk(t *testing.T, dir string) (fill, empty func()) {
	t.Helper()
	c.MustStop(t, syscall.SIGINT)
	disk := filepath.Join(c.Dir(), "disk")
	pgtest.Must(t, os.Mkdir(disk, 0o755))
	pgtest.Must(t, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	pgtest.Must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128m,mode=0777"))
	c.MustRun(t, "cp", "-a", dir, disk)
	pgtest.Must(t, os.RemoveAll(dir))
	pgtest.Must(t, os.Symlink(filepath.Join(disk, filepath.Base(dir)), dir))
	c.MustStart(t)
	t.Cleanup(func() {
		c.MustStop(t, syscall.SIGINT)
		pgtest.Must(t, syscall.Unmount(disk, syscall.MNT_DETACH))
	})
	ballast := filepath.Join(disk, "ballast")
	return func() {
			t.Helper()
			if err := os.WriteFile(ballast, make([]byte, 128<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("the disk is not full: %v", err)
			}
		}, func() {
			t.Helper()
			pgtest.Must(t, os.Remove(ballast))
		}
}

// diskFull is whether an error says so.
func diskFull(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "53100"
}

// diskBench is a server on a small disk with the bound secrets "one" and "pair".
type diskBench struct {
	*leaseBench
	fill, empty func()
}

// newDiskBench has the directory below that of the data on the small disk.
func newDiskBench(t *testing.T, below string, settings ...string) *diskBench {
	b := &diskBench{leaseBench: newLeaseBench(t, settings...)}
	b.fill, b.empty = b.c.onSmallDisk(t, filepath.Join(b.c.Data(), below))
	b.session = b.c.connect(t, "postgres", "postgres")
	b.exec("CREATE ROLE one LOGIN")
	b.exec("CREATE ROLE pair_a LOGIN")
	b.exec("CREATE ROLE pair_b LOGIN")
	b.exec("SELECT vault.create_secret('one', 'first value', generate_policy => '{}')")
	b.exec("SELECT vault.bind_role('one', 'one')")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"pair_a","password":"first"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 3600)`)
	b.exec("SELECT vault.bind_role_pair('pair', 'pair_a', 'pair_b')")
	return b
}

// agree wants the passwords to be those that are stored, and a role for each lease.
func (b *diskBench) agree(when string) {
	b.t.Helper()
	if err := b.c.login("one", get[string](b.session, "SELECT vault.read_secret('one')")); err != nil {
		b.t.Errorf("%s: %v", when, err)
	}
	pair := get[string](b.session, "SELECT vault.read_secret('pair')")
	if err := b.c.login(get[string](b.session, "SELECT $1::jsonb->>'username'", pair), get[string](b.session, "SELECT $1::jsonb->>'password'", pair)); err != nil {
		b.t.Errorf("%s: %v", when, err)
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM pg_roles r FULL JOIN vault.role_leases l ON l.role = r.oid WHERE r.rolname LIKE 'lease%' AND (l.id IS NULL OR r.oid IS NULL)"); n != 0 {
		b.t.Errorf("%s: %d leases without a role, or roles without a lease", when, n)
	}
}

// wantOrder wants the server to work as before, with nothing left to do.
func (b *diskBench) wantOrder() {
	b.t.Helper()
	pgtest.Eventually(b.t, "all leases end", func() bool { return get[int](b.session, leasesLeft) == 0 })
	b.exec("SELECT vault.rotate_secret('one')")
	b.exec("SELECT vault.rotate_secret('pair')")
	b.agree("after all")
	passes(b.t, b.session)
	if got := get[string](b.session, "SELECT string_agg(state, ' ') FROM vault.bound_roles() WHERE current"); got != "ok ok" {
		b.t.Errorf("the roles are %s", got)
	}
	if said := get[string](b.session, "SELECT coalesce(reason, '') FROM vault.supervisor_state()"); said != "" {
		b.t.Errorf("the supervisor says %q", said)
	}
}

// TestRolesOnAFullDisk rotates bound secrets, and issues and ends leases, until the disk is full. What is answered with an error has
// changed nothing, and all ends by itself once there is space.
func TestRolesOnAFullDisk(t *testing.T) { onOwnMounts(t, rolesOnAFullDisk) }

func rolesOnAFullDisk(t *testing.T) {
	b := newDiskBench(t, "")
	held := b.issue(b.session, "app/reader", nil)
	session, err := b.c.hold(held.username, held.password)
	pgtest.Must(t, err)
	b.fill()
	for what, change := range map[string]string{
		"a rotation":                     "SELECT vault.rotate_secret('one')",
		"a rotation of a pair":           "SELECT vault.rotate_secret('pair')",
		"a lease":                        "SELECT vault.issue_role('app/reader', '1 second')",
		"a binding that ends and begins": "SELECT vault.unbind_role('one'), vault.bind_role('one', 'one')",
	} {
		err = nil
		n := 0
		for ; err == nil && n < 5000; n++ {
			err = b.try(change)
		}
		t.Logf("%s: number %d is answered %v", what, n, err)
		if !diskFull(err) {
			t.Errorf("%s is answered %v", what, err)
		}
		b.agree("after " + what)
	}
	err = b.try("SELECT vault.revoke_lease($1::text::uuid)", held.id)
	t.Logf("a revocation is answered %v", err)
	revoked := err == nil
	b.agree("after a revocation")
	for range 10 {
		_ = b.try("SELECT vault.rotate_secret('one')")
	}
	b.agree("after more rotations")
	b.empty()
	if !revoked {
		b.exec("SELECT vault.revoke_lease($1::text::uuid)", held.id)
	}
	b.gone(held)
	pgtest.Eventually(t, "the session ends", func() bool { _, err := session.Exec(context.Background(), "SELECT 1"); return err != nil })
	b.wantOrder()
}

// TestRolesWithoutSpaceForTheLog has the write-ahead log on a full disk of its own, where the server does not answer with an error but
// crashes. It does so in the middle of a rotation or of the issue of a lease, which is then there as a whole or not at all.
func TestRolesWithoutSpaceForTheLog(t *testing.T) { onOwnMounts(t, rolesWithoutSpaceForTheLog) }

func rolesWithoutSpaceForTheLog(t *testing.T) {
	b := newDiskBench(t, "pg_wal", "restart_after_crash = off", "min_wal_size = 32MB", "max_wal_size = 64MB")
	for i, change := range []string{
		"SELECT vault.rotate_secret('one')", "SELECT vault.rotate_secret('pair')", "SELECT username FROM vault.issue_role('app/reader', '1 second')",
		"SELECT vault.rotate_secret('one'), vault.rotate_secret('pair')",
	} {
		b.fill()
		err := b.fillLog(change, i)
		t.Logf("%s: %v", change, err)
		b.awaitCrash()
		b.empty()
		b.c.MustStart(t)
		b.session = b.c.connect(t, "postgres", "postgres")
		b.agree(change)
	}
	b.wantOrder()
}

// fillLog repeats a change, each time a bit before the end of a segment of the log, until the server is gone.
func (b *diskBench) fillLog(change string, seed int) (err error) {
	b.t.Helper()
	for n := seed; err == nil; n++ {
		// All that is left of the segment, but for some of what the change writes.
		err = b.try(`SELECT pg_logical_emit_message(false, 'fill', repeat('x', greatest(0, (16777216 - 60000 - (pg_current_wal_insert_lsn() - '0/0') % 16777216)::int))),
			pg_logical_emit_message(false, 'rest', repeat('x', 60000 - 1000 - $1))`, n*1700%20000)
		if err == nil {
			err = b.try(change)
		}
	}
	return err
}

// awaitCrash waits until the server is gone.
func (b *diskBench) awaitCrash() {
	b.t.Helper()
	pgtest.Eventually(b.t, "the server is gone", func() bool {
		conn, err := b.c.dial(bounded(b.t), "postgres", "postgres")
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
	})
	b.c.MustStop(b.t, syscall.SIGKILL)
}
