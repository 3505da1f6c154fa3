package exttest

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNotificationsNameNothing: PostgreSQL lets any role listen to any channel, so a notification must not tell one
// without a grant which secrets there are. Who may see a secret knows its id from the list.
func TestNotificationsNameNothing(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	stranger := b.c.connect(t, b.db, b.c.newRole(t))
	stranger.exec("LISTEN hyperion_vault_changes")
	b.exec("SELECT vault.create_secret('hidden/payroll', 'v', generate_policy => '{}', grace_period_secs => 60)")
	b.exec("SELECT vault.update_secret('hidden/payroll', 'w', 1)")
	b.exec("SELECT vault.rotate_secret('hidden/payroll')")
	id := get[string](b.session, "SELECT id::text FROM vault.list_secrets('hidden/payroll')")
	b.exec("SELECT vault.delete_secret('hidden/payroll', 3)")
	for _, version := range []int{1, 2, 3, 3} {
		n, err := stranger.WaitForNotification(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		var told map[string]any
		if err := json.Unmarshal([]byte(n.Payload), &told); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(n.Payload, "payroll") || len(told) != 2 || told["id"] != id || told["version"] != float64(version) {
			t.Errorf("version %d: %s", version, n.Payload)
		}
	}
}
