
-- Secrets that are the passwords of PostgreSQL's own roles. The new version of a bound secret and the new password of its role
-- commit in one transaction. A password is set by its verifier and without any SQL text (shim/rolepassword.c).

CREATE FUNCTION vault.alter_role(role oid, verifier text, valid_until timestamptz, caller oid) RETURNS void
AS 'MODULE_PATHNAME', 'hv_alter_role' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.alter_role(oid, text, timestamptz, oid)
    IS 'sets the password of a role and until when it is valid, as PostgreSQL lets a caller do it; a null caller is the vault, which has decided before; other nulls keep';

CREATE FUNCTION vault.offer_verifier(id uuid, version bigint, verifier text, role text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_offer_verifier' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.offer_verifier(uuid, bigint, text, text)
    IS 'has ready, for the rest of this statement, the verifier of the password that a version of a secret is for a role; a null role is any';

CREATE FUNCTION vault.offered_verifier(id uuid, version bigint, role text) RETURNS text
AS 'MODULE_PATHNAME', 'hv_offered_verifier' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.offered_verifier(uuid, bigint, text) IS 'the verifier that this statement was given for a version and a role; null: none';

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

CREATE FUNCTION vault.has_rights_of(member oid, role oid) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- From PostgreSQL 16 on a membership may be for granting the role to others alone, which is one of the options then.
    RETURN EXISTS (SELECT FROM pg_auth_members m, to_jsonb(m) o WHERE m.roleid = has_rights_of.role AND m.member = has_rights_of.member
                   AND coalesce((o ->> 'inherit_option')::boolean OR (o ->> 'set_option')::boolean, true));
END
$$;
COMMENT ON FUNCTION vault.has_rights_of(oid, oid) IS 'whether a role is a member of another one that inherits its rights or may become it';

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
        WHEN b.shared_role IS NOT NULL AND NOT vault.has_rights_of(b.role, b.shared_role) THEN 'not_member' END;
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
    -- A role of a pair takes no turn while it cannot log in. A single one gets its password: who took LOGIN from it may want that.
    IF fault IS NULL AND EXISTS (SELECT FROM vault.role_bindings o WHERE o.secret_id = b.secret_id AND o.place <> b.place)
       AND NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.oid = b.role) THEN
        fault := 'no_login';
    END IF;
    IF b.secret_id IS NULL OR fault IS NOT NULL THEN
        RAISE EXCEPTION 'secret "%" is bound to role "%", %', require_binding.name, b.role_name,
                CASE fault WHEN 'renamed' THEN 'which was renamed' WHEN 'promoted' THEN 'which has got more attributes since'
                           WHEN 'not_member' THEN 'which is no longer a member of the role that the pair shares'
                           WHEN 'no_login' THEN 'which cannot log in'
                           ELSE 'which is missing here' END
            USING ERRCODE = 'VT006',
                  HINT = format('If that is as it should be, bind it again: SELECT vault.unbind_role(%L); then vault.bind_role().', require_binding.name);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require_binding(vault.role_bindings, text) IS 'raises if the role of a binding is not what it was when it was bound, or is of a pair and cannot log in';

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

CREATE FUNCTION vault.next_login_defined(id uuid) RETURNS TABLE (username text, iterations integer)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    b vault.role_bindings := vault.next_binding(next_login_defined.id);
BEGIN
    PERFORM vault.require_binding(b, s.name) FROM vault.secrets s WHERE s.id = next_login_defined.id;
    RETURN QUERY SELECT b.role_name, vault.scram_iterations();
END
$$;
COMMENT ON FUNCTION vault.next_login_defined(uuid) IS 'the definition of vault.next_login()';

CREATE FUNCTION vault.next_login(id uuid) RETURNS TABLE (username text, iterations integer)
AS 'MODULE_PATHNAME', 'hv_next_login' LANGUAGE C VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
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
    verifier := vault.offered_verifier(s.id, s.current_version, b.role_name);
    IF verifier IS NULL THEN
        RAISE EXCEPTION 'secret "%" is bound to role "%", whose password must come with the value', s.name, b.role_name
            USING ERRCODE = 'VT005', HINT = 'Try again. If that fails as well, update hyperion-vault-api on the node that changes it.';
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
