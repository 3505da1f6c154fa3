-- hyperion_vault: schema of the extension. Assembled from sql/*.sql by the Makefile.
\echo Use "CREATE EXTENSION hyperion_vault" to load this file. \quit

-- Every object belongs to vault_owner: no login, no attribute, no membership in either direction, so that a
-- function that runs with its rights can reach the vault and nothing else. A role of that name that somebody
-- could log in as, or that somebody is a member of, would be a back door: it is refused.
DO $$
DECLARE
    found pg_catalog.pg_roles;
BEGIN
    SELECT * INTO found FROM pg_catalog.pg_roles WHERE rolname = 'vault_owner';
    IF found.oid IS NULL THEN
        CREATE ROLE vault_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;
    ELSIF found.rolcanlogin OR found.rolsuper OR found.rolcreatedb OR found.rolcreaterole
          OR found.rolreplication OR found.rolbypassrls THEN
        RAISE EXCEPTION 'role "vault_owner" exists with LOGIN or another attribute'
            USING ERRCODE = 'duplicate_object',
                  HINT = 'The extension needs this role name for a role without attributes. Rename the existing role.';
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_auth_members WHERE roleid = found.oid OR member = found.oid) THEN
        RAISE EXCEPTION 'role "vault_owner" exists and has members or memberships'
            USING ERRCODE = 'duplicate_object',
                  HINT = 'Revoke every membership of, and in, vault_owner first.';
    END IF;
END
$$;

CREATE SCHEMA vault;
COMMENT ON SCHEMA vault IS 'HyperionDB Vault: sealed secrets; every access goes through functions';

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

-- Tables. Nobody but the owner holds a privilege on them, and row security is forced, so that even a mistaken
-- GRANT shows no rows.

CREATE TABLE vault.secrets (
    id uuid CONSTRAINT secrets_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL
        CONSTRAINT secrets_name_len CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 255),
    kind text NOT NULL
        CONSTRAINT secrets_kind_known CHECK (kind IN ('manual', 'automatic')),
    content_type text NOT NULL
        CONSTRAINT secrets_content_type_len CHECK (pg_catalog.octet_length(content_type) BETWEEN 1 AND 255),
    description text NOT NULL DEFAULT ''
        CONSTRAINT secrets_description_len CHECK (pg_catalog.octet_length(description) <= 1024),
    tags jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT secrets_tags_object CHECK (pg_catalog.jsonb_typeof(tags) = 'object'
                                              AND pg_catalog.octet_length(tags::text) <= 4096)
        -- strict: else the filter would look at the members of an array, and not at the array
        CONSTRAINT secrets_tags_strings CHECK (NOT tags @? 'strict $.* ? (@.type() != "string")')
        CONSTRAINT secrets_tags_number
        CHECK (pg_catalog.jsonb_array_length(pg_catalog.jsonb_path_query_array(tags, 'strict $.*', '{}', true)) <= 32),
    rotation_interval_secs bigint
        CONSTRAINT secrets_rotation_interval_range CHECK (rotation_interval_secs BETWEEN 1 AND 315360000),
    grace_period_secs bigint NOT NULL DEFAULT 0
        CONSTRAINT secrets_grace_period_range CHECK (grace_period_secs BETWEEN 0 AND 315360000),
    generate_policy jsonb
        CONSTRAINT secrets_generate_policy_object CHECK (pg_catalog.jsonb_typeof(generate_policy) = 'object'
                                                         AND pg_catalog.octet_length(generate_policy::text) <= 4096),
    rotation_schedule text
        CONSTRAINT secrets_rotation_schedule_len CHECK (pg_catalog.octet_length(rotation_schedule) BETWEEN 9 AND 255),
    rotation_time_zone text NOT NULL DEFAULT 'UTC'
        CONSTRAINT secrets_rotation_time_zone_len CHECK (pg_catalog.octet_length(rotation_time_zone) BETWEEN 1 AND 64),
    rotation_window_secs bigint
        CONSTRAINT secrets_rotation_window_range CHECK (rotation_window_secs BETWEEN 60 AND 31536000),
    rotation_paused boolean NOT NULL DEFAULT false,
    keep_versions integer NOT NULL DEFAULT 0
        CONSTRAINT secrets_keep_versions_range CHECK (keep_versions BETWEEN 0 AND 100),
    first_version bigint NOT NULL DEFAULT 1  -- one more than the last version of the last secret of this name
        CONSTRAINT secrets_first_version_positive CHECK (first_version >= 1),
    current_version bigint NOT NULL
        CONSTRAINT secrets_current_version_positive CHECK (current_version >= 1),
    settings_revision bigint NOT NULL DEFAULT 1  -- counts changes of the settings, as current_version those of the value
        CONSTRAINT secrets_settings_revision_positive CHECK (settings_revision >= 1),
    next_rotation_at timestamptz,  -- null: manual, paused, or a schedule whose next time is not computed yet
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT secrets_current_version_range CHECK (current_version >= first_version),
    CONSTRAINT secrets_rotation_of_automatic
        CHECK ((kind = 'automatic') = (pg_catalog.num_nonnulls(rotation_interval_secs, rotation_schedule) = 1))
);
-- A deleted secret keeps its row, without versions, so that neither its id nor its version numbers are used again; its
-- name is free.
CREATE UNIQUE INDEX secrets_name_key ON vault.secrets (name) WHERE deleted_at IS NULL;
-- Two secrets of one name, one after the other, never begin at the same version. An index sees what a transaction's
-- snapshot does not.
CREATE UNIQUE INDEX secrets_first_version_key ON vault.secrets (name, first_version);

CREATE TABLE vault.secret_versions (
    secret_id uuid NOT NULL CONSTRAINT secret_versions_secret_id_fkey REFERENCES vault.secrets (id),
    version bigint NOT NULL CONSTRAINT secret_versions_version_positive CHECK (version >= 1),
    envelope_version smallint NOT NULL
        CONSTRAINT secret_versions_envelope_known CHECK (envelope_version = 1),
    kms_key_id text NOT NULL
        CONSTRAINT secret_versions_kms_key_id_len CHECK (pg_catalog.octet_length(kms_key_id) BETWEEN 1 AND 2048),
    wrapped_dek bytea NOT NULL  -- 6144: the longest CiphertextBlob of the AWS KMS API
        CONSTRAINT secret_versions_wrapped_dek_len CHECK (pg_catalog.octet_length(wrapped_dek) BETWEEN 1 AND 6144),
    nonce bytea NOT NULL
        CONSTRAINT secret_versions_nonce_len CHECK (pg_catalog.octet_length(nonce) = 24),
    ciphertext bytea NOT NULL  -- a plaintext of 1 byte to 1 MiB and the 16 bytes of its tag
        CONSTRAINT secret_versions_ciphertext_len CHECK (pg_catalog.octet_length(ciphertext) BETWEEN 17 AND 1048592),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,  -- null: current; otherwise superseded, and valid until then
    expired boolean NOT NULL DEFAULT false,  -- seen past expires_at: a clock set back does not revive it
    CONSTRAINT secret_versions_pkey PRIMARY KEY (secret_id, version)
);
-- Ciphertext does not compress.
ALTER TABLE vault.secret_versions ALTER COLUMN ciphertext SET STORAGE EXTERNAL;

CREATE TABLE vault.admin_tokens (
    id uuid CONSTRAINT admin_tokens_pkey PRIMARY KEY,
    name text COLLATE "C" NOT NULL
        CONSTRAINT admin_tokens_name_len CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CONSTRAINT admin_tokens_fingerprint_key UNIQUE
        CONSTRAINT admin_tokens_fingerprint_len CHECK (pg_catalog.octet_length(fingerprint) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX admin_tokens_name_key ON vault.admin_tokens (name) WHERE revoked_at IS NULL;

-- Whose a grant is. A role, not its name: a role that is renamed keeps its grants, one that is dropped leaves them to nobody.
-- A dump holds the name; where that role is missing, the restored grant is set aside (shim/grantee.c).
CREATE TYPE vault.grantee;
CREATE FUNCTION vault.grantee_in(cstring) RETURNS vault.grantee
AS 'MODULE_PATHNAME', 'hv_grantee_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vault.grantee_out(vault.grantee) RETURNS cstring
AS 'MODULE_PATHNAME', 'hv_grantee_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE TYPE vault.grantee (INPUT = vault.grantee_in, OUTPUT = vault.grantee_out, INTERNALLENGTH = VARIABLE);
COMMENT ON FUNCTION vault.grantee_in(cstring) IS 'reads a grantee: a name, or a question mark and a name';
COMMENT ON FUNCTION vault.grantee_out(vault.grantee) IS 'writes a grantee';
COMMENT ON TYPE vault.grantee IS 'a role, or the name of one that was missing where a dump was restored';
CREATE FUNCTION vault.hold(role regrole) RETURNS vault.grantee
AS 'MODULE_PATHNAME', 'hv_hold' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.hold(regrole) IS 'a role as a grantee';
CREATE FUNCTION vault.role_of(grantee vault.grantee) RETURNS regrole
AS 'MODULE_PATHNAME', 'hv_role_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.role_of(vault.grantee) IS 'the role of a grantee; null: it is missing';
CREATE FUNCTION vault.missing_name(grantee vault.grantee) RETURNS text
AS 'MODULE_PATHNAME', 'hv_missing_name' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.missing_name(vault.grantee) IS 'the name of a grantee that is missing; null: it is not';

CREATE TABLE vault.access_grants (
    holder vault.grantee NOT NULL,
    pattern text COLLATE "C" NOT NULL
        CONSTRAINT access_grants_pattern_len CHECK (pg_catalog.octet_length(pattern) BETWEEN 1 AND 257),
    action text NOT NULL
        CONSTRAINT access_grants_action_known
        CHECK (action IN ('read', 'create', 'update', 'delete', 'rotate', 'verify')),
    granted_at timestamptz NOT NULL,
    granted_by text NOT NULL,
    grantee regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid()  -- rows without a key cannot be deleted once they are published
        CONSTRAINT access_grants_pkey PRIMARY KEY,
    CONSTRAINT access_grants_key UNIQUE (grantee, pattern, action)
);

-- One row per secret and due time, for ever unique: that is what makes a rotation happen once.
CREATE TABLE vault.rotation_jobs (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT rotation_jobs_pkey PRIMARY KEY,
    secret_id uuid NOT NULL CONSTRAINT rotation_jobs_secret_id_fkey REFERENCES vault.secrets (id),
    due_at timestamptz NOT NULL,
    deadline_at timestamptz,  -- end of the rotation window; null: none
    state text NOT NULL DEFAULT 'queued'
        CONSTRAINT rotation_jobs_state_known CHECK (state IN ('queued', 'claimed', 'done', 'missed')),
    claimed_by text,
    claimed_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    last_error text CONSTRAINT rotation_jobs_last_error_len CHECK (pg_catalog.octet_length(last_error) <= 1024),
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    version bigint,  -- the one that it made
    CONSTRAINT rotation_jobs_due_key UNIQUE (secret_id, due_at),
    CONSTRAINT rotation_jobs_claim_complete
        CHECK ((state = 'claimed') = (claimed_until IS NOT NULL) AND (state = 'claimed') = (claimed_by IS NOT NULL)),
    CONSTRAINT rotation_jobs_finish_complete
        CHECK ((state IN ('done', 'missed')) = (finished_at IS NOT NULL))
);
CREATE UNIQUE INDEX rotation_jobs_open_key ON vault.rotation_jobs (secret_id) WHERE state IN ('queued', 'claimed');
CREATE INDEX rotation_jobs_finished_at_idx ON vault.rotation_jobs (finished_at);
CREATE INDEX rotation_jobs_missed_idx ON vault.rotation_jobs (finished_at) WHERE state = 'missed';
CREATE INDEX secrets_next_rotation_at_idx ON vault.secrets (next_rotation_at);
CREATE INDEX secret_versions_expires_at_idx ON vault.secret_versions (expires_at) WHERE NOT expired;

-- The id of an audit record is a base, plus its transaction's id times 2^22, plus its number in the transaction. So ids
-- follow the order in which transactions began to write, and no record is added below the id of the oldest running
-- transaction: a reader that goes on from an id misses no record that commits late. No other role can set the numbers, as
-- pg_write_all_data could those of a sequence, which row security does not cover. So changes have such ids, too.
CREATE FUNCTION vault.next_audit_id() RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_next_audit_id' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.next_audit_id() IS 'the id of the next audit record of this transaction';

-- What changed, for those who follow (GET /v1/events). A transaction that commits late may hold an earlier id, so
-- readers go by transaction: only rows of transactions older than every running one are shown, in (xid, id) order.
-- Not dumped: transaction ids mean nothing in another cluster.
CREATE TABLE vault.changes (
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    id bigint NOT NULL DEFAULT vault.next_audit_id(),
    at timestamptz NOT NULL,
    action text NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (xid, id)
);
CREATE INDEX changes_at_idx ON vault.changes (at);

-- One row: what the supervisor did last.
CREATE TABLE vault.supervisor_passes (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT supervisor_passes_pkey PRIMARY KEY
        CONSTRAINT supervisor_passes_only_row CHECK (only_row),
    last_pass_at timestamptz NOT NULL,
    enqueued bigint NOT NULL,
    expired bigint NOT NULL
);

-- One row, made with the first record: where ids begin. A new timeline of the log raises the base far enough that no id
-- which a lost primary gave out comes again. Not dumped: where a dump is restored, the base is the highest restored id.
CREATE TABLE vault.audit_numbering (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT audit_numbering_pkey PRIMARY KEY
        CONSTRAINT audit_numbering_only_row CHECK (only_row),
    timeline bigint NOT NULL,
    base bigint NOT NULL
);

CREATE TABLE vault.audit_log (
    id bigint NOT NULL DEFAULT vault.next_audit_id() CONSTRAINT audit_log_pkey PRIMARY KEY,
    at timestamptz NOT NULL,
    node text NOT NULL,
    actor text NOT NULL,
    session_role text,
    client_ip inet,
    action text NOT NULL
        CONSTRAINT audit_log_action_known
        CHECK (action IN ('create', 'read', 'update', 'delete', 'rotate', 'verify', 'list', 'describe',
                          'configure', 'expire', 'status', 'watch', 'token_create', 'token_revoke', 'token_list', 'grant',
                          'revoke', 'audit', 'rewrap', 'rewrap_status', 'audit_gap', 'audit_prune',
                          'malformed')),
    secret_name text,
    version bigint,
    outcome text NOT NULL
        CONSTRAINT audit_log_outcome_known CHECK (outcome IN ('ok', 'denied', 'failed', 'unknown')),
    code text NOT NULL DEFAULT '',
    request_id text,
    journal uuid,  -- null: written in the transaction of the change
    sequence bigint CONSTRAINT audit_log_sequence_positive CHECK (sequence >= 1),
    change uuid,  -- of a change that may be sent again when its answer is lost
    details jsonb,  -- what a change of settings or grants replaced, and by what; never a value
    CONSTRAINT audit_log_journal_complete CHECK ((journal IS NULL) = (sequence IS NULL))
);
CREATE INDEX audit_log_at_idx ON vault.audit_log (at, id);
CREATE UNIQUE INDEX audit_log_journal_key ON vault.audit_log (journal, sequence) WHERE journal IS NOT NULL;
-- Such a change is recorded in its own transaction, so it cannot be made twice, however late a try arrives.
CREATE UNIQUE INDEX audit_log_change_key ON vault.audit_log (change) WHERE change IS NOT NULL;
CREATE INDEX audit_log_secret_name_idx ON vault.audit_log (secret_name COLLATE "C", id);

-- How far each node's journal has arrived. In one transaction with the records themselves, so a dump, a standby and a
-- restored backup always hold both or neither.
CREATE TABLE vault.audit_journals (
    journal uuid CONSTRAINT audit_journals_pkey PRIMARY KEY,
    node text NOT NULL,
    last_sequence bigint NOT NULL CONSTRAINT audit_journals_last_sequence_range CHECK (last_sequence >= 0),
    created_at timestamptz NOT NULL,
    shipped_at timestamptz NOT NULL
);

ALTER TABLE vault.secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.admin_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.access_grants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.rotation_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.supervisor_passes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_numbering ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_journals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY owner_only ON vault.secrets TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.secret_versions TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.admin_tokens TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.access_grants TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.rotation_jobs TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.changes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.supervisor_passes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_numbering TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_log TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_journals TO vault_owner USING (true) WITH CHECK (true);

-- Without these a dump would hold the extension and none of its rows.
SELECT pg_catalog.pg_extension_config_dump('vault.secrets', '');
SELECT pg_catalog.pg_extension_config_dump('vault.secret_versions', '');
SELECT pg_catalog.pg_extension_config_dump('vault.admin_tokens', '');
-- The grants of a role that was dropped are nobody's.
SELECT pg_catalog.pg_extension_config_dump('vault.access_grants',
    'WHERE grantee IS NULL OR grantee IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.rotation_jobs', '');
SELECT pg_catalog.pg_extension_config_dump('vault.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('vault.audit_journals', '');

-- Access of SQL roles, by name or by prefix

CREATE FUNCTION vault.check_pattern(pattern text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_check_pattern' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.check_pattern(text) IS 'raises unless the text is a name, a prefix a/b/*, or *';

-- The one rule of prefixes, as core.HasPrefix has it: "a/b" is a/b and all names below it, "a/b/" only those below, "" all.
-- Without SET, so that the planner can expand it.
CREATE FUNCTION vault.has_prefix(name text, prefix text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.starts_with(
        CASE WHEN pg_catalog.right(prefix, 1) OPERATOR(pg_catalog.=) '/' THEN name ELSE pg_catalog.concat(name, '/') END,
        CASE WHEN prefix OPERATOR(pg_catalog.=) '' OR pg_catalog.right(prefix, 1) OPERATOR(pg_catalog.=) '/' THEN prefix
             ELSE pg_catalog.concat(prefix, '/') END)
$$;
COMMENT ON FUNCTION vault.has_prefix(text, text) IS 'whether a prefix selects a name: whole segments, never a part of one';

-- No character of a name is above 'z', and '0' is the byte after '/'.
CREATE FUNCTION vault.prefix_end(prefix text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN prefix = '' THEN '~' ELSE rtrim(prefix, '/') || '0' END $$;
COMMENT ON FUNCTION vault.prefix_end(text) IS 'what is above every name with a prefix, in byte order';

CREATE FUNCTION vault.check_actions(actions text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    IF coalesce(cardinality(actions), 0) = 0 THEN
        RAISE EXCEPTION 'no actions given' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate and verify.';
    END IF;
    SELECT coalesce(a, 'NULL') INTO unknown FROM unnest(actions) a
    WHERE a IS NULL OR a NOT IN ('read', 'create', 'update', 'delete', 'rotate', 'verify') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unknown action "%"', unknown USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Actions are read, create, update, delete, rotate and verify.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_actions(text[]) IS 'raises unless every element is an action';

CREATE FUNCTION vault.check_role(role regrole) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL THEN
        RAISE EXCEPTION 'role must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE EXCEPTION 'role % does not exist', role USING ERRCODE = 'undefined_object';
    ELSIF role = 'vault_owner'::regrole THEN
        -- To take back from the owner what it was given would take its own functions from it.
        RAISE EXCEPTION 'vault_owner holds every privilege already' USING ERRCODE = 'invalid_grant_operation',
            HINT = 'Grant to the role that an application logs in as, or to a group of such roles.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_role(regrole) IS 'raises unless the role can be given something';

CREATE FUNCTION vault.entry_points(action text) RETURNS SETOF regprocedure
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
    FROM pg_proc p
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
    JOIN (VALUES ('read', 'read_secret'), ('read', 'read_secret_bytes'), ('create', 'create_secret'),
                 ('update', 'update_secret'), ('update', 'configure_secret'), ('rotate', 'expire_version'),
                 ('delete', 'delete_secret'), ('rotate', 'rotate_secret'),
                 ('verify', 'verify'), ('verify', 'verify_version'), ('list', 'list_secrets')) AS f(action, name) ON f.name = p.proname
    WHERE p.pronamespace = 'vault'::regnamespace AND f.action = $1
$$;
COMMENT ON FUNCTION vault.entry_points(text) IS 'the plaintext functions that an action needs';

CREATE FUNCTION vault.admit_change(action text, target text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_admit_change' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.admit_change(text, text)
    IS 'raises on a standby and in a read-only transaction, after the key agent has recorded the attempt';

CREATE FUNCTION vault.record_failure(action text, target text, state text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_record_failure' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.record_failure(text, text, text)
    IS 'has the key agent record that an administrative call failed with an SQLSTATE; never raises for want of an agent';

CREATE FUNCTION vault.lock_grants() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Each grant changes the same rows of the catalogs, and PostgreSQL lets only one transaction do that at a time and fails
    -- the others. A lock of this table cannot be taken by other roles; an advisory one could. Decisions go on.
    LOCK TABLE vault.access_grants IN SHARE ROW EXCLUSIVE MODE;
END
$$;
COMMENT ON FUNCTION vault.lock_grants() IS 'waits until no other transaction changes grants, and keeps others waiting';

CREATE FUNCTION vault.granted_actions(role regrole, pattern text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(g.action ORDER BY g.action), '{}') FROM vault.access_grants g
    WHERE g.grantee = granted_actions.role AND g.pattern = granted_actions.pattern
$$;
COMMENT ON FUNCTION vault.granted_actions(regrole, text) IS 'the actions that a role itself was granted on a pattern';

CREATE FUNCTION vault.grant_changed(role regrole, pattern text, held text[]) RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('role', role::text, 'pattern', pattern, 'old', jsonb_build_object('actions', held),
                              'new', jsonb_build_object('actions', vault.granted_actions(role, pattern)))
$$;
COMMENT ON FUNCTION vault.grant_changed(regrole, text, text[])
    IS 'the actions of a role on a pattern, before and after, for the audit';

CREATE FUNCTION vault.grant_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    entry regprocedure;
    held text[];
    what text := format('to %s', grant_access.role);  -- what is no pattern is not recorded
BEGIN
    PERFORM vault.check_role(grant_access.role);
    IF grant_access.pattern IS NULL THEN
        RAISE EXCEPTION 'pattern must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM vault.check_pattern(grant_access.pattern);
    PERFORM vault.check_actions(grant_access.actions);
    what := format('%s on %s to %s', array_to_string(grant_access.actions, ','), grant_access.pattern, grant_access.role);
    PERFORM vault.admit_change('grant', what);
    PERFORM vault.lock_grants();
    held := vault.granted_actions(grant_access.role, grant_access.pattern);
    INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by)
    SELECT vault.hold(grant_access.role), grant_access.pattern, a, clock_timestamp(), session_user::text
    FROM (SELECT DISTINCT unnest(grant_access.actions)) u (a)
    ON CONFLICT ON CONSTRAINT access_grants_key DO NOTHING;
    EXECUTE format('GRANT USAGE ON SCHEMA vault TO %s', grant_access.role);
    FOR entry IN SELECT e FROM unnest(grant_access.actions || '{list}') a, vault.entry_points(a) e LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry, grant_access.role);
    END LOOP;
    PERFORM vault.append_audit(vault.local_origin(), 'grant', what, NULL, 'ok', '', NULL,
                               vault.grant_changed(grant_access.role, grant_access.pattern, held));
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;  -- recorded already
    WHEN OTHERS THEN
        PERFORM vault.record_failure('grant', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.grant_access(regrole, text, text[])
    IS 'lets a role, and every role that inherits from it, do actions on a name or a prefix a/b/*';

CREATE FUNCTION vault.revoke_access(role regrole, pattern text, actions text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    gone text;
    entry regprocedure;
    held text[];
    what text := format('from %s', revoke_access.role);
BEGIN
    PERFORM vault.check_pattern(revoke_access.pattern);
    PERFORM vault.check_actions(revoke_access.actions);
    what := format('%s on %s from %s', array_to_string(revoke_access.actions, ','), revoke_access.pattern,
                   revoke_access.role);
    PERFORM vault.admit_change('revoke', what);
    PERFORM vault.lock_grants();
    held := vault.granted_actions(revoke_access.role, revoke_access.pattern);
    DELETE FROM vault.access_grants g
    WHERE g.grantee = revoke_access.role AND g.pattern = revoke_access.pattern
      AND g.action = ANY (revoke_access.actions);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % holds no such grant on "%"', revoke_access.role, revoke_access.pattern
            USING ERRCODE = 'undefined_object', HINT = 'List the grants: SELECT * FROM vault.access_list();';
    END IF;
    FOR gone IN
        SELECT a FROM unnest(revoke_access.actions || '{list}') a
        WHERE NOT EXISTS (SELECT FROM vault.access_grants g
                          WHERE g.grantee = revoke_access.role AND (g.action = a OR a = 'list'))
          AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = revoke_access.role)  -- a dropped one holds nothing else
    LOOP
        FOR entry IN SELECT e FROM vault.entry_points(gone) e LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', entry, revoke_access.role);
        END LOOP;
    END LOOP;
    PERFORM vault.revoke_usage_if_idle(revoke_access.role);
    PERFORM vault.append_audit(vault.local_origin(), 'revoke', what, NULL, 'ok', '', NULL,
                               vault.grant_changed(revoke_access.role, revoke_access.pattern, held));
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('revoke', what, SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_access(regrole, text, text[]) IS 'takes back what grant_access gave';

CREATE FUNCTION vault.revoke_usage_if_idle(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A role that may call nothing here keeps no privilege that would stand in the way of DROP ROLE.
    IF NOT EXISTS (SELECT FROM pg_proc p, aclexplode(p.proacl) x
                   WHERE p.pronamespace = 'vault'::regnamespace AND x.grantee = role)
       AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        EXECUTE format('REVOKE USAGE ON SCHEMA vault FROM %s', role);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.revoke_usage_if_idle(regrole) IS 'revokes USAGE of the schema from a role that may call nothing in it';

CREATE FUNCTION vault.access_list()
RETURNS TABLE (grantee regrole, pattern text, action text, granted_at timestamptz, granted_by text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT g.grantee, g.pattern, g.action, g.granted_at, g.granted_by
                 FROM vault.access_grants g WHERE g.grantee IS NOT NULL
                 ORDER BY g.grantee::text COLLATE "C", g.pattern, g.action;
END
$$;
COMMENT ON FUNCTION vault.access_list() IS 'all grants of access to SQL roles';

-- What a restore found no role for. It is given to no role because of its name: that may be another one's here.

CREATE FUNCTION vault.missing_grants()
RETURNS TABLE (role_name text, pattern text, action text, granted_at timestamptz, granted_by text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT vault.missing_name(g.holder), g.pattern, g.action, g.granted_at, g.granted_by
                 FROM vault.access_grants g WHERE g.grantee IS NULL
                 ORDER BY vault.missing_name(g.holder) COLLATE "C", g.pattern, g.action;
END
$$;
COMMENT ON FUNCTION vault.missing_grants()
    IS 'grants of roles that were missing where a dump was restored; they have no effect';

CREATE FUNCTION vault.adopt_grants(role_name text, role regrole) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held record;
    adopted bigint := 0;
BEGIN
    FOR held IN
        SELECT m.pattern, array_agg(m.action ORDER BY m.action) AS actions FROM vault.missing_grants() m
        WHERE m.role_name = adopt_grants.role_name GROUP BY m.pattern ORDER BY m.pattern
    LOOP
        PERFORM vault.grant_access(adopt_grants.role, held.pattern, held.actions);
        adopted := adopted + cardinality(held.actions);
    END LOOP;
    DELETE FROM vault.access_grants g
    WHERE g.grantee IS NULL AND vault.missing_name(g.holder) = adopt_grants.role_name;
    RETURN adopted;
END
$$;
COMMENT ON FUNCTION vault.adopt_grants(text, regrole)
    IS 'grants to a role what was set aside for a name, and returns how many actions';

CREATE FUNCTION vault.forget_grants(role_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    forgotten bigint;
    what text := format('what was set aside for %I', forget_grants.role_name);
BEGIN
    PERFORM vault.admit_change('revoke', what);
    PERFORM vault.lock_grants();
    DELETE FROM vault.access_grants g
    WHERE g.grantee IS NULL AND vault.missing_name(g.holder) = forget_grants.role_name;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    IF forgotten > 0 THEN
        PERFORM vault.append_audit(vault.local_origin(), 'revoke', what, NULL, 'ok', '');
    END IF;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION vault.forget_grants(text) IS 'deletes what was set aside for a name, and returns how many actions';

-- The decisions. The caller is the effective role at the call; privileges are inherited as everywhere in
-- PostgreSQL; a superuser passes, as everywhere.

CREATE FUNCTION vault.pattern_matches(pattern text, target text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pattern OPERATOR(pg_catalog.=) target OR pattern OPERATOR(pg_catalog.=) '*'
        OR (pg_catalog.right(pattern, 2) OPERATOR(pg_catalog.=) '/*'
            AND pg_catalog.starts_with(target, pg_catalog.left(pattern, -1)))
$$;
COMMENT ON FUNCTION vault.pattern_matches(text, text) IS 'whether the pattern of a grant selects a name';

CREATE FUNCTION vault.may(caller oid, wanted text, target text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND r.rolsuper)
        OR EXISTS (SELECT FROM vault.access_grants g
                   WHERE (wanted = 'list' OR g.action = wanted)
                     AND vault.pattern_matches(g.pattern, target)
                     AND pg_has_role(caller, g.grantee, 'USAGE'));
END
$$;
COMMENT ON FUNCTION vault.may(oid, text, text) IS 'whether a role may do an action on a name; list: any action at all';

CREATE FUNCTION vault.who_may(name text, action text)
RETURNS TABLE (role text, can_login boolean, how text, as_role text, grantee text, pattern text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Before PostgreSQL 16 every member may SET ROLE.
    settable text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF who_may.name IS NULL OR who_may.name = '*' OR right(who_may.name, 2) = '/*' THEN
        RAISE EXCEPTION 'name must be the name of one secret' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.check_pattern(who_may.name);
    PERFORM vault.check_actions(ARRAY[who_may.action]);
    RETURN QUERY
        WITH allowing AS (
            SELECT g.grantee AS oid, g.pattern FROM vault.access_grants g JOIN pg_roles r ON r.oid = g.grantee
            WHERE g.action = who_may.action AND vault.pattern_matches(g.pattern, who_may.name)
        ), able AS (  -- what a role may without SET ROLE; of superusers it says so, and not what they would inherit
            SELECT r.oid, 'superuser' AS how, NULL::oid AS grantee, NULL::text AS pattern FROM pg_roles r WHERE r.rolsuper
            UNION ALL
            SELECT r.oid, CASE WHEN r.oid = a.oid THEN 'granted' ELSE 'inherited' END, a.oid, a.pattern
            FROM pg_roles r JOIN allowing a ON pg_has_role(r.oid, a.oid, 'USAGE') WHERE NOT r.rolsuper
        ), becoming AS (
            SELECT r.oid, a.oid AS as_role, a.grantee, a.pattern
            FROM pg_roles r JOIN able a ON a.oid <> r.oid AND pg_has_role(r.oid, a.oid, settable)
            WHERE NOT r.rolsuper
              AND NOT EXISTS (SELECT FROM able own WHERE own.oid = r.oid AND own.grantee = a.grantee)
        )
        SELECT r.rolname::text, r.rolcanlogin, x.how, b.rolname::text, g.rolname::text, x.pattern
        FROM (SELECT a.oid, a.how, NULL::oid AS as_role, a.grantee, a.pattern FROM able a
              UNION ALL SELECT c.oid, 'set role', c.as_role, c.grantee, c.pattern FROM becoming c) x
        JOIN pg_roles r ON r.oid = x.oid
        LEFT JOIN pg_roles b ON b.oid = x.as_role
        LEFT JOIN pg_roles g ON g.oid = x.grantee
        ORDER BY r.rolname, x.how, b.rolname, g.rolname, x.pattern COLLATE "C";
END
$$;
COMMENT ON FUNCTION vault.who_may(text, text)
    IS 'the roles that may do an action on a name, and the grant that lets each; also those that may after SET ROLE';

-- The same for all names at once: to ask vault.may of each takes seconds where there are many. Below a prefix 'a/' are
-- the names from 'a/' to 'a0', the byte after '/'; no character of a name is above 'z' or below '-'.
CREATE FUNCTION vault.visible_names(caller oid) RETURNS TABLE (first text, beyond text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = caller AND r.rolsuper) THEN
        RETURN QUERY VALUES ('', '~');
        RETURN;
    END IF;
    RETURN QUERY
        WITH granted AS (
            SELECT CASE WHEN g.pattern = '*' THEN '' WHEN right(g.pattern, 2) = '/*' THEN left(g.pattern, -1)
                        ELSE g.pattern END COLLATE "C" AS low,
                   CASE WHEN g.pattern = '*' THEN '~' WHEN right(g.pattern, 2) = '/*' THEN left(g.pattern, -2) || '0'
                        ELSE g.pattern || '!' END COLLATE "C" AS high
            FROM vault.access_grants g WHERE pg_has_role(caller, g.grantee, 'USAGE')
        ), nested AS (
            SELECT low, high, max(high) OVER (ORDER BY low, high DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
            FROM granted
        )
        -- Two ranges are apart, or one has the other in it.
        SELECT low, high FROM nested WHERE reached IS NULL OR high > reached;
END
$$;
COMMENT ON FUNCTION vault.visible_names(oid)
    IS 'the names on which a role may do anything at all, as ranges of byte order without their end, which do not overlap';

CREATE FUNCTION vault.require(caller oid, wanted text, target text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Decided by the name alone, before anything is looked up: existing or not, a refusal reads the same.
    IF vault.may(caller, wanted, target) IS NOT TRUE THEN
        RAISE EXCEPTION 'permission denied to % secret "%"', wanted, target
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('An administrator can allow it: SELECT vault.grant_access(%L, %L, ''{%s}'');',
                                caller::regrole, target, wanted);
    END IF;
END
$$;
COMMENT ON FUNCTION vault.require(oid, text, text) IS 'raises unless vault.may()';

-- The sealed path: what the API's login role calls. Values go in and out sealed.

CREATE FUNCTION vault.info_of(s vault.secrets) RETURNS vault.secret_info
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ROW(s.id, s.name, s.kind, s.content_type, s.description, s.tags, s.rotation_interval_secs,
               s.grace_period_secs, s.generate_policy, s.current_version, s.next_rotation_at, s.rotation_schedule,
               s.rotation_time_zone, s.rotation_window_secs, s.rotation_paused, s.keep_versions, s.created_at,
               s.updated_at, s.settings_revision)::vault.secret_info
$$;
COMMENT ON FUNCTION vault.info_of(vault.secrets) IS 'the public part of a row';

CREATE FUNCTION vault.raise_not_found(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" does not exist', name
        USING ERRCODE = 'undefined_object', HINT = 'List those that you may see: SELECT name FROM vault.list_secrets();';
END
$$;
COMMENT ON FUNCTION vault.raise_not_found(text) IS 'the one way to say that a secret is not there';

CREATE FUNCTION vault.raise_stale(name text, present bigint, expected bigint) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" is at version %, not %', name, present, expected
        USING ERRCODE = 'VT001', HINT = 'It has changed since it was read. Read it again, then decide.';
END
$$;
COMMENT ON FUNCTION vault.raise_stale(text, bigint, bigint) IS 'the one way to say that an expected version is stale';

CREATE FUNCTION vault.require_writable() RETURNS void
AS 'MODULE_PATHNAME', 'hv_require_writable' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.require_writable() IS 'raises on a standby, saying where the primary is, and in a read-only transaction';

CREATE FUNCTION vault.raise_exists(name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'secret "%" already exists', name
        USING ERRCODE = 'unique_violation', CONSTRAINT = 'secrets_name_key',
              HINT = 'vault.update_secret() replaces its value.';
END
$$;
COMMENT ON FUNCTION vault.raise_exists(text) IS 'the one way to say that a name is taken';

CREATE FUNCTION vault.first_version(name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last vault.secrets;
BEGIN
    -- The numbers of a name go on after a deletion: an expected version, an ETag or ?version= that was meant for a
    -- deleted secret is never one of its successor.
    SELECT * INTO last FROM vault.secrets s WHERE s.name = first_version.name ORDER BY s.first_version DESC LIMIT 1;
    IF FOUND AND last.deleted_at IS NULL THEN
        PERFORM vault.raise_exists(first_version.name);
    END IF;
    RETURN coalesce(last.current_version, 0) + 1;
END
$$;
COMMENT ON FUNCTION vault.first_version(text)
    IS 'the version at which a new secret of this name begins: 1, or the next one after the last that the name ever had; raises if the name is taken';

CREATE FUNCTION vault.create_secret(id uuid, name text, version bigint, sealed vault.sealed_value, kind text,
                                    content_type text, settings vault.secret_settings, origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    created vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    PERFORM vault.check_settings(create_secret.kind, settings);
    IF create_secret.version = vault.first_version(create_secret.name) THEN
        INSERT INTO vault.secrets (id, name, kind, content_type, description, tags, rotation_interval_secs,
                                   rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused,
                                   grace_period_secs, keep_versions, generate_policy, first_version, current_version,
                                   next_rotation_at, created_at, updated_at)
        VALUES (create_secret.id, create_secret.name, create_secret.kind, create_secret.content_type,
                coalesce(settings.description, ''), coalesce(settings.tags, '{}'), settings.rotation_interval_secs,
                settings.rotation_schedule, coalesce(settings.rotation_time_zone, 'UTC'),
                nullif(settings.rotation_window_secs, 0), coalesce(settings.rotation_paused, false),
                coalesce(settings.grace_period_secs, 0), coalesce(settings.keep_versions, 0), settings.generate_policy,
                create_secret.version, create_secret.version,
                stamp + make_interval(secs => settings.rotation_interval_secs), stamp, stamp)
        ON CONFLICT (name, first_version) DO NOTHING
        RETURNING * INTO created;
    END IF;
    IF created.id IS NULL THEN
        PERFORM vault.first_version(create_secret.name);  -- raises if the name is taken by now
        RAISE EXCEPTION 'could not serialize the creation of secret "%": the name was used and freed meanwhile', create_secret.name
            USING ERRCODE = 'serialization_failure', CONSTRAINT = 'secrets_first_version_key',
                  HINT = 'The transaction might succeed if retried.';
    END IF;
    PERFORM vault.insert_version(created.id, created.current_version, create_secret.sealed, stamp);
    PERFORM vault.note_change(origin, 'create', created.id, created.name, created.current_version);
    RETURN vault.info_of(created);
END
$$;
COMMENT ON FUNCTION vault.create_secret(uuid, text, bigint, vault.sealed_value, text, text, vault.secret_settings,
    vault.audit_origin) IS 'stores a new secret whose first version was sealed for this id, name and version';

CREATE FUNCTION vault.is_time_zone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Reads every file of the time zone database: some 40 ms. STRICT, because AND asks its other side too when one is NULL,
    -- and who names no zone must not wait for that. Names that mean something only on this machine, and copies of the
    -- database under other names, are no time zones.
    RETURN name !~ '^(posix|right)/' AND name NOT IN ('localtime', 'posixrules', 'Factory')
       AND EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = is_time_zone.name);
END
$$;
COMMENT ON FUNCTION vault.is_time_zone(text) IS 'whether a name is one of the time zone database, by its exact spelling';

CREATE FUNCTION vault.tags_fit(tags jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- The limits of REST, whose every reader decodes them.
    SELECT count(*) <= 32
       AND coalesce(bool_and(jsonb_typeof(t.value) = 'string' AND octet_length(t.key) BETWEEN 1 AND 64
                             AND octet_length(t.value #>> '{}') <= 256), true)
    FROM jsonb_each(tags) t
$$;
COMMENT ON FUNCTION vault.tags_fit(jsonb) IS 'whether an object is one of tags: a few short strings';

CREATE FUNCTION vault.check_settings(kind text, settings vault.secret_settings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN kind IS NULL OR kind NOT IN ('manual', 'automatic') THEN 'kind must be manual or automatic'
        WHEN kind = 'manual' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) > 0
            THEN 'a manual secret has no rotation_interval_secs and no rotation_schedule'
        WHEN kind = 'automatic' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) <> 1
            THEN 'an automatic secret needs rotation_interval_secs or rotation_schedule, not both'
        WHEN settings.rotation_interval_secs NOT BETWEEN 1 AND 315360000
            THEN 'rotation_interval_secs must be between 1 and 315360000'
        WHEN octet_length(settings.rotation_schedule) NOT BETWEEN 9 AND 255
            THEN 'rotation_schedule must be between 9 and 255 bytes'
        WHEN settings.rotation_time_zone <> 'UTC' AND NOT vault.is_time_zone(settings.rotation_time_zone)
            THEN 'rotation_time_zone is not a time zone that PostgreSQL knows'
        WHEN settings.rotation_window_secs <> 0 AND settings.rotation_window_secs NOT BETWEEN 60 AND 31536000
            THEN 'rotation_window_secs must be 0 (none) or between 60 and 31536000'
        WHEN settings.grace_period_secs NOT BETWEEN 0 AND 315360000
            THEN 'grace_period_secs must be between 0 and 315360000'
        WHEN settings.keep_versions NOT BETWEEN 0 AND 100 THEN 'keep_versions must be between 0 and 100'
        WHEN octet_length(settings.description) > 1024 THEN 'description must be at most 1024 bytes'
        WHEN jsonb_typeof(settings.tags) <> 'object' OR octet_length(settings.tags::text) > 4096
            THEN 'tags must be a JSON object of at most 4096 bytes'
        WHEN NOT vault.tags_fit(settings.tags)
            THEN 'tags must be an object of strings: at most 32, names of 1 to 64 bytes, values of at most 256 bytes'
        WHEN jsonb_typeof(settings.generate_policy) <> 'object'
             OR octet_length(settings.generate_policy::text) > 4096
            THEN 'generate_policy must be a JSON object of at most 4096 bytes'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_settings(text, vault.secret_settings)
    IS 'raises with a sentence where the constraints of the table would raise with a name';

CREATE FUNCTION vault.note_change(origin vault.audit_origin, action text, id uuid, name text, version bigint,
                                  details jsonb DEFAULT NULL, change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.append_audit(origin, note_change.action, note_change.name, note_change.version, 'ok', '',
                               note_change.change, note_change.details);
    INSERT INTO vault.changes (at, action, name, version)
    VALUES (clock_timestamp(), note_change.action, note_change.name, note_change.version);
    -- Any role may listen to any channel. The id says nothing to those who may not see the secret's name.
    PERFORM pg_notify('hyperion_vault_changes',
                      jsonb_build_object('id', note_change.id, 'version', note_change.version)::text);
END
$$;
COMMENT ON FUNCTION vault.note_change(vault.audit_origin, text, uuid, text, bigint, jsonb, uuid)
    IS 'audits a change and tells those who follow, at its commit';

CREATE FUNCTION vault.insert_version(id uuid, version bigint, sealed vault.sealed_value, stamp timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.secret_versions (secret_id, version, envelope_version, kms_key_id, wrapped_dek, nonce,
                                       ciphertext, created_at)
    VALUES (insert_version.id, insert_version.version, sealed.envelope_version, sealed.kms_key_id,
            sealed.wrapped_dek, sealed.nonce, sealed.ciphertext, stamp);
END
$$;
COMMENT ON FUNCTION vault.insert_version(uuid, bigint, vault.sealed_value, timestamptz) IS 'stores one sealed version';

CREATE FUNCTION vault.lock_secret(id uuid, expected_version bigint) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.id = lock_secret.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(lock_secret.id::text);
    ELSIF s.current_version IS DISTINCT FROM lock_secret.expected_version THEN
        PERFORM vault.raise_stale(s.name, s.current_version, lock_secret.expected_version);
    END IF;
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.lock_secret(uuid, bigint) IS 'locks a secret if the expected version is current';

CREATE FUNCTION vault.supersede(s vault.secrets, sealed vault.sealed_value, action text, next_rotation_at timestamptz,
                                origin vault.audit_origin, details jsonb DEFAULT NULL)
RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();  -- after the lock: versions of a secret are stamped in their order
BEGIN
    UPDATE vault.secrets x
    SET current_version = s.current_version + 1, updated_at = stamp,
        next_rotation_at = supersede.next_rotation_at
    WHERE x.id = s.id
    RETURNING * INTO s;
    UPDATE vault.secret_versions v
    SET expires_at = stamp + make_interval(secs => s.grace_period_secs)
    WHERE v.secret_id = s.id AND v.version = s.current_version - 1;
    PERFORM vault.insert_version(s.id, s.current_version, supersede.sealed, stamp);
    PERFORM vault.sweep_versions(s);
    PERFORM vault.note_change(origin, supersede.action, s.id, s.name, s.current_version, supersede.details);
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.supersede(vault.secrets, vault.sealed_value, text, timestamptz, vault.audit_origin, jsonb)
    IS 'makes a sealed value the current version of a locked secret; the old one enters its grace';

CREATE FUNCTION vault.sweep_versions(s vault.secrets) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM vault.secret_versions v
    WHERE v.secret_id = s.id AND v.version < s.current_version - s.keep_versions
      AND (v.expired OR v.expires_at <= clock_timestamp());
END
$$;
COMMENT ON FUNCTION vault.sweep_versions(vault.secrets) IS 'deletes expired versions of a locked secret beyond those kept';

CREATE FUNCTION vault.append_version(id uuid, expected_version bigint, sealed vault.sealed_value, action text,
                                     settings vault.secret_settings, reschedule boolean,
                                     origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    before vault.secrets;
    details jsonb;
BEGIN
    IF append_version.action IS NULL OR append_version.action NOT IN ('update', 'rotate') THEN
        RAISE EXCEPTION 'action must be update or rotate' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    s := vault.lock_secret(append_version.id, append_version.expected_version);
    IF NOT (settings IS NULL) THEN  -- of a row, IS NOT NULL would ask for every field
        before := s;
        s := vault.apply_settings(s, settings);
        details := vault.settings_changed(before, s);
    END IF;
    IF reschedule THEN
        -- What was due is done by this; the next comes an interval from now, or by the schedule.
        DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
        s.next_rotation_at := clock_timestamp() + make_interval(secs => s.rotation_interval_secs);
    END IF;
    s := vault.supersede(s, append_version.sealed, append_version.action, s.next_rotation_at, origin,
                         details);
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.append_version(uuid, bigint, vault.sealed_value, text, vault.secret_settings, boolean,
    vault.audit_origin)
    IS 'makes a sealed value the current version, if the expected one still is; the schedule stays unless asked';

CREATE FUNCTION vault.delete_secret(id uuid, expected_version bigint, origin vault.audit_origin,
                                    change uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    s vault.secrets;
BEGIN
    s := vault.lock_secret(delete_secret.id, delete_secret.expected_version);
    DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
    DELETE FROM vault.secret_versions v WHERE v.secret_id = s.id;
    UPDATE vault.secrets x
    SET deleted_at = clock_timestamp(), updated_at = clock_timestamp(), next_rotation_at = NULL
    WHERE x.id = s.id;
    PERFORM vault.note_change(origin, 'delete', s.id, s.name, s.current_version, NULL, delete_secret.change);
END
$$;
COMMENT ON FUNCTION vault.delete_secret(uuid, bigint, vault.audit_origin, uuid)
    IS 'destroys every version of a secret, if the expected one is current, and frees its name';

-- The planner takes a plan for these very names to be cheaper than the one it has, and made it anew at every call:
-- four fifths of the time of a read. The kept plan must be the one by index whatever size the tables had when it was made.
CREATE FUNCTION vault.read_sealed(names text[], version bigint) RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version,
               v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at
        FROM vault.secrets s
        JOIN vault.secret_versions v
          ON v.secret_id = s.id AND v.version = coalesce(read_sealed.version, s.current_version)
        WHERE s.name = ANY (names) AND s.deleted_at IS NULL
          -- Only a superseded version expires: one that does is not taken for the current one.
          AND (v.expires_at IS NULL
               OR read_sealed.version IS NOT NULL
                  AND ((v.expires_at > clock_timestamp() AND NOT v.expired)
                       OR v.version BETWEEN s.current_version - s.keep_versions AND s.current_version - 1));
END
$$;
COMMENT ON FUNCTION vault.read_sealed(text[], bigint)
    IS 'sealed values of names: the current version, or a given one while it has not expired or is kept';

CREATE FUNCTION vault.read_verifiable(name text) RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT s.id, s.name, s.content_type, s.kind, s.current_version, v.version, v.envelope_version,
               v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext, v.created_at, v.expires_at
        FROM vault.secrets s
        JOIN vault.secret_versions v ON v.secret_id = s.id
        WHERE s.name = read_verifiable.name AND s.deleted_at IS NULL
          AND (v.expires_at IS NULL OR (v.expires_at > clock_timestamp() AND NOT v.expired))
        ORDER BY v.version DESC;
END
$$;
COMMENT ON FUNCTION vault.read_verifiable(text) IS 'the current version and those in grace, newest first';

CREATE FUNCTION vault.describe_secret(name text) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.name = describe_secret.name AND s.deleted_at IS NULL;
END
$$;
COMMENT ON FUNCTION vault.describe_secret(text) IS 'a secret without its value; no row if there is none';

CREATE FUNCTION vault.describe_secrets(prefix text, after text, page_size integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text := coalesce(prefix, '');
    beyond text := vault.prefix_end(wanted);
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, wanted)
                   AND s.name > coalesce(after, '') AND s.name >= wanted COLLATE "C" AND s.name < beyond COLLATE "C"
                 ORDER BY s.name LIMIT page_size;
END
$$;
COMMENT ON FUNCTION vault.describe_secrets(text, text, integer) IS 'a page of secrets without values, by name in byte order';

CREATE FUNCTION vault.describe_versions(name text) RETURNS SETOF vault.version_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT v.version, v.envelope_version, v.kms_key_id, v.created_at, v.expires_at
                 FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id
                 WHERE s.name = describe_versions.name AND s.deleted_at IS NULL
                 ORDER BY v.version DESC;
END
$$;
COMMENT ON FUNCTION vault.describe_versions(text) IS 'the versions of a secret without values, newest first';

CREATE FUNCTION vault.extension_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault' $$;
COMMENT ON FUNCTION vault.extension_version() IS 'version of the installed schema';

-- A schema serves the protocol before its own too, so that a program can be rolled back after an update.
CREATE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer)
LANGUAGE sql IMMUTABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 1, 1 $$;
COMMENT ON FUNCTION vault.api_protocols() IS 'the protocols of hyperion-vault-api that this schema serves; a program that speaks none of them refuses to use it';

-- Audit

CREATE FUNCTION vault.audit_base(timeline bigint, OUT base bigint, OUT made_by xid)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    SELECT n.base, n.xmin INTO base, made_by FROM vault.audit_numbering n WHERE n.timeline = audit_base.timeline;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Of two at once the second waits, and finds the row as the first has left it. 2^46 is what 16 million transactions
    -- use: a primary that was lost had not written more that its successor has not replayed.
    INSERT INTO vault.audit_numbering (timeline, base)
    VALUES (audit_base.timeline, (SELECT coalesce(max(l.id), 0) FROM vault.audit_log l))
    ON CONFLICT ON CONSTRAINT audit_numbering_pkey DO UPDATE
    SET timeline = excluded.timeline, base = greatest(audit_numbering.base + (1::bigint << 46), excluded.base)
    WHERE audit_numbering.timeline <> excluded.timeline;
    SELECT n.base, n.xmin INTO STRICT base, made_by FROM vault.audit_numbering n WHERE n.timeline = audit_base.timeline;
END
$$;
COMMENT ON FUNCTION vault.audit_base(bigint)
    IS 'where the ids of audit records begin on a timeline, and the transaction that decided so';

CREATE FUNCTION vault.append_audit(origin vault.audit_origin, action text, secret_name text, version bigint,
                                   outcome text, code text, change uuid DEFAULT NULL, details jsonb DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                 code, request_id, change, details)
    VALUES (clock_timestamp(), origin.node, origin.actor, origin.session_role, origin.client_ip,
            append_audit.action, append_audit.secret_name, append_audit.version, append_audit.outcome,
            append_audit.code, origin.request_id, append_audit.change, append_audit.details);
END
$$;
COMMENT ON FUNCTION vault.append_audit(vault.audit_origin, text, text, bigint, text, text, uuid, jsonb)
    IS 'appends one audit record; a second one of the same change is refused, and what it records with it';

CREATE FUNCTION vault.change_made(change uuid) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT l.at FROM vault.audit_log l WHERE l.change = change_made.change $$;
COMMENT ON FUNCTION vault.change_made(uuid) IS 'when a change was made that was sent with an id; null if it was not';

CREATE FUNCTION vault.local_origin() RETURNS vault.audit_origin
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(coalesce(nullif(current_setting('cluster_name'), ''), 'postgresql'), 'role:' || session_user,
               session_user, inet_client_addr(), 'pid-' || pg_backend_pid())::vault.audit_origin
$$;
COMMENT ON FUNCTION vault.local_origin() IS 'origin of what the session does by an administrative function';

CREATE FUNCTION vault.record_look(action text, target text) RETURNS void
AS 'MODULE_PATHNAME', 'hv_record_look' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.record_look(text, text) IS 'has the key agent record a look at the audit';

CREATE FUNCTION vault.look_at_audit(target text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The agent of the node records the look, like a read, and no rollback takes that back. Where there is no agent, the
    -- record is the transaction's, if that can write.
    PERFORM vault.record_look('audit', look_at_audit.target);
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE;
    END IF;
    PERFORM vault.append_audit(vault.local_origin(), 'audit', look_at_audit.target, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.look_at_audit(text) IS 'records that the audit is read; raises where that cannot be recorded';

CREATE FUNCTION vault.audit(name_prefix text DEFAULT NULL, since timestamptz DEFAULT NULL,
                            max_rows integer DEFAULT 1000, until timestamptz DEFAULT NULL)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF audit.max_rows IS NULL OR audit.max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.look_at_audit(audit.name_prefix);
    RETURN QUERY
        SELECT newest.* FROM (
            SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
                   l.outcome, l.code, l.request_id, l.details
            FROM vault.audit_log l
            WHERE (audit.name_prefix IS NULL OR vault.has_prefix(l.secret_name, audit.name_prefix))
              AND (audit.since IS NULL OR l.at >= audit.since)
              AND (audit.until IS NULL OR l.at < audit.until)
            ORDER BY l.at DESC, l.id DESC
            LIMIT audit.max_rows) newest
        ORDER BY newest.at, newest.id;
END
$$;
COMMENT ON FUNCTION vault.audit(text, timestamptz, integer, timestamptz)
    IS 'the newest audit records since a time and before another, oldest first by the time of the operation';

CREATE FUNCTION vault.audit_page(after_id bigint, max_rows integer)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- Ids from here on may belong to transactions that are not over. Null: all records were restored from a dump.
    beyond bigint := (SELECT n.base FROM vault.audit_numbering n)
                     + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 22);
BEGIN
    RETURN QUERY
        SELECT l.id, l.at, l.node, l.actor, l.session_role, l.client_ip, l.action, l.secret_name, l.version,
               l.outcome, l.code, l.request_id, l.details
        FROM vault.audit_log l
        WHERE l.id > audit_page.after_id AND l.id < coalesce(beyond, 9223372036854775807)
        ORDER BY l.id LIMIT audit_page.max_rows;
END
$$;
COMMENT ON FUNCTION vault.audit_page(bigint, integer) IS 'what vault.audit_after() returns, for the API, which records the look';

CREATE FUNCTION vault.audit_after(after_id bigint, max_rows integer DEFAULT 1000)
RETURNS TABLE (id bigint, at timestamptz, node text, actor text, session_role text, client_ip inet, action text,
               secret_name text, version bigint, outcome text, code text, request_id text, details jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF audit_after.after_id IS NULL THEN
        RAISE EXCEPTION 'after_id must not be null' USING ERRCODE = 'null_value_not_allowed',
            HINT = 'Begin with 0, and go on with the id of the last record.';
    ELSIF audit_after.max_rows IS NULL OR audit_after.max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM vault.look_at_audit(NULL);
    RETURN QUERY SELECT p.* FROM vault.audit_page(audit_after.after_id, audit_after.max_rows) p;
END
$$;
COMMENT ON FUNCTION vault.audit_after(bigint, integer)
    IS 'the audit records that follow an id, in the order of ids, each once, also those that commit late; 0: from the first';

-- The journals of the nodes. Each record has a number in its journal, without gaps; the row of the journal says up to
-- which one they have arrived. Whoever ships holds that row, so records arrive once and in their order.

CREATE FUNCTION vault.audit_journal(journal uuid) RETURNS TABLE (last_sequence bigint, last_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- A standby may not know yet what has arrived.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'only the primary knows how far a journal has arrived' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN QUERY
        SELECT coalesce(max(j.last_sequence), 0), max(l.at)
        FROM vault.audit_journals j
        LEFT JOIN vault.audit_log l ON l.journal = j.journal AND l.sequence = j.last_sequence
        WHERE j.journal = audit_journal.journal;
END
$$;
COMMENT ON FUNCTION vault.audit_journal(uuid) IS 'the last record of a journal that has arrived, and its time; 0: none has';

CREATE FUNCTION vault.lock_journal(journal uuid, node text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known bigint;
BEGIN
    INSERT INTO vault.audit_journals (journal, node, last_sequence, created_at, shipped_at)
    VALUES (lock_journal.journal, lock_journal.node, 0, clock_timestamp(), clock_timestamp())
    ON CONFLICT ON CONSTRAINT audit_journals_pkey DO NOTHING;
    SELECT j.last_sequence INTO STRICT known FROM vault.audit_journals j
    WHERE j.journal = lock_journal.journal FOR NO KEY UPDATE;
    RETURN known;
END
$$;
COMMENT ON FUNCTION vault.lock_journal(uuid, text) IS 'the last record of a journal that has arrived; the row stays locked';

CREATE FUNCTION vault.ship_audit(journal uuid, node text, first_sequence bigint, ats timestamptz[], nodes text[],
    actors text[], session_roles text[], client_ips inet[], actions text[], secret_names text[], versions bigint[],
    outcomes text[], codes text[], request_ids text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known bigint;
    final bigint := ship_audit.first_sequence + cardinality(ship_audit.ats) - 1;
    common bigint;
BEGIN
    IF (cardinality(ship_audit.ats) BETWEEN 1 AND 10000 AND ship_audit.first_sequence >= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'a batch has 1 to 10000 records from number 1 on' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    known := vault.lock_journal(ship_audit.journal, ship_audit.node);
    IF ship_audit.first_sequence > known + 1 THEN
        RAISE EXCEPTION 'records % to % of the journal are missing', known + 1, ship_audit.first_sequence - 1
            USING ERRCODE = 'VT003';
    END IF;
    -- What has arrived before must be the same: two nodes with one journal would take each other's numbers.
    common := least(known, final);
    IF EXISTS (SELECT FROM vault.audit_log l
               WHERE l.journal = ship_audit.journal AND l.sequence = common AND common >= ship_audit.first_sequence
                 AND l.at <> ship_audit.ats[common - ship_audit.first_sequence + 1]) THEN
        RAISE EXCEPTION 'record % of the journal is another one here', common USING ERRCODE = 'VT004';
    END IF;
    IF final > known THEN
        INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                     code, request_id, journal, sequence)
        SELECT e.at, e.node, e.actor, e.session_role, e.client_ip, e.action, e.secret_name, e.version, e.outcome,
               e.code, e.request_id, ship_audit.journal, ship_audit.first_sequence + e.n - 1
        FROM unnest(ship_audit.ats, ship_audit.nodes, ship_audit.actors, ship_audit.session_roles,
                    ship_audit.client_ips, ship_audit.actions, ship_audit.secret_names, ship_audit.versions,
                    ship_audit.outcomes, ship_audit.codes, ship_audit.request_ids)
             WITH ORDINALITY AS e (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
                                   code, request_id, n)
        WHERE ship_audit.first_sequence + e.n - 1 > known
        ORDER BY e.n;
        UPDATE vault.audit_journals j
        SET last_sequence = final, node = ship_audit.node, shipped_at = clock_timestamp()
        WHERE j.journal = ship_audit.journal;
    END IF;
    RETURN greatest(known, final);
END
$$;
COMMENT ON FUNCTION vault.ship_audit(uuid, text, bigint, timestamptz[], text[], text[], text[], inet[], text[], text[],
    bigint[], text[], text[], text[])
    IS 'appends records of a journal, leaving out those that have arrived; returns the last one that has';

CREATE FUNCTION vault.skip_audit(journal uuid, node text, last_missing bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known bigint := vault.lock_journal(skip_audit.journal, skip_audit.node);
BEGIN
    IF skip_audit.last_missing <= known THEN
        RETURN known;
    END IF;
    INSERT INTO vault.audit_log (at, node, actor, action, secret_name, outcome, code, journal, sequence)
    VALUES (clock_timestamp(), skip_audit.node, 'journal', 'audit_gap',
            format('records %s to %s of journal %s are not there any more', known + 1, skip_audit.last_missing,
                   skip_audit.journal),
            'failed', 'unavailable', skip_audit.journal, skip_audit.last_missing);
    UPDATE vault.audit_journals j
    SET last_sequence = skip_audit.last_missing, node = skip_audit.node, shipped_at = clock_timestamp()
    WHERE j.journal = skip_audit.journal;
    RETURN skip_audit.last_missing;
END
$$;
COMMENT ON FUNCTION vault.skip_audit(uuid, text, bigint)
    IS 'goes on after records that their node does not have any more, and leaves a record of that';

CREATE FUNCTION vault.prune_audit(older_than interval, max_rows integer DEFAULT 100000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before timestamptz := clock_timestamp() - prune_audit.older_than;
    pruned bigint;
BEGIN
    PERFORM vault.require_writable();
    IF prune_audit.older_than IS NULL OR before > clock_timestamp() - interval '1 day' THEN
        RAISE EXCEPTION 'older_than must be at least 1 day' USING ERRCODE = 'invalid_parameter_value';
    ELSIF prune_audit.max_rows IS NULL OR prune_audit.max_rows NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 1000000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The last record of a journal stays: by it a node knows that this is the log which it ships to. So do the records of
    -- what was pruned.
    DELETE FROM vault.audit_log l WHERE l.id IN (
        SELECT o.id FROM vault.audit_log o
        WHERE o.at < before AND o.action <> 'audit_prune'
          AND NOT EXISTS (SELECT FROM vault.audit_journals j
                          WHERE j.journal = o.journal AND j.last_sequence = o.sequence)
        ORDER BY o.at, o.id LIMIT prune_audit.max_rows);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    IF pruned > 0 THEN
        PERFORM vault.append_audit(vault.local_origin(), 'audit_prune',
            format('%s records from before %s', pruned, to_char(before AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
            NULL, 'ok', '');
    END IF;
    RETURN pruned;
EXCEPTION WHEN OTHERS THEN
    PERFORM vault.record_failure('audit_prune', NULL, SQLSTATE);
    RAISE;
END
$$;
COMMENT ON FUNCTION vault.prune_audit(interval, integer)
    IS 'deletes the oldest audit records that are old enough, and leaves a record of that; returns how many';

-- Rotation. The supervisor (a background worker, on the primary only) enqueues what is due; a rotator in any API
-- process claims a job, seals a new value and completes the job in one transaction.

CREATE FUNCTION vault.apply_settings(s vault.secrets, settings vault.secret_settings) RETURNS vault.secrets
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stamp timestamptz := clock_timestamp();
    rescheduled boolean;
BEGIN
    -- An interval replaces a schedule, and the other way round; everything that is null stays.
    IF settings.rotation_schedule IS NULL THEN
        settings.rotation_interval_secs := coalesce(settings.rotation_interval_secs, s.rotation_interval_secs);
    END IF;
    IF settings.rotation_interval_secs IS NULL THEN
        settings.rotation_schedule := coalesce(settings.rotation_schedule, s.rotation_schedule);
    END IF;
    PERFORM vault.check_settings(s.kind, settings);
    settings.rotation_time_zone := coalesce(settings.rotation_time_zone, s.rotation_time_zone);
    rescheduled := settings.rotation_interval_secs IS DISTINCT FROM s.rotation_interval_secs
        OR settings.rotation_schedule IS DISTINCT FROM s.rotation_schedule
        OR (settings.rotation_schedule IS NOT NULL AND settings.rotation_time_zone <> s.rotation_time_zone);
    PERFORM vault.sweep_versions(s);  -- what was not to be kept does not come back because more are from now on
    UPDATE vault.secrets x
    SET description = coalesce(settings.description, x.description),
        tags = coalesce(settings.tags, x.tags),
        rotation_interval_secs = settings.rotation_interval_secs,
        rotation_schedule = settings.rotation_schedule,
        rotation_time_zone = settings.rotation_time_zone,
        rotation_window_secs = nullif(coalesce(settings.rotation_window_secs, x.rotation_window_secs), 0),
        rotation_paused = coalesce(settings.rotation_paused, x.rotation_paused),
        grace_period_secs = coalesce(settings.grace_period_secs, x.grace_period_secs),
        keep_versions = coalesce(settings.keep_versions, x.keep_versions),
        generate_policy = coalesce(settings.generate_policy, x.generate_policy),
        next_rotation_at = CASE WHEN rescheduled
                                THEN stamp + make_interval(secs => settings.rotation_interval_secs)
                                ELSE x.next_rotation_at END,
        settings_revision = x.settings_revision + 1,
        updated_at = stamp
    WHERE x.id = s.id
    RETURNING * INTO s;
    IF s.rotation_paused OR rescheduled THEN
        -- What is due by the old plan, or while paused, is not done; nothing of it is half done.
        DELETE FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed');
    END IF;
    PERFORM vault.sweep_versions(s);
    RETURN s;
END
$$;
COMMENT ON FUNCTION vault.apply_settings(vault.secrets, vault.secret_settings) IS 'changes the settings of a locked secret; null keeps';

CREATE FUNCTION vault.settings_of(s vault.secrets) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('description', s.description, 'tags', s.tags,
        'rotation_interval_secs', s.rotation_interval_secs, 'rotation_schedule', s.rotation_schedule,
        'rotation_time_zone', s.rotation_time_zone, 'rotation_window_secs', s.rotation_window_secs,
        'rotation_paused', s.rotation_paused, 'grace_period_secs', s.grace_period_secs,
        'keep_versions', s.keep_versions, 'generate_policy', s.generate_policy)
$$;
COMMENT ON FUNCTION vault.settings_of(vault.secrets) IS 'the settings of a secret, by name';

CREATE FUNCTION vault.settings_changed(before vault.secrets, now vault.secrets) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('old', coalesce(jsonb_object_agg(o.key, o.value), '{}'),
                              'new', coalesce(jsonb_object_agg(o.key, n.value), '{}'))
    FROM jsonb_each(vault.settings_of(before)) o JOIN jsonb_each(vault.settings_of(now)) n ON n.key = o.key
    WHERE o.value <> n.value
$$;
COMMENT ON FUNCTION vault.settings_changed(vault.secrets, vault.secrets)
    IS 'the settings that differ, before and after, for the audit';

CREATE FUNCTION vault.configure_secret(id uuid, expected_version bigint, settings vault.secret_settings,
                                       origin vault.audit_origin, change uuid DEFAULT NULL,
                                       expected_revision bigint DEFAULT NULL)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets := vault.lock_secret(id, expected_version);
    before vault.secrets := s;
BEGIN
    IF s.settings_revision <> expected_revision THEN
        RAISE EXCEPTION 'settings of secret "%" are at revision %, not %', s.name, s.settings_revision, expected_revision
            USING ERRCODE = 'VT001', HINT = 'They have changed since they were read. Read them again, then decide.';
    END IF;
    s := vault.apply_settings(s, settings);
    PERFORM vault.append_audit(origin, 'configure', s.name, s.current_version, 'ok', '', change,
                               vault.settings_changed(before, s));
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.configure_secret(uuid, bigint, vault.secret_settings, vault.audit_origin, uuid, bigint)
    IS 'changes settings, not the value, if what is expected is current; null keeps; an interval replaces a schedule and the other way round';

CREATE FUNCTION vault.expire_version(id uuid, version bigint, grace_secs bigint, origin vault.audit_origin,
                                     change uuid DEFAULT NULL)
RETURNS vault.version_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    v vault.secret_versions;
    stamp timestamptz;
    before timestamptz;
BEGIN
    PERFORM vault.require_writable();
    IF grace_secs IS NULL OR grace_secs NOT BETWEEN 0 AND 315360000 THEN
        RAISE EXCEPTION 'grace_secs must be between 0 and 315360000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO s FROM vault.secrets x WHERE x.id = expire_version.id AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM vault.raise_not_found(expire_version.id::text);
    ELSIF s.current_version = expire_version.version THEN
        RAISE EXCEPTION 'version % of secret "%" is the current one', expire_version.version, s.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Rotate or update the secret first.';
    END IF;
    stamp := clock_timestamp();
    SELECT x.expires_at INTO before FROM vault.secret_versions x
    WHERE x.secret_id = s.id AND x.version = expire_version.version;
    -- Only ever sooner: an expired version stays expired.
    UPDATE vault.secret_versions x
    SET expires_at = least(x.expires_at, stamp + make_interval(secs => grace_secs)), expired = x.expired OR grace_secs = 0
    WHERE x.secret_id = s.id AND x.version = expire_version.version
    RETURNING * INTO v;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'secret "%" has no version %', s.name, expire_version.version
            USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.sweep_versions(s);
    PERFORM vault.append_audit(origin, 'expire', s.name, v.version, 'ok', '', change,
        jsonb_build_object('old', jsonb_build_object('expires_at', before),
                           'new', jsonb_build_object('expires_at', v.expires_at)));
    RETURN ROW(v.version, v.envelope_version, v.kms_key_id, v.created_at, v.expires_at)::vault.version_info;
END
$$;
COMMENT ON FUNCTION vault.expire_version(uuid, bigint, bigint, vault.audit_origin, uuid)
    IS 'shortens the grace of a superseded version; 0 ends it now; one change once';

CREATE FUNCTION vault.next_due(due_at timestamptz, interval_secs bigint, stamp timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- The first time after stamp in the rhythm that due_at belongs to: what an outage missed is not made up for. An
    -- infinite one, by a hand in the tables, has no rhythm, and an error here would end the pass for all.
    SELECT CASE WHEN NOT isfinite(due_at) THEN stamp + make_interval(secs => interval_secs)
           ELSE due_at + make_interval(secs => interval_secs
               * (1 + greatest(0, floor(extract(epoch FROM stamp - due_at) / interval_secs)))) END
$$;
COMMENT ON FUNCTION vault.next_due(timestamptz, bigint, timestamptz) IS 'the next due time of an interval; null for a schedule';

CREATE TYPE vault.rotation_claim AS (
    job_id uuid,
    due_at timestamptz,
    claimed_at timestamptz,
    attempts integer,
    secret vault.secret_info
);
COMMENT ON TYPE vault.rotation_claim IS 'a rotation that a worker has taken on, and its secret';

CREATE FUNCTION vault.claim_rotations(worker text, lease_secs integer, max_jobs integer)
RETURNS SETOF vault.rotation_claim
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    PERFORM vault.require_writable();
    RETURN QUERY
        WITH open AS (
            SELECT j.id FROM vault.rotation_jobs j
            WHERE ((j.state = 'queued' AND j.next_attempt_at <= stamp)
                   OR (j.state = 'claimed' AND j.claimed_until <= stamp))
              AND (j.deadline_at IS NULL OR j.deadline_at > stamp)
            ORDER BY j.due_at LIMIT max_jobs FOR UPDATE SKIP LOCKED),
        taken AS (
            UPDATE vault.rotation_jobs j
            SET state = 'claimed', claimed_by = worker, claimed_until = stamp + make_interval(secs => lease_secs),
                attempts = j.attempts + 1
            FROM open WHERE j.id = open.id
            RETURNING j.id, j.due_at, j.attempts, j.secret_id)
        SELECT t.id, t.due_at, stamp, t.attempts, vault.info_of(s)
        FROM taken t JOIN vault.secrets s ON s.id = t.secret_id;
END
$$;
COMMENT ON FUNCTION vault.claim_rotations(text, integer, integer)
    IS 'takes on open jobs for lease_secs; a claim whose lease is over is taken over';

CREATE FUNCTION vault.renew_rotations(worker text, lease_secs integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    renewed bigint;
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.rotation_jobs j SET claimed_until = clock_timestamp() + make_interval(secs => lease_secs)
    WHERE j.id IN (SELECT o.id FROM vault.rotation_jobs o WHERE o.state = 'claimed' AND o.claimed_by = worker
                   FOR UPDATE SKIP LOCKED);  -- one that is locked is being finished, or taken over
    GET DIAGNOSTICS renewed = ROW_COUNT;
    RETURN renewed;
END
$$;
COMMENT ON FUNCTION vault.renew_rotations(text, integer)
    IS 'holds the claims of a worker that is alive for lease_secs more; those taken over stay taken; returns how many';

CREATE FUNCTION vault.lock_claim(job_id uuid, worker text) RETURNS vault.rotation_jobs
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job vault.rotation_jobs;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO job FROM vault.rotation_jobs j
    WHERE j.id = job_id AND j.state = 'claimed' AND j.claimed_by = worker FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the claim on rotation job % is lost', job_id
            USING ERRCODE = 'VT002', HINT = 'Its lease ended and another worker took it, or the rotation was called off.';
    END IF;
    RETURN job;
END
$$;
COMMENT ON FUNCTION vault.lock_claim(uuid, text) IS 'locks a job that the worker still holds';

CREATE FUNCTION vault.complete_rotation(job_id uuid, worker text, expected_version bigint, sealed vault.sealed_value,
                                        next_rotation_at timestamptz, origin vault.audit_origin)
RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job vault.rotation_jobs;
    s vault.secrets;
BEGIN
    -- The secret is locked before its job, as everywhere. A claim lost already is said to be lost, whatever version
    -- is current by now.
    SELECT j.* INTO job FROM vault.rotation_jobs j
    WHERE j.id = complete_rotation.job_id AND j.state = 'claimed' AND j.claimed_by = complete_rotation.worker;
    IF FOUND THEN
        s := vault.lock_secret(job.secret_id, complete_rotation.expected_version);
    END IF;
    job := vault.lock_claim(complete_rotation.job_id, complete_rotation.worker);
    s := vault.supersede(s, complete_rotation.sealed, 'rotate',
        coalesce(vault.next_due(job.due_at, s.rotation_interval_secs, clock_timestamp()),
                 complete_rotation.next_rotation_at),
        origin);
    UPDATE vault.rotation_jobs j
    SET state = 'done', finished_at = clock_timestamp(), claimed_by = NULL, claimed_until = NULL,
        last_error = NULL, version = s.current_version
    WHERE j.id = job.id;
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.complete_rotation(uuid, text, bigint, vault.sealed_value, timestamptz, vault.audit_origin)
    IS 'stores the rotated value and ends the job, in one transaction; VT002 when the claim is lost';

CREATE FUNCTION vault.fail_rotation(job_id uuid, worker text, reason text, code text, origin vault.audit_origin)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job vault.rotation_jobs := vault.lock_claim(fail_rotation.job_id, fail_rotation.worker);
    -- What is away comes back, and is then wanted soon.
    longest integer := CASE WHEN fail_rotation.code = 'unavailable' THEN 300 ELSE 3600 END;
    retry_at timestamptz := clock_timestamp() + make_interval(secs => least(longest, 2.0 ^ least(job.attempts, 12)));
BEGIN
    UPDATE vault.rotation_jobs j
    SET state = 'queued', claimed_by = NULL, claimed_until = NULL, next_attempt_at = retry_at,
        last_error = left(fail_rotation.reason, 250)
    WHERE j.id = job.id;
    PERFORM vault.append_audit(fail_rotation.origin, 'rotate',
        (SELECT s.name FROM vault.secrets s WHERE s.id = job.secret_id), NULL, 'failed', fail_rotation.code);
    RETURN retry_at;
END
$$;
COMMENT ON FUNCTION vault.fail_rotation(uuid, text, text, text, vault.audit_origin)
    IS 'gives a job back with the reason; it is retried after 2, 4, 8 ... seconds, at most an hour, five minutes if something was unavailable; returns when';

CREATE FUNCTION vault.release_rotation(job_id uuid, worker text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job vault.rotation_jobs := vault.lock_claim(release_rotation.job_id, release_rotation.worker);
BEGIN
    UPDATE vault.rotation_jobs j
    SET state = 'queued', claimed_by = NULL, claimed_until = NULL, attempts = j.attempts - 1
    WHERE j.id = job.id;
    NOTIFY hyperion_vault_rotation;
END
$$;
COMMENT ON FUNCTION vault.release_rotation(uuid, text) IS 'gives a job back untouched, for others to take on at once';

CREATE FUNCTION vault.unplanned_rotations(max_rows integer) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT (vault.info_of(s)).* FROM vault.secrets s
                 WHERE s.rotation_schedule IS NOT NULL AND s.next_rotation_at IS NULL AND s.deleted_at IS NULL
                 ORDER BY s.updated_at LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.unplanned_rotations(integer) IS 'secrets with a schedule whose next time is to be computed';

CREATE FUNCTION vault.plan_rotation(id uuid, schedule text, time_zone text, next_rotation_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.secrets s SET next_rotation_at = plan_rotation.next_rotation_at
    WHERE s.id = plan_rotation.id AND s.next_rotation_at IS NULL AND s.deleted_at IS NULL
      AND s.rotation_schedule = plan_rotation.schedule AND s.rotation_time_zone = plan_rotation.time_zone;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION vault.plan_rotation(uuid, text, text, timestamptz)
    IS 'sets the next time of a schedule, if it is still the one that was computed for';

-- What a pass of the supervisor does, on the primary only.

CREATE FUNCTION vault.supervise(batch integer, enqueue boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    expired_now bigint;
    missed_now bigint;
    enqueued_now bigint;
BEGIN
    PERFORM vault.mend_times(stamp, (SELECT p.last_pass_at FROM vault.supervisor_passes p));
    expired_now := vault.expire_due(stamp, batch);
    missed_now := vault.miss_due(stamp, batch);
    PERFORM vault.pass_over_done(stamp, batch);
    INSERT INTO vault.rotation_jobs (secret_id, due_at, deadline_at, next_attempt_at, created_at)
    SELECT s.id, s.next_rotation_at, s.next_rotation_at + make_interval(secs => s.rotation_window_secs), stamp, stamp
    FROM vault.secrets s
    WHERE enqueue AND s.next_rotation_at <= stamp AND NOT s.rotation_paused AND s.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM vault.rotation_jobs j
                      WHERE j.secret_id = s.id AND (j.state IN ('queued', 'claimed') OR j.due_at = s.next_rotation_at))
    ORDER BY s.next_rotation_at LIMIT batch
    FOR SHARE OF s SKIP LOCKED  -- one that is being paused or rescheduled comes in the next pass, as it then is
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS enqueued_now = ROW_COUNT;
    DELETE FROM vault.rotation_jobs j WHERE j.finished_at < stamp - interval '30 days';
    PERFORM vault.prune_changes(stamp - interval '7 days');
    INSERT INTO vault.supervisor_passes (last_pass_at, enqueued, expired) VALUES (stamp, enqueued_now, expired_now)
    ON CONFLICT ON CONSTRAINT supervisor_passes_pkey
    DO UPDATE SET last_pass_at = excluded.last_pass_at, enqueued = excluded.enqueued, expired = excluded.expired;
    IF enqueued_now > 0 THEN
        NOTIFY hyperion_vault_rotation;
    END IF;
    RETURN greatest(expired_now, missed_now, enqueued_now);
END
$$;
COMMENT ON FUNCTION vault.supervise(integer, boolean)
    IS 'one pass of the supervisor: expire, enqueue, notify; returns the most that it did of one kind: there is more when that is batch';

CREATE FUNCTION vault.mend_times(stamp timestamptz, last_pass_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    set_back boolean := last_pass_at IS NULL OR last_pass_at > stamp + interval '1 minute';
BEGIN
    -- A clock that was ahead has left times that would be waited for. Looked for when it was set back, which the last
    -- pass shows, and every hour for what that cannot show. To try, claim or plan once too often does no harm.
    IF NOT set_back AND date_trunc('hour', last_pass_at) = date_trunc('hour', stamp) THEN
        RETURN;
    END IF;
    UPDATE vault.rotation_jobs j SET next_attempt_at = stamp  -- a retry waits for an hour at most
    WHERE j.state = 'queued' AND j.next_attempt_at > stamp + CASE WHEN set_back THEN interval '0' ELSE interval '61 minutes' END;
    UPDATE vault.rotation_jobs j SET claimed_until = stamp  -- no lease of the API is longer than a minute
    WHERE j.state = 'claimed' AND j.claimed_until > stamp + CASE WHEN set_back THEN interval '0' ELSE interval '2 minutes' END;
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.deleted_at IS NULL
          AND (x.next_rotation_at > stamp + make_interval(secs => x.rotation_interval_secs) + interval '1 minute'
               -- 29 February comes after eight years at the latest
               OR (x.rotation_schedule IS NOT NULL AND (x.next_rotation_at > stamp + interval '9 years'
                                                        OR (set_back AND x.next_rotation_at > stamp)))
               OR EXISTS (SELECT FROM vault.rotation_jobs j WHERE j.secret_id = x.id AND j.state IN ('queued', 'claimed')
                                                              AND j.due_at > stamp + interval '1 minute'))
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        DELETE FROM vault.rotation_jobs j
        WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed') AND j.due_at > stamp + interval '1 minute';
        UPDATE vault.secrets x
        SET next_rotation_at = CASE WHEN x.rotation_schedule IS NULL
                                    THEN least(x.next_rotation_at, stamp + make_interval(secs => x.rotation_interval_secs)) END
        WHERE x.id = s.id;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vault.mend_times(timestamptz, timestamptz) IS 'plans anew what was planned by a clock that was ahead';

CREATE FUNCTION vault.pass_over_done(stamp timestamptz, batch integer) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A due time never comes twice. A secret that is set back to one, as by a schedule planned after the clock was set
    -- back, goes on to the next; one with a schedule is to be planned.
    UPDATE vault.secrets x SET next_rotation_at = vault.next_due(x.next_rotation_at, x.rotation_interval_secs, stamp)
    WHERE x.id IN (
        SELECT s.id FROM vault.secrets s
        WHERE s.next_rotation_at <= stamp AND NOT s.rotation_paused AND s.deleted_at IS NULL
          AND EXISTS (SELECT FROM vault.rotation_jobs j WHERE j.secret_id = s.id AND j.due_at = s.next_rotation_at
                                                          AND j.state IN ('done', 'missed'))
        LIMIT batch FOR NO KEY UPDATE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION vault.pass_over_done(timestamptz, integer) IS 'moves secrets on whose due time was dealt with before';

CREATE FUNCTION vault.expire_due(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    marked bigint;
    total bigint := 0;
BEGIN
    -- The secret is locked before its versions, as everywhere; one that is being changed comes in the next pass.
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.id IN (SELECT v.secret_id FROM vault.secret_versions v
                       WHERE NOT v.expired AND v.expires_at <= stamp ORDER BY v.expires_at LIMIT batch)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        UPDATE vault.secret_versions v SET expired = true
        WHERE v.secret_id = s.id AND NOT v.expired AND v.expires_at <= stamp;
        GET DIAGNOSTICS marked = ROW_COUNT;
        total := total + marked;
        PERFORM vault.sweep_versions(s);
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.expire_due(timestamptz, integer) IS 'marks versions past their grace for ever, and deletes those not kept';

CREATE FUNCTION vault.miss_due(stamp timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
    total bigint := 0;
BEGIN
    -- The secret is locked before its job, as everywhere.
    FOR s IN
        SELECT x.* FROM vault.secrets x
        WHERE x.id IN (SELECT j.secret_id FROM vault.rotation_jobs j
                       WHERE j.state IN ('queued', 'claimed') AND j.deadline_at <= stamp LIMIT batch)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        UPDATE vault.rotation_jobs j
        SET state = 'missed', finished_at = stamp, claimed_by = NULL, claimed_until = NULL
        WHERE j.secret_id = s.id AND j.state IN ('queued', 'claimed') AND j.deadline_at <= stamp;
        UPDATE vault.secrets x SET next_rotation_at = vault.next_due(s.next_rotation_at, s.rotation_interval_secs, stamp)
        WHERE x.id = s.id;
        PERFORM vault.append_audit(ROW((vault.local_origin()).node, 'supervisor', NULL, NULL, NULL)::vault.audit_origin,
            'rotate', s.name, NULL, 'failed', 'unavailable');
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION vault.miss_due(timestamptz, integer) IS 'closes jobs whose window has passed, with a record in the audit; the next window comes';

CREATE FUNCTION vault.prune_changes(before timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    young vault.changes;
BEGIN
    -- From the start on, in the order of places: what a place is followed by is kept as long as the place. The last one
    -- stays: whoever has seen it misses nothing.
    SELECT * INTO young FROM vault.changes c WHERE c.at >= prune_changes.before ORDER BY c.xid, c.id LIMIT 1;
    DELETE FROM vault.changes c WHERE (c.xid, c.id) < (
        SELECT l.xid, l.id FROM vault.changes l
        WHERE (l.xid, l.id) < (coalesce(young.xid, '18446744073709551615'), coalesce(young.id, 0))
        ORDER BY l.xid DESC, l.id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION vault.prune_changes(timestamptz) IS 'deletes changes that are older, but for the last of them';

CREATE FUNCTION vault.owner_fault() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'role "vault_owner" ' || string_agg(f.what, ' and ' ORDER BY f.what)
           || ': it must be nobody''s, for it can read and change every table of the vault'
    FROM pg_roles r, LATERAL (
        SELECT 'can log in' AS what WHERE r.rolcanlogin
        UNION ALL SELECT 'has an attribute'
            WHERE r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
        UNION ALL SELECT 'has members' WHERE EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid)
        UNION ALL SELECT 'is a member of others' WHERE EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)) f
    WHERE r.rolname = 'vault_owner'
$$;
COMMENT ON FUNCTION vault.owner_fault() IS 'what of vault_owner has been changed that the extension relies on; null: nothing';

-- What happened, for those who follow, and how things stand. Both are read on any node.

CREATE FUNCTION vault.changes_since(after_xid text, after_id bigint, max_rows integer)
RETURNS TABLE (xid text, id bigint, at timestamptz, action text, name text, version bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT c.xid::text, c.id, c.at, c.action, c.name, c.version FROM vault.changes c
        WHERE (c.xid, c.id) > (after_xid::xid8, after_id)
          AND c.xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY c.xid, c.id LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION vault.changes_since(text, bigint, integer)
    IS 'changes after a place, of transactions that nothing can commit before any more';

CREATE FUNCTION vault.knows_change(xid text, id bigint, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF knows_change.xid = '0' THEN
        -- Before the first: as long as nothing was pruned, which leaves an old one.
        RETURN NOT EXISTS (SELECT FROM vault.changes c WHERE c.at < clock_timestamp() - interval '7 days');
    ELSIF EXISTS (SELECT FROM vault.changes c WHERE c.xid = knows_change.xid::xid8 AND c.id = knows_change.id
                                                AND c.at = knows_change.at) THEN
        RETURN true;
    END IF;
    BEGIN
        -- While a primary waits for its standby, that one shows the change and it does not.
        -- The status of a transaction that is too old to be looked up is null, which is no reason to wait.
        RETURN CASE WHEN pg_xact_status(knows_change.xid::xid8) IS DISTINCT FROM 'in progress' THEN false END;
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN false;  -- a transaction that is still to come here
    END;
END
$$;
COMMENT ON FUNCTION vault.knows_change(text, bigint, timestamptz)
    IS 'whether a place is one of this history from which on all changes are kept; null: its transaction is not over';

CREATE FUNCTION vault.last_change() RETURNS TABLE (xid text, id bigint, at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT c.xid::text, c.id, c.at FROM vault.changes c
                 WHERE c.xid < pg_snapshot_xmin(pg_current_snapshot())
                 ORDER BY c.xid DESC, c.id DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION vault.last_change() IS 'the place after which changes_since() shows what is new; no row: from the start';

CREATE FUNCTION vault.supervisor_state(OUT preloaded boolean, OUT database text, OUT enabled boolean,
                                       OUT scan_interval_secs integer, OUT launched_at timestamptz,
                                       OUT failing_since timestamptz, OUT reason text)
AS 'MODULE_PATHNAME', 'hv_supervisor_state' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION vault.supervisor_state()
    IS 'whether the library is preloaded, the settings of the supervisor, and why it makes no pass';

CREATE FUNCTION vault.supervision() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    s record;
    last_sign timestamptz;
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    last_sign := greatest((SELECT p.last_pass_at FROM vault.supervisor_passes p), s.launched_at, pg_postmaster_start_time());
    RETURN jsonb_build_object(
        'in_recovery', pg_is_in_recovery(),
        'preloaded', s.preloaded,
        'database', s.database,
        'serves', s.database = current_database(),
        -- Passes are scan_interval_secs apart, and a long one may take its time.
        'stalled', s.preloaded AND s.database = current_database() AND NOT pg_is_in_recovery()
                   AND stamp - last_sign > make_interval(secs => greatest(30, 4 * s.scan_interval_secs)),
        'last_sign_at', last_sign,
        'failing_since', s.failing_since,
        'reason', s.reason);
END
$$;
COMMENT ON FUNCTION vault.supervision() IS 'whether the supervisor of the answering server looks after this database';

CREATE FUNCTION vault.probe_write() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    BEGIN
        -- Enough for several pages, so that the table's file has to grow, as it has to under changes.
        PERFORM vault.append_audit(ROW('probe', 'probe', NULL, NULL, repeat('x', 64))::vault.audit_origin, 'status', '', NULL, 'ok', '')
        FROM generate_series(1, 200);
        RAISE EXCEPTION USING ERRCODE = 'VT000', MESSAGE = 'the probe is taken back';
    EXCEPTION WHEN SQLSTATE 'VT000' THEN
        NULL;
    END;
END
$$;
COMMENT ON FUNCTION vault.probe_write() IS 'writes what a change would write and takes it back; the error is a change''s';

CREATE FUNCTION vault.waiting() RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
    s record;
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('reason', w.reason, 'count', w.n, 'since', w.since) ORDER BY w.reason), '[]')
        FROM (
            SELECT CASE WHEN x.rotation_paused THEN 'paused' WHEN NOT s.enabled THEN 'disabled' ELSE 'not_enqueued' END AS reason,
                   count(*) AS n, min(x.next_rotation_at) AS since
            FROM vault.secrets x
            WHERE x.next_rotation_at <= stamp AND x.deleted_at IS NULL
              AND (x.rotation_paused OR NOT s.enabled
                   OR x.next_rotation_at <= stamp - make_interval(secs => 10 + 2 * s.scan_interval_secs))
              AND NOT EXISTS (SELECT FROM vault.rotation_jobs j WHERE j.secret_id = x.id AND j.state IN ('queued', 'claimed'))
            GROUP BY 1
            UNION ALL
            SELECT 'unplanned', count(*), min(x.updated_at) FROM vault.secrets x
            WHERE x.rotation_schedule IS NOT NULL AND x.next_rotation_at IS NULL AND x.deleted_at IS NULL
              AND x.updated_at < stamp - interval '1 minute'
            HAVING count(*) > 0
            UNION ALL
            -- One that could be claimed is claimed within seconds by any API process that has its keys.
            SELECT CASE WHEN j.last_error IS NOT NULL AND j.next_attempt_at > stamp THEN 'retried' ELSE 'not_claimed' END,
                   count(*), min(CASE WHEN j.last_error IS NOT NULL AND j.next_attempt_at > stamp THEN j.due_at
                                      ELSE coalesce(j.claimed_until, j.next_attempt_at) END)
            FROM vault.rotation_jobs j
            WHERE (j.state = 'queued' AND (j.next_attempt_at <= stamp - interval '20 seconds' OR j.last_error IS NOT NULL)
                   AND (j.next_attempt_at > stamp OR j.next_attempt_at <= stamp - interval '20 seconds'))
               OR (j.state = 'claimed' AND j.claimed_until <= stamp - interval '20 seconds')
            GROUP BY 1) w);
END
$$;
COMMENT ON FUNCTION vault.waiting() IS 'how many rotations are due and not made for which reason, and since when';

CREATE FUNCTION vault.status() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stamp timestamptz := clock_timestamp();
BEGIN
    RETURN jsonb_build_object(
            'version', (SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault'),
            'in_recovery', pg_is_in_recovery(),
            'missed', (SELECT count(*) FROM vault.rotation_jobs WHERE state = 'missed'),
            'in_grace', (SELECT count(*) FROM vault.secret_versions WHERE NOT expired AND expires_at > stamp),
            'last_pass_at', (SELECT last_pass_at FROM vault.supervisor_passes),
            'events_held_secs', (SELECT coalesce(extract(epoch FROM stamp - min(c.at))::bigint, 0) FROM vault.changes c
                                 WHERE c.xid >= pg_snapshot_xmin(pg_current_snapshot())),
            'waiting', vault.waiting(),
            'supervision', vault.supervision(),
            'failures', vault.failures())
        || (SELECT jsonb_build_object(
                'secrets', count(*),
                'automatic', count(*) FILTER (WHERE kind = 'automatic'),
                'paused', count(*) FILTER (WHERE rotation_paused),
                'unplanned', count(*) FILTER (WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NULL),
                'due', count(*) FILTER (WHERE NOT rotation_paused AND next_rotation_at <= stamp),
                'overdue_secs', coalesce(extract(epoch FROM stamp - min(next_rotation_at)
                                                 FILTER (WHERE NOT rotation_paused AND next_rotation_at <= stamp))::bigint, 0))
            FROM vault.secrets WHERE deleted_at IS NULL)
        || (SELECT jsonb_build_object(
                'queued', count(*) FILTER (WHERE state = 'queued'),
                'claimed', count(*) FILTER (WHERE state = 'claimed'),
                'failing', count(*) FILTER (WHERE last_error IS NOT NULL))
            FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed'));
END
$$;
COMMENT ON FUNCTION vault.status() IS 'counts of secrets and rotations, the last pass of the supervisor, and what fails why';

CREATE FUNCTION vault.failures() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(f ORDER BY f.attempts DESC, f.name), '[]') FROM (
        SELECT s.name, j.attempts, j.last_error AS reason, j.due_at, j.next_attempt_at
        FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id
        WHERE j.state IN ('queued', 'claimed') AND j.last_error IS NOT NULL
        ORDER BY j.attempts DESC, s.name LIMIT 20) f
$$;
COMMENT ON FUNCTION vault.failures() IS 'the 20 open rotations that have failed most often, with the reason of the last time';

-- Admin tokens: fingerprints only

CREATE FUNCTION vault.create_token(id uuid, name text, fingerprint bytea, expires_at timestamptz,
                                   origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    INSERT INTO vault.admin_tokens (id, name, fingerprint, created_at, expires_at)
    VALUES (create_token.id, create_token.name, create_token.fingerprint, clock_timestamp(), create_token.expires_at)
    ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" already exists', create_token.name
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'admin_tokens_name_key';
    END IF;
    PERFORM vault.append_audit(origin, 'token_create', create_token.name, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.create_token(uuid, text, bytea, timestamptz, vault.audit_origin)
    IS 'stores the SHA-256 fingerprint of a new admin token';

CREATE FUNCTION vault.active_tokens() RETURNS TABLE (id uuid, name text, fingerprint bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT t.id, t.name, t.fingerprint FROM vault.admin_tokens t
                 WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
                 ORDER BY t.name;
END
$$;
COMMENT ON FUNCTION vault.active_tokens() IS 'fingerprints that a presented token is compared with';

CREATE FUNCTION vault.list_tokens()
RETURNS TABLE (id uuid, name text, created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT t.id, t.name, t.created_at, t.expires_at, t.revoked_at FROM vault.admin_tokens t
                 ORDER BY t.created_at, t.name;
END
$$;
COMMENT ON FUNCTION vault.list_tokens() IS 'all admin tokens ever made, without fingerprints';

CREATE FUNCTION vault.revoke_token(name text, origin vault.audit_origin) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.admin_tokens t SET revoked_at = clock_timestamp()
    WHERE t.name = revoke_token.name AND t.revoked_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'admin token "%" does not exist', revoke_token.name USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM vault.append_audit(origin, 'token_revoke', revoke_token.name, NULL, 'ok', '');
END
$$;
COMMENT ON FUNCTION vault.revoke_token(text, vault.audit_origin) IS 'ends an admin token at once';

-- The API's login role

CREATE FUNCTION vault.service_functions() RETURNS SETOF regprocedure
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure FROM pg_proc p
    WHERE p.pronamespace = 'vault'::regnamespace AND p.prosecdef
      AND p.proname IN ('first_version', 'create_secret', 'append_version', 'delete_secret', 'read_sealed', 'read_verifiable',
                        'describe_secret', 'describe_secrets', 'describe_versions', 'append_audit', 'create_token',
                        'change_made', 'active_tokens', 'list_tokens', 'revoke_token', 'extension_version', 'api_protocols', 'configure_secret',
                        'expire_version', 'claim_rotations', 'renew_rotations', 'complete_rotation', 'fail_rotation', 'release_rotation',
                        'unplanned_rotations', 'plan_rotation', 'changes_since', 'knows_change', 'last_change', 'status',
                        'list_wrapped', 'sample_wrapped', 'count_wrapped', 'rewrap_version', 'audit_journal', 'ship_audit', 'skip_audit',
                        'audit_page', 'supervision', 'probe_write')
$$;
COMMENT ON FUNCTION vault.service_functions() IS 'the functions of the sealed path';

CREATE FUNCTION vault.grant_service_role(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry regprocedure;
BEGIN
    PERFORM vault.check_role(role);
    PERFORM vault.admit_change('grant', format('service role to %s', role));
    PERFORM vault.lock_grants();
    IF EXISTS (SELECT FROM pg_roles r WHERE r.oid = role AND (r.rolsuper OR r.rolbypassrls)) THEN
        RAISE EXCEPTION 'role % is a superuser or bypasses row security', role
            USING ERRCODE = 'invalid_grant_operation',
                  HINT = 'Make a login role without attributes for the API.';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA vault TO %s', role);
    FOR entry IN SELECT f FROM vault.service_functions() f LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', entry, role);
    END LOOP;
    PERFORM vault.append_audit(vault.local_origin(), 'grant', format('service role to %s', role), NULL, 'ok', '');
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('grant', format('service role to %s', role), SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.grant_service_role(regrole) IS 'lets the login role of hyperion-vault-api call the sealed path';

CREATE FUNCTION vault.revoke_service_role(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry regprocedure;
BEGIN
    PERFORM vault.check_role(role);
    PERFORM vault.admit_change('revoke', format('service role from %s', role));
    PERFORM vault.lock_grants();
    FOR entry IN SELECT f FROM vault.service_functions() f LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', entry, role);
    END LOOP;
    PERFORM vault.revoke_usage_if_idle(role);
    PERFORM vault.append_audit(vault.local_origin(), 'revoke', format('service role from %s', role), NULL, 'ok', '');
EXCEPTION
    WHEN read_only_sql_transaction THEN
        RAISE;
    WHEN OTHERS THEN
        PERFORM vault.record_failure('revoke', format('service role from %s', role), SQLSTATE);
        RAISE;
END
$$;
COMMENT ON FUNCTION vault.revoke_service_role(regrole) IS 'takes back what grant_service_role gave';

-- Rewrap: moving the wrapped data keys to another master key. The sealed values stay as they are.

CREATE FUNCTION vault.list_wrapped(current_key text, after_id uuid, after_version bigint, page_size integer)
RETURNS TABLE (secret_id uuid, name text, version bigint, kms_key_id text, wrapped_dek bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF list_wrapped.page_size IS NULL OR list_wrapped.page_size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'page_size must be between 1 and 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
        SELECT v.secret_id, s.name, v.version, v.kms_key_id, v.wrapped_dek
        FROM vault.secret_versions v
        JOIN vault.secrets s ON s.id = v.secret_id
        WHERE v.kms_key_id <> list_wrapped.current_key
          AND (v.secret_id, v.version) > (coalesce(list_wrapped.after_id, '00000000-0000-0000-0000-000000000000'),
                                          coalesce(list_wrapped.after_version, 0))
        ORDER BY v.secret_id, v.version
        LIMIT list_wrapped.page_size;
END
$$;
COMMENT ON FUNCTION vault.list_wrapped(text, uuid, bigint, integer)
    IS 'a page of the versions whose data key another master key than the given one wrapped, expired ones included';

CREATE FUNCTION vault.sample_wrapped(start_id uuid, max_rows integer)
RETURNS TABLE (secret_id uuid, name text, version bigint, kms_key_id text, wrapped_dek bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF sample_wrapped.max_rows IS NULL OR sample_wrapped.max_rows NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_rows must be between 1 and 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Ids are random, so a random start gives a fair sample by two short scans of the primary key.
    RETURN QUERY
        SELECT x.secret_id, s.name, x.version, x.kms_key_id, x.wrapped_dek
        FROM ((SELECT v.secret_id, v.version, v.kms_key_id, v.wrapped_dek FROM vault.secret_versions v
               WHERE v.secret_id >= sample_wrapped.start_id
               ORDER BY v.secret_id, v.version LIMIT sample_wrapped.max_rows)
              UNION ALL
              (SELECT v.secret_id, v.version, v.kms_key_id, v.wrapped_dek FROM vault.secret_versions v
               WHERE v.secret_id < sample_wrapped.start_id
               ORDER BY v.secret_id, v.version LIMIT sample_wrapped.max_rows)) x
        JOIN vault.secrets s ON s.id = x.secret_id
        LIMIT sample_wrapped.max_rows;
END
$$;
COMMENT ON FUNCTION vault.sample_wrapped(uuid, integer)
    IS 'a few wrapped data keys from a place on, so that a server can prove that its master key opens what is stored';

CREATE FUNCTION vault.count_wrapped(current_key text) RETURNS TABLE (kms_key_id text, versions bigint)
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.kms_key_id, count(*) FROM vault.secret_versions v WHERE v.kms_key_id <> current_key
    GROUP BY v.kms_key_id ORDER BY count(*) DESC, v.kms_key_id
$$;
COMMENT ON FUNCTION vault.count_wrapped(text) IS 'how many versions list_wrapped would list in all, by master key';

CREATE FUNCTION vault.rewrap_version(id uuid, version bigint, old_key_id text, old_wrapped_dek bytea,
                                     new_key_id text, new_wrapped_dek bytea, origin vault.audit_origin)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM vault.require_writable();
    UPDATE vault.secret_versions v
    SET kms_key_id = rewrap_version.new_key_id, wrapped_dek = rewrap_version.new_wrapped_dek
    WHERE v.secret_id = rewrap_version.id AND v.version = rewrap_version.version
      AND v.kms_key_id = rewrap_version.old_key_id AND v.wrapped_dek = rewrap_version.old_wrapped_dek;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM vault.append_audit(origin, 'rewrap', s.name, rewrap_version.version, 'ok', '')
    FROM vault.secrets s WHERE s.id = rewrap_version.id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION vault.rewrap_version(uuid, bigint, text, bytea, text, bytea, vault.audit_origin)
    IS 'replaces the wrapped data key of a version, if it still is the given one; false if it is not';

-- The plaintext path: trusted roles, through the key agent. The entry points are C: they take the effective role
-- of the caller, act as the owner, and return. What they run stands first.

-- A plan that does not know the prefix reads every name that the caller may see.
CREATE FUNCTION vault.list_for(caller oid, prefix text) RETURNS SETOF vault.secret_info
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    -- OFFSET 0 keeps the planner from asking every secret of every range.
    RETURN QUERY SELECT i.* FROM vault.visible_names(caller) v CROSS JOIN LATERAL (
                     SELECT (vault.info_of(s)).* FROM vault.secrets s
                     WHERE s.deleted_at IS NULL AND vault.has_prefix(s.name, prefix)
                       AND s.name >= prefix COLLATE "C" AND s.name < vault.prefix_end(prefix) COLLATE "C"
                       AND s.name >= v.first COLLATE "C" AND s.name < v.beyond COLLATE "C"
                     OFFSET 0) i
                 ORDER BY i.name;
END
$$;
COMMENT ON FUNCTION vault.list_for(oid, text) IS 'secrets below a prefix on which a role may do anything at all';

CREATE FUNCTION vault.sealed_for(caller oid, wanted text, target text, version bigint)
RETURNS SETOF vault.stored_value
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM vault.require(caller, wanted, target);
    IF wanted = 'verify' THEN
        RETURN QUERY SELECT * FROM vault.read_verifiable(target);
    ELSE
        RETURN QUERY SELECT * FROM vault.read_sealed(ARRAY[target], sealed_for.version);
    END IF;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM vault.secrets s WHERE s.name = target AND s.deleted_at IS NULL) THEN
            PERFORM vault.raise_not_found(target);
        ELSIF sealed_for.version IS NULL THEN
            RAISE EXCEPTION 'the current version of secret "%" is not there', target
                USING ERRCODE = 'data_corrupted', HINT = 'Rows were changed by hand or lost. Restore them.';
        END IF;
        RAISE EXCEPTION 'secret "%" has no version %', target, sealed_for.version
            USING ERRCODE = 'undefined_object', HINT = 'A superseded version can be read until its grace ends.';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.sealed_for(oid, text, text, bigint)
    IS 'what a role may open to read (one version) or to verify (all valid ones)';

-- The caller's right was decided before, by vault.require: here it would be by the transaction's snapshot.
CREATE FUNCTION vault.lock_for(target text, expected_version bigint) RETURNS vault.secret_info
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s vault.secrets;
BEGIN
    PERFORM vault.require_writable();
    SELECT * INTO s FROM vault.secrets x WHERE x.name = target AND x.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF s.current_version <> expected_version THEN
        PERFORM vault.raise_stale(target, s.current_version, expected_version);
    END IF;
    RETURN vault.info_of(s);
END
$$;
COMMENT ON FUNCTION vault.lock_for(text, bigint)
    IS 'locks a secret that a role may change; a null expected version takes whatever is current; null if there is none';

CREATE FUNCTION vault.raise_missing(target text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM vault.secrets s WHERE s.name = target AND s.deleted_at IS NULL) THEN
        RAISE EXCEPTION 'could not serialize access to secret "%": it was created meanwhile', target
            USING ERRCODE = 'serialization_failure', HINT = 'The transaction might succeed if retried.';
    END IF;
    PERFORM vault.raise_not_found(target);
END
$$;
COMMENT ON FUNCTION vault.raise_missing(text) IS 'raises for a secret that could not be locked: there is none, or it is newer than the transaction';

CREATE FUNCTION vault.create_secret(name text, value text, kind text DEFAULT 'manual',
    content_type text DEFAULT 'text/plain; charset=utf-8', description text DEFAULT '', tags jsonb DEFAULT '{}',
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT 'UTC', rotation_window_secs bigint DEFAULT NULL,
    grace_period_secs bigint DEFAULT 0, keep_versions integer DEFAULT 0, generate_policy jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_create_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.create_secret(text, text, text, text, text, jsonb, bigint, text, text, bigint, bigint,
    integer, jsonb)
    IS 'seals and stores a new secret, whose content type must be text; a null value of an automatic one is generated; returns its version: 1, or the one after the last that the name ever had';

CREATE FUNCTION vault.create_secret(name text, value bytea, kind text DEFAULT 'manual',
    content_type text DEFAULT 'application/octet-stream', description text DEFAULT '', tags jsonb DEFAULT '{}',
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT 'UTC', rotation_window_secs bigint DEFAULT NULL,
    grace_period_secs bigint DEFAULT 0, keep_versions integer DEFAULT 0, generate_policy jsonb DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_create_secret_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.create_secret(text, bytea, text, text, text, jsonb, bigint, text, text, bigint, bigint,
    integer, jsonb)
    IS 'the same for bytes, under any content type; a text type must fit them';

-- COST: each call is a conversation with the agent, so in a WHERE it comes last.
CREATE FUNCTION vault.read_secret(name text, version bigint DEFAULT NULL) RETURNS text
AS 'MODULE_PATHNAME', 'hv_read_secret' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secret(text, bigint) IS 'the value of the current version, or of one that has not expired';

CREATE FUNCTION vault.read_secret_bytes(name text, version bigint DEFAULT NULL) RETURNS bytea
AS 'MODULE_PATHNAME', 'hv_read_secret_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.read_secret_bytes(text, bigint) IS 'the same as bytes, whatever the content type';

CREATE FUNCTION vault.update_secret(name text, value text, expected_version bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_update_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.update_secret(text, text, bigint)
    IS 'makes a value the next version if the expected one is current; null replaces whatever is; returns the new version';

CREATE FUNCTION vault.update_secret(name text, value bytea, expected_version bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_update_secret_bytes' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.update_secret(text, bytea, bigint) IS 'the same for bytes; the only one for a secret whose content type is not text';

CREATE FUNCTION vault.rotate_secret(name text, reschedule boolean DEFAULT false) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_rotate_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.rotate_secret(text, boolean)
    IS 'makes a generated value the next version and returns it; the schedule stays, or starts anew from now';

CREATE FUNCTION vault.configure_secret(name text, description text DEFAULT NULL, tags jsonb DEFAULT NULL,
    rotation_interval_secs bigint DEFAULT NULL, rotation_schedule text DEFAULT NULL,
    rotation_time_zone text DEFAULT NULL, rotation_window_secs bigint DEFAULT NULL,
    rotation_paused boolean DEFAULT NULL, grace_period_secs bigint DEFAULT NULL, keep_versions integer DEFAULT NULL,
    generate_policy jsonb DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'hv_configure_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.configure_secret(text, text, jsonb, bigint, text, text, bigint, boolean, bigint, integer,
    jsonb) IS 'changes settings, not the value; null keeps; an interval replaces a schedule and the other way round';

CREATE FUNCTION vault.expire_version(name text, version bigint, grace_secs bigint DEFAULT 0) RETURNS void
AS 'MODULE_PATHNAME', 'hv_expire_version' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.expire_version(text, bigint, bigint)
    IS 'shortens the grace of a superseded version; 0 ends it now';

CREATE FUNCTION vault.delete_secret(name text, expected_version bigint) RETURNS void
AS 'MODULE_PATHNAME', 'hv_delete_secret' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.delete_secret(text, bigint)
    IS 'destroys every version if the expected one is current; null: whatever is';

CREATE FUNCTION vault.verify(name text, candidate text) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_verify' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify(text, text)
    IS 'whether a candidate is the current value or one in grace, compared in constant time; false for null';

CREATE FUNCTION vault.verify(name text, candidate bytea) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_verify_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify(text, bytea) IS 'the same for a value that text cannot hold';

CREATE FUNCTION vault.verify_version(name text, candidate text) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_verify_version' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify_version(text, text)
    IS 'which version a candidate is, of the current one and those in grace; the newest if several, null if none';

CREATE FUNCTION vault.verify_version(name text, candidate bytea) RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_verify_version_bytes' LANGUAGE C VOLATILE COST 1000 PARALLEL RESTRICTED;
COMMENT ON FUNCTION vault.verify_version(text, bytea) IS 'the same for a value that text cannot hold';

CREATE FUNCTION vault.list_secrets(prefix text DEFAULT '') RETURNS SETOF vault.secret_info
AS 'MODULE_PATHNAME', 'hv_list_secrets' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION vault.list_secrets(text) IS 'secrets below a prefix that the caller may do anything with, without values';

-- DROP EXTENSION would destroy every secret. The trigger looks before any DROP begins; the library refuses when
-- the extension itself is about to go, by whatever command.
CREATE FUNCTION vault.guard_drop() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'hv_guard_drop' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.guard_drop() IS 'arms the refusal to drop the extension while secrets exist';
CREATE EVENT TRIGGER hyperion_vault_guard_drop ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP OWNED', 'DROP LANGUAGE', 'DROP TYPE', 'DROP FUNCTION',
                 'DROP DOMAIN', 'DROP CAST', 'DROP OPERATOR', 'DROP ROUTINE', 'DROP PROCEDURE', 'DROP AGGREGATE')
    EXECUTE FUNCTION vault.guard_drop();
ALTER EVENT TRIGGER hyperion_vault_guard_drop ENABLE ALWAYS;  -- also where session_replication_role is replica
COMMENT ON EVENT TRIGGER hyperion_vault_guard_drop IS 'keeps DROP EXTENSION from destroying secrets';

-- A privilege on a table is never of use to a role, and some of them let it stop or watch the vault.
CREATE FUNCTION vault.guard_grant() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'hv_guard_grant' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.guard_grant() IS 'refuses to grant privileges on the tables of the vault';
CREATE EVENT TRIGGER hyperion_vault_guard_grant ON ddl_command_start
    WHEN TAG IN ('GRANT') EXECUTE FUNCTION vault.guard_grant();
ALTER EVENT TRIGGER hyperion_vault_guard_grant ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER hyperion_vault_guard_grant IS 'refuses to grant privileges on the tables of the vault';

-- Last: everything belongs to vault_owner, and nobody else holds anything, whatever the default privileges of
-- the installing role are.
DO $$
DECLARE
    item record;
BEGIN
    ALTER SCHEMA vault OWNER TO vault_owner;
    FOR item IN
        SELECT c.oid::pg_catalog.regclass AS name FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'vault'::pg_catalog.regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO vault_owner', item.name);
    END LOOP;
    FOR item IN
        SELECT t.oid::pg_catalog.regtype AS name FROM pg_catalog.pg_type t
        LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = 'vault'::pg_catalog.regnamespace AND (c.relkind = 'c' OR t.typtype = 'b' AND t.typelem = 0)
    LOOP
        EXECUTE pg_catalog.format('ALTER TYPE %s OWNER TO vault_owner', item.name);
        -- With USAGE, anybody's table could have a column of it and stand in the way of an upgrade. (Not so for
        -- the row types of the tables: pg_dump knows no privileges of those and would warn.)
        EXECUTE pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC', item.name);
    END LOOP;
    FOR item IN
        SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO vault_owner', item.name);
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item.name);
    END LOOP;
    -- Every script of pg_dump turns row security off for its session. Under FORCE that would make these fail.
    FOR item IN
        SELECT p.oid::pg_catalog.regprocedure AS name FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND p.prosecdef
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET row_security = on', item.name);
    END LOOP;
    FOR item IN
        SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure AS object, x.grantee
        FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) x
        WHERE p.pronamespace = 'vault'::pg_catalog.regnamespace AND x.grantee NOT IN (0, p.proowner)
        UNION
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass, x.grantee
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x
        WHERE c.relnamespace = 'vault'::pg_catalog.regnamespace AND c.relkind IN ('r', 'S')
          AND x.grantee NOT IN (0, c.relowner)
        UNION
        SELECT 'TYPE ' || t.oid::pg_catalog.regtype, x.grantee
        FROM pg_catalog.pg_type t, pg_catalog.aclexplode(t.typacl) x
        WHERE t.typnamespace = 'vault'::pg_catalog.regnamespace AND x.grantee NOT IN (0, t.typowner)
        UNION
        SELECT 'SCHEMA vault', x.grantee
        FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) x
        WHERE n.nspname = 'vault' AND x.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', item.object, item.grantee::pg_catalog.regrole);
    END LOOP;
    REVOKE ALL ON SCHEMA vault FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA vault FROM PUBLIC;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA vault FROM PUBLIC;
END
$$;

-- Without the library in shared_preload_libraries nothing rotates, and values stand in the server's log.
DO $$
DECLARE
    s record;
BEGIN
    SELECT * INTO s FROM vault.supervisor_state();
    IF NOT s.preloaded THEN
        RAISE WARNING 'hyperion_vault is not preloaded: no rotation is made, and statements are logged with their values'
            USING HINT = pg_catalog.format('Add to postgresql.conf and restart: shared_preload_libraries = %L and hyperion_vault.database = %L',
                                           pg_catalog.concat_ws(',', nullif(pg_catalog.current_setting('shared_preload_libraries'), ''), 'hyperion_vault'),
                                           pg_catalog.current_database());
    ELSIF s.database <> pg_catalog.current_database() THEN
        RAISE WARNING 'the supervisor serves database "%": no rotation is made in this one', s.database
            USING HINT = pg_catalog.format('Add to postgresql.conf and restart: hyperion_vault.database = %L', pg_catalog.current_database());
    END IF;
END
$$;
