package httpapi

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var (
	// errFull is that all places are taken, errShare that the client's share of them is.
	errFull  = errors.New("all places are taken")
	errShare = errors.New("the client's share of the places is taken")
)

// quota bounds something that takes memory for as long as a client likes: in all, and for each client. Safe for
// concurrent use.
type quota struct {
	all   chan struct{} // one element for every one that is taken
	share int

	mu sync.Mutex
	by map[netip.Prefix]*clientPlaces
}

type clientPlaces struct {
	taken chan struct{}
	users int // that have one, or wait
}

func newQuota(n int) *quota {
	return &quota{all: make(chan struct{}, n), share: max(1, n/shareOfOne), by: map[netip.Prefix]*clientPlaces{}}
}

// take waits for a place until ctx ends; the caller calls leave. A client waits for its own share first, so that those who
// wait keep nobody else from a place. The error is errShare or errFull.
func (q *quota) take(ctx context.Context, client netip.Addr) (leave func(), err error) {
	network := vault.NetworkOf(client)
	mine := q.of(network)
	if !takeOne(ctx, mine.taken) {
		q.put(network, mine)
		return nil, errShare
	}
	if !takeOne(ctx, q.all) {
		<-mine.taken
		q.put(network, mine)
		return nil, errFull
	}
	return func() {
		<-q.all
		<-mine.taken
		q.put(network, mine)
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

func (q *quota) of(network netip.Prefix) *clientPlaces {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := q.by[network]
	if mine == nil {
		mine = &clientPlaces{taken: make(chan struct{}, q.share)}
		q.by[network] = mine
	}
	mine.users++
	return mine
}

func (q *quota) put(network netip.Prefix, mine *clientPlaces) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(q.by, network)
	}
}

// over is a context that has ended: for who does not wait.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
