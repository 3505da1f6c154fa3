
-- The tables of secrets and of their versions. No role but the owner holds a privilege on any table, and row security is
-- forced (rowsecurity.sql), so that even a mistaken GRANT shows no rows.

CREATE TABLE vault.secrets (
    id uuid CONSTRAINT secrets_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    content_type text NOT NULL,
    description text NOT NULL DEFAULT '',
    tags jsonb NOT NULL DEFAULT '{}',
    rotation_interval_secs bigint,
    grace_period_secs bigint NOT NULL DEFAULT 0,
    generate_policy jsonb,
    rotation_schedule text,
    rotation_time_zone text NOT NULL DEFAULT 'UTC',
    rotation_window_secs bigint,
    rotation_paused boolean NOT NULL DEFAULT false,
    keep_versions integer NOT NULL DEFAULT 0,
    first_version bigint NOT NULL DEFAULT 1,  -- one more than the last version of the last secret of this name
    current_version bigint NOT NULL,
    settings_revision bigint NOT NULL DEFAULT 1,  -- counts changes of the settings, as current_version those of the value
    next_rotation_at timestamptz,  -- null: manual, paused, or a schedule whose next time is not computed yet
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    plan_failed_at timestamptz,  -- when the next time of a schedule could last not be computed; null: since then it was
    plan_error text CONSTRAINT secrets_plan_error_len CHECK (pg_catalog.octet_length(plan_error) <= 1024),
    cas_required boolean NOT NULL DEFAULT false,  -- an update of the value must name the version that it replaces
    delete_version_after_secs bigint,  -- null: a version is not deleted by itself
    has_deleted boolean NOT NULL DEFAULT false,  -- vault.deleted_versions may have rows of it: a change looks there only then
    restorable_until timestamptz,  -- of a deleted secret; null: it cannot be restored
    bound boolean NOT NULL DEFAULT false,  -- vault.role_bindings has rows of it: a change looks there only then
    -- One less than the first version: there is none yet.
    CONSTRAINT secrets_current_version_range CHECK (current_version >= first_version - 1)
);
CREATE TRIGGER secrets_settings_fit BEFORE INSERT OR UPDATE OF name, kind, content_type, description, tags, generate_policy,
    rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, grace_period_secs, keep_versions,
    first_version, settings_revision, delete_version_after_secs
    ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.check_settings_fit();
-- A deleted secret keeps its row, without versions, so that neither its id nor its version numbers are used again; its
-- name is free.
CREATE UNIQUE INDEX secrets_name_key ON vault.secrets (name) WHERE deleted_at IS NULL;
CREATE INDEX secrets_restorable_until_idx ON vault.secrets (restorable_until) WHERE restorable_until IS NOT NULL;
-- Two secrets of one name, one after the other, never begin at the same version. An index sees what a transaction's
-- snapshot does not.
CREATE UNIQUE INDEX secrets_first_version_key ON vault.secrets (name, first_version);

-- No table refers to another: pg_restore loads them in any order, and checks a reference as the owner with row security
-- off, which fails. The functions keep every row with its secret, and no other role can write.
CREATE TABLE vault.secret_versions (
    secret_id uuid NOT NULL,
    version bigint NOT NULL,
    envelope_version smallint NOT NULL,
    kms_key_id text NOT NULL,
    wrapped_dek bytea NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,  -- null: current; otherwise superseded, and valid until then
    expired boolean NOT NULL DEFAULT false,  -- seen past expires_at: a clock set back does not revive it
    delete_at timestamptz,  -- null: never; otherwise it neither reads nor verifies from then on
    CONSTRAINT secret_versions_pkey PRIMARY KEY (secret_id, version),
    CONSTRAINT secret_versions_fit
        CHECK (vault.version_fits(version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext))
);
-- Ciphertext does not compress.
ALTER TABLE vault.secret_versions ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE INDEX secret_versions_delete_at_idx ON vault.secret_versions (delete_at) WHERE delete_at IS NOT NULL;

-- A version that is deleted moves here, and back when it is undeleted. No reader looks here, so none has to leave out what is
-- deleted. Of one that is destroyed the sealed value is gone.
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
