package store

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/core"
)

// How long a host is passed over after it failed. One that refuses is asked again soon, since that costs little and it
// may have been promoted; one that keeps its clients waiting, ever more seldom.
const (
	shortShun = 200 * time.Millisecond
	longShun  = 5 * time.Second
	slowFail  = 1500 * time.Millisecond // a failure to connect that took longer is of the second kind
)

// host is one PostgreSQL server of the settings, as one pool sees it.
type host struct {
	name  string          // as in the settings
	index int             // its place there
	conn  *pgx.ConnConfig // for this host alone; nothing in it changes

	probing sync.Mutex // one look at a time whether it answers

	// Guarded by the mutex of hosts.
	shunned  time.Time // until then others are tried first
	fails    int       // slow failures in a row
	failed   time.Time // when it last fell silent, or was not what was wanted
	answered time.Time // when it last answered anything
	old      bool      // a primary that was left behind, when a reader last asked
	refusal  error     // why the writer did not take it when it last answered; nil = it was taken, or did not answer
	refusing time.Time // since when it has refused so
	refused  time.Time // when it last did

	expectedAt time.Time // when reads last were about to come here

	// reached is up to where it has shown the log, or stood when it was last connected to. Guarded by pool.mu.
	reached core.LSN
}

// hosts remembers which hosts answer. It is safe for concurrent use.
type hosts struct {
	all    []*host
	sticky bool // the one that answered last comes first; otherwise the order of the settings rules

	mu     sync.Mutex
	last   *host  // the one connected to last; nil = none yet
	newest uint32 // timeline of the newest primary seen; 0 = none yet
}

// pick returns the host to try next: the most preferred of those that have not just failed, or else the one whose
// failure is longest ago.
func (h *hosts) pick() *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.sticky && h.last != nil && !h.last.shunned.After(now) {
		return h.last
	}
	best := h.all[0]
	for _, x := range h.all {
		if !x.shunned.After(now) && !x.old {
			return x
		}
	}
	for _, x := range h.all {
		if !x.shunned.After(now) {
			return x
		}
		if x.shunned.Before(best.shunned) {
			best = x
		}
	}
	return best
}

// untried tells whether there is a host that has not just failed.
func (h *hosts) untried() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, x := range h.all {
		if !x.shunned.After(now) {
			return true
		}
	}
	return false
}

// connected notes that a connection to x was made.
func (h *hosts) connected(x *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = x
	x.shunned, x.fails, x.answered, x.refusal = time.Time{}, 0, time.Now(), nil
}

// heard notes that x answered something on a connection.
func (h *hosts) heard(x *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.answered = time.Now()
}

// fail notes that x is not what is wanted, or silent, since a time; that holds for all connections to it. It is
// ignored if x has answered somebody since.
func (h *hosts) fail(x *host, begun time.Time, silent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.answered.After(begun) {
		return
	}
	x.failed = time.Now()
	h.pass(x, silent)
}

// shun notes that a connection to x could not be made, which says nothing about those that there are.
func (h *hosts) shun(x *host, begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !x.answered.After(begun) {
		h.pass(x, time.Since(begun) >= slowFail)
	}
}

// pass is with the mutex held.
func (h *hosts) pass(x *host, slow bool) {
	shun := shortShun
	if slow {
		x.fails++
		shun = min(longShun, time.Second<<min(x.fails-1, 10))
	}
	x.shunned = time.Now().Add(shun)
}

// since returns when x last answered and when it last failed; zero = never.
func (h *hosts) since(x *host) (answered, failed time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return x.answered, x.failed
}

// find returns the host of a connection's settings, nil if there is none.
func (h *hosts) find(name string, port uint16) *host {
	for _, x := range h.all {
		if x.conn.Host == name && x.conn.Port == port {
			return x
		}
	}
	return nil
}

// current returns the host connected to last, nil before the first.
func (h *hosts) current() *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// see notes the timeline of a primary; false when a newer one has been seen: promotion begins a new timeline, so that
// server was cut off, and what it says and takes is not the cluster's any more.
func (h *hosts) see(timeline uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest = max(h.newest, timeline)
	return timeline == h.newest
}

// timeline returns that of the newest primary seen, 0 before the first.
func (h *hosts) timeline() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest
}

// outdated tells whether a primary of a newer timeline has been seen.
func (h *hosts) outdated(timeline uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return timeline < h.newest
}
