package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

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
		startedAt := time.Now()
		if err := <-ended; err == nil {
			t.Error("all of it was sent to a client that takes nothing")
		}
		if took := time.Since(startedAt); took > 20*limit {
			t.Errorf("it was cut off after %s, the limit is %s", took, limit)
		}
	})
	t.Run("one that moves", func(t *testing.T) {
		c := connect()
		startedAt, got, buf := time.Now(), 0, make([]byte, 256<<10)
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
			t.Errorf("%d bytes in %s: %v", got, time.Since(startedAt), err)
		}
		if took := time.Since(startedAt); took < limit {
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
