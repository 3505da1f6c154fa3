
-- What programs of protocol 1 call. They know admin tokens alone: those that act as vault_admin, without limits.

CREATE FUNCTION vault.create_token(id uuid, name text, fingerprint bytea, expires_at timestamptz,
                                   origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    INSERT INTO vault.tokens (id, name, fingerprint, created_at, expires_at, holder, method, renewable)
    VALUES (create_token.id, create_token.name, create_token.fingerprint, clock_timestamp(), create_token.expires_at,
            vault.hold('vault_admin'::regrole), 'token', false)
    ON CONFLICT (name) WHERE revoked_at IS NULL AND method = 'token' DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" already exists', create_token.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'tokens_name_key';
    END IF;
    PERFORM vault.append_audit(origin, 'token_create', create_token.name, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.create_token(uuid, text, bytea, timestamptz, vault.audit_origin)
    IS 'stores the SHA-256 fingerprint of a new admin token';

CREATE FUNCTION vault.active_tokens() RETURNS TABLE (id uuid, name text, fingerprint bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT t.id, t.name, t.fingerprint FROM vault.tokens t
                 WHERE t.role = to_regrole('vault_admin') AND t.scopes IS NULL AND t.bound_cidrs IS NULL
                   AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
                 ORDER BY t.name;
END
$$;
COMMENT ON FUNCTION vault.active_tokens() IS 'fingerprints that a presented token is compared with';

CREATE FUNCTION vault.list_tokens()
RETURNS TABLE (id uuid, name text, created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT t.id, t.name, t.created_at, t.expires_at, t.revoked_at FROM vault.tokens t
                 WHERE t.role = to_regrole('vault_admin') AND t.scopes IS NULL AND t.bound_cidrs IS NULL
                 ORDER BY t.created_at, t.name;
END
$$;
COMMENT ON FUNCTION vault.list_tokens() IS 'all admin tokens ever made, without fingerprints';

CREATE FUNCTION vault.revoke_token(name text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.tokens t SET revoked_at = clock_timestamp()
    WHERE t.name = revoke_token.name AND t.revoked_at IS NULL AND t.method = 'token';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" does not exist', revoke_token.name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.append_audit(origin, 'token_revoke', revoke_token.name, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.revoke_token(text, vault.audit_origin) IS 'ends an admin token at once';

CREATE FUNCTION vault.audit_page(after_id bigint, max_rows integer)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Ids from here on may belong to transactions that are not over. Null: all records were restored from a dump.
    beyond bigint := (SELECT n.base FROM vault.audit_numbering n)
                     + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 22);
BEGIN
    RETURN QUERY
        SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
               l.outcome, l.code, l.request_id, l.details
        FROM vault.audit_log l
        WHERE l.id > audit_page.after_id AND l.id < coalesce(beyond, 9223372036854775807)
        ORDER BY l.id LIMIT audit_page.max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_page(bigint, integer) IS 'what programs of protocol 1 export of the audit';
