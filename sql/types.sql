
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
-- A program of protocol 1 builds this type from five fields, so it gets no more: the actor of a token is its name, the
-- accessor and the login method, with U+001F between them.
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

-- Programs of protocol 1 take exactly the fields of the types above and below, so what is new stands in types of its own.
CREATE TYPE vault.version_settings AS (
    cas_required boolean,
    delete_version_after_secs bigint
);
COMMENT ON TYPE vault.version_settings IS 'what may be set of a secret about its versions; null: the default at creation, no change later';

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
COMMENT ON TYPE vault.secret_state IS 'what may be known of a secret without its value, and where its versions begin';

CREATE TYPE vault.version_info AS (
    version bigint,
    envelope_version smallint,
    kms_key_id text,
    created_at timestamptz,
    expires_at timestamptz
);
COMMENT ON TYPE vault.version_info IS 'one version without its value; expires_at is null for the current one';

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
COMMENT ON TYPE vault.deleted_secret IS 'a deleted secret that can be restored';

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
COMMENT ON TYPE vault.version_state IS 'one version without its value, which may be deleted or destroyed';

CREATE TYPE vault.binding_options AS (
    auto_repair boolean,
    session_policy text,
    max_wait_secs bigint
);
COMMENT ON TYPE vault.binding_options IS 'what may be chosen for a binding to a role; null: the default';

CREATE TYPE vault.binding_info AS (
    name text,
    role text,
    pair boolean,
    current boolean,
    version bigint,
    state text,
    drift_since timestamptz,
    valid_until timestamptz,
    auto_repair boolean,
    bound_at timestamptz,
    bound_by text,
    session_policy text,
    max_wait_secs bigint
);
COMMENT ON TYPE vault.binding_info IS 'one role whose password a secret is';

CREATE TYPE vault.session_info AS (
    pid integer,
    role text,
    database text,
    application_name text,
    client_addr inet,
    started_at timestamptz,
    state text,
    credential text,
    ends_at timestamptz,
    fate text
);
COMMENT ON TYPE vault.session_info IS 'one session of a role whose password a secret is';

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

CREATE TYPE vault.decision AS (
    cause text,
    actor text,
    acting text,
    role oid,
    scopes jsonb
);
COMMENT ON TYPE vault.decision IS 'who asked, and why not if it is refused: a null cause allows';

CREATE TYPE vault.new_token AS (
    id uuid,
    fingerprint bytea,
    name text,
    ttl_secs bigint,
    max_ttl_secs bigint,
    renewable boolean,
    scope jsonb,
    bound_cidrs cidr[]
);
COMMENT ON TYPE vault.new_token IS 'a token to be stored: of its text only the SHA-256 fingerprint; a null ttl_secs never ends';

CREATE TYPE vault.token_info AS (
    id uuid,
    name text,
    role text,
    method text,
    parent uuid,
    scopes jsonb,
    bound_cidrs text[],
    renewable boolean,
    ttl_secs bigint,
    created_at timestamptz,
    expires_at timestamptz,
    max_expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TYPE vault.token_info IS 'what may be known of a token: not its fingerprint';

CREATE TYPE vault.login_role_info AS (
    id uuid,
    mount text,
    name text,
    role text,
    config jsonb,
    token_type text,
    token_ttl_secs bigint,
    token_max_ttl_secs bigint,
    scopes jsonb,
    bound_cidrs text[],
    valid_from timestamptz,
    created_at timestamptz,
    updated_at timestamptz
);
COMMENT ON TYPE vault.login_role_info IS 'what may be known of a login role: all of it';

CREATE TYPE vault.login_method_info AS (
    mount text,
    kind text,
    description text,
    config jsonb,
    revision bigint,
    created_at timestamptz,
    updated_at timestamptz
);
COMMENT ON TYPE vault.login_method_info IS 'what may be known of a login method: all of it';

CREATE TYPE vault.secret_id_info AS (
    id uuid,
    uses_left bigint,
    bound_cidrs text[],
    created_at timestamptz,
    expires_at timestamptz
);
COMMENT ON TYPE vault.secret_id_info IS 'what may be known of a secret id: not its fingerprint';
