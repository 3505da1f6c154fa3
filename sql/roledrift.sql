
-- Drift: whether bound roles still have the passwords that the vault has set.

CREATE FUNCTION vault.login_ends_at(b vault.role_bindings) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- One that was not what it was when it retired was left alone, so its end is that of its version.
    SELECT coalesce(greatest(b.grace_ends_at, b.wait_until),
                    (SELECT v.expires_at FROM vault.secret_versions v WHERE v.secret_id = b.secret_id AND v.version = b.version), b.bound_at)
$$;
COMMENT ON FUNCTION vault.login_ends_at(vault.role_bindings)
    IS 'until when at most the role of a pair that is not current can log in; one that never was is shut out since it was bound';

CREATE FUNCTION vault.role_drift(b vault.role_bindings) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(vault.binding_fault(b),
        CASE WHEN b.version IS NOT NULL AND v.verifier IS NULL THEN
                 -- What the password of a role is that is shut out until its turn does not matter.
                 CASE WHEN b.version = s.current_version OR coalesce(r.rolvaliduntil, 'infinity') > clock_timestamp() THEN 'unchecked' END
             WHEN b.version IS NOT NULL AND vault.role_has(b.role, v.verifier) IS NOT TRUE THEN 'changed'
             WHEN r.rolvaliduntil <= clock_timestamp() AND b.version = s.current_version THEN 'expired'
             WHEN NOT r.rolcanlogin THEN 'no_login'
             WHEN b.version IS DISTINCT FROM s.current_version
                  AND coalesce(r.rolvaliduntil, 'infinity') > greatest(vault.login_ends_at(b), clock_timestamp()) THEN 'extended' END)
    FROM (SELECT) one
    LEFT JOIN vault.role_verifiers v ON v.secret_id = b.secret_id AND v.place = b.place
    LEFT JOIN vault.secrets s ON s.id = b.secret_id
    LEFT JOIN pg_roles r ON r.oid = b.role
$$;
COMMENT ON FUNCTION vault.role_drift(vault.role_bindings)
    IS 'how a bound role differs from what the vault has made it, null: not at all. It says what vault.binding_fault() says, or changed (another password), expired (VALID UNTIL), extended (VALID UNTIL of one that is not current), no_login, unchecked (restored from a dump)';

CREATE FUNCTION vault.repair_drift(b vault.role_bindings, drift text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF drift = 'extended' THEN
        PERFORM vault.alter_role(b.role, NULL, vault.login_ends_at(b), NULL);
    ELSE
        PERFORM vault.alter_role(b.role, v.verifier, CASE drift WHEN 'expired' THEN 'infinity'::timestamptz END, NULL)
        FROM vault.role_verifiers v WHERE v.secret_id = b.secret_id AND v.place = b.place;
    END IF;
    RETURN true;
EXCEPTION WHEN lock_not_available OR serialization_failure THEN
    RETURN false;  -- a transaction has altered the role, and may last: there is the next pass
END
$$;
COMMENT ON FUNCTION vault.repair_drift(vault.role_bindings, text) IS 'makes a bound role again what the vault has made it; false if another transaction has altered it';

CREATE FUNCTION vault.repairs_itself(b vault.role_bindings, drift text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b.auto_repair AND CASE drift
        WHEN 'changed' THEN b.version = (SELECT s.current_version FROM vault.secrets s WHERE s.id = b.secret_id)
        -- The vault never sets VALID UNTIL of a single role. An administrator may have shut it out by that, and the caller that
        -- bound it need not have the right to undo this.
        WHEN 'expired' THEN EXISTS (SELECT FROM vault.role_bindings o WHERE o.secret_id = b.secret_id AND o.place <> b.place)
        WHEN 'extended' THEN true
        ELSE false END
$$;
COMMENT ON FUNCTION vault.repairs_itself(vault.role_bindings, text) IS 'whether the supervisor repairs by itself what differs of a bound role';

CREATE FUNCTION vault.check_drift(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    s vault.secrets;
    b vault.role_bindings;
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    seen text;
    total bigint := 0;
BEGIN
    -- The secret is locked before its roles are changed, as everywhere; one that is being changed comes in the next
    -- pass. A batch bounds a pass; those that were checked longest ago come first.
    FOR b IN SELECT x.* FROM vault.role_bindings x ORDER BY x.checked_at NULLS FIRST LIMIT batch LOOP
        seen := vault.role_drift(b);
        CONTINUE WHEN seen IS NOT DISTINCT FROM b.drift AND (seen IS NULL OR NOT vault.repairs_itself(b, seen))
                      AND b.checked_at > stamp - interval '1 minute';
        SELECT * INTO s FROM vault.secrets x WHERE x.id = b.secret_id FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT * INTO b FROM vault.role_bindings x WHERE x.secret_id = b.secret_id AND x.place = b.place;
        CONTINUE WHEN NOT FOUND;
        seen := vault.role_drift(b);
        IF seen IS DISTINCT FROM b.drift AND seen IS NOT NULL THEN
            PERFORM vault.append_audit(origin, 'role_drift', s.name, b.version, 'failed', seen, NULL, jsonb_build_object('role', b.role_name, 'drift', seen));
            total := total + 1;
        END IF;
        IF seen IS NOT NULL AND vault.repairs_itself(b, seen) AND vault.repair_drift(b, seen) THEN
            PERFORM vault.append_audit(origin, 'repair_role', s.name, b.version, 'ok', '', NULL, jsonb_build_object('role', b.role_name, 'drift', seen));
            seen := NULL;
        END IF;
        UPDATE vault.role_bindings x
        SET drift = seen, checked_at = stamp,
            drift_since = CASE WHEN seen IS NOT NULL THEN coalesce(CASE WHEN seen = x.drift THEN x.drift_since END, stamp) END
        WHERE x.secret_id = b.secret_id AND x.place = b.place;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.check_drift(timestamptz, integer)
    IS 'finds bound roles that are not as the vault has made them, records them, and repairs those that are to be; returns how many it found';

CREATE FUNCTION vault.bindings_of(prefix text, caller oid, scopes jsonb) RETURNS SETOF vault.binding_info
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
    SELECT s.name, b.role_name, b.place = 2 OR EXISTS (SELECT FROM vault.role_bindings o WHERE o.secret_id = b.secret_id AND o.place <> b.place),
           coalesce(b.version = s.current_version, false), b.version, coalesce(vault.role_drift(b), 'ok'), b.drift_since,
           r.rolvaliduntil, b.auto_repair, b.bound_at, b.bound_by, b.session_policy, b.max_wait_secs
    FROM vault.role_bindings b
    -- OFFSET: few secrets are bound, and the plan must not go through all of them.
    CROSS JOIN LATERAL (SELECT o.name, o.current_version FROM vault.secrets o WHERE o.id = b.secret_id OFFSET 0) s
    LEFT JOIN pg_roles r ON r.oid = b.role
    WHERE vault.has_prefix(s.name, bindings_of.prefix)
      AND EXISTS (SELECT FROM vault.visible_names(bindings_of.caller, bindings_of.scopes) v
                  WHERE s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C")
    ORDER BY s.name, b.place
$$;
COMMENT ON FUNCTION vault.bindings_of(text, oid, jsonb) IS 'the bound roles of the secrets below a prefix that a caller may see';

CREATE FUNCTION vault.bound_roles(prefix text DEFAULT '') RETURNS SETOF vault.binding_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF bound_roles.prefix IS NULL THEN
        RAISE EXCEPTION 'prefix must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    RETURN QUERY SELECT * FROM vault.bindings_of(bound_roles.prefix, vault.outer_role(), NULL);
END
$$;
COMMENT ON FUNCTION vault.bound_roles(text)
    IS 'Lists the roles of PostgreSQL whose passwords are secrets below a prefix on which the caller has any right, and whether they are as the vault has made them.';
