package exttest

import (
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const readOnly = "SET TRANSACTION READ ONLY"

// callerOf is a caller by REST that creates a secret, before the arguments of its change.
func callerOf(name string) string {
	return "NULL, '127.0.0.1', NULL, 'create', " + name + ", 'here', 'r'"
}

// freeCall is a call of vault.store_if_free with the same arguments as that of vault.store_secret.
func (c storeCase) freeCall() string {
	args := c.given()
	return "vault.store_if_free(" + callerOf(args[storeName]) + ", " + args[storeID] + ", " + strings.Join(args[storeVersion:storeOrigin], ", ") + ")"
}

// admittedCall is the same creation alone.
func (c storeCase) admittedCall() string {
	args := c.given()
	return "vault.store_secret(" + strings.Join(args[:storeOrigin], ", ") + ", vault.admit(" + callerOf(args[storeName]) + "))"
}

// tried calls a function in a transaction of its own, and takes that back.
func (c storeCase) tried(s *session, call, begin string) (a attempt) {
	s.t.Helper()
	s.exec(begin)
	defer s.exec("ROLLBACK")
	if c.before != "" {
		s.script(c.before)
	}
	a.before = get[string](s, created)
	s.exec("SAVEPOINT before")
	outcome, err := tryGet[string](s, stated(call))
	if err != nil {
		s.exec("ROLLBACK TO before")
		outcome = failureText(s.t, err)
	}
	a.outcome, a.stored = outcome, get[string](s, created)
	return a
}

func stated(call string) string {
	return "SELECT CASE WHEN f IS NULL THEN 'nothing' ELSE vault.state_text(f) END FROM " + call + " f"
}

// TestStoreIfFree: what vault.store_if_free() does is what vault.store_secret() does, and what it leaves to that leaves no trace.
func TestStoreIfFree(t *testing.T) {
	_, s := newStore(t)
	s.exec("SELECT vault.grant_access('vault_anonymous', '*', '{create}')")
	compared := 0
	for _, c := range storeCases {
		if slices.Contains(c.args, any(storeOrigin)) {
			continue
		}
		for _, begin := range []string{"BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE"} {
			s := &session{Conn: s.Conn, t: t}
			free := c.tried(s, c.freeCall(), begin)
			switch {
			case c.plain || c.before == readOnly:
				if whole := c.tried(s, c.admittedCall(), begin); free.outcome != whole.outcome || free.stored != whole.stored {
					t.Errorf("%v after %s: at once\n%+v\nand alone\n%+v", c.args, c.before, free, whole)
				}
				compared++
			case free.outcome != "nothing" || free.stored != free.before:
				t.Errorf("%v after %s: %s, and there is\n%s\ninstead of\n%s", c.args, c.before, free.outcome, free.stored, free.before)
			}
		}
	}
	if compared < 60 {
		t.Errorf("only %d were compared", compared)
	}
	for _, role := range []string{"public", "vault_anonymous"} {
		if get[bool](s, "SELECT has_function_privilege($1, (SELECT oid FROM pg_proc WHERE proname = 'store_if_free'), 'EXECUTE')", role) {
			t.Errorf("%s may call it", role)
		}
	}
}

// TestStoreIfFreeDecides: a caller that may not create the name, or is not known, leaves no trace.
func TestStoreIfFreeDecides(t *testing.T) {
	_, s := newStore(t)
	s.exec("SELECT vault.grant_access('vault_anonymous', 'mine', '{create}')")
	call := storeCase{args: with(storeName, "'mine'")}.freeCall()
	for caller, want := range map[string]bool{
		call: true,
		strings.Replace(call, "'mine'", "'other'", 1):               false,
		strings.Replace(call, "'create'", "'delete'", 1):            false,
		strings.Replace(call, "NULL", "sha256('7'::bytea)", 1):      false,
		strings.Replace(call, "'127.0.0.1', NULL", "NULL, '{}'", 1): false,
	} {
		s := &session{Conn: s.Conn, t: t}
		a := storeCase{}.tried(s, caller, "BEGIN")
		if made := a.outcome != "nothing"; made != want {
			t.Errorf("%s: %+v", caller, a)
		}
	}
}

// TestStoreIfFreeNeverWaits: while others are about to take or to free a name, it is left alone, and the transaction goes on.
func TestStoreIfFreeNeverWaits(t *testing.T) {
	b, admin := newStore(t)
	admin.exec("SELECT vault.grant_access('vault_anonymous', 'meet/*', '{create}')")
	const make, drop = "SELECT vault.create_secret('meet/name', 'x'::text)", "SELECT vault.delete_secret('meet/name', NULL)"
	const keep = "SET hyperion_vault.deleted_retention_days = 1"
	restore := "SELECT vault.restore_secret((SELECT id FROM vault.secrets WHERE name = 'meet/name' AND deleted_at IS NOT NULL))"
	for what, m := range map[string]struct {
		before, open []string
		version      string
		free         bool // nothing is to wait for
	}{
		"created":             {open: []string{make}, version: "1"},
		"created, deleted":    {open: []string{make, drop}, version: "1"},
		"deleted":             {before: []string{make}, open: []string{drop}, version: "2"},
		"deleted, restorable": {before: []string{make}, open: []string{keep, drop}, version: "2"},
		"restored":            {before: []string{keep, make, drop}, open: []string{restore}, version: "2"},
		"created once more":   {before: []string{keep, make, drop}, open: []string{make}, version: "2"},
		"destroyed":           {before: []string{keep, make, drop}, open: []string{"DELETE FROM vault.secrets WHERE name = 'meet/name'"}, version: "2"},
		"locked":              {before: []string{keep, make, drop}, open: []string{"SELECT FROM vault.secrets WHERE name = 'meet/name' FOR UPDATE"}, version: "2", free: true},
		"another name":        {open: []string{"SELECT vault.create_secret('meet/namesake', 'x'::text)"}, version: "1", free: true},
	} {
		admin.exec("DELETE FROM vault.secrets WHERE name LIKE 'meet/%'")
		first, second := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
		for _, sql := range m.before {
			first.exec(sql)
		}
		first.exec("BEGIN")
		for _, sql := range m.open {
			first.exec(sql)
		}
		named := func(name string) string {
			return stated(storeCase{args: with(storeID, "gen_random_uuid()", storeName, "'meet/"+name+"'", storeVersion, m.version)}.freeCall())
		}
		second.exec("BEGIN")
		second.exec("SET LOCAL hyperion_vault.deleted_retention_days = 1")
		got, err := tryGet[string](second, named("name"))
		if err != nil || (got != "nothing") != m.free {
			t.Errorf("%s: %s, %v", what, got, err)
		}
		if m.version == "1" && err == nil {
			if got, err := tryGet[string](second, named("other")); err != nil || got == "nothing" {
				t.Errorf("%s, and another name: %s, %v", what, got, err)
			}
			if got, err := tryGet[string](second, named("other")); err != nil || got != "nothing" {
				t.Errorf("%s, and another name once more: %s, %v", what, got, err)
			}
		}
		second.exec("COMMIT")
		first.exec("ROLLBACK")
		if n := get[int](admin, "SELECT count(*)::int FROM vault.secrets WHERE name = 'meet/other'"); (n == 1) != (m.version == "1") {
			t.Errorf("%s: %d others are there", what, n)
		}
	}
}

// meanwhile has a late session wait, between its check of the name and the insertion, for a row.
const meanwhile = `CREATE TABLE public.taken (); GRANT SELECT ON public.taken TO PUBLIC;
	CREATE FUNCTION vault.meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		WHILE current_setting('application_name') = 'late' AND NOT EXISTS (SELECT FROM public.taken) LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP;
		RETURN NEW; END $$;
	CREATE TRIGGER meanwhile BEFORE INSERT ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.meanwhile()`

// TestStoreIfFreeIsOvertaken: a name that another takes between the check and the insertion is an error soon, and not a wait for
// the other.
func TestStoreIfFreeIsOvertaken(t *testing.T) {
	b, admin := newStore(t)
	admin.exec("SELECT vault.grant_access('vault_anonymous', 'meet', '{create}')")
	admin.script(meanwhile)
	first, second := b.c.connect(t, b.db, vaulttest.Superuser), b.c.connect(t, b.db, vaulttest.Superuser)
	second.exec("SET application_name = 'late'")
	call := stated(storeCase{args: with(storeName, "'meet'")}.freeCall())
	done := second.background(call)
	pgtest.Eventually(t, "it has looked", func() bool {
		return get[bool](admin, "SELECT coalesce(wait_event = 'PgSleep', false) FROM pg_stat_activity WHERE pid = $1", second.pid())
	})
	first.exec("BEGIN")
	first.exec("SELECT vault.create_secret('meet', 'x'::text)")
	admin.exec("INSERT INTO public.taken DEFAULT VALUES")
	wantError(t, within(t, pgtest.Patience, done), "55P03", "")
	first.exec("ROLLBACK")
	if got := get[string](second, call); got == "nothing" {
		t.Error("the name is free, and is not taken")
	}
}
