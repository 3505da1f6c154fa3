package store

import (
	"net"
	"path/filepath"
	"sync"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// wire is a TCP way to a server that can go silent, as a network does that drops packets: nothing is closed.
type wire struct {
	ln     net.Listener
	socket string
	wg     sync.WaitGroup

	done chan struct{}

	mu      sync.Mutex
	passing chan struct{} // closed while bytes pass
	conns   map[net.Conn]chan struct{}
}

func (s *server) wire() *wire {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	w := &wire{ln: ln, done: make(chan struct{}), socket: filepath.Join(s.dir, ".s.PGSQL.5432"), passing: make(chan struct{}), conns: map[net.Conn]chan struct{}{}}
	close(w.passing)
	w.wg.Go(w.accept)
	s.t.Cleanup(func() {
		_ = ln.Close()
		close(w.done)
		w.mu.Lock()
		for c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

func (w *wire) host() string { return w.ln.Addr().String() }

// hang stops everything, on connections that are there and on new ones.
func (w *wire) hang() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passing = make(chan struct{})
	for c := range w.conns {
		w.conns[c] = w.passing
	}
}

// hangOpen stops the connections that are there; new ones work.
func (w *wire) hangOpen() (thaw func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gate := make(chan struct{})
	for c := range w.conns {
		w.conns[c] = gate
	}
	return sync.OnceFunc(func() { close(gate) })
}

func (w *wire) gate(c net.Conn) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[c]
}

func (w *wire) accept() {
	for {
		client, err := w.ln.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("unix", w.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[back] = w.passing, w.passing
		w.mu.Unlock()
		w.wg.Go(func() { w.copy(client, back) })
		w.wg.Go(func() { w.copy(back, client) })
	}
}

func (w *wire) copy(from, to net.Conn) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		select {
		case <-w.gate(from):
		case <-w.done:
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// sessions is how many connections of the pools a server has.
func (s *server) sessions() int64 {
	s.t.Helper()
	return value[int64](s, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault_service'")
}

func (s *server) mustRead(d *DB, name core.Name) vault.StoredValue {
	s.t.Helper()
	rows, err := sealedRows(d, s.t.Context(), []core.Name{name}, 0, vault.Freshness{})
	must(s.t, err)
	if len(rows) != 1 {
		s.t.Fatalf("%d rows", len(rows))
	}
	return rows[0]
}
