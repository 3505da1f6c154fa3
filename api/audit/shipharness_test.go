package audit

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var errAway = core.Errorf(core.Unavailable, "the primary is away")

// primary is a database as far as a journal can tell. Its faults are taken once each, but away.
type primary struct {
	mu       sync.Mutex
	records  []vault.Journaled
	last     uint64
	skipped  []uint64
	away     bool
	why      error // it is away; nil = errAway
	denied   bool
	lost     bool // the next answer, after the commit
	bad      func(vault.Journaled) bool
	ships    int
	attempts int // to connect
	links    int // open
	most     int // records of one call
	takes    time.Duration
}

func (p *primary) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *primary) names() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.records {
		names = append(names, r.Name)
	}
	return names
}

func (p *primary) connect(context.Context) (vault.JournalLink, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if p.away {
		return nil, cmp.Or[error](p.why, errAway)
	}
	p.links++
	return &link{p: p}, nil
}

type link struct {
	p    *primary
	dead bool
}

func (l *link) Close() { l.p.set(func() { l.p.links-- }) }

func (l *link) ok() error {
	if l.dead || l.p.away {
		l.dead = true
		return errAway
	}
	if l.p.denied {
		return core.Errorf(core.Denied, "no privilege")
	}
	return nil
}

func (l *link) Arrived(context.Context, vault.JournalID) (uint64, time.Time, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if err := l.ok(); err != nil {
		return 0, time.Time{}, err
	}
	for _, r := range l.p.records {
		if r.Sequence == l.p.last {
			return l.p.last, r.At, nil
		}
	}
	return l.p.last, time.Time{}, nil
}

func (l *link) Ship(_ context.Context, _ vault.JournalID, _ string, records []vault.Journaled) (uint64, error) {
	time.Sleep(l.p.takes)
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.ships++
	if err := l.ok(); err != nil {
		return 0, err
	}
	if records[0].Sequence > l.p.last+1 {
		return 0, core.Wrap(core.Unavailable, vault.ErrJournalGap, "gap")
	}
	for _, r := range records {
		if l.p.bad != nil && l.p.bad(r) {
			return 0, core.Errorf(core.Invalid, "malformed")
		}
	}
	for _, r := range records {
		if r.Sequence > l.p.last {
			l.p.records, l.p.last = append(l.p.records, r), r.Sequence
		}
	}
	l.p.most = max(l.p.most, len(records))
	if l.p.lost {
		l.p.lost, l.dead = false, true
		return 0, errAway
	}
	return l.p.last, nil
}

func (l *link) Skip(_ context.Context, _ vault.JournalID, _ string, last uint64) (uint64, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.last, l.p.skipped = max(l.p.last, last), append(l.p.skipped, last)
	return l.p.last, l.ok()
}

func (f *fixture) ship(p *primary) *Shipper {
	f.t.Helper()
	s := StartShipper(ShipperConfig{Journal: f.Journal, Connect: p.connect, Node: "n", Log: slog.New(slog.NewTextHandler(f.log, nil))})
	f.t.Cleanup(func() { _ = f.flush(s) })
	return s
}

func (f *fixture) flush(s *Shipper) error {
	f.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Close(ctx)
}

// inBubble runs a test whose clock goes on when everything waits.
func inBubble(t *testing.T, test func(f *fixture, p *primary)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newFixture(t, Config{}), &primary{})
	})
}
