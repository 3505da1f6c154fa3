
-- Tables. No role but the owner holds a privilege on them, and row security is forced, so that even a mistaken
-- GRANT shows no rows.

-- PostgreSQL parses the text of every CHECK of a table again for each statement that changes a row. So a table that every
-- change writes has one CHECK, with a function whose plan a session keeps. What a change of a value does not touch is
-- checked by a trigger of those columns.
CREATE FUNCTION vault.settings_fit(name text, kind text, content_type text, description text, tags jsonb,
                                   generate_policy jsonb, rotation_interval_secs bigint, rotation_schedule text,
                                   rotation_time_zone text, rotation_window_secs bigint, grace_period_secs bigint,
                                   keep_versions integer, first_version bigint, settings_revision bigint,
                                   delete_version_after_secs bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN octet_length(name) BETWEEN 1 AND 255
       AND kind IN ('manual', 'automatic')
       AND octet_length(content_type) BETWEEN 1 AND 255
       AND octet_length(description) <= 1024
       AND jsonb_typeof(tags) = 'object' AND octet_length(tags::text) <= 49152
       -- strict: else the filter would check the members of an array, and not at the array
       AND NOT tags @? 'strict $.* ? (@.type() != "string")'
       AND jsonb_array_length(jsonb_path_query_array(tags, 'strict $.*', '{}', true)) <= 64
       AND (generate_policy IS NULL
            OR (jsonb_typeof(generate_policy) = 'object' AND octet_length(generate_policy::text) <= 4096))
       AND rotation_interval_secs BETWEEN 1 AND 315360000
       AND octet_length(rotation_schedule) BETWEEN 9 AND 255
       AND octet_length(rotation_time_zone) BETWEEN 1 AND 64
       AND rotation_window_secs BETWEEN 60 AND 31536000
       AND grace_period_secs BETWEEN 0 AND 315360000
       AND keep_versions BETWEEN 0 AND 100
       AND first_version >= 1
       AND settings_revision >= 1
       AND delete_version_after_secs BETWEEN 1 AND 315360000
       AND (kind = 'automatic') = (num_nonnulls(rotation_interval_secs, rotation_schedule) = 1);
END
$$;
COMMENT ON FUNCTION vault.settings_fit(text, text, text, text, jsonb, jsonb, bigint, text, text, bigint, bigint, integer,
    bigint, bigint, bigint) IS 'whether the settings of a secret may be stored; null, where some are missing, is no objection';

CREATE FUNCTION vault.check_settings_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT vault.settings_fit(NEW.name, NEW.kind, NEW.content_type, NEW.description, NEW.tags, NEW.generate_policy,
                              NEW.rotation_interval_secs, NEW.rotation_schedule, NEW.rotation_time_zone,
                              NEW.rotation_window_secs, NEW.grace_period_secs, NEW.keep_versions, NEW.first_version,
                              NEW.settings_revision, NEW.delete_version_after_secs) THEN
        RAISE EXCEPTION 'new row for relation "secrets" violates check constraint "secrets_settings_fit"'
            USING ERRCODE = 'check_violation', SCHEMA = 'vault', TABLE = 'secrets', CONSTRAINT = 'secrets_settings_fit';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION vault.check_settings_fit() IS 'raises as a CHECK of vault.settings_fit() does';

-- Without SET, which costs more than the function: these are called for each row that a change writes. So they name the
-- schema of every operator.
CREATE FUNCTION vault.version_fits(version bigint, envelope_version smallint, kms_key_id text, wrapped_dek bytea,
                                   nonce bytea, ciphertext bytea) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN version OPERATOR(pg_catalog.>=) 1
       AND envelope_version OPERATOR(pg_catalog.=) 1
       AND pg_catalog.octet_length(kms_key_id) OPERATOR(pg_catalog.>=) 1
       AND pg_catalog.octet_length(kms_key_id) OPERATOR(pg_catalog.<=) 2048
       AND pg_catalog.octet_length(wrapped_dek) OPERATOR(pg_catalog.>=) 1
       AND pg_catalog.octet_length(wrapped_dek) OPERATOR(pg_catalog.<=) 6144  -- the longest CiphertextBlob of the AWS KMS API
       AND pg_catalog.octet_length(nonce) OPERATOR(pg_catalog.=) 24
       -- of a value of 1 byte to 1 MiB, with the 16 bytes of its tag
       AND pg_catalog.octet_length(ciphertext) OPERATOR(pg_catalog.>=) 17
       AND pg_catalog.octet_length(ciphertext) OPERATOR(pg_catalog.<=) 1048592;
END
$$;
COMMENT ON FUNCTION vault.version_fits(bigint, smallint, text, bytea, bytea, bytea) IS 'whether a sealed version may be stored';

CREATE FUNCTION vault.record_fits(action text, outcome text, journal uuid, sequence bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN action OPERATOR(pg_catalog.=) ANY (
             '{create,read,update,delete,rotate,verify,list,describe,configure,expire,delete_version,
              undelete_version,destroy_version,restore,destroy,status,watch,token_create,token_revoke,
              token_list,token_show,token_renew,login,auth_configure,auth_list,wrap,unwrap,
              wrap_lookup,access,grant,revoke,bind_role,unbind_role,repair_role,role_drift,audit,rewrap,rewrap_status,audit_gap,audit_prune,
              template_configure,template_list,lease_issue,lease_renew,lease_revoke,lease_end,
              lease_list,malformed}')
       AND outcome OPERATOR(pg_catalog.=) ANY ('{ok,denied,failed,unknown}')
       AND (journal IS NULL) OPERATOR(pg_catalog.=) (sequence IS NULL)
       AND (sequence IS NULL OR sequence OPERATOR(pg_catalog.>=) 1);
END
$$;
COMMENT ON FUNCTION vault.record_fits(text, text, uuid, bigint) IS 'whether an audit record may be stored';

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

-- Names of roles are shared by all databases of a cluster: one that was given where no encoding is checked may be any bytes.
CREATE FUNCTION vault.shown_name(name name) RETURNS text
AS 'MODULE_PATHNAME', 'hv_shown_name' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.shown_name(name) IS 'a name as text; each byte that is no UTF-8 as \xHH';

-- Whose a grant is. A role, not its name: a role that is renamed keeps its grants, one that is dropped leaves them to no role.
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

CREATE FUNCTION vault.same_bytes(bytea, bytea) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_same_bytes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vault.same_bytes(bytea, bytea) IS 'whether two values are equal, in a time that tells nothing but their lengths';

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

-- One row per secret and due time, permanently unique: that is what makes a rotation happen once.
CREATE TABLE vault.rotation_jobs (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid() CONSTRAINT rotation_jobs_pkey PRIMARY KEY,
    secret_id uuid NOT NULL,
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
CREATE INDEX secrets_next_rotation_at_idx ON vault.secrets (next_rotation_at) WHERE next_rotation_at IS NOT NULL;
-- For times that a clock which was ahead has planned: how late a time may be depends on the interval.
CREATE INDEX secrets_planned_idx ON vault.secrets (rotation_interval_secs, next_rotation_at)
    WHERE rotation_interval_secs IS NOT NULL AND next_rotation_at IS NOT NULL;
CREATE INDEX secrets_scheduled_idx ON vault.secrets (next_rotation_at)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NOT NULL;
-- The conditions of these two hold for few secrets. No index has a column that each change of a value sets: such a change
-- would have to add an entry to every index of the table.
CREATE INDEX secrets_unplanned_idx ON vault.secrets (plan_failed_at NULLS FIRST)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NULL AND deleted_at IS NULL;
CREATE INDEX secrets_paused_idx ON vault.secrets (next_rotation_at) WHERE rotation_paused AND deleted_at IS NULL;
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

-- One row: what the supervisor did last, and how many secrets it has counted. Not dumped: another cluster has other
-- transaction ids.
CREATE TABLE vault.supervisor_passes (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT supervisor_passes_pkey PRIMARY KEY
        CONSTRAINT supervisor_passes_only_row CHECK (only_row),
    last_pass_at timestamptz NOT NULL,
    enqueued bigint NOT NULL,
    expired bigint NOT NULL,
    -- How many secrets there were, counting the changes of transactions before one; null: not counted yet.
    counted_to xid8,
    counted_at timestamptz,
    secrets bigint,
    automatic bigint
);

-- One row, made with the first record: where ids begin, and where records go. A new timeline of the log raises the base far
-- enough that no id which a lost primary gave out comes again. Not dumped: where a dump is restored, the base is the highest restored id.
CREATE TABLE vault.audit_numbering (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT audit_numbering_pkey PRIMARY KEY
        CONSTRAINT audit_numbering_only_row CHECK (only_row),
    timeline bigint NOT NULL,
    base bigint NOT NULL,
    part smallint NOT NULL DEFAULT 0,  -- the part of the log that new records go to
    keep interval  -- what vault.prune_audit() was last called with; null: never called
);

-- The log has twelve parts, which are always there: a reader, a dump and an insert never depend on a part that a person must
-- have made in time. vault.start_audit_part() moves on to an empty part now and then, and vault.prune_audit() empties a part
-- whose records are all old enough.
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
    journal uuid,  -- null: written in the transaction of the change
    sequence bigint,
    details jsonb,  -- what a change of settings or grants replaced, and by what; never a value
    accessor uuid,  -- of the token; null: there was none
    method text,  -- how the token was obtained: 'token', or the mount of the login
    part smallint NOT NULL DEFAULT 0,
    CONSTRAINT audit_log_record_fits CHECK (vault.record_fits(action, outcome, journal, sequence))
) PARTITION BY LIST (part);
DO $$
BEGIN
    FOR part IN 0..11 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE vault.audit_log_%s PARTITION OF vault.audit_log '
                                  '(CONSTRAINT audit_log_%s_pkey PRIMARY KEY (id)) FOR VALUES IN (%s)', part, part, part);
    END LOOP;
END
$$;
CREATE INDEX audit_log_at_idx ON vault.audit_log (at, id);
CREATE INDEX audit_log_secret_name_idx ON vault.audit_log (secret_name COLLATE "C", at);

-- The ids of changes that may be sent again when their answer is lost. Such a change adds its id in its own transaction, so
-- it cannot be made twice. The supervisor deletes ids that are older than any repetition. Not dumped: no client repeats a
-- change where a dump is restored.
CREATE TABLE vault.sent_changes (
    change uuid CONSTRAINT sent_changes_pkey PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE INDEX sent_changes_at_idx ON vault.sent_changes (at);

-- How far each node's journal has arrived. In one transaction with the records themselves, so a dump, a standby and a
-- restored backup always hold both or neither.
CREATE TABLE vault.audit_journals (
    journal uuid CONSTRAINT audit_journals_pkey PRIMARY KEY,
    node text NOT NULL,
    last_sequence bigint NOT NULL CONSTRAINT audit_journals_last_sequence_range CHECK (last_sequence >= 0),
    created_at timestamptz NOT NULL,
    shipped_at timestamptz NOT NULL,
    last_at timestamptz  -- of the record with that number; null: there is none
);

ALTER TABLE vault.secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.deleted_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_bindings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_verifiers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_methods ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_ids ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.token_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.wrapped_answers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_roles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.revoked_defaults ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.access_grants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.rotation_jobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.supervisor_passes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.sent_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_numbering ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.audit_journals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY owner_only ON vault.secrets TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.secret_versions TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.deleted_versions TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.tokens TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.role_bindings TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.role_verifiers TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_methods TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.secret_ids TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.token_keys TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.wrapped_answers TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_roles TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.revoked_defaults TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.access_grants TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.rotation_jobs TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.changes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.supervisor_passes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.sent_changes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_numbering TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_log TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.audit_journals TO vault_owner USING (true) WITH CHECK (true);
DO $$
BEGIN
    FOR part IN 0..11 LOOP
        EXECUTE pg_catalog.format('ALTER TABLE vault.audit_log_%s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
        EXECUTE pg_catalog.format('CREATE POLICY owner_only ON vault.audit_log_%s TO vault_owner USING (true) WITH CHECK (true)', part);
    END LOOP;
END
$$;

-- Without these a dump would hold the extension and none of its rows.
SELECT pg_catalog.pg_extension_config_dump('vault.secrets', '');
SELECT pg_catalog.pg_extension_config_dump('vault.secret_versions', '');
SELECT pg_catalog.pg_extension_config_dump('vault.deleted_versions', '');
SELECT pg_catalog.pg_extension_config_dump('vault.tokens',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.role_bindings',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.login_methods', '');
SELECT pg_catalog.pg_extension_config_dump('vault.login_roles',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.secret_ids',
    'WHERE login_role IN (SELECT id FROM vault.login_roles WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles))');
SELECT pg_catalog.pg_extension_config_dump('vault.token_keys', '');
-- The grants of a role that was dropped belong to no role.
SELECT pg_catalog.pg_extension_config_dump('vault.access_grants',
    'WHERE builtin IS NULL AND (grantee IS NULL OR grantee IN (SELECT oid FROM pg_catalog.pg_roles))');
SELECT pg_catalog.pg_extension_config_dump('vault.revoked_defaults', '');
SELECT pg_catalog.pg_extension_config_dump('vault.rotation_jobs', '');
DO $$
BEGIN
    FOR part IN 0..11 LOOP
        PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('vault.audit_log_%s', part)::pg_catalog.regclass, '');
    END LOOP;
END
$$;
SELECT pg_catalog.pg_extension_config_dump('vault.audit_journals', '');
