// Package backoff computes and makes the pauses between retries. It keeps no state, and its functions are safe for
// concurrent use.
package backoff

import (
	"context"
	"time"
)

// Delay returns how long to wait after a try. Tries count from 0. The delay is first, doubled with each try up to ten
// times, and never more than longest.
func Delay(first, longest time.Duration, try int) time.Duration {
	return min(longest, first<<min(try, 10))
}

// Sleep returns true after d, and false when ctx ends first or has ended already.
func Sleep(ctx context.Context, d time.Duration) bool { return SleepOr(ctx, d, nil) }

// SleepOr is like Sleep. It also returns true, before d is over, when wake delivers a value or is closed. A nil wake
// never does.
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
