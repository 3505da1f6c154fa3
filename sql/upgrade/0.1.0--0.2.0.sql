-- 0.1.0 to 0.2.0: what changes tables, types and policies, and the functions that go. The rest is generated.

-- Values are sealed, and names decided, in UTF-8.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'hyperion_vault needs a database in UTF8, this one is in %', pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Copy the secrets into a database that was made with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- No table refers to another: pg_restore loads them in any order, and checks a reference as the owner with row security
-- off, which fails.
ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_secret_id_fkey;
ALTER TABLE vault.rotation_jobs DROP CONSTRAINT rotation_jobs_secret_id_fkey;
