package outagetest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestKeyChange changes VAULT_KMS_KEY_ID and moves the old data keys, while readers read and writers write.
func TestKeyChange(t *testing.T) {
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=0")
	const n = 60
	for i := range n {
		b.want("POST", "/v1/secrets", fmt.Sprintf(`{"name":"load/%d","value":"value-%d"}`, i, i), 201)
	}
	// What is deleted can come back, so its key is moved too.
	b.want("POST", "/v1/secrets", `{"name":"load/gone","value":"back"}`, 201)
	b.want("POST", "/v1/secrets/load/gone/delete-versions", "", 200)
	old := b.key
	b.api.MustStop(t)
	b.key = b.kms.CreateKey()
	b.api = b.serve("VAULT_DEK_CACHE_TTL_SECS=0")
	b.want("GET", "/v1/secrets/load/0", "", 200)
	b.want("POST", "/v1/secrets", `{"name":"new","value":"v"}`, 201)
	if got := b.keysInUse(); got[old] != n+1 || got[b.key] != 1 {
		t.Fatalf("before: %v", got)
	}
	if a := b.want("GET", "/v1/admin/rewrap", "", 200); a.body["state"] != "idle" {
		t.Errorf("%s", a.text)
	}
	b.kms.Next(kmstest.Fault{Op: "ReEncrypt", Status: 400, Code: "ThrottlingException"}, kmstest.Fault{Op: "Decrypt", Reset: true})
	l := b.loadOf(n, 4, 0)
	if a := b.want("POST", "/v1/admin/rewrap", "", 202); a.body["kms_key_id"] != b.key {
		t.Errorf("%s", a.text)
	}
	for i := range 20 { // versions come and go meanwhile
		b.want("PUT", fmt.Sprintf("/v1/secrets/load/%d", i), fmt.Sprintf(`{"value":"value-%d"}`, i), 200)
	}
	last := b.rewrapped(nil)
	l.stop()
	moved, _ := last.body["moved"].(float64)
	skipped, _ := last.body["skipped"].(float64)
	// Versions that were replaced before they were counted are not in the total. Those that were replaced between the
	// count and their turn are neither moved nor skipped.
	if total := last.body["total"]; last.body["state"] != "done" || last.body["failed"] != 0.0 ||
		moved+skipped > total.(float64) || moved < float64(n+1-20) || moved+skipped > float64(n+1) {
		t.Fatalf("%s", last.text)
	}
	if l.failed.Load() != 0 || l.done.Load() == 0 {
		t.Errorf("%d of %d reads failed: %v", l.failed.Load(), l.done.Load(), l.first.Load())
	}
	// What was superseded without a grace is gone.
	if got := b.keysInUse(); got[old] != 0 || got[b.key] != n+2 {
		t.Errorf("after: %v", got)
	}
	b.kms.SetState(old, kmstest.PendingDeletion)
	b.want("POST", "/v1/secrets/load/gone/undelete-versions", "", 200)
	if a := b.want("GET", "/v1/secrets/load/gone", "", 200); a.body["value"] != "back" {
		t.Errorf("%s", a.text)
	}
	for i := range n {
		if a := b.want("GET", fmt.Sprintf("/v1/secrets/load/%d", i), "", 200); a.body["value"] != fmt.Sprintf("value-%d", i) {
			t.Errorf("%s", a.text)
		}
	}
	b.db.AwaitAudit(t)
	if got := b.column("SELECT outcome FROM vault.audit_log WHERE action = 'rewrap' AND secret_name LIKE 'load/%'"); float64(len(got)) != last.body["moved"] {
		t.Errorf("%d records of %v moved keys", len(got), last.body["moved"])
	}
}

// rewrapped waits for the end of the run and returns its status; meanwhile, if not nil, is called with each one before.
func (b *bench) rewrapped(meanwhile func(answer)) answer {
	b.t.Helper()
	for limit := time.Now().Add(60 * time.Second); ; <-time.After(20 * time.Millisecond) {
		a := b.want("GET", "/v1/admin/rewrap", "", 200)
		if a.body["state"] != "running" {
			return a
		}
		if time.Now().After(limit) {
			b.t.Fatalf("still running: %s", a.text)
		}
		if meanwhile != nil {
			meanwhile(a)
		}
	}
}

// withKey stops no server, and starts one whose new versions are under another key.
func (b *bench) withKey(key string) *vaulttest.Server {
	b.t.Helper()
	b.key = key
	return b.serve("VAULT_DEK_CACHE_TTL_SECS=0", "VAULT_REQUEST_TIMEOUT_SECS=10")
}

// TestRewrapKeyLost: a version under a key that is pending deletion holds up no other, in this run or the next.
func TestRewrapKeyLost(t *testing.T) {
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=0", "VAULT_REQUEST_TIMEOUT_SECS=10")
	const n = 10
	for i := range n {
		b.want("POST", "/v1/secrets", fmt.Sprintf(`{"name":"load/%d","value":"v"}`, i), 201)
	}
	lost := b.kms.CreateKey()
	b.api = b.withKey(lost)
	b.want("POST", "/v1/secrets", `{"name":"lost","value":"v"}`, 201)
	b.kms.SetState(lost, kmstest.PendingDeletion)
	b.api = b.withKey(b.kms.CreateKey())
	for _, state := range []string{"partial", "failed"} { // the second run has nothing left to move
		b.want("POST", "/v1/admin/rewrap", `{"rate":1000}`, 202)
		a := b.rewrapped(nil)
		last, _ := a.body["last_failed"].(map[string]any)
		if a.body["state"] != state || a.body["failed"] != 1.0 || a.body["remaining"] != 1.0 || last["name"] != "lost" || last["version"] != 1.0 {
			t.Fatalf("%s", a.text)
		}
		if got := b.keysInUse(); got[b.key] != n || got[lost] != 1 {
			t.Errorf("%v", got)
		}
	}
	b.db.AwaitAudit(t)
	if got := b.column("SELECT outcome FROM vault.audit_log WHERE action = 'rewrap' AND secret_name = 'lost'"); len(got) != 2 || got[0] != "failed" {
		t.Errorf("recorded %v", got)
	}
}

// TestRewrapBehind: what a server that still has the old key writes meanwhile is moved too.
func TestRewrapBehind(t *testing.T) {
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=0", "VAULT_REQUEST_TIMEOUT_SECS=10")
	const n = 40
	for i := range n {
		b.want("POST", "/v1/secrets", fmt.Sprintf(`{"name":"load/%d","value":"v"}`, i), 201)
	}
	old, oldNode := b.key, b.api
	newNode := b.withKey(b.kms.CreateKey())
	b.api = newNode
	behind := b.heldAfter(n * 3 / 4)
	b.want("POST", "/v1/admin/rewrap", "", 202)
	select {
	case <-behind:
	case <-time.After(pgtest.Patience):
		t.Fatal("the run does not come that far")
	}
	b.api = oldNode
	for i := range n {
		b.want("PUT", fmt.Sprintf("/v1/secrets/load/%d", i), `{"value":"x"}`, 200)
	}
	b.api = newNode
	b.kms.Always()
	a := b.rewrapped(nil)
	if got := b.keysInUse(); a.body["state"] != "done" || a.body["remaining"] != 0.0 || got[old] != 0 || got[b.key] != n {
		t.Errorf("%s; %v", a.text, got)
	}
}

// heldAfter has KMS move n keys, and then say that it is too busy to move more, which a run waits out. It returns what is
// closed then.
func (b *bench) heldAfter(n int64) <-chan struct{} {
	held := make(chan struct{})
	busy := kmstest.Throttled
	busy.Op = "ReEncrypt"
	var moved atomic.Int64
	b.kms.Always(kmstest.Fault{Op: busy.Op, Change: func(map[string]any) {
		if moved.Add(1) == n {
			b.kms.Always(busy)
			close(held)
		}
	}})
	return held
}

func TestRewrapNeedsTheToken(t *testing.T) {
	b := start(t)
	b.api.AdminToken = "hvt_" + strings.Repeat("A", 43)
	b.want("POST", "/v1/admin/rewrap", "", 401)
	b.want("GET", "/v1/admin/rewrap", "", 401)
}

// keysInUse counts the versions under each master key.
func (b *bench) keysInUse() map[string]int {
	b.t.Helper()
	out := map[string]int{}
	for _, key := range b.column(`SELECT kms_key_id FROM vault.secret_versions
		UNION ALL SELECT kms_key_id FROM vault.deleted_versions WHERE destroyed_at IS NULL`) {
		out[key]++
	}
	return out
}

// column returns the first column of a query by the superuser.
func (b *bench) column(sql string) []string {
	b.t.Helper()
	conn := b.db.MustConnect(b.t, vaulttest.Superuser)
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return out
}
