// Package quota bounds how often each principal may do something. It knows neither HTTP nor the database. The caller
// passes the principal and the time. The package never delays anything. It never refuses a principal for what another
// principal did, unless there are more principals than it keeps apart.
package quota

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys is how many principals of one kind are kept apart in one period. All other principals share one bucket.
const maxKeys = 16 << 10

// Kind is what a quota bounds. Each kind has its own buckets. An unknown kind counts as Changes.
type Kind string

// The kinds.
const (
	Reads    Kind = "reads"    // requests that change nothing
	Verifies Kind = "verifies" // candidates that were wrong
	Changes  Kind = "changes"  // requests that change something
)

// Kinds are all kinds. Do not modify it.
var Kinds = []Kind{Reads, Verifies, Changes}

// Limits has the rate of each kind. A zero rate bounds nothing, and so does the zero Limits.
type Limits struct{ Reads, Verifies, Changes Rate }

// of returns the rate of a kind.
func (l Limits) of(k Kind) Rate {
	switch k {
	case Reads:
		return l.Reads
	case Verifies:
		return l.Verifies
	}
	return l.Changes
}

// Key names a principal, and a secret if each secret counts by itself. The zero Key stands for all principals that
// cannot be kept apart.
type Key struct {
	Token   [32]byte     // fingerprint of a token
	Network netip.Prefix // of a client without a token
	Role    string       // a role, or another identifier of a principal
	Secret  string       // "" = all secrets count together
}

// Quota holds the buckets of all principals. Its memory is bounded, because a bucket that is full again is forgotten.
// It is safe for concurrent use. The zero Quota bounds nothing. A Quota must not be copied.
type Quota struct{ reads, verifies, changes table }

// Set puts limits in force. A kind whose rate changes starts with full buckets.
func (q *Quota) Set(l Limits) {
	for _, k := range Kinds {
		q.table(k).set(l.of(k))
	}
}

// Take takes one token from the bucket of a principal at the time at. If the bucket is empty, ok is false and retry is
// how long after at the bucket has a token again. An empty bucket counts as a refusal.
func (q *Quota) Take(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.TakeN(k, of, 1, at)
}

// TakeN is Take for a request that counts as n. An n below 1 counts as 1. A request that counts as more than a full
// bucket takes a full bucket.
func (q *Quota) TakeN(k Kind, of Key, n int, at time.Time) (retry time.Duration, ok bool) {
	return q.table(k).use(of, at, n, true)
}

// Look is like Take, but leaves the bucket unchanged. An empty bucket counts as a refusal here too.
func (q *Quota) Look(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.table(k).use(of, at, 1, false)
}

// Forget drops the bucket of a principal that turned out not to exist, so that invented principals take no memory.
func (q *Quota) Forget(k Kind, of Key) { q.table(k).forget(of) }

// Rate returns the rate in force for a kind. It is zero if the kind has no limit.
func (q *Quota) Rate(k Kind) Rate {
	if r := q.table(k).rate.Load(); r != nil {
		return *r
	}
	return Rate{}
}

// Refused returns how many requests of a kind were over their quota since the process started.
func (q *Quota) Refused(k Kind) uint64 { return q.table(k).refused.Load() }

func (q *Quota) table(k Kind) *table {
	switch k {
	case Reads:
		return &q.reads
	case Verifies:
		return &q.verifies
	}
	return &q.changes
}

// table holds the buckets of one kind in two generations. A bucket is full one period after its last use. So a bucket
// that a whole generation has not used can be forgotten.
type table struct {
	rate    atomic.Pointer[Rate] // nil = none
	refused atomic.Uint64

	mu          sync.Mutex
	now, before map[Key]*rate.Limiter
	turned      time.Time // when now began
}

func (t *table) set(r Rate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.rate.Load(); old != nil && *old == r {
		return
	}
	t.rate.Store(&r)
	t.now, t.before = nil, nil
}

func (t *table) use(of Key, at time.Time, n int, take bool) (retry time.Duration, ok bool) {
	if r := t.rate.Load(); r == nil || r.Unlimited() {
		return 0, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := *t.rate.Load()
	if r.Unlimited() {
		return 0, true
	}
	n = min(max(n, 1), r.N)
	bucket := t.bucket(of, r, at)
	if take && bucket.AllowN(at, n) {
		return 0, true
	}
	left := bucket.TokensAt(at)
	if !take && left >= float64(n) {
		return 0, true
	}
	t.refused.Add(1)
	return time.Duration((float64(n) - left) * float64(r.interval())), false
}

// bucket returns the bucket of a principal, a full one if it is new; the mutex is held.
func (t *table) bucket(of Key, r Rate, at time.Time) *rate.Limiter {
	if age := at.Sub(t.turned); t.now == nil || age >= r.Per || age < 0 {
		t.before, t.now, t.turned = t.now, map[Key]*rate.Limiter{}, at
	}
	if b, ok := t.now[of]; ok {
		return b
	}
	b, ok := t.before[of]
	// A bucket of the generation before counts too: otherwise each generation could be larger than the last.
	if len(t.now) >= maxKeys && of != (Key{}) {
		return t.bucket(Key{}, r, at)
	}
	if !ok {
		b = rate.NewLimiter(rate.Every(r.interval()), r.N)
	}
	t.now[of] = b
	return b
}

func (t *table) forget(of Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.now, of)
	delete(t.before, of)
}
