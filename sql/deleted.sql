
-- Secrets that are deleted and can be restored: where hyperion_vault.deleted_retention_days is more than 0.

CREATE FUNCTION vault.deleted_retention() RETURNS interval
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The library has defined it by now: each change has called vault.require_writable().
    RETURN make_interval(days => current_setting('hyperion_vault.deleted_retention_days')::integer);
END
$$;
COMMENT ON FUNCTION vault.deleted_retention() IS 'how long a deleted secret can be restored';

CREATE FUNCTION vault.end_secret(s vault.secrets, retention interval) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    keeps boolean := retention > '0';
BEGIN
    PERFORM vault.refuse_if_bound(s);
    DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
    IF keeps THEN
        -- What is restored with the secret has its very time of deletion.
        INSERT INTO vault.deleted_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext,
                                            created_at, expires_at, expired, deleted_at, delete_at)
        SELECT v.secret_id, v.version, v.envelope_version, v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext,
               v.created_at, v.expires_at, v.expired, stamp, v.delete_at
        FROM vault.secret_versions v WHERE v.secret_id = s.id;
    ELSE
        DELETE FROM vault.deleted_versions d WHERE d.secret_id = s.id;
    END IF;
    DELETE FROM vault.secret_versions v WHERE v.secret_id = s.id;
    UPDATE vault.secrets x
    SET deleted_at = stamp, updated_at = stamp, next_rotation_at = NULL, has_deleted = keeps,
        restorable_until = CASE WHEN keeps THEN stamp + retention END
    WHERE x.id = s.id;
END
$$;
COMMENT ON FUNCTION vault.end_secret(vault.secrets, interval) IS 'frees the name of a locked secret; its versions are kept for a time, or not';

CREATE FUNCTION vault.destroy_secret(id uuid, expected_version bigint, origin vault.audit_origin,
                                     change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(destroy_secret.id, destroy_secret.expected_version);
BEGIN
    PERFORM vault.end_secret(s, '0');
    PERFORM vault.note_change(origin, 'delete', s.id, s.name, s.current_version, NULL, destroy_secret.change);
END
$$;
COMMENT ON FUNCTION vault.destroy_secret(uuid, bigint, vault.audit_origin, uuid)
    IS 'deletes a secret, if the expected version is current, so that it cannot be restored';

CREATE FUNCTION vault.list_deleted(caller oid, scopes jsonb, prefix text, page_size integer, after_until timestamptz DEFAULT NULL,
                                   after_id uuid DEFAULT NULL) RETURNS SETOF vault.deleted_secret
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT s.id, s.name, s.kind, s.content_type, s.description, s.current_version, s.created_at, s.deleted_at, s.restorable_until
        FROM vault.secrets s
        WHERE s.restorable_until > clock_timestamp() AND vault.has_prefix(s.name, list_deleted.prefix)
          AND EXISTS (SELECT FROM vault.visible_names(list_deleted.caller, list_deleted.scopes) v
                      WHERE s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C")
          AND (after_until IS NULL OR (s.restorable_until, s.id) < (after_until, after_id))
        ORDER BY s.restorable_until DESC, s.id DESC LIMIT page_size;
END
$$;
COMMENT ON FUNCTION vault.list_deleted(oid, jsonb, text, integer, timestamptz, uuid)
    IS 'the deleted secrets below a prefix that a caller may see and that can be restored, the last deleted first, from after one on';

CREATE FUNCTION vault.lock_deleted(id uuid) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.id = lock_deleted.id FOR NO KEY UPDATE;
    IF s.restorable_until > clock_timestamp() AND s.deleted_at IS NOT NULL THEN
        RETURN s;
    END IF;
    RAISE EXCEPTION 'there is no deleted secret with the id %', coalesce(lock_deleted.id::text, 'null')
        USING ERRCODE = 'undefined_object', HINT = 'List those that can be restored: SELECT * FROM vault.list_deleted_secrets();';
END
$$;
COMMENT ON FUNCTION vault.lock_deleted(uuid) IS 'locks a deleted secret that can be restored';

CREATE FUNCTION vault.restore_secret(id uuid, origin vault.audit_origin, change uuid DEFAULT NULL) RETURNS vault.secret_state
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s vault.secrets := vault.lock_deleted(restore_secret.id);
BEGIN
    -- Its numbers go on only where no other secret has had some of them.
    IF EXISTS (SELECT FROM vault.secrets x WHERE x.name = s.name AND x.first_version > s.first_version) THEN
        RAISE EXCEPTION 'secret "%" cannot be restored: its name was used again', s.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'secrets_name_key',
                  HINT = 'Its version numbers would be those of the later secret.';
    END IF;
    INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext,
                                       created_at, expires_at, expired, delete_at)
    SELECT d.secret_id, d.version, d.envelope_version, d.kms_key_id, d.wrapped_dek, d.nonce, d.ciphertext, d.created_at,
           d.expires_at, d.expired OR coalesce(d.expires_at <= clock_timestamp(), false), d.delete_at
    FROM vault.deleted_versions d WHERE d.secret_id = s.id AND d.deleted_at = s.deleted_at AND d.destroyed_at IS NULL;
    DELETE FROM vault.deleted_versions d WHERE d.secret_id = s.id AND d.deleted_at = s.deleted_at AND d.destroyed_at IS NULL;
    UPDATE vault.secrets x
    SET deleted_at = NULL, restorable_until = NULL, updated_at = clock_timestamp(),
        has_deleted = EXISTS (SELECT FROM vault.deleted_versions d WHERE d.secret_id = s.id),
        next_rotation_at = clock_timestamp() + make_interval(secs => x.rotation_interval_secs)
    WHERE x.id = s.id
    RETURNING * INTO s;
    PERFORM vault.note_change(origin, 'restore', s.id, s.name, s.current_version, NULL, restore_secret.change);
    RETURN vault.state_of(s);
END
$$;
COMMENT ON FUNCTION vault.restore_secret(uuid, vault.audit_origin, uuid)
    IS 'brings a deleted secret back as it was, unless its name was used again; what was to be rotated comes an interval from now, or by the schedule';

CREATE FUNCTION vault.purge_secret(s vault.secrets, origin vault.audit_origin, change uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM vault.deleted_versions d WHERE d.secret_id = s.id;
    UPDATE vault.secrets x SET restorable_until = NULL, has_deleted = false WHERE x.id = s.id;
    PERFORM vault.note_change(origin, 'destroy', s.id, s.name, s.current_version, NULL, purge_secret.change);
END
$$;
COMMENT ON FUNCTION vault.purge_secret(vault.secrets, vault.audit_origin, uuid) IS 'drops what is left of a deleted secret';

CREATE FUNCTION vault.destroy_deleted(id uuid, origin vault.audit_origin, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.purge_secret(vault.lock_deleted(destroy_deleted.id), destroy_deleted.origin, destroy_deleted.change);
END
$$;
COMMENT ON FUNCTION vault.destroy_deleted(uuid, vault.audit_origin, uuid) IS 'ends the time in which a deleted secret can be restored';

CREATE FUNCTION vault.purge_due(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    total bigint := 0;
BEGIN
    FOR s IN
        SELECT x.* FROM vault.secrets x WHERE x.restorable_until <= stamp ORDER BY x.restorable_until LIMIT batch
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM vault.purge_secret(s, origin, NULL);
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.purge_due(timestamptz, integer) IS 'drops what is left of the secrets that can no longer be restored';

CREATE FUNCTION vault.deleted_name(id uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT s.name FROM vault.secrets s WHERE s.id = deleted_name.id AND s.restorable_until > clock_timestamp() $$;
COMMENT ON FUNCTION vault.deleted_name(uuid) IS 'the name of a deleted secret that can be restored, by which rights are decided; null: there is none';
