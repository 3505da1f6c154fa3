
-- Access of SQL roles, by name or by prefix

CREATE FUNCTION vault.check_name(name text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_check_name' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.check_name(text) IS 'raises unless the text can be the name of a secret, or of a role template';

CREATE FUNCTION vault.check_pattern(pattern text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_check_pattern' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.check_pattern(text) IS 'raises unless the text is a name, a prefix a/b/*, or *';

-- The one rule of prefixes, as core.HasPrefix has it: "a/b" is a/b and all names below it, "a/b/" only those below, "" all.
-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.has_prefix(name text, prefix text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.starts_with(
        CASE WHEN pg_catalog.right(prefix, 1) OPERATOR(pg_catalog.=) '/' THEN name ELSE pg_catalog.concat(name, '/') END,
        CASE WHEN prefix OPERATOR(pg_catalog.=) '' OR pg_catalog.right(prefix, 1) OPERATOR(pg_catalog.=) '/' THEN prefix
             ELSE pg_catalog.concat(prefix, '/') END)
$$;
COMMENT ON FUNCTION vault.has_prefix(text, text) IS 'whether a prefix selects a name: whole segments, never a part of one';

-- No character of a name is above 'z', and '0' is the byte after '/'.
CREATE FUNCTION vault.prefix_end(prefix text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN prefix = '' THEN '~' ELSE rtrim(prefix, '/') || '0' END $$;
COMMENT ON FUNCTION vault.prefix_end(text) IS 'what is above every name with a prefix, in byte order';

CREATE FUNCTION vault.all_actions() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '{read,create,update,delete,rotate,verify,manage,audit}'::text[] $$;
COMMENT ON FUNCTION vault.all_actions() IS 'every action that can be granted';

CREATE FUNCTION vault.check_actions(actions text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    IF coalesce(cardinality(actions), 0) = 0 THEN
        RAISE EXCEPTION 'no actions given' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate, verify, manage and audit.';
    END IF;
    SELECT coalesce(a, 'NULL') INTO unknown FROM unnest(actions) a
    WHERE a IS NULL OR a <> ALL (vault.all_actions()) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unknown action "%"', unknown USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate, verify, manage and audit.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_actions(text[]) IS 'raises unless every element is an action';

CREATE FUNCTION vault.check_role(role regrole) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION 'role must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION 'role % does not exist', role USING ERRCODE = 'undefined_object';
    ELSIF role = 'vault_owner'::regrole THEN
        -- To take back from the owner what it was given would take its own functions from it.
        RAISE EXCEPTION 'vault_owner holds every privilege already' USING ERRCODE = 'invalid_grant_operation',
            HINT = 'Grant to the role that an application logs in as, or to a group of such roles.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_role(regrole) IS 'raises unless the role can be given something';

CREATE FUNCTION vault.shown_role(role regrole) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT CASE WHEN vault.shown_name(r.rolname) = r.rolname THEN role::text
                                 ELSE vault.shown_name(r.rolname) END
                     FROM pg_roles r WHERE r.oid = role), role::text)
$$;
COMMENT ON FUNCTION vault.shown_role(regrole) IS 'the quoted name of a role as text, whatever bytes it has';

CREATE FUNCTION vault.plain_role(role regrole) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce((SELECT vault.shown_name(r.rolname) FROM pg_roles r WHERE r.oid = role), role::oid::text) $$;
COMMENT ON FUNCTION vault.plain_role(regrole) IS 'the name of a role as REST and the commands take it, without quotes';

CREATE FUNCTION vault.check_role_name(role regrole) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name name := (SELECT r.rolname FROM pg_roles r WHERE r.oid = role);
BEGIN
    -- No dump could be restored that has it, and no client in another encoding could list the grants.
    IF vault.shown_name(name) <> name THEN
        RAISE EXCEPTION 'the name of role % is not valid UTF-8', vault.shown_name(name)
            USING ERRCODE = 'invalid_grant_operation', HINT = 'Rename the role, or grant to a group that it is a member of.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_role_name(regrole) IS 'raises if the name of a role is no text';

CREATE FUNCTION vault.entry_points(action text) RETURNS SETOF regprocedure
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
    FROM pg_proc p
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
    JOIN (VALUES ('read', 'read_secret'), ('read', 'read_secret_bytes'), ('read', 'read_secrets'),
                 ('read', 'read_secrets_below'), ('create', 'create_secret'),
                 ('create', 'create_metadata'), ('update', 'set_version_settings'), ('delete', 'delete_versions'),
                 ('update', 'undelete_versions'), ('delete', 'destroy_versions'), ('list', 'list_versions'),
                 ('list', 'list_deleted_secrets'), ('create', 'restore_secret'), ('delete', 'destroy_secret'), ('delete', 'destroy_deleted_secret'),
                 ('update', 'update_secret'), ('update', 'configure_secret'), ('rotate', 'expire_version'),
                 ('delete', 'delete_secret'), ('rotate', 'rotate_secret'),
                 ('update', 'bind_role'), ('update', 'bind_role_pair'), ('update', 'unbind_role'), ('create', 'import_role'),
                 ('rotate', 'repair_role'), ('verify', 'verify'), ('verify', 'verify_version'), ('list', 'list_secrets')) AS f(action, name) ON f.name = p.proname
    WHERE p.pronamespace = 'vault'::regnamespace AND f.action = $1
    UNION ALL
    -- By their arguments: functions of the sealed path have some of these names.
    SELECT f.signature::regprocedure
    FROM (VALUES ('list', 'vault.bound_roles(text)'), ('rotate', 'vault.role_sessions(text)'),
                 ('update', 'vault.configure_role(text,text,bigint,boolean)'), ('manage', 'vault.grant_access(regrole,text,text[])'), ('manage', 'vault.revoke_access(regrole,text,text[])'),
                 ('manage', 'vault.missing_grants()'), ('manage', 'vault.adopt_grants(text,regrole)'),
                 ('manage', 'vault.forget_grants(text)'), ('manage', 'vault.token_list()'),
                 ('manage', 'vault.create_token(regrole,text,interval,interval,boolean,jsonb,cidr[])'),
                 ('manage', 'vault.renew_token(uuid,interval)'), ('manage', 'vault.revoke_token(uuid)'),
                 ('manage', 'vault.access_list()'), ('manage', 'vault.who_may(text,text)'),
                 ('manage', 'vault.explain_access(regrole,text)'),
                 ('manage', 'vault.set_login_method(text,text,jsonb,text)'), ('manage', 'vault.drop_login_method(text)'),
                 ('manage', 'vault.set_login_role(text,text,regrole,jsonb,text,interval,interval,jsonb,cidr[])'),
                 ('manage', 'vault.drop_login_role(text,text)'), ('manage', 'vault.revoke_batch_tokens(text,text)'),
                 ('manage', 'vault.create_secret_id(text,text,interval,bigint,cidr[])'),
                 ('manage', 'vault.destroy_secret_id(text,text,uuid)'), ('manage', 'vault.login_method_list()'),
                 ('manage', 'vault.login_role_list(text)'), ('manage', 'vault.secret_id_list(text,text)'),
                 ('manage', 'vault.create_role_template(text,regrole[],interval,interval,text,integer,jsonb,regrole,boolean,integer)'),
                 ('manage', 'vault.drop_role_template(text)'), ('manage', 'vault.role_templates()'), ('create', 'vault.role_templates()'),
                 ('audit', 'vault.role_templates()'), ('create', 'vault.issue_role(text,interval)'),
                 ('create', 'vault.renew_lease(uuid,interval)'), ('manage', 'vault.renew_lease(uuid,interval)'),
                 ('list', 'vault.revoke_lease(uuid)'), ('list', 'vault.leases(text)'),
                 ('audit', 'vault.access_list()'), ('audit', 'vault.who_may(text,text)'),
                 ('audit', 'vault.explain_access(regrole,text)'), ('audit', 'vault.status()'), ('audit', 'vault.audit_after(bigint,integer)'),
                 ('audit', 'vault.audit(text,timestamptz,integer,timestamptz)')) AS f(action, signature)
    WHERE f.action = $1
$$;
COMMENT ON FUNCTION vault.entry_points(text) IS 'the functions that an action needs';

CREATE FUNCTION vault.admit_change(action text, target text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_admit_change' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.admit_change(text, text)
    IS 'raises on a standby and in a read-only transaction, after the key agent has recorded the attempt';

CREATE FUNCTION vault.record_failure(action text, target text, state text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_record_failure' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.record_failure(text, text, text)
    IS 'has the key agent record that an administrative call failed with an SQLSTATE; never raises for want of an agent';

CREATE FUNCTION vault.lock_grants() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Each grant changes the same rows of the catalogs, and PostgreSQL lets only one transaction do that at a time and fails
    -- the others. A lock of this table cannot be taken by other roles; an advisory one could. Decisions go on.
    LOCK TABLE vault.access_grants IN SHARE ROW EXCLUSIVE MODE;
END
$$;
COMMENT ON FUNCTION vault.lock_grants() IS 'waits until no other transaction changes grants, and keeps others waiting';

-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.grants() RETURNS SETOF vault.access_grants
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT g.* FROM vault.access_grants g
    WHERE g.builtin IS NULL
       OR NOT EXISTS (SELECT FROM vault.revoked_defaults r
                      WHERE r.role_name OPERATOR(pg_catalog.=) g.builtin AND r.action OPERATOR(pg_catalog.=) g.action)
$$;
COMMENT ON FUNCTION vault.grants() IS 'the grants in force: not those made with the extension that were taken back';

CREATE FUNCTION vault.granted_actions(role regrole, pattern text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(g.action ORDER BY g.action), '{}') FROM vault.grants() g
    WHERE g.grantee = granted_actions.role AND g.pattern = granted_actions.pattern
$$;
COMMENT ON FUNCTION vault.granted_actions(regrole, text) IS 'the actions that a role itself was granted on a pattern';

CREATE FUNCTION vault.grant_changed(role regrole, pattern text, held text[]) RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('role', vault.shown_role(role), 'pattern', pattern, 'old', jsonb_build_object('actions', held),
                              'new', jsonb_build_object('actions', vault.granted_actions(role, pattern)))
$$;
COMMENT ON FUNCTION vault.grant_changed(regrole, text, text[])
    IS 'the actions of a role on a pattern, before and after, for the audit';

CREATE FUNCTION vault.give_access(role regrole, pattern text, actions text[], origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    entry regprocedure;
    held text[];
BEGIN
    PERFORM vault.check_role_name(give_access.role);
    PERFORM vault.lock_grants();
    held := vault.granted_actions(give_access.role, give_access.pattern);
    INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
    SELECT vault.hold(give_access.role), give_access.pattern, a, clock_timestamp(), regexp_replace(origin.actor, '^role:|\x1f.*$', '', 'g')
    FROM (SELECT DISTINCT unnest(give_access.actions)) u (a)
    WHERE a <> ALL (held)
    ON CONFLICT (grantee, pattern, action) WHERE builtin IS NULL DO NOTHING;
    EXECUTE format('GRANT USAGE ON SCHEMA vault TO %s', give_access.role);
    FOR entry IN SELECT e FROM unnest(give_access.actions || '{list}') a, vault.entry_points(a) e LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry, give_access.role);
    END LOOP;
    PERFORM vault.append_audit(origin, 'grant', vault.grant_text(give_access.actions, give_access.pattern, 'to', give_access.role),
                               NULL, 'ok', '', NULL, vault.grant_changed(give_access.role, give_access.pattern, held));
END
$$;
COMMENT ON FUNCTION vault.give_access(regrole, text, text[], vault.audit_origin) IS 'what grant_access does once the caller may';

CREATE FUNCTION vault.grant_text(actions text[], pattern text, preposition text, role regrole) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%s on %s %s %s', array_to_string(actions, ','), pattern, preposition, vault.shown_role(role)) $$;
COMMENT ON FUNCTION vault.grant_text(text[], text, text, regrole) IS 'what the audit calls a grant';

CREATE FUNCTION vault.check_grant(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.check_role(role);
    IF pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.check_pattern(pattern);
    PERFORM vault.check_actions(actions);
END
$$;
COMMENT ON FUNCTION vault.check_grant(regrole, text, text[]) IS 'raises unless this can be granted';

CREATE FUNCTION vault.grant_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := format('to %s', vault.shown_role(grant_access.role));  -- what is no pattern is not recorded
BEGIN
    PERFORM vault.check_grant(grant_access.role, grant_access.pattern, grant_access.actions);
    what := vault.grant_text(grant_access.actions, grant_access.pattern, 'to', grant_access.role);
    PERFORM vault.require_manager(grant_access.pattern);
    PERFORM vault.admit_change('grant', what);
    PERFORM vault.give_access(grant_access.role, grant_access.pattern, grant_access.actions, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;  -- recorded already
    WHEN OTHERS THEN
        PERFORM vault.record_failure('grant', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.grant_access(regrole, text, text[])
    IS 'Allows a role, and every role that inherits from it, to do these actions on a name, on a prefix a/b/*, or on every name (*).';

CREATE FUNCTION vault.take_access(role regrole, pattern text, actions text[], origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held text[];
BEGIN
    PERFORM vault.lock_grants();
    held := vault.granted_actions(take_access.role, take_access.pattern);
    IF NOT held && take_access.actions THEN
        RAISE EXCEPTION 'role % holds no such grant on "%"', vault.shown_role(take_access.role), take_access.pattern
            USING ERRCODE = 'undefined_object', HINT = 'List the grants: SELECT * FROM vault.access_list();';
    END IF;
    INSERT INTO vault.revoked_defaults (role_name, action)
    SELECT DISTINCT g.builtin, g.action FROM vault.access_grants g
    WHERE g.builtin IS NOT NULL AND g.grantee = take_access.role AND g.pattern = take_access.pattern
      AND g.action = ANY (take_access.actions)
    ON CONFLICT ON CONSTRAINT revoked_defaults_pkey DO NOTHING;
    DELETE FROM vault.access_grants g
    WHERE g.grantee = take_access.role AND g.pattern = take_access.pattern
      AND g.action = ANY (take_access.actions);
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = take_access.role) THEN  -- a dropped one holds nothing else
        PERFORM vault.revoke_entry_points(take_access.role, take_access.actions);
    END IF;
    PERFORM vault.revoke_usage_if_idle(take_access.role);
    PERFORM vault.append_audit(origin, 'revoke', vault.grant_text(take_access.actions, take_access.pattern, 'from', take_access.role),
                               NULL, 'ok', '', NULL, vault.grant_changed(take_access.role, take_access.pattern, held));
END
$$;
COMMENT ON FUNCTION vault.take_access(regrole, text, text[], vault.audit_origin) IS 'what revoke_access does once the caller may';

CREATE FUNCTION vault.revoke_entry_points(role regrole, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry regprocedure;
BEGIN
    FOR entry IN
        WITH held AS (
            SELECT DISTINCT g.action FROM vault.grants() g WHERE g.grantee = revoke_entry_points.role
        )
        SELECT e FROM unnest(revoke_entry_points.actions || '{list}') a, vault.entry_points(a) e
        EXCEPT
        SELECT e FROM (SELECT h.action FROM held h UNION SELECT 'list' FROM held) a (action), vault.entry_points(a.action) e
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', entry, revoke_entry_points.role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.revoke_entry_points(regrole, text[])
    IS 'takes the functions of actions from a role, but for those that another action of its still needs';

CREATE FUNCTION vault.revoke_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := format('from %s', vault.shown_role(revoke_access.role));
BEGIN
    PERFORM vault.check_pattern(revoke_access.pattern);
    PERFORM vault.check_actions(revoke_access.actions);
    what := vault.grant_text(revoke_access.actions, revoke_access.pattern, 'from', revoke_access.role);
    PERFORM vault.require_manager(revoke_access.pattern);
    PERFORM vault.admit_change('revoke', what);
    PERFORM vault.take_access(revoke_access.role, revoke_access.pattern, revoke_access.actions, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('revoke', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_access(regrole, text, text[])
    IS 'Revokes actions that grant_access granted.';

CREATE FUNCTION vault.revoke_usage_if_idle(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A role that may call nothing here keeps no privilege that would stand in the way of DROP ROLE.
    IF NOT EXISTS (SELECT FROM pg_proc p, aclexplode(p.proacl) x
                   WHERE p.pronamespace = 'vault'::regnamespace AND x.grantee = role)
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        EXECUTE format('REVOKE USAGE ON SCHEMA vault FROM %s', role);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.revoke_usage_if_idle(regrole) IS 'revokes USAGE of the schema from a role that may call nothing in it';

CREATE FUNCTION vault.access_list()
RETURNS TABLE (grantee regrole, pattern text, action text, granted_at timestamptz, granted_by text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT g.grantee, g.pattern, g.action, g.granted_at, g.granted_by
                 FROM vault.grants() g WHERE g.grantee IS NOT NULL
                 ORDER BY g.grantee::text COLLATE "C", g.pattern, g.action;
END
$$;
COMMENT ON FUNCTION vault.access_list()
    IS 'Lists the grants on patterns that the caller may manage or audit.';
