package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/core"
)

// OverQuota is in the chain of the TooMany error of a request that its principal's quota has no room for.
type OverQuota struct {
	Kind       quota.Kind
	RetryAfter time.Duration // when there will be room, as far as is known now
}

// Error says for the log what the quota is of.
func (e *OverQuota) Error() string {
	return fmt.Sprintf("the quota of %s allows another request in %s", e.Kind, e.RetryAfter)
}

// SetQuota changes the quotas, from the next request on.
func (v *Vault) SetQuota(l quota.Limits) { v.quota.Set(l) }

// Quota returns the quotas in force.
func (v *Vault) Quota() quota.Limits {
	return quota.Limits{Reads: v.quota.Rate(quota.Reads), Verifies: v.quota.Rate(quota.Verifies), Changes: v.quota.Rate(quota.Changes)}
}

// OverQuotas returns how many requests were over a quota since the start.
func (v *Vault) OverQuotas(k quota.Kind) uint64 { return v.quota.Refused(k) }

// withinQuota runs act for a principal whose quota has room: that of its token, or of its network when it presents none. A
// token that turns out not to be valid keeps no bucket; such requests are rationed by their network.
func (a *attempt) withinQuota(ctx context.Context, act func(context.Context) error) error {
	kind, key := quota.Changes, a.principal()
	if changesNothing(a.entry.Action) {
		kind = quota.Reads
	}
	if retry, ok := a.v.quota.TakeN(kind, key, a.counts, a.v.c.Clock()); !ok {
		return a.overQuota(kind, retry, "the quota of %s is used up: it is %s", kind, a.v.quota.Rate(kind))
	}
	err := act(ctx)
	if a.by.HasToken() && core.CodeOf(err) == core.Unauthenticated {
		a.v.quota.Forget(kind, key)
	}
	return err
}

// changesNothing reports whether an action only shows something. One that is not known changes something.
func changesNothing(action Action) bool {
	switch action {
	case ActionAudit, ActionTokenList, ActionAuthList, ActionRewrapStatus:
		return true
	}
	return isRead(action)
}

// judgeGuess bounds how fast the value of a secret can be searched with Verify. Each wrong candidate counts, of all tokens
// of the caller's role together, since a token can make others. While there is no room, no verdict is given, a right one
// neither: otherwise its absence would say as much.
func (a *attempt) judgeGuess(n core.Name, valid bool) error {
	key, look := a.principal(), a.v.quota.Take
	if role := a.entry.Origin.SessionRole; a.by.HasToken() && role != "" {
		key = quota.Key{Role: role}
	}
	if key.Secret = string(n); valid {
		look = a.v.quota.Look
	}
	retry, ok := look(quota.Verifies, key, a.v.c.Clock())
	if ok {
		return nil
	}
	return a.overQuota(quota.Verifies, retry, "too many wrong candidates were tried for this secret: the quota is %s", a.v.quota.Rate(quota.Verifies))
}

// principal is whose quota the caller's requests count against.
func (a *attempt) principal() quota.Key {
	switch {
	case a.by.Claims != "":
		return quota.Key{Role: a.by.Claims}
	case a.by.HasToken():
		return quota.Key{Token: a.by.Fingerprint}
	}
	return quota.Key{Network: quota.NetworkOf(a.by.Addr)}
}

// overQuota refuses the attempt. Such refusals have records as often as others of one network, and are counted all.
func (a *attempt) overQuota(kind quota.Kind, retry time.Duration, format string, args ...any) error {
	at := a.v.c.Clock()
	if !a.v.overQuota.Take(a.caller.Addr, at) {
		a.unrecorded = !a.v.overQuota.Notice(a.caller.Addr, at)
	}
	return core.Wrap(core.TooMany, &OverQuota{Kind: kind, RetryAfter: retry}, format, args...)
}
