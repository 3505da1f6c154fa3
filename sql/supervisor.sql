
-- What a pass of the supervisor does, on the primary only.

-- The plans must be those by index whatever size the tables had when they were made.
CREATE FUNCTION vault.supervise(batch integer, enqueue boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    expired_now bigint;
    deleted_now bigint;
    purged_now bigint;
    missed_now bigint;
    ended_now bigint;
    enqueued_now bigint;
    counted vault.supervisor_passes;
BEGIN
    -- First, as DROP EXTENSION does: a pass that held another table while it waited for this one would deadlock with it.
    LOCK TABLE vault.secrets IN ROW EXCLUSIVE MODE;
    PERFORM vault.reschedule_future_times(stamp, (SELECT p.last_pass_at FROM vault.supervisor_passes p));
    expired_now := vault.expire_due(stamp, batch);
    deleted_now := vault.delete_due(stamp, batch);
    purged_now := vault.purge_due(stamp, batch);
    missed_now := vault.close_missed(stamp, batch);
    PERFORM vault.end_leases_of_expired((SELECT p.last_pass_at FROM vault.supervisor_passes p), stamp);
    PERFORM vault.skip_done(stamp, batch);
    INSERT INTO vault.rotation_jobs (secret_id, due_at, deadline_at, next_attempt_at, created_at)
    SELECT s.id, s.next_rotation_at, s.next_rotation_at + make_interval(secs => vault.clamped(s.rotation_window_secs, 0, 31536000)), stamp, stamp
    FROM vault.secrets s
    WHERE enqueue AND s.next_rotation_at <= stamp AND NOT s.rotation_paused AND s.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM vault.rotation_jobs j
                      WHERE j.secret_id = s.id AND (j.state IN ('queued', 'claimed') OR j.due_at = s.next_rotation_at))
    ORDER BY s.next_rotation_at LIMIT batch
    FOR SHARE OF s SKIP LOCKED  -- one that is being paused or rescheduled comes in the next pass, as it then is
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS enqueued_now = ROW_COUNT;
    PERFORM vault.check_drift(stamp, batch);
    PERFORM vault.settle_roles();
    PERFORM vault.prolong_roles();
    DELETE FROM vault.rotation_jobs j WHERE j.finished_at < stamp - interval '30 days';
    PERFORM vault.start_audit_part();
    counted := vault.counted_now(stamp);
    PERFORM vault.prune_changes(stamp - interval '7 days', counted.counted_to);
    PERFORM vault.prune_tokens(stamp - interval '7 days', batch);
    PERFORM vault.prune_logins(stamp - interval '7 days', batch);
    ended_now := vault.prune_wrapped(stamp, batch);
    INSERT INTO vault.supervisor_passes (last_pass_at, enqueued, expired, counted_to, counted_at, secrets, automatic)
    VALUES (stamp, enqueued_now, expired_now, counted.counted_to, counted.counted_at, counted.secrets, counted.automatic)
    ON CONFLICT ON CONSTRAINT supervisor_passes_pkey
    DO UPDATE SET last_pass_at = excluded.last_pass_at, enqueued = excluded.enqueued, expired = excluded.expired,
                  counted_to = excluded.counted_to, counted_at = excluded.counted_at, secrets = excluded.secrets,
                  automatic = excluded.automatic;
    IF enqueued_now > 0 THEN
        NOTIFY hyperion_vault_rotation;
    END IF;
    RETURN greatest(expired_now, deleted_now, purged_now, missed_now, enqueued_now, ended_now);
END
$$;
COMMENT ON FUNCTION vault.supervise(integer, boolean)
    IS 'one pass of the supervisor: expire, enqueue, notify; returns the most that it did of one kind: there is more when that is batch';

CREATE FUNCTION vault.counted_now(stamp timestamptz) RETURNS vault.supervisor_passes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted vault.supervisor_passes;
    more record;
    -- Every transaction before this one is over, so its changes are seen by what follows.
    upto xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
    SELECT * INTO counted FROM vault.supervisor_passes FOR NO KEY UPDATE;  -- another pass waits, and goes on from here
    -- All are counted once for each start of the supervisor: rows that were changed by hand leave no change.
    IF counted.counted_to IS NULL
       OR counted.counted_at < (SELECT s.launched_at FROM vault.supervisor_state() s) OR counted.counted_at > stamp THEN
        SELECT a.secrets - m.secrets, a.automatic - m.automatic, a.upto, stamp
        INTO counted.secrets, counted.automatic, counted.counted_to, counted.counted_at
        FROM (SELECT count(*) AS secrets, count(*) FILTER (WHERE s.kind = 'automatic') AS automatic,
                     pg_snapshot_xmin(pg_current_snapshot()) AS upto
              FROM vault.secrets s WHERE s.deleted_at IS NULL) a
        CROSS JOIN LATERAL vault.counted_changes(a.upto, '18446744073709551615') m;
    ELSIF counted.counted_to < upto THEN
        SELECT * INTO more FROM vault.counted_changes(counted.counted_to, upto);
        counted.secrets := counted.secrets + more.secrets;
        counted.automatic := counted.automatic + more.automatic;
        counted.counted_to := upto;
    END IF;
    RETURN counted;
END
$$;
COMMENT ON FUNCTION vault.counted_now(timestamptz) IS 'how many secrets there are by all finished transactions: continued from the last count, or counted from the start';

CREATE FUNCTION vault.planned_too_late(stamp timestamptz, set_back boolean) RETURNS SETOF uuid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- By interval, of which there are few: to compare each time with its own interval is to read every secret.
    WITH RECURSIVE rhythm AS (
        (SELECT x.rotation_interval_secs AS secs FROM vault.secrets x
         WHERE x.next_rotation_at IS NOT NULL AND x.rotation_interval_secs IS NOT NULL
         ORDER BY x.rotation_interval_secs LIMIT 1)
        UNION ALL
        SELECT n.secs FROM rhythm r CROSS JOIN LATERAL (
            SELECT x.rotation_interval_secs AS secs FROM vault.secrets x
            WHERE x.next_rotation_at IS NOT NULL AND x.rotation_interval_secs > r.secs
            ORDER BY x.rotation_interval_secs LIMIT 1) n
    )
    SELECT l.id FROM rhythm r CROSS JOIN LATERAL (
        SELECT x.id FROM vault.secrets x
        WHERE x.rotation_interval_secs = r.secs AND x.next_rotation_at IS NOT NULL
          -- of rows, because an index of the times alone has none of such a condition: it would find those of all intervals
          AND (x.rotation_interval_secs, x.next_rotation_at)
              > (r.secs, stamp + make_interval(secs => vault.clamped(r.secs, 1, 315360000)) + interval '1 minute')
        OFFSET 0) l
    UNION
    -- 29 February comes after eight years at the latest
    SELECT x.id FROM vault.secrets x
    WHERE x.rotation_schedule IS NOT NULL AND x.next_rotation_at > CASE WHEN set_back THEN stamp ELSE stamp + interval '9 years' END
    UNION
    SELECT j.secret_id FROM vault.rotation_jobs j
    WHERE j.state IN ('queued', 'claimed') AND j.due_at > stamp + interval '1 minute'
$$;
COMMENT ON FUNCTION vault.planned_too_late(timestamptz, boolean)
    IS 'the secrets whose next rotation is later than any plan of now could have it';

CREATE FUNCTION vault.reschedule_future_times(stamp timestamptz, last_pass_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    set_back boolean := last_pass_at IS NULL OR last_pass_at > stamp + interval '1 minute';
BEGIN
    -- A clock that was ahead has left times that are too late. They are searched for when the clock was set back, which
    -- the last pass shows, and every hour for what that cannot show. To try, claim or plan once too often is harmless.
    -- The first pass after a start or a promotion searches too: the rows may be of another server, or of a restore.
    IF NOT set_back AND date_trunc('hour', last_pass_at) = date_trunc('hour', stamp)
       AND (last_pass_at > (SELECT n.launched_at FROM vault.supervisor_state() n)) IS NOT FALSE THEN
        RETURN;
    END IF;
    PERFORM vault.recount_leases();
    PERFORM vault.mend_leases(stamp);
    UPDATE vault.rotation_jobs j SET next_attempt_at = stamp  -- a retry waits for an hour at most
    WHERE j.id IN (
        SELECT o.id FROM vault.rotation_jobs o
        WHERE o.state = 'queued' AND o.next_attempt_at > stamp + CASE WHEN set_back THEN interval '0' ELSE interval '61 minutes' END
        FOR UPDATE SKIP LOCKED);
    UPDATE vault.rotation_jobs j SET claimed_until = stamp  -- no lease of the API is longer than a minute
    WHERE j.id IN (
        SELECT o.id FROM vault.rotation_jobs o
        WHERE o.state = 'claimed' AND o.claimed_until > stamp + CASE WHEN set_back THEN interval '0' ELSE interval '2 minutes' END
        FOR UPDATE SKIP LOCKED);
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.deleted_at IS NULL AND x.id = ANY (ARRAY(SELECT l FROM vault.planned_too_late(stamp, set_back) l))
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        DELETE FROM vault.rotation_jobs j
        WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed') AND j.due_at > stamp + interval '1 minute';
        UPDATE vault.secrets x
        SET next_rotation_at = CASE WHEN x.rotation_schedule IS NULL
                                    THEN least(x.next_rotation_at, stamp + make_interval(secs => vault.clamped(x.rotation_interval_secs, 1, 315360000))) END
        WHERE x.id = s.id;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.reschedule_future_times(timestamptz, timestamptz) IS 'plans again what was planned by a clock that was ahead';

CREATE FUNCTION vault.skip_done(stamp timestamptz, batch integer) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A due time never comes twice. A secret that is set back to one, as by a schedule planned after the clock was set
    -- back, goes on to the next; one with a schedule is to be planned.
    UPDATE vault.secrets x SET next_rotation_at = vault.next_due(x.next_rotation_at, x.rotation_interval_secs, stamp)
    WHERE x.id IN (
        SELECT s.id FROM vault.secrets s
        WHERE s.next_rotation_at <= stamp AND NOT s.rotation_paused AND s.deleted_at IS NULL
          AND EXISTS (SELECT FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.due_at = s.next_rotation_at
                                                          AND j.state IN ('done', 'missed'))
        LIMIT batch FOR NO KEY UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vault.skip_done(timestamptz, integer) IS 'gives secrets whose due time was already handled the next one';

CREATE FUNCTION vault.expire_due(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    marked bigint;
    total bigint := 0;
BEGIN
    -- The secret is locked before its versions, as everywhere; one that is being changed comes in the next pass.
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.id IN ((SELECT v.secret_id FROM vault.secret_versions v
                        WHERE NOT v.expired AND v.expires_at <= stamp ORDER BY v.expires_at LIMIT batch)
                       UNION ALL
                       (SELECT d.secret_id FROM vault.deleted_versions d
                        WHERE NOT d.expired AND d.expires_at <= stamp ORDER BY d.expires_at LIMIT batch))
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        UPDATE vault.secret_versions v SET expired = true
        WHERE v.secret_id = s.id AND NOT v.expired AND v.expires_at <= stamp;
        GET DIAGNOSTICS marked = ROW_COUNT;
        total := total + marked;
        IF s.has_deleted THEN
            UPDATE vault.deleted_versions d SET expired = true
            WHERE d.secret_id = s.id AND NOT d.expired AND d.expires_at <= stamp;
            GET DIAGNOSTICS marked = ROW_COUNT;
            total := total + marked;
        END IF;
        PERFORM vault.sweep_versions(s);
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.expire_due(timestamptz, integer) IS 'marks versions past their grace permanently, and deletes those that are not kept';

CREATE FUNCTION vault.close_missed(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    total bigint := 0;
BEGIN
    -- The secret is locked before its job, as everywhere.
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.id IN (SELECT j.secret_id FROM vault.rotation_jobs j
                       WHERE j.state IN ('queued', 'claimed') AND j.deadline_at <= stamp LIMIT batch)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        UPDATE vault.rotation_jobs j
        SET state = 'missed', finished_at = stamp, claimed_by = NULL, claimed_until = NULL
        WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed') AND j.deadline_at <= stamp;
        UPDATE vault.secrets x SET next_rotation_at = vault.next_due(s.next_rotation_at, s.rotation_interval_secs, stamp)
        WHERE x.id = s.id;
        PERFORM vault.append_audit(ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin,
            'rotate', s.name, NULL, 'failed', 'unavailable');
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.close_missed(timestamptz, integer) IS 'closes jobs whose window has passed, with a record in the audit; the next window follows';

CREATE FUNCTION vault.prune_changes(before timestamptz, counted_to xid8) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    young vault.changes;
BEGIN
    -- From the start on, in the order of places: what a place is followed by is kept as long as the place. The last one
    -- stays: a client that has seen it misses nothing.
    SELECT * INTO young FROM vault.changes c WHERE c.at >= prune_changes.before AND isfinite(c.at) ORDER BY c.xid, c.id LIMIT 1;
    DELETE FROM vault.changes c WHERE (c.xid, c.id) < (
        SELECT l.xid, l.id FROM vault.changes l
        WHERE (l.xid, l.id) < (coalesce(young.xid, '18446744073709551615'), coalesce(young.id, 0))
        ORDER BY l.xid DESC, l.id DESC LIMIT 1)
      AND c.xid < prune_changes.counted_to;
    DELETE FROM vault.sent_changes c WHERE c.at < prune_changes.before;
END
$$;
COMMENT ON FUNCTION vault.prune_changes(timestamptz, xid8) IS 'deletes changes that are older and counted, but for the last of them';

CREATE FUNCTION vault.owner_fault() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'role "vault_owner" ' || string_agg(f.what, ' and ' ORDER BY f.what)
           || ': no role may use it, because it can read and change every table of the vault'
    FROM pg_roles r, LATERAL (
        SELECT 'can log in' AS what WHERE r.rolcanlogin
        UNION ALL SELECT 'has an attribute'
            WHERE r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
        UNION ALL SELECT 'has members' WHERE EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid)
        UNION ALL SELECT 'is a member of others' WHERE EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)) f
    WHERE r.rolname = 'vault_owner'
$$;
COMMENT ON FUNCTION vault.owner_fault() IS 'what of vault_owner has been changed that the extension relies on; null: nothing';
