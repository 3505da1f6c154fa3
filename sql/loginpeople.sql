
-- Login methods for people. What a caller may not do, and what fails, is recorded like every other administrative call.

CREATE FUNCTION vault.login_target(mount text, name text DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- What is no name may be a secret in the wrong place.
    SELECT CASE WHEN mount ~ '^[a-z0-9][a-z0-9_.-]{0,63}$' AND coalesce(name, 'x') ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'
                THEN concat_ws('/', mount, name) END
$$;
COMMENT ON FUNCTION vault.login_target(text, text) IS 'what the audit calls a login method or role';

CREATE FUNCTION vault.set_login_method(mount text, kind text, config jsonb DEFAULT '{}', description text DEFAULT '') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(set_login_method.mount);
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.put_login_method(set_login_method.mount, set_login_method.kind, set_login_method.description, set_login_method.config,
                                   vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.set_login_method(text, text, jsonb, text)
    IS 'Creates or changes a login method of the kind approle, jwt, cert or userpass.';

CREATE FUNCTION vault.drop_login_method(mount text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(drop_login_method.mount);
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.delete_login_method(drop_login_method.mount, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.drop_login_method(text)
    IS 'Deletes a login method with its roles and their secret ids. Batch tokens of these roles end at once.';

CREATE FUNCTION vault.set_login_role(mount text, name text, role regrole, config jsonb DEFAULT '{}', token_type text DEFAULT 'service',
                                     token_ttl interval DEFAULT '1 hour', token_max_ttl interval DEFAULT '1 day', scope jsonb DEFAULT NULL,
                                     bound_cidrs cidr[] DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(set_login_role.mount, set_login_role.name);
    l vault.login_role_info;
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.check_role(set_login_role.role);
    l := ROW(NULL, set_login_role.mount, set_login_role.name, (SELECT r.rolname FROM pg_roles r WHERE r.oid = set_login_role.role),
             set_login_role.config, set_login_role.token_type, extract(epoch FROM set_login_role.token_ttl)::bigint,
             extract(epoch FROM set_login_role.token_max_ttl)::bigint,
             CASE WHEN set_login_role.scope IS NOT NULL THEN jsonb_build_array(set_login_role.scope) END,
             set_login_role.bound_cidrs::text[], NULL, NULL, NULL);
    RETURN (vault.put_login_role(l, vault.local_origin())).id;
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.set_login_role(text, text, regrole, jsonb, text, interval, interval, jsonb, cidr[])
    IS 'Creates or changes a role that clients log in as, and returns its id. For AppRole that is the role id.';

CREATE FUNCTION vault.drop_login_role(mount text, name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(drop_login_role.mount, drop_login_role.name);
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.delete_login_role(drop_login_role.mount, drop_login_role.name, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.drop_login_role(text, text)
    IS 'Deletes a login role with its secret ids. Its batch tokens end at once.';

CREATE FUNCTION vault.revoke_batch_tokens(mount text, name text) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(revoke_batch_tokens.mount, revoke_batch_tokens.name);
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('auth_configure', what);
    RETURN (vault.end_batch_tokens(revoke_batch_tokens.mount, revoke_batch_tokens.name, vault.local_origin())).valid_from;
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_batch_tokens(text, text)
    IS 'Ends the batch tokens that a login role has issued so far.';

CREATE FUNCTION vault.create_secret_id(mount text, name text, ttl interval DEFAULT NULL, uses bigint DEFAULT NULL,
                                       bound_cidrs cidr[] DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(create_secret_id.mount, create_secret_id.name);
    -- 256 bits: each UUID has 122 random ones of the server's strong source.
    raw bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    made text := 'hvi_' || rtrim(translate(encode(raw, 'base64'), '+/', '-_'), '=');
BEGIN
    PERFORM vault.require_issuer(create_secret_id.mount, create_secret_id.name);
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.put_secret_id(gen_random_uuid(), create_secret_id.mount, create_secret_id.name, sha256(convert_to(made, 'UTF8')),
                                extract(epoch FROM create_secret_id.ttl)::bigint, create_secret_id.uses, create_secret_id.bound_cidrs,
                                vault.local_origin());
    RETURN made;
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.create_secret_id(text, text, interval, bigint, cidr[])
    IS 'Creates a secret id of an AppRole within the limits of the role, and returns it. It is shown only this once.';

CREATE FUNCTION vault.destroy_secret_id(mount text, name text, accessor uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text := vault.login_target(destroy_secret_id.mount, destroy_secret_id.name);
BEGIN
    PERFORM vault.require_issuer(destroy_secret_id.mount, destroy_secret_id.name);
    PERFORM vault.admit_change('auth_configure', what);
    PERFORM vault.delete_secret_id(destroy_secret_id.mount, destroy_secret_id.name, destroy_secret_id.accessor, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('auth_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.destroy_secret_id(text, text, uuid)
    IS 'Destroys the secret id with an accessor.';

CREATE FUNCTION vault.login_method_list() RETURNS SETOF vault.login_method_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_manager('*');
    RETURN QUERY SELECT x.* FROM vault.list_login_methods() x;
END
$$;
COMMENT ON FUNCTION vault.login_method_list()
    IS 'Lists all login methods.';

CREATE FUNCTION vault.login_role_list(mount text) RETURNS SETOF vault.login_role_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_manager('*');
    RETURN QUERY SELECT x.* FROM vault.list_login_roles(login_role_list.mount) x;
END
$$;
COMMENT ON FUNCTION vault.login_role_list(text)
    IS 'Lists the roles of a login method.';

CREATE FUNCTION vault.secret_id_list(mount text, name text) RETURNS SETOF vault.secret_id_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_issuer(secret_id_list.mount, secret_id_list.name);
    RETURN QUERY SELECT x.* FROM vault.list_secret_ids(secret_id_list.mount, secret_id_list.name, NULL, NULL) x;
END
$$;
COMMENT ON FUNCTION vault.secret_id_list(text, text)
    IS 'Lists the secret ids of a login role, without fingerprints.';
