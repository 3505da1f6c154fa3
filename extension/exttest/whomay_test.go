package exttest

import (
	"fmt"
	"slices"
	"testing"
)

// TestWhoMayTellsWhatHappens compares vault.who_may with what each role can really read, at once and after each SET ROLE
// that the server lets it do. From PostgreSQL 16 on a membership has options of its own.
func TestWhoMayTellsWhatHappens(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	roles := []string{"wm_group", "wm_member", "wm_noinherit", "wm_below", "wm_apart"}
	b.script(`CREATE ROLE wm_group; CREATE ROLE wm_member LOGIN IN ROLE wm_group; CREATE ROLE wm_noinherit LOGIN NOINHERIT IN ROLE wm_group;
		CREATE ROLE wm_below LOGIN IN ROLE wm_noinherit; CREATE ROLE wm_apart LOGIN; ALTER ROLE wm_group LOGIN`)
	if get[int](b.session, "SELECT current_setting('server_version_num')::int") >= 160000 {
		for _, inherit := range []bool{false, true} {
			for _, set := range []bool{false, true} {
				for _, admin := range []bool{false, true} {
					name := fmt.Sprintf("wm_%t_%t_%t", inherit, set, admin)
					roles = append(roles, name, name+"_below", name+"_become")
					b.script(fmt.Sprintf(`CREATE ROLE %[1]s LOGIN; GRANT wm_group TO %[1]s WITH INHERIT %[2]t, SET %[3]t, ADMIN %[4]t;
						CREATE ROLE %[1]s_below LOGIN; GRANT %[1]s TO %[1]s_below WITH INHERIT true, SET false;
						CREATE ROLE %[1]s_become LOGIN; GRANT %[1]s TO %[1]s_become WITH INHERIT false, SET true`, name, inherit, set, admin))
				}
			}
		}
	}
	t.Cleanup(func() {
		for _, r := range slices.Backward(roles) {
			b.exec("DROP OWNED BY " + r)
			b.exec("DROP ROLE " + r)
		}
	})
	b.grant("wm_group", "kept", "read")
	for _, role := range roles {
		s := b.c.connect(t, b.db, role)
		reads := func() bool { return s.try("SELECT vault.read_secret('kept')") == nil }
		var want []string
		if reads() {
			want = append(want, "directly")
		}
		for _, as := range roles {
			if as == role || s.try("SET ROLE "+as) != nil {
				continue
			}
			if reads() {
				want = append(want, as)
			}
			s.exec("RESET ROLE")
		}
		told := column(b.session, `SELECT DISTINCT CASE how WHEN 'set role' THEN as_role ELSE 'directly' END
			FROM vault.who_may('kept', 'read') WHERE role = '`+role+`'`)
		// Of a role that may at once, the ways by the same grant after SET ROLE are left out.
		if len(want) > 0 && want[0] == "directly" {
			want = want[:1]
		}
		slices.Sort(want)
		slices.Sort(told)
		if !slices.Equal(want, told) {
			t.Errorf("%s really can read %q, and who_may tells %q", role, want, told)
		}
	}
}
