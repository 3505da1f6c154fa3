package vault

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after, part = 5 * time.Second, 100 * time.Millisecond
		d := &deadlines{after: after}
		first := d.next()
		var last context.Context
		distinct := 0
		for range 400 { // for two seconds
			ctx := d.next()
			end, ok := ctx.Deadline()
			if left := time.Until(end); !ok || left < after || left > after+part {
				t.Fatalf("%s are left", left)
			}
			if ctx != last {
				distinct++
				last = ctx
			}
			time.Sleep(5 * time.Millisecond)
		}
		if distinct != 20 {
			t.Errorf("%d contexts were made, want 20", distinct)
		}
		time.Sleep(after + part - 2*time.Second)
		synctest.Wait()
		if !errors.Is(first.Err(), context.DeadlineExceeded) || last.Err() != nil {
			t.Errorf("the first one: %v, the last one: %v", first.Err(), last.Err())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !errors.Is(last.Err(), context.DeadlineExceeded) {
			t.Errorf("the last one: %v", last.Err())
		}
	})
}
