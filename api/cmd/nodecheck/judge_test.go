package nodecheck

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/store"
)

func TestClock(t *testing.T) {
	for _, c := range []struct {
		skew, doubt time.Duration
		want        string
	}{
		{0, 0, ""},
		{2 * time.Second, 0, ""},
		{2500 * time.Millisecond, 600 * time.Millisecond, ""}, // a slow answer proves nothing
		{2001 * time.Millisecond, 0, "2s ahead of"},
		{-5 * time.Minute, time.Second, "5m0s behind"},
	} {
		r := judgeClock(store.Inspection{Host: "db", Port: 5432, Skew: c.skew, Doubt: c.doubt})
		got := ""
		if len(r.Findings) > 0 {
			got = r.Findings[0].What
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s ± %s: %q", c.skew, c.doubt, got)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, pair := range [][2]string{{"0.1.0", "0.1.1"}, {"0.9.0", "0.10.0"}, {"0.1", "0.1.0"}, {"0.1.0", "1.0"}} {
		if !older(pair[0], pair[1]) || older(pair[1], pair[0]) {
			t.Errorf("%s is older than %s", pair[0], pair[1])
		}
	}
}

// TestHangs: a part that never answers, as on a file system that is away, is named, and the others are reported.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hangs := func(*node, context.Context) Report { <-release; return Report{} }
		speaks := func(*node, context.Context) Report { return finding("something", "true") }
		startedAt := time.Now()
		r := (&node{}).runAll(t.Context(), []part{{"one", hangs}, {"two", speaks}, {"three", hangs}})
		close(release)
		if time.Since(startedAt) > Limit+2*time.Second || len(r.Findings) != 3 || !strings.HasPrefix(r.Findings[0].What, "one did not answer") ||
			r.Findings[1].What != "something" || !strings.HasPrefix(r.Findings[2].What, "three did not answer") {
			t.Errorf("after %s: %q", time.Since(startedAt), r.Findings)
		}
	})
}
