
-- Settings of secrets are validated here, with a readable error for each.

CREATE FUNCTION vault.is_time_zone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Reads every file of the time zone database, in some 40 ms. STRICT, because AND evaluates its other side as well if
    -- one is NULL, and a caller that names no zone must not wait for that. Names that mean something only on this
    -- machine, and copies of the database under other names, are no time zones.
    RETURN name !~ '^(posix|right)/' AND name NOT IN ('localtime', 'posixrules', 'Factory')
       AND EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = is_time_zone.name);
END
$$;
COMMENT ON FUNCTION vault.is_time_zone(text) IS 'whether a name is one of the time zone database, by its exact spelling';

CREATE FUNCTION vault.tags_fit(tags jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The limits of REST, whose every reader decodes them.
    RETURN (SELECT count(*) <= 64
       AND coalesce(bool_and(jsonb_typeof(t.value) = 'string' AND octet_length(t.key) BETWEEN 1 AND 128
                             AND octet_length(t.value #>> '{}') <= 512), true)
    FROM jsonb_each(tags) t);
END
$$;
COMMENT ON FUNCTION vault.tags_fit(jsonb) IS 'whether an object is one of tags: a few short strings';

CREATE FUNCTION vault.check_settings(kind text, settings vault.secret_settings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text := CASE
        WHEN kind IS NULL OR kind NOT IN ('manual', 'automatic') THEN 'kind must be manual or automatic'
        WHEN kind = 'manual' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) > 0
            THEN 'a manual secret has no rotation_interval_secs and no rotation_schedule'
        WHEN kind = 'automatic' AND num_nonnulls(settings.rotation_interval_secs, settings.rotation_schedule) <> 1
            THEN 'an automatic secret needs rotation_interval_secs or rotation_schedule, not both'
        WHEN settings.rotation_interval_secs NOT BETWEEN 1 AND 315360000
            THEN 'rotation_interval_secs must be between 1 and 315360000'
        WHEN octet_length(settings.rotation_schedule) NOT BETWEEN 9 AND 255
            THEN 'rotation_schedule must be between 9 and 255 bytes'
        WHEN settings.rotation_time_zone <> 'UTC' AND NOT vault.is_time_zone(settings.rotation_time_zone)
            THEN 'rotation_time_zone is not a time zone that PostgreSQL knows'
        WHEN settings.rotation_window_secs <> 0 AND settings.rotation_window_secs NOT BETWEEN 60 AND 31536000
            THEN 'rotation_window_secs must be 0 (none) or between 60 and 31536000'
        WHEN settings.grace_period_secs NOT BETWEEN 0 AND 315360000
            THEN 'grace_period_secs must be between 0 and 315360000'
        WHEN settings.keep_versions NOT BETWEEN 0 AND 100 THEN 'keep_versions must be between 0 and 100'
        WHEN octet_length(settings.description) > 1024 THEN 'description must be at most 1024 bytes'
        WHEN jsonb_typeof(settings.tags) <> 'object' OR octet_length(settings.tags::text) > 49152
            THEN 'tags must be a JSON object of at most 49152 bytes'
        WHEN settings.tags <> '{}' AND NOT vault.tags_fit(settings.tags)
            THEN 'tags must be an object of strings: at most 64, names of 1 to 128 bytes, values of at most 512 bytes'
        WHEN jsonb_typeof(settings.generate_policy) <> 'object'
             OR octet_length(settings.generate_policy::text) > 4096
            THEN 'generate_policy must be a JSON object of at most 4096 bytes'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION vault.check_settings(text, vault.secret_settings)
    IS 'validates settings with a readable error, where the constraints of the table would only name themselves';
