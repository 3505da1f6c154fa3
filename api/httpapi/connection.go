package httpapi

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
)

const (
	defaultMaxConns = 4096
	// shareOfOne is the part of all connections that one client may have.
	shareOfOne = 4
	// shareOfStrangers is the part that all strangers together may have; the rest is for those who are known.
	shareOfStrangers = 2
	// shareOfStranger is the part of one stranger.
	shareOfStranger = 64
	// strangerIdle is how long the connection of a stranger may lie idle.
	strangerIdle = 5 * time.Second
)

// connections bounds the connections of all clients, of each, and of strangers: clients whose address is neither
// allowed to read nor a trusted proxy's, and whose connection has carried no request with a right. When there are too
// many, the one that has been idle for longest among the strangers' is closed. If none is idle, an idle one of the
// client with the most connections is closed, or else the new one, before it costs more than the accept. Trusted
// proxies stand for many clients and are bounded by the total alone. Safe for concurrent use.
type connections struct {
	max    int
	policy *LivePolicy
	known  func(netip.Addr) bool // may read; nil = everybody

	mu        sync.Mutex
	all       map[net.Conn]*connection
	by        map[netip.Prefix]*group // the connections of each client network
	strangers group
}

// group counts connections and keeps the idle ones, the longest idle first.
type group struct {
	count int
	idle  list.List // of *connection
}

// connection is one of them. The mutex of connections guards it.
type connection struct {
	of       *connections
	conn     net.Conn
	network  netip.Prefix
	trusted  bool        // a proxy's
	stranger atomic.Bool // changes with the mutex alone
	idle     bool
	mine     *group        // of its network; nil before it is new and after it is closed
	mineAt   *list.Element // in mine.idle while it is idle
	strange  *list.Element // in strangers.idle while it is a stranger's and idle
	timer    *time.Timer   // of a stranger that is idle; nil before the first time
}

func newConnections(limit int, policy *LivePolicy, known func(netip.Addr) bool) *connections {
	return &connections{max: limit, policy: policy, known: known, all: map[net.Conn]*connection{}, by: map[netip.Prefix]*group{}}
}

// changed is http.Server's ConnState: every connection is new once, and once closed or taken over.
func (l *connections) changed(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		hangUp(l.add(c))
	case http.StateIdle, http.StateActive:
		l.mark(c, s == http.StateIdle)
	case http.StateClosed, http.StateHijacked:
		l.remove(c)
	}
}

// hangUp closes a connection; its goroutine finds it closed and says so. TLS would wait to take leave.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if c != nil {
		_ = c.Close()
	}
}

type connectionKey struct{}

// context is http.Server's ConnContext, which comes before a connection is new: requests know their connection.
func (l *connections) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, l.meet(c))
}

// meet notes a connection, and who its client is.
func (l *connections) meet(c net.Conn) *connection {
	var from netip.Addr // the zero Addr is a client as well
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		from = ap.Addr().Unmap()
	}
	x := &connection{of: l, conn: c, network: quota.NetworkOf(from), trusted: within(from, l.policy.Load().TrustedProxies)}
	x.stranger.Store(!x.trusted && l.known != nil && !l.known(from))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[c] = x
	return x
}

// add counts a connection and returns the one to close for it, which may be itself; nil = none.
func (l *connections) add(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[c]
	if x == nil {
		return c
	}
	if x.mine = l.by[x.network]; x.mine == nil {
		x.mine = &group{}
		l.by[x.network] = x.mine
	}
	x.mine.count++
	if x.stranger.Load() {
		l.strangers.count++
	}
	return l.tooMany(x)
}

// tooMany returns the connection that has to go now that x is there; l.mu is held.
func (l *connections) tooMany(x *connection) net.Conn {
	share := max(1, l.max/shareOfOne)
	if x.stranger.Load() {
		share = max(1, l.max/shareOfStranger)
	}
	switch {
	case !x.trusted && x.mine.count > share:
		return l.longestIdle(x.mine, x)
	case x.stranger.Load() && l.strangers.count > max(1, l.max/shareOfStrangers):
		return l.longestIdle(&l.strangers, x)
	case len(l.all) <= l.max:
		return nil
	}
	if gone := l.longestIdle(&l.strangers, x); gone != x.conn {
		return gone
	}
	most := x.mine
	for _, other := range l.by {
		if other.idle.Len() > most.idle.Len() {
			most = other
		}
	}
	return l.longestIdle(most, x)
}

// longestIdle takes the connection that has been idle for the longest off the books and returns it, or x's when there is
// none, which net/http then reports as closed.
func (l *connections) longestIdle(g *group, x *connection) net.Conn {
	front := g.idle.Front()
	if front == nil {
		return x.conn
	}
	gone := front.Value.(*connection)
	l.forget(gone)
	return gone.conn
}

// mark notes that a connection has become idle, or is no longer.
func (l *connections) mark(c net.Conn, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[c]
	if x == nil || x.mine == nil {
		return // it is being closed
	}
	x.wake()
	if !idle {
		return
	}
	x.idle = true
	x.mineAt = x.mine.idle.PushBack(x)
	if !x.stranger.Load() {
		return
	}
	x.strange = l.strangers.idle.PushBack(x)
	if x.timer == nil {
		x.timer = time.AfterFunc(strangerIdle, x.expire)
	} else {
		x.timer.Reset(strangerIdle)
	}
}

// wake takes a connection out of the idle ones; the mutex is held.
func (x *connection) wake() {
	if !x.idle {
		return
	}
	x.idle = false
	x.mine.idle.Remove(x.mineAt)
	if x.strange != nil {
		x.of.strangers.idle.Remove(x.strange)
		x.strange = nil
	}
	if x.timer != nil {
		x.timer.Stop()
	}
}

// expire closes the connection if it still is a stranger's and idle.
func (x *connection) expire() {
	x.of.mu.Lock()
	over := x.idle && x.stranger.Load() && x.of.all[x.conn] == x
	x.of.mu.Unlock()
	if over {
		hangUp(x.conn)
	}
}

func (l *connections) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.all[c]; x != nil {
		l.forget(x)
	}
}

// forget is with the mutex held.
func (l *connections) forget(x *connection) {
	delete(l.all, x.conn)
	if x.mine == nil {
		return
	}
	x.wake()
	if x.mine.count--; x.mine.count == 0 {
		delete(l.by, x.network)
	}
	x.mine = nil
	if x.stranger.Load() {
		l.strangers.count--
	}
}

// vouch notes that the connection of ctx carries a request with a right: it no longer belongs to a stranger.
func vouch(ctx context.Context) {
	x, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok || !x.stranger.Load() {
		return
	}
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	if x.stranger.Load() && x.mine != nil {
		x.stranger.Store(false)
		x.of.strangers.count--
	}
}
