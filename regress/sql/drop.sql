--
-- DROP: DROP EXTENSION would destroy every secret, so it is refused while there are any. Runs last.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL
SET client_min_messages = 'warning';  -- CASCADE lists what it takes along, in an order of its own
SET deadlock_timeout = '20s';  -- the API goes on meanwhile and locks in another order: let it be the one that gives way
-- the role of the API, to be let in again afterwards
SELECT x.grantee::regrole AS service FROM pg_proc p, aclexplode(p.proacl) x
WHERE p.oid = 'vault.active_tokens'::regproc AND x.grantee <> p.proowner \gset

-- without secrets it goes, and comes again
-- DROP and the records that arrive meanwhile want each other's locks: let them come first, here and below.
SELECT await_audit();
BEGIN;
DROP EXTENSION hyperion_vault;
SELECT count(*) FROM pg_namespace WHERE nspname = 'vault';
SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'hyperion%';
ROLLBACK;

-- one secret; every kind of statement is run once, so that the session has all their plans
SELECT vault.create_secret('drop/a', 'kept', generate_policy => '{}');
SELECT vault.update_secret('drop/a', 'kept too', 1);
SELECT vault.rotate_secret('drop/a') > 0, vault.update_secret('drop/a', 'kept as well', 3);
SELECT vault.verify('drop/a', 'kept as well'), vault.read_secret('drop/a');
SELECT name FROM vault.list_secrets();
SELECT await_audit();

-- the hook alone: this session has the library
DROP EXTENSION hyperion_vault;
DROP EXTENSION hyperion_vault CASCADE;
DROP EXTENSION IF EXISTS hyperion_vault;
DROP EXTENSION plpgsql CASCADE;
DROP LANGUAGE plpgsql CASCADE;
-- in a function, in a subtransaction, with row_security off
SELECT try('DROP EXTENSION hyperion_vault');
SET row_security = off;
DROP EXTENSION hyperion_vault;
RESET row_security;
-- a new session, whose first command it is
\c -
DROP EXTENSION hyperion_vault;
\c -
DROP LANGUAGE plpgsql CASCADE;
\c -
SET client_min_messages = 'warning';
-- parts of it do not go one by one, secrets or none
DROP SCHEMA vault;
DROP SCHEMA vault CASCADE;
DROP TABLE vault.secrets;
DROP TABLE vault.secret_versions CASCADE;
DROP FUNCTION vault.read_secret;
DROP TYPE vault.secret_info CASCADE;
DROP EVENT TRIGGER hyperion_vault_guard_drop;
SELECT try('DROP OWNED BY vault_owner') LIKE '2BP01: cannot drop % because extension hyperion_vault requires it%';
SELECT try('DROP OWNED BY vault_owner CASCADE') LIKE '2BP01: cannot drop % because extension hyperion_vault requires it%';
SELECT split_part(try('DROP ROLE vault_owner'), E'\n', 1);
-- all is there
SELECT vault.read_secret('drop/a'), vault.verify('drop/a', 'kept as well');
SELECT await_audit();
-- no other session's drops are in the way of it, nor it in theirs
CREATE SCHEMA mine;
CREATE FUNCTION mine.f(vault.secret_info) RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE VIEW mine.v AS SELECT * FROM vault.list_secrets();
DROP FUNCTION mine.f(vault.secret_info);
DROP SCHEMA mine CASCADE;
CREATE ROLE regress_vault_nobody;
SET ROLE regress_vault_nobody;
CREATE FUNCTION pg_temp.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION pg_temp.f();
DROP OWNED BY regress_vault_nobody;
DROP EXTENSION hyperion_vault;
RESET ROLE;
DROP ROLE regress_vault_nobody;

-- what was made in this transaction counts, what was deleted in it does not
SELECT vault.delete_secret('drop/a', 4);
BEGIN;
SELECT vault.create_secret('drop/b', 'x');
SAVEPOINT a;
DROP EXTENSION hyperion_vault;
ROLLBACK TO a;
SELECT vault.delete_secret('drop/b', 1);
SAVEPOINT b;
DROP EXTENSION hyperion_vault;
SELECT vault.create_secret('drop/c', 'x');
ROLLBACK TO b;
SELECT vault.create_secret('drop/c', 'x');
COMMIT;
SELECT vault.read_secret('drop/c');
SELECT await_audit();
-- a transaction that does not see what others made since it began, cannot know
BEGIN ISOLATION LEVEL REPEATABLE READ;
DROP EXTENSION hyperion_vault;
ROLLBACK;
SELECT vault.delete_secret('drop/c', 1);
BEGIN ISOLATION LEVEL SERIALIZABLE;
DROP EXTENSION hyperion_vault;
ROLLBACK;
SELECT vault.create_secret('drop/c', 'x');
-- where ordinary triggers do not fire, this one does
SET session_replication_role = replica;
DROP EXTENSION hyperion_vault;
RESET session_replication_role;
-- where it does not, what it saw before is worth nothing: the last DROP looked when there was no secret, or in the same statement
SELECT vault.delete_secret('drop/c', NULL);
SELECT await_audit();
BEGIN;
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION f() CASCADE;
ALTER EVENT TRIGGER hyperion_vault_guard_drop DISABLE;
SAVEPOINT a;
DROP EXTENSION hyperion_vault;
ROLLBACK TO a;
SELECT try('DO $$ BEGIN CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS ''SELECT 1''; '
           'ALTER EVENT TRIGGER hyperion_vault_guard_drop ENABLE; DROP FUNCTION f() CASCADE; '
           'ALTER EVENT TRIGGER hyperion_vault_guard_drop DISABLE; DROP EXTENSION hyperion_vault; END $$');
DROP EXTENSION plpgsql CASCADE;
ROLLBACK TO a;
SET LOCAL hyperion_vault.allow_drop_with_secrets = on;
DROP EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION f() CASCADE;
SELECT vault.create_secret('drop/e', 'x');
SELECT count(set_config(name, 'off', true)) <= 1 FROM pg_settings WHERE name = 'event_triggers';  -- from version 17 on
SELECT try('DROP EXTENSION hyperion_vault') LIKE '2BP01: cannot drop extension hyperion_vault: it%';
ROLLBACK;
-- where it does, the DROP of a user's event trigger is another one
CREATE FUNCTION mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN DROP FUNCTION IF EXISTS g(); END';
CREATE EVENT TRIGGER regress_vault_zz ON ddl_command_start WHEN TAG IN ('DROP EXTENSION') EXECUTE FUNCTION mine();
BEGIN;
SET LOCAL session_replication_role = replica;
ALTER EVENT TRIGGER regress_vault_zz ENABLE ALWAYS;
DROP EXTENSION hyperion_vault;
ROLLBACK;
CREATE OR REPLACE FUNCTION mine() RETURNS event_trigger LANGUAGE plpgsql AS
    'BEGIN ALTER EVENT TRIGGER hyperion_vault_guard_drop DISABLE; DROP EXTENSION hyperion_vault; END';
DROP EVENT TRIGGER regress_vault_zz;
CREATE EVENT TRIGGER regress_vault_zz ON ddl_command_start WHEN TAG IN ('DROP FUNCTION') EXECUTE FUNCTION mine();
SELECT try('DROP FUNCTION IF EXISTS no_such_function() CASCADE');
DROP EVENT TRIGGER regress_vault_zz;
DROP FUNCTION mine();
SELECT vault.create_secret('drop/c', 'x');
-- a session that drops something else keeps no other waiting
BEGIN;
DROP FUNCTION uuid(integer) CASCADE;
DROP EXTENSION IF EXISTS no_such_extension;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'vault.secrets'::regclass;
ROLLBACK;
-- who cannot drop it, does not even look
SELECT 'vault.secrets'::regclass::oid AS secrets \gset
CREATE ROLE regress_vault_nobody;
BEGIN;
SET LOCAL ROLE regress_vault_nobody;
DROP FUNCTION IF EXISTS no_such_function();
DROP FUNCTION IF EXISTS no_such_function() CASCADE;
DROP EXTENSION IF EXISTS no_such_extension CASCADE;
DROP OWNED BY regress_vault_nobody;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = :secrets;
RESET ROLE;
DROP FUNCTION IF EXISTS no_such_function();
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = :secrets;
ROLLBACK;
DROP ROLE regress_vault_nobody;

-- the setting says otherwise, for this session or transaction
BEGIN;
SET LOCAL hyperion_vault.allow_drop_with_secrets = on;
DROP EXTENSION hyperion_vault CASCADE;
SELECT count(*) FROM pg_namespace WHERE nspname = 'vault';
ROLLBACK;
DROP EXTENSION hyperion_vault;
SELECT vault.read_secret('drop/c');

-- gone permanently, and made again. Plans of before must not be used on what is no longer the same.
SET hyperion_vault.allow_drop_with_secrets = on;
DROP EXTENSION hyperion_vault;
RESET hyperion_vault.allow_drop_with_secrets;
SELECT vault.read_secret('drop/c');
SET client_min_messages = error; CREATE EXTENSION hyperion_vault; RESET client_min_messages;  -- it warns where nothing rotates
SELECT vault.grant_service_role(:'service') \g /dev/null
SELECT try('SELECT vault.read_secret(''drop/c'')');
SELECT name FROM vault.list_secrets();
SELECT vault.create_secret('drop/d', 'new', generate_policy => '{}');
SELECT vault.update_secret('drop/d', 'newer', 1), vault.read_secret('drop/d'), vault.verify('drop/d', 'newer'), vault.rotate_secret('drop/d');
SELECT name, current_version FROM vault.list_secrets();
SELECT await_audit();
DROP EXTENSION hyperion_vault;
SELECT vault.delete_secret('drop/d', 3);
SELECT await_audit();
SELECT action, secret_name, version, outcome, code FROM vault.audit('drop/') WHERE action <> 'audit' ORDER BY at, id;
-- what can be restored keeps it, and what no longer can does not
BEGIN;
SET LOCAL hyperion_vault.deleted_retention_days = 1;
SELECT vault.create_secret('drop/e', 'restorable') > 0, vault.delete_secret('drop/e', 1);
SAVEPOINT restorable;
DROP EXTENSION hyperion_vault;
ROLLBACK TO restorable;
UPDATE vault.secrets SET restorable_until = clock_timestamp() WHERE name = 'drop/e';
DROP EXTENSION hyperion_vault;
ROLLBACK;
BEGIN;
SET LOCAL hyperion_vault.deleted_retention_days = 1;
SELECT vault.create_secret('drop/f', 'restorable') > 0, vault.delete_secret('drop/f', 1);
SELECT count(vault.destroy_deleted_secret(id)) FROM vault.list_deleted_secrets();
DROP EXTENSION hyperion_vault;
ROLLBACK;
DROP EXTENSION hyperion_vault;
-- the role stays: it is the cluster's, and other databases may have the extension
SELECT count(*) FROM pg_roles WHERE rolname = 'vault_owner';
-- without the extension, a session that has the library is like any other
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION f();
SET client_min_messages = error; CREATE EXTENSION hyperion_vault; RESET client_min_messages;  -- it warns where nothing rotates
