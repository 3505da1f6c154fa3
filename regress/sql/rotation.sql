--
-- ROTATION: what the supervisor enqueues, what a worker makes of it, and what ends. Nothing here waits: times are set in
-- the rows. The server's own supervisor does not look after this database; the API beside the test does, and is kept out.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TEMP TABLE taken AS
SELECT p.oid::regprocedure AS entry, x.grantee::regrole AS grantee FROM pg_proc p, aclexplode(p.proacl) x
WHERE p.pronamespace = 'vault'::regnamespace AND p.proname IN ('claim_rotations', 'unplanned_rotations') AND x.grantee <> p.proowner;
DO $$
DECLARE
    t taken;
BEGIN
    FOR t IN SELECT * FROM taken LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', t.entry, t.grantee);
    END LOOP;
END
$$;

CREATE ROLE regress_vault_service;
CREATE ROLE regress_vault_turner;
SELECT vault.grant_service_role('regress_vault_service');

-- pass: one pass of the supervisor, as the owner; how many rotations it enqueued.
CREATE FUNCTION pass(enqueue boolean DEFAULT true, batch integer DEFAULT 100) RETURNS bigint LANGUAGE sql SET role = vault_owner AS
$$ SELECT vault.supervise(batch, enqueue) $$;
-- due: makes secret n due since a time ago.
CREATE FUNCTION due(n integer, ago interval DEFAULT '1 second') RETURNS void LANGUAGE sql AS
$$ UPDATE vault.secrets SET next_rotation_at = clock_timestamp() - ago WHERE id = uuid(n) $$;
-- jobs: the jobs of secret n, the oldest first.
CREATE FUNCTION jobs(n integer) RETURNS TABLE (state text, claimed_by text, attempts integer, last_error text, version bigint) LANGUAGE sql AS
$$ SELECT j.state, j.claimed_by, j.attempts, j.last_error, j.version FROM vault.rotation_jobs j WHERE j.secret_id = uuid(n) ORDER BY j.created_at $$;
-- claims: what a worker gets.
CREATE FUNCTION claims(worker text, lease integer DEFAULT 60, most integer DEFAULT 100)
RETURNS TABLE (name text, attempts integer, current_version bigint) LANGUAGE sql AS
$$ SELECT (c.secret).name, c.attempts, (c.secret).current_version FROM vault.claim_rotations(worker, lease, most) c ORDER BY c.due_at $$;
-- job: the newest job of secret n.
CREATE FUNCTION job(n integer) RETURNS uuid LANGUAGE sql AS
$$ SELECT j.id FROM vault.rotation_jobs j WHERE j.secret_id = uuid(n) ORDER BY j.created_at DESC LIMIT 1 $$;
-- done: completes a job with a value.
CREATE FUNCTION done(job uuid, worker text, expected bigint, next timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT replace(try(format('SELECT vault.complete_rotation(%L, %L, %L, ROW(1, ''local:k'', ''\x01'', %L, %L)::vault.sealed_value, '
                              '%L, ROW(''here'', ''rotator'', NULL, NULL, NULL))', job, worker, expected,
                              decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 20), 'hex'), next)),
                   coalesce(job::text, ''), 'JOB')
$$;
-- failed: gives a job back with a reason; in how many seconds it is tried again.
CREATE FUNCTION failed(job uuid, worker text, reason text, code text DEFAULT 'internal') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN round(extract(epoch FROM vault.fail_rotation(job, worker, reason, code,
        ROW('here', 'rotator', NULL, NULL, NULL)::vault.audit_origin) - clock_timestamp()));
EXCEPTION WHEN SQLSTATE 'VT002' THEN
    RETURN replace(SQLERRM, job::text, 'JOB');
END
$$;
-- configure: changes settings on the sealed path.
CREATE FUNCTION configure(n integer, expected bigint, rotation bigint DEFAULT NULL, schedule text DEFAULT NULL, zone text DEFAULT NULL,
    open_secs bigint DEFAULT NULL, paused boolean DEFAULT NULL, grace bigint DEFAULT NULL, keep integer DEFAULT NULL,
    description text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.configure_secret(%L, %L, ROW(%L, NULL, %L, %L, %L, %L, %L, %L, %L, NULL)::vault.secret_settings, '
                      'ROW(''here'', ''token:ci'', NULL, NULL, NULL))',
                      uuid(n), expected, description, rotation, schedule, zone, open_secs, paused, grace, keep))
$$;
-- ended: ends or shortens the grace of a version on the sealed path.
CREATE FUNCTION ended(n integer, version bigint, secs bigint) RETURNS text LANGUAGE sql AS
$$ SELECT try(format('SELECT vault.expire_version(%L, %L, %L, ROW(''here'', ''token:ci'', NULL, NULL, NULL))', uuid(n), version, secs)) $$;

--
-- good: due, enqueued, claimed, completed. Each once.
--
SELECT put(501, 'rot/a', kind => 'automatic', rotation => 3600, grace => 600);
SELECT put(502, 'rot/manual');
-- nothing is due
SELECT pass();
SELECT count(*) FROM jobs(501);
SELECT due(501, '90 minutes');
SELECT next_rotation_at AS due FROM vault.describe_secret('rot/a') \gset
-- while that is off, nothing is enqueued
SELECT pass(enqueue => false);
SELECT pass();
SELECT pass();
SELECT * FROM jobs(501);
SELECT vault.status() - 'version' - 'last_pass_at' - 'overdue_secs' - 'supervision', (vault.status()->>'overdue_secs')::integer BETWEEN 5400 AND 5500,
       (vault.status()->>'last_pass_at')::timestamptz BETWEEN clock_timestamp() - '1 minute'::interval AND clock_timestamp();
SET ROLE regress_vault_service;
SELECT c.due_at = :'due', c.claimed_at <= clock_timestamp(), c.attempts, (c.secret).name, (c.secret).current_version
FROM vault.claim_rotations('w1', 60, 10) c;
-- no other worker has it, and it cannot be claimed twice
SELECT count(*) FROM vault.claim_rotations('w2', 60, 10);
SELECT count(*) FROM vault.claim_rotations('w1', 60, 10);
RESET ROLE;
SELECT job(501) AS job \gset
SELECT pass();
SELECT * FROM jobs(501);
SET ROLE regress_vault_service;
SELECT current_version, next_rotation_at - :'due' FROM vault.complete_rotation(:'job', 'w1', 1, ROW(1, 'local:k', '\x01',
    decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 20), 'hex'))::vault.sealed_value, NULL, ROW('here', 'rotator', NULL, NULL, NULL)::vault.audit_origin);
RESET ROLE;
-- 90 minutes late at one an hour: one rotation, and the next in the old rhythm
SELECT * FROM jobs(501);
SELECT version, length(ciphertext), expires_at - created_at > '599 s' FROM vault.read_verifiable('rot/a');
SELECT pass();
SELECT count(*) FROM vault.claim_rotations('w1', 60, 10);
-- the same due time never comes again, whatever a hand in the tables does
UPDATE vault.secrets SET next_rotation_at = :'due' WHERE id = uuid(501);
SELECT pass();
-- and does not hold up the next one
SELECT next_rotation_at - :'due', next_rotation_at > clock_timestamp() FROM vault.describe_secret('rot/a');
-- a week without a server: still one, and the next within an interval from now
SELECT due(501, '7 days 10 minutes');
SELECT next_rotation_at AS due FROM vault.describe_secret('rot/a') \gset
SELECT pass(), pass();
SELECT * FROM claims('w1');
SELECT done(job(501), 'w1', 2);
SELECT next_rotation_at - :'due', next_rotation_at > clock_timestamp(), current_version FROM vault.describe_secret('rot/a');
SELECT pass();
-- the rhythm, at its edges
SELECT t, vault.next_due('2030-01-01 00:00Z', 60, t) FROM unnest('{2029-12-31 00:00Z,2030-01-01 00:00Z,2030-01-01 00:00:59.999Z,2030-01-01 00:01Z,2030-01-08 00:00:01Z}'::timestamptz[]) t;
SELECT vault.next_due('2030-01-01', NULL, '2030-01-01'), vault.next_due(NULL, 60, '2030-01-01');
SELECT t, vault.next_due(t, 60, '2030-01-01 00:00Z'), vault.next_due(t, NULL, '2030-01-01 00:00Z') FROM unnest('{-infinity,infinity}'::timestamptz[]) t;
-- a rotation by hand leaves what is due as it is, unless it is asked to stand for it
SELECT due(501);
SELECT pass();
SELECT next(501, 3, action => 'rotate');
SELECT * FROM jobs(501) WHERE state = 'queued';
SELECT next(501, 4, action => 'rotate', reschedule => true);
SELECT count(*) FROM jobs(501) WHERE state = 'queued';
SELECT next_rotation_at > clock_timestamp() + '59 minutes'::interval FROM vault.describe_secret('rot/a');
SELECT pass();
-- batches: the longest due first
SELECT put(503, 'rot/b', kind => 'automatic', rotation => 3600), put(504, 'rot/c', kind => 'automatic', rotation => 3600);
SELECT due(501, '1 minute'), due(503, '3 minutes'), due(504, '2 minutes');
SELECT pass(batch => 2);
SELECT (vault.status()->>'queued')::integer, (vault.status()->>'due')::integer;
SELECT * FROM claims('w1', most => 1);
SELECT pass(batch => 2);
SELECT * FROM claims('w2');
SELECT done(job(501), 'w2', 5), done(job(503), 'w1', 1), done(job(504), 'w2', 1);

--
-- odd: workers that fail, give back, or are gone
--
SELECT due(503);
SELECT pass();
SELECT * FROM claims('w1');
SELECT failed(job(503), 'w1', 'key service does not answer');
SELECT * FROM jobs(503) WHERE state <> 'done';
-- not before its time
SELECT * FROM claims('w1');
SELECT vault.status()->'failing', vault.status()->'queued';
SELECT name, attempts, reason, due_at < clock_timestamp(), next_attempt_at > clock_timestamp()
FROM jsonb_to_recordset(vault.status()->'failures') AS f(name text, attempts integer, reason text, due_at timestamptz, next_attempt_at timestamptz);
-- again and again: 4, 8 ... an hour at most. A reason is cut to what the table holds.
CREATE FUNCTION again(n integer, reason text DEFAULT 'x', code text DEFAULT 'internal') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vault.rotation_jobs SET next_attempt_at = clock_timestamp() WHERE secret_id = uuid(n) AND state = 'queued';
    PERFORM vault.claim_rotations('w1', 60, 1);
    RETURN failed(job(n), 'w1', reason, code);
END
$$;
SELECT string_agg(again(503), ' ') FROM generate_series(2, 14) i;
SELECT again(503, repeat('ä', 2000));
-- what was away is tried sooner
SELECT again(503, 'away', 'unavailable');
SELECT again(503, repeat('ä', 2000));
SELECT attempts, length(last_error), octet_length(last_error) FROM jobs(503) WHERE state = 'queued';
-- one that is being tried again has failed all the same
UPDATE vault.rotation_jobs SET next_attempt_at = clock_timestamp(), last_error = 'y' WHERE state = 'queued';
SELECT * FROM claims('w1');
SELECT vault.status()->'failing', vault.status()->'claimed', vault.status()#>>'{failures,0,reason}';
SELECT failed(job(503), 'w1', 'z');
-- in the end it works, and the reason is gone
UPDATE vault.rotation_jobs SET next_attempt_at = clock_timestamp() WHERE state = 'queued';
SELECT * FROM claims('w2');
SELECT done(job(503), 'w2', 2);
SELECT * FROM jobs(503);
-- given back untouched: at once for others, and no attempt
SELECT due(503);
SELECT pass();
SELECT * FROM claims('w1');
SELECT vault.release_rotation(job(503), 'w1');
SELECT * FROM claims('w2');
-- the lease ends: the next worker takes it over, and the one that was late is told
UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp() WHERE state = 'claimed';
SELECT * FROM claims('w3');
SELECT done(job(503), 'w2', 3);
SELECT failed(job(503), 'w2', 'late');
SELECT replace(try(format('SELECT vault.release_rotation(%L, ''w2'')', job(503))), job(503)::text, 'JOB');
SELECT current_version FROM vault.describe_secret('rot/b');
SELECT done(job(503), 'w3', 3);
-- once done it is done, for every worker, whatever it thinks is current
SELECT done(job(503), 'w3', 3);
SELECT done(job(503), 'w3', 4);
SELECT done(job(503), 'w2', 4);
SELECT failed(job(503), 'w3', 'late');
SELECT done(gen_random_uuid(), 'w3', 4) LIKE 'VT002: the claim on rotation job JOB is lost%';
SELECT done(NULL, 'w3', 4);
SELECT current_version FROM vault.describe_secret('rot/b');
-- an update came between claim and completion: it stays, and the rotation is tried again on top of it
SELECT due(503);
SELECT pass();
SELECT * FROM claims('w1');
SELECT next(503, 4, action => 'update');
SELECT done(job(503), 'w1', 4);
SELECT failed(job(503), 'w1', 'it has changed');
SELECT * FROM jobs(503) WHERE state <> 'done';
-- what fails half-way leaves nothing
UPDATE vault.rotation_jobs SET next_attempt_at = clock_timestamp() WHERE state = 'queued';
SELECT * FROM claims('w1');
SELECT split_part(try(format('SELECT vault.complete_rotation(%L, ''w1'', 5, NULL, NULL, ROW(''here'', ''rotator'', NULL, NULL, NULL))', job(503))), ':', 1);
SELECT split_part(try(format('SELECT vault.complete_rotation(%L, ''w1'', 5, ROW(1, ''k'', ''\x01'', %L, %L)::vault.sealed_value, NULL, NULL)',
                             job(503), decode(repeat('ab', 24), 'hex'), decode(repeat('cd', 20), 'hex'))), ':', 1);
SELECT * FROM jobs(503) WHERE state <> 'done';
SELECT done(job(503), 'w1', 5);
-- deleted while claimed: the job is gone with it
SELECT due(503);
SELECT pass();
SELECT * FROM claims('w1');
SELECT job(503) AS job \gset
SELECT gone(503, 6);
SELECT done(:'job', 'w1', 6);
SELECT pass();
SELECT count(*) FROM jobs(503) WHERE state <> 'done';

--
-- pause, resume, another plan
--
SELECT due(504);
SELECT pass();
SELECT * FROM claims('w1');
SELECT job(504) AS job \gset
SELECT configure(504, 2, paused => true);
SELECT done(:'job', 'w1', 2);
SELECT rotation_paused, next_rotation_at < clock_timestamp() FROM vault.describe_secret('rot/c');
SELECT pass();
SELECT vault.status()->'paused', vault.status()->'due';
-- a value may be set and rotated by hand meanwhile
SELECT next(504, 2, action => 'rotate');
SELECT rotation_paused FROM vault.describe_secret('rot/c');
-- resumed: what is due is done, once
SELECT configure(504, 3, paused => false);
SELECT pass();
SELECT * FROM claims('w1');
SELECT done(job(504), 'w1', 3);
-- something else changed leaves the time, another interval does not: what was due by the old one is called off
SELECT due(504);
SELECT pass();
SELECT next_rotation_at AS due FROM vault.describe_secret('rot/c') \gset
SELECT configure(504, 4, description => 'new', grace => 5, zone => 'Europe/Berlin', rotation => 3600);
SELECT next_rotation_at = :'due', description, grace_period_secs, rotation_time_zone FROM vault.describe_secret('rot/c');
SELECT count(*) FROM jobs(504) WHERE state = 'queued';
SELECT configure(504, 4, rotation => 7200);
SELECT next_rotation_at > clock_timestamp() + '119 minutes'::interval, rotation_interval_secs FROM vault.describe_secret('rot/c');
SELECT count(*) FROM jobs(504) WHERE state = 'queued';
-- a schedule takes the place of the interval; a program that knows schedules says when
SELECT configure(504, 4, schedule => '0 3 * * *', zone => 'Europe/Berlin');
SELECT rotation_interval_secs, rotation_schedule, rotation_time_zone, next_rotation_at FROM vault.describe_secret('rot/c');
SELECT pass();
SELECT name, rotation_schedule, rotation_time_zone FROM vault.unplanned_rotations(10);
SELECT vault.status()->'unplanned';
SELECT count(*) FROM vault.unplanned_rotations(0);
-- planned only for what it was computed from, and only once
SELECT vault.plan_rotation(uuid(504), '0 4 * * *', 'Europe/Berlin', '2030-01-01 03:00Z'), vault.plan_rotation(uuid(504), '0 3 * * *', 'UTC', '2030-01-01 03:00Z'),
       vault.plan_rotation(uuid(503), '0 3 * * *', 'Europe/Berlin', '2030-01-01 03:00Z');
SELECT vault.plan_rotation(uuid(504), '0 3 * * *', 'Europe/Berlin', '2030-01-01 02:00Z');
SELECT vault.plan_rotation(uuid(504), '0 3 * * *', 'Europe/Berlin', '2030-01-02 02:00Z');
SELECT next_rotation_at FROM vault.describe_secret('rot/c');
SELECT count(*) FROM vault.unplanned_rotations(10);
SELECT vault.status()->'unplanned';
-- completed with the next time of the schedule, or without one: then it is to be planned
SELECT due(504);
SELECT pass();
SELECT * FROM claims('w1');
SELECT done(job(504), 'w1', 4, '2030-02-01 02:00Z');
SELECT next_rotation_at FROM vault.describe_secret('rot/c');
SELECT due(504);
SELECT pass();
SELECT * FROM claims('w1');
SELECT done(job(504), 'w1', 5);
SELECT next_rotation_at FROM vault.describe_secret('rot/c');
SELECT name FROM vault.unplanned_rotations(10);
-- asked to start again by hand, it is to be planned as well
SELECT vault.plan_rotation(uuid(504), '0 3 * * *', 'Europe/Berlin', '2030-01-02 02:00Z');
SELECT next(504, 6, action => 'rotate');
SELECT next_rotation_at FROM vault.describe_secret('rot/c');
SELECT next(504, 7, action => 'rotate', reschedule => true);
SELECT next_rotation_at FROM vault.describe_secret('rot/c');
-- another zone is another plan
SELECT vault.plan_rotation(uuid(504), '0 3 * * *', 'Europe/Berlin', '2030-01-02 02:00Z');
SELECT configure(504, 8, zone => 'UTC');
SELECT rotation_schedule, rotation_time_zone, next_rotation_at FROM vault.describe_secret('rot/c');
-- and back to an interval
SELECT configure(504, 8, rotation => 60);
SELECT rotation_interval_secs, rotation_schedule, next_rotation_at > clock_timestamp() FROM vault.describe_secret('rot/c');

--
-- windows: what was not done inside is missed, and the next one comes
--
SELECT configure(504, 8, rotation => 3600, open_secs => 300);
SELECT due(504, '2 minutes');
SELECT next_rotation_at AS due FROM vault.describe_secret('rot/c') \gset
SELECT pass();
SELECT due_at = :'due', deadline_at - due_at FROM vault.rotation_jobs WHERE id = job(504);
SELECT * FROM claims('w1');
UPDATE vault.rotation_jobs SET deadline_at = clock_timestamp(), claimed_until = clock_timestamp() WHERE id = job(504);
-- no worker takes it over, but the one that has it may end it
SELECT * FROM claims('w2');
BEGIN;
SELECT done(job(504), 'w1', 8);
ROLLBACK;
SELECT pass();
SELECT * FROM jobs(504) WHERE state NOT IN ('done');
SELECT done(job(504), 'w1', 8);
SELECT next_rotation_at - :'due', current_version FROM vault.describe_secret('rot/c');
SELECT vault.status()->'missed';
-- the supervisor was away over the whole window: missed as well
SELECT due(504, '2 hours 20 minutes');
SELECT next_rotation_at AS due FROM vault.describe_secret('rot/c') \gset
SELECT pass();
SELECT * FROM claims('w1');
SELECT pass();
SELECT next_rotation_at - :'due', current_version FROM vault.describe_secret('rot/c');
SELECT count(*) FROM jobs(504) WHERE state = 'missed';
SELECT outcome, code, count(*) FROM vault.audit('rot/c') WHERE action = 'rotate' AND actor = 'supervisor' GROUP BY 1, 2;
-- the window is gone
SELECT configure(504, 8, open_secs => 0);
SELECT rotation_window_secs FROM vault.describe_secret('rot/c');

--
-- a clock that was ahead and is set back leaves nothing that is waited for
--
SELECT put(506, 'clock/cron', kind => 'automatic', schedule => '0 3 * * *'), put(507, 'clock/claimed', kind => 'automatic', rotation => 3600),
       put(508, 'clock/queued', kind => 'automatic', rotation => 3600), put(509, 'clock/failed', kind => 'automatic', rotation => 3600),
       put(511, 'clock/ahead', kind => 'automatic', rotation => 7200);
SELECT vault.plan_rotation(uuid(506), '0 3 * * *', 'UTC', clock_timestamp() + '30 days'::interval);
SELECT due(507), due(508), due(509);
SELECT pass();
SELECT count(*) FROM claims('w1');
SELECT vault.release_rotation(job(508), 'w1'), failed(job(509), 'w1', 'x');
-- ahead: moves what a pass with a clock ahead by that much would have left
CREATE FUNCTION ahead(ahead interval) RETURNS void LANGUAGE sql AS $$
    UPDATE vault.rotation_jobs SET claimed_until = claimed_until + ahead, next_attempt_at = next_attempt_at + ahead WHERE state IN ('queued', 'claimed');
    UPDATE vault.rotation_jobs SET due_at = due_at + ahead WHERE id = job(508);
    UPDATE vault.secrets SET next_rotation_at = next_rotation_at + ahead WHERE id IN (uuid(508), uuid(511));
    UPDATE vault.supervisor_passes SET last_pass_at = last_pass_at + ahead;
$$;
-- clock: which secrets are how far from now
CREATE FUNCTION clock() RETURNS TABLE (name text, next text, state text, attempt text, claimed text) LANGUAGE sql AS $$
    SELECT s.name, CASE WHEN s.next_rotation_at <= clock_timestamp() THEN 'due' ELSE 'in ' || round(extract(epoch FROM s.next_rotation_at - clock_timestamp()) / 3600, 1) || ' h' END,
           j.state, CASE WHEN j.next_attempt_at > clock_timestamp() THEN 'later' ELSE 'now' END, CASE WHEN j.claimed_until > clock_timestamp() THEN 'held' ELSE 'free' END
    FROM vault.secrets s LEFT JOIN vault.rotation_jobs j ON j.secret_id = s.id WHERE s.name LIKE 'clock/%' ORDER BY 1
$$;
SELECT ahead('20 minutes');
SELECT * FROM clock();
SELECT pass();
SELECT * FROM clock();
SELECT due(508);
-- a small step moves no rhythm
SELECT next_rotation_at AS next FROM vault.describe_secret('clock/ahead') \gset
UPDATE vault.supervisor_passes SET last_pass_at = clock_timestamp() + '5 minutes'::interval;
UPDATE vault.secrets SET next_rotation_at = next_rotation_at + '20 s'::interval WHERE id = uuid(511);
SELECT pass();
SELECT next_rotation_at - :'next' FROM vault.describe_secret('clock/ahead');
-- what a pass cannot have seen, as after a restore, is found within an hour; a schedule stays
SELECT vault.plan_rotation(uuid(506), '0 3 * * *', 'UTC', clock_timestamp() + '20 hours'::interval);
SELECT ahead('3 days');
UPDATE vault.supervisor_passes SET last_pass_at = clock_timestamp() - '1 hour'::interval;
SELECT * FROM clock();
SELECT pass();
SELECT * FROM clock();
UPDATE vault.secrets SET next_rotation_at = clock_timestamp() + '10 years'::interval WHERE id = uuid(506);
UPDATE vault.secrets SET next_rotation_at = 'infinity' WHERE id = uuid(511);
UPDATE vault.supervisor_passes SET last_pass_at = clock_timestamp() - '1 hour'::interval;
SELECT pass();
SELECT * FROM clock() WHERE name IN ('clock/cron', 'clock/ahead');
SELECT gone(506, 1), gone(507, 1), gone(508, 1), gone(509, 1), gone(511, 1);
DROP FUNCTION ahead(interval), clock();

--
-- ends: grace, versions kept, versions ended by hand
--
SELECT put(510, 'keep/a', grace => 3600);
SELECT next(510, 1), next(510, 2), next(510, 3);
SELECT version FROM vault.read_verifiable('keep/a');
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(510) AND version <= 2;
SELECT version FROM vault.read_verifiable('keep/a');
SELECT version FROM vault.describe_versions('keep/a');
-- the supervisor sweeps what is not kept; when that is a whole batch it says so, for there may be more
SELECT pass(batch => 1);
SELECT expired FROM vault.supervisor_passes;
SELECT version FROM vault.describe_versions('keep/a');
SELECT pass();
SELECT expired FROM vault.supervisor_passes;
-- kept: to be read by its number, and never verified
SELECT configure(510, 4, keep => 2);
SELECT next(510, 4);
SELECT ended(510, 3, 0), ended(510, 4, 0);
SELECT version FROM vault.read_verifiable('keep/a');
SELECT v, count(s.version) FROM generate_series(1, 6) v LEFT JOIN vault.read_sealed('{keep/a}', v) s ON true GROUP BY v ORDER BY v;
SELECT version, expires_at <= clock_timestamp() FROM vault.describe_versions('keep/a');
SELECT pass();
SELECT version FROM vault.describe_versions('keep/a');
-- what is not kept is gone when more are to be kept, whether or not the supervisor has been there
SELECT put(512, 'keep/b', grace => 3600);
SELECT next(512, 1), next(512, 2), next(512, 3);
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(512) AND version <= 2;
SELECT configure(512, 4, keep => 100);
SELECT version FROM vault.describe_versions('keep/b');
SELECT gone(512, 4);
-- the next one pushes the oldest out
SELECT next(510, 5);
SELECT version FROM vault.describe_versions('keep/a');
SELECT v, count(s.version) FROM generate_series(1, 6) v LEFT JOIN vault.read_sealed('{keep/a}', v) s ON true GROUP BY v ORDER BY v;
-- one in grace is there beyond the number kept
SELECT configure(510, 6, keep => 0);
SELECT version FROM vault.describe_versions('keep/a');
-- expired is permanent: a clock set back, or its time moved, does not revive it
SELECT configure(510, 6, keep => 100);
SELECT next(510, 6);
SELECT ended(510, 5, 0);
UPDATE vault.secret_versions SET expires_at = clock_timestamp() WHERE secret_id = uuid(510) AND version = 6;
SELECT pass();
UPDATE vault.secret_versions SET expires_at = clock_timestamp() + '1 hour' WHERE secret_id = uuid(510) AND version IN (5, 6);
SELECT version FROM vault.read_verifiable('keep/a');
SELECT ended(510, 5, 3600);
SELECT version FROM vault.read_verifiable('keep/a');
-- shortened, never lengthened
SELECT next(510, 7);
SELECT ended(510, 7, 60);
SELECT expires_at - clock_timestamp() BETWEEN '50 s' AND '60 s' FROM vault.describe_versions('keep/a') WHERE version = 7;
SELECT ended(510, 7, 7200);
SELECT expires_at - clock_timestamp() BETWEEN '50 s' AND '60 s' FROM vault.describe_versions('keep/a') WHERE version = 7;
SELECT version FROM vault.read_verifiable('keep/a');
-- wrong
SELECT ended(510, 8, 0);
SELECT ended(510, 9, 0);
SELECT ended(510, NULL, 0);
SELECT ended(510, 7, -1);
SELECT ended(510, 7, 315360001);
SELECT ended(510, 7, NULL);
SELECT ended(599, 1, 0);

--
-- wrong: settings
--
SELECT put(520, 'set/a', kind => 'automatic', rotation => 60, schedule => '0 3 * * *');
SELECT put(520, 'set/a', schedule => '0 3 * * *');
SELECT put(520, 'set/a', kind => 'automatic', schedule => '* * * *');
SELECT put(520, 'set/a', kind => 'automatic', schedule => repeat('*', 256));
SELECT zone, put(520, 'set/a', zone => zone)
FROM unnest('{Mars/Base,europe/berlin,localtime,posix/UTC,"",UTC+1,+01}'::text[]) zone;
SELECT n, put(520, 'set/a', open_secs => n) FROM unnest('{-1,59,31536001}'::bigint[]) n;
SELECT n, put(520, 'set/a', keep => n) FROM unnest('{-1,101}'::integer[]) n;
SELECT put(520, 'set/a', kind => 'automatic', schedule => '0 3 * * *', zone => 'America/New_York', open_secs => 60, paused => true, keep => 100);
SELECT rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused, keep_versions, next_rotation_at
FROM vault.describe_secret('set/a');
SELECT put(521, 'set/b');
SELECT rotation_interval_secs, rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused, keep_versions
FROM vault.describe_secret('set/b');
SELECT configure(521, 1, rotation => 60);
SELECT configure(521, 1, schedule => '0 3 * * *');
SELECT configure(520, 1, rotation => 60, schedule => '0 3 * * *');
SELECT configure(520, 1, rotation => 0);
SELECT configure(520, 1, zone => 'Mars/Base');
SELECT configure(520, 1, keep => 101);
SELECT configure(520, 1, open_secs => 1);
SELECT configure(520, 1, grace => -1);
SELECT configure(520, 2, grace => 1);
SELECT configure(520, NULL, grace => 1);
SELECT configure(599, 1, grace => 1);
SELECT try(format('SELECT vault.configure_secret(%L, 1, NULL, ROW(''here'', ''token:ci'', NULL, NULL, NULL))', uuid(520)));
SELECT try(format('SELECT vault.configure_secret(%L, 1, NULL, NULL)', uuid(520)));
-- a change with an id is made once, also when it comes again after another's
SELECT try(format('SELECT description FROM vault.configure_secret(%L, 1, ROW(%L, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::vault.secret_settings, '
                  'ROW(''here'', ''token:ci'', NULL, NULL, NULL), %L)', uuid(520), said, uuid(id)))
FROM (VALUES (1, 'mine', 901), (2, 'theirs', 902), (3, 'mine', 901)) x (step, said, id) ORDER BY step;
SELECT description FROM vault.describe_secret('set/a');
SELECT id, vault.change_made(uuid(id)) <= clock_timestamp() AS made FROM unnest(ARRAY[901, 902, 903]) id;
SELECT rotation_schedule, rotation_time_zone, rotation_window_secs, rotation_paused, keep_versions, grace_period_secs FROM vault.describe_secret('set/a');
-- The list of time zones takes tens of milliseconds to read: only who names one pays for it.
BEGIN;
SET LOCAL track_functions = 'all';
SELECT vault.check_settings('manual', NULL), vault.check_settings('manual', ROW(NULL, NULL, NULL, NULL, 'UTC', NULL, NULL, NULL, NULL, NULL));
SELECT count(*) FROM pg_stat_xact_user_functions WHERE funcname = 'is_time_zone';
SELECT vault.check_settings('manual', ROW(NULL, NULL, NULL, NULL, 'Europe/Berlin', NULL, NULL, NULL, NULL, NULL));
SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'is_time_zone';
COMMIT;

--
-- by SQL roles: configure_secret is an update, expire_version a rotation
--
-- The key agent makes no key beside data keys that its master key does not open.
UPDATE vault.secrets SET deleted_at = now();
DELETE FROM vault.secret_versions;
SELECT pg_sleep(3);  -- it looks again after two seconds
SELECT vault.grant_access('regress_vault_turner', 'role/*', '{create,read}');
SET ROLE regress_vault_turner;
SELECT vault.create_secret('role/a', 'first', grace_period_secs => 3600);
SELECT vault.create_secret('role/cron', NULL, 'automatic', rotation_schedule => '0 3 * * *', rotation_time_zone => 'Europe/Berlin');
SELECT split_part(try('SELECT vault.configure_secret(''role/a'', description => ''x'')'), E'\n', 1);
SELECT split_part(try('SELECT vault.expire_version(''role/a'', 1)'), E'\n', 1);
RESET ROLE;
SELECT vault.grant_access('regress_vault_turner', 'role/*', '{update,verify}');
SET ROLE regress_vault_turner;
SELECT vault.configure_secret('role/a', description => 'said', tags => '{"a": "1"}', keep_versions => 1);
SELECT description, tags, keep_versions, grace_period_secs, current_version FROM vault.list_secrets('role/a');
SELECT vault.configure_secret('role/a');
SELECT vault.configure_secret('role/a', description => '');
SELECT description, tags FROM vault.list_secrets('role/a');
SELECT vault.update_secret('role/a', 'second', 1), vault.update_secret('role/a', 'third', 2);
SELECT split_part(try('SELECT vault.expire_version(''role/a'', 1)'), E'\n', 1);
SELECT split_part(try('SELECT vault.configure_secret(''keep/a'', description => ''x'')'), E'\n', 1);
SELECT split_part(try('SELECT vault.configure_secret(''none/a'', description => ''x'')'), E'\n', 1);
RESET ROLE;
SELECT vault.grant_access('regress_vault_turner', 'role/*', '{rotate}');
SET ROLE regress_vault_turner;
SELECT vault.verify('role/a', 'first'), vault.verify('role/a', 'second');
SELECT vault.expire_version('role/a', 1);
SELECT vault.expire_version('role/a', 2, grace_secs => 0);
SELECT vault.verify('role/a', 'first'), vault.verify('role/a', 'second'), vault.verify('role/a', 'third');
-- one version is kept, to be read
SELECT vault.read_secret('role/a', 2);
SELECT try('SELECT vault.read_secret(''role/a'', 1)');
SELECT try('SELECT vault.expire_version(''role/a'', 3)');
SELECT try('SELECT vault.expire_version(''role/a'', 1)');
SELECT try('SELECT vault.expire_version(''role/none'', 1)');
SELECT try('SELECT vault.configure_secret(''role/none'', description => ''x'')');
SELECT try('SELECT vault.configure_secret(''role/a'', rotation_interval_secs => 60)');
SELECT try('SELECT vault.configure_secret(''role/cron'', rotation_schedule => ''every day'')');
SELECT try('SELECT vault.configure_secret(''role/cron'', rotation_schedule => ''61 * * * *'')');
SELECT try('SELECT vault.configure_secret(''role/cron'', rotation_time_zone => ''Mars/Base'')');
SELECT try('SELECT vault.configure_secret(''role/cron'', generate_policy => ''{"lenght": 1}'')');
SELECT try('SELECT vault.create_secret(''role/new'', NULL, ''automatic'', rotation_schedule => ''0 25 * * *'')');
SELECT try('SELECT vault.configure_secret(NULL)');
SELECT try('SELECT vault.expire_version(''role/a'', NULL)');
SELECT try('SELECT vault.expire_version(NULL, 1)');
SELECT vault.configure_secret('role/cron', rotation_paused => true, rotation_schedule => '30 4 * * 1');
SELECT rotation_paused, rotation_schedule, rotation_time_zone, rotation_interval_secs FROM vault.list_secrets('role/cron');
-- the rest is not for them, and a pass not even for the API
SELECT split_part(try('SELECT vault.supervise(1, true)'), E'\n', 1);
SELECT split_part(try('SELECT vault.claim_rotations(''me'', 1, 1)'), E'\n', 1);
SELECT split_part(try('SELECT vault.status()'), E'\n', 1);
RESET ROLE;
SET ROLE regress_vault_service;
SELECT split_part(try('SELECT vault.supervise(1, true)'), E'\n', 1);
SELECT split_part(try('SELECT vault.expire_due(now(), 1)'), E'\n', 1);
SELECT count(*) FROM jsonb_object_keys(vault.status());
RESET ROLE;

--
-- one field of a JSON secret: the rest stays, byte for byte
--
SELECT vault.create_secret('rot/json', '{"n": 1.50, "password":"old", "user":"u"}', 'automatic', 'application/json',
    rotation_interval_secs => 3600, grace_period_secs => 60, generate_policy => '{"json_field": "password", "length": 12}');
SELECT vault.rotate_secret('rot/json');
SELECT vault.read_secret('rot/json') ~ '^\{"n": 1.50, "password":"[A-Za-z0-9]{12}", "user":"u"\}$', vault.read_secret('rot/json', 1);
SELECT await_audit();
SELECT action, version, outcome FROM vault.audit('rot/json') WHERE action <> 'audit' ORDER BY at, id;
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
-- changes, in order, from a place on
--
SELECT xid, id FROM vault.last_change() \gset
SELECT count(*) FROM vault.changes_since(:'xid', :'id', 100);
SELECT put(530, 'change/a'), put(531, 'change/b');
SELECT next(530, 1, grace => 60), next(530, 2, action => 'rotate'), configure(530, 3, description => 'x'), ended(530, 1, 0), gone(531, 1);
SELECT action, name, version, at <= clock_timestamp() FROM vault.changes_since(:'xid', :'id', 100);
SELECT action, name, version FROM vault.changes_since(:'xid', :'id', 2);
SELECT c.xid AS xid2, c.id AS id2 FROM vault.changes_since(:'xid', :'id', 2) c OFFSET 1 \gset
SELECT action, name, version FROM vault.changes_since(:'xid2', :'id2', 2);
SELECT xid::bigint > :xid, id > :id FROM vault.last_change();
-- what is not committed is not there, and was never there if it is rolled back
SELECT xid, id FROM vault.last_change() \gset
BEGIN;
SELECT put(532, 'change/c');
SELECT count(*) FROM vault.changes_since(:'xid', :'id', 100);
ROLLBACK;
SELECT count(*) FROM vault.changes_since(:'xid', :'id', 100);
-- from the start, everything of the last week
SELECT count(*) = (SELECT count(*) FROM vault.changes) FROM vault.changes_since('0', 0, 1000);
-- a place is known by its transaction, number and time; one of another history is not, nor one that is still to come
SELECT vault.knows_change(xid, id, at), vault.knows_change(xid, id, at + '1 microsecond'), vault.knows_change(xid, id + 1, at),
       vault.knows_change('18446744073709551615', 1, at), vault.knows_change('0', 0, NULL) FROM vault.last_change();
BEGIN;
SELECT vault.knows_change(pg_current_xact_id()::text, 1, now());
ROLLBACK;
-- what is older than a week goes from the start on, but for the last of it, which may be where a reader is
UPDATE vault.changes SET at = at - '7 days'::interval WHERE name = 'change/a' OR name NOT LIKE 'change/%';
SELECT xid AS first_xid, id AS first_id, at AS first_at FROM vault.changes ORDER BY xid, id LIMIT 1 \gset
UPDATE vault.rotation_jobs SET finished_at = finished_at - '30 days'::interval WHERE secret_id = uuid(503);
SELECT pass();
SELECT action, name FROM vault.changes ORDER BY xid, id;
SELECT vault.knows_change(:'first_xid', :'first_id', :'first_at'), vault.knows_change('0', 0, NULL);
SELECT count(*), bool_and(vault.knows_change(xid::text, id, at)) FROM vault.changes;
UPDATE vault.changes SET at = at - '7 days'::interval;
SELECT pass();
SELECT action, name FROM vault.changes;
SELECT count(*) FROM jobs(503);
--
-- what was written down
--
SELECT await_audit();
SELECT action, secret_name, version, outcome, code, actor FROM vault.audit('rot/')
WHERE action NOT IN ('create', 'audit') AND code = '' AND secret_name <> 'rot/json' ORDER BY at, id;
SELECT secret_name, version, outcome, code, actor, count(*) FROM vault.audit('rot/') WHERE code <> '' AND actor = 'rotator' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1;
SELECT action, secret_name, version, outcome, code, session_role IS NOT NULL FROM vault.audit('role/')
WHERE action IN ('configure', 'expire') OR (outcome <> 'ok' AND action <> 'audit') ORDER BY at, id;

-- clean up
SELECT count(*) FROM vault.describe_secrets('', '', 1000) s,
    vault.delete_secret(s.id, s.current_version, ROW('here', 'regress', NULL, NULL, NULL)::vault.audit_origin);
SELECT count(*) FROM vault.secret_versions;
SELECT count(*) FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed');
SELECT vault.revoke_service_role('regress_vault_service');
SELECT vault.revoke_access('regress_vault_turner', 'role/*', '{create,read,update,rotate,verify}');
DROP FUNCTION pass(boolean, integer), due(integer, interval), jobs(integer), claims(text, integer, integer), job(integer),
    done(uuid, text, bigint, timestamptz), failed(uuid, text, text, text), again(integer, text, text),
    configure(integer, bigint, bigint, text, text, bigint, boolean, bigint, integer, text), ended(integer, bigint, bigint);
DROP ROLE regress_vault_service, regress_vault_turner;
DO $$
DECLARE
    t taken;
BEGIN
    FOR t IN SELECT * FROM taken LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', t.entry, t.grantee);
    END LOOP;
END
$$;
DROP TABLE taken;
