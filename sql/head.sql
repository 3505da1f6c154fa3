-- hyperion_vault: schema of the extension. Assembled from sql/*.sql by the Makefile.
\echo Use "CREATE EXTENSION hyperion_vault" to load this file. \quit

-- Values are sealed, and names decided, in UTF-8. In any other encoding a text can be there that no client is able to read.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'hyperion_vault needs a database in UTF8, this one is in %', pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Make another database in the same cluster: CREATE DATABASE vault_utf8 TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C'';';
    END IF;
END
$$;

-- Every object belongs to vault_owner: no login, no attribute, no membership in either direction, so that a
-- function that runs with its rights can reach the vault and nothing else. A role of that name that a client
-- could log in as, or that another role is a member of, would be a back door: it is refused.
DO $$
DECLARE
    found pg_catalog.pg_roles;
BEGIN
    SELECT * INTO found FROM pg_catalog.pg_roles WHERE rolname = 'vault_owner';
    IF found.oid IS NULL THEN
        CREATE ROLE vault_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;
    ELSIF found.rolcanlogin OR found.rolsuper OR found.rolcreatedb OR found.rolcreaterole
          OR found.rolreplication OR found.rolbypassrls THEN
        RAISE EXCEPTION 'role "vault_owner" exists with LOGIN or another attribute'
            USING ERRCODE = 'duplicate_object',
                  HINT = 'The extension needs this role name for a role without attributes. Rename the existing role.';
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE roleid = found.oid OR member = found.oid) THEN
        RAISE EXCEPTION 'role "vault_owner" exists and has members or memberships'
            USING ERRCODE = 'duplicate_object',
                  HINT = 'Revoke every membership of, and in, vault_owner first.';
    END IF;
END
$$;

-- The roles that REST callers act as without a role of their own: vault_admin for those who may do everything, and
-- vault_anonymous for those without a token. A role of that name may have members, as where roles were restored first; they
-- are named, because they get what the role gets.
DO $$
DECLARE
    wanted text;
    found pg_catalog.pg_roles;
    members text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['vault_admin', 'vault_anonymous'] LOOP
        SELECT * INTO found FROM pg_catalog.pg_roles WHERE rolname = wanted;
        IF found.oid IS NULL THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', wanted);
        ELSIF found.rolcanlogin OR found.rolsuper OR found.rolcreatedb OR found.rolcreaterole
              OR found.rolreplication OR found.rolbypassrls THEN
            RAISE EXCEPTION 'role "%" exists with LOGIN or another attribute', wanted
                USING ERRCODE = 'duplicate_object',
                      HINT = 'The extension needs this role name for a role without attributes. Rename the existing role.';
        ELSE
            SELECT pg_catalog.string_agg(m.member::pg_catalog.regrole::text, ', ' ORDER BY m.member::pg_catalog.regrole::text)
            INTO members FROM pg_catalog.pg_auth_members m WHERE m.roleid = found.oid;
            IF members IS NOT NULL THEN
                RAISE WARNING 'role "%" exists and has members: %', wanted, members
                    USING HINT = 'They hold in this database what the role is granted. Revoke the membership of those who should not.';
            END IF;
        END IF;
    END LOOP;
END
$$;

CREATE SCHEMA vault;
COMMENT ON SCHEMA vault IS 'HyperionDB Vault: sealed secrets; every access goes through functions';
