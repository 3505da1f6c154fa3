
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
