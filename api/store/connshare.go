package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// shareOfSecret is how many of the writer's connections the changes of one secret may use at a time: the second waits
	// for the first one's lock in the database, so that nothing is lost between two changes.
	shareOfSecret = 2
	// queueOfSecret is how many changes of one secret may wait for its share.
	queueOfSecret = 256
)

// errCrowded is in place of a wait for a connection that would keep other secrets' changes from theirs.
var errCrowded = errors.New("the secret's share of the connections is in use and its queue is full")

// errHeld is a change whose turn did not come before its deadline.
var errHeld = errors.New("earlier changes of the secret did not end in time")

// shares has changes of one secret wait for each other outside the pool of connections: a row that another session has
// locked delays the changes of that secret, and those of no other one. Safe for concurrent use; the zero value is ready.
type shares struct {
	mu sync.Mutex
	by map[string]*share
}

type share struct {
	used  int
	queue []chan struct{} // of those that wait, in their order; closed to hand over a place
}

// enter waits for a place of the secret, in the order of arrival, until ctx ends. crowded reports whether half of the
// pool is in use: a secret then has one place. The caller calls leave.
func (s *shares) enter(ctx context.Context, secret string, crowded func() bool) (leave func(), err error) {
	if secret == "" {
		return func() {}, nil
	}
	s.mu.Lock()
	x := s.of(secret)
	leave = sync.OnceFunc(func() { s.leave(secret, x) })
	switch {
	case x.used == 0 || x.used < shareOfSecret && len(x.queue) == 0 && !crowded():
		x.used++
		s.mu.Unlock()
		return leave, nil
	case len(x.queue) >= queueOfSecret:
		s.mu.Unlock()
		return nil, errCrowded
	}
	turn := make(chan struct{})
	x.queue = append(x.queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return leave, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(x.queue, turn)
	if i >= 0 {
		x.queue = slices.Delete(x.queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		leave() // the place was handed over just now
	}
	return nil, errors.Join(errHeld, ctx.Err())
}

// of returns the share of a secret, a new one if there is none; s.mu is held.
func (s *shares) of(secret string) *share {
	x := s.by[secret]
	if x == nil {
		if s.by == nil {
			s.by = map[string]*share{}
		}
		x = &share{}
		s.by[secret] = x
	}
	return x
}

func (s *shares) leave(secret string, x *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(x.queue) > 0 {
		close(x.queue[0])
		x.queue = x.queue[1:]
		return
	}
	if x.used--; x.used == 0 {
		delete(s.by, secret)
	}
}

// keptForChanges is the part of the writer's connections that reads of clients never use: one in so many, at least one.
const keptForChanges = 4

// errReads is a read of the primary that had no connection before its deadline because other reads had all of theirs.
var errReads = errors.New("other reads of the primary did not end in time")

// places bounds how many calls run at a time. Those that are too many wait. Safe for concurrent use.
type places struct {
	taken   chan struct{}
	waiting atomic.Int32
}

// placesForReads returns as many places as a writer with so many connections has for reads.
func placesForReads(connections int) *places {
	return &places{taken: make(chan struct{}, max(1, connections-max(1, connections/keptForChanges)))}
}

// enter waits for a place until ctx ends. The caller calls leave.
func (p *places) enter(ctx context.Context) (leave func(), err error) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case p.taken <- struct{}{}:
		return func() { <-p.taken }, nil
	case <-ctx.Done():
		return nil, errors.Join(errReads, ctx.Err())
	}
}

// sendInTurn is send with a place of the change's secret, together with other changes if that can be.
func sendInTurn[T any](ctx context.Context, d *DB, c change[T]) (out T, f fate, err error) {
	leave, err := d.shares.enter(ctx, c.secret, d.writerIsCrowded)
	if err != nil {
		return out, unsent, err
	}
	defer leave()
	if c.together != nil {
		out, at, f, err := c.together(ctx)
		if f == done && c.at != nil {
			*c.at = at
		}
		if f != declined {
			return out, f, err
		}
	}
	return send(ctx, d.writer, c)
}

// writerIsCrowded reports whether half of the writer's connections are in use.
func (d *DB) writerIsCrowded() bool {
	s := d.writer.Stat()
	return 2*s.AcquiredConns() >= s.MaxConns()
}
