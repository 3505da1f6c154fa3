
-- The decisions. The caller is the effective role at the call. As everywhere in PostgreSQL, privileges are inherited and
-- a superuser passes.

CREATE FUNCTION vault.pattern_matches(pattern text, target text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pattern OPERATOR(pg_catalog.=) target OR pattern OPERATOR(pg_catalog.=) '*'
        OR (pg_catalog.right(pattern, 2) OPERATOR(pg_catalog.=) '/*'
            AND pg_catalog.starts_with(target, pg_catalog.left(pattern, -1)))
$$;
COMMENT ON FUNCTION vault.pattern_matches(text, text) IS 'whether the pattern of a grant selects a name';

CREATE FUNCTION vault.matching_patterns(target text) RETURNS text[]
AS 'MODULE_PATHNAME', 'hv_matching_patterns' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.matching_patterns(text)
    IS 'every pattern that selects a name, by vault.pattern_matches(): itself, * and a prefix for each slash';

CREATE FUNCTION vault.patterns_of_names(names text[]) RETURNS text[]
AS 'MODULE_PATHNAME', 'hv_patterns_of_names' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.patterns_of_names(text[])
    IS 'every pattern that selects at least one of several names: the vault.matching_patterns() of each';

CREATE FUNCTION vault.is_superuser(role oid) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_is_superuser' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION vault.is_superuser(oid)
    IS 'whether a role is a superuser by what is committed now; false where there is no such role, or null';

-- Without SET, so that the planner can expand it and finds the grants by index.
CREATE FUNCTION vault.granting(caller oid, wanted text, patterns text[]) RETURNS SETOF vault.access_grants
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT g.* FROM vault.grants() g
    WHERE g.pattern OPERATOR(pg_catalog.=) ANY (patterns)
      AND (wanted OPERATOR(pg_catalog.=) 'list' OR g.action OPERATOR(pg_catalog.=) wanted)
      AND pg_catalog.pg_has_role(caller, g.grantee, 'USAGE')
$$;
COMMENT ON FUNCTION vault.granting(oid, text, text[])
    IS 'the grants, of those on some patterns, that let a role do an action; list: any action at all';

-- It reads the grants itself, by index, and decides as vault.is_superuser() and vault.granting() do.
CREATE FUNCTION vault.may(caller oid, wanted text, target text) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_may' LANGUAGE C STABLE PARALLEL SAFE;
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
            SELECT g.grantee AS oid, g.pattern FROM vault.grants() g JOIN pg_roles r ON r.oid = g.grantee
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
    IS 'Lists the roles that may do an action on a name, each with the grant that allows it. Roles that need SET ROLE for it are included.';

CREATE FUNCTION vault.scopes_allow(scopes jsonb, wanted text, target text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT scopes IS NULL OR NOT EXISTS (
        SELECT FROM jsonb_array_elements(scopes) s (scope)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(s.scope) e (entry)
                          WHERE e.entry -> 'actions' ? wanted AND vault.pattern_matches(e.entry ->> 'pattern', target)))
$$;
COMMENT ON FUNCTION vault.scopes_allow(jsonb, text, text) IS 'whether every scope of a token allows an action on a name';

-- Below a prefix 'a/' are the names from 'a/' to 'a0', the byte after '/'; no character of a name is above 'z' or below '-'.
-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.pattern_range(pattern text) RETURNS TABLE (first text, beyond text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
AS $$
    SELECT CASE WHEN pattern OPERATOR(pg_catalog.=) '*' THEN ''
                WHEN pg_catalog.right(pattern, 2) OPERATOR(pg_catalog.=) '/*' THEN pg_catalog.left(pattern, -1)
                ELSE pattern END,
           CASE WHEN pattern OPERATOR(pg_catalog.=) '*' THEN '~'
                WHEN pg_catalog.right(pattern, 2) OPERATOR(pg_catalog.=) '/*' THEN pg_catalog.concat(pg_catalog.left(pattern, -2), '0')
                ELSE pg_catalog.concat(pattern, '!') END
$$;
COMMENT ON FUNCTION vault.pattern_range(text) IS 'the names that a pattern selects, as a range of byte order without its end';

-- In PL/pgSQL, which keeps the plan: a function in SQL is planned at each call.
CREATE FUNCTION vault.granted_ranges(caller oid, actions text[]) RETURNS TABLE (action text, low text, high text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF vault.is_superuser(granted_ranges.caller) THEN
        RETURN QUERY SELECT a.action, '', '~' FROM unnest(granted_ranges.actions) a (action);
    END IF;
    RETURN QUERY
        SELECT g.action, p.first, p.beyond
        FROM vault.grants() g CROSS JOIN LATERAL vault.pattern_range(g.pattern) p
        WHERE g.action = ANY (granted_ranges.actions) AND pg_has_role(granted_ranges.caller, g.grantee, 'USAGE');
END
$$;
COMMENT ON FUNCTION vault.granted_ranges(oid, text[]) IS 'the names on which a role may do each action, grant by grant';

-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.scoped_ranges(scopes jsonb) RETURNS TABLE (n bigint, action text, low text, high text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 5
AS $$
    SELECT s.n, a.action, p.first, p.beyond
    FROM pg_catalog.jsonb_array_elements(scopes) WITH ORDINALITY s (scope, n)
    CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(s.scope) e (entry)
    CROSS JOIN LATERAL pg_catalog.jsonb_array_elements_text(e.entry OPERATOR(pg_catalog.->) 'actions') a (action)
    CROSS JOIN LATERAL vault.pattern_range(e.entry OPERATOR(pg_catalog.->>) 'pattern') p
$$;
COMMENT ON FUNCTION vault.scoped_ranges(jsonb) IS 'the names on which each scope of a token allows each action';

CREATE FUNCTION vault.common_ranges(caller oid, scopes jsonb, actions text[]) RETURNS TABLE (low text, high text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- Of two ranges of patterns either one has the other in it or they are apart. So what all scopes and some grant have in
    -- common is made of ranges of theirs.
    RETURN QUERY
        WITH granted AS MATERIALIZED (SELECT * FROM vault.granted_ranges(common_ranges.caller, common_ranges.actions)),
             scoped AS MATERIALIZED (SELECT * FROM vault.scoped_ranges(common_ranges.scopes))
        SELECT c.low, c.high
        FROM (SELECT g.action, g.low, g.high FROM granted g UNION SELECT s.action, s.low, s.high FROM scoped s) c
        WHERE EXISTS (SELECT FROM granted g
                      WHERE g.action = c.action AND g.low COLLATE "C" <= c.low AND c.high COLLATE "C" <= g.high)
          AND NOT EXISTS (SELECT FROM generate_series(1, jsonb_array_length(common_ranges.scopes)) x (k)
                          WHERE NOT EXISTS (SELECT FROM scoped s WHERE s.n = x.k AND s.action = c.action
                                                                  AND s.low COLLATE "C" <= c.low AND c.high COLLATE "C" <= s.high));
END
$$;
COMMENT ON FUNCTION vault.common_ranges(oid, jsonb, text[]) IS 'the names on which a grant and every scope of a token allow the same action';

-- For all names at once: to ask vault.may of each takes seconds where there are many.
CREATE FUNCTION vault.visible_names(caller oid, scopes jsonb DEFAULT NULL, actions text[] DEFAULT vault.all_actions())
RETURNS TABLE (first text, beyond text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    lows text[];
    highs text[];
BEGIN
    IF visible_names.scopes IS NULL THEN
        SELECT array_agg(r.low), array_agg(r.high) INTO lows, highs
        FROM vault.granted_ranges(visible_names.caller, visible_names.actions) r;
    ELSE
        SELECT array_agg(r.low), array_agg(r.high) INTO lows, highs
        FROM vault.common_ranges(visible_names.caller, visible_names.scopes, visible_names.actions) r;
    END IF;
    RETURN QUERY
        WITH nested AS (
            SELECT a.low, a.high, max(a.high) OVER (ORDER BY a.low, a.high DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
            FROM (SELECT DISTINCT u.low COLLATE "C" AS low, u.high COLLATE "C" AS high FROM unnest(lows, highs) u (low, high)) a
        )
        SELECT low, high FROM nested WHERE reached IS NULL OR high > reached;
END
$$;
COMMENT ON FUNCTION vault.visible_names(oid, jsonb, text[])
    IS 'the names on which a role, within the scopes of a token, may do one of some actions, as ranges of byte order without their end, which do not overlap';

CREATE FUNCTION vault.grant_hint(caller oid, pattern text, wanted text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND vault.shown_name(r.rolname) <> r.rolname)
                THEN 'The name of your role is not valid UTF-8: an administrator has to rename it first.'
                ELSE format('An administrator can allow it: SELECT vault.grant_access(%L, %L, ''{%s}'');', caller::regrole, pattern, wanted) END
$$;
COMMENT ON FUNCTION vault.grant_hint(oid, text, text) IS 'how an administrator gives a role the right that it was refused for';

CREATE FUNCTION vault.require(caller oid, wanted text, target text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Decided by the name alone, before anything is looked up: existing or not, a refusal reads the same.
    IF vault.may(caller, wanted, target) IS NOT TRUE THEN
        RAISE EXCEPTION 'permission denied to % secret "%"', wanted, target
            USING ERRCODE = 'insufficient_privilege',
                  HINT = vault.grant_hint(caller, target, CASE wanted WHEN 'list' THEN 'read' ELSE wanted END);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require(oid, text, text) IS 'raises unless vault.may()';

CREATE FUNCTION vault.outer_role() RETURNS oid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- Not current_user, which is the owner here, and not session_user, which SET ROLE leaves as it is.
    SELECT r.oid FROM pg_roles r
    WHERE r.rolname = CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END
$$;
COMMENT ON FUNCTION vault.outer_role() IS 'the role that called from outside: the one of SET ROLE, or of the login';

CREATE FUNCTION vault.require_manager(pattern text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The pattern of a grant selects patterns as it selects names.
    IF vault.may(vault.outer_role(), 'manage', require_manager.pattern) IS NOT TRUE THEN
        RAISE EXCEPTION 'permission denied to manage access to "%"', require_manager.pattern
            USING ERRCODE = 'insufficient_privilege',
                  HINT = vault.grant_hint(vault.outer_role(), require_manager.pattern, 'manage');
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_manager(text) IS 'raises unless the calling role may manage access to a pattern';

CREATE FUNCTION vault.explain_role(caller oid, scopes jsonb, name text)
RETURNS TABLE (action text, allowed boolean, cause text, grantee text, pattern text, how text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT a.action,
               vault.scopes_allow(scopes, a.action, explain_role.name) AND w.how IS NOT NULL,
               CASE WHEN w.how IS NULL THEN 'grant' WHEN NOT vault.scopes_allow(scopes, a.action, explain_role.name) THEN 'scope' END,
               w.grantee, w.pattern, w.how
        FROM unnest(vault.all_actions()) WITH ORDINALITY a (action, n)
        LEFT JOIN LATERAL (
            SELECT NULL::text AS grantee, NULL::text AS pattern, 'superuser' AS how
            FROM pg_roles r WHERE r.oid = explain_role.caller AND r.rolsuper
            UNION ALL
            SELECT vault.shown_name(r.rolname), g.pattern, CASE WHEN r.oid = explain_role.caller THEN 'granted' ELSE 'inherited' END
            FROM vault.grants() g JOIN pg_roles r ON r.oid = g.grantee
            WHERE g.action = a.action AND vault.pattern_matches(g.pattern, explain_role.name)
              AND pg_has_role(explain_role.caller, g.grantee, 'USAGE')) w ON true
        ORDER BY a.n, w.how DESC, w.grantee, w.pattern COLLATE "C";
END
$$;
COMMENT ON FUNCTION vault.explain_role(oid, jsonb, text) IS 'each action on a name, and each grant that allows it to a role';

CREATE FUNCTION vault.explain_access(role regrole, name text)
RETURNS TABLE (action text, allowed boolean, cause text, grantee text, pattern text, how text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.check_role(explain_access.role);
    IF explain_access.name IS NULL THEN
        RAISE EXCEPTION 'name must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.check_pattern(explain_access.name);
    RETURN QUERY SELECT * FROM vault.explain_role(explain_access.role, NULL, explain_access.name);
END
$$;
COMMENT ON FUNCTION vault.explain_access(regrole, text)
    IS 'Explains for each action on a name why a role may or may not do it: by which grant, and whether the grant is its own or inherited.';
