
-- Bindings of secrets to roles: made, ended, and the password set again.

CREATE FUNCTION vault.check_bindable(s vault.secrets, role regrole) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text;
    elsewhere text;
BEGIN
    PERFORM vault.check_role_name(role);
    SELECT o.name INTO elsewhere FROM vault.role_bindings b JOIN vault.secrets o ON o.id = b.secret_id WHERE b.role = check_bindable.role;
    wrong := CASE WHEN s.bound THEN format('secret "%s" is bound to a role already', s.name)
        WHEN elsewhere IS NOT NULL THEN format('role %s is bound to secret "%s" already', vault.shown_role(role), elsewhere)
        WHEN role = to_regrole('vault_owner') THEN 'vault_owner has no password'
        WHEN vault.plain_role(role) ~ '^pg_' THEN format('role %s is one of PostgreSQL''s own', vault.shown_role(role))
        WHEN s.delete_version_after_secs IS NOT NULL
             OR EXISTS (SELECT FROM vault.secret_versions v WHERE v.secret_id = s.id AND v.version = s.current_version AND v.delete_at IS NOT NULL)
            THEN format('versions of secret "%s" are deleted by themselves: its delete_version_after_secs must be 0, and its value a newer one', s.name) END;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_bindable(vault.secrets, regrole) IS 'raises unless a role can be bound to a secret';

CREATE FUNCTION vault.add_binding(s vault.secrets, place integer, role regrole, pair boolean, shared regrole, options vault.binding_options,
                                  origin vault.audit_origin) RETURNS vault.role_bindings
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    b vault.role_bindings;
BEGIN
    PERFORM vault.check_session_policy(options, vault.role_attributes(add_binding.role), add_binding.pair);
    INSERT INTO vault.role_bindings (secret_id, place, holder, role_name, attributes, shared_holder, auto_repair, bound_at, bound_by,
                                     session_policy, max_wait_secs)
    SELECT s.id, add_binding.place, vault.hold(add_binding.role), r.rolname, vault.role_attributes(add_binding.role), vault.hold(add_binding.shared),
           coalesce(options.auto_repair, false), clock_timestamp(), regexp_replace(origin.actor, '^role:|\x1f.*$', '', 'g'),
           coalesce(options.session_policy, 'ignore'), CASE options.session_policy WHEN 'wait' THEN coalesce(options.max_wait_secs, 3600) END
    FROM pg_roles r WHERE r.oid = add_binding.role
    RETURNING * INTO b;
    RETURN b;
END
$$;
COMMENT ON FUNCTION vault.add_binding(vault.secrets, integer, regrole, boolean, regrole, vault.binding_options, vault.audit_origin) IS 'stores one role of a binding';

CREATE FUNCTION vault.bind_with_verifier(caller oid, id uuid, expected_version bigint, role regrole, verifier text,
                                         options vault.binding_options, origin vault.audit_origin, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(bind_with_verifier.id, bind_with_verifier.expected_version);
BEGIN
    PERFORM vault.check_bindable(s, bind_with_verifier.role);
    PERFORM vault.alter_role(bind_with_verifier.role, bind_with_verifier.verifier, NULL, bind_with_verifier.caller);
    UPDATE vault.secrets x SET bound = true, updated_at = clock_timestamp() WHERE x.id = s.id;
    -- Binding is no rotation: sessions from before count as those of the current password.
    PERFORM vault.keep_verifier(vault.add_binding(s, 1, bind_with_verifier.role, false, NULL, options, origin), bind_with_verifier.verifier,
                                s.current_version, '-infinity');
    PERFORM vault.append_audit(origin, 'bind_role', s.name, s.current_version, 'ok', '', bind_with_verifier.change,
                               jsonb_build_object('role', vault.plain_role(bind_with_verifier.role)));
END
$$;
COMMENT ON FUNCTION vault.bind_with_verifier(oid, uuid, bigint, regrole, text, vault.binding_options, vault.audit_origin, uuid)
    IS 'binds a secret to a role, which gets its value as the password if PostgreSQL lets the caller set it';

CREATE FUNCTION vault.bind_pair_with_verifier(caller oid, id uuid, expected_version bigint, now_role regrole, other_role regrole,
                                              shared regrole, verifier text, options vault.binding_options, origin vault.audit_origin,
                                              change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(bind_pair_with_verifier.id, bind_pair_with_verifier.expected_version);
    now_current vault.role_bindings;
BEGIN
    IF now_role = other_role THEN
        RAISE EXCEPTION 'a pair must be two roles' USING ERRCODE = 'invalid_parameter_value';
    ELSIF s.content_type <> 'application/json' THEN
        RAISE EXCEPTION 'the secret of a pair must be JSON with the fields username and password' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Applications learn from the value which of the two roles to log in as.';
    END IF;
    PERFORM vault.check_bindable(s, now_role);
    PERFORM vault.check_bindable(s, other_role);
    IF shared IS NOT NULL AND NOT (vault.has_rights_of(now_role, shared) AND vault.has_rights_of(other_role, shared)) THEN
        RAISE EXCEPTION 'both roles of a pair must be members of role %', vault.shown_role(shared) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The caller must be one whom PostgreSQL lets set the passwords of both, and until when they are valid.
    PERFORM vault.alter_role(now_role, bind_pair_with_verifier.verifier, 'infinity', bind_pair_with_verifier.caller);
    PERFORM vault.alter_role(other_role, bind_pair_with_verifier.verifier, clock_timestamp(), bind_pair_with_verifier.caller);
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid IN (now_role, other_role) AND NOT r.rolcanlogin) THEN
        RAISE EXCEPTION 'both roles of a pair must be able to log in' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE vault.secrets x SET bound = true, updated_at = clock_timestamp() WHERE x.id = s.id;
    now_current := vault.add_binding(s, 1, now_role, true, shared, options, origin);
    PERFORM vault.keep_verifier(now_current, bind_pair_with_verifier.verifier, s.current_version, '-infinity');
    PERFORM vault.add_binding(s, 2, other_role, true, shared, options, origin);
    PERFORM vault.append_audit(origin, 'bind_role', s.name, s.current_version, 'ok', '', bind_pair_with_verifier.change,
                               jsonb_build_object('role', vault.plain_role(now_role), 'other', vault.plain_role(other_role)));
END
$$;
COMMENT ON FUNCTION vault.bind_pair_with_verifier(oid, uuid, bigint, regrole, regrole, regrole, text, vault.binding_options, vault.audit_origin, uuid)
    IS 'binds a secret to two roles in turn: the current one gets its value as the password, the other one is shut out until the next version is its own';

CREATE FUNCTION vault.unbind_secret(id uuid, origin vault.audit_origin, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    names text[];
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.id = unbind_secret.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(unbind_secret.id::text);
    ELSIF NOT s.bound THEN
        RAISE EXCEPTION 'secret "%" is bound to no role', s.name USING ERRCODE = 'undefined_object';
    END IF;
    DELETE FROM vault.role_verifiers v WHERE v.secret_id = s.id;
    WITH gone AS (DELETE FROM vault.role_bindings b WHERE b.secret_id = s.id RETURNING b.role_name, b.place)
    SELECT array_agg(g.role_name ORDER BY g.place) INTO names FROM gone g;
    UPDATE vault.secrets x SET bound = false, updated_at = clock_timestamp() WHERE x.id = s.id;
    PERFORM vault.append_audit(origin, 'unbind_role', s.name, s.current_version, 'ok', '', unbind_secret.change,
                               jsonb_build_object('roles', to_jsonb(names)));
END
$$;
COMMENT ON FUNCTION vault.unbind_secret(uuid, vault.audit_origin, uuid) IS 'ends the binding of a secret; its roles keep the passwords that they have';

CREATE FUNCTION vault.repair_with_verifier(id uuid, expected_version bigint, verifier text, origin vault.audit_origin,
                                           change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(repair_with_verifier.id, repair_with_verifier.expected_version);
    b vault.role_bindings;
BEGIN
    IF NOT s.bound THEN
        RAISE EXCEPTION 'secret "%" is bound to no role', s.name USING ERRCODE = 'undefined_object';
    END IF;
    SELECT * INTO b FROM vault.role_bindings x WHERE x.secret_id = s.id ORDER BY x.version DESC NULLS LAST, x.place LIMIT 1;
    PERFORM vault.require_binding(b, s.name);
    PERFORM vault.alter_role(b.role, repair_with_verifier.verifier,
                             CASE WHEN EXISTS (SELECT FROM vault.role_bindings x WHERE x.secret_id = s.id AND x.place <> b.place)
                                  THEN 'infinity'::timestamptz END, NULL);
    PERFORM vault.keep_verifier(b, repair_with_verifier.verifier, s.current_version,
                                CASE WHEN b.version = s.current_version THEN coalesce(
                                    (SELECT k.settled_at FROM vault.role_verifiers k WHERE k.secret_id = b.secret_id AND k.place = b.place), '-infinity') END);
    -- Of a pair the other one is to log in no longer than it should.
    PERFORM vault.alter_role(x.role, NULL, vault.login_ends_at(x), NULL) FROM vault.role_bindings x
    WHERE x.secret_id = s.id AND x.place <> b.place AND vault.role_drift(x) = 'extended';
    PERFORM vault.append_audit(origin, 'repair_role', s.name, s.current_version, 'ok', '', repair_with_verifier.change,
                               jsonb_build_object('role', b.role_name));
END
$$;
COMMENT ON FUNCTION vault.repair_with_verifier(uuid, bigint, text, vault.audit_origin, uuid)
    IS 'gives the role of a bound secret its current value as the password again';

-- What the API calls: the verifier comes beside the sealed value.

CREATE FUNCTION vault.append_with_verifier_anyhow(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                                  settings vault.secret_settings, reschedule boolean, origin vault.audit_origin,
                                                  verifier text, role text)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM vault.offer_verifier(id, expected_version + 1, verifier, role);
    RETURN vault.append_anyhow(id, expected_version, sealed, action, settings, reschedule, origin);
END
$$;
COMMENT ON FUNCTION vault.append_with_verifier_anyhow(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean, vault.audit_origin, text, text)
    IS 'does what vault.append_with_verifier() does, whatever the secret and the change are like';

CREATE FUNCTION vault.append_with_verifier(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                           settings vault.secret_settings, reschedule boolean, origin vault.audit_origin, verifier text,
                                           role text)
RETURNS vault.secret_info
AS 'MODULE_PATHNAME', 'hv_append_with_verifier' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION vault.append_with_verifier(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean, vault.audit_origin, text, text)
    IS 'vault.append_version() for a bound secret, if the next version is the password of that role';

CREATE FUNCTION vault.append_with_verifier_if_free(fingerprint bytea, address inet, claims jsonb, "right" text, name text, node text,
                                                   request_id text, id uuid, expected_version bigint, sealed vault.sealed_value,
                                                   action text, verifier text, role text)
RETURNS vault.secret_info
AS 'MODULE_PATHNAME', 'hv_append_with_verifier_if_free' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms';
COMMENT ON FUNCTION vault.append_with_verifier_if_free(bytea, inet, jsonb, text, text, text, text, uuid, bigint, vault.sealed_value, text, text, text)
    IS 'vault.append_if_free() for a bound secret; a role that another transaction has changed is not free';

CREATE FUNCTION vault.complete_with_verifier(job_id uuid, worker text, id uuid, expected_version bigint, sealed vault.sealed_value,
                                             next_rotation_at timestamptz, origin vault.audit_origin, verifier text, role text)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.offer_verifier(complete_with_verifier.id, complete_with_verifier.expected_version + 1, complete_with_verifier.verifier,
                                 complete_with_verifier.role);
    RETURN vault.complete_rotation(complete_with_verifier.job_id, complete_with_verifier.worker, complete_with_verifier.expected_version,
                                   complete_with_verifier.sealed, complete_with_verifier.next_rotation_at, complete_with_verifier.origin);
END
$$;
COMMENT ON FUNCTION vault.complete_with_verifier(uuid, text, uuid, bigint, vault.sealed_value, timestamptz, vault.audit_origin, text, text)
    IS 'vault.complete_rotation() for a bound secret, if the next version is the password of that role';

CREATE FUNCTION vault.role_to_use(name text) RETURNS regrole
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regrole := to_regrole(quote_ident(role_to_use.name));
BEGIN
    IF found IS NULL THEN
        -- Not undefined_object: what a request is about is there.
        RAISE EXCEPTION 'role "%" does not exist', role_to_use.name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION vault.role_to_use(text) IS 'the role with exactly this name, which a request names as a part of something else';

CREATE FUNCTION vault.bind_with_verifier_as(fingerprint bytea, address inet, claims jsonb, id uuid, name text, expected_version bigint,
                                            role text, other text, shared text, options vault.binding_options, verifier text,
                                            node text, request_id text, change uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    d vault.decision := vault.decide(fingerprint, address, claims, 'update', name);
    origin vault.audit_origin;
    s vault.secrets;
BEGIN
    PERFORM vault.raise_refused(d, 'update', name);
    PERFORM vault.raise_refused(vault.decide(fingerprint, address, claims, 'rotate', name), 'rotate', name);
    origin := vault.origin_of(d, address, node, request_id);
    SELECT * INTO s FROM vault.secrets x WHERE x.id = bind_with_verifier_as.id AND x.deleted_at IS NULL;
    IF s.name IS DISTINCT FROM bind_with_verifier_as.name THEN
        PERFORM vault.raise_not_found(name);
    END IF;
    BEGIN
        IF other IS NULL THEN
            PERFORM vault.bind_with_verifier(d.role, id, expected_version, vault.role_to_use(role), verifier, options, origin, change);
        ELSE
            PERFORM vault.bind_pair_with_verifier(d.role, id, expected_version, vault.role_to_use(role), vault.role_to_use(other),
                                                  CASE WHEN shared IS NOT NULL THEN vault.role_to_use(shared) END, verifier, options, origin, change);
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'PostgreSQL does not let role "%" set the password of role "%"', d.acting, concat_ws('" or "', role, other)
            USING ERRCODE = 'invalid_grant_operation';
    END;
END
$$;
COMMENT ON FUNCTION vault.bind_with_verifier_as(bytea, inet, jsonb, uuid, text, bigint, text, text, text, vault.binding_options, text, text, text, uuid)
    IS 'binds a secret to a role, or to two in turn, by REST';

-- For people.

CREATE FUNCTION vault.bind_role(name text, role regrole, auto_repair boolean DEFAULT false, session_policy text DEFAULT 'ignore') RETURNS void
AS 'MODULE_PATHNAME', 'hv_bind_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.bind_role(text, regrole, boolean, text)
    IS 'Makes the value of a secret the password of a role, now and with every new version. PostgreSQL must let the caller set the password of the role. With auto_repair the supervisor sets it again when it was changed elsewhere. With the session_policy terminate it ends the sessions of a former password when the grace is over.';

CREATE FUNCTION vault.bind_role_pair(name text, role_a regrole, role_b regrole, shared_role regrole DEFAULT NULL,
                                     auto_repair boolean DEFAULT false, session_policy text DEFAULT 'ignore',
                                     max_wait_secs bigint DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'hv_bind_role_pair' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.bind_role_pair(text, regrole, regrole, regrole, boolean, text, bigint)
    IS 'Makes a secret of JSON with the fields username and password the login of two roles in turn. Each new version is of the role that was not current. The other one can log in until its version''s grace ends. With the session_policy wait that is prolonged while it has sessions, by max_wait_secs at most. With terminate its sessions end then.';

CREATE FUNCTION vault.unbind_role(name text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_unbind_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.unbind_role(text) IS 'Ends the binding of a secret to its role or roles, which keep their passwords.';

CREATE FUNCTION vault.import_role(name text, role regrole, password text, auto_repair boolean DEFAULT false) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_import_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.import_role(text, regrole, text, boolean)
    IS 'Creates a secret of the password that a role has now, binds it, and returns its version. Refused unless the role has this password.';

CREATE FUNCTION vault.repair_role(name text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_repair_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.repair_role(text) IS 'Gives the role of a bound secret its current value as the password again.';
