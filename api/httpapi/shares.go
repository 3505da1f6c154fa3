package httpapi

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/hyperiondb/hyperion-vault/api/quota"
)

var (
	errFull  = errors.New("all places are taken")
	errShare = errors.New("the client's share of the places is taken")
)

// shares bounds something that takes memory for as long as a client likes: in all, and for each client. It is safe for
// concurrent use.
type shares struct {
	all   chan struct{} // one element for every one that is taken
	share int

	mu sync.Mutex
	by map[netip.Prefix]*clientPlaces
}

type clientPlaces struct {
	taken chan struct{}
	users int // that have one, or wait
}

func newShares(n int) *shares {
	return &shares{all: make(chan struct{}, n), share: max(1, n/shareOfOne), by: map[netip.Prefix]*clientPlaces{}}
}

// take waits for a place until ctx ends; the caller calls leave. A client waits for its own share first, so that while
// it waits it keeps no other client from a place. The error is errShare or errFull.
func (s *shares) take(ctx context.Context, client netip.Addr) (leave func(), err error) {
	network := quota.NetworkOf(client)
	mine := s.of(network)
	if !takeOne(ctx, mine.taken) {
		s.put(network, mine)
		return nil, errShare
	}
	if !takeOne(ctx, s.all) {
		<-mine.taken
		s.put(network, mine)
		return nil, errFull
	}
	return func() {
		<-s.all
		<-mine.taken
		s.put(network, mine)
	}, nil
}

// takeOne prefers a place that is free over the end of ctx.
func takeOne(ctx context.Context, from chan struct{}) bool {
	select {
	case from <- struct{}{}:
		return true
	default:
	}
	select {
	case from <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *shares) of(network netip.Prefix) *clientPlaces {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.by[network]
	if mine == nil {
		mine = &clientPlaces{taken: make(chan struct{}, s.share)}
		s.by[network] = mine
	}
	mine.users++
	return mine
}

func (s *shares) put(network netip.Prefix, mine *clientPlaces) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(s.by, network)
	}
}

// over is a context that has ended, for a caller that does not wait.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
