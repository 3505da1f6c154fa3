package refusal

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// answerHolds is how long an answer about a caller holds while the bucket of its network is empty.
	answerHolds = time.Second
	// queryTimeout bounds one query.
	queryTimeout = 5 * time.Second
	// queryPause is the least time between two queries.
	queryPause = 50 * time.Millisecond
	// maxAnswers is how many answers are kept. Each request of a caller beyond them is queried again.
	maxAnswers = 16 << 10
)

// Screen finds the callers in a flood of refused ones that deserve a decision. The holder of a valid token, and a caller
// without a token that may do anything at all, must not wait for the flood to end. Screen decides nothing: a caller that
// passes is decided about like every other. All callers that wait share one query. So a flood costs at most 20 queries a
// second, however many tokens it tries. It is safe for concurrent use, and the zero value is ready.
type Screen[K comparable] struct {
	mu      sync.Mutex
	answers map[K]answer
	next    *query[K] // collects callers until it is sent; nil = no caller waits
	running bool      // a goroutine sends queries
}

type answer struct {
	passes bool
	at     time.Time
}

// holds reports whether the answer is young enough. One from the future is not.
func (a answer) holds(now time.Time) bool {
	age := now.Sub(a.at)
	return age >= 0 && age < answerHolds
}

// query is about several callers. passes and panicked are written before done is closed.
type query[K comparable] struct {
	about    map[K]struct{}
	passes   map[K]bool
	panicked *core.Error // of the query; nil = none
	done     chan struct{}
}

// Find returns those of several callers that pass.
type Find[K comparable] func(context.Context, []K) ([]K, error)

// Pass reports whether the caller passes, by an answer of the last second or by a new one. Without an answer it does not
// pass. If the query panics, so does Pass, for every caller that waits for it.
func (s *Screen[K]) Pass(ctx context.Context, by K, now func() time.Time, find Find[K]) bool {
	s.mu.Lock()
	if a, ok := s.answers[by]; ok && a.holds(now()) {
		s.mu.Unlock()
		return a.passes
	}
	if s.next == nil {
		s.next = &query[K]{about: map[K]struct{}{}, done: make(chan struct{})}
	}
	q := s.next
	q.about[by] = struct{}{}
	if !s.running {
		s.running = true
		go s.run(now, find)
	}
	s.mu.Unlock()
	select {
	case <-q.done:
		if q.panicked != nil {
			panic(q.panicked)
		}
		return q.passes[by]
	case <-ctx.Done():
		return false
	}
}

// run sends queries as long as callers wait.
func (s *Screen[K]) run(now func() time.Time, find Find[K]) {
	for {
		s.mu.Lock()
		q := s.next
		s.next = nil
		s.running = q != nil
		s.mu.Unlock()
		if q == nil {
			return
		}
		s.send(q, now, find)
		time.Sleep(queryPause)
	}
}

// send answers every caller that waits for q. A query that fails lets none of them pass, and that holds as an answer does.
func (s *Screen[K]) send(q *query[K], now func() time.Time, find Find[K]) {
	q.passes = make(map[K]bool, len(q.about))
	defer close(q.done)
	defer func() { // this goroutine belongs to no request, so the callers that wait get the panic
		if p := recover(); p != nil {
			q.panicked = core.Recovered(p)
		}
	}()
	defer s.keep(q, now)
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	about := make([]K, 0, len(q.about))
	for by := range q.about {
		about = append(about, by)
	}
	passing, err := find(ctx, about)
	if err != nil {
		return
	}
	for _, by := range passing {
		q.passes[by] = true
	}
}

// keep stores the answers of q. When there are many, it first forgets those that no longer hold.
func (s *Screen[K]) keep(q *query[K], now func() time.Time) {
	at := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers)+len(q.about) > maxAnswers {
		for by, a := range s.answers {
			if !a.holds(at) {
				delete(s.answers, by)
			}
		}
	}
	if s.answers == nil {
		s.answers = map[K]answer{}
	}
	for by := range q.about {
		if len(s.answers) < maxAnswers {
			s.answers[by] = answer{passes: q.passes[by], at: at}
		}
	}
}

// Refused notes that the token of a caller was found not to be valid.
func (s *Screen[K]) Refused(by K, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.answers[by]; ok {
		s.answers[by] = answer{at: at}
	}
}
