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

-- All that is changed below, in the order in which a read or a change takes it: in another one they would deadlock.
LOCK TABLE vault.admin_tokens, vault.access_grants, vault.secrets, vault.secret_versions, vault.rotation_jobs IN ACCESS EXCLUSIVE MODE;

-- No table refers to another: pg_restore loads them in any order, and checks a reference as the owner with row security
-- off, which fails.
ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_secret_id_fkey;
ALTER TABLE vault.rotation_jobs DROP CONSTRAINT rotation_jobs_secret_id_fkey;

-- A schedule that cannot be planned says why, and waits behind the others.
ALTER TABLE vault.secrets ADD COLUMN plan_failed_at timestamptz, ADD COLUMN plan_error text
    CONSTRAINT secrets_plan_error_len CHECK (pg_catalog.octet_length(plan_error) <= 1024);
