package exttest

import (
	"fmt"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// ownerCommands would make role %s a member of vault_owner, or vault_owner a role that another role can act as.
var ownerCommands = []string{
	"GRANT vault_owner TO %s",
	"GRANT pg_monitor, vault_owner TO %s",
	"GRANT vault_owner TO %s WITH ADMIN OPTION",
	"GRANT \"vault_owner\" TO CURRENT_USER",
	"GRANT %s TO vault_owner",
	"CREATE ROLE of_owner_1 IN ROLE vault_owner",
	"CREATE USER of_owner_2 IN GROUP pg_monitor, vault_owner",
	"CREATE ROLE of_owner_3 ROLE vault_owner",
	"CREATE ROLE of_owner_4 ADMIN vault_owner",
	"ALTER GROUP vault_owner ADD USER %s",
	"ALTER GROUP %s ADD USER vault_owner",
	"ALTER ROLE vault_owner LOGIN",
	"ALTER USER vault_owner PASSWORD 'x'",
	"ALTER ROLE vault_owner CREATEROLE",
	"ALTER ROLE vault_owner SUPERUSER",
	"ALTER ROLE vault_owner BYPASSRLS",
	"ALTER ROLE vault_owner RENAME TO of_owner_5",
	"DO $$ BEGIN EXECUTE 'GRANT vault_owner TO %s'; END $$",
	"CREATE SCHEMA of_owner_6; GRANT vault_owner TO %s",
}

// TestOwnerGetsNoMember: up to version 15 CREATEROLE is enough for every one of these; a superuser may make a mistake.
func TestOwnerGetsNoMember(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	b := newBench(t, c)
	creator, role := c.newRole(t), c.newRole(t)
	b.exec("ALTER ROLE " + creator + " CREATEROLE")
	b.exec("GRANT CREATE ON DATABASE " + b.db + " TO " + creator)
	members := "SELECT count(*)::int FROM pg_auth_members WHERE 'vault_owner'::regrole IN (roleid, member)"
	for who, s := range map[string]*session{
		"Creator": c.connect(t, b.db, creator), "Superuser": b.session,
		// Roles belong to all databases, also to those without the extension.
		"CreatorElsewhere": c.connect(t, "postgres", creator),
	} {
		for _, command := range ownerCommands {
			sql := command
			if s != b.session {
				sql = fmt.Sprintf("RESET ROLE; %s", command)
			}
			if err := runEach(s, fmt.Sprintf(sql+"/* %[1]s */", role)); err == nil {
				t.Errorf("%s: %s is accepted", who, command)
			} else if s == b.session {
				wantError(t, err, "0LP01", "role vault_owner can")
			}
		}
		if n := get[int](b.session, members); n != 0 {
			t.Fatalf("%s: vault_owner has %d memberships", who, n)
		}
	}
	if attributes := get[bool](b.session, `SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls OR rolpassword IS NOT NULL
		FROM pg_authid WHERE rolname = 'vault_owner'`); attributes {
		t.Error("vault_owner has an attribute")
	}

	// What gives nothing goes on: what pg_dumpall writes, other roles, taking back.
	b.script(`ALTER ROLE vault_owner WITH NOSUPERUSER NOINHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
		GRANT pg_monitor TO ` + role + `; REVOKE vault_owner FROM ` + role + `; CREATE ROLE of_owner_7 IN ROLE ` + role + ` PASSWORD 'x';
		ALTER GROUP ` + role + ` DROP USER of_owner_7`)
	b.script("SET hyperion_vault.allow_unsafe_grants = on; GRANT vault_owner TO " + role + "; RESET ALL")
	b.script("REVOKE vault_owner FROM " + role)
}

// structureCommands would change whose the tables are, or tie others to them.
var structureCommands = []string{
	"ALTER TABLE vault.secrets OWNER TO postgres", "ALTER TABLE vault.access_grants OWNER TO CURRENT_USER",
	"ALTER TABLE vault.secrets DISABLE ROW LEVEL SECURITY", "ALTER TABLE vault.tokens NO FORCE ROW LEVEL SECURITY",
	"REASSIGN OWNED BY vault_owner TO postgres", "REASSIGN OWNED BY of_others, vault_owner TO postgres",
	"ALTER FUNCTION vault.read_secret(text, bigint) OWNER TO postgres", "ALTER ROUTINE vault.read_secret OWNER TO postgres",
	"ALTER SCHEMA vault OWNER TO postgres",
	"CREATE TABLE tied (x uuid REFERENCES vault.secrets)", "CREATE TABLE tied (x uuid, FOREIGN KEY (x) REFERENCES vault.secrets (id))",
	"ALTER TABLE plain ADD FOREIGN KEY (x) REFERENCES vault.secrets (id)", "ALTER TABLE plain ADD COLUMN y uuid REFERENCES vault.secrets",
	"ALTER TABLE plain ADD COLUMN y uuid, ADD CONSTRAINT z FOREIGN KEY (y) REFERENCES vault.rotation_jobs",
	"CREATE TABLE tied () INHERITS (vault.access_grants)", "ALTER TABLE alike INHERIT vault.secrets",
	"SET LOCAL search_path = vault, public; CREATE TABLE public.tied (x uuid REFERENCES secrets)",
	"DO $$ BEGIN CREATE TABLE tied (x uuid REFERENCES vault.secrets); END $$", "CREATE SCHEMA tied CREATE TABLE t (x uuid REFERENCES vault.secrets)",
	"CREATE TEMP TABLE tied () INHERITS (vault.secrets)",
}

// TestTablesStayAsTheyAre: a superuser's mistake opens or ties nothing.
func TestTablesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	b := newBench(t, startCluster(t, true))
	b.script("CREATE ROLE of_others; CREATE TABLE plain (x uuid); CREATE TABLE alike (LIKE vault.secrets INCLUDING ALL)")
	for _, sql := range structureCommands {
		b.script("BEGIN")
		err := runEach(b.session, sql)
		b.script("ROLLBACK")
		wantError(t, err, "55000", "schema vault")
		b.script("BEGIN; SET LOCAL hyperion_vault.allow_unsafe_grants = on")
		if err := runEach(b.session, sql); err != nil {
			t.Errorf("allowed, %s: %v", sql, err)
		}
		b.script("ROLLBACK")
	}
	b.script(`CREATE TABLE other (x uuid PRIMARY KEY); CREATE TABLE refers (x uuid REFERENCES other) ; CREATE TABLE child () INHERITS (plain);
		ALTER TABLE plain ADD FOREIGN KEY (x) REFERENCES other; ALTER TABLE plain OWNER TO of_others; REASSIGN OWNED BY of_others TO postgres;
		ALTER TABLE vault.secrets OWNER TO vault_owner; ALTER SCHEMA vault OWNER TO vault_owner; ALTER TABLE plain DISABLE ROW LEVEL SECURITY`)
}

// TestPublicationsStopNothing: a table without a key refuses changes once it is published, and FOR ALL TABLES is how one
// moves to another major version.
func TestPublicationsStopNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true, "wal_level = logical")
	b := newBench(t, c)
	role := c.newRole(t)
	b.grant(role, "kept", "read")
	b.script("CREATE PUBLICATION everything FOR ALL TABLES")
	for _, sql := range []string{
		"SELECT vault.revoke_access('" + role + "', 'kept', '{read}')", "SELECT vault.create_secret('published', 'x')",
		"SELECT vault.update_secret('published', 'y', NULL)", "SELECT vault.delete_secret('published', NULL)",
	} {
		b.script(sql)
	}
	if missing := column(b.session, `SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r'
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)`); len(missing) > 0 {
		t.Errorf("no primary key: %v", missing)
	}
}

// TestMaintainersHoldNothing: from version 17 on members of pg_maintain may rewrite every table.
func TestMaintainersHoldNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	b := newBench(t, c)
	role := c.newRole(t)
	b.grant(role, "kept", "read")
	if serverVersion(b.session) >= 170000 { // before, no other role may do these at all
		b.exec("GRANT pg_maintain TO " + role)
	}
	s := c.connect(t, b.db, role)
	for _, sql := range []string{
		"CLUSTER vault.secrets USING secrets_pkey", "REINDEX TABLE vault.secrets", "REINDEX INDEX vault.secrets_pkey",
		"REINDEX (VERBOSE) TABLE vault.audit_log", "DO $$ BEGIN EXECUTE 'REINDEX TABLE vault.secrets'; END $$",
	} {
		wantError(t, runEach(s, "BEGIN; "+sql), "42501", "permission denied to rewrite")
		s.script("ROLLBACK")
	}
	b.script("REINDEX TABLE vault.secrets; CLUSTER vault.secrets USING secrets_pkey")
}

// runEach runs several statements in one string, of which only the last ought to fail.
func runEach(s *session, sql string) error {
	s.t.Helper()
	_, err := s.PgConn().Exec(bounded(s.t), sql).ReadAll()
	return err
}

// TestPredefinedRolesStopNothing: a role that may write every table, or that got what can be granted, changes nothing
// and keeps no other from changing.
func TestPredefinedRolesStopNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, true)
	b := newBench(t, c)
	role := c.newRole(t)
	b.exec("GRANT pg_read_all_data, pg_write_all_data TO " + role)
	s := c.connect(t, b.db, role)
	for _, relation := range column(b.session, `SELECT c.oid::regclass::text FROM pg_class c
		WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'S', 'v', 'm', 'p') ORDER BY 1`) {
		if err := s.try("SELECT setval($1::text::regclass, 9223372036854775806)", relation); err == nil {
			t.Errorf("%s was set to its end", relation)
		}
		for _, mode := range []string{"ROW EXCLUSIVE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"} {
			wantError(t, runEach(s, "BEGIN; LOCK TABLE "+relation+" IN "+mode+" MODE"), "42501", "permission denied to lock")
			s.script("ROLLBACK")
		}
		s.script("BEGIN")
		for _, sql := range []string{"SELECT FROM %s FOR UPDATE", "DELETE FROM %s"} {
			tag, err := s.Exec(bounded(t), fmt.Sprintf(sql, relation))
			if err != nil || tag.RowsAffected() != 0 {
				t.Errorf(sql+": %v, %v", relation, tag, err)
			}
		}
		// The transaction is left open: what it holds must stop no other session.
		done := c.connect(t, b.db, vaulttest.Superuser).background(
			"SELECT vault.update_secret('kept', 'as it was', NULL)")
		if err := within(t, pgtest.Patience, done); err != nil {
			t.Errorf("with %s: %v", relation, err)
		}
		s.script("ROLLBACK")
	}
}
