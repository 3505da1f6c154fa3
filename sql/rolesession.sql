
-- The sessions of bound roles, on the answering server: which of them logged in with a former password, and what becomes of
-- them when its grace ends.

CREATE FUNCTION vault.backends(OUT pid integer, OUT role oid, OUT database oid, OUT application_name text, OUT client_addr inet,
                               OUT started_at timestamptz, OUT state text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'hv_backends' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.backends()
    IS 'the sessions of clients on this server, which pg_stat_activity shows in part only; without their queries';

CREATE FUNCTION vault.check_session_policy(options vault.binding_options, attributes text[], pair boolean) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN options.session_policy NOT IN ('ignore', 'wait', 'terminate') THEN 'session_policy must be ignore, wait or terminate'
        WHEN options.session_policy = 'wait' AND NOT pair
            THEN 'session_policy wait is for a pair: the former password of a single role ends at the commit'
        WHEN options.session_policy = 'terminate' AND 'superuser' = ANY (attributes) THEN 'sessions of a superuser are not ended'
        WHEN options.max_wait_secs NOT BETWEEN 1 AND 31536000 THEN 'max_wait_secs must be between 1 and 31536000'
        WHEN options.max_wait_secs IS NOT NULL AND options.session_policy IS DISTINCT FROM 'wait'
            THEN 'max_wait_secs is for the session_policy wait' END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_session_policy(vault.binding_options, text[], boolean)
    IS 'raises unless sessions of a role with these attributes can be treated so';

CREATE FUNCTION vault.begin_grace(b vault.role_bindings, ends timestamptz, stamp timestamptz) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    latest timestamptz := CASE b.session_policy WHEN 'wait' THEN ends + make_interval(secs => b.max_wait_secs) END;
    -- A pass of the supervisor finds out whether there are sessions, and a grace may be shorter than it takes to the next.
    valid_until timestamptz := CASE WHEN latest IS NULL THEN ends ELSE greatest(ends, least(stamp + vault.prolonged_by(), latest)) END;
BEGIN
    PERFORM vault.alter_role(b.role, NULL, valid_until, NULL);
    UPDATE vault.role_bindings x SET grace_ends_at = ends, wait_until = latest
    WHERE x.secret_id = b.secret_id AND x.place = b.place;
    RETURN valid_until;
END
$$;
COMMENT ON FUNCTION vault.begin_grace(vault.role_bindings, timestamptz, timestamptz) IS 'lets the retiring role of a pair log in until its grace ends; returns until when';

CREATE FUNCTION vault.prolonged_by() RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT make_interval(secs => 10 + 4 * s.scan_interval_secs) FROM vault.supervisor_state() s $$;
COMMENT ON FUNCTION vault.prolonged_by() IS 'by how much a pass of the supervisor prolongs a login: several passes may fail meanwhile';

CREATE FUNCTION vault.settle_roles() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    -- What this statement sees is committed, and the clock is read later: a login that begins after that has the new password.
    UPDATE vault.role_verifiers k SET settled_at = clock_timestamp()
    WHERE (k.secret_id, k.place) IN (SELECT x.secret_id, x.place FROM vault.role_verifiers x
                                     WHERE x.settled_at IS NULL FOR NO KEY UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vault.settle_roles() IS 'notes by when the new passwords of bound roles had been committed';

CREATE FUNCTION vault.bound_sessions(of_secret uuid)
RETURNS TABLE (secret_id uuid, place smallint, role oid, role_name text, pid integer, database oid, application_name text, client_addr inet,
               started_at timestamptz, state text, former boolean, ends_at timestamptz, fate text, due boolean)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
        SELECT b.secret_id, b.place, a.role, b.role_name, a.pid, a.database, a.application_name, a.client_addr, a.started_at, a.state,
               f.former, CASE WHEN f.former THEN e.ends_at END,
               CASE WHEN NOT f.former OR b.session_policy <> 'terminate' THEN 'stays' WHEN r.rolsuper THEN 'superuser'
                    WHEN b.fault IS NOT NULL THEN b.fault ELSE 'ends' END,
               -- Not before it is known which sessions began after the rotation, and none of a role that the vault has
               -- given nothing yet.
               f.former AND b.version IS NOT NULL AND b.settled_at IS NOT NULL AND e.ends_at <= stamp
                   AND b.session_policy = 'terminate' AND NOT r.rolsuper AND b.fault IS NULL
        FROM vault.backends() a
        JOIN pg_roles r ON r.oid = a.role
        -- OFFSET: few roles are bound, and each is found by its index.
        CROSS JOIN LATERAL (
            SELECT x.*, vault.binding_fault(x) AS fault, o.current_version, k.settled_at, coalesce(k.settled_at, CASE WHEN k.secret_id IS NULL THEN '-infinity' ELSE 'infinity' END::timestamptz) AS settled,
                   CASE WHEN EXISTS (SELECT FROM vault.role_bindings y WHERE y.secret_id = x.secret_id AND y.place <> x.place) THEN 2 ELSE 1 END AS step
            FROM vault.role_bindings x
            JOIN vault.secrets o ON o.id = x.secret_id
            LEFT JOIN vault.role_verifiers k ON k.secret_id = x.secret_id AND k.place = x.place
            WHERE x.role = a.role::regrole AND (of_secret IS NULL OR x.secret_id = of_secret) OFFSET 0) b
        CROSS JOIN LATERAL (SELECT b.version IS DISTINCT FROM b.current_version OR a.started_at <= b.settled AS former) f
        -- The version that was its password when the session began. A pair's are every second one. Sessions from before the
        -- binding have the password of then.
        LEFT JOIN LATERAL (
            SELECT CASE WHEN NOT v.expired THEN v.expires_at END AS expires_at FROM vault.secret_versions v
            WHERE v.secret_id = b.secret_id AND v.version < b.version AND v.created_at <= greatest(a.started_at, b.bound_at)
              AND (b.version - v.version) % b.step = 0
            ORDER BY v.version DESC LIMIT 1) v ON a.started_at <= b.settled
        CROSS JOIN LATERAL (
            SELECT CASE WHEN b.version = b.current_version THEN coalesce(v.expires_at, b.settled)
                        WHEN a.started_at > b.settled THEN r.rolvaliduntil
                        ELSE least(r.rolvaliduntil, coalesce(v.expires_at, b.settled)) END AS ends_at) e;
END
$$;
COMMENT ON FUNCTION vault.bound_sessions(uuid)
    IS 'the sessions of bound roles on this server, of one secret or of all; due: the grace of its password is over, and it is to be ended';

CREATE FUNCTION vault.count_former_sessions() RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM vault.role_bindings) THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM vault.bound_sessions(NULL) b WHERE b.former);
END
$$;
COMMENT ON FUNCTION vault.count_former_sessions() IS 'how many sessions of this server logged in with a password that is no longer the current one';

CREATE FUNCTION vault.waiting_sessions() RETURNS TABLE (secret_id uuid, place smallint, sessions bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF pg_is_in_recovery() AND EXISTS (SELECT FROM vault.role_bindings b WHERE b.wait_until IS NOT NULL) THEN
        RETURN QUERY SELECT b.secret_id, b.place, count(*)
                     FROM vault.role_bindings b JOIN vault.backends() a ON a.role = b.role
                     WHERE b.wait_until IS NOT NULL GROUP BY b.secret_id, b.place;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.waiting_sessions()
    IS 'how many sessions retiring roles that are waited for have on this server, if it is a standby: the primary sees its own';

CREATE FUNCTION vault.report_sessions(node text, secret_ids uuid[], places smallint[], sessions bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    PERFORM vault.require_writable();
    DELETE FROM vault.standby_sessions x WHERE x.node = report_sessions.node;
    INSERT INTO vault.standby_sessions (secret_id, place, node, sessions, counted_at)
    SELECT b.secret_id, b.place, report_sessions.node, n.sessions, stamp
    FROM unnest(report_sessions.secret_ids, report_sessions.places, report_sessions.sessions) n (secret_id, place, sessions)
    JOIN vault.role_bindings b ON b.secret_id = n.secret_id AND b.place = n.place
    WHERE b.wait_until IS NOT NULL AND n.sessions > 0
    ON CONFLICT ON CONSTRAINT standby_sessions_pkey DO UPDATE SET sessions = excluded.sessions, counted_at = excluded.counted_at;
END
$$;
COMMENT ON FUNCTION vault.report_sessions(text, uuid[], smallint[], bigint[])
    IS 'notes what a node counted by vault.waiting_sessions(), in place of what it counted before';

CREATE FUNCTION vault.count_sessions(b vault.role_bindings, stamp timestamptz, step interval, OUT here bigint, OUT on_standbys bigint, OUT open boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT count(*) INTO here FROM vault.backends() a WHERE a.role = b.role;
    -- What a node has not confirmed for as long as a login is prolonged counts no longer: its standby may be gone.
    SELECT coalesce(sum(x.sessions), 0) INTO on_standbys FROM vault.standby_sessions x
    WHERE x.secret_id = b.secret_id AND x.place = b.place AND x.counted_at > stamp - step;
    -- A grace may be shorter than it takes the nodes of standbys to report.
    open := EXISTS (SELECT FROM pg_stat_get_wal_senders())
        AND EXISTS (SELECT FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
                    WHERE s.id = b.secret_id AND v.created_at > stamp - step);
END
$$;
COMMENT ON FUNCTION vault.count_sessions(vault.role_bindings, timestamptz, interval)
    IS 'how many sessions a retiring role has; open: standbys may have some that no node has reported yet';

CREATE FUNCTION vault.prolong_roles() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    stamp timestamptz := clock_timestamp();
    step interval := vault.prolonged_by();
    s vault.secrets;
    b vault.role_bindings;
    valid_until timestamptz;
    wanted timestamptz;
    n record;
    held boolean;
BEGIN
    FOR b IN SELECT x.* FROM vault.role_bindings x WHERE x.wait_until IS NOT NULL AND x.grace_ends_at <= stamp + step LOOP
        -- The secret is locked before its roles are changed, as everywhere; one that is being changed comes in the next pass.
        SELECT * INTO s FROM vault.secrets x WHERE x.id = b.secret_id FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT * INTO b FROM vault.role_bindings x WHERE x.secret_id = b.secret_id AND x.place = b.place AND x.wait_until IS NOT NULL;
        CONTINUE WHEN NOT FOUND OR vault.binding_fault(b) IS NOT NULL;
        SELECT * INTO n FROM vault.count_sessions(b, stamp, step);
        held := n.here + n.on_standbys > 0 OR n.open;
        SELECT r.rolvaliduntil INTO valid_until FROM pg_roles r WHERE r.oid = b.role;
        wanted := CASE WHEN NOT held THEN b.grace_ends_at ELSE greatest(b.grace_ends_at, least(stamp + step, b.wait_until)) END;
        -- Each change is written to the log, so it is prolonged when half of that is over.
        IF valid_until IS NULL OR wanted < valid_until OR (wanted > valid_until AND valid_until < stamp + step / 2) THEN
            BEGIN
                PERFORM vault.alter_role(b.role, NULL, wanted, NULL);
            EXCEPTION WHEN lock_not_available OR serialization_failure THEN
                CONTINUE;  -- a transaction has altered the role, and may last: there is the next pass
            END;
        END IF;
        IF stamp > least(b.wait_until, CASE WHEN NOT held THEN b.grace_ends_at END) THEN
            DELETE FROM vault.standby_sessions x WHERE x.secret_id = b.secret_id AND x.place = b.place;
            UPDATE vault.role_bindings x SET wait_until = NULL WHERE x.secret_id = b.secret_id AND x.place = b.place;
            IF valid_until > b.grace_ends_at THEN
                PERFORM vault.append_audit(origin, 'session_wait', s.name, b.version, CASE WHEN n.here + n.on_standbys = 0 THEN 'ok' ELSE 'failed' END, '', NULL,
                                           jsonb_build_object('role', b.role_name, 'sessions', n.here, 'on_standbys', n.on_standbys,
                                                              'grace_ends_at', b.grace_ends_at));
            END IF;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.prolong_roles()
    IS 'lets retiring roles of pairs log in for longer while they have sessions, within the bound of the binding; records the end of each wait';

CREATE FUNCTION vault.sessions_to_end() RETURNS TABLE (pid integer, role oid, started_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM vault.role_bindings b WHERE b.session_policy = 'terminate') THEN
        RETURN QUERY SELECT s.pid, s.role, s.started_at FROM vault.bound_sessions(NULL) s WHERE s.due;
    END IF;
    -- On the primary the supervisor ends those of leases.
    IF pg_is_in_recovery() AND EXISTS (SELECT FROM vault.role_leases l WHERE l.ending IS NOT NULL) THEN
        RETURN QUERY SELECT a.pid, a.role, a.started_at
                     FROM vault.backends() a JOIN pg_roles r ON r.oid = a.role
                     JOIN vault.role_leases l ON l.role = r.oid AND l.role_name = r.rolname AND l.ending IS NOT NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.sessions_to_end() IS 'the sessions of this server that are to be ended now';

CREATE FUNCTION vault.record_session_ends() RETURNS TABLE (pid integer, role oid, started_at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    b vault.role_bindings;
    due text[];
    fresh bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM vault.role_bindings x WHERE x.session_policy = 'terminate') THEN
        RETURN;
    END IF;
    -- A binding that a transaction changes comes in the next pass.
    FOR b IN SELECT x.* FROM vault.role_bindings x
             WHERE x.session_policy = 'terminate'
               AND (x.told <> '{}' OR (x.secret_id, x.place) IN (SELECT d.secret_id, d.place FROM vault.bound_sessions(NULL) d WHERE d.due))
             FOR NO KEY UPDATE SKIP LOCKED LOOP
        SELECT coalesce(array_agg(s.pid || '@' || extract(epoch FROM s.started_at) ORDER BY s.pid), '{}')
        INTO due FROM vault.bound_sessions(b.secret_id) s WHERE s.due AND s.place = b.place;
        CONTINUE WHEN due = b.told;
        -- One that does not end is told so in each pass, and recorded once.
        UPDATE vault.role_bindings x SET told = due WHERE x.secret_id = b.secret_id AND x.place = b.place;
        SELECT count(*) INTO fresh FROM unnest(due) d WHERE d <> ALL (b.told);
        IF fresh > 0 THEN
            PERFORM vault.append_audit(origin, 'session_end', s.name, b.version, 'ok', '', NULL, jsonb_build_object('role', b.role_name, 'sessions', fresh))
            FROM vault.secrets s WHERE s.id = b.secret_id;
        END IF;
    END LOOP;
    RETURN QUERY SELECT s.pid, s.role, s.started_at FROM vault.sessions_to_end() s;
END
$$;
COMMENT ON FUNCTION vault.record_session_ends() IS 'the sessions of the primary that are to be ended now, once that is recorded';

CREATE FUNCTION vault.sessions_of(name text) RETURNS SETOF vault.session_info
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    SELECT * INTO s FROM vault.secrets x WHERE x.name = sessions_of.name AND x.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(sessions_of.name);
    ELSIF NOT s.bound THEN
        RAISE EXCEPTION 'secret "%" is bound to no role', s.name USING ERRCODE = 'undefined_object';
    END IF;
    RETURN QUERY SELECT b.pid, b.role_name, vault.shown_name(d.datname), b.application_name, b.client_addr, b.started_at, b.state,
                        CASE WHEN b.former THEN 'former' ELSE 'current' END, CASE WHEN isfinite(b.ends_at) THEN b.ends_at END, b.fate
                 FROM vault.bound_sessions(s.id) b LEFT JOIN pg_database d ON d.oid = b.database
                 ORDER BY b.place, b.started_at, b.pid;
END
$$;
COMMENT ON FUNCTION vault.sessions_of(text) IS 'the sessions of the roles of a bound secret on this server';

CREATE FUNCTION vault.sessions_as(fingerprint bytea, address inet, claims jsonb, name text)
RETURNS TABLE (cause text, actor text, acting text, session jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    d vault.decision := vault.decide(sessions_as.fingerprint, sessions_as.address, sessions_as.claims, 'rotate', sessions_as.name);
BEGIN
    -- Nothing is looked up for a caller that is refused.
    IF d.cause IS NULL THEN
        RETURN QUERY SELECT d.cause, d.actor, d.acting, to_jsonb(s) FROM vault.sessions_of(sessions_as.name) s;
    END IF;
    IF NOT FOUND OR d.cause IS NOT NULL THEN
        RETURN QUERY SELECT d.cause, d.actor, d.acting, NULL::jsonb;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.sessions_as(bytea, inet, jsonb, text) IS 'vault.role_sessions() by REST; at least one row, which says who asks';

CREATE FUNCTION vault.put_role_options(id uuid, options vault.binding_options, origin vault.audit_origin, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    b vault.role_bindings;
    wanted vault.binding_options := options;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.id = put_role_options.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(put_role_options.id::text);
    ELSIF NOT s.bound THEN
        RAISE EXCEPTION 'secret "%" is bound to no role', s.name USING ERRCODE = 'undefined_object';
    END IF;
    FOR b IN SELECT x.* FROM vault.role_bindings x WHERE x.secret_id = s.id ORDER BY x.place LOOP
        wanted.auto_repair := coalesce(options.auto_repair, b.auto_repair);
        wanted.session_policy := coalesce(options.session_policy, b.session_policy);
        wanted.max_wait_secs := coalesce(options.max_wait_secs, CASE wanted.session_policy WHEN 'wait' THEN coalesce(b.max_wait_secs, 3600) END);
        PERFORM vault.check_session_policy(wanted, b.attributes || coalesce(vault.role_attributes(b.role), '{}'),
                                           (SELECT count(*) = 2 FROM vault.role_bindings x WHERE x.secret_id = s.id));
        UPDATE vault.role_bindings x
        SET auto_repair = wanted.auto_repair, session_policy = wanted.session_policy, max_wait_secs = wanted.max_wait_secs,
            wait_until = CASE WHEN wanted.session_policy = 'wait' AND (x.session_policy <> 'wait' OR x.wait_until IS NOT NULL)
                                   AND x.grace_ends_at > clock_timestamp()
                              THEN x.grace_ends_at + make_interval(secs => wanted.max_wait_secs) END
        WHERE x.secret_id = b.secret_id AND x.place = b.place;
        -- What was prolonged ends with the grace once it is no longer waited for.
        IF b.wait_until IS NOT NULL AND wanted.session_policy <> 'wait' AND vault.binding_fault(b) IS NULL THEN
            PERFORM vault.alter_role(b.role, NULL, b.grace_ends_at, NULL);
        END IF;
    END LOOP;
    PERFORM vault.append_audit(origin, 'configure_role', s.name, NULL, 'ok', '', put_role_options.change, to_jsonb(wanted));
END
$$;
COMMENT ON FUNCTION vault.put_role_options(uuid, vault.binding_options, vault.audit_origin, uuid)
    IS 'changes how the roles of a bound secret are treated; nulls keep';

CREATE FUNCTION vault.role_sessions(name text) RETURNS SETOF vault.session_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role_sessions.name IS NULL THEN
        RAISE EXCEPTION 'name must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.require(vault.outer_role(), 'rotate', role_sessions.name);
    RETURN QUERY SELECT * FROM vault.sessions_of(role_sessions.name);
END
$$;
COMMENT ON FUNCTION vault.role_sessions(text)
    IS 'Lists the sessions of the roles of a bound secret on this server, and which of them logged in with a former password. fate says what the vault does with a session when the grace of its password ends.';

CREATE FUNCTION vault.configure_role(name text, session_policy text DEFAULT NULL, max_wait_secs bigint DEFAULT NULL,
                                     auto_repair boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text;
    found uuid;
BEGIN
    IF configure_role.name IS NULL THEN
        RAISE EXCEPTION 'name must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    what := configure_role.name;
    PERFORM vault.require(vault.outer_role(), 'update', configure_role.name);
    PERFORM vault.admit_change('configure_role', what);
    SELECT s.id INTO found FROM vault.secrets s WHERE s.name = configure_role.name AND s.deleted_at IS NULL;
    IF found IS NULL THEN
        PERFORM vault.raise_not_found(configure_role.name);
    END IF;
    PERFORM vault.put_role_options(found, ROW(configure_role.auto_repair, configure_role.session_policy, configure_role.max_wait_secs)::vault.binding_options,
                                   vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('configure_role', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.configure_role(text, text, bigint, boolean)
    IS 'Changes what becomes of sessions of the roles of a bound secret, and whether the supervisor repairs them. Nulls keep.';
