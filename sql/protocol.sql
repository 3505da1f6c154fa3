
-- What a program of the API learns of this schema before it uses it.

CREATE FUNCTION vault.extension_version() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault' $$;
COMMENT ON FUNCTION vault.extension_version() IS 'version of the installed schema';

-- A schema serves the protocol before its own too, so that a program can be rolled back after an update.
CREATE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer)
LANGUAGE sql IMMUTABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 1, 2 $$;
COMMENT ON FUNCTION vault.api_protocols() IS 'the protocols of hyperion-vault-api that this schema serves; a program that speaks none of them refuses to use it';
