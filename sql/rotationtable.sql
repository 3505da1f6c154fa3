
-- The tables of rotation: jobs, and roles whose password a secret is.

-- The roles of PostgreSQL whose password a secret is: one, or two in turn. A role is noted as it was when it was bound: the
-- vault sets no password of one that is no longer that role, or has got more attributes.
CREATE TABLE vault.role_bindings (
    secret_id uuid NOT NULL,
    place smallint NOT NULL CONSTRAINT role_bindings_place_known CHECK (place IN (1, 2)),
    holder vault.grantee NOT NULL,
    role regrole GENERATED ALWAYS AS (vault.role_of(holder)) STORED,  -- null: missing
    role_name text COLLATE "C" NOT NULL,
    attributes text[] NOT NULL,
    shared_holder vault.grantee,  -- the role that both roles of a pair are members of; null: not noted
    shared_role regrole GENERATED ALWAYS AS (CASE WHEN shared_holder IS NOT NULL THEN coalesce(vault.role_of(shared_holder), 0::regrole) END) STORED,
    version bigint,  -- the last one that is its password; null: none is
    auto_repair boolean NOT NULL,
    bound_at timestamptz NOT NULL,
    bound_by text NOT NULL,
    checked_at timestamptz,
    drift text,  -- as vault.role_drift() said it last; null: nothing
    drift_since timestamptz,
    session_policy text NOT NULL  -- what becomes of sessions that logged in with a former password, when its grace ends
        CONSTRAINT role_bindings_session_policy_known CHECK (session_policy IN ('ignore', 'wait', 'terminate')),
    max_wait_secs bigint CONSTRAINT role_bindings_max_wait_range CHECK (max_wait_secs BETWEEN 1 AND 31536000),
    grace_ends_at timestamptz,  -- of the retiring role of a pair; null: it retires not
    wait_until timestamptz,  -- so long its login can be prolonged at most; null: not at all
    told text[] NOT NULL DEFAULT '{}',  -- sessions that were told to end last
    CONSTRAINT role_bindings_wait_bound CHECK ((session_policy = 'wait') = (max_wait_secs IS NOT NULL)),
    CONSTRAINT role_bindings_pkey PRIMARY KEY (secret_id, place)
);
CREATE UNIQUE INDEX role_bindings_role_key ON vault.role_bindings (role);
CREATE INDEX role_bindings_checked_at_idx ON vault.role_bindings (checked_at NULLS FIRST);
CREATE INDEX role_bindings_wait_until_idx ON vault.role_bindings (wait_until) WHERE wait_until IS NOT NULL;
CREATE INDEX role_bindings_terminate_idx ON vault.role_bindings (secret_id) WHERE session_policy = 'terminate';

-- The verifiers that the vault has given to bound roles, as pg_authid has them unless they were changed elsewhere. Not dumped:
-- no dump of one database has the passwords of roles.
CREATE TABLE vault.role_verifiers (
    secret_id uuid NOT NULL,
    place smallint NOT NULL,
    verifier text NOT NULL,
    settled_at timestamptz,  -- it was committed by then: who began to log in later has that password; null: not seen yet
    CONSTRAINT role_verifiers_pkey PRIMARY KEY (secret_id, place)
);
CREATE INDEX role_verifiers_unsettled_idx ON vault.role_verifiers (secret_id) WHERE settled_at IS NULL;

-- The sessions of retiring roles on standbys, as the API beside each counted them last: a standby cannot write, and the
-- primary does not see them. Not dumped.
CREATE TABLE vault.standby_sessions (
    secret_id uuid NOT NULL,
    place smallint NOT NULL,
    node text COLLATE "C" NOT NULL CONSTRAINT standby_sessions_node_len CHECK (pg_catalog.octet_length(node) <= 255),
    sessions bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    CONSTRAINT standby_sessions_pkey PRIMARY KEY (secret_id, place, node)
);
CREATE INDEX standby_sessions_node_idx ON vault.standby_sessions (node);

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
-- Without the current versions, which have no end: a change of a value would add an entry for each.
CREATE INDEX secret_versions_expires_at_idx ON vault.secret_versions (expires_at) WHERE NOT expired AND expires_at IS NOT NULL;
