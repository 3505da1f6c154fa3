// Package agent is the key agent: a unix socket on which PostgreSQL backends of this node ask for data keys, so that
// no backend ever speaks to a key service. A request for the key of a read is the audit record of that read: the door
// behind the socket writes the record before the key leaves.
//
// Who may connect is decided by the kernel's word on the peer's user (SO_PEERCRED), beside the file mode: only the
// users listed, and no other user implicitly, neither root nor the user of this process. The peers are trusted to say which
// role asks; they are PostgreSQL.
//
// The package never logs what a frame holds, the request id apart, and wipes keys and frames once they are answered.
package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Defaults of Config.
const (
	DefaultMaxConns       = 4096
	DefaultFrameTimeout   = 5 * time.Second
	DefaultRequestTimeout = 10 * time.Second
)

// Door is what the agent asks for keys; *vault.Vault is one. Every method is safe for concurrent use.
type Door interface {
	// GenerateForSQL returns a new data key; the agent wipes it.
	GenerateForSQL(context.Context, vault.SQLCaller, vault.SQLGenerate) (vault.DataKey, error)
	// UnwrapForSQL returns the plain keys in the order asked; the agent wipes them.
	UnwrapForSQL(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([][]byte, error)
	// ReadEachForSQL returns the plain keys of many secrets in the order asked; the agent wipes them.
	ReadEachForSQL(context.Context, vault.SQLCaller, []vault.SQLItem) ([]vault.SQLKey, error)
	// LeaseForSQL returns the plain key of a read, which the agent wipes, and for how long the backend may keep it.
	LeaseForSQL(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([]byte, time.Duration, error)
	// RecordForSQL records what a backend refused or failed.
	RecordForSQL(context.Context, vault.SQLCaller, vault.SQLAttempt) error
}

// Leases gives backends the file in which they record what they read with leased keys; *audit.Journal is one. It is safe
// for concurrent use.
type Leases interface {
	// LeasedReads returns the number of the file and, unless the backend has it already, a descriptor that the agent
	// closes. 0 = there are no leases at the moment.
	LeasedReads(have uint64) (number uint64, f *os.File, err error)
}

// Config is what a Server is made of. Door, Socket and Peers are required.
type Config struct {
	Door   Door
	Socket string   // absolute path, at most 107 bytes
	Peers  []string // OS users who may connect: names or numeric ids
	Leases Leases   // nil = keys are not leased

	MaxConns       int           // connections at a time, one for each backend; 0 = DefaultMaxConns
	FrameTimeout   time.Duration // from a frame's first byte to its last, either way; 0 = DefaultFrameTimeout
	RequestTimeout time.Duration // bound of one answer; 0 = DefaultRequestTimeout
	Log            *slog.Logger  // nil = nowhere
}

// Server is a running key agent. Its methods are safe for concurrent use.
type Server struct {
	c      Config
	uids   map[uint32]bool
	socket *socket

	base   context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	served sync.WaitGroup // the accept loop and every connection
	fatal  chan error     // see Err

	mu      sync.Mutex
	closing bool
	conns   map[*conn]struct{}
	revoked uint64 // how often leases have ended

	repeats vault.Repeats
}

// Start listens and serves until Close. Errors: core.Invalid when a peer is no OS user or the socket's place is not
// usable, core.Exists when a live agent answers there already.
func Start(c Config) (*Server, error) {
	c.complete()
	peers, err := resolvePeers(c.Peers)
	if err != nil {
		return nil, err
	}
	sock, err := listen(c.Socket, peers.group, c.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, uids: peers.uids, socket: sock, conns: map[*conn]struct{}{}, fatal: make(chan error, 1)}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.served.Go(s.accept)
	return s, nil
}

func (c *Config) complete() {
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.FrameTimeout <= 0 {
		c.FrameTimeout = DefaultFrameTimeout
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Socket returns the path listened on.
func (s *Server) Socket() string { return s.c.Socket }

// Err gives at most one error: why the agent stopped accepting without being closed.
func (s *Server) Err() <-chan error { return s.fatal }

// Close stops accepting, closes idle connections, and waits for the answers under way until ctx ends; then it cuts
// those off too and returns ctx's error. The socket file goes if it is still this server's. It may be called twice.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	for c := range s.conns {
		if !c.busy {
			_ = c.net.Close()
		}
	}
	s.mu.Unlock()
	var err error
	if !again {
		err = s.socket.close()
	}
	done := make(chan struct{})
	go func() { s.served.Wait(); close(done) }()
	select {
	case <-done:
		s.cancel()
		return err
	case <-ctx.Done():
		s.cut()
		return errors.Join(err, ctx.Err())
	}
}

// cut ends every connection and tells every handler to stop; it does not wait for one that will not.
func (s *Server) cut() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.net.Close()
	}
}

// accept hands each connection to a goroutine of its own. Running out of descriptors is waited out; anything else that
// is not Close is fatal.
func (s *Server) accept() {
	for pause := time.Duration(0); ; {
		nc, err := s.socket.ln.AcceptUnix()
		if err == nil {
			pause = 0
			s.admit(nc)
			continue
		}
		if s.isClosing() {
			return
		}
		if !outOfResources(err) {
			s.fatal <- core.Wrap(core.Unavailable, err, "the key agent stopped accepting connections")
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.c.Log.Warn("key agent cannot accept a connection, trying again", "error", err, "after", pause)
		if !backoff.Sleep(s.base, pause) {
			return
		}
	}
}

// admit serves nc or turns it away with the reason.
func (s *Server) admit(nc *net.UnixConn) {
	c := &conn{s: s, net: nc}
	peer, err := peerOf(nc)
	switch {
	case err != nil:
		s.c.Log.Warn("key agent refused a connection: the peer is not known", "error", err)
		c.refuse(core.Errorf(core.Denied, "the key agent cannot identify the connecting process"))
	case !s.uids[peer.Uid]:
		s.c.Log.Warn("key agent refused a connection: this OS user may not connect", "uid", peer.Uid, "pid", peer.Pid)
		c.refuse(core.Errorf(core.Denied, "OS user %d may not use the key agent; VAULT_AGENT_PEERS lists the users that may", peer.Uid))
	default:
		if err := s.add(c); err != nil {
			c.refuse(err)
			return
		}
		s.served.Go(func() {
			defer s.remove(c)
			c.serve()
		})
	}
}

// add counts c in, unless the server is closing or full.
func (s *Server) add(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return core.Errorf(core.Unavailable, "the key agent is shutting down")
	}
	if len(s.conns) >= s.c.MaxConns {
		return core.Errorf(core.Unavailable, "the key agent already has %d connections, its limit", s.c.MaxConns)
	}
	s.conns[c] = struct{}{}
	return nil
}

func (s *Server) remove(c *conn) {
	_ = c.net.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// begin marks c busy, so that Close lets it answer; false when Close came first.
func (s *Server) begin(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	c.busy, c.seen = true, s.revoked
	return true
}

// end marks c idle; false when there is to be no further frame.
func (s *Server) end(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.busy = false
	return !s.closing && !(c.leased && c.seen != s.revoked)
}

// EndLeases closes every connection whose backend has leased keys, which makes the backend wipe them. One that is being
// answered is closed after its answer. The backend connects again when it next needs a key.
func (s *Server) EndLeases() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked++
	for c := range s.conns {
		if c.leased && !c.busy {
			_ = c.net.Close()
		}
	}
}

// lend marks c as one whose backend has leased keys.
func (s *Server) lend(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.leased = true
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// isHangup tells a peer that went away, or a connection that Close cut, from an error worth a line.
func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err)
}
