
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
    IS 'Lists the grants of roles that did not exist where a dump was restored. They have no effect.';

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
    IS 'Grants to a role what was set aside for a missing role, and returns the number of actions.';

CREATE FUNCTION vault.forget_grants(role_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    forgotten bigint;
    what text := format('what was set aside for %I', forget_grants.role_name);
BEGIN
    PERFORM vault.require_manager('*');
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
COMMENT ON FUNCTION vault.forget_grants(text)
    IS 'Deletes what was set aside for a missing role, and returns the number of actions.';
