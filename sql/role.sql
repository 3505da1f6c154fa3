
-- Secrets that are the passwords of PostgreSQL's own roles. The new version of a bound secret and the new password of its role
-- commit in one transaction. A password is set by its verifier and without any SQL text (shim/rolepassword.c).

CREATE FUNCTION vault.alter_role(role oid, verifier text, valid_until timestamptz, caller oid) RETURNS void
AS 'MODULE_PATHNAME', 'hv_alter_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.alter_role(oid, text, timestamptz, oid)
    IS 'sets the password of a role and until when it is valid, as PostgreSQL lets a caller do it; a null caller is the vault, which has decided before; other nulls keep';

CREATE FUNCTION vault.offer_verifier(id uuid, version bigint, verifier text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_offer_verifier' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.offer_verifier(uuid, bigint, text)
    IS 'has ready, for the rest of this statement, the verifier of the password that a version of a secret is';

CREATE FUNCTION vault.offered_verifier(id uuid, version bigint) RETURNS text
AS 'MODULE_PATHNAME', 'hv_offered_verifier' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.offered_verifier(uuid, bigint) IS 'the verifier that this statement was given for a version; null: none';

CREATE FUNCTION vault.role_has(role oid, verifier text) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_role_has' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION vault.role_has(oid, text) IS 'whether the stored password of a role is this very verifier; null if there is no such role';

CREATE FUNCTION vault.role_attributes(role oid) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- A function in SQL would be parsed at each call.
    RETURN (SELECT array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'createrole' END,
                                      CASE WHEN r.rolcreatedb THEN 'createdb' END, CASE WHEN r.rolreplication THEN 'replication' END,
                                      CASE WHEN r.rolbypassrls THEN 'bypassrls' END], NULL)
            FROM pg_roles r WHERE r.oid = role_attributes.role);
END
$$;
COMMENT ON FUNCTION vault.role_attributes(oid) IS 'the attributes of a role that give it rights; null if there is no such role';

CREATE FUNCTION vault.binding_fault(b vault.role_bindings) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present pg_roles;
BEGIN
    SELECT * INTO present FROM pg_roles r WHERE r.oid = b.role;
    RETURN CASE WHEN present.oid IS NULL THEN 'missing'
        WHEN present.rolname <> b.role_name THEN 'renamed'
        WHEN NOT vault.role_attributes(b.role) <@ b.attributes THEN 'promoted'
        WHEN b.shared_role IS NOT NULL AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = b.shared_role AND m.member = b.role)
            THEN 'not_member' END;
END
$$;
COMMENT ON FUNCTION vault.binding_fault(vault.role_bindings)
    IS 'why the vault sets no password of a bound role: missing, renamed, promoted (it has more attributes than when it was bound), not_member (of the role that a pair shares); null: it does';

CREATE FUNCTION vault.require_binding(b vault.role_bindings, name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fault text := vault.binding_fault(b);
BEGIN
    IF b.secret_id IS NULL OR fault IS NOT NULL THEN
        RAISE EXCEPTION 'secret "%" is bound to role "%", %', require_binding.name, b.role_name,
                CASE fault WHEN 'renamed' THEN 'which was renamed' WHEN 'promoted' THEN 'which has got more attributes since'
                           WHEN 'not_member' THEN 'which is no longer a member of the role that the pair shares'
                           ELSE 'which is missing here' END
            USING ERRCODE = 'VT006',
                  HINT = format('If that is as it should be, bind it again: SELECT vault.unbind_role(%L); then vault.bind_role().', require_binding.name);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_binding(vault.role_bindings, text) IS 'raises if the role of a binding is not what it was when it was bound';

CREATE FUNCTION vault.next_binding(id uuid) RETURNS vault.role_bindings
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found vault.role_bindings;
BEGIN
    -- Of a pair the one whose password is older. VOLATILE: it sees what this transaction has just done.
    SELECT * INTO found FROM vault.role_bindings b WHERE b.secret_id = next_binding.id ORDER BY b.version NULLS FIRST, b.place LIMIT 1;
    RETURN found;
END
$$;
COMMENT ON FUNCTION vault.next_binding(uuid) IS 'the role whose password the next version of a secret is';

CREATE FUNCTION vault.scram_iterations() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(current_setting('scram_iterations', true)::integer, 4096) $$;
COMMENT ON FUNCTION vault.scram_iterations() IS 'how many iterations a verifier has; before PostgreSQL 16 there is no such setting';

CREATE FUNCTION vault.next_login(id uuid) RETURNS TABLE (username text, iterations integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    b vault.role_bindings := vault.next_binding(next_login.id);
BEGIN
    PERFORM vault.require_binding(b, s.name) FROM vault.secrets s WHERE s.id = next_login.id;
    RETURN QUERY SELECT b.role_name, vault.scram_iterations();
END
$$;
COMMENT ON FUNCTION vault.next_login(uuid)
    IS 'whose password the next version of a bound secret is, and the iterations of its verifier; raises VT006 if the role is not what it was';

CREATE FUNCTION vault.bound_among(ids uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT s.id FROM vault.secrets s WHERE s.id = ANY (bound_among.ids) AND s.bound;
END
$$;
COMMENT ON FUNCTION vault.bound_among(uuid[]) IS 'those of several secrets that are bound to a role';

CREATE FUNCTION vault.keep_verifier(b vault.role_bindings, verifier text, version bigint, settled_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE vault.role_bindings x SET version = keep_verifier.version, drift = NULL, drift_since = NULL,
                                     grace_ends_at = NULL, wait_until = NULL
    WHERE x.secret_id = b.secret_id AND x.place = b.place;
    INSERT INTO vault.role_verifiers (secret_id, place, verifier, settled_at)
    VALUES (b.secret_id, b.place, keep_verifier.verifier, keep_verifier.settled_at)
    ON CONFLICT ON CONSTRAINT role_verifiers_pkey DO UPDATE SET verifier = excluded.verifier, settled_at = excluded.settled_at;
END
$$;
COMMENT ON FUNCTION vault.keep_verifier(vault.role_bindings, text, bigint, timestamptz)
    IS 'notes which password a bound role has, to notice when it has another one, and since when; null: since the commit';

-- What it calls keeps its plans. To plan it once more would cost as much as all of a rotation without a role.
CREATE FUNCTION vault.set_role_password(s vault.secrets, stamp timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    b vault.role_bindings := vault.next_binding(s.id);
    retiring vault.role_bindings;
    verifier text;
    done jsonb;
BEGIN
    PERFORM vault.require_binding(b, s.name);
    verifier := vault.offered_verifier(s.id, s.current_version);
    IF verifier IS NULL THEN
        RAISE EXCEPTION 'secret "%" is bound to role "%", whose password must come with the value', s.name, b.role_name
            USING ERRCODE = 'VT005', HINT = 'Update hyperion-vault-api on the node that changes it.';
    END IF;
    SELECT * INTO retiring FROM vault.role_bindings x WHERE x.secret_id = s.id AND x.place <> b.place;
    done := jsonb_build_object('role', b.role_name);
    IF retiring.secret_id IS NULL THEN
        PERFORM vault.alter_role(b.role, verifier, NULL, NULL);
    ELSE
        PERFORM vault.alter_role(b.role, verifier, 'infinity', NULL);
        IF vault.binding_fault(retiring) IS NULL THEN  -- of one that is not what it was, nothing is changed
            done := done || jsonb_build_object('retiring', retiring.role_name,
                                               'valid_until', vault.begin_grace(retiring, stamp + make_interval(secs => s.grace_period_secs), stamp));
        END IF;
    END IF;
    PERFORM vault.keep_verifier(b, verifier, s.current_version, NULL);
    RETURN done;
END
$$;
COMMENT ON FUNCTION vault.set_role_password(vault.secrets, timestamptz)
    IS 'gives a bound role the password that the new version of its secret is; of a pair the other one ends with the grace';

CREATE FUNCTION vault.retire_role(s vault.secrets, v bigint, ends timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    b vault.role_bindings;
BEGIN
    SELECT * INTO b FROM vault.role_bindings x
    WHERE x.secret_id = s.id AND x.version = retire_role.v AND x.version < s.current_version;
    IF FOUND AND vault.binding_fault(b) IS NULL THEN
        PERFORM vault.alter_role(b.role, NULL, ends, NULL);
        -- A caller has said when it ends, so it is not prolonged.
        UPDATE vault.role_bindings x SET grace_ends_at = ends, wait_until = NULL WHERE x.secret_id = b.secret_id AND x.place = b.place;
    END IF;
END
$$;
COMMENT ON FUNCTION vault.retire_role(vault.secrets, bigint, timestamptz)
    IS 'moves the end of the retiring role of a pair with the end of its version''s grace';

CREATE FUNCTION vault.refuse_if_bound(s vault.secrets) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF s.bound THEN
        RAISE EXCEPTION 'secret "%" is the password of a role', s.name
            USING ERRCODE = 'VT006',
                  HINT = format('The role would keep a password that is stored nowhere. To unbind it first: SELECT vault.unbind_role(%L);', s.name);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.refuse_if_bound(vault.secrets) IS 'raises if the current version of a secret must not be deleted, because a role has it as its password';

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
    INSERT INTO vault.role_bindings (secret_id, place, holder, role_name, attributes, shared_role, auto_repair, bound_at, bound_by,
                                     session_policy, max_wait_secs)
    SELECT s.id, add_binding.place, vault.hold(add_binding.role), r.rolname, vault.role_attributes(add_binding.role), add_binding.shared,
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
    IF shared IS NOT NULL AND 2 > (SELECT count(*) FROM pg_auth_members m WHERE m.roleid = shared AND m.member IN (now_role, other_role)) THEN
        RAISE EXCEPTION 'both roles of a pair must be members of role %', vault.shown_role(shared) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The caller must be one whom PostgreSQL lets set the passwords of both, and until when they are valid.
    PERFORM vault.alter_role(now_role, bind_pair_with_verifier.verifier, 'infinity', bind_pair_with_verifier.caller);
    PERFORM vault.alter_role(other_role, bind_pair_with_verifier.verifier, clock_timestamp(), bind_pair_with_verifier.caller);
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
    PERFORM vault.append_audit(origin, 'repair_role', s.name, s.current_version, 'ok', '', repair_with_verifier.change,
                               jsonb_build_object('role', b.role_name));
END
$$;
COMMENT ON FUNCTION vault.repair_with_verifier(uuid, bigint, text, vault.audit_origin, uuid)
    IS 'gives the role of a bound secret its current value as the password again';

-- What the API calls: the verifier comes beside the sealed value.

CREATE FUNCTION vault.append_with_verifier(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                           settings vault.secret_settings, reschedule boolean, origin vault.audit_origin, verifier text)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.offer_verifier(append_with_verifier.id, append_with_verifier.expected_version + 1, append_with_verifier.verifier);
    RETURN vault.append_version(append_with_verifier.id, append_with_verifier.expected_version, append_with_verifier.sealed,
                                append_with_verifier.action, append_with_verifier.settings, append_with_verifier.reschedule,
                                append_with_verifier.origin);
END
$$;
COMMENT ON FUNCTION vault.append_with_verifier(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean, vault.audit_origin, text)
    IS 'vault.append_version() for a bound secret';

CREATE FUNCTION vault.complete_with_verifier(job_id uuid, worker text, id uuid, expected_version bigint, sealed vault.sealed_value,
                                             next_rotation_at timestamptz, origin vault.audit_origin, verifier text)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.offer_verifier(complete_with_verifier.id, complete_with_verifier.expected_version + 1, complete_with_verifier.verifier);
    RETURN vault.complete_rotation(complete_with_verifier.job_id, complete_with_verifier.worker, complete_with_verifier.expected_version,
                                   complete_with_verifier.sealed, complete_with_verifier.next_rotation_at, complete_with_verifier.origin);
END
$$;
COMMENT ON FUNCTION vault.complete_with_verifier(uuid, text, uuid, bigint, vault.sealed_value, timestamptz, vault.audit_origin, text)
    IS 'vault.complete_rotation() for a bound secret';

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
            PERFORM vault.bind_with_verifier(d.role, id, expected_version, vault.named_role(role), verifier, options, origin, change);
        ELSE
            PERFORM vault.bind_pair_with_verifier(d.role, id, expected_version, vault.named_role(role), vault.named_role(other),
                                                  CASE WHEN shared IS NOT NULL THEN vault.named_role(shared) END, verifier, options, origin, change);
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'PostgreSQL does not let role "%" set the password of role "%"', d.acting, concat_ws('" or "', role, other)
            USING ERRCODE = 'invalid_grant_operation';
    END;
END
$$;
COMMENT ON FUNCTION vault.bind_with_verifier_as(bytea, inet, jsonb, uuid, text, bigint, text, text, text, vault.binding_options, text, text, text, uuid)
    IS 'binds a secret to a role, or to two in turn, by REST';

-- Drift: whether bound roles still have the passwords that the vault has set.

CREATE FUNCTION vault.role_drift(b vault.role_bindings) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(vault.binding_fault(b),
        CASE WHEN b.version IS NULL THEN NULL
             WHEN v.verifier IS NULL THEN 'unchecked'
             WHEN vault.role_has(b.role, v.verifier) IS NOT TRUE THEN 'changed'
             WHEN r.rolvaliduntil <= clock_timestamp() AND b.version = s.current_version THEN 'expired' END)
    FROM (SELECT) one
    LEFT JOIN vault.role_verifiers v ON v.secret_id = b.secret_id AND v.place = b.place
    LEFT JOIN vault.secrets s ON s.id = b.secret_id
    LEFT JOIN pg_roles r ON r.oid = b.role
$$;
COMMENT ON FUNCTION vault.role_drift(vault.role_bindings)
    IS 'how a bound role differs from what the vault has made it: as vault.binding_fault(), or changed (another password), expired (VALID UNTIL), unchecked (restored from a dump); null: not at all';

CREATE FUNCTION vault.check_drift(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    b vault.role_bindings;
    origin vault.audit_origin := ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin;
    seen text;
    total bigint := 0;
BEGIN
    -- The secret is locked before its roles are changed, as everywhere; one that is being changed comes in the next pass. A batch
    -- bounds a pass; those that were checked longest ago come first.
    FOR b IN SELECT x.* FROM vault.role_bindings x ORDER BY x.checked_at NULLS FIRST LIMIT batch LOOP
        seen := vault.role_drift(b);
        CONTINUE WHEN seen IS NOT DISTINCT FROM b.drift AND (seen IS NULL OR NOT b.auto_repair OR seen <> ALL ('{changed,expired}'))
                      AND b.checked_at > stamp - interval '1 minute';
        SELECT * INTO s FROM vault.secrets x WHERE x.id = b.secret_id FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT * INTO b FROM vault.role_bindings x WHERE x.secret_id = b.secret_id AND x.place = b.place;
        CONTINUE WHEN NOT FOUND;
        seen := vault.role_drift(b);
        IF seen IS DISTINCT FROM b.drift AND seen IS NOT NULL THEN
            PERFORM vault.append_audit(origin, 'role_drift', s.name, b.version, 'failed', seen, NULL, jsonb_build_object('role', b.role_name, 'drift', seen));
            total := total + 1;
        END IF;
        IF b.auto_repair AND seen IN ('changed', 'expired') AND b.version = s.current_version THEN
            PERFORM vault.alter_role(b.role, v.verifier, CASE WHEN seen = 'expired' THEN 'infinity'::timestamptz END, NULL)
            FROM vault.role_verifiers v WHERE v.secret_id = b.secret_id AND v.place = b.place;
            PERFORM vault.append_audit(origin, 'repair_role', s.name, b.version, 'ok', '', NULL, jsonb_build_object('role', b.role_name, 'drift', seen));
            seen := NULL;
        END IF;
        UPDATE vault.role_bindings x
        SET drift = seen, checked_at = stamp,
            drift_since = CASE WHEN seen IS NOT NULL THEN coalesce(CASE WHEN seen = x.drift THEN x.drift_since END, stamp) END
        WHERE x.secret_id = b.secret_id AND x.place = b.place;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.check_drift(timestamptz, integer)
    IS 'finds bound roles that are not as the vault has made them, records them, and repairs those that are to be; returns how many it found';

CREATE FUNCTION vault.bindings_of(prefix text, caller oid, scopes jsonb) RETURNS SETOF vault.binding_info
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
    SELECT s.name, b.role_name, b.place = 2 OR EXISTS (SELECT FROM vault.role_bindings o WHERE o.secret_id = b.secret_id AND o.place <> b.place),
           coalesce(b.version = s.current_version, false), b.version, coalesce(vault.role_drift(b), 'ok'), b.drift_since,
           r.rolvaliduntil, b.auto_repair, b.bound_at, b.bound_by, b.session_policy, b.max_wait_secs
    FROM vault.role_bindings b
    -- OFFSET: few secrets are bound, and the plan must not go through all of them.
    CROSS JOIN LATERAL (SELECT o.name, o.current_version FROM vault.secrets o WHERE o.id = b.secret_id OFFSET 0) s
    LEFT JOIN pg_roles r ON r.oid = b.role
    WHERE vault.has_prefix(s.name, bindings_of.prefix)
      AND EXISTS (SELECT FROM vault.visible_names(bindings_of.caller, bindings_of.scopes) v
                  WHERE s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C")
    ORDER BY s.name, b.place
$$;
COMMENT ON FUNCTION vault.bindings_of(text, oid, jsonb) IS 'the bound roles of the secrets below a prefix that a caller may see';

CREATE FUNCTION vault.bound_roles(prefix text DEFAULT '') RETURNS SETOF vault.binding_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF bound_roles.prefix IS NULL THEN
        RAISE EXCEPTION 'prefix must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    RETURN QUERY SELECT * FROM vault.bindings_of(bound_roles.prefix, vault.outer_role(), NULL);
END
$$;
COMMENT ON FUNCTION vault.bound_roles(text)
    IS 'Lists the roles of PostgreSQL whose passwords are secrets below a prefix on which the caller has any right, and whether they are as the vault has made them.';

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
