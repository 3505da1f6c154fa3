--
-- SECRET: the plaintext path, with a key agent: what trusted roles do all day, and everything that they can get wrong.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_app;
CREATE ROLE regress_vault_reader;
CREATE ROLE regress_vault_stranger;
SELECT vault.grant_access('regress_vault_app', 'app/*', '{create,read,update,delete,rotate,verify}');
SELECT vault.grant_access('regress_vault_reader', 'app/text', '{read,verify}');
SELECT vault.grant_access('regress_vault_stranger', 'strange/*', '{create,read,update,delete,rotate,verify}');
SET ROLE regress_vault_app;

--
-- good: text
--
SELECT vault.create_secret('app/text', 's3cr3t');
SELECT vault.read_secret('app/text');
SELECT vault.read_secret('app/text', 1);
SELECT vault.read_secret_bytes('app/text');
SELECT vault.verify('app/text', 's3cr3t'), vault.verify('app/text', 's3cr3T'), vault.verify('app/text', ''),
       vault.verify('app/text', 's3cr3t '), vault.verify('app/text', NULL::text), vault.verify('app/text', NULL::bytea),
       vault.verify('app/text', '\x733363723374'::bytea), vault.verify('app/text', '\x7333637233'::bytea);
-- what is stored is not what was given, and never the same twice
RESET ROLE;
SELECT position('s3cr3t'::bytea IN v.ciphertext), length(v.ciphertext), length(v.nonce), v.envelope_version
FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = 'app/text';
SET ROLE regress_vault_app;
SELECT vault.create_secret('app/twin', 's3cr3t');
RESET ROLE;
SELECT count(DISTINCT v.ciphertext), count(DISTINCT v.nonce), count(DISTINCT v.wrapped_dek)
FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name IN ('app/text', 'app/twin');
SET ROLE regress_vault_app;

-- all that can be said of a secret, and all of it seen again
SELECT vault.create_secret('app/full', value => 'v', kind => 'manual', content_type => 'TEXT/HTML; Charset="UTF-8"',
    description => 'a "full" one', tags => '{"team": "core", "n": "[1, null]"}', grace_period_secs => 3600,
    generate_policy => '{"length": 12, "lower": false, "upper": false, "allow_weak": true}');
SELECT name, kind, content_type, description, tags, rotation_interval_secs, grace_period_secs, generate_policy,
       current_version, next_rotation_at, created_at = updated_at
FROM vault.list_secrets('app/full');

-- values that are hard to carry
SELECT vault.create_secret('app/utf8', E'pässwörd ✓ 🔑 \' " \\ \t\n\r $1 %s');
SELECT vault.read_secret('app/utf8') = E'pässwörd ✓ 🔑 \' " \\ \t\n\r $1 %s';
SELECT vault.create_secret('app/one', 'x'), vault.create_secret('app/space', ' '), vault.create_secret('app/limit', repeat('é', 32768));
SELECT vault.read_secret('app/one'), '[' || vault.read_secret('app/space') || ']', vault.read_secret('app/limit') = repeat('é', 32768);

--
-- good: bytes
--
SELECT vault.create_secret('app/bytes', (SELECT decode(string_agg(lpad(to_hex(b), 2, '0'), ''), 'hex') FROM generate_series(0, 255) b));
SELECT vault.read_secret_bytes('app/bytes') = (SELECT decode(string_agg(lpad(to_hex(b), 2, '0'), ''), 'hex') FROM generate_series(0, 255) b);
SELECT vault.create_secret('app/zero', '\x00'::bytea);
SELECT vault.read_secret_bytes('app/zero'), vault.verify('app/zero', '\x00'::bytea), vault.verify('app/zero', '\x0000'::bytea),
       vault.verify('app/zero', ''::bytea), vault.verify('app/zero', '0');
-- bytes that are said to be text are text
SELECT vault.create_secret('app/text-bytes', 'as bytes'::bytea, content_type => 'text/plain');
SELECT vault.read_secret('app/text-bytes');
-- what is said to be bytes is given as bytes: a driver that sends them as text may have cut them
SELECT try('SELECT vault.create_secret(''app/bytes-text'', ''as text'', content_type => ''application/octet-stream'')');
SELECT try('SELECT vault.create_secret(''app/bytes-text'', ''as text'', content_type => ''Image/PNG'')');
SELECT vault.create_secret('app/bytes-text', 'as text'::bytea, content_type => 'application/octet-stream');
SELECT try('SELECT vault.update_secret(''app/bytes-text'', ''cut'', NULL)');
SELECT try('SELECT vault.update_secret(''app/bytes-text'', ''cut''::text, 1)');
SELECT vault.read_secret_bytes('app/bytes-text');

--
-- good: JSON
--
SELECT vault.create_secret('app/json', '{"user": "u", "password": "p"}', content_type => 'application/json');
SELECT vault.read_secret('app/json')::jsonb ->> 'password';
SELECT vault.create_secret('app/json2', '"just a string"', content_type => 'application/vnd.api+json');
SELECT vault.read_secret('app/json2')::jsonb;
SELECT name, content_type FROM vault.list_secrets('app/') WHERE name ~ 'json|bytes' ORDER BY name;

--
-- good: update, versions, grace
--
SELECT vault.create_secret('app/v', 'one', grace_period_secs => 3600);
SELECT vault.update_secret('app/v', 'two', 1);
SELECT vault.update_secret('app/v', 'three'::bytea, 2);
SELECT vault.update_secret('app/v', 'four', NULL);
SELECT vault.read_secret('app/v'), vault.read_secret('app/v', 4), vault.read_secret('app/v', 3), vault.read_secret('app/v', 2),
       vault.read_secret('app/v', 1), vault.read_secret('app/v', NULL);
SELECT v, vault.verify('app/v', v) FROM unnest('{one,two,three,four,five}'::text[]) v;
-- when grace ends, a version ends
RESET ROLE;
UPDATE vault.secret_versions SET expires_at = clock_timestamp()
WHERE secret_id = (SELECT id FROM vault.describe_secret('app/v')) AND version < 3;
SET ROLE regress_vault_app;
SELECT v, vault.verify('app/v', v) FROM unnest('{one,two,three,four,five}'::text[]) v;
SELECT try('SELECT vault.read_secret(''app/v'', 2)');
SELECT vault.read_secret('app/v', 3);
-- without grace a version ends with its successor
SELECT vault.update_secret('app/text', 's3cr3t2', 1);
SELECT vault.read_secret('app/text'), vault.verify('app/text', 's3cr3t2'), vault.verify('app/text', 's3cr3t');
SELECT try('SELECT vault.read_secret(''app/text'', 1)');
-- an update keeps everything else
SELECT vault.update_secret('app/full', 'w', 1);
SELECT content_type, description, tags, grace_period_secs, generate_policy, current_version, updated_at > created_at
FROM vault.list_secrets('app/full');
-- more versions in grace than the agent is asked for at once
SELECT vault.create_secret('app/many', 'v1', grace_period_secs => 3600);
SELECT count(vault.update_secret('app/many', 'v' || n, n - 1)) FROM generate_series(2, 130) n;
SELECT n, vault.verify('app/many', 'v' || n) FROM unnest('{0,1,2,65,66,67,129,130,131}'::integer[]) n;

--
-- good: automatic secrets and rotation
--
SELECT vault.create_secret('app/auto', NULL, 'automatic', rotation_interval_secs => 86400, grace_period_secs => 3600);
SELECT vault.read_secret('app/auto') ~ '^[A-Za-z0-9]{32}$';
SELECT vault.read_secret('app/auto') AS before \gset
SELECT next_rotation_at AS due FROM vault.list_secrets('app/auto') \gset
SELECT vault.rotate_secret('app/auto');
SELECT vault.read_secret('app/auto') ~ '^[A-Za-z0-9]{32}$', vault.read_secret('app/auto') <> :'before',
       vault.verify('app/auto', :'before'), vault.read_secret('app/auto', 1) = :'before';
SELECT vault.verify_version('app/auto', :'before'), vault.verify_version('app/auto', vault.read_secret_bytes('app/auto')),
       vault.verify_version('app/auto', 'wrong') IS NULL, vault.verify_version('app/auto', NULL::text) IS NULL;
-- the schedule stays, unless it is asked to start again
SELECT kind, rotation_interval_secs, current_version, next_rotation_at = :'due' FROM vault.list_secrets('app/auto');
SELECT vault.rotate_secret('app/auto', reschedule => true);
SELECT next_rotation_at > :'due', updated_at - next_rotation_at + '1 day' BETWEEN '0' AND '1 minute' FROM vault.list_secrets('app/auto');
SELECT vault.create_secret('app/pin', NULL, 'automatic', rotation_interval_secs => 60,
    generate_policy => '{"length": 8, "lower": false, "upper": false, "allow_weak": true}');
SELECT vault.read_secret('app/pin') ~ '^[0-9]{8}$';
SELECT vault.rotate_secret('app/pin');
SELECT vault.read_secret('app/pin') ~ '^[0-9]{8}$';
-- an automatic one may start with a given value, and be given one
SELECT vault.create_secret('app/given', 'mine', 'automatic', rotation_interval_secs => 60);
SELECT vault.read_secret('app/given');
SELECT vault.update_secret('app/given', 'mine too', 1), vault.read_secret('app/given');
-- a manual one rotates if it has a policy
SELECT vault.rotate_secret('app/full');
SELECT vault.read_secret('app/full') ~ '^[0-9]{12}$';

--
-- good: list
--
SELECT name, current_version FROM vault.list_secrets();
SELECT name FROM vault.list_secrets('app/b');
SELECT name FROM vault.list_secrets('app/bytes');
SELECT count(*) = (SELECT count(*) FROM vault.list_secrets(NULL)) FROM vault.list_secrets('app');
SELECT count(*) FROM vault.list_secrets('application');
SELECT (vault.list_secrets('app/v')).name;
SELECT n, l.name FROM unnest('{app/v,app/none,app/one}'::text[]) n LEFT JOIN LATERAL vault.list_secrets(n) l ON true;
SELECT name FROM vault.list_secrets('app/', NULL, 2);
SELECT name FROM vault.list_secrets('app/', (SELECT max(l.name) FROM vault.list_secrets('app/', NULL, 2) l), 1);
SELECT count(*) = (SELECT count(*) FROM vault.list_secrets()) FROM vault.list_secrets(NULL, NULL, 100000);
SELECT name FROM vault.list_secrets('app', 'zzz', 10);
SELECT name FROM vault.list_secrets('app', 'no name', 10);
SELECT name FROM vault.list_secrets('app', NULL, 0);
SELECT name FROM vault.list_secrets('app', NULL, NULL);
SELECT name FROM vault.list_secrets('app', NULL, 100001);
SET ROLE regress_vault_reader;
SELECT name FROM vault.list_secrets();
SELECT name FROM vault.list_secrets(NULL, NULL, 1);
SELECT name FROM vault.list_secrets('app/t');
SET ROLE regress_vault_stranger;
SELECT name FROM vault.list_secrets();
SELECT name FROM vault.list_secrets('app/');
RESET ROLE;
SELECT count(*) FROM vault.list_secrets('app/') HAVING count(*) > 10;
SET ROLE regress_vault_app;

--
-- good: delete
--
SELECT vault.delete_secret('app/twin', 1);
SELECT try('SELECT vault.read_secret(''app/twin'')');
SELECT name FROM vault.list_secrets('app/twin');
SELECT vault.create_secret('app/twin', 'born again');
SELECT vault.read_secret('app/twin'), vault.verify('app/twin', 's3cr3t');
-- what was meant for the deleted one is stale, however often its number comes
SELECT try('SELECT vault.update_secret(''app/twin'', ''x'', 1)');
SELECT try('SELECT vault.delete_secret(''app/twin'', 1)');
SELECT try('SELECT vault.expire_version(''app/twin'', 1)');
SELECT try('SELECT vault.read_secret(''app/twin'', 1)');
SELECT vault.update_secret('app/twin', 'changed', 2), vault.read_secret('app/twin', 3);
-- a name goes on in one transaction too, and after a rollback at the number that was not used
BEGIN;
SELECT vault.delete_secret('app/twin', 3), vault.create_secret('app/twin', 'third');
ROLLBACK;
SELECT vault.read_secret('app/twin', 3);
SELECT vault.delete_secret('app/twin', 3), vault.create_secret('app/twin', 'third'), vault.read_secret('app/twin', 4);
SELECT vault.delete_secret('app/twin', NULL);

--
-- wrong names
--
SELECT try('SELECT vault.read_secret(NULL)');
SELECT try('SELECT vault.read_secret('''')');
SELECT try('SELECT vault.read_secret(''.'')');
SELECT try('SELECT vault.read_secret(''app/..'')');
SELECT try('SELECT vault.read_secret(''app/../strange/a'')');
SELECT try('SELECT vault.read_secret(''app/./text'')');
SELECT try('SELECT vault.read_secret(''/app/text'')');
SELECT try('SELECT vault.read_secret(''app/text/'')');
SELECT try('SELECT vault.read_secret(''app//text'')');
SELECT try('SELECT vault.read_secret(''app text'')');
SELECT try('SELECT vault.read_secret(''app/text '')');
SELECT try('SELECT vault.read_secret(''app\text'')');
SELECT try('SELECT vault.read_secret(''app/*'')');
SELECT try('SELECT vault.read_secret(''app/täxt'')');
SELECT try(E'SELECT vault.read_secret(E''app/te\\nxt'')');
SELECT try(E'SELECT vault.read_secret(E''app/te\\x7fxt'')');
SELECT try(E'SELECT vault.read_secret(E''app/te\\u0085xt'')');
SELECT try(E'SELECT vault.read_secret(E''app/te\\xffxt'')');
SELECT try(E'SELECT vault.read_secret(E''app/te\\x00xt'')');
SELECT try(format('SELECT vault.read_secret(%L)', 'app/' || repeat('n', 252)));
SELECT try(format('SELECT vault.read_secret(%L)', 'app/' || repeat('n', 251)));
-- the same rule wherever a name is taken
SELECT try('SELECT vault.create_secret(''app/..'', ''x'')');
SELECT try('SELECT vault.create_secret('''', ''x'')');
SELECT try('SELECT vault.create_secret(NULL, ''x'')');
SELECT try('SELECT vault.update_secret(''app//x'', ''x'', NULL)');
SELECT try('SELECT vault.update_secret(NULL, ''x'', NULL)');
SELECT try('SELECT vault.rotate_secret(''app/'')');
SELECT try('SELECT vault.rotate_secret(NULL)');
SELECT try('SELECT vault.delete_secret(''.'', NULL)');
SELECT try('SELECT vault.delete_secret(NULL, NULL)');
SELECT try('SELECT vault.verify(''app/ö'', ''x'')');
SELECT try('SELECT vault.verify(NULL, ''x'')');
SELECT try('SELECT vault.read_secret_bytes('''')');
SELECT try('SELECT vault.list_secrets(''..'')');
SELECT try('SELECT vault.list_secrets(''/'')');
SELECT try('SELECT vault.list_secrets(''app//'')');
SELECT try('SELECT vault.list_secrets(''app/%'')');
SELECT try(format('SELECT vault.list_secrets(%L)', repeat('n', 256)));

--
-- wrong values
--
SELECT try('SELECT vault.create_secret(''app/w'', '''')');
SELECT try('SELECT vault.create_secret(''app/w'', ''''::bytea)');
SELECT try('SELECT vault.create_secret(''app/w'', NULL)');
SELECT try('SELECT vault.create_secret(''app/w'', NULL::bytea)');
SELECT try(format('SELECT vault.create_secret(''app/w'', %L)', repeat('x', 65537)));
SELECT try(format('SELECT vault.create_secret(''app/w'', %L)', repeat('é', 32768) || 'x'));
SELECT try(format('SELECT vault.create_secret(''app/w'', decode(%L, ''hex''))', repeat('00', 65537)));
SELECT try('SELECT vault.create_secret(''app/w'', ''\x00''::bytea, content_type => ''text/plain'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''\xff''::bytea, content_type => ''text/plain'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''\xc3''::bytea, content_type => ''application/json'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''{'', content_type => ''application/json'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''{} {}'', content_type => ''application/json'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''not json'', content_type => ''application/hal+json'')');
SELECT try('SELECT vault.update_secret(''app/text'', '''', NULL)');
SELECT try('SELECT vault.update_secret(''app/text'', NULL::text, NULL)');
SELECT try('SELECT vault.update_secret(''app/text'', ''\xff''::bytea, NULL)');
SELECT try('SELECT vault.update_secret(''app/json'', ''{'', NULL)');
SELECT try(format('SELECT vault.update_secret(''app/text'', %L, NULL)', repeat('x', 65537)));
-- what is too long is refused before it is compared, parsed or even decompressed
SELECT try('SELECT vault.verify(''app/text'', repeat(''x'', 65536))'), try('SELECT vault.verify(''app/text'', repeat(''x'', 65537))');
SELECT try('SELECT vault.verify(''app/text'', repeat(''x'', 65537)::bytea)'), try('SELECT vault.verify_version(''app/text'', repeat(''x'', 65537))');
SELECT try('SELECT vault.verify_version(''app/text'', repeat(''x'', 65537)::bytea)'), try('SELECT vault.verify(''app/text'', repeat(''x'', 3000000))');
SELECT try('SELECT vault.create_secret(''app/w'', repeat(''{'', 65537), content_type => ''application/json'', generate_policy => ''{"json_field": "a"}'')');
SELECT try('SELECT vault.create_secret(''app/w'', repeat(''x'', 65537)::bytea)'), try('SELECT vault.update_secret(''app/text'', repeat(''x'', 65537)::bytea, NULL)');
SELECT try('SELECT vault.verify(''strange/s'', repeat(''x'', 65537))');
-- bytes are no text
SELECT try('SELECT vault.read_secret(''app/bytes'')');
SELECT try('SELECT vault.read_secret(''app/bytes-text'')');
-- the limit is the setting
RESET ROLE;
SET hyperion_vault.max_value_bytes = 3;
SET ROLE regress_vault_app;
SELECT try('SELECT vault.create_secret(''app/w'', ''four'')');
SELECT vault.update_secret('app/one', 'two', 1);
-- what is there already can be read
SELECT vault.read_secret('app/text');
RESET ROLE;
SET hyperion_vault.max_value_bytes = '1MB';
SET ROLE regress_vault_app;
SELECT try(format('SELECT vault.create_secret(''app/mb'', %L)', repeat('x', 1048577)));
SELECT vault.create_secret('app/mb', repeat('x', 1048576));
SELECT vault.read_secret('app/mb') = repeat('x', 1048576), vault.verify('app/mb', repeat('x', 1048576)), vault.verify('app/mb', repeat('x', 1048575));
SELECT vault.delete_secret('app/mb', 1);
RESET ROLE;
RESET hyperion_vault.max_value_bytes;
SET ROLE regress_vault_app;

--
-- wrong settings
--
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', NULL)');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', ''magic'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', ''Manual'')');
SELECT try('SELECT vault.create_secret(''app/w'', NULL, ''magic'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', ''automatic'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', rotation_interval_secs => 60)');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', ''automatic'', rotation_interval_secs => 0)');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', ''automatic'', rotation_interval_secs => 315360001)');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', grace_period_secs => -1)');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', grace_period_secs => 315360001)');
SELECT try(format('SELECT vault.create_secret(''app/w'', ''x'', description => %L)', repeat('d', 1025)));
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', tags => ''[]'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', tags => ''{'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', tags => ''{"a": 1}'')');
SELECT try('SELECT vault.configure_secret(''app/full'', tags => ''{"a": ["b"]}'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', content_type => ''text'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', content_type => ''text/*'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', content_type => ''text/plain; charset=latin1'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', content_type => ''text/plän'')');
SELECT try(format('SELECT vault.create_secret(''app/w'', ''x'', content_type => %L)', 'text/' || repeat('t', 251)));
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''[]'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''{"length": 7}'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''{"length": 8, "upper": false}'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''{"length": "8"}'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''{"lenght": 8}'')');
SELECT try('SELECT vault.create_secret(''app/w'', ''x'', generate_policy => ''{"lower": false, "upper": false, "digits": false}'')');
-- null is the default where there is one
SELECT vault.create_secret('app/nulls', 'x', 'manual', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT kind, content_type, description, tags, grace_period_secs FROM vault.list_secrets('app/nulls');
SELECT vault.delete_secret('app/nulls', 1);

--
-- wrong versions, names that are taken, names that are not there
--
SELECT try('SELECT vault.create_secret(''app/v'', ''x'')');
SELECT try('SELECT vault.create_secret(''app/v'', ''x''::bytea)');
SELECT try('SELECT vault.update_secret(''app/v'', ''x'', 3)');
SELECT try('SELECT vault.update_secret(''app/v'', ''x'', 5)');
SELECT try('SELECT vault.update_secret(''app/v'', ''x'', 0)');
SELECT try('SELECT vault.update_secret(''app/v'', ''x'', -1)');
SELECT try('SELECT vault.update_secret(''app/v'', ''x''::bytea, 1)');
SELECT try('SELECT vault.delete_secret(''app/v'', 3)');
SELECT try('SELECT vault.delete_secret(''app/v'', 0)');
SELECT try('SELECT vault.read_secret(''app/v'', 5)');
SELECT try('SELECT vault.read_secret(''app/v'', 0)');
SELECT try('SELECT vault.read_secret(''app/v'', -1)');
SELECT try('SELECT vault.read_secret_bytes(''app/v'', 9223372036854775807)');
SELECT try('SELECT vault.rotate_secret(''app/text'')');
SELECT try('SELECT vault.read_secret(''app/none'')');
SELECT try('SELECT vault.read_secret(''app/none'', 1)');
SELECT try('SELECT vault.verify(''app/none'', ''x'')');
SELECT try('SELECT vault.update_secret(''app/none'', ''x'', NULL)');
SELECT try('SELECT vault.rotate_secret(''app/none'')');
SELECT try('SELECT vault.delete_secret(''app/none'', 1)');
SELECT current_version FROM vault.list_secrets('app/v');
SELECT name FROM vault.list_secrets('app/w');

--
-- refused: by the name alone, whether it is there or not
--
SET ROLE regress_vault_stranger;
SELECT vault.read_secret('app/text');
SELECT vault.read_secret('app/none');
-- call, with every mistake that could make a difference if the secret were checked first; it must make none
SELECT call, count(DISTINCT replace(try(format(call, name)), name, 'NAME')), min(split_part(try(format(call, name)), ':', 1))
FROM unnest('{app/text,app/v,app/none,app/bytes,app/auto}'::text[]) name, (VALUES
    ('SELECT vault.read_secret(%L)'),
    ('SELECT vault.read_secret(%L, 1)'),
    ('SELECT vault.read_secret_bytes(%L, 99)'),
    ('SELECT vault.verify(%L, ''s3cr3t2'')'),
    ('SELECT vault.verify(%L, ''\x00''::bytea)'),
    ('SELECT vault.create_secret(%L, ''x'')'),
    ('SELECT vault.create_secret(%L, ''x'', content_type => ''nonsense'')'),
    ('SELECT vault.create_secret(%L, NULL, ''magic'')'),
    ('SELECT vault.update_secret(%L, ''x'', NULL)'),
    ('SELECT vault.update_secret(%L, ''x'', 7)'),
    ('SELECT vault.update_secret(%L, ''\xff''::bytea, 1)'),
    ('SELECT vault.rotate_secret(%L)'),
    ('SELECT vault.delete_secret(%L, NULL)'),
    ('SELECT vault.delete_secret(%L, 7)')) calls (call) GROUP BY call ORDER BY call COLLATE "C";
-- a grant on the name does not help another name, nor another action
SET ROLE regress_vault_reader;
SELECT vault.read_secret('app/text');
SELECT try('SELECT vault.read_secret(''app/v'')');
SELECT try('SELECT vault.update_secret(''app/text'', ''x'', NULL)');
-- an application's SECURITY DEFINER function lends what its owner may
SET ROLE regress_vault_app;
CREATE FUNCTION pg_temp.lend() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT vault.read_secret('app/v') $$;
SET ROLE regress_vault_stranger;
SELECT pg_temp.lend();
SELECT try('SELECT vault.read_secret(''app/v'')');
SET ROLE regress_vault_app;
DROP FUNCTION pg_temp.lend();

--
-- transactions
--
BEGIN;
SELECT vault.create_secret('app/tx', 'x');
SELECT vault.read_secret('app/tx');
SELECT vault.update_secret('app/tx', 'y', 1), vault.read_secret('app/tx');
ROLLBACK;
SELECT try('SELECT vault.read_secret(''app/tx'')');
BEGIN;
SAVEPOINT a;
SELECT vault.create_secret('app/tx', 'x');
ROLLBACK TO a;
SELECT vault.create_secret('app/tx', 'y');
SAVEPOINT b;
SELECT vault.create_secret('app/tx', 'z');
ROLLBACK TO b;
SELECT vault.read_secret('app/tx');
SELECT vault.read_secret('app/none');
SELECT vault.read_secret('app/tx');
ROLLBACK;
BEGIN;
SELECT vault.delete_secret('app/v', NULL);
SELECT try('SELECT vault.read_secret(''app/v'')');
ROLLBACK;
SELECT vault.read_secret('app/v');
-- errors caught in plpgsql, again and again, leave the session as it was
DO $$
DECLARE
    caught integer := 0;
BEGIN
    FOR i IN 1..50 LOOP
        BEGIN
            PERFORM vault.create_secret('app/tx' || i, 'x');
            PERFORM vault.read_secret('app/none');
        EXCEPTION WHEN undefined_object THEN
            caught := caught + 1;
        END;
        BEGIN
            PERFORM vault.read_secret('strange/a');
        EXCEPTION WHEN insufficient_privilege THEN
            caught := caught + 1;
        END;
        IF current_user <> 'regress_vault_app' OR vault.read_secret('app/v') <> 'four' THEN
            RAISE EXCEPTION 'not as it was: %', current_user;
        END IF;
    END LOOP;
    RAISE NOTICE 'caught %, as %', caught, current_user;
END
$$;
SELECT name FROM vault.list_secrets('app/tx');
-- read-only transactions read
BEGIN READ ONLY;
SELECT vault.read_secret('app/v'), vault.verify('app/v', 'four');
SELECT name FROM vault.list_secrets('app/v');
SELECT try('SELECT vault.create_secret(''app/tx'', ''x'')');
SELECT try('SELECT vault.update_secret(''app/v'', ''x'', NULL)');
SELECT try('SELECT vault.rotate_secret(''app/v'')');
SELECT try('SELECT vault.configure_secret(''app/v'', description => ''x'')');
SELECT try('SELECT vault.expire_version(''app/v'', 1)');
SELECT try('SELECT vault.delete_secret(''app/v'', NULL)');
-- a caller that may not do it anyway is told that
SELECT try('SELECT vault.delete_secret(''strange/a'', NULL)');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT vault.read_secret('app/v');
SELECT vault.update_secret('app/v', 'five', 4);
SELECT vault.read_secret('app/v');
ROLLBACK;

--
-- prepared statements, cursors, parallel plans, odd sessions
--
PREPARE r (text, bigint) AS SELECT vault.read_secret($1, $2);
EXECUTE r('app/v', NULL);
EXECUTE r('app/v', 3);
EXECUTE r('app/text', NULL);
EXECUTE r('app/none', NULL);
EXECUTE r('app/v', 4);
EXECUTE r('app/v', 4);
EXECUTE r('app/v', 4);
SET plan_cache_mode = force_generic_plan;
EXECUTE r('app/v', 4);
SET ROLE regress_vault_stranger;
EXECUTE r('app/v', 4);
SET ROLE regress_vault_app;
EXECUTE r('app/v', 4);
RESET plan_cache_mode;
DEALLOCATE r;
BEGIN;
DECLARE c CURSOR FOR SELECT vault.read_secret(n) FROM unnest('{app/v,app/text,app/none}'::text[]) n;
FETCH c;
FETCH c;
FETCH c;
ROLLBACK;
-- the caller's search_path, settings and temporary objects mean nothing inside
CREATE TEMP TABLE secrets (name text, deleted_at timestamptz);
CREATE FUNCTION pg_temp.starts_with(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'mine'; END $$;
SET search_path = pg_temp, vault;
SELECT vault.read_secret('app/v');
SELECT count(*) FROM vault.list_secrets('app/v');
SET row_security = off;
SELECT vault.read_secret('app/v');
SELECT public.try('SELECT vault.read_secret(''strange/a'')');
SHOW row_security;
RESET row_security;
RESET search_path;
DROP TABLE secrets;
DROP FUNCTION pg_temp.starts_with(text, text);
SET jit_above_cost = 0;
-- PostgreSQL 19 has no other string literals
SELECT current_setting('server_version_num')::int < 190000 AS literals \gset
\if :literals
SET standard_conforming_strings = off;
\endif
SET timezone = 'Asia/Tokyo';
SELECT vault.read_secret('app/v'), vault.verify('app/v', 'four');
RESET jit_above_cost;
RESET standard_conforming_strings;
RESET timezone;
-- parallel: the leader alone calls them
RESET ROLE;
CREATE TABLE many AS SELECT 'app/v' AS name, n FROM generate_series(1, 100) n;
ALTER TABLE many SET (parallel_workers = 2);
GRANT SELECT ON many TO regress_vault_app;
SELECT CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'force_parallel_mode'
       ELSE 'debug_parallel_query' END AS parallel \gset
SET :parallel = on;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET ROLE regress_vault_app;
EXPLAIN (COSTS OFF) SELECT vault.read_secret(name), n FROM many WHERE n % 2 = 0;
SELECT value, count(*) FROM (SELECT vault.read_secret(name) AS value, n FROM many WHERE n % 2 = 0) r GROUP BY value;
SELECT count(*) FROM many WHERE vault.verify(name, 'four');
SELECT vault.read_secret('app/v');
SELECT name FROM vault.list_secrets('app/v');
SELECT vault.create_secret('app/parallel', 'x'), vault.update_secret('app/parallel', 'y', 1), vault.rotate_secret('app/auto');
SELECT vault.delete_secret('app/parallel', 2);
SELECT try('SELECT vault.read_secret(''strange/a'')');
RESET ROLE;
SELECT name, current_version FROM vault.describe_secrets('app/v', '', 10);
RESET :parallel;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
DROP TABLE many;

-- a new session of an ordinary role that sets the socket before the library is there to refuse it (it is, where the
-- server preloads it): the library does not take it over
\c -
SET client_min_messages = 'error';
SET ROLE regress_vault_app;
SELECT split_part(try('SET hyperion_vault.agent_socket = ''/no/such/agent.sock'''), ':', 1) IN ('accepted', '42501');
SELECT split_part(try('SET hyperion_vault.max_value_bytes = 1'), ':', 1) IN ('accepted', '42501');
SELECT vault.read_secret('app/v');
SHOW hyperion_vault.max_value_bytes;
\c -

--
-- rows edited by hand. Whatever is changed or swapped, reading says so, and gives nothing.
--
SELECT vault.create_secret('edit/a', 'value of a', grace_period_secs => 3600), vault.create_secret('edit/b', 'value of b'),
       vault.create_secret('edit/bytes', '\x00ff'::bytea);
SELECT vault.update_secret('edit/a', 'value of a, 2', 1);
SELECT vault.create_secret('edit/rest', 'x');
-- edited: what a statement ends in after an edit, which is undone again
CREATE FUNCTION edited(edit text, statement text DEFAULT 'SELECT vault.read_secret(''edit/a'')') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = 'replica';  -- no triggers
    EXECUTE edit;
    SET LOCAL session_replication_role = 'origin';
    RAISE EXCEPTION USING MESSAGE = try(statement), ERRCODE = 'VTEST';
EXCEPTION WHEN SQLSTATE 'VTEST' THEN
    RETURN SQLERRM;
END
$$;
-- ids of the two, and every byte of a column changed in turn
SELECT id AS a FROM vault.describe_secret('edit/a') \gset
SELECT id AS b FROM vault.describe_secret('edit/b') \gset
SELECT id AS many FROM vault.describe_secret('app/many') \gset
CREATE FUNCTION flipped(id uuid, col text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    total integer;
BEGIN
    EXECUTE format('SELECT length(%I) FROM vault.secret_versions WHERE secret_id = %L AND version = 2', col, id) INTO total;
    RETURN QUERY
        SELECT DISTINCT edited(format('UPDATE vault.secret_versions SET %1$I = set_byte(%1$I, %2$s, get_byte(%1$I, %2$s) # 1) '
                                      'WHERE secret_id = %3$L AND version = 2', col, i, id)) COLLATE "C" AS outcome
        FROM generate_series(0, total - 1) i ORDER BY 1;
END
$$;
SELECT edited('SELECT 1');
SELECT * FROM flipped(:'a', 'ciphertext');
SELECT * FROM flipped(:'a', 'nonce');
SELECT * FROM flipped(:'a', 'wrapped_dek');
-- shorter and longer
SELECT col, op, edited(format('UPDATE vault.secret_versions SET %1$I = %2$s WHERE secret_id = %3$L AND version = 2', col, format(op, col), :'a'))
FROM unnest('{ciphertext,wrapped_dek}'::text[]) col,
     unnest(ARRAY['substr(%1$I, 2)', 'substr(%1$I, 1, length(%1$I) - 1)', '%1$I || ''\x00''', '''\x00'' || %1$I', '%1$I || %1$I']) op;
SELECT edited(format('UPDATE vault.secret_versions SET wrapped_dek = ''\x00'' WHERE secret_id = %L', :'a'));
SELECT edited(format('UPDATE vault.secret_versions SET kms_key_id = ''other'' WHERE secret_id = %L', :'a'));
SELECT edited(format('UPDATE vault.secret_versions SET kms_key_id = kms_key_id || ''x'' WHERE secret_id = %L', :'a'));
SELECT edited(format('ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_fit;
                      UPDATE vault.secret_versions SET envelope_version = 2 WHERE secret_id = %L', :'a'));
SELECT edited(format('ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_fit;
                      UPDATE vault.secret_versions SET nonce = substr(nonce, 2) WHERE secret_id = %L', :'a'));
SELECT edited(format('ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_fit;
                      UPDATE vault.secret_versions SET ciphertext = '''' WHERE secret_id = %L', :'a'));
SELECT edited(format('ALTER TABLE vault.secret_versions ALTER COLUMN nonce DROP NOT NULL;
                      UPDATE vault.secret_versions SET nonce = NULL WHERE secret_id = %L', :'a'));
-- the secret's own row
SELECT edited('UPDATE vault.secrets SET name = ''edit/moved'' WHERE name = ''edit/a''', 'SELECT vault.read_secret(''edit/moved'')');
SELECT edited('UPDATE vault.secrets SET name = ''edit/moved'' WHERE name = ''edit/a''');
SELECT edited('UPDATE vault.secrets SET content_type = ''text/html'' WHERE name = ''edit/a''');
SELECT edited('UPDATE vault.secrets SET content_type = ''application/octet-stream'' WHERE name = ''edit/a''');
SELECT edited('UPDATE vault.secrets SET content_type = ''application/octet-stream'' WHERE name = ''edit/a''',
              'SELECT vault.read_secret_bytes(''edit/a'')');
SELECT edited('UPDATE vault.secrets SET content_type = ''text/plain'' WHERE name = ''edit/bytes''', 'SELECT vault.read_secret(''edit/bytes'')');
SELECT edited('UPDATE vault.secrets SET id = gen_random_uuid() WHERE name = ''edit/a''');
SELECT edited(format('UPDATE vault.secrets SET id = %2$L WHERE id = %1$L; UPDATE vault.secret_versions SET secret_id = %2$L WHERE secret_id = %1$L', :'a', gen_random_uuid()));
SELECT edited('UPDATE vault.secrets SET current_version = 1 WHERE name = ''edit/a''');
SELECT edited('UPDATE vault.secrets SET current_version = 1 WHERE name = ''edit/a''', 'SELECT vault.update_secret(''edit/a'', ''x'', 1)');
SELECT edited('UPDATE vault.secrets SET current_version = 3 WHERE name = ''edit/a''');
SELECT edited('UPDATE vault.secrets SET current_version = 3 WHERE name = ''edit/a''', 'SELECT vault.update_secret(''edit/a'', ''x'', NULL)');
SELECT edited(format('DELETE FROM vault.secret_versions WHERE secret_id = %L', :'a'));
SELECT edited(format('DELETE FROM vault.secret_versions WHERE secret_id = %L', :'a'), 'SELECT vault.verify(''edit/a'', ''x'')');
SELECT edited(format('UPDATE vault.secret_versions SET expires_at = now() WHERE secret_id = %L', :'a'));
-- swaps: versions of one secret, columns of two, names of two, everything of two
SELECT edited(format('UPDATE vault.secret_versions SET version = 3 - version + 100 WHERE secret_id = %1$L;
                      UPDATE vault.secret_versions SET version = version - 100 WHERE secret_id = %1$L', :'a'));
SELECT edited(format('UPDATE vault.secret_versions SET version = 7 WHERE secret_id = %1$L AND version = 2;
                      UPDATE vault.secrets SET current_version = 7 WHERE id = %1$L', :'a'));
SELECT col, edited(format('UPDATE vault.secret_versions v SET (%1$s) = (SELECT %1$s FROM vault.secret_versions o WHERE o.secret_id = %3$L) '
                          'WHERE v.secret_id = %2$L AND v.version = 2', col, :'a', :'b'))
FROM unnest('{ciphertext,nonce,wrapped_dek,"nonce, ciphertext","wrapped_dek, nonce, ciphertext"}'::text[]) col;
SELECT col, edited(format('UPDATE vault.secret_versions v SET (%1$s) = (SELECT %1$s FROM vault.secret_versions o WHERE o.secret_id = %2$L AND o.version = 1) '
                          'WHERE v.secret_id = %2$L AND v.version = 2', col, :'a'))
FROM unnest('{ciphertext,nonce,wrapped_dek,"nonce, ciphertext","wrapped_dek, nonce, ciphertext"}'::text[]) col;
SELECT name, edited('UPDATE vault.secrets SET name = name || ''/old'' WHERE name IN (''edit/a'', ''edit/b'');
                     UPDATE vault.secrets SET name = CASE name WHEN ''edit/a/old'' THEN ''edit/b'' ELSE ''edit/a'' END WHERE name LIKE ''edit/%/old''',
                    format('SELECT vault.read_secret(%L)', name))
FROM unnest('{edit/a,edit/b}'::text[]) name;
SELECT edited(format('UPDATE vault.secret_versions SET version = 102 WHERE secret_id = %1$L AND version = 2;
                      UPDATE vault.secret_versions SET secret_id = %1$L, version = 2 WHERE secret_id = %2$L', :'a', :'b'));
-- verify does not say no where it could not look, not even for another version that would have matched
SELECT edited(format('UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE secret_id = %L AND version = 1', :'a'),
              'SELECT vault.verify(''edit/a'', ''value of a, 2'')');
SELECT edited(format('UPDATE vault.secret_versions SET wrapped_dek = ''\x01'' WHERE secret_id = %L AND version = 2', :'a'),
              'SELECT vault.verify(''edit/a'', ''value of a'')');
SELECT edited(format('UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE secret_id = %L AND version = 1', :'many'),
              'SELECT vault.verify(''app/many'', ''v130'')');
-- the other version is still to be had, and the row can be replaced
SELECT edited(format('UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE secret_id = %L AND version = 2', :'a'),
              'SELECT vault.read_secret(''edit/a'', 1)');
SELECT edited(format('UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE secret_id = %L AND version = 2', :'a'),
              'SELECT vault.update_secret(''edit/a'', ''x'', 2)');
-- bytes by hand were never sealed
SELECT put(201, 'edit/hand');
SELECT try('SELECT vault.read_secret(''edit/hand'')');
-- all undone
SELECT vault.read_secret('edit/a'), vault.read_secret('edit/a', 1), vault.read_secret('edit/b'), vault.read_secret_bytes('edit/bytes');
-- each of these reads was recorded as started, and then as failed
SELECT await_audit();
SELECT secret_name, outcome, code, count(*) > 0 FROM vault.audit('edit/', max_rows => 10000)
WHERE action = 'read' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
DROP FUNCTION edited(text, text), flipped(uuid, text);

--
-- audit: one of everything
--
SELECT vault.grant_access('regress_vault_app', 'log/*', '{create,read,update,delete,rotate,verify}');
SET ROLE regress_vault_app;
SELECT vault.create_secret('log/a', 'x', generate_policy => '{}', grace_period_secs => 60);
SELECT vault.read_secret('log/a') IS NOT NULL;
SELECT vault.update_secret('log/a', 'y', 1);
SELECT vault.read_secret_bytes('log/a', 1) IS NOT NULL;
SELECT vault.verify('log/a', 'x');
SELECT vault.verify('log/a', 'z');
SELECT vault.rotate_secret('log/a');
SELECT name FROM vault.list_secrets('log/');
SELECT try('SELECT vault.create_secret(''log/a'', ''x'')');
SELECT try('SELECT vault.create_secret(''log/b'', ''x'', ''magic'')');
SELECT try(format('SELECT vault.create_secret(''log/b'', %L)', repeat('x', 65537)));
SELECT try('SELECT vault.update_secret(''log/a'', ''x'', 1)');
SELECT try('SELECT vault.read_secret(''log/a'', 9)');
SELECT try('SELECT vault.verify(''log/none'', ''x'')');
SELECT try('SELECT vault.delete_secret(''log/a'', 1)');
SET ROLE regress_vault_stranger;
SELECT try('SELECT vault.read_secret(''log/a'')');
SELECT try('SELECT vault.verify(''log/none'', ''x'')');
SELECT try('SELECT vault.create_secret(''log/a'', ''x'')');
SELECT try('SELECT vault.delete_secret(''log/a'', 3)');
SELECT name FROM vault.list_secrets('log/');
SET ROLE regress_vault_app;
-- a rollback takes back the change and its record, not the read and its record
BEGIN;
SELECT vault.read_secret('log/a') IS NOT NULL;
SELECT vault.update_secret('log/a', 'x', 3);
ROLLBACK;
SELECT vault.delete_secret('log/a', 3);
RESET ROLE;
SELECT await_audit();
SELECT action, secret_name, version, outcome, code, actor, session_role = session_user, client_ip, node <> '', request_id = 'pid-' || pg_backend_pid()
FROM vault.audit('log/') WHERE action <> 'audit' ORDER BY at, id;
-- no name is recorded that is none
SELECT action, outcome, code, count(*) FROM vault.audit(max_rows => 100000)
WHERE actor LIKE 'role:regress\_vault\_app' AND coalesce(secret_name, '') = '' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- what cannot be done here or now is unavailable, and no fault of ours
SELECT action, secret_name, outcome, code FROM vault.audit('app/', max_rows => 100000)
WHERE code IN ('unavailable', 'internal') ORDER BY at, id;
-- and nothing of a value, anywhere
SELECT count(*) FROM vault.audit(max_rows => 100000) a WHERE a::text ~ 's3cr3t|value of|born again';

-- the longest prefix is a name and a slash
SELECT vault.create_secret(repeat('n', 253) || '/a', 'x');
SELECT count(*) FROM vault.list_secrets(repeat('n', 253) || '/');
SELECT count(*) FROM vault.list_secrets(repeat('n', 255) || '/');
SELECT try(format('SELECT vault.list_secrets(%L)', repeat('n', 256) || '/'));
SELECT await_audit();
SELECT action, length(secret_name), outcome FROM vault.audit(max_rows => 100000) WHERE action = 'list' AND secret_name LIKE 'nnn%' ORDER BY at, id;
--
-- prefixes: one rule in lists, pages and the audit; a grant on bulk/* reaches what bulk/ selects
--
SELECT vault.create_secret(n, 'x'::text) FROM unnest('{pre/bul,pre/bulk,pre/bulk-2,pre/bulk.x,pre/bulk/a,pre/bulk/a/b,pre/bulk/ab,pre/bulk0,pre/bulk2/a,pre/bulky,pre}'::text[]) n \g /dev/null
CREATE ROLE regress_vault_prefix;
SELECT vault.grant_access('regress_vault_prefix', 'pre/bulk/*', '{read}');
SELECT p AS prefix, (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM vault.list_secrets(p) l) AS listed
FROM unnest('{pre,pre/,pr,pre/bul,pre/bul/,pre/bulk,pre/bulk/,pre/bulk/a,pre/bulk/a/,pre/bulk/a/b/}'::text[]) p;
SELECT p AS prefix, (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM vault.list_secrets(p) l)
    IS NOT DISTINCT FROM (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM vault.describe_secrets(p, '', 100) l) AS pages,
    (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM vault.list_secrets(p) l)
    IS NOT DISTINCT FROM (SELECT string_agg(a.secret_name, ' ' ORDER BY a.secret_name COLLATE "C") FROM vault.audit(p) a WHERE a.action = 'create') AS audit
FROM unnest('{pre,pre/,pr,pre/bul,pre/bul/,pre/bulk,pre/bulk/,pre/bulk/a,pre/bulk/a/,pre/bulk/a/b/}'::text[]) p;
-- page by page, from the last name of the page before, and from names that the prefix does not select
SELECT a AS after, (SELECT string_agg(l.name, ' ') FROM vault.describe_secrets('pre/bulk', a, 2) l)
FROM unnest('{"",pre/bulk,pre/bulk-2,pre/bulk/a,pre/bulk/ab,pre/bulk0,zzz}'::text[]) a;
SET ROLE regress_vault_prefix;
SELECT p AS prefix, (SELECT string_agg(l.name, ' ' ORDER BY l.name COLLATE "C") FROM vault.list_secrets(p) l) AS listed
FROM unnest('{"",pre,pre/,pre/bulk,pre/bulk/,pre/bul,pre/bulk/a}'::text[]) p;
RESET ROLE;
SELECT vault.revoke_access('regress_vault_prefix', 'pre/bulk/*', '{read}');
DROP ROLE regress_vault_prefix;
SELECT count(*) FROM vault.list_secrets('pre') l, vault.delete_secret(l.name, NULL);

-- every function of the library with no argument that is not null
SELECT p.oid::regprocedure, try(format('SELECT vault.%I(%s)', p.proname, (SELECT string_agg('NULL::' || t::regtype, ', ') FROM unnest(p.proargtypes) t)))
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
WHERE p.pronamespace = 'vault'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT try('SELECT vault.admit_change(NULL, ''x'')'), try('SELECT vault.record_look(NULL, ''x'')'), try('SELECT vault.admit_change(''x'', NULL)');

-- clean up
SELECT count(*) > 10 FROM vault.list_secrets() s, vault.delete_secret(s.name, s.current_version);
SELECT count(*) FROM vault.describe_secrets('', '', 1000);
SELECT vault.revoke_access(grantee, pattern, array_agg(action)) FROM vault.access_list() GROUP BY grantee, pattern \g /dev/null
DROP ROLE regress_vault_app, regress_vault_reader, regress_vault_stranger;
