
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
-- attached. Afterwards they are inherited and cannot be renamed.
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
ALTER TABLE vault.login_passwords ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_ids ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.token_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.wrapped_answers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_roles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.revoked_defaults ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_only ON vault.audit_log TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.sent_changes TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_methods TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_passwords TO vault_owner USING (true) WITH CHECK (true);
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
SELECT pg_catalog.pg_extension_config_dump('vault.login_passwords',
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
