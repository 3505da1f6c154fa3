package pgcluster

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/core"
)

// How long a host is passed over after it failed. One that refuses is asked again soon, since that costs little and it
// may have been promoted; one that keeps its clients waiting, less and less often.
const (
	shortSkip   = 200 * time.Millisecond
	longSkip    = 5 * time.Second
	slowFailure = 1500 * time.Millisecond // a failure to connect that took longer is of the second kind
)

// Host is one PostgreSQL server of the settings, as one pool sees it.
type Host struct {
	Name  string          // as in the settings
	Index int             // its place there
	conn  *pgx.ConnConfig // for this host alone; nothing in it changes

	probing sync.Mutex // one check at a time whether it answers

	// Guarded by the mutex of hosts.
	skipUntil     time.Time // until then others are tried first
	slowFailures  int       // slow failures in a row
	failedAt      time.Time // when it last fell silent, or was not what was wanted
	answeredAt    time.Time // when it last answered anything
	unreachableAt time.Time // when a connection to it last could not be made
	leftBehind    bool      // a primary that was left behind, when a reader last asked
	refusal       error     // why the writer did not take it when it last answered; nil = it was taken, or did not answer
	refusingSince time.Time // since when it has refused so
	refusedAt     time.Time // when it last did

	expectedAt time.Time // when reads last were about to come here
	notComing  error     // why reads did not come here when they last tried to

	// reached is up to where it has shown the log, or stood when it was last connected to. Guarded by pool.mu.
	reached core.LSN
}

// hostList remembers which hosts answer. It is safe for concurrent use.
type hostList struct {
	all    []*Host
	sticky bool // the one that answered last comes first; otherwise the order of the settings rules

	mu     sync.Mutex
	last   *Host  // the one connected to last; nil = none yet
	newest uint32 // timeline of the newest primary seen; 0 = none yet
}

// pick returns the host to try next: the most preferred of those that have not just failed, or else the one whose
// failure is longest ago.
func (h *hostList) pick() *Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.sticky && h.last != nil && !h.last.skipUntil.After(now) {
		return h.last
	}
	best := h.all[0]
	for _, x := range h.all {
		if !x.skipUntil.After(now) && !x.leftBehind {
			return x
		}
	}
	for _, x := range h.all {
		if !x.skipUntil.After(now) {
			return x
		}
		if x.skipUntil.Before(best.skipUntil) {
			best = x
		}
	}
	return best
}

// hasUntried reports whether there is a host that has not just failed.
func (h *hostList) hasUntried() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, x := range h.all {
		if !x.skipUntil.After(now) {
			return true
		}
	}
	return false
}

// noteConnected notes that a connection to x was made.
func (h *hostList) noteConnected(x *Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = x
	x.skipUntil, x.slowFailures, x.answeredAt, x.refusal = time.Time{}, 0, time.Now(), nil
}

// noteAnswer notes that x answered something on a connection.
func (h *hostList) noteAnswer(x *Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.answeredAt = time.Now()
}

// noteFailure notes that x is not what is wanted, or silent, since a time; that holds for all connections to it. It is
// ignored if x has answered another caller since.
func (h *hostList) noteFailure(x *Host, startedAt time.Time, silent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.answeredAt.After(startedAt) {
		return
	}
	x.failedAt = time.Now()
	h.skip(x, silent)
}

// noteUnreachable notes that a connection to x could not be made, which says nothing about those that there are.
func (h *hostList) noteUnreachable(x *Host, startedAt time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !x.answeredAt.After(startedAt) {
		x.unreachableAt = time.Now()
		h.skip(x, time.Since(startedAt) >= slowFailure)
	}
}

// skip is with the mutex held.
func (h *hostList) skip(x *Host, slow bool) {
	shun := shortSkip
	if slow {
		x.slowFailures++
		shun = min(longSkip, time.Second<<min(x.slowFailures-1, 10))
	}
	x.skipUntil = time.Now().Add(shun)
}

// lastSeen returns when x last answered and when it last failed; zero = never.
func (h *hostList) lastSeen(x *Host) (answered, failed time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return x.answeredAt, x.failedAt
}

// find returns the host of a connection's settings, nil if there is none.
func (h *hostList) find(name string, port uint16) *Host {
	for _, x := range h.all {
		if x.conn.Host == name && x.conn.Port == port {
			return x
		}
	}
	return nil
}

// current returns the host connected to last, nil before the first.
func (h *hostList) current() *Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// noteTimeline notes the timeline of a primary, and returns false if a newer one has been seen. Promotion begins a new
// timeline, so that server was cut off, and its answers and changes are no longer the cluster's.
func (h *hostList) noteTimeline(timeline uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest = max(h.newest, timeline)
	return timeline == h.newest
}

// timeline returns that of the newest primary seen, 0 before the first.
func (h *hostList) timeline() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest
}

// isOutdated reports whether a primary of a newer timeline has been seen.
func (h *hostList) isOutdated(timeline uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return timeline < h.newest
}
