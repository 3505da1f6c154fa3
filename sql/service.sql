
-- The API's login role

CREATE FUNCTION vault.service_functions() RETURNS SETOF regprocedure
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'vault'::regnamespace AND p.prosecdef
      -- Some names are also those of functions for people, which are no part of it.
      AND p.oid::regprocedure NOT IN (SELECT e FROM vault.entry_points('manage') e)
      AND p.proname IN ('first_version', 'create_secret', 'append_version', 'append_if_free', 'delete_secret', 'read_sealed', 'read_verifiable',
                        'describe_secret', 'describe_state', 'version_states', 'without_current', 'store_secret', 'store_if_free', 'store_metadata', 'change_versions', 'destroy_secret', 'list_deleted', 'restore_secret', 'destroy_deleted', 'deleted_name', 'change_settings', 'describe_secrets', 'describe_versions', 'append_audit', 'create_token',
                        'change_made', 'active_tokens', 'list_tokens', 'revoke_token', 'extension_version', 'api_protocols', 'configure_secret',
                        'expire_version', 'claim_rotations', 'renew_rotations', 'complete_rotation', 'fail_rotation', 'release_rotation',
                        'unplanned_rotations', 'fail_plans', 'plan_rotation', 'changes_since', 'knows_change', 'last_change', 'status',
                        'list_wrapped', 'sample_wrapped', 'count_wrapped', 'rewrap_version', 'audit_journal', 'ship_audit', 'skip_audit',
                        'audit_page', 'supervision', 'probe_write',
                        'decide', 'admit', 'read_as', 'look_as', 'describe_visible', 'visible_of', 'audit_page_visible', 'search_visible', 'audit_newest_visible', 'mint_token',
                        'create_token_as', 'tokens_as', 'token_as', 'renew_token_as', 'revoke_token_as', 'extend_token',
                        'end_token', 'list_all_tokens', 'login_token', 'explain_as', 'grant_as', 'revoke_as', 'access_as',
                        'put_login_method', 'delete_login_method', 'list_login_methods', 'put_login_role', 'delete_login_role',
                        'list_login_roles', 'end_batch_tokens', 'find_login', 'use_secret_id', 'login_by_secret_id', 'put_secret_id',
                        'next_login', 'bound_among', 'append_with_verifier', 'append_with_verifier_if_free', 'complete_with_verifier', 'bind_with_verifier_as', 'unbind_secret',
                        'repair_with_verifier', 'bindings_of', 'scram_iterations', 'sessions_as', 'put_role_options', 'waiting_sessions', 'report_sessions',
                        'delete_secret_id', 'list_secret_ids', 'set_password_with_verifier', 'replace_with_verifier', 'put_token_key', 'list_token_keys',
                        'wrap_answer', 'read_wrapped', 'unwrap_answer',
                        'issue_role_as', 'renew_lease_as', 'revoke_lease_as', 'leases_as', 'templates_as', 'put_template_as', 'delete_template_as')
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
COMMENT ON FUNCTION vault.grant_service_role(regrole)
    IS 'Allows the login role of hyperion-vault-api to call the functions that the API needs.';

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
COMMENT ON FUNCTION vault.revoke_service_role(regrole)
    IS 'Revokes what grant_service_role granted.';
