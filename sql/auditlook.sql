
-- A role that may read the audit sees the records of the names that it may audit; with that action on *, all records.

CREATE FUNCTION vault.require_auditor() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM vault.visible_names(vault.outer_role(), NULL, '{audit}')) THEN
        RAISE EXCEPTION 'permission denied to read the audit'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = vault.grant_hint(vault.outer_role(), '*', 'audit');
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_auditor() IS 'raises unless the calling role may audit some name';

CREATE FUNCTION vault.audited_names(caller oid, scopes jsonb, OUT everything boolean, OUT lows text[], OUT highs text[])
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT coalesce(bool_or(v.first = '' AND v.beyond = '~'), false), array_agg(v.first ORDER BY v.first), array_agg(v.beyond ORDER BY v.first)
    INTO everything, lows, highs
    FROM vault.visible_names(caller, scopes, '{audit}') v;
END
$$;
COMMENT ON FUNCTION vault.audited_names(oid, jsonb)
    IS 'the names whose records a caller may see, as ranges without their end; records of no name sees who audits everything';

-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.name_within(name text, lows text[], highs text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT EXISTS (SELECT FROM unnest(lows, highs) r (low, high) -- the form with several arrays is grammar: it takes no schema
                   WHERE name COLLATE "C" OPERATOR(pg_catalog.>=) r.low AND name COLLATE "C" OPERATOR(pg_catalog.<) r.high)
$$;
COMMENT ON FUNCTION vault.name_within(text, text[], text[]) IS 'whether a name is in one of several ranges';

CREATE FUNCTION vault.audit(name_prefix text DEFAULT NULL, since timestamptz DEFAULT NULL,
                            max_rows integer DEFAULT 1000, until timestamptz DEFAULT NULL)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb, accessor uuid, method text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF audit.max_rows IS NULL OR audit.max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.require_auditor();
    PERFORM vault.look_at_audit(audit.name_prefix);
    RETURN QUERY
        SELECT n.* FROM vault.audit_newest_visible(vault.outer_role(), NULL, audit.name_prefix, false, NULL, NULL, NULL,
                                                   coalesce(audit.since, '-infinity'), audit.until, -9223372036854775808, audit.max_rows) n
        ORDER BY n.at, n.id;
END
$$;
COMMENT ON FUNCTION vault.audit(text, timestamptz, integer, timestamptz)
    IS 'Returns the newest audit records between two times, ordered by the time of the operation.';

CREATE FUNCTION vault.audit_page_visible(caller oid, scopes jsonb, after_id bigint, max_rows integer)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb, accessor uuid, method text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Ids from here on may belong to transactions that are not over. Null: all records were restored from a dump.
    beyond bigint := (SELECT n.base FROM vault.audit_numbering n)
                     + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 22);
    may record;
BEGIN
    SELECT * INTO may FROM vault.audited_names(audit_page_visible.caller, audit_page_visible.scopes);
    RETURN QUERY
        SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
               l.outcome, l.code, l.request_id, l.details, l.accessor, l.method
        FROM vault.audit_log l
        WHERE l.id > audit_page_visible.after_id AND l.id < coalesce(beyond, 9223372036854775807)
          AND (may.everything OR vault.name_within(l.secret_name, may.lows, may.highs))
        ORDER BY l.id LIMIT audit_page_visible.max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_page_visible(oid, jsonb, bigint, integer)
    IS 'the records after an id that a caller may see, for vault.audit_after() and the API, which record the look';

CREATE FUNCTION vault.audit_after(after_id bigint, max_rows integer DEFAULT 1000)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb, accessor uuid, method text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF audit_after.after_id IS NULL THEN
        RAISE EXCEPTION 'after_id must not be null' USING ERRCODE = 'null_value_not_allowed',
            HINT = 'Begin with 0, and go on with the id of the last record.';
    ELSIF audit_after.max_rows IS NULL OR audit_after.max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.require_auditor();
    PERFORM vault.look_at_audit(NULL);
    RETURN QUERY SELECT p.* FROM vault.audit_page_visible(vault.outer_role(), NULL, audit_after.after_id, audit_after.max_rows) p;
END
$$;
COMMENT ON FUNCTION vault.audit_after(bigint, integer)
    IS 'Returns the audit records that follow an id, each once and in the order of ids. No record is skipped, however late it commits. 0 starts with the first.';

-- An index has the records of a name in the order of time, and none has those of several names. So the names are found first,
-- where they are few. The settings have PostgreSQL read that index in its order, whatever it knows of the names.
CREATE FUNCTION vault.few_audited_names(wanted text, exact boolean, everything boolean, lows text[], highs text[]) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off -- which so high a cost would be worth
AS $$
DECLARE
    below text := rtrim(wanted, '/') || '/';
    beyond text := vault.prefix_end(wanted);
    names text[] := ARRAY[wanted];
BEGIN
    IF NOT exact THEN
        WITH RECURSIVE each (name) AS (
            SELECT below
            UNION ALL
            SELECT (SELECT l.secret_name FROM vault.audit_log l
                    WHERE l.secret_name COLLATE "C" > e.name AND l.secret_name COLLATE "C" < beyond
                    ORDER BY l.secret_name COLLATE "C" LIMIT 1)
            FROM each e WHERE e.name IS NOT NULL
        )
        SELECT array_agg(f.name) FILTER (WHERE f.name <> wanted) || wanted INTO names
        FROM (SELECT e.name FROM each e LIMIT 102) f HAVING count(f.name) < 102; -- there is one null, which ends them
    END IF;
    RETURN CASE WHEN names IS NOT NULL THEN ARRAY(
        SELECT n.name FROM unnest(names) n (name)
        WHERE (exact OR vault.has_prefix(n.name, wanted)) AND (everything OR vault.name_within(n.name, lows, highs))) END;
END
$$;
COMMENT ON FUNCTION vault.few_audited_names(text, boolean, boolean, text[], text[])
    IS 'the names that a prefix selects and a caller may audit; null if the log has more than about a hundred below the prefix';

CREATE FUNCTION vault.audited_since(names text[], since timestamptz, before_at timestamptz, max_rows integer) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off -- which so high a cost would be worth
AS $$
BEGIN
    RETURN (
        SELECT x.at FROM unnest(names) n (name) CROSS JOIN LATERAL (
            SELECT l.at FROM vault.audit_log l
            WHERE l.secret_name COLLATE "C" = n.name AND l.at >= since AND l.at < coalesce(before_at, 'infinity')
            ORDER BY l.at DESC LIMIT max_rows) x
        ORDER BY x.at DESC OFFSET max_rows - 1 LIMIT 1);
END
$$;
COMMENT ON FUNCTION vault.audited_since(text[], timestamptz, timestamptz, integer)
    IS 'since when the newest records of some names are; null if there are fewer';

CREATE FUNCTION vault.audit_newest_of(names text[], of_action text, of_outcome text, who text, since timestamptz, before_at timestamptz,
                                      before_id bigint, max_rows integer)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb, accessor uuid, method text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off -- which so high a cost would be worth
AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz := audit_newest_of.since;
BEGIN
    IF coalesce(of_action, of_outcome, who) IS NULL AND cardinality(names) > 1 THEN
        oldest := coalesce(vault.audited_since(names, oldest, before_at, max_rows), oldest);
    END IF;
    RETURN QUERY
        SELECT x.* FROM unnest(names) n (name) CROSS JOIN LATERAL (
            SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
                   l.outcome, l.code, l.request_id, l.details, l.accessor, l.method
            FROM vault.audit_log l
            WHERE l.secret_name COLLATE "C" = n.name
              AND (of_action IS NULL OR l.action = of_action)
              AND (of_outcome IS NULL OR l.outcome = of_outcome)
              AND (who IS NULL OR strpos(lower(l.actor COLLATE "C"), who) > 0 OR strpos(lower(l.session_role COLLATE "C"), who) > 0)
              AND l.at >= oldest AND l.at <= coalesce(before_at, 'infinity')
              AND (before_at IS NULL OR (l.at, l.id) < (before_at, before_id))
            -- The order of the index, and no other, so that no other index seems as good.
            ORDER BY l.at DESC FETCH FIRST max_rows ROWS WITH TIES) x
        ORDER BY x.at DESC, x.id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_newest_of(text[], text, text, text, timestamptz, timestamptz, bigint, integer)
    IS 'the newest records of some names and of a filter, before a record';

CREATE FUNCTION vault.audit_newest_visible(caller oid, scopes jsonb, prefix text, exact boolean, of_action text, of_outcome text, of_actor text,
                                           since timestamptz, before_at timestamptz, before_id bigint, max_rows integer)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb, accessor uuid, method text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan -- by which index depends on what is asked for
AS $$
#variable_conflict use_column
DECLARE
    may record;
    wanted text := nullif(audit_newest_visible.prefix, '');
    beyond text := vault.prefix_end(wanted);
    who text := lower(nullif(audit_newest_visible.of_actor, '') COLLATE "C");
    names text[];
BEGIN
    SELECT * INTO may FROM vault.audited_names(audit_newest_visible.caller, audit_newest_visible.scopes);
    IF wanted IS NOT NULL THEN
        names := vault.few_audited_names(wanted, audit_newest_visible.exact, may.everything, may.lows, may.highs);
    END IF;
    IF names IS NOT NULL THEN
        RETURN QUERY
            SELECT n.* FROM vault.audit_newest_of(names, audit_newest_visible.of_action, audit_newest_visible.of_outcome, who, audit_newest_visible.since,
                                                  audit_newest_visible.before_at, audit_newest_visible.before_id, audit_newest_visible.max_rows) n;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
               l.outcome, l.code, l.request_id, l.details, l.accessor, l.method
        FROM vault.audit_log l
        WHERE (wanted IS NULL
               OR l.secret_name COLLATE "C" >= rtrim(wanted, '/') AND l.secret_name COLLATE "C" < beyond
                  AND vault.has_prefix(l.secret_name, wanted))
          AND (may.everything OR vault.name_within(l.secret_name, may.lows, may.highs))
          AND (audit_newest_visible.of_action IS NULL OR l.action = audit_newest_visible.of_action)
          AND (audit_newest_visible.of_outcome IS NULL OR l.outcome = audit_newest_visible.of_outcome)
          AND (who IS NULL OR strpos(lower(l.actor COLLATE "C"), who) > 0 OR strpos(lower(l.session_role COLLATE "C"), who) > 0)
          AND l.at >= audit_newest_visible.since
          AND (audit_newest_visible.before_at IS NULL OR (l.at, l.id) < (audit_newest_visible.before_at, audit_newest_visible.before_id))
        ORDER BY l.at DESC, l.id DESC
        LIMIT audit_newest_visible.max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_newest_visible(oid, jsonb, text, boolean, text, text, text, timestamptz, timestamptz, bigint, integer)
    IS 'the newest records of a filter that a caller may see, before a record, for the API, which records the look';
