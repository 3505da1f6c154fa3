
-- Rotation. The supervisor (a background worker, on the primary only) enqueues what is due; a rotator in any API
-- process claims a job, seals a new value and completes the job in one transaction.

CREATE FUNCTION vault.apply_settings(s vault.secrets, settings vault.secret_settings, more vault.version_settings)
RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    rescheduled boolean;
BEGIN
    -- An interval replaces a schedule, and the other way round; everything that is null stays.
    IF settings.rotation_schedule IS NULL THEN
        settings.rotation_interval_secs := coalesce(settings.rotation_interval_secs, s.rotation_interval_secs);
    END IF;
    IF settings.rotation_interval_secs IS NULL THEN
        settings.rotation_schedule := coalesce(settings.rotation_schedule, s.rotation_schedule);
    END IF;
    PERFORM vault.check_settings(s.kind, settings);
    PERFORM vault.check_version_settings(more);
    IF s.bound AND more.delete_version_after_secs > 0 THEN
        RAISE EXCEPTION 'secret "%" is the password of a role: its versions cannot be deleted by themselves', s.name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    settings.rotation_time_zone := coalesce(settings.rotation_time_zone, s.rotation_time_zone);
    rescheduled := settings.rotation_interval_secs IS DISTINCT FROM s.rotation_interval_secs
        OR settings.rotation_schedule IS DISTINCT FROM s.rotation_schedule
        OR (settings.rotation_schedule IS NOT NULL AND settings.rotation_time_zone <> s.rotation_time_zone);
    PERFORM vault.sweep_versions(s);  -- what was not to be kept does not come back because more are from now on
    UPDATE vault.secrets x
    SET description = coalesce(settings.description, x.description),
        tags = coalesce(settings.tags, x.tags),
        rotation_interval_secs = settings.rotation_interval_secs,
        rotation_schedule = settings.rotation_schedule,
        rotation_time_zone = settings.rotation_time_zone,
        rotation_window_secs = nullif(coalesce(settings.rotation_window_secs, x.rotation_window_secs), 0),
        rotation_paused = coalesce(settings.rotation_paused, x.rotation_paused),
        grace_period_secs = coalesce(settings.grace_period_secs, x.grace_period_secs),
        keep_versions = coalesce(settings.keep_versions, x.keep_versions),
        generate_policy = coalesce(settings.generate_policy, x.generate_policy),
        cas_required = coalesce(more.cas_required, x.cas_required),
        delete_version_after_secs = nullif(coalesce(more.delete_version_after_secs, x.delete_version_after_secs), 0),
        next_rotation_at = CASE WHEN rescheduled
                                THEN stamp + make_interval(secs => settings.rotation_interval_secs)
                                ELSE x.next_rotation_at END,
        plan_failed_at = CASE WHEN rescheduled THEN NULL ELSE x.plan_failed_at END,
        plan_error = CASE WHEN rescheduled THEN NULL ELSE x.plan_error END,
        settings_revision = x.settings_revision + 1,
        updated_at = stamp
    WHERE x.id = s.id
    RETURNING * INTO s;
    IF s.rotation_paused OR rescheduled THEN
        -- What is due by the old plan, or while paused, is not done; nothing of it is half done.
        DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
    END IF;
    PERFORM vault.sweep_versions(s);
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.apply_settings(vault.secrets, vault.secret_settings, vault.version_settings) IS 'changes the settings of a locked secret; null keeps';

CREATE FUNCTION vault.settings_of(s vault.secrets) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('description', s.description, 'tags', s.tags,
        'rotation_interval_secs', s.rotation_interval_secs, 'rotation_schedule', s.rotation_schedule,
        'rotation_time_zone', s.rotation_time_zone, 'rotation_window_secs', s.rotation_window_secs,
        'rotation_paused', s.rotation_paused, 'grace_period_secs', s.grace_period_secs,
        'keep_versions', s.keep_versions, 'generate_policy', s.generate_policy, 'cas_required', s.cas_required,
        'delete_version_after_secs', s.delete_version_after_secs)
$$;
COMMENT ON FUNCTION vault.settings_of(vault.secrets) IS 'the settings of a secret, by name';

CREATE FUNCTION vault.settings_changed(before vault.secrets, now vault.secrets) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('old', coalesce(jsonb_object_agg(o.key, o.value), '{}'),
                              'new', coalesce(jsonb_object_agg(o.key, n.value), '{}'))
    FROM jsonb_each(vault.settings_of(before)) o JOIN jsonb_each(vault.settings_of(now)) n ON n.key = o.key
    WHERE o.value <> n.value
$$;
COMMENT ON FUNCTION vault.settings_changed(vault.secrets, vault.secrets)
    IS 'the settings that differ, before and after, for the audit';

CREATE FUNCTION vault.change_settings(id uuid, expected_version bigint, settings vault.secret_settings,
                                       more vault.version_settings, origin vault.audit_origin, change uuid DEFAULT NULL,
                                       expected_revision bigint DEFAULT NULL)
RETURNS vault.secret_state
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(id, expected_version);
    before vault.secrets := s;
BEGIN
    IF s.settings_revision <> expected_revision THEN
        RAISE EXCEPTION 'settings of secret "%" are at revision %, not %', s.name, s.settings_revision, expected_revision
            USING ERRCODE = 'VT001', HINT = 'They have changed since they were read. Read them again, then decide.';
    END IF;
    s := vault.apply_settings(s, settings, more);
    PERFORM vault.append_audit(origin, 'configure', s.name, s.current_version, 'ok', '', change,
                               vault.settings_changed(before, s));
    RETURN vault.state_of(s);
END
$$;
COMMENT ON FUNCTION vault.change_settings(uuid, bigint, vault.secret_settings, vault.version_settings, vault.audit_origin,
    uuid, bigint)
    IS 'changes settings, not the value, if what is expected is current; null keeps; an interval replaces a schedule and the other way round';

CREATE FUNCTION vault.configure_secret(id uuid, expected_version bigint, settings vault.secret_settings,
                                       origin vault.audit_origin, change uuid DEFAULT NULL,
                                       expected_revision bigint DEFAULT NULL)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made vault.secret_state := vault.change_settings(id, expected_version, settings, NULL, origin,
                                                      change, expected_revision);
BEGIN
    RETURN vault.info_of(s) FROM vault.secrets s WHERE s.id = made.id;
END
$$;
COMMENT ON FUNCTION vault.configure_secret(uuid, bigint, vault.secret_settings, vault.audit_origin, uuid, bigint)
    IS 'the same for programs of protocol 1';

CREATE FUNCTION vault.expire_version(id uuid, version bigint, grace_secs bigint, origin vault.audit_origin,
                                     change uuid DEFAULT NULL)
RETURNS vault.version_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    v vault.secret_versions;
    stamp timestamptz;
    before timestamptz;
BEGIN
    PERFORM vault.require_writable();
    IF grace_secs IS NULL OR grace_secs NOT BETWEEN 0 AND 315360000 THEN
        RAISE EXCEPTION 'grace_secs must be between 0 and 315360000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO s FROM vault.secrets x WHERE x.id = expire_version.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(expire_version.id::text);
    ELSIF s.current_version = expire_version.version THEN
        RAISE EXCEPTION 'version % of secret "%" is the current one', expire_version.version, s.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Rotate or update the secret first.';
    END IF;
    stamp := clock_timestamp();
    SELECT x.expires_at INTO before FROM vault.secret_versions x
    WHERE x.secret_id = s.id AND x.version = expire_version.version;
    -- Only ever sooner: an expired version stays expired.
    UPDATE vault.secret_versions x
    SET expires_at = least(x.expires_at, stamp + make_interval(secs => grace_secs)), expired = x.expired OR grace_secs = 0
    WHERE x.secret_id = s.id AND x.version = expire_version.version
    RETURNING * INTO v;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'secret "%" has no version %', s.name, expire_version.version
            USING ERRCODE = 'undefined_object';
    END IF;
    IF s.bound THEN
        PERFORM vault.retire_role(s, v.version, v.expires_at);
    END IF;
    PERFORM vault.sweep_versions(s);
    PERFORM vault.append_audit(origin, 'expire', s.name, v.version, 'ok', '', change,
        jsonb_build_object('old', jsonb_build_object('expires_at', before),
                           'new', jsonb_build_object('expires_at', v.expires_at)));
    RETURN ROW(v.version, v.envelope_version, v.kms_key_id, v.created_at, v.expires_at)::vault.version_info;
END
$$;
COMMENT ON FUNCTION vault.expire_version(uuid, bigint, bigint, vault.audit_origin, uuid)
    IS 'shortens the grace of a superseded version; 0 ends it now; one change once';

-- An interval that no constraint has bounded must not end the supervisor's pass for all. least() and greatest() pass over null.
CREATE FUNCTION vault.clamped(secs bigint, low bigint, high bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN secs IS NOT NULL THEN least(greatest(secs, low), high) END $$;
COMMENT ON FUNCTION vault.clamped(bigint, bigint, bigint) IS 'the nearest number of a range; null stays null';

CREATE FUNCTION vault.next_due(due_at timestamptz, interval_secs bigint, stamp timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- The first time after stamp in the rhythm that due_at belongs to: what an outage missed is not made up for. An
    -- infinite one and an interval out of range, by a hand in the tables, have no rhythm, and an error here would end the pass
    -- for all.
    SELECT CASE WHEN NOT isfinite(due_at) OR interval_secs NOT BETWEEN 1 AND 315360000
           THEN stamp + make_interval(secs => vault.clamped(interval_secs, 1, 315360000))
           ELSE due_at + make_interval(secs => interval_secs
               * (1 + greatest(0, floor(extract(epoch FROM stamp - due_at) / interval_secs)))) END
$$;
COMMENT ON FUNCTION vault.next_due(timestamptz, bigint, timestamptz) IS 'the next due time of an interval; null for a schedule';

CREATE TYPE vault.rotation_claim AS (
    job_id uuid,
    due_at timestamptz,
    claimed_at timestamptz,
    attempts integer,
    secret vault.secret_info
);
COMMENT ON TYPE vault.rotation_claim IS 'a rotation that a worker has taken on, and its secret';

CREATE FUNCTION vault.claim_rotations(worker text, lease_secs integer, max_jobs integer)
RETURNS SETOF vault.rotation_claim
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    PERFORM vault.require_writable();
    RETURN QUERY
        WITH open AS (
            SELECT j.id FROM vault.rotation_jobs j
            WHERE EXISTS (SELECT FROM vault.secrets s WHERE s.id = j.secret_id AND s.deleted_at IS NULL)
              AND ((j.state = 'queued' AND j.next_attempt_at <= stamp)
                   OR (j.state = 'claimed' AND j.claimed_until <= stamp))
              AND (j.deadline_at IS NULL OR j.deadline_at > stamp)
            ORDER BY j.due_at LIMIT max_jobs FOR UPDATE SKIP LOCKED),
        taken AS (
            UPDATE vault.rotation_jobs j
            SET state = 'claimed', claimed_by = worker, claimed_until = stamp + make_interval(secs => lease_secs),
                attempts = least(j.attempts, 1000000) + 1
            FROM open WHERE j.id = open.id
            RETURNING j.id, j.due_at, j.attempts, j.secret_id)
        SELECT t.id, t.due_at, stamp, t.attempts, vault.info_of(s)
        FROM taken t JOIN vault.secrets s ON s.id = t.secret_id;
END
$$;
COMMENT ON FUNCTION vault.claim_rotations(text, integer, integer)
    IS 'takes on open jobs for lease_secs; a claim whose lease is over is taken over';

CREATE FUNCTION vault.renew_rotations(worker text, lease_secs integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    renewed bigint;
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.rotation_jobs j SET claimed_until = clock_timestamp() + make_interval(secs => lease_secs)
    WHERE j.id IN (SELECT o.id FROM vault.rotation_jobs o WHERE o.state = 'claimed' AND o.claimed_by = worker
                   FOR UPDATE SKIP LOCKED);  -- one that is locked is being finished, or taken over
    GET DIAGNOSTICS renewed = ROW_COUNT;
    RETURN renewed;
END
$$;
COMMENT ON FUNCTION vault.renew_rotations(text, integer)
    IS 'holds the claims of a worker that is alive for lease_secs more; those taken over stay taken; returns how many';

CREATE FUNCTION vault.lock_claim(job_id uuid, worker text) RETURNS vault.rotation_jobs
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job vault.rotation_jobs;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO job FROM vault.rotation_jobs j
    WHERE j.id = job_id AND j.state = 'claimed' AND j.claimed_by = worker FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the claim on rotation job % is lost', job_id
            USING ERRCODE = 'VT002', HINT = 'Its lease ended and another worker took it, or the rotation was called off.';
    END IF;
    RETURN job;
END
$$;
COMMENT ON FUNCTION vault.lock_claim(uuid, text) IS 'locks a job that the worker still holds';

CREATE FUNCTION vault.complete_rotation(job_id uuid, worker text, expected_version bigint, sealed vault.sealed_value,
                                        next_rotation_at timestamptz, origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job vault.rotation_jobs;
    s vault.secrets;
BEGIN
    -- The secret is locked before its job, as everywhere. A claim lost already is said to be lost, whatever version
    -- is current by now.
    SELECT j.* INTO job FROM vault.rotation_jobs j
    WHERE j.id = complete_rotation.job_id AND j.state = 'claimed' AND j.claimed_by = complete_rotation.worker;
    IF FOUND THEN
        s := vault.lock_secret(job.secret_id, complete_rotation.expected_version);
    END IF;
    job := vault.lock_claim(complete_rotation.job_id, complete_rotation.worker);
    s := vault.supersede(s, complete_rotation.sealed, 'rotate',
        coalesce(vault.next_due(job.due_at, s.rotation_interval_secs, clock_timestamp()),
                 complete_rotation.next_rotation_at),
        origin);
    UPDATE vault.rotation_jobs j
    SET state = 'done', finished_at = clock_timestamp(), claimed_by = NULL, claimed_until = NULL,
        last_error = NULL, version = s.current_version
    WHERE j.id = job.id;
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.complete_rotation(uuid, text, bigint, vault.sealed_value, timestamptz, vault.audit_origin)
    IS 'stores the rotated value and ends the job, in one transaction; VT002 when the claim is lost';

CREATE FUNCTION vault.fail_rotation(job_id uuid, worker text, reason text, code text, origin vault.audit_origin)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job vault.rotation_jobs := vault.lock_claim(fail_rotation.job_id, fail_rotation.worker);
    -- What is away comes back, and is then wanted soon.
    longest integer := CASE WHEN fail_rotation.code = 'unavailable' THEN 300 ELSE 3600 END;
    retry_at timestamptz := clock_timestamp() + make_interval(secs => least(longest, 2.0 ^ least(job.attempts, 12)));
BEGIN
    UPDATE vault.rotation_jobs j
    SET state = 'queued', claimed_by = NULL, claimed_until = NULL, next_attempt_at = retry_at,
        last_error = left(fail_rotation.reason, 250)
    WHERE j.id = job.id;
    PERFORM vault.append_audit(fail_rotation.origin, 'rotate',
        (SELECT s.name FROM vault.secrets s WHERE s.id = job.secret_id), NULL, 'failed', fail_rotation.code);
    RETURN retry_at;
END
$$;
COMMENT ON FUNCTION vault.fail_rotation(uuid, text, text, text, vault.audit_origin)
    IS 'gives a job back with the reason; it is retried after 2, 4, 8 ... seconds, at most an hour, five minutes if something was unavailable; returns when';

CREATE FUNCTION vault.release_rotation(job_id uuid, worker text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job vault.rotation_jobs := vault.lock_claim(release_rotation.job_id, release_rotation.worker);
BEGIN
    UPDATE vault.rotation_jobs j
    SET state = 'queued', claimed_by = NULL, claimed_until = NULL, attempts = j.attempts - 1
    WHERE j.id = job.id;
    NOTIFY hyperion_vault_rotation;
END
$$;
COMMENT ON FUNCTION vault.release_rotation(uuid, text) IS 'gives a job back untouched, for others to take on at once';

CREATE FUNCTION vault.unplanned_rotations(max_rows integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    -- Any number that cannot be planned come after those that were not tried yet, and only every five minutes.
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.rotation_schedule IS NOT NULL AND s.next_rotation_at IS NULL AND s.deleted_at IS NULL
                   AND (s.plan_failed_at IS NULL OR s.plan_failed_at NOT BETWEEN stamp - interval '5 minutes' AND stamp)
                 ORDER BY s.plan_failed_at NULLS FIRST, s.updated_at LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.unplanned_rotations(integer) IS 'secrets with a schedule whose next time is to be computed';

CREATE FUNCTION vault.fail_plans(ids uuid[], reasons text[], seen_at timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    failed record;
    noted bigint := 0;
BEGIN
    PERFORM vault.require_writable();
    -- One that has changed since it was seen is another plan; one that is locked is being changed.
    FOR failed IN
        SELECT s.id, u.reason FROM unnest(fail_plans.ids, fail_plans.reasons) u (id, reason) JOIN vault.secrets s ON s.id = u.id
        WHERE s.rotation_schedule IS NOT NULL AND s.next_rotation_at IS NULL AND s.deleted_at IS NULL
          AND s.updated_at NOT BETWEEN fail_plans.seen_at AND clock_timestamp()
        FOR NO KEY UPDATE OF s SKIP LOCKED
    LOOP
        BEGIN
            UPDATE vault.secrets s SET plan_failed_at = clock_timestamp(), plan_error = left(failed.reason, 250)
            WHERE s.id = failed.id;
            noted := noted + 1;
        EXCEPTION WHEN integrity_constraint_violation THEN
            NULL;  -- rows that a constraint made later would not let in
        END;
    END LOOP;
    RETURN noted;
END
$$;
COMMENT ON FUNCTION vault.fail_plans(uuid[], text[], timestamptz)
    IS 'keeps why schedules could not be planned, unless they have changed since; they are tried again after five minutes; returns how many';

CREATE FUNCTION vault.plan_rotation(id uuid, schedule text, time_zone text, next_rotation_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    -- One that is locked keeps no other from being planned.
    UPDATE vault.secrets s
    SET next_rotation_at = plan_rotation.next_rotation_at, plan_failed_at = NULL, plan_error = NULL
    WHERE s.id = (SELECT x.id FROM vault.secrets x
                  WHERE x.id = plan_rotation.id AND x.next_rotation_at IS NULL AND x.deleted_at IS NULL
                    AND x.rotation_schedule = plan_rotation.schedule AND x.rotation_time_zone = plan_rotation.time_zone
                  FOR NO KEY UPDATE SKIP LOCKED);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vault.plan_rotation(uuid, text, text, timestamptz)
    IS 'sets the next time of a schedule, if it is still the one that was computed for';
