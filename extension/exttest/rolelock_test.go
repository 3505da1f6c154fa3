package exttest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// processorTime is how many nanoseconds the main thread of a session's backend has run so far.
func processorTime(t *testing.T, s *session) (ns int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", s.pid()))
	pgtest.Must(t, err)
	_, err = fmt.Sscan(string(b), &ns)
	pgtest.Must(t, err)
	return ns
}

// TestIterationsComeBeforeTheLock has a change of a bound secret wait for the lock of its row. By then it has computed the
// iterations of the new verifier, so others can have the secret meanwhile. It is measured in processor time, which other
// programs take no part of.
func TestIterationsComeBeforeTheLock(t *testing.T) {
	b := newBoundBench(t, "hyperion_vault.rotation_enabled = off")
	holder := b.c.connect(t, b.db, "postgres")
	if serverVersion(b.session) >= 160000 {
		b.exec("SET scram_iterations = 50000")
	}
	b.exec("CREATE FUNCTION pg_temp.verifier(bytea) RETURNS text AS 'hyperion_vault', 'hv_test_verifier' LANGUAGE c VOLATILE STRICT")
	b.bindFor("one", "", false)
	b.bindFor("two", "", true)
	least := func(measure func() int64) int64 {
		all := []int64{measure()} // the first one is not counted
		for range 7 {
			all = append(all, measure())
		}
		least := all[1]
		for _, ns := range all[1:] {
			least = min(least, ns)
		}
		return least
	}
	verifier := least(func() int64 {
		before := processorTime(t, b.session)
		b.exec("SELECT count(pg_temp.verifier('0123456789abcdef')) FROM generate_series(1, 10)")
		return (processorTime(t, b.session) - before) / 10
	})
	for _, change := range []string{
		"SELECT vault.rotate_secret('one')", "SELECT vault.rotate_secret('two')", "SELECT vault.update_secret('one', md5(random()::text), NULL)",
	} {
		name := strings.Split(change, "'")[1]
		waiting := least(func() int64 {
			holder.exec("BEGIN")
			holder.exec("SELECT FROM vault.secrets WHERE name = $1 FOR UPDATE", name)
			before := processorTime(t, b.session)
			done := b.background(change)
			awaitLock(t, holder, b.session)
			spent := processorTime(t, b.session) - before
			holder.exec("ROLLBACK")
			pgtest.Must(t, within(t, pgtest.Patience, done))
			return spent
		})
		if waiting < verifier*3/4 {
			t.Errorf("%s: it waits after %d µs, and a verifier takes %d", change, waiting/1000, verifier/1000)
		}
	}
}

// TestSecretChangesBeforeTheLock changes a bound secret while another change of it waits for the lock with what it has made
// already. What is stored in the end is what its role logs in with.
func TestSecretChangesBeforeTheLock(t *testing.T) {
	b := newBoundBench(t, "hyperion_vault.rotation_enabled = off")
	holder := b.c.connect(t, b.db, "postgres")
	b.exec("CREATE ROLE other LOGIN")
	for i, c := range []struct {
		pair              bool
		meanwhile, change string
		want              string // a part of the error
	}{
		{meanwhile: "SELECT vault.rotate_secret('$s')"},
		{meanwhile: "SELECT vault.update_secret('$s', 'another one', NULL)"},
		{meanwhile: "SELECT vault.configure_secret('$s', generate_policy => '{\"length\": 77}')"},
		{meanwhile: "SELECT vault.unbind_role('$s')"},
		{meanwhile: "SELECT vault.unbind_role('$s'); SELECT vault.bind_role('$s', 'other')"},
		{meanwhile: "SELECT vault.rotate_secret('$s')", change: "SELECT vault.update_secret('$s', 'mine', NULL)"},
		{meanwhile: "SELECT vault.rotate_secret('$s')", change: "SELECT vault.update_secret('$s', 'mine', 1)", want: "VT001"},
		{meanwhile: "SELECT vault.set_version_settings('$s', cas_required => true)", change: "SELECT vault.update_secret('$s', 'mine', NULL)", want: "cas_required"},
		{meanwhile: "SELECT vault.unbind_role('$s'); SELECT vault.delete_secret('$s', NULL)", want: "42704"},
		{meanwhile: "ALTER ROLE $s_a RENAME TO $s_c", want: "VT006"},
		{pair: true, meanwhile: "SELECT vault.rotate_secret('$s')"},
		{pair: true, meanwhile: "SELECT vault.rotate_secret('$s'); SELECT vault.rotate_secret('$s')"},
		{pair: true, meanwhile: "SELECT vault.unbind_role('$s'); CREATE ROLE $s_c LOGIN; SELECT vault.bind_role_pair('$s', '$s_a', '$s_c')"},
		{pair: true, meanwhile: "SELECT vault.rotate_secret('$s')", change: `SELECT vault.update_secret('$s', '{"username":"$s_b","password":"mine"}', NULL)`, want: "username"},
		{pair: true, meanwhile: "SELECT vault.configure_secret('$s', generate_policy => '{\"length\": 77, \"json_field\": \"password\"}')"},
	} {
		s := fmt.Sprintf("s%d", i)
		b.bindFor(s, "", c.pair)
		if c.change == "" {
			c.change = "SELECT vault.rotate_secret('$s')"
		}
		holder.exec("BEGIN")
		holder.exec("SELECT FROM vault.secrets WHERE name = $1 FOR UPDATE", s)
		for part := range strings.SplitSeq(strings.ReplaceAll(c.meanwhile, "$s", s), "; ") {
			holder.exec(part)
		}
		done := b.background(strings.ReplaceAll(c.change, "$s", s))
		awaitLock(t, holder, b.session)
		holder.exec("COMMIT")
		err := within(t, pgtest.Patience, done)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d: after %s: %v", i, c.meanwhile, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d: after %s: %v", i, c.meanwhile, err)
			continue
		}
		b.wantLoginOf(s, strings.Contains(c.meanwhile, "77"))
	}
}

// wantLoginOf checks that the role whose password a secret is logs in with it, and how long that is.
func (b boundBench) wantLoginOf(name string, long bool) {
	b.t.Helper()
	role := get[string](b.session, "SELECT coalesce((SELECT role FROM vault.bound_roles($1) WHERE current), '')", name)
	password := b.read(name)
	if v := (struct{ Username, Password string }{}); json.Unmarshal([]byte(password), &v) == nil {
		if v.Username != role {
			b.t.Errorf("%s names %s, and %s is current", name, v.Username, role)
		}
		password = v.Password
	}
	if long && len(password) != 77 {
		b.t.Errorf("the password of %s is %d bytes", name, len(password))
	}
	if role == "" {
		return
	}
	if err := b.login.login(role, password); err != nil {
		b.t.Errorf("%s does not log in with what %s is: %v", role, name, err)
	}
}
