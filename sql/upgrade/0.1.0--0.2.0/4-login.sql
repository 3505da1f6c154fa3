
CREATE TABLE vault.login_roles (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT login_roles_pkey PRIMARY KEY,
    mount text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL
        CONSTRAINT login_roles_name_form CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'),
    holder vault.grantee NOT NULL,
    role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    token_type text NOT NULL DEFAULT 'service'
        CONSTRAINT login_roles_token_type_known CHECK (token_type IN ('service', 'batch')),
    token_ttl_secs bigint NOT NULL
        CONSTRAINT login_roles_token_ttl_range CHECK (token_ttl_secs BETWEEN 1 AND 315360000),
    token_max_ttl_secs bigint NOT NULL
        CONSTRAINT login_roles_token_max_ttl_range CHECK (token_max_ttl_secs BETWEEN 1 AND 315360000),
    scopes jsonb,
    bound_cidrs cidr[],
    valid_from timestamptz NOT NULL,
    config jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT login_roles_config_object CHECK (pg_catalog.jsonb_typeof(config) = 'object'
                                                    AND pg_catalog.octet_length(config::text) <= 65536),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT login_roles_name_key UNIQUE (mount, name),
    -- A batch token cannot be revoked alone, so it is short-lived. It holds its scopes, so they are few.
    CONSTRAINT login_roles_batch_ttl CHECK (token_type <> 'batch' OR token_ttl_secs <= 86400),
    CONSTRAINT login_roles_batch_scopes CHECK (token_type <> 'batch' OR scopes IS NULL
                                               OR pg_catalog.octet_length(scopes::text) <= 2048)
);

CREATE TABLE vault.secret_ids (
    id uuid CONSTRAINT secret_ids_pkey PRIMARY KEY,
    login_role uuid NOT NULL,
    fingerprint bytea NOT NULL CONSTRAINT secret_ids_fingerprint_key UNIQUE
        CONSTRAINT secret_ids_fingerprint_len CHECK (pg_catalog.octet_length(fingerprint) = 32),
    uses_left bigint  -- null: any number
        CONSTRAINT secret_ids_uses_left_range CHECK (uses_left BETWEEN 0 AND 1000000),
    bound_cidrs cidr[],
    created_at timestamptz NOT NULL,
    expires_at timestamptz  -- null: never
);
CREATE INDEX secret_ids_public_id_idx ON vault.secret_ids (pg_catalog.substring(fingerprint, 1, 8));
CREATE INDEX secret_ids_login_role_idx ON vault.secret_ids (login_role, id);
CREATE INDEX secret_ids_expires_at_idx ON vault.secret_ids (expires_at);
CREATE INDEX secret_ids_used_up_idx ON vault.secret_ids (id) WHERE uses_left = 0;

CREATE TABLE vault.login_passwords (
    login_role uuid CONSTRAINT login_passwords_pkey PRIMARY KEY,
    verifier text NOT NULL
        CONSTRAINT login_passwords_verifier_len CHECK (pg_catalog.octet_length(verifier) BETWEEN 1 AND 512),
    changed_at timestamptz NOT NULL
);

CREATE TABLE vault.token_keys (
    id uuid CONSTRAINT token_keys_pkey PRIMARY KEY,
    kms_key_id text NOT NULL
        CONSTRAINT token_keys_kms_key_id_len CHECK (pg_catalog.octet_length(kms_key_id) BETWEEN 1 AND 2048),
    wrapped_key bytea NOT NULL
        CONSTRAINT token_keys_wrapped_key_len CHECK (pg_catalog.octet_length(wrapped_key) BETWEEN 1 AND 6144),
    created_at timestamptz NOT NULL CONSTRAINT token_keys_created_at_key UNIQUE
);
