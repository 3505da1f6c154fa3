package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

const honestAddress = "127.0.2.1"

// secure is a server with TLS to which honestAddress alone may come.
type secure struct {
	*api
	at      string
	ca      *pki.CA
	running atomic.Int64 // handlers
	most    atomic.Int64 // of them at a time
}

// serveSecure serves with TLS. A body may stand still for slowLimit, 0 = as usual.
func serveSecure(t *testing.T, slowLimit time.Duration) *secure {
	t.Helper()
	s := &secure{api: newAPI(t), ca: pki.NewCA(t)}
	s.create("a", marker)
	honest := netip.MustParseAddr(honestAddress)
	srv := httpapi.NewServer(httpapi.ServerConfig{
		Handler: http.HandlerFunc(s.count), Known: func(a netip.Addr) bool { return a == honest }, SlowLimit: slowLimit,
		TLS: &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(t, "s", time.Now().Add(time.Hour)).TLS(t)}, NextProtos: []string{"h2", "http/1.1"}},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.at = ln.Addr().String()
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { must(t, srv.Close()) })
	return s
}

func (s *secure) count(w http.ResponseWriter, r *http.Request) {
	n := s.running.Add(1)
	defer s.running.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	if from, _, _ := net.SplitHostPort(r.RemoteAddr); from == honestAddress {
		r.RemoteAddr = inside
	} else {
		r.RemoteAddr = outside
		<-time.After(200 * time.Millisecond) // its refusal is slow, so that they pile up
	}
	s.ServeHTTP(w, r)
}

func (s *secure) config() *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}}
}

// honestPause is between two requests of the honest client: the machine is for the flood.
const honestPause = 10 * time.Millisecond

// meanwhile runs flood, and an honest client beside it: each of its requests must succeed within a few seconds, on
// connections that it has and on new ones.
func (s *secure) meanwhile(flood func()) {
	s.t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		flood()
	}()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(honestAddress)}}
	tr := &http.Transport{DialContext: d.DialContext, TLSClientConfig: s.config(), ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	var slowest time.Duration
	n := 0
	for done := false; !done || n < 20; n++ {
		if n%4 == 0 {
			tr.CloseIdleConnections()
		}
		startedAt := time.Now()
		if err := s.read(client); err != nil {
			s.t.Errorf("an honest request: %v", err)
			break
		}
		slowest = max(slowest, time.Since(startedAt))
		select {
		case <-over:
			done = true
		case <-time.After(honestPause):
		}
	}
	<-over
	s.t.Logf("%d honest requests, the slowest in %s; at most %d handlers ran", n, slowest.Round(time.Millisecond), s.most.Load())
}

func (s *secure) read(c *http.Client) error {
	r, err := http.NewRequestWithContext(context.Background(), "GET", "https://"+s.at+"/v1/secrets/a", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Host = "localhost"
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte(marker)) {
		s.t.Errorf("%d %v", resp.StatusCode, err)
	}
	return nil
}

// TestHalfOpenHandshakes: connections that never finish TLS, be it that they say nothing, half of a greeting or a byte
// now and then, end soon, and keep no other client away.
func TestHalfOpenHandshakes(t *testing.T) {
	// They end after 5 s. By the limits of bodies and of answers they would be there after this, on a machine of any speed.
	const bound = 40 * time.Second
	s := serveSecure(t, time.Hour)
	greeting := greeting(t)
	var kept atomic.Int64
	s.meanwhile(func() {
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 4, byte(i%50+1))}}
				c, err := d.Dial("tcp", s.at)
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
				startedAt := time.Now()
				_ = c.SetReadDeadline(startedAt.Add(bound))
				switch i % 3 {
				case 1:
					_, _ = c.Write(greeting[:len(greeting)/2])
				case 2:
					stop := drip(c, greeting)
					defer stop()
				}
				_, _ = io.Copy(io.Discard, c)
				if time.Since(startedAt) >= bound {
					kept.Add(1)
				}
			})
		}
		all.Wait()
	})
	if n := kept.Load(); n > 0 {
		t.Errorf("%d half-open handshakes are there after %s", n, bound)
	}
}

// drip sends a byte four times a second until it is stopped.
func drip(c net.Conn, b []byte) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for i := 0; i < len(b)-1; i++ { // never the last
			if _, err := c.Write(b[i : i+1]); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		all.Wait()
	}
}

// greeting is how a TLS client begins.
func greeting(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer func() { _ = server.Close() }()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake() }()
	b := make([]byte, 4096)
	n, err := server.Read(b)
	must(t, err)
	return b[:n]
}

// attacker speaks HTTP/2 frame by frame.
type attacker struct {
	*http2.Framer
	conn   net.Conn
	header bytes.Buffer
	encode *hpack.Encoder
}

func (s *secure) attacker() (*attacker, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 4, 1)}, Timeout: 10 * time.Second}
	c, err := tls.DialWithDialer(&d, "tcp", s.at, s.config())
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	a := &attacker{Framer: http2.NewFramer(c, c), conn: c}
	a.encode = hpack.NewEncoder(&a.header)
	if _, err = io.WriteString(c, http2.ClientPreface); err == nil {
		err = a.WriteSettings()
	}
	return a, err
}

// request is the block of headers of a request.
func (a *attacker) request(method string) []byte {
	a.header.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/v1/secrets/a"}} {
		_ = a.encode.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return a.header.Bytes()
}

// turnedOut reads what the server says, and tells at the end whether it has ended the connection with an error.
func (a *attacker) turnedOut() <-chan bool {
	out := make(chan bool, 1)
	go func() {
		for {
			f, err := a.ReadFrame()
			if err != nil {
				out <- false
				return
			}
			if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
				out <- true
				return
			}
		}
	}()
	return out
}

// floodConns is how many connections a flood has, one after another.
const floodConns = 4

// floods sends frames on each connection until an error comes, and returns how many the server ended with an error.
func (s *secure) floods(frames int, send func(a *attacker, i int) error) (ended int) {
	for range floodConns {
		a, err := s.attacker()
		if err != nil {
			s.t.Error(err)
			continue
		}
		out := a.turnedOut()
		for i := 0; i < frames && err == nil; i++ {
			err = send(a, i)
		}
		_ = a.conn.SetReadDeadline(time.Now().Add(3 * time.Second)) // for what the server has to say
		if <-out {
			ended++
		}
		_ = a.conn.Close()
	}
	return ended
}

// fewHandlers checks that no connection had more handlers at a time than streams are allowed.
func (s *secure) fewHandlers() {
	s.t.Helper()
	const streams, honest = 250, 1
	if n := s.most.Load(); n > floodConns*streams+honest {
		s.t.Errorf("%d handlers ran at a time", n)
	}
}

// TestRapidReset: streams that are opened and reset at once, as many as a client can send, keep no other client away and have few
// handlers run at a time.
func TestRapidReset(t *testing.T) {
	s := serveSecure(t, 0)
	var ended int
	s.meanwhile(func() {
		ended = s.floods(50_000, func(a *attacker, i int) error {
			id := uint32(2*i + 1)
			if err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.request("GET"), EndStream: true, EndHeaders: true}); err != nil {
				return err
			}
			return a.WriteRSTStream(id, http2.ErrCodeCancel)
		})
	})
	// A server that keeps pace with them has no reason to.
	t.Logf("%d of %d connections were ended", ended, floodConns)
	s.fewHandlers()
}

// TestHeadersFlood: a header that never ends, and streams whose bodies never come, are ended by the server and keep no
// other client away.
func TestHeadersFlood(t *testing.T) {
	t.Run("one that never ends", func(t *testing.T) {
		s := serveSecure(t, 0)
		junk := []byte(strings.Repeat("x", 100))
		var ended int
		s.meanwhile(func() {
			ended = s.floods(200_000, func(a *attacker, i int) error {
				if i == 0 {
					return a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.request("GET")})
				}
				a.header.Reset()
				_ = a.encode.WriteField(hpack.HeaderField{Name: "x", Value: string(junk), Sensitive: true})
				return a.WriteContinuation(1, false, a.header.Bytes())
			})
		})
		if ended != floodConns {
			t.Errorf("%d of %d connections were ended", ended, floodConns)
		}
	})
	t.Run("bodies that never come", func(t *testing.T) {
		s := serveSecure(t, 0)
		s.meanwhile(func() {
			s.floods(20_000, func(a *attacker, i int) error {
				return a.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: a.request("PUT"), EndHeaders: true})
			})
		})
		s.fewHandlers()
	})
}
