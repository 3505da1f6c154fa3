// Package backoff waits between the tries of something that may work later.
package backoff

import (
	"context"
	"time"
)

// Delay returns how long to wait after a try, counted from 0: first, doubled each time, and never more than longest.
func Delay(first, longest time.Duration, try int) time.Duration {
	return min(longest, first<<min(try, 10))
}

// Sleep returns true after d, and false when ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool { return SleepOr(ctx, d, nil) }

// SleepOr is Sleep that also returns true when wake receives something or is closed.
func SleepOr(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-wake:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
