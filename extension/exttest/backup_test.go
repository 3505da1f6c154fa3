package exttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// docBlocks returns the blocks of a page of docs/ that are marked as a language, in order.
func docBlocks(t *testing.T, page, language string) (blocks []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// shell runs a block of a document as the server's user.
func (c cluster) shell(t *testing.T, block string, env ...string) string {
	t.Helper()
	tests := pgtest.LoadEnv()
	bin, err := exec.Command(tests.PGConfig, "--bindir").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(bounded(t), "bash", "-euc", block)
	cmd.Dir = c.Dir()
	cmd.Env = append(env, "PATH="+strings.TrimSpace(string(bin))+":"+tests.Path, "LC_ALL=C", "TZ=UTC",
		"PGHOST="+c.Dir(), "PGUSER="+vaulttest.Superuser, "PGDATA="+c.Data())
	if os.Getuid() == 0 {
		uid, gid := c.owner(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, block, out)
	}
	return string(out)
}

// docs/BACKUP.md is run from top to bottom on a server with secrets, and what it says about the time after a recovery
// is true.
func TestBackupPage(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, "wal_level = replica", "archive_mode = on", "archive_timeout = 0",
		"hyperion_vault.database = app", "unix_socket_permissions = 0777")
	backup, archive := filepath.Join(c.Dir(), "backup"), filepath.Join(c.Dir(), "archive")
	env := []string{"BACKUP=" + backup, "ARCHIVE=" + archive, "COPY_PORT=5433"}
	c.shell(t, "mkdir $BACKUP $ARCHIVE", env...)
	c.connect(t, "postgres", vaulttest.Superuser).exec("ALTER SYSTEM SET archive_command = 'cp %p " + archive + "/%f'")
	c.connect(t, "postgres", vaulttest.Superuser).exec("SELECT pg_reload_conf()")
	db := c.restoreInto(t, "app")
	admin := c.connect(t, "app", vaulttest.Superuser)
	admin.exec("CREATE EXTENSION hyperion_vault")
	admin.exec("SELECT vault.grant_service_role('" + vaulttest.ServiceRole + "')")
	api := vaulttest.NewServer(t, db, "VAULT_LOCAL_MASTER_KEY="+strings.Repeat("QUFB", 10)+"QUE=")
	fill(t, api, c.connect(t, "app", vaulttest.Superuser))
	db.AwaitAudit(t)
	want := contents(admin)

	blocks := docBlocks(t, "BACKUP.md", "bash")
	if len(blocks) != 5 {
		t.Fatalf("docs/BACKUP.md has %d blocks", len(blocks))
	}
	dump, restore, base, recovery, copied := blocks[0], blocks[1], blocks[2], blocks[3], blocks[4]
	c.shell(t, dump, env...)
	c.shell(t, restore, env...)
	if got := contents(c.connect(t, "app_restored", vaulttest.Superuser)); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("restored:\n%s\nwas:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c.shell(t, base, env...)

	rest := clientOf(t, api)
	moment := get[string](admin, "SELECT clock_timestamp()::text")
	rest.must(204, "DELETE", "/v1/secrets/rest/one", `"2"`, nil)
	rest.must(201, "POST", "/v1/secrets", "", map[string]any{"name": "rest/later", "kind": "manual", "value": "later"})
	db.AwaitAudit(t)
	last := get[int64](admin, "SELECT max(id) FROM vault.audit_log")
	admin.exec("SELECT pg_switch_wal()")
	key := masterKeyOf(t, api)
	api.MustStop(t)
	c.shell(t, "until [ -n \"$(ls $ARCHIVE)\" ] && [ -z \"$(ls $PGDATA/pg_wal/archive_status/*.ready 2>/dev/null)\" ]; do sleep 0.05; done", env...)
	defer c.shell(t, "pg_ctl -D \"$PGDATA\" -s -w -m fast stop || true", env...) // the page starts it, not the harness
	c.shell(t, recovery, append(env, "MOMENT="+moment)...)

	again := vaulttest.NewServer(t, db, key)
	withOldToken := &client{t, again.URL, api.AdminToken}
	if v := withOldToken.read("rest/one", ""); v != "value of rest/one 2" {
		t.Errorf("read %q", v)
	}
	withOldToken.must(404, "GET", "/v1/secrets/rest/later", "", nil)
	admin = c.connect(t, "app", vaulttest.Superuser)
	if n := get[int](admin, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'delete' AND secret_name = 'rest/one'"); n != 0 {
		t.Error("the record of a deletion that did not happen is there")
	}
	db.AwaitAudit(t)
	if next := get[int64](admin, "SELECT max(id) FROM vault.audit_log"); next <= last {
		t.Errorf("audit ids went back from %d to %d", last, next)
	}
	again.MustStop(t)
	if out := c.shell(t, copied, env...); !strings.Contains(out, "off") {
		t.Errorf("rotation is on in the copy: %s", out)
	}
}
