package exttest

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const changesChannel = "hyperion_vault_changes"

// followedCluster is a server whose supervisor looks after the first database that the test makes. It makes no pass in
// the time of a test but the first, so what it announces it does for no other reason.
func followedCluster(t *testing.T, settings ...string) cluster {
	return startCluster(t, true, append(settings, "hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 600")...)
}

// awaitSupervisor returns once a supervisor is there that wants to hear of changes.
func awaitSupervisor(t *testing.T, s *session) {
	t.Helper()
	pgtest.Eventually(t, "the supervisor has made its pass", func() bool {
		return get[bool](s, "SELECT EXISTS (SELECT FROM vault.supervisor_passes)")
	})
}

// TestNotificationsNameNothing: PostgreSQL lets any role listen to any channel, so a notification must not tell one
// without a grant which secrets there are, and how many.
func TestNotificationsNameNothing(t *testing.T) {
	c := followedCluster(t)
	b := newBench(t, c)
	stranger := c.connect(t, b.db, c.newRole(t))
	for _, sql := range []string{
		"SELECT vault.create_secret('hidden/payroll', 'v', generate_policy => '{}', grace_period_secs => 60)",
		"SELECT vault.update_secret('hidden/payroll', 'w', 1)",
		"SELECT vault.rotate_secret('hidden/payroll')",
		"SELECT vault.delete_secret('hidden/payroll', 3)",
	} {
		stranger.exec("LISTEN " + changesChannel)
		b.exec("BEGIN")
		b.exec(sql)
		b.exec("SAVEPOINT s")
		b.exec("ROLLBACK TO SAVEPOINT s")
		b.exec("COMMIT")
		n, err := stranger.WaitForNotification(bounded(t))
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if n.Channel != changesChannel || n.Payload != "" {
			t.Errorf("%s: %s %q", sql, n.Channel, n.Payload)
		}
		stranger.exec("UNLISTEN *") // and with it the rest of one that came in two
	}
}

// TestNothingIsAnnouncedBeforeTheCommit: a change that is not there is not announced, nor is one that is taken back.
func TestNothingIsAnnouncedBeforeTheCommit(t *testing.T) {
	c := followedCluster(t)
	b := newBench(t, c)
	awaitSupervisor(t, b.session)
	follower := c.connect(t, b.db, vaulttest.Superuser)
	follower.exec("LISTEN " + changesChannel)
	heard := func(limit time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := follower.WaitForNotification(ctx)
		return err == nil
	}
	for heard(200 * time.Millisecond) { // of what newBench made
	}
	b.exec("BEGIN")
	b.exec("SELECT vault.update_secret('kept', 'w', 1)")
	if heard(200 * time.Millisecond) {
		t.Error("a change was announced before its commit")
	}
	b.exec("ROLLBACK")
	if heard(200 * time.Millisecond) {
		t.Error("a change was announced that was taken back")
	}
	b.exec("SELECT vault.update_secret('kept', 'w', 1)")
	if !heard(pgtest.Patience) {
		t.Error("a change was not announced")
	}
}

// TestNothingIsAnnouncedElsewhere: the supervisor announces nothing of a database that it does not serve, and a change
// there is none the worse for it.
func TestNothingIsAnnouncedElsewhere(t *testing.T) {
	c := followedCluster(t)
	b := newBench(t, c)
	other := newBench(t, c)
	awaitSupervisor(t, b.session)
	var heard [2]*session
	for i, db := range []string{b.db, other.db} {
		heard[i] = c.connect(t, db, vaulttest.Superuser)
		heard[i].exec("LISTEN " + changesChannel)
	}
	other.exec("SELECT vault.update_secret('kept', 'w', 1)")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if n, err := heard[1].WaitForNotification(ctx); err == nil {
		t.Errorf("heard %v", n)
	}
}

// TestChangesCannotBePrepared: another session would commit them.
func TestChangesCannotBePrepared(t *testing.T) {
	b := newBench(t, followedCluster(t, "max_prepared_transactions = 2"))
	b.exec("BEGIN")
	b.exec("SELECT vault.update_secret('kept', 'w', 1)")
	wantError(t, b.try("PREPARE TRANSACTION 'p'"), "0A000", "cannot PREPARE a transaction that has changed a secret")
	b.exec("ROLLBACK")
	b.exec("BEGIN")
	b.exec("SELECT vault.read_secret('kept')")
	b.exec("PREPARE TRANSACTION 'p'")
	b.exec("ROLLBACK PREPARED 'p'")
}

// changeEvent is what a stream of events says of one change.
type changeEvent struct {
	Name    string
	Version int
	heard   time.Time
}

// followChanges sends what an API's stream says of names that begin with prefix, until the test ends.
func followChanges(t *testing.T, s *vaulttest.Server, prefix string) <-chan changeEvent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/events?prefix="+prefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan changeEvent, 100_000)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		for line := range dataLines(resp.Body) {
			e := changeEvent{heard: time.Now()}
			if json.Unmarshal([]byte(line), &e) == nil && e.Name != "" {
				events <- e
			}
		}
	}()
	return events
}
