-- Last: what this update made belongs to vault_owner, and no other role holds anything on it, whatever the default
-- privileges of the updating role are. What was there before keeps the grants that it has.
DO $$
DECLARE
    item record;
    holder oid;
BEGIN
    FOR item IN
        SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure AS object, p.proacl AS acl, p.proowner AS owner
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND p.proowner <> 'vault_owner'::pg_catalog.regrole
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass, c.relacl, c.relowner
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'vault'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'S')
          AND c.relowner <> 'vault_owner'::pg_catalog.regrole
        UNION ALL
        SELECT 'TYPE ' || t.oid::pg_catalog.regtype, t.typacl, t.typowner
        FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = 'vault'::pg_catalog.regnamespace AND t.typowner <> 'vault_owner'::pg_catalog.regrole
          AND (c.relkind = 'c' OR t.typtype IN ('d', 'e'))
    LOOP
        EXECUTE pg_catalog.format('ALTER %s OWNER TO vault_owner', item.object);
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM PUBLIC', item.object);
        FOR holder IN
            SELECT DISTINCT x.grantee FROM pg_catalog.aclexplode(item.acl) x WHERE x.grantee NOT IN (0, item.owner)
        LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', item.object, holder::pg_catalog.regrole);
        END LOOP;
    END LOOP;
    -- Every script of pg_dump turns row security off for its session. Under FORCE that would make these fail.
    FOR item IN
        SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND p.prosecdef
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET row_security = on', item.name);
    END LOOP;
    -- A role that could do something before the update also gets the functions that are new and belong to that right.
    FOR item IN
        SELECT DISTINCT f AS entry, x.grantee::pg_catalog.regrole AS role
        FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) x, vault.service_functions() f
        WHERE p.oid = 'vault.extension_version()'::pg_catalog.regprocedure AND x.grantee NOT IN (0, p.proowner)
        UNION
        SELECT e, r.oid::pg_catalog.regrole
        FROM (SELECT g.grantee, g.action FROM vault.access_grants g
              UNION SELECT g.grantee, 'list' FROM vault.access_grants g) a
        JOIN pg_catalog.pg_roles r ON r.oid = a.grantee, vault.entry_points(a.action) e
    LOOP
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s', item.entry, item.role);
    END LOOP;
END
$$;
