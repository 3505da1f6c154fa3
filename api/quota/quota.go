// Package quota bounds how often each principal may do something. It knows neither HTTP nor the database: the caller says
// who the principal is and what the time is. It never delays anything and never refuses a principal for what another did,
// unless there are more principals than it keeps apart.
package quota

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys is how many principals of one kind are kept apart in one period. All others share one bucket.
const maxKeys = 16 << 10

// Kind is what is bounded. Each kind has buckets of its own.
type Kind string

// The kinds.
const (
	Reads    Kind = "reads"    // requests that change nothing
	Verifies Kind = "verifies" // candidates that were wrong
	Changes  Kind = "changes"  // requests that change something
)

// Kinds are all of them.
var Kinds = []Kind{Reads, Verifies, Changes}

// Limits has the rate of each kind. The zero Limits bounds nothing.
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

// Key names a principal, and the secret where each one counts by itself. The zero Key is the principal of all those that
// cannot be kept apart.
type Key struct {
	Token   [32]byte     // fingerprint of a token
	Network netip.Prefix // of a client without one
	Role    string       // or what else identifies a principal
	Secret  string       // "" = whatever the secret is
}

// Quota holds the buckets of all principals. Its memory is bounded: a bucket that is full again is forgotten. It is safe
// for concurrent use; the zero Quota bounds nothing.
type Quota struct{ reads, verifies, changes table }

// Set puts limits in force. A kind whose rate changes begins with full buckets.
func (q *Quota) Set(l Limits) {
	for _, k := range Kinds {
		q.table(k).set(l.of(k))
	}
}

// Take takes one from the bucket of a principal. When there is none, ok is false and retry is when there will be.
func (q *Quota) Take(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.TakeN(k, of, 1, at)
}

// TakeN is Take for a request that counts as n. One that counts as more than a full bucket takes a full one.
func (q *Quota) TakeN(k Kind, of Key, n int, at time.Time) (retry time.Duration, ok bool) {
	return q.table(k).use(of, at, n, true)
}

// Look is Take that leaves the bucket as it is.
func (q *Quota) Look(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.table(k).use(of, at, 1, false)
}

// Forget drops the bucket of a principal that there turned out not to be, so that invented ones take no memory.
func (q *Quota) Forget(k Kind, of Key) { q.table(k).forget(of) }

// Rate returns the rate in force.
func (q *Quota) Rate(k Kind) Rate {
	if r := q.table(k).rate.Load(); r != nil {
		return *r
	}
	return Rate{}
}

// Refused returns how many requests of a kind were over their quota since the start.
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

// table holds the buckets of one kind in two generations. A bucket is full one period after it was last used, so one that
// a whole generation has not used can be forgotten.
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
