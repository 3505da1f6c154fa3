package exttest

import (
	"fmt"
	"testing"
)

// TestStoredSettingsFit: the table refuses what the functions would never write, from any writer.
func TestStoredSettingsFit(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.create_secret('auto', NULL::text, kind => 'automatic', rotation_interval_secs => 60)")
	for _, set := range []string{
		"name = ''", "name = repeat('n', 256)", "kind = 'other'", "kind = 'automatic'", "content_type = ''",
		"content_type = repeat('c', 256)", "description = repeat('d', 1025)", "tags = '[]'", "tags = 'null'", `tags = '{"a": 1}'`,
		`tags = '{"a": ["b"]}'`, "tags = jsonb_build_object('a', repeat('b', 49152))",
		"tags = (SELECT jsonb_object_agg(i, 'x') FROM generate_series(1, 65) i)", "generate_policy = '[]'",
		"generate_policy = jsonb_build_object('a', repeat('b', 4096))", "rotation_interval_secs = 1",
		"rotation_schedule = '* * * * *'", "rotation_time_zone = ''", "rotation_time_zone = repeat('z', 65)",
		"rotation_window_secs = 59", "rotation_window_secs = 31536001", "grace_period_secs = -1",
		"grace_period_secs = 315360001", "keep_versions = -1", "keep_versions = 101", "first_version = 0",
		"settings_revision = 0", "delete_version_after_secs = 0", "delete_version_after_secs = 315360001",
	} {
		err := b.try("UPDATE vault.secrets SET " + set + " WHERE name = 'kept'")
		wantError(t, err, "23514", `"secrets_settings_fit"`)
	}
	for _, set := range []string{
		"kind = 'manual'", "rotation_interval_secs = 0", "rotation_interval_secs = 315360001", "rotation_interval_secs = NULL",
		"rotation_schedule = '* * * * *'", "rotation_interval_secs = NULL, rotation_schedule = '* * * *'",
		"rotation_interval_secs = NULL, rotation_schedule = repeat('*', 256)",
	} {
		err := b.try("UPDATE vault.secrets SET " + set + " WHERE name = 'auto'")
		wantError(t, err, "23514", `"secrets_settings_fit"`)
	}
	for _, set := range []string{"current_version = -1", "first_version = 3"} {
		wantError(t, b.try("UPDATE vault.secrets SET "+set+" WHERE name = 'kept'"), "23514", `"secrets_current_version_range"`)
	}
	b.exec(`UPDATE vault.secrets SET tags = (SELECT jsonb_object_agg(i, 'x') FROM generate_series(1, 64) i), generate_policy = NULL,
		rotation_window_secs = 60, keep_versions = 100 WHERE name = 'auto'`)
	stranger := b.c.connect(t, b.db, b.c.newRole(t))
	wantError(t, stranger.try("SELECT vault.record_fits('read', 'ok', NULL, NULL)"), "42501", "permission denied")
}

// TestStoredVersionsFit: the table refuses sealed versions that the functions would never write.
func TestStoredVersionsFit(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	const update = "UPDATE vault.secret_versions SET %s WHERE secret_id = (SELECT id FROM vault.secrets WHERE name = 'kept')"
	for _, set := range []string{
		"version = 0", "envelope_version = 0", "envelope_version = 2", "kms_key_id = ''", "kms_key_id = repeat('k', 2049)",
		"wrapped_dek = ''", "wrapped_dek = convert_to(repeat('w', 6145), 'UTF8')", "nonce = convert_to(repeat('n', 23), 'UTF8')",
		"nonce = convert_to(repeat('n', 25), 'UTF8')", "ciphertext = convert_to(repeat('c', 16), 'UTF8')",
		"ciphertext = convert_to(repeat('c', 1048593), 'UTF8')",
	} {
		wantError(t, b.try(fmt.Sprintf(update, set)), "23514", `"secret_versions_fit"`)
	}
	b.exec(fmt.Sprintf(update, `kms_key_id = repeat('k', 2048), wrapped_dek = convert_to(repeat('w', 6144), 'UTF8'),
		ciphertext = convert_to(repeat('c', 17), 'UTF8')`))
	b.exec(fmt.Sprintf(update, "ciphertext = convert_to(repeat('c', 1048592), 'UTF8')"))
}

// TestStoredRecordsFit: the audit log refuses records that the functions would never write.
func TestStoredRecordsFit(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	const update = "UPDATE vault.audit_log SET %s WHERE secret_name = 'kept'"
	for _, set := range []string{
		"action = ''", "action = 'other'", "action = 'reads'", "outcome = ''", "outcome = 'other'", "journal = gen_random_uuid()", "sequence = 1",
		"journal = gen_random_uuid(), sequence = 0",
	} {
		wantError(t, b.try(fmt.Sprintf(update, set)), "23514", `"audit_log_record_fits"`)
	}
	for _, set := range []string{"outcome = 'denied'", "outcome = 'failed'", "outcome = 'unknown'", "journal = gen_random_uuid(), sequence = 1"} {
		b.exec(fmt.Sprintf(update, set))
	}
}
