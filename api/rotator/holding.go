package rotator

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
)

// holding renews the claims of one batch while the process works on them. So a claim can be short, and that of a process
// that has died is taken over soon. It is a row's time and no session's lock, which a connection pooler would give to
// others. A process that was paused for longer than the lease finds its claims taken over; what it then completes is
// refused.
type holding struct {
	r      *Rotator
	worker string

	mu      sync.Mutex
	renewed time.Time // when the last renewal that succeeded was sent
}

// start renews until stop is called, which waits for the last renewal.
func (h *holding) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a stop of the process finishes what has started
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for backoff.Sleep(ctx, h.r.c.Lease/3) {
			h.renew(ctx)
		}
	})
	return func() { cancel(); renewing.Wait() }
}

func (h *holding) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, min(h.r.c.Timeout, h.r.c.Lease))
	defer cancel()
	sent := time.Now()
	err := h.r.c.Door.RenewRotations(ctx, h.worker, h.r.c.Lease)
	h.r.said.warn(ctx, h.r.c.Log, "renew", "cannot renew the claims on rotations, others may take them over", err)
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.renewed = sent
	}
}

// covers reports whether the claims are still held, as far as this process knows.
func (h *holding) covers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.renewed) < h.r.c.Lease
}
