
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
-- where they are few. They are read from that index backwards, so the first record of a name is its newest. Then the next
-- names are found either by reading on, or, where a name has many records, by a step over them. The settings have PostgreSQL
-- read the index in its order, whatever it knows of the names.
CREATE FUNCTION vault.audited_below(wanted text, since timestamptz, before_at timestamptz, most integer, OUT names text[], OUT lasts timestamptz[])
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off -- which so high a cost would be worth
AS $$
DECLARE
    below text := CASE WHEN right(wanted, 1) = '/' THEN wanted ELSE wanted || '/' END;
    beyond text := left(below, -1) || '0'; -- the byte after the slash: so all names between them have the prefix
    most_read CONSTANT integer := 40000; -- records, and 50 for each step
BEGIN
    WITH RECURSIVE step (names, lasts, lowest, found, reads, size) AS (
        SELECT '{}'::text[], '{}'::timestamptz[], beyond COLLATE "C", 0, 0, 256
        UNION ALL
        SELECT g.names, g.lasts, g.lowest, s.found + cardinality(g.names), s.reads + s.size + 50,
               CASE WHEN cardinality(g.names) > CASE s.size WHEN 256 THEN 3 ELSE 1 END THEN 256 ELSE 16 END
        FROM step s CROSS JOIN LATERAL (
            SELECT array_agg(f.name), array_agg(f.last), min(f.name COLLATE "C")
            FROM (SELECT r.secret_name, max(r.at) FILTER (WHERE r.at <= coalesce(before_at, 'infinity'))
                  FROM (SELECT l.secret_name, l.at FROM vault.audit_log l
                        WHERE l.secret_name COLLATE "C" < s.lowest AND l.secret_name COLLATE "C" >= below
                        ORDER BY l.secret_name COLLATE "C" DESC, l.at DESC LIMIT s.size) r
                  GROUP BY r.secret_name) f (name, last)
            HAVING count(*) > 0) g (names, lasts, lowest)
        WHERE s.found <= most AND s.reads <= most_read
    ), listed AS MATERIALIZED (SELECT * FROM step)
    SELECT coalesce(array_agg(e.name), '{}'), coalesce(array_agg(e.last), '{}') INTO names, lasts
    FROM (SELECT n.name, coalesce(n.last, (SELECT l.at FROM vault.audit_log l
                                           WHERE l.secret_name COLLATE "C" = n.name AND l.at <= before_at
                                           ORDER BY l.at DESC LIMIT 1)) AS last
          FROM listed s CROSS JOIN unnest(s.names, s.lasts) n (name, last)) e
    WHERE e.last >= since
    HAVING (SELECT max(s.found) <= most AND max(s.reads) <= most_read FROM listed s);
END
$$;
COMMENT ON FUNCTION vault.audited_below(text, timestamptz, timestamptz, integer)
    IS 'the names below a prefix that have records between two times, and when each one has its newest; null if there are too many';

CREATE FUNCTION vault.has_few_secrets(wanted text, most integer) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
BEGIN
    RETURN (SELECT count(*) <= most
            FROM (SELECT FROM vault.secrets s
                  WHERE s.deleted_at IS NULL AND s.name >= wanted COLLATE "C" AND s.name < vault.prefix_end(wanted) COLLATE "C"
                  LIMIT most + 1) f);
END
$$;
COMMENT ON FUNCTION vault.has_few_secrets(text, integer) IS 'whether a vault has few secrets with a prefix';

-- The names are too many if a search by time is probably quicker. A filter has to fetch records to know which ones count.
CREATE FUNCTION vault.few_audited_names(wanted text, exact boolean, filtered boolean, everything boolean, lows text[], highs text[],
                                        since timestamptz, before_at timestamptz, OUT names text[], OUT lasts timestamptz[])
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF exact THEN
        names := ARRAY[wanted];
    ELSE
        SELECT b.* INTO names, lasts FROM vault.audited_below(wanted, since, before_at,
            CASE WHEN NOT filtered AND vault.has_few_secrets(wanted, 5000) THEN 5000 ELSE 100 END) b;
        IF names IS NOT NULL AND right(wanted, 1) <> '/' THEN
            names := names || wanted;
        END IF;
    END IF;
    IF names IS NOT NULL THEN
        SELECT coalesce(array_agg(n.name), '{}'), array_agg(n.last) INTO names, lasts
        FROM unnest(names, lasts) n (name, last) WHERE everything OR vault.name_within(n.name, lows, highs);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.few_audited_names(text, boolean, boolean, boolean, text[], text[], timestamptz, timestamptz)
    IS 'the names that a prefix selects and a caller may audit, and when each one has its newest record, if known; null if the log has too many';

-- Each round doubles how many records of a name are fetched, but only of names whose records so far are all among the
-- newest. So a round reads about as many records as there shall be, however many names there are.
CREATE FUNCTION vault.audited_since(names text[], lasts timestamptz[], since timestamptz, before_at timestamptz, max_rows integer)
RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off -- which so high a cost would be worth
AS $$
DECLARE
    oldest timestamptz := greatest(since, (SELECT n.last FROM unnest(lasts) n (last) WHERE n.last < coalesce(before_at, 'infinity')
                                           ORDER BY n.last DESC OFFSET max_rows - 1 LIMIT 1));
    round_names text[] := ARRAY(SELECT n.name FROM unnest(names, lasts) n (name, last) WHERE n.last >= oldest IS NOT false);
    round_lasts timestamptz[];
    newest timestamptz[] := '{}';
    seen integer := 0;
    more integer;
BEGIN
    WHILE cardinality(round_names) > 0 LOOP
        more := greatest(seen, 2 * max_rows / cardinality(round_names), 1);
        WITH fetched AS MATERIALIZED (
            SELECT n.name, x.at FROM unnest(round_names) n (name) CROSS JOIN LATERAL (
                SELECT l.at FROM vault.audit_log l
                WHERE l.secret_name COLLATE "C" = n.name AND l.at >= oldest AND l.at < coalesce(before_at, 'infinity')
                ORDER BY l.at DESC OFFSET seen LIMIT more) x
        )
        SELECT ARRAY(SELECT a.at FROM (SELECT unnest(newest) UNION ALL SELECT f.at FROM fetched f) a (at) ORDER BY a.at DESC LIMIT max_rows),
               array_agg(g.name), array_agg(g.last) INTO newest, round_names, round_lasts
        FROM (SELECT f.name, min(f.at) FROM fetched f GROUP BY f.name HAVING count(*) = more) g (name, last);
        oldest := greatest(oldest, newest[max_rows]);
        round_names := ARRAY(SELECT n.name FROM unnest(round_names, round_lasts) n (name, last) WHERE n.last > oldest);
        seen := seen + more;
    END LOOP;
    RETURN oldest;
END
$$;
COMMENT ON FUNCTION vault.audited_since(text[], timestamptz[], timestamptz, timestamptz, integer)
    IS 'a time since when some names have the newest records that are wanted, and few others';

CREATE FUNCTION vault.audit_newest_of(names text[], lasts timestamptz[], of_action text, of_outcome text, who text, since timestamptz, before_at timestamptz,
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
        oldest := vault.audited_since(names, lasts, oldest, before_at, max_rows);
    END IF;
    RETURN QUERY
        SELECT x.* FROM unnest(names, lasts) n (name, last) CROSS JOIN LATERAL (
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
        WHERE n.last >= oldest IS NOT false
        ORDER BY x.at DESC, x.id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_newest_of(text[], timestamptz[], text, text, text, timestamptz, timestamptz, bigint, integer)
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
    lasts timestamptz[];
BEGIN
    SELECT * INTO may FROM vault.audited_names(audit_newest_visible.caller, audit_newest_visible.scopes);
    IF wanted IS NOT NULL THEN
        SELECT f.* INTO names, lasts FROM vault.few_audited_names(wanted, audit_newest_visible.exact,
            coalesce(audit_newest_visible.of_action, audit_newest_visible.of_outcome, who) IS NOT NULL,
            may.everything, may.lows, may.highs, audit_newest_visible.since, audit_newest_visible.before_at) f;
    END IF;
    IF names IS NOT NULL THEN
        RETURN QUERY
            SELECT n.* FROM vault.audit_newest_of(names, lasts, audit_newest_visible.of_action, audit_newest_visible.of_outcome, who, audit_newest_visible.since,
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
