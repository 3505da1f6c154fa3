package quota

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys is how many principals are kept apart in one period. All other principals share the bucket of the zero key.
const maxKeys = 16 << 10

// Buckets holds a token bucket for each principal, in two generations. A bucket is full one period after its last use.
// So a bucket that a whole generation has not used can be forgotten. Buckets never drops a bucket for lack of memory,
// because the principal would get a full one. It is safe for concurrent use. The zero Buckets bounds nothing. Buckets
// must not be copied.
type Buckets[K comparable] struct {
	rate    atomic.Pointer[Rate] // nil = none
	refused atomic.Uint64

	mu          sync.Mutex
	now, before map[K]*rate.Limiter
	turned      time.Time // when now began
}

// NewBuckets returns Buckets with a rate.
func NewBuckets[K comparable](r Rate) *Buckets[K] {
	b := &Buckets[K]{}
	b.Set(r)
	return b
}

// Set puts a rate in force. If the rate changes, all buckets are full.
func (b *Buckets[K]) Set(r Rate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.rate.Load(); old != nil && *old == r {
		return
	}
	b.rate.Store(&r)
	b.now, b.before = nil, nil
}

// Rate returns the rate in force. It is zero if there is no limit.
func (b *Buckets[K]) Rate() Rate {
	if r := b.rate.Load(); r != nil {
		return *r
	}
	return Rate{}
}

// Refused returns how often a bucket had too little.
func (b *Buckets[K]) Refused() uint64 { return b.refused.Load() }

// Take takes n from the bucket of a principal at the time at. If the bucket has less, ok is false and retry is how long
// after at it has enough. An n below 1 counts as 1, and one above a full bucket as a full bucket.
func (b *Buckets[K]) Take(of K, n int, at time.Time) (retry time.Duration, ok bool) {
	return b.use(of, at, n, true)
}

// Look is like Take of one, but leaves the bucket unchanged.
func (b *Buckets[K]) Look(of K, at time.Time) (retry time.Duration, ok bool) {
	return b.use(of, at, 1, false)
}

// Forget drops the bucket of a principal.
func (b *Buckets[K]) Forget(of K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.now, of)
	delete(b.before, of)
}

func (b *Buckets[K]) use(of K, at time.Time, n int, take bool) (retry time.Duration, ok bool) {
	if b.Rate().Unlimited() {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.Rate()
	if r.Unlimited() {
		return 0, true
	}
	n = min(max(n, 1), r.N)
	bucket := b.bucket(of, r, at)
	if take && bucket.AllowN(at, n) {
		return 0, true
	}
	left := bucket.TokensAt(at)
	if !take && left >= float64(n) {
		return 0, true
	}
	b.refused.Add(1)
	return time.Duration((float64(n) - left) * float64(r.interval())), false
}

// bucket returns the bucket of a principal, a full one if it is new. The mutex is held.
func (b *Buckets[K]) bucket(of K, r Rate, at time.Time) *rate.Limiter {
	if age := at.Sub(b.turned); b.now == nil || age >= r.Per || age < 0 {
		b.before, b.now, b.turned = b.now, map[K]*rate.Limiter{}, at
	}
	if known, ok := b.now[of]; ok {
		return known
	}
	known, ok := b.before[of]
	var rest K
	// A bucket of the generation before counts too: otherwise each generation could be larger than the last.
	if len(b.now) >= maxKeys && of != rest {
		return b.bucket(rest, r, at)
	}
	if !ok {
		known = rate.NewLimiter(rate.Every(r.interval()), r.N)
	}
	b.now[of] = known
	return known
}
