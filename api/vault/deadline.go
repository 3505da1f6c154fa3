package vault

import (
	"context"
	"sync"
	"time"
)

// sharedDeadlines is into how many parts the time of deadlines is divided: contexts of one part are one.
const sharedDeadlines = 50

// deadlines hands out contexts that end a time after they are handed out, or up to a fiftieth of it later. Those that are
// handed out shortly after each other are one, so that an operation makes no context and sets no timer. Safe for
// concurrent use.
type deadlines struct {
	after time.Duration

	mu     sync.Mutex
	last   context.Context
	cancel context.CancelFunc // of last, which ends by itself
	until  time.Time          // last is handed out before
}

// next returns such a context, which the caller does not cancel.
func (d *deadlines) next() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.last == nil || !now.Before(d.until) {
		part := d.after / sharedDeadlines
		d.last, d.cancel = context.WithDeadline(context.Background(), now.Add(d.after+part))
		d.until = now.Add(part)
	}
	return d.last
}
