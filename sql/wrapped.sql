
-- Wrapped answers: sealed by the API, and kept until the holder of the wrapping token takes them, once. The token alone
-- takes one, so nothing else is decided here. Its fingerprint is stored, and bound into what is sealed.

CREATE FUNCTION vault.found_wrapped(fingerprint bytea) RETURNS vault.wrapped_answers
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x FROM vault.wrapped_answers x
    WHERE substring(x.fingerprint, 1, 8) = substring(found_wrapped.fingerprint, 1, 8)
      AND vault.same_bytes(x.fingerprint, found_wrapped.fingerprint) AND x.expires_at > clock_timestamp()
$$;
COMMENT ON FUNCTION vault.found_wrapped(bytea) IS 'the wrapped answer of a token, compared in constant time; null: there is none, or it has ended';

CREATE FUNCTION vault.read_wrapped(fingerprint bytea)
RETURNS TABLE (id uuid, secret_name text, path text, envelope_version smallint, kms_key_id text, wrapped_dek bytea, nonce bytea,
               ciphertext bytea, created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    w vault.wrapped_answers := vault.found_wrapped(read_wrapped.fingerprint);
BEGIN
    IF w.id IS NOT NULL THEN
        RETURN QUERY SELECT w.id, w.secret_name, w.path, w.envelope_version, w.kms_key_id, w.wrapped_dek, w.nonce, w.ciphertext,
                            w.created_at, w.expires_at;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.read_wrapped(bytea) IS 'the wrapped answer of a token, still sealed, which stays there; no row: there is none';

CREATE FUNCTION vault.check_wrapped_room(owner text, more bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    answers bigint;
    bytes bigint;
BEGIN
    -- One after the other, so that those at once do not all find room.
    PERFORM pg_advisory_xact_lock(hashtextextended('hyperion_vault wrapped ' || check_wrapped_room.owner, 0));
    SELECT count(*), sum(octet_length(w.ciphertext)) INTO answers, bytes FROM vault.wrapped_answers w
    WHERE w.owner = check_wrapped_room.owner AND w.expires_at > clock_timestamp();
    IF answers >= 1000 OR coalesce(bytes, 0) + check_wrapped_room.more > 67108864 THEN
        RAISE EXCEPTION 'this token has as many wrapped answers as it may, which wait to be unwrapped'
            USING ERRCODE = 'program_limit_exceeded', HINT = 'A token may have 1000 at a time, and 64 MiB of them.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_wrapped_room(text, bigint) IS 'raises where a caller may have no further wrapped answer of a number of bytes';

CREATE FUNCTION vault.take_wrapped(fingerprint bytea) RETURNS vault.wrapped_answers
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    w vault.wrapped_answers := vault.found_wrapped(take_wrapped.fingerprint);
BEGIN
    -- Of several at once, each waits for the row, and finds that the first has taken it.
    DELETE FROM vault.wrapped_answers x WHERE x.id = w.id RETURNING * INTO w;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such wrapped answer' USING ERRCODE = 'undefined_object';
    END IF;
    RETURN w;
END
$$;
COMMENT ON FUNCTION vault.take_wrapped(bytea) IS 'takes the wrapped answer of a token away, and returns it; raises when there is none';

CREATE FUNCTION vault.wrap_answer(id uuid, fingerprint bytea, secret_name text, path text, sealed vault.sealed_value, ttl_secs bigint,
                                  replaced bytea, change uuid, origin vault.audit_origin)
RETURNS TABLE (created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    w vault.wrapped_answers;
    owner text := origin.actor;
BEGIN
    PERFORM vault.require_writable();
    IF wrap_answer.ttl_secs IS NULL OR wrap_answer.ttl_secs NOT BETWEEN 1 AND 604800 THEN
        RAISE EXCEPTION 'an answer is wrapped for between 1 and 604800 seconds' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF wrap_answer.replaced IS NOT NULL THEN
        w := vault.take_wrapped(wrap_answer.replaced);
        owner := w.owner;
    ELSE
        PERFORM vault.check_wrapped_room(owner, octet_length((wrap_answer.sealed).ciphertext));
    END IF;
    INSERT INTO vault.wrapped_answers (id, fingerprint, owner, secret_name, path, envelope_version, kms_key_id, wrapped_dek, nonce,
                                       ciphertext, created_at, expires_at)
    VALUES (wrap_answer.id, wrap_answer.fingerprint, owner, wrap_answer.secret_name, wrap_answer.path, (sealed).envelope_version,
            (sealed).kms_key_id, (sealed).wrapped_dek, (sealed).nonce, (sealed).ciphertext, stamp,
            stamp + make_interval(secs => wrap_answer.ttl_secs));
    PERFORM vault.append_audit(origin, 'wrap', wrap_answer.secret_name, NULL, 'ok', '', wrap_answer.change,
                               jsonb_strip_nulls(jsonb_build_object('wrapped', wrap_answer.id, 'path', wrap_answer.path,
                                                                    'ttl_secs', wrap_answer.ttl_secs, 'replaced', w.id)));
    RETURN QUERY SELECT stamp, stamp + make_interval(secs => wrap_answer.ttl_secs);
END
$$;
COMMENT ON FUNCTION vault.wrap_answer(uuid, bytea, text, text, vault.sealed_value, bigint, bytea, uuid, vault.audit_origin)
    IS 'keeps a sealed answer for the holder of a wrapping token, in place of another if one is named';

CREATE FUNCTION vault.unwrap_answer(fingerprint bytea, change uuid, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    w vault.wrapped_answers;
BEGIN
    PERFORM vault.require_writable();
    w := vault.take_wrapped(unwrap_answer.fingerprint);
    PERFORM vault.append_audit(origin, 'unwrap', w.secret_name, NULL, 'ok', '', unwrap_answer.change,
                               jsonb_build_object('wrapped', w.id, 'path', w.path));
END
$$;
COMMENT ON FUNCTION vault.unwrap_answer(bytea, uuid, vault.audit_origin)
    IS 'takes the wrapped answer of a token away, with its record; of several at once one succeeds, and the others raise';

CREATE FUNCTION vault.prune_wrapped(stamp timestamptz, max_rows integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pruned bigint;
BEGIN
    DELETE FROM vault.wrapped_answers w WHERE w.id IN (
        SELECT x.id FROM vault.wrapped_answers x WHERE x.expires_at <= prune_wrapped.stamp
        ORDER BY x.expires_at LIMIT prune_wrapped.max_rows FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;
COMMENT ON FUNCTION vault.prune_wrapped(timestamptz, integer) IS 'deletes wrapped answers that have ended';
