
-- The sealed path: what the API's login role calls. Values go in and out sealed.

CREATE FUNCTION vault.info_of(s vault.secrets) RETURNS vault.secret_info
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(s.id, s.name, s.kind, s.content_type, s.description, s.tags, s.rotation_interval_secs,
               s.grace_period_secs, s.generate_policy, s.current_version, s.next_rotation_at, s.rotation_schedule,
               s.rotation_time_zone, s.rotation_window_secs, s.rotation_paused, s.keep_versions, s.created_at,
               s.updated_at, s.settings_revision)::vault.secret_info
$$;
COMMENT ON FUNCTION vault.info_of(vault.secrets) IS 'the public part of a row, for programs of protocol 1';

CREATE FUNCTION vault.state_of(s vault.secrets) RETURNS vault.secret_state
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(s.id, s.name, s.kind, s.content_type, s.description, s.tags, s.rotation_interval_secs,
               s.grace_period_secs, s.generate_policy, s.current_version, s.next_rotation_at, s.rotation_schedule,
               s.rotation_time_zone, s.rotation_window_secs, s.rotation_paused, s.keep_versions, s.created_at,
               s.updated_at, s.settings_revision, s.first_version, s.cas_required, s.delete_version_after_secs, s.bound)::vault.secret_state
$$;
COMMENT ON FUNCTION vault.state_of(vault.secrets) IS 'the public part of a row';

CREATE FUNCTION vault.raise_not_found(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" does not exist', name
        USING ERRCODE = 'undefined_object', HINT = 'List those that you may see: SELECT name FROM vault.list_secrets();';
END
$$;
COMMENT ON FUNCTION vault.raise_not_found(text) IS 'the one way to say that a secret is not there';

CREATE FUNCTION vault.raise_stale(name text, present bigint, expected bigint) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" is at version %, not %', name, present, expected
        USING ERRCODE = 'VT001', HINT = 'It has changed since it was read. Read it again, then decide.';
END
$$;
COMMENT ON FUNCTION vault.raise_stale(text, bigint, bigint) IS 'the one way to say that an expected version is stale';

CREATE FUNCTION vault.require_writable() RETURNS void
AS 'MODULE_PATHNAME', 'hv_require_writable' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.require_writable() IS 'raises on a standby, saying where the primary is, and in a read-only transaction';

CREATE FUNCTION vault.raise_exists(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" already exists', name
        USING ERRCODE = 'unique_violation', CONSTRAINT = 'secrets_name_key',
              HINT = 'vault.update_secret() replaces its value.';
END
$$;
COMMENT ON FUNCTION vault.raise_exists(text) IS 'the one way to say that a name is taken';

CREATE FUNCTION vault.first_version(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last vault.secrets;
BEGIN
    -- The numbers of a name go on after a deletion: an expected version, an ETag or ?version= that was meant for a
    -- deleted secret is never one of its successor.
    SELECT * INTO last FROM vault.secrets s WHERE s.name = first_version.name ORDER BY s.first_version DESC LIMIT 1;
    IF FOUND AND last.deleted_at IS NULL THEN
        PERFORM vault.raise_exists(first_version.name);
    END IF;
    -- One that never had a version has used its first number all the same: it began there.
    RETURN coalesce(greatest(last.current_version, last.first_version), 0) + 1;
END
$$;
COMMENT ON FUNCTION vault.first_version(text)
    IS 'the version at which a new secret of this name begins: 1, or the next one after the last that the name ever had; raises if the name is taken';

CREATE FUNCTION vault.insert_secret(id uuid, name text, first_version bigint, current_version bigint, kind text, content_type text,
                                    settings vault.secret_settings, more vault.version_settings) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    created vault.secrets;
BEGIN
    INSERT INTO vault.secrets (id, name, kind, content_type, description, tags, rotation_interval_secs,
                               rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused,
                               grace_period_secs, keep_versions, generate_policy, cas_required, delete_version_after_secs,
                               first_version, current_version, next_rotation_at, created_at, updated_at)
    VALUES (insert_secret.id, insert_secret.name, insert_secret.kind, insert_secret.content_type,
            coalesce(settings.description, ''), coalesce(settings.tags, '{}'), settings.rotation_interval_secs,
            settings.rotation_schedule, coalesce(settings.rotation_time_zone, 'UTC'),
            nullif(settings.rotation_window_secs, 0), coalesce(settings.rotation_paused, false),
            coalesce(settings.grace_period_secs, 0), coalesce(settings.keep_versions, 0), settings.generate_policy,
            coalesce(more.cas_required, false), nullif(more.delete_version_after_secs, 0),
            insert_secret.first_version, insert_secret.current_version,
            stamp + make_interval(secs => settings.rotation_interval_secs), stamp, stamp)
    ON CONFLICT (name, first_version) DO NOTHING
    RETURNING * INTO created;
    RETURN created;
END
$$;
COMMENT ON FUNCTION vault.insert_secret(uuid, text, bigint, bigint, text, text, vault.secret_settings, vault.version_settings)
    IS 'stores the row of a new secret; null if one of this name has begun at this version';

CREATE FUNCTION vault.raise_used(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.first_version(raise_used.name);  -- raises if the name is taken by now
    RAISE EXCEPTION 'could not serialize the creation of secret "%": the name was used and freed meanwhile', raise_used.name
        USING ERRCODE = 'serialization_failure', CONSTRAINT = 'secrets_first_version_key',
              HINT = 'The transaction might succeed if retried.';
END
$$;
COMMENT ON FUNCTION vault.raise_used(text) IS 'says why a secret could not be made';

CREATE FUNCTION vault.store_secret(id uuid, name text, version bigint, sealed vault.sealed_value, kind text,
                                    content_type text, settings vault.secret_settings, more vault.version_settings,
                                    origin vault.audit_origin)
RETURNS vault.secret_state
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    created vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_settings(store_secret.kind, settings);
    PERFORM vault.check_version_settings(more);
    IF store_secret.version = vault.first_version(store_secret.name) THEN
        created := vault.insert_secret(store_secret.id, store_secret.name, store_secret.version, store_secret.version,
                                       store_secret.kind, store_secret.content_type, settings, more);
    END IF;
    IF created.id IS NULL THEN
        PERFORM vault.raise_used(store_secret.name);
    END IF;
    PERFORM vault.insert_version(created, store_secret.sealed, created.created_at);
    PERFORM vault.note_change(origin, 'create', created.id, created.name, created.current_version);
    RETURN vault.state_of(created);
END
$$;
COMMENT ON FUNCTION vault.store_secret(uuid, text, bigint, vault.sealed_value, text, text, vault.secret_settings,
    vault.version_settings, vault.audit_origin)
    IS 'stores a new secret whose first version was sealed for this id, name and version';

CREATE FUNCTION vault.create_secret(id uuid, name text, version bigint, sealed vault.sealed_value, kind text,
                                    content_type text, settings vault.secret_settings, origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    created vault.secret_state := vault.store_secret(create_secret.id, create_secret.name, create_secret.version,
        create_secret.sealed, create_secret.kind, create_secret.content_type, create_secret.settings, NULL, create_secret.origin);
BEGIN
    RETURN vault.info_of(s) FROM vault.secrets s WHERE s.id = created.id;
END
$$;
COMMENT ON FUNCTION vault.create_secret(uuid, text, bigint, vault.sealed_value, text, text, vault.secret_settings,
    vault.audit_origin) IS 'the same with the defaults of vault.version_settings';

CREATE FUNCTION vault.is_time_zone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Reads every file of the time zone database: some 40 ms. STRICT, because AND asks its other side too when one is NULL,
    -- and who names no zone must not wait for that. Names that mean something only on this machine, and copies of the
    -- database under other names, are no time zones.
    RETURN name !~ '^(posix|right)/' AND name NOT IN ('localtime', 'posixrules', 'Factory')
       AND EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = is_time_zone.name);
END
$$;
COMMENT ON FUNCTION vault.is_time_zone(text) IS 'whether a name is one of the time zone database, by its exact spelling';

CREATE FUNCTION vault.tags_fit(tags jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- The limits of REST, whose every reader decodes them.
    SELECT count(*) <= 64
       AND coalesce(bool_and(jsonb_typeof(t.value) = 'string' AND octet_length(t.key) BETWEEN 1 AND 128
                             AND octet_length(t.value #>> '{}') <= 512), true)
    FROM jsonb_each(tags) t
$$;
COMMENT ON FUNCTION vault.tags_fit(jsonb) IS 'whether an object is one of tags: a few short strings';

CREATE FUNCTION vault.check_settings(kind text, settings vault.secret_settings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN kind IS NULL OR kind NOT IN ('manual', 'automatic') THEN 'kind must be manual or automatic'
        WHEN kind = 'manual' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) > 0
            THEN 'a manual secret has no rotation_interval_secs and no rotation_schedule'
        WHEN kind = 'automatic' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) <> 1
            THEN 'an automatic secret needs rotation_interval_secs or rotation_schedule, not both'
        WHEN settings.rotation_interval_secs NOT BETWEEN 1 AND 315360000
            THEN 'rotation_interval_secs must be between 1 and 315360000'
        WHEN octet_length(settings.rotation_schedule) NOT BETWEEN 9 AND 255
            THEN 'rotation_schedule must be between 9 and 255 bytes'
        WHEN settings.rotation_time_zone <> 'UTC' AND NOT vault.is_time_zone(settings.rotation_time_zone)
            THEN 'rotation_time_zone is not a time zone that PostgreSQL knows'
        WHEN settings.rotation_window_secs <> 0 AND settings.rotation_window_secs NOT BETWEEN 60 AND 31536000
            THEN 'rotation_window_secs must be 0 (none) or between 60 and 31536000'
        WHEN settings.grace_period_secs NOT BETWEEN 0 AND 315360000
            THEN 'grace_period_secs must be between 0 and 315360000'
        WHEN settings.keep_versions NOT BETWEEN 0 AND 100 THEN 'keep_versions must be between 0 and 100'
        WHEN octet_length(settings.description) > 1024 THEN 'description must be at most 1024 bytes'
        WHEN jsonb_typeof(settings.tags) <> 'object' OR octet_length(settings.tags::text) > 49152
            THEN 'tags must be a JSON object of at most 49152 bytes'
        WHEN NOT vault.tags_fit(settings.tags)
            THEN 'tags must be an object of strings: at most 64, names of 1 to 128 bytes, values of at most 512 bytes'
        WHEN jsonb_typeof(settings.generate_policy) <> 'object'
             OR octet_length(settings.generate_policy::text) > 4096
            THEN 'generate_policy must be a JSON object of at most 4096 bytes'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_settings(text, vault.secret_settings)
    IS 'raises with a sentence where the constraints of the table would raise with a name';

CREATE FUNCTION vault.announce_change() RETURNS void
AS 'MODULE_PATHNAME', 'hv_announce_change' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.announce_change()
    IS 'has the supervisor notify hyperion_vault_changes once this transaction is committed; without one, those who follow look by themselves';

CREATE FUNCTION vault.note_change(origin vault.audit_origin, action text, id uuid, name text, version bigint,
                                  details jsonb DEFAULT NULL, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The secret that has no version yet may be at 0. Those who follow get the version that it begins at: no reader of
    -- protocol 1 takes another one.
    PERFORM vault.append_audit(origin, note_change.action, note_change.name, nullif(note_change.version, 0), 'ok', '',
                               note_change.change, note_change.details);
    INSERT INTO vault.changes (at, action, name, version)
    VALUES (clock_timestamp(), note_change.action, note_change.name, greatest(note_change.version, 1));
    PERFORM vault.announce_change();
END
$$;
COMMENT ON FUNCTION vault.note_change(vault.audit_origin, text, uuid, text, bigint, jsonb, uuid)
    IS 'audits a change and tells those who follow, at its commit';

CREATE FUNCTION vault.insert_version(s vault.secrets, sealed vault.sealed_value, stamp timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce,
                                       ciphertext, created_at, delete_at)
    VALUES (s.id, s.current_version, sealed.envelope_version, sealed.kms_key_id, sealed.wrapped_dek, sealed.nonce,
            sealed.ciphertext, stamp, stamp + make_interval(secs => s.delete_version_after_secs));
END
$$;
COMMENT ON FUNCTION vault.insert_version(vault.secrets, vault.sealed_value, timestamptz)
    IS 'stores the sealed version that is current by the row of a secret';

CREATE FUNCTION vault.lock_secret(id uuid, expected_version bigint) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.id = lock_secret.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(lock_secret.id::text);
    ELSIF s.current_version IS DISTINCT FROM lock_secret.expected_version THEN
        PERFORM vault.raise_stale(s.name, s.current_version, lock_secret.expected_version);
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.lock_secret(uuid, bigint) IS 'locks a secret if the expected version is current';

CREATE FUNCTION vault.supersede(s vault.secrets, sealed vault.sealed_value, action text, next_rotation_at timestamptz,
                                origin vault.audit_origin, details jsonb DEFAULT NULL)
RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();  -- after the lock: versions of a secret are stamped in their order
BEGIN
    UPDATE vault.secrets x
    SET current_version = s.current_version + 1, updated_at = stamp,
        next_rotation_at = supersede.next_rotation_at
    WHERE x.id = s.id
    RETURNING * INTO s;
    IF s.grace_period_secs > 0 OR s.keep_versions > 0 THEN
        UPDATE vault.secret_versions v
        SET expires_at = stamp + make_interval(secs => s.grace_period_secs)
        WHERE v.secret_id = s.id AND v.version = s.current_version - 1;
    END IF;
    -- What vault.sweep_versions() deletes, and a version without grace that is not kept: it need not be marked before.
    DELETE FROM vault.secret_versions v
    WHERE v.secret_id = s.id AND v.version < s.current_version - s.keep_versions
      AND (v.expired OR v.expires_at <= clock_timestamp() OR (v.expires_at IS NULL AND s.grace_period_secs = 0));
    IF s.has_deleted THEN
        PERFORM vault.supersede_deleted(s, stamp);
    END IF;
    PERFORM vault.insert_version(s, supersede.sealed, stamp);
    IF s.bound THEN
        details := coalesce(details, '{}') || vault.set_role_password(s, stamp);
    END IF;
    PERFORM vault.note_change(origin, supersede.action, s.id, s.name, s.current_version, supersede.details);
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.supersede(vault.secrets, vault.sealed_value, text, timestamptz, vault.audit_origin, jsonb)
    IS 'makes a sealed value the current version of a locked secret; the old one enters its grace';

CREATE FUNCTION vault.sweep_versions(s vault.secrets) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Numbers out of range, by a hand in the tables, must not end the supervisor's pass for all.
    DELETE FROM vault.secret_versions v
    WHERE v.secret_id = s.id AND v.version < greatest(s.current_version, 1) - least(greatest(s.keep_versions, 0), 100)
      AND (v.expired OR v.expires_at <= clock_timestamp());
    IF s.has_deleted THEN
        DELETE FROM vault.deleted_versions v
        WHERE v.secret_id = s.id AND v.version < greatest(s.current_version, 1) - least(greatest(s.keep_versions, 0), 100)
          AND (v.expired OR v.expires_at <= clock_timestamp());
    END IF;
END
$$;
COMMENT ON FUNCTION vault.sweep_versions(vault.secrets) IS 'deletes expired versions of a locked secret beyond those kept';

CREATE FUNCTION vault.append_version(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                     settings vault.secret_settings, reschedule boolean,
                                     origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    before vault.secrets;
    details jsonb;
BEGIN
    IF append_version.action IS NULL OR append_version.action NOT IN ('update', 'rotate') THEN
        RAISE EXCEPTION 'action must be update or rotate' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    s := vault.lock_secret(append_version.id, append_version.expected_version);
    IF NOT (settings IS NULL) THEN  -- of a row, IS NOT NULL would ask for every field
        before := s;
        s := vault.apply_settings(s, settings, NULL);
        details := vault.settings_changed(before, s);
    END IF;
    IF reschedule THEN
        -- What was due is done by this; the next comes an interval from now, or by the schedule.
        DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
        s.next_rotation_at := clock_timestamp() + make_interval(secs => s.rotation_interval_secs);
    END IF;
    s := vault.supersede(s, append_version.sealed, append_version.action, s.next_rotation_at, origin,
                         details);
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.append_version(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean,
    vault.audit_origin)
    IS 'makes a sealed value the current version, if the expected one still is; the schedule stays unless asked';

CREATE FUNCTION vault.delete_secret(id uuid, expected_version bigint, origin vault.audit_origin,
                                    change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s vault.secrets;
BEGIN
    s := vault.lock_secret(delete_secret.id, delete_secret.expected_version);
    PERFORM vault.end_secret(s, vault.deleted_retention());
    PERFORM vault.note_change(origin, 'delete', s.id, s.name, s.current_version, NULL, delete_secret.change);
END
$$;
COMMENT ON FUNCTION vault.delete_secret(uuid, bigint, vault.audit_origin, uuid)
    IS 'deletes a secret, if the expected version is current, and frees its name; the versions are kept while it can be restored';

-- Without SET, so that the planner can expand it. Only a superseded version expires: one that does is not the
-- current one.
CREATE FUNCTION vault.readable_versions(names text[], version bigint) RETURNS SETOF vault.stored_value
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version, v.kms_key_id,
           v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at
    FROM vault.secrets s
    JOIN vault.secret_versions v
      ON v.secret_id OPERATOR(pg_catalog.=) s.id
         AND v.version OPERATOR(pg_catalog.=) coalesce(readable_versions.version, s.current_version)
    WHERE s.name OPERATOR(pg_catalog.=) ANY (names) AND s.deleted_at IS NULL
      AND (v.delete_at IS NULL OR v.delete_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp())
      AND (v.expires_at IS NULL
           OR readable_versions.version IS NOT NULL
              AND ((v.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() AND NOT v.expired)
                   OR (v.version OPERATOR(pg_catalog.>=) (s.current_version OPERATOR(pg_catalog.-) s.keep_versions)
                       AND v.version OPERATOR(pg_catalog.<) s.current_version)))
$$;
COMMENT ON FUNCTION vault.readable_versions(text[], bigint)
    IS 'what vault.read_sealed() returns, for statements that bring their own way to plan';

-- The planner takes a plan for these very names to be cheaper than the one it has, and made it again at every call:
-- four fifths of the time of a read. The kept plan must be the one by index whatever size the tables had when it was made.
CREATE FUNCTION vault.read_sealed(names text[], version bigint) RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY SELECT r.* FROM vault.readable_versions(read_sealed.names, read_sealed.version) r;
END
$$;
COMMENT ON FUNCTION vault.read_sealed(text[], bigint)
    IS 'sealed values of names: the current version, or a given one while it has not expired or is kept';

CREATE FUNCTION vault.read_verifiable(name text) RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version,
               v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at
        FROM vault.secrets s
        JOIN vault.secret_versions v ON v.secret_id = s.id
        WHERE s.name = read_verifiable.name AND s.deleted_at IS NULL
          AND (v.delete_at IS NULL OR v.delete_at > clock_timestamp())
          AND (v.expires_at IS NULL OR (v.expires_at > clock_timestamp() AND NOT v.expired))
        ORDER BY v.version DESC;
END
$$;
COMMENT ON FUNCTION vault.read_verifiable(text) IS 'the current version and those in grace, newest first';

CREATE FUNCTION vault.raise_deleted(name text, version bigint) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v vault.version_state;
BEGIN
    SELECT * INTO v FROM vault.version_states(raise_deleted.name) x WHERE x.version = raise_deleted.version;
    IF v.destroyed_at IS NOT NULL THEN
        RAISE EXCEPTION 'version % of secret "%" is destroyed', raise_deleted.version, raise_deleted.name
            USING ERRCODE = 'undefined_object';
    ELSIF v.deleted_at IS NOT NULL OR v.delete_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'version % of secret "%" is deleted', raise_deleted.version, raise_deleted.name
            USING ERRCODE = 'undefined_object', HINT = 'vault.undelete_versions() takes that back.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.raise_deleted(text, bigint) IS 'raises if a version is deleted or destroyed';

CREATE FUNCTION vault.raise_without_current(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    SELECT * INTO s FROM vault.secrets x WHERE x.name = raise_without_current.name AND x.deleted_at IS NULL;
    IF s.current_version < s.first_version THEN
        RAISE EXCEPTION 'secret "%" has no version yet', s.name
            USING ERRCODE = 'undefined_object', HINT = 'vault.update_secret() stores its first value.';
    END IF;
    PERFORM vault.raise_deleted(s.name, s.current_version);
END
$$;
COMMENT ON FUNCTION vault.raise_without_current(text) IS 'raises if a secret has no current version because it has none yet, or because that is deleted or destroyed';

CREATE FUNCTION vault.describe_secret(name text) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.name = describe_secret.name AND s.deleted_at IS NULL;
END
$$;
COMMENT ON FUNCTION vault.describe_secret(text) IS 'what programs of protocol 1 know of a secret without its value; no row if there is none';

CREATE FUNCTION vault.describe_state(name text) RETURNS SETOF vault.secret_state
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.state_of(s)).* FROM vault.secrets s
                 WHERE s.name = describe_state.name AND s.deleted_at IS NULL;
END
$$;
COMMENT ON FUNCTION vault.describe_state(text) IS 'a secret without its value; no row if there is none';

CREATE FUNCTION vault.describe_secrets(prefix text, after text, page_size integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
    wanted text := coalesce(prefix, '');
    beyond text := vault.prefix_end(wanted);
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, wanted)
                   AND s.name > coalesce(after, '') AND s.name >= wanted COLLATE "C" AND s.name < beyond COLLATE "C"
                 ORDER BY s.name LIMIT page_size;
END
$$;
COMMENT ON FUNCTION vault.describe_secrets(text, text, integer) IS 'a page of secrets without values, by name in byte order';

CREATE FUNCTION vault.describe_versions(name text) RETURNS SETOF vault.version_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT v.version, v.envelope_version, v.kms_key_id, v.created_at, v.expires_at
                 FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id
                 WHERE s.name = describe_versions.name AND s.deleted_at IS NULL
                 ORDER BY v.version DESC;
END
$$;
COMMENT ON FUNCTION vault.describe_versions(text) IS 'the versions of a secret without values that are not deleted, newest first';

CREATE FUNCTION vault.extension_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault' $$;
COMMENT ON FUNCTION vault.extension_version() IS 'version of the installed schema';

-- A schema serves the protocol before its own too, so that a program can be rolled back after an update.
CREATE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer)
LANGUAGE sql IMMUTABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 1, 2 $$;
COMMENT ON FUNCTION vault.api_protocols() IS 'the protocols of hyperion-vault-api that this schema serves; a program that speaks none of them refuses to use it';
