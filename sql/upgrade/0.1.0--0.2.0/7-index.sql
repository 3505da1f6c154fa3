
-- Counts and times are found by indexes, however many secrets there are.
ALTER TABLE vault.supervisor_passes ADD COLUMN counted_to xid8, ADD COLUMN counted_at timestamptz,
    ADD COLUMN secrets bigint, ADD COLUMN automatic bigint;
DROP INDEX vault.secrets_next_rotation_at_idx;
CREATE INDEX secrets_next_rotation_at_idx ON vault.secrets (next_rotation_at) WHERE next_rotation_at IS NOT NULL;
CREATE INDEX secrets_planned_idx ON vault.secrets (rotation_interval_secs, next_rotation_at)
    WHERE rotation_interval_secs IS NOT NULL AND next_rotation_at IS NOT NULL;
CREATE INDEX secrets_scheduled_idx ON vault.secrets (next_rotation_at)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NOT NULL;
CREATE INDEX secrets_unplanned_idx ON vault.secrets (plan_failed_at NULLS FIRST)
    WHERE rotation_schedule IS NOT NULL AND next_rotation_at IS NULL AND deleted_at IS NULL;
CREATE INDEX secrets_paused_idx ON vault.secrets (next_rotation_at) WHERE rotation_paused AND deleted_at IS NULL;
DROP INDEX vault.secret_versions_expires_at_idx;
CREATE INDEX secret_versions_expires_at_idx ON vault.secret_versions (expires_at) WHERE NOT expired AND expires_at IS NOT NULL;

-- What a change of a value does not touch is checked by one function.
ALTER TABLE vault.secrets
    DROP CONSTRAINT secrets_name_len,
    DROP CONSTRAINT secrets_kind_known,
    DROP CONSTRAINT secrets_content_type_len,
    DROP CONSTRAINT secrets_description_len,
    DROP CONSTRAINT secrets_tags_object,
    DROP CONSTRAINT secrets_tags_strings,
    DROP CONSTRAINT secrets_tags_number,
    DROP CONSTRAINT secrets_rotation_interval_range,
    DROP CONSTRAINT secrets_grace_period_range,
    DROP CONSTRAINT secrets_generate_policy_object,
    DROP CONSTRAINT secrets_rotation_schedule_len,
    DROP CONSTRAINT secrets_rotation_time_zone_len,
    DROP CONSTRAINT secrets_rotation_window_range,
    DROP CONSTRAINT secrets_keep_versions_range,
    DROP CONSTRAINT secrets_first_version_positive,
    DROP CONSTRAINT secrets_current_version_positive,
    DROP CONSTRAINT secrets_settings_revision_positive,
    DROP CONSTRAINT secrets_rotation_of_automatic;
