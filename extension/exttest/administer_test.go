package exttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestGrantsAtOnce: sessions that grant and revoke at the same time wait for each other.
func TestGrantsAtOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	b := newBench(t, c)
	var done []<-chan error
	for i := range 6 {
		role, s := c.newRole(t), c.connect(t, b.db, vaulttest.Superuser)
		finished := make(chan error, 1)
		done = append(done, finished)
		go func() {
			var err error
			for n := 0; n < 40 && err == nil; n++ {
				for _, sql := range []string{
					fmt.Sprintf("SELECT vault.grant_access('%s', 'a/%d', '{read,create,update,delete,rotate,verify}')", role, n),
					fmt.Sprintf("SELECT vault.revoke_access('%s', 'a/%d', '{read,create,update,delete,rotate,verify}')", role, n),
					fmt.Sprintf("SELECT vault.%s_service_role('%s')", []string{"grant", "revoke"}[n%2], role),
				} {
					if i%2 == 0 && n%8 == 0 {
						sql = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; " + sql + "; COMMIT"
					}
					if _, err = s.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
						err = fmt.Errorf("%s: %w", sql, err)
						break
					}
				}
			}
			finished <- err
		}()
	}
	for _, d := range done {
		if err := <-d; err != nil {
			t.Error(err)
		}
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION'"); n != 0 {
		t.Errorf("%d grants are left", n)
	}
}

// TestAdministrativeFailuresAreRecorded: outside of the transaction, like every other refusal.
func TestAdministrativeFailuresAreRecorded(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	role, strong := c.newRole(t), c.newRole(t)
	admin.exec("ALTER ROLE " + strong + " BYPASSRLS")
	for _, f := range []struct{ sql, target, action, code string }{
		{"SELECT vault.grant_access('%s', 'a//b', '{read}')", "to %s", "grant", "invalid"},
		{"SELECT vault.grant_access('%s', NULL, '{read}')", "to %s", "grant", "invalid"},
		{"SELECT vault.grant_access('%s', 'a/b', '{own}')", "to %s", "grant", "invalid"},
		{"SELECT vault.grant_access('%s', 'a/b', '{}')", "to %s", "grant", "invalid"},
		{"SELECT vault.grant_access('vault_owner', 'a/b', '{read}')", "to vault_owner", "grant", "internal"},
		{"SELECT vault.grant_access(4000000000, 'a/b', '{read}')", "to 4000000000", "grant", "not_found"},
		{"SELECT vault.revoke_access('%s', 'a/b', '{read}')", "read on a/b from %s", "revoke", "not_found"},
		{"SELECT vault.revoke_access('%s', 'a/*b', '{read}')", "from %s", "revoke", "invalid"},
		{"SELECT vault.grant_service_role('vault_owner')", "service role to vault_owner", "grant", "internal"},
		{"SELECT vault.revoke_service_role(4000000000)", "service role from 4000000000", "revoke", "not_found"},
		{"SELECT vault.grant_service_role('" + strong + "')", "service role to " + strong, "grant", "internal"},
		{"SELECT vault.prune_audit('1 hour')", "", "audit_prune", "invalid"},
	} {
		sql, target := strings.ReplaceAll(f.sql, "%s", role), strings.ReplaceAll(f.target, "%s", role)
		const count = `SELECT count(*)::int FROM vault.audit_log WHERE action = $1 AND coalesce(secret_name, '') = $2 AND outcome = 'failed'
			AND code = $3 AND actor = 'role:postgres'`
		db.AwaitAudit(t)
		before := get[int](admin, count, f.action, target, f.code)
		admin.exec("BEGIN")
		if err := admin.try(sql); err == nil {
			t.Errorf("%s is accepted", sql)
		}
		admin.exec("ROLLBACK")
		db.AwaitAudit(t)
		if n := get[int](admin, count, f.action, target, f.code); n != before+1 {
			t.Errorf("%s: %d records of it, all failures: %q", sql, n-before, column(admin,
				"SELECT concat_ws(' ', action, secret_name, outcome, code) FROM vault.audit_log WHERE outcome <> 'ok' ORDER BY id DESC LIMIT 3"))
		}
	}
}

// TestRolesThatCanBeGivenNothing: by REST, too, a refusal says why, and is no error of the server.
func TestRolesThatCanBeGivenNothing(t *testing.T) {
	db := sharedCluster(t).NewDB(t)
	api := clientOf(t, vaulttest.NewServer(t, db))
	for path, body := range map[string]map[string]any{
		"POST /v1/tokens": {"name": "t", "role": "vault_owner"},
		"PUT /v1/grants":  {"role": "vault_owner", "pattern": "x/*", "actions": []string{"read"}},
	} {
		method, path, _ := strings.Cut(path, " ")
		if status, answer := api.do(method, path, "", body); status != 400 || !strings.Contains(answer, "vault_owner holds every privilege already") {
			t.Errorf("%s %s: %d %s", method, path, status, answer)
		}
	}
}

// TestDroppedRoles: the grants of a role end with it, and another one of its name has none of them.
func TestDroppedRoles(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("CREATE ROLE leaver; SELECT vault.grant_access('leaver', 'app/*', '{read}')")
	wantError(t, b.try("DROP ROLE leaver"), "2BP01", "some objects depend on it")
	b.script("DROP OWNED BY leaver; DROP ROLE leaver; CREATE ROLE leaver")
	t.Cleanup(func() { b.script("DROP OWNED BY leaver; DROP ROLE leaver") })
	b.exec("GRANT USAGE ON SCHEMA vault TO leaver; GRANT EXECUTE ON FUNCTION vault.read_secret(text, bigint) TO leaver; SET ROLE leaver")
	err := b.try("SELECT vault.read_secret('app/a')")
	b.exec("RESET ROLE")
	wantError(t, err, "42501", `permission denied to read secret "app/a"`)
}

// TestRolesAreShownAsTheyAreTaken: REST takes a role by the name that it has shown.
func TestRolesAreShownAsTheyAreTaken(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	db := sharedCluster(t).NewDB(t)
	api := clientOf(t, vaulttest.NewServer(t, db))
	for _, role := range []string{"App", "with blank", `quo"te`, "ünï", "select", "-"} {
		quoted := pgx.Identifier{role}.Sanitize()
		b.exec("CREATE ROLE " + quoted)
		t.Cleanup(func() { b.exec("DROP ROLE " + quoted) })
		var listed struct {
			Grants []struct{ Role, Pattern string }
		}
		var token struct{ Role string }
		api.must(204, "PUT", "/v1/grants", "", map[string]any{"role": role, "pattern": "x/*", "actions": []string{"read"}})
		if err := json.Unmarshal([]byte(api.must(200, "GET", "/v1/grants", "", nil)), &listed); err != nil {
			t.Fatal(err)
		}
		shown := ""
		for _, g := range listed.Grants {
			if g.Pattern == "x/*" {
				shown = g.Role
			}
		}
		made := api.must(201, "POST", "/v1/tokens", "", map[string]any{"role": shown, "name": "t-" + randomText(8)})
		if err := json.Unmarshal([]byte(made), &token); err != nil {
			t.Fatal(err)
		}
		if shown != role || token.Role != role {
			t.Errorf("%q is shown as %q and %q", role, shown, token.Role)
		}
		api.must(204, "DELETE", "/v1/grants", "", map[string]any{"role": token.Role, "pattern": "x/*", "actions": []string{"read"}})
	}
}
