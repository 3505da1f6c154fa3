
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
