package exttest

import (
	"strings"
	"testing"
)

// ownersPolicies are policies that an administrator adds to those of the vault. Each forbids the owner what a change does.
var ownersPolicies = []string{
	"ON vault.secrets AS RESTRICTIVE FOR UPDATE TO vault_owner USING (true) WITH CHECK (current_version < 2)",
	"ON vault.secrets AS RESTRICTIVE FOR SELECT TO vault_owner USING (false)",
	"ON vault.secret_versions AS RESTRICTIVE FOR INSERT TO vault_owner WITH CHECK (version < 2)",
	"ON vault.changes AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK (action <> 'update')",
	"ON vault.audit_log AS RESTRICTIVE FOR INSERT TO vault_owner WITH CHECK (action <> 'update')",
}

// TestOwnersPoliciesAreNotAsked states that a change of a value, whose rows are written without a statement, does not ask
// policies that were added for the owner (decision 197). The definition, which is statements, asks them.
func TestOwnersPoliciesAreNotAsked(t *testing.T) {
	_, s := newAppend(t)
	const id = "md5('policed')::uuid"
	for _, policy := range ownersPolicies {
		s.exec("BEGIN")
		s.exec("SELECT vault.store_secret(" + id + ", 'policed', 1, " + planSealed + ", 'manual', 'text/plain', " + planNoSet + ", NULL, " + planOrigin + ")")
		s.exec("CREATE POLICY added " + policy)
		s.exec("SAVEPOINT added")
		if err := s.try(appendCase{}.appendSQL(defined, id)); err == nil {
			t.Errorf("%s: the definition does not ask it", policy)
		} else if text := failureText(t, err); !strings.HasPrefix(text, "42501 ") && !strings.HasPrefix(text, "42704 ") {
			t.Errorf("%s: the definition fails with %s", policy, text)
		}
		s.exec("ROLLBACK TO added")
		if err := s.try(appendCase{}.appendSQL(direct, id)); err != nil {
			t.Errorf("%s: a change without a statement asks it: %v", policy, err)
		}
		s.exec("SELECT vault.update_secret('policed', 'by SQL'::text, NULL)")
		if got := get[string](s, "SELECT vault.read_secret('policed')"); got != "by SQL" {
			t.Errorf("%s: read %q", policy, got)
		}
		s.exec("ROLLBACK")
	}
}
