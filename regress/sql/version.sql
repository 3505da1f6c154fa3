--
-- VERSION: secrets without a value, and versions that are deleted, undeleted and destroyed.
--
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null NULL

CREATE ROLE regress_vault_kv;
CREATE ROLE regress_vault_half;
SELECT vault.grant_access('regress_vault_kv', 'kv/*', '{create,read,update,delete,rotate,verify}');
SELECT vault.grant_access('regress_vault_half', 'kv/*', '{read,update}');
SET ROLE regress_vault_kv;

--
-- good: a secret that has settings first and a value later
--
SELECT vault.create_metadata('kv/meta', description => 'later', tags => '{"a": "b"}', keep_versions => 2);
SELECT name, kind, current_version, description, tags, keep_versions FROM vault.list_secrets('kv/meta');
SELECT count(*) FROM vault.list_versions('kv/meta');
SELECT vault.read_secret('kv/meta');
SELECT vault.verify('kv/meta', 'x');
SELECT name, error_code, error FROM vault.read_secrets('{kv/meta,kv/none}');
SELECT vault.create_metadata('kv/meta');
SELECT vault.create_secret('kv/meta', 'x');
SELECT vault.update_secret('kv/meta', 'x', 1);
SELECT vault.update_secret('kv/meta', 'one', 0);
SELECT vault.read_secret('kv/meta'), vault.read_secret('kv/meta', 1);

--
-- good: what is deleted neither reads nor verifies, and comes back
--
SELECT vault.update_secret('kv/meta', 'two', 1), vault.update_secret('kv/meta', 'three', 2);
SELECT vault.delete_versions('kv/meta', '{1,3,3,77}');
SELECT vault.read_secret('kv/meta');
SELECT vault.read_secret('kv/meta', 1);
SELECT vault.read_secret('kv/meta', 2);
SELECT vault.verify('kv/meta', 'three');
SELECT name, error_code, error FROM vault.read_secrets('{kv/meta}');
SELECT version, deleted_at IS NOT NULL, destroyed_at IS NOT NULL, expires_at IS NULL FROM vault.list_versions('kv/meta');
SELECT vault.delete_versions('kv/meta');
SELECT vault.undelete_versions('kv/meta', '{1,2,3}');
SELECT vault.read_secret('kv/meta'), vault.read_secret('kv/meta', 1), vault.verify('kv/meta', 'three'), vault.verify('kv/meta', 'one');
-- the next value comes after the one that is deleted
SELECT vault.delete_versions('kv/meta');
SELECT vault.update_secret('kv/meta', 'four', 3);
SELECT vault.undelete_versions('kv/meta', '{3}');
SELECT vault.read_secret('kv/meta', 3), vault.verify('kv/meta', 'three'), vault.verify('kv/meta', 'four');
-- beyond what is kept nothing comes back, deleted or not
SELECT vault.delete_versions('kv/meta', '{2}');
SELECT vault.update_secret('kv/meta', 'five', 4);
SELECT vault.undelete_versions('kv/meta', '{2}');
SELECT version FROM vault.list_versions('kv/meta');

--
-- good: what is destroyed is gone, and its metadata is not
--
SELECT vault.delete_versions('kv/meta', '{3}');
SELECT vault.destroy_versions('kv/meta', '{3,4,9}');
SELECT vault.destroy_versions('kv/meta', '{3,4}');
SELECT vault.undelete_versions('kv/meta', '{3,4}');
SELECT version, deleted_at IS NOT NULL, destroyed_at IS NOT NULL, kms_key_id IS NULL FROM vault.list_versions('kv/meta');
RESET ROLE;
SELECT version, num_nonnulls(envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext) FROM vault.deleted_versions ORDER BY version;
SELECT count(*) FROM vault.secret_versions v JOIN vault.deleted_versions d USING (secret_id, version);
SET ROLE regress_vault_kv;

--
-- good: grace keeps its end; a deleted version does not verify in it, and not again after it
--
SELECT vault.create_secret('kv/grace', 'old', grace_period_secs => 3600), vault.update_secret('kv/grace', 'new', 1);
SELECT vault.verify('kv/grace', 'old'), vault.delete_versions('kv/grace', '{1}'), vault.verify('kv/grace', 'old');
SELECT vault.undelete_versions('kv/grace', '{1}'), vault.verify('kv/grace', 'old');
SELECT vault.delete_versions('kv/grace', '{1}');
RESET ROLE;
UPDATE vault.deleted_versions SET expires_at = clock_timestamp() - interval '1 second' WHERE version = 1;
SET ROLE regress_vault_kv;
SELECT vault.undelete_versions('kv/grace', '{1}');
SELECT vault.verify('kv/grace', 'old'), vault.verify('kv/grace', 'new');
RESET ROLE;
-- the supervisor removes what nothing can bring back
SELECT vault.supervise(100, false) > 0;
SELECT count(*) FROM vault.deleted_versions d JOIN vault.secrets s ON s.id = d.secret_id WHERE s.name = 'kv/grace';
SET ROLE regress_vault_kv;

--
-- good: a version that is deleted by itself
--
SELECT vault.create_metadata('kv/due', delete_version_after_secs => 3600, keep_versions => 1);
SELECT vault.update_secret('kv/due', 'one', 0), vault.update_secret('kv/due', 'two', 1);
SELECT version, delete_at - created_at FROM vault.list_versions('kv/due');
RESET ROLE;
UPDATE vault.secret_versions v SET delete_at = clock_timestamp() FROM vault.secrets s WHERE s.id = v.secret_id AND s.name = 'kv/due';
SET ROLE regress_vault_kv;
SELECT vault.read_secret('kv/due');
SELECT vault.read_secret('kv/due', 1);
SELECT vault.verify('kv/due', 'two');
SELECT name, error_code, error FROM vault.read_secrets('{kv/due}');
BEGIN;
SELECT vault.undelete_versions('kv/due'), vault.read_secret('kv/due');
ROLLBACK;
RESET ROLE;
SELECT vault.supervise(100, false);
SELECT count(*) FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = 'kv/due';
SET ROLE regress_vault_kv;
SELECT version, deleted_at IS NOT NULL, delete_at FROM vault.list_versions('kv/due');
SELECT vault.undelete_versions('kv/due'), vault.read_secret('kv/due');
SELECT vault.set_version_settings('kv/due', delete_version_after_secs => 0), vault.update_secret('kv/due', 'three', 2);
SELECT version, delete_at FROM vault.list_versions('kv/due');
SELECT vault.set_version_settings('kv/due', delete_version_after_secs => -1);
SELECT vault.set_version_settings('kv/due', delete_version_after_secs => 315360001);

--
-- good: a secret whose updates must name a version
--
SELECT vault.set_version_settings('kv/due', cas_required => true);
SELECT vault.update_secret('kv/due', 'x', NULL);
SELECT vault.update_secret('kv/due', 'four', 3);
SELECT vault.set_version_settings('kv/due', cas_required => false), vault.update_secret('kv/due', 'five', NULL);

--
-- good: lives of a name, of which no number means two states
--
SELECT vault.delete_secret('kv/meta', 5);
SELECT vault.create_metadata('kv/meta');
SELECT vault.update_secret('kv/meta', 'x', 5);
SELECT vault.update_secret('kv/meta', 'x', 0);
SELECT vault.update_secret('kv/meta', 'seven', 6);
SELECT vault.create_metadata('kv/empty'), vault.delete_secret('kv/empty', 0), vault.create_secret('kv/empty', 'two');
SELECT vault.delete_secret('kv/empty', 2), vault.create_metadata('kv/empty'), vault.delete_secret('kv/empty', 3), vault.create_secret('kv/empty', 'five');

--
-- good: a deleted secret that can be restored
--
RESET ROLE;
SET hyperion_vault.deleted_retention_days = 7;
SET ROLE regress_vault_kv;
SELECT vault.create_secret('kv/bin', 'one', keep_versions => 3, grace_period_secs => 3600), vault.update_secret('kv/bin', 'two', 1), vault.update_secret('kv/bin', 'three', 2);
SELECT vault.delete_versions('kv/bin', '{2}');
SELECT vault.delete_secret('kv/bin', 3);
SELECT vault.read_secret('kv/bin');
SELECT count(*) FROM vault.list_secrets('kv/bin');
SELECT name, current_version, restorable_until - deleted_at FROM vault.list_deleted_secrets('kv/');
SELECT id AS bin FROM vault.list_deleted_secrets('kv/bin') \gset
SELECT vault.restore_secret(:'bin');
SELECT vault.restore_secret(:'bin');
SELECT vault.read_secret('kv/bin'), vault.read_secret('kv/bin', 1), vault.verify('kv/bin', 'one');
SELECT version, deleted_at IS NOT NULL FROM vault.list_versions('kv/bin');
SELECT vault.undelete_versions('kv/bin', '{2}'), vault.read_secret('kv/bin', 2);
-- not where the name was used again
SELECT vault.delete_secret('kv/bin', 3), vault.create_secret('kv/bin', 'four');
SELECT vault.restore_secret(:'bin');
SELECT vault.destroy_secret('kv/bin', 4);
SELECT vault.restore_secret(:'bin');
SELECT vault.destroy_deleted_secret(:'bin');
SELECT vault.destroy_deleted_secret(:'bin');
SELECT vault.restore_secret(NULL);
-- its time ends
SELECT vault.create_secret('kv/ends', 'x'), vault.delete_secret('kv/ends', 1);
RESET ROLE;
SELECT count(*) FROM vault.deleted_versions d JOIN vault.secrets s ON s.id = d.secret_id WHERE s.name = 'kv/ends';
UPDATE vault.secrets SET restorable_until = clock_timestamp() WHERE name = 'kv/ends';
SELECT count(*) FROM vault.list_deleted_secrets();
SELECT vault.supervise(100, false);
SELECT count(*) FROM vault.deleted_versions d JOIN vault.secrets s ON s.id = d.secret_id WHERE s.name IN ('kv/ends', 'kv/bin');
SELECT actor, action, version FROM vault.audit_log WHERE secret_name IN ('kv/bin', 'kv/ends') AND action IN ('delete', 'restore', 'destroy') AND outcome = 'ok' ORDER BY id;
-- rights are those on its name
SET ROLE regress_vault_kv;
SELECT vault.create_secret('kv/right', 'x'), vault.delete_secret('kv/right', 1);
SELECT id AS bin FROM vault.list_deleted_secrets('kv/right') \gset
SET ROLE regress_vault_half;
SELECT vault.restore_secret(:'bin');
SELECT vault.destroy_deleted_secret(:'bin');
SELECT count(*) FROM vault.list_deleted_secrets('kv/right');
RESET ROLE;
SELECT vault.create_secret('other/right', 'x'), vault.delete_secret('other/right', 1);
SELECT vault.grant_access('regress_vault_half', 'x/*', '{create,delete}');
SELECT id AS other FROM vault.list_deleted_secrets('other/right') \gset
SET ROLE regress_vault_half;
SELECT vault.restore_secret(:'other');
SELECT vault.destroy_deleted_secret(:'other');
SELECT count(*) FROM vault.list_deleted_secrets('other/');
RESET ROLE;
SELECT vault.revoke_access('regress_vault_half', 'x/*', '{create,delete}');
SELECT vault.destroy_deleted_secret(:'bin'), vault.destroy_deleted_secret(:'other');
SET hyperion_vault.deleted_retention_days = 0;

--
-- wrong: rights, names, numbers
--
SET ROLE regress_vault_half;
SELECT vault.delete_versions('kv/due');
SELECT vault.destroy_versions('kv/due');
SELECT vault.create_metadata('kv/mine');
SELECT vault.undelete_versions('kv/due');
SELECT count(*) > 0 FROM vault.list_versions('kv/due');
SELECT vault.list_versions('other/due');
SET ROLE regress_vault_kv;
SELECT vault.delete_versions('kv/none');
SELECT vault.list_versions('kv/none');
SELECT vault.delete_versions('kv/due', ARRAY[1, NULL]);
SELECT vault.delete_versions('kv/due', ARRAY(SELECT generate_series(1, 1001)));
SELECT vault.delete_versions('kv/due', ARRAY[[1, 2], [3, 4]]);
SELECT vault.delete_versions('kv/due', '{}'), vault.destroy_versions('kv/due', '{}'), vault.destroy_versions('kv/due', '{0,-1}');
SELECT vault.create_metadata('kv/automatic', generate_policy => '{"length": 2}');
SELECT vault.create_metadata('kv/ct', content_type => 'text');
BEGIN READ ONLY;
SELECT vault.delete_versions('kv/due');
ROLLBACK;
SELECT vault.delete_secret(name, NULL) FROM vault.list_secrets('kv/');
RESET ROLE;
-- nothing is left of them but the rows that keep their numbers
SELECT count(*) FROM vault.deleted_versions;
-- each has its record, and followers hear of each change
SELECT action, version, outcome, code FROM vault.audit_log
WHERE secret_name = 'kv/meta' AND action IN ('delete_version', 'undelete_version', 'destroy_version') ORDER BY id;
SELECT action, version FROM vault.changes WHERE name = 'kv/meta' ORDER BY xid, id;
SELECT actor, action, version FROM vault.audit_log WHERE secret_name = 'kv/due' AND actor = 'supervisor' ORDER BY id;
SELECT vault.revoke_access('regress_vault_kv', 'kv/*', '{create,read,update,delete,rotate,verify}');
SELECT vault.revoke_access('regress_vault_half', 'kv/*', '{read,update}');
DROP ROLE regress_vault_kv, regress_vault_half;
