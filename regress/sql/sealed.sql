--
-- SEALED: the path of the API's login role. Values come and go sealed; here their bytes are made up by hand, since
-- nothing on this path opens them.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
SELECT vault.grant_service_role('regress_vault_service');
SET ROLE regress_vault_service;

--
-- good: create, and what is then known of the secret
--
SELECT id, name, kind, content_type, description, tags, rotation_interval_secs, grace_period_secs, generate_policy,
       current_version, next_rotation_at, created_at <= clock_timestamp(), created_at = updated_at
FROM vault.create_secret(uuid(1), 'sealed/a', 1, ROW(1, 'local:k', '\x01', decode(repeat('ab', 24), 'hex'),
         decode(repeat('cd', 17), 'hex'))::vault.sealed_value, 'manual', 'text/plain; charset=utf-8',
         ROW('the first', '{"team": "core"}', NULL, NULL, NULL, NULL, NULL, 3600, NULL, NULL)::vault.secret_settings,
         ROW('here', 'token:ci', NULL, '192.0.2.7', 'req-1')::vault.audit_origin);
SELECT secret_id, name, content_type, kind, current_version, version, envelope_version, kms_key_id, wrapped_dek, nonce,
       ciphertext, created_at <= clock_timestamp(), expires_at
FROM vault.read_sealed('{sealed/a}', NULL);
-- null settings are defaults
SELECT description, tags, grace_period_secs
FROM vault.create_secret(uuid(2), 'sealed/b', 1, ROW(1, 'local:k', '\x02', decode(repeat('ab', 24), 'hex'),
         decode(repeat('cd', 1048592), 'hex'))::vault.sealed_value, 'manual', 'application/octet-stream', NULL,
         ROW('here', 'token:ci', NULL, NULL, NULL)::vault.audit_origin);
-- an automatic one: due one interval after it was made
SELECT kind, rotation_interval_secs, grace_period_secs, generate_policy, next_rotation_at - created_at
FROM vault.create_secret(uuid(3), 'sealed/c', 1, ROW(1, 'local:k', '\x03', decode(repeat('ab', 24), 'hex'),
         decode(repeat('cd', 17), 'hex'))::vault.sealed_value, 'automatic', 'text/plain; charset=utf-8',
         ROW('', '{}', 86400, NULL, NULL, NULL, NULL, 3600, NULL, '{"length": 40}')::vault.secret_settings,
         ROW('here', 'token:ci', NULL, NULL, NULL)::vault.audit_origin);

--
-- good: append
--
SELECT id, name, description, tags, grace_period_secs, current_version, updated_at > created_at
FROM vault.append_version(uuid(1), 1, ROW(1, 'local:k2', '\x04', decode(repeat('ef', 24), 'hex'),
         decode(repeat('ef', 18), 'hex'))::vault.sealed_value, 'update', NULL, false,
         ROW('here', 'token:ci', NULL, '192.0.2.7', 'req-1')::vault.audit_origin);
-- null keeps a setting, anything else replaces it
SELECT description, tags, grace_period_secs, current_version
FROM vault.append_version(uuid(1), 2, ROW(1, 'local:k2', '\x05', decode(repeat('ee', 24), 'hex'),
         decode(repeat('ee', 19), 'hex'))::vault.sealed_value, 'rotate',
         ROW('', '{}', NULL, NULL, NULL, NULL, NULL, 60, NULL, NULL)::vault.secret_settings, false,
         ROW('here', 'token:ci', NULL, '192.0.2.7', 'req-1')::vault.audit_origin);
SELECT description, tags, grace_period_secs, current_version FROM vault.describe_secret('sealed/a');

--
-- good: read
--
-- the current one, and any that is in grace. Version 1 got 3600 s when 2 came; 2 got 60 s when 3 came with that.
SELECT version, length(ciphertext), kms_key_id, current_version, expires_at IS NULL FROM vault.read_sealed('{sealed/a}', NULL);
SELECT version, length(ciphertext), kms_key_id, current_version, expires_at IS NULL FROM vault.read_sealed('{sealed/a}', 3);
SELECT version, length(ciphertext), kms_key_id, current_version, expires_at IS NULL FROM vault.read_sealed('{sealed/a}', 1);
SELECT version FROM vault.read_sealed('{sealed/a}', 2);
SELECT version, expires_at IS NULL FROM vault.read_verifiable('sealed/a');
SELECT version, envelope_version, kms_key_id, created_at <= clock_timestamp(), expires_at IS NULL
FROM vault.describe_versions('sealed/a');
-- a superseded version expires one grace period after its successor was made
SELECT old.version, old.expires_at - new.created_at
FROM vault.describe_versions('sealed/a') old JOIN vault.describe_versions('sealed/a') new ON new.version = old.version + 1
ORDER BY 1;
-- exactly: valid before expires_at, not at it
RESET ROLE;
UPDATE vault.secret_versions SET expires_at = clock_timestamp() + '1 hour' WHERE secret_id = uuid(1) AND version = 2;
SELECT version FROM vault.read_verifiable('sealed/a');
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(1) AND version < 3;
SELECT version FROM vault.read_verifiable('sealed/a');
SELECT version FROM vault.read_sealed('{sealed/a}', 1);
SELECT version FROM vault.describe_versions('sealed/a');
-- "-infinity" and "infinity" are times as well
UPDATE vault.secret_versions SET expires_at = 'infinity' WHERE secret_id = uuid(1) AND version = 1;
UPDATE vault.secret_versions SET expires_at = '-infinity' WHERE secret_id = uuid(1) AND version = 2;
SELECT version FROM vault.read_verifiable('sealed/a');
-- time is that of the moment, not of the transaction's start
BEGIN;
SELECT now() IS NOT NULL;
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(1) AND version = 1;
SELECT version FROM vault.read_sealed('{sealed/a}', 1);
COMMIT;
SET ROLE regress_vault_service;
-- many names in one call; what is not there is not in the answer
SELECT name, version FROM vault.read_sealed('{sealed/c,sealed/none,sealed/a,sealed/a,NULL}', NULL) ORDER BY name;
SELECT name, version FROM vault.read_sealed('{sealed/c,sealed/a}', 1) ORDER BY name;
-- in sessions like those of pg_dump's scripts, too
SET row_security = off;
SET search_path = '';
SELECT name, version FROM vault.read_sealed('{sealed/c,sealed/a}', 1);
SELECT public.try('SELECT vault.delete_secret(gen_random_uuid(), 1, NULL)') LIKE '42704: %';
RESET search_path;
RESET row_security;

--
-- good: describe and list. Byte order, and a page starts after a name.
--
SELECT put(11, 'list/B'), put(12, 'list/a'), put(13, 'list/a/b'), put(14, 'list/a-b'), put(15, 'list/Z'), put(16, 'lisu');
SELECT name FROM vault.describe_secrets('list/', '', 10);
SELECT name FROM vault.describe_secrets('list/', '', 2);
SELECT name FROM vault.describe_secrets('list/', 'list/Z', 2);
SELECT name FROM vault.describe_secrets('list/', 'list/a/b', 2);
SELECT name FROM vault.describe_secrets('list/a', NULL, NULL);
SELECT name FROM vault.describe_secrets('lis', 'list/a-b', 100);
SELECT name FROM vault.describe_secrets(NULL, 'm', 2);
SELECT name FROM vault.describe_secrets('list/', '', 0);
SELECT name FROM vault.describe_secrets('LIST/', '', 10);
SELECT name FROM vault.describe_secrets('list/%', '', 10);
SELECT count(*) FROM vault.describe_secret('sealed/none');
SELECT count(*) FROM vault.describe_versions('sealed/none');
SELECT count(*) FROM vault.describe_secret(NULL);
SELECT count(*) FROM vault.read_sealed(NULL, NULL);
SELECT count(*) FROM vault.read_sealed('{}', NULL);
SELECT count(*) FROM vault.read_verifiable(NULL);
SELECT v, count(s) FROM unnest('{3,4,0,-1,9223372036854775807}'::bigint[]) v LEFT JOIN vault.read_sealed('{sealed/a}', v) s ON true
GROUP BY v ORDER BY v;

--
-- good: delete. All versions go at once, the name is free, the id is not.
--
SELECT gone(1, 3);
SELECT count(*) FROM vault.describe_secret('sealed/a');
SELECT count(*) FROM vault.read_sealed('{sealed/a}', NULL);
SELECT count(*) FROM vault.read_verifiable('sealed/a');
SELECT count(*) FROM vault.describe_versions('sealed/a');
SELECT count(*) FROM vault.describe_secrets('sealed/a', '', 10);
RESET ROLE;
SELECT count(*) FROM vault.secret_versions WHERE secret_id = uuid(1);
SELECT name, deleted_at <= clock_timestamp(), next_rotation_at FROM vault.secrets WHERE id = uuid(1);
SET ROLE regress_vault_service;
SELECT gone(1, 3);
SELECT next(1, 3);
SELECT put(1, 'sealed/a', version => 4);
-- the numbers of a name go on
SELECT put(4, 'sealed/a');
SELECT put(4, 'sealed/a', version => 5);
SELECT vault.first_version('sealed/a'), vault.first_version('sealed/never');
SELECT put(4, 'sealed/a', version => 4);
SELECT id = uuid(4), current_version FROM vault.describe_secret('sealed/a');
SELECT version, length(ciphertext) FROM vault.read_verifiable('sealed/a');

-- neither an update nor a rotation by hand moves the schedule, unless asked to: then the next is one interval from now
SELECT next_rotation_at AS due FROM vault.describe_secret('sealed/c') \gset
SELECT next(3, 1, action => 'update');
SELECT next_rotation_at = :'due', updated_at > created_at FROM vault.describe_secret('sealed/c');
SELECT next(3, 2, action => 'rotate');
SELECT next_rotation_at = :'due', current_version FROM vault.describe_secret('sealed/c');
SELECT next(3, 3, action => 'rotate', reschedule => true);
SELECT next_rotation_at > :'due', updated_at - next_rotation_at + '1 day' BETWEEN '0' AND '1 minute' FROM vault.describe_secret('sealed/c');
SELECT next(2, 1, action => 'rotate');
SELECT next_rotation_at FROM vault.describe_secret('sealed/b');
SELECT gone(3, 4);

--
-- wrong: a name that is taken, a version that is stale
--
SELECT put(5, 'sealed/a');
SELECT put(4, 'sealed/other');
SELECT try('SELECT vault.first_version(''sealed/a'')');
SELECT next(4, 2);
SELECT next(4, 0);
SELECT next(4, NULL);
SELECT gone(4, 2);
SELECT gone(4, NULL);
SELECT next(6, 1);
SELECT gone(6, 1);
SELECT gone(NULL, 1);
-- of two who saw the same version one wins
SELECT next(4, 4);
SELECT next(4, 4);
-- without grace the one that was replaced is gone at once
SELECT version FROM vault.describe_versions('sealed/a');
SELECT current_version FROM vault.describe_secret('sealed/a');
-- what fails later takes the earlier part with it
SELECT next(4, 5, ciphertext => '\x00');
SELECT current_version FROM vault.describe_secret('sealed/a');
SELECT version FROM vault.describe_versions('sealed/a');
BEGIN;
SELECT put(7, 'sealed/rolled-back');
SELECT next(7, 1);
ROLLBACK;
SELECT count(*) FROM vault.describe_secret('sealed/rolled-back');

--
-- wrong: every limit, from both sides
--
SELECT put(20, repeat('n', 255));
SELECT put(21, repeat('n', 256));
SELECT put(21, '');
SELECT put(21, NULL);
SELECT put(NULL, 'limit/id');
SELECT put(21, 'limit/kind', kind => 'Manual');
SELECT put(21, 'limit/kind', kind => '');
SELECT put(21, 'limit/kind', kind => NULL);
SELECT put(21, 'limit/ct', content_type => repeat('t', 255));
SELECT put(22, 'limit/ct2', content_type => repeat('t', 256));
SELECT put(22, 'limit/ct2', content_type => '');
SELECT put(22, 'limit/ct2', content_type => NULL);
SELECT put(23, 'limit/description', description => repeat('d', 1024));
SELECT put(24, 'limit/description2', description => repeat('d', 1025));
SELECT put(24, 'limit/description2', description => repeat('ä', 513));
-- as many as there may be, each as long as it may be; and the same with values that are twice as long as JSON
CREATE FUNCTION pg_temp.tags(number integer, key integer, value integer, rest jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(jsonb_object_agg(lpad(n::text, key, 'k'), repeat('t', value)), '{}') || rest FROM generate_series(1, number) n
$$;
SELECT octet_length(pg_temp.tags(64, 128, 512)), put(25, 'limit/tags', tags => pg_temp.tags(64, 128, 512));
SELECT put(26, 'limit/tags2', tags => replace(pg_temp.tags(64, 128, 512), 't', '\"'));
SELECT put(40, 'limit/tags3', tags => pg_temp.tags(64, 128, 0)), put(41, 'limit/tags4', tags => '{"a": ""}');
SELECT put(26, 'limit/tags2', tags => pg_temp.tags(65, 2, 0));
SELECT put(26, 'limit/tags2', tags => pg_temp.tags(1, 129, 0));
SELECT put(26, 'limit/tags2', tags => pg_temp.tags(1, 1, 513));
SELECT put(26, 'limit/tags2', tags => '{"": "x"}');
SELECT t, put(26, 'limit/tags2', tags => t)
FROM unnest('{"{\"a\": 1}","{\"a\": null}","{\"a\": true}","{\"a\": {\"b\": \"c\"}}","{\"a\": [\"b\"]}","{\"a\": []}","{\"a\": \"b\", \"c\": [[]]}"}'::text[]) t;
-- the table refuses them from whatever hand
RESET ROLE;
SELECT left(t, 20), split_part(try(format('UPDATE vault.secrets SET tags = %L WHERE name = ''limit/tags''', t)), E'\n', 1)
FROM unnest(ARRAY['{"a": 1}', '{"a": null}', '{"a": {"b": "c"}}', '{"a": ["b"]}', '{"a": []}', '[]', '"a"', 'null', pg_temp.tags(65, 2, 0)]) t;
DROP FUNCTION pg_temp.tags(integer, integer, integer, jsonb);
SET ROLE regress_vault_service;
SELECT put(26, 'limit/tags2', tags => 'null');
SELECT put(26, 'limit/tags2', tags => '[]');
SELECT put(26, 'limit/tags2', tags => '"t"');
SELECT put(26, 'limit/tags2', tags => '{');
SELECT put(27, 'limit/grace', grace => 315360000);
SELECT put(28, 'limit/grace2', grace => 315360001);
SELECT put(28, 'limit/grace2', grace => -1);
SELECT put(29, 'limit/rotation', kind => 'automatic', rotation => 1);
SELECT put(30, 'limit/rotation2', kind => 'automatic', rotation => 315360000);
SELECT put(31, 'limit/rotation3', kind => 'automatic', rotation => 315360001);
SELECT put(31, 'limit/rotation3', kind => 'automatic', rotation => 0);
SELECT put(31, 'limit/rotation3', kind => 'automatic', rotation => -9223372036854775808);
SELECT put(31, 'limit/rotation3', kind => 'automatic');
SELECT put(31, 'limit/rotation3', kind => 'manual', rotation => 60);
SELECT put(32, 'limit/policy', kind => 'automatic', rotation => 60, policy => format('{"p": "%s"}', repeat('p', 4096 - 9)));
SELECT put(33, 'limit/policy2', kind => 'automatic', rotation => 60, policy => format('{"p": "%s"}', repeat('p', 4096 - 8)));
SELECT put(33, 'limit/policy2', policy => '[]');
SELECT put(33, 'limit/policy2', policy => 'null');
-- the envelope
SELECT put(34, 'limit/envelope', envelope => 0);
SELECT put(34, 'limit/envelope', envelope => 2);
SELECT put(34, 'limit/envelope', envelope => NULL);
SELECT put(34, 'limit/envelope', envelope => 65537);
SELECT put(34, 'limit/key', key_id => repeat('k', 2048));
SELECT put(35, 'limit/key2', key_id => repeat('k', 2049));
SELECT put(35, 'limit/key2', key_id => '');
SELECT put(35, 'limit/key2', key_id => NULL);
SELECT put(36, 'limit/dek', dek => decode(repeat('dd', 6144), 'hex'));
SELECT put(37, 'limit/dek2', dek => decode(repeat('dd', 6145), 'hex'));
SELECT put(37, 'limit/dek2', dek => '');
SELECT put(37, 'limit/dek2', dek => NULL);
SELECT put(38, 'limit/nonce', nonce => decode(repeat('ab', 23), 'hex'));
SELECT put(38, 'limit/nonce', nonce => decode(repeat('ab', 25), 'hex'));
SELECT put(38, 'limit/nonce', nonce => '');
SELECT put(38, 'limit/nonce', nonce => NULL);
SELECT put(39, 'limit/ciphertext', ciphertext => decode(repeat('cd', 16), 'hex'));
SELECT put(39, 'limit/ciphertext', ciphertext => decode(repeat('cd', 1048593), 'hex'));
SELECT put(39, 'limit/ciphertext', ciphertext => '');
SELECT put(39, 'limit/ciphertext', ciphertext => NULL);
-- the same where a version is appended
SELECT next(27, 1, action => 'create');
SELECT next(27, 1, action => 'Rotate');
SELECT next(27, 1, action => NULL);
SELECT next(27, 1, description => repeat('d', 1025));
SELECT next(27, 1, tags => '[]');
SELECT next(27, 1, tags => '{"a": 1}');
SELECT next(27, 1, grace => -1);
SELECT next(27, 1, grace => 315360001);
SELECT next(27, 1, fill => 'ff', ciphertext => decode(repeat('cd', 16), 'hex'));
SELECT try(format('SELECT vault.append_version(%L, 1, NULL, ''update'', NULL, false, ROW(''here'', ''a'', NULL, NULL, NULL))', uuid(27)));
-- no change without a record of it
SELECT try(format('SELECT vault.append_version(%L, 1, ROW(1, ''k'', ''\x01'', %L, %L)::vault.sealed_value, ''update'', '
                  'NULL, false, NULL)',
           uuid(27), decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 17), 'hex')));
SELECT try(format('SELECT vault.delete_secret(%L, 1, NULL)', uuid(27)));
SELECT try(format('SELECT vault.delete_secret(%L, 1, ROW(''here'', NULL, NULL, NULL, NULL))', uuid(27)));
-- none of that is there
SELECT name, current_version FROM vault.describe_secrets('limit/', '', 100);
SELECT count(*) FROM vault.describe_versions('limit/grace');
SELECT try('SELECT vault.describe_secrets('''', '''', -1)');

--
-- a read-only transaction reads, and says what it is when asked for more
--
BEGIN READ ONLY;
SELECT count(*) FROM vault.read_sealed('{sealed/a}', NULL);
SELECT vault.status() ->> 'in_recovery';
SELECT try('SELECT vault.create_secret(NULL, NULL, NULL, NULL::vault.sealed_value, NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.append_version(NULL, NULL, NULL, ''update'', NULL, NULL, NULL)');
SELECT try('SELECT vault.configure_secret(NULL::uuid, NULL, NULL, NULL)');
SELECT try('SELECT vault.expire_version(NULL::uuid, NULL, NULL, NULL)');
SELECT try('SELECT vault.delete_secret(NULL::uuid, NULL, NULL)');
SELECT try('SELECT vault.claim_rotations(NULL, NULL, NULL)');
SELECT try('SELECT vault.complete_rotation(NULL, NULL, NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.fail_rotation(NULL, NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.release_rotation(NULL, NULL)');
SELECT try('SELECT vault.plan_rotation(NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.rewrap_version(NULL, NULL, NULL, NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.create_token(NULL::uuid, NULL, NULL, NULL, NULL)');
SELECT try('SELECT vault.revoke_token(NULL, NULL)');
ROLLBACK;

--
-- what was written down: the changes that happened, and only those
--
RESET ROLE;
SELECT action, secret_name, version, outcome, code, actor, session_role, client_ip, node, request_id
FROM vault.audit('sealed/') WHERE action <> 'audit' ORDER BY at, id;

SELECT count(*) FROM vault.describe_secrets('', '', 1000) s,
    vault.delete_secret(s.id, s.current_version, ROW('here', 'regress', NULL, NULL, NULL)::vault.audit_origin);
SELECT count(*) FROM vault.describe_secrets('', '', 1000);
SELECT count(*) FROM vault.secret_versions;
SELECT vault.revoke_service_role('regress_vault_service');
DROP ROLE regress_vault_service;
