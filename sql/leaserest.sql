
-- Leased roles for people.

CREATE FUNCTION vault.create_role_template(name text, member_of regrole[], ttl interval DEFAULT '1 hour', max_ttl interval DEFAULT '1 day',
                                           role_prefix text DEFAULT NULL, connection_limit integer DEFAULT -1, settings jsonb DEFAULT '{}',
                                           reassign_to regrole DEFAULT NULL, drop_owned boolean DEFAULT false,
                                           max_leases integer DEFAULT 10000) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text;
BEGIN
    PERFORM vault.check_template_name(create_role_template.name);
    what := create_role_template.name;
    PERFORM vault.require_manager(create_role_template.name);
    PERFORM vault.admit_change('template_configure', what);
    PERFORM vault.put_template(vault.new_template(create_role_template.name, vault.outer_role(), coalesce(create_role_template.member_of, '{}')::oid[],
        extract(epoch FROM create_role_template.ttl)::bigint, extract(epoch FROM create_role_template.max_ttl)::bigint,
        create_role_template.role_prefix, create_role_template.connection_limit, create_role_template.settings,
        create_role_template.drop_owned, create_role_template.reassign_to, create_role_template.max_leases), vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('template_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.create_role_template(text, regrole[], interval, interval, text, integer, jsonb, regrole, boolean, integer)
    IS 'Creates or replaces a template of leased roles. Roles are made with the rights of the role that creates it, which must be allowed to make them.';

CREATE FUNCTION vault.check_template_name(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF check_template_name.name IS NULL THEN
        RAISE EXCEPTION 'name must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.check_name(check_template_name.name);
END
$$;
COMMENT ON FUNCTION vault.check_template_name(text) IS 'raises unless a template can have this name';

CREATE FUNCTION vault.drop_role_template(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    what text;
BEGIN
    PERFORM vault.check_template_name(drop_role_template.name);
    what := drop_role_template.name;
    PERFORM vault.require_manager(drop_role_template.name);
    PERFORM vault.admit_change('template_configure', what);
    PERFORM vault.delete_template(drop_role_template.name, vault.local_origin());
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('template_configure', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.drop_role_template(text)
    IS 'Deletes a template of leased roles. Its leases last until they end, and cannot be renewed.';

CREATE FUNCTION vault.role_templates()
RETURNS TABLE (name text, definer text, member_of text[], ttl interval, max_ttl interval, role_prefix text, connection_limit integer,
               settings jsonb, reassign_to text, drop_owned boolean, max_leases integer, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.name, vault.holder_name(t.definer), ARRAY(SELECT vault.holder_name(h) FROM unnest(t.member_of) h),
                        make_interval(secs => t.ttl_secs), make_interval(secs => t.max_ttl_secs), t.role_prefix, t.connection_limit,
                        t.settings, vault.holder_name(t.reassign_to), t.drop_owned, t.max_leases, t.created_at, t.updated_at
                 FROM vault.role_templates t
                 WHERE vault.template_visible(vault.outer_role(), NULL, t.name) ORDER BY t.name;
END
$$;
COMMENT ON FUNCTION vault.role_templates() IS 'Lists the templates that the caller may issue roles from, manage or audit.';

CREATE FUNCTION vault.template_visible(caller oid, scopes jsonb, name text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM unnest('{create,manage,audit}'::text[]) a WHERE vault.refusal(caller, scopes, a, name) IS NULL)
$$;
COMMENT ON FUNCTION vault.template_visible(oid, jsonb, text) IS 'whether a role may see a template';

CREATE FUNCTION vault.issue_lease(template text, ttl interval, verifier text, issuer oid, origin vault.audit_origin)
RETURNS vault.role_leases
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT vault.store_lease(vault.prepare_lease(template, extract(epoch FROM ttl)::bigint, NULL), verifier, issuer, origin) $$;
COMMENT ON FUNCTION vault.issue_lease(text, interval, text, oid, vault.audit_origin) IS 'issues a lease to an SQL role that may have it';

CREATE FUNCTION vault.issue_role(template text, ttl interval DEFAULT NULL,
                                 OUT lease uuid, OUT username text, OUT password text, OUT expires_at timestamptz) RETURNS record
AS 'MODULE_PATHNAME', 'hv_issue_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.issue_role(text, interval)
    IS 'Makes a login role from a template, until its lease ends. The password is shown only this once, and stored nowhere.';
CREATE FUNCTION vault.renew_lease(lease uuid, increment interval DEFAULT NULL) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'hv_renew_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.renew_lease(uuid, interval)
    IS 'Moves the end of a lease to an increment from now, or to its lifetime, and never beyond its longest lifetime. Returns the end.';
CREATE FUNCTION vault.revoke_lease(lease uuid) RETURNS void
AS 'MODULE_PATHNAME', 'hv_revoke_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.revoke_lease(uuid)
    IS 'Ends a lease. Its role logs in no longer once this is committed; then the supervisor ends its sessions and drops it.';

CREATE FUNCTION vault.leases(of_template text DEFAULT NULL)
RETURNS TABLE (lease uuid, template text, role text, issuer text, issued_to text, issued_at timestamptz, expires_at timestamptz,
               max_expires_at timestamptz, ending text, attempts integer, next_attempt_at timestamptz, last_error text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT l.id, l.template, l.role_name, vault.holder_name(l.issuer), split_part(l.issued_to, E'\x1f', 1), l.issued_at,
                        l.expires_at, l.max_expires_at, l.ending, l.attempts, l.next_attempt_at, l.last_error
                 FROM vault.leases_for(vault.outer_role(), NULL, NULL, leases.of_template, NULL, NULL) l
                 ORDER BY l.template, l.issued_at, l.id;
END
$$;
COMMENT ON FUNCTION vault.leases(text)
    IS 'Lists the leases of the caller, and those of templates that it may manage or audit. last_error says why a lease that is ending could not be ended.';

CREATE FUNCTION vault.lease_visible(l vault.role_leases, caller oid, scopes jsonb) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT vault.lease_allows(l, caller, scopes, 'list') OR vault.refusal(caller, scopes, 'audit', l.template) IS NULL $$;
COMMENT ON FUNCTION vault.lease_visible(vault.role_leases, oid, jsonb) IS 'whether a role may see a lease';

-- The same by REST. The API makes the password, and sends its verifier.

CREATE FUNCTION vault.issue_role_as(fingerprint bytea, address inet, claims jsonb, template text, ttl_secs bigint, verifier text,
                                    node text, request_id text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(issue_role_as.fingerprint, issue_role_as.address, issue_role_as.claims, 'create', issue_role_as.template);
    l vault.role_leases;
BEGIN
    PERFORM vault.raise_refused(d, 'create', issue_role_as.template);
    IF issue_role_as.verifier !~ '^SCRAM-SHA-256\$' THEN
        RAISE EXCEPTION 'a password comes as a verifier' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A stored token ends its leases when it ends. A batch token is stored nowhere, so its leases last no longer than it.
    l := vault.prepare_lease(issue_role_as.template, issue_role_as.ttl_secs, (issue_role_as.claims ->> 'expires_at')::timestamptz);
    RETURN vault.lease_of(vault.store_lease(l, issue_role_as.verifier, d.role,
                                            vault.origin_of(d, issue_role_as.address, issue_role_as.node, issue_role_as.request_id)));
END
$$;
COMMENT ON FUNCTION vault.issue_role_as(bytea, inet, jsonb, text, bigint, text, text, text) IS 'vault.issue_role() by REST';

CREATE FUNCTION vault.renew_lease_as(fingerprint bytea, address inet, claims jsonb, lease uuid, increment_secs bigint,
                                     node text, request_id text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(renew_lease_as.fingerprint, renew_lease_as.address, renew_lease_as.claims, 'self', NULL);
BEGIN
    PERFORM vault.raise_refused(d, 'renew', 'lease');
    RETURN vault.lease_of(vault.extend_lease(d.role, d.scopes, renew_lease_as.lease, renew_lease_as.increment_secs,
                                             vault.origin_of(d, renew_lease_as.address, renew_lease_as.node, renew_lease_as.request_id)));
END
$$;
COMMENT ON FUNCTION vault.renew_lease_as(bytea, inet, jsonb, uuid, bigint, text, text) IS 'vault.renew_lease() by REST';

CREATE FUNCTION vault.revoke_lease_as(fingerprint bytea, address inet, claims jsonb, lease uuid, node text, request_id text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(revoke_lease_as.fingerprint, revoke_lease_as.address, revoke_lease_as.claims, 'self', NULL);
BEGIN
    PERFORM vault.raise_refused(d, 'revoke', 'lease');
    RETURN vault.lease_of(vault.finish_lease(d.role, d.scopes, revoke_lease_as.lease,
                                             vault.origin_of(d, revoke_lease_as.address, revoke_lease_as.node, revoke_lease_as.request_id)));
END
$$;
COMMENT ON FUNCTION vault.revoke_lease_as(bytea, inet, jsonb, uuid, text, text) IS 'vault.revoke_lease() by REST';

CREATE FUNCTION vault.leases_for(caller oid, scopes jsonb, lease uuid, template text, after uuid, page_size integer)
RETURNS SETOF vault.role_leases
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    beyond uuid := coalesce(leases_for.after, '00000000-0000-0000-0000-000000000000');
BEGIN
    IF leases_for.lease IS NOT NULL THEN
        RETURN QUERY SELECT l.* FROM vault.role_leases l WHERE l.id = leases_for.lease AND vault.lease_visible(l, caller, scopes);
    ELSIF leases_for.template IS NOT NULL THEN
        RETURN QUERY SELECT l.* FROM vault.role_leases l
                     WHERE l.template = leases_for.template AND l.id > beyond AND vault.lease_visible(l, caller, scopes)
                     ORDER BY l.id LIMIT page_size;
    ELSIF EXISTS (SELECT FROM vault.visible_names(caller, scopes, '{manage,audit}')) THEN
        RETURN QUERY SELECT l.* FROM vault.role_leases l WHERE l.id > beyond AND vault.lease_visible(l, caller, scopes)
                     ORDER BY l.id LIMIT page_size;
    ELSE
        RETURN QUERY SELECT l.* FROM vault.role_leases l
                     WHERE vault.role_of(l.issuer) = caller AND l.id > beyond AND vault.lease_visible(l, caller, scopes)
                     ORDER BY vault.role_of(l.issuer), l.id LIMIT page_size;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.leases_for(oid, jsonb, uuid, text, uuid, integer) IS 'a page of the leases that a role may see';

CREATE FUNCTION vault.leases_as(fingerprint bytea, address inet, claims jsonb, lease uuid, template text, after uuid, page_size integer)
RETURNS TABLE (cause text, actor text, acting text, found jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    d vault.decision := vault.decide(leases_as.fingerprint, leases_as.address, leases_as.claims, 'self', NULL);
BEGIN
    RETURN QUERY SELECT d.cause, d.actor, d.acting, s.found FROM (SELECT) one LEFT JOIN LATERAL (
                     SELECT vault.lease_of(l) AS found
                     FROM vault.leases_for(d.role, d.scopes, leases_as.lease, leases_as.template, leases_as.after, leases_as.page_size) l
                     WHERE d.cause IS NULL) s ON true;
END
$$;
COMMENT ON FUNCTION vault.leases_as(bytea, inet, jsonb, uuid, text, uuid, integer)
    IS 'a page of the leases that the caller may see, of one template or all, or one; at least one row, which says who asks';

CREATE FUNCTION vault.templates_as(fingerprint bytea, address inet, claims jsonb, name text, after text, page_size integer)
RETURNS TABLE (cause text, actor text, acting text, template jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    d vault.decision := vault.decide(templates_as.fingerprint, templates_as.address, templates_as.claims, 'self', NULL);
BEGIN
    RETURN QUERY SELECT d.cause, d.actor, d.acting, s.template FROM (SELECT) one LEFT JOIN LATERAL (
                     SELECT vault.template_of(t) AS template FROM vault.role_templates t
                     WHERE d.cause IS NULL AND (templates_as.name IS NULL OR t.name = templates_as.name)
                       AND t.name > coalesce(templates_as.after, '') AND vault.template_visible(d.role, d.scopes, t.name)
                     ORDER BY t.name LIMIT templates_as.page_size) s ON true;
END
$$;
COMMENT ON FUNCTION vault.templates_as(bytea, inet, jsonb, text, text, integer)
    IS 'a page of the templates that the caller may see, or one; at least one row, which says who asks';

CREATE FUNCTION vault.put_template_as(fingerprint bytea, address inet, claims jsonb, name text, spec jsonb, node text, request_id text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    d vault.decision := vault.decide(put_template_as.fingerprint, put_template_as.address, put_template_as.claims, 'manage', put_template_as.name);
BEGIN
    PERFORM vault.raise_refused(d, 'manage', put_template_as.name);
    PERFORM vault.require_writable();
    PERFORM vault.check_template_name(put_template_as.name);
    RETURN vault.put_template(vault.new_template(put_template_as.name, d.role,
        ARRAY(SELECT vault.role_to_use(m)::oid FROM jsonb_array_elements_text(spec -> 'member_of') m),
        (spec ->> 'ttl_secs')::bigint, (spec ->> 'max_ttl_secs')::bigint, spec ->> 'role_prefix', (spec ->> 'connection_limit')::integer,
        spec -> 'settings', (spec ->> 'drop_owned')::boolean,
        CASE WHEN spec ->> 'reassign_to' IS NOT NULL THEN vault.role_to_use(spec ->> 'reassign_to') END, (spec ->> 'max_leases')::integer),
        vault.origin_of(d, put_template_as.address, put_template_as.node, put_template_as.request_id));
EXCEPTION
    WHEN insufficient_privilege THEN
        IF d.cause IS NOT NULL THEN
            RAISE;
        END IF;
        -- Whether the caller may define it is decided. The role that it acts as may not make such roles.
        RAISE EXCEPTION 'role "%" may not make the roles of this template: %', d.acting, SQLERRM USING ERRCODE = 'invalid_parameter_value';
    WHEN undefined_object OR invalid_name OR cant_change_runtime_param OR active_sql_transaction THEN
        -- One of the settings, which another try does not change.
        RAISE EXCEPTION '%', SQLERRM USING ERRCODE = 'invalid_parameter_value';
END
$$;
COMMENT ON FUNCTION vault.put_template_as(bytea, inet, jsonb, text, jsonb, text, text) IS 'vault.create_role_template() by REST';

CREATE FUNCTION vault.delete_template_as(fingerprint bytea, address inet, claims jsonb, name text, node text, request_id text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    origin vault.audit_origin := vault.admit(delete_template_as.fingerprint, delete_template_as.address, delete_template_as.claims, 'manage',
                                             delete_template_as.name, delete_template_as.node, delete_template_as.request_id);
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.delete_template(delete_template_as.name, origin);
END
$$;
COMMENT ON FUNCTION vault.delete_template_as(bytea, inet, jsonb, text, text, text) IS 'vault.drop_role_template() by REST';
