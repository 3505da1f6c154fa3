
-- Types

CREATE TYPE vault.sealed_value AS (
    envelope_version smallint,
    kms_key_id text,
    wrapped_dek bytea,
    nonce bytea,
    ciphertext bytea
);
COMMENT ON TYPE vault.sealed_value IS 'a value sealed outside the database: all that is stored of it';

CREATE TYPE vault.audit_origin AS (
    node text,
    actor text,
    session_role text,
    client_ip inet,
    request_id text
);
COMMENT ON TYPE vault.audit_origin IS 'who asked, from where: the part of an audit record that the caller knows';

CREATE TYPE vault.secret_settings AS (
    description text,
    tags jsonb,
    rotation_interval_secs bigint,
    rotation_schedule text,
    rotation_time_zone text,
    rotation_window_secs bigint,
    rotation_paused boolean,
    grace_period_secs bigint,
    keep_versions integer,
    generate_policy jsonb
);
COMMENT ON TYPE vault.secret_settings IS 'what may be set of a secret beside its value; null: the default at creation, no change later';

CREATE TYPE vault.secret_info AS (
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
    settings_revision bigint
);
COMMENT ON TYPE vault.secret_info IS 'what may be known of a secret without its value';

CREATE TYPE vault.version_info AS (
    version bigint,
    envelope_version smallint,
    kms_key_id text,
    created_at timestamptz,
    expires_at timestamptz
);
COMMENT ON TYPE vault.version_info IS 'one version without its value; expires_at is null for the current one';

CREATE TYPE vault.stored_value AS (
    secret_id uuid,
    name text,
    content_type text,
    kind text,
    current_version bigint,
    version bigint,
    envelope_version smallint,
    kms_key_id text,
    wrapped_dek bytea,
    nonce bytea,
    ciphertext bytea,
    created_at timestamptz,
    expires_at timestamptz
);
COMMENT ON TYPE vault.stored_value IS 'one sealed version with what its authentication is bound to';
