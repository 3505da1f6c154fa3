
-- Pruning of the audit log. Its parts are filled one after the other, and emptied as wholes.

CREATE FUNCTION vault.start_audit_part() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present vault.audit_numbering;
    began timestamptz;
    candidate smallint;
BEGIN
    SELECT * INTO present FROM vault.audit_numbering n;
    SELECT l.at INTO began FROM vault.audit_log l WHERE l.part = present.part ORDER BY l.id LIMIT 1;
    -- Eight parts are as long as records are kept, 30 days each unless the settings differ; four are for those that are
    -- being filled and pruned.
    IF began IS NULL OR began > clock_timestamp() - coalesce(present.keep, interval '240 days') / 8 THEN
        RETURN;
    END IF;
    FOR i IN 1..11 LOOP
        candidate := (present.part + i) % 12;
        PERFORM FROM vault.audit_log l WHERE l.part = candidate ORDER BY l.id LIMIT 1;
        IF NOT FOUND THEN
            UPDATE vault.audit_numbering n SET part = candidate WHERE n.part = present.part;
            RETURN;
        END IF;
    END LOOP;
    -- All have records: the present part grows until one is empty.
END
$$;
COMMENT ON FUNCTION vault.start_audit_part() IS 'has new records go to an empty part of the log once the present one is old enough';

CREATE FUNCTION vault.empty_audit_part(part smallint, before timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
DECLARE
    old record;
    note vault.audit_log;
BEGIN
    PERFORM FROM vault.audit_log l WHERE l.part = empty_audit_part.part AND l.at >= empty_audit_part.before ORDER BY l.at LIMIT 1;
    IF FOUND THEN
        RETURN 0;
    END IF;
    -- The records of what was pruned move to the present part.
    SELECT count(*) AS records, max(l.id) AS last, array_agg(l) FILTER (WHERE l.action = 'audit_prune') AS notes INTO old
    FROM vault.audit_log l WHERE l.part = empty_audit_part.part;
    IF old.records = 0 THEN
        RETURN 0;
    END IF;
    BEGIN
        EXECUTE format('LOCK TABLE vault.audit_log_%s IN ACCESS EXCLUSIVE MODE', empty_audit_part.part);
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        -- The server looks for a deadlock after a second too, and before the timeout counts.
        RAISE NOTICE 'part % of the audit log is in use: the next call tries again', empty_audit_part.part;
        RETURN 0;
    END;
    -- A transaction that began before this part was left may have written to it until now.
    PERFORM FROM vault.audit_log l WHERE l.part = empty_audit_part.part AND l.id > old.last ORDER BY l.id LIMIT 1;
    IF FOUND THEN
        RETURN 0;
    END IF;
    EXECUTE format('TRUNCATE vault.audit_log_%s', empty_audit_part.part);
    FOREACH note IN ARRAY coalesce(old.notes, '{}') LOOP
        note.part := (SELECT n.part FROM vault.audit_numbering n);
        INSERT INTO vault.audit_log SELECT note.*;
    END LOOP;
    RETURN old.records - coalesce(cardinality(old.notes), 0);
END
$$;
COMMENT ON FUNCTION vault.empty_audit_part(smallint, timestamptz)
    IS 'empties a part of the log if all of its records are older and no transaction holds it; returns how many there were';

CREATE FUNCTION vault.prune_audit(older_than interval, max_rows integer DEFAULT 100000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before timestamptz := clock_timestamp() - prune_audit.older_than;
    present smallint;
    pruned bigint := 0;
    deleted bigint;
BEGIN
    PERFORM vault.require_writable();
    IF prune_audit.older_than IS NULL OR before > clock_timestamp() - interval '1 day' THEN
        RAISE EXCEPTION 'older_than must be at least 1 day' USING ERRCODE = 'invalid_parameter_value';
    ELSIF prune_audit.max_rows IS NULL OR prune_audit.max_rows NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 1000000' USING ERRCODE = 'invalid_parameter_value';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Whether a part may go must be seen after it is locked.
        RAISE EXCEPTION 'the audit log can only be pruned in a transaction of isolation level READ COMMITTED'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    UPDATE vault.audit_numbering n SET keep = prune_audit.older_than WHERE n.keep IS DISTINCT FROM prune_audit.older_than;
    PERFORM vault.start_audit_part();
    present := (SELECT n.part FROM vault.audit_numbering n);
    FOR part IN 0..11 LOOP
        IF part <> present THEN
            pruned := pruned + vault.empty_audit_part(part::smallint, before);
        END IF;
    END LOOP;
    -- What no part explains: a log that was not divided in time, or that has records of a wrong clock beside old ones.
    DELETE FROM vault.audit_log l USING (
        SELECT o.part, o.id FROM vault.audit_log o
        WHERE o.at < before - greatest(prune_audit.older_than / 4, interval '1 day') AND o.action <> 'audit_prune'
        ORDER BY o.at, o.id LIMIT prune_audit.max_rows) d
    WHERE l.part = d.part AND l.id = d.id;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    pruned := pruned + deleted;
    IF pruned > 0 THEN
        PERFORM vault.append_audit(vault.local_origin(), 'audit_prune',
            format('%s records from before %s', pruned, to_char(before AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
            NULL, 'ok', '');
    END IF;
    RETURN pruned;
EXCEPTION WHEN OTHERS THEN
    PERFORM vault.record_failure('audit_prune', NULL, SQLSTATE);
    RAISE;
END
$$;
COMMENT ON FUNCTION vault.prune_audit(interval, integer)
    IS 'Empties the parts of the audit log whose records are all beyond an age, records that in the audit, and returns how many records there were.';
