package exttest

// fewRows is the most that a statement may read of a table of a filled vault, each of which has several times as many.
const fewRows = 500

// filledSQL fills every table that grows with use.
var filledSQL = []string{
	`CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(n::text)::uuid $$`,
	`INSERT INTO vault.secrets (id, name, kind, content_type, current_version, rotation_interval_secs, rotation_schedule,
		grace_period_secs, next_rotation_at, created_at, updated_at)
	SELECT pg_temp.id(i), 'fill/' || i % 20 || '/' || i, CASE WHEN i % 2 = 0 THEN 'manual' ELSE 'automatic' END,
		'text/plain; charset=utf-8', 1, CASE WHEN i % 2 = 1 AND i % 200 <> 1 THEN 86400 END, CASE WHEN i % 200 = 1 THEN '0 3 * * *' END,
		60, CASE WHEN i % 2 = 1 THEN now() + interval '1 hour' + i * interval '1 second' END, now(), now()
	FROM generate_series(1, 6000) i`,
	`INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext, created_at)
	SELECT id, 1, 1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 40), 'hex'), now() FROM vault.secrets
	WHERE name LIKE 'fill/%'`,
	`INSERT INTO vault.deleted_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext, created_at,
		expires_at, expired, deleted_at)
	SELECT id, 2, 1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 40), 'hex'), now(), now() + interval '1 day', false, now()
	FROM vault.secrets WHERE name LIKE 'fill/%'`,
	`UPDATE vault.secret_versions SET delete_at = now() + interval '1 day'`,
	`INSERT INTO vault.audit_log (at, node, actor, action, secret_name, version, outcome)
	SELECT now() - i * interval '1 second', 'node', 'role:app', 'read', 'fill/' || i % 20 || '/' || i % 6000, 1, 'ok'
	FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.changes (xid, id, at, action, name, version)
	SELECT (i / 5 + 3)::text::xid8, i, now() - interval '1 day', 'update', 'fill/1/1', 1 FROM generate_series(1, 10) i`,
	`INSERT INTO vault.changes (at, action, name, version)
	SELECT now(), 'update', 'fill/' || i % 20 || '/' || i, 1 FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.rotation_jobs (secret_id, due_at, state, next_attempt_at, created_at, finished_at)
	SELECT pg_temp.id(i), now() - interval '1 day', 'done', now(), now(), now() FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.tokens (id, name, fingerprint, created_at, expires_at, holder, method, renewable, ttl_secs)
	SELECT pg_temp.id(i), 't' || i, sha256(i::text::bytea), now(), now() + interval '1 day', vault.hold('vault_admin'), 'token',
		true, 86400 FROM generate_series(1, 2000) i`,
	`INSERT INTO vault.login_methods (mount, kind, created_at, updated_at) VALUES ('approle', 'approle', now(), now())`,
	`INSERT INTO vault.login_roles (id, mount, name, holder, token_ttl_secs, token_max_ttl_secs, valid_from, created_at, updated_at)
	VALUES (pg_temp.id(1), 'approle', 'app', vault.hold('vault_admin'), 3600, 7200, now(), now(), now())`,
	`INSERT INTO vault.secret_ids (id, login_role, fingerprint, created_at, expires_at)
	SELECT pg_temp.id(i), pg_temp.id(i % 100), sha256(('s' || i)::bytea), now(), now() + interval '1 day' FROM generate_series(1, 2000) i`,
	`INSERT INTO vault.role_templates SELECT (vault.new_template('fill/' || i, 'postgres'::regrole, '{}', 60, 60, NULL, -1, '{}', false, NULL, 100)).name,
		vault.hold('postgres'), '{}', 60, 60, 'x', -1, '{}', false, NULL, 100, now(), now() FROM generate_series(1, 2000) i`,
	`INSERT INTO vault.role_leases (id, template, role_name, holder, issuer, issued_to, token, drop_owned, ttl_secs, issued_at, expires_at, max_expires_at)
	SELECT pg_temp.id(i), 'fill/' || i % 200, 'r' || i, vault.hold('vault_owner'), vault.hold('vault_owner'), 'x', pg_temp.id(i), false,
		60, now(), now() + interval '1 hour', now() + interval '1 hour' FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.wrapped_answers (id, fingerprint, owner, path, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext, created_at, expires_at)
	SELECT pg_temp.id(i), sha256(('w' || i)::bytea), 'role:' || i % 20, 'p', 1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 40), 'hex'),
		now(), now() + interval '1 day' FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.sent_changes (change, at) SELECT pg_temp.id(i), now() - interval '1 day' FROM generate_series(1, 4000) i`,
	`INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
	SELECT vault.hold('pg_monitor'), 'fill/' || i % 20 || '/' || i, 'read', now(), 'x' FROM generate_series(1, 1600) i`,
	`INSERT INTO vault.role_bindings (secret_id, place, holder, role_name, attributes, version, auto_repair, bound_at, bound_by, checked_at, session_policy)
	SELECT pg_temp.id(i), 1, ('?filled' || i)::vault.grantee, 'filled' || i, '{}', 1, false, now(), 'x', now(), 'ignore' FROM generate_series(1, 1600) i`,
	`INSERT INTO vault.role_verifiers (secret_id, place, verifier, settled_at) SELECT pg_temp.id(i), 1, 'x', now() FROM generate_series(1, 1600) i`,
	`INSERT INTO vault.login_roles (mount, name, holder, token_ttl_secs, token_max_ttl_secs, valid_from, created_at, updated_at)
	SELECT 'approle', 'r' || i, vault.hold('vault_admin'), 3600, 7200, now(), now(), now() FROM generate_series(1, 2000) i`,
	`INSERT INTO vault.login_passwords (login_role, verifier, changed_at) SELECT id, 'x', now() FROM vault.login_roles`,
	`INSERT INTO vault.lease_counts (template, shard, leases) SELECT 'fill/' || i, 0, 1 FROM generate_series(1, 2000) i ON CONFLICT DO NOTHING`,
	`INSERT INTO vault.audit_journals (journal, node, last_sequence, created_at, shipped_at) VALUES (pg_temp.id(1), 'node', 0, now(), now()) ON CONFLICT DO NOTHING`,
	`VACUUM ANALYZE`,
}

const (
	planSealed = `ROW(1, 'k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 40), 'hex'))::vault.sealed_value`
	planOrigin = `ROW('here', 'role:x', NULL, NULL, 'r')::vault.audit_origin`
	planNoSet  = `ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::vault.secret_settings`
	planToken  = `sha256('7'::bytea), '127.0.0.1', NULL`
	planBatch  = `(SELECT jsonb_build_object('login_role', id, 'name', 'b', 'valid_from', valid_from, 'issued_at', now(),
		'expires_at', now() + interval '1 hour') FROM vault.login_roles WHERE id = md5('1')::uuid)`
)

// planned are statements as the API and the library send them; each is sent as often as PostgreSQL needs to keep a plan. $i
// is the number of the try. The order is that of a life.
var planned = []string{
	`SELECT vault.supervise(100, true)`,
	`SELECT vault.first_version('new/$i')`,
	`SELECT vault.create_secret(md5('n$i')::uuid, 'new/$i', 1, ` + planSealed + `, 'automatic', 'text/plain; charset=utf-8',
		ROW(NULL, NULL, 3600, NULL, NULL, NULL, NULL, 60, NULL, NULL)::vault.secret_settings, ` + planOrigin + `)`,
	`SELECT vault.create_anyhow(md5('a$i')::uuid, 'anyhow/$i', 1, ` + planSealed + `, 'manual', 'text/plain', NULL, NULL, ` + planOrigin + `)`,
	`SELECT vault.append_version(md5('n$i')::uuid, 1, ` + planSealed + `, 'update', NULL, true, ` + planOrigin + `)`,
	`SELECT vault.append_version(md5('n$i')::uuid, 2, ` + planSealed + `, 'rotate', ` + planNoSet + `, false, ` + planOrigin + `)`,
	`SELECT f FROM vault.append_if_free(` + planToken + `, 'update', 'new/$i', 'here', 'r', md5('n$i')::uuid, 99, ` + planSealed + `, 'update') f`,
	`SELECT f FROM vault.store_if_free(` + planToken + `, 'create', 'free/$i', 'here', 'r', md5('f$i')::uuid, 1, ` + planSealed + `, 'manual', 'text/plain', NULL, NULL) f`,
	`SELECT vault.configure_secret(md5('n$i')::uuid, 3, ROW('d', NULL, NULL, NULL, NULL, NULL, true, NULL, NULL, NULL)::vault.secret_settings, ` + planOrigin + `)`,
	`SELECT vault.expire_version(md5('n$i')::uuid, 2, 0, ` + planOrigin + `)`,
	`SELECT * FROM vault.read_as(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{1,2}', '{new/$i,fill/1/$i}', NULL)`,
	`SELECT * FROM vault.read_as_defined(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{1,2}', '{new/$i,fill/1/$i}', NULL)`,
	`SELECT * FROM vault.read_sealed('{new/$i,fill/2/2}', NULL)`,
	`SELECT * FROM vault.read_verifiable('new/$i')`,
	`SELECT vault.readable_names('vault_admin'::regrole, 'fill/1/')`,
	`SELECT * FROM vault.describe_secret('new/$i')`,
	`SELECT * FROM vault.describe_secrets('fill/3', 'fill/3/1', 100)`,
	`SELECT * FROM vault.describe_visible('vault_admin'::regrole, NULL, 'fill/3', 'fill/3/1', 100)`,
	`SELECT * FROM vault.describe_visible('vault_admin'::regrole, NULL, NULL, NULL, 100)`,
	`SELECT * FROM vault.search_visible('vault_admin'::regrole, NULL, 'fill', 'fill/3', 'fill/3/1', 100)`,
	`SELECT * FROM vault.search_visible('vault_admin'::regrole, NULL, 'fill', NULL, NULL, 100)`,
	`SELECT * FROM vault.describe_versions('new/$i')`,
	`SELECT vault.visible_of('vault_admin'::regrole, NULL, '{a,b}')`,
	`SELECT vault.decide(` + planToken + `, 'read', 'fill/1/1')`,
	`SELECT vault.decide(NULL, '127.0.0.1', NULL, 'read', 'fill/1/1')`,
	`SELECT vault.decide_defined(` + planToken + `, 'read', 'fill/1/1')`,
	`SELECT vault.look_as(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{update,create}', '{new/$i,fill/1/$i}')`,
	`SELECT vault.look_as_defined(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{update,create}', '{new/$i,fill/1/$i}')`,
	`SELECT vault.decide(NULL, '127.0.0.1', jsonb_build_object('login_role', md5('1')::uuid), 'read', 'fill/1/1')`,
	`SELECT vault.admit(` + planToken + `, 'update', 'fill/1/1', 'here', 'r')`,
	`SELECT vault.explain_as(` + planToken + `, NULL, 'fill/1/1')`,
	`SELECT vault.access_as(` + planToken + `)`,
	`SELECT vault.create_token_as(` + planToken + `, ROW(md5('t$i')::uuid, sha256('new$i'::bytea), 'n$i', 60, NULL, true, NULL, NULL)::vault.new_token, NULL, 'here', 'r')`,
	`SELECT vault.token_as(` + planToken + `, NULL)`,
	`SELECT vault.token_as(NULL, '127.0.0.1', ` + planBatch + `, NULL)`,
	`SELECT vault.tokens_as(` + planToken + `, NULL, 100)`,
	`SELECT vault.renew_token_as(` + planToken + `, NULL, NULL, 'here', 'r')`,
	`SELECT vault.revoke_token_as(` + planToken + `, md5('t$i')::uuid, 'here', 'r')`,
	`SELECT vault.mint_token(ROW(md5('m$i')::uuid, sha256('mint$i'::bytea), 'm$i', 60, NULL, true, NULL, NULL)::vault.new_token, 'vault_admin', 'token', ` + planOrigin + `)`,
	`SELECT vault.find_login('approle', md5('1')::uuid::text, sha256('s$i'::bytea), '127.0.0.1')`,
	`SELECT vault.list_secret_ids('approle', 'app', NULL, 100)`,
	`SELECT vault.may_issue('vault_anonymous'::regrole, NULL, 'approle/app')`,
	`SELECT vault.login_by_secret_id(md5('1')::uuid, sha256(('s' || (100 * $i + 1))::bytea),
		ROW(md5('l$i')::uuid, sha256('login$i'::bytea), 'l$i', 60, NULL, true, NULL, NULL)::vault.new_token, ` + planOrigin + `)`,
	`SELECT * FROM vault.changes_since('0', 0, 100)`,
	`SELECT * FROM vault.last_change()`,
	`SELECT vault.knows_change('5', 12, now())`,
	`SELECT vault.status()`,
	`SELECT vault.supervision()`,
	`SELECT vault.probe_write()`,
	`UPDATE vault.supervisor_passes SET last_pass_at = now() - interval '2 hours'`,
	`SELECT vault.supervise(100, true)`,
	`UPDATE vault.secrets SET next_rotation_at = now() - interval '1 second', rotation_paused = false WHERE name = 'new/$i'`,
	`SELECT vault.supervise(100, true)`,
	`SELECT vault.claim_rotations('w$i', 10, 10)`,
	`SELECT vault.renew_rotations('w$i', 10)`,
	`SELECT vault.fail_rotation((SELECT id FROM vault.rotation_jobs WHERE secret_id = md5('n$i')::uuid AND state = 'claimed'), 'w$i', 'because', 'internal', ` + planOrigin + `)`,
	`UPDATE vault.rotation_jobs SET next_attempt_at = now() WHERE state = 'queued' AND secret_id = md5('n$i')::uuid`,
	`SELECT vault.claim_rotations('v$i', 10, 10)`,
	`SELECT vault.complete_rotation((SELECT id FROM vault.rotation_jobs WHERE secret_id = md5('n$i')::uuid AND state = 'claimed'), 'v$i', 3, ` + planSealed + `, NULL, ` + planOrigin + `)`,
	`SELECT vault.unplanned_rotations(100)`,
	`SELECT vault.plan_rotation(md5('201')::uuid, '0 3 * * *', 'UTC', now() + interval '1 day')`,
	`SELECT vault.fail_plans(ARRAY[md5('401')::uuid], '{why}', now())`,
	`SELECT vault.audit_journal(md5('1')::uuid)`,
	`SELECT vault.ship_audit(md5('1')::uuid, 'node', $i, ARRAY[now()], '{n}', '{a}', '{NULL}', '{NULL}', '{read}', '{fill/1/1}', '{1}', '{ok}', '{""}', '{r}')`,
	`SELECT * FROM vault.audit_page_visible('vault_admin'::regrole, NULL, 0, 100)`,
	`SELECT * FROM vault.audit_newest_visible('vault_admin'::regrole, NULL, NULL, false, NULL, NULL, NULL, now() - interval '1 hour', NULL, 0, 100)`,
	`SELECT * FROM vault.audit_newest_visible('vault_admin'::regrole, NULL, 'fill/1/1', true, 'read', NULL, NULL, now() - interval '1 hour', NULL, 0, 10)`,
	`SELECT * FROM vault.audit(max_rows => 100)`,
	`SELECT * FROM vault.audit('fill/1/1', max_rows => 100)`,
	`SELECT * FROM vault.audit('fill/1', max_rows => 100)`,
	`SELECT vault.audited_since('{fill/1/1,fill/2/2}', '{NULL,NULL}', now() - interval '1 hour', NULL, 100)`,
	`SELECT * FROM vault.audit(max_rows => 100, until => now() - interval '1 hour')`,
	`SELECT * FROM vault.audit_after(0, 100)`,
	`SELECT vault.store_metadata(md5('e$i')::uuid, 'empty/$i', 'text/plain; charset=utf-8', NULL, NULL, ` + planOrigin + `)`,
	`SELECT vault.append_version(md5('e$i')::uuid, 0, ` + planSealed + `, 'update', NULL, false, ` + planOrigin + `)`,
	`SELECT * FROM vault.describe_state('empty/$i')`,
	`SELECT vault.change_settings(md5('e$i')::uuid, 1, NULL, ROW(true, 3600)::vault.version_settings, ` + planOrigin + `)`,
	`SELECT vault.change_versions(md5('e$i')::uuid, NULL, 'delete_version', ` + planOrigin + `)`,
	`SELECT * FROM vault.version_states('empty/$i')`,
	`SELECT * FROM vault.versions_for('vault_admin'::regrole, 'empty/$i')`,
	`SELECT * FROM vault.without_current('{empty/$i,fill/1/1}')`,
	`DO $$BEGIN PERFORM vault.raise_without_current('empty/$i'); EXCEPTION WHEN undefined_object THEN NULL; END$$`,
	`SELECT vault.change_versions(md5('e$i')::uuid, '{1}', 'undelete_version', ` + planOrigin + `)`,
	`SELECT vault.change_versions(md5('e$i')::uuid, '{1,2}', 'destroy_version', ` + planOrigin + `)`,
	`SELECT vault.append_version(md5('e$i')::uuid, 1, ` + planSealed + `, 'update', NULL, false, ` + planOrigin + `)`,
	`UPDATE vault.secret_versions SET delete_at = now() WHERE secret_id = md5('e$i')::uuid`,
	`SELECT vault.supervise(100, true)`,
	`SET hyperion_vault.deleted_retention_days = 1`,
	`SELECT vault.delete_secret(md5('e$i')::uuid, 2, ` + planOrigin + `)`,
	`SELECT * FROM vault.list_deleted('vault_admin'::regrole, NULL, '', 10)`,
	`SELECT * FROM vault.list_deleted('vault_admin'::regrole, NULL, '', 10, 'tomorrow', '00000000-0000-4000-8000-000000000000')`,
	`SELECT vault.deleted_name(md5('e$i')::uuid)`,
	`SELECT vault.restore_secret(md5('e$i')::uuid, ` + planOrigin + `)`,
	`SELECT vault.delete_secret(md5('e$i')::uuid, 2, ` + planOrigin + `)`,
	`UPDATE vault.secrets SET restorable_until = now() WHERE id = md5('e$i')::uuid AND $i % 2 = 0`,
	`SELECT vault.supervise(100, true)`,
	`UPDATE vault.secrets SET restorable_until = now() + interval '1 day' WHERE id = md5('e$i')::uuid`,
	`SELECT vault.destroy_deleted(md5('e$i')::uuid, ` + planOrigin + `)`,
	`SELECT vault.change_made(md5('none')::uuid)`,
	`SELECT vault.list_wrapped('other', NULL, NULL, 100)`,
	`SELECT vault.sample_wrapped(md5('50')::uuid, 10)`,
	`SELECT vault.rewrap_version(md5('n$i')::uuid, 4, 'k', '\x01', 'k2', '\x02', ` + planOrigin + `)`,
	`SELECT vault.may('vault_anonymous'::regrole, 'read', 'fill/1/1')`,
	`SELECT vault.sealed_for('vault_admin'::regrole, 'read', 'fill/1/1', NULL)`,
	`SELECT vault.lock_for('fill/1/1', NULL)`,
	`SELECT vault.destroy_secret(md5('n$i')::uuid, 4, ` + planOrigin + `)`,
	`SELECT vault.grant_access('vault_anonymous', 'granted/$i', '{read}')`,
	`SELECT vault.who_may('fill/1/1', 'read')`,
	`SELECT vault.revoke_access('vault_anonymous', 'granted/$i', '{read}')`,
	`SELECT * FROM vault.missing_grants()`,
	`SELECT vault.skip_audit(md5('2')::uuid, 'node', 100 * $i)`,
	`SELECT vault.create_token('vault_admin', 'made$i')`,
	`SELECT vault.revoke_token((SELECT id FROM vault.tokens WHERE name = 'made$i' AND method = 'token' AND revoked_at IS NULL))`,
	`SELECT vault.create_role_template('app/t$i', '{}')`,
	`SELECT * FROM vault.issue_role('app/t$i')`,
	`SELECT vault.renew_lease((SELECT id FROM vault.role_leases WHERE template = 'app/t$i' LIMIT 1))`,
	`SELECT * FROM vault.leases('app/t$i')`,
	`SELECT vault.revoke_lease((SELECT id FROM vault.role_leases WHERE template = 'app/t$i' AND ending IS NULL LIMIT 1))`,
	`SELECT vault.issue_role_as(` + planToken + `, 'app/t$i', 60, 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$' || rpad('', 43, 'a') || '=:' || rpad('', 43, 'a') || '=', 'here', 'r')`,
	`SELECT * FROM vault.leases_as(` + planToken + `, NULL, NULL, NULL, 10)`,
	`SELECT * FROM vault.leases_for('pg_monitor'::regrole, NULL, NULL, NULL, NULL, 10)`,
	`SELECT * FROM vault.templates_as(` + planToken + `, NULL, NULL, 10)`,
	`SELECT vault.revoke_leases_of(ARRAY[md5('4')::uuid])`,
	`SELECT vault.ending_leases(100)`,
	`SELECT vault.fail_lease((SELECT id FROM vault.role_leases WHERE template = 'app/t$i' AND ending IS NOT NULL LIMIT 1), 'why')`,
	`SELECT vault.lease_to_drop((SELECT id FROM vault.role_leases WHERE template = 'app/t$i' AND ending IS NOT NULL LIMIT 1))`,
	`SELECT vault.drop_lease((SELECT id FROM vault.role_leases WHERE template = 'app/t$i' AND ending IS NOT NULL LIMIT 1))`,
	`SELECT vault.drop_role_template('app/t$i')`,
	`SELECT * FROM vault.role_templates()`,
	`CREATE ROLE bound$i LOGIN`,
	`CREATE ROLE pair$i LOGIN`,
	`SELECT vault.create_secret('bound/$i', 'value')`,
	`DO $$BEGIN PERFORM vault.bind_with_verifier_as(` + planToken + `, (SELECT id FROM vault.list_secrets('bound/$i')), 'bound/$i', 1, 'bound$i', NULL, NULL, NULL,
		'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$' || rpad('', 43, 'a') || '=:' || rpad('', 43, 'a') || '=', 'here', 'r', NULL);
		EXCEPTION WHEN invalid_grant_operation THEN NULL; END$$`,
	`SELECT vault.bind_role('bound/$i', 'bound$i')`,
	`SELECT vault.update_secret('bound/$i', 'next', NULL)`,
	`SELECT vault.repair_role('bound/$i')`,
	`SELECT * FROM vault.bound_roles('bound/$i')`,
	`SELECT * FROM vault.bound_among(ARRAY[md5('1')::uuid])`,
	`SELECT vault.configure_role('bound/$i', auto_repair => true)`,
	`ALTER ROLE bound$i PASSWORD 'by hand'`,
	`SELECT vault.check_drift(now(), 100)`,
	`SELECT vault.configure_role('bound/$i', 'terminate')`,
	`SELECT vault.update_secret('bound/$i', 'another', NULL)`,
	`SELECT vault.settle_roles()`,
	`SELECT vault.record_session_ends()`,
	`SELECT vault.sessions_to_end()`,
	`SELECT * FROM vault.role_sessions('bound/$i')`,
	`SELECT * FROM vault.sessions_as(` + planToken + `, 'bound/$i')`,
	`SELECT vault.status()`,
	`SELECT vault.unbind_role('bound/$i')`,
	`SELECT vault.create_secret('pair/$i', '{"username":"bound$i","password":"x"}'::text, content_type => 'application/json', grace_period_secs => 20)`,
	`SELECT vault.bind_role_pair('pair/$i', 'bound$i', 'pair$i')`,
	`SELECT vault.configure_role('pair/$i', 'wait', 60)`,
	`SELECT vault.update_secret('pair/$i', '{"username":"pair$i","password":"y"}'::text, NULL)`,
	`SELECT * FROM vault.waiting_sessions()`,
	// Where a hand has given the table a trigger, the vault changes bound roles by statements.
	`CREATE OR REPLACE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
	`CREATE TRIGGER by_hand AFTER UPDATE ON vault.role_bindings FOR EACH STATEMENT EXECUTE FUNCTION public.nothing()`,
	`SELECT vault.update_secret('pair/$i', '{"username":"bound$i","password":"z"}'::text, NULL)`,
	`DROP TRIGGER by_hand ON vault.role_bindings`,
	`SELECT * FROM vault.next_login_defined((SELECT id FROM vault.list_secrets('pair/$i')))`,
	`SELECT vault.report_sessions('node$i', ARRAY[md5('$i')::uuid], '{1}', '{1}')`,
	`SELECT vault.prolong_roles()`,
	`SELECT * FROM vault.next_login_defined((SELECT id FROM vault.list_secrets('pair/$i')))`,
	`SELECT vault.expire_version('pair/$i', 1)`,
	`SELECT * FROM vault.list_login_methods()`,
	`SELECT * FROM vault.list_token_keys()`,
	`SELECT * FROM vault.wrap_answer(md5('w$i')::uuid, sha256('x$i'), 'a', 'p', ` + planSealed + `, 60, NULL, NULL, ` + planOrigin + `)`,
	`SELECT * FROM vault.read_wrapped(sha256('x$i'))`,
	`SELECT vault.unwrap_answer(sha256('x$i'), NULL, ` + planOrigin + `)`,
	`SELECT vault.read_secret('kept')`,
	`SELECT * FROM vault.read_secrets('{kept,fill/1/1,fill/1/none,empty/$i}')`,
	`SELECT * FROM vault.read_secrets_below('kep')`,
	`SELECT vault.grant_access('pg_monitor', 'kept', '{read}')`,
	`SET ROLE pg_monitor`,
	`SELECT * FROM vault.read_secrets('{kept,fill/1/1}')`,
	`SELECT vault.list_secrets('', 'new', 10)`,
	`RESET ROLE`,
	`SELECT vault.update_secret('kept', 'next', NULL)`,
	`SELECT vault.list_secrets('new')`,
	`SELECT vault.list_secrets('', 'new', 10)`,
}

// grownTables are the tables of the vault, partitions included, that have many rows, with how many.
func grownTables(s *session) map[string]int {
	out := map[string]int{}
	rows, _ := s.Query(bounded(s.t), "SELECT relname, reltuples::int FROM pg_class WHERE relnamespace = 'vault'::regnamespace AND relkind = 'r' AND reltuples > 3 * $1", fewRows)
	var name string
	var n int
	for rows.Next() {
		if err := rows.Scan(&name, &n); err != nil {
			s.t.Fatal(err)
		}
		out[name] = n
	}
	if err := rows.Err(); err != nil || len(out) < 7 {
		s.t.Fatalf("tables with many rows: %v, %v", out, err)
	}
	return out
}
