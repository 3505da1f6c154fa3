--
-- TOKEN: admin tokens. The database knows their SHA-256 fingerprints only.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_service;
SELECT vault.grant_service_role('regress_vault_service');
-- make, end: what becomes of making or ending a token
CREATE FUNCTION make(n integer, name text, fingerprint bytea DEFAULT NULL, expires_at timestamptz DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.create_token(%L, %L, %L, %L, ROW(''here'', ''cli:root'', NULL, NULL, NULL))', uuid(n), name,
                      coalesce(fingerprint, decode(repeat(lpad(to_hex(n), 2, '0'), 32), 'hex')), expires_at))
$$;
CREATE FUNCTION finish(name text) RETURNS text LANGUAGE sql AS $$
    SELECT try(format('SELECT vault.revoke_token(%L, ROW(''here'', ''cli:root'', NULL, NULL, NULL))', name))
$$;
SET ROLE regress_vault_service;

-- good
SELECT make(1, 'ci'), make(2, 'ops', expires_at => 'infinity'), make(3, 'old', expires_at => now() - interval '1 s'),
       make(4, 'soon', expires_at => now() + interval '1 h');
SELECT id, name, fingerprint FROM vault.active_tokens() WHERE name <> 'priv';
SELECT id, name, created_at <= clock_timestamp(), expires_at < now(), revoked_at FROM vault.list_tokens() WHERE name <> 'priv';

-- revoked is over at once, and the name is free
SELECT finish('ci');
SELECT name FROM vault.active_tokens() WHERE name <> 'priv';
SELECT make(5, 'ci');
SELECT name, fingerprint FROM vault.active_tokens() WHERE name <> 'priv';
SELECT id, name, revoked_at <= clock_timestamp() FROM vault.list_tokens() WHERE name <> 'priv';

-- odd, but right
SELECT make(6, repeat('n', 255)), make(7, 'Ci'), make(8, 'name with "quotes" and spaces');
SELECT finish('name with "quotes" and spaces');

-- wrong
SELECT make(9, 'ops');
-- even one that has expired holds its name until it is revoked
SELECT make(9, 'old');
SELECT finish('old');
SELECT make(1, 'same-id');
SELECT make(9, 'same-fingerprint', fingerprint => decode(repeat('02', 32), 'hex'));
SELECT make(9, 'fingerprint-of-a-revoked-one', fingerprint => decode(repeat('01', 32), 'hex'));
SELECT make(9, 'short', fingerprint => decode(repeat('09', 31), 'hex'));
SELECT make(9, 'long', fingerprint => decode(repeat('09', 33), 'hex'));
SELECT make(9, 'empty', fingerprint => '');
SELECT make(9, '');
SELECT make(9, repeat('n', 256));
SELECT make(9, NULL);
SELECT make(NULL, 'no-id', fingerprint => decode(repeat('09', 32), 'hex'));
SELECT try(format('SELECT vault.create_token(%L, ''no-fingerprint'', NULL, NULL, ROW(''here'', ''cli:root'', NULL, NULL, NULL))', uuid(9)));
SELECT try(format('SELECT vault.create_token(%L, ''no-origin'', %L, NULL::timestamptz, NULL::vault.audit_origin)', uuid(9), decode(repeat('09', 32), 'hex')));
SELECT finish('old');
SELECT finish('never');
SELECT finish('CI');
SELECT finish(NULL);
SELECT try('SELECT vault.revoke_token(''ops'', NULL)');
SELECT name FROM vault.active_tokens() WHERE name <> 'priv';
-- only the service role
RESET ROLE;
CREATE ROLE regress_vault_nobody;
GRANT USAGE ON SCHEMA vault TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
SELECT try('SELECT vault.active_tokens()');
SELECT try('SELECT vault.list_tokens()');
SELECT make(9, 'mine');
SELECT finish('ops');
RESET ROLE;

-- what was written down, without anything of a token
SELECT action, secret_name, outcome, code, actor FROM vault.audit(max_rows => 10000)
WHERE action LIKE 'token\_%' AND secret_name <> 'priv' ORDER BY at, id;

SELECT count(*) FROM vault.active_tokens(), finish(name);
SELECT count(*) FROM vault.active_tokens() WHERE name <> 'priv';
DROP FUNCTION make(integer, text, bytea, timestamptz), finish(text);
SELECT vault.revoke_service_role('regress_vault_service');
DROP OWNED BY regress_vault_nobody;
DROP ROLE regress_vault_service, regress_vault_nobody;
