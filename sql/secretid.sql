
-- The secret ids of AppRoles, and the keys of batch tokens.

CREATE FUNCTION vault.secret_id_of(s vault.secret_ids) RETURNS vault.secret_id_info
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT ROW(s.id, s.uses_left, s.bound_cidrs::text[], s.created_at, s.expires_at)::vault.secret_id_info $$;
COMMENT ON FUNCTION vault.secret_id_of(vault.secret_ids) IS 'the public part of a row';

CREATE FUNCTION vault.may_issue(caller oid, scopes jsonb, target text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    l vault.login_roles;
BEGIN
    IF vault.refusal(caller, scopes, 'manage', '*') IS NULL THEN
        RETURN true;
    END IF;
    -- Who may grant to others all that a login gives may also hand out what logs in. The answer is the same for a login
    -- role that does not exist.
    SELECT * INTO l FROM vault.login_roles x
    WHERE x.mount = split_part(may_issue.target, '/', 1) AND x.name = split_part(may_issue.target, '/', 2);
    RETURN (SELECT count(*) > 0 AND bool_and(EXISTS (
                SELECT FROM vault.visible_names(may_issue.caller, may_issue.scopes, '{manage}') m
                WHERE m.first COLLATE "C" <= v.first AND v.beyond COLLATE "C" <= m.beyond))
            FROM vault.visible_names(l.role, l.scopes) v);
END
$$;
COMMENT ON FUNCTION vault.may_issue(oid, jsonb, text)
    IS 'whether a role may hand out secret ids of a login role, named mount/name: it manages every name that the login reaches';

CREATE FUNCTION vault.require_issuer(mount text, name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF vault.may_issue(vault.outer_role(), NULL, require_issuer.mount || '/' || require_issuer.name) IS NOT TRUE THEN
        RAISE EXCEPTION 'permission denied to manage the secret ids of "%"', vault.login_target(require_issuer.mount, require_issuer.name)
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'This needs the action manage on every name on which the login role has a right.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_issuer(text, text) IS 'raises unless the calling role may hand out secret ids of a login role';

CREATE FUNCTION vault.found_secret_id(fingerprint bytea) RETURNS vault.secret_ids
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x FROM vault.secret_ids x
    WHERE substring(x.fingerprint, 1, 8) = substring(found_secret_id.fingerprint, 1, 8)
      AND vault.same_bytes(x.fingerprint, found_secret_id.fingerprint)
$$;
COMMENT ON FUNCTION vault.found_secret_id(bytea) IS 'the secret id with a fingerprint, compared in constant time; null: there is none';

CREATE FUNCTION vault.secret_id_cause(s vault.secret_ids, login_role uuid, address inet) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN s.id IS NULL OR (s.login_role = secret_id_cause.login_role) IS NOT TRUE OR s.uses_left = 0 OR s.expires_at <= clock_timestamp()
            THEN 'login_secret_id'
        WHEN NOT vault.address_within(secret_id_cause.address, s.bound_cidrs) THEN 'login_address' END;
END
$$;
COMMENT ON FUNCTION vault.secret_id_cause(vault.secret_ids, uuid, inet) IS 'why a secret id is not valid for a login role; null: it is';

CREATE FUNCTION vault.use_secret_id(login_role uuid, fingerprint bytea, address inet) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s vault.secret_ids := vault.found_secret_id(use_secret_id.fingerprint);
    cause text := vault.secret_id_cause(s, use_secret_id.login_role, use_secret_id.address);
BEGIN
    PERFORM vault.require_writable();
    IF cause IS NULL AND s.uses_left IS NOT NULL THEN
        -- Of several at once, each waits for the row, and then counts what the one before has left.
        UPDATE vault.secret_ids x SET uses_left = x.uses_left - 1 WHERE x.id = s.id AND x.uses_left > 0;
        IF NOT FOUND THEN
            cause := 'login_secret_id';
        END IF;
    END IF;
    IF cause IS NOT NULL THEN
        RAISE EXCEPTION 'the login was refused' USING ERRCODE = 'invalid_authorization_specification', DETAIL = cause;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.use_secret_id(uuid, bytea, inet) IS 'counts one use of a secret id; raises unless it is valid';

CREATE FUNCTION vault.login_by_secret_id(login_role uuid, secret_id bytea, token vault.new_token, origin vault.audit_origin)
RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In one transaction: a use is counted exactly when the token is stored.
    PERFORM vault.use_secret_id(login_by_secret_id.login_role, login_by_secret_id.secret_id, origin.client_ip);
    RETURN vault.login_token(login_by_secret_id.login_role, token, origin);
END
$$;
COMMENT ON FUNCTION vault.login_by_secret_id(uuid, bytea, vault.new_token, vault.audit_origin)
    IS 'counts one use of a secret id and stores the token that the login issues';

CREATE FUNCTION vault.put_secret_id(id uuid, mount text, name text, fingerprint bytea, ttl_secs bigint, uses bigint, bound_cidrs cidr[],
                                    origin vault.audit_origin) RETURNS vault.secret_id_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    l vault.login_roles;
    ttl bigint;
    allowed bigint;
    networks cidr[];
    s vault.secret_ids;
BEGIN
    PERFORM vault.require_writable();
    l := vault.found_login_role(put_secret_id.mount, put_secret_id.name);
    IF NOT EXISTS (SELECT FROM vault.login_methods m WHERE m.mount = l.mount AND m.kind = 'approle') THEN
        RAISE EXCEPTION 'only the roles of an AppRole method have secret ids' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- What the role says is the limit, and what counts where nothing is given. 0 in a config is no limit.
    ttl := least(put_secret_id.ttl_secs, nullif((l.config ->> 'secret_id_ttl_secs')::bigint, 0));
    allowed := least(put_secret_id.uses, nullif((l.config ->> 'secret_id_num_uses')::bigint, 0));
    networks := coalesce(put_secret_id.bound_cidrs,
                         (SELECT array_agg(c::cidr) FROM jsonb_array_elements_text(l.config -> 'secret_id_bound_cidrs') c));
    IF ttl NOT BETWEEN 1 AND 316224000 THEN
        RAISE EXCEPTION 'the lifetime of a secret id must be between 1 and 316224000 seconds' USING ERRCODE = 'invalid_parameter_value';
    ELSIF allowed NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'a secret id has between 1 and 1000000 uses' USING ERRCODE = 'invalid_parameter_value';
    ELSIF cardinality(networks) NOT BETWEEN 1 AND 64 THEN
        RAISE EXCEPTION 'a secret id is bound to between 1 and 64 networks' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO vault.secret_ids (id, login_role, fingerprint, uses_left, bound_cidrs, created_at, expires_at)
    VALUES (put_secret_id.id, l.id, put_secret_id.fingerprint, allowed, networks, stamp, stamp + make_interval(secs => ttl))
    RETURNING * INTO s;
    PERFORM vault.append_audit(origin, 'auth_configure', l.mount || '/' || l.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('secret_id', to_jsonb(vault.secret_id_of(s)) - 'created_at'));
    RETURN vault.secret_id_of(s);
END
$$;
COMMENT ON FUNCTION vault.put_secret_id(uuid, text, text, bytea, bigint, bigint, cidr[], vault.audit_origin)
    IS 'stores a secret id of an AppRole, within what the role allows';

CREATE FUNCTION vault.delete_secret_id(mount text, name text, accessor uuid, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    DELETE FROM vault.secret_ids s USING vault.login_roles l
    WHERE s.id = delete_secret_id.accessor AND l.id = s.login_role AND l.mount = delete_secret_id.mount AND l.name = delete_secret_id.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such secret id' USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.append_audit(origin, 'auth_configure', delete_secret_id.mount || '/' || delete_secret_id.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('secret_id', jsonb_build_object('id', delete_secret_id.accessor, 'deleted', true)));
END
$$;
COMMENT ON FUNCTION vault.delete_secret_id(text, text, uuid, vault.audit_origin) IS 'destroys a secret id, named by its accessor';

CREATE FUNCTION vault.list_secret_ids(mount text, name text, after uuid, page_size integer) RETURNS SETOF vault.secret_id_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.secret_id_of(s)).* FROM vault.secret_ids s
                 WHERE s.login_role = (SELECT l.id FROM vault.login_roles l
                                       WHERE l.mount = list_secret_ids.mount AND l.name = list_secret_ids.name)
                   AND s.id > coalesce(list_secret_ids.after, '00000000-0000-0000-0000-000000000000')
                 ORDER BY s.id LIMIT list_secret_ids.page_size;
END
$$;
COMMENT ON FUNCTION vault.list_secret_ids(text, text, uuid, integer) IS 'a page of the secret ids of a login role, by accessor, without fingerprints';

-- Beside the secret ids: the passwords of people. PostgreSQL gets verifiers, and none of its functions takes a password. The
-- names of these functions keep their statements out of the server's log.

CREATE FUNCTION vault.set_password_with_verifier(mount text, name text, verifier text, origin vault.audit_origin)
RETURNS vault.login_role_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.login_roles;
BEGIN
    PERFORM vault.require_writable();
    l := vault.found_login_role(set_password_with_verifier.mount, set_password_with_verifier.name);
    IF NOT EXISTS (SELECT FROM vault.login_methods m WHERE m.mount = l.mount AND m.kind = 'userpass') THEN
        RAISE EXCEPTION 'only the users of a userpass method have passwords' USING ERRCODE = 'invalid_parameter_value';
    ELSIF (set_password_with_verifier.verifier ~ '^\$argon2id\$v=19\$m=[0-9]{1,7},t=[0-9]{1,2},p=[0-9]{1,2}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}$') IS NOT TRUE THEN
        -- What is no verifier may be a password: the text of the error has nothing of it.
        RAISE EXCEPTION 'not a verifier of argon2id' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO vault.login_passwords AS p (login_role, verifier, changed_at)
    VALUES (l.id, set_password_with_verifier.verifier, clock_timestamp())
    ON CONFLICT ON CONSTRAINT login_passwords_pkey DO UPDATE SET verifier = excluded.verifier, changed_at = excluded.changed_at;
    PERFORM vault.append_audit(origin, 'auth_configure', l.mount || '/' || l.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('mount', l.mount, 'name', l.name, 'password', 'set'));
    RETURN vault.login_role_of(l);
END
$$;
COMMENT ON FUNCTION vault.set_password_with_verifier(text, text, text, vault.audit_origin)
    IS 'sets the password of a user by its verifier';

CREATE FUNCTION vault.replace_with_verifier(login_role uuid, was text, becomes text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    -- The password is the same, so there is no record. One that was changed meanwhile stays.
    UPDATE vault.login_passwords p SET verifier = replace_with_verifier.becomes
    WHERE p.login_role = replace_with_verifier.login_role AND p.verifier = replace_with_verifier.was;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vault.replace_with_verifier(uuid, text, text)
    IS 'stores a costlier verifier of the same password, which a login has made; false: the password has changed meanwhile';

CREATE FUNCTION vault.put_token_key(id uuid, kms_key_id text, wrapped_key bytea, expected uuid, origin vault.audit_origin) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    newest vault.token_keys;
BEGIN
    PERFORM vault.require_writable();
    LOCK TABLE vault.token_keys IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO newest FROM vault.token_keys k ORDER BY k.created_at DESC LIMIT 1;
    -- Several nodes may find at once that a new key is due. One makes it.
    IF newest.id IS DISTINCT FROM put_token_key.expected THEN
        RETURN false;
    END IF;
    INSERT INTO vault.token_keys (id, kms_key_id, wrapped_key, created_at)
    VALUES (put_token_key.id, put_token_key.kms_key_id, put_token_key.wrapped_key,
            greatest(clock_timestamp(), newest.created_at + interval '1 microsecond'));
    PERFORM vault.append_audit(origin, 'auth_configure', NULL, NULL, 'ok', '', NULL,
                               jsonb_build_object('token_key', put_token_key.id, 'kms_key_id', put_token_key.kms_key_id));
    RETURN true;
END
$$;
COMMENT ON FUNCTION vault.put_token_key(uuid, text, bytea, uuid, vault.audit_origin)
    IS 'stores a new key for batch tokens, if the expected one is still the newest';

CREATE FUNCTION vault.list_token_keys() RETURNS TABLE (id uuid, kms_key_id text, wrapped_key bytea, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT k.id, k.kms_key_id, k.wrapped_key, k.created_at FROM vault.token_keys k ORDER BY k.created_at DESC;
END
$$;
COMMENT ON FUNCTION vault.list_token_keys() IS 'the wrapped keys of batch tokens, newest first';

CREATE FUNCTION vault.prune_logins(before timestamptz, max_rows integer) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM vault.secret_ids s WHERE s.id IN (
        SELECT x.id FROM vault.secret_ids x WHERE x.expires_at < prune_logins.before OR x.uses_left = 0
        LIMIT prune_logins.max_rows FOR UPDATE SKIP LOCKED);
    -- A batch token lives for a day at most, and seven days have passed since the next key was made.
    DELETE FROM vault.token_keys k
    WHERE EXISTS (SELECT FROM vault.token_keys n WHERE n.created_at > k.created_at AND n.created_at < prune_logins.before);
END
$$;
COMMENT ON FUNCTION vault.prune_logins(timestamptz, integer)
    IS 'deletes secret ids that ended before a time or are used up, and keys of batch tokens that were replaced before it';
