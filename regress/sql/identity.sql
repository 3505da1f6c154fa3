--
-- IDENTITY: who asks by REST, and what it may. f, a and c stand for the three arguments that say who asks.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
CREATE ROLE regress_vault_team;
CREATE ROLE regress_vault_app IN ROLE regress_vault_team;
CREATE ROLE regress_vault_manager;
SELECT vault.grant_service_role('regress_vault_service');
SELECT vault.grant_access('regress_vault_team', 'team/*', '{read,verify}');
SELECT vault.grant_access('regress_vault_app', 'app/*', '{read,update}');
SELECT vault.grant_access('regress_vault_manager', 'team/*', '{manage}');
-- fp: the fingerprint of the token with a number; make: a token of a role by an operator
CREATE FUNCTION fp(n integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT decode(repeat(lpad(to_hex(n + 100), 2, '0'), 32), 'hex') $$;
CREATE FUNCTION token(n integer, name text, ttl bigint DEFAULT 3600, scope jsonb DEFAULT NULL, cidrs cidr[] DEFAULT NULL)
RETURNS vault.new_token LANGUAGE sql AS $$ SELECT ROW(uuid(700 + n), fp(n), name, ttl, ttl * 2, true, scope, cidrs)::vault.new_token $$;
CREATE FUNCTION make(n integer, name text, role text, ttl bigint DEFAULT 3600, scope jsonb DEFAULT NULL, cidrs cidr[] DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', t.role, t.method, t.scopes, t.bound_cidrs, t.renewable)
    FROM vault.mint_token(token(n, name, ttl, scope, cidrs), role, 'token', ROW('here', 'cli:root', NULL, NULL, NULL)) t
$$;
-- ask: the cause of a refusal, the actor without the accessor, and the role, of one with the token n; 0: without
CREATE FUNCTION ask(n integer, action text, name text, a inet DEFAULT '192.0.2.1', c jsonb DEFAULT NULL) RETURNS text
LANGUAGE sql AS $$
    SELECT concat_ws(' ', coalesce(d.cause, 'allowed'), regexp_replace(d.actor, E'\x1f.*\x1f', ' '), d.acting)
    FROM vault.decide(CASE WHEN n > 0 THEN fp(n) END, a, c, action, name) d
$$;
-- secrets to ask for
SELECT put(801, 'team/a'), put(802, 'team/b'), put(803, 'app/a'), put(804, 'other/a');

-- without a token: vault_anonymous reads and verifies, and nothing else
SELECT ask(0, 'read', 'team/a'), ask(0, 'verify', 'never/was'), ask(0, 'list', 'team/a'), ask(0, 'list', NULL);
SELECT ask(0, 'update', 'team/a'), ask(0, 'manage', NULL), ask(0, 'audit', NULL), ask(0, 'self', NULL);
-- with one: the grants of its role, own and inherited
SELECT make(1, 'app', 'regress_vault_app'), make(2, 'admin', 'vault_admin'), make(3, 'manager', 'regress_vault_manager');
SELECT ask(1, 'read', 'team/a'), ask(1, 'read', 'app/a'), ask(1, 'update', 'app/a'), ask(1, 'update', 'team/a'), ask(1, 'read', 'other/a');
SELECT ask(1, 'list', NULL), ask(1, 'watch', NULL), ask(1, 'status', NULL), ask(1, 'audit', NULL), ask(1, 'manage', NULL);
SELECT ask(2, a, 'any/thing') FROM unnest(vault.all_actions()) a;
SELECT ask(3, 'manage', 'team/a'), ask(3, 'manage', 'team/sub/*'), ask(3, 'manage', 'team'), ask(3, 'manage', '*'), ask(3, 'manage', NULL);
-- a token that is none
SELECT ask(99, 'read', 'team/a'), ask(99, 'self', NULL);
-- a name that is refused and a name that is missing look alike
SELECT ask(1, 'read', 'other/a') = ask(1, 'read', 'other/missing');

-- scopes: all of them must allow
SELECT make(4, 'narrow', 'regress_vault_app', scope => '[{"pattern": "team/a", "actions": ["read"]}, {"pattern": "other/*", "actions": ["read"]}]');
SELECT ask(4, 'read', 'team/a'), ask(4, 'verify', 'team/a'), ask(4, 'read', 'team/b'), ask(4, 'read', 'app/a'), ask(4, 'read', 'other/a');
SELECT ask(4, 'list', 'team/a'), ask(4, 'list', 'team/b'), ask(4, 'list', 'other/a');
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '[]')$$);
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '{"pattern": "a"}')$$);
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '[{"pattern": "a"}]')$$);
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '[{"pattern": "a", "actions": ["fly"]}]')$$);
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '[{"pattern": "a/", "actions": ["read"]}]')$$);
SELECT try($$SELECT make(90, 'bad', 'vault_admin', scope => '[{"pattern": "a", "actions": ["read"], "more": 1}]')$$);
-- networks
SELECT make(5, 'bound', 'vault_admin', cidrs => '{192.0.2.0/24,2001:db8::/32}');
SELECT ask(5, 'read', 'a'), ask(5, 'read', 'a', '198.51.100.1'), ask(5, 'read', 'a', '2001:db8::1'), ask(5, 'read', 'a', NULL);

-- what lists show: ranges that the grants and the scopes have in common
SELECT v.* FROM vault.visible_names('regress_vault_app'::regrole) v ORDER BY 1;
SELECT v.* FROM vault.visible_names('regress_vault_app'::regrole, '[[{"pattern": "team/a", "actions": ["read"]}]]') v ORDER BY 1;
SELECT v.* FROM vault.visible_names('vault_admin'::regrole, '[[{"pattern": "a/*", "actions": ["read"]}], [{"pattern": "a/b/*", "actions": ["read", "update"]}]]') v ORDER BY 1;
SELECT v.* FROM vault.visible_names('vault_admin'::regrole, '[[{"pattern": "a/*", "actions": ["read"]}], [{"pattern": "a/b/*", "actions": ["update"]}]]') v ORDER BY 1;
SELECT v.* FROM vault.visible_names('vault_anonymous'::regrole, '[]') v ORDER BY 1;
SELECT d.cause, string_agg(i.name, ' ' ORDER BY i.name)
FROM vault.decide(fp(1), '192.0.2.1', NULL, 'list', NULL) d, vault.describe_visible(d.role, d.scopes, '', NULL, 2) i GROUP BY 1;
SELECT d.cause, string_agg(i.name, ' ' ORDER BY i.name)
FROM vault.decide(fp(1), '192.0.2.1', NULL, 'list', NULL) d, vault.describe_visible(d.role, d.scopes, 'team/', 'team/a', 2) i GROUP BY 1;
SELECT vault.visible_of('regress_vault_app'::regrole, NULL, '{team/a,other/a,app/b,team}');

-- several who ask at once: each gets what it may read, and a row at least
SELECT r.asked, r.cause, split_part(r.actor, E'\x1f', 1), r.acting, r.name, r.sealed_version
FROM vault.read_as(ARRAY[fp(1), NULL, fp(4), fp(99)], '{192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4}', '{NULL,NULL,NULL,NULL}',
                   '{1,1,2,2,3,3,4,1}', '{team/a,other/a,other/a,none/a,team/a,team/b,team/a,app/a}', NULL) r ORDER BY 1;
SELECT count(*) FROM vault.read_as(ARRAY[fp(1)], '{192.0.2.1}', '{NULL}', '{2}', '{team/a}', NULL);

-- children: narrower, and never longer than the parent
CREATE FUNCTION child(parent integer, n integer, name text, ttl bigint DEFAULT 3600, scope jsonb DEFAULT NULL, role text DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', t.role, t.scopes, t.parent, t.expires_at <= p.expires_at)
    FROM vault.create_token_as(fp(parent), '192.0.2.1', NULL, token(n, name, ttl, scope), role, 'here', 'r1') t
    LEFT JOIN vault.tokens p ON p.id = t.parent
$$;
SELECT child(1, 10, 'child', 7200, '[{"pattern": "*", "actions": ["read"]}]');
SELECT child(10, 11, 'grandchild', 60, '[{"pattern": "team/*", "actions": ["read", "update"]}]');
SELECT ask(10, 'read', 'app/a'), ask(10, 'update', 'app/a'), ask(11, 'read', 'team/a'), ask(11, 'read', 'app/a');
SELECT try($$SELECT child(1, 12, 'child')$$);
SELECT try($$SELECT child(1, 12, 'steals', role => 'vault_admin')$$);
SELECT try($$SELECT child(3, 12, 'steals', role => 'regress_vault_team')$$);
SELECT child(2, 12, 'given', role => 'regress_vault_team');
SELECT try($$SELECT child(2, 13, 'given', role => 'regress_vault_nobody_at_all')$$);
SELECT try($$SELECT vault.create_token_as(NULL, '192.0.2.1', NULL, token(13, 'x'), NULL, 'here', 'r1')$$);
SELECT try($$SELECT vault.create_token_as(fp(99), '192.0.2.1', NULL, token(13, 'x'), NULL, 'here', 'r1')$$);
-- whose tokens one sees and ends
SELECT (t.token).name FROM vault.tokens_as(fp(1), '192.0.2.1', NULL, NULL, 100) t;
SELECT count(*) FROM vault.tokens_as(fp(2), '192.0.2.1', NULL, NULL, 2) t;
SELECT t.cause, t.token IS NULL FROM vault.tokens_as(fp(99), '192.0.2.1', NULL, NULL, 100) t;
SELECT (t.token).name, (t.token).role FROM vault.token_as(fp(11), '192.0.2.1', NULL, NULL) t;
SELECT try($$SELECT vault.token_as(fp(11), '192.0.2.1', NULL, uuid(701))$$);
SELECT try($$SELECT vault.revoke_token_as(fp(11), '192.0.2.1', NULL, uuid(710), 'here', 'r1')$$);
SELECT try($$SELECT vault.revoke_token_as(NULL, '192.0.2.1', NULL, NULL, 'here', 'r1')$$);
-- renewal: by the lifetime, up to the longest and to the parent's end
SELECT t.expires_at <= p.expires_at, t.expires_at > now() FROM vault.renew_token_as(fp(10), '192.0.2.1', NULL, NULL, 100000000, 'here', 'r1') t, vault.tokens p WHERE p.id = t.parent;
SELECT t.expires_at = t.max_expires_at FROM vault.renew_token_as(fp(1), '192.0.2.1', NULL, NULL, 100000000, 'here', 'r1') t;
SELECT try($$SELECT vault.renew_token_as(fp(1), '192.0.2.1', NULL, NULL, 0, 'here', 'r1')$$);
SELECT make(20, 'endless', 'vault_admin', ttl => NULL);
SELECT try($$SELECT vault.renew_token_as(fp(20), '192.0.2.1', NULL, NULL, NULL, 'here', 'r1')$$);
-- a parent takes its descendants along
SELECT vault.revoke_token_as(fp(1), '192.0.2.1', NULL, uuid(710), 'here', 'r1');
SELECT ask(1, 'self', NULL), ask(10, 'self', NULL), ask(11, 'self', NULL);
SELECT try($$SELECT vault.revoke_token_as(fp(1), '192.0.2.1', NULL, uuid(710), 'here', 'r1')$$);
-- a child that was made while its parent ended
SELECT child(2, 14, 'orphan') LIKE 'vault_admin%';
UPDATE vault.tokens SET revoked_at = now() WHERE id = uuid(702);
SELECT ask(14, 'self', NULL);
UPDATE vault.tokens SET revoked_at = NULL WHERE id = uuid(702);
SELECT ask(14, 'self', NULL);
-- expired
UPDATE vault.tokens SET expires_at = now() - interval '1 s' WHERE id = uuid(704);
SELECT ask(4, 'read', 'team/a');
SELECT try($$SELECT vault.extend_token(uuid(704), 60, ROW('here', 'cli:root', NULL, NULL, NULL))$$);

-- roles that change
ALTER ROLE regress_vault_app RENAME TO regress_vault_renamed;
SELECT ask(1, 'read', 'app/a');
REVOKE regress_vault_team FROM regress_vault_renamed;
SELECT ask(1, 'read', 'team/a');
GRANT regress_vault_team TO regress_vault_renamed;
ALTER ROLE regress_vault_renamed RENAME TO regress_vault_app;
CREATE ROLE regress_vault_short;
SELECT make(21, 'short', 'regress_vault_short');
DROP ROLE regress_vault_short;
SELECT ask(21, 'self', NULL);

-- changes: the origin, or the refusal
SELECT o.node, split_part(o.actor, E'\x1f', 1), split_part(o.actor, E'\x1f', 2), split_part(o.actor, E'\x1f', 3), o.session_role, o.client_ip, o.request_id
FROM vault.admit(fp(1), '192.0.2.1', NULL, 'update', 'app/a', 'here', 'r2') o;
SELECT try($$SELECT vault.admit(fp(1), '192.0.2.1', NULL, 'update', 'team/a', 'here', 'r2')$$);
SELECT try($$SELECT vault.admit(fp(99), '192.0.2.1', NULL, 'update', 'app/a', 'here', 'r2')$$);
SELECT vault.append_audit(vault.admit(fp(1), '192.0.2.1', NULL, 'update', 'app/a', 'here', 'r2'), 'update', 'app/a', 2, 'ok', '');
SELECT actor, accessor, method, session_role FROM vault.audit(max_rows => 100000) WHERE request_id = 'r2';

-- batch tokens: claims, and the row that they name
INSERT INTO vault.login_methods (mount, kind, created_at, updated_at) VALUES ('jwt', 'jwt', now(), now());
INSERT INTO vault.login_roles (id, mount, name, holder, token_type, token_ttl_secs, token_max_ttl_secs, bound_cidrs, valid_from, created_at, updated_at)
VALUES (uuid(790), 'jwt', 'ci', 'regress_vault_app', 'batch', 60, 60, '{192.0.2.0/24}', '2026-01-02', now(), now());
CREATE FUNCTION claims(valid_from text, expires text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('login_role', uuid(790), 'name', 'ci-1', 'valid_from', valid_from, 'expires_at', expires) || more
$$;
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-02', '2999-01-01'));
SELECT ask(0, 'read', 'other/a', c => claims('2026-01-02', '2999-01-01'));
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-01', '2999-01-01')), ask(0, 'read', 'app/a', c => claims('2026-01-02', '2026-01-04'));
SELECT ask(0, 'read', 'app/a', '198.51.100.1', claims('2026-01-02', '2999-01-01'));
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-02', '2999-01-01', '{"bound_cidrs": ["192.0.2.128/25"]}'));
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-02', '2999-01-01', '{"scopes": [[{"pattern": "team/*", "actions": ["read"]}]]}'));
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-02', '2999-01-01', '{"scopes": null, "bound_cidrs": null}'));
SELECT ask(0, 'read', 'app/a', c => '{}'), ask(0, 'read', 'app/a', c => 'null');
UPDATE vault.login_roles SET valid_from = '2026-01-04' WHERE id = uuid(790);
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-02', '2999-01-01'));
DELETE FROM vault.login_roles WHERE mount = 'jwt';
DELETE FROM vault.login_methods WHERE mount = 'jwt';
SELECT ask(0, 'read', 'app/a', c => claims('2026-01-04', '2999-01-01'));

-- grants by REST: of patterns that the caller manages
SELECT vault.grant_as(fp(3), '192.0.2.1', NULL, 'regress_vault_app', 'team/sub/*', '{delete}', 'here', 'r3');
SELECT try($$SELECT vault.grant_as(fp(3), '192.0.2.1', NULL, 'regress_vault_app', '*', '{read}', 'here', 'r3')$$);
SELECT try($$SELECT vault.grant_as(fp(3), '192.0.2.1', NULL, 'no such role', 'team/x', '{read}', 'here', 'r3')$$);
SELECT try($$SELECT vault.grant_as(fp(3), '192.0.2.1', NULL, 'regress_vault_app', 'team/x', '{fly}', 'here', 'r3')$$);
SELECT ask(1, 'delete', 'team/sub/x');
SELECT grantee, pattern, action, granted_by FROM vault.access_as(fp(3), '192.0.2.1', NULL) ORDER BY 1, 2, 3;
SELECT cause FROM vault.access_as(fp(1), '192.0.2.1', NULL);
SELECT vault.revoke_as(fp(3), '192.0.2.1', NULL, 'regress_vault_app', 'team/sub/*', '{delete}', 'here', 'r3');
SELECT action, secret_name, actor FROM vault.audit(max_rows => 100000) WHERE request_id = 'r3' ORDER BY id;
-- why
SELECT e.subject, e.action, e.allowed, e.why, e.grantee, e.pattern, e.how FROM vault.explain_as(fp(1), '192.0.2.1', NULL, NULL, 'team/a') e;
SELECT e.cause FROM vault.explain_as(fp(1), '192.0.2.1', NULL, 'regress_vault_team', 'team/a') e;
SELECT e.action, e.allowed FROM vault.explain_as(fp(3), '192.0.2.1', NULL, 'regress_vault_app', 'team/a') e WHERE e.allowed;
SELECT * FROM vault.explain_access('regress_vault_app', 'app/a');

-- by SQL: who manages grants and makes tokens, and who does not
SET ROLE regress_vault_manager;
SELECT vault.grant_access('regress_vault_app', 'team/sub/*', '{delete}');
SELECT try($$SELECT vault.grant_access('regress_vault_app', 'app/*', '{delete}')$$);
SELECT try($$SELECT vault.create_token('regress_vault_manager', 'mine')$$);
SELECT try($$SELECT vault.token_list()$$);
RESET ROLE;
SELECT vault.create_token('regress_vault_app', 'by-sql', scope => '[{"pattern": "app/*", "actions": ["read"]}]') AS made \gset
SELECT :'made' ~ '^hvt_[A-Za-z0-9_-]{43}$';
SELECT split_part(d.actor, E'\x1f', 1), d.acting, d.cause FROM vault.decide(sha256(convert_to(:'made', 'UTF8')), NULL, NULL, 'read', 'app/a') d;
SELECT name, role, method, expires_at - created_at FROM vault.token_list() WHERE name = 'by-sql';
SELECT vault.renew_token(accessor, '1 day') > now() + interval '23 hours' FROM vault.token_list() WHERE name = 'by-sql';
SELECT vault.revoke_token(accessor) FROM vault.token_list() WHERE name = 'by-sql';
SELECT try($$SELECT vault.create_token('vault_owner', 'x')$$);
SELECT try($$SELECT vault.create_token('vault_admin', 'bad name')$$);
SELECT try($$SELECT vault.create_token('vault_admin', 'x', ttl => '-1 s')$$);
SELECT try($$SELECT vault.create_token('vault_admin', 'x', ttl => '2 h', max_ttl => '1 h')$$);
SELECT try($$SELECT vault.revoke_token(uuid(1))$$);

-- the defaults are grants like others, and can be taken back
SELECT vault.revoke_access('vault_anonymous', '*', '{read}');
SELECT ask(0, 'read', 'team/a'), ask(0, 'verify', 'team/a');
SELECT * FROM vault.revoked_defaults;
-- as where a dump is restored: the rows are there again, and are not in force
INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by, builtin) VALUES ('vault_anonymous', '*', 'read', now(), 'x', 'vault_anonymous');
SELECT ask(0, 'read', 'team/a');
SELECT vault.grant_access('vault_anonymous', '*', '{read}');
SELECT ask(0, 'read', 'team/a'), (SELECT count(*) FROM vault.access_list() WHERE grantee = 'vault_anonymous'::regrole AND action = 'read');

-- what ended long ago goes
SELECT vault.prune_tokens(now() + interval '1 h', 1000);
SELECT name FROM vault.token_list() WHERE name IN ('app', 'child', 'grandchild', 'narrow', 'by-sql') ORDER BY 1;

SELECT gone(801, 1), gone(802, 1), gone(803, 1), gone(804, 1);
DELETE FROM vault.tokens WHERE id BETWEEN uuid(700) AND uuid(799);
SELECT vault.revoke_access(grantee, pattern, ARRAY[action]) FROM vault.access_list() WHERE grantee::text LIKE 'regress_vault%' \g /dev/null
SELECT vault.revoke_service_role('regress_vault_service');
DROP FUNCTION make, ask, child, token, fp, claims;
DROP ROLE regress_vault_service, regress_vault_app, regress_vault_team, regress_vault_manager;
