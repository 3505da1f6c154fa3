package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Sizes of the load: enough to have several clients at the same secret on every node at any moment, and little enough
// for two cores.
const (
	writersPerNode = 2
	keptSecrets    = 4 // never deleted: their versions are all checked in the end, and local reads of them are compared
	freeSecrets    = 6 // created and deleted again
)

// load is clients of all nodes at work.
type load struct {
	t      *testing.T
	c      *cluster
	h      *history
	prefix string
	seed   uint64
	stopIt context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	known  map[string]knowledge // what a client was told last
	breaks map[int][]span
	// twoPrimaries are times in which reads of the primary are not promised to be linearizable.
	twoPrimaries []span
	dir          string
}

// knowledge is a version that was acknowledged, where it is visible, and its value if a client chose it.
type knowledge struct {
	version uint64
	lsn     string
	value   string
}

var loadSeq int

// startLoad has clients work on secrets of their own until stop.
func startLoad(t *testing.T, c *cluster, seed uint64) *load {
	t.Helper()
	loadSeq++
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{
		t: t, c: c, h: newHistory(), prefix: fmt.Sprintf("l%d", loadSeq), seed: seed, stopIt: cancel,
		known: map[string]knowledge{}, breaks: map[int][]span{},
	}
	t.Cleanup(l.stop)
	l.prepare()
	for _, n := range c.nodes {
		for range writersPerNode {
			w := newClient(l.h, n, seed)
			l.wg.Go(func() { l.write(ctx, w) })
		}
		r := newClient(l.h, n, seed)
		l.wg.Go(func() { l.read(ctx, r) })
	}
	return l
}

// stop returns when every client has had its last answer. It may be called twice.
func (l *load) stop() {
	l.stopIt()
	l.wg.Wait()
}

func (l *load) kept(k int) string { return fmt.Sprintf("%s/kept/%d", l.prefix, k) }
func (l *load) free(k int) string { return fmt.Sprintf("%s/free/%d", l.prefix, k) }

// prepare creates the secrets that are never deleted, and waits until every node has them.
func (l *load) prepare() {
	l.t.Helper()
	w := newClient(l.h, l.c.nodes[0], l.seed)
	for k := range keptSecrets {
		if !await(settling, func() bool {
			e := w.do(l.kept(k), input{Kind: create, Value: w.value()})
			l.learn(e)
			return e.Out.Outcome == ok || e.Out.Outcome == exists
		}) {
			l.t.Fatalf("%s cannot be created", l.kept(k))
		}
	}
	if err := l.c.manage(http.MethodPost, "/v1/secrets", map[string]any{
		"name": l.prefix + "/auto", "kind": "automatic", "rotation_interval_secs": 1, "keep_versions": 100,
	}); err != nil {
		l.t.Fatal(err)
	}
	for _, n := range l.c.nodes {
		r := newClient(newHistory(), n, l.seed)
		if !await(settling, func() bool { return r.do(l.kept(keptSecrets-1), input{Kind: local}).Out.Outcome == ok }) {
			l.t.Fatalf("%s does not get what was created", n.name)
		}
		r.http.CloseIdleConnections()
	}
}

func (l *load) learn(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.Out.Outcome == missing, e.In.Kind == remove && e.Out.Outcome == ok:
		delete(l.known, e.Name)
	case e.acknowledged():
		l.known[e.Name] = knowledge{version: e.Out.Version, lsn: e.LSN, value: e.In.Value}
	case e.In.Kind == read && e.Out.Outcome == ok && e.Out.Version != l.known[e.Name].version:
		l.known[e.Name] = knowledge{version: e.Out.Version, value: e.Out.Value}
	}
}

func (l *load) knows(name string) knowledge {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[name]
}

// think keeps the load below what the machine can do: it is the order of things that is tried here, not the rate.
func think(ctx context.Context, rng *rand.Rand, most time.Duration) bool {
	t := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// write changes and reads secrets, other clients' as well.
func (l *load) write(ctx context.Context, w *client) {
	defer w.http.CloseIdleConnections()
	for most := time.Duration(0); think(ctx, w.rng, 60*time.Millisecond+most); {
		var e entry
		if w.rng.IntN(2) == 0 {
			e = l.writeKept(w, l.kept(w.rng.IntN(keptSecrets)))
		} else {
			e = l.writeFree(w, l.free(w.rng.IntN(freeSecrets)))
		}
		l.learn(e)
		most = 0
		if e.Out.Outcome == failed || e.Out.Outcome == unknown {
			most = 400 * time.Millisecond // as Retry-After asks, and each unknown outcome makes the check harder
		}
	}
}

func (l *load) writeKept(w *client, name string) entry {
	k := l.knows(name)
	switch p := w.rng.IntN(100); {
	case p < 45:
		return w.do(name, input{Kind: update, Value: w.value(), Expect: k.version})
	case p < 55:
		return w.do(name, input{Kind: rotate, Expect: k.version * uint64(w.rng.IntN(2))})
	case p < 75 && k.lsn != "":
		return w.doAt(name, input{Kind: local}, k.lsn, k.version)
	}
	return w.do(name, input{Kind: read})
}

func (l *load) writeFree(w *client, name string) entry {
	k := l.knows(name)
	if k.version == 0 || w.rng.IntN(20) == 0 {
		return w.do(name, input{Kind: create, Value: w.value()})
	}
	expect := k.version
	if w.rng.IntN(10) == 0 {
		expect = 0 // whichever is current
	}
	switch p := w.rng.IntN(100); {
	case p < 35:
		return w.do(name, input{Kind: update, Value: w.value(), Expect: expect})
	case p < 45:
		return w.do(name, input{Kind: rotate, Expect: expect})
	case p < 55 || k.version%80 > 70: // keep_versions is 100: no version of a living secret is ever taken away
		return w.do(name, input{Kind: remove, Expect: expect})
	case p < 70 && k.value != "":
		return w.do(name, input{Kind: verify, Value: k.value})
	}
	return w.do(name, input{Kind: read})
}

// read asks one node for what it has.
func (l *load) read(ctx context.Context, r *client) {
	defer r.http.CloseIdleConnections()
	for think(ctx, r.rng, 30*time.Millisecond) {
		r.do(l.kept(r.rng.IntN(keptSecrets)), input{Kind: local})
	}
}

// broken writes down that from from to now the node's API may not have read from the node's own PostgreSQL.
func (l *load) broken(n *node, from time.Duration) (to time.Duration) {
	to = l.h.now()
	l.breaks[n.i] = append(l.breaks[n.i], span{from, to})
	return to
}

// awaitChanges returns when the clients of every one of nodes had count more changes acknowledged.
func (l *load) awaitChanges(count int, nodes ...*node) {
	l.t.Helper()
	l.awaitMatching(count, l.h.now(), entry.change, nodes...)
}

// awaitMatching does so for changes that match and were asked for after since.
func (l *load) awaitMatching(count int, since time.Duration, match func(entry) bool, nodes ...*node) {
	l.t.Helper()
	if !await(settling, func() bool {
		done := make([]int, size)
		for _, e := range l.h.all() {
			if e.acknowledged() && e.Call > since && match(e) {
				done[e.Node]++
			}
		}
		return !slices.ContainsFunc(nodes, func(n *node) bool { return done[n.i] < count })
	}) {
		l.fail(fmt.Errorf("clients of %d nodes do not get %d changes acknowledged", len(nodes), count))
	}
}

// fail keeps everything that may explain err, and ends the test.
func (l *load) fail(err error) {
	l.t.Helper()
	l.stopIt()
	l.t.Fatal(errors.Join(err, l.c.keepLogs(l.t.Name()), writeHistory(l.h, l.artifacts())))
}

func (l *load) artifacts() string {
	if l.dir == "" {
		l.dir = artifacts(l.t.Name() + "-history")
	}
	return l.dir
}

// must fails the test, with everything kept.
func (l *load) must(err error) {
	l.t.Helper()
	if err != nil {
		l.fail(err)
	}
}
