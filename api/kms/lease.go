package kms

import (
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var _ vault.Leaser = (*Cache)(nil)

// leaseShare is the divisor of the TTL for a lease. A key that a backend reads by a lease is requested here once for each
// lease only. With four leases in a TTL one of these requests falls into its second half, which refreshes the key.
const leaseShare = 4

// LeaseOf returns for how long a backend may keep a data key that Unwrap has just returned: never beyond the time that
// the key is kept here, and 0 if it is not kept. It implements vault.Leaser.
func (k *Cache) LeaseOf(key vault.WrappedKey, kmsContext map[string]string) time.Duration {
	if k.slots == nil {
		return k.c.Unkept
	}
	id := idOf(key, kmsContext)
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[id]
	if e == nil || k.closed {
		return 0
	}
	return max(0, min(k.end(e).Sub(k.c.Clock()), k.c.TTL/leaseShare))
}

func (k *Cache) notifyRevoked() {
	if k.c.Revoked != nil {
		k.c.Revoked()
	}
}
