package exttest

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestDropAndPassDoNotDeadlock has a pass of the supervisor begin when DROP EXTENSION has locked the secrets and nothing else:
// the pass waits, and holds nothing that the DROP needs.
func TestDropAndPassDoNotDeadlock(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	pass := b.c.connect(t, b.db, vaulttest.Superuser)
	watcher := b.c.connect(t, b.db, vaulttest.Superuser)
	b.exec("SET hyperion_vault.allow_drop_with_secrets = on")
	b.exec("SET deadlock_timeout = '100ms'")
	pass.exec("SET deadlock_timeout = '60s'") // so that the DROP would find the deadlock

	b.exec("BEGIN")
	b.exec("LOCK TABLE vault.secrets IN ACCESS EXCLUSIVE MODE") // what its event trigger does first
	done := make(chan error, 1)
	go func() { done <- pass.try("SELECT vault.supervise(1000, true)") }()
	pgtest.Eventually(t, "the pass waits for a lock", func() bool {
		return get[bool](watcher, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", pass.pid())
	})
	if held := get[[]string](watcher, `SELECT coalesce(array_agg(relation::regclass::text), '{}') FROM pg_locks
		WHERE pid = $1 AND granted AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'vault'::regnamespace)`, pass.pid()); len(held) > 0 {
		t.Errorf("the pass waits with locks on %q", held)
	}
	if err := b.try("DROP EXTENSION hyperion_vault"); err != nil {
		t.Errorf("the DROP failed: %v", err)
	}
	b.exec("ROLLBACK")
	if err := <-done; err != nil {
		t.Errorf("the pass failed: %v", err)
	}
}

// TestDropAndShippingDoNotDeadlock has a node ship records while DROP EXTENSION waits for the first table that this has locked.
func TestDropAndShippingDoNotDeadlock(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	node := b.c.connect(t, b.db, vaulttest.Superuser)
	watcher := b.c.connect(t, b.db, vaulttest.Superuser)
	b.exec("SET hyperion_vault.allow_drop_with_secrets = on")
	b.exec("SET deadlock_timeout = '100ms'") // so that the DROP would find the deadlock
	node.exec("SET deadlock_timeout = '60s'")

	node.exec("BEGIN")
	node.exec("SELECT vault.lock_journal(md5('1')::uuid, 'node')")
	done := make(chan error, 1)
	go func() { done <- b.try("DROP EXTENSION hyperion_vault") }()
	pgtest.Eventually(t, "the DROP waits for a lock", func() bool {
		return get[bool](watcher, "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1", b.pid())
	})
	node.exec("SELECT vault.ship_audit(md5('1')::uuid, 'node', 1, ARRAY[now()], '{n}', '{a}', '{NULL}', '{NULL}', '{read}', '{a/b}', '{1}', '{ok}', '{\"\"}', '{r}')")
	node.exec("COMMIT")
	if err := <-done; err != nil {
		t.Errorf("the DROP failed: %v", err)
	}
}
