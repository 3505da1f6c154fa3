package httpapi

import (
	"net/netip"
	"sync/atomic"

	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

// Policy is what an operator may change while the server runs. The zero Policy trusts no proxy and knows localhost and
// addresses as hosts.
type Policy struct {
	TrustedProxies []netip.Prefix  // whose X-Forwarded-For is believed; empty = no peer's
	Hosts          map[string]bool // names in lower case that this server goes by, beside localhost and every address
	PublicIPs      *allowlist.List // who may see the metrics and the OpenAPI document; nil = every client
}

// LivePolicy is the Policy in force, shared by everything that asks for it. Its zero value holds the zero Policy.
type LivePolicy struct{ p atomic.Pointer[Policy] }

// NewLivePolicy returns one that holds p.
func NewLivePolicy(p Policy) *LivePolicy {
	l := &LivePolicy{}
	l.Store(p)
	return l
}

// Load returns the Policy in force. It never changes.
func (l *LivePolicy) Load() *Policy {
	if p := l.p.Load(); p != nil {
		return p
	}
	return &Policy{}
}

// Store puts p in force from the next request on. The caller leaves its slices alone afterwards.
func (l *LivePolicy) Store(p Policy) { l.p.Store(&p) }
