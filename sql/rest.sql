
-- What callers by REST read, and the access of roles as they may see and change it.

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

-- What the changes that wait at one moment ask first, all at once: whether each may be made, and of what secret.
CREATE FUNCTION vault.look_as_defined(fingerprints bytea[], addresses inet[], claims jsonb[], actions text[], names text[])
RETURNS TABLE (asked integer, cause text, actor text, acting text, state vault.secret_state, next_role text, iterations integer)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT q.n::integer, d.cause, d.actor, d.acting, f.state, r.role_name, CASE WHEN r.role_name IS NOT NULL THEN vault.scram_iterations() END
        FROM unnest(look_as_defined.fingerprints, look_as_defined.addresses, look_as_defined.claims, look_as_defined.actions, look_as_defined.names)
             WITH ORDINALITY q (fingerprint, address, claim, action, name, n)
        CROSS JOIN LATERAL vault.decide(q.fingerprint, q.address, q.claim, q.action, q.name) d
        LEFT JOIN LATERAL (
            SELECT vault.state_of(s) AS state FROM vault.secrets s
            WHERE d.cause IS NULL AND s.name = q.name AND s.deleted_at IS NULL
            OFFSET 0) f ON true  -- as in vault.read_as_defined()
        LEFT JOIN LATERAL (
            SELECT n.role_name
            FROM (SELECT b AS binding, b.role_name FROM vault.role_bindings b WHERE (f.state).bound AND b.secret_id = (f.state).id
                  ORDER BY b.version NULLS FIRST, b.place LIMIT 1) n  -- as vault.next_binding()
            WHERE vault.binding_fault(n.binding) IS NULL AND  -- as vault.require_binding()
                  ((SELECT p.rolcanlogin FROM pg_roles p WHERE p.oid = (n.binding).role) OR NOT EXISTS (
                      SELECT FROM vault.role_bindings o WHERE o.secret_id = (n.binding).secret_id AND o.place <> (n.binding).place))) r ON true;
END
$$;
COMMENT ON FUNCTION vault.look_as_defined(bytea[], inet[], jsonb[], text[], text[]) IS 'the definition of vault.look_as()';

CREATE FUNCTION vault.look_as(fingerprints bytea[], addresses inet[], claims jsonb[], actions text[], names text[])
RETURNS TABLE (asked integer, cause text, actor text, acting text, state vault.secret_state, next_role text, iterations integer)
AS 'MODULE_PATHNAME', 'hv_look_as' LANGUAGE C STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.look_as(bytea[], inet[], jsonb[], text[], text[])
    IS 'who asks by REST for several changes, each decided about by itself, with the secret that each is of, without its value, and the next role of a bound one';

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
