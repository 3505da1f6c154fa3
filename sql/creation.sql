
-- Creation of secrets: what the API's login role calls. Values go in sealed.

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
    IS 'stores the row of a new secret; null if one of this name has started at this version';

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

CREATE FUNCTION vault.create_anyhow(id uuid, name text, version bigint, sealed vault.sealed_value, kind text,
                                    content_type text, settings vault.secret_settings, more vault.version_settings,
                                    origin vault.audit_origin)
RETURNS vault.secret_state
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan  -- as for vault.append_version
AS $$
DECLARE
    created vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_settings(create_anyhow.kind, settings);
    PERFORM vault.check_version_settings(more);
    IF create_anyhow.version = vault.first_version(create_anyhow.name) THEN
        created := vault.insert_secret(create_anyhow.id, create_anyhow.name, create_anyhow.version, create_anyhow.version,
                                       create_anyhow.kind, create_anyhow.content_type, settings, more);
    END IF;
    IF created.id IS NULL THEN
        PERFORM vault.raise_used(create_anyhow.name);
    END IF;
    -- What vault.insert_version() and vault.note_change() write, in one statement.
    WITH stored AS (
        INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext,
                                           created_at, delete_at)
        VALUES (created.id, created.current_version, sealed.envelope_version, sealed.kms_key_id, sealed.wrapped_dek, sealed.nonce,
                sealed.ciphertext, created.created_at, created.created_at + make_interval(secs => created.delete_version_after_secs))
    ), recorded AS (
        INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                     code, request_id, details, accessor, method, part)
        SELECT r.* FROM vault.record_of(origin, 'create', created.name, created.current_version, 'ok', '', NULL) r
    )
    INSERT INTO vault.changes (at, action, name, version) VALUES (clock_timestamp(), 'create', created.name, created.current_version);
    PERFORM vault.announce_change();
    RETURN vault.state_of(created);
END
$$;
COMMENT ON FUNCTION vault.create_anyhow(uuid, text, bigint, vault.sealed_value, text, text, vault.secret_settings,
    vault.version_settings, vault.audit_origin)
    IS 'does what vault.store_secret() does, whatever the secret is like';

CREATE FUNCTION vault.store_secret(id uuid, name text, version bigint, sealed vault.sealed_value, kind text,
                                   content_type text, settings vault.secret_settings, more vault.version_settings,
                                   origin vault.audit_origin)
RETURNS vault.secret_state
AS 'MODULE_PATHNAME', 'hv_store_secret' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.store_secret(uuid, text, bigint, vault.sealed_value, text, text, vault.secret_settings,
    vault.version_settings, vault.audit_origin)
    IS 'stores a new secret whose first version was sealed for this id, name and version';

-- Creations that share a transaction must not wait for each other's names, nor fail one another. The timeout is for locks of
-- tables, and for a name that others take between the check and the insertion.
CREATE FUNCTION vault.store_if_free(fingerprint bytea, address inet, claims jsonb, "right" text, name text, node text,
                                    request_id text, id uuid, version bigint, sealed vault.sealed_value, kind text,
                                    content_type text, settings vault.secret_settings, more vault.version_settings)
RETURNS vault.secret_state
AS 'MODULE_PATHNAME', 'hv_store_if_free' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms';
COMMENT ON FUNCTION vault.store_if_free(bytea, inet, jsonb, text, text, text, text, uuid, bigint, vault.sealed_value, text, text,
    vault.secret_settings, vault.version_settings)
    IS 'vault.store_secret() of a caller by REST, if that is allowed, usual, and waits for no other; null = it did nothing';

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
