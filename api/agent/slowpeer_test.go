package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

func TestServeHalfClosed(t *testing.T) {
	s, _ := start(t, Config{Door: okDoor()})
	c := dial(t, s)
	send(t, c, generateRequest())
	send(t, c, recordRequest())
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, c); r.Op != frame.OpGenerate || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	if r := receive(t, c); r.Op != frame.OpRecord || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	wantClosed(t, c)
}

// TestServeSlowPeer: a frame whose first byte has come must end in time; between frames there is no limit. The slow connections are
// the clock for the idle one.
func TestServeSlowPeer(t *testing.T) {
	const limit = 100 * time.Millisecond
	s, _ := start(t, Config{Door: okDoor(), FrameTimeout: limit})
	idle := dial(t, s)
	ask(t, idle, recordRequest())
	valid, err := frame.AppendRequest(nil, recordRequest())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 4, len(valid) - 1} {
		c := dial(t, s)
		began := time.Now()
		if _, err := c.Write(valid[:n]); err != nil {
			t.Fatal(err)
		}
		r := receive(t, c)
		if r.Code != core.Invalid || !strings.Contains(r.Msg, "did not arrive within 100ms") {
			t.Fatalf("after %d bytes: %s %q", n, r.Code, r.Msg)
		}
		if d := time.Since(began); d < limit || d > 20*time.Second {
			t.Errorf("after %d bytes it took %s", n, d)
		}
		wantClosed(t, c)
	}
	t.Run("OKIdle", func(t *testing.T) {
		if r := ask(t, idle, recordRequest()); r.Code != "" {
			t.Fatalf("idle connection: %s %q", r.Code, r.Msg)
		}
	})
	t.Run("OKBytewise", func(t *testing.T) {
		for i := range valid {
			if _, err := idle.Write(valid[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if r := receive(t, idle); r.Code != "" {
			t.Fatalf("got %s %q", r.Code, r.Msg)
		}
	})
}

// TestServePeerThatDoesNotRead fills the socket until the server's write times out and the connection ends.
func TestServePeerThatDoesNotRead(t *testing.T) {
	s, _ := start(t, Config{Door: okDoor(), FrameTimeout: 50 * time.Millisecond})
	c := dial(t, s)
	b, err := frame.AppendRequest(nil, unwrapRequest(64))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = c.Write(b)
	}
	if !isReset(err) {
		t.Fatalf("want a broken pipe, got %v", err)
	}
	if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
		t.Fatalf("others: %s %q", r.Code, r.Msg)
	}
}

func TestServeManyConnections(t *testing.T) {
	const n = 1000
	s, _ := start(t, Config{Door: okDoor(), MaxConns: n})
	conns := make([]*net.UnixConn, n)
	for i := range conns {
		conns[i] = dial(t, s)
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			for range 3 {
				b, _ := frame.AppendRequest(nil, unwrapRequest(2))
				if _, err := c.Write(b); err != nil {
					t.Error(err)
					return
				}
				if r, err := readResponse(c); err != nil || r.Code != "" || len(r.Keys) != 2 {
					t.Errorf("%+v %v", r, err)
					return
				}
			}
		})
	}
	wg.Wait()
	extra := dial(t, s)
	if r := receive(t, extra); r.Code != core.Unavailable || !strings.Contains(r.Msg, "1000 connections") {
		t.Fatalf("one too many: %s %q", r.Code, r.Msg)
	}
	wantClosed(t, extra)
	if err := conns[0].CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, conns[0])
	// The place is free once the server has forgotten the connection, which may be a moment after the peer saw its end.
	for deadline := time.Now().Add(10 * time.Second); ; {
		c := dial(t, s)
		b, _ := frame.AppendRequest(nil, recordRequest())
		_, _ = c.Write(b)
		r := receive(t, c)
		if r.Code == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the freed place is not given again: %s", r.Msg)
		}
	}
}

func TestCloseFinishesWhatIsInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	door := okDoor()
	door.record = func(context.Context, vault.SQLCaller, vault.SQLAttempt) error {
		close(entered)
		<-release
		return nil
	}
	s, _ := start(t, Config{Door: door})
	busy, idle := dial(t, s), dial(t, s)
	ask(t, idle, generateRequest())
	send(t, busy, recordRequest())
	send(t, busy, generateRequest()) // not started, so not answered
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	wantClosed(t, idle)
	select {
	case err := <-closed:
		t.Fatalf("closed while a request was under way: %v", err)
	default:
	}
	close(release)
	if r := receive(t, busy); r.Op != frame.OpRecord || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	wantClosed(t, busy)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	select {
	case err := <-s.Err():
		t.Errorf("Close is not a failure: %v", err)
	default:
	}
}

func TestCloseGivesUp(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	door := okDoor()
	door.record = func(ctx context.Context, _ vault.SQLCaller, _ vault.SQLAttempt) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	s, err := Start(Config{Door: door, Socket: filepath.Join(shortDir(t), "a.sock"), Peers: []string{me()}, RequestTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	send(t, c, recordRequest())
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	<-left
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
