--
-- LOGIN: methods, their roles, secret ids and the keys of batch tokens.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_web;
CREATE ROLE regress_vault_clerk;
CREATE ROLE regress_vault_other;
SELECT vault.grant_access('regress_vault_web', 'web/*', '{read}');
SELECT vault.grant_access('regress_vault_clerk', '*', '{manage}');
CREATE FUNCTION fp(n integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT decode(repeat(lpad(to_hex(n), 2, '0'), 32), 'hex') $$;
CREATE FUNCTION token(n integer, name text) RETURNS vault.new_token LANGUAGE sql AS $$ SELECT ROW(uuid(900 + n), fp(n), name, NULL, NULL, true, NULL, NULL)::vault.new_token $$;
CREATE FUNCTION origin(a inet DEFAULT '192.0.2.1') RETURNS vault.audit_origin LANGUAGE sql AS $$ SELECT ROW('here', 'login:web', NULL, a, 'req-login')::vault.audit_origin $$;
-- look: what a login finds
CREATE FUNCTION look(mount text, role text, secret bytea DEFAULT NULL, a inet DEFAULT '192.0.2.1') RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', (f.method).kind, (f.login_role).name, (f.login_role).role, (f.login_role).token_type, 'address', f.address_ok,
                     f.secret_id_cause, CASE WHEN f.secret_id_counted THEN 'counted' END)
    FROM vault.find_login(mount, role, secret, a) f
$$;

-- methods
SET ROLE regress_vault_clerk;
SELECT vault.set_login_method('approle', 'approle');
SELECT vault.set_login_method('kubernetes', 'jwt', '{"issuer": "https://kubernetes.default.svc", "jwks_url": "https://kubernetes.default.svc/openid/v1/jwks"}', 'the cluster');
SELECT vault.set_login_method('kubernetes', 'jwt', '{"issuer": "https://kubernetes.default.svc", "jwks_url": "https://kubernetes.default.svc/openid/v1/jwks", "default_role": "web"}', 'the cluster');
SELECT vault.set_login_method('cert', 'cert');
SELECT mount, kind, description, config, revision FROM vault.login_method_list();
SELECT try($$SELECT vault.set_login_method('approle', 'jwt')$$);
SELECT try($$SELECT vault.set_login_method('token', 'approle')$$);
SELECT try($$SELECT vault.set_login_method('a/b', 'approle')$$);
SELECT try($$SELECT vault.set_login_method(NULL, 'approle')$$);
SELECT try($$SELECT vault.set_login_method('ldap', 'ldap')$$);
SELECT try($$SELECT vault.set_login_method('jwt', 'jwt', '{"isuer": "x"}')$$);
SELECT try($$SELECT vault.set_login_method('jwt', 'jwt', '[]')$$);
SELECT try($$SELECT vault.set_login_method('jwt', 'jwt', NULL)$$);
SELECT try($$SELECT vault.set_login_method('jwt', 'jwt', '{"static_keys": ["-----BEGIN PRIVATE KEY-----"]}')$$);
SELECT try($$SELECT vault.drop_login_method('missing')$$);

-- roles
SELECT vault.set_login_role('approle', 'web', 'regress_vault_web', '{"secret_id_num_uses": 2, "secret_id_ttl_secs": 3600}', bound_cidrs => '{192.0.2.0/24}') IS NOT NULL;
SELECT vault.set_login_role('kubernetes', 'web', 'regress_vault_web', '{"bound_audiences": ["vault"], "bound_subject": "s"}', 'batch', scope => '[{"pattern": "web/*", "actions": ["read"]}]') IS NOT NULL;
SELECT vault.set_login_role('cert', 'a', 'regress_vault_web', '{"allowed_common_names": ["a"]}') IS NOT NULL, vault.set_login_role('cert', 'b', 'regress_vault_web', '{"allowed_common_names": ["b"]}') IS NOT NULL;
SELECT name, role, config, token_type, token_ttl_secs, token_max_ttl_secs, scopes, bound_cidrs FROM vault.login_role_list('kubernetes');
SELECT try($$SELECT vault.set_login_role('missing', 'web', 'regress_vault_web')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a/b', 'regress_vault_web')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', token_type => 'root')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', token_type => 'batch', token_ttl => '2 days', token_max_ttl => '2 days')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', token_ttl => '2 days')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', token_ttl => NULL)$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', scope => '{}')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'regress_vault_web', '{"secret_id_uses": 1}')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', 'vault_owner')$$);
SELECT try($$SELECT vault.set_login_role('approle', 'a', NULL)$$);
SELECT try($$SELECT vault.drop_login_role('approle', 'missing')$$);

-- secret ids: shown once, listed without fingerprints, within what the role allows
SELECT vault.create_secret_id('approle', 'web') ~ '^hvi_[A-Za-z0-9_-]{43}$';
SELECT uses_left, bound_cidrs, expires_at - created_at FROM vault.secret_id_list('approle', 'web');
SELECT vault.create_secret_id('approle', 'web', '1 minute', 1, '{192.0.2.7/32}') IS NOT NULL, vault.create_secret_id('approle', 'web', '1 day', 9) IS NOT NULL;
SELECT uses_left, bound_cidrs, expires_at - created_at FROM vault.secret_id_list('approle', 'web') ORDER BY 1, 3;
SELECT try($$SELECT vault.create_secret_id('kubernetes', 'web')$$);
SELECT try($$SELECT vault.create_secret_id('approle', 'missing')$$);
SELECT try($$SELECT vault.create_secret_id('approle', 'web', '0 seconds')$$);
SELECT try($$SELECT vault.create_secret_id('approle', 'web', uses => 0)$$);
SELECT try($$SELECT vault.destroy_secret_id('approle', 'web', '00000000-0000-4000-8000-000000000001')$$);
SELECT count(vault.destroy_secret_id('approle', 'web', id)) FROM vault.secret_id_list('approle', 'web');
SELECT count(*) FROM vault.secret_id_list('approle', 'web');
RESET ROLE;

-- those who may not manage everything
SET ROLE regress_vault_web;
SELECT try($$SELECT vault.set_login_method('mine', 'approle')$$);
SELECT try($$SELECT * FROM vault.login_method_list()$$);
RESET ROLE;
-- but a role that manages every name that a login reaches hands out its secret ids
SELECT vault.grant_access('regress_vault_web', 'web/*', '{manage}');
SET ROLE regress_vault_web;
SELECT try($$SELECT vault.set_login_method('mine', 'approle')$$);
SELECT try($$SELECT vault.create_secret_id('approle', 'web')$$);
SELECT count(vault.destroy_secret_id('approle', 'web', id)) FROM vault.secret_id_list('approle', 'web');
SELECT try($$SELECT vault.create_secret_id('approle', 'missing')$$);
SELECT try($$SELECT * FROM vault.secret_id_list('kubernetes', 'missing')$$);
SELECT try($$SELECT vault.destroy_secret_id('approle', 'missing', '00000000-0000-4000-8000-000000000001')$$);
SELECT try($$SELECT vault.revoke_batch_tokens('kubernetes', 'web')$$);
RESET ROLE;
SELECT vault.revoke_access('regress_vault_web', 'web/*', '{manage}');

-- what a login finds
SELECT id AS web FROM vault.login_role_list('approle') \gset
SELECT (vault.put_secret_id(uuid(910), 'approle', 'web', fp(10), NULL, NULL, NULL, origin())).uses_left;
SELECT (vault.put_secret_id(uuid(911), 'approle', 'web', fp(11), NULL, NULL, '{192.0.2.7/32}', origin())).uses_left;
SELECT look('missing', 'web');
SELECT look('approle', :'web', fp(10));
SELECT look('approle', :'web', fp(10), '198.51.100.1');
SELECT look('approle', :'web', fp(11)), look('approle', :'web', fp(11), '192.0.2.7');
SELECT look('approle', :'web', fp(99)), look('approle', :'web'), look('approle', 'web', fp(10)), look('approle', '', fp(10)), look('approle', NULL, fp(10));
SELECT look('kubernetes', 'web'), look('kubernetes', ''), look('kubernetes', 'missing');
SELECT look('cert', '');
SELECT look('cert', 'b');

-- a login by secret id: each use counts, and a login that fails costs none
SELECT t.name, t.role, t.method, t.renewable, t.ttl_secs, t.bound_cidrs, t.max_expires_at - t.created_at
FROM vault.login_by_secret_id(:'web', fp(10), token(1, 'web'), origin()) t;
SELECT try(format($$SELECT vault.login_by_secret_id(%L, fp(10), token(1, 'web'), origin())$$, :'web'));
SELECT uses_left FROM vault.secret_id_list('approle', 'web') WHERE id = uuid(910);
SELECT try(format($$SELECT vault.use_secret_id(%L, fp(10), '192.0.2.1')$$, :'web'));
SELECT try(format($$SELECT vault.use_secret_id(%L, fp(10), '192.0.2.1')$$, :'web'));
SELECT try(format($$SELECT vault.login_by_secret_id(%L, fp(10), token(2, 'web'), origin())$$, :'web'));
SELECT try(format($$SELECT vault.login_by_secret_id(%L, fp(99), token(2, 'web'), origin())$$, :'web'));
SELECT try(format($$SELECT vault.login_by_secret_id(%L, fp(11), token(2, 'web'), origin())$$, :'web'));
SELECT try(format($$SELECT vault.login_by_secret_id(%L, fp(11), token(2, 'web'), origin('192.0.2.7'))$$, uuid(1)));
SELECT look('approle', :'web', fp(10));
UPDATE vault.secret_ids SET expires_at = now() WHERE id = uuid(911);
SELECT look('approle', :'web', fp(11), '192.0.2.7');
SELECT action, actor, secret_name, outcome, accessor = uuid(901), method, details ->> 'name' FROM vault.audit(max_rows => 100000) WHERE request_id = 'req-login' AND action = 'login';

-- batch tokens: valid_from ends those that were issued under an earlier one
SELECT id AS k8s, valid_from AS before FROM vault.login_role_list('kubernetes') \gset
CREATE FUNCTION batch(role uuid, valid_from text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', coalesce(d.cause, 'allowed'), translate(d.actor, E'\x1f', '|'), d.acting)
    FROM vault.decide(NULL, '192.0.2.1', jsonb_build_object('login_role', role, 'name', 'pod', 'valid_from', valid_from, 'expires_at', '2999-01-01', 'scopes', NULL), 'read', 'web/a') d
$$;
SELECT batch(:'k8s', :'before');
SELECT vault.set_login_role('kubernetes', 'web', 'regress_vault_web', '{"bound_audiences": ["vault"], "bound_subject": "t"}', 'batch') = :'k8s';
SELECT batch(:'k8s', :'before');
SELECT vault.revoke_batch_tokens('kubernetes', 'web') > :'before';
SELECT batch(:'k8s', :'before');
SELECT valid_from AS before FROM vault.login_role_list('kubernetes') \gset
SELECT batch(:'k8s', :'before'), batch(:'k8s', '2998-01-01');
-- a login role that acts as another role ends them, too: they would gain its rights
SELECT vault.set_login_role('kubernetes', 'web', 'regress_vault_clerk', '{"bound_audiences": ["vault"], "bound_subject": "t"}', 'batch') = :'k8s';
SELECT batch(:'k8s', :'before');
-- it issues no stored token
SELECT try(format($$SELECT vault.login_token(%L, token(3, 'pod'), origin())$$, :'k8s'));

-- keys of batch tokens: of several at once, one makes the next
SELECT vault.put_token_key(uuid(920), 'local:k', '\x01', NULL, origin()), vault.put_token_key(uuid(921), 'local:k', '\x01', NULL, origin());
SELECT vault.put_token_key(uuid(922), 'local:k', '\x02', uuid(920), origin()), vault.put_token_key(uuid(923), 'local:k', '\x02', uuid(920), origin());
SELECT id, kms_key_id, wrapped_key FROM vault.list_token_keys();
-- pruning: used up and expired secret ids, and keys that were replaced long ago
SELECT vault.prune_logins(now() - interval '7 days', 100);
SELECT id FROM vault.secret_ids ORDER BY id;
SELECT count(*) FROM vault.token_keys;
SELECT vault.prune_logins(now() + interval '1 day', 100);
SELECT id FROM vault.secret_ids ORDER BY id;
SELECT id FROM vault.token_keys;

-- a role that goes: no login is for it
SELECT vault.set_login_role('cert', 'gone', 'regress_vault_other', '{"allowed_common_names": ["g"]}') IS NOT NULL;
DROP ROLE regress_vault_other;
SELECT look('cert', 'gone');
SELECT id AS gone FROM vault.login_role_list('cert') WHERE name = 'gone' \gset
SELECT left(try(format($$SELECT vault.login_token(%L, token(4, 'g'), origin())$$, :'gone')), 11);

-- people: a user, and the verifier of a password, which the API makes
SELECT vault.set_login_method('userpass', 'userpass'), vault.set_login_role('userpass', 'alice', 'regress_vault_web', bound_cidrs => '{192.0.2.0/24}') IS NOT NULL;
SELECT try($$SELECT vault.set_login_role('userpass', 'Bob', 'regress_vault_web')$$);
SELECT try($$SELECT vault.set_login_role('userpass', 'bob', 'regress_vault_web', '{"password": "x"}')$$);
SELECT address_ok, (login_role).name, verifier FROM vault.find_login('userpass', 'alice', NULL, '192.0.2.1');
CREATE FUNCTION verifier(salt text) RETURNS text LANGUAGE sql AS $$ SELECT '$argon2id$v=19$m=19456,t=2,p=1$' || rpad(salt, 22, 'A') || '$' || repeat('B', 43) $$;
SELECT (vault.set_password_with_verifier('userpass', 'alice', verifier('one'), origin())).name;
SELECT address_ok, verifier FROM vault.find_login('userpass', 'alice', NULL, '198.51.100.1');
SELECT vault.replace_with_verifier(id, verifier('other'), verifier('two')), vault.replace_with_verifier(id, verifier('one'), verifier('three')) FROM vault.login_role_list('userpass');
SELECT (vault.set_password_with_verifier('userpass', 'alice', verifier('four'), origin())).name;
SELECT verifier FROM vault.login_passwords;
SELECT verifier FROM vault.find_login('userpass', 'bob', NULL, '192.0.2.1');
SELECT try($$SELECT vault.set_password_with_verifier('userpass', 'alice', 'correct horse', origin())$$);
SELECT try($$SELECT vault.set_password_with_verifier('userpass', 'alice', NULL, origin())$$);
SELECT try($$SELECT vault.set_password_with_verifier('userpass', 'bob', verifier('one'), origin())$$);
SELECT try($$SELECT vault.set_password_with_verifier('cert', 'a', verifier('one'), origin())$$);
-- no manager calls these functions or sees the table, and no other role
SET ROLE regress_vault_clerk;
SELECT try($$SELECT vault.set_password_with_verifier('userpass', 'alice', 'v', NULL)$$);
SELECT try($$SELECT vault.replace_with_verifier(NULL, 'v', 'w')$$);
SELECT try($$SELECT * FROM vault.find_login('userpass', 'alice', NULL, NULL)$$);
SELECT try($$SELECT * FROM vault.login_passwords$$);
RESET ROLE;
SELECT count(*) FROM vault.audit_log WHERE details::text LIKE '%argon2%';
DROP FUNCTION verifier;
SELECT vault.drop_login_role('userpass', 'alice');
SELECT count(*) FROM vault.login_passwords;

-- deletion
SELECT vault.drop_login_method('userpass');
SELECT vault.drop_login_role('kubernetes', 'web');
SELECT batch(:'k8s', :'before');
SELECT vault.drop_login_method('approle'), vault.drop_login_method('kubernetes'), vault.drop_login_method('cert');
SELECT (SELECT count(*) FROM vault.login_roles), (SELECT count(*) FROM vault.secret_ids);
-- what happened, and what was refused; nothing of it is secret
SELECT secret_name, outcome, count(*) FROM vault.audit(max_rows => 100000) WHERE action = 'auth_configure' AND outcome = 'ok' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM vault.audit_log WHERE details::text LIKE '%hvi!_%' ESCAPE '!' OR details ? 'fingerprint';

DELETE FROM vault.token_keys;
DELETE FROM vault.tokens WHERE method <> 'token';
SELECT vault.revoke_access('regress_vault_web', 'web/*', '{read}');
SELECT vault.revoke_access('regress_vault_clerk', '*', '{manage}');
DROP FUNCTION look, batch, token, fp, origin;
DROP ROLE regress_vault_web, regress_vault_clerk;
