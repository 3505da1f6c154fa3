--
-- PRIVILEGES: what a role without a grant can do, and what a mistaken GRANT gives away: nothing.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

-- Something to be seen in every table.
CREATE ROLE regress_vault_nobody;
SELECT put(901, 'priv/one');
SELECT vault.create_token(uuid(901), 'priv', decode(repeat('11', 32), 'hex'), NULL, ROW('here', 'cli:root', NULL, NULL, NULL));
SELECT vault.grant_access('pg_monitor', 'priv/*', '{read}');
SELECT count(*) > 0 FROM vault.secrets;
SELECT count(*) > 0 FROM vault.secret_versions;
SELECT count(*) > 0 FROM vault.tokens;
SELECT count(*) > 0 FROM vault.access_grants;
SELECT count(*) > 0 FROM vault.audit_log;
ANALYZE vault.secrets, vault.secret_versions, vault.tokens, vault.access_grants, vault.audit_log;

-- what PUBLIC, that is everybody, holds on anything of the schema
SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0), x.privilege_type FROM pg_proc p, aclexplode(p.proacl) x
WHERE p.pronamespace = 'vault'::regnamespace AND x.grantee = 0;
SELECT c.oid::regclass, x.privilege_type FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'vault'::regnamespace AND x.grantee = 0;
SELECT n.nspname, x.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) x
WHERE n.nspname = 'vault' AND x.grantee = 0;

-- an ordinary role
SET ROLE regress_vault_nobody;
SELECT * FROM vault.secrets;
SELECT vault.read_secret('priv/one');
SELECT vault.list_secrets();
SELECT vault.extension_version();
SELECT vault.grant_access('regress_vault_nobody', '*', '{read}');
SELECT vault.grant_service_role('regress_vault_nobody');
SELECT vault.audit();
SELECT NULL::vault.sealed_value;
CREATE TABLE vault.mine ();
SET SESSION AUTHORIZATION regress_vault_nobody;
SET ROLE vault_owner;
RESET SESSION AUTHORIZATION;

-- who was let into the schema by mistake, finds nothing to call or to see
RESET ROLE;
GRANT USAGE ON SCHEMA vault TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'vault'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE');
SELECT c.oid::regclass, x.p FROM pg_class c,
    unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) x(p)
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND has_table_privilege(c.oid, x.p);
SELECT c.oid::regclass, x.p FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) x(p)
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND has_any_column_privilege(c.oid, x.p);
SELECT c.oid::regclass, x.p FROM pg_class c, unnest('{USAGE,SELECT,UPDATE}'::text[]) x(p)
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'S' AND has_sequence_privilege(c.oid, x.p);
SELECT has_schema_privilege('vault', 'CREATE');
SELECT try('SELECT vault.read_secret(''priv/one'')');
SELECT try('SELECT vault.read_sealed(''{priv/one}'', NULL)');
SELECT try('SELECT vault.sealed_for(10, ''read'', ''priv/one'', NULL)');
SELECT try('SELECT vault.may(10, ''read'', ''priv/one'')');
SELECT try('SELECT vault.grant_access(''regress_vault_nobody'', ''*'', ''{read}'')');
SELECT try('SELECT name FROM vault.secrets');
SELECT try('INSERT INTO vault.access_grants VALUES (''regress_vault_nobody'', ''*'', ''read'', now(), '''')');
SELECT try('TRUNCATE vault.audit_log');
SELECT try('ALTER TABLE vault.secrets DISABLE ROW LEVEL SECURITY');
SELECT try('CREATE POLICY mine ON vault.secrets USING (true)');
SELECT try('CREATE TRIGGER mine BEFORE INSERT ON vault.secrets EXECUTE FUNCTION suppress_redundant_updates_trigger()');
SELECT try('CREATE TEMP TABLE mine (c vault.secret_info)');
SELECT try('SELECT vault.next_audit_id()');
SELECT try('SELECT vault.audit_after(0)');
SELECT try('SELECT vault.audit_page(0, 1)');

-- No sequence: row security does not cover one, and pg_write_all_data could set it to its end.
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'S';

-- GRANT on a table is refused, whatever it grants and however it is written
RESET ROLE;
GRANT REFERENCES ON vault.secrets TO regress_vault_nobody;
GRANT REFERENCES (name) ON TABLE vault.secrets TO regress_vault_nobody;
GRANT SELECT ON pg_class, vault.audit_log TO PUBLIC;
GRANT TRIGGER ON vault.secret_versions TO regress_vault_nobody WITH GRANT OPTION;
GRANT TRUNCATE ON ALL TABLES IN SCHEMA public, vault TO regress_vault_nobody;
GRANT ALL ON vault.access_grants TO regress_vault_nobody;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA vault TO regress_vault_nobody;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vault TO regress_vault_nobody;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA vault TO regress_vault_nobody;
GRANT ALL ON SCHEMA vault TO regress_vault_nobody;
GRANT USAGE, CREATE ON SCHEMA vault TO regress_vault_nobody;
SET search_path = vault;
GRANT REFERENCES ON secrets TO regress_vault_nobody;
RESET search_path;
DO $$ BEGIN EXECUTE 'GRANT REFERENCES ON vault.secrets TO regress_vault_nobody'; END $$;
CREATE SCHEMA regress_vault_other GRANT REFERENCES ON vault.secrets TO regress_vault_nobody;
SELECT DISTINCT c.oid::regclass FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'vault'::regnamespace AND x.grantee <> c.relowner;
-- what takes back, and what is of use, is not
REVOKE ALL ON vault.secrets FROM regress_vault_nobody;
REVOKE ALL ON ALL TABLES IN SCHEMA vault FROM regress_vault_nobody;
GRANT USAGE ON SCHEMA vault TO regress_vault_nobody;
GRANT SELECT ON pg_class TO regress_vault_nobody;
REVOKE SELECT ON pg_class FROM regress_vault_nobody;
SET ROLE regress_vault_nobody;
SET hyperion_vault.allow_unsafe_grants = on;
RESET ROLE;

-- where it was allowed all the same, no row is shown, changed or added
SET hyperion_vault.allow_unsafe_grants = on;
GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON ALL TABLES IN SCHEMA vault TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
SELECT count(*) FROM vault.secrets;
SELECT count(*) FROM vault.secret_versions;
SELECT count(*) FROM vault.tokens;
SELECT count(*) FROM vault.access_grants;
SELECT count(*) FROM vault.audit_log;
COPY vault.secret_versions TO stdout;
SELECT * FROM vault.secrets FOR UPDATE;
SELECT count(*) FROM pg_stats WHERE schemaname = 'vault';
SET row_security = off;
SELECT name FROM vault.secrets;
RESET row_security;
-- a condition is not shown the rows either
CREATE FUNCTION pg_temp.tell(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
$$ BEGIN RAISE NOTICE 'leaked: %', what; RETURN true; END $$;
SELECT name FROM vault.secrets WHERE pg_temp.tell(name);
INSERT INTO vault.secrets (id, name, kind, content_type, current_version, created_at, updated_at)
VALUES (uuid(902), 'priv/forged', 'manual', 'text/plain', 1, now(), now());
INSERT INTO vault.secret_versions
VALUES (uuid(901), 2, 1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 17), 'hex'), now());
INSERT INTO vault.tokens VALUES (uuid(902), 'forged', decode(repeat('99', 32), 'hex'), now(), NULL, NULL, 'regress_vault_nobody', DEFAULT, 'token', NULL, NULL, NULL, false, NULL, NULL);
INSERT INTO vault.access_grants VALUES ('regress_vault_nobody', '*', 'read', now(), 'stranger');
INSERT INTO vault.audit_log (at, node, actor, action, outcome) VALUES (now(), 'here', 'stranger', 'read', 'ok');
INSERT INTO vault.audit_log (id, at, node, actor, action, outcome) VALUES (1, now(), 'here', 'stranger', 'read', 'ok');
INSERT INTO vault.audit_numbering (timeline, base) VALUES (1, 9223372036854775807);
WITH x AS (UPDATE vault.audit_numbering SET base = 9223372036854775807 RETURNING 1) SELECT count(*) FROM x;
WITH x AS (UPDATE vault.secrets SET name = 'priv/moved' RETURNING 1) SELECT count(*) FROM x;
WITH x AS (UPDATE vault.access_grants SET pattern = '*' RETURNING 1) SELECT count(*) FROM x;
WITH x AS (DELETE FROM vault.secret_versions RETURNING 1) SELECT count(*) FROM x;
WITH x AS (DELETE FROM vault.audit_log RETURNING 1) SELECT count(*) FROM x;
WITH x AS (DELETE FROM vault.tokens RETURNING 1) SELECT count(*) FROM x;
-- whether a name is taken cannot be found out by trying to take it
INSERT INTO vault.secrets (id, name, kind, content_type, current_version, created_at, updated_at)
VALUES (uuid(902), 'priv/one', 'manual', 'text/plain', 1, now(), now()) ON CONFLICT DO NOTHING;

-- GRANT EXECUTE of the parts that decide and store: they have no rights but the caller's
RESET ROLE;
RESET hyperion_vault.allow_unsafe_grants;
REVOKE ALL ON ALL TABLES IN SCHEMA vault FROM regress_vault_nobody;
SELECT count(*) > 50 FROM (
    SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND NOT p.prosecdef) f;
DO $$
DECLARE
    entry regprocedure;
BEGIN
    FOR entry IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND NOT p.prosecdef LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO regress_vault_nobody', entry);
    END LOOP;
END
$$;
SET ROLE regress_vault_nobody;
SELECT try('SELECT vault.read_secret(''priv/one'')');
SELECT try('SELECT vault.read_secret(''priv/none'')');
SELECT try('SELECT vault.delete_secret(''priv/one'', NULL)');
SELECT try('SELECT vault.may(''regress_vault_nobody''::regrole, ''read'', ''priv/one'')');
SELECT try('SELECT vault.sealed_for(10, ''read'', ''priv/one'', NULL)');
SELECT try('SELECT vault.lock_for(''priv/one'', NULL)');
SELECT try('SELECT vault.list_for(10, '''')');
SELECT try('SELECT vault.insert_version(jsonb_populate_record(NULL::vault.secrets, ''{"current_version": 2}''), '
           'ROW(1, ''k'', ''\x01'', decode(repeat(''ab'', 24), ''hex''), decode(repeat(''cd'', 17), ''hex''))::vault.sealed_value, now())');
SELECT try('SELECT vault.delete_versions_of(NULL, ''{1}'', now())');
SELECT try('SELECT vault.guard_drop()');
RESET ROLE;
DROP OWNED BY regress_vault_nobody;

-- roles that may read or write every table of the cluster see nothing, and write nothing
GRANT pg_read_all_data TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
SELECT count(*) FROM vault.secret_versions;
SELECT try('SELECT vault.read_sealed(''{priv/one}'', NULL)');
RESET ROLE;
GRANT pg_write_all_data TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
INSERT INTO vault.access_grants VALUES ('regress_vault_nobody', '*', 'read', now(), 'stranger');
WITH x AS (DELETE FROM vault.secret_versions RETURNING 1) SELECT count(*) FROM x;
SELECT try('LOCK TABLE vault.secrets IN ACCESS EXCLUSIVE MODE');
SELECT try('LOCK TABLE vault.audit_log IN ROW SHARE MODE');
CREATE TEMP VIEW mine AS SELECT FROM (SELECT FROM vault.secrets) s;
CREATE TEMP VIEW mine_twice AS SELECT FROM mine;
SELECT try('LOCK TABLE mine_twice IN EXCLUSIVE MODE');
DROP VIEW mine_twice, mine;
RESET ROLE;

-- and all is as it was
SELECT name, current_version FROM vault.describe_secrets('priv/', '', 10);
SELECT name, version, length(ciphertext) FROM vault.read_sealed('{priv/one}', NULL);
SELECT name FROM vault.active_tokens();
SELECT grantee, pattern, action FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION';
SELECT gone(901, 1);
DELETE FROM vault.tokens WHERE name = 'priv';
SELECT vault.revoke_access('pg_monitor', 'priv/*', '{read}');
DROP ROLE regress_vault_nobody;
