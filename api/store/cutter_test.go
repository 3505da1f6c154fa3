package store

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"sync"
)

// cutter is a TCP way to the server that can lose what a client waits for.
type cutter struct {
	ln     net.Listener
	socket string
	wg     sync.WaitGroup

	mu     sync.Mutex
	marker []byte // in what the client sends
	mode   cutMode
	times  int
	first  func() // called before the next loss, when the server has done what it is to do
	open   map[net.Conn]bool
}

type cutMode int

const (
	beforeServer cutMode = iota // the server never sees it
	afterServer                 // the server does it, the client does not hear of it
)

func (s *server) cutter() *cutter {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	c := &cutter{ln: ln, socket: filepath.Join(s.dir, ".s.PGSQL.5432"), open: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	s.t.Cleanup(c.close)
	return c
}

func (c *cutter) close() {
	_ = c.ln.Close()
	c.mu.Lock()
	for conn := range c.open {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// lose arms the cutter: the next times that marker passes, the connection is cut.
func (c *cutter) lose(marker []byte, mode cutMode, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marker, c.mode, c.times = marker, mode, times
}

// left is how many losses are still to come.
func (c *cutter) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// meanwhile has f happen just before the connection is cut next.
func (c *cutter) meanwhile(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = f
}

func (c *cutter) hit(b []byte) (cutMode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == 0 || !bytes.Contains(b, c.marker) {
		return 0, false
	}
	c.times--
	return c.mode, true
}

func (c *cutter) happen() {
	c.mu.Lock()
	f := c.first
	c.first = nil
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

func (c *cutter) accept() {
	for {
		client, err := c.ln.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("unix", c.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		c.mu.Lock()
		c.open[client], c.open[back] = true, true
		c.mu.Unlock()
		deaf := make(chan struct{})
		c.wg.Go(func() { c.toServer(client, back, deaf) })
		c.wg.Go(func() { c.toClient(client, back, deaf) })
	}
}

// toServer passes on what the client sends. Messages of these tests are small
// enough to arrive in one piece.
func (c *cutter) toServer(client, back net.Conn, deaf chan struct{}) {
	defer func() { _ = client.Close(); _ = back.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		mode, hit := c.hit(buf[:n])
		if hit && mode == beforeServer {
			c.happen()
			return
		}
		if hit {
			close(deaf)
		}
		if _, err := back.Write(buf[:n]); err != nil {
			return
		}
		if hit {
			_, _ = io.Copy(io.Discard, client) // until toClient closes it
			return
		}
	}
}

// toClient passes on answers, until told that the next is to be lost.
func (c *cutter) toClient(client, back net.Conn, deaf chan struct{}) {
	defer func() { _ = client.Close(); _ = back.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := back.Read(buf)
		select {
		case <-deaf:
			c.happen() // the answer is here, so it is done
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (c *cutter) host() string { return c.ln.Addr().String() }
