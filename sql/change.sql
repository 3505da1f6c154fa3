
-- Changes of secrets: a version that follows another, and a deletion. Values go in sealed.

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

CREATE FUNCTION vault.append_anyhow(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                    settings vault.secret_settings, reschedule boolean,
                                    origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    before vault.secrets;
    details jsonb;
BEGIN
    s := vault.lock_secret(append_anyhow.id, append_anyhow.expected_version);
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
    s := vault.supersede(s, append_anyhow.sealed, append_anyhow.action, s.next_rotation_at, origin,
                         details);
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.append_anyhow(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean,
    vault.audit_origin)
    IS 'does what vault.append_version() does, whatever the secret and the change are like';

CREATE FUNCTION vault.append_version(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                     settings vault.secret_settings, reschedule boolean,
                                     origin vault.audit_origin)
RETURNS vault.secret_info
AS 'MODULE_PATHNAME', 'hv_append_version' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.append_version(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean,
    vault.audit_origin)
    IS 'makes a sealed value the current version, if the expected one still is; the schedule stays unless asked';

-- Changes that share a transaction must not wait for each other's rows, nor fail one another. The timeout is for locks of
-- tables, for which the others would wait as well.
CREATE FUNCTION vault.append_if_free(fingerprint bytea, address inet, claims jsonb, "right" text, name text, node text,
                                     request_id text, id uuid, expected_version bigint, sealed vault.sealed_value, action text)
RETURNS vault.secret_info
AS 'MODULE_PATHNAME', 'hv_append_if_free' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms';
COMMENT ON FUNCTION vault.append_if_free(bytea, inet, jsonb, text, text, text, text, uuid, bigint, vault.sealed_value, text)
    IS 'vault.append_version() of a caller by REST, if that is allowed, usual, and waits for no other; null = it did nothing';

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
