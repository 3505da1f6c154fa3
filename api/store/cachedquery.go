package store

import (
	"context"
	"sync"
	"time"
)

// look is the last answer to a question that anybody may ask as often as he likes, and that costs.
type look[T any] struct {
	mu  sync.Mutex
	at  time.Time
	got T
	err error
}

// get returns an answer no older than every. Whoever asked first may leave; the answer is everybody's.
func (l *look[T]) get(ctx context.Context, every time.Duration, ask func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) >= every {
		l.got, l.err = ask(context.WithoutCancel(ctx))
		l.at = time.Now()
	}
	return l.got, l.err
}
