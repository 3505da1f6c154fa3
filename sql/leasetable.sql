
-- The tables of leased roles: a template says what a login role may be made as, and each lease is such a role with an
-- end. The password is made where it is handed out, by the backend or the API. It is stored nowhere: the row of a lease
-- knows the role only.

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

-- How many leases each template has, so that issuing one does not count them. Sessions add to different rows of a template, by
-- their process numbers; what the supervisor takes away or corrects is in the row -1.
CREATE TABLE vault.lease_counts (
    template text COLLATE "C" NOT NULL,
    shard smallint NOT NULL CONSTRAINT lease_counts_shard_known CHECK (shard BETWEEN -1 AND 31),
    leases bigint NOT NULL,
    CONSTRAINT lease_counts_pkey PRIMARY KEY (template, shard)
) WITH (fillfactor = 50);

ALTER TABLE vault.role_templates ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_leases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.lease_counts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.role_templates TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.role_leases TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.lease_counts TO vault_owner USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('vault.role_templates', '');
SELECT pg_catalog.pg_extension_config_dump('vault.role_leases', 'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.lease_counts', '');
