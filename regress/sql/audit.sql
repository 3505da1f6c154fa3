--
-- AUDIT: records are appended by the service role and by the functions themselves, and read by whom an
-- administrator lets.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
CREATE ROLE regress_vault_auditor;
SELECT vault.grant_service_role('regress_vault_service');
SELECT vault.grant_access('regress_vault_auditor', '*', '{audit}');
-- append: what becomes of a record
CREATE FUNCTION append(name text, action text DEFAULT 'read', outcome text DEFAULT 'ok', code text DEFAULT '',
    version bigint DEFAULT NULL, origin text DEFAULT '("here","reader",,192.0.2.7,req-1)') RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.append_audit(%L, %L, %L, %L, %L, %L)', origin, action, name, version, outcome, code))
$$;

--
-- good: every action and outcome
--
SET ROLE regress_vault_service;
SELECT action, append('audit/all', action) FROM unnest('{create,read,update,delete,rotate,verify,list,describe,token_create,
    token_revoke,token_list,grant,revoke,audit}'::text[]) action;
SELECT outcome, append('audit/all', 'read', outcome, 'denied') FROM unnest('{ok,denied,failed,unknown}'::text[]) outcome;
SELECT append('audit/full', 'read', 'ok', '', 7, '(node-b,role:app,login,2001:db8::1,pid-1)');
SELECT append(NULL, 'list', origin => '(node-b,anonymous,,,)');
RESET ROLE;

SELECT action, secret_name, version, outcome, code, actor, session_role, client_ip, node, request_id
FROM vault.audit('audit/') WHERE action <> 'audit' OR actor = 'reader' ORDER BY at, id;
SELECT bool_and(at <= clock_timestamp()), bool_and(at > now() - interval '1 hour'), count(*) > 0 FROM vault.audit('audit/');

--
-- good: reading. The newest, oldest first; each reader is recorded.
--
SET SESSION AUTHORIZATION regress_vault_auditor;
SELECT action, secret_name, actor, session_role, outcome FROM vault.audit('audit/full') WHERE action <> 'audit';
BEGIN;
SELECT count(*) FROM vault.audit('audit/rolled-back');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT await_audit();
SELECT action, secret_name, actor, session_role, outcome, node <> '' FROM vault.audit('audit/') WHERE action = 'audit' AND actor = 'role:regress_vault_auditor';
SET SESSION AUTHORIZATION regress_vault_auditor;
-- by prefix: whole segments, no pattern, upper and lower case differ
SELECT count(*) FROM vault.audit('audit/full') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/full/') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('aud') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/ful') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/%') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('Audit/full') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('') WHERE secret_name = 'audit/full' AND actor = 'role:app';
-- by time
SELECT count(*) FROM vault.audit('audit/full', clock_timestamp() - interval '1 hour') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/full', 'infinity');
SELECT count(*) FROM vault.audit('audit/full', '-infinity') WHERE actor = 'role:app';
-- until a time, which is not in it, so that one range goes on where the last one ended
SELECT count(*) FROM vault.audit('audit/full', until => 'infinity') WHERE actor = 'role:app';
SELECT count(*) FROM vault.audit('audit/full', until => clock_timestamp() - interval '1 hour');
SELECT count(*) FROM vault.audit('audit/full', until => '-infinity');
SELECT count(*) FROM (SELECT a.at FROM vault.audit('audit/full') a WHERE a.actor = 'role:app' LIMIT 1) r,
    LATERAL (SELECT FROM vault.audit('audit/full', r.at, 1000, r.at) UNION ALL
             SELECT FROM vault.audit('audit/full', r.at, 1000, r.at + interval '1 microsecond') x WHERE x.actor = 'role:app') b;
-- by number
SELECT count(*) FROM vault.audit(max_rows => 3);
SELECT secret_name FROM vault.audit('audit/all', max_rows => 2);
SELECT count(*) = count(DISTINCT id), array_agg(id ORDER BY ordinality) = array_agg(id ORDER BY at, id)
FROM vault.audit(max_rows => 100000) WITH ORDINALITY;
-- nothing but the function
SELECT try('SELECT * FROM vault.audit_log');
SELECT try('DELETE FROM vault.audit_log');
SELECT append('audit/forged');
SELECT try('SELECT vault.list_secrets()');
RESET SESSION AUTHORIZATION;

--
-- wrong
--
SELECT try('SELECT vault.audit(max_rows => 0)');
SELECT try('SELECT vault.audit(max_rows => -1)');
SELECT try('SELECT vault.audit(max_rows => 100001)');
SELECT try('SELECT vault.audit(max_rows => NULL)');
SELECT try('SELECT vault.audit(since => ''soon'')');
-- no look goes unseen: where there is no key agent the transaction records it, if it can write
BEGIN;
SET LOCAL hyperion_vault.agent_socket = '/nowhere/agent.sock';
SELECT count(*) FROM vault.audit('audit/agentless');
COMMIT;
SELECT action, secret_name, outcome FROM vault.audit('audit/agentless') ORDER BY at, id LIMIT 1;
BEGIN READ ONLY;
SELECT try('SELECT vault.audit(''audit/full'')');
SELECT try('SET LOCAL hyperion_vault.agent_socket = ''/nowhere/agent.sock''');
SELECT try('SELECT vault.audit(''audit/full'')');
ROLLBACK;
SET ROLE regress_vault_service;
SELECT try('SELECT vault.audit()');
SELECT append('audit/wrong', 'fly');
SELECT append('audit/wrong', 'READ');
SELECT append('audit/wrong', '');
SELECT append('audit/wrong', NULL);
SELECT append('audit/wrong', outcome => 'maybe');
SELECT append('audit/wrong', outcome => NULL);
SELECT append('audit/wrong', code => NULL);
SELECT append('audit/wrong', origin => NULL);
SELECT append('audit/wrong', origin => '(,reader,,,)');
SELECT append('audit/wrong', origin => '(here,,,,)');
SELECT append('audit/wrong', origin => '(here,reader,,nonsense,)');
SELECT append('audit/wrong', origin => '(here,reader)');
RESET ROLE;
SELECT count(*) FROM vault.audit('audit/wrong') WHERE actor <> 'role:' || session_user;

--
-- after an id: in the order of ids, on from there
--
SET ROLE regress_vault_service;
SELECT append('audit/page' || n) FROM generate_series(1, 5) n;
RESET ROLE;
SET SESSION AUTHORIZATION regress_vault_auditor;
SELECT coalesce(max(id), 0) AS place FROM vault.audit('audit/page3') \gset
SELECT secret_name FROM vault.audit_after(:place, 2);
SELECT string_agg(secret_name, ' ' ORDER BY ordinality) FROM vault.audit_after(:place) WITH ORDINALITY WHERE action <> 'audit';
SELECT count(*) FROM vault.audit_after(9223372036854775807);
SELECT array_agg(id ORDER BY ordinality) = array_agg(id ORDER BY id) FROM vault.audit_after(0, 100000) WITH ORDINALITY;
SELECT (SELECT min(id) FROM vault.audit_after(-1, 1)) = (SELECT min(id) FROM vault.audit(max_rows => 100000));
SELECT try('SELECT vault.audit_after(NULL)');
SELECT try('SELECT vault.audit_after(0, 0)');
SELECT try('SELECT vault.audit_after(0, 100001)');
SELECT try('SELECT vault.audit_after(0, NULL)');
RESET SESSION AUTHORIZATION;
-- one's own transaction is not over
BEGIN;
SELECT vault.grant_access('regress_vault_auditor', 'audit/own', '{read}');
SELECT count(*) FROM vault.audit_after(0, 100000) WHERE secret_name LIKE '% audit/own %';
ROLLBACK;
SELECT await_audit();
SELECT count(*) > 5 FROM vault.audit(max_rows => 100000) WHERE action = 'audit' AND actor = 'role:regress_vault_auditor' AND secret_name IS NULL;

--
-- what changed
--
CREATE ROLE regress_vault_changed;
SELECT vault.grant_access('regress_vault_changed', 'audit/*', '{read}');
SELECT vault.grant_access('regress_vault_changed', 'audit/*', '{read,verify}');
SELECT vault.revoke_access('regress_vault_changed', 'audit/*', '{read,delete}');
SELECT vault.revoke_access('regress_vault_changed', 'audit/*', '{verify}');
SELECT vault.create_secret('audit/settings', 's3cr3t-1'::text, grace_period_secs => 3600, tags => '{"a": "b"}');
SELECT vault.configure_secret('audit/settings', description => 'new', tags => '{"a": "c"}', keep_versions => 2);
SELECT vault.configure_secret('audit/settings', description => 'new');
SELECT vault.update_secret('audit/settings', 's3cr3t-2'::text, 1);
SELECT vault.expire_version('audit/settings', 1, 60);
SELECT vault.configure_secret('audit/settings', generate_policy => '{"length": 20}');
SELECT a.action, a.secret_name, CASE WHEN a.action = 'expire' THEN (a.details #>> '{old,expires_at}')::timestamptz
    > (a.details #>> '{new,expires_at}')::timestamptz AND a.details::text NOT LIKE '%null%' END, CASE WHEN a.action <> 'expire' THEN a.details END
FROM vault.audit(max_rows => 100000) a
WHERE a.secret_name LIKE '%regress_vault_changed' OR a.secret_name = 'audit/settings' AND a.action <> 'audit' ORDER BY a.id;
SELECT count(*) FROM vault.audit(max_rows => 100000) a WHERE a::text LIKE '%s3cr3t%';
SELECT vault.delete_secret('audit/settings', NULL);
DROP ROLE regress_vault_changed;
-- a record of these looks that comes later would keep its part from being emptied
SELECT await_audit();

--
-- pruning: a part of the log whose records are all old enough is emptied, and that is seen
--
CREATE FUNCTION pruned() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(secret_name, '[0-9TZ:-]{20}', 'T') || ' ' || outcome || ' ' || (actor = 'role:' || session_user)
    FROM vault.audit_log WHERE action = 'audit_prune' AND outcome = 'ok' ORDER BY id
$$;
SELECT part FROM vault.audit_numbering;
-- the first call says how long records are kept, and nothing is old enough
SELECT vault.prune_audit('30 days');
-- the oldest record is older than an eighth of that: the next part begins
UPDATE vault.audit_log SET at = at - interval '4 days' WHERE id = (SELECT min(id) FROM vault.audit_log);
SELECT vault.prune_audit('30 days');
SELECT part, keep FROM vault.audit_numbering;
SELECT append('audit/young') FROM generate_series(1, 2);
SELECT part, count(*) FROM vault.audit_log WHERE secret_name = 'audit/young' GROUP BY part;
-- one record of the first part is not old enough
CREATE TEMPORARY TABLE first_part AS SELECT count(*) AS records FROM vault.audit_log WHERE part = 0;
UPDATE vault.audit_log SET at = at - interval '35 days' WHERE part = 0 AND id > (SELECT min(id) FROM vault.audit_log);
UPDATE vault.audit_log SET at = clock_timestamp() - interval '29 days' WHERE id = (SELECT min(id) FROM vault.audit_log);
SELECT vault.prune_audit('30 days');
UPDATE vault.audit_log SET at = clock_timestamp() - interval '31 days' WHERE id = (SELECT min(id) FROM vault.audit_log);
SELECT vault.prune_audit('30 days') >= records FROM first_part;
SELECT count(*) FROM vault.audit_log WHERE part = 0;
SELECT regexp_replace(pruned(), '^[0-9]+', 'N');
SELECT vault.prune_audit('30 days');
-- records of what was pruned outlive the part that they are in
UPDATE vault.audit_log SET at = at - interval '32 days' WHERE part = 1;
SELECT vault.start_audit_part();
SELECT part FROM vault.audit_numbering;
SELECT vault.prune_audit('30 days') > 0;
SELECT regexp_replace(pruned(), '^[0-9]+', 'N');
SELECT DISTINCT part FROM vault.audit_log;
-- a part with a record of a wrong clock is not emptied: what is overdue is deleted, so many at a time
SELECT append('audit/old') FROM generate_series(1, 5);
UPDATE vault.audit_log SET at = at - interval '40 days' WHERE secret_name = 'audit/old';
SELECT append('audit/young');
SELECT vault.prune_audit('30 days', 2);
SELECT vault.prune_audit('30 days');
SELECT vault.prune_audit('30 days');
SELECT secret_name FROM vault.audit_log WHERE secret_name IN ('audit/old', 'audit/young');
-- all parts have records: the present one grows
UPDATE vault.audit_log SET at = at - interval '5 days';
INSERT INTO vault.audit_log (at, node, actor, action, outcome, part)
SELECT now(), 'n', 'a', 'read', 'ok', p FROM generate_series(0, 11) p WHERE p <> 3;
SELECT vault.start_audit_part();
SELECT part FROM vault.audit_numbering;
DELETE FROM vault.audit_log WHERE part NOT IN (2, 3);
SELECT vault.start_audit_part();
SELECT part FROM vault.audit_numbering;
DELETE FROM vault.audit_log;
UPDATE vault.audit_numbering SET part = 0, keep = NULL;
-- a snapshot that is older than the lock would not show what the part has got since
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT try('SELECT vault.prune_audit(''30 days'')');
COMMIT;
SELECT try('SELECT vault.prune_audit(''23 hours'')');
SELECT try('SELECT vault.prune_audit(''-1 day'')');
SELECT try('SELECT vault.prune_audit(NULL)');
SELECT try('SELECT vault.prune_audit(''30 days'', 0)');
SELECT try('SELECT vault.prune_audit(''30 days'', NULL)');
SET ROLE regress_vault_auditor;
SELECT try('SELECT vault.prune_audit(''30 days'')');
RESET ROLE;
BEGIN READ ONLY;
SELECT try('SELECT vault.prune_audit(''30 days'')');
ROLLBACK;

DROP FUNCTION append(text, text, text, text, bigint, text);
SELECT vault.revoke_service_role('regress_vault_service');
SELECT vault.revoke_access('regress_vault_auditor', '*', '{audit}');
DROP ROLE regress_vault_service, regress_vault_auditor;
