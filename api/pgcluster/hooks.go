package pgcluster

import (
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Hooks let tests of other packages decide what a pool does in the background, and when. The product does not use them.
type Hooks struct{ p *Pool }

// Hooks returns those of the pool.
func (p *Pool) Hooks() Hooks { return Hooks{p} }

// HoldSurvey has the pool start no survey by itself for a while.
func (h Hooks) HoldSurvey() { h.p.surveySoonAt = time.Now() }

// SurveyAll surveys every host, the current one too.
func (h Hooks) SurveyAll() { h.p.survey(nil) }

// NoteTimeline is what the pool does when it sees a primary of a timeline.
func (h Hooks) NoteTimeline(timeline uint32) { h.p.hosts.noteTimeline(timeline) }

// StayAway has a reader look for no better host by itself; with false, it may again.
func (h Hooks) StayAway(stay bool) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.returning = stay
}

// ComeHome starts looking for a better host.
func (h Hooks) ComeHome() {
	h.StayAway(false)
	h.p.startComingHome(h.p.Current())
}

// ProbeHome takes the reader to its first host, as a successful look for a better one does.
func (h Hooks) ProbeHome() error {
	home := h.p.hosts.all[0]
	if err := h.p.probe(home, true); err != nil {
		return err
	}
	h.p.hosts.noteConnected(home)
	h.p.Reset()
	return nil
}

// ForgetLeftBehind forgets that the first host was a primary that was left behind.
func (h Hooks) ForgetLeftBehind() { h.p.hosts.setLeftBehind(h.p.hosts.all[0], false) }

// Shown returns up to where the reader has shown the log.
func (h Hooks) Shown() core.LSN {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return h.p.shown.most
}
