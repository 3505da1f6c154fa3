--
-- AGENT_AWAY: the settings, and what is left without a key agent: a clear error, and nothing changed.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL
LOAD 'hyperion_vault';
SET log_statement = 'none';
SET log_min_duration_statement = -1;

CREATE ROLE regress_vault_app;
SELECT vault.grant_access('regress_vault_app', 'away/*', '{create,read,update,delete,rotate,verify}');
SELECT put(101, 'away/a');
SELECT put(102, 'away/auto', kind => 'automatic', rotation => 3600);
SELECT next(101, 1, grace => 3600);

--
-- settings: good
--
SET hyperion_vault.agent_socket = '/no/such/agent.sock';
SHOW hyperion_vault.agent_socket;
SELECT set_config('hyperion_vault.agent_socket', '/' || repeat('s', 106), false) = '/' || repeat('s', 106);
SET hyperion_vault.agent_timeout_ms = '2s';
SHOW hyperion_vault.agent_timeout_ms;
SET hyperion_vault.agent_timeout_ms = 600000;
SET hyperion_vault.agent_timeout_ms = 1;
SET hyperion_vault.max_value_bytes = '1MB';
SHOW hyperion_vault.max_value_bytes;
SET hyperion_vault.max_value_bytes = 1;
SET hyperion_vault.allow_drop_with_secrets = on;
RESET hyperion_vault.agent_timeout_ms;
RESET hyperion_vault.max_value_bytes;
RESET hyperion_vault.allow_drop_with_secrets;

-- settings: wrong. From version 17 on the range has its units.
CREATE FUNCTION pg_temp.plain(message text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(message, '\((\d+) \w+ \.\. (\d+) \w+\)', '(\1 .. \2)') $$;
SELECT try('SET hyperion_vault.agent_socket = ''''');
SELECT try('SET hyperion_vault.agent_socket = ''agent.sock''');
SELECT try('SET hyperion_vault.agent_socket = ''@agent''');
SELECT try(format('SET hyperion_vault.agent_socket = %L', '/' || repeat('s', 107)));
SELECT pg_temp.plain(try('SET hyperion_vault.agent_timeout_ms = 0'));
SELECT pg_temp.plain(try('SET hyperion_vault.agent_timeout_ms = -1'));
SELECT pg_temp.plain(try('SET hyperion_vault.agent_timeout_ms = 600001'));
SELECT try('SET hyperion_vault.agent_timeout_ms = ''soon''');
SELECT pg_temp.plain(try('SET hyperion_vault.max_value_bytes = 0'));
SELECT pg_temp.plain(try('SET hyperion_vault.max_value_bytes = 1048577'));
SELECT pg_temp.plain(try('SET hyperion_vault.max_value_bytes = ''2MB'''));
SELECT try('SET hyperion_vault.allow_drop_with_secrets = perhaps');
-- a slip of the pen
SELECT try('SET hyperion_vault.agent_sokket = ''/x''');
SELECT try('SET hyperion_vault.rotation = on');

-- settings are not for an ordinary role: who chose the socket would choose the keys
SET ROLE regress_vault_app;
SELECT try('SET hyperion_vault.agent_socket = ''/tmp/mine''');
SELECT try('SET LOCAL hyperion_vault.agent_socket = ''/tmp/mine''');
SELECT try('RESET hyperion_vault.agent_socket');
SELECT try('SELECT set_config(''hyperion_vault.agent_socket'', ''/tmp/mine'', true)');
SELECT try('ALTER ROLE regress_vault_app SET hyperion_vault.agent_socket = ''/tmp/mine''');
SELECT try('CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET hyperion_vault.agent_socket = ''/tmp/mine'' AS ''SELECT 1''');
SELECT try('SET hyperion_vault.agent_timeout_ms = 1');
SELECT try('SET hyperion_vault.max_value_bytes = 1048576');
SELECT try('SET hyperion_vault.allow_drop_with_secrets = on');
SELECT left(try('SHOW hyperion_vault.agent_socket'), 5);
SHOW hyperion_vault.max_value_bytes;
SELECT name FROM pg_settings WHERE name LIKE 'hyperion\_vault.%' ORDER BY 1;
RESET ROLE;

--
-- no such socket
--
SET hyperion_vault.agent_socket = '/no/such/agent.sock';
SET ROLE regress_vault_app;
SELECT vault.read_secret('away/a');
SELECT try('SELECT vault.read_secret(''away/a'', 1)');
SELECT try('SELECT vault.read_secret_bytes(''away/a'')');
SELECT try('SELECT vault.verify(''away/a'', ''x'')');
SELECT try('SELECT vault.verify(''away/a'', NULL)');
SELECT try('SELECT vault.verify(''away/a'', ''\x00''::bytea)');
SELECT try('SELECT vault.create_secret(''away/new'', ''x'')');
SELECT try('SELECT vault.create_secret(''away/new'', NULL, ''automatic'', rotation_interval_secs => 60)');
SELECT try('SELECT vault.create_secret(''away/new'', ''\x00''::bytea)');
SELECT try('SELECT vault.update_secret(''away/a'', ''x'', 2)');
SELECT try('SELECT vault.update_secret(''away/a'', ''\x00''::bytea, NULL)');
SELECT try('SELECT vault.rotate_secret(''away/auto'')');
SELECT try('SELECT vault.list_secrets()');
SELECT try('SELECT count(*) FROM vault.list_secrets(''away/'')');
-- what needs no key is decided first, with the same error as ever; that it cannot be recorded is said in the log
SELECT try('SELECT vault.read_secret(''other/a'')');
SELECT try('SELECT vault.read_secret(''away/none'')');
SELECT try('SELECT vault.read_secret(''..'')');
SELECT try('SELECT vault.update_secret(''away/a'', ''x'', 1)');
SELECT try('SELECT vault.rotate_secret(''away/a'')');
SET client_min_messages = 'log';
SELECT vault.read_secret('other/a');
SELECT vault.read_secret('away/none');
-- but not twice: an agent that is away is the error itself
SELECT vault.read_secret('away/a');
RESET client_min_messages;
RESET ROLE;

--
-- something is there: no socket, nothing for us, nothing below it
--
SET hyperion_vault.agent_socket = '/dev/null';
SELECT try('SELECT vault.read_secret(''away/a'')');
SET hyperion_vault.agent_socket = '/etc/passwd';
SELECT try('SELECT vault.read_secret(''away/a'')');
SET hyperion_vault.agent_socket = '/dev/null/agent.sock';
SELECT try('SELECT vault.read_secret(''away/a'')');
SET hyperion_vault.agent_socket = '/no/such/agent.sock';

--
-- the backend lives on, the transaction can go on, and nothing was changed
--
BEGIN;
SAVEPOINT before;
SELECT vault.create_secret('away/new', 'x');
ROLLBACK TO before;
SELECT put(103, 'away/by-hand');
COMMIT;
SELECT name, current_version FROM vault.describe_secrets('away/', '', 10);
SELECT version FROM vault.describe_versions('away/a');
SELECT action, secret_name, version, outcome, code, actor FROM vault.audit('away/') WHERE action <> 'audit' ORDER BY at, id;
-- to destroy needs no key
SET ROLE regress_vault_app;
SELECT vault.delete_secret('away/a', 1);
SELECT vault.delete_secret('away/a', 2);
SELECT vault.delete_secret('away/auto', NULL);
SELECT vault.delete_secret('away/by-hand', NULL);
SELECT vault.delete_secret('away/by-hand', NULL);
RESET ROLE;
SELECT action, secret_name, version, outcome, code, actor = 'role:regress_vault_app', session_role = session_user
FROM vault.audit('away/') WHERE action = 'delete' ORDER BY at, id;

SELECT vault.revoke_access('regress_vault_app', 'away/*', '{create,read,update,delete,rotate,verify}');
DROP ROLE regress_vault_app;
