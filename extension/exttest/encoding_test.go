package exttest

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// encodedDatabase makes a database of another encoding, with the extension and an agent.
func encodedDatabase(t *testing.T, c cluster, encoding string) *vaulttest.DB {
	t.Helper()
	name := "enc_" + strings.ToLower(encoding)
	admin := c.connect(t, "postgres", vaulttest.Superuser)
	admin.exec("CREATE DATABASE " + name + " TEMPLATE template0 ENCODING '" + encoding + "' LOCALE 'C'")
	t.Cleanup(func() { admin.exec("DROP DATABASE " + name + " WITH (FORCE)") })
	db := &vaulttest.DB{
		Cluster: c.Cluster, Name: name,
		SuperuserDSN: c.DSN(name, vaulttest.Superuser), ServiceDSN: c.DSN(name, vaulttest.ServiceRole),
	}
	db.MustExec(t, "CREATE EXTENSION hyperion_vault")
	db.MustExec(t, "SELECT vault.grant_service_role('"+vaulttest.ServiceRole+"')")
	return db
}

// A value is sealed in UTF-8 whatever the database's encoding, so that both ways read the same text.
func TestOtherEncodings(t *testing.T) {
	c := sharedCluster(t)
	key := "VAULT_LOCAL_MASTER_KEY=" + strings.Repeat("QUFB", 10) + "QUE="
	t.Run("LATIN1", func(t *testing.T) {
		db := encodedDatabase(t, c, "LATIN1")
		rest := clientOf(t, vaulttest.NewServer(t, db, key))
		s := c.connect(t, db.Name, vaulttest.Superuser, "client_encoding", "UTF8")
		s.exec(`CREATE ROLE "rôle" LOGIN`)
		defer s.exec(`DROP OWNED BY "rôle"; DROP ROLE "rôle"`)
		s.exec(`SELECT vault.grant_access('"rôle"', '*', '{read,create,update,verify}')`)
		s.exec("SET ROLE \"rôle\"")
		s.exec("SELECT vault.create_secret('a', $1::text)", "é § ü")
		s.exec("SELECT vault.update_secret('a', $1::text, 1)", "é § ü 2")
		if got := get[string](s, "SELECT vault.read_secret('a')"); got != "é § ü 2" {
			t.Errorf("SQL reads %q", got)
		}
		if got := rest.read("a", ""); got != "é § ü 2" {
			t.Errorf("REST reads %q", got)
		}
		if !get[bool](s, "SELECT vault.verify('a', $1::text)", "é § ü 2") {
			t.Error("does not verify")
		}
		wantError(t, s.try("SELECT vault.read_secret('absent')"), "42704", "does not exist")
		rest.must(201, "POST", "/v1/secrets", "", map[string]any{"name": "euro", "kind": "manual", "value": "10 € for me"})
		err := s.try("SELECT vault.read_secret('euro')")
		wantError(t, err, "22P05", "")
		if strings.Contains(err.Error(), "for me") || strings.Contains(err.Error(), "0xe2") {
			t.Errorf("the error quotes the value: %v", err)
		}
		if got := get[[]byte](s, "SELECT vault.read_secret_bytes('euro')"); string(got) != "10 € for me" {
			t.Errorf("read %q", got)
		}
		s.exec("RESET ROLE")
		db.AwaitAudit(t)
		if got := column(s, "SELECT DISTINCT actor FROM vault.audit_log WHERE secret_name = 'a' AND actor LIKE 'role:%'"); len(got) != 1 || got[0] != "role:rôle" {
			t.Errorf("on record are %q", got)
		}
	})
	t.Run("SQL_ASCII", func(t *testing.T) {
		db := encodedDatabase(t, c, "SQL_ASCII")
		vaulttest.NewServer(t, db, key)
		s := c.connect(t, db.Name, vaulttest.Superuser, "client_encoding", "UTF8")
		s.exec("SELECT vault.create_secret('a', $1::text)", "é")
		if got := get[string](s, "SELECT vault.read_secret('a')"); got != "é" {
			t.Errorf("read %q", got)
		}
		wantError(t, s.try(`SELECT vault.create_secret('b', E'\xe9')`), "22023", "")
	})
}
