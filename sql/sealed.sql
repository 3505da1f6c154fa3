
-- The sealed path: what the API's login role reads. Values go out sealed.

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
