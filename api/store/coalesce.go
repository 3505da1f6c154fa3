package store

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// maxBatch is the most requests that share one query.
	maxBatch = 256
	// maxPrompt is how many shared queries may be on their way at once, those left out that take long. Measured on two
	// cores with 32 and 128 connections, CPU of API and PostgreSQL a read: 96 and 95 µs with one, 164 and 115 with two, 201 and
	// 126 with three. More than one makes the batches small, which is what they save by.
	maxPrompt = 1
	// slowBatch is when a query stops to count among those: one that hangs, or reads from a slow disk or a far server,
	// must not hold up the others.
	slowBatch = 10 * time.Millisecond
	// maxQueries is how many shared queries there are at most, slow ones included: half of the pool.
	maxQueries = defaultReaderConns / 2
)

// sharedReads answers reads of current versions. Requests that wait at the same moment share one query, which starts
// after the last of them arrived. So no answer is older than its request, and nothing is kept. A request that
// finds a query free to start is asked at once. Safe for concurrent use; the zero sharedReads is not usable.
type sharedReads struct {
	ask askFunc
	// bound is the most time of one query and its repetitions.
	bound time.Duration

	mu      sync.Mutex
	waiting []*request // in order of arrival
	prompt  int        // queries on their way that are not slow
	queries int        // all of them
}

// askFunc returns one result or more for each question, in no order; its error is that of all of them.
type askFunc func(ctx context.Context, questions []readQuestion) ([]readResult, error)

// readQuestion is who wants to read what. Equal ones have one answer.
type readQuestion struct {
	by   vault.Credential
	name string
}

// readResult is who a question's caller was found to be, with a row if it may read and there is one.
type readResult struct {
	question readQuestion
	who      vault.Identity
	row      storedResult
	found    bool
}

// readAnswer is what one question gets.
type readAnswer struct {
	who  vault.Identity
	rows []vault.StoredValue
	err  error // of the row, or of all questions
}

func (a *readAnswer) take(r readResult) {
	a.who = r.who
	switch {
	case r.row.err != nil:
		a.err = r.row.err
	case r.found:
		a.rows = append(a.rows, r.row.StoredValue)
	}
}

// storedResult is one row, or why it cannot be read. The name is there in any case.
type storedResult struct {
	vault.StoredValue
	err error
}

// request is one that waits. Its batch and its place among the waiting are guarded by the mutex of sharedReads; the answer
// is written before told gets its one element.
type request struct {
	readQuestion
	told   chan struct{}
	in     *batch // nil while it waits
	answer readAnswer
}

// batch is one shared query.
type batch struct {
	cancel  context.CancelFunc
	readers []*request
	asking  int  // readers that are still there
	slow    bool // it no longer counts as prompt
	over    bool // it has been answered
}

// read returns the rows of a name's current version: usually one, none when there is no such secret or the caller may not
// read it. The rows may be shared with other requesters, so no caller writes to what they hold. It returns at once when ctx
// ends.
func (s *sharedReads) read(ctx context.Context, what readQuestion) (readAnswer, error) {
	if !what.by.HasToken() {
		what.by.Addr = netip.Addr{} // callers without a token have equal rights
	}
	q := &request{readQuestion: what, told: make(chan struct{}, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, q)
	s.start()
	s.mu.Unlock()
	select {
	case <-q.told:
		return q.answer, q.answer.err
	case <-ctx.Done():
		s.leave(q)
		return readAnswer{}, ctx.Err()
	}
}

// leave takes back a question. A query that no caller waits for is ended.
func (s *sharedReads) leave(q *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.in == nil {
		s.waiting = slices.DeleteFunc(s.waiting, func(o *request) bool { return o == q })
		return
	}
	if q.in.asking--; q.in.asking == 0 {
		q.in.cancel()
	}
}

// start lets a query begin if a request waits and there is a slot; the mutex is held.
func (s *sharedReads) start() {
	if len(s.waiting) > 0 && s.prompt < maxPrompt && s.queries < maxQueries {
		s.prompt++
		s.queries++
		go s.run()
	}
}

// run sends queries for the requests that wait until none does, or until one of its queries was slow and gave its slot away.
func (s *sharedReads) run() {
	for s.runOne() {
	}
}

func (s *sharedReads) runOne() (more bool) {
	ctx, cancel := context.WithTimeout(context.Background(), s.bound)
	defer cancel()
	s.gather()
	x := s.take(cancel)
	if x == nil {
		return false
	}
	late := time.AfterFunc(slowBatch, func() { s.overtake(x) })
	defer late.Stop()
	s.serve(ctx, x)
	s.mu.Lock()
	defer s.mu.Unlock()
	x.over = true
	if x.slow {
		s.queries--
		s.start()
	}
	return !x.slow
}

// gather lets requests join that have arrived and wait for a processor, as long as more do. Where no other goroutine can
// run it costs next to nothing, and where many can, a query that did not wait for them would be of one or two requests.
func (s *sharedReads) gather() {
	for before := -1; ; {
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n <= before || n >= maxBatch {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// take makes a batch of the longest waiting, nil when there are none; then the query's place is free.
func (s *sharedReads) take(cancel context.CancelFunc) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), maxBatch)
	if n == 0 {
		s.prompt--
		s.queries--
		return nil
	}
	x := &batch{cancel: cancel, readers: slices.Clone(s.waiting[:n]), asking: n}
	s.waiting = slices.Delete(s.waiting, 0, n)
	for _, q := range x.readers {
		q.in = x
	}
	return x
}

// overtake lets another query start in place of one that is slow.
func (s *sharedReads) overtake(x *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.over {
		return
	}
	x.slow = true
	s.prompt--
	s.start()
}

// serve asks and tells every requester of x. A panic becomes everybody's error: there is no request's own goroutine
// that it could unwind.
func (s *sharedReads) serve(ctx context.Context, x *batch) {
	defer func() {
		if p := recover(); p != nil {
			x.fail(core.Wrap(core.Internal, core.Recovered(p), "a shared read failed"))
		}
		for _, q := range x.readers {
			q.told <- struct{}{}
		}
	}()
	s.answer(ctx, x)
}

func (x *batch) fail(err error) {
	for _, q := range x.readers {
		q.answer = readAnswer{err: err}
	}
}

// answer asks what the readers of x want, each question once.
func (s *sharedReads) answer(ctx context.Context, x *batch) {
	answers := make(map[readQuestion]*readAnswer, len(x.readers))
	questions := make([]readQuestion, 0, len(x.readers))
	for _, q := range x.readers {
		if answers[q.readQuestion] == nil {
			answers[q.readQuestion] = &readAnswer{}
			questions = append(questions, q.readQuestion)
		}
	}
	slices.SortFunc(questions, func(p, q readQuestion) int { return strings.Compare(p.name, q.name) })
	results, err := queryEach(ctx, questions, s.ask)
	if err != nil {
		x.fail(err)
		return
	}
	for _, r := range results {
		if a := answers[r.question]; a != nil { // any other question is of no request
			a.take(r)
		}
	}
	for _, q := range x.readers {
		q.answer = *answers[q.readQuestion]
	}
}

// queryEach asks questions. When the database cannot read what is stored it asks for halves, so that only those fail
// whose row it is.
func queryEach(ctx context.Context, questions []readQuestion, ask askFunc) ([]readResult, error) {
	results, err := ask(ctx, questions)
	if err == nil || !ofOneRow(err) {
		return results, err
	}
	if len(questions) == 1 {
		return []readResult{{question: questions[0], row: storedResult{StoredValue: vault.StoredValue{Name: core.Name(questions[0].name)}, err: err}}}, nil
	}
	var all []readResult
	for _, half := range [][]readQuestion{questions[:len(questions)/2], questions[len(questions)/2:]} {
		some, err := queryEach(ctx, half, ask)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// ofOneRow reports whether an error may be about one row of many.
func ofOneRow(err error) bool {
	switch core.CodeOf(err) {
	case core.Corrupt, core.Internal, core.Invalid:
		return true
	}
	return false
}

// queryCurrent is the question of sharedReads.
func (d *DB) queryCurrent(ctx context.Context, questions []readQuestion) ([]readResult, error) {
	return readPicked(ctx, d, pickRead(questions, 0, storedResults()))
}
