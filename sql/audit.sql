
-- Audit

CREATE FUNCTION vault.append_audit(origin vault.audit_origin, action text, secret_name text, version bigint,
                                   outcome text, code text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                 code, request_id)
    VALUES (clock_timestamp(), origin.node, origin.actor, origin.session_role, origin.client_ip,
            append_audit.action, append_audit.secret_name, append_audit.version, append_audit.outcome,
            append_audit.code, origin.request_id);
END
$$;
COMMENT ON FUNCTION vault.append_audit(vault.audit_origin, text, text, bigint, text, text)
    IS 'appends one audit record';

CREATE FUNCTION vault.local_origin() RETURNS vault.audit_origin
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(coalesce(nullif(current_setting('cluster_name'), ''), 'postgresql'), 'role:' || session_user,
               session_user, inet_client_addr(), 'pid-' || pg_backend_pid())::vault.audit_origin
$$;
COMMENT ON FUNCTION vault.local_origin() IS 'origin of what the session does by an administrative function';

CREATE FUNCTION vault.record_look(action text, target text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_record_look' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.record_look(text, text) IS 'has the key agent record a look at the audit, where it cannot be written here';

CREATE FUNCTION vault.audit(name_prefix text DEFAULT NULL, since timestamptz DEFAULT NULL,
                            max_rows integer DEFAULT 1000)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF audit.max_rows IS NULL OR audit.max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Whoever looks is seen. What cannot write has the agent of its node record it, like a read.
    IF current_setting('transaction_read_only')::boolean THEN
        PERFORM vault.record_look('audit', audit.name_prefix);
    ELSE
        PERFORM vault.append_audit(vault.local_origin(), 'audit', audit.name_prefix, NULL, 'ok', '');
    END IF;
    RETURN QUERY
        SELECT newest.* FROM (
            SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
                   l.outcome, l.code, l.request_id
            FROM vault.audit_log l
            WHERE (audit.name_prefix IS NULL OR starts_with(l.secret_name, audit.name_prefix))
              AND (audit.since IS NULL OR l.at >= audit.since)
            ORDER BY l.id DESC
            LIMIT audit.max_rows) newest
        ORDER BY newest.id;
END
$$;
COMMENT ON FUNCTION vault.audit(text, timestamptz, integer)
    IS 'the newest audit records, oldest first; GRANT EXECUTE to auditors';
