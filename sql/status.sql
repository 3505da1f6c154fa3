
-- What happened, for those who follow, and how things stand. Both are read on any node.

-- A plan that was kept since the vault was empty goes through the index as well.
CREATE FUNCTION vault.changes_since(after_xid text, after_id bigint, max_rows integer)
RETURNS TABLE (xid text, id bigint, at timestamptz, action text, name text, version bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    RETURN QUERY
        SELECT c.xid::text, c.id, c.at, c.action, c.name, c.version FROM vault.changes c
        WHERE (c.xid, c.id) > (after_xid::xid8, after_id)
          AND c.xid < pg_snapshot_xmin(pg_current_snapshot())
          AND isfinite(c.at) AND c.version >= 1  -- no reader could go on from another one
        ORDER BY c.xid, c.id LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.changes_since(text, bigint, integer)
    IS 'changes after a position, of transactions before which no other can still commit';

CREATE FUNCTION vault.knows_change(xid text, id bigint, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF knows_change.xid = '0' THEN
        -- Before the first: as long as nothing was pruned, which leaves an old one.
        RETURN NOT EXISTS (SELECT FROM vault.changes c WHERE c.at < clock_timestamp() - interval '7 days');
    ELSIF EXISTS (SELECT FROM vault.changes c WHERE c.xid = knows_change.xid::xid8 AND c.id = knows_change.id
                                                AND c.at = knows_change.at) THEN
        RETURN true;
    END IF;
    BEGIN
        -- While a primary waits for its standby, that one shows the change and it does not.
        -- The status of a transaction that is too old to be looked up is null, which is no reason to wait.
        RETURN CASE WHEN pg_xact_status(knows_change.xid::xid8) IS DISTINCT FROM 'in progress' THEN false END;
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN false;  -- a transaction that is still to come here
    END;
END
$$;
COMMENT ON FUNCTION vault.knows_change(text, bigint, timestamptz)
    IS 'whether a place is one of this history from which on all changes are kept; null: its transaction is not over';

CREATE FUNCTION vault.last_change() RETURNS TABLE (xid text, id bigint, at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT c.xid::text, c.id, c.at FROM vault.changes c
                 WHERE c.xid < pg_snapshot_xmin(pg_current_snapshot()) AND isfinite(c.at)
                 ORDER BY c.xid DESC, c.id DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION vault.last_change() IS 'the place after which changes_since() shows what is new; no row: from the start';

CREATE FUNCTION vault.supervisor_state(OUT preloaded boolean, OUT database text, OUT enabled boolean,
                                       OUT scan_interval_secs integer, OUT launched_at timestamptz,
                                       OUT failing_since timestamptz, OUT reason text)
AS 'MODULE_PATHNAME', 'hv_supervisor_state' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION vault.supervisor_state()
    IS 'whether the library is preloaded, the settings of the supervisor, and why it makes no pass';

CREATE FUNCTION vault.commit_state(OUT standbys_wanted integer, OUT standbys_connected integer,
                                   OUT commits_waiting integer, OUT waiting_since timestamptz)
AS 'MODULE_PATHNAME', 'hv_commit_state' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION vault.commit_state()
    IS 'how many synchronous standbys a commit waits for here, how many are connected, and which commits wait';

CREATE FUNCTION vault.conf_literal(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '''' || replace(replace(replace(value, chr(92), chr(92) || chr(92)), '''', ''''''), chr(10), chr(92) || 'n') || ''''
$$;
COMMENT ON FUNCTION vault.conf_literal(text) IS 'a string as postgresql.conf has it';

CREATE FUNCTION vault.supervision() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    s record;
    last_sign timestamptz;
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    last_sign := greatest((SELECT p.last_pass_at FROM vault.supervisor_passes p WHERE isfinite(p.last_pass_at)), s.launched_at, pg_postmaster_start_time());
    RETURN jsonb_build_object(
        'in_recovery', pg_is_in_recovery(),
        'preloaded', s.preloaded,
        'database', vault.shown_name(s.database::name),
        'serves', s.database = current_database(),
        -- Passes are scan_interval_secs apart, and a long one may take its time.
        'stalled', s.preloaded AND s.database = current_database() AND NOT pg_is_in_recovery()
                   AND stamp - last_sign > make_interval(secs => greatest(30, 4 * s.scan_interval_secs)),
        'last_sign_at', last_sign,
        'failing_since', s.failing_since,
        'reason', s.reason,
        'commits', (SELECT to_jsonb(c) || jsonb_build_object('waiting_secs',
                        greatest(coalesce(extract(epoch FROM clock_timestamp() - c.waiting_since), 0), 0))
                    FROM vault.commit_state() c));
END
$$;
COMMENT ON FUNCTION vault.supervision()
    IS 'whether the supervisor of the answering server serves this database, and whether the server acknowledges commits';

CREATE FUNCTION vault.probe_write() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    BEGIN
        -- Enough for several pages, so that the table's file has to grow, as it has to under changes.
        PERFORM vault.append_audit(ROW('probe', 'probe', NULL, NULL, repeat('x', 64))::vault.audit_origin, 'status', '', NULL, 'ok', '')
        FROM generate_series(1, 200);
        RAISE EXCEPTION USING ERRCODE = 'VT000', MESSAGE = 'the probe is taken back';
    EXCEPTION WHEN SQLSTATE 'VT000' THEN
        NULL;
    END;
END
$$;
COMMENT ON FUNCTION vault.probe_write() IS 'writes what a change would write and takes it back; the error is a change''s';

CREATE FUNCTION vault.waiting() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    s record;
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('reason', w.reason, 'count', w.n, 'since', w.since) ORDER BY w.reason), '[]')
        FROM (
            SELECT CASE WHEN x.rotation_paused THEN 'paused' WHEN NOT s.enabled THEN 'disabled' ELSE 'not_enqueued' END AS reason,
                   count(*) AS n, min(x.next_rotation_at) AS since
            FROM vault.secrets x
            WHERE x.next_rotation_at <= stamp AND x.deleted_at IS NULL
              AND (x.rotation_paused OR NOT s.enabled
                   OR x.next_rotation_at <= stamp - make_interval(secs => 10 + 2 * s.scan_interval_secs))
              AND NOT EXISTS (SELECT FROM vault.rotation_jobs j WHERE j.secret_id = x.id AND j.state IN ('queued', 'claimed'))
            GROUP BY 1
            UNION ALL
            SELECT 'unplanned', count(*), min(x.updated_at) FROM vault.secrets x
            WHERE x.rotation_schedule IS NOT NULL AND x.next_rotation_at IS NULL AND x.deleted_at IS NULL
              AND x.updated_at < stamp - interval '1 minute'
            HAVING count(*) > 0
            UNION ALL
            -- One that could be claimed is claimed within seconds by any API process that has its keys.
            SELECT CASE WHEN j.last_error IS NOT NULL AND j.next_attempt_at > stamp THEN 'retried' ELSE 'not_claimed' END,
                   count(*), min(CASE WHEN j.last_error IS NOT NULL AND j.next_attempt_at > stamp THEN j.due_at
                                      ELSE coalesce(j.claimed_until, j.next_attempt_at) END)
            FROM vault.rotation_jobs j
            WHERE (j.state = 'queued' AND (j.next_attempt_at <= stamp - interval '20 seconds' OR j.last_error IS NOT NULL)
                   AND (j.next_attempt_at > stamp OR j.next_attempt_at <= stamp - interval '20 seconds'))
               OR (j.state = 'claimed' AND j.claimed_until <= stamp - interval '20 seconds')
            GROUP BY 1) w);
END
$$;
COMMENT ON FUNCTION vault.waiting() IS 'how many rotations are due and not made for which reason, and since when';

-- To count all secrets takes 150 ms where there are a million. Each creation and each deletion is a change, so what the
-- supervisor has counted and the changes since give the number, at no cost to a change. Both are read by one snapshot.
CREATE FUNCTION vault.counted_changes(since xid8, before xid8, OUT secrets bigint, OUT automatic bigint) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT coalesce(sum(x.n), 0)::bigint, coalesce(sum(x.n) FILTER (WHERE x.kind = 'automatic'), 0)::bigint INTO secrets, automatic
    FROM (SELECT CASE c.action WHEN 'delete' THEN -1 ELSE 1 END AS n,
                 -- Secrets of one name have followed each other; this is the one that the version was of.
                 (SELECT s.kind FROM vault.secrets s WHERE s.name = c.name AND s.first_version <= c.version
                  ORDER BY s.first_version DESC LIMIT 1) AS kind
          FROM vault.changes c
          WHERE c.xid >= counted_changes.since AND c.xid < counted_changes.before AND c.action IN ('create', 'restore', 'delete')) x;
END
$$;
COMMENT ON FUNCTION vault.counted_changes(xid8, xid8)
    IS 'how many more secrets, and automatic ones, there are by the changes of transactions from one on and before another';

CREATE FUNCTION vault.count_secrets(OUT secrets bigint, OUT automatic bigint) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted vault.supervisor_passes;
    more record;
BEGIN
    SELECT * INTO counted FROM vault.supervisor_passes;
    IF counted.counted_to IS NULL THEN
        SELECT count(*), count(*) FILTER (WHERE s.kind = 'automatic') INTO secrets, automatic
        FROM vault.secrets s WHERE s.deleted_at IS NULL;
        RETURN;
    END IF;
    SELECT * INTO more FROM vault.counted_changes(counted.counted_to, '18446744073709551615');
    secrets := counted.secrets + more.secrets;
    automatic := counted.automatic + more.automatic;
END
$$;
COMMENT ON FUNCTION vault.count_secrets() IS 'how many secrets there are, and automatic ones';

-- The plans must be those by index whatever size the tables had when they were made. They are kept: to make them takes longer
-- than to use them. That holds for the functions that are called here as well, which is why none of them is in SQL.
CREATE FUNCTION vault.status() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
SET max_parallel_workers_per_gather = 0 SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    RETURN jsonb_build_object(
            'version', (SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault'),
            'in_recovery', pg_is_in_recovery(),
            'paused', (SELECT count(*) FROM vault.secrets WHERE rotation_paused AND deleted_at IS NULL),
            'unplanned', (SELECT count(*) FROM vault.secrets
                          WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NULL AND deleted_at IS NULL),
            'missed', (SELECT count(*) FROM vault.rotation_jobs WHERE state = 'missed'),
            'in_grace', (SELECT count(*) FROM vault.secret_versions WHERE NOT expired AND expires_at > stamp),
            'last_pass_at', (SELECT last_pass_at FROM vault.supervisor_passes WHERE isfinite(last_pass_at)),
            -- OFFSET: the least time must not be searched for by the index of times, through all changes that are over.
            'events_held_secs', (SELECT coalesce(extract(epoch FROM stamp - min(h.at))::bigint, 0)
                                 FROM (SELECT c.at FROM vault.changes c
                                       WHERE c.xid >= pg_snapshot_xmin(pg_current_snapshot()) AND isfinite(c.at) OFFSET 0) h),
            'waiting', vault.waiting(),
            'supervision', vault.supervision(),
            'failures', vault.failures(),
            'anonymous_reads_all', coalesce(vault.may(to_regrole('vault_anonymous'), 'read', '*'), false))
        || (SELECT jsonb_build_object('roles_bound', count(*), 'roles_differing', count(*) FILTER (WHERE b.drift IS NOT NULL))
            FROM vault.role_bindings b)
        || jsonb_build_object('former_sessions', vault.count_former_sessions())
        || vault.lease_status(stamp)
        || (SELECT jsonb_build_object('secrets', n.secrets, 'automatic', n.automatic) FROM vault.count_secrets() n)
        || (SELECT jsonb_build_object(
                'due', count(*),
                'overdue_secs', coalesce(extract(epoch FROM stamp - min(next_rotation_at)
                                                 FILTER (WHERE isfinite(next_rotation_at)))::bigint, 0))
            FROM vault.secrets WHERE next_rotation_at <= stamp AND NOT rotation_paused AND deleted_at IS NULL)
        || (SELECT jsonb_build_object(
                'queued', count(*) FILTER (WHERE state = 'queued'),
                'claimed', count(*) FILTER (WHERE state = 'claimed'),
                'failing', count(*) FILTER (WHERE last_error IS NOT NULL))
            FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed'));
END
$$;
COMMENT ON FUNCTION vault.status()
    IS 'Counts secrets and rotations, and reports the last pass of the supervisor and what fails for which reason.';

CREATE FUNCTION vault.failures() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(f ORDER BY f.attempts DESC, f.name), '[]') FROM (
        (SELECT s.name, j.attempts, j.last_error AS reason, j.due_at, j.next_attempt_at
         FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id
         WHERE j.state IN ('queued', 'claimed') AND j.last_error IS NOT NULL
         ORDER BY j.attempts DESC, s.name LIMIT 20)
        UNION ALL
        (SELECT s.name, 0, concat('the next time cannot be computed: ', s.plan_error), NULL, s.plan_failed_at + interval '5 minutes'
         FROM vault.secrets s
         WHERE s.plan_failed_at IS NOT NULL AND s.rotation_schedule IS NOT NULL AND s.next_rotation_at IS NULL
           AND s.deleted_at IS NULL
         ORDER BY s.plan_failed_at, s.name LIMIT 20)) f);
END
$$;
COMMENT ON FUNCTION vault.failures() IS 'the 20 open rotations that have failed most often, with the reason of the last time, and 20 schedules that cannot be planned';
