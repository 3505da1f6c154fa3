package pgcluster

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

// connState is what is known of one connection beside pgx. It is safe for concurrent use.
type connState struct {
	host          *Host
	timeline      uint32 // of the server when it was connected to; 0 = not asked
	begunAt       time.Time
	onUnreachable func() // called when no address of the host is left to try

	mu            sync.Mutex
	addressesLeft int       // addresses to try
	socket        net.Conn  // of the last dial; nil before
	up            bool      // connected: no further dial
	answeredAt    time.Time // when it last gave an answer
	idle          bool      // it lay in the pool for a while
}

// stateKey is where a connection's link is in its custom data.
const stateKey = "hyperion-vault.link"

func stateOf(c *pgx.Conn) *connState { return c.PgConn().CustomData()[stateKey].(*connState) }

// dial connects. Once the connection is up it refuses: pgx dials again only to cancel a statement. A cancel would end
// the wait of a commit for its standby, and with a server that is silent it keeps the connection's place in the pool.
func (l *connState) dial(ctx context.Context, network, address string) (net.Conn, error) {
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
	l.addressesLeft--
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
	l *connState
}

// Close implements net.Conn.
func (s *socket) Close() error {
	err := s.Conn.Close()
	s.l.giveUp()
	return err
}

// giveUp reports a failure to connect, at the last address. No other code may report it: connecting goes on in the
// background when the caller that wanted the connection has left.
func (l *connState) giveUp() {
	l.mu.Lock()
	lost := !l.up && l.addressesLeft <= 0
	l.mu.Unlock()
	if lost && l.onUnreachable != nil {
		l.onUnreachable()
	}
}

// countAddresses wraps the function that finds the addresses of a host, to count them.
func (l *connState) countAddresses(find pgconn.LookupFunc) pgconn.LookupFunc {
	return func(ctx context.Context, name string) ([]string, error) {
		found, err := find(ctx, name)
		l.mu.Lock()
		l.addressesLeft += len(found)
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

// cut closes the socket under pgx, so that a caller that waits for an answer stops waiting. The server goes on with what it
// got.
func (l *connState) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
}

func (l *connState) noteConnected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.answeredAt = true, time.Now()
}

func (l *connState) noteAnswer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answeredAt, l.idle = time.Now(), false
}

func (l *connState) lastUse() (used time.Time, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answeredAt, l.idle
}

func (l *connState) noteIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = true
}
