package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// party is a connection of an address that nothing goes over.
type party struct {
	net.Conn
	from   string
	closed atomic.Bool
}

func (p *party) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.from + ":1"))
}
func (p *party) Close() error { p.closed.Store(true); return nil }

// host is the accounting without a server: 128 connections, 64 of strangers, 2 of each of those, 32 of others.
type host struct {
	*connections
	t *testing.T
}

func newHost(t *testing.T) host {
	policy := NewLivePolicy(Policy{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}})
	return host{newConnections(128, policy, func(a netip.Addr) bool { return netip.MustParsePrefix("10.1.0.0/16").Contains(a) }), t}
}

// open connects, and the connection asks something and is idle after that.
func (h host) open(from string) *party {
	p := &party{from: from}
	h.context(h.t.Context(), p)
	h.changed(p, http.StateNew)
	if p.closed.Load() {
		h.changed(p, http.StateClosed)
		return p
	}
	h.changed(p, http.StateActive)
	h.changed(p, http.StateIdle)
	return p
}

// settle does what net/http does with connections that were closed.
func (h host) settle(all ...*party) (open int) {
	for _, p := range all {
		if p.closed.Load() {
			h.changed(p, http.StateClosed)
		} else {
			open++
		}
	}
	return open
}

func (h host) many(n int, from string) (all []*party) {
	for i := range n {
		if strings.Contains(from, "%") {
			all = append(all, h.open(fmt.Sprintf(from, i)))
		} else {
			all = append(all, h.open(from))
		}
	}
	h.settle(all...)
	return all
}

func TestConnections(t *testing.T) {
	t.Run("a stranger has few, and its newest stay", func(t *testing.T) {
		h := newHost(t)
		all := h.many(10, "192.0.2.1")
		if n := h.settle(all...); n != 2 || all[9].closed.Load() || all[8].closed.Load() {
			t.Errorf("%d are open", n)
		}
	})
	t.Run("strangers together leave half to others", func(t *testing.T) {
		h := newHost(t)
		all := h.many(250, "192.0.2.%d")
		if n := h.settle(all...); n != 64 || all[249].closed.Load() {
			t.Errorf("%d are open", n)
		}
		known := h.many(64, "10.1.0.%d")
		if n := h.settle(known...); n != 64 {
			t.Errorf("%d of those who are known", n)
		}
	})
	t.Run("strangers go first", func(t *testing.T) {
		h := newHost(t)
		strangers := h.many(64, "192.0.2.%d")
		known := h.many(100, "10.1.0.%d")
		if n, s := h.settle(known...), h.settle(strangers...); n != 100 || s != 28 || strangers[63].closed.Load() {
			t.Errorf("%d who are known, %d strangers", n, s)
		}
	})
	t.Run("then who has most", func(t *testing.T) {
		h := newHost(t)
		var greedy []*party
		for i := range 4 {
			greedy = append(greedy, h.many(32, fmt.Sprintf("10.1.0.%d", i))...)
		}
		honest := h.many(10, "10.1.1.%d")
		if n, g := h.settle(honest...), h.settle(greedy...); n != 10 || g != 118 {
			t.Errorf("%d and %d", n, g)
		}
	})
	t.Run("none that is busy is closed", func(t *testing.T) {
		h := newHost(t)
		all := h.many(2, "192.0.2.1")
		for _, p := range all {
			h.changed(p, http.StateActive)
		}
		if p := h.open("192.0.2.1"); !p.closed.Load() || h.settle(all...) != 2 {
			t.Error("a busy one made room")
		}
	})
	t.Run("a proxy has what it needs", func(t *testing.T) {
		h := newHost(t)
		proxy := h.many(100, "10.9.0.1")
		h.many(250, "192.0.2.%d")
		if n := h.settle(proxy...); n != 100 {
			t.Errorf("%d of the proxy's are open", n)
		}
	})
	t.Run("a right makes no stranger", func(t *testing.T) {
		h := newHost(t)
		p := &party{from: "192.0.2.1"}
		ctx := h.context(t.Context(), p)
		h.changed(p, http.StateNew)
		h.changed(p, http.StateActive)
		vouch(ctx)
		vouch(ctx)
		vouch(context.Background())
		h.changed(p, http.StateIdle)
		h.many(250, "192.0.3.%d")
		if p.closed.Load() || h.strangers.count != 64 {
			t.Errorf("it is closed: %d strangers", h.strangers.count)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		h := newHost(t)
		all := append(h.many(250, "192.0.2.%d"), h.many(100, "10.1.0.%d")...)
		for _, p := range all {
			h.changed(p, http.StateClosed)
		}
		if len(h.all) != 0 || len(h.by) != 0 || h.strangers.count != 0 || h.strangers.idle.Len() != 0 {
			t.Errorf("%d, %d, %d, %d", len(h.all), len(h.by), h.strangers.count, h.strangers.idle.Len())
		}
	})
}

// TestStrangersDoNotStay: their idle connections are short-lived, those of others are not.
func TestStrangersDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		stranger, known, proxy := h.open("192.0.2.1"), h.open("10.1.0.1"), h.open("10.9.0.1")
		time.Sleep(strangerIdle - time.Second)
		h.changed(stranger, http.StateActive)
		h.changed(stranger, http.StateIdle) // it asked once more
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if stranger.closed.Load() {
			t.Error("closed before its time")
		}
		h.changed(stranger, http.StateActive)
		time.Sleep(time.Minute)
		synctest.Wait()
		if stranger.closed.Load() {
			t.Error("closed while it is asking")
		}
		h.changed(stranger, http.StateIdle)
		time.Sleep(strangerIdle)
		synctest.Wait()
		if !stranger.closed.Load() || known.closed.Load() || proxy.closed.Load() {
			t.Error("closed:", stranger.closed.Load(), known.closed.Load(), proxy.closed.Load())
		}
		for _, p := range []*party{stranger, known, proxy} {
			h.changed(p, http.StateClosed)
		}
	})
}

// client dials from an address of loopback, and counts how often.
type client struct {
	http.Client
	dials *atomic.Int32
}

func newClient(from string) client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 20 * time.Second}
	c := client{dials: new(atomic.Int32)}
	c.Timeout = time.Minute
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
		c.dials.Add(1)
		return d.DialContext(ctx, network, at)
	}}
	return c
}

// needFiles skips where a flood of 10,000 connections has no room.
func needFiles(t testing.TB) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 16_000 {
		t.Skipf("the limit of open files is %d, and this needs 16000", files.Cur)
	}
}

// TestIdleFlood: 10,000 connections of 50 addresses without a right, which each ask once and then stay, take nothing from
// an honest client, be it on a connection that it has or on new ones, nor from a trusted proxy. What an honest client
// loses in such a flood is counted, because a rate depends on what else the machine does: no request fails, no connection
// that it keeps is closed, none that it opens is turned away, and strangers have no more than their share, which leaves
// the rest to others without a wait. BenchmarkIdleFlood shows the rate.
func TestIdleFlood(t *testing.T) {
	needFiles(t)
	x := newTarget(t)
	f := &flood{at: x.at}
	t.Cleanup(f.end)
	kept := newClient("127.0.2.1")
	if err := x.ask(kept); err != nil { // on the connection that it had before the flood
		t.Fatal(err)
	}
	const rounds = 50
	for range rounds {
		f.open(4)
		x.askEach(t)
		if err := x.ask(kept); err != nil {
			t.Fatalf("on a connection that was kept: %v", err)
		}
	}
	answered, open := f.count()
	if answered < 9_500 {
		t.Errorf("%d of 10000 strangers were answered", answered)
	}
	if open < 500 {
		t.Errorf("%d connections of strangers were there, which shows nothing", open)
	}
	if open > defaultMaxConns/shareOfStrangers+50 { // those that are being closed
		t.Errorf("%d connections of strangers are open", open)
	}
	if n := kept.dials.Load(); n != 1 {
		t.Errorf("an honest client connected %d times instead of once", n)
	}
	for who, c := range map[string]client{"an honest client": x.honest, "a proxy": x.proxy} {
		if n := c.dials.Load(); n != rounds {
			t.Errorf("%s connected %d times, and closed %d connections itself", who, n, rounds)
		}
	}
}

// BenchmarkIdleFlood reports the rate that an honest client keeps in the flood of TestIdleFlood, beside that of a second
// server in the same process without strangers. Both are measured in turn.
func BenchmarkIdleFlood(b *testing.B) {
	needFiles(b)
	quiet, flooded := newTarget(b), newTarget(b)
	f := &flood{at: flooded.at}
	b.Cleanup(f.end)
	f.open(200)
	var kept []float64
	for b.Loop() {
		f.open(8) // idle connections of strangers end after a while
		for range 4 {
			took := quiet.measure(b)
			kept = append(kept, 100*float64(took)/float64(flooded.measure(b)))
		}
	}
	slices.Sort(kept)
	b.ReportMetric(kept[len(kept)/2], "%kept")
}

// target is a server, with an honest client and a trusted proxy of it.
type target struct {
	at            string
	honest, proxy client
}

func newTarget(t testing.TB) target {
	t.Helper()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	policy := NewLivePolicy(Policy{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.3.1/32")}})
	srv := NewServer(ServerConfig{Handler: ok, Policy: policy, Known: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.2.1") }})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	x := target{ln.Addr().String(), newClient("127.0.2.1"), newClient("127.0.3.1")}
	t.Cleanup(func() {
		x.honest.CloseIdleConnections()
		x.proxy.CloseIdleConnections()
		_ = srv.Close()
	})
	return x
}

// measure returns how long 100 requests of either client take, every fourth on a new connection.
func (x target) measure(t testing.TB) time.Duration {
	t.Helper()
	begun := time.Now()
	for range 25 {
		x.askEach(t)
	}
	return time.Since(begun)
}

// askEach asks four times as either client, on one new connection. Each must succeed.
func (x target) askEach(t testing.TB) {
	t.Helper()
	for _, c := range []client{x.honest, x.proxy} {
		c.CloseIdleConnections()
		for range 4 {
			if err := x.ask(c); err != nil {
				t.Fatalf("an honest request: %v", err)
			}
		}
	}
}

func (x target) ask(c client) error {
	resp, err := c.Get("http://" + x.at + "/healthz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok" {
		return errors.Join(err, fmt.Errorf("%d %s", resp.StatusCode, body))
	}
	return nil
}

// flood has connections of 50 strangers, of which the last 10,000 are kept until the end.
type flood struct {
	at       string
	mu       sync.Mutex
	conns    []net.Conn
	answered int
}

// open opens n connections of each address, on each of which it asks once.
func (f *flood) open(n int) {
	var all sync.WaitGroup
	for a := range 50 {
		all.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(a+1))}, Timeout: 20 * time.Second}
			for range n {
				if c, err := d.Dial("tcp", f.at); err == nil {
					f.ask(c)
				}
			}
		})
	}
	all.Wait()
}

func (f *flood) ask(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_ = resp.Body.Close()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns = append(f.conns, c); len(f.conns) > 10_000 {
		_ = f.conns[0].Close()
		f.conns = f.conns[1:]
	}
	if err == nil {
		f.answered++
	}
}

// count returns how many connections were answered, and how many of all the server has not closed.
func (f *flood) count() (answered, open int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	return f.answered, open
}

func (f *flood) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.Close()
	}
}

// serving runs h and returns where, and the error that its last Write had.
func serving(t *testing.T, limit time.Duration, h http.Handler) string {
	t.Helper()
	srv := NewServer(ServerConfig{Handler: h, SlowLimit: limit})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// TestSlowReaders: who stops taking an answer is cut off, who takes a large one slowly gets all of it.
func TestSlowReaders(t *testing.T) {
	const size = 24 << 20
	ended := make(chan error, 2)
	limit := time.Second
	at := serving(t, limit, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(bytes.Repeat([]byte("x"), size))
		ended <- err
	}))
	connect := func() *net.TCPConn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		tcp := c.(*net.TCPConn)
		_ = tcp.SetReadBuffer(64 << 10)
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
		return tcp
	}
	t.Run("one that stops", func(t *testing.T) {
		connect()
		begun := time.Now()
		if err := <-ended; err == nil {
			t.Error("all of it was sent to a client that takes nothing")
		}
		if took := time.Since(begun); took > 20*limit {
			t.Errorf("it was cut off after %s, the limit is %s", took, limit)
		}
	})
	t.Run("one that moves", func(t *testing.T) {
		c := connect()
		begun, got, buf := time.Now(), 0, make([]byte, 256<<10)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			n, err := io.ReadFull(c, buf)
			if got += n; err != nil {
				break
			}
			<-tick.C
		}
		if err := <-ended; err != nil || got < size {
			t.Errorf("%d bytes in %s: %v", got, time.Since(begun), err)
		}
		if took := time.Since(begun); took < limit {
			t.Errorf("it took %s, which shows nothing", took)
		}
	})
}

// TestLateFlush: what a handler has written and flushes much later still has its own limit, as in a stream of few events.
func TestLateFlush(t *testing.T) {
	const limit = 200 * time.Millisecond
	at := serving(t, limit, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "late")
		<-time.After(2 * limit)
		_ = http.NewResponseController(w).Flush()
	}))
	resp, err := http.Get("http://" + at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "late" {
		t.Errorf("%q, %v", body, err)
	}
}

// TestSlowBodies: one that stands still is cut off, one that comes slowly is not.
func TestSlowBodies(t *testing.T) {
	const limit = 700 * time.Millisecond
	s := &server{Config: Config{SlowLimit: limit}}
	got := make(chan error, 1)
	at := serving(t, limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pace := newBodyPace(w, s.SlowLimit)
		n, buf := 0, make([]byte, 4096)
		for {
			pace.allow(n)
			m, err := r.Body.Read(buf)
			if n += m; err == io.EOF {
				pace.end()
				got <- nil
				return
			} else if err != nil {
				got <- bodyError(err)
				return
			}
		}
	}))
	send := func(pieces int) {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		const piece = 16 << 10
		_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 10*piece)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for range pieces {
			_, _ = io.WriteString(c, strings.Repeat(" ", piece))
			<-tick.C
		}
	}
	send(10)
	if err := <-got; err != nil {
		t.Errorf("one that moves: %v", err)
	}
	send(1)
	if err := <-got; err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("one that stands still: %v", err)
	}
}

// TestQuota: a client has its share, others have the rest, and what is given back can be taken.
func TestQuota(t *testing.T) {
	q := newShares(8)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	take := func(from netip.Addr, want error) func() {
		t.Helper()
		leave, err := q.take(over, from)
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return leave
	}
	first := take(a, nil)
	take(a, nil)
	take(a, errShare)
	take(b, nil)
	first()
	take(a, nil)
	var more []func()
	for i := range 5 {
		more = append(more, take(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), nil))
	}
	take(netip.MustParseAddr("10.0.2.1"), errFull)
	if len(q.by) != 7 {
		t.Errorf("%d clients are remembered", len(q.by))
	}
	t.Run("who waits gets what is given back", func(t *testing.T) {
		got := make(chan error, 1)
		go func() {
			_, err := q.take(context.Background(), netip.MustParseAddr("10.0.2.1"))
			got <- err
		}()
		more[0]()
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// TestStreamsOfOneClient: a client whose streams are open gets no more than its share.
func TestStreamsOfOneClient(t *testing.T) {
	s := &server{Config: Config{MaxStreams: 64}, streams: newShares(64)}
	one := netip.MustParseAddr("10.0.0.1")
	for range 16 {
		if _, err := s.streams.take(over, one); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.streams.take(over, one)
	if text := s.tooManyStreams(err); text != "this client has 16 event streams already" {
		t.Error(text)
	}
	if _, err := s.streams.take(over, netip.MustParseAddr("10.0.0.2")); err != nil {
		t.Errorf("another client: %v", err)
	}
	if text := s.tooManyStreams(errFull); text != "there are 64 event streams already" {
		t.Error(text)
	}
}

// TestWhoIsLetInIsNoStranger: an answer to a request with a right vouches for its connection, a refusal or a page for
// everybody does not.
func TestWhoIsLetInIsNoStranger(t *testing.T) {
	s := &server{}
	for _, c := range []struct {
		path   string
		status int
		want   bool
	}{
		{"/v1/secrets/*name", 200, true}, {"/v1/secrets", 201, true}, {"/v1/secrets/*name", 404, true}, {"/v1/secrets/*name", 412, true},
		{"/v1/secrets/*name", 401, false}, {"/v1/secrets/*name", 403, false}, {"/v1/secrets/*name", 429, false}, {"/v1/secrets", 503, false},
		{"/v1/secrets", 400, false}, {"/healthz", 200, false}, {"/readyz", 200, false}, {"/metrics", 200, false}, {pathOpenAPI, 200, false}, {"", 404, false},
	} {
		if got := s.letIn(c.path, c.status); got != c.want {
			t.Errorf("%s %d: %v", c.path, c.status, got)
		}
	}
}
