
-- Tokens: fingerprints only. A token acts as a role, within its scopes, until it ends or is revoked.

CREATE FUNCTION vault.token_of(t vault.tokens) RETURNS vault.token_info
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(t.id, t.name, coalesce(vault.plain_role(t.role), vault.missing_name(t.holder)), t.method, t.parent, t.scopes, t.bound_cidrs::text[],
               t.renewable, t.ttl_secs, t.created_at, t.expires_at, t.max_expires_at, t.revoked_at)::vault.token_info
$$;
COMMENT ON FUNCTION vault.token_of(vault.tokens) IS 'the public part of a row';

CREATE FUNCTION vault.named_role(name text) RETURNS regrole
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regrole := to_regrole(quote_ident(named_role.name));
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'role "%" does not exist', named_role.name USING ERRCODE = 'undefined_object',
            HINT = 'A token acts as a role of PostgreSQL: make it with CREATE ROLE.';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION vault.named_role(text) IS 'the role with exactly this name';

CREATE FUNCTION vault.check_scope(scope jsonb) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry jsonb;
BEGIN
    IF scope IS NULL THEN
        RETURN;
    ELSIF jsonb_typeof(scope) <> 'array' OR jsonb_array_length(scope) NOT BETWEEN 1 AND 64 THEN
        RAISE EXCEPTION 'a scope must be an array of 1 to 64 objects with pattern and actions'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN SELECT e FROM jsonb_array_elements(scope) e LOOP
        IF jsonb_typeof(entry) <> 'object' OR jsonb_typeof(entry -> 'pattern') IS DISTINCT FROM 'string'
           OR jsonb_typeof(entry -> 'actions') IS DISTINCT FROM 'array' OR entry - '{pattern,actions}'::text[] <> '{}' THEN
            RAISE EXCEPTION 'a scope must be an array of objects with pattern and actions, and nothing else'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM vault.check_pattern(entry ->> 'pattern');
        PERFORM vault.check_actions(ARRAY(SELECT a FROM jsonb_array_elements_text(entry -> 'actions') a));
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.check_scope(jsonb) IS 'raises unless this can be the scope of a token';

CREATE FUNCTION vault.check_token(token vault.new_token) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN token.id IS NULL OR octet_length(token.fingerprint) IS DISTINCT FROM 32 THEN 'a token has an id and a fingerprint of 32 bytes'
        WHEN token.name IS NULL OR token.name !~ '^[A-Za-z0-9._:@/-]{1,64}$' THEN 'a token name is 1 to 64 of A-Z a-z 0-9 . _ : @ / -'
        WHEN token.ttl_secs NOT BETWEEN 1 AND 315360000 THEN 'the lifetime of a token must be between 1 and 315360000 seconds'
        WHEN token.max_ttl_secs NOT BETWEEN 1 AND 315360000 THEN 'the longest lifetime of a token must be between 1 and 315360000 seconds'
        WHEN token.max_ttl_secs < token.ttl_secs THEN 'the longest lifetime of a token must not be less than its lifetime'
        WHEN token.max_ttl_secs IS NOT NULL AND token.ttl_secs IS NULL THEN 'a token without an end has no longest lifetime'
        WHEN cardinality(token.bound_cidrs) NOT BETWEEN 1 AND 64 THEN 'a token is bound to between 1 and 64 networks'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_scope(token.scope);
END
$$;
COMMENT ON FUNCTION vault.check_token(vault.new_token) IS 'raises unless this can be stored as a token';

CREATE FUNCTION vault.store_token(token vault.new_token, role regrole, method text, parent uuid, scopes jsonb, origin vault.audit_origin)
RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    limits timestamptz := (SELECT p.expires_at FROM vault.tokens p WHERE p.id = store_token.parent);  -- null: none
    t vault.tokens;
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_role(store_token.role);
    PERFORM vault.check_token(token);
    INSERT INTO vault.tokens (id, name, fingerprint, created_at, expires_at, holder, method, parent, scopes, bound_cidrs,
                              renewable, ttl_secs, max_expires_at)
    VALUES (token.id, token.name, token.fingerprint, stamp, least(stamp + make_interval(secs => token.ttl_secs), limits),
            vault.hold(store_token.role), store_token.method, store_token.parent, store_token.scopes, token.bound_cidrs,
            token.renewable AND token.ttl_secs IS NOT NULL, token.ttl_secs, stamp + make_interval(secs => token.max_ttl_secs))
    ON CONFLICT (name) WHERE revoked_at IS NULL AND method = 'token' DO NOTHING
    RETURNING * INTO t;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'token "%" already exists', token.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'tokens_name_key',
                  HINT = 'Choose another name, or revoke that token first.';
    END IF;
    PERFORM vault.append_audit(origin, CASE WHEN store_token.method = 'token' THEN 'token_create' ELSE 'login' END, token.name,
                               NULL, 'ok', '', NULL, to_jsonb(vault.token_of(t)) - '{created_at,revoked_at}'::text[]);
    RETURN vault.token_of(t);
END
$$;
COMMENT ON FUNCTION vault.store_token(vault.new_token, regrole, text, uuid, jsonb, vault.audit_origin) IS 'stores a token and records it';

CREATE FUNCTION vault.mint_token(token vault.new_token, role text, method text, origin vault.audit_origin) RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN vault.store_token(token, vault.named_role(mint_token.role), mint_token.method, NULL,
                             CASE WHEN token.scope IS NOT NULL THEN jsonb_build_array(token.scope) END, origin);
END
$$;
COMMENT ON FUNCTION vault.mint_token(vault.new_token, text, text, vault.audit_origin)
    IS 'stores a token that acts as a role, for an operator of the node or a login';

CREATE FUNCTION vault.login_token(login_role uuid, token vault.new_token, origin vault.audit_origin) RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.login_roles;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO l FROM vault.login_roles x WHERE x.id = login_token.login_role;
    IF NOT FOUND OR l.token_type <> 'service' THEN
        RAISE EXCEPTION 'the login role does not exist or issues no such token' USING ERRCODE = 'undefined_object';
    END IF;
    token.ttl_secs := least(coalesce(token.ttl_secs, l.token_ttl_secs), l.token_max_ttl_secs);
    token.max_ttl_secs := l.token_max_ttl_secs;
    token.bound_cidrs := coalesce(token.bound_cidrs, l.bound_cidrs);
    RETURN vault.store_token(token, l.role, l.mount, NULL, l.scopes, origin);
END
$$;
COMMENT ON FUNCTION vault.login_token(uuid, vault.new_token, vault.audit_origin) IS 'stores the token that a login issues, within what its login role allows';

CREATE FUNCTION vault.descendants(id uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
    WITH RECURSIVE below AS (
        SELECT descendants.id AS id
        UNION
        SELECT t.id FROM below b JOIN vault.tokens t ON t.parent = b.id
    )
    SELECT b.id FROM below b
$$;
COMMENT ON FUNCTION vault.descendants(uuid) IS 'a token and all that were made by it';

-- Over which tokens a caller has a say: with manage all, else its own and those made by it.
CREATE FUNCTION vault.list_all_tokens() RETURNS SETOF vault.token_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.token_of(t)).* FROM vault.tokens t ORDER BY t.created_at, t.id;
END
$$;
COMMENT ON FUNCTION vault.list_all_tokens() IS 'all tokens that are not pruned, without fingerprints';

CREATE FUNCTION vault.extend_token(accessor uuid, increment_secs bigint, origin vault.audit_origin) RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    t vault.tokens;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO t FROM vault.tokens x WHERE x.id = extend_token.accessor FOR NO KEY UPDATE;
    IF NOT FOUND OR t.revoked_at IS NOT NULL OR t.expires_at <= stamp THEN
        RAISE EXCEPTION 'no such token' USING ERRCODE = 'undefined_object';
    ELSIF NOT t.renewable THEN
        RAISE EXCEPTION 'the token is not renewable' USING ERRCODE = 'invalid_parameter_value';
    ELSIF extend_token.increment_secs NOT BETWEEN 1 AND 315360000 THEN
        RAISE EXCEPTION 'the increment must be between 1 and 315360000 seconds' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE vault.tokens x
    SET expires_at = least(stamp + make_interval(secs => coalesce(extend_token.increment_secs, t.ttl_secs)), t.max_expires_at,
                           (SELECT p.expires_at FROM vault.tokens p WHERE p.id = t.parent))
    WHERE x.id = t.id RETURNING * INTO t;
    PERFORM vault.append_audit(origin, 'token_renew', t.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('accessor', t.id, 'expires_at', t.expires_at));
    RETURN vault.token_of(t);
END
$$;
COMMENT ON FUNCTION vault.extend_token(uuid, bigint, vault.audit_origin)
    IS 'moves the end of a token, within its longest lifetime and that of its parent; null: by its lifetime';

CREATE FUNCTION vault.end_token(accessor uuid, origin vault.audit_origin) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t vault.tokens;
    ended bigint;
BEGIN
    PERFORM vault.require_writable();
    -- A caller that makes a child meanwhile waits for this lock by its foreign hand, or is found below.
    SELECT * INTO t FROM vault.tokens x WHERE x.id = end_token.accessor FOR UPDATE;
    IF NOT FOUND OR t.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'no such token' USING ERRCODE = 'undefined_object';
    END IF;
    UPDATE vault.tokens x SET revoked_at = clock_timestamp()
    WHERE x.id = ANY (ARRAY(SELECT d FROM vault.descendants(t.id) d)) AND x.revoked_at IS NULL;
    GET DIAGNOSTICS ended = ROW_COUNT;
    PERFORM vault.revoke_leases_of(ARRAY(SELECT d FROM vault.descendants(t.id) d));
    PERFORM vault.append_audit(origin, 'token_revoke', t.name, NULL, 'ok', '', NULL,
                               jsonb_build_object('accessor', t.id, 'descendants', ended - 1));
    RETURN ended;
END
$$;
COMMENT ON FUNCTION vault.end_token(uuid, vault.audit_origin) IS 'ends a token and all that were made by it at once; returns how many';

CREATE FUNCTION vault.prune_tokens(before timestamptz, max_rows integer) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM vault.tokens t WHERE t.id IN (
        SELECT x.id FROM vault.tokens x WHERE LEAST(x.revoked_at, x.expires_at) < prune_tokens.before
        ORDER BY LEAST(x.revoked_at, x.expires_at) LIMIT prune_tokens.max_rows FOR UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vault.prune_tokens(timestamptz, integer) IS 'deletes tokens that ended before a time';

-- For people: a token's text is shown once, as the result.

CREATE FUNCTION vault.create_token(role regrole, name text, ttl interval DEFAULT '30 days', max_ttl interval DEFAULT NULL,
                                   renewable boolean DEFAULT true, scope jsonb DEFAULT NULL, bound_cidrs cidr[] DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- 256 bits: each UUID has 122 random ones of the server's strong source.
    raw bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    made text := 'hvt_' || rtrim(translate(encode(raw, 'base64'), '+/', '-_'), '=');
    token vault.new_token;
BEGIN
    PERFORM vault.check_role(create_token.role);
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('token_create', create_token.name);
    token := ROW(gen_random_uuid(), sha256(convert_to(made, 'UTF8')), create_token.name, extract(epoch FROM create_token.ttl)::bigint,
                 extract(epoch FROM create_token.max_ttl)::bigint, create_token.renewable, create_token.scope, create_token.bound_cidrs);
    PERFORM vault.store_token(token, create_token.role, 'token', NULL,
                              CASE WHEN create_token.scope IS NOT NULL THEN jsonb_build_array(create_token.scope) END,
                              vault.local_origin());
    RETURN made;
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('token_create', create_token.name, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.create_token(regrole, text, interval, interval, boolean, jsonb, cidr[])
    IS 'Creates a token for the REST API that acts as a role, and returns it. It is shown only this once. A null ttl means that it never ends.';

CREATE FUNCTION vault.token_list()
RETURNS TABLE (accessor uuid, name text, role text, method text, parent uuid, scopes jsonb, bound_cidrs text[], renewable boolean,
               created_at timestamptz, expires_at timestamptz, max_expires_at timestamptz, revoked_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_manager('*');
    RETURN QUERY SELECT l.id, l.name, l.role, l.method, l.parent, l.scopes, l.bound_cidrs, l.renewable, l.created_at, l.expires_at,
                        l.max_expires_at, l.revoked_at FROM vault.list_all_tokens() l;
END
$$;
COMMENT ON FUNCTION vault.token_list()
    IS 'Lists all tokens that are not pruned, without fingerprints.';

CREATE FUNCTION vault.renew_token(accessor uuid, increment interval DEFAULT NULL) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('token_renew', renew_token.accessor::text);
    RETURN (vault.extend_token(renew_token.accessor, extract(epoch FROM renew_token.increment)::bigint, vault.local_origin())).expires_at;
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('token_renew', renew_token.accessor::text, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.renew_token(uuid, interval)
    IS 'Moves the end of a token by an interval, or by its own lifetime if none is given, and returns the new end.';

CREATE FUNCTION vault.revoke_token(accessor uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_manager('*');
    PERFORM vault.admit_change('token_revoke', revoke_token.accessor::text);
    RETURN vault.end_token(revoke_token.accessor, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('token_revoke', revoke_token.accessor::text, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_token(uuid)
    IS 'Revokes a token and all tokens that were created by it, and returns how many these are.';
