package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestSharedReads(t *testing.T) {
	bubble := func(name string, f func(t *testing.T, d *desk, s *sharedReads)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s := newDesk()
				f(t, d, s)
				for len(d.queries) > 0 {
					(<-d.queries).found()
				}
				synctest.Wait()
			})
		})
	}
	bubble("OK a lone request is asked at once", func(t *testing.T, d *desk, s *sharedReads) {
		start := time.Now()
		got := reader(t.Context(), s, "a")
		q := <-d.queries
		if !slices.Equal(q.names, []string{"a"}) || time.Since(start) != 0 {
			t.Errorf("%v after %s", q.names, time.Since(start))
		}
		q.found()
		(<-got).is(t)
	})
	bubble("OK who waits shares the next query", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		var got []<-chan reply
		for _, n := range []string{"c", "a", "b", "a"} {
			got = append(got, reader(t.Context(), s, n))
		}
		if len(d.queries) != 0 {
			t.Fatal("more queries than places")
		}
		held[0].found()
		q := <-d.queries
		if !slices.Equal(q.names, []string{"a", "b", "c"}) {
			t.Errorf("asked for %v", q.names)
		}
		// One who comes now may not get this query's answer: it may be older than his question.
		late := reader(t.Context(), s, "a")
		q.found()
		for _, g := range got {
			(<-g).is(t)
		}
		select {
		case r := <-late:
			t.Fatalf("a query that began before the question answered it: %+v", r)
		default:
		}
		(<-d.queries).found()
		(<-late).is(t)
	})
	bubble("OK no more than fit", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		for i := range maxBatch + 5 {
			reader(t.Context(), s, fmt.Sprint(i))
		}
		held[0].found()
		first := <-d.queries
		first.found()
		second := <-d.queries
		if len(first.names) != maxBatch || len(second.names) != 5 {
			t.Errorf("%d, then %d", len(first.names), len(second.names))
		}
		second.found()
	})
	bubble("OK a cancelled caller is removed at once and the others get their answers", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		ctx, leave := context.WithCancel(t.Context())
		early, stays := reader(ctx, s, "early"), reader(t.Context(), s, "stays")
		gone := reader(ctx, s, "stays")
		held[0].found()
		q := <-d.queries
		waiting := reader(ctx, s, "waiting")
		leave()
		for _, g := range []<-chan reply{early, gone, waiting} {
			if r := <-g; !errors.Is(r.err, context.Canceled) || errors.Is(r.err, errUnasked) != (g == waiting) {
				t.Errorf("%+v", r)
			}
		}
		if q.ctx.Err() != nil {
			t.Error("one who left ended the deskQuery of the others")
		}
		q.found()
		(<-stays).is(t)
		synctest.Wait()
		if len(d.queries) != 0 {
			t.Error("asked for one who had left")
		}
	})
	bubble("OK a query without a waiting caller ends", func(t *testing.T, d *desk, s *sharedReads) {
		ctx, leave := context.WithCancel(t.Context())
		reader(ctx, s, "a")
		q := <-d.queries
		leave()
		synctest.Wait()
		if q.ctx.Err() == nil {
			t.Error("it goes on")
		}
		if s.prompt != 0 || s.queries != 0 {
			t.Errorf("%d and %d places are lost", s.prompt, s.queries)
		}
	})
	bubble("OK a slow query gives its place away", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		start := time.Now()
		got := reader(t.Context(), s, "a")
		q := <-d.queries
		if took := time.Since(start); took > slowBatch {
			t.Errorf("after %s", took)
		}
		q.found()
		(<-got).is(t)
		next := reader(t.Context(), s, "b")
		(<-d.queries).found()
		(<-next).is(t)
		for _, h := range held {
			h.found()
		}
		synctest.Wait()
		if s.prompt != 0 || s.queries != 0 {
			t.Errorf("%d and %d places are lost", s.prompt, s.queries)
		}
		again := d.busy(t, s)
		reader(t.Context(), s, "c")
		if len(d.queries) != 0 {
			t.Error("more places than before")
		}
		for _, h := range again {
			h.found()
		}
	})
	bubble("OK slow queries are bounded too", func(t *testing.T, d *desk, s *sharedReads) {
		var got []<-chan reply
		for i := range 3 * s.most {
			got = append(got, reader(t.Context(), s, fmt.Sprint(i)))
			<-time.After(2 * slowBatch) // of the bubble's clock
		}
		if n := len(d.queries); n != s.most {
			t.Errorf("%d queries at a time", n)
		}
		for _, g := range got {
			synctest.Wait()
			select {
			case r := <-g:
				r.is(t)
			default:
				(<-d.queries).found()
				(<-g).is(t)
			}
		}
		synctest.Wait()
		if s.prompt != 0 || s.queries != 0 {
			t.Errorf("%d and %d places are lost", s.prompt, s.queries)
		}
	})
	bubble("Err of a query that does not begin in time", func(t *testing.T, d *desk, s *sharedReads) {
		s.patience = slowBatch / 2
		held := d.busy(t, s)
		waits := reader(t.Context(), s, "a")
		if r := <-waits; !errors.Is(r.err, errUnasked) {
			t.Errorf("%+v", r)
		}
		<-time.After(2 * slowBatch) // the one whose query is on its way still waits
		held[0].found()
		synctest.Wait()
		if len(d.queries) != 0 || len(s.waiting) != 0 {
			t.Errorf("%d queries, %d waiting", len(d.queries), len(s.waiting))
		}
	})
	bubble("Err of one row is its name's", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		a, b := reader(t.Context(), s, "a"), reader(t.Context(), s, "b")
		held[0].found()
		q := <-d.queries
		bad := rowsOf(q.names)
		bad[0].row.err = core.Errorf(core.Corrupt, "malformed") // b's
		q.answer <- func() ([]readResult, error) { return bad, nil }
		(<-a).is(t)
		if r := <-b; core.CodeOf(r.err) != core.Corrupt || r.rows != nil {
			t.Errorf("%+v", r)
		}
	})
	bubble("Err of a panic is everybody's", func(t *testing.T, d *desk, s *sharedReads) {
		got := reader(t.Context(), s, "a")
		(<-d.queries).answer <- func() ([]readResult, error) { panic("a value") }
		r := <-got
		if core.CodeOf(r.err) != core.Internal || strings.Contains(r.err.Error(), "a value") || !strings.Contains(r.err.Error(), "at store.Test") {
			t.Errorf("%v", r.err)
		}
		again := reader(t.Context(), s, "a")
		(<-d.queries).found()
		(<-again).is(t)
	})
	bubble("Err of the database is everybody's", func(t *testing.T, d *desk, s *sharedReads) {
		held := d.busy(t, s)
		a, b := reader(t.Context(), s, "a"), reader(t.Context(), s, "b")
		held[0].found()
		(<-d.queries).fails(core.Errorf(core.Unavailable, "away"))
		for _, g := range []<-chan reply{a, b} {
			if r := <-g; core.CodeOf(r.err) != core.Unavailable {
				t.Errorf("%+v", r)
			}
		}
	})
}

// TestAskEach: what the database cannot read fails alone, whichever of them it is and however many.
func TestAskEach(t *testing.T) {
	var names []string
	for i := range 23 {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	for _, bad := range [][]string{nil, {"n00"}, {"n22"}, {"n07", "n08"}, {"n00", "n11", "n22"}, names} {
		queries := 0
		got, err := queryEach(t.Context(), questionsOf(names), func(_ context.Context, questions []readQuestion) ([]readResult, error) {
			queries++
			some := namesOf(questions)
			for _, n := range some {
				if slices.Contains(bad, n) {
					return nil, core.Errorf(core.Corrupt, "a page of it is gone")
				}
			}
			return rowsOf(some), nil
		}, failedRead)
		must(t, err)
		seen := map[string]bool{}
		for _, r := range got {
			seen[r.question.name] = true
			if (r.row.err != nil) != slices.Contains(bad, r.question.name) {
				t.Errorf("%v: %s: %v", bad, r.question.name, r.row.err)
			}
		}
		if len(got) != len(names) || len(seen) != len(names) || len(bad) == 1 && queries > 11 {
			t.Errorf("%v: %d results of %d names by %d queries", bad, len(got), len(seen), queries)
		}
	}
	calls := 0
	_, err := queryEach(t.Context(), questionsOf(names), func(context.Context, []readQuestion) ([]readResult, error) {
		if calls++; calls == 1 {
			return nil, core.Errorf(core.Corrupt, "gone")
		}
		return nil, core.Errorf(core.Unavailable, "away")
	}, failedRead)
	if code(t, err, core.Unavailable); calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

// TestReadsAreNeverStale: while versions are added, no reader gets another name's row, or one that is older than
// what was acknowledged before it asked.
func TestReadsAreNeverStale(t *testing.T) {
	s := newServer(t)
	d := s.open()
	const names, readers, versions = 3, 24, 60
	acked := make([]atomic.Uint64, names)
	ids := make([]vault.NewSecret, names)
	for i := range ids {
		ids[i] = newSecret(fmt.Sprintf("s/%d", i))
		_, err := d.CreateSecret(t.Context(), ids[i], origin("create"))
		must(t, err)
		acked[i].Store(1)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reading, writing sync.WaitGroup
	var reads atomic.Int64
	for r := range readers {
		reading.Go(func() {
			for n := r; ctx.Err() == nil; n++ {
				i := n % names
				from := acked[i].Load()
				rows, err := sealedRows(d, t.Context(), []core.Name{ids[i].Name}, 0, vault.Freshness{})
				reads.Add(1)
				if err != nil || len(rows) != 1 || rows[0].Name != ids[i].Name || rows[0].SecretID != ids[i].ID || rows[0].Version < from ||
					rows[0].Version != rows[0].CurrentVersion {
					t.Errorf("%s, at least version %d: %+v, %v", ids[i].Name, from, rows, err)
					return
				}
			}
		})
	}
	for i := range ids {
		writing.Go(func() {
			for v := uint64(1); v < versions; v++ {
				_, err := d.AppendVersion(t.Context(), vault.NewVersion{
					ID: ids[i].ID, Name: ids[i].Name, Expected: v, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("w"))
				if err != nil {
					t.Error(err)
					return
				}
				acked[i].Store(v + 1)
			}
		})
	}
	writing.Wait()
	stop()
	reading.Wait()
	if reads.Load() < versions {
		t.Errorf("only %d reads", reads.Load())
	}
}

// TestGather: a query is for all requests that have arrived, also for those that have not had a processor yet.
func TestGather(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const n = 32
	d, s := newDesk()
	got := make(chan reply, n)
	for i := range n {
		go func() {
			name := fmt.Sprint(i)
			a, err := s.read(t.Context(), readQuestion{name: name})
			got <- reply{name, a.rows, err}
		}()
	}
	queries := 0
	for answered := 0; answered < n; queries++ {
		q := <-d.queries
		q.found()
		for range q.names {
			(<-got).is(t)
			answered++
		}
	}
	if queries > n/4 {
		t.Errorf("%d requests took %d queries", n, queries)
	}
}
