package store

import (
	"context"
	"errors"
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
)

// question is what requests ask. Equal ones have one answer, and a query has them in the order of their names.
type question interface {
	comparable
	of() string // the name that it is about
}

// resultOf is a part of what is found of a question.
type resultOf[Q question] interface{ answers() Q }

// askFunc returns one result or more for each question, in no order; its error is that of all of them.
type askFunc[Q question, R resultOf[Q]] func(ctx context.Context, questions []Q) ([]R, error)

// shared answers questions. Requests that wait at the same moment share one query, which starts
// after the last of them arrived. So no answer is older than its request, and nothing is kept. A request that
// finds a query free to start is asked at once. Safe for concurrent use; the zero shared is not usable.
type shared[Q question, R resultOf[Q]] struct {
	ask askFunc[Q, R]
	// fail makes the result of a question that cannot be answered, because of what is stored.
	fail func(Q, error) R
	// bound is the most time of one query and its repetitions.
	bound time.Duration
	// most is how many queries there are at most, slow ones included.
	most int
	// fits is how many requests share one query at most.
	fits int
	// patience, if set, is how long a request waits at most for its query to begin. It is then withdrawn.
	patience time.Duration

	mu      sync.Mutex
	waiting []*request[Q, R] // in order of arrival
	prompt  int              // queries on their way that are not slow
	queries int              // all of them
}

// sharedReads are the reads of current versions.
type sharedReads struct {
	shared[readQuestion, readResult]
}

func newSharedReads(ask askFunc[readQuestion, readResult], bound time.Duration) *sharedReads {
	return &sharedReads{shared[readQuestion, readResult]{ask: ask, fail: failedRead, bound: bound, most: defaultReaderConns / 2, fits: maxBatch}}
}

// readQuestion is who wants to read what.
type readQuestion struct {
	by   vault.Credential
	name string
}

func (q readQuestion) of() string { return q.name }

// readResult is who a question's caller was found to be, with a row if it may read and there is one.
type readResult struct {
	question readQuestion
	who      vault.Identity
	row      storedResult
	found    bool
}

func (r readResult) answers() readQuestion { return r.question }

// failedRead is the result of a read that the database cannot do.
func failedRead(q readQuestion, err error) readResult {
	return readResult{question: q, row: storedResult{StoredValue: vault.StoredValue{Name: core.Name(q.name)}, err: err}}
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

// request is one that waits. Its batch and its place among the waiting are guarded by the mutex of shared; what was found
// is written before told gets its one element.
type request[Q question, R resultOf[Q]] struct {
	question Q
	told     chan struct{}
	in       *batch[Q, R] // nil while it waits
	found    []R
	err      error // of all questions
}

// batch is one shared query.
type batch[Q question, R resultOf[Q]] struct {
	cancel context.CancelFunc
	askers []*request[Q, R]
	asking int  // askers that are still there
	slow   bool // it no longer counts as prompt
	over   bool // it has been answered
}

// read returns the rows of a name's current version: usually one, none when there is no such secret or the caller may not
// read it. The rows may be shared with other requesters, so no caller writes to what they hold. It returns at once when ctx
// ends.
func (s *sharedReads) read(ctx context.Context, what readQuestion) (a readAnswer, err error) {
	if !what.by.HasToken() {
		what.by.Addr = netip.Addr{} // callers without a token have equal rights
	}
	found, err := s.get(ctx, what)
	if err != nil {
		return a, err
	}
	for _, r := range found {
		a.take(r)
	}
	return a, a.err
}

// errUnasked is the error of a request that was withdrawn before its query began.
var errUnasked = errors.New("no query began in time")

// get returns what is found of a question, which may be shared with other requesters. It returns at once when ctx ends.
func (s *shared[Q, R]) get(ctx context.Context, what Q) ([]R, error) {
	q := &request[Q, R]{question: what, told: make(chan struct{}, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, q)
	s.start()
	s.mu.Unlock()
	late, stop := after(s.patience)
	defer stop()
	for {
		select {
		case <-q.told:
			return q.found, q.err
		case <-ctx.Done():
			if s.withdraw(q) {
				return nil, errors.Join(ctx.Err(), errUnasked)
			}
			s.leave(q)
			return nil, ctx.Err()
		case <-late:
			if s.withdraw(q) {
				return nil, errUnasked
			}
		}
	}
}

// after returns a channel that receives once d has passed, and never if d is 0.
func after(d time.Duration) (<-chan time.Time, func() bool) {
	if d == 0 {
		return nil, func() bool { return false }
	}
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// withdraw takes back a question if no query has it yet, and reports whether it did.
func (s *shared[Q, R]) withdraw(q *request[Q, R]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.in != nil {
		return false
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(o *request[Q, R]) bool { return o == q })
	return true
}

// leave takes back a question that a query has. A query that no caller waits for is ended.
func (s *shared[Q, R]) leave(q *request[Q, R]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.in.asking--; q.in.asking == 0 {
		q.in.cancel()
	}
}

// start lets a query begin if a request waits and there is a slot; the mutex is held.
func (s *shared[Q, R]) start() {
	if len(s.waiting) > 0 && s.prompt < maxPrompt && s.queries < s.most {
		s.prompt++
		s.queries++
		go s.run()
	}
}

// run sends queries for the requests that wait until none does, or until one of its queries was slow and gave its slot away.
func (s *shared[Q, R]) run() {
	for s.runOne() {
	}
}

func (s *shared[Q, R]) runOne() (more bool) {
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
func (s *shared[Q, R]) gather() {
	for before := -1; ; {
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n <= before || n >= s.fits {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// take makes a batch of the longest waiting, nil when there are none; then the query's place is free.
func (s *shared[Q, R]) take(cancel context.CancelFunc) *batch[Q, R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.waiting), s.fits)
	if n == 0 {
		s.prompt--
		s.queries--
		return nil
	}
	x := &batch[Q, R]{cancel: cancel, askers: slices.Clone(s.waiting[:n]), asking: n}
	s.waiting = slices.Delete(s.waiting, 0, n)
	for _, q := range x.askers {
		q.in = x
	}
	return x
}

// overtake lets another query start in place of one that is slow.
func (s *shared[Q, R]) overtake(x *batch[Q, R]) {
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
func (s *shared[Q, R]) serve(ctx context.Context, x *batch[Q, R]) {
	defer func() {
		if p := recover(); p != nil {
			x.fail(core.Wrap(core.Internal, core.Recovered(p), "a shared query failed"))
		}
		for _, q := range x.askers {
			q.told <- struct{}{}
		}
	}()
	s.answer(ctx, x)
}

func (x *batch[Q, R]) fail(err error) {
	for _, q := range x.askers {
		q.found, q.err = nil, err
	}
}

// answer asks what the askers of x want, each question once.
func (s *shared[Q, R]) answer(ctx context.Context, x *batch[Q, R]) {
	found := make(map[Q][]R, len(x.askers))
	questions := make([]Q, 0, len(x.askers))
	for _, q := range x.askers {
		if _, known := found[q.question]; !known {
			found[q.question] = nil
			questions = append(questions, q.question)
		}
	}
	slices.SortFunc(questions, func(p, q Q) int { return strings.Compare(p.of(), q.of()) })
	results, err := queryEach(ctx, questions, s.ask, s.fail)
	if err != nil {
		x.fail(err)
		return
	}
	for _, r := range results {
		found[r.answers()] = append(found[r.answers()], r)
	}
	for _, q := range x.askers {
		q.found = found[q.question]
	}
}

// queryEach asks questions. When the database cannot read what is stored it asks for halves, so that only those fail
// whose row it is.
func queryEach[Q question, R resultOf[Q]](ctx context.Context, questions []Q, ask askFunc[Q, R], fail func(Q, error) R) ([]R, error) {
	results, err := ask(ctx, questions)
	if err == nil || !ofOneRow(err) {
		return results, err
	}
	if len(questions) == 1 {
		return []R{fail(questions[0], err)}, nil
	}
	var all []R
	for _, half := range [][]Q{questions[:len(questions)/2], questions[len(questions)/2:]} {
		some, err := queryEach(ctx, half, ask, fail)
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
