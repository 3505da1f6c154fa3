package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

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
	startedAt := time.Now()
	for range 25 {
		x.queryEach(t)
	}
	return time.Since(startedAt)
}

// queryEach asks four times as either client, on one new connection. Each must succeed.
func (x target) queryEach(t testing.TB) {
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
