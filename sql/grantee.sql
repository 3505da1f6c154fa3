
-- The type of a role that a row names.

-- Names of roles are shared by all databases of a cluster: one that was given where no encoding is checked may be any bytes.
CREATE FUNCTION vault.shown_name(name name) RETURNS text
AS 'MODULE_PATHNAME', 'hv_shown_name' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.shown_name(name) IS 'a name as text; each byte that is no UTF-8 as \xHH';

-- Whose a grant is. A role, not its name: a role that is renamed keeps its grants, one that is dropped leaves them to no role.
-- A dump holds the name; where that role is missing, the restored grant is set aside (shim/grantee.c).
CREATE TYPE vault.grantee;
CREATE FUNCTION vault.grantee_in(cstring) RETURNS vault.grantee
AS 'MODULE_PATHNAME', 'hv_grantee_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vault.grantee_out(vault.grantee) RETURNS cstring
AS 'MODULE_PATHNAME', 'hv_grantee_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE TYPE vault.grantee (INPUT = vault.grantee_in, OUTPUT = vault.grantee_out, INTERNALLENGTH = VARIABLE);
COMMENT ON FUNCTION vault.grantee_in(cstring) IS 'reads a grantee: a name, or a question mark and a name';
COMMENT ON FUNCTION vault.grantee_out(vault.grantee) IS 'writes a grantee';
COMMENT ON TYPE vault.grantee IS 'a role, or the name of one that was missing where a dump was restored';
CREATE FUNCTION vault.hold(role regrole) RETURNS vault.grantee
AS 'MODULE_PATHNAME', 'hv_hold' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.hold(regrole) IS 'a role as a grantee';
CREATE FUNCTION vault.role_of(grantee vault.grantee) RETURNS regrole
AS 'MODULE_PATHNAME', 'hv_role_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.role_of(vault.grantee) IS 'the role of a grantee; null: it is missing';
CREATE FUNCTION vault.missing_name(grantee vault.grantee) RETURNS text
AS 'MODULE_PATHNAME', 'hv_missing_name' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.missing_name(vault.grantee) IS 'the name of a grantee that is missing; null: it is not';

CREATE FUNCTION vault.same_bytes(bytea, bytea) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_same_bytes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.same_bytes(bytea, bytea) IS 'whether two values are equal, in a time that tells nothing but their lengths';
