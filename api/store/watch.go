package store

import (
	"sync"
	"time"
)

// watch cuts a connection whose server does not answer anybody any more, or which keeps its user waiting for too long.
// A commit may wait for a standby for as long as it takes: that alone is no reason, as long as the server answers others.
type watch struct {
	p     *pool
	l     *link
	limit time.Time
	timer *time.Timer

	mu   sync.Mutex
	over bool
	cut  bool
	late bool // it was cut because its time was over, and for no silence of the server's
}

func (p *pool) watch(l *link, most time.Duration) *watch {
	w := &watch{p: p, l: l, limit: time.Now().Add(most)}
	w.mu.Lock() // look must not find the timer missing
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(min(suspicion, most), w.look)
	return w
}

// stop ends the watch and tells whether it has cut the connection.
func (w *watch) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	return w.cut
}

func (w *watch) look() {
	if !w.p.begin() {
		return
	}
	defer w.p.work.Done()
	left := time.Until(w.limit)
	answered, _ := w.p.hosts.since(w.l.host)
	alive := left > 0 && w.p.answers(w.l.host)
	if alive && w.p.writer {
		// It answers and keeps us waiting: perhaps because its standbys follow another one by now.
		w.p.survey(w.l.host)
		alive = !w.p.hosts.outdated(w.l.timeline)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
	case alive:
		w.timer.Reset(min(suspicion, max(time.Until(w.limit), 0)))
	default:
		w.cut, w.late = true, left <= 0 && time.Since(answered) < 2*suspicion
		w.l.cut()
	}
}
