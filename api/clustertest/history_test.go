package clustertest

import (
	"fmt"
	"sync"
	"time"
)

// kind is what an operation asks for.
type kind string

const (
	create kind = "create"
	update kind = "update"
	rotate kind = "rotate"
	remove kind = "delete"
	read   kind = "read"   // of the primary
	verify kind = "verify" // by the primary
	local  kind = "local"  // a read of whatever the node has
)

// outcome is what the client was told.
type outcome string

const (
	ok      outcome = "ok"
	exists  outcome = "exists"
	missing outcome = "missing"
	stale   outcome = "stale"
	// failed: said not to have happened. unknown: it may have happened, or may yet.
	failed  outcome = "failed"
	unknown outcome = "unknown"
	// odd is an answer that no fault explains.
	odd outcome = "odd"
)

// input is an operation on one secret.
type input struct {
	Kind   kind
	Value  string // of a create or update; the candidate of a verify
	Expect uint64 // the version to be replaced; 0 = whichever is current
}

// output is its answer.
type output struct {
	Outcome outcome
	Version uint64 // after a change; of the value read; that a candidate equals
	Value   string // read
	Valid   bool   // of a verify
}

// entry is one operation as its client saw it.
type entry struct {
	Name      string
	Client    int
	Node      int
	In        input
	Out       output
	Call      time.Duration // since the history began, monotonic
	Return    time.Duration
	RequestID string
	LSN       string // of a change: where it is visible; of a local read: what was asked for
	AtLeast   uint64 // of a local read with LSN: the version that its reader knows of
	Detail    string // what went wrong
}

func (e entry) String() string {
	return fmt.Sprintf("%9.3f %9.3f client %d node%d %s %s %+v -> %+v %s", e.Call.Seconds(), e.Return.Seconds(), e.Client, e.Node+1, e.In.Kind,
		e.Name, e.In, e.Out, e.Detail)
}

func (e entry) change() bool {
	return e.In.Kind == create || e.In.Kind == update || e.In.Kind == rotate || e.In.Kind == remove
}

// acknowledged reports whether a change was said to be done.
func (e entry) acknowledged() bool { return e.change() && e.Out.Outcome == ok }

// keyed reports whether a change needs a data key, and so the key service: a delete needs none.
func (e entry) keyed() bool { return e.change() && e.In.Kind != remove }

// history is what all clients did. Its methods may be called by several goroutines.
type history struct {
	startedAt time.Time

	mu      sync.Mutex
	entries []entry
	marks   []mark
}

// mark is an event beside the operations.
type mark struct {
	at   time.Duration
	what string
}

func newHistory() *history { return &history{startedAt: time.Now()} }

func (h *history) now() time.Duration { return time.Since(h.startedAt) }

func (h *history) add(e entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
}

func (h *history) mark(format string, args ...any) time.Duration {
	m := mark{at: h.now(), what: fmt.Sprintf(format, args...)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks = append(h.marks, m)
	return m.at
}

// all returns the entries so far.
func (h *history) all() []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[:len(h.entries):len(h.entries)]
}

// count counts the entries that match.
func (h *history) count(match func(entry) bool) (n int) {
	for _, e := range h.all() {
		if match(e) {
			n++
		}
	}
	return n
}

// firstChange is when the first change that matches was acknowledged, of those that were asked for after gone. One that
// was asked for earlier may have been answered by what was about to go.
func (h *history) firstChange(gone time.Duration, match func(entry) bool) (first time.Duration, found bool) {
	for _, e := range h.all() {
		if e.acknowledged() && e.Call > gone && match(e) && (!found || e.Return < first) {
			first, found = e.Return, true
		}
	}
	return first, found
}
