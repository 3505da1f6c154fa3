
-- Checks of rows: what the CHECKs and the trigger of the tables call.

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
              wrap_lookup,access,grant,revoke,bind_role,configure_role,unbind_role,repair_role,role_drift,
              session_list,session_wait,session_end,audit,rewrap,rewrap_status,audit_gap,audit_prune,
              template_configure,template_list,lease_issue,lease_renew,lease_revoke,lease_end,
              lease_list,malformed}')
       AND outcome OPERATOR(pg_catalog.=) ANY ('{ok,denied,failed,unknown}')
       AND (journal IS NULL) OPERATOR(pg_catalog.=) (sequence IS NULL)
       AND (sequence IS NULL OR sequence OPERATOR(pg_catalog.>=) 1);
END
$$;
COMMENT ON FUNCTION vault.record_fits(text, text, uuid, bigint) IS 'whether an audit record may be stored';
