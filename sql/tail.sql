
-- Last: everything belongs to vault_owner, and no other role holds anything, whatever the default privileges of
-- the installing role are.
DO $$
DECLARE
    item record;
BEGIN
    ALTER SCHEMA vault OWNER TO vault_owner;
    FOR item IN
        SELECT c.oid::pg_catalog.regclass AS name FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'vault'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO vault_owner', item.name);
    END LOOP;
    FOR item IN
        SELECT t.oid::pg_catalog.regtype AS name FROM pg_catalog.pg_type t
        LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = 'vault'::pg_catalog.regnamespace AND (c.relkind = 'c' OR t.typtype = 'b' AND t.typelem = 0)
    LOOP
        EXECUTE pg_catalog.format('ALTER TYPE %s OWNER TO vault_owner', item.name);
        -- With USAGE, any role's table could have a column of it and stand in the way of an upgrade. (Not so for
        -- the row types of the tables: pg_dump knows no privileges of those and would warn.)
        EXECUTE pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC', item.name);
    END LOOP;
    FOR item IN
        SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO vault_owner', item.name);
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item.name);
    END LOOP;
    -- Every script of pg_dump turns row security off for its session. Under FORCE that would make these fail.
    FOR item IN
        SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND p.prosecdef
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET row_security = on', item.name);
    END LOOP;
    FOR item IN
        SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure AS object, x.grantee
        FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) x
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND x.grantee NOT IN (0, p.proowner)
        UNION
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass, x.grantee
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x
        WHERE c.relnamespace = 'vault'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'S')
          AND x.grantee NOT IN (0, c.relowner)
        UNION
        SELECT 'TYPE ' || t.oid::pg_catalog.regtype, x.grantee
        FROM pg_catalog.pg_type t, pg_catalog.aclexplode(t.typacl) x
        WHERE t.typnamespace = 'vault'::pg_catalog.regnamespace AND x.grantee NOT IN (0, t.typowner)
        UNION
        SELECT 'SCHEMA vault', x.grantee
        FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) x
        WHERE n.nspname = 'vault' AND x.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', item.object, item.grantee::pg_catalog.regrole);
    END LOOP;
    REVOKE ALL ON SCHEMA vault FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA vault FROM PUBLIC;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA vault FROM PUBLIC;
END
$$;

-- The first grants: an administrator does everything, and a client with an allowed address and no token reads and
-- verifies. Both can be taken back by vault.revoke_access().
DO $$
DECLARE
    d record;
    entry pg_catalog.regprocedure;
BEGIN
    FOR d IN VALUES ('vault_admin', vault.all_actions()), ('vault_anonymous', '{read,verify}') LOOP
        INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by, builtin)
        SELECT vault.hold(d.column1::pg_catalog.regrole), '*', a, pg_catalog.clock_timestamp(), 'CREATE EXTENSION', d.column1
        FROM pg_catalog.unnest(d.column2) a;
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA vault TO %I', d.column1);
        FOR entry IN SELECT e FROM pg_catalog.unnest(d.column2 || '{list}') a, vault.entry_points(a) e LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %I', entry, d.column1);
        END LOOP;
    END LOOP;
END
$$;

-- Without the library in shared_preload_libraries nothing rotates, and values stand in the server's log. The hints have lines
-- of postgresql.conf, where a string is quoted in another way than quote_literal() does it.
DO $$
DECLARE
    s record;
    to_add text := 'Add to postgresql.conf, and restart the server:';
    libraries text := pg_catalog.concat_ws(',', nullif(pg_catalog.current_setting('shared_preload_libraries'), ''), 'hyperion_vault');
    database text := pg_catalog.format('hyperion_vault.database = %s', vault.conf_literal(pg_catalog.current_database()));
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    IF NOT s.preloaded THEN
        RAISE WARNING 'hyperion_vault is not preloaded: no rotation is made, and statements are logged with their values'
            USING HINT = pg_catalog.concat_ws(pg_catalog.chr(10), to_add,
                pg_catalog.format('shared_preload_libraries = %s', vault.conf_literal(libraries)), database);
    ELSIF s.database <> pg_catalog.current_database() THEN
        RAISE WARNING 'the supervisor serves database "%": no rotation is made in this one', s.database
            USING HINT = pg_catalog.concat_ws(pg_catalog.chr(10), to_add, database);
    END IF;
END
$$;

-- A supervisor that has found no extension here makes its next pass now, and not after its interval.
SELECT vault.announce_change();
