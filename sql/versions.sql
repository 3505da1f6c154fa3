
-- Secrets without a version, and versions that are deleted, undeleted or destroyed.

CREATE FUNCTION vault.check_version_settings(more vault.version_settings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF more.delete_version_after_secs NOT BETWEEN 0 AND 315360000 THEN
        RAISE EXCEPTION 'delete_version_after_secs must be 0 (never) or between 1 and 315360000'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_version_settings(vault.version_settings)
    IS 'validates settings with a readable error, where the constraints of the table would only name themselves';

CREATE FUNCTION vault.require_condition(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM vault.secrets s WHERE s.name = require_condition.name AND s.deleted_at IS NULL AND s.cas_required) THEN
        RAISE EXCEPTION 'expected_version must not be null: secret "%" has cas_required', require_condition.name
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Name the version that the new value replaces.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_condition(text) IS 'raises if an update of a secret must name the version that it replaces';

CREATE FUNCTION vault.store_metadata(id uuid, name text, content_type text, settings vault.secret_settings,
                                      more vault.version_settings, origin vault.audit_origin) RETURNS vault.secret_state
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first bigint;
    created vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_settings('manual', settings);
    PERFORM vault.check_version_settings(more);
    first := vault.first_version(store_metadata.name);
    -- Where the name had other versions, the number after them stands for having none. So what was expected of the secret
    -- before is not expected of this one.
    IF first > 1 THEN
        first := first + 1;
    END IF;
    created := vault.insert_secret(store_metadata.id, store_metadata.name, first, first - 1, 'manual',
                                   store_metadata.content_type, settings, more);
    IF created.id IS NULL THEN
        PERFORM vault.raise_used(store_metadata.name);
    END IF;
    PERFORM vault.note_change(origin, 'create', created.id, created.name, created.current_version);
    RETURN vault.state_of(created);
END
$$;
COMMENT ON FUNCTION vault.store_metadata(uuid, text, text, vault.secret_settings, vault.version_settings, vault.audit_origin)
    IS 'stores a new manual secret that has no version yet';

CREATE FUNCTION vault.version_states(name text) RETURNS SETOF vault.version_state
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    owner uuid := (SELECT s.id FROM vault.secrets s WHERE s.name = version_states.name AND s.deleted_at IS NULL);
BEGIN
    RETURN QUERY
        SELECT v.version, v.envelope_version, v.kms_key_id, v.created_at, v.expires_at, NULL::timestamptz, NULL::timestamptz, v.delete_at
        FROM vault.secret_versions v WHERE v.secret_id = owner
        UNION ALL
        SELECT d.version, d.envelope_version, d.kms_key_id, d.created_at, d.expires_at, d.deleted_at, d.destroyed_at, NULL
        FROM vault.deleted_versions d WHERE d.secret_id = owner
        ORDER BY version DESC;
END
$$;
COMMENT ON FUNCTION vault.version_states(text) IS 'the versions of a secret without values, newest first, also deleted and destroyed ones';

CREATE FUNCTION vault.without_current(names text[]) RETURNS TABLE (name text, deleted boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT s.name, s.current_version < s.first_version
               OR EXISTS (SELECT FROM vault.deleted_versions d WHERE d.secret_id = s.id AND d.version = s.current_version)
               OR EXISTS (SELECT FROM vault.secret_versions v
                          WHERE v.secret_id = s.id AND v.version = s.current_version AND v.delete_at <= clock_timestamp())
        FROM vault.secrets s WHERE s.name = ANY (names) AND s.deleted_at IS NULL;
END
$$;
COMMENT ON FUNCTION vault.without_current(text[])
    IS 'those of several names that have a secret, and whether it has no current version because there is none yet or that is deleted';

CREATE FUNCTION vault.supersede_deleted(s vault.secrets, stamp timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- One that is undeleted later has the end that it would have had.
    UPDATE vault.deleted_versions v SET expires_at = stamp + make_interval(secs => s.grace_period_secs)
    WHERE v.secret_id = s.id AND v.version = s.current_version - 1 AND v.expires_at IS NULL;
    PERFORM vault.sweep_versions(s);
END
$$;
COMMENT ON FUNCTION vault.supersede_deleted(vault.secrets, timestamptz)
    IS 'does with the deleted versions of a secret what vault.supersede() does with the others';

CREATE FUNCTION vault.delete_versions_of(s vault.secrets, wanted bigint[], stamp timestamptz) RETURNS bigint[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM vault.secret_versions v WHERE v.secret_id = s.id AND v.version = ANY (wanted) RETURNING v.*
    ), moved AS (
        INSERT INTO vault.deleted_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext,
                                            created_at, expires_at, expired, deleted_at)
        SELECT g.secret_id, g.version, g.envelope_version, g.kms_key_id, g.wrapped_dek, g.nonce, g.ciphertext,
               g.created_at, g.expires_at, g.expired, least(stamp, g.delete_at)
        FROM gone g
        RETURNING version
    )
    SELECT array_agg(m.version ORDER BY m.version) FROM moved m
$$;
COMMENT ON FUNCTION vault.delete_versions_of(vault.secrets, bigint[], timestamptz)
    IS 'moves versions of a locked secret to where nothing reads; returns which';

CREATE FUNCTION vault.undelete_versions_of(s vault.secrets, wanted bigint[], stamp timestamptz) RETURNS bigint[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- What would be swept at once does not come back.
    WITH back AS (
        DELETE FROM vault.deleted_versions d
        WHERE d.secret_id = s.id AND d.version = ANY (wanted) AND d.destroyed_at IS NULL
          AND (d.version >= s.current_version - s.keep_versions OR (d.expires_at > stamp AND NOT d.expired))
        RETURNING d.*
    ), moved AS (
        INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext,
                                           created_at, expires_at, expired)
        SELECT b.secret_id, b.version, b.envelope_version, b.kms_key_id, b.wrapped_dek, b.nonce, b.ciphertext,
               b.created_at, b.expires_at, b.expired OR coalesce(b.expires_at <= stamp, false)
        FROM back b
        RETURNING version
    ), kept AS (  -- their time to be deleted has come, and no pass of the supervisor has been there yet
        UPDATE vault.secret_versions v SET delete_at = NULL
        WHERE v.secret_id = s.id AND v.version = ANY (wanted) AND v.delete_at <= stamp
        RETURNING v.version
    )
    SELECT array_agg(m.version ORDER BY m.version) FROM (SELECT version FROM moved UNION ALL SELECT version FROM kept) m
$$;
COMMENT ON FUNCTION vault.undelete_versions_of(vault.secrets, bigint[], timestamptz)
    IS 'moves deleted versions of a locked secret back; returns which';

CREATE FUNCTION vault.destroy_versions_of(s vault.secrets, wanted bigint[], stamp timestamptz) RETURNS bigint[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (
        DELETE FROM vault.secret_versions v WHERE v.secret_id = s.id AND v.version = ANY (wanted)
        RETURNING v.secret_id, v.version, v.created_at, v.expires_at, v.expired
    ), kept AS (
        INSERT INTO vault.deleted_versions (secret_id, version, created_at, expires_at, expired, destroyed_at)
        SELECT g.secret_id, g.version, g.created_at, g.expires_at, g.expired, stamp FROM gone g
        RETURNING version
    ), emptied AS (
        UPDATE vault.deleted_versions d
        SET envelope_version = NULL, kms_key_id = NULL, wrapped_dek = NULL, nonce = NULL, ciphertext = NULL, destroyed_at = stamp
        WHERE d.secret_id = s.id AND d.version = ANY (wanted) AND d.destroyed_at IS NULL
        RETURNING d.version
    )
    SELECT array_agg(m.version ORDER BY m.version) FROM (SELECT version FROM kept UNION ALL SELECT version FROM emptied) m
$$;
COMMENT ON FUNCTION vault.destroy_versions_of(vault.secrets, bigint[], timestamptz)
    IS 'drops the sealed values of versions of a locked secret, deleted ones included; returns which';

CREATE FUNCTION vault.change_versions(id uuid, versions bigint[], action text, origin vault.audit_origin,
                                      change uuid DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    stamp timestamptz;
    wanted bigint[] := change_versions.versions;
    changed bigint[];
    v bigint;
BEGIN
    PERFORM vault.require_writable();
    IF array_ndims(wanted) > 1 OR array_position(wanted, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'versions must be a list of numbers, and none of them null' USING ERRCODE = 'invalid_parameter_value';
    ELSIF cardinality(wanted) > 1000 THEN
        RAISE EXCEPTION '% versions are given, limit is 1000', cardinality(wanted) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO s FROM vault.secrets x WHERE x.id = change_versions.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(change_versions.id::text);
    END IF;
    stamp := clock_timestamp();
    IF wanted IS NULL THEN  -- an empty list names none: it is what a search found
        wanted := ARRAY[s.current_version];
    END IF;
    IF s.current_version = ANY (wanted) AND change_versions.action <> 'undelete_version' THEN
        PERFORM vault.refuse_if_bound(s);
    END IF;
    changed := CASE change_versions.action
        WHEN 'delete_version' THEN vault.delete_versions_of(s, wanted, stamp)
        WHEN 'undelete_version' THEN vault.undelete_versions_of(s, wanted, stamp)
        WHEN 'destroy_version' THEN vault.destroy_versions_of(s, wanted, stamp)
    END;
    UPDATE vault.secrets x SET has_deleted = EXISTS (SELECT FROM vault.deleted_versions d WHERE d.secret_id = x.id)
    WHERE x.id = s.id AND changed IS NOT NULL;
    FOREACH v IN ARRAY coalesce(changed, '{}') LOOP
        PERFORM vault.note_change(origin, change_versions.action, s.id, s.name, v, NULL, change_versions.change);
        change_versions.change := NULL;  -- it is recorded once
    END LOOP;
    IF changed IS NULL THEN
        PERFORM vault.append_audit(origin, change_versions.action, s.name, NULL, 'ok', '', change_versions.change);
    END IF;
    RETURN coalesce(changed, '{}');
END
$$;
COMMENT ON FUNCTION vault.change_versions(uuid, bigint[], text, vault.audit_origin, uuid)
    IS 'deletes, undeletes or destroys versions, the current one for null, and returns those that it changed; others are ignored';

CREATE FUNCTION vault.delete_due(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    moved bigint[];
    v bigint;
    total bigint := 0;
BEGIN
    -- The secret is locked before its versions, as everywhere; one that is being changed comes in the next pass.
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.id IN (SELECT o.secret_id FROM vault.secret_versions o WHERE o.delete_at <= stamp ORDER BY o.delete_at LIMIT batch)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        moved := vault.delete_versions_of(s, ARRAY(SELECT o.version FROM vault.secret_versions o
                                                   WHERE o.secret_id = s.id AND o.delete_at <= stamp), stamp);
        UPDATE vault.secrets x SET has_deleted = true WHERE x.id = s.id AND NOT x.has_deleted;
        FOREACH v IN ARRAY coalesce(moved, '{}') LOOP
            PERFORM vault.note_change(origin, 'delete_version', s.id, s.name, v);
            total := total + 1;
        END LOOP;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.delete_due(timestamptz, integer) IS 'deletes the versions whose time to be deleted has come';
