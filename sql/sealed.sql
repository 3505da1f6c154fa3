
-- The sealed path: what the API's login role calls. Values go in and out sealed.

CREATE FUNCTION vault.info_of(s vault.secrets) RETURNS vault.secret_info
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(s.id, s.name, s.kind, s.content_type, s.description, s.tags, s.rotation_interval_secs,
               s.grace_period_secs, s.generate_policy, s.current_version, s.next_rotation_at, s.created_at,
               s.updated_at)::vault.secret_info
$$;
COMMENT ON FUNCTION vault.info_of(vault.secrets) IS 'the public part of a row';

CREATE FUNCTION vault.raise_not_found(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" does not exist', name USING ERRCODE = 'undefined_object';
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

CREATE FUNCTION vault.create_secret(id uuid, name text, sealed vault.sealed_value, kind text, content_type text,
                                    description text, tags jsonb, rotation_interval_secs bigint,
                                    grace_period_secs bigint, generate_policy jsonb, origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    created vault.secrets;
BEGIN
    PERFORM vault.check_settings(create_secret.kind, create_secret.description, create_secret.tags,
        create_secret.rotation_interval_secs, create_secret.grace_period_secs, create_secret.generate_policy);
    INSERT INTO vault.secrets (id, name, kind, content_type, description, tags, rotation_interval_secs,
                               grace_period_secs, generate_policy, current_version, next_rotation_at, created_at,
                               updated_at)
    VALUES (create_secret.id, create_secret.name, create_secret.kind, create_secret.content_type,
            coalesce(create_secret.description, ''), coalesce(create_secret.tags, '{}'),
            create_secret.rotation_interval_secs, coalesce(create_secret.grace_period_secs, 0),
            create_secret.generate_policy, 1,
            stamp + make_interval(secs => create_secret.rotation_interval_secs), stamp, stamp)
    ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING * INTO created;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'secret "%" already exists', create_secret.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'secrets_name_key';
    END IF;
    PERFORM vault.insert_version(created.id, 1, create_secret.sealed, stamp);
    PERFORM vault.append_audit(origin, 'create', created.name, 1, 'ok', '');
    RETURN vault.info_of(created);
END
$$;
COMMENT ON FUNCTION vault.create_secret(uuid, text, vault.sealed_value, text, text, text, jsonb, bigint, bigint,
    jsonb, vault.audit_origin) IS 'stores a new secret whose first version was sealed for this id and name';

CREATE FUNCTION vault.check_settings(kind text, description text, tags jsonb, rotation_interval_secs bigint,
                                     grace_period_secs bigint, generate_policy jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN kind IS NULL OR kind NOT IN ('manual', 'automatic') THEN 'kind must be manual or automatic'
        WHEN kind = 'manual' AND rotation_interval_secs IS NOT NULL
            THEN 'a manual secret has no rotation_interval_secs'
        WHEN kind = 'automatic' AND rotation_interval_secs IS NULL
            THEN 'an automatic secret needs rotation_interval_secs'
        WHEN rotation_interval_secs NOT BETWEEN 1 AND 315360000
            THEN 'rotation_interval_secs must be between 1 and 315360000'
        WHEN grace_period_secs NOT BETWEEN 0 AND 315360000
            THEN 'grace_period_secs must be between 0 and 315360000'
        WHEN octet_length(description) > 1024 THEN 'description must be at most 1024 bytes'
        WHEN jsonb_typeof(tags) <> 'object' OR octet_length(tags::text) > 4096
            THEN 'tags must be a JSON object of at most 4096 bytes'
        WHEN jsonb_typeof(generate_policy) <> 'object' OR octet_length(generate_policy::text) > 4096
            THEN 'generate_policy must be a JSON object of at most 4096 bytes'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_settings(text, text, jsonb, bigint, bigint, jsonb)
    IS 'raises with a sentence where the constraints of the table would raise with a name';

CREATE FUNCTION vault.insert_version(id uuid, version bigint, sealed vault.sealed_value, stamp timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce,
                                       ciphertext, created_at)
    VALUES (insert_version.id, insert_version.version, sealed.envelope_version, sealed.kms_key_id,
            sealed.wrapped_dek, sealed.nonce, sealed.ciphertext, stamp);
END
$$;
COMMENT ON FUNCTION vault.insert_version(uuid, bigint, vault.sealed_value, timestamptz) IS 'stores one sealed version';

CREATE FUNCTION vault.append_version(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                     description text, tags jsonb, grace_period_secs bigint,
                                     origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz;
    s vault.secrets;
BEGIN
    IF append_version.action IS NULL OR append_version.action NOT IN ('update', 'rotate') THEN
        RAISE EXCEPTION 'action must be update or rotate' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO s FROM vault.secrets x WHERE x.id = append_version.id AND x.deleted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(append_version.id::text);
    ELSIF s.current_version IS DISTINCT FROM append_version.expected_version THEN
        PERFORM vault.raise_stale(s.name, s.current_version, append_version.expected_version);
    END IF;
    PERFORM vault.check_settings(s.kind, append_version.description, append_version.tags,
        s.rotation_interval_secs, append_version.grace_period_secs, NULL);
    stamp := clock_timestamp();  -- after the lock: versions of a secret are stamped in their order
    UPDATE vault.secrets x
    SET current_version = s.current_version + 1,
        description = coalesce(append_version.description, x.description),
        tags = coalesce(append_version.tags, x.tags),
        grace_period_secs = coalesce(append_version.grace_period_secs, x.grace_period_secs),
        next_rotation_at = CASE append_version.action
                               WHEN 'rotate' THEN stamp + make_interval(secs => x.rotation_interval_secs)
                               ELSE x.next_rotation_at END,
        updated_at = stamp
    WHERE x.id = s.id
    RETURNING * INTO s;
    UPDATE vault.secret_versions v
    SET expires_at = stamp + make_interval(secs => s.grace_period_secs)
    WHERE v.secret_id = s.id AND v.version = s.current_version - 1;
    PERFORM vault.insert_version(s.id, s.current_version, append_version.sealed, stamp);
    PERFORM vault.append_audit(origin, append_version.action, s.name, s.current_version, 'ok', '');
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.append_version(uuid, bigint, vault.sealed_value, text, text, jsonb, bigint,
    vault.audit_origin) IS 'makes a sealed value the current version, if the expected one still is; null keeps a setting';

CREATE FUNCTION vault.delete_secret(id uuid, expected_version bigint, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s vault.secrets;
BEGIN
    SELECT * INTO s FROM vault.secrets x WHERE x.id = delete_secret.id AND x.deleted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(delete_secret.id::text);
    ELSIF s.current_version IS DISTINCT FROM delete_secret.expected_version THEN
        PERFORM vault.raise_stale(s.name, s.current_version, delete_secret.expected_version);
    END IF;
    DELETE FROM vault.secret_versions v WHERE v.secret_id = s.id;
    UPDATE vault.secrets x
    SET deleted_at = clock_timestamp(), updated_at = clock_timestamp(), next_rotation_at = NULL
    WHERE x.id = s.id;
    PERFORM vault.append_audit(origin, 'delete', s.name, s.current_version, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.delete_secret(uuid, bigint, vault.audit_origin)
    IS 'destroys every version of a secret, if the expected one is current, and frees its name';

CREATE FUNCTION vault.read_sealed(names text[], version bigint) RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version,
               v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at
        FROM vault.secrets s
        JOIN vault.secret_versions v
          ON v.secret_id = s.id AND v.version = coalesce(read_sealed.version, s.current_version)
        WHERE s.name = ANY (names) AND s.deleted_at IS NULL
          -- Only a superseded version expires: one that does is not taken for the current one.
          AND (v.expires_at IS NULL OR read_sealed.version IS NOT NULL AND v.expires_at > clock_timestamp());
END
$$;
COMMENT ON FUNCTION vault.read_sealed(text[], bigint)
    IS 'sealed values of names: the current version, or a given one while it has not expired';

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
          AND (v.expires_at IS NULL OR v.expires_at > clock_timestamp())
        ORDER BY v.version DESC;
END
$$;
COMMENT ON FUNCTION vault.read_verifiable(text) IS 'the current version and those in grace, newest first';

CREATE FUNCTION vault.describe_secret(name text) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.name = describe_secret.name AND s.deleted_at IS NULL;
END
$$;
COMMENT ON FUNCTION vault.describe_secret(text) IS 'a secret without its value; no row if there is none';

CREATE FUNCTION vault.describe_secrets(prefix text, after text, page_size integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.deleted_at IS NULL AND starts_with(s.name, coalesce(prefix, ''))
                   AND s.name > coalesce(after, '')
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
COMMENT ON FUNCTION vault.describe_versions(text) IS 'the versions of a secret without values, newest first';

CREATE FUNCTION vault.extension_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault' $$;
COMMENT ON FUNCTION vault.extension_version() IS 'version of the installed schema';
