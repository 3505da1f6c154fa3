package exttest

import (
	"strings"
	"testing"
)

// The verifier of a password, and a call of a function that the API has change the secret $s by it. The role is the one that the
// API has been told.
const (
	givenVerifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoGWiPlZqQxSi9BvODdzKE="
	freeChange    = `SELECT count(f.id)::int FROM vault.secrets s, vault.append_with_verifier_if_free(NULL, '127.0.0.1', NULL, 'rotate', s.name, 'here', 'r',
		s.id, s.current_version, ` + planSealed + `, 'rotate', '` + givenVerifier + `', '$role') f WHERE s.name = '$s'`
	loneChange = `SELECT count(f.id)::int FROM vault.secrets s, vault.append_with_verifier(s.id, s.current_version, ` + planSealed + `, 'rotate', NULL, false,
		vault.admit(NULL, '127.0.0.1', NULL, 'rotate', s.name, 'here', 'r'), '` + givenVerifier + `', '$role') f WHERE s.name = '$s'`
)

// roleOf is the role that the next version of a secret is for.
func (b boundBench) roleOf(secret string) string {
	b.t.Helper()
	return get[string](b.session, `SELECT coalesce((SELECT b.role_name FROM vault.role_bindings b JOIN vault.secrets s ON s.id = b.secret_id
		WHERE s.name = $1 ORDER BY b.version NULLS FIRST, b.place LIMIT 1), '')`, secret)
}

// give makes the change of a secret for a role, and returns whether it was made.
func (b boundBench) give(change, secret, role string) (bool, error) {
	b.t.Helper()
	n, err := tryGet[int](b.session, strings.NewReplacer("$s", secret, "$role", role).Replace(change))
	return n == 1, err
}

// newFreeBench lets everyone rotate each secret by REST.
func newFreeBench(t *testing.T) boundBench {
	b := newBoundBench(t, "track_functions = all", "hyperion_vault.rotation_enabled = off", "hyperion_vault.scan_interval_secs = 3")
	b.exec("CREATE ROLE shared")
	b.exec("SELECT vault.grant_access('vault_anonymous', '*', '{rotate}')")
	return b
}

// TestPasswordsGivenInAGroup: what vault.append_with_verifier_if_free() does is what vault.append_with_verifier() does, and
// what that refuses it leaves as it is.
func TestPasswordsGivenInAGroup(t *testing.T) {
	b := newFreeBench(t)
	run := func(way, change string, c roleCase) (made bool, found, refusal string) {
		s := way + "_" + c.name
		b.bindFor(s, c.options, c.pair)
		for part := range strings.SplitSeq(strings.ReplaceAll(c.state, "$s", s), ";") {
			b.exec(part)
		}
		before := get[string](b.session, rotatedRole, s)
		made, err := b.give(change, s, b.roleOf(s))
		found = get[string](b.session, rotatedRole, s)
		if !made && found != before {
			t.Errorf("%s: nothing was made, and there is\n%s\ninstead of\n%s", s, found, before)
		}
		if err != nil {
			refusal = err.Error()
		}
		return made, strings.ReplaceAll(found, s, "s"), refusal
	}
	refused := 0
	for _, c := range roleCases {
		free, found, refusal := run("f", freeChange, c)
		made, want, why := run("l", loneChange, c)
		switch {
		case refusal != "":
			t.Errorf("%s: in a group it is refused: %s", c.name, refusal)
		case free != made || found != want:
			t.Errorf("%s: in a group %v\n%s\nalone %v %s\n%s", c.name, free, found, made, why, want)
		}
		if why != "" {
			refused++
		}
	}
	if refused == 0 || refused == len(roleCases) {
		t.Errorf("%d of %d are refused", refused, len(roleCases))
	}
	calls := func() int {
		b.exec("SELECT pg_stat_force_next_flush()")
		return get[int](b.session, "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_user_functions WHERE funcname = 'append_with_verifier_anyhow'")
	}
	if n := calls(); n != 0 {
		t.Errorf("a statement has made %d changes", n)
	}
	b.bindFor("scheduled", "", false)
	if made, err := b.give(strings.Replace(loneChange, "NULL, false", "NULL, true", 1), "scheduled", "scheduled_a"); !made || err != nil || calls() != 1 {
		t.Errorf("one that moves the schedule: %v, %v, by %d statements", made, err, calls())
	}
}

// TestGroupsWaitForNoRole: a password in a group waits for no transaction that has a part of it, and nothing is changed then.
func TestGroupsWaitForNoRole(t *testing.T) {
	b := newFreeBench(t)
	b.exec("SET lock_timeout = '20s'") // a wait would fail by that of the function, or by this
	holder := b.c.connect(t, b.db, "postgres")
	b.bindFor("one", "", false)
	b.bindFor("two", "", true)
	b.exec("SELECT vault.configure_secret('two', grace_period_secs => 3600)")
	for _, name := range []string{"one", "two"} { // there is a verifier of each role then
		b.exec("SELECT vault.rotate_secret('" + name + "')")
		b.exec("SELECT vault.rotate_secret('" + name + "')")
	}
	state := func() string {
		return get[string](b.session, `SELECT string_agg(a.rolname || a.rolpassword || a.rolvaliduntil::text, ',' ORDER BY a.rolname)
			|| (SELECT string_agg(s.name || s.current_version, ',' ORDER BY s.name) FROM vault.secrets s) FROM pg_authid a WHERE a.rolname ~ '^(one|two)_'`)
	}
	other := map[string]string{"one_a": "", "two_a": "two_b", "two_b": "two_a"}
	for held, of := range map[string]string{
		"ALTER ROLE one_a VALID UNTIL '2100-01-01'":                                          "one",
		"ALTER ROLE $next CONNECTION LIMIT 7":                                                "two",
		"ALTER ROLE $retiring CONNECTION LIMIT 7":                                            "two",
		"UPDATE vault.role_bindings SET drift = 'changed' WHERE role_name = 'one_a'":         "one",
		"SELECT FROM vault.role_bindings WHERE role_name = '$retiring' FOR UPDATE":           "two",
		"SELECT FROM vault.role_verifiers FOR UPDATE":                                        "one",
		"SELECT FROM vault.secrets WHERE name = 'two' FOR NO KEY UPDATE":                     "two",
		"SELECT FROM pg_authid WHERE rolname IN ('one_a', 'two_a', 'two_b') FOR SHARE":       "one",
		"ALTER ROLE one_a RENAME TO one_c; SELECT FROM vault.secrets WHERE name = 'nothing'": "one",
	} {
		before, next := state(), b.roleOf(of)
		holder.exec("BEGIN")
		for part := range strings.SplitSeq(strings.NewReplacer("$next", next, "$retiring", other[next]).Replace(held), "; ") {
			holder.exec(part)
		}
		made, err := b.give(freeChange, of, next)
		if err != nil || made || state() != before {
			t.Errorf("%s: made %v, %v\n%s\nand before\n%s", held, made, err, state(), before)
		}
		holder.exec("ROLLBACK")
		if made, err := b.give(freeChange, of, b.roleOf(of)); err != nil || !made {
			t.Errorf("after %s: made %v, %v", held, made, err)
		}
	}
}

// TestAPasswordGoesToNoOtherRole: a pair is bound with another second role after the API has been told whose password the next
// version is. The value names the role that it was made for, so no other one gets it.
func TestAPasswordGoesToNoOtherRole(t *testing.T) {
	b := newFreeBench(t)
	for i, way := range []string{"direct", "defined"} {
		b.bindFor(way, "", true)
		b.exec("CREATE ROLE " + way + "_c LOGIN PASSWORD 'its own'")
		told := b.roleOf(way)
		b.exec("SELECT vault.unbind_role('" + way + "')")
		b.exec("SELECT vault.bind_role_pair('" + way + "', '" + way + "_a', '" + way + "_c')")
		if i == 1 {
			b.exec(rolesByStatement)
		}
		before := get[string](b.session, rotatedRole, way)
		if made, err := b.give(freeChange, way, told); made || err != nil {
			t.Errorf("%s, in a group: %v, %v", way, made, err)
		}
		_, err := b.give(loneChange, way, told)
		wantError(t, err, "VT005", "is bound to role \""+way+"_c\"")
		if found := get[string](b.session, rotatedRole, way); found != before {
			t.Errorf("%s: there is\n%s\ninstead of\n%s", way, found, before)
		}
		if made, err := b.give(loneChange, way, b.roleOf(way)); !made || err != nil {
			t.Errorf("%s: the role that is bound: %v, %v", way, made, err)
		}
		if !get[bool](b.session, "SELECT rolpassword = $1 FROM pg_authid WHERE rolname = $2", givenVerifier, way+"_c") {
			t.Errorf("%s: the role that is bound has not got it", way)
		}
	}
}

// TestNoVerifierInAGroup: what is no verifier, and a bound secret without one, are left to the change alone.
func TestNoVerifierInAGroup(t *testing.T) {
	b := newFreeBench(t)
	b.bindFor("one", "", false)
	for what, change := range map[string]string{
		"no verifier": strings.Replace(freeChange, "'"+givenVerifier+"'", "NULL", 1),
		"a text":      strings.Replace(freeChange, givenVerifier, "md5", 1),
		"no role":     strings.Replace(freeChange, "'$role'", "NULL", 1),
		"no id":       strings.Replace(freeChange, "s.id,", "NULL,", 1),
	} {
		if made, err := b.give(change, "one", "one_a"); made || err != nil {
			t.Errorf("%s: %v, %v", what, made, err)
		}
	}
	// An unbound secret has no use for it, as alone.
	b.exec("SELECT vault.unbind_role('one')")
	if made, err := b.give(freeChange, "one", "one_a"); !made || err != nil {
		t.Errorf("unbound: %v, %v", made, err)
	}
}
