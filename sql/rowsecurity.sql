
-- Row security of the tables above, and what of them a dump holds.

ALTER TABLE vault.secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.secret_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.deleted_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_bindings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.role_verifiers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.standby_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_methods ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE vault.login_passwords ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
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
CREATE POLICY owner_only ON vault.standby_sessions TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_methods TO vault_owner USING (true) WITH CHECK (true);
CREATE POLICY owner_only ON vault.login_passwords TO vault_owner USING (true) WITH CHECK (true);
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
-- All: a secret whose role was dropped is bound all the same.
SELECT pg_catalog.pg_extension_config_dump('vault.role_bindings', '');
SELECT pg_catalog.pg_extension_config_dump('vault.login_methods', '');
SELECT pg_catalog.pg_extension_config_dump('vault.login_roles',
    'WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_catalog.pg_extension_config_dump('vault.secret_ids',
    'WHERE login_role IN (SELECT id FROM vault.login_roles WHERE role IS NULL OR role IN (SELECT oid FROM pg_catalog.pg_roles))');
SELECT pg_catalog.pg_extension_config_dump('vault.login_passwords',
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
