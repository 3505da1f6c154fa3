
-- The plaintext path: trusted roles, through the key agent. The entry points are C: they take the effective role
-- of the caller, act as the owner, and return. What they run stands first.

-- The kept plan goes through the index by name, which finds the prefix. A bitmap would have to hold all names of a range.
CREATE FUNCTION vault.list_for(caller oid, prefix text) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    -- OFFSET 0 keeps the planner from asking every secret of every range.
    RETURN QUERY SELECT i.* FROM vault.visible_names(caller) v CROSS JOIN LATERAL (
                     SELECT (vault.info_of(s)).* FROM vault.secrets s
                     WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, prefix)
                       AND s.name >= prefix COLLATE "C" AND s.name < vault.prefix_end(prefix) COLLATE "C"
                       AND s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C"
                     OFFSET 0) i
                 ORDER BY i.name;
END
$$;
COMMENT ON FUNCTION vault.list_for(oid, text) IS 'secrets below a prefix on which a role may do anything at all';

CREATE FUNCTION vault.list_page_for(caller oid, prefix text, after text, page_size integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    -- Each range gives a page at most, in the order of the index, as in vault.describe_visible().
    RETURN QUERY SELECT i.* FROM vault.visible_names(caller) v CROSS JOIN LATERAL (
                     SELECT (vault.info_of(s)).* FROM vault.secrets s
                     WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, prefix)
                       AND s.name >= prefix COLLATE "C" AND s.name < vault.prefix_end(prefix) COLLATE "C"
                       AND s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C"
                       AND s.name > after COLLATE "C"
                     ORDER BY s.name COLLATE "C" LIMIT page_size) i
                 ORDER BY i.name COLLATE "C" LIMIT page_size;
END
$$;
COMMENT ON FUNCTION vault.list_page_for(oid, text, text, integer) IS 'the first secrets of vault.list_for() after a name';

CREATE FUNCTION vault.readable_names(caller oid, prefix text) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    RETURN coalesce((SELECT array_agg(i.name ORDER BY i.name)
                     FROM vault.visible_names(caller, NULL, '{read}') v CROSS JOIN LATERAL (
                         SELECT s.name FROM vault.secrets s
                         WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, prefix)
                           AND s.name >= prefix COLLATE "C" AND s.name < vault.prefix_end(prefix) COLLATE "C"
                           AND s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C"
                         OFFSET 0) i), '{}');
END
$$;
COMMENT ON FUNCTION vault.readable_names(oid, text) IS 'the names of the secrets below a prefix that a role may read';

CREATE FUNCTION vault.sealed_for(caller oid, wanted text, target text, version bigint)
RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require(caller, wanted, target);
    IF wanted = 'verify' THEN
        RETURN QUERY SELECT * FROM vault.read_verifiable(target);
    ELSE
        RETURN QUERY SELECT * FROM vault.read_sealed(ARRAY[target], sealed_for.version);
    END IF;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM vault.secrets s WHERE s.name = target AND s.deleted_at IS NULL) THEN
            PERFORM vault.raise_not_found(target);
        ELSIF sealed_for.version IS NULL THEN
            PERFORM vault.raise_without_current(target);
            RAISE EXCEPTION 'the current version of secret "%" is not there', target
                USING ERRCODE = 'data_corrupted', HINT = 'Rows were changed by hand or lost. Restore them.';
        END IF;
        PERFORM vault.raise_deleted(target, sealed_for.version);
        RAISE EXCEPTION 'secret "%" has no version %', target, sealed_for.version
            USING ERRCODE = 'undefined_object', HINT = 'A superseded version can be read until its grace ends.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.sealed_for(oid, text, text, bigint)
    IS 'what a role may open to read (one version) or to verify (all valid ones)';

CREATE FUNCTION vault.versions_for(caller oid, target text) RETURNS SETOF vault.version_state
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require(caller, 'list', target);
    IF NOT EXISTS (SELECT FROM vault.secrets s WHERE s.name = target AND s.deleted_at IS NULL) THEN
        PERFORM vault.raise_not_found(target);
    END IF;
    RETURN QUERY SELECT * FROM vault.version_states(target);
END
$$;
COMMENT ON FUNCTION vault.versions_for(oid, text) IS 'the versions of a secret on which a role may do anything at all';

-- The caller's right was decided before, by vault.require: here it would be by the transaction's snapshot.
CREATE FUNCTION vault.lock_row_for(target text, expected_version bigint) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.name = target AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF s.current_version <> expected_version THEN
        PERFORM vault.raise_stale(target, s.current_version, expected_version);
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.lock_row_for(text, bigint)
    IS 'locks a secret that a role may change; a null expected version takes whatever is current; null if there is none';

CREATE FUNCTION vault.lock_for(target text, expected_version bigint) RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_row_for(lock_for.target, lock_for.expected_version);
BEGIN
    IF s.id IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.lock_for(text, bigint) IS 'the same for the library of the version before';

CREATE FUNCTION vault.raise_missing(target text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM vault.secrets s WHERE s.name = target AND s.deleted_at IS NULL) THEN
        RAISE EXCEPTION 'could not serialize access to secret "%": it was created meanwhile', target
            USING ERRCODE = 'serialization_failure', HINT = 'The transaction might succeed if retried.';
    END IF;
    PERFORM vault.raise_not_found(target);
END
$$;
COMMENT ON FUNCTION vault.raise_missing(text) IS 'raises for a secret that could not be locked: there is none, or it is newer than the transaction';

CREATE FUNCTION vault.create_secret(name text, value text, kind text DEFAULT 'manual',
    content_type text DEFAULT 'text/plain; charset=utf-8', description text DEFAULT '', tags jsonb DEFAULT '{}',
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT 'UTC', rotation_window_secs bigint DEFAULT NULL,
    grace_period_secs bigint DEFAULT 0, keep_versions integer DEFAULT 0, generate_policy jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_create_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.create_secret(text, text, text, text, text, jsonb, bigint, text, text, bigint, bigint,
    integer, jsonb)
    IS 'Seals and stores a new secret whose content type is text, and returns its version. That is 1, or the version after the last one that the name ever had. A null value of an automatic secret is generated.';

CREATE FUNCTION vault.create_secret(name text, value bytea, kind text DEFAULT 'manual',
    content_type text DEFAULT 'application/octet-stream', description text DEFAULT '', tags jsonb DEFAULT '{}',
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT 'UTC', rotation_window_secs bigint DEFAULT NULL,
    grace_period_secs bigint DEFAULT 0, keep_versions integer DEFAULT 0, generate_policy jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_create_secret_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.create_secret(text, bytea, text, text, text, jsonb, bigint, text, text, bigint, bigint,
    integer, jsonb)
    IS 'Does the same for bytes, under any content type. Bytes under a text type must be valid UTF-8.';

CREATE FUNCTION vault.create_metadata(name text, content_type text DEFAULT 'text/plain; charset=utf-8',
    description text DEFAULT '', tags jsonb DEFAULT '{}', grace_period_secs bigint DEFAULT 0,
    keep_versions integer DEFAULT 0, generate_policy jsonb DEFAULT NULL, cas_required boolean DEFAULT false,
    delete_version_after_secs bigint DEFAULT 0) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_create_metadata' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.create_metadata(text, text, text, jsonb, bigint, integer, jsonb, boolean, bigint)
    IS 'Stores a new manual secret that has settings and no value yet, and returns the number that vault.update_secret() expects for its first value.';

-- COST: each call is a conversation with the agent, so in a WHERE it comes last.
CREATE FUNCTION vault.read_secret(name text, version bigint DEFAULT NULL) RETURNS text
AS 'MODULE_PATHNAME', 'hv_read_secret' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secret(text, bigint)
    IS 'Returns the value of the current version, or of the given version as long as it can be read.';

CREATE FUNCTION vault.read_secret_bytes(name text, version bigint DEFAULT NULL) RETURNS bytea
AS 'MODULE_PATHNAME', 'hv_read_secret_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secret_bytes(text, bigint)
    IS 'Returns the same value as bytes, whatever its content type.';

-- A statement for each value costs a conversation with the agent for each.
CREATE FUNCTION vault.read_secrets(names text[])
RETURNS TABLE (name text, version bigint, value text, error_code text, error text)
AS 'MODULE_PATHNAME', 'hv_read_secrets' LANGUAGE C VOLATILE COST 1000 ROWS 100 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secrets(text[])
    IS 'the values of many secrets, a row for each name in their order; one that cannot be read has its SQLSTATE and message instead';

CREATE FUNCTION vault.read_secrets_below(prefix text)
RETURNS TABLE (name text, version bigint, value text, error_code text, error text)
AS 'MODULE_PATHNAME', 'hv_read_secrets_below' LANGUAGE C VOLATILE COST 1000 ROWS 100 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secrets_below(text) IS 'the same for all secrets below a prefix that the caller may read';

CREATE FUNCTION vault.update_secret(name text, value text, expected_version bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_update_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.update_secret(text, text, bigint)
    IS 'Stores a value as the next version if the expected version is current, and returns the new version. Null replaces whatever version is current.';

CREATE FUNCTION vault.update_secret(name text, value bytea, expected_version bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_update_secret_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.update_secret(text, bytea, bigint)
    IS 'Does the same for bytes. A secret whose content type is not text accepts only bytes.';

CREATE FUNCTION vault.rotate_secret(name text, reschedule boolean DEFAULT false) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_rotate_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.rotate_secret(text, boolean)
    IS 'Generates a value, stores it as the next version, and returns that version. The schedule stays, or starts again from now if reschedule is true.';

CREATE FUNCTION vault.configure_secret(name text, description text DEFAULT NULL, tags jsonb DEFAULT NULL,
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT NULL, rotation_window_secs bigint DEFAULT NULL,
    rotation_paused boolean DEFAULT NULL, grace_period_secs bigint DEFAULT NULL, keep_versions integer DEFAULT NULL,
    generate_policy jsonb DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'hv_configure_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.configure_secret(text, text, jsonb, bigint, text, text, bigint, boolean, bigint, integer,
    jsonb)
    IS 'Changes settings of a secret, never its value. A null argument keeps what is stored. An interval replaces a schedule, and a schedule replaces an interval.';

CREATE FUNCTION vault.set_version_settings(name text, cas_required boolean DEFAULT NULL,
    delete_version_after_secs bigint DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'hv_set_version_settings' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.set_version_settings(text, boolean, bigint)
    IS 'Sets whether an update must name the version that it replaces, and how long after its creation a new version is deleted by itself (0: never). Null keeps what is stored.';

CREATE FUNCTION vault.delete_versions(name text, versions bigint[] DEFAULT NULL) RETURNS bigint[]
AS 'MODULE_PATHNAME', 'hv_delete_versions' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.delete_versions(text, bigint[])
    IS 'Deletes versions of a secret, so that they neither read nor verify until they are undeleted, and returns those that it deleted. Null deletes the current version. Versions that do not exist are ignored.';

CREATE FUNCTION vault.undelete_versions(name text, versions bigint[] DEFAULT NULL) RETURNS bigint[]
AS 'MODULE_PATHNAME', 'hv_undelete_versions' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.undelete_versions(text, bigint[])
    IS 'Takes the deletion of versions back, and returns those that it undeleted. A superseded version keeps the end of its grace.';

CREATE FUNCTION vault.destroy_versions(name text, versions bigint[] DEFAULT NULL) RETURNS bigint[]
AS 'MODULE_PATHNAME', 'hv_destroy_versions' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.destroy_versions(text, bigint[])
    IS 'Drops the values of versions permanently, deleted ones included, and returns those that it destroyed. Their metadata stays.';

CREATE FUNCTION vault.list_versions(name text) RETURNS SETOF vault.version_state
AS 'MODULE_PATHNAME', 'hv_list_versions' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vault.list_versions(text)
    IS 'Lists the metadata of the versions of a secret, newest first, also of deleted and destroyed ones.';

CREATE FUNCTION vault.expire_version(name text, version bigint, grace_secs bigint DEFAULT 0) RETURNS void
AS 'MODULE_PATHNAME', 'hv_expire_version' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.expire_version(text, bigint, bigint)
    IS 'Shortens the grace of a superseded version. 0 ends it now.';

CREATE FUNCTION vault.delete_secret(name text, expected_version bigint) RETURNS void
AS 'MODULE_PATHNAME', 'hv_delete_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.delete_secret(text, bigint)
    IS 'Deletes a secret if the expected version is current. Null deletes whatever is stored. It destroys every version, unless hyperion_vault.deleted_retention_days lets the secret be restored for a time.';

CREATE FUNCTION vault.destroy_secret(name text, expected_version bigint) RETURNS void
AS 'MODULE_PATHNAME', 'hv_destroy_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.destroy_secret(text, bigint)
    IS 'Does the same, so that the secret cannot be restored.';

CREATE FUNCTION vault.list_deleted_secrets(prefix text DEFAULT '') RETURNS SETOF vault.deleted_secret
AS 'MODULE_PATHNAME', 'hv_list_deleted_secrets' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION vault.list_deleted_secrets(text)
    IS 'Lists the deleted secrets below a prefix that can be restored, the last deleted first.';

CREATE FUNCTION vault.restore_secret(id uuid) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_restore_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.restore_secret(uuid)
    IS 'Brings a deleted secret back as it was, and returns its current version. Refused if the name was used again.';

CREATE FUNCTION vault.destroy_deleted_secret(id uuid) RETURNS void
AS 'MODULE_PATHNAME', 'hv_destroy_deleted_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.destroy_deleted_secret(uuid)
    IS 'Destroys what is left of a deleted secret before its time.';

CREATE FUNCTION vault.verify(name text, candidate text) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_verify' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify(text, text)
    IS 'Reports whether a candidate is the current value or a value in grace, compared in constant time. A null candidate is false.';

CREATE FUNCTION vault.verify(name text, candidate bytea) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_verify_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify(text, bytea)
    IS 'Does the same for a value that is not text.';

CREATE FUNCTION vault.verify_version(name text, candidate text) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_verify_version' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify_version(text, text)
    IS 'Returns the version whose value equals a candidate, of the current one and those in grace. It is the newest of several, and null if there is none.';

CREATE FUNCTION vault.verify_version(name text, candidate bytea) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_verify_version_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify_version(text, bytea)
    IS 'Does the same for a value that is not text.';

CREATE FUNCTION vault.list_secrets(prefix text DEFAULT '') RETURNS SETOF vault.secret_info
AS 'MODULE_PATHNAME', 'hv_list_secrets' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION vault.list_secrets(text)
    IS 'Lists the metadata of the secrets below a prefix on which the caller has any right.';

-- Without defaults, so that a call of the function above stays a call of that.
CREATE FUNCTION vault.list_secrets(prefix text, after text, max_rows integer) RETURNS SETOF vault.secret_info
AS 'MODULE_PATHNAME', 'hv_list_secrets' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION vault.list_secrets(text, text, integer)
    IS 'Lists the first of them whose names come after a name. To begin, the name is NULL. To go on, it is the last one of the page before.';

-- DROP EXTENSION would destroy every secret. The trigger looks before any DROP begins; the library refuses when
-- the extension itself is about to go, by whatever command.
CREATE FUNCTION vault.guard_drop() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'hv_guard_drop' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.guard_drop() IS 'arms the refusal to drop the extension while secrets exist';
CREATE EVENT TRIGGER hyperion_vault_guard_drop ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP OWNED', 'DROP LANGUAGE', 'DROP TYPE', 'DROP FUNCTION',
                 'DROP DOMAIN', 'DROP CAST', 'DROP OPERATOR', 'DROP ROUTINE', 'DROP PROCEDURE', 'DROP AGGREGATE')
    EXECUTE FUNCTION vault.guard_drop();
ALTER EVENT TRIGGER hyperion_vault_guard_drop ENABLE ALWAYS;  -- also where session_replication_role is replica
COMMENT ON EVENT TRIGGER hyperion_vault_guard_drop IS 'keeps DROP EXTENSION from destroying secrets';

-- A privilege on a table is never of use to a role, and some of them let it stop or watch the vault.
CREATE FUNCTION vault.guard_grant() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'hv_guard_grant' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.guard_grant() IS 'refuses to grant privileges on the tables of the vault';
CREATE EVENT TRIGGER hyperion_vault_guard_grant ON ddl_command_start
    WHEN TAG IN ('GRANT') EXECUTE FUNCTION vault.guard_grant();
ALTER EVENT TRIGGER hyperion_vault_guard_grant ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER hyperion_vault_guard_grant IS 'refuses to grant privileges on the tables of the vault';
