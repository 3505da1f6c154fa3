package nodecheck_test

import (
	"net"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestDatabase is the first test of the package: hyperion_vault.database names the first database of the shared server.
func TestDatabase(t *testing.T) {
	needRoot(t)
	db := vaulttest.NewDB(t) // hv_1
	n := start(t, db)
	n.wantNothing()
	t.Run("ErrNotGranted", func(t *testing.T) {
		db.MustExec(t, "SELECT vault.revoke_service_role('vault_service')")
		n.run(n.want("role vault_service may not use the vault schema")...)
		n.wantNothing()
	})
	t.Run("ErrNoExtension", func(t *testing.T) {
		db.MustExec(t, "DROP EXTENSION hyperion_vault CASCADE")
		n.run(n.want("extension hyperion_vault is not in database hv_1")...)
		n.wantNothing()
	})
	t.Run("ErrOtherVersion", func(t *testing.T) {
		defer func(o nodecheck.Options) { n.options = o }(n.options)
		n.options.Version = "9.10.0"
		if fix := n.want("and this program is made for 9.10.0"); !strings.Contains(fix[0], "ALTER EXTENSION hyperion_vault UPDATE TO '\\''9.10.0'\\''") {
			t.Error(fix)
		}
		n.options.Version = "0.0.10"
		n.wantNothing() // a schema serves the program before it
		db.MustExec(t, "CREATE OR REPLACE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer) LANGUAGE sql IMMUTABLE AS 'SELECT 8, 9'")
		defer db.MustExec(t, "CREATE OR REPLACE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer) LANGUAGE sql IMMUTABLE AS 'SELECT 1, 1'")
		if fix := n.want("serves API protocols 8 to 9"); fix[0] != "apt-get install --only-upgrade hyperion-vault-api" {
			t.Error(fix)
		}
	})
	t.Run("OKDevelopment", func(t *testing.T) {
		n.options.Version = "dev"
		n.wantNothing()
	})
	t.Run("ErrNoLogin", func(t *testing.T) {
		db.MustExec(t, "ALTER ROLE vault_service NOLOGIN")
		n.run(n.want("role vault_service cannot log in")...)
		n.wantNothing()
	})
	t.Run("ErrNoRole", func(t *testing.T) {
		n.run(n.want("role it's cannot log in", "VAULT_PG_USER=it's")...)
		n.run(n.want("role it's may not use the vault schema", "VAULT_PG_USER=it's")...)
		n.wantNothing("VAULT_PG_USER=it's")
		db.MustExec(t, `SELECT vault.revoke_service_role('"it''s"')`)
		db.MustExec(t, `DROP ROLE "it's"`)
	})
	t.Run("ErrNoDatabase", func(t *testing.T) {
		n.run(n.want("database other does not exist", "VAULT_PG_DBNAME=other")...)
		if r := n.check("VAULT_PG_DBNAME=other"); len(r.Findings) != 2 || !strings.Contains(r.Findings[1].What, "hyperion_vault.database of") {
			t.Errorf("%q", r.Findings)
		}
		db.MustExec(t, "DROP DATABASE other")
	})
	t.Run("ErrMayNotConnect", func(t *testing.T) {
		db.MustExec(t, "REVOKE CONNECT ON DATABASE hv_1 FROM PUBLIC")
		n.run(n.want("may not connect to database hv_1")...)
		n.wantNothing()
		db.MustExec(t, "GRANT CONNECT ON DATABASE hv_1 TO PUBLIC")
	})
	t.Run("ErrNotThere", func(t *testing.T) {
		if fix := n.want("no PostgreSQL answers on 127.0.0.1 port 1", "VAULT_PG_HOSTS=127.0.0.1:1"); fix[0] != "systemctl start postgresql" {
			t.Error(fix)
		}
	})
	t.Run("ErrHangs", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		n.want("no PostgreSQL answers on 127.0.0.1", "VAULT_PG_HOSTS="+ln.Addr().String())
	})
}
