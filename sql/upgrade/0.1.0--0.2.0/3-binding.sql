
CREATE TYPE vault.binding_options AS (
    auto_repair boolean,
    session_policy text,
    max_wait_secs bigint
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
    bound_by text,
    session_policy text,
    max_wait_secs bigint
);

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

-- The verifiers that the vault has given to bound roles, as pg_authid has them unless they were changed elsewhere. They are not
-- dumped, because no dump of one database has the passwords of roles.
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

ALTER TABLE vault.role_bindings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_bindings TO vault_owner USING (true) WITH CHECK (true);
ALTER TABLE vault.role_verifiers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_verifiers TO vault_owner USING (true) WITH CHECK (true);
ALTER TABLE vault.standby_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.standby_sessions TO vault_owner USING (true) WITH CHECK (true);
-- All: a secret whose role was dropped is bound all the same.
SELECT pg_catalog.pg_extension_config_dump('vault.role_bindings', '');
