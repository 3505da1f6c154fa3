
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
CREATE FUNCTION vault.decide(fingerprint bytea, address inet, claims jsonb, action text, name text) RETURNS vault.decision
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    d vault.decision;
    -- To manage no single name is to manage all of them.
    target text := CASE WHEN decide.action = 'manage' THEN coalesce(decide.name, '*') ELSE decide.name END;
    granted boolean;
BEGIN
    IF decide.claims IS NULL AND decide.fingerprint IS NOT NULL AND target IS NOT NULL AND decide.action = ANY (vault.all_actions()) THEN
        -- The token and its usual grants in one query. With a function for each, a decision takes three times as long.
        SELECT h.cause, h.actor, h.acting, h.role, h.scopes,
               vault.may(h.role, decide.action, target)
        INTO d.cause, d.actor, d.acting, d.role, d.scopes, granted
        FROM vault.token_holder(decide.fingerprint, decide.address) h;
        IF NOT FOUND THEN
            d.actor := 'anonymous';
            d.cause := 'token_unknown';
        END IF;
    ELSE
        d := vault.identify(decide.fingerprint, decide.address, decide.claims);
    END IF;
    IF d.cause IS NULL AND (granted IS NOT TRUE OR d.scopes IS NOT NULL) THEN
        d.cause := vault.refusal(d.role, d.scopes, decide.action, target);
    END IF;
    IF d.cause IS NOT NULL AND d.actor = 'reader' THEN
        d.actor := 'anonymous';
    END IF;
    RETURN d;
END
$$;
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

CREATE FUNCTION vault.admit(fingerprint bytea, address inet, claims jsonb, action text, name text, node text,
                            request_id text) RETURNS vault.audit_origin
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(admit.fingerprint, admit.address, admit.claims, admit.action, admit.name);
BEGIN
    IF d.cause IS NOT NULL THEN
        PERFORM vault.raise_refused(d, admit.action, admit.name);
    END IF;
    RETURN vault.origin_of(d, admit.address, admit.node, admit.request_id);
END
$$;
COMMENT ON FUNCTION vault.admit(bytea, inet, jsonb, text, text, text, text)
    IS 'the origin of a change by REST; raises unless the caller may make it';

-- As for vault.read_sealed, the kept plan must be the one by index whatever size the tables had when it was made.
CREATE FUNCTION vault.read_as_defined(fingerprints bytea[], addresses inet[], claims jsonb[], askers integer[],
                                      names text[], version bigint)
RETURNS TABLE (asked integer, cause text, actor text, acting text, secret_id uuid, name text, content_type text, kind text,
               current_version bigint, sealed_version bigint, envelope_version smallint, kms_key_id text, wrapped_dek bytea,
               nonce bytea, ciphertext bytea, created_at timestamptz, expires_at timestamptz, tags jsonb, next_rotation_at timestamptz, delete_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    -- Decided as vault.refusal() does, for all names at once: each call of that costs as much as a read.
    RETURN QUERY
        WITH granted AS MATERIALIZED (
            SELECT g.grantee, g.pattern FROM vault.grants() g
            WHERE g.action = 'read' AND g.pattern = ANY (vault.patterns_of_names(read_as_defined.names))
        ), question AS MATERIALIZED (
            SELECT q.n::integer AS asked, q.name, d.actor, d.acting,
                   CASE WHEN d.cause IS NOT NULL THEN d.cause
                        WHEN NOT vault.is_superuser(d.role)
                             AND NOT EXISTS (SELECT FROM granted g WHERE q.name IS NOT NULL AND vault.pattern_matches(g.pattern, q.name)
                                                                     AND pg_has_role(d.role, g.grantee, 'USAGE')) THEN 'grant'
                        WHEN d.scopes IS NOT NULL AND vault.scopes_allow(d.scopes, 'read', q.name) IS NOT TRUE THEN 'scope' END AS cause
            FROM unnest(read_as_defined.fingerprints, read_as_defined.addresses, read_as_defined.claims) WITH ORDINALITY c (fingerprint, address, claim, n)
            CROSS JOIN LATERAL vault.identify(c.fingerprint, c.address, c.claim) d
            JOIN unnest(read_as_defined.askers, read_as_defined.names) WITH ORDINALITY q (asker, name, n) ON q.asker = c.n
        )
        SELECT q.asked, q.cause, CASE WHEN q.cause IS NOT NULL AND q.actor = 'reader' THEN 'anonymous' ELSE q.actor END, q.acting,
               f.id, f.name, f.content_type, f.kind, f.current_version, f.version, f.envelope_version, f.kms_key_id,
               f.wrapped_dek, f.nonce, f.ciphertext, f.created_at, f.expires_at, f.tags, f.next_rotation_at, f.delete_at
        FROM question q
        LEFT JOIN LATERAL (
            SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version,
                   v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at, s.tags, s.next_rotation_at,
                   v.delete_at
            FROM vault.secrets s
            JOIN vault.secret_versions v
              ON v.secret_id = s.id AND v.version = coalesce(read_as_defined.version, s.current_version)
            WHERE q.cause IS NULL AND s.name = q.name AND s.deleted_at IS NULL
              AND (v.delete_at IS NULL OR v.delete_at > clock_timestamp())
              AND (v.expires_at IS NULL
                   OR read_as_defined.version IS NOT NULL
                      AND ((v.expires_at > clock_timestamp() AND NOT v.expired)
                           OR v.version BETWEEN s.current_version - s.keep_versions AND s.current_version - 1))
            OFFSET 0) f ON true;  -- one look by index for each question, also by a plan that was kept since the vault was empty
END
$$;
COMMENT ON FUNCTION vault.read_as_defined(bytea[], inet[], jsonb[], integer[], text[], bigint) IS 'the definition of vault.read_as()';

CREATE FUNCTION vault.read_as(fingerprints bytea[], addresses inet[], claims jsonb[], askers integer[], names text[],
                              version bigint)
RETURNS TABLE (asked integer, cause text, actor text, acting text, secret_id uuid, name text, content_type text, kind text,
               current_version bigint, sealed_version bigint, envelope_version smallint, kms_key_id text, wrapped_dek bytea,
               nonce bytea, ciphertext bytea, created_at timestamptz, expires_at timestamptz, tags jsonb, next_rotation_at timestamptz, delete_at timestamptz)
AS 'MODULE_PATHNAME', 'hv_read_as' LANGUAGE C STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.read_as(bytea[], inet[], jsonb[], integer[], text[], bigint)
    IS 'sealed values of names for several who ask, each of whom gets what it may read: as vault.read_sealed, with at least one row for each question';

CREATE FUNCTION vault.describe_visible(caller oid, scopes jsonb, prefix text, after text, page_size integer)
RETURNS SETOF vault.secret_state
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
    wanted text := coalesce(prefix, '');
BEGIN
    -- Each range gives a page at most, in the order of the index, so what lies beyond the page is not read. A bitmap would
    -- have to hold all names of a range first.
    RETURN QUERY SELECT i.* FROM vault.visible_names(caller, scopes) v CROSS JOIN LATERAL (
                     SELECT (vault.state_of(s)).* FROM vault.secrets s
                     WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, wanted)
                       AND s.name >= wanted COLLATE "C" AND s.name < vault.prefix_end(wanted) COLLATE "C"
                       AND s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C"
                       AND s.name > coalesce(after, '')
                     ORDER BY s.name LIMIT page_size) i
                 ORDER BY i.name LIMIT page_size;
END
$$;
COMMENT ON FUNCTION vault.describe_visible(oid, jsonb, text, text, integer)
    IS 'a page of the secrets without values that a caller may see, by name in byte order';

CREATE FUNCTION vault.search_visible(caller oid, scopes jsonb, part text, prefix text, after text, page_size integer)
RETURNS SETOF vault.secret_state
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
    wanted text := coalesce(prefix, '');
    beyond text := vault.prefix_end(wanted);
    start text := greatest(wanted COLLATE "C", (after || ' ') COLLATE "C"); -- no name has a space: this is the first name after it
    small text := lower(part COLLATE "C");
    lows text[];
    highs text[];
BEGIN
    SELECT array_agg(v.first ORDER BY v.first), array_agg(v.beyond ORDER BY v.first) INTO lows, highs
    FROM vault.visible_names(search_visible.caller, search_visible.scopes) v;
    -- In the order of the index, so that a common text is found on its first pages. A rare one is compared with every name
    -- below the prefix, by functions that cost little: only the names of the page are described.
    RETURN QUERY SELECT (vault.state_of(s)).* FROM (
                     SELECT f.name FROM vault.secrets f
                     WHERE f.deleted_at IS NULL AND f.name >= start COLLATE "C" AND f.name < beyond COLLATE "C"
                       AND (strpos(lower(f.name COLLATE "C"), small) > 0
                            OR f.description <> '' AND strpos(lower(f.description COLLATE "C"), small) > 0)
                       AND (wanted = '' OR vault.has_prefix(f.name, wanted)) AND vault.name_within(f.name, lows, highs)
                     ORDER BY f.name COLLATE "C" LIMIT page_size) p
                 JOIN vault.secrets s ON s.name = p.name AND s.deleted_at IS NULL ORDER BY s.name COLLATE "C";
END
$$;
COMMENT ON FUNCTION vault.search_visible(oid, jsonb, text, text, text, integer)
    IS 'a page of the secrets without values that a caller may see and whose name or description has a text, in any case of ASCII';

CREATE FUNCTION vault.visible_of(caller oid, scopes jsonb, names text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(n), '{}') FROM unnest(visible_of.names) n
            WHERE EXISTS (SELECT FROM vault.visible_names(visible_of.caller, visible_of.scopes) v
                          WHERE n COLLATE "C" >= v.first AND n COLLATE "C" < v.beyond));
END
$$;
COMMENT ON FUNCTION vault.visible_of(oid, jsonb, text[]) IS 'those of several names that a caller may see';

CREATE FUNCTION vault.explain_as(fingerprint bytea, address inet, claims jsonb, role text, name text)
RETURNS TABLE (cause text, actor text, acting text, subject text, action text, allowed boolean, why text, grantee text,
               pattern text, how text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Everybody may ask about itself; about others, who may manage the name.
    d vault.decision := vault.decide(explain_as.fingerprint, explain_as.address, explain_as.claims,
                                     CASE WHEN explain_as.role IS NULL THEN 'self' ELSE 'manage' END, explain_as.name);
    who oid := coalesce(to_regrole(quote_ident(explain_as.role)), CASE WHEN explain_as.role IS NULL THEN d.role END);
BEGIN
    IF d.cause IS NOT NULL THEN
        RETURN QUERY VALUES (d.cause, d.actor, d.acting, NULL::text, NULL::text, NULL::boolean, NULL::text, NULL::text, NULL::text, NULL::text);
        RETURN;
    ELSIF who IS NULL THEN
        RAISE EXCEPTION 'role "%" does not exist', explain_as.role USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.check_pattern(explain_as.name);
    RETURN QUERY
        SELECT NULL::text, d.actor, d.acting, vault.shown_name(pg_get_userbyid(who)), e.*
        FROM vault.explain_role(who, CASE WHEN explain_as.role IS NULL THEN d.scopes END, explain_as.name) e;
END
$$;
COMMENT ON FUNCTION vault.explain_as(bytea, inet, jsonb, text, text)
    IS 'vault.explain_access() by REST: of the caller itself, or of a role for those who may manage the name';

CREATE FUNCTION vault.access_as(fingerprint bytea, address inet, claims jsonb)
RETURNS TABLE (cause text, actor text, acting text, grantee text, pattern text, action text, granted_at timestamptz, granted_by text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    d vault.decision := vault.identify(access_as.fingerprint, access_as.address, access_as.claims);
BEGIN
    IF d.cause IS NULL AND NOT EXISTS (SELECT FROM vault.visible_names(d.role, d.scopes, '{manage,audit}')) THEN
        d.cause := 'grant';
    END IF;
    RETURN QUERY SELECT d.cause, CASE WHEN d.cause IS NOT NULL AND d.actor = 'reader' THEN 'anonymous' ELSE d.actor END, d.acting, l.*
                 FROM (SELECT) one LEFT JOIN LATERAL (
                     SELECT vault.plain_role(g.grantee), g.pattern, g.action, g.granted_at, g.granted_by FROM vault.access_list() g
                     WHERE d.cause IS NULL
                       AND (vault.refusal(d.role, d.scopes, 'manage', g.pattern) IS NULL
                            OR vault.refusal(d.role, d.scopes, 'audit', g.pattern) IS NULL)) l ON true;
END
$$;
COMMENT ON FUNCTION vault.access_as(bytea, inet, jsonb)
    IS 'the grants on patterns that the caller may manage or audit; at least one row, which says who asks';

CREATE FUNCTION vault.grant_as(fingerprint bytea, address inet, claims jsonb, role text, pattern text, actions text[],
                               node text, request_id text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    origin vault.audit_origin := vault.admit(grant_as.fingerprint, grant_as.address, grant_as.claims, 'manage',
                                             coalesce(grant_as.pattern, '*'), grant_as.node, grant_as.request_id);
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_grant(vault.named_role(grant_as.role), grant_as.pattern, grant_as.actions);
    PERFORM vault.give_access(vault.named_role(grant_as.role), grant_as.pattern, grant_as.actions, origin);
END
$$;
COMMENT ON FUNCTION vault.grant_as(bytea, inet, jsonb, text, text, text[], text, text) IS 'vault.grant_access() by REST';

CREATE FUNCTION vault.revoke_as(fingerprint bytea, address inet, claims jsonb, role text, pattern text, actions text[],
                                node text, request_id text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    origin vault.audit_origin := vault.admit(revoke_as.fingerprint, revoke_as.address, revoke_as.claims, 'manage',
                                             coalesce(revoke_as.pattern, '*'), revoke_as.node, revoke_as.request_id);
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_grant(vault.named_role(revoke_as.role), revoke_as.pattern, revoke_as.actions);
    PERFORM vault.take_access(vault.named_role(revoke_as.role), revoke_as.pattern, revoke_as.actions, origin);
END
$$;
COMMENT ON FUNCTION vault.revoke_as(bytea, inet, jsonb, text, text, text[], text, text) IS 'vault.revoke_access() by REST';
