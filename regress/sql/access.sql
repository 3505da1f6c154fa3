--
-- ACCESS: who may do what with which names. A call that gets past the decision here ends in "does not exist", one
-- that does not in "permission denied": no secret is needed to see the difference, and none is there.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_app;
CREATE ROLE regress_vault_other;
CREATE ROLE regress_vault_team;
CREATE ROLE regress_vault_inherits INHERIT IN ROLE regress_vault_team;
CREATE ROLE regress_vault_asks NOINHERIT IN ROLE regress_vault_team;
CREATE ROLE "regress_vault_O'Hara ""x""";

-- reads: what a read by the present role ends in, for one name
CREATE FUNCTION reads(name text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE state WHEN '42704' THEN 'allowed' WHEN '42501' THEN 'denied' ELSE state END
    FROM split_part(try(format('SELECT vault.read_secret(%L)', name)), ':', 1) state
$$;

--
-- good
--
SELECT vault.grant_access('regress_vault_app', 'app/db/password', '{read}');
SET ROLE regress_vault_app;
SELECT vault.read_secret('app/db/password');
SELECT vault.read_secret('app/db/other');
SELECT reads('app/db/password'), reads('app/db/passwor'), reads('app/db/password2'), reads('app/db/password/x'),
       reads('app/db'), reads('APP/db/password');
-- an action is only that action
SELECT try('SELECT vault.read_secret(''app/db/password'', 3)');
SELECT try('SELECT vault.read_secret_bytes(''app/db/password'')');
SELECT try('SELECT vault.verify(''app/db/password'', ''x'')');
SELECT try('SELECT vault.update_secret(''app/db/password'', ''x'', NULL)');
SELECT try('SELECT vault.rotate_secret(''app/db/password'')');
SELECT try('SELECT vault.delete_secret(''app/db/password'', NULL)');
SELECT try('SELECT vault.create_secret(''app/db/password'', ''x'')');
RESET ROLE;

-- more actions on the same name, then below a prefix, then on everything
SELECT vault.grant_access('regress_vault_app', 'app/db/password', '{verify,update,rotate,delete}');
SET ROLE regress_vault_app;
SELECT try('SELECT vault.verify(''app/db/password'', ''x'')');
SELECT try('SELECT vault.verify(''app/db/password'', ''\x00''::bytea)');
SELECT try('SELECT vault.update_secret(''app/db/password'', ''x'', NULL)');
SELECT try('SELECT vault.update_secret(''app/db/password'', ''\x00''::bytea, 1)');
SELECT try('SELECT vault.rotate_secret(''app/db/password'')');
SELECT try('SELECT vault.delete_secret(''app/db/password'', NULL)');
SELECT try('SELECT vault.create_secret(''app/db/password'', ''x'')');
RESET ROLE;
SELECT vault.grant_access('regress_vault_app', 'app/db/password', '{create}');
SET ROLE regress_vault_app;
-- past the decision, and stopped by the next thing
SELECT try('SELECT vault.create_secret(''app/db/password'', ''x'', content_type => ''nonsense'')');
SELECT try('SELECT vault.create_secret(''app/db/other'', ''x'', content_type => ''nonsense'')');
RESET ROLE;
SELECT vault.grant_access('regress_vault_app', 'web/*', '{read}');
SET ROLE regress_vault_app;
SELECT reads('web/a'), reads('web/a/b'), reads('web/*'), reads('web'), reads('webs/a'), reads('web-a/b'), reads('a/web/b');
RESET ROLE;
SELECT vault.grant_access('regress_vault_other', '*', '{read}');
SET ROLE regress_vault_other;
SELECT reads('a'), reads('web/a'), reads('x/y/z');
RESET ROLE;

-- granted twice is granted once; a superuser passes without a grant
SELECT vault.grant_access('regress_vault_app', 'web/*', '{read,read}');
SELECT vault.grant_access('regress_vault_app', 'web/*', '{read}');
SELECT reads('a'), reads('web/a');
SELECT grantee, pattern, action, granted_by = session_user, granted_at <= now() FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION';

-- the decision itself, as a policy to be read: role, action, name
SELECT caller, wanted, target, vault.may(caller::regrole, wanted, target) FROM (VALUES
    ('regress_vault_app', 'read', 'web/a'),
    ('regress_vault_app', 'read', 'web/a/b/c'),
    ('regress_vault_app', 'read', 'web'),
    ('regress_vault_app', 'read', 'webs'),
    ('regress_vault_app', 'read', NULL),
    ('regress_vault_app', NULL, 'web/a'),
    ('regress_vault_app', 'verify', 'web/a'),
    ('regress_vault_app', 'fly', 'web/a'),
    ('regress_vault_app', 'list', 'web/a'),
    ('regress_vault_app', 'list', 'other/a'),
    ('regress_vault_other', 'read', 'web/a'),
    ('regress_vault_other', 'verify', 'web/a'),
    ('regress_vault_team', 'read', 'web/a'),
    ('vault_owner', 'read', 'web/a'),
    ('-', 'read', 'web/a'),
    ('4294967295', 'read', 'web/a'),
    (NULL, 'read', 'web/a')) v (caller, wanted, target);
SELECT vault.may(oid, 'read', 'web/a') FROM pg_roles WHERE rolname = session_user;
SELECT try('SELECT vault.require(0, ''read'', ''web/a'')');
-- characters that are special in patterns elsewhere mean themselves here
SELECT vault.grant_access('regress_vault_team', 'a_b/x.y/*', '{read}');
SELECT target, vault.may('regress_vault_team'::regrole, 'read', target)
FROM unnest('{a_b/x.y/z,aXb/x.y/z,a_b/xzy/z}'::text[]) target;
SELECT vault.revoke_access('regress_vault_team', 'a_b/x.y/*', '{read}');

-- a list shows what the decision allows: random grants against names that are neighbours of each other
BEGIN;
CREATE FUNCTION pg_temp.disagree(rounds integer) RETURNS TABLE (wrong bigint, overlapping bigint, shown bigint, hidden bigint)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    parts text[] := '{a,a-,a.,a0,z,-}';
    names text[] := ARRAY(SELECT concat_ws('/', p, q, r) COLLATE "C" FROM unnest(parts) p, unnest(array_append(parts, NULL)) q, unnest('{a,NULL}'::text[]) r ORDER BY 1);
    role oid := 'regress_vault_team'::regrole;
    n bigint[];
BEGIN
    wrong := 0; overlapping := 0; shown := 0; hidden := 0;
    PERFORM setseed(0.25);
    FOR round IN 1 .. rounds LOOP
        DELETE FROM vault.access_grants WHERE grantee = role;
        INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
        SELECT vault.hold(role), u.* FROM (SELECT DISTINCT CASE WHEN random() < 0.02 THEN '*' ELSE name || CASE WHEN random() < 0.5 THEN '' ELSE '/*' END END,
               CASE WHEN random() < 0.5 THEN 'read' ELSE 'verify' END, now(), ''
        FROM (SELECT names[1 + floor(random() * cardinality(names))] FROM generate_series(1, 1 + floor(random() * 12)::integer)) g (name)) u;
        SELECT ARRAY[count(*) FILTER (WHERE (hits > 0) <> vault.may(role, 'list', name)), count(*) FILTER (WHERE hits > 1),
                     count(*) FILTER (WHERE hits = 1), count(*) FILTER (WHERE hits = 0)] INTO n
        FROM (SELECT name, (SELECT count(*) FROM vault.visible_names(role) v WHERE name >= v.first COLLATE "C" AND name < v.beyond COLLATE "C") hits
              FROM unnest(names) name) l;
        wrong := wrong + n[1]; overlapping := overlapping + n[2]; shown := shown + n[3]; hidden := hidden + n[4];
    END LOOP;
    RETURN NEXT;
END
$$;
SELECT wrong, overlapping, shown > 300, hidden > 300 FROM pg_temp.disagree(25);
ROLLBACK;
SELECT vault.visible_names('regress_vault_other'::regrole), vault.visible_names((SELECT oid FROM pg_roles WHERE rolname = session_user));
SELECT count(*) FROM vault.visible_names('regress_vault_team'::regrole);
SELECT count(*) FROM vault.visible_names(NULL);
-- and it does not ask for each of them
BEGIN;
SET LOCAL track_functions = 'all';
SET LOCAL ROLE regress_vault_other;
SELECT count(*) FROM vault.list_secrets('');
RESET ROLE;
SELECT funcname, calls FROM pg_stat_xact_user_functions WHERE funcname IN ('may', 'visible_names');
ROLLBACK;

--
-- roles
--
SELECT vault.grant_access('regress_vault_team', 'team/*', '{read}');
-- membership: with INHERIT at once, without it after SET ROLE
SET SESSION AUTHORIZATION regress_vault_inherits;
SELECT reads('team/a'), reads('web/a');
SET SESSION AUTHORIZATION regress_vault_asks;
SELECT try('SELECT vault.read_secret(''team/a'')');
SET ROLE regress_vault_team;
SELECT reads('team/a'), reads('web/a');
RESET SESSION AUTHORIZATION;
-- EXECUTE of its own does not stand in for the grant that the other role has
SELECT vault.grant_access('regress_vault_asks', 'own/*', '{read}');
SET SESSION AUTHORIZATION regress_vault_asks;
SELECT reads('own/a'), reads('team/a');
SET ROLE regress_vault_team;
SELECT reads('own/a'), reads('team/a');
RESET SESSION AUTHORIZATION;

-- the effective role at the call decides: an application's SECURITY DEFINER function has its owner's rights, not more
CREATE FUNCTION app_password() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT reads('app/db/password') $$;
CREATE FUNCTION team_secret() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT reads('team/a') $$;
ALTER FUNCTION app_password() OWNER TO regress_vault_app;
ALTER FUNCTION team_secret() OWNER TO regress_vault_app;
SET ROLE regress_vault_team;
SELECT reads('app/db/password'), app_password(), reads('team/a'), team_secret();
RESET ROLE;
-- and the role of the view's reader counts, not that of its owner: a view is no SECURITY DEFINER function
CREATE VIEW app_view AS SELECT reads('app/db/password');
ALTER VIEW app_view OWNER TO regress_vault_app;
GRANT SELECT ON app_view TO regress_vault_team;
SET ROLE regress_vault_team;
SELECT * FROM app_view;
RESET ROLE;
DROP VIEW app_view;
DROP FUNCTION app_password(), team_secret();

-- names that need quoting, also in the audit and the hint
SELECT vault.grant_access('"regress_vault_O''Hara ""x"""', 'q/*', '{read}');
SET ROLE "regress_vault_O'Hara ""x""";
SELECT reads('q/a');
SELECT vault.read_secret('z/a');
RESET ROLE;
SELECT vault.revoke_access('"regress_vault_O''Hara ""x"""', 'q/*', '{read}');
DROP ROLE "regress_vault_O'Hara ""x""";

-- a role that is renamed keeps what it has
ALTER ROLE regress_vault_app RENAME TO regress_vault_renamed;
SELECT DISTINCT grantee::text COLLATE "C" FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION' ORDER BY 1;
SET ROLE regress_vault_renamed;
SELECT reads('web/a'), reads('other/a');
RESET ROLE;
ALTER ROLE regress_vault_renamed RENAME TO regress_vault_app;

--
-- revoke
--
SELECT vault.revoke_access('regress_vault_app', 'app/db/password', '{read}');
SET ROLE regress_vault_app;
SELECT reads('app/db/password'), reads('web/a');
SELECT try('SELECT vault.verify(''app/db/password'', ''x'')');
RESET ROLE;
-- with the last grant of an action its functions go, with the last of all the schema
SELECT vault.revoke_access('regress_vault_app', 'web/*', '{read,verify}');
SELECT vault.revoke_access('regress_vault_app', 'app/db/password', '{create,update,rotate}');
SET ROLE regress_vault_app;
SELECT try('SELECT vault.read_secret(''web/a'')');
SELECT try('SELECT vault.update_secret(''app/db/password'', ''x'', NULL)');
SELECT try('SELECT vault.delete_secret(''app/db/password'', NULL)');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_app', 'app/db/password', '{verify,delete}');
SET ROLE regress_vault_app;
SELECT try('SELECT vault.list_secrets()');
RESET ROLE;
DROP ROLE regress_vault_app;
-- a narrower grant survives the wider one, and the other way round
SELECT vault.grant_access('regress_vault_other', 'a/*', '{read}');
SELECT vault.revoke_access('regress_vault_other', '*', '{read}');
SET ROLE regress_vault_other;
SELECT reads('a/b'), reads('c/d');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_other', 'a/*', '{read}');

-- a role that holds grants is not dropped by accident; dropped on purpose it leaves grants to no role
SELECT vault.grant_access('regress_vault_other', 'a/*', '{read}');
DROP ROLE regress_vault_other;
DROP OWNED BY regress_vault_other;
SET ROLE regress_vault_other;
SELECT try('SELECT vault.read_secret(''a/b'')');
RESET ROLE;
DROP ROLE regress_vault_other;
SELECT 'unknown', pattern, action FROM vault.access_list() WHERE grantee::oid NOT IN (SELECT oid FROM pg_roles);
-- not even to one of the same name
CREATE ROLE regress_vault_other;
SELECT vault.grant_access('regress_vault_other', 'b/*', '{read}');
SET ROLE regress_vault_other;
SELECT reads('a/b'), reads('b/b');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_other', 'a/*', '{read}');
SELECT vault.revoke_access('regress_vault_other', 'b/*', '{read}');
DROP ROLE regress_vault_other;
-- they can be taken back by number
SELECT vault.revoke_access(grantee, pattern, '{read}') FROM vault.access_list()
WHERE grantee::oid NOT IN (SELECT oid FROM pg_roles);
SELECT count(*) FROM vault.access_list() WHERE grantee::oid NOT IN (SELECT oid FROM pg_roles);

--
-- odd, but right
--
SELECT vault.grant_access('regress_vault_team', repeat('a', 255), '{read}');
SELECT vault.grant_access('regress_vault_team', repeat('b', 255) || '/*', '{read}');
SELECT vault.may('regress_vault_team'::regrole, 'read', repeat('a', 255));
SELECT vault.revoke_access('regress_vault_team', repeat('a', 255), '{read,create}');
SELECT vault.revoke_access('regress_vault_team', repeat('b', 255) || '/*', '{read}');
SELECT vault.grant_access('regress_vault_team', '-', '{read,verify}');
SELECT vault.revoke_access('regress_vault_team', '-', '{delete,verify,read,read}');
BEGIN;
SELECT vault.grant_access('regress_vault_team', 'rolled/back', '{read}');
ROLLBACK;
SELECT vault.may('regress_vault_team'::regrole, 'read', 'rolled/back');

--
-- wrong
--
-- who
SELECT try('SELECT vault.grant_access(''regress_vault_unborn'', ''a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''public'', ''a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''-'', ''a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''4294967295'', ''a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(NULL, ''a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''vault_owner'', ''a'', ''{read}'')');
SELECT try('SELECT vault.revoke_access(NULL, ''a'', ''{read}'')');
-- which names
SELECT try('SELECT vault.grant_access(''regress_vault_team'', NULL, ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', '''', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''/*'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''**'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a*'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a/*/b'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a/b*'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a/'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''/a'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a//b'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a/../b/*'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''%'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a b'', ''{read}'')');
SELECT try(E'SELECT vault.grant_access(''regress_vault_team'', ''a\nb'', ''{read}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''ä'', ''{read}'')');
SELECT try(format('SELECT vault.grant_access(''regress_vault_team'', %L, ''{read}'')', repeat('a', 256)));
-- what
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', NULL)');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{NULL}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{read,fly}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{READ}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{list}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{""}'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''read'')');
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''a'', ''{{read},{fly}}'')');
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', ''team/*'', ''{fly}'')');
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', ''team/*'', NULL)');
-- what was never given
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', ''team/*'', ''{delete}'')');
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', ''team'', ''{read}'')');
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', NULL, ''{read}'')');
-- nothing of that left a trace
SELECT grantee, pattern, action FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION';
-- no role grants to itself
SET ROLE regress_vault_team;
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''*'', ''{read}'')');
SELECT try('SELECT vault.access_list()');
RESET ROLE;

--
-- the service role: the sealed functions, all of them and nothing else
--
CREATE ROLE regress_vault_service;
SELECT vault.grant_service_role('regress_vault_service');
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'vault'::regnamespace AND has_function_privilege('regress_vault_service', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r'
    AND has_table_privilege('regress_vault_service', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SET ROLE regress_vault_service;
SELECT vault.extension_version() IS NOT NULL;
SELECT try('SELECT vault.read_secret(''team/a'')');
SELECT try('SELECT vault.audit()');
SELECT try('SELECT vault.grant_access(''regress_vault_service'', ''*'', ''{read}'')');
RESET ROLE;
-- both ways in one role: taking one back leaves the other
SELECT vault.grant_access('regress_vault_service', 'team/*', '{read}');
SELECT vault.revoke_service_role('regress_vault_service');
SET ROLE regress_vault_service;
SELECT reads('team/a');
SELECT try('SELECT vault.extension_version()');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_service', 'team/*', '{read}');
DROP ROLE regress_vault_service;
-- to take back what was not given is no error
SELECT vault.revoke_service_role('regress_vault_team');
SELECT try('SELECT vault.grant_service_role(NULL)');
SELECT try('SELECT vault.grant_service_role(''-'')');
SELECT try('SELECT vault.grant_service_role(''regress_vault_unborn'')');
SELECT try('SELECT vault.grant_service_role(''vault_owner'')');
SELECT try('SELECT vault.revoke_service_role(''vault_owner'')');
CREATE ROLE regress_vault_strong SUPERUSER;
SELECT try('SELECT vault.grant_service_role(''regress_vault_strong'')');
ALTER ROLE regress_vault_strong NOSUPERUSER BYPASSRLS;
SELECT try('SELECT vault.grant_service_role(''regress_vault_strong'')');
DROP ROLE regress_vault_strong;

--
-- all of it was written down: who gave what to whom
--
SELECT await_audit();
SELECT action, secret_name, outcome, code FROM vault.audit(max_rows => 10000)
WHERE action IN ('grant', 'revoke') AND secret_name ~ 'regress_vault_(team|O)' ORDER BY at, id;
SELECT count(*) FROM vault.audit(max_rows => 10000)
WHERE action IN ('grant', 'revoke')
  AND (actor, session_role) IS DISTINCT FROM ('role:' || session_user, session_user::text);

--
-- nothing is given or taken where nothing can be written
--
BEGIN READ ONLY;
SELECT try('SELECT vault.grant_access(''regress_vault_team'', ''*'', ''{read}'')');
SELECT try('SELECT vault.revoke_access(''regress_vault_team'', ''team/*'', ''{read}'')');
SELECT try('SELECT vault.grant_service_role(''regress_vault_team'')');
SELECT try('SELECT vault.revoke_service_role(''regress_vault_team'')');
ROLLBACK;

SELECT vault.revoke_access('regress_vault_team', 'team/*', '{read}');
SELECT vault.revoke_access('regress_vault_asks', 'own/*', '{read}');
SELECT * FROM vault.access_list() WHERE granted_by <> 'CREATE EXTENSION';
DROP ROLE regress_vault_inherits, regress_vault_asks, regress_vault_team;
DROP FUNCTION reads(text);

--
-- who may: every role that the decision lets, by which grant, and those that may after SET ROLE
--
CREATE ROLE regress_vault_who_group;
CREATE ROLE regress_vault_who_other;
CREATE ROLE regress_vault_who_root SUPERUSER;
CREATE ROLE regress_vault_who_member LOGIN IN ROLE regress_vault_who_group;
CREATE ROLE regress_vault_who_below IN ROLE regress_vault_who_member;
CREATE ROLE regress_vault_who_apart LOGIN NOINHERIT IN ROLE regress_vault_who_group;
CREATE ROLE regress_vault_who_become NOINHERIT IN ROLE regress_vault_who_root;
CREATE ROLE regress_vault_who_nobody LOGIN;
SELECT vault.grant_access('regress_vault_who_group', 'who/*', '{read,verify}');
SELECT vault.grant_access('regress_vault_who_member', 'who/a', '{read}');
SELECT vault.grant_access('regress_vault_who_other', '*', '{update}');
SELECT * FROM vault.who_may('who/a', 'read') WHERE role LIKE 'regress%';
SELECT * FROM vault.who_may('who/b', 'verify') WHERE role LIKE 'regress%' AND how <> 'superuser';
SELECT * FROM vault.who_may('who', 'read') WHERE role LIKE 'regress%' AND grantee IS NOT NULL;
SELECT * FROM vault.who_may('whom/a', 'update') WHERE role LIKE 'regress%' AND grantee IS NOT NULL;
-- it says the same as the decision does, for every role, action and name
SELECT count(*) FROM pg_roles r, unnest('{who/a,who/b,who,whom/a,other}'::text[]) n, unnest('{read,create,update,delete,rotate,verify}'::text[]) a
WHERE vault.may(r.oid, a, n) <> EXISTS (SELECT FROM vault.who_may(n, a) w WHERE w.role = r.rolname AND w.how <> 'set role');
SELECT try('SELECT vault.who_may(''who/*'', ''read'')');
SELECT try('SELECT vault.who_may(''*'', ''read'')');
SELECT try('SELECT vault.who_may(NULL, ''read'')');
SELECT try('SELECT vault.who_may(''who//a'', ''read'')');
SELECT try('SELECT vault.who_may(''who/a'', ''fly'')');
SELECT try('SELECT vault.who_may(''who/a'', NULL)');
SET ROLE regress_vault_who_member;
SELECT try('SELECT vault.who_may(''who/a'', ''read'')');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_who_group', 'who/*', '{read,verify}');
SELECT vault.revoke_access('regress_vault_who_member', 'who/a', '{read}');
SELECT vault.revoke_access('regress_vault_who_other', '*', '{update}');
DROP ROLE regress_vault_who_group, regress_vault_who_other, regress_vault_who_root, regress_vault_who_member, regress_vault_who_below,
    regress_vault_who_apart, regress_vault_who_become, regress_vault_who_nobody;
