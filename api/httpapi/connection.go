package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	defaultMaxConns = 4096
	// shareOfOne is the part of all connections that one client may have.
	shareOfOne = 4
)

// connections closes those that are too many at once, each before it costs more than the accept. Proxies that are
// trusted stand for many clients and are bounded by the total alone.
type connections struct {
	max    int
	policy *LivePolicy

	mu    sync.Mutex
	total int
	by    map[netip.Prefix]int // for each client network
}

// changed is http.Server's ConnState: every connection is new once, and once closed or taken over.
func (l *connections) changed(c net.Conn, s http.ConnState) {
	var from netip.Addr // the zero Addr is a client as well
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		from = ap.Addr().Unmap()
	}
	switch s {
	case http.StateNew:
		if !l.add(from) {
			_ = c.Close() // its goroutine finds it closed and says so
		}
	case http.StateClosed, http.StateHijacked:
		l.remove(from)
	}
}

// add counts a connection, and tells whether it may stay.
func (l *connections) add(from netip.Addr) bool {
	p := vault.NetworkOf(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.by[p]++
	return l.total <= l.max && (l.by[p] <= max(1, l.max/shareOfOne) || l.trusted(from))
}

func (l *connections) remove(from netip.Addr) {
	p := vault.NetworkOf(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.by[p]--; l.by[p] == 0 {
		delete(l.by, p)
	}
}

func (l *connections) trusted(from netip.Addr) bool {
	return within(from, l.policy.Load().TrustedProxies)
}
