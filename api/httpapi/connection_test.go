package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// party is a connection of an address that nothing goes over.
type party struct {
	net.Conn
	from   string
	closed atomic.Bool
}

func (p *party) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.from + ":1"))
}

func (p *party) Close() error { p.closed.Store(true); return nil }

// host is the accounting without a server: 128 connections, 64 of strangers, 2 of each of those, 32 of others.
type host struct {
	*connections
	t *testing.T
}

func newHost(t *testing.T) host {
	policy := NewLivePolicy(Policy{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}})
	return host{newConnections(128, policy, func(a netip.Addr) bool { return netip.MustParsePrefix("10.1.0.0/16").Contains(a) }), t}
}

// open connects, and the connection asks something and is idle after that.
func (h host) open(from string) *party {
	p := &party{from: from}
	h.context(h.t.Context(), p)
	h.changed(p, http.StateNew)
	if p.closed.Load() {
		h.changed(p, http.StateClosed)
		return p
	}
	h.changed(p, http.StateActive)
	h.changed(p, http.StateIdle)
	return p
}

// settle does what net/http does with connections that were closed.
func (h host) settle(all ...*party) (open int) {
	for _, p := range all {
		if p.closed.Load() {
			h.changed(p, http.StateClosed)
		} else {
			open++
		}
	}
	return open
}

func (h host) many(n int, from string) (all []*party) {
	for i := range n {
		if strings.Contains(from, "%") {
			all = append(all, h.open(fmt.Sprintf(from, i)))
		} else {
			all = append(all, h.open(from))
		}
	}
	h.settle(all...)
	return all
}

func TestConnections(t *testing.T) {
	t.Run("a stranger has few, and its newest stay", func(t *testing.T) {
		h := newHost(t)
		all := h.many(10, "192.0.2.1")
		if n := h.settle(all...); n != 2 || all[9].closed.Load() || all[8].closed.Load() {
			t.Errorf("%d are open", n)
		}
	})
	t.Run("strangers together leave half to others", func(t *testing.T) {
		h := newHost(t)
		all := h.many(250, "192.0.2.%d")
		if n := h.settle(all...); n != 64 || all[249].closed.Load() {
			t.Errorf("%d are open", n)
		}
		known := h.many(64, "10.1.0.%d")
		if n := h.settle(known...); n != 64 {
			t.Errorf("%d of those who are known", n)
		}
	})
	t.Run("strangers go first", func(t *testing.T) {
		h := newHost(t)
		strangers := h.many(64, "192.0.2.%d")
		known := h.many(100, "10.1.0.%d")
		if n, s := h.settle(known...), h.settle(strangers...); n != 100 || s != 28 || strangers[63].closed.Load() {
			t.Errorf("%d who are known, %d strangers", n, s)
		}
	})
	t.Run("then who has most", func(t *testing.T) {
		h := newHost(t)
		var greedy []*party
		for i := range 4 {
			greedy = append(greedy, h.many(32, fmt.Sprintf("10.1.0.%d", i))...)
		}
		honest := h.many(10, "10.1.1.%d")
		if n, g := h.settle(honest...), h.settle(greedy...); n != 10 || g != 118 {
			t.Errorf("%d and %d", n, g)
		}
	})
	t.Run("none that is busy is closed", func(t *testing.T) {
		h := newHost(t)
		all := h.many(2, "192.0.2.1")
		for _, p := range all {
			h.changed(p, http.StateActive)
		}
		if p := h.open("192.0.2.1"); !p.closed.Load() || h.settle(all...) != 2 {
			t.Error("a busy one made room")
		}
	})
	t.Run("a proxy has what it needs", func(t *testing.T) {
		h := newHost(t)
		proxy := h.many(100, "10.9.0.1")
		h.many(250, "192.0.2.%d")
		if n := h.settle(proxy...); n != 100 {
			t.Errorf("%d of the proxy's are open", n)
		}
	})
	t.Run("a right makes no stranger", func(t *testing.T) {
		h := newHost(t)
		p := &party{from: "192.0.2.1"}
		ctx := h.context(t.Context(), p)
		h.changed(p, http.StateNew)
		h.changed(p, http.StateActive)
		vouch(ctx)
		vouch(ctx)
		vouch(context.Background())
		h.changed(p, http.StateIdle)
		h.many(250, "192.0.3.%d")
		if p.closed.Load() || h.strangers.count != 64 {
			t.Errorf("it is closed: %d strangers", h.strangers.count)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		h := newHost(t)
		all := append(h.many(250, "192.0.2.%d"), h.many(100, "10.1.0.%d")...)
		for _, p := range all {
			h.changed(p, http.StateClosed)
		}
		if len(h.all) != 0 || len(h.by) != 0 || h.strangers.count != 0 || h.strangers.idle.Len() != 0 {
			t.Errorf("%d, %d, %d, %d", len(h.all), len(h.by), h.strangers.count, h.strangers.idle.Len())
		}
	})
}

// TestStrangersDoNotStay: their idle connections are short-lived, those of others are not.
func TestStrangersDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		stranger, known, proxy := h.open("192.0.2.1"), h.open("10.1.0.1"), h.open("10.9.0.1")
		time.Sleep(strangerIdle - time.Second)
		h.changed(stranger, http.StateActive)
		h.changed(stranger, http.StateIdle) // it asked once more
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if stranger.closed.Load() {
			t.Error("closed before its time")
		}
		h.changed(stranger, http.StateActive)
		time.Sleep(time.Minute)
		synctest.Wait()
		if stranger.closed.Load() {
			t.Error("closed while it is asking")
		}
		h.changed(stranger, http.StateIdle)
		time.Sleep(strangerIdle)
		synctest.Wait()
		if !stranger.closed.Load() || known.closed.Load() || proxy.closed.Load() {
			t.Error("closed:", stranger.closed.Load(), known.closed.Load(), proxy.closed.Load())
		}
		for _, p := range []*party{stranger, known, proxy} {
			h.changed(p, http.StateClosed)
		}
	})
}

// TestIdleFlood: 10,000 connections of 50 addresses without a right, which each ask once and then stay, take nothing from
// an honest client, be it on a connection that it has or on new ones, nor from a trusted proxy. What an honest client
// loses in such a flood is counted, because a rate depends on what else the machine does: no request fails, no connection
// that it keeps is closed, none that it opens is turned away, and strangers have no more than their share, which leaves
// the rest to others without a wait. BenchmarkIdleFlood shows the rate.
func TestIdleFlood(t *testing.T) {
	needFiles(t)
	x := newTarget(t)
	f := &flood{at: x.at}
	t.Cleanup(f.end)
	kept := newClient("127.0.2.1")
	if err := x.ask(kept); err != nil { // on the connection that it had before the flood
		t.Fatal(err)
	}
	const rounds = 50
	for range rounds {
		f.open(4)
		x.queryEach(t)
		if err := x.ask(kept); err != nil {
			t.Fatalf("on a connection that was kept: %v", err)
		}
	}
	answered, open := f.count()
	if answered < 9_500 {
		t.Errorf("%d of 10000 strangers were answered", answered)
	}
	if open < 500 {
		t.Errorf("%d connections of strangers were there, which shows nothing", open)
	}
	if open > defaultMaxConns/shareOfStrangers+50 { // those that are being closed
		t.Errorf("%d connections of strangers are open", open)
	}
	if n := kept.dials.Load(); n != 1 {
		t.Errorf("an honest client connected %d times instead of once", n)
	}
	for who, c := range map[string]client{"an honest client": x.honest, "a proxy": x.proxy} {
		if n := c.dials.Load(); n != rounds {
			t.Errorf("%s connected %d times, and closed %d connections itself", who, n, rounds)
		}
	}
}

// BenchmarkIdleFlood reports the rate that an honest client keeps in the flood of TestIdleFlood, beside that of a second
// server in the same process without strangers. Both are measured in turn.
func BenchmarkIdleFlood(b *testing.B) {
	needFiles(b)
	quiet, flooded := newTarget(b), newTarget(b)
	f := &flood{at: flooded.at}
	b.Cleanup(f.end)
	f.open(200)
	var kept []float64
	for b.Loop() {
		f.open(8) // idle connections of strangers end after a while
		for range 4 {
			took := quiet.measure(b)
			kept = append(kept, 100*float64(took)/float64(flooded.measure(b)))
		}
	}
	slices.Sort(kept)
	b.ReportMetric(kept[len(kept)/2], "%kept")
}

// TestWhoIsLetInIsNoStranger: an answer to a request with a right vouches for its connection, a refusal or a page for
// everybody does not.
func TestWhoIsLetInIsNoStranger(t *testing.T) {
	s := &server{}
	for _, c := range []struct {
		path   string
		status int
		want   bool
	}{
		{"/v1/secrets/*name", 200, true}, {"/v1/secrets", 201, true}, {"/v1/secrets/*name", 404, true}, {"/v1/secrets/*name", 412, true},
		{"/v1/secrets/*name", 401, false}, {"/v1/secrets/*name", 403, false}, {"/v1/secrets/*name", 429, false}, {"/v1/secrets", 503, false},
		{"/v1/secrets", 400, false}, {"/healthz", 200, false}, {"/readyz", 200, false}, {"/metrics", 200, false}, {pathOpenAPI, 200, false}, {"", 404, false},
	} {
		if got := s.letIn(c.path, c.status); got != c.want {
			t.Errorf("%s %d: %v", c.path, c.status, got)
		}
	}
}
