package kms

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// How long the answer of a Check holds. Clients poll readiness often, and KMS is called at most this often for it.
	checkHolds       = 2 * time.Second
	failedCheckHolds = time.Second
	maxCheck         = 2500 * time.Millisecond
	// checkPatience is how long a Check waits when it knows an older answer. Many readiness probes time out after a
	// second.
	checkPatience = 500 * time.Millisecond
)

// readiness holds the answer of the last check of the inner keeper, and the check under way.
type readiness struct {
	mu    sync.Mutex
	err   error
	at    time.Time     // zero = nothing is known
	asked chan struct{} // closed when the check under way is answered; nil = there is none
	tried *attempts     // of that check
}

// Check returns nil if Generate and Unwrap could be served now. An answer of the inner keeper is cached for 2 s if it
// is a success, and for 1 s if it is a failure. Then the next call starts a check in the background, one at a time.
// The caller that started it waits up to 500 ms for the answer. Other callers, and all callers while the breaker is
// open, get the last answer at once. With no earlier answer every caller waits for the answer until its context ends.
func (k *Cache) Check(ctx context.Context) error {
	if k.ctx.Err() != nil {
		return errCacheClosed()
	}
	circuit := circuitOf(k.inner.inner)
	known, asked, mine, last := k.checkAgain()
	if asked == nil {
		return last
	}
	if known {
		patience := checkPatience
		if circuit.Open || !mine {
			patience = 0
		}
		bounded, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx = bounded
	}
	select {
	case <-asked:
		_, _, _, last = k.lastCheck()
		return last
	case <-ctx.Done():
	}
	switch {
	case !known:
		return k.triedNow().givenUp(ctx.Err())
	case circuit.Open && last == nil:
		return circuit.reason()
	}
	return last
}

// lastCheck returns the last answer, whether there is one and whether it still holds, and the check under way.
func (k *Cache) lastCheck() (known, holds bool, asked chan struct{}, last error) {
	k.ready.mu.Lock()
	defer k.ready.mu.Unlock()
	r := &k.ready
	long := checkHolds
	if r.err != nil {
		long = failedCheckHolds
	}
	age := k.c.Clock().Sub(r.at)
	known = !r.at.IsZero()
	return known, known && age >= 0 && age < long, r.asked, r.err
}

// triedNow returns the attempts of the last check.
func (k *Cache) triedNow() *attempts {
	k.ready.mu.Lock()
	defer k.ready.mu.Unlock()
	return k.ready.tried
}

// checkAgain starts a check, unless there is one already or the last answer holds. In the latter case asked is nil.
func (k *Cache) checkAgain() (known bool, asked chan struct{}, mine bool, last error) {
	known, holds, asked, last := k.lastCheck()
	if holds || asked != nil {
		if holds {
			asked = nil
		}
		return known, asked, false, last
	}
	k.mu.Lock() // Close waits for what was started before it
	defer k.mu.Unlock()
	k.ready.mu.Lock()
	defer k.ready.mu.Unlock()
	if k.closed {
		return true, nil, false, errCacheClosed()
	}
	if k.ready.asked != nil {
		return known, k.ready.asked, false, last
	}
	asked = make(chan struct{})
	tried := &attempts{}
	k.ready.asked, k.ready.tried = asked, tried
	k.tasks.Go(func() {
		err := k.tryKeys(tried)
		k.ready.mu.Lock()
		defer k.ready.mu.Unlock()
		k.ready.err, k.ready.at, k.ready.asked = err, k.c.Clock(), nil
		close(asked)
	})
	return known, asked, true, last
}

// tryKeys is detached from every caller. Check of the inner keeper may succeed while making and unwrapping data keys
// alone is refused or throttled. So if the last of these calls has failed, tryKeys makes them too. That clears the doubt
// that one bad row has caused. It also recovers a node that gets no requests because it was not ready.
func (k *Cache) tryKeys(tried *attempts) error {
	ctx, cancel := context.WithTimeout(context.WithValue(k.ctx, attemptsKey{}, tried), min(maxCheck, k.c.CallTimeout))
	defer cancel()
	if err := k.inner.Check(ctx); err != nil || !k.inner.doubtful() {
		return err
	}
	none := envelope.Binding{}.KMSContext() // of no secret
	key, err := k.inner.Generate(ctx, none)
	if err != nil {
		return err
	}
	envelope.Wipe(key.Plain)
	plain, err := k.inner.Unwrap(ctx, key.WrappedKey, none)
	envelope.Wipe(plain)
	return err
}
