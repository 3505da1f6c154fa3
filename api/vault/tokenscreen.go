package vault

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// screenHolds is how long an answer about a caller holds while the bucket of its network is empty.
	screenHolds = time.Second
	// screenTimeout bounds one query.
	screenTimeout = 5 * time.Second
	// screenPace is the least time between two queries.
	screenPace = 50 * time.Millisecond
	// maxScreened is how many answers are kept. Callers beyond are asked about again at each request.
	maxScreened = 16 << 10
)

// tokenScreen finds those callers in a flood of refused ones that deserve a decision: the holder of a valid token, and a
// caller without a token that may do anything at all, must not wait for the flood to end. It decides nothing: a caller
// that passes is decided about like every other. All callers that wait share one query, so a flood costs at most 20
// queries a second, however many tokens it tries. Safe for concurrent use; the zero value is ready.
type tokenScreen struct {
	mu      sync.Mutex
	verdict map[Credential]screened
	next    *screenQuery // collects callers until it is sent; nil = none waits
	running bool         // a goroutine sends queries
}

type screened struct {
	passes bool
	at     time.Time
}

// screenQuery asks about several callers. passes and panicked are written before done is closed.
type screenQuery struct {
	about    map[Credential]struct{}
	passes   map[Credential]bool
	panicked *core.Error // of the query; nil = none
	done     chan struct{}
}

// askScreen returns those of several callers that pass.
type askScreen func(context.Context, []Credential) ([]Credential, error)

// pass reports whether the caller passes, by an answer of the last screenHolds or by a new one. Without an answer it
// does not pass. A panic of the query is that of every caller that waits for it.
func (s *tokenScreen) pass(ctx context.Context, by Credential, now Clock, ask askScreen) bool {
	s.mu.Lock()
	if v, ok := s.verdict[by]; ok && fresh(v.at, now()) {
		s.mu.Unlock()
		return v.passes
	}
	if s.next == nil {
		s.next = &screenQuery{about: map[Credential]struct{}{}, done: make(chan struct{})}
	}
	q := s.next
	q.about[by] = struct{}{}
	if !s.running {
		s.running = true
		go s.run(now, ask)
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

func fresh(at, now time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < screenHolds
}

// run sends queries as long as callers wait.
func (s *tokenScreen) run(now Clock, ask askScreen) {
	for {
		s.mu.Lock()
		q := s.next
		s.next = nil
		s.running = q != nil
		s.mu.Unlock()
		if q == nil {
			return
		}
		s.send(q, now, ask)
		time.Sleep(screenPace)
	}
}

// send answers everyone who waits for q. A query that fails lets none of them pass, and that holds as an answer does.
func (s *tokenScreen) send(q *screenQuery, now Clock, ask askScreen) {
	q.passes = make(map[Credential]bool, len(q.about))
	defer close(q.done)
	defer func() { // it is nobody's own goroutine
		if p := recover(); p != nil {
			q.panicked = core.Recovered(p)
		}
	}()
	defer s.keep(q, now)
	ctx, cancel := context.WithTimeout(context.Background(), screenTimeout)
	defer cancel()
	about := make([]Credential, 0, len(q.about))
	for by := range q.about {
		about = append(about, by)
	}
	passing, err := ask(ctx, about)
	if err != nil {
		return
	}
	for _, by := range passing {
		q.passes[by] = true
	}
}

// keep stores the answers of q, and forgets those that no longer hold when there are many.
func (s *tokenScreen) keep(q *screenQuery, now Clock) {
	at := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.verdict)+len(q.about) > maxScreened {
		for by, v := range s.verdict {
			if !fresh(v.at, at) {
				delete(s.verdict, by)
			}
		}
	}
	if s.verdict == nil {
		s.verdict = map[Credential]screened{}
	}
	for by := range q.about {
		if len(s.verdict) < maxScreened {
			s.verdict[by] = screened{passes: q.passes[by], at: at}
		}
	}
}

// refused keeps that a token was found not to be valid.
func (s *tokenScreen) refused(by Credential, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.verdict[by]; ok {
		s.verdict[by] = screened{at: at}
	}
}
