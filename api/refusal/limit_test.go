package refusal

import (
	"net/netip"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestLimit(t *testing.T) {
	client, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	drained := func() *Limit {
		l := NewLimit()
		for l.Take(client, t0) {
		}
		return l
	}
	t.Run("SixtyAtOnce", func(t *testing.T) {
		l, n := NewLimit(), 0
		for l.Take(client, t0) {
			n++
		}
		if n != 60 || !l.Empty(client, t0) {
			t.Errorf("%d refusals, and empty is %t", n, l.Empty(client, t0))
		}
	})
	t.Run("OneASecondAfterThat", func(t *testing.T) {
		l := drained()
		if l.Empty(client, t0.Add(time.Second)) || !l.Take(client, t0.Add(time.Second)) || l.Take(client, t0.Add(time.Second)) {
			t.Error("a second gives another number than one")
		}
	})
	t.Run("OthersAreNotConcerned", func(t *testing.T) {
		if drained().Empty(other, t0) {
			t.Error("another address has no refusals left")
		}
	})
	t.Run("OneIPv6LinkIsOneClient", func(t *testing.T) {
		l := NewLimit()
		for l.Take(netip.MustParseAddr("2001:db8::1"), t0) {
		}
		if !l.Empty(netip.MustParseAddr("2001:db8::ffff:2"), t0) || l.Empty(netip.MustParseAddr("2001:db8:0:1::1"), t0) {
			t.Error("the bucket is of another network than the link")
		}
	})
	t.Run("OneNoticeAMinute", func(t *testing.T) {
		l := drained()
		if !l.Notice(client, t0) || l.Notice(client, t0.Add(59*time.Second)) || !l.Notice(client, t0.Add(time.Minute)) {
			t.Error("notices come at another pace")
		}
		if n := l.Unrecorded(); n != 1 {
			t.Errorf("%d refusals have no record, want 1", n)
		}
	})
}
