
-- Audit

CREATE FUNCTION vault.audit_base(timeline bigint, OUT base bigint, OUT made_by xid)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    SELECT n.base, n.xmin INTO base, made_by FROM vault.audit_numbering n WHERE n.timeline = audit_base.timeline;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Of two at once the second waits, and finds the row as the first has left it. 2^46 is what 16 million transactions
    -- use: a primary that was lost had not written more that its successor has not replayed.
    INSERT INTO vault.audit_numbering (timeline, base, part)
    SELECT audit_base.timeline, coalesce(max(l.id), 0), coalesce(max(l.part), 0)
    FROM (SELECT x.id, x.part FROM vault.audit_log x ORDER BY x.id DESC LIMIT 1) l
    ON CONFLICT ON CONSTRAINT audit_numbering_pkey DO UPDATE
    SET timeline = excluded.timeline, base = greatest(audit_numbering.base + (1::bigint << 46), excluded.base)
    WHERE audit_numbering.timeline <> excluded.timeline;
    SELECT n.base, n.xmin INTO STRICT base, made_by FROM vault.audit_numbering n WHERE n.timeline = audit_base.timeline;
END
$$;
COMMENT ON FUNCTION vault.audit_base(bigint)
    IS 'where the ids of audit records begin on a timeline, and the transaction that decided so';

-- Without SET, so that the planner expands it: a record is written with each change.
CREATE FUNCTION vault.accessor_in(actor text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- Whatever else stands there must not stop a record.
    SELECT CASE WHEN pg_catalog.split_part(actor, E'\x1f', 2) OPERATOR(pg_catalog.~) '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
                THEN pg_catalog.split_part(actor, E'\x1f', 2)::pg_catalog.uuid END
$$;
COMMENT ON FUNCTION vault.accessor_in(text) IS 'the accessor of a token in the actor of an origin; null: none';

-- Without SET, so that the planner expands it.
CREATE FUNCTION vault.record_of(origin vault.audit_origin, action text, secret_name text, version bigint, outcome text, code text,
                                details jsonb)
RETURNS TABLE (at timestamptz, node text, actor text, session_role text, client_ip inet, recorded_action text, name text,
               recorded_version bigint, recorded_outcome text, recorded_code text, request_id text, recorded_details jsonb,
               accessor uuid, method text, part integer)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $$
    SELECT pg_catalog.clock_timestamp(), origin.node, pg_catalog.split_part(origin.actor, E'\x1f', 1), origin.session_role,
           origin.client_ip, action, secret_name, version, outcome, code, origin.request_id, details,
           vault.accessor_in(origin.actor), nullif(pg_catalog.split_part(origin.actor, E'\x1f', 3), ''),
           coalesce((SELECT n.part FROM vault.audit_numbering n), 0)
$$;
COMMENT ON FUNCTION vault.record_of(vault.audit_origin, text, text, bigint, text, text, jsonb)
    IS 'the columns of an audit record that is made now, in the order in which vault.append_audit() names them';

CREATE FUNCTION vault.append_audit(origin vault.audit_origin, action text, secret_name text, version bigint,
                                   outcome text, code text, change uuid DEFAULT NULL, details jsonb DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                 code, request_id, details, accessor, method, part)
    SELECT r.* FROM vault.record_of(origin, append_audit.action, append_audit.secret_name, append_audit.version,
                                    append_audit.outcome, append_audit.code, append_audit.details) r;
    IF append_audit.change IS NOT NULL THEN
        INSERT INTO vault.sent_changes (change, at) VALUES (append_audit.change, clock_timestamp());
    END IF;
END
$$;
COMMENT ON FUNCTION vault.append_audit(vault.audit_origin, text, text, bigint, text, text, uuid, jsonb)
    IS 'appends one audit record; a second one of the same change is refused, and what it records with it';

CREATE FUNCTION vault.change_made(change uuid) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT c.at FROM vault.sent_changes c WHERE c.change = change_made.change $$;
COMMENT ON FUNCTION vault.change_made(uuid) IS 'when a change was made that was sent with an id; null if it was not';

CREATE FUNCTION vault.local_origin() RETURNS vault.audit_origin
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(coalesce(nullif(current_setting('cluster_name'), ''), 'postgresql'), 'role:' || vault.shown_name(session_user),
               vault.shown_name(session_user), inet_client_addr(), 'pid-' || pg_backend_pid())::vault.audit_origin
$$;
COMMENT ON FUNCTION vault.local_origin() IS 'origin of what the session does by an administrative function';

CREATE FUNCTION vault.record_look(action text, target text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_record_look' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.record_look(text, text) IS 'has the key agent record a query of the audit';

CREATE FUNCTION vault.look_at_audit(target text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The agent of the node records the look, like a read, and no rollback takes that back. Where there is no agent, the
    -- record is the transaction's, if that can write.
    PERFORM vault.record_look('audit', look_at_audit.target);
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE;
    END IF;
    PERFORM vault.append_audit(vault.local_origin(), 'audit', look_at_audit.target, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.look_at_audit(text) IS 'records that the audit is read; raises where that cannot be recorded';

-- The journals of the nodes. Each record has a number in its journal, without gaps; the row of the journal says up to
-- which one they have arrived. A shipper holds that row, so records arrive once and in their order.

CREATE FUNCTION vault.audit_journal(journal uuid) RETURNS TABLE (last_sequence bigint, last_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- A standby may not know yet what has arrived.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'only the primary knows how far a journal has arrived' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN QUERY
        SELECT coalesce(max(j.last_sequence), 0), max(j.last_at) FILTER (WHERE isfinite(j.last_at))
        FROM vault.audit_journals j
        WHERE j.journal = audit_journal.journal;
END
$$;
COMMENT ON FUNCTION vault.audit_journal(uuid) IS 'the last record of a journal that has arrived, and its time; 0: none has';

CREATE FUNCTION vault.lock_journal(journal uuid, node text, OUT last_sequence bigint, OUT last_at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO vault.audit_journals (journal, node, last_sequence, created_at, shipped_at)
    VALUES (lock_journal.journal, lock_journal.node, 0, clock_timestamp(), clock_timestamp())
    ON CONFLICT ON CONSTRAINT audit_journals_pkey DO NOTHING;
    SELECT j.last_sequence, j.last_at INTO STRICT last_sequence, last_at FROM vault.audit_journals j
    WHERE j.journal = lock_journal.journal FOR NO KEY UPDATE;
END
$$;
COMMENT ON FUNCTION vault.lock_journal(uuid, text) IS 'the last record of a journal that has arrived, and its time; the row stays locked';

CREATE FUNCTION vault.ship_audit(journal uuid, node text, first_sequence bigint, ats timestamptz[], nodes text[],
    actors text[], session_roles text[], client_ips inet[], actions text[], secret_names text[], versions bigint[],
    outcomes text[], codes text[], request_ids text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known bigint;
    known_at timestamptz;
    final bigint := ship_audit.first_sequence + cardinality(ship_audit.ats) - 1;
    common bigint;
    common_at timestamptz;
BEGIN
    IF (cardinality(ship_audit.ats) BETWEEN 1 AND 10000 AND ship_audit.first_sequence >= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'a batch has 1 to 10000 records from number 1 on' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT j.last_sequence, j.last_at INTO known, known_at FROM vault.lock_journal(ship_audit.journal, ship_audit.node) j;
    IF ship_audit.first_sequence > known + 1 THEN
        RAISE EXCEPTION 'records % to % of the journal are missing', known + 1, ship_audit.first_sequence - 1
            USING ERRCODE = 'VT003';
    END IF;
    -- What has arrived before must be the same: two nodes with one journal would take each other's numbers. A record that
    -- may have been pruned is not looked for.
    common := least(known, final);
    common_at := ship_audit.ats[common - ship_audit.first_sequence + 1];
    IF common >= ship_audit.first_sequence
       AND (CASE WHEN common = known THEN common_at <> known_at
                 ELSE common_at > clock_timestamp() - interval '1 day'
                      AND NOT EXISTS (SELECT FROM vault.audit_log l WHERE l.at = common_at
                                      AND l.journal = ship_audit.journal AND l.sequence = common) END) THEN
        RAISE EXCEPTION 'record % of the journal is another one here', common USING ERRCODE = 'VT004';
    END IF;
    IF final > known THEN
        INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                     code, request_id, journal, sequence, accessor, method, part)
        SELECT e.at, e.node, split_part(e.actor, E'\x1f', 1), e.session_role, e.client_ip, e.action, e.secret_name, e.version,
               e.outcome, e.code, e.request_id, ship_audit.journal, ship_audit.first_sequence + e.n - 1,
               vault.accessor_in(e.actor), nullif(split_part(e.actor, E'\x1f', 3), ''), coalesce((SELECT n.part FROM vault.audit_numbering n), 0)
        FROM unnest(ship_audit.ats, ship_audit.nodes, ship_audit.actors, ship_audit.session_roles,
                    ship_audit.client_ips, ship_audit.actions, ship_audit.secret_names, ship_audit.versions,
                    ship_audit.outcomes, ship_audit.codes, ship_audit.request_ids)
             WITH ORDINALITY AS e (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                   code, request_id, n)
        WHERE ship_audit.first_sequence + e.n - 1 > known
        ORDER BY e.n;
        UPDATE vault.audit_journals j
        SET last_sequence = final, last_at = ship_audit.ats[cardinality(ship_audit.ats)], node = ship_audit.node, shipped_at = clock_timestamp()
        WHERE j.journal = ship_audit.journal;
    END IF;
    RETURN greatest(known, final);
END
$$;
COMMENT ON FUNCTION vault.ship_audit(uuid, text, bigint, timestamptz[], text[], text[], text[], inet[], text[], text[],
    bigint[], text[], text[], text[])
    IS 'appends records of a journal, leaving out those that have arrived; returns the last one that has';

CREATE FUNCTION vault.skip_audit(journal uuid, node text, last_missing bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known bigint := (SELECT j.last_sequence FROM vault.lock_journal(skip_audit.journal, skip_audit.node) j);
    stamp timestamptz := clock_timestamp();
BEGIN
    IF skip_audit.last_missing <= known THEN
        RETURN known;
    END IF;
    INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, code, journal, sequence, part)
    VALUES (stamp, skip_audit.node, 'journal', 'audit_gap',
            format('records %s to %s of journal %s no longer exist', known + 1, skip_audit.last_missing,
                   skip_audit.journal),
            'failed', 'unavailable', skip_audit.journal, skip_audit.last_missing, coalesce((SELECT n.part FROM vault.audit_numbering n), 0));
    UPDATE vault.audit_journals j
    SET last_sequence = skip_audit.last_missing, last_at = stamp, node = skip_audit.node, shipped_at = clock_timestamp()
    WHERE j.journal = skip_audit.journal;
    RETURN skip_audit.last_missing;
END
$$;
COMMENT ON FUNCTION vault.skip_audit(uuid, text, bigint)
    IS 'skips records that their node no longer has, and records that';
