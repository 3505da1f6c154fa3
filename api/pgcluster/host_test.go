package pgcluster

import (
	"testing"
	"time"
)

// TestHosts: who is tried next.
func TestHosts(t *testing.T) {
	names := func(sticky bool) (*hostList, *Host, *Host, *Host) {
		h := &hostList{sticky: sticky}
		for i, n := range []string{"a", "b", "c"} {
			h.all = append(h.all, &Host{Name: n, Index: i})
		}
		return h, h.all[0], h.all[1], h.all[2]
	}
	want := func(h *hostList, x *Host) {
		t.Helper()
		if got := h.pick(); got != x {
			t.Errorf("%s is next, want %s", got.Name, x.Name)
		}
	}
	t.Run("Reader", func(t *testing.T) {
		h, a, b, c := names(false)
		want(h, a)
		h.noteUnreachable(a, time.Now())
		want(h, b)
		h.noteConnected(b)
		h.noteFailure(b, time.Now(), false)
		want(h, c)
		h.noteUnreachable(c, time.Now())
		if h.hasUntried() {
			t.Error("all have failed")
		}
		want(h, a) // its failure is longest ago
		h.noteConnected(a)
		want(h, a)
	})
	t.Run("Writer", func(t *testing.T) {
		h, a, b, c := names(true)
		want(h, a)
		h.noteConnected(b)
		want(h, b) // it was the primary
		h.noteFailure(b, time.Now(), false)
		want(h, a)
		h.noteConnected(c)
		want(h, c)
	})
	t.Run("SlowFailuresCostMore", func(t *testing.T) {
		h, a, _, _ := names(false)
		for _, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, longSkip, longSkip} {
			h.noteUnreachable(a, time.Now().Add(-slowFailure))
			if left := time.Until(a.skipUntil); left < least-100*time.Millisecond || left > least {
				t.Errorf("shunned for %s, want %s", left, least)
			}
		}
		h.noteConnected(a)
		h.noteUnreachable(a, time.Now())
		if left := time.Until(a.skipUntil); left > shortSkip {
			t.Errorf("shunned for %s", left)
		}
	})
	t.Run("Refusal", func(t *testing.T) {
		h, a, b, c := names(true)
		says := func(want error) {
			t.Helper()
			if got := h.refusal(); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		h.noteRefusal(b, ErrInRecovery)
		says(nil) // the others have not been tried
		h.noteUnreachable(a, time.Now())
		h.noteUnreachable(c, time.Now())
		says(ErrInRecovery)
		h.noteAnswer(c)
		says(nil) // it may be the primary
		h.noteRefusal(c, ErrReadOnly)
		says(ErrReadOnly)
		b.refusedAt, c.refusedAt = time.Now().Add(-refusalHolds), time.Now().Add(-refusalHolds)
		says(nil)
		h.forgetRefusal(b, time.Now())
		h.forgetRefusal(c, time.Now())
		h.noteUnreachable(b, time.Now())
		h.noteUnreachable(c, time.Now())
		says(nil) // no server answers
	})
	t.Run("AnAnswerIsNewer", func(t *testing.T) {
		h, a, _, _ := names(false)
		startedAt := time.Now().Add(-time.Millisecond)
		h.noteAnswer(a)
		h.noteFailure(a, startedAt, true)
		h.noteUnreachable(a, startedAt)
		want(h, a)
	})
	t.Run("Timelines", func(t *testing.T) {
		h, _, _, _ := names(true)
		for _, c := range []struct {
			timeline uint32
			believed bool
		}{{3, true}, {3, true}, {2, false}, {4, true}, {3, false}} {
			if h.noteTimeline(c.timeline) != c.believed {
				t.Errorf("timeline %d: believed %t", c.timeline, !c.believed)
			}
		}
		if h.isOutdated(4) || !h.isOutdated(3) {
			t.Error("an older timeline was believed")
		}
	})
}
