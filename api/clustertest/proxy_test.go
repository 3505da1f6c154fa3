package clustertest

import (
	"net"
	"sync"
)

// link is a way from one place to another that can be cut. A cut one takes connections and passes nothing on, in
// neither direction: to both ends the other one hangs, as it does when the network between two machines goes.
//
// Links are proxies and not network namespaces because those need rights that few containers have.
type link struct {
	ln net.Listener
	to string
	wg sync.WaitGroup

	mu     sync.Mutex
	whole  *sync.Cond // waited for while cut
	cut    bool
	closed bool
	open   map[net.Conn]bool
}

func newLink(from, to string) (*link, error) {
	ln, err := net.Listen("tcp", from)
	if err != nil {
		return nil, err
	}
	l := &link{ln: ln, to: to, open: map[net.Conn]bool{}}
	l.whole = sync.NewCond(&l.mu)
	l.wg.Go(l.accept)
	return l, nil
}

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.whole.Broadcast()
}

// pass waits while the link is cut; false: it is closed.
func (l *link) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.closed {
		l.whole.Wait()
	}
	return !l.closed
}

func (l *link) close() {
	_ = l.ln.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.open {
		_ = c.Close()
	}
	l.whole.Broadcast()
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		if !l.keep(c) {
			_ = c.Close()
			return
		}
		l.wg.Go(func() { l.serve(c) })
	}
}

// keep remembers c so that close reaches it.
func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.open[c] = true
	return true
}

func (l *link) forget(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *link) serve(client net.Conn) {
	defer l.forget(client)
	if !l.pass() {
		return
	}
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer l.forget(server)
	if !l.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.copy(server, client) })
	both.Go(func() { l.copy(client, server) })
	both.Wait()
}

// copy passes bytes on, and the end of the connection no sooner than the bytes before it: what hangs, hangs.
func (l *link) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !l.pass() {
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}
