package store

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// How soon the kernel gives up a peer that has gone without a word: what was sent and is not acknowledged, and a
// connection on which nothing is sent.
const (
	userTimeout       = 8 * time.Second
	keepAliveIdle     = 5 * time.Second
	keepAliveInterval = 2 * time.Second
	keepAliveCount    = 3
)

// errNoDial is what pgx gets when it wants to send a cancel request.
var errNoDial = errors.New("a statement is never cancelled from here")

// link is what is known of one connection beside pgx. It is safe for concurrent use.
type link struct {
	host     *host
	timeline uint32 // of the server when it was connected to; 0 = not asked
	begun    time.Time
	failed   func() // called when no address of the host is left to try

	mu     sync.Mutex
	left   int       // addresses to try
	socket net.Conn  // of the last dial; nil before
	up     bool      // connected: no further dial
	used   time.Time // when it last gave an answer
	idle   bool      // it lay in the pool for a while
}

// linkKey is where a connection's link is in its custom data.
const linkKey = "hyperion-vault.link"

func linkOf(c *pgx.Conn) *link { return c.PgConn().CustomData()[linkKey].(*link) }

// dial connects. Once the connection is up it refuses: pgx dials again only to cancel a statement. A cancel would end
// the wait of a commit for its standby, and with a server that is silent it keeps the connection's place in the pool.
func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	if up {
		return nil, errNoDial
	}
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount},
		ControlContext:  setUserTimeout,
	}
	c, err := d.DialContext(ctx, network, address)
	l.mu.Lock()
	l.left--
	l.socket = c
	l.mu.Unlock()
	if err != nil {
		l.giveUp()
		return nil, err
	}
	return &socket{Conn: c, l: l}, nil
}

// socket tells its link when it is closed.
type socket struct {
	net.Conn
	l *link
}

// Close implements net.Conn.
func (s *socket) Close() error {
	err := s.Conn.Close()
	s.l.giveUp()
	return err
}

// giveUp reports a failure to connect, at the last address. Nobody else may hear of it: connecting goes on in the
// background when whoever wanted the connection has left.
func (l *link) giveUp() {
	l.mu.Lock()
	lost := !l.up && l.left <= 0
	l.mu.Unlock()
	if lost && l.failed != nil {
		l.failed()
	}
}

// lookup wraps the function that finds the addresses of a host, to count them.
func (l *link) lookup(find pgconn.LookupFunc) pgconn.LookupFunc {
	return func(ctx context.Context, name string) ([]string, error) {
		found, err := find(ctx, name)
		l.mu.Lock()
		l.left += len(found)
		l.mu.Unlock()
		if err != nil {
			l.giveUp()
		}
		return found, err
	}
}

func setUserTimeout(_ context.Context, network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}

// cut closes the socket under pgx, so that whoever waits for an answer stops waiting. The server goes on with what it
// got.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
}

func (l *link) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.used = true, time.Now()
}

func (l *link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used, l.idle = time.Now(), false
}

func (l *link) state() (used time.Time, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.idle
}

func (l *link) lay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = true
}
