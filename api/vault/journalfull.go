package vault

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrJournalFull is in the chain of the error of an operation whose record the journal has no room for.
var ErrJournalFull = errors.New("the records that wait for the primary leave no space")

// repeatsEvery is how often the log hears of failures that are all the same.
const repeatsEvery = time.Minute

// Repeats keeps failures for want of room in the journal from filling the log, while they last: the first is logged, and
// then once a minute how many there were. The zero Repeats is ready. Safe for concurrent use.
type Repeats struct {
	mu      sync.Mutex
	running bool
	n       int // since the last line
}

// Take reports whether err is such a failure, which is then logged here or counted.
func (r *Repeats) Take(log *slog.Logger, err error, requestID string) bool {
	if !errors.Is(err, ErrJournalFull) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		r.n++
		return true
	}
	r.running = true
	log.Error("a request failed because the audit journal lacks space; further ones are counted in one line a minute",
		"cause", err.Error(), "request_id", requestID)
	time.AfterFunc(repeatsEvery, func() { r.logCount(log) })
	return true
}

func (r *Repeats) logCount(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		r.running = false
		return
	}
	log.Error("requests failed because the audit journal lacks space", "requests", r.n, "seconds", repeatsEvery.Seconds())
	r.n = 0
	time.AfterFunc(repeatsEvery, func() { r.logCount(log) })
}
