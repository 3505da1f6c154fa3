
-- What a holder of a token does with tokens by REST.

CREATE FUNCTION vault.create_token_as(fingerprint bytea, address inet, claims jsonb, token vault.new_token, role text, node text,
                                      request_id text) RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    origin vault.audit_origin := vault.admit(create_token_as.fingerprint, create_token_as.address, create_token_as.claims,
                                             CASE WHEN create_token_as.role IS NULL THEN 'self' ELSE 'manage' END, NULL,
                                             create_token_as.node, create_token_as.request_id);
    parent vault.tokens;
BEGIN
    IF create_token_as.role IS NOT NULL THEN
        RETURN vault.mint_token(token, create_token_as.role, 'token', origin);
    END IF;
    -- A child: of a stored token alone, with one scope more, and within its networks and its time.
    parent := vault.found_token(create_token_as.fingerprint);
    IF parent.id IS NULL THEN
        RAISE EXCEPTION 'only a service token can have children' USING ERRCODE = 'insufficient_privilege',
            DETAIL = 'grant', HINT = 'Name a role, for which the action manage on * is needed.';
    ELSIF vault.generations(parent.id) >= 8 THEN
        RAISE EXCEPTION 'a token has at most 8 generations above it' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_token(token);
    IF token.bound_cidrs IS NULL THEN
        token.bound_cidrs := parent.bound_cidrs;
    ELSIF parent.bound_cidrs IS NOT NULL
          AND EXISTS (SELECT FROM unnest(token.bound_cidrs) c WHERE NOT vault.address_within(c, parent.bound_cidrs)) THEN
        RAISE EXCEPTION 'a child is bound to networks of its parent' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN vault.store_token(token, parent.role, 'token', parent.id,
                             CASE WHEN token.scope IS NULL THEN parent.scopes
                                  ELSE coalesce(parent.scopes, '[]') || jsonb_build_array(token.scope) END, origin);
END
$$;
COMMENT ON FUNCTION vault.create_token_as(bytea, inet, jsonb, vault.new_token, text, text, text)
    IS 'stores a token by REST: a child of the caller''s, or of a role for those who may manage everything';

CREATE FUNCTION vault.generations(id uuid) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE above AS (
        SELECT t.parent, 0 AS n FROM vault.tokens t WHERE t.id = generations.id
        UNION ALL
        SELECT t.parent, a.n + 1 FROM above a JOIN vault.tokens t ON t.id = a.parent WHERE a.n < 100
    )
    SELECT max(n) FROM above
$$;
COMMENT ON FUNCTION vault.generations(uuid) IS 'how many tokens are above one';

CREATE FUNCTION vault.token_rule(d vault.decision, fingerprint bytea, accessor uuid) RETURNS vault.tokens
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own vault.tokens;
    t vault.tokens;
BEGIN
    IF token_rule.fingerprint IS NOT NULL THEN
        own := vault.found_token(token_rule.fingerprint);
    END IF;
    SELECT * INTO t FROM vault.tokens x WHERE x.id = coalesce(token_rule.accessor, own.id);
    IF t.id IS NULL
       OR NOT (coalesce(t.id IN (SELECT x FROM vault.descendants(own.id) x), false)
               OR vault.refusal(d.role, d.scopes, 'manage', '*') IS NULL) THEN
        RAISE EXCEPTION 'no such token' USING ERRCODE = 'undefined_object';
    END IF;
    RETURN t;
END
$$;
COMMENT ON FUNCTION vault.token_rule(vault.decision, bytea, uuid)
    IS 'a token over which the caller has a say; null: its own; raises as if there were none';

CREATE FUNCTION vault.batch_token_of(d vault.decision, claims jsonb) RETURNS vault.token_info
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- It is stored nowhere, so it has no accessor.
    SELECT ROW(NULL, claims ->> 'name', d.acting, l.mount, NULL, d.scopes,
               CASE WHEN jsonb_typeof(claims -> 'bound_cidrs') = 'array'
                    THEN ARRAY(SELECT c FROM jsonb_array_elements_text(claims -> 'bound_cidrs') c) END,
               false, extract(epoch FROM (claims ->> 'expires_at')::timestamptz - (claims ->> 'issued_at')::timestamptz)::bigint,
               (claims ->> 'issued_at')::timestamptz, (claims ->> 'expires_at')::timestamptz,
               (claims ->> 'expires_at')::timestamptz, NULL)::vault.token_info
    FROM vault.login_roles l WHERE l.id = (claims ->> 'login_role')::uuid
$$;
COMMENT ON FUNCTION vault.batch_token_of(vault.decision, jsonb) IS 'what a batch token says of itself';

CREATE FUNCTION vault.require_stored(claims jsonb, accessor uuid, what text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF require_stored.claims IS NOT NULL AND require_stored.accessor IS NULL THEN
        RAISE EXCEPTION 'a batch token cannot be %', require_stored.what USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_stored(jsonb, uuid, text) IS 'raises for the caller''s own token if it is a batch token';

CREATE FUNCTION vault.token_as(fingerprint bytea, address inet, claims jsonb, accessor uuid)
RETURNS TABLE (cause text, actor text, acting text, token vault.token_info)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(token_as.fingerprint, token_as.address, token_as.claims, 'self', NULL);
BEGIN
    RETURN QUERY SELECT d.cause, d.actor, d.acting,
                        CASE WHEN d.cause IS NOT NULL THEN NULL
                             WHEN token_as.accessor IS NULL AND token_as.claims IS NOT NULL THEN vault.batch_token_of(d, token_as.claims)
                             ELSE vault.token_of(vault.token_rule(d, token_as.fingerprint, token_as.accessor)) END;
END
$$;
COMMENT ON FUNCTION vault.token_as(bytea, inet, jsonb, uuid) IS 'a token without its fingerprint; null: the caller''s own';

CREATE FUNCTION vault.tokens_as(fingerprint bytea, address inet, claims jsonb, after uuid, page_size integer)
RETURNS TABLE (cause text, actor text, acting text, token vault.token_info)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(tokens_as.fingerprint, tokens_as.address, tokens_as.claims, 'self', NULL);
    everything boolean;
    own vault.tokens;
BEGIN
    IF d.cause IS NULL THEN
        everything := vault.refusal(d.role, d.scopes, 'manage', '*') IS NULL;
        IF tokens_as.fingerprint IS NOT NULL THEN
            own := vault.found_token(tokens_as.fingerprint);
        END IF;
    END IF;
    RETURN QUERY SELECT d.cause, d.actor, d.acting, l.info FROM (SELECT) one LEFT JOIN LATERAL (
                     SELECT vault.token_of(t) AS info FROM vault.tokens t
                     WHERE d.cause IS NULL AND t.id > coalesce(tokens_as.after, '00000000-0000-0000-0000-000000000000')
                       AND (everything OR t.id IN (SELECT x FROM vault.descendants(own.id) x))
                     ORDER BY t.id LIMIT tokens_as.page_size) l ON true;
END
$$;
COMMENT ON FUNCTION vault.tokens_as(bytea, inet, jsonb, uuid, integer)
    IS 'a page of the tokens over which the caller has a say, by accessor; at least one row, which says who asks';

CREATE FUNCTION vault.renew_token_as(fingerprint bytea, address inet, claims jsonb, accessor uuid, increment_secs bigint,
                                     node text, request_id text) RETURNS vault.token_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(renew_token_as.fingerprint, renew_token_as.address, renew_token_as.claims, 'self', NULL);
BEGIN
    PERFORM vault.raise_refused(d, 'renew', 'token');
    PERFORM vault.require_stored(renew_token_as.claims, renew_token_as.accessor, 'renewed');
    RETURN vault.extend_token((vault.token_rule(d, renew_token_as.fingerprint, renew_token_as.accessor)).id, renew_token_as.increment_secs,
                              vault.origin_of(d, renew_token_as.address, renew_token_as.node, renew_token_as.request_id));
END
$$;
COMMENT ON FUNCTION vault.renew_token_as(bytea, inet, jsonb, uuid, bigint, text, text) IS 'moves the end of a token by REST; null: the caller''s own';

CREATE FUNCTION vault.revoke_token_as(fingerprint bytea, address inet, claims jsonb, accessor uuid, node text, request_id text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(revoke_token_as.fingerprint, revoke_token_as.address, revoke_token_as.claims, 'self', NULL);
BEGIN
    PERFORM vault.raise_refused(d, 'revoke', 'token');
    PERFORM vault.require_stored(revoke_token_as.claims, revoke_token_as.accessor, 'revoked alone');
    RETURN vault.end_token((vault.token_rule(d, revoke_token_as.fingerprint, revoke_token_as.accessor)).id,
                           vault.origin_of(d, revoke_token_as.address, revoke_token_as.node, revoke_token_as.request_id));
END
$$;
COMMENT ON FUNCTION vault.revoke_token_as(bytea, inet, jsonb, uuid, text, text) IS 'ends a token and its descendants by REST; null: the caller''s own';
