-- 0.1.0 to 0.2.0: what changes tables, types and policies, and the functions that go. The rest is generated.

-- Values are sealed, and names decided, in UTF-8.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'hyperion_vault needs a database in UTF8, this one is in %', pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Copy the secrets into a database that was made with ENCODING ''UTF8''.';
    END IF;
END
$$;

-- All that is changed below, in the order in which a read or a change takes it: in another one they would deadlock.
LOCK TABLE vault.admin_tokens, vault.access_grants, vault.secrets, vault.secret_versions, vault.rotation_jobs IN ACCESS EXCLUSIVE MODE;

-- No table refers to another: pg_restore loads them in any order, and checks a reference as the owner with row security
-- off, which fails.
ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_secret_id_fkey;
ALTER TABLE vault.rotation_jobs DROP CONSTRAINT rotation_jobs_secret_id_fkey;

-- A schedule that cannot be planned says why, and waits behind the others.
ALTER TABLE vault.secrets ADD COLUMN plan_failed_at timestamptz, ADD COLUMN plan_error text
    CONSTRAINT secrets_plan_error_len CHECK (pg_catalog.octet_length(plan_error) <= 1024);

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

-- After the functions

ALTER TABLE vault.secrets ADD CONSTRAINT secrets_settings_fit
    CHECK (vault.settings_fit(name, kind, content_type, description, tags, generate_policy, rotation_interval_secs,
                              rotation_schedule, rotation_time_zone, rotation_window_secs, grace_period_secs,
                              keep_versions, first_version, settings_revision));
