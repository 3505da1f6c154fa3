package exttest

import (
	"fmt"
	"strings"
	"testing"
)

// TestRightsAreThoseOfPostgresql compares what a caller may bind, bind in turn and make a template of with what PostgreSQL lets it do
// by its own commands, for each pair of attributes of the caller and of the target. The rules differ before and from version 16 on.
func TestRightsAreThoseOfPostgresql(t *testing.T) {
	t.Parallel()
	b := newBoundBench(t)
	attributes := []string{"NOSUPERUSER", "SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"}
	b.exec("CREATE ROLE partner LOGIN")
	b.exec("CREATE ROLE everyone")
	var callers, targets []string
	for i, a := range attributes {
		targets = append(targets, fmt.Sprintf("target%d", i))
		b.exec(fmt.Sprintf("CREATE ROLE target%d LOGIN %s", i, a))
		for admin := range 2 {
			callers = append(callers, fmt.Sprintf("caller%d_%d", i, admin))
			b.exec("CREATE ROLE " + callers[len(callers)-1] + " LOGIN IN ROLE everyone " + a)
		}
	}
	for _, a := range []string{"CREATEDB", "REPLICATION", "BYPASSRLS"} { // beside CREATEROLE
		callers = append(callers, "maker_"+a)
		b.exec("CREATE ROLE maker_" + a + " LOGIN CREATEROLE IN ROLE everyone " + a)
	}
	for _, caller := range callers {
		if !strings.HasSuffix(caller, "0") {
			b.exec("GRANT partner, " + strings.Join(targets, ", ") + " TO " + caller + " WITH ADMIN OPTION")
		}
	}
	b.exec("SELECT vault.grant_access('everyone', '*', '{create,update,rotate,manage}')")
	b.exec("SELECT vault.create_secret('one', 'value')")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"partner","password":"value"}'::text, content_type => 'application/json')`)
	try := func(caller, sql string) error {
		b.exec("BEGIN")
		b.exec("SET LOCAL ROLE " + caller)
		err := b.try(sql)
		b.exec("ROLLBACK")
		return err
	}
	allowed := map[string]int{}
	for _, caller := range callers {
		for _, target := range append(targets, caller) {
			for what, sql := range map[string][2]string{
				"a binding":  {"ALTER ROLE %[1]s PASSWORD 'x'", "SELECT vault.bind_role('one', '%[1]s')"},
				"an import":  {"ALTER ROLE %[1]s PASSWORD 'x'", "SELECT vault.import_role('two', '%[1]s', 'x')"},
				"a pair":     {"ALTER ROLE partner PASSWORD 'x' VALID UNTIL 'now'; ALTER ROLE %[1]s PASSWORD 'x' VALID UNTIL 'now'", "SELECT vault.bind_role_pair('pair', 'partner', '%[1]s')"},
				"a template": {"CREATE ROLE made LOGIN PASSWORD 'x' IN ROLE %[1]s", "SELECT vault.create_role_template('lent', '{%[1]s}')"},
			} {
				byCommand, byVault := try(caller, fmt.Sprintf(sql[0], target)), try(caller, fmt.Sprintf(sql[1], target))
				if what == "an import" && byCommand == nil { // then the password decides, which is another one
					wantError(t, byVault, "22023", "has another password")
					byVault = nil
				}
				if (byCommand == nil) != (byVault == nil) {
					t.Errorf("%s by %s of %s: by a command %v, by the vault %v", what, caller, target, byCommand, byVault)
				}
				if byVault != nil {
					wantError(t, byVault, "42501", "")
				} else {
					allowed[what]++
				}
			}
		}
	}
	t.Logf("of %d pairs PostgreSQL allows %v", len(callers)*(len(targets)+1), allowed)
	for _, what := range []string{"a binding", "an import", "a pair", "a template"} {
		if n := allowed[what]; n < 20 || n > len(callers)*(len(targets)+1)-20 {
			t.Errorf("%s is allowed for %d pairs: the matrix shows nothing", what, n)
		}
	}
}
