
-- Leased roles: their templates, and how they are issued, prolonged and revoked.

-- What PostgreSQL does with roles, without SQL text. These are the owner's alone.
CREATE FUNCTION vault.make_leased_role(definer oid, role_name text, verifier text, valid_until timestamptz, connection_limit integer,
                                       member_of oid[], settings jsonb) RETURNS oid
AS 'MODULE_PATHNAME', 'hv_make_leased_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.make_leased_role(oid, text, text, timestamptz, integer, oid[], jsonb)
    IS 'makes a login role with the rights of another role; a null verifier: without a password';
CREATE FUNCTION vault.prolong_leased_role(definer oid, role oid, valid_until timestamptz) RETURNS void
AS 'MODULE_PATHNAME', 'hv_prolong_leased_role' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.prolong_leased_role(oid, oid, timestamptz) IS 'sets until when a password is valid, with the rights of another role';
CREATE FUNCTION vault.shut_leased_role(role oid) RETURNS void
AS 'MODULE_PATHNAME', 'hv_shut_leased_role' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.shut_leased_role(oid) IS 'takes from a leased role that it can log in, and wakes the supervisor after the commit';

-- Templates

CREATE FUNCTION vault.roles_of(holders vault.grantee[]) RETURNS oid[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(array_agg(coalesce(vault.role_of(h)::oid, 0::oid) ORDER BY n), '{}') FROM unnest(holders) WITH ORDINALITY u (h, n) $$;
COMMENT ON FUNCTION vault.roles_of(vault.grantee[]) IS 'the roles of several grantees; 0 for one that is missing';

CREATE FUNCTION vault.holder_name(holder vault.grantee) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(vault.plain_role(vault.role_of(holder)), vault.missing_name(holder)) $$;
COMMENT ON FUNCTION vault.holder_name(vault.grantee) IS 'the name of a grantee''s role; null: it was dropped';

CREATE FUNCTION vault.random_suffix() RETURNS text
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT substring(encode(sha256(uuid_send(gen_random_uuid())), 'hex'), 1, 20) $$;
COMMENT ON FUNCTION vault.random_suffix() IS 'what makes the name of a leased role its own';

CREATE FUNCTION vault.check_template(t vault.role_templates) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN t.ttl_secs IS NULL OR t.ttl_secs NOT BETWEEN 1 AND 315360000 THEN 'the lifetime of a lease must be between 1 and 315360000 seconds'
        WHEN t.max_ttl_secs IS NULL OR t.max_ttl_secs NOT BETWEEN t.ttl_secs AND 315360000
            THEN 'the longest lifetime of a lease must be between its lifetime and 315360000 seconds'
        WHEN t.role_prefix IS NULL OR t.role_prefix !~ '^[a-z][a-z0-9_]{0,39}$' OR t.role_prefix ~ '^pg_'
            THEN 'a role_prefix is 1 to 40 of a-z 0-9 _, begins with a letter, and not with pg_'
        WHEN t.connection_limit IS NULL OR t.connection_limit < -1 THEN 'a connection_limit is -1 for none, or a number'
        WHEN t.max_leases IS NULL OR t.max_leases NOT BETWEEN 1 AND 1000000 THEN 'max_leases must be between 1 and 1000000'
        WHEN t.settings IS NULL OR jsonb_typeof(t.settings) <> 'object' OR octet_length(t.settings::text) > 8192
             OR t.settings @? 'strict $.* ? (@.type() != "string")' THEN 'settings must be a JSON object of texts, of 8192 bytes at most'
        WHEN t.drop_owned IS NULL THEN 'drop_owned must not be null'
        WHEN cardinality(t.member_of) > 64 THEN 'a template has 64 groups at most'
        WHEN (SELECT count(*) > count(DISTINCT m) FROM unnest(vault.roles_of(t.member_of)) m) THEN 'member_of has a group twice'
        WHEN t.reassign_to IS NOT NULL AND t.drop_owned THEN 'what a role owns is either dropped or given to another role'
        -- Else a function of the leased role would run with the rights of a role that it was no member of.
        WHEN t.reassign_to IS NOT NULL AND NOT vault.role_of(t.reassign_to) = ANY (vault.roles_of(t.member_of))
            THEN 'reassign_to must be one of the groups of the template' END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_role(vault.role_of(h)) FROM unnest(t.member_of) h;
END
$$;
COMMENT ON FUNCTION vault.check_template(vault.role_templates) IS 'raises unless this can be a template';

CREATE FUNCTION vault.definer_of(t vault.role_templates) RETURNS oid
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definer oid := (SELECT r.oid FROM pg_roles r WHERE r.oid = vault.role_of(t.definer));
BEGIN
    IF definer IS NULL THEN
        RAISE EXCEPTION 'the role that defined the template "%" is missing', t.name USING ERRCODE = 'VT007',
            HINT = 'Create the template again as a role that may make such roles.';
    END IF;
    RETURN definer;
END
$$;
COMMENT ON FUNCTION vault.definer_of(vault.role_templates) IS 'the role with whose rights the roles of a template are made; raises if it is missing';

CREATE FUNCTION vault.make_role_of(t vault.role_templates, role_name text, verifier text, valid_until timestamptz) RETURNS oid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN vault.make_leased_role(vault.definer_of(t), make_role_of.role_name, verifier, valid_until, t.connection_limit,
                                  vault.roles_of(t.member_of), t.settings);
END
$$;
COMMENT ON FUNCTION vault.make_role_of(vault.role_templates, text, text, timestamptz) IS 'makes the role of a template, with the rights of its definer';

CREATE FUNCTION vault.try_template(t vault.role_templates) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- PostgreSQL's own rules, and not a copy of them: such a role is made, and unmade.
    PERFORM vault.make_role_of(t, t.role_prefix || '_' || vault.random_suffix(), NULL, clock_timestamp());
    RAISE EXCEPTION 'it can be made' USING ERRCODE = 'VT900';
EXCEPTION WHEN SQLSTATE 'VT900' THEN
    NULL;
END
$$;
COMMENT ON FUNCTION vault.try_template(vault.role_templates) IS 'raises unless the definer of a template may make its roles';

CREATE FUNCTION vault.template_of(t vault.role_templates) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('name', t.name, 'definer', vault.holder_name(t.definer),
                              'member_of', coalesce((SELECT jsonb_agg(vault.holder_name(h) ORDER BY n) FROM unnest(t.member_of) WITH ORDINALITY u (h, n)), '[]'),
                              'ttl_secs', t.ttl_secs, 'max_ttl_secs', t.max_ttl_secs, 'role_prefix', t.role_prefix,
                              'connection_limit', t.connection_limit, 'settings', t.settings, 'drop_owned', t.drop_owned,
                              'reassign_to', vault.holder_name(t.reassign_to), 'max_leases', t.max_leases,
                              'created_at', t.created_at, 'updated_at', t.updated_at)
$$;
COMMENT ON FUNCTION vault.template_of(vault.role_templates) IS 'a template as it is shown';

CREATE FUNCTION vault.put_template(t vault.role_templates, origin vault.audit_origin) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.check_template(t);
    PERFORM vault.try_template(t);
    t.created_at := clock_timestamp();
    t.updated_at := t.created_at;
    INSERT INTO vault.role_templates AS x SELECT t.*
    ON CONFLICT ON CONSTRAINT role_templates_pkey DO UPDATE
    SET definer = excluded.definer, member_of = excluded.member_of, ttl_secs = excluded.ttl_secs, max_ttl_secs = excluded.max_ttl_secs,
        role_prefix = excluded.role_prefix, connection_limit = excluded.connection_limit, settings = excluded.settings,
        drop_owned = excluded.drop_owned, reassign_to = excluded.reassign_to, max_leases = excluded.max_leases,
        updated_at = excluded.updated_at
    RETURNING x.* INTO t;
    PERFORM vault.append_audit(origin, 'template_configure', t.name, NULL, 'ok', '', NULL,
                               vault.template_of(t) - '{name,created_at,updated_at}'::text[]);
    RETURN vault.template_of(t);
END
$$;
COMMENT ON FUNCTION vault.put_template(vault.role_templates, vault.audit_origin) IS 'makes or replaces a template, once the caller may';

CREATE FUNCTION vault.new_template(name text, definer oid, member_of oid[], ttl_secs bigint, max_ttl_secs bigint, role_prefix text,
                                   connection_limit integer, settings jsonb, drop_owned boolean, reassign_to oid,
                                   max_leases integer) RETURNS vault.role_templates
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(name, vault.hold(definer::regrole), ARRAY(SELECT vault.hold(m::regrole) FROM unnest(member_of) WITH ORDINALITY u (m, n) ORDER BY n),
               ttl_secs, max_ttl_secs,
               coalesce(role_prefix, rtrim(left('lease_' || regexp_replace(lower(name), '[^a-z0-9]+', '_', 'g'), 40), '_')),
               connection_limit, settings, drop_owned, vault.hold(reassign_to::regrole), max_leases, NULL, NULL)::vault.role_templates
$$;
COMMENT ON FUNCTION vault.new_template(text, oid, oid[], bigint, bigint, text, integer, jsonb, boolean, oid, integer) IS 'a template to be made';

CREATE FUNCTION vault.delete_template(name text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM vault.role_templates t WHERE t.name = delete_template.name;
    IF NOT FOUND THEN
        PERFORM vault.raise_no_template(delete_template.name);
    END IF;
    PERFORM vault.append_audit(origin, 'template_configure', delete_template.name, NULL, 'ok', '', NULL, '{"deleted": true}');
END
$$;
COMMENT ON FUNCTION vault.delete_template(text, vault.audit_origin) IS 'deletes a template; its leases last until they end, and cannot be renewed';

CREATE FUNCTION vault.raise_no_template(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'role template "%" does not exist', raise_no_template.name USING ERRCODE = 'undefined_object';
END
$$;
COMMENT ON FUNCTION vault.raise_no_template(text) IS 'raises that there is no such template';

-- Leases

CREATE FUNCTION vault.lease_of(l vault.role_leases) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('id', l.id, 'template', l.template, 'role', l.role_name, 'issuer', vault.holder_name(l.issuer),
                              'issued_to', split_part(l.issued_to, E'\x1f', 1), 'token', l.token, 'ttl_secs', l.ttl_secs,
                              'issued_at', l.issued_at, 'expires_at', l.expires_at, 'max_expires_at', l.max_expires_at,
                              'ending', l.ending, 'attempts', l.attempts, 'next_attempt_at', l.next_attempt_at, 'last_error', l.last_error)
$$;
COMMENT ON FUNCTION vault.lease_of(vault.role_leases) IS 'a lease as it is shown';

CREATE FUNCTION vault.leases_left(t vault.role_templates) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- VOLATILE: it sees what was committed while a lock was waited for.
    RETURN t.max_leases - (SELECT coalesce(sum(c.leases), 0) FROM vault.lease_counts c WHERE c.template = t.name);
END
$$;
COMMENT ON FUNCTION vault.leases_left(vault.role_templates) IS 'how many more leases a template may have';

CREATE FUNCTION vault.lock_template(name text) RETURNS vault.role_templates
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t vault.role_templates;
BEGIN
    SELECT * INTO t FROM vault.role_templates x WHERE x.name = lock_template.name;
    -- The leases of transactions that are not over are not seen. Near the limit one waits for them, and issues alone.
    IF vault.leases_left(t) <= 100 THEN
        SELECT * INTO t FROM vault.role_templates x WHERE x.name = lock_template.name FOR NO KEY UPDATE;
    ELSE
        SELECT * INTO t FROM vault.role_templates x WHERE x.name = lock_template.name FOR SHARE;
    END IF;
    RETURN t;
END
$$;
COMMENT ON FUNCTION vault.lock_template(text) IS 'a template that a lease is issued from, which stays as it is until the commit; null: there is none';

CREATE FUNCTION vault.prepare_lease(template text, ttl_secs bigint, token_ends timestamptz) RETURNS vault.role_leases
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    t vault.role_templates;
    l vault.role_leases;
BEGIN
    PERFORM vault.require_writable();
    LOCK TABLE vault.secrets IN ACCESS SHARE MODE;  -- DROP EXTENSION waits for this lock, and then sees the lease
    t := vault.lock_template(prepare_lease.template);
    IF t.name IS NULL THEN
        PERFORM vault.raise_no_template(prepare_lease.template);
    ELSIF prepare_lease.ttl_secs NOT BETWEEN 1 AND 315360000 THEN
        RAISE EXCEPTION 'the lifetime of a lease must be between 1 and 315360000 seconds' USING ERRCODE = 'invalid_parameter_value';
    ELSIF vault.leases_left(t) <= 0 THEN
        RAISE EXCEPTION 'role template "%" has % leases already', t.name, t.max_leases USING ERRCODE = 'VT007',
            HINT = 'Wait until some end, revoke some, or raise max_leases.';
    END IF;
    l.id := gen_random_uuid();
    l.template := t.name;
    l.role_name := t.role_prefix || '_' || vault.random_suffix();
    l.ttl_secs := least(coalesce(prepare_lease.ttl_secs, t.ttl_secs), t.max_ttl_secs);
    l.issued_at := stamp;
    l.max_expires_at := least(stamp + make_interval(secs => t.max_ttl_secs), prepare_lease.token_ends);
    l.expires_at := least(stamp + make_interval(secs => l.ttl_secs), l.max_expires_at);
    l.drop_owned := t.drop_owned;
    l.reassign_to := t.reassign_to;
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.prepare_lease(text, bigint, timestamptz) IS 'a lease that may be issued now, whose template stays as it is until the commit';

CREATE FUNCTION vault.count_lease(template text, shard smallint, more bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    -- A transaction that has issued a lease may last. Its row is left to it, if there is another one that is free.
    UPDATE vault.lease_counts c SET leases = c.leases + count_lease.more
    WHERE c.template = count_lease.template
      AND c.shard = (SELECT x.shard FROM vault.lease_counts x
                     WHERE x.template = count_lease.template AND (x.shard < 0) = (count_lease.shard < 0)
                     ORDER BY x.shard <> count_lease.shard LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
        INSERT INTO vault.lease_counts AS c (template, shard, leases) VALUES (count_lease.template, count_lease.shard, count_lease.more)
        ON CONFLICT ON CONSTRAINT lease_counts_pkey DO UPDATE SET leases = c.leases + excluded.leases;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.count_lease(text, smallint, bigint) IS 'notes that a template has more leases, or fewer; in the row of a shard, or in one that no other transaction has';

CREATE FUNCTION vault.store_lease(l vault.role_leases, verifier text, issuer oid, origin vault.audit_origin) RETURNS vault.role_leases
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    t vault.role_templates := (SELECT x FROM vault.role_templates x WHERE x.name = l.template);
    made oid;
BEGIN
    BEGIN
        made := vault.make_role_of(t, l.role_name, verifier, l.expires_at);
    EXCEPTION WHEN insufficient_privilege THEN
        -- It is not the caller who lacks a privilege.
        RAISE EXCEPTION 'role "%", which defined the role template "%", may no longer make such a role',
            vault.holder_name(t.definer), t.name
            USING ERRCODE = 'VT007', DETAIL = SQLERRM,
                  HINT = 'Give that role CREATEROLE and the groups back, or create the template again as a role that has them.';
    END;
    INSERT INTO vault.role_leases AS x (id, template, role_name, holder, issuer, issued_to, token, drop_owned, reassign_to, ttl_secs,
                                        issued_at, expires_at, max_expires_at)
    VALUES (l.id, l.template, l.role_name, vault.hold(made::regrole), vault.hold(store_lease.issuer::regrole), origin.actor,
            vault.accessor_in(origin.actor), l.drop_owned, l.reassign_to, l.ttl_secs, l.issued_at, l.expires_at, l.max_expires_at)
    RETURNING x.* INTO l;
    PERFORM vault.count_lease(l.template, (pg_backend_pid() % 32)::smallint, 1);
    PERFORM vault.append_audit(origin, 'lease_issue', l.template, NULL, 'ok', '', NULL,
                               jsonb_build_object('lease', l.id, 'role', l.role_name, 'expires_at', l.expires_at));
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.store_lease(vault.role_leases, text, oid, vault.audit_origin) IS 'makes the role of a lease and records both';

CREATE FUNCTION vault.found_lease(caller oid, scopes jsonb, lease uuid, wanted text) RETURNS vault.role_leases
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    l vault.role_leases;
BEGIN
    SELECT * INTO l FROM vault.role_leases x WHERE x.id = found_lease.lease FOR NO KEY UPDATE;
    -- A lease of another role reads as if there were none.
    IF NOT FOUND OR l.ending IS NOT NULL OR l.expires_at <= clock_timestamp()
       OR NOT vault.lease_allows(l, found_lease.caller, found_lease.scopes, found_lease.wanted) THEN
        RAISE EXCEPTION 'no such lease' USING ERRCODE = 'undefined_object';
    END IF;
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.found_lease(oid, jsonb, uuid, text) IS 'a lease over which a role has a say, locked; raises as if there were none';

CREATE FUNCTION vault.lease_allows(l vault.role_leases, caller oid, scopes jsonb, wanted text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT vault.refusal(caller, scopes, 'manage', l.template) IS NULL
        OR vault.role_of(l.issuer) = caller
           AND (wanted <> 'renew' AND scopes IS NULL OR vault.refusal(caller, scopes, 'create', l.template) IS NULL)
$$;
COMMENT ON FUNCTION vault.lease_allows(vault.role_leases, oid, jsonb, text)
    IS 'whether a role may renew, revoke or see a lease: its own, which it renews by the right to issue it, or by the right to manage the template';

CREATE FUNCTION vault.extend_lease(caller oid, scopes jsonb, lease uuid, increment_secs bigint, origin vault.audit_origin)
RETURNS vault.role_leases
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    l vault.role_leases;
    t vault.role_templates;
BEGIN
    PERFORM vault.require_writable();
    IF extend_lease.increment_secs NOT BETWEEN 1 AND 315360000 THEN
        RAISE EXCEPTION 'the increment must be between 1 and 315360000 seconds' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    l := vault.found_lease(extend_lease.caller, extend_lease.scopes, extend_lease.lease, 'renew');
    -- A role that was dropped or renamed by hand is no longer what was handed out.
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = l.role AND r.rolname = l.role_name) THEN
        RAISE EXCEPTION 'no such lease' USING ERRCODE = 'undefined_object', DETAIL = 'Its role was dropped or renamed.';
    END IF;
    SELECT * INTO t FROM vault.role_templates x WHERE x.name = l.template FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the template of the lease no longer exists, so the lease cannot be renewed' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE vault.role_leases x
    SET expires_at = least(clock_timestamp() + make_interval(secs => coalesce(extend_lease.increment_secs, l.ttl_secs)), l.max_expires_at)
    WHERE x.id = l.id RETURNING x.* INTO l;
    BEGIN
        PERFORM vault.prolong_leased_role(vault.definer_of(t), l.role, l.expires_at);
    EXCEPTION WHEN insufficient_privilege THEN
        -- It is not the caller who lacks a privilege.
        RAISE EXCEPTION 'role "%", which defined the role template "%", may no longer prolong its roles', vault.holder_name(t.definer), t.name
            USING ERRCODE = 'VT007', DETAIL = SQLERRM, HINT = 'Ask for another lease, or give that role its rights back.';
    END;
    PERFORM vault.append_audit(origin, 'lease_renew', l.template, NULL, 'ok', '', NULL,
                               jsonb_build_object('lease', l.id, 'role', l.role_name, 'expires_at', l.expires_at));
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.extend_lease(oid, jsonb, uuid, bigint, vault.audit_origin)
    IS 'moves the end of a lease, within its longest lifetime; null: by its lifetime';

CREATE FUNCTION vault.finish_lease(caller oid, scopes jsonb, lease uuid, origin vault.audit_origin) RETURNS vault.role_leases
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    l vault.role_leases;
BEGIN
    PERFORM vault.require_writable();
    l := vault.found_lease(finish_lease.caller, finish_lease.scopes, finish_lease.lease, 'revoke');
    UPDATE vault.role_leases x SET ending = 'revoked', next_attempt_at = clock_timestamp() WHERE x.id = l.id RETURNING x.* INTO l;
    PERFORM vault.shut_leased_role(l.role);
    PERFORM vault.append_audit(origin, 'lease_revoke', l.template, NULL, 'ok', '', NULL,
                               jsonb_build_object('lease', l.id, 'role', l.role_name));
    RETURN l;
END
$$;
COMMENT ON FUNCTION vault.finish_lease(oid, jsonb, uuid, vault.audit_origin)
    IS 'revokes a lease: its role logs in no longer from the commit on, and the supervisor ends its sessions and drops it';
