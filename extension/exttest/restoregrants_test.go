package exttest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestRestoreWithoutARole: where one role is missing, the others keep their grants, what was left out is said, and no
// role gets it because of its name.
func TestRestoreWithoutARole(t *testing.T) {
	t.Parallel()
	for name, preload := range map[string]bool{"Preloaded": true, "NotPreloaded": false} {
		t.Run(name, func(t *testing.T) { restoreWithoutARole(t, startCluster(t, true), startCluster(t, preload)) })
	}
}

func restoreWithoutARole(t *testing.T, from, to cluster) {
	b := newBench(t, from)
	const stays, goes, renamed = `"Stays ""here"""`, `"Goes; away"`, "renamed"
	roles := "CREATE ROLE " + stays + " LOGIN; CREATE ROLE before_renaming; CREATE ROLE service LOGIN; "
	b.script(roles + "CREATE ROLE " + goes + " LOGIN; CREATE ROLE gone_service")
	for _, role := range []string{stays, goes, "before_renaming"} {
		b.grant(role, "kept", "read,verify")
	}
	b.script("ALTER ROLE before_renaming RENAME TO " + renamed + "; SELECT vault.grant_service_role('service'); SELECT vault.grant_service_role('gone_service')")
	custom, plain := filepath.Join(from.Dir(), "missing.custom"), filepath.Join(from.Dir(), "missing.sql")
	mustProgram(t, from, "pg_dump", "-h", from.Dir(), "-U", "postgres", "-Fc", "-f", custom, b.db)
	mustProgram(t, from, "pg_dump", "-h", from.Dir(), "-U", "postgres", "-Fp", "-f", plain, b.db)
	to.connect(t, "postgres", vaulttest.Superuser).script(roles + "ALTER ROLE before_renaming RENAME TO " + renamed)

	ways := map[string][]string{
		"pg_restore":  {"pg_restore", "--exit-on-error", custom},
		"in_one":      {"pg_restore", "--single-transaction", custom},
		"psql":        {"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", plain},
		"psql_in_one": {"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", plain},
	}
	granted := []string{`"Stays ""here""" kept read`, `"Stays ""here""" kept verify`, "renamed kept read", "renamed kept verify"}
	aside := []string{"Goes; away kept read", "Goes; away kept verify"}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			db := to.restoreInto(t, "missing_"+name)
			out, err := to.program(t, way[0], append([]string{"-h", to.Dir(), "-U", "postgres", "-d", db.Name}, way[1:]...)...)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if way[0] == "pg_restore" { // it prints no warnings, the server logs them
				out = to.logText(t)
			}
			if !strings.Contains(out, `role "Goes; away" is missing here`) || !strings.Contains(out, "role gone_service is missing here") {
				t.Errorf("it is not said: %s", out)
			}
			admin := to.connect(t, db.Name, vaulttest.Superuser)
			wantGrants(t, admin, granted, aside)
			wantMayCall(t, admin, stays)
		})
	}

	// A role that takes the name gets nothing, here and where this is dumped and restored once more.
	admin := to.connect(t, "missing_psql", vaulttest.Superuser)
	admin.script("CREATE ROLE " + goes + " LOGIN")
	again := to.restoreInto(t, "missing_again")
	mustProgram(t, to, "pg_dump", "-h", to.Dir(), "-U", "postgres", "-Fp", "-f", plain, "missing_psql")
	mustProgram(t, to, "psql", "-X", "-q", "-h", to.Dir(), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-d", again.Name, "-f", plain)
	for _, db := range []string{"missing_psql", again.Name} {
		s := to.connect(t, db, vaulttest.Superuser)
		wantGrants(t, s, granted, aside)
		s.script("SET SESSION AUTHORIZATION " + goes)
		wantError(t, s.try("SELECT vault.read_secret('kept')"), "42501", "permission denied for schema vault")
	}

	// Until an administrator says whose it is.
	if n := get[int](admin, `SELECT vault.adopt_grants('Goes; away', '"Goes; away"')::int`); n != 2 {
		t.Errorf("%d grants were adopted", n)
	}
	wantGrants(t, admin, append([]string{`"Goes; away" kept read`, `"Goes; away" kept verify`}, granted...), nil)
	wantMayCall(t, admin, goes)
	other := to.connect(t, again.Name, vaulttest.Superuser)
	if n := get[int](other, "SELECT vault.forget_grants('Goes; away')::int"); n != 2 {
		t.Errorf("%d grants were forgotten", n)
	}
	wantGrants(t, other, granted, nil)
	// A typing error is one, outside of a restore.
	wantError(t, admin.try("GRANT USAGE ON SCHEMA vault TO no_such_role"), "42704", "does not exist")
}

func wantGrants(t *testing.T, s *session, granted, aside []string) {
	t.Helper()
	if got := column(s, "SELECT concat_ws(' ', grantee::text, pattern, action) FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION'"); !slices.Equal(got, granted) {
		t.Errorf("granted: %q", got)
	}
	if got := column(s, "SELECT concat_ws(' ', role_name, pattern, action) FROM vault.missing_grants()"); !slices.Equal(got, aside) {
		t.Errorf("aside: %q", got)
	}
}

func wantMayCall(t *testing.T, s *session, role string) {
	t.Helper()
	if !get[bool](s, `SELECT has_schema_privilege($1::text::regrole, 'vault', 'USAGE')
		AND has_function_privilege($1::text::regrole, 'vault.read_secret(text, bigint)', 'EXECUTE')`, role) {
		t.Errorf("%s may not call vault.read_secret()", role)
	}
}
