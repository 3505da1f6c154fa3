// Package refusal limits what clients can cost that are refused. Each refusal writes a replicated, permanent audit
// record, and each token attempt costs a query. So each client network has a bucket of refusals (Limit), and a flood of
// refused callers shares its queries (Screen).
package refusal

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
)

// A network has 60 refusals at once, and one a second after that. One notice a minute stands for those beyond.
var (
	refusalRate = quota.Rate{N: 60, Per: time.Minute}
	noticeRate  = quota.Rate{N: 1, Per: time.Minute}
)

// Limit has a bucket of refusals for each client network. It is safe for concurrent use.
type Limit struct {
	refusals, notices *quota.Buckets[netip.Prefix]
	unrecorded        atomic.Uint64
}

// NewLimit returns a Limit whose buckets are full.
func NewLimit() *Limit {
	return &Limit{refusals: quota.NewBuckets[netip.Prefix](refusalRate), notices: quota.NewBuckets[netip.Prefix](noticeRate)}
}

// Empty reports whether the bucket of an address is empty.
func (l *Limit) Empty(a netip.Addr, at time.Time) bool {
	_, left := l.refusals.Look(quota.NetworkOf(a), at)
	return !left
}

// Take takes one refusal from the bucket of an address. It reports whether there was one.
func (l *Limit) Take(a netip.Addr, at time.Time) bool {
	_, taken := l.refusals.Take(quota.NetworkOf(a), 1, at)
	return taken
}

// Notice reports whether a refusal beyond the bucket gets the record that stands for the others. It counts the refusal
// if not.
func (l *Limit) Notice(a netip.Addr, at time.Time) bool {
	if _, first := l.notices.Take(quota.NetworkOf(a), 1, at); first {
		return true
	}
	l.unrecorded.Add(1)
	return false
}

// Unrecorded returns how many refusals got no record.
func (l *Limit) Unrecorded() uint64 { return l.unrecorded.Load() }
