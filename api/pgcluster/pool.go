package pgcluster

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// idleTime is after how long an unused connection is tried before it is handed out.
	idleTime = time.Second
	// closeGrace is what Close waits after it has cut the connections that were still in use.
	closeGrace = time.Second
)

// Servers that the writer does not take, beside those that cannot be reached.
var (
	ErrInRecovery = errors.New("the server is in recovery")
	ErrReadOnly   = errors.New("the server takes no changes: default_transaction_read_only is on")
	ErrOutdated   = errors.New("the server is a primary of an older timeline than one that was seen before")
	ErrSilent     = errors.New("the server does not answer")
	ErrClosed     = errors.New("the database connections were closed")
	// ErrSlow is a server that answers others, and whose answer to this one was not waited for any longer.
	ErrSlow = errors.New("the server did not answer in the share of the time that one try has")
	// ErrBusy is the end of a wait for one of the pool's connections, all of which were in use.
	ErrBusy = errors.New("all connections of the pool are in use")
)

// Server is one PostgreSQL server of the settings.
type Server struct {
	Name string
	Conn *pgx.ConnConfig
}

// Options are what a pool is for, and what its user knows better.
type Options struct {
	Writer         bool          // only a primary will do
	StayHome       bool          // a reader reads from its first host even when that was left behind
	NewestTimeline func() uint32 // timeline of the newest primary seen; nil = not known here
	// Check refuses a new connection to a server that is of no use.
	Check func(context.Context, *pgconn.PgConn) error
	// Permanent reports whether an error does not go away by waiting.
	Permanent func(error) bool
	// SchemaChanged reports whether an error comes from an update of the schema while a statement ran.
	SchemaChanged func(error) bool
}

// Pool is a pgxpool.Pool each of whose connections is to the one host that is best at the time, and which notices
// servers that fall silent without closing a connection. It is safe for concurrent use.
type Pool struct {
	*pgxpool.Pool
	Options
	hosts *hostList
	shown shown

	background     context.Context // of what goes on in the background
	stopBackground context.CancelFunc
	work           sync.WaitGroup

	surveying    sync.Mutex
	surveyedAt   time.Time // guarded by surveying
	surveySoonAt time.Time // when the last survey in the background was started, guarded by mu

	mu        sync.Mutex
	closed    bool
	returning bool                    // returnToPreferred runs in the background
	conns     map[*connState]struct{} // of the connections in the pool
}

// New prepares a pool; it connects to nothing. config is changed.
func New(config *pgxpool.Config, servers []Server, o Options) (*Pool, error) {
	p := &Pool{Options: o, hosts: &hostList{sticky: o.Writer}, conns: map[*connState]struct{}{}}
	for i, s := range servers {
		p.hosts.all = append(p.hosts.all, &Host{Name: s.Name, Index: i, conn: s.Conn})
	}
	p.background, p.stopBackground = context.WithCancel(context.Background())
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		p.pointAt(c, p.hosts.pick())
		return nil
	}
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.conns[stateOf(c)] = struct{}{}
		return nil
	}
	config.BeforeClose = func(c *pgx.Conn) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, stateOf(c))
	}
	config.ShouldPing = func(_ context.Context, x pgxpool.ShouldPingParams) bool {
		if x.IdleDuration > idleTime {
			stateOf(x.Conn).noteIdle()
		}
		return false // prepare does it, within a bound and for all connections of a host at once
	}
	config.PrepareConn = p.prepare
	var err error
	p.Pool, err = pgxpool.NewWithConfig(p.background, config)
	return p, err
}

// pointAt makes the settings of a connection those of one host.
func (p *Pool) pointAt(c *pgx.ConnConfig, x *Host) *connState {
	l := p.newConnState(x)
	c.Host, c.Port, c.Password, c.TLSConfig, c.Fallbacks = x.conn.Host, x.conn.Port, x.conn.Password, x.conn.TLSConfig, x.conn.Fallbacks
	c.DialFunc, c.LookupFunc = l.dial, l.countAddresses(x.conn.LookupFunc)
	c.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) (err error) {
		err = checkDirect(ctx, pc)
		switch {
		case err != nil:
		case p.Writer:
			l.timeline, err = p.checkPrimary(ctx, pc, waitForFlush+reportPosition)
		default:
			err = p.checkReader(ctx, x, pc, true)
		}
		if err == nil {
			err = p.Check(ctx, pc)
		}
		if err != nil {
			p.hosts.noteRefusal(x, err)
			p.hosts.noteFailure(x, l.begunAt, ctx.Err() != nil)
			return err
		}
		pc.CustomData()[stateKey] = l
		l.noteConnected()
		p.noteArrival(x)
		p.startComingHome(x)
		return nil
	}
	return l
}

// noteArrival notes that a connection to x was made. A reader that gets one to a better host than before gives up the others:
// two servers in turn would show two states in turn.
func (p *Pool) noteArrival(x *Host) {
	before := p.hosts.current()
	p.hosts.noteConnected(x)
	if !p.Writer && before != nil && x.Index < before.Index {
		p.hosts.expectReads(x)
		p.Reset()
	}
}

func (p *Pool) newConnState(x *Host) *connState {
	l := &connState{host: x, begunAt: time.Now()}
	l.onUnreachable = func() {
		p.hosts.noteUnreachable(x, l.begunAt)
		p.hosts.forgetRefusal(x, l.begunAt)
	}
	if strings.HasPrefix(x.conn.Host, "/") {
		l.addressesLeft = 1 // nothing is looked up
	}
	return l
}

// waitForFlush makes the session wait until its commits are flushed, whatever the server's default: an answered change
// could otherwise be lost by a crash, and where its record ends would not be known. What is stricter than on, and local,
// which waits for no standby, are the operator's choice and stay.
const waitForFlush = `; SELECT pg_catalog.set_config('synchronous_commit', CASE s WHEN 'off' THEN 'on' ELSE s END, false)
	FROM pg_catalog.current_setting('synchronous_commit') s`

// reportPosition has the answer to each change say where its commit ends, if the extension is loaded and can do that.
const (
	reportPosition = `; SELECT pg_catalog.set_config('` + positionSetting + `', 'on', false)
	WHERE pg_catalog.current_setting('` + positionSetting + `', true) IS NOT NULL`
	positionSetting = "hyperion_vault.report_position"
)

// checkPrimary asks a server whether it is the primary, and of which timeline. The name of a WAL file begins with that.
func (p *Pool) checkPrimary(ctx context.Context, pc *pgconn.PgConn, more string) (uint32, error) {
	results, err := pc.Exec(ctx, `SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'),
		CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()) END`+more).ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) == 0 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 3 {
		return 0, errors.New("the server did not say what it is")
	}
	row := results[0].Rows[0]
	if string(row[0]) != "f" {
		return 0, ErrInRecovery
	}
	if string(row[1]) != "off" {
		return 0, ErrReadOnly
	}
	var timeline [4]byte
	if len(row[2]) < 8 {
		return 0, errors.New("the server did not say its timeline")
	}
	if _, err := hex.Decode(timeline[:], row[2][:8]); err != nil {
		return 0, errors.New("the server did not say its timeline")
	}
	t := binary.BigEndian.Uint32(timeline[:])
	if !p.hosts.noteTimeline(t) {
		return 0, ErrOutdated
	}
	return t, nil
}

// prepare decides whether a connection of the pool is handed out. One that was not used for a while is tried first: a
// change must not be the first to learn that it is of no use.
func (p *Pool) prepare(ctx context.Context, c *pgx.Conn) (bool, error) {
	l := stateOf(c)
	used, idle := l.lastUse()
	_, failed := p.hosts.lastSeen(l.host)
	if failed.After(used) || p.hosts.isOutdated(l.timeline) {
		l.cut()
		return false, nil
	}
	if !idle && p.showsEnough(l.host) {
		return true, nil
	}
	startedAt := time.Now()
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var err error
	if p.Writer {
		_, err = p.checkPrimary(bounded, c.PgConn(), "")
	} else if err = c.Ping(bounded); err == nil {
		err = p.checkShown(bounded, l, c.PgConn())
	}
	if err == nil {
		p.noteAnswer(l)
		return true, nil
	}
	l.cut()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if bounded.Err() != nil {
		p.hosts.noteFailure(l.host, startedAt, true)
	}
	return false, nil
}

func (p *Pool) noteAnswer(l *connState) {
	l.noteAnswer()
	p.hosts.noteAnswer(l.host)
}

// Dial returns a connection that is not of the pool. The caller closes it.
func (p *Pool) Dial(ctx context.Context) (*pgx.Conn, error) {
	var last error
	for range 2 * len(p.hosts.all) {
		x := p.hosts.pick()
		config := x.conn.Copy()
		p.pointAt(config, x)
		c, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return c, nil
		}
		p.skipRefusing(err)
		last = p.preferClearError(last, err)
		if ctx.Err() != nil || !p.hosts.hasUntried() {
			break
		}
	}
	return nil, last
}

// startWork reports whether something may start in the background; it then calls p.work.Done.
func (p *Pool) startWork() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1)
	return true
}

// CloseWithin closes the connections, and waits for those in use until ctx ends; then it cuts them and returns an error.
func (p *Pool) CloseWithin(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stopBackground()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Close()
		p.work.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	for l := range p.conns {
		l.cut()
	}
	p.mu.Unlock()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	select {
	case <-done:
	case <-grace.Done():
	}
	return errors.New("a database connection was still in use")
}
