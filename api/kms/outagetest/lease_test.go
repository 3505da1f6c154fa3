package outagetest

import (
	"context"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestLeasesEndWithTheKey: a backend reads with a leased key, and stops when KMS refuses the master key, within the TTL
// that holds for REST as well.
func TestLeasesEndWithTheKey(t *testing.T) {
	const ttl = 6 * time.Second
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=6")
	b.want("POST", "/v1/secrets", `{"name":"leased","value":"one"}`, 201)
	conn := b.db.MustConnect(t, vaulttest.Superuser)
	defer conn.Close(context.Background())
	read := func() error {
		var value string
		return conn.QueryRow(context.Background(), "SELECT vault.read_secret('leased')").Scan(&value)
	}
	// keepReading reads for a time, and returns after how much of it the last read that went well began.
	keepReading := func(d time.Duration) (good time.Duration) {
		for startedAt := time.Now(); good < d; <-time.After(5 * time.Millisecond) {
			began := time.Since(startedAt)
			if read() != nil {
				return good
			}
			good = began
		}
		return good
	}
	leased := func() float64 { return b.metric("audit_leased_total") }
	if good := keepReading(2 * ttl); good < 2*ttl {
		t.Fatalf("reads failed after %s while all is well: %v", good, read())
	}
	if n := leased(); n < 100 {
		t.Fatalf("only %v reads were leased", n)
	}
	b.kms.SetState(b.key, kmstest.Disabled)
	good := keepReading(3 * ttl)
	if good > ttl+2*time.Second {
		t.Errorf("a leased key was used for %s after the master key was disabled", good)
	}
	b.db.AwaitAudit(t) // so that the count stands
	before := leased()
	if err := read(); err == nil || leased() != before {
		t.Errorf("read after the end: %v", err)
	}
	b.kms.SetState(b.key, kmstest.Enabled)
	for limit := time.Now().Add(30 * time.Second); read() != nil; <-time.After(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("no read after the key was enabled")
		}
	}
}
