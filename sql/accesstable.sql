
-- The tables of those who may do something: tokens, grants, logins, and answers that wait for a token.

-- A token is found by the first bytes of its fingerprint, which are no secret; the whole is compared by vault.same_bytes().
-- One that acts as a role, and of which each scope must allow what is asked. An end is never moved beyond max_expires_at.
CREATE TABLE vault.tokens (
    id uuid CONSTRAINT tokens_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL
        CONSTRAINT tokens_name_len CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CONSTRAINT tokens_fingerprint_key UNIQUE
        CONSTRAINT tokens_fingerprint_len CHECK (pg_catalog.octet_length(fingerprint) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,  -- null: never
    revoked_at timestamptz,
    holder vault.grantee NOT NULL,
    role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    method text NOT NULL  -- 'token', or the mount of the login
        CONSTRAINT tokens_method_len CHECK (pg_catalog.octet_length(method) BETWEEN 1 AND 64),
    parent uuid,
    scopes jsonb
        CONSTRAINT tokens_scopes_array CHECK (pg_catalog.jsonb_typeof(scopes) = 'array'
                                              AND pg_catalog.octet_length(scopes::text) <= 65536),
    bound_cidrs cidr[],
    renewable boolean NOT NULL,
    ttl_secs bigint CONSTRAINT tokens_ttl_secs_positive CHECK (ttl_secs >= 1),
    max_expires_at timestamptz  -- null: no end to renewals
);
CREATE INDEX tokens_public_id_idx ON vault.tokens (pg_catalog.substring(fingerprint, 1, 8));
-- Of those that a person named; a login names each of its tokens alike.
CREATE UNIQUE INDEX tokens_name_key ON vault.tokens (name) WHERE revoked_at IS NULL AND method = 'token';
CREATE INDEX tokens_parent_idx ON vault.tokens (parent) WHERE parent IS NOT NULL;
CREATE INDEX tokens_end_idx ON vault.tokens (LEAST(revoked_at, expires_at));

CREATE TABLE vault.access_grants (
    holder vault.grantee NOT NULL,
    pattern text COLLATE "C" NOT NULL
        CONSTRAINT access_grants_pattern_len CHECK (pg_catalog.octet_length(pattern) BETWEEN 1 AND 257),
    action text NOT NULL
        CONSTRAINT access_grants_action_known
        CHECK (action IN ('read', 'create', 'update', 'delete', 'rotate', 'verify', 'manage', 'audit')),
    granted_at timestamptz NOT NULL,
    granted_by text NOT NULL,
    grantee regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid()  -- rows without a key cannot be deleted once they are published
        CONSTRAINT access_grants_pkey PRIMARY KEY,
    builtin text COLLATE "C"  -- null, or the name of the role whose grant was made with the extension, and is not dumped
);
CREATE UNIQUE INDEX access_grants_key ON vault.access_grants (grantee, pattern, action) WHERE builtin IS NULL;
-- A decision looks for the few patterns that select a name.
CREATE INDEX access_grants_pattern_idx ON vault.access_grants (pattern);

-- Which of the grants that are made with the extension were taken back. A dump has these rows: where it is restored,
-- CREATE EXTENSION has made the grants again, and they must not come back to life.
CREATE TABLE vault.revoked_defaults (
    role_name text COLLATE "C" NOT NULL,
    action text NOT NULL,
    CONSTRAINT revoked_defaults_pkey PRIMARY KEY (role_name, action)
);

-- The ways to log in by REST, each under a mount. Nothing in a config is secret: the keys of issuers are public ones.
CREATE TABLE vault.login_methods (
    mount text COLLATE "C" CONSTRAINT login_methods_pkey PRIMARY KEY
        CONSTRAINT login_methods_mount_form CHECK (mount ~ '^[a-z0-9][a-z0-9_.-]{0,63}$' AND mount <> 'token'),
    kind text NOT NULL
        CONSTRAINT login_methods_kind_known CHECK (kind IN ('approle', 'jwt', 'cert', 'userpass')),
    description text NOT NULL DEFAULT ''
        CONSTRAINT login_methods_description_len CHECK (pg_catalog.octet_length(description) <= 1024),
    config jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT login_methods_config_object CHECK (pg_catalog.jsonb_typeof(config) = 'object'
                                                      AND pg_catalog.octet_length(config::text) <= 65536),
    revision bigint NOT NULL DEFAULT 1  -- raised by every change
        CONSTRAINT login_methods_revision_positive CHECK (revision >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- What a login issues. A batch token is stored nowhere: it names this row, whose valid_from ends all earlier ones.
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

-- The secret ids of AppRoles: fingerprints only. A row is an accessor, what remains of it, and no secret.
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

-- The passwords of people: verifiers of argon2id alone, as the API has made them. PostgreSQL never has a password.
CREATE TABLE vault.login_passwords (
    login_role uuid CONSTRAINT login_passwords_pkey PRIMARY KEY,
    verifier text NOT NULL
        CONSTRAINT login_passwords_verifier_len CHECK (pg_catalog.octet_length(verifier) BETWEEN 1 AND 512),
    changed_at timestamptz NOT NULL
);

-- The keys that seal batch tokens, wrapped by the key service. The newest one seals; each opens what it sealed.
CREATE TABLE vault.token_keys (
    id uuid CONSTRAINT token_keys_pkey PRIMARY KEY,
    kms_key_id text NOT NULL
        CONSTRAINT token_keys_kms_key_id_len CHECK (pg_catalog.octet_length(kms_key_id) BETWEEN 1 AND 2048),
    wrapped_key bytea NOT NULL
        CONSTRAINT token_keys_wrapped_key_len CHECK (pg_catalog.octet_length(wrapped_key) BETWEEN 1 AND 6144),
    created_at timestamptz NOT NULL CONSTRAINT token_keys_created_at_key UNIQUE
);

-- Answers that wait for the holder of a wrapping token: sealed, each under a data key of its own, and taken once. Not dumped:
-- where a dump is restored, an answer that was taken meanwhile would be there again.
CREATE TABLE vault.wrapped_answers (
    id uuid CONSTRAINT wrapped_answers_pkey PRIMARY KEY,
    fingerprint bytea NOT NULL CONSTRAINT wrapped_answers_fingerprint_key UNIQUE
        CONSTRAINT wrapped_answers_fingerprint_len CHECK (pg_catalog.octet_length(fingerprint) = 32),
    owner text NOT NULL,  -- the actor that had it wrapped, by whom they are bounded
    secret_name text,  -- that the answer is about; null: none
    path text NOT NULL CONSTRAINT wrapped_answers_path_len CHECK (pg_catalog.octet_length(path) BETWEEN 1 AND 2048),
    envelope_version smallint NOT NULL,
    kms_key_id text NOT NULL
        CONSTRAINT wrapped_answers_kms_key_id_len CHECK (pg_catalog.octet_length(kms_key_id) BETWEEN 1 AND 2048),
    wrapped_dek bytea NOT NULL
        CONSTRAINT wrapped_answers_wrapped_dek_len CHECK (pg_catalog.octet_length(wrapped_dek) BETWEEN 1 AND 6144),
    nonce bytea NOT NULL CONSTRAINT wrapped_answers_nonce_len CHECK (pg_catalog.octet_length(nonce) = 24),
    ciphertext bytea NOT NULL
        CONSTRAINT wrapped_answers_ciphertext_len CHECK (pg_catalog.octet_length(ciphertext) BETWEEN 17 AND 2097168),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
ALTER TABLE vault.wrapped_answers ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE INDEX wrapped_answers_public_id_idx ON vault.wrapped_answers (pg_catalog.substring(fingerprint, 1, 8));
CREATE INDEX wrapped_answers_owner_idx ON vault.wrapped_answers (owner);
CREATE INDEX wrapped_answers_expires_at_idx ON vault.wrapped_answers (expires_at);
