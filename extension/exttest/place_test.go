package exttest

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// The status of a transaction that is too old to be looked up is null. A place of such a transaction, whose change was
// pruned, is none to wait for.
func TestPlaceOfAnOldTransaction(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	db := c.NewDB(t)
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	agent := newFakeAgent(t)
	admin.exec("ALTER DATABASE " + db.Name + " SET hyperion_vault.agent_socket = '" + agent.path + "'")
	admin = c.connect(t, db.Name, vaulttest.Superuser)
	admin.exec("SELECT vault.create_secret('a', 'value of a')")
	xid := get[string](admin, "SELECT c.xid FROM vault.last_change() c")
	id, at := get[int64](admin, "SELECT c.id FROM vault.last_change() c"), get[string](admin, "SELECT c.at::text FROM vault.last_change() c")
	known := func() bool {
		t.Helper()
		s := c.connect(t, db.Name, vaulttest.Superuser)
		v := get[*bool](s, "SELECT vault.knows_change($1, $2, $3::text::timestamptz)", xid, id, at)
		if v == nil {
			t.Fatal("it is not known whether the place is one")
		}
		return *v
	}
	if !known() {
		t.Fatal("the last change is no place")
	}
	admin.exec("DELETE FROM vault.changes")
	for range 20 {
		admin.exec("SELECT pg_current_xact_id()")
	}
	n, err := strconv.ParseUint(xid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	_ = admin.Close(t.Context())
	c.MustStop(t, syscall.SIGINT)
	// What freezing does in the long run: the oldest transaction that can be looked up is a later one.
	mustProgram(t, c, "pg_resetwal", "-u", strconv.FormatUint(n+10, 10), "-D", c.Data())
	c.MustStart(t)
	if status := get[*string](c.connect(t, db.Name, vaulttest.Superuser), "SELECT pg_xact_status($1::text::xid8)", xid); status != nil {
		t.Fatalf("the transaction has the status %q, so this test shows nothing", *status)
	}
	if known() {
		t.Error("a pruned place is known")
	}
}
