package rotator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// badRows are what a hand in the tables, a lost block or a program of another version may leave, one kind each: $1 is
// the bad secret's id, and "ev/N/bad" its name. named is where an operator finds it by its name.
var badRows = []struct{ what, sql, named string }{
	{"tags that are no texts", `UPDATE vault.secrets SET tags = '{"a": 1}' WHERE id = $1`, "status"},
	{"tags that are an array", `UPDATE vault.secrets SET tags = '[1]' WHERE id = $1`, "status"},
	{"endless tags", `UPDATE vault.secrets SET tags = (SELECT jsonb_object_agg(n, repeat('x', 100)) FROM generate_series(1, 5000) n) WHERE id = $1`, ""},
	{"an endless description", `UPDATE vault.secrets SET description = repeat('x', 1000000) WHERE id = $1`, ""},
	{"an unknown policy", `UPDATE vault.secrets SET generate_policy = '{"lenght": 1}' WHERE id = $1`, "status"},
	{"an odd content type", `UPDATE vault.secrets SET content_type = 'TEXT/plain' WHERE id = $1`, "status"},
	{"no content type", `UPDATE vault.secrets SET content_type = '' WHERE id = $1`, "status"},
	{"an odd kind", `UPDATE vault.secrets SET kind = 'odd' WHERE id = $1`, ""},
	{"an empty kind", `UPDATE vault.secrets SET kind = NULL WHERE id = $1`, "status"},
	{"an empty description", `UPDATE vault.secrets SET description = NULL WHERE id = $1`, "status"},
	{"a bad schedule", `UPDATE vault.secrets SET rotation_schedule = '99 * * * *', rotation_interval_secs = NULL, next_rotation_at = NULL WHERE id = $1`, "status"},
	{"a bad schedule that is due", `UPDATE vault.secrets SET rotation_schedule = '99 * * * *', rotation_interval_secs = NULL WHERE id = $1`, "status"},
	{"a zone that vanished", `UPDATE vault.secrets SET rotation_schedule = '0 3 * * *', rotation_interval_secs = NULL, next_rotation_at = NULL, rotation_time_zone = 'Atlantis/Capital' WHERE id = $1`, "status"},
	{"no interval", `UPDATE vault.secrets SET rotation_interval_secs = 0 WHERE id = $1`, ""},
	{"a negative interval", `UPDATE vault.secrets SET rotation_interval_secs = -9223372036854775808 WHERE id = $1`, ""},
	{"an endless interval", `UPDATE vault.secrets SET rotation_interval_secs = 9223372036854775807 WHERE id = $1`, ""},
	{"an endless window", `UPDATE vault.secrets SET rotation_window_secs = 9223372036854775807 WHERE id = $1`, ""},
	{"never due", `UPDATE vault.secrets SET next_rotation_at = 'infinity' WHERE id = $1`, ""},
	{"always due", `UPDATE vault.secrets SET next_rotation_at = '-infinity' WHERE id = $1`, "status"},
	{"due in the Stone Age", `UPDATE vault.secrets SET next_rotation_at = '4713-01-01 BC' WHERE id = $1`, ""},
	{"made never", `UPDATE vault.secrets SET created_at = 'infinity' WHERE id = $1`, "status"},
	{"changed before all time", `UPDATE vault.secrets SET updated_at = '-infinity' WHERE id = $1`, "status"},
	{"version 0", `UPDATE vault.secrets SET current_version = 0 WHERE id = $1`, "status"},
	{"the least version", `UPDATE vault.secrets SET current_version = -9223372036854775808, keep_versions = 2147483647 WHERE id = $1`, "status"},
	{"the last version", `UPDATE vault.secrets SET current_version = 9223372036854775807, keep_versions = -2147483648 WHERE id = $1`, ""},
	{"an endless grace", `UPDATE vault.secrets SET grace_period_secs = 9223372036854775807 WHERE id = $1`, ""},
	{"a name that is none", `UPDATE vault.secrets SET name = name || '/../ *' WHERE id = $1`, ""},
	{"no current version", `DELETE FROM vault.secret_versions WHERE secret_id = $1`, ""},
	{"a version without a secret", `INSERT INTO vault.secret_versions SELECT gen_random_uuid(), version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext, created_at, now(), false FROM vault.secret_versions WHERE secret_id = $1`, ""},
	{"versions that expire before all time", `UPDATE vault.secret_versions SET expires_at = '-infinity' WHERE secret_id = $1`, ""},
	{"an unknown envelope", `UPDATE vault.secret_versions SET envelope_version = 9 WHERE secret_id = $1`, ""},
	{"no wrapped key", `UPDATE vault.secret_versions SET wrapped_dek = '' WHERE secret_id = $1`, ""},
	{"no ciphertext", `UPDATE vault.secret_versions SET ciphertext = '', nonce = '' WHERE secret_id = $1`, ""},
	{"a version made never", `UPDATE vault.secret_versions SET created_at = 'infinity', version = -5 WHERE secret_id = $1`, ""},
	{"a version deleted before all time", `UPDATE vault.secret_versions SET delete_at = '-infinity' WHERE secret_id = $1`, ""},
	{"an endless life of versions", `UPDATE vault.secrets SET delete_version_after_secs = 9223372036854775807 WHERE id = $1`, "status"},
	{"a deleted version without a secret", `INSERT INTO vault.deleted_versions SELECT gen_random_uuid(), version, envelope_version, kms_key_id, wrapped_dek, nonce, ciphertext, created_at, '-infinity', false FROM vault.secret_versions WHERE secret_id = $1`, ""},
	{"restorable and not deleted", `UPDATE vault.secrets SET restorable_until = '-infinity' WHERE id = $1`, ""},
	{"a job of no secret", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at) SELECT gen_random_uuid(), '-infinity', '-infinity', now() FROM generate_series(1, 100) WHERE $1::uuid IS NOT NULL`, ""},
	{"a job due at no time", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at) VALUES ($1, '-infinity', '-infinity', now())`, "status"},
	{"a job that was tried too often", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at, attempts, last_error) VALUES ($1, now(), now(), now(), 2147483647, repeat('x', 100000))`, ""},
	{"a job that is never tried", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at, last_error) VALUES ($1, now(), 'infinity', now(), 'x')`, "status"},
	{"a claim without end", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at, state, claimed_by, claimed_until) VALUES ($1, now(), now(), now(), 'claimed', 'x', 'infinity')`, ""},
	{"a window that ended before all time", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at, deadline_at) VALUES ($1, now(), now(), now(), '-infinity')`, ""},
	{"a change at no time", `INSERT INTO vault.changes (at, action, name, version) SELECT 'infinity', 'update', 'ev/x', 1 FROM generate_series(1, 1200) WHERE $1::uuid IS NOT NULL`, ""},
	{"a change of no version", `INSERT INTO vault.changes (at, action, name, version) SELECT now(), 'odd', '', -1 WHERE $1::uuid IS NOT NULL`, ""},
	{"a grant of a role that was dropped", `INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by) SELECT vault.hold(4242::oid::regrole), '*', 'read', 'infinity', '' WHERE $1::uuid IS NOT NULL`, ""},
	{"an odd pattern", `INSERT INTO vault.access_grants (holder, pattern, action, granted_at, granted_by) SELECT vault.hold('vault_service'), '', 'odd', '-infinity', '' WHERE $1::uuid IS NOT NULL`, ""},
	{"a token made never", `INSERT INTO vault.tokens (id, name, fingerprint, created_at, expires_at, holder, method, renewable) SELECT gen_random_uuid(), '', '\x00', 'infinity', 'infinity', vault.hold('vault_admin'::regrole), 'token', false WHERE $1::uuid IS NOT NULL`, ""},
	{"an audit record of the Stone Age", `INSERT INTO vault.audit_log (at, node, actor, action, outcome) SELECT '4713-01-01 BC', '', '', 'odd', 'odd' WHERE $1::uuid IS NOT NULL`, ""},
	{"a change of the Stone Age", `INSERT INTO vault.changes (at, action, name, version) SELECT '4713-01-01 BC', 'update', 'ev/x', 1 WHERE $1::uuid IS NOT NULL`, ""},
	{"made in the far future", `UPDATE vault.secrets SET created_at = '12000-01-01' WHERE id = $1`, "status"},
	{"an audit record at no time", `INSERT INTO vault.audit_log (at, node, actor, action, outcome) SELECT 'infinity', '', '', 'odd', 'odd' WHERE $1::uuid IS NOT NULL`, ""},
	{"the last record of each journal at no time", `UPDATE vault.audit_journals SET last_at = '-infinity' WHERE $1::uuid IS NOT NULL`, ""},
	{"a pass at no time", `UPDATE vault.supervisor_passes SET last_pass_at = 'infinity' WHERE $1::uuid IS NOT NULL`, ""},
}

// withoutConstraints lets a hand in the tables do what it likes.
const withoutConstraints = `DO $$
DECLARE c record;
BEGIN
	-- In the order in which a pass of the supervisor takes them.
	LOCK TABLE vault.supervisor_passes, vault.secrets, vault.secret_versions, vault.deleted_versions, vault.rotation_jobs, vault.tokens IN ACCESS EXCLUSIVE MODE;
	FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE connamespace = 'vault'::regnamespace AND contype = 'c' AND coninhcount = 0 LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
	END LOOP;
	ALTER TABLE vault.secrets DISABLE TRIGGER secrets_settings_fit;
	FOR c IN SELECT a.attrelid::regclass AS t, a.attname FROM pg_attribute a WHERE a.attrelid = 'vault.secrets'::regclass AND a.attnotnull AND a.attnum > 1 LOOP
		EXECUTE format('ALTER TABLE %s ALTER %I DROP NOT NULL', c.t, c.attname);
	END LOOP;
END $$`

// TestOneBadRow: with any row of any table as bad as it can be, and all those before it, the rotation, the list, the events,
// the shipping of the audit, the status and the metrics of everybody else go on. A rewrap moves what can be moved.
func TestOneBadRow(t *testing.T) {
	b := newBench(t)
	key := "VAULT_LOCAL_MASTER_KEY=" + strings.Repeat("QUFB", 10) + "QUE="
	s := vaulttest.NewServer(t, b.db, key, "VAULT_ROTATION_POLL_SECS=1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // or the server would wait for its streams
	next := follow(ctx, t, s, "")
	b.exec(withoutConstraints)
	b.exec("SELECT vault.supervise(1000, true)")
	for i, bad := range badRows {
		t.Run(bad.what, func(t *testing.T) {
			n := fmt.Sprintf("ev/%d/", i)
			for _, name := range []string{"bad", "good"} {
				must(t, s, 201, "POST", "/v1/secrets", vaultSecret(n+name))
			}
			id := one[[16]byte](b, "SELECT id FROM vault.secrets WHERE name = $1", n+"bad")
			b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name LIKE $1", n+"%")
			b.exec(bad.sql, id)
			b.exec("SELECT vault.supervise(1000, true)")

			watch, cancel := context.WithTimeout(ctx, pgtest.Patience)
			defer cancel()
			for e := next(); e.Name != n+"good" || e.Action != "rotate"; e = next() {
				if watch.Err() != nil {
					t.Fatal("the good one is not rotated, or no client hears of it")
				}
			}
			if list := must(t, s, 200, "GET", "/v1/secrets?prefix="+n, nil); !strings.Contains(list, `"`+n+`good"`) {
				t.Errorf("not in the list: %s", list)
			}
			must(t, s, 200, "GET", "/v1/secrets/"+n+"good", nil)
			must(t, s, 200, "GET", "/v1/audit?after=0", nil)
			if _, _, err := b.wired.db.ListTokens(ctx, vault.Itself(), vault.TokenID{}, 100, vault.Freshness{}); err != nil {
				t.Error(err)
			}
			must(t, s, 200, "GET", "/metrics", nil)
			s.AwaitAudit(t)
			sql := b.db.MustConnect(t, vaulttest.Superuser)
			if _, err := sql.Exec(ctx, "SELECT vault.list_secrets(), vault.who_may($1, 'read'), vault.access_list(), vault.status()", n+"good"); err != nil {
				t.Error(err)
			}
			_ = sql.Close(ctx)
			if bad.named == "status" {
				here := &bench{t: t, conn: b.conn}
				here.await("the status names it", "SELECT vault.status()->'failures' @> jsonb_build_array(jsonb_build_object('name', $1::text))", n+"bad")
			}
			must(t, s, 200, "GET", "/v1/status", nil)
			// The next kind must find room in the status.
			b.exec("DELETE FROM vault.rotation_jobs WHERE state <> 'done' AND secret_id = $1", id)
			b.exec("UPDATE vault.secrets SET next_rotation_at = 'infinity' WHERE id = $1", id)
		})
	}
	cancel()
	s.MustStop(t)
	old := one[string](b, "SELECT kms_key_id FROM vault.secret_versions GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
	b.exec("UPDATE vault.secret_versions SET wrapped_dek = '' WHERE secret_id = (SELECT id FROM vault.secrets WHERE name = 'ev/0/bad')")
	moved := vaulttest.NewServer(t, b.db, "VAULT_LOCAL_MASTER_KEY="+strings.Repeat("QkJC", 10)+"QkI=", "VAULT_OLD_"+strings.TrimPrefix(key, "VAULT_"))
	must(t, moved, 202, "POST", "/v1/admin/rewrap", `{"rate":1000}`)
	b.await("the good ones are moved", `SELECT count(*) = 1 FROM (SELECT DISTINCT v.kms_key_id FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id
		WHERE s.name LIKE 'ev/%/good' AND v.version = s.current_version AND v.kms_key_id <> $1) x`,
		old)
	for deadline := time.Now().Add(pgtest.Patience); ; time.Sleep(50 * time.Millisecond) {
		if answer := must(t, moved, 200, "GET", "/v1/admin/rewrap", nil); strings.Contains(answer, `"partial"`) && strings.Contains(answer, "ev/") {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the rewrap does not name what it could not move: %s", answer)
		}
	}
}

func vaultSecret(name string) map[string]any {
	return map[string]any{"name": name, "kind": "automatic", "rotation_interval_secs": 3600}
}

// must sends a request that has to be answered with a status.
func must(t *testing.T, s *vaulttest.Server, want int, method, path string, body any) string {
	t.Helper()
	got, answer := s.Do(t, method, path, body)
	if got != want {
		t.Errorf("%s %s: %d %s", method, path, got, answer)
	}
	return answer
}
