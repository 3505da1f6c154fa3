--
-- SETUP: the extension in a fresh database: what it makes, to whom it belongs, what it refuses to start from.
-- Runs first: it also makes what the other tests lean on.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

-- Output must not depend on how the server is set up. pg_regress sees to that only for databases that it makes itself.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET lc_messages = 'C';
ALTER DATABASE :"db" SET timezone = 'UTC';
ALTER DATABASE :"db" SET bytea_output = 'hex';
ALTER DATABASE :"db" SET client_min_messages = 'notice';
-- A run that broke off leaves roles behind: they belong to the whole cluster.
SET client_min_messages = 'warning';
DROP DATABASE IF EXISTS regress_vault_fresh WITH (FORCE);
DO $$
DECLARE
    leftover text;
BEGIN
    FOR leftover IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress\_vault\_%' LOOP
        EXECUTE format('DROP OWNED BY %I', leftover);
        EXECUTE format('DROP ROLE %I', leftover);
    END LOOP;
END
$$;
RESET client_min_messages;

-- try: what becomes of a statement, in one text.
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    broken text;
BEGIN
    EXECUTE statement;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                            hint = PG_EXCEPTION_HINT, broken = CONSTRAINT_NAME;
    RETURN concat_ws(E'\n', state || ': ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''),
                     'CONSTRAINT: ' || nullif(broken, ''));
END
$$;
-- await_audit: returns when everything that was recorded by the key agent is in the audit log. Records of one node arrive
-- in their order, so it makes one more and waits for that.
CREATE FUNCTION await_audit() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    mark text := 'await/' || gen_random_uuid();
BEGIN
    BEGIN
        PERFORM vault.read_secret(mark);
    EXCEPTION WHEN undefined_object THEN NULL;
    END;
    FOR i IN 1..3000 LOOP
        IF EXISTS (SELECT FROM vault.audit_log l WHERE l.secret_name = mark) THEN
            RETURN 'arrived';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'the audit records did not arrive within 30 s';
END
$$;
-- uuid: the n-th id.
CREATE FUNCTION uuid(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
-- put: creates a secret on the sealed path, from bytes by hand.
CREATE FUNCTION put(n integer, name text, kind text DEFAULT 'manual',
    content_type text DEFAULT 'text/plain; charset=utf-8', description text DEFAULT '', tags text DEFAULT '{}',
    rotation bigint DEFAULT NULL, grace bigint DEFAULT 0, policy text DEFAULT NULL, envelope integer DEFAULT 1,
    key_id text DEFAULT 'local:k', dek bytea DEFAULT '\x01', nonce bytea DEFAULT decode(repeat('ab', 24), 'hex'),
    ciphertext bytea DEFAULT decode(repeat('cd', 17), 'hex'), schedule text DEFAULT NULL, zone text DEFAULT NULL,
    open_secs bigint DEFAULT NULL, paused boolean DEFAULT NULL, keep integer DEFAULT NULL,
    version bigint DEFAULT 1) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.create_secret(%L, %L, %L, ROW(%L, %L, %L, %L, %L)::vault.sealed_value, %L, %L, '
                      'ROW(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L)::vault.secret_settings, '
                      'ROW(''here'', ''token:ci'', NULL, ''192.0.2.7'', ''req-%s''))',
                      uuid(n), name, version, envelope, key_id, dek, nonce, ciphertext, kind, content_type, description, tags,
                      rotation, schedule, zone, open_secs, paused, grace, keep, policy, n))
$$;
-- next: appends a version on the sealed path.
CREATE FUNCTION next(n integer, expected bigint, action text DEFAULT 'update', description text DEFAULT NULL,
    tags text DEFAULT NULL, grace bigint DEFAULT NULL, fill text DEFAULT 'ee', ciphertext bytea DEFAULT NULL,
    reschedule boolean DEFAULT false) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.append_version(%L, %L, ROW(1, ''local:k'', %L, %L, %L)::vault.sealed_value, %L, '
                      'ROW(%L, %L, NULL, NULL, NULL, NULL, NULL, %L, NULL, NULL)::vault.secret_settings, %L, '
                      'ROW(''here'', ''token:ci'', NULL, ''2001:db8::7'', ''req-%s''))',
                      uuid(n), expected, decode(fill, 'hex'), decode(repeat(fill, 24), 'hex'),
                      coalesce(ciphertext, decode(repeat(fill, 20), 'hex')), action, description, tags, grace,
                      reschedule, n))
$$;
-- gone: deletes a secret on the sealed path.
CREATE FUNCTION gone(n integer, expected bigint) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.delete_secret(%L, %L, ROW(''here'', ''token:ci'', NULL, NULL, ''req-%s''))',
                      uuid(n), expected, n))
$$;

--
-- What CREATE EXTENSION refuses. The role vault_owner is the cluster's, hence the transactions.
--
CREATE DATABASE regress_vault_fresh TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
ALTER DATABASE regress_vault_fresh SET lc_messages = 'C';
CREATE ROLE regress_vault_friend;
GRANT CREATE ON DATABASE regress_vault_fresh TO regress_vault_friend;
\c regress_vault_fresh

-- the installer is no superuser
SET ROLE regress_vault_friend;
SET client_min_messages = error; CREATE EXTENSION hyperion_vault; RESET client_min_messages;  -- it warns where nothing rotates
RESET ROLE;

-- vault_owner could be logged in as, or holds an attribute, which the library refuses where it is loaded
SET hyperion_vault.allow_unsafe_grants = on;
BEGIN;
ALTER ROLE vault_owner LOGIN;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
ALTER ROLE vault_owner SUPERUSER;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
ALTER ROLE vault_owner CREATEDB;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
ALTER ROLE vault_owner CREATEROLE;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
ALTER ROLE vault_owner REPLICATION;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
ALTER ROLE vault_owner BYPASSRLS;
CREATE EXTENSION hyperion_vault;
ROLLBACK;

-- a role is its member, or it is a member of a role
BEGIN;
GRANT vault_owner TO regress_vault_friend;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
GRANT pg_read_server_files TO vault_owner;
CREATE EXTENSION hyperion_vault;
ROLLBACK;
RESET hyperion_vault.allow_unsafe_grants;

-- a schema of that name was there first
BEGIN;
CREATE SCHEMA vault AUTHORIZATION regress_vault_friend;
CREATE EXTENSION hyperion_vault;
ROLLBACK;

-- the schema is not a matter of choice
CREATE EXTENSION hyperion_vault SCHEMA public;

-- nothing of all that stayed behind
SELECT count(*) FROM pg_extension WHERE extname = 'hyperion_vault';
SELECT count(*) FROM pg_namespace WHERE nspname = 'vault';

--
-- What it makes, even by an installer whose default privileges give everything away
--
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, regress_vault_friend;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, regress_vault_friend;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC, regress_vault_friend;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO PUBLIC, regress_vault_friend;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, regress_vault_friend;
SET client_min_messages = error; CREATE EXTENSION hyperion_vault; RESET client_min_messages;  -- it warns where nothing rotates
ALTER EXTENSION hyperion_vault SET SCHEMA public;

-- privileges of any role but the owner, on anything: what vault_admin and vault_anonymous begin with
SELECT 'function', p.oid::regprocedure, p.proacl FROM pg_proc p
WHERE p.pronamespace = 'vault'::regnamespace AND p.proacl IS DISTINCT FROM '{vault_owner=X/vault_owner}'
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT 'relation', c.oid::regclass, x.grantee::regrole, x.privilege_type FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'vault'::regnamespace AND x.grantee <> c.relowner;
SELECT 'column', a.attrelid::regclass, a.attname, a.attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'vault'::regnamespace AND a.attacl IS NOT NULL;
SELECT 'type', t.oid::regtype, x.grantee::regrole, x.privilege_type
FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c',
     aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) x
WHERE t.typnamespace = 'vault'::regnamespace AND x.grantee <> t.typowner;
SELECT 'schema', x.grantee::regrole, x.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) x
WHERE n.nspname = 'vault' AND x.grantee <> n.nspowner;
-- while the owner holds all there is to hold
SELECT 'schema', string_agg(x.privilege_type, ',' ORDER BY x.privilege_type) FROM pg_namespace n, aclexplode(n.nspacl) x
WHERE n.nspname = 'vault' AND x.grantee = n.nspowner GROUP BY n.nspname;
SELECT c.relkind, string_agg(DISTINCT x.privilege_type, ',' ORDER BY x.privilege_type)
FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) x
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p', 'S') AND x.grantee = c.relowner
  AND x.privilege_type <> 'MAINTAIN' GROUP BY c.relkind;  -- not before version 17

-- the owner: of everything, and without any attribute, password, member or membership
SELECT rolname, rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
       rolpassword IS NULL AS no_password, rolconnlimit, rolvaliduntil
FROM pg_authid WHERE rolname = 'vault_owner' \gx
SELECT count(*) FROM pg_auth_members WHERE 'vault_owner'::regrole IN (roleid, member);
SELECT d.classid::regclass, pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hyperion_vault')
  AND NOT EXISTS (SELECT FROM pg_shdepend s WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
                  AND s.refobjid = 'vault_owner'::regrole)
  -- from version 17 on row types of tables and arrays are members too; they have the owner of what they are types of
  AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
      SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.oid = d.objid AND t.typowner = 'vault_owner'::regrole AND (c.relkind IN ('r', 'p') OR t.typcategory = 'A')))
ORDER BY 2;
-- everything in the schema is the extension's
SELECT pg_describe_object(o.classid, o.oid, 0) FROM (
    SELECT 'pg_proc'::regclass AS classid, oid FROM pg_proc WHERE pronamespace = 'vault'::regnamespace
    UNION ALL SELECT 'pg_class', oid FROM pg_class WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'p')
    UNION ALL SELECT 'pg_type', oid FROM pg_type WHERE typnamespace = 'vault'::regnamespace AND typtype <> 'c' AND typelem = 0) o
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e');

-- row security, and its one policy, on every table
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, p.polname, p.polpermissive, p.polcmd, p.polroles::regrole[],
       pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)
FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c', 'S', 't') ORDER BY 1, 4;
-- what a dump leaves out: what belongs to this cluster's transactions and supervisor
SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'S')
  AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'hyperion_vault' AND c.oid = ANY (e.extconfig))
ORDER BY c.oid::regclass::text COLLATE "C";

-- tables and their rules; Go branches on the names of constraints. The parts of the audit log are all like the first one.
SELECT count(*), count(DISTINCT d.definition) FROM (
    SELECT replace(string_agg(concat_ws('|', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull), ' ' ORDER BY a.attnum)
           || (SELECT string_agg(concat_ws('|', k.conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY k.conname)
               FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n')
           || (SELECT string_agg(pg_get_indexdef(i.indexrelid), ' ' ORDER BY i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid),
           c.relname, 'part')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'vault'::regnamespace AND c.relname ~ '^audit_log_[0-9]+$' GROUP BY c.oid, c.relname) d (definition);
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
       pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, '')
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname !~ '^audit_log_[1-9]' ORDER BY c.relname, a.attnum;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'vault'::regnamespace AND contype <> 'n' AND conrelid::regclass::text !~ 'audit_log_[1-9]' ORDER BY conrelid::regclass::text COLLATE "C", conname COLLATE "C";
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'vault'::regnamespace AND c.relname !~ '^audit_log_[1-9]' ORDER BY c.relname COLLATE "C";
-- composite types
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'c' GROUP BY c.relname ORDER BY 1;

-- functions: name, result, language, whose rights, volatility, parallel safety, strictness
SELECT p.oid::regprocedure, pg_get_function_result(p.oid), l.lanname,
       CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END, p.provolatile, p.proparallel, p.proisstrict
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'vault'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
-- with the owner's rights, but without a pinned search_path, or at the mercy of the session's row_security: none
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'vault'::regnamespace AND p.prosecdef
  AND NOT coalesce(p.proconfig @> '{"search_path=pg_catalog, pg_temp",row_security=on}', false);
-- without a comment: none
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass)
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hyperion_vault')
  AND obj_description(d.objid, 'pg_proc') IS NULL;
-- the event trigger
SELECT evtname, evtevent, evtenabled, array_to_string(evttags, ', ') FROM pg_event_trigger;

-- the settings, and who may set them
LOAD 'hyperion_vault';
SELECT name, vartype, unit, boot_val, min_val, max_val,
       -- it cannot belong to the start of a server that does not preload the library
       CASE WHEN name = 'hyperion_vault.database' THEN replace(context, 'sighup', 'postmaster') ELSE context END, short_desc
FROM pg_settings
WHERE name LIKE 'hyperion\_vault.%' ORDER BY name;

-- the version is the one of the control file, the library and the Makefile
SELECT vault.extension_version() = default_version FROM pg_available_extensions WHERE name = 'hyperion_vault';

-- ready for use: no role and no row in it
SELECT grantee, pattern, action, granted_by FROM vault.access_list();
SELECT * FROM vault.list_tokens();
SELECT * FROM vault.describe_secrets('', '', 10);

\c :db
DROP DATABASE regress_vault_fresh;
DROP ROLE regress_vault_friend;
