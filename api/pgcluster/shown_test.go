package pgcluster

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// TestLostLogIsNotWaitedFor: the newest primary says what is lost, and nothing else of what was shown.
func TestLostLogIsNotWaitedFor(t *testing.T) {
	p := &Pool{hosts: &hostList{all: []*Host{{}, {}}}, Options: Options{NewestTimeline: func() uint32 { return 2 }}}
	p.noteShown(p.hosts.all[0], 500)
	standby := func(at core.LSN) Standing {
		return Standing{InRecovery: true, At: core.Position{LSN: at}}
	}
	primary := func(timeline uint32, at core.LSN) Standing {
		return Standing{At: core.Position{Timeline: timeline, LSN: at}}
	}
	for _, x := range []struct {
		s    Standing
		want bool
	}{
		{standby(499), true}, {standby(500), false},
		{primary(2, 600), false}, {standby(499), true}, // a query of the primary is no reason to go to a server that is behind
		{primary(1, 400), true}, {standby(499), true}, // one that was left behind knows nothing of it
		{primary(2, 450), false}, {standby(449), true}, {standby(450), false},
	} {
		if got := p.IsBehind(x.s); got != x.want {
			t.Errorf("%+v: behind %v", x.s, got)
		}
	}
}

// TestLogEnd: where the next record begins is not always where one ends.
func TestLogEnd(t *testing.T) {
	for next, want := range map[core.LSN]core.LSN{
		0x1000028: 0x1000000, 0x1002018: 0x1002000, 0x1002028: 0x1002028, 0x1002000: 0x1002000, 0x1001ff8: 0x1001ff8, 0x1000018: 0x1000000, 0: 0,
	} {
		if got := logEnd(next); got != want {
			t.Errorf("%s: %s", next, got)
		}
	}
}
