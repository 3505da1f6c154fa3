package store

import (
	"context"
	"sync"
	"time"
)

// cachedQuery keeps the last answer of an expensive query that unauthenticated clients can trigger.
type cachedQuery[T any] struct {
	mu  sync.Mutex
	at  time.Time
	got T
	err error
}

// get returns an answer that is no older than every. A query goes on when the caller that started it leaves, because its
// answer is for alq.
func (q *cachedQuery[T]) get(ctx context.Context, every time.Duration, query func(context.Context) (T, error)) (T, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.at) >= every {
		q.got, q.err = query(context.WithoutCancel(ctx))
		q.at = time.Now()
	}
	return q.got, q.err
}
