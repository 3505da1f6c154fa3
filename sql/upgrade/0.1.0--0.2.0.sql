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

CREATE TYPE vault.decision AS (
    cause text,
    actor text,
    acting text,
    role oid,
    scopes jsonb
);

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

CREATE TYPE vault.login_method_info AS (
    mount text,
    kind text,
    description text,
    config jsonb,
    revision bigint,
    created_at timestamptz,
    updated_at timestamptz
);

CREATE TYPE vault.secret_id_info AS (
    id uuid,
    uses_left bigint,
    bound_cidrs text[],
    created_at timestamptz,
    expires_at timestamptz
);

-- Admin tokens become tokens of vault_admin, as valid as they were.
ALTER TABLE vault.admin_tokens RENAME TO tokens;
DO $$
DECLARE
    c record;
BEGIN
    -- Also those for NOT NULL, which have names from PostgreSQL 18 on.
    FOR c IN SELECT x.conname AS old FROM pg_catalog.pg_constraint x
             WHERE x.conrelid = 'vault.tokens'::pg_catalog.regclass AND pg_catalog.starts_with(x.conname, 'admin_tokens_') LOOP
        EXECUTE pg_catalog.format('ALTER TABLE vault.tokens RENAME CONSTRAINT %I TO %I', c.old, pg_catalog.substr(c.old, 7));
    END LOOP;
END
$$;
ALTER TABLE vault.tokens
    ADD COLUMN holder vault.grantee,
    ADD COLUMN role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,
    ADD COLUMN method text NOT NULL DEFAULT 'token'
        CONSTRAINT tokens_method_len CHECK (pg_catalog.octet_length(method) BETWEEN 1 AND 64),
    ADD COLUMN parent uuid,
    ADD COLUMN scopes jsonb
        CONSTRAINT tokens_scopes_array CHECK (pg_catalog.jsonb_typeof(scopes) = 'array'
                                              AND pg_catalog.octet_length(scopes::text) <= 65536),
    ADD COLUMN bound_cidrs cidr[],
    ADD COLUMN renewable boolean NOT NULL DEFAULT false,
    ADD COLUMN ttl_secs bigint CONSTRAINT tokens_ttl_secs_positive CHECK (ttl_secs >= 1),
    ADD COLUMN max_expires_at timestamptz;
UPDATE vault.tokens SET holder = vault.hold((SELECT oid FROM pg_catalog.pg_roles WHERE rolname = 'vault_admin')::pg_catalog.regrole);
ALTER TABLE vault.tokens ALTER COLUMN holder SET NOT NULL, ALTER COLUMN method DROP DEFAULT, ALTER COLUMN renewable DROP DEFAULT;
DROP INDEX vault.admin_tokens_name_key;
CREATE INDEX tokens_public_id_idx ON vault.tokens (pg_catalog.substring(fingerprint, 1, 8));
CREATE UNIQUE INDEX tokens_name_key ON vault.tokens (name) WHERE revoked_at IS NULL AND method = 'token';
CREATE INDEX tokens_parent_idx ON vault.tokens (parent) WHERE parent IS NOT NULL;
CREATE INDEX tokens_end_idx ON vault.tokens (LEAST(revoked_at, expires_at));

ALTER TABLE vault.access_grants DROP CONSTRAINT access_grants_action_known, DROP CONSTRAINT access_grants_key,
    ADD COLUMN builtin text COLLATE "C",
    ADD CONSTRAINT access_grants_action_known
        CHECK (action IN ('read', 'create', 'update', 'delete', 'rotate', 'verify', 'manage', 'audit'));
CREATE UNIQUE INDEX access_grants_key ON vault.access_grants (grantee, pattern, action) WHERE builtin IS NULL;
CREATE INDEX access_grants_pattern_idx ON vault.access_grants (pattern);

CREATE TABLE vault.revoked_defaults (
    role_name text COLLATE "C" NOT NULL,
    action text NOT NULL,
    CONSTRAINT revoked_defaults_pkey PRIMARY KEY (role_name, action)
);

CREATE TABLE vault.login_methods (
    mount text COLLATE "C" CONSTRAINT login_methods_pkey PRIMARY KEY
        CONSTRAINT login_methods_mount_form CHECK (mount ~ '^[a-z0-9][a-z0-9_.-]{0,63}$' AND mount <> 'token'),
    kind text NOT NULL
        CONSTRAINT login_methods_kind_known CHECK (kind IN ('approle', 'jwt', 'cert')),
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

CREATE TYPE vault.binding_options AS (
    auto_repair boolean
);

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
    bound_by text
);

-- The roles of PostgreSQL whose password a secret is: one, or two in turn. A role is noted as it was when it was bound: the
-- vault sets no password of one that is no longer that role, or has got more attributes.
CREATE TABLE vault.role_bindings (
    secret_id uuid NOT NULL,
    place smallint NOT NULL CONSTRAINT role_bindings_place_known CHECK (place IN (1, 2)),
    holder vault.grantee NOT NULL,
    role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    role_name text COLLATE "C" NOT NULL,
    attributes text[] NOT NULL,
    shared_role regrole,  -- that both roles of a pair are members of; null: not noted
    version bigint,  -- the last one that is its password; null: none is
    auto_repair boolean NOT NULL,
    bound_at timestamptz NOT NULL,
    bound_by text NOT NULL,
    checked_at timestamptz,
    drift text,  -- as vault.role_drift() said it last; null: nothing
    drift_since timestamptz,
    CONSTRAINT role_bindings_pkey PRIMARY KEY (secret_id, place)
);
CREATE UNIQUE INDEX role_bindings_role_key ON vault.role_bindings (role);
CREATE INDEX role_bindings_checked_at_idx ON vault.role_bindings (checked_at NULLS FIRST);

-- The verifiers that the vault has given to bound roles, as pg_authid has them unless they were changed elsewhere. Not dumped:
-- no dump of one database has the passwords of roles.
CREATE TABLE vault.role_verifiers (
    secret_id uuid NOT NULL,
    place smallint NOT NULL,
    verifier text NOT NULL,
    CONSTRAINT role_verifiers_pkey PRIMARY KEY (secret_id, place)
);

ALTER TABLE vault.role_bindings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_bindings TO vault_owner USING (true) WITH CHECK (true);
ALTER TABLE vault.role_verifiers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_verifiers TO vault_owner USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('vault.role_bindings',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');

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

CREATE TABLE vault.token_keys (
    id uuid CONSTRAINT token_keys_pkey PRIMARY KEY,
    kms_key_id text NOT NULL
        CONSTRAINT token_keys_kms_key_id_len CHECK (pg_catalog.octet_length(kms_key_id) BETWEEN 1 AND 2048),
    wrapped_key bytea NOT NULL
        CONSTRAINT token_keys_wrapped_key_len CHECK (pg_catalog.octet_length(wrapped_key) BETWEEN 1 AND 6144),
    created_at timestamptz NOT NULL CONSTRAINT token_keys_created_at_key UNIQUE
);

-- Leased roles.
CREATE TABLE vault.role_templates (
    name text COLLATE "C" CONSTRAINT role_templates_pkey PRIMARY KEY
        CONSTRAINT role_templates_name_len CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 255),
    definer vault.grantee NOT NULL,  -- roles are made with its rights
    member_of vault.grantee[] NOT NULL,
    ttl_secs bigint NOT NULL CONSTRAINT role_templates_ttl_range CHECK (ttl_secs BETWEEN 1 AND 315360000),
    max_ttl_secs bigint NOT NULL CONSTRAINT role_templates_max_ttl_range CHECK (max_ttl_secs BETWEEN ttl_secs AND 315360000),
    role_prefix text NOT NULL
        CONSTRAINT role_templates_role_prefix_form CHECK (role_prefix ~ '^[a-z][a-z0-9_]{0,39}$' AND role_prefix !~ '^pg_'),
    connection_limit integer NOT NULL CONSTRAINT role_templates_connection_limit_range CHECK (connection_limit >= -1),
    settings jsonb NOT NULL CONSTRAINT role_templates_settings_object CHECK (pg_catalog.jsonb_typeof(settings) = 'object'
                                                                             AND pg_catalog.octet_length(settings::text) <= 8192),
    drop_owned boolean NOT NULL,
    reassign_to vault.grantee,  -- null: nothing that a role owns is given to another
    max_leases integer NOT NULL CONSTRAINT role_templates_max_leases_range CHECK (max_leases BETWEEN 1 AND 1000000),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- A lease that has ended has no row: the audit has its end.
CREATE TABLE vault.role_leases (
    id uuid CONSTRAINT role_leases_pkey PRIMARY KEY,
    template text COLLATE "C" NOT NULL,
    role_name text COLLATE "C" NOT NULL,
    holder vault.grantee NOT NULL,  -- the role that was made
    role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,
    issuer vault.grantee NOT NULL,  -- the role that asked for it
    issued_to text NOT NULL,  -- the actor of the audit
    token uuid,  -- which asked for it, and ends it; null: no stored token did
    drop_owned boolean NOT NULL,
    reassign_to vault.grantee,
    ttl_secs bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    max_expires_at timestamptz NOT NULL,
    ending text CONSTRAINT role_leases_ending_known CHECK (ending IN ('expired', 'revoked', 'token')),  -- null: it lasts
    next_attempt_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text CONSTRAINT role_leases_last_error_len CHECK (pg_catalog.octet_length(last_error) <= 1024),
    CONSTRAINT role_leases_attempt_when_ending CHECK ((ending IS NULL) = (next_attempt_at IS NULL))
);
CREATE INDEX role_leases_expires_at_idx ON vault.role_leases (expires_at) WHERE ending IS NULL;
CREATE INDEX role_leases_next_attempt_at_idx ON vault.role_leases (next_attempt_at) WHERE ending IS NOT NULL;
CREATE INDEX role_leases_token_idx ON vault.role_leases (token) WHERE token IS NOT NULL AND ending IS NULL;
CREATE INDEX role_leases_template_idx ON vault.role_leases (template, id);
CREATE INDEX role_leases_issuer_idx ON vault.role_leases (vault.role_of(issuer), id);

ALTER TABLE vault.role_templates ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_leases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_templates TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.role_leases TO vault_owner USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('vault.role_templates', '');
SELECT pg_catalog.pg_extension_config_dump('vault.role_leases', 'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');

-- What the two other indexes of the log were for.
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

CREATE TABLE vault.sent_changes (
    change uuid CONSTRAINT sent_changes_pkey PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE INDEX sent_changes_at_idx ON vault.sent_changes (at);
INSERT INTO vault.sent_changes (change, at)
SELECT l.change, l.at FROM vault.audit_log l
WHERE l.change IS NOT NULL AND l.at > pg_catalog.clock_timestamp() - interval '7 days';
ALTER TABLE vault.audit_journals ADD COLUMN last_at timestamptz;
UPDATE vault.audit_journals j SET last_at = l.at
FROM vault.audit_log l WHERE l.journal = j.journal AND l.sequence = j.last_sequence;
ALTER TABLE vault.audit_numbering ADD COLUMN part smallint NOT NULL DEFAULT 0, ADD COLUMN keep interval;

-- The log that is there becomes the first part of the new one. No row is written: its rows are read once for the constraints
-- and once for the index by name, unless there is one already (docs/UPGRADE.md).
ALTER TABLE vault.audit_log DROP CONSTRAINT audit_log_action_known,
    DROP CONSTRAINT audit_log_outcome_known,
    DROP CONSTRAINT audit_log_sequence_positive,
    DROP CONSTRAINT audit_log_journal_complete,
    DROP COLUMN change,
    ADD COLUMN accessor uuid,
    ADD COLUMN method text,
    ADD COLUMN part smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT audit_log_part_first CHECK (part = 0);
DROP INDEX vault.audit_log_journal_key;
DROP INDEX vault.audit_log_secret_name_idx;
ALTER INDEX vault.audit_log_at_idx RENAME TO audit_log_0_at_id_idx;
ALTER TABLE vault.audit_log RENAME CONSTRAINT audit_log_pkey TO audit_log_0_pkey;
ALTER TABLE vault.audit_log RENAME TO audit_log_0;
-- PostgreSQL 18 and later name NOT NULL as well. The new table gets these names, and its first part has them before it is
-- attached: afterwards they are inherited and cannot be renamed.
DO $$
DECLARE
    named text;
BEGIN
    FOR named IN SELECT conname FROM pg_catalog.pg_constraint
                 WHERE conrelid = 'vault.audit_log_0'::pg_catalog.regclass AND contype = 'n' LOOP
        EXECUTE pg_catalog.format('ALTER TABLE vault.audit_log_0 RENAME CONSTRAINT %I TO %I', named,
                                  pg_catalog.regexp_replace(named, '^audit_log_', 'audit_log_0_'));
    END LOOP;
END
$$;
CREATE TABLE vault.audit_log (
    id bigint NOT NULL DEFAULT vault.next_audit_id(),
    at timestamptz NOT NULL,
    node text NOT NULL,
    actor text NOT NULL,
    session_role text,
    client_ip inet,
    action text NOT NULL,
    secret_name text,
    version bigint,
    outcome text NOT NULL,
    code text NOT NULL DEFAULT '',
    request_id text,
    journal uuid,
    sequence bigint,
    details jsonb,
    accessor uuid,
    method text,
    part smallint NOT NULL DEFAULT 0
) PARTITION BY LIST (part);
DO $$
DECLARE
    named text;
BEGIN
    FOR named IN SELECT conname FROM pg_catalog.pg_constraint
                 WHERE conrelid = 'vault.audit_log_0'::pg_catalog.regclass AND contype = 'n'
                   AND conname <> 'audit_log_0_id_not_null' LOOP  -- of its primary key
        EXECUTE pg_catalog.format('ALTER TABLE vault.audit_log_0 RENAME CONSTRAINT %I TO %I', named,
                                  pg_catalog.regexp_replace(named, '^audit_log_0_', 'audit_log_'));
    END LOOP;
END
$$;
ALTER TABLE vault.audit_log ATTACH PARTITION vault.audit_log_0 FOR VALUES IN (0);
ALTER TABLE vault.audit_log_0 DROP CONSTRAINT audit_log_part_first;
CREATE INDEX audit_log_at_idx ON vault.audit_log (at, id);
CREATE INDEX audit_log_secret_name_idx ON vault.audit_log (secret_name COLLATE "C", at);
DO $$
BEGIN
    FOR part IN 1..11 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE vault.audit_log_%s PARTITION OF vault.audit_log '
                                  '(CONSTRAINT audit_log_%s_pkey PRIMARY KEY (id)) FOR VALUES IN (%s)', part, part, part);
        EXECUTE pg_catalog.format('ALTER TABLE vault.audit_log_%s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
        EXECUTE pg_catalog.format('CREATE POLICY owner_only ON vault.audit_log_%s TO vault_owner USING (true) WITH CHECK (true)', part);
        PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('vault.audit_log_%s', part)::pg_catalog.regclass, '');
    END LOOP;
END
$$;
DROP FUNCTION vault.lock_journal(uuid, text);

ALTER TABLE vault.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.sent_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_methods ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_ids ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.token_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.wrapped_answers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_roles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.revoked_defaults ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.audit_log TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.sent_changes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_methods TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.secret_ids TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.token_keys TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.wrapped_answers TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_roles TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.revoked_defaults TO vault_owner USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('vault.tokens',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.login_methods', '');
SELECT pg_catalog.pg_extension_config_dump('vault.login_roles',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.secret_ids',
    'WHERE login_role IN (SELECT id FROM vault.login_roles WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles))');
SELECT pg_catalog.pg_extension_config_dump('vault.token_keys', '');
SELECT pg_catalog.pg_extension_config_dump('vault.access_grants',
    'WHERE builtin IS NULL AND (grantee IS NULL OR grantee IN (SELECT oid FROM pg_catalog.pg_roles))');
SELECT pg_catalog.pg_extension_config_dump('vault.revoked_defaults', '');

-- Who could read the audit or change grants by a privilege on the functions gets the action that they ask for now.
INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
SELECT vault.hold(h.grantee::pg_catalog.regrole), '*', h.action, pg_catalog.clock_timestamp(), 'ALTER EXTENSION'
FROM (SELECT DISTINCT x.grantee, f.action
      FROM (VALUES ('audit', 'vault.audit(text,timestamptz,integer,timestamptz)'), ('audit', 'vault.audit_after(bigint,integer)'),
             ('audit', 'vault.access_list()'), ('audit', 'vault.who_may(text,text)'),
             ('manage', 'vault.grant_access(regrole,text,text[])'), ('manage', 'vault.revoke_access(regrole,text,text[])'),
             ('manage', 'vault.adopt_grants(text,regrole)'), ('manage', 'vault.forget_grants(text)')) f (action, signature)
JOIN pg_catalog.pg_proc p ON p.oid = f.signature::pg_catalog.regprocedure
CROSS JOIN pg_catalog.aclexplode(p.proacl) x
WHERE x.grantee NOT IN (0, p.proowner)) h;

DROP FUNCTION vault.visible_names(oid);
DROP FUNCTION vault.prune_changes(timestamptz);
DROP FUNCTION vault.audit(text, timestamptz, integer, timestamptz);
DROP FUNCTION vault.audit_after(bigint, integer);

-- Counts and times are found by indexes, however many secrets there are.
ALTER TABLE vault.supervisor_passes ADD COLUMN counted_to xid8, ADD COLUMN counted_at timestamptz,
    ADD COLUMN secrets bigint, ADD COLUMN automatic bigint;
DROP INDEX vault.secrets_next_rotation_at_idx;
CREATE INDEX secrets_next_rotation_at_idx ON vault.secrets (next_rotation_at) WHERE next_rotation_at IS NOT NULL;
CREATE INDEX secrets_planned_idx ON vault.secrets (rotation_interval_secs, next_rotation_at)
    WHERE rotation_interval_secs IS NOT NULL AND next_rotation_at IS NOT NULL;
CREATE INDEX secrets_scheduled_idx ON vault.secrets (next_rotation_at)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NOT NULL;
CREATE INDEX secrets_unplanned_idx ON vault.secrets (plan_failed_at NULLS FIRST)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NULL AND deleted_at IS NULL;
CREATE INDEX secrets_paused_idx ON vault.secrets (next_rotation_at) WHERE rotation_paused AND deleted_at IS NULL;

-- What a change of a value does not touch is checked by one function.
ALTER TABLE vault.secrets
    DROP CONSTRAINT secrets_name_len,
    DROP CONSTRAINT secrets_kind_known,
    DROP CONSTRAINT secrets_content_type_len,
    DROP CONSTRAINT secrets_description_len,
    DROP CONSTRAINT secrets_tags_object,
    DROP CONSTRAINT secrets_tags_strings,
    DROP CONSTRAINT secrets_tags_number,
    DROP CONSTRAINT secrets_rotation_interval_range,
    DROP CONSTRAINT secrets_grace_period_range,
    DROP CONSTRAINT secrets_generate_policy_object,
    DROP CONSTRAINT secrets_rotation_schedule_len,
    DROP CONSTRAINT secrets_rotation_time_zone_len,
    DROP CONSTRAINT secrets_rotation_window_range,
    DROP CONSTRAINT secrets_keep_versions_range,
    DROP CONSTRAINT secrets_first_version_positive,
    DROP CONSTRAINT secrets_current_version_positive,
    DROP CONSTRAINT secrets_settings_revision_positive,
    DROP CONSTRAINT secrets_rotation_of_automatic;

-- After the functions

INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by, builtin)
SELECT vault.hold(d.role::pg_catalog.regrole), '*', a, pg_catalog.clock_timestamp(), 'CREATE EXTENSION', d.role
FROM (VALUES ('vault_admin', vault.all_actions()), ('vault_anonymous', '{read,verify}')) d (role, actions), pg_catalog.unnest(d.actions) a;
GRANT USAGE ON SCHEMA vault TO vault_admin, vault_anonymous;
-- Made again with the comment that they had.
COMMENT ON FUNCTION vault.audit(text, timestamptz, integer, timestamptz)
    IS 'the newest audit records since a time and before another, oldest first by the time of the operation';
COMMENT ON FUNCTION vault.audit_after(bigint, integer)
    IS 'the audit records that follow an id, in the order of ids, each once, also those that commit late; 0: from the first';

CREATE TRIGGER secrets_settings_fit BEFORE INSERT OR UPDATE OF name, kind, content_type, description, tags, generate_policy,
    rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, grace_period_secs, keep_versions,
    first_version, settings_revision, delete_version_after_secs
    ON vault.secrets FOR EACH ROW EXECUTE FUNCTION vault.check_settings_fit();
ALTER TABLE vault.secret_versions
    DROP CONSTRAINT secret_versions_version_positive,
    DROP CONSTRAINT secret_versions_envelope_known,
    DROP CONSTRAINT secret_versions_kms_key_id_len,
    DROP CONSTRAINT secret_versions_wrapped_dek_len,
    DROP CONSTRAINT secret_versions_nonce_len,
    DROP CONSTRAINT secret_versions_ciphertext_len,
    ADD CONSTRAINT secret_versions_fit
        CHECK (vault.version_fits(version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext));
ALTER TABLE vault.audit_log
    ADD CONSTRAINT audit_log_record_fits CHECK (vault.record_fits(action, outcome, journal, sequence));
