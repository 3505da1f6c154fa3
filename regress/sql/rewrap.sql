--
-- REWRAP: moving wrapped data keys to another master key.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
SELECT vault.grant_service_role('regress_vault_service');
-- move: whether version v of secret n was moved from one wrapped key to another
CREATE FUNCTION move(n integer, v bigint, old_key text, old_dek bytea, new_key text, new_dek bytea) RETURNS boolean LANGUAGE sql AS $$
    SELECT vault.rewrap_version(uuid(n), v, old_key, old_dek, new_key, new_dek, ROW('here', 'token:ci', NULL, NULL, 'r1')::vault.audit_origin)
$$;
CREATE FUNCTION listed(current_key text, after_id uuid, after_version bigint, page_size integer)
RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s %s %s %s %s', secret_id, name, version, kms_key_id, wrapped_dek)
    FROM vault.list_wrapped(current_key, after_id, after_version, page_size)
$$;
CREATE FUNCTION store(n integer, name text, key text, dek bytea) RETURNS bigint LANGUAGE sql AS $$
    SELECT current_version FROM vault.create_secret(uuid(n), name, 1, ROW(1, key, dek, decode(repeat('ab', 24), 'hex'),
        decode(repeat('cd', 17), 'hex'))::vault.sealed_value, 'manual', 'text/plain; charset=utf-8',
        ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3600, NULL, NULL)::vault.secret_settings, ROW('here', 'token:ci', NULL, NULL, NULL)::vault.audit_origin)
$$;
SET ROLE regress_vault_service;

--
-- good
--
SELECT store(401, 'rewrap/a', 'old', '\x01'), store(402, 'rewrap/b', 'old', '\x02'), store(403, 'rewrap/c', 'new', '\x03');
SELECT current_version FROM vault.append_version(uuid(401), 1, ROW(1, 'older', '\x04', decode(repeat('ef', 24), 'hex'),
    decode(repeat('ef', 18), 'hex'))::vault.sealed_value, 'update', NULL, false, ROW('here', 'token:ci', NULL, NULL, NULL)::vault.audit_origin);
SELECT current_key, c.* FROM (VALUES ('new'), ('old'), ('other')) k(current_key), vault.count_wrapped(current_key) c;
-- by secret and version, page by page; what is under the current key is not listed
SELECT listed('new', NULL, NULL, 1000);
SELECT listed('new', NULL, NULL, 2);
SELECT listed('new', uuid(401), 2, 2);
SELECT listed('new', uuid(402), 1, 2);
-- a superseded version moves as the current one does, and nothing else of it changes
SELECT move(401, 1, 'old', '\x01', 'new', '\x11'), move(401, 2, 'older', '\x04', 'new', '\x14');
SELECT version, kms_key_id, wrapped_dek, length(nonce), length(ciphertext), expires_at IS NULL FROM vault.read_verifiable('rewrap/a');
SELECT current_version, updated_at > created_at FROM vault.describe_secret('rewrap/a');
SELECT listed('new', NULL, NULL, 1000);

--
-- odd: it was moved, replaced or deleted meanwhile
--
SELECT move(401, 1, 'old', '\x01', 'new', '\x21');
SELECT move(402, 1, 'older', '\x02', 'new', '\x12'), move(402, 1, 'old', '\x00', 'new', '\x12'), move(402, 2, 'old', '\x02', 'new', '\x12');
SELECT vault.delete_secret(uuid(402), 1, ROW('here', 'token:ci', NULL, NULL, NULL)::vault.audit_origin);
SELECT move(402, 1, 'old', '\x02', 'new', '\x12'), move(499, 1, 'old', '\x02', 'new', '\x12');
SELECT * FROM vault.count_wrapped('new') UNION ALL SELECT * FROM vault.count_wrapped(NULL);

--
-- wrong
--
SELECT try($$SELECT move(403, 1, 'new', '\x03', '', '\x13')$$);
SELECT try($$SELECT move(403, 1, 'new', '\x03', 'next', '')$$);
SELECT try($$SELECT move(403, 1, 'new', '\x03', NULL, '\x13')$$);
SELECT try('SELECT count(*) FROM vault.list_wrapped(''new'', NULL, NULL, 0)');
SELECT try('SELECT count(*) FROM vault.list_wrapped(''new'', NULL, NULL, 1001)');
SELECT try('SELECT count(*) FROM vault.list_wrapped(''new'', NULL, NULL, NULL)');
RESET ROLE;
-- each move has left one record
SELECT actor, action, secret_name, version, outcome, code, request_id FROM vault.audit_log
WHERE action = 'rewrap' AND secret_name LIKE 'rewrap/%' ORDER BY id;
-- no other role may
CREATE ROLE regress_vault_other;
GRANT USAGE ON SCHEMA vault TO regress_vault_other;
SET ROLE regress_vault_other;
SELECT try($$SELECT move(403, 1, 'new', '\x03', 'mine', '\x13')$$);
SELECT try('SELECT count(*) FROM vault.list_wrapped(''x'', NULL, NULL, 10)'), try('SELECT vault.count_wrapped(''x'')');
RESET ROLE;

SELECT count(*) FROM vault.describe_secrets('rewrap/', '', 1000) s,
    vault.delete_secret(s.id, s.current_version, ROW('here', 'regress', NULL, NULL, NULL)::vault.audit_origin);
DROP FUNCTION move(integer, bigint, text, bytea, text, bytea), listed(text, uuid, bigint, integer), store(integer, text, text, bytea);
SELECT vault.revoke_service_role('regress_vault_service');
REVOKE USAGE ON SCHEMA vault FROM regress_vault_other;
DROP ROLE regress_vault_service, regress_vault_other;
