
-- Access of SQL roles, by name or by prefix

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

CREATE FUNCTION vault.check_actions(actions text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    IF coalesce(cardinality(actions), 0) = 0 THEN
        RAISE EXCEPTION 'no actions given' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate and verify.';
    END IF;
    SELECT coalesce(a, 'NULL') INTO unknown FROM unnest(actions) a
    WHERE a IS NULL OR a NOT IN ('read', 'create', 'update', 'delete', 'rotate', 'verify') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unknown action "%"', unknown USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate and verify.';
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
    JOIN (VALUES ('read', 'read_secret'), ('read', 'read_secret_bytes'), ('create', 'create_secret'),
                 ('update', 'update_secret'), ('update', 'configure_secret'), ('rotate', 'expire_version'),
                 ('delete', 'delete_secret'), ('rotate', 'rotate_secret'),
                 ('verify', 'verify'), ('verify', 'verify_version'), ('list', 'list_secrets')) AS f(action, name) ON f.name = p.proname
    WHERE p.pronamespace = 'vault'::regnamespace AND f.action = $1
$$;
COMMENT ON FUNCTION vault.entry_points(text) IS 'the plaintext functions that an action needs';

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

CREATE FUNCTION vault.granted_actions(role regrole, pattern text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(g.action ORDER BY g.action), '{}') FROM vault.access_grants g
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

CREATE FUNCTION vault.grant_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    entry regprocedure;
    held text[];
    what text := format('to %s', vault.shown_role(grant_access.role));  -- what is no pattern is not recorded
BEGIN
    PERFORM vault.check_role(grant_access.role);
    PERFORM vault.check_role_name(grant_access.role);
    IF grant_access.pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.check_pattern(grant_access.pattern);
    PERFORM vault.check_actions(grant_access.actions);
    what := format('%s on %s to %s', array_to_string(grant_access.actions, ','), grant_access.pattern, grant_access.role);
    PERFORM vault.admit_change('grant', what);
    PERFORM vault.lock_grants();
    held := vault.granted_actions(grant_access.role, grant_access.pattern);
    INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
    SELECT vault.hold(grant_access.role), grant_access.pattern, a, clock_timestamp(), vault.shown_name(session_user)
    FROM (SELECT DISTINCT unnest(grant_access.actions)) u (a)
    ON CONFLICT ON CONSTRAINT access_grants_key DO NOTHING;
    EXECUTE format('GRANT USAGE ON SCHEMA vault TO %s', grant_access.role);
    FOR entry IN SELECT e FROM unnest(grant_access.actions || '{list}') a, vault.entry_points(a) e LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry, grant_access.role);
    END LOOP;
    PERFORM vault.append_audit(vault.local_origin(), 'grant', what, NULL, 'ok', '', NULL,
                               vault.grant_changed(grant_access.role, grant_access.pattern, held));
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;  -- recorded already
    WHEN OTHERS THEN
        PERFORM vault.record_failure('grant', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.grant_access(regrole, text, text[])
    IS 'lets a role, and every role that inherits from it, do actions on a name or a prefix a/b/*';

CREATE FUNCTION vault.revoke_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    gone text;
    entry regprocedure;
    held text[];
    what text := format('from %s', vault.shown_role(revoke_access.role));
BEGIN
    PERFORM vault.check_pattern(revoke_access.pattern);
    PERFORM vault.check_actions(revoke_access.actions);
    what := format('%s on %s from %s', array_to_string(revoke_access.actions, ','), revoke_access.pattern,
                   vault.shown_role(revoke_access.role));
    PERFORM vault.admit_change('revoke', what);
    PERFORM vault.lock_grants();
    held := vault.granted_actions(revoke_access.role, revoke_access.pattern);
    DELETE FROM vault.access_grants g
    WHERE g.grantee = revoke_access.role AND g.pattern = revoke_access.pattern
      AND g.action = ANY (revoke_access.actions);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % holds no such grant on "%"', vault.shown_role(revoke_access.role), revoke_access.pattern
            USING ERRCODE = 'undefined_object', HINT = 'List the grants: SELECT * FROM vault.access_list();';
    END IF;
    FOR gone IN
        SELECT a FROM unnest(revoke_access.actions || '{list}') a
        WHERE NOT EXISTS (SELECT FROM vault.access_grants g
                          WHERE g.grantee = revoke_access.role AND (g.action = a OR a = 'list'))
          AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = revoke_access.role)  -- a dropped one holds nothing else
    LOOP
        FOR entry IN SELECT e FROM vault.entry_points(gone) e LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', entry, revoke_access.role);
        END LOOP;
    END LOOP;
    PERFORM vault.revoke_usage_if_idle(revoke_access.role);
    PERFORM vault.append_audit(vault.local_origin(), 'revoke', what, NULL, 'ok', '', NULL,
                               vault.grant_changed(revoke_access.role, revoke_access.pattern, held));
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('revoke', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_access(regrole, text, text[]) IS 'takes back what grant_access gave';

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
                 FROM vault.access_grants g WHERE g.grantee IS NOT NULL
                 ORDER BY g.grantee::text COLLATE "C", g.pattern, g.action;
END
$$;
COMMENT ON FUNCTION vault.access_list() IS 'all grants of access to SQL roles';

-- What a restore found no role for. It is given to no role because of its name: that may be another one's here.

CREATE FUNCTION vault.missing_grants()
RETURNS TABLE (role_name text, pattern text, action text, granted_at timestamptz, granted_by text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT vault.missing_name(g.holder), g.pattern, g.action, g.granted_at, g.granted_by
                 FROM vault.access_grants g WHERE g.grantee IS NULL
                 ORDER BY vault.missing_name(g.holder) COLLATE "C", g.pattern, g.action;
END
$$;
COMMENT ON FUNCTION vault.missing_grants()
    IS 'grants of roles that were missing where a dump was restored; they have no effect';

CREATE FUNCTION vault.adopt_grants(role_name text, role regrole) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held record;
    adopted bigint := 0;
BEGIN
    FOR held IN
        SELECT m.pattern, array_agg(m.action ORDER BY m.action) AS actions FROM vault.missing_grants() m
        WHERE m.role_name = adopt_grants.role_name GROUP BY m.pattern ORDER BY m.pattern
    LOOP
        PERFORM vault.grant_access(adopt_grants.role, held.pattern, held.actions);
        adopted := adopted + cardinality(held.actions);
    END LOOP;
    DELETE FROM vault.access_grants g
    WHERE g.grantee IS NULL AND vault.missing_name(g.holder) = adopt_grants.role_name;
    RETURN adopted;
END
$$;
COMMENT ON FUNCTION vault.adopt_grants(text, regrole)
    IS 'grants to a role what was set aside for a name, and returns how many actions';

CREATE FUNCTION vault.forget_grants(role_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    forgotten bigint;
    what text := format('what was set aside for %I', forget_grants.role_name);
BEGIN
    PERFORM vault.admit_change('revoke', what);
    PERFORM vault.lock_grants();
    DELETE FROM vault.access_grants g
    WHERE g.grantee IS NULL AND vault.missing_name(g.holder) = forget_grants.role_name;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    IF forgotten > 0 THEN
        PERFORM vault.append_audit(vault.local_origin(), 'revoke', what, NULL, 'ok', '');
    END IF;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION vault.forget_grants(text) IS 'deletes what was set aside for a name, and returns how many actions';

-- The decisions. The caller is the effective role at the call; privileges are inherited as everywhere in
-- PostgreSQL; a superuser passes, as everywhere.

CREATE FUNCTION vault.pattern_matches(pattern text, target text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pattern OPERATOR(pg_catalog.=) target OR pattern OPERATOR(pg_catalog.=) '*'
        OR (pg_catalog.right(pattern, 2) OPERATOR(pg_catalog.=) '/*'
            AND pg_catalog.starts_with(target, pg_catalog.left(pattern, -1)))
$$;
COMMENT ON FUNCTION vault.pattern_matches(text, text) IS 'whether the pattern of a grant selects a name';

CREATE FUNCTION vault.may(caller oid, wanted text, target text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND r.rolsuper)
        OR EXISTS (SELECT FROM vault.access_grants g
                   WHERE (wanted = 'list' OR g.action = wanted)
                     AND vault.pattern_matches(g.pattern, target)
                     AND pg_has_role(caller, g.grantee, 'USAGE'));
END
$$;
COMMENT ON FUNCTION vault.may(oid, text, text) IS 'whether a role may do an action on a name; list: any action at all';

CREATE FUNCTION vault.who_may(name text, action text)
RETURNS TABLE (role text, can_login boolean, how text, as_role text, grantee text, pattern text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Before PostgreSQL 16 every member may SET ROLE.
    settable text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF who_may.name IS NULL OR who_may.name = '*' OR right(who_may.name, 2) = '/*' THEN
        RAISE EXCEPTION 'name must be the name of one secret' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_pattern(who_may.name);
    PERFORM vault.check_actions(ARRAY[who_may.action]);
    RETURN QUERY
        WITH allowing AS (
            SELECT g.grantee AS oid, g.pattern FROM vault.access_grants g JOIN pg_roles r ON r.oid = g.grantee
            WHERE g.action = who_may.action AND vault.pattern_matches(g.pattern, who_may.name)
        ), able AS (  -- what a role may without SET ROLE; of superusers it says so, and not what they would inherit
            SELECT r.oid, 'superuser' AS how, NULL::oid AS grantee, NULL::text AS pattern FROM pg_roles r WHERE r.rolsuper
            UNION ALL
            SELECT r.oid, CASE WHEN r.oid = a.oid THEN 'granted' ELSE 'inherited' END, a.oid, a.pattern
            FROM pg_roles r JOIN allowing a ON pg_has_role(r.oid, a.oid, 'USAGE') WHERE NOT r.rolsuper
        ), becoming AS (
            SELECT r.oid, a.oid AS as_role, a.grantee, a.pattern
            FROM pg_roles r JOIN able a ON a.oid <> r.oid AND pg_has_role(r.oid, a.oid, settable)
            WHERE NOT r.rolsuper
              AND NOT EXISTS (SELECT FROM able own WHERE own.oid = r.oid AND own.grantee = a.grantee)
        )
        SELECT vault.shown_name(r.rolname), r.rolcanlogin, x.how, vault.shown_name(b.rolname), vault.shown_name(g.rolname), x.pattern
        FROM (SELECT a.oid, a.how, NULL::oid AS as_role, a.grantee, a.pattern FROM able a
              UNION ALL SELECT c.oid, 'set role', c.as_role, c.grantee, c.pattern FROM becoming c) x
        JOIN pg_roles r ON r.oid = x.oid
        LEFT JOIN pg_roles b ON b.oid = x.as_role
        LEFT JOIN pg_roles g ON g.oid = x.grantee
        ORDER BY r.rolname, x.how, b.rolname, g.rolname, x.pattern COLLATE "C";
END
$$;
COMMENT ON FUNCTION vault.who_may(text, text)
    IS 'the roles that may do an action on a name, and the grant that lets each; also those that may after SET ROLE';

-- The same for all names at once: to ask vault.may of each takes seconds where there are many. Below a prefix 'a/' are
-- the names from 'a/' to 'a0', the byte after '/'; no character of a name is above 'z' or below '-'.
CREATE FUNCTION vault.visible_names(caller oid) RETURNS TABLE (first text, beyond text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND r.rolsuper) THEN
        RETURN QUERY VALUES ('', '~');
        RETURN;
    END IF;
    RETURN QUERY
        WITH granted AS (
            SELECT CASE WHEN g.pattern = '*' THEN '' WHEN right(g.pattern, 2) = '/*' THEN left(g.pattern, -1)
                        ELSE g.pattern END COLLATE "C" AS low,
                   CASE WHEN g.pattern = '*' THEN '~' WHEN right(g.pattern, 2) = '/*' THEN left(g.pattern, -2) || '0'
                        ELSE g.pattern || '!' END COLLATE "C" AS high
            FROM vault.access_grants g WHERE pg_has_role(caller, g.grantee, 'USAGE')
        ), nested AS (
            SELECT low, high, max(high) OVER (ORDER BY low, high DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
            FROM granted
        )
        -- Two ranges are apart, or one has the other in it.
        SELECT low, high FROM nested WHERE reached IS NULL OR high > reached;
END
$$;
COMMENT ON FUNCTION vault.visible_names(oid)
    IS 'the names on which a role may do anything at all, as ranges of byte order without their end, which do not overlap';

CREATE FUNCTION vault.require(caller oid, wanted text, target text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Decided by the name alone, before anything is looked up: existing or not, a refusal reads the same.
    IF vault.may(caller, wanted, target) IS NOT TRUE THEN
        RAISE EXCEPTION 'permission denied to % secret "%"', wanted, target
            USING ERRCODE = 'insufficient_privilege',
                  HINT = CASE WHEN EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND vault.shown_name(r.rolname) <> r.rolname)
                              THEN 'The name of your role is not valid UTF-8: an administrator has to rename it first.'
                              ELSE format('An administrator can allow it: SELECT vault.grant_access(%L, %L, ''{%s}'');',
                                          caller::regrole, target, wanted) END;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require(oid, text, text) IS 'raises unless vault.may()';
