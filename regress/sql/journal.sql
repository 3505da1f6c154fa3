--
-- JOURNAL: the records of a node's journal arrive once, in their order, whatever is sent again.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
SELECT vault.grant_service_role('regress_vault_service');
-- ship: so many records of the n-th journal from a number on, each with a time that follows from its number
CREATE FUNCTION ship(n integer, first bigint, many integer, action text DEFAULT 'read', shift interval DEFAULT '0') RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.ship_audit(%L, ''node-x'', %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)', uuid(n), first,
        array_agg(timestamptz '2026-01-01 00:00:00Z' + (first + i) * interval '1 s' + shift), array_agg('node-x'::text), array_agg('reader'::text),
        array_agg(NULL::text), array_agg('192.0.2.7'::inet), array_agg(action), array_agg('journal/' || first + i), array_agg(NULL::bigint),
        array_agg('ok'::text), array_agg(''::text), array_agg('req-' || first + i)))
    FROM generate_series(0, many - 1) i
$$;
CREATE FUNCTION arrived(n integer) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', (SELECT (last_sequence, last_at) FROM vault.audit_journal(uuid(n))),
        (SELECT array_agg(sequence ORDER BY id) FROM vault.audit_log WHERE journal = uuid(n)))
$$;
GRANT EXECUTE ON FUNCTION ship, try, uuid(integer) TO regress_vault_service;

--
-- good
--
SELECT arrived(1);
SET ROLE regress_vault_service;
SELECT ship(1, 1, 3);
SELECT ship(1, 4, 2);
-- again, in part, and with more
SELECT ship(1, 1, 3);
SELECT ship(1, 4, 2);
SELECT ship(1, 3, 5);
-- another journal has numbers of its own
SELECT ship(2, 1, 1);
RESET ROLE;
SELECT arrived(1);
SELECT arrived(2);
SELECT at, node, actor, session_role, client_ip, action, secret_name, version, outcome, code, request_id
FROM vault.audit('journal/') WHERE actor = 'reader' ORDER BY at, id LIMIT 2;
SELECT node, last_sequence, shipped_at >= created_at FROM vault.audit_journals WHERE journal IN (uuid(1), uuid(2)) ORDER BY last_sequence;
-- all or none
SELECT ship(1, 8, 2, 'fly');
BEGIN;
SELECT ship(1, 8, 2);
ROLLBACK;
SELECT arrived(1);

--
-- gaps: refused, unless the caller says that the records are gone
--
SELECT ship(1, 9, 1);
SELECT ship(3, 2, 1);
SET ROLE regress_vault_service;
SELECT vault.skip_audit(uuid(1), 'node-x', 10);
SELECT vault.skip_audit(uuid(1), 'node-x', 9);
SELECT ship(1, 11, 1);
RESET ROLE;
SELECT arrived(1);
SELECT action, secret_name, outcome, code, actor, node FROM vault.audit_log WHERE journal = uuid(1) AND sequence = 10;

--
-- another record under the same number: there is a copy of the journal
--
SELECT ship(2, 1, 1, shift => '1 ms');
SELECT ship(2, 1, 2, shift => '1 ms');
SELECT arrived(2);

--
-- wrong
--
SELECT ship(4, 0, 1);
SELECT ship(4, NULL, 1);
SELECT ship(4, 1, 10001);
SELECT try(format('SELECT vault.ship_audit(%L, ''n'', 1, ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'')', uuid(4)));
SELECT try(format('SELECT vault.ship_audit(%L, ''n'', 1, ''{2026-01-01}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'', ''{}'')', uuid(4)));
SELECT arrived(4);
SET ROLE regress_vault_service;
SELECT try('SELECT vault.lock_journal(''00000000-0000-4000-8000-000000000001'', ''n'')');
SELECT try('SELECT * FROM vault.audit_journals');
RESET ROLE;

DROP FUNCTION ship, arrived;
REVOKE EXECUTE ON FUNCTION try, uuid(integer) FROM regress_vault_service;
SELECT vault.revoke_service_role('regress_vault_service');
DROP ROLE regress_vault_service;
