
-- Logins by REST: which methods there are, what their roles issue, and what a login needs to know. The API checks what the
-- client presents; the secret ids of AppRoles are checked here, where their uses are counted.

CREATE FUNCTION vault.method_of(m vault.login_methods) RETURNS vault.login_method_info
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT ROW(m.mount, m.kind, m.description, m.config, m.revision, m.created_at, m.updated_at)::vault.login_method_info $$;
COMMENT ON FUNCTION vault.method_of(vault.login_methods) IS 'a login method as it is shown';

CREATE FUNCTION vault.login_role_of(l vault.login_roles) RETURNS vault.login_role_info
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(l.id, l.mount, l.name, coalesce((SELECT vault.shown_name(r.rolname) FROM pg_roles r WHERE r.oid = l.role), ''), l.config, l.token_type,
               l.token_ttl_secs, l.token_max_ttl_secs, l.scopes, l.bound_cidrs::text[], l.valid_from, l.created_at,
               l.updated_at)::vault.login_role_info
$$;
COMMENT ON FUNCTION vault.login_role_of(vault.login_roles) IS 'a login role as it is shown; an empty role is missing here';

CREATE FUNCTION vault.check_login_config(kind text, of_role boolean, config jsonb) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text[] := CASE kind || CASE WHEN of_role THEN ' role' ELSE '' END
        WHEN 'jwt' THEN '{issuer,static_keys,jwks_url,discovery_url,ca_pem,bound_audiences,algorithms,clock_skew_secs,default_role,token_review_url,token_review_token_file}'
        WHEN 'jwt role' THEN '{bound_audiences,bound_subject,bound_claims,bound_claims_glob,user_claim,max_age_secs}'
        WHEN 'approle role' THEN '{secret_id_ttl_secs,secret_id_num_uses,secret_id_bound_cidrs}'
        WHEN 'cert role' THEN '{allowed_common_names,allowed_dns_sans,allowed_uri_sans,allowed_email_sans,allowed_organizational_units,allowed_fingerprints}'
        ELSE '{}' END;
    unknown text;
BEGIN
    IF config IS NULL OR jsonb_typeof(config) <> 'object' THEN
        RAISE EXCEPTION 'config must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A misspelt restriction must not count as none.
    SELECT k INTO unknown FROM jsonb_object_keys(config) k WHERE k <> ALL (known) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'config has the unknown member "%"', unknown USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Known here: %s.', coalesce(nullif(array_to_string(known, ', '), ''), 'none'));
    ELSIF config::text LIKE '%PRIVATE KEY%' THEN
        RAISE EXCEPTION 'config holds a private key' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'The keys of an issuer are public keys. Replace the key pair: this one has been sent here.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_login_config(text, boolean, jsonb)
    IS 'raises for members that are unknown, and for private keys; the API checks the rest, and refuses logins where it is wrong';

CREATE FUNCTION vault.delete_login_roles(mount text, name text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    doomed uuid[];
BEGIN
    -- Locked first: who makes a secret id holds the lock of its role.
    SELECT array_agg(l.id) INTO doomed FROM (
        SELECT x.id FROM vault.login_roles x
        WHERE x.mount = delete_login_roles.mount AND (delete_login_roles.name IS NULL OR x.name = delete_login_roles.name)
        ORDER BY x.name FOR UPDATE) l;
    DELETE FROM vault.secret_ids s WHERE s.login_role = ANY (doomed);
    DELETE FROM vault.login_passwords p WHERE p.login_role = ANY (doomed);
    DELETE FROM vault.login_roles x WHERE x.id = ANY (doomed);
END
$$;
COMMENT ON FUNCTION vault.delete_login_roles(text, text) IS 'deletes the roles of a mount, or one, with their secret ids and passwords';

CREATE FUNCTION vault.put_login_method(mount text, kind text, description text, config jsonb, origin vault.audit_origin)
RETURNS vault.login_method_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    m vault.login_methods;
BEGIN
    PERFORM vault.require_writable();
    IF put_login_method.mount IS NULL OR put_login_method.mount !~ '^[a-z0-9][a-z0-9_.-]{0,63}$' OR put_login_method.mount = 'token' THEN
        RAISE EXCEPTION 'a mount is 1 to 64 of a-z 0-9 . _ -, begins with a letter or digit, and is not "token"'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF put_login_method.kind IS NULL OR put_login_method.kind NOT IN ('approle', 'jwt', 'cert', 'userpass') THEN
        RAISE EXCEPTION 'a login method is of kind approle, jwt, cert or userpass' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_login_config(put_login_method.kind, false, put_login_method.config);
    INSERT INTO vault.login_methods AS x (mount, kind, description, config, created_at, updated_at)
    VALUES (put_login_method.mount, put_login_method.kind, coalesce(put_login_method.description, ''), put_login_method.config, stamp, stamp)
    ON CONFLICT ON CONSTRAINT login_methods_pkey DO UPDATE
    SET description = excluded.description, config = excluded.config, revision = x.revision + 1, updated_at = stamp
    WHERE x.kind = excluded.kind
    RETURNING * INTO m;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'mount "%" is of another kind', put_login_method.mount USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Its roles mean nothing to another kind: delete the method first, and its roles with it.';
    END IF;
    IF m.revision = 1 THEN
        -- Whatever an earlier method of this name may have left must not come back to life.
        PERFORM vault.delete_login_roles(m.mount);
    END IF;
    PERFORM vault.append_audit(origin, 'auth_configure', m.mount, NULL, 'ok', '', NULL,
                               to_jsonb(vault.method_of(m)) - '{created_at,updated_at}'::text[]);
    RETURN vault.method_of(m);
END
$$;
COMMENT ON FUNCTION vault.put_login_method(text, text, text, jsonb, vault.audit_origin) IS 'makes or changes a login method';

CREATE FUNCTION vault.delete_login_method(mount text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    DELETE FROM vault.login_methods m WHERE m.mount = delete_login_method.mount;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such login method' USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.delete_login_roles(delete_login_method.mount);
    PERFORM vault.append_audit(origin, 'auth_configure', delete_login_method.mount, NULL, 'ok', '', NULL,
                               jsonb_build_object('mount', delete_login_method.mount, 'deleted', true));
END
$$;
COMMENT ON FUNCTION vault.delete_login_method(text, vault.audit_origin)
    IS 'deletes a login method with its roles and their secret ids; batch tokens of these end at once';

CREATE FUNCTION vault.list_login_methods(mount text DEFAULT NULL) RETURNS SETOF vault.login_method_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.method_of(m)).* FROM vault.login_methods m
                 WHERE list_login_methods.mount IS NULL OR m.mount = list_login_methods.mount ORDER BY m.mount;
END
$$;
COMMENT ON FUNCTION vault.list_login_methods(text) IS 'the login methods, or one';

CREATE FUNCTION vault.check_login_role(l vault.login_role_info, kind text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN l.name IS NULL OR l.name !~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'
            THEN 'the name of a login role is 1 to 64 of A-Z a-z 0-9 . _ -, and begins with a letter or digit'
        -- Clients write the names of people in any case.
        WHEN kind = 'userpass' AND l.name ~ '[A-Z]' THEN 'the name of a user is in lower case'
        WHEN l.token_type IS NULL OR l.token_type NOT IN ('service', 'batch') THEN 'a token is of type service or batch'
        WHEN (l.token_ttl_secs BETWEEN 1 AND 315360000) IS NOT TRUE OR (l.token_max_ttl_secs BETWEEN 1 AND 315360000) IS NOT TRUE
            THEN 'the lifetime of a token must be between 1 and 315360000 seconds'
        WHEN l.token_type = 'batch' AND l.token_ttl_secs > 86400
            THEN 'a batch token cannot be revoked alone, so it lives for 86400 seconds at most'
        WHEN l.token_max_ttl_secs < l.token_ttl_secs THEN 'the longest lifetime of a token must not be less than its lifetime'
        WHEN cardinality(l.bound_cidrs) NOT BETWEEN 1 AND 64 THEN 'a login role is bound to between 1 and 64 networks'
        WHEN l.token_type = 'batch' AND octet_length(l.scopes::text) > 2048
            THEN 'the scope of a batch token travels in each request, so it is 2048 bytes long at most' END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_scope(l.scopes -> 0);
    PERFORM vault.check_login_config(check_login_role.kind, true, l.config);
END
$$;
COMMENT ON FUNCTION vault.check_login_role(vault.login_role_info, text) IS 'raises unless this can be a role of a method of the kind';

CREATE FUNCTION vault.put_login_role(l vault.login_role_info, origin vault.audit_origin) RETURNS vault.login_role_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    role_now regrole;
    kind text;
    made vault.login_roles;
BEGIN
    PERFORM vault.require_writable();
    SELECT m.kind INTO kind FROM vault.login_methods m WHERE m.mount = l.mount FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such login method' USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.check_login_role(l, kind);
    role_now := vault.named_role(l.role);
    PERFORM vault.check_role(role_now);
    INSERT INTO vault.login_roles AS x (mount, name, holder, token_type, token_ttl_secs, token_max_ttl_secs, scopes, bound_cidrs,
                                        valid_from, config, created_at, updated_at)
    VALUES (l.mount, l.name, vault.hold(role_now), l.token_type, l.token_ttl_secs, l.token_max_ttl_secs, l.scopes,
            l.bound_cidrs::cidr[], stamp, l.config, stamp, stamp)
    ON CONFLICT ON CONSTRAINT login_roles_name_key DO UPDATE
    SET holder = excluded.holder, token_type = excluded.token_type, token_ttl_secs = excluded.token_ttl_secs,
        token_max_ttl_secs = excluded.token_max_ttl_secs, scopes = excluded.scopes, bound_cidrs = excluded.bound_cidrs,
        config = excluded.config, updated_at = stamp,
        -- A batch token acts as the role that stands here. One that is out must not gain another.
        valid_from = CASE WHEN x.role IS DISTINCT FROM role_now THEN greatest(stamp, x.valid_from + interval '1 microsecond')
                          ELSE x.valid_from END
    RETURNING * INTO made;
    PERFORM vault.append_audit(origin, 'auth_configure', made.mount || '/' || made.name, NULL, 'ok', '', NULL,
                               to_jsonb(vault.login_role_of(made)) - '{created_at,updated_at}'::text[]);
    RETURN vault.login_role_of(made);
END
$$;
COMMENT ON FUNCTION vault.put_login_role(vault.login_role_info, vault.audit_origin)
    IS 'makes or changes a login role; with another SQL role, its earlier batch tokens end';

CREATE FUNCTION vault.found_login_role(mount text, name text) RETURNS vault.login_roles
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.login_roles;
BEGIN
    SELECT * INTO l FROM vault.login_roles x
    WHERE x.mount = found_login_role.mount AND x.name = found_login_role.name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such login role' USING ERRCODE = 'undefined_object';
    END IF;
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.found_login_role(text, text) IS 'a login role, locked; raises when there is none';

CREATE FUNCTION vault.delete_login_role(mount text, name text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.login_roles;
BEGIN
    PERFORM vault.require_writable();
    l := vault.found_login_role(delete_login_role.mount, delete_login_role.name);
    PERFORM vault.delete_login_roles(l.mount, l.name);
    PERFORM vault.append_audit(origin, 'auth_configure', l.mount || '/' || l.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('mount', l.mount, 'name', l.name, 'deleted', true));
END
$$;
COMMENT ON FUNCTION vault.delete_login_role(text, text, vault.audit_origin)
    IS 'deletes a login role with its secret ids; its batch tokens end at once';

CREATE FUNCTION vault.end_batch_tokens(mount text, name text, origin vault.audit_origin) RETURNS vault.login_role_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    l vault.login_roles;
BEGIN
    PERFORM vault.require_writable();
    l := vault.found_login_role(end_batch_tokens.mount, end_batch_tokens.name);
    -- Later than before whatever the clock says: tokens name the value that they were issued under.
    UPDATE vault.login_roles x SET valid_from = greatest(clock_timestamp(), l.valid_from + interval '1 microsecond')
    WHERE x.id = l.id RETURNING * INTO l;
    PERFORM vault.append_audit(origin, 'auth_configure', l.mount || '/' || l.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('mount', l.mount, 'name', l.name, 'valid_from', l.valid_from));
    RETURN vault.login_role_of(l);
END
$$;
COMMENT ON FUNCTION vault.end_batch_tokens(text, text, vault.audit_origin) IS 'ends the batch tokens that a login role has issued so far';

CREATE FUNCTION vault.list_login_roles(mount text, name text DEFAULT NULL) RETURNS SETOF vault.login_role_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.login_role_of(l)).* FROM vault.login_roles l
                 WHERE l.mount = list_login_roles.mount AND (list_login_roles.name IS NULL OR l.name = list_login_roles.name)
                 ORDER BY l.name;
END
$$;
COMMENT ON FUNCTION vault.list_login_roles(text, text) IS 'the roles of a login method, or one';

-- One row for each role that a client may mean. Of a method without such a role there is a row without a role; of an unknown
-- mount, none. A client of an AppRole names its role by the id, others by the name; without a name it may be the default role,
-- and with a certificate, any.
-- A mount may have thousands of roles, one for each user. The plan is one by index whatever size the table had when it was made.
CREATE FUNCTION vault.find_login(mount text, role text, secret_id bytea, address inet)
RETURNS TABLE (method vault.login_method_info, login_role vault.login_role_info, address_ok boolean, secret_id_cause text,
               secret_id_counted boolean, verifier text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    s vault.secret_ids;
    -- An id that is spelled in another way is none.
    role_id uuid := CASE WHEN find_login.role ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN find_login.role::uuid END;
BEGIN
    IF find_login.secret_id IS NOT NULL THEN
        s := vault.found_secret_id(find_login.secret_id);
    END IF;
    RETURN QUERY
        SELECT vault.method_of(m), CASE WHEN (l.r).id IS NOT NULL THEN vault.login_role_of(l.r) END,
               vault.address_within(find_login.address, (l.r).bound_cidrs),
               CASE WHEN m.kind = 'approle' THEN vault.secret_id_cause(s, (l.r).id, find_login.address) END,
               s.uses_left IS NOT NULL,
               CASE WHEN m.kind = 'userpass' THEN (SELECT p.verifier FROM vault.login_passwords p WHERE p.login_role = (l.r).id) END
        FROM vault.login_methods m
        LEFT JOIN LATERAL (
            SELECT r FROM vault.login_roles r WHERE m.kind = 'approle' AND r.mount = m.mount AND r.id = role_id
            UNION ALL
            SELECT r FROM vault.login_roles r
            WHERE m.kind <> 'approle' AND r.mount = m.mount
              AND r.name = coalesce(nullif(find_login.role, ''), CASE WHEN m.kind <> 'cert' THEN m.config ->> 'default_role' END)
            UNION ALL
            -- A certificate without the name of a role is compared with what all roles want.
            (SELECT r FROM vault.login_roles r WHERE m.kind = 'cert' AND r.mount = m.mount AND find_login.role = ''
             ORDER BY r.name LIMIT 256)) l ON true
        WHERE m.mount = find_login.mount
        ORDER BY (l.r).name LIMIT 256;
END
$$;
COMMENT ON FUNCTION vault.find_login(text, text, bytea, inet) IS 'what the API needs to know to judge a login';
