package exttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// What a session may set about itself must not change what the functions do.
func TestSessionSettingsChangeNothing(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role := b.c.newRole(t)
	b.grant(role, "*", "read,create,update,delete,rotate,verify")
	b.exec("ALTER DATABASE " + b.db + " SET lc_messages = 'C'")
	for i, setting := range []string{
		"row_security = off", "transform_null_equals = on", "quote_all_identifiers = on", "bytea_output = escape",
		"standard_conforming_strings = off", "array_nulls = off", "DateStyle = 'SQL, DMY'", "IntervalStyle = sql_standard",
		"TimeZone = 'Asia/Kathmandu'", "client_min_messages = error", "default_transaction_isolation = serializable",
		"check_function_bodies = off", "plan_cache_mode = force_generic_plan", "plan_cache_mode = force_custom_plan",
		"jit_above_cost = 0", "extra_float_digits = -15", "xmloption = document", "default_toast_compression = pglz",
		"synchronous_commit = off", "work_mem = '64kB'", "temp_file_limit = -1", "client_encoding = LATIN1",
		"search_path = ''", "search_path = pg_temp", "search_path = nowhere",
		"default_table_access_method = heap", "backslash_quote = off", "cursor_tuple_fraction = 0.0001",
	} {
		t.Run(setting, func(t *testing.T) {
			s := b.c.connect(t, b.db, role)
			name := fmt.Sprintf("new%d", i) // one that was used does not begin with version 1 again
			if setting == "standard_conforming_strings = off" && serverVersion(s) >= 190000 {
				wantError(t, s.try("SET "+setting), "0A000", "not supported")
				return
			}
			if err := s.try("SET " + setting); err != nil && setting != "temp_file_limit = -1" {
				t.Fatal(err)
			}
			s.exec("SELECT vault.create_secret($1, 'first', description => 'd', tags => '{\"a\": \"1\"}', grace_period_secs => 3600)", name)
			s.exec("SELECT vault.update_secret($1, 'second', 1)", name)
			if got := get[string](s, "SELECT vault.read_secret($1) || vault.read_secret($1, 1)", name); got != "secondfirst" {
				t.Errorf("read %q", got)
			}
			if got := get[string](s, "SELECT convert_from(vault.read_secret_bytes($1), 'UTF8')", name); got != "second" {
				t.Errorf("read %q", got)
			}
			if !get[bool](s, "SELECT vault.verify($1, 'first'::text) AND vault.verify($1, 'second'::text) AND NOT vault.verify($1, 'third'::text)", name) {
				t.Error("verify says another thing")
			}
			if n := get[int](s, "SELECT count(*)::int FROM vault.list_secrets()"); n != 2 {
				t.Errorf("%d secrets listed", n)
			}
			wantError(t, s.try("SELECT vault.read_secret('absent')"), "42704", "does not exist")
			wantError(t, s.try("SELECT vault.update_secret($1, 'third', 1)", name), "VT001", "is at version 2")
			s.exec("SELECT vault.delete_secret($1, 2)", name)
		})
	}
	t.Run("Administrator", func(t *testing.T) {
		other := b.c.newRole(t)
		for _, setting := range []string{"row_security = off", "quote_all_identifiers = on", "transform_null_equals = on", "search_path = pg_temp"} {
			s := b.c.connect(t, b.db, vaulttest.Superuser)
			s.exec("SET " + setting)
			s.exec("SELECT vault.grant_access($1::text::regrole, 'kept', '{read}')", other)
			if n := get[int](s, "SELECT count(*)::int FROM vault.access_list() WHERE grantee = $1::text::regrole", other); n != 1 {
				t.Errorf("%s: %d grants", setting, n)
			}
			s.exec("SELECT vault.revoke_access($1::text::regrole, 'kept', '{read}')", other)
			s.exec("SELECT count(*) FROM vault.audit()")
			// Any DROP asks whether there are secrets.
			s.exec("CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
			s.exec("DROP FUNCTION public.one()")
			wantError(t, s.try("DROP EXTENSION hyperion_vault"), "2BP01", "it holds secrets")
		}
		service := b.c.connect(t, b.db, vaulttest.ServiceRole)
		service.exec("SET row_security = off")
		service.exec("SELECT vault.describe_secret('kept')")
		service.exec("SELECT vault.active_tokens()")
	})
}

// A role whose own schemas come first in its search_path, with everything in them that the functions use.
func TestHostileSearchPath(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	role, admin := b.c.newRole(t), vaulttest.Superuser
	b.grant(role, "app/*", "read,create,update,delete,rotate,verify")
	b.exec("GRANT CREATE, TEMP ON DATABASE " + b.db + " TO " + role)
	hostile := `
		CREATE FUNCTION @.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'trapped as %', current_user USING ERRCODE = 'XT000'; END $$;
		CREATE FUNCTION @.starts_with(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.pg_has_role(oid, regrole, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN NULL; END $$;
		CREATE FUNCTION @.right(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN '/*'; END $$;
		CREATE FUNCTION @."left"(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN ''; END $$;
		CREATE FUNCTION @.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 1; END $$;
		CREATE FUNCTION @.octet_length(bytea) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 1; END $$;
		CREATE FUNCTION @.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN 'object'; END $$;
		CREATE FUNCTION @.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
		CREATE FUNCTION @.teq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.beq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.ueq(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE FUNCTION @.oeq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM @.trap(); RETURN true; END $$;
		CREATE OPERATOR @.= (LEFTARG = text, RIGHTARG = text, FUNCTION = @.teq);
		CREATE OPERATOR @.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = @.teq);
		CREATE OPERATOR @.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = @.beq);
		CREATE OPERATOR @.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = @.beq);
		CREATE OPERATOR @.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = @.ueq);
		CREATE OPERATOR @.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = @.oeq);
		CREATE TABLE @.pg_roles AS SELECT r.oid, r.rolname, true AS rolsuper FROM pg_catalog.pg_roles r;
		CREATE TABLE @.pg_proc AS SELECT 1 AS oid;
		CREATE TABLE @.secrets (id uuid, name text);
		CREATE TABLE @.access_grants (grantee oid, pattern text, action text);
		CREATE DOMAIN @.text AS pg_catalog.text CHECK (false);
		CREATE DOMAIN @.bigint AS pg_catalog.int8 CHECK (false);
		CREATE DOMAIN @.timestamptz AS pg_catalog.timestamptz CHECK (false);
		CREATE DOMAIN @.boolean AS pg_catalog.bool CHECK (false);
		CREATE DOMAIN @.regrole AS pg_catalog.regrole CHECK (false);
		CREATE DOMAIN @.sealed_value AS pg_catalog.text;
		CREATE DOMAIN @.audit_origin AS pg_catalog.text;`
	superusersOnly := "CREATE FUNCTION @.format(text, VARIADIC \"any\") RETURNS text LANGUAGE internal AS 'text_format';"
	for _, schema := range []string{"mine", "pg_temp"} {
		t.Run(schema, func(t *testing.T) {
			s := b.c.connect(t, b.db, role)
			if schema == "mine" {
				s.exec("CREATE SCHEMA mine")
			}
			s.script(strings.ReplaceAll(strings.ReplaceAll(hostile, superusersOnly, ""), "@", schema))
			// Where the owner could not look, nothing could trap it.
			s.script(strings.ReplaceAll("GRANT SELECT ON @.pg_roles, @.pg_proc, @.secrets, @.access_grants TO PUBLIC", "@", schema))
			if schema == "mine" {
				s.exec("GRANT USAGE ON SCHEMA mine TO PUBLIC")
			}
			s.script("SET search_path = " + schema + ", vault, pg_catalog")
			b.session.script("GRANT USAGE ON SCHEMA vault TO " + role)

			// The trap works: what is not qualified falls into it.
			if schema == "mine" {
				wantError(t, s.try("SELECT starts_with('a'::pg_catalog.text, 'a'::pg_catalog.text)"), "XT000", "trapped")
			}
			hard(t, s, schema)
		})
	}
	t.Run("OfAnAdministrator", func(t *testing.T) {
		// A superuser who has a role's schema in his path: the role's functions must not run as the owner or as him.
		s := b.c.connect(t, b.db, admin)
		s.script("SET search_path = mine, vault, pg_catalog")
		other := b.c.newRole(t)
		exec := func(sql string) {
			t.Helper()
			if _, err := s.PgConn().Exec(bounded(t), sql).ReadAll(); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		exec("SELECT vault.grant_access('" + other + "', 'app/x', '{read,update}')")
		exec("SELECT vault.revoke_access('" + other + "', 'app/x', '{update}')")
		exec("SELECT * FROM vault.access_list()")
		exec("SELECT * FROM vault.audit()")
		exec("SELECT vault.grant_service_role('" + other + "')")
		exec("SELECT vault.revoke_service_role('" + other + "')")
		exec("DROP TABLE mine.pg_proc")
		exec("CREATE FUNCTION mine.gone() RETURNS int LANGUAGE sql AS 'SELECT 1'")
		exec("DROP FUNCTION mine.gone()")
	})
	t.Run("AtCreateExtension", func(t *testing.T) {
		s := b.c.connect(t, b.db, admin)
		s.script("SET hyperion_vault.allow_drop_with_secrets = on")
		s.script("DROP EXTENSION hyperion_vault")
		s.script("SET search_path = mine, pg_catalog")
		s.script("CREATE EXTENSION hyperion_vault")
		fresh := get[string](b.c.connect(t, b.c.NewDB(t).Name, admin), ownersSQL)
		if got := get[string](b.c.connect(t, b.db, admin), ownersSQL); got != fresh {
			t.Errorf("made under a hostile path: %s, elsewhere %s", got, fresh)
		}
	})
}

// ownersSQL sums up what there is in the schema, and whose it is.
const ownersSQL = `SELECT concat_ws(' ',
	(SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.proowner = 'vault_owner'::regrole),
	(SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.proowner <> 'vault_owner'::regrole),
	(SELECT string_agg(p.oid::regprocedure::text, ',' ORDER BY p.oid::regprocedure::text) FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace),
	(SELECT string_agg(c.relname || ' ' || a.attname || ' ' || a.atttypid, ',' ORDER BY c.relname, a.attnum) FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND a.atttypid < 16384))`

// hard does everything a granted role may, and some things it may not, in a session set up to hinder it. The secrets are
// those of app/PREFIX/, since a name that was used does not begin with version 1 again.
func hard(t *testing.T, s *session, prefix string) {
	t.Helper()
	run := func(sql string) (string, error) {
		sql = strings.ReplaceAll(sql, "'app/", "'app/"+prefix+"/")
		results, err := s.PgConn().Exec(bounded(t), sql).ReadAll()
		if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
			return "", err
		}
		return string(results[0].Rows[0][0]), nil
	}
	ok := func(sql, want string) {
		t.Helper()
		if got, err := run(sql); err != nil || got != want {
			t.Errorf("%s: %q, %v", sql, got, err)
		}
	}
	no := func(sql, state string) {
		t.Helper()
		_, err := run(sql)
		wantError(t, err, state, "")
	}
	t8 := "::pg_catalog.text"
	ok("SELECT vault.create_secret('app/a'"+t8+", 'first'"+t8+", grace_period_secs => 3600::pg_catalog.int8)", "1")
	ok("SELECT vault.create_secret('app/auto'"+t8+", NULL"+t8+", 'automatic'"+t8+", rotation_interval_secs => 60::pg_catalog.int8)", "1")
	ok("SELECT vault.update_secret('app/a'"+t8+", 'second'"+t8+", 1::pg_catalog.int8)", "2")
	ok("SELECT vault.read_secret('app/a'"+t8+")", "second")
	ok("SELECT vault.read_secret('app/a'"+t8+", 1::pg_catalog.int8)", "first")
	ok("SELECT vault.verify('app/a'"+t8+", 'first'"+t8+")", "t")
	ok("SELECT vault.verify('app/a'"+t8+", 'third'"+t8+")", "f")
	ok("SELECT vault.rotate_secret('app/auto'"+t8+")", "2")
	ok("SELECT pg_catalog.count(*) FROM vault.list_secrets()", "2")
	no("SELECT vault.read_secret('kept'"+t8+")", "42501")
	no("SELECT vault.create_secret('kept2'"+t8+", 'x'"+t8+")", "42501")
	no("SELECT vault.create_secret('app/a'"+t8+", 'x'"+t8+")", "23505")
	no("SELECT vault.update_secret('app/a'"+t8+", 'x'"+t8+", 1::pg_catalog.int8)", "VT001")
	no("SELECT vault.read_secret('app/absent'"+t8+")", "42704")
	no("TABLE vault.secrets", "42501")
	ok("SELECT vault.delete_secret('app/a'"+t8+", 2::pg_catalog.int8)", "")
	ok("SELECT vault.delete_secret('app/auto'"+t8+", 2::pg_catalog.int8)", "")
}

// TestRowsHaveTheirPath: what runs when a change writes a row sees the search_path of the vault's functions, in each way in
// which it can look, and the caller's path is what it was.
func TestRowsHaveTheirPath(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("CREATE TABLE public.seen (path text)")
	b.exec("GRANT INSERT ON public.seen TO vault_owner")
	b.exec(`CREATE FUNCTION vault.note_path() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO public.seen VALUES (pg_catalog.current_setting('search_path')); RETURN NEW; END $$`)
	b.exec(`CREATE FUNCTION vault.has_path(of bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN RETURN pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) 'pg_catalog, pg_temp'
			OR pg_catalog.set_config('bench.wrong', 'yes', false) IS NULL; END $$`)
	b.exec("CREATE DOMAIN vault.in_path AS bigint CHECK (pg_catalog.current_setting('search_path') = 'pg_catalog, pg_temp')")
	b.exec("SET search_path = public")
	for _, alter := range []string{
		"CREATE TRIGGER noted BEFORE INSERT ON vault.secret_versions FOR EACH ROW EXECUTE FUNCTION vault.note_path()",
		"CREATE TRIGGER noted AFTER UPDATE ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.note_path()",
		"ALTER TABLE vault.secret_versions ADD CHECK (vault.has_path(version)) NOT VALID",
		"ALTER TABLE vault.secrets ADD CHECK (pg_catalog.current_setting('search_path') = 'pg_catalog, pg_temp') NOT VALID",
		"ALTER TABLE vault.changes ADD CHECK (current_schema = 'pg_catalog') NOT VALID",
		"ALTER TABLE vault.changes ADD CHECK (version::vault.in_path > 0) NOT VALID",
		"CREATE INDEX ON vault.secret_versions (version) WHERE vault.has_path(version)",
		"CREATE INDEX ON vault.secret_versions ((vault.has_path(version)))",
		"ALTER TABLE vault.secret_versions ADD seen boolean GENERATED ALWAYS AS (vault.has_path(version)) STORED",
	} {
		b.exec("BEGIN")
		b.script(alter)
		b.exec("SET bench.wrong = 'no'") // an index was made with another path
		b.exec("DELETE FROM public.seen")
		if err := b.try("SELECT vault.update_secret('kept', 'next'::text, NULL)"); err != nil {
			t.Errorf("%s: %v", alter, err)
			b.exec("ROLLBACK")
			continue
		}
		for _, path := range column(b.session, "SELECT path FROM public.seen") {
			if path != "pg_catalog, pg_temp" {
				t.Errorf("%s: the path is %q", alter, path)
			}
		}
		if got := get[string](b.session, "SELECT current_setting('bench.wrong') || current_setting('search_path')"); got != "nopublic" {
			t.Errorf("%s: wrong, and the path after it, are %q", alter, got)
		}
		b.exec("ROLLBACK")
	}
}
