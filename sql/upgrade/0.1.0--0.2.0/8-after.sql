
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
