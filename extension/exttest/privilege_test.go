package exttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// A role that chose the socket would choose the keys that others seal with.
func TestSettingsNeedSuperuser(t *testing.T) {
	for name, c := range map[string]cluster{"Preloaded": sharedCluster(t), "NotPreloaded": startCluster(t, false)} {
		t.Run(name, func(t *testing.T) {
			b, elsewhere := newBench(t, c), newFakeAgent(t)
			settings := map[string]string{
				"hyperion_vault.agent_socket": elsewhere.path, "hyperion_vault.agent_timeout_ms": "1",
				"hyperion_vault.max_value_bytes": "1", "hyperion_vault.allow_drop_with_secrets": "on",
			}
			role := c.newRole(t)
			b.grant(role, "kept", "read")
			b.exec("ALTER DATABASE " + b.db + " OWNER TO " + role)
			s := c.connect(t, b.db, role)
			defaults := map[string]string{}
			for setting := range settings {
				defaults[setting] = get[string](b.session, "SELECT setting FROM pg_settings WHERE name = $1", setting)
			}
			unchanged := func(s *session) {
				t.Helper()
				got, err := tryGet[string](s, "SELECT vault.read_secret('kept')")
				// A start-up setting of a server that does not preload may undo that of the database; then the default holds.
				if name == "NotPreloaded" && err != nil {
					wantError(t, err, "08001", "could not connect to the key agent")
				} else if err != nil || got != keptValue {
					t.Errorf("read %q, %v", got, err)
				}
				if n := elsewhere.connections(); n != 0 {
					t.Fatal("the backend has asked the agent that the role chose")
				}
				for setting, want := range defaults {
					if setting == "hyperion_vault.agent_socket" {
						continue // its value is for superusers only
					}
					if got := get[string](s, "SELECT setting FROM pg_settings WHERE name = $1", setting); got != want {
						t.Errorf("%s is %q, not %q", setting, got, want)
					}
				}
			}
			for setting, value := range settings {
				// Before the library is loaded the name has no owner, and can be set: what was set must not count then.
				early := c.connect(t, b.db, role)
				if err := early.try("SET " + setting + " = '" + value + "'"); err != nil {
					wantError(t, err, "42501", "permission denied to set parameter")
				} else if name == "Preloaded" {
					t.Errorf("a role set %s", setting)
				}
				unchanged(early)
				wantError(t, early.try("SET "+setting+" = '"+value+"'"), "42501", "permission denied to set parameter")
				wantError(t, early.try("SELECT set_config($1, $2, false)", setting, value), "42501", "permission denied to set parameter")

				if conn, err := c.dial(t.Context(), b.db, role, "options", fmt.Sprintf("-c %s=%s", setting, value)); err == nil {
					unchanged(&session{Conn: conn, t: t})
					_ = conn.Close(t.Context())
				}
				if conn, err := c.dial(t.Context(), b.db, role, setting, value); err == nil {
					unchanged(&session{Conn: conn, t: t})
					_ = conn.Close(t.Context())
				} else {
					wantError(t, err, "42501", "permission denied to set parameter")
				}
				for _, sql := range []string{
					"ALTER ROLE " + role + " SET " + setting + " = '" + value + "'",
					"ALTER ROLE " + role + " IN DATABASE " + b.db + " SET " + setting + " = '" + value + "'",
					"ALTER DATABASE " + b.db + " SET " + setting + " = '" + value + "'",
					"ALTER SYSTEM SET " + setting + " = '" + value + "'",
				} {
					wantError(t, s.try(sql), "42501", "permission denied")
					fresh := c.connect(t, b.db, role)
					wantError(t, fresh.try(sql), "42501", "permission denied")
					unchanged(fresh)
				}
				// A function that sets it for itself.
				s.exec("CREATE SCHEMA IF NOT EXISTS mine")
				err := s.try("CREATE OR REPLACE FUNCTION mine.f() RETURNS text LANGUAGE sql SET " + setting + " = '" + value + "' AS $$ SELECT vault.read_secret('kept') $$")
				if err == nil {
					if got, err := tryGet[string](c.connect(t, b.db, role), "SELECT mine.f()"); err == nil && got != keptValue {
						t.Errorf("read %q", got)
					}
				}
				unchanged(c.connect(t, b.db, role))
			}
			if v, err := tryGet[string](s, "SHOW hyperion_vault.agent_socket"); err == nil && name == "Preloaded" {
				t.Errorf("a role was shown the socket: %s", v)
			}
			wantError(t, s.try("DROP EXTENSION hyperion_vault CASCADE"), "42501", "must be owner")
		})
	}
}

func TestSettingsAreChecked(t *testing.T) {
	s := sharedCluster(t).connect(t, "postgres", vaulttest.Superuser)
	for setting, values := range map[string][]string{
		"agent_socket":            {"", "agent.sock", "../agent.sock", "/" + strings.Repeat("x", 107)},
		"agent_timeout_ms":        {"0", "-1", "600001", "soon"},
		"max_value_bytes":         {"0", "-1", "1048577"},
		"allow_drop_with_secrets": {"perhaps"},
		"no_such_setting":         {"1"},
	} {
		for _, value := range values {
			if err := s.try("SET hyperion_vault." + setting + " = '" + value + "'"); err == nil {
				t.Errorf("%s = %q was accepted", setting, value)
			}
		}
	}
	s.exec("SET hyperion_vault.agent_socket = '/" + strings.Repeat("x", 106) + "'")
	s.exec("SET hyperion_vault.agent_timeout_ms = '10s'")
	s.exec("SET hyperion_vault.max_value_bytes = '1MB'")
}

func TestNobodyHoldsAnything(t *testing.T) {
	c := sharedCluster(t)
	b := newBench(t, c)
	// Default privileges of the role that installs must not leak in.
	role := c.newRole(t)
	fresh := b.c.connect(t, "postgres", vaulttest.Superuser)
	fresh.exec("CREATE DATABASE generous")
	t.Cleanup(func() { fresh.exec("DROP DATABASE generous WITH (FORCE)") })
	g := c.connect(t, "generous", vaulttest.Superuser)
	for _, what := range []string{"TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"} {
		g.exec("ALTER DEFAULT PRIVILEGES GRANT ALL ON " + what + " TO " + role)
		g.exec("ALTER DEFAULT PRIVILEGES GRANT ALL ON " + what + " TO PUBLIC")
	}
	g.exec("CREATE EXTENSION hyperion_vault")
	for db, s := range map[string]*session{b.db: b.session, "generous": g} {
		for what, sql := range map[string]string{
			"functions":       "SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND has_function_privilege($1, p.oid, 'EXECUTE')",
			"tables":          "SELECT string_agg(c.relname, ', ') FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND (has_table_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))",
			"sequences":       "SELECT string_agg(c.relname, ', ') FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'S' AND has_sequence_privilege($1, c.oid, 'USAGE, SELECT, UPDATE')",
			"the schema":      "SELECT 'vault' WHERE has_schema_privilege($1, 'vault', 'USAGE, CREATE')",
			"vault_owner":     "SELECT 'member' WHERE pg_has_role($1, 'vault_owner', 'MEMBER')",
			"not vault_owner": "SELECT string_agg(p.proname, ', ') FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.proowner <> 'vault_owner'::regrole AND $1 <> ''",
			"attributes":      "SELECT rolname FROM pg_roles WHERE rolname = 'vault_owner' AND $1 <> '' AND (rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
		} {
			if got, _ := tryGet[string](s, sql, role); got != "" {
				t.Errorf("%s: a role without grants holds of %s: %s", db, what, got)
			}
		}
	}
}

// A role vault_owner that another role could become is a back door.
func TestOwnerRoleThatExists(t *testing.T) {
	t.Parallel()
	c := startCluster(t, false)
	admin := c.connect(t, "postgres", vaulttest.Superuser)
	admin.exec("CREATE ROLE stranger LOGIN")
	for _, tt := range []struct{ name, make, message string }{
		{"ErrLogin", "CREATE ROLE vault_owner LOGIN", "exists with LOGIN or another attribute"},
		{"ErrSuperuser", "CREATE ROLE vault_owner SUPERUSER", "exists with LOGIN or another attribute"},
		{"ErrCreateDB", "CREATE ROLE vault_owner CREATEDB", "exists with LOGIN or another attribute"},
		{"ErrCreateRole", "CREATE ROLE vault_owner CREATEROLE", "exists with LOGIN or another attribute"},
		{"ErrReplication", "CREATE ROLE vault_owner REPLICATION", "exists with LOGIN or another attribute"},
		{"ErrBypassRLS", "CREATE ROLE vault_owner BYPASSRLS", "exists with LOGIN or another attribute"},
		{"ErrMember", "CREATE ROLE vault_owner ROLE stranger", "has members or memberships"},
		{"ErrMembership", "CREATE ROLE vault_owner IN ROLE stranger", "has members or memberships"},
		{"ErrPredefinedMembership", "CREATE ROLE vault_owner IN ROLE pg_read_server_files", "has members or memberships"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			admin := &session{Conn: admin.Conn, t: t}
			admin.exec(tt.make)
			wantError(t, admin.try("CREATE EXTENSION hyperion_vault"), "42710", tt.message)
			if get[bool](admin, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'vault')") {
				t.Error("a schema is left")
			}
			admin.exec("DROP ROLE vault_owner")
		})
	}
	t.Run("OK", func(t *testing.T) {
		admin.exec("CREATE ROLE vault_owner")
		admin.exec("CREATE EXTENSION hyperion_vault")
		admin.exec("DROP EXTENSION hyperion_vault")
		admin.exec("CREATE EXTENSION hyperion_vault")
	})
	t.Run("ErrNotSuperuser", func(t *testing.T) {
		admin.exec("CREATE DATABASE owned OWNER stranger")
		s := c.connect(t, "owned", "stranger")
		wantError(t, s.try("CREATE EXTENSION hyperion_vault"), "42501", "permission denied to create extension")
	})
	t.Run("ErrSchemaTaken", func(t *testing.T) {
		s := c.connect(t, "owned", "stranger")
		s.exec("CREATE SCHEMA vault")
		wantError(t, c.connect(t, "owned", vaulttest.Superuser).try("CREATE EXTENSION hyperion_vault"), "42P06", "already exists")
	})
}
