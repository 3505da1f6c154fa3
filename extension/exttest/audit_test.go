package exttest

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// records are the audit records of a name, oldest first.
func records(db *vaulttest.DB, s *session, name string) []string {
	s.t.Helper()
	db.AwaitAudit(s.t)
	return column(s, "SELECT concat_ws(' ', actor, session_role, action, version, outcome, nullif(code, '')) FROM vault.audit_log WHERE secret_name = '"+name+"' ORDER BY at, id")
}

func wantRecords(db *vaulttest.DB, s *session, name string, want ...string) {
	s.t.Helper()
	got := records(db, s, name)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("records of %s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAuditAndRollback(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	role := c.newRole(t)
	admin.exec("SELECT vault.grant_access($1::text::regrole, 'app/*', '{create,read,update,delete,verify,rotate}')", role)
	s := c.connect(t, db.Name, role)
	me := "role:" + role + " " + role + " "

	t.Run("Create", func(t *testing.T) {
		s.exec("BEGIN")
		s.exec("SELECT vault.create_secret('app/undone', 'x')")
		if got := get[string](s, "SELECT vault.read_secret('app/undone')"); got != "x" {
			t.Errorf("read %q within the transaction", got)
		}
		s.exec("ROLLBACK")
		if n := get[int](admin, "SELECT count(*)::int FROM vault.secrets") + get[int](admin, "SELECT count(*)::int FROM vault.secret_versions"); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		// The create has not happened; the value was read all the same.
		wantRecords(db, admin, "app/undone", me+"read 1 ok")
	})
	t.Run("Read", func(t *testing.T) {
		s.exec("SELECT vault.create_secret('app/a', 'x')")
		s.exec("BEGIN")
		s.exec("SELECT vault.read_secret('app/a')")
		s.exec("SELECT vault.verify('app/a', 'y'::text)")
		s.exec("ROLLBACK")
		wantRecords(db, admin, "app/a", me+"create 1 ok", me+"read 1 ok", me+"verify ok")
	})
	t.Run("Refused", func(t *testing.T) {
		s.exec("BEGIN")
		wantError(t, s.try("SELECT vault.read_secret('other/b')"), "42501", "permission denied")
		s.exec("ROLLBACK")
		wantError(t, s.try("SELECT vault.create_secret('other/b', 'x')"), "42501", "permission denied")
		wantRecords(db, admin, "other/b", me+"read denied denied", me+"create denied denied")
		wantError(t, s.try("SELECT vault.read_secret('app/absent')"), "42704", "does not exist")
		wantError(t, s.try("SELECT vault.delete_secret('app/absent', 1)"), "42704", "does not exist")
		wantError(t, s.try("SELECT vault.create_secret('app/absent', '')"), "22023", "")
		wantRecords(db, admin, "app/absent", me+"read failed not_found", me+"delete failed not_found", me+"create failed invalid")
	})
	t.Run("Changes", func(t *testing.T) {
		s.exec("SELECT vault.update_secret('app/a', 'y', 1)")
		wantError(t, s.try("SELECT vault.update_secret('app/a', 'z', 1)"), "VT001", "is at version 2")
		s.exec("SELECT vault.delete_secret('app/a', 2)")
		got := records(db, admin, "app/a")
		if last := got[len(got)-3:]; strings.Join(last, "\n") != me+"update 2 ok\n"+me+"update failed stale\n"+me+"delete 2 ok" {
			t.Errorf("records: %q", last)
		}
	})
	t.Run("Caught", func(t *testing.T) {
		s.exec("DO $$ BEGIN PERFORM vault.read_secret('other/c'); EXCEPTION WHEN OTHERS THEN NULL; END $$")
		wantRecords(db, admin, "other/c", me+"read denied denied")
	})
}

// TestNoRecordNoValue fills the journal, while nothing can be brought to the primary.
func TestNoRecordNoValue(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db, "VAULT_AUDIT_MAX_BYTES=1048576")
	s := c.connect(t, db.Name, vaulttest.Superuser)
	s.exec("SELECT vault.create_secret('closed', 'x')")
	s.exec("SELECT vault.revoke_service_role($1::text::regrole)", vaulttest.ServiceRole)
	read := 0
	var err error
	for ; err == nil && read < 20000; read++ {
		err = s.try("SELECT vault.read_secret('closed')")
	}
	wantError(t, err, "08006", "the audit record could not be written")
	for range 3 {
		if err := s.try("SELECT vault.read_secret('closed')"); err == nil {
			t.Fatal("a value was sent that was not recorded")
		}
	}
	if !strings.Contains(api.Log(), "the audit journal is full") {
		t.Error("the log does not say so")
	}
	s.exec("SELECT vault.grant_service_role($1::text::regrole)", vaulttest.ServiceRole)
	pgtest.Eventually(t, "there is room again", func() bool { return s.try("SELECT vault.read_secret('closed')") == nil })
	db.AwaitAudit(t)
	if n := get[int](s, "SELECT count(*)::int FROM vault.audit_log WHERE action = 'read' AND outcome = 'ok'"); n != read {
		t.Errorf("%d reads are on record, not %d", n, read) // the last of them is the one that found room
	}
}

func TestAgentOfAnotherDatabase(t *testing.T) {
	c := sharedCluster(t)
	here, there := c.NewDB(t), c.NewDB(t)
	agent, own := vaulttest.NewServer(t, there), vaulttest.NewServer(t, here)
	s := c.connect(t, here.Name, vaulttest.Superuser)
	s.exec("SELECT vault.create_secret('a', 'x')")
	s.exec("SET hyperion_vault.agent_socket = '" + agent.AgentSocket + "'")
	for _, sql := range []string{
		"SELECT vault.read_secret('a')", "SELECT vault.create_secret('b', 'x')", "SELECT vault.verify('a', 'x'::text)",
		"SELECT vault.update_secret('a', 'y', 1)", "SELECT * FROM vault.list_secrets()",
	} {
		err := s.try(sql)
		wantError(t, err, "42501", here.Name)
		wantError(t, err, "42501", there.Name)
	}
	if n := get[int](s, "SELECT count(*)::int FROM vault.secret_versions"); n != 1 {
		t.Errorf("%d versions stored", n)
	}
	s.exec("SET hyperion_vault.agent_socket = '" + own.AgentSocket + "'")
	if got := get[string](s, "SELECT vault.read_secret('a')"); got != "x" {
		t.Errorf("read %q", got)
	}
}
