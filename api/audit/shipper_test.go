package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestShip(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		f.record("a", "b")
		s := f.ship(p)
		time.Sleep(time.Second)
		f.record("c")
		time.Sleep(time.Second)
		if got := p.names(); !slices.Equal(got, []string{"a", "b", "c"}) {
			f.t.Errorf("arrived: %q", got)
		}
		if st := f.AuditState(); st.Pending != 0 || st.LastShipError != "" || st.LastShippedAt.IsZero() || st.Shipped != 3 {
			f.t.Errorf("%+v", st)
		}
		f.record("d")
		f.must(f.flush(s))
		if got := p.names(); len(got) != 4 || p.links != 0 {
			f.t.Errorf("arrived: %q over %d links that are open", got, p.links)
		}
	})
}

func TestShipInBatches(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		for i := range 25 {
			entries := make([]vault.Entry, 100)
			for k := range entries {
				entries[k] = read(fmt.Sprint(i, ".", k))
			}
			f.must(f.Record(f.t.Context(), entries...))
		}
		f.durableNow()
		s := f.ship(p)
		f.must(f.flush(s))
		if p.ships != 3 || p.most != maxBatch || len(p.records) != 2500 {
			f.t.Errorf("%d records in %d calls, at most %d", len(p.records), p.ships, p.most)
		}
	})
}

// TestShipperRests: a large backlog leaves the primary most of the time to others, unless the journal's room runs out or the
// process ends.
func TestShipperRests(t *testing.T) {
	const batches, takes = 5, 100 * time.Millisecond
	arrival := func(what string, maxBytes int64, count int, stop bool, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			f, p := newFixture(t, Config{MaxBytes: maxBytes, segmentSize: maxSegment}), &primary{takes: takes}
			for range batches * maxBatch / 100 {
				f.must(f.Record(t.Context(), slices.Repeat([]vault.Entry{read("a")}, 100)...))
			}
			f.durableNow()
			startedAt := time.Now()
			s := f.ship(p)
			if stop {
				f.must(f.flush(s))
			}
			for len(p.names()) < count*maxBatch {
				time.Sleep(takes / 10)
			}
			if got := time.Since(startedAt); got < want || got > want+takes {
				t.Errorf("%s: %d batches took %s, not %s", what, count, got, want)
			}
			f.must(f.flush(s))
		})
	}
	arrival("with room", 0, batches, false, batches*takes+(batches-1)*restShare*takes)
	arrival("without room", 1_000_000, 3, false, 3*takes)
	arrival("at the end", 0, batches, true, batches*takes)
}

// TestShipAfterALostAnswer: the primary has committed, and the node does not know.
func TestShipAfterALostAnswer(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.lost = true
		f.record("a", "b")
		s := f.ship(p)
		time.Sleep(time.Second)
		f.record("c")
		f.must(f.flush(s))
		if got := p.names(); !slices.Equal(got, []string{"a", "b", "c"}) {
			f.t.Errorf("arrived: %q", got)
		}
	})
}

// TestPrimaryAwayForDays: records wait; the primary is looked for, not too often; the log hears of it once.
func TestPrimaryAwayForDays(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.away = true
		s := f.ship(p)
		for day := range 3 {
			f.record(fmt.Sprint(day))
			time.Sleep(24 * time.Hour)
		}
		st := f.AuditState()
		if st.Pending != 3 || st.LastShipError != "unavailable" || time.Since(st.OldestPending) < 72*time.Hour {
			f.t.Errorf("%+v", st)
		}
		if most := int(72*time.Hour/(longPause/2)) + 20; p.attempts > most || p.attempts < 1000 {
			f.t.Errorf("%d attempts", p.attempts)
		}
		if n := strings.Count(f.log.String(), "do not arrive"); n != 1 {
			f.t.Errorf("%d lines in the log", n)
		}
		p.set(func() { p.away = false })
		time.Sleep(longPause + time.Second)
		if got := p.names(); !slices.Equal(got, []string{"0", "1", "2"}) || f.AuditState().LastShipError != "" {
			f.t.Errorf("arrived: %q, %+v", got, f.AuditState())
		}
		f.must(f.flush(s))
		if !strings.Contains(f.log.String(), "arrive at the primary again") {
			f.t.Error("the log does not tell of the end")
		}
	})
}

// TestOtherCause: when the primary is away for another reason than before, the log says so, once each.
func TestOtherCause(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.away = true
		s := f.ship(p)
		f.record("a")
		time.Sleep(time.Hour)
		p.set(func() { p.why = core.Errorf(core.Unavailable, "the database takes no changes") })
		time.Sleep(time.Hour)
		if n := strings.Count(f.log.String(), "do not arrive"); n != 2 || !strings.Contains(f.log.String(), "the database takes no changes") {
			f.t.Errorf("%d lines in the log: %s", n, f.log.String())
		}
		p.set(func() { p.away = false })
		time.Sleep(longPause + time.Second)
		f.must(f.flush(s))
	})
}

// TestStopWithoutPrimary does not wait for one, and says what is left, which the next process ships.
func TestStopWithoutPrimary(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.away = true
		s := f.ship(p)
		f.record("a", "b")
		time.Sleep(time.Minute)
		began := time.Now()
		if err := f.flush(s); err == nil || !strings.Contains(err.Error(), "2 audit records") || time.Since(began) > time.Second {
			f.t.Errorf("after %s: %v", time.Since(began), err)
		}
		p.set(func() { p.away = false })
		f.reopen()
		f.record("c")
		f.must(f.flush(f.ship(p)))
		if got := p.names(); !slices.Equal(got, []string{"a", "b", "c"}) {
			f.t.Errorf("arrived: %q", got)
		}
	})
}

// TestFailoverLosesArrivedRecords, once while there are more to ship and once while there are none.
func TestFailoverLosesArrivedRecords(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		s := f.ship(p)
		f.record("a", "b", "c")
		time.Sleep(time.Minute)
		for _, more := range []bool{true, false} {
			p.set(func() { p.records, p.last = p.records[:1], 1 })
			if more {
				f.record("d")
			}
			time.Sleep(askInterval + time.Second)
			if got := p.names(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
				f.t.Errorf("arrived: %q", got)
			}
		}
		f.must(f.flush(s))
		if !strings.Contains(f.log.String(), "they are shipped again") {
			f.t.Error("the log does not say so")
		}
	})
}

// TestPrimaryFromAnOldBackup misses records that no longer exist: the later ones arrive all the same, and the log
// says what is lost.
func TestPrimaryFromAnOldBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFixture(t, Config{segmentSize: 300, Retention: time.Minute}), &primary{}
		s := f.ship(p)
		for i := range 10 {
			f.record(fmt.Sprint(i))
			time.Sleep(time.Minute)
		}
		p.set(func() { p.records, p.last = p.records[:2], 2 })
		f.record("new")
		time.Sleep(time.Minute)
		f.must(f.flush(s))
		if len(p.skipped) != 1 || p.skipped[0] < 4 {
			t.Errorf("skipped to %v", p.skipped)
		}
		if got := p.names(); got[len(got)-1] != "new" || p.records[2].Sequence != p.skipped[0]+1 {
			t.Errorf("arrived: %q", got)
		}
		if !strings.Contains(f.log.String(), "audit records lost") {
			t.Error("the log does not say so")
		}
	})
}

// TestForkedJournal: the primary's records under these numbers are others. Nothing is shipped, nothing is lost.
func TestForkedJournal(t *testing.T) {
	for _, last := range []uint64{2, 7} {
		inBubble(t, func(f *fixture, p *primary) {
			f.record("a", "b", "c")
			for n := range last {
				p.records = append(p.records, vault.Journaled{Sequence: n + 1, At: time.Unix(1, 0), Entry: read("other")})
			}
			p.last = last
			s := f.ship(p)
			time.Sleep(time.Minute)
			if st := f.AuditState(); st.LastShipError != classForked || p.ships != 0 {
				f.t.Errorf("%+v after %d calls", st, p.ships)
			}
			if err := f.flush(s); err == nil {
				f.t.Error("nothing is left")
			}
			if !strings.Contains(f.log.String(), "another journal has the same UUID") {
				f.t.Error("the log does not say so")
			}
		})
	}
}

// TestShipDenied: that the role lacks a grant is told to the operator, also right after the primary was away.
func TestShipDenied(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.away = true
		s := f.ship(p)
		f.record("a")
		time.Sleep(time.Minute)
		p.set(func() { p.away, p.denied = false, true })
		time.Sleep(time.Minute)
		if st := f.AuditState(); st.LastShipError != "denied" || strings.Count(f.log.String(), "vault.grant_service_role") != 1 {
			f.t.Errorf("%+v, and the log says %s", st, f.log)
		}
		p.set(func() { p.denied = false })
		time.Sleep(time.Minute)
		f.must(f.flush(s))
	})
}

// TestMalformedRecord: it delays no other record, and its loss is logged.
func TestMalformedRecord(t *testing.T) {
	inBubble(t, func(f *fixture, p *primary) {
		p.bad = func(r vault.Journaled) bool { return r.Action == "unheard of" }
		bad := read("bad")
		bad.Action, bad.Origin.RequestID = "unheard of", "req-7"
		f.record("a")
		f.must(f.Record(f.t.Context(), bad))
		f.record("c")
		f.must(f.flush(f.ship(p)))
		if got := p.names(); !slices.Equal(got, []string{"a", "", "c"}) || p.records[1].Action != vault.ActionMalformed || p.records[1].Outcome != vault.OutcomeFailed {
			f.t.Errorf("arrived: %q %+v", got, p.records)
		}
		if !strings.Contains(f.log.String(), "req-7") {
			f.t.Error("the log does not hold the record")
		}
	})
}

// TestPrimaryComesAndGoes at any time: every record arrives once, in order.
func TestPrimaryComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newFixture(t, Config{segmentSize: 2000}), &primary{}
		s := f.ship(p)
		var want []string
		for i := range 300 {
			name := fmt.Sprint(i)
			f.record(name)
			want = append(want, name)
			p.set(func() { p.away, p.lost = i%7 == 3, i%5 == 1 })
			time.Sleep(time.Duration(i*37%400) * time.Millisecond)
			if i%60 == 59 {
				_ = f.flush(s)
				f.reopen()
				s = f.ship(p)
			}
		}
		p.set(func() { p.away, p.lost = false, false })
		time.Sleep(time.Minute)
		f.must(f.flush(s))
		if got := p.names(); !slices.Equal(got, want) {
			t.Errorf("arrived: %q", got)
		}
	})
}

func TestDirect(t *testing.T) {
	d := NewDirect(appender{})
	if err := d.Record(t.Context(), read("a"), read("b")); err == nil || err.Error() != "2" {
		t.Errorf("got %v", err)
	}
}

type appender struct{}

func (appender) AppendAudit(_ context.Context, entries []vault.Entry) error {
	return errors.New(fmt.Sprint(len(entries)))
}
