
-- The ends of leases, by the supervisor. It runs these as the owner, and acts on the roles itself (shim/leaseend.c): first a
-- role can log in no longer, then its sessions end, then it is dropped together with its row, in one transaction.

CREATE FUNCTION vault.ending_leases(batch integer) RETURNS TABLE (lease uuid, role oid)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    -- What has once ended does not come back, however the clock is set.
    UPDATE vault.role_leases l SET ending = 'expired', next_attempt_at = stamp
    WHERE l.id IN (SELECT x.id FROM vault.role_leases x WHERE x.ending IS NULL AND x.expires_at <= stamp
                   ORDER BY x.expires_at LIMIT batch FOR NO KEY UPDATE SKIP LOCKED);
    -- A clock that was ahead has left times that would be waited for: an attempt comes after ten minutes at most.
    UPDATE vault.role_leases l SET next_attempt_at = stamp
    WHERE l.ending IS NOT NULL AND l.next_attempt_at > stamp + interval '11 minutes';
    RETURN QUERY SELECT l.id, (SELECT r.oid FROM pg_roles r WHERE r.oid = l.role AND r.rolname = l.role_name)
                 FROM vault.role_leases l
                 WHERE l.ending IS NOT NULL AND l.next_attempt_at <= stamp
                 ORDER BY l.next_attempt_at LIMIT batch FOR NO KEY UPDATE SKIP LOCKED;
END
$$;
COMMENT ON FUNCTION vault.ending_leases(integer) IS 'the leases that are to be ended now, locked, with their roles; a null role is not there by its name';

CREATE FUNCTION vault.lease_to_drop(lease uuid)
RETURNS TABLE (role oid, role_name text, drop_owned boolean, reassign_to text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    l vault.role_leases;
    renamed text;
BEGIN
    SELECT * INTO l FROM vault.role_leases x
    WHERE x.id = lease_to_drop.lease AND x.ending IS NOT NULL FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT vault.shown_name(r.rolname) INTO renamed FROM pg_roles r WHERE r.oid = l.role AND r.rolname <> l.role_name;
    IF FOUND THEN
        RAISE EXCEPTION 'role "%" is called "%" now, so it is left alone', l.role_name, renamed
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF l.reassign_to IS NOT NULL
          AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = vault.role_of(l.reassign_to)) THEN
        RAISE EXCEPTION 'the role that was to own what role "%" owns is missing', l.role_name
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF l.reassign_to IS NOT NULL AND NOT vault.has_rights_of(l.role, vault.role_of(l.reassign_to)) THEN
        -- It was a member when it was made. Else a function of its would run with rights that it never had.
        RAISE EXCEPTION 'role "%" is no longer a member of role "%", which therefore gets nothing', l.role_name, vault.holder_name(l.reassign_to)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN QUERY SELECT r.oid, l.role_name, l.drop_owned, vault.holder_name(l.reassign_to)
                 FROM (SELECT) one LEFT JOIN pg_roles r ON r.oid = l.role;
END
$$;
COMMENT ON FUNCTION vault.lease_to_drop(uuid)
    IS 'locks a lease that ends and returns what becomes of its role: no row if another session ends it, a null role if that was dropped already; raises for a role that was changed';

CREATE FUNCTION vault.drop_lease(lease uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.role_leases;
BEGIN
    DELETE FROM vault.role_leases x WHERE x.id = drop_lease.lease RETURNING * INTO STRICT l;
    PERFORM vault.count_lease(l.template, -1::smallint, -1);
    PERFORM vault.append_audit(ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin, 'lease_end', l.template,
                               NULL, 'ok', '', NULL, jsonb_build_object('lease', l.id, 'role', l.role_name, 'cause', l.ending, 'attempts', l.attempts + 1));
END
$$;
COMMENT ON FUNCTION vault.drop_lease(uuid) IS 'deletes a lease that has ended and records its end';

CREATE FUNCTION vault.fail_lease(lease uuid, why text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- 1, 2, 4 … 512 seconds, and then ten minutes
    UPDATE vault.role_leases x
    SET attempts = least(x.attempts + 1, 1000000), last_error = convert_from(substring(convert_to(left(why, 250), 'UTF8'), 1, 1024), 'UTF8'),
        next_attempt_at = clock_timestamp() + make_interval(secs => least(600, 2 ^ least(x.attempts, 10)))
    WHERE x.id = fail_lease.lease;
END
$$;
COMMENT ON FUNCTION vault.fail_lease(uuid, text) IS 'notes why a lease could not be ended, and when that is tried again';

CREATE FUNCTION vault.revoke_leases_of(ended uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.role_leases;
BEGIN
    FOR l IN SELECT x.* FROM vault.role_leases x WHERE x.token = ANY (ended) AND x.ending IS NULL FOR NO KEY UPDATE LOOP
        UPDATE vault.role_leases x SET ending = 'token', next_attempt_at = clock_timestamp() WHERE x.id = l.id;
        PERFORM vault.shut_leased_role(l.role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.revoke_leases_of(uuid[]) IS 'revokes the leases that were issued to tokens which end';

CREATE FUNCTION vault.end_leases_of_expired(last_pass_at timestamptz, stamp timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The tokens that have expired since the last pass, and some more for a clock that was set.
    UPDATE vault.role_leases l SET ending = 'token', next_attempt_at = end_leases_of_expired.stamp
    WHERE l.id IN (SELECT x.id FROM vault.tokens t JOIN vault.role_leases x ON x.token = t.id
                   WHERE LEAST(t.revoked_at, t.expires_at) <= end_leases_of_expired.stamp
                     AND LEAST(t.revoked_at, t.expires_at) > least(coalesce(last_pass_at, '-infinity'), end_leases_of_expired.stamp) - interval '1 minute'
                     AND x.token IS NOT NULL AND x.ending IS NULL
                   -- A token that is being renewed is one that lasts, perhaps.
                   FOR NO KEY UPDATE OF x, t SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vault.end_leases_of_expired(timestamptz, timestamptz) IS 'ends the leases that were issued to tokens which have expired';

CREATE FUNCTION vault.mend_leases(stamp timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    l vault.role_leases;
    ahead interval;
BEGIN
    -- Those that had a lock when their token expired.
    PERFORM vault.end_leases_of_expired('-infinity', stamp);
    -- What a clock that was ahead has issued would last longer by as much.
    FOR l IN SELECT x.* FROM vault.role_leases x
             WHERE x.ending IS NULL AND x.expires_at > stamp AND x.issued_at > stamp + interval '1 minute' FOR NO KEY UPDATE SKIP LOCKED LOOP
        ahead := l.issued_at - stamp;
        UPDATE vault.role_leases x
        SET issued_at = stamp, expires_at = l.expires_at - ahead, max_expires_at = l.max_expires_at - ahead WHERE x.id = l.id;
        BEGIN
            PERFORM vault.alter_role(r.oid, NULL, l.expires_at - ahead, NULL) FROM pg_roles r WHERE r.oid = l.role AND r.rolname = l.role_name;
        EXCEPTION WHEN lock_not_available OR serialization_failure THEN
            NULL;  -- the end of the lease drops the role
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.mend_leases(timestamptz) IS 'moves the ends of leases that were issued by a clock that was ahead, and ends those of all expired tokens';

CREATE FUNCTION vault.lease_status(stamp timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    RETURN jsonb_build_object(
        'leases', (SELECT coalesce(sum(c.leases), 0) FROM vault.lease_counts c),
        'leases_due', (SELECT count(*) FROM vault.role_leases l WHERE l.ending IS NOT NULL)
                      + (SELECT count(*) FROM vault.role_leases l WHERE l.ending IS NULL AND l.expires_at <= stamp),
        'leases_failing', (SELECT count(*) FROM vault.role_leases l WHERE l.ending IS NOT NULL AND l.last_error IS NOT NULL),
        'lease_failures', (SELECT coalesce(jsonb_agg(f ORDER BY f.attempts DESC, f.role), '[]') FROM (
            SELECT l.template, l.role_name AS role, l.attempts, l.last_error AS reason, l.next_attempt_at
            FROM vault.role_leases l WHERE l.ending IS NOT NULL AND l.last_error IS NOT NULL
            ORDER BY l.attempts DESC, l.role_name LIMIT 20) f));
END
$$;
COMMENT ON FUNCTION vault.lease_status(timestamptz)
    IS 'how many leases there are, are to be ended now, and could not be ended, and why not for the 20 that were tried most often';

CREATE FUNCTION vault.recount_leases() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A transaction that issues or drops a lease changes the row and the count, and one statement sees both or neither.
    PERFORM vault.count_lease(d.template, -1::smallint, d.more) FROM (
        SELECT n.template, sum(n.more)::bigint AS more FROM (
            SELECT l.template, count(*) AS more FROM vault.role_leases l GROUP BY l.template
            UNION ALL
            SELECT c.template, -c.leases FROM vault.lease_counts c) n
        GROUP BY n.template) d
    WHERE d.more <> 0;
    PERFORM vault.forget_counts();
END
$$;
COMMENT ON FUNCTION vault.recount_leases() IS 'corrects how many leases the templates have, and forgets templates that are gone';

CREATE FUNCTION vault.forget_counts() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone text;
    locked bigint;
BEGIN
    -- Each by its index: EXISTS would be a join that reads all templates.
    FOR gone IN SELECT DISTINCT c.template FROM vault.lease_counts c
                WHERE (SELECT t.name FROM vault.role_templates t WHERE t.name = c.template) IS NULL
                  AND (SELECT l.id FROM vault.role_leases l WHERE l.template = c.template LIMIT 1) IS NULL LOOP
        -- A transaction that issues a lease adds to one of these rows. All are locked, or none is deleted.
        SELECT count(*) INTO locked FROM (SELECT FROM vault.lease_counts c WHERE c.template = gone FOR UPDATE SKIP LOCKED) x;
        CONTINUE WHEN locked < (SELECT count(*) FROM vault.lease_counts c WHERE c.template = gone);
        -- This statement also sees a lease of a new template of that name, with its count.
        DELETE FROM vault.lease_counts c WHERE c.template = gone
            AND NOT EXISTS (SELECT FROM vault.role_leases l WHERE l.template = gone)
            AND (SELECT sum(o.leases) FROM vault.lease_counts o WHERE o.template = gone) = 0;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.forget_counts() IS 'deletes the counts of templates that are gone, once they have no lease';
