package pgcluster

import (
	"sync"
	"time"
)

// watchdog cuts a connection whose server no longer answers any caller, or which keeps its user waiting for too long.
// A commit may wait for a standby for as long as it takes: that alone is no reason, as long as the server answers others.
type watchdog struct {
	p     *Pool
	l     *connState
	limit time.Time
	timer *time.Timer

	mu       sync.Mutex
	stopped  bool
	cut      bool
	timedOut bool // it was cut because its time was over, and for no silence of the server's
}

func (p *Pool) startWatchdog(l *connState, most time.Duration) *watchdog {
	w := &watchdog{p: p, l: l, limit: time.Now().Add(most)}
	w.mu.Lock() // check must not find the timer missing
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(min(suspicion, most), w.check)
	return w
}

// stop ends the watch and reports whether it has cut the connection.
func (w *watchdog) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
	return w.cut
}

func (w *watchdog) check() {
	if !w.p.startWork() {
		return
	}
	defer w.p.work.Done()
	left := time.Until(w.limit)
	answered, _ := w.p.hosts.lastSeen(w.l.host)
	alive := left > 0 && w.p.answers(w.l.host)
	if alive && w.p.Writer {
		// It answers and keeps us waiting: perhaps because its standbys follow another one by now.
		w.p.survey(w.l.host)
		alive = !w.p.hosts.isOutdated(w.l.timeline)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
	case alive:
		w.timer.Reset(min(suspicion, max(time.Until(w.limit), 0)))
	default:
		w.cut, w.timedOut = true, left <= 0 && time.Since(answered) < 2*suspicion
		w.l.cut()
	}
}
