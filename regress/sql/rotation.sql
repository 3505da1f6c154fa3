--
-- ROTATION: what the supervisor and the workers of the API run. Times are set in the rows; nothing waits.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

-- The API beside this test would make the rotations itself.
REVOKE EXECUTE ON FUNCTION vault.claim_rotations(text, integer, integer), vault.unplanned_rotations(integer) FROM vault_regress_service;

-- settings: the fields of vault.secret_settings by name
CREATE FUNCTION settings(description text DEFAULT NULL, secs bigint DEFAULT NULL, schedule text DEFAULT NULL,
    zone text DEFAULT NULL, window_secs bigint DEFAULT NULL, paused boolean DEFAULT NULL, grace bigint DEFAULT NULL,
    kept integer DEFAULT NULL, policy jsonb DEFAULT NULL) RETURNS vault.secret_settings LANGUAGE sql AS
$$ SELECT ROW(description, NULL, secs, schedule, zone, window_secs, paused, grace, kept, policy)::vault.secret_settings $$;
CREATE FUNCTION origin() RETURNS vault.audit_origin LANGUAGE sql AS
$$ SELECT ROW('here', 'rotator', NULL, NULL, NULL)::vault.audit_origin $$;
CREATE FUNCTION sealed() RETURNS vault.sealed_value LANGUAGE sql AS
$$ SELECT ROW(1, 'local:k', '\x01', decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 17), 'hex'))::vault.sealed_value $$;
-- make: an automatic secret; set: its settings. Both return what is wrong with them.
CREATE FUNCTION make(n integer, name text, s vault.secret_settings) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.create_secret(%L, %L, sealed(), ''automatic'', ''text/plain'', %L::vault.secret_settings, origin())', uuid(n), name, s)) $$;
CREATE FUNCTION set(n integer, s vault.secret_settings) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.configure_secret(%L, (SELECT current_version FROM vault.secrets WHERE id = %L), %L::vault.secret_settings, origin())', uuid(n), uuid(n), s)) $$;
-- at: makes a secret due some seconds ago
CREATE FUNCTION at(n integer, ago interval) RETURNS void LANGUAGE sql AS
$$ UPDATE vault.secrets SET next_rotation_at = clock_timestamp() - ago WHERE id = uuid(n) $$;
CREATE VIEW jobs AS SELECT s.name, j.state, j.attempts, j.version, j.last_error, j.claimed_by
FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id ORDER BY j.due_at, s.name;

--
-- settings: good
--
SELECT make(601, 'rot/interval', settings(secs => 100, grace => 60));
SELECT make(602, 'rot/schedule', settings(schedule => '30 2 * * *', zone => 'Europe/Berlin', window_secs => 3600, grace => 60, kept => 1));
SELECT name, rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused, grace_period_secs,
       keep_versions, next_rotation_at - created_at FROM vault.describe_secrets('rot/', '', 10);
-- an interval replaces a schedule, and the other way round; null keeps
SELECT set(602, settings(secs => 50));
SELECT rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, keep_versions, next_rotation_at > updated_at
FROM vault.describe_secret('rot/schedule');
SELECT set(602, settings(schedule => '0 4 * * *', window_secs => 0));
SELECT rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, next_rotation_at FROM vault.describe_secret('rot/schedule');
-- what is set to what it is changes no plan
SELECT at(601, '-30 s');
SELECT set(601, settings(secs => 100, zone => 'Asia/Tokyo', description => 'again'));
SELECT next_rotation_at - clock_timestamp() BETWEEN '20 s' AND '30 s' FROM vault.describe_secret('rot/interval');
--
-- settings: wrong
--
SELECT set(601, settings(secs => 1, schedule => '* * * * *'));
SELECT set(601, settings(secs => 0));
SELECT set(601, settings(secs => 315360001));
SELECT set(601, settings(schedule => '* * * *'));
SELECT set(601, settings(zone => 'Europe/Atlantis'));
SELECT set(601, settings(zone => 'europe/berlin'));
SELECT set(601, settings(zone => 'CEST-2'));
SELECT set(601, settings(zone => 'posix/Europe/Berlin'));
SELECT set(601, settings(zone => 'localtime'));
SELECT set(601, settings(zone => ''));
SELECT set(601, settings(window_secs => 59));
SELECT set(601, settings(window_secs => 31536001));
SELECT set(601, settings(grace => -1));
SELECT set(601, settings(kept => 101));
SELECT set(601, settings(kept => -1));
SELECT set(601, settings(policy => '[]'));
SELECT make(603, 'rot/x', settings());
SELECT make(603, 'rot/x', settings(secs => 1, schedule => '* * * * *'));
SELECT put(603, 'rot/manual');
SELECT set(603, settings(secs => 1));
SELECT set(603, settings(schedule => '* * * * *'));
SELECT set(603, settings(paused => true, kept => 3));
SELECT set(699, settings(kept => 3));
SELECT try(format('SELECT vault.configure_secret(%L, 7, settings(kept => 1), origin())', uuid(601)));
SELECT gone(603, 1);

--
-- a due time is enqueued once, claimed by one, rotated once
--
SELECT at(601, '0 s');
SELECT vault.supervise(100, true);
SELECT vault.supervise(100, true);
SELECT * FROM jobs;
-- not before it is due, not while paused, not when that is switched off
SELECT at(601, '-1 h'), vault.supervise(100, true);
SELECT c.attempts, (c.secret).name, (c.secret).current_version, j.due_at = c.due_at FROM vault.claim_rotations('w1', 60, 10) c, vault.rotation_jobs j;
SELECT count(*) FROM vault.claim_rotations('w2', 60, 10);
-- the lease: others wait for its end, and then the first has lost it
SELECT id AS job FROM vault.rotation_jobs \gset
UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp() + '1 s';
SELECT count(*) FROM vault.claim_rotations('w2', 60, 10);
UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp();
SELECT attempts FROM vault.claim_rotations('w2', 60, 10);
SELECT replace(try(format('SELECT vault.complete_rotation(%L, ''w1'', 1, sealed(), NULL, origin())', :'job')), :'job', 'JOB');
SELECT replace(try(format('SELECT vault.fail_rotation(%L, ''w1'', ''x'', ''internal'', origin())', :'job')), :'job', 'JOB');
SELECT replace(try(format('SELECT vault.release_rotation(%L, ''w1'')', :'job')), :'job', 'JOB');
-- a failure is kept, and tried again after a while
SELECT retry_at - clock_timestamp() BETWEEN '3 s' AND '4 s' FROM vault.fail_rotation(:'job', 'w2', 'the key service is away', 'unavailable', origin()) retry_at;
SELECT * FROM jobs;
SELECT count(*) FROM vault.claim_rotations('w3', 60, 10);
SELECT vault.status()->'failing', vault.status()->'queued';
UPDATE vault.rotation_jobs SET next_attempt_at = clock_timestamp();
SELECT attempts FROM vault.claim_rotations('w3', 60, 10);
-- given back untouched
SELECT vault.release_rotation(:'job', 'w3');
SELECT attempts FROM vault.claim_rotations('w4', 60, 10);
-- a stale version, then the right one; the rhythm goes on from the due time
SELECT try(format('SELECT vault.complete_rotation(%L, ''w4'', 2, sealed(), NULL, origin())', :'job'));
SELECT current_version, next_rotation_at - j.due_at FROM vault.complete_rotation(:'job', 'w4', 1, sealed(), NULL, origin()), vault.rotation_jobs j;
SELECT * FROM jobs;
SELECT replace(try(format('SELECT vault.complete_rotation(%L, ''w4'', 2, sealed(), NULL, origin())', :'job')), :'job', 'JOB');
SELECT version, expires_at - created_at > '60 s' FROM vault.describe_versions('rot/interval');
-- the same due time never comes again, whatever a hand in the tables does
UPDATE vault.secrets SET next_rotation_at = (SELECT due_at FROM vault.rotation_jobs) WHERE id = uuid(601);
SELECT vault.supervise(100, true);

--
-- after a long outage: once, and the next is still to come
--
SELECT at(601, '1000 days 7 s');
SELECT vault.supervise(100, true), vault.supervise(100, true);
SELECT job_id AS job FROM vault.claim_rotations('w1', 60, 10) \gset
SELECT current_version, next_rotation_at > clock_timestamp(), next_rotation_at < clock_timestamp() + '100 s',
       extract(epoch FROM next_rotation_at - j.due_at)::bigint % 100
FROM vault.complete_rotation(:'job', 'w1', 2, sealed(), NULL, origin()), vault.rotation_jobs j WHERE j.id = :'job';

--
-- a schedule: planned by whoever can read it, if it still is the one
--
SELECT name, rotation_schedule FROM vault.unplanned_rotations(10);
SELECT vault.plan_rotation(uuid(602), '0 5 * * *', 'Europe/Berlin', clock_timestamp());
SELECT vault.plan_rotation(uuid(602), '0 4 * * *', 'UTC', clock_timestamp());
SELECT vault.plan_rotation(uuid(602), '0 4 * * *', 'Europe/Berlin', clock_timestamp());
SELECT vault.plan_rotation(uuid(602), '0 4 * * *', 'Europe/Berlin', clock_timestamp());
SELECT count(*) FROM vault.unplanned_rotations(10);
SELECT vault.supervise(100, true);
SELECT job_id AS job FROM vault.claim_rotations('w1', 60, 10) \gset
SELECT current_version, next_rotation_at = '2100-01-01 04:00+00' FROM vault.complete_rotation(:'job', 'w1', 1, sealed(), '2100-01-01 04:00+00', origin());

--
-- a window that passes: missed, and the next due time comes
--
SELECT set(601, settings(window_secs => 60));
SELECT at(601, '61 s');
SELECT vault.supervise(100, true), count(*) FROM vault.claim_rotations('w1', 60, 10);
SELECT vault.supervise(100, true);
SELECT name, state, attempts FROM jobs WHERE state = 'missed';
SELECT next_rotation_at > clock_timestamp(), current_version FROM vault.describe_secret('rot/interval');
SELECT vault.status()->'missed';

--
-- called off: by a pause, a new plan, a deletion. A claim on it is lost.
--
SELECT set(601, settings(window_secs => 0));
SELECT at(601, '1 s'), vault.supervise(100, true);
SELECT job_id AS job FROM vault.claim_rotations('w1', 60, 10) \gset
SELECT set(601, settings(paused => true));
SELECT vault.supervise(100, true), count(*) FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed');
SELECT replace(try(format('SELECT vault.complete_rotation(%L, ''w1'', 3, sealed(), NULL, origin())', :'job')), :'job', 'JOB');
SELECT vault.status()->'paused';
SELECT set(601, settings(paused => false)), vault.supervise(100, true);
SELECT set(601, settings(secs => 200)), vault.supervise(100, true);
SELECT count(*) FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed');
-- a rotation by hand leaves the plan; asked to, it counts as the due one
SELECT at(601, '1 s'), vault.supervise(100, true);
SELECT next(601, 3, 'rotate');
SELECT count(*) FROM vault.rotation_jobs WHERE state = 'queued';
SELECT current_version, next_rotation_at - updated_at BETWEEN '199 s' AND '200 s' FROM vault.append_version(uuid(601), 4, sealed(), 'rotate', NULL, true, origin());
SELECT count(*) FROM vault.rotation_jobs WHERE state = 'queued';

--
-- grace: several versions at once, each to its own end; valid before it, not at it
--
SELECT version FROM vault.read_verifiable('rot/interval');
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(601) AND version = 2;
SELECT version FROM vault.read_verifiable('rot/interval');
SELECT version FROM vault.read_sealed('{rot/interval}', 2);
-- ended by hand: sooner, never later, never the current one
SELECT version, expires_at - clock_timestamp() BETWEEN '9 s' AND '10 s' FROM vault.expire_version(uuid(601), 4, 10, origin());
SELECT version, expires_at - clock_timestamp() BETWEEN '9 s' AND '10 s' FROM vault.expire_version(uuid(601), 4, 1000, origin());
SELECT version, expires_at <= clock_timestamp() FROM vault.expire_version(uuid(601), 4, 0, origin());
SELECT version FROM vault.read_verifiable('rot/interval');
SELECT try(format('SELECT vault.expire_version(%L, 5, 0, origin())', uuid(601)));
SELECT try(format('SELECT vault.expire_version(%L, 6, 0, origin())', uuid(601)));
SELECT try(format('SELECT vault.expire_version(%L, 1, -1, origin())', uuid(601)));
SELECT try(format('SELECT vault.expire_version(%L, 1, NULL, origin())', uuid(601)));
SELECT try(format('SELECT vault.expire_version(%L, 1, 0, origin())', uuid(699)));
-- kept on purpose: read by number after its grace, and not verified
SELECT next(602, 2), next(602, 3);
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(602) AND version < 4;
SELECT vault.supervise(100, false);
SELECT version FROM vault.describe_versions('rot/schedule');
SELECT version FROM vault.read_verifiable('rot/schedule');
SELECT version FROM vault.read_sealed('{rot/schedule}', 3);
SELECT version FROM vault.read_sealed('{rot/schedule}', 2);
-- seen past its end it stays expired, although a clock that is set back would revive it
UPDATE vault.secret_versions SET expires_at = clock_timestamp() + '1 h' WHERE secret_id = uuid(602) AND version = 3;
SELECT version FROM vault.read_verifiable('rot/schedule');

--
-- one field of a JSON secret: the rest stays, byte for byte
--
SELECT vault.create_secret('rot/json', '{"n": 1.50, "password":"old", "user":"u"}', 'automatic', 'application/json',
    rotation_interval_secs => 3600, grace_period_secs => 60, generate_policy => '{"json_field": "password", "length": 12}');
SELECT vault.rotate_secret('rot/json');
SELECT vault.read_secret('rot/json') ~ '^\{"n": 1.50, "password":"[A-Za-z0-9]{12}", "user":"u"\}$', vault.read_secret('rot/json', 1);
SELECT action, version, outcome FROM vault.audit('rot/json') WHERE action <> 'audit' ORDER BY id;
SELECT try('SELECT vault.update_secret(''rot/json'', ''{"user":"u"}'', 2)');
SELECT try('SELECT vault.configure_secret(''rot/json'', generate_policy => ''{}'')');
SELECT try('SELECT vault.create_secret(''rot/j2'', ''x'', generate_policy => ''{"json_field": "password"}'')');
SELECT try('SELECT vault.create_secret(''rot/j2'', ''{}'', ''automatic'', ''application/json'', rotation_interval_secs => 1)');
SELECT try('SELECT vault.create_secret(''rot/j2'', NULL::text, ''automatic'', ''application/json'', rotation_interval_secs => 1, generate_policy => ''{"json_field": "p"}'')');
-- by the plaintext path: settings, a rotation that counts as the due one, the end of a grace
SELECT vault.configure_secret('rot/json', rotation_schedule => '0 3 * * *', rotation_paused => true, keep_versions => 1);
SELECT rotation_schedule, rotation_paused, keep_versions, next_rotation_at FROM vault.list_secrets('rot/json');
SELECT vault.configure_secret('rot/json', rotation_interval_secs => 60);
SELECT vault.rotate_secret('rot/json', true);
SELECT next_rotation_at - updated_at BETWEEN '59 s' AND '60 s' FROM vault.list_secrets('rot/json');
SELECT vault.verify('rot/json', '{"n": 1.50, "password":"old", "user":"u"}');
SELECT vault.expire_version('rot/json', 1);
SELECT vault.verify('rot/json', '{"n": 1.50, "password":"old", "user":"u"}');
SELECT try('SELECT vault.configure_secret(''rot/json'', rotation_schedule => ''0 0 30 2 *'')');
SELECT try('SELECT vault.configure_secret(''rot/none'', keep_versions => 1)');
SELECT try('SELECT vault.expire_version(''rot/json'', 3)');

--
-- changes: each once, in order, names and versions only; a transaction that is open holds back what came after it
--
SELECT action, version FROM vault.changes_since('0', 0, 1000) WHERE name = 'rot/interval';
SELECT count(*) FROM vault.last_change() l, vault.changes_since(l.xid, l.id, 10);
SELECT action, name, outcome, code, actor FROM (
    SELECT DISTINCT action, secret_name AS name, outcome, code, actor FROM vault.audit('rot/interval')) a ORDER BY 1, 3;

--
-- who may: the service role, and nobody for the supervisor's part
--
CREATE ROLE regress_vault_rotator;
SELECT vault.grant_service_role('regress_vault_rotator');
SET ROLE regress_vault_rotator;
SELECT count(*) FROM vault.claim_rotations('w', 60, 0);
SELECT try('SELECT vault.supervise(1, true)');
SELECT try('SELECT vault.sweep_versions(NULL)');
SELECT try('SELECT * FROM vault.rotation_jobs');
RESET ROLE;
SELECT vault.revoke_service_role('regress_vault_rotator');
DROP ROLE regress_vault_rotator;
SELECT vault.delete_secret(id, current_version, origin()) FROM vault.describe_secrets('rot/', '', 10);
GRANT EXECUTE ON FUNCTION vault.claim_rotations(text, integer, integer), vault.unplanned_rotations(integer) TO vault_regress_service;
DROP VIEW jobs;
DROP FUNCTION make, set, at, settings, origin, sealed;
