
-- Admin tokens: fingerprints only

CREATE FUNCTION vault.create_token(id uuid, name text, fingerprint bytea, expires_at timestamptz,
                                   origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    INSERT INTO vault.admin_tokens (id, name, fingerprint, created_at, expires_at)
    VALUES (create_token.id, create_token.name, create_token.fingerprint, clock_timestamp(), create_token.expires_at)
    ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" already exists', create_token.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'admin_tokens_name_key';
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
    RETURN QUERY SELECT t.id, t.name, t.fingerprint FROM vault.admin_tokens t
                 WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
                 ORDER BY t.name;
END
$$;
COMMENT ON FUNCTION vault.active_tokens() IS 'fingerprints that a presented token is compared with';

CREATE FUNCTION vault.list_tokens()
RETURNS TABLE (id uuid, name text, created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT t.id, t.name, t.created_at, t.expires_at, t.revoked_at FROM vault.admin_tokens t
                 ORDER BY t.created_at, t.name;
END
$$;
COMMENT ON FUNCTION vault.list_tokens() IS 'all admin tokens ever made, without fingerprints';

CREATE FUNCTION vault.revoke_token(name text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.admin_tokens t SET revoked_at = clock_timestamp()
    WHERE t.name = revoke_token.name AND t.revoked_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" does not exist', revoke_token.name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.append_audit(origin, 'token_revoke', revoke_token.name, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.revoke_token(text, vault.audit_origin) IS 'ends an admin token at once';

-- The API's login role

CREATE FUNCTION vault.service_functions() RETURNS SETOF regprocedure
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'vault'::regnamespace AND p.prosecdef
      AND p.proname IN ('first_version', 'create_secret', 'append_version', 'delete_secret', 'read_sealed', 'read_verifiable',
                        'describe_secret', 'describe_secrets', 'describe_versions', 'append_audit', 'create_token',
                        'change_made', 'active_tokens', 'list_tokens', 'revoke_token', 'extension_version', 'api_protocols', 'configure_secret',
                        'expire_version', 'claim_rotations', 'renew_rotations', 'complete_rotation', 'fail_rotation', 'release_rotation',
                        'unplanned_rotations', 'fail_plans', 'plan_rotation', 'changes_since', 'knows_change', 'last_change', 'status',
                        'list_wrapped', 'sample_wrapped', 'count_wrapped', 'rewrap_version', 'audit_journal', 'ship_audit', 'skip_audit',
                        'audit_page', 'supervision', 'probe_write')
$$;
COMMENT ON FUNCTION vault.service_functions() IS 'the functions of the sealed path';

CREATE FUNCTION vault.grant_service_role(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry regprocedure;
BEGIN
    PERFORM vault.check_role(role);
    PERFORM vault.check_role_name(role);
    PERFORM vault.admit_change('grant', format('service role to %s', vault.shown_role(role)));
    PERFORM vault.lock_grants();
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = role AND (r.rolsuper OR r.rolbypassrls)) THEN
        RAISE EXCEPTION 'role % is a superuser or bypasses row security', role
            USING ERRCODE = 'invalid_grant_operation',
                  HINT = 'Make a login role without attributes for the API.';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA vault TO %s', role);
    FOR entry IN SELECT f FROM vault.service_functions() f LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry, role);
    END LOOP;
    PERFORM vault.append_audit(vault.local_origin(), 'grant', format('service role to %s', vault.shown_role(role)), NULL, 'ok', '');
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('grant', format('service role to %s', vault.shown_role(role)), SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.grant_service_role(regrole) IS 'lets the login role of hyperion-vault-api call the sealed path';

CREATE FUNCTION vault.revoke_service_role(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry regprocedure;
BEGIN
    PERFORM vault.check_role(role);
    PERFORM vault.admit_change('revoke', format('service role from %s', vault.shown_role(role)));
    PERFORM vault.lock_grants();
    FOR entry IN SELECT f FROM vault.service_functions() f LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', entry, role);
    END LOOP;
    PERFORM vault.revoke_usage_if_idle(role);
    PERFORM vault.append_audit(vault.local_origin(), 'revoke', format('service role from %s', vault.shown_role(role)), NULL, 'ok', '');
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('revoke', format('service role from %s', vault.shown_role(role)), SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_service_role(regrole) IS 'takes back what grant_service_role gave';
