
-- Who asks by REST, and whether it may. The decision stands in the statement that reads: what is revoked is so at once. Three
-- arguments say who asks: the fingerprint of a token that is stored, the address of the client, and the claims of a batch
-- token, which the API has opened.

CREATE FUNCTION vault.address_within(address inet, bound cidr[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN bound IS NULL OR coalesce((SELECT bool_or(address <<= b) FROM unnest(bound) b), false);
END
$$;
COMMENT ON FUNCTION vault.address_within(inet, cidr[]) IS 'whether an address is in one of the networks; null: any may be';

CREATE FUNCTION vault.found_token(fingerprint bytea) RETURNS vault.tokens
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x FROM vault.tokens x
    WHERE substring(x.fingerprint, 1, 8) = substring(found_token.fingerprint, 1, 8)
      AND vault.same_bytes(x.fingerprint, found_token.fingerprint)
$$;
COMMENT ON FUNCTION vault.found_token(bytea) IS 'the token with a fingerprint, compared in constant time; null: there is none';

CREATE FUNCTION vault.identify_batch(address inet, claims jsonb) RETURNS vault.decision
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.login_roles;
    d vault.decision;
BEGIN
    SELECT * INTO l FROM vault.login_roles x WHERE x.id = (claims ->> 'login_role')::uuid;
    d.role := l.role;
    d.scopes := claims -> 'scopes';
    IF jsonb_typeof(d.scopes) = 'null' THEN
        d.scopes := NULL;
    END IF;
    d.actor := concat('token:', claims ->> 'name', E'\x1f', E'\x1f', l.mount);
    d.cause := CASE
        -- The very value that the token was issued under: clocks of nodes differ, and a standby may be behind.
        WHEN l.id IS NULL OR ((claims ->> 'valid_from')::timestamptz = l.valid_from) IS NOT TRUE THEN 'token_revoked'
        WHEN ((claims ->> 'expires_at')::timestamptz > clock_timestamp()) IS NOT TRUE THEN 'token_expired'
        WHEN NOT vault.address_within(identify_batch.address, l.bound_cidrs)
             OR jsonb_typeof(claims -> 'bound_cidrs') = 'array'
                AND NOT vault.address_within(identify_batch.address,
                                             ARRAY(SELECT c::cidr FROM jsonb_array_elements_text(claims -> 'bound_cidrs') c))
            THEN 'token_address' END;
    RETURN d;
END
$$;
COMMENT ON FUNCTION vault.identify_batch(inet, jsonb) IS 'who holds a batch token with these claims';

-- Without SET, so that the planner can expand it: it is in each read and each change with a token.
CREATE FUNCTION vault.token_holder(fingerprint bytea, address inet) RETURNS SETOF vault.decision
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    -- The parent is queried too: one that ends while a child is made may not find it.
    SELECT CASE WHEN x.revoked_at IS NOT NULL
                     OR x.parent IS NOT NULL AND NOT EXISTS (SELECT FROM vault.tokens p WHERE p.id OPERATOR(pg_catalog.=) x.parent
                                                                                         AND p.revoked_at IS NULL) THEN 'token_revoked'
                WHEN x.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() THEN 'token_expired'
                WHEN x.bound_cidrs IS NOT NULL AND NOT vault.address_within(token_holder.address, x.bound_cidrs) THEN 'token_address'
                WHEN r.rolname IS NULL THEN 'role_missing' END,
           pg_catalog.concat('token:', x.name, E'\x1f', x.id, E'\x1f', x.method),
           vault.shown_name(r.rolname), x.role::pg_catalog.oid, x.scopes
    FROM vault.tokens x LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) x.role
    WHERE pg_catalog.substring(x.fingerprint, 1, 8) OPERATOR(pg_catalog.=) pg_catalog.substring(token_holder.fingerprint, 1, 8)
      AND vault.same_bytes(x.fingerprint, token_holder.fingerprint)
$$;
COMMENT ON FUNCTION vault.token_holder(bytea, inet) IS 'who holds a token, and why it is not valid; no row: there is no such token';

CREATE FUNCTION vault.identify(fingerprint bytea, address inet, claims jsonb) RETURNS vault.decision
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    d vault.decision;
BEGIN
    IF identify.claims IS NOT NULL THEN
        d := vault.identify_batch(identify.address, identify.claims);
        SELECT vault.shown_name(r.rolname) INTO d.acting FROM pg_roles r WHERE r.oid = d.role;
        IF NOT FOUND THEN
            d.cause := coalesce(d.cause, 'role_missing');
        END IF;
    ELSIF identify.fingerprint IS NOT NULL THEN
        SELECT * INTO d FROM vault.token_holder(identify.fingerprint, identify.address);
        IF NOT FOUND THEN
            d.actor := 'anonymous';
            d.cause := 'token_unknown';
        END IF;
    ELSE
        d.role := to_regrole('vault_anonymous');
        d.actor := 'reader';
        IF d.role IS NULL THEN
            d.cause := 'grant';
        ELSE
            d.acting := 'vault_anonymous';
        END IF;
    END IF;
    RETURN d;
END
$$;
COMMENT ON FUNCTION vault.identify(bytea, inet, jsonb) IS 'who asks, and why its token is not valid';

CREATE FUNCTION vault.refusal(caller oid, scopes jsonb, wanted text, target text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF wanted = 'self' THEN
        RETURN NULL;
    ELSIF target IS NULL THEN
        -- What concerns no single name: who may do it, or anything, with some name.
        RETURN CASE WHEN NOT EXISTS (SELECT FROM vault.visible_names(caller, scopes, CASE WHEN wanted IN ('list', 'watch', 'status')
                                                                                     THEN vault.all_actions() ELSE ARRAY[wanted] END))
                    THEN 'grant' END;
    ELSIF wanted = 'issue' THEN
        RETURN CASE WHEN NOT vault.may_issue(caller, scopes, target) THEN 'grant' END;
    ELSIF wanted = 'list' AND scopes IS NOT NULL THEN
        RETURN CASE WHEN NOT EXISTS (SELECT FROM unnest(vault.all_actions()) a
                                     WHERE vault.may(caller, a, target) AND vault.scopes_allow(scopes, a, target)) THEN 'grant' END;
    ELSIF vault.may(caller, wanted, target) IS NOT TRUE THEN
        RETURN 'grant';
    ELSIF scopes IS NOT NULL AND vault.scopes_allow(scopes, wanted, target) IS NOT TRUE THEN
        RETURN 'scope';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION vault.refusal(oid, jsonb, text, text)
    IS 'why a role may not do an action on a name within the scopes of a token; null: it may; a null name: on no name at all';

-- The kept plan must be the one by index whatever size the tables had when it was made, as in vault.may().
CREATE FUNCTION vault.decide_defined(fingerprint bytea, address inet, claims jsonb, action text, name text) RETURNS vault.decision
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    d vault.decision;
    -- To manage no single name is to manage all of them.
    target text := CASE WHEN decide_defined.action = 'manage' THEN coalesce(decide_defined.name, '*') ELSE decide_defined.name END;
    granted boolean;
BEGIN
    IF decide_defined.claims IS NULL AND decide_defined.fingerprint IS NOT NULL AND target IS NOT NULL AND decide_defined.action = ANY (vault.all_actions()) THEN
        -- The token and its usual grants in one query. With a function for each, a decision takes three times as long.
        SELECT h.cause, h.actor, h.acting, h.role, h.scopes,
               vault.may(h.role, decide_defined.action, target)
        INTO d.cause, d.actor, d.acting, d.role, d.scopes, granted
        FROM vault.token_holder(decide_defined.fingerprint, decide_defined.address) h;
        IF NOT FOUND THEN
            d.actor := 'anonymous';
            d.cause := 'token_unknown';
        END IF;
    ELSE
        d := vault.identify(decide_defined.fingerprint, decide_defined.address, decide_defined.claims);
    END IF;
    IF d.cause IS NULL AND (granted IS NOT TRUE OR d.scopes IS NOT NULL) THEN
        d.cause := vault.refusal(d.role, d.scopes, decide_defined.action, target);
    END IF;
    IF d.cause IS NOT NULL AND d.actor = 'reader' THEN
        d.actor := 'anonymous';
    END IF;
    RETURN d;
END
$$;
COMMENT ON FUNCTION vault.decide_defined(bytea, inet, jsonb, text, text) IS 'the definition of vault.decide()';

-- It reads the token and the grants itself, by index, as vault.may() does.
CREATE FUNCTION vault.decide(fingerprint bytea, address inet, claims jsonb, action text, name text) RETURNS vault.decision
AS 'MODULE_PATHNAME', 'hv_decide' LANGUAGE C STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.decide(bytea, inet, jsonb, text, text) IS 'who asks by REST, and why it may not; a null cause allows';

CREATE FUNCTION vault.raise_refused(d vault.decision, action text, name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF d.cause LIKE 'token%' OR d.cause = 'role_missing' THEN
        RAISE EXCEPTION 'the token is not valid' USING ERRCODE = 'invalid_authorization_specification', DETAIL = d.cause;
    ELSIF d.cause IS NOT NULL THEN
        RAISE EXCEPTION 'permission denied to % "%"', raise_refused.action, coalesce(raise_refused.name, '*')
            USING ERRCODE = 'insufficient_privilege', DETAIL = d.cause;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.raise_refused(vault.decision, text, text) IS 'raises unless a decision allows';

-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.origin_of(d vault.decision, address inet, node text, request_id text) RETURNS vault.audit_origin
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT ROW(node, d.actor, d.acting, address, request_id)::vault.audit_origin $$;
COMMENT ON FUNCTION vault.origin_of(vault.decision, inet, text, text) IS 'the origin of what a caller does by REST';

CREATE FUNCTION vault.admit_defined(fingerprint bytea, address inet, claims jsonb, action text, name text, node text,
                            request_id text) RETURNS vault.audit_origin
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide_defined(admit_defined.fingerprint, admit_defined.address, admit_defined.claims, admit_defined.action, admit_defined.name);
BEGIN
    IF d.cause IS NOT NULL THEN
        PERFORM vault.raise_refused(d, admit_defined.action, admit_defined.name);
    END IF;
    RETURN vault.origin_of(d, admit_defined.address, admit_defined.node, admit_defined.request_id);
END
$$;
COMMENT ON FUNCTION vault.admit_defined(bytea, inet, jsonb, text, text, text, text) IS 'the definition of vault.admit()';

CREATE FUNCTION vault.admit(fingerprint bytea, address inet, claims jsonb, action text, name text, node text,
                            request_id text) RETURNS vault.audit_origin
AS 'MODULE_PATHNAME', 'hv_admit' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.admit(bytea, inet, jsonb, text, text, text, text)
    IS 'the origin of a change by REST; raises unless the caller may make it';
