
-- Rewrap: moving the wrapped data keys to another master key. The sealed values stay as they are.

CREATE FUNCTION vault.list_wrapped(current_key text, after_id uuid, after_version bigint, page_size integer)
RETURNS TABLE (secret_id uuid, name text, version bigint, kms_key_id text, wrapped_dek bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    from_id uuid := coalesce(list_wrapped.after_id, '00000000-0000-0000-0000-000000000000');
    from_version bigint := coalesce(list_wrapped.after_version, 0);
BEGIN
    IF list_wrapped.page_size IS NULL OR list_wrapped.page_size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'page_size must be between 1 and 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
        SELECT w.*
        FROM ((SELECT v.secret_id, s.name, v.version, v.kms_key_id, v.wrapped_dek
               FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id
               WHERE v.kms_key_id <> list_wrapped.current_key AND (v.secret_id, v.version) > (from_id, from_version)
               ORDER BY v.secret_id, v.version LIMIT list_wrapped.page_size)
              UNION ALL
              (SELECT d.secret_id, s.name, d.version, d.kms_key_id, d.wrapped_dek
               FROM vault.deleted_versions d JOIN vault.secrets s ON s.id = d.secret_id
               WHERE d.kms_key_id <> list_wrapped.current_key AND (d.secret_id, d.version) > (from_id, from_version)
               ORDER BY d.secret_id, d.version LIMIT list_wrapped.page_size)) w
        ORDER BY w.secret_id, w.version
        LIMIT list_wrapped.page_size;
END
$$;
COMMENT ON FUNCTION vault.list_wrapped(text, uuid, bigint, integer)
    IS 'a page of the versions whose data key another master key than the given one wrapped, expired and deleted ones included';

CREATE FUNCTION vault.sample_wrapped(start_id uuid, max_rows integer)
RETURNS TABLE (secret_id uuid, name text, version bigint, kms_key_id text, wrapped_dek bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF sample_wrapped.max_rows IS NULL OR sample_wrapped.max_rows NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Ids are random, so a random start gives a fair sample by two short scans of the primary key.
    RETURN QUERY
        SELECT x.secret_id, s.name, x.version, x.kms_key_id, x.wrapped_dek
        FROM ((SELECT v.secret_id, v.version, v.kms_key_id, v.wrapped_dek FROM vault.secret_versions v
               WHERE v.secret_id >= sample_wrapped.start_id
               ORDER BY v.secret_id, v.version LIMIT sample_wrapped.max_rows)
              UNION ALL
              (SELECT v.secret_id, v.version, v.kms_key_id, v.wrapped_dek FROM vault.secret_versions v
               WHERE v.secret_id < sample_wrapped.start_id
               ORDER BY v.secret_id, v.version LIMIT sample_wrapped.max_rows)) x
        JOIN vault.secrets s ON s.id = x.secret_id
        LIMIT sample_wrapped.max_rows;
END
$$;
COMMENT ON FUNCTION vault.sample_wrapped(uuid, integer)
    IS 'a few wrapped data keys from a place on, so that a server can prove that its master key opens what is stored';

CREATE FUNCTION vault.count_wrapped(current_key text) RETURNS TABLE (kms_key_id text, versions bigint)
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.kms_key_id, count(*)
    FROM (SELECT x.secret_id, x.kms_key_id FROM vault.secret_versions x
          UNION ALL SELECT d.secret_id, d.kms_key_id FROM vault.deleted_versions d) v
    WHERE v.kms_key_id <> current_key AND EXISTS (SELECT FROM vault.secrets s WHERE s.id = v.secret_id)
    GROUP BY v.kms_key_id ORDER BY count(*) DESC, v.kms_key_id
$$;
COMMENT ON FUNCTION vault.count_wrapped(text) IS 'how many versions list_wrapped would list in all, by master key';

CREATE FUNCTION vault.rewrap_version(id uuid, version bigint, old_key_id text, old_wrapped_dek bytea,
                                     new_key_id text, new_wrapped_dek bytea, origin vault.audit_origin)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.secret_versions v
    SET kms_key_id = rewrap_version.new_key_id, wrapped_dek = rewrap_version.new_wrapped_dek
    WHERE v.secret_id = rewrap_version.id AND v.version = rewrap_version.version
      AND v.kms_key_id = rewrap_version.old_key_id AND v.wrapped_dek = rewrap_version.old_wrapped_dek;
    IF NOT FOUND THEN
        UPDATE vault.deleted_versions v
        SET kms_key_id = rewrap_version.new_key_id, wrapped_dek = rewrap_version.new_wrapped_dek
        WHERE v.secret_id = rewrap_version.id AND v.version = rewrap_version.version
          AND v.kms_key_id = rewrap_version.old_key_id AND v.wrapped_dek = rewrap_version.old_wrapped_dek;
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM vault.append_audit(origin, 'rewrap', s.name, rewrap_version.version, 'ok', '')
    FROM vault.secrets s WHERE s.id = rewrap_version.id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION vault.rewrap_version(uuid, bigint, text, bytea, text, bytea, vault.audit_origin)
    IS 'replaces the wrapped data key of a version, if it still is the given one; false if it is not';
