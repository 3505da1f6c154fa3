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
LOCK TABLE vault.admin_tokens, vault.access_grants, vault.secrets, vault.secret_versions, vault.rotation_jobs, vault.audit_journals, vault.audit_log, vault.audit_numbering IN ACCESS EXCLUSIVE MODE;

-- No table refers to another: pg_restore loads them in any order, and checks a reference as the owner with row security
-- off, which fails.
ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_secret_id_fkey;
ALTER TABLE vault.rotation_jobs DROP CONSTRAINT rotation_jobs_secret_id_fkey;

-- A secret may have no version yet, and versions can be deleted.
CREATE TYPE vault.version_settings AS (
    cas_required boolean,
    delete_version_after_secs bigint
);

CREATE TYPE vault.secret_state AS (
    id uuid,
    name text,
    kind text,
    content_type text,
    description text,
    tags jsonb,
    rotation_interval_secs bigint,
    grace_period_secs bigint,
    generate_policy jsonb,
    current_version bigint,
    next_rotation_at timestamptz,
    rotation_schedule text,
    rotation_time_zone text,
    rotation_window_secs bigint,
    rotation_paused boolean,
    keep_versions integer,
    created_at timestamptz,
    updated_at timestamptz,
    settings_revision bigint,
    first_version bigint,
    cas_required boolean,
    delete_version_after_secs bigint,
    bound boolean
);

CREATE TYPE vault.deleted_secret AS (
    id uuid,
    name text,
    kind text,
    content_type text,
    description text,
    current_version bigint,
    created_at timestamptz,
    deleted_at timestamptz,
    restorable_until timestamptz
);

CREATE TYPE vault.version_state AS (
    version bigint,
    envelope_version smallint,
    kms_key_id text,
    created_at timestamptz,
    expires_at timestamptz,
    deleted_at timestamptz,
    destroyed_at timestamptz,
    delete_at timestamptz
);

ALTER TABLE vault.secrets DROP CONSTRAINT secrets_current_version_range;
ALTER TABLE vault.secret_versions ADD COLUMN delete_at timestamptz;
CREATE INDEX secret_versions_delete_at_idx ON vault.secret_versions (delete_at) WHERE delete_at IS NOT NULL;
CREATE TABLE vault.deleted_versions (
    secret_id uuid NOT NULL,
    version bigint NOT NULL CONSTRAINT deleted_versions_version_positive CHECK (version >= 1),
    envelope_version smallint,
    kms_key_id text,
    wrapped_dek bytea,
    nonce bytea,
    ciphertext bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    expired boolean NOT NULL,
    deleted_at timestamptz,  -- null: destroyed without having been deleted
    destroyed_at timestamptz,  -- null: it can be undeleted
    delete_at timestamptz,  -- of a version that was deleted with its secret, for when that is restored
    CONSTRAINT deleted_versions_pkey PRIMARY KEY (secret_id, version),
    CONSTRAINT deleted_versions_why CHECK (deleted_at IS NOT NULL OR destroyed_at IS NOT NULL),
    CONSTRAINT deleted_versions_sealed
        CHECK (pg_catalog.num_nonnulls(envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext)
               = CASE WHEN destroyed_at IS NULL THEN 5 ELSE 0 END)
);
ALTER TABLE vault.deleted_versions ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE INDEX deleted_versions_expires_at_idx ON vault.deleted_versions (expires_at) WHERE NOT expired;
ALTER TABLE vault.deleted_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.deleted_versions TO vault_owner USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('vault.deleted_versions', '');
DROP FUNCTION vault.insert_version(uuid, bigint, vault.sealed_value, timestamptz);
DROP FUNCTION vault.apply_settings(vault.secrets, vault.secret_settings);
DROP FUNCTION vault.mend_times(timestamptz, timestamptz);
DROP FUNCTION vault.pass_over_done(timestamptz, integer);
DROP FUNCTION vault.miss_due(timestamptz, integer);

-- A schedule that cannot be planned says why, and waits behind the others.
ALTER TABLE vault.secrets ADD COLUMN plan_failed_at timestamptz, ADD COLUMN plan_error text
    CONSTRAINT secrets_plan_error_len CHECK (pg_catalog.octet_length(plan_error) <= 1024),
    ADD COLUMN cas_required boolean NOT NULL DEFAULT false,
    ADD COLUMN delete_version_after_secs bigint,
    ADD COLUMN has_deleted boolean NOT NULL DEFAULT false,
    ADD COLUMN restorable_until timestamptz,
    ADD COLUMN bound boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT secrets_current_version_range CHECK (current_version >= first_version - 1);
CREATE INDEX secrets_restorable_until_idx ON vault.secrets (restorable_until) WHERE restorable_until IS NOT NULL;
