
-- Checks of rows: what the CHECKs and the trigger of the tables call.

-- PostgreSQL parses the text of every CHECK of a table again for each statement that changes a row. So a table that every
-- change writes has one CHECK, with one function. What a change of a value does not touch is checked by a trigger of those
-- columns. Null, where some are missing, is no objection.
CREATE FUNCTION vault.check_settings_fit() RETURNS trigger
AS 'MODULE_PATHNAME', 'hv_check_settings_fit' LANGUAGE C;
COMMENT ON FUNCTION vault.check_settings_fit() IS 'raises as a CHECK does, unless the settings of a secret may be stored';

CREATE FUNCTION vault.version_fits(version bigint, envelope_version smallint, kms_key_id text, wrapped_dek bytea,
                                   nonce bytea, ciphertext bytea) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_version_fits' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION vault.version_fits(bigint, smallint, text, bytea, bytea, bytea) IS 'whether a sealed version may be stored';

CREATE FUNCTION vault.record_fits(action text, outcome text, journal uuid, sequence bigint) RETURNS boolean
AS 'MODULE_PATHNAME', 'hv_record_fits' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION vault.record_fits(text, text, uuid, bigint) IS 'whether an audit record may be stored';
