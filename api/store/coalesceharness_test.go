package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// desk stands for the database: each query waits until it is answered.
type desk struct {
	mu      sync.Mutex
	asked   [][]string
	queries chan deskQuery
}

type deskQuery struct {
	ctx    context.Context
	names  []string
	answer chan<- func() ([]readResult, error)
}

func newDesk() (*desk, *sharedReads) {
	d := &desk{queries: make(chan deskQuery, 100)}
	return d, newSharedReads(d.ask, time.Minute)
}

func (d *desk) ask(ctx context.Context, questions []readQuestion) ([]readResult, error) {
	names := namesOf(questions)
	d.mu.Lock()
	d.asked = append(d.asked, slices.Clone(names))
	d.mu.Unlock()
	answer := make(chan func() ([]readResult, error), 1)
	d.queries <- deskQuery{ctx, names, answer}
	select {
	case f := <-answer:
		return f()
	case <-ctx.Done():
		return nil, core.Wrap(core.Unavailable, ctx.Err(), "ended")
	}
}

// found answers with a row for each name.
func (q deskQuery) found() {
	q.answer <- func() ([]readResult, error) { return rowsOf(q.names), nil }
}

func (q deskQuery) fails(err error) {
	q.answer <- func() ([]readResult, error) { return nil, err }
}

func rowsOf(names []string) []readResult {
	var out []readResult
	for _, n := range names {
		out = append(out, readResult{
			question: readQuestion{name: n}, found: true, row: storedResult{StoredValue: vault.StoredValue{Name: core.Name(n), Version: 1}},
		})
	}
	slices.Reverse(out) // in no order
	return out
}

// reply is what one requester got.
type reply struct {
	name string
	rows []vault.StoredValue
	err  error
}

// reader asks in the background.
func reader(ctx context.Context, s *sharedReads, name string) <-chan reply {
	out := make(chan reply, 1)
	go func() {
		a, err := s.read(ctx, readQuestion{name: name})
		out <- reply{name, a.rows, err}
	}()
	synctest.Wait()
	return out
}

// busy fills every place for a query and returns what holds them.
func (d *desk) busy(t *testing.T, s *sharedReads) []deskQuery {
	var held []deskQuery
	for i := range maxPrompt {
		reader(t.Context(), s, fmt.Sprintf("busy/%d", i))
		held = append(held, <-d.queries)
	}
	return held
}

func (r reply) is(t *testing.T) {
	t.Helper()
	if r.err != nil || len(r.rows) != 1 || string(r.rows[0].Name) != r.name {
		t.Errorf("%s got %v, %v", r.name, r.rows, r.err)
	}
}

func questionsOf(names []string) (out []readQuestion) {
	for _, n := range names {
		out = append(out, readQuestion{name: n})
	}
	return out
}
