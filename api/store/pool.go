package store

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
	errInRecovery = errors.New("the server is in recovery")
	errReadOnly   = errors.New("the server takes no changes: default_transaction_read_only is on")
	errOutdated   = errors.New("the server is a primary of an older timeline than one that was seen before")
	errSilent     = errors.New("the server does not answer")
	errClosed     = errors.New("the database connections were closed")
	// errSlow is a server that answers others, and whose answer to this one was not waited for any longer.
	errSlow = errors.New("the server did not answer in the share of the time that one try has")
	// errBusy is the end of a wait for one of the pool's connections, all of which were in use.
	errBusy = errors.New("all connections of the pool are in use")
	// errCrowded is in place of a wait for a connection that would keep other secrets' changes from theirs.
	errCrowded = errors.New("the secret's share of the connections is in use and its queue is full")
)

// pool is a pgxpool.Pool each of whose connections is to the one host that is best at the time, and which notices
// servers that fall silent without closing a connection. It is safe for concurrent use.
type pool struct {
	*pgxpool.Pool
	hosts  *hosts
	writer bool          // only a primary will do
	stay   bool          // a reader reads from its first host even when that was left behind
	newest func() uint32 // timeline of the newest primary seen; nil = not known here
	shown  shown

	life context.Context // of what goes on in the background
	end  context.CancelFunc
	work sync.WaitGroup

	looking sync.Mutex
	looked  time.Time // at all hosts, guarded by looking
	begunAt time.Time // the last look of surveySoon, guarded by mu

	mu     sync.Mutex
	closed bool
	away   bool               // somebody looks for a better host
	links  map[*link]struct{} // of the connections in the pool
}

// newPool prepares a pool; it connects to nothing. config is changed.
func newPool(config *pgxpool.Config, h *hosts, writer bool) (*pool, error) {
	p := &pool{hosts: h, writer: writer, links: map[*link]struct{}{}}
	p.life, p.end = context.WithCancel(context.Background())
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		p.aim(c, h.pick())
		return nil
	}
	config.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.links[linkOf(c)] = struct{}{}
		return nil
	}
	config.BeforeClose = func(c *pgx.Conn) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, linkOf(c))
	}
	config.ShouldPing = func(_ context.Context, x pgxpool.ShouldPingParams) bool {
		if x.IdleDuration > idleTime {
			linkOf(x.Conn).lay()
		}
		return false // prepare does it, within a bound and for all connections of a host at once
	}
	config.PrepareConn = p.prepare
	var err error
	p.Pool, err = pgxpool.NewWithConfig(p.life, config)
	return p, err
}

// aim makes the settings of a connection those of one host.
func (p *pool) aim(c *pgx.ConnConfig, x *host) *link {
	l := p.newLink(x)
	c.Host, c.Port, c.Password, c.TLSConfig, c.Fallbacks = x.conn.Host, x.conn.Port, x.conn.Password, x.conn.TLSConfig, x.conn.Fallbacks
	c.DialFunc, c.LookupFunc = l.dial, l.lookup(x.conn.LookupFunc)
	c.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) (err error) {
		err = direct(ctx, pc)
		switch {
		case err != nil:
		case p.writer:
			l.timeline, err = p.standing(ctx, pc, settleDown)
		default:
			err = p.welcome(ctx, x, pc, true)
		}
		if err == nil {
			err = checkSchema(ctx, pc)
		}
		if err != nil {
			p.hosts.noteRefusal(x, err)
			p.hosts.fail(x, l.begun, ctx.Err() != nil)
			return err
		}
		pc.CustomData()[linkKey] = l
		l.connected()
		p.arrive(x)
		p.lookHome(x)
		return nil
	}
	return l
}

// arrive notes that a connection to x was made. A reader that gets one to a better host than before gives up the others:
// two servers in turn would show two states in turn.
func (p *pool) arrive(x *host) {
	before := p.hosts.current()
	p.hosts.connected(x)
	if !p.writer && before != nil && x.index < before.index {
		p.hosts.expect(x)
		p.Reset()
	}
}

func (p *pool) newLink(x *host) *link {
	l := &link{host: x, begun: time.Now()}
	l.failed = func() {
		p.hosts.shun(x, l.begun)
		p.hosts.forgetRefusal(x, l.begun)
	}
	if strings.HasPrefix(x.conn.Host, "/") {
		l.left = 1 // nothing is looked up
	}
	return l
}

// settleDown makes the session wait until its commits are flushed, whatever the server's default: an answered change
// could otherwise be lost by a crash, and where its record ends would not be known. What is stricter than on, and local,
// which waits for no standby, are the operator's choice and stay.
const settleDown = `; SELECT pg_catalog.set_config('synchronous_commit', CASE s WHEN 'off' THEN 'on' ELSE s END, false)
	FROM pg_catalog.current_setting('synchronous_commit') s`

// standing asks a server whether it is the primary, and of which timeline. The name of a WAL file begins with that.
func (p *pool) standing(ctx context.Context, pc *pgconn.PgConn, more string) (uint32, error) {
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
		return 0, errInRecovery
	}
	if string(row[1]) != "off" {
		return 0, errReadOnly
	}
	var timeline [4]byte
	if len(row[2]) < 8 {
		return 0, errors.New("the server did not say its timeline")
	}
	if _, err := hex.Decode(timeline[:], row[2][:8]); err != nil {
		return 0, errors.New("the server did not say its timeline")
	}
	t := binary.BigEndian.Uint32(timeline[:])
	if !p.hosts.see(t) {
		return 0, errOutdated
	}
	return t, nil
}

// prepare decides whether a connection of the pool is handed out. One that was not used for a while is tried first: a
// change must not be the first to learn that it is of no use.
func (p *pool) prepare(ctx context.Context, c *pgx.Conn) (bool, error) {
	l := linkOf(c)
	used, idle := l.state()
	_, failed := p.hosts.since(l.host)
	if failed.After(used) || p.hosts.outdated(l.timeline) {
		l.cut()
		return false, nil
	}
	if !idle && p.proven(l.host) {
		return true, nil
	}
	begun := time.Now()
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var err error
	if p.writer {
		_, err = p.standing(bounded, c.PgConn(), "")
	} else if err = c.Ping(bounded); err == nil {
		err = p.prove(bounded, l, c.PgConn())
	}
	if err == nil {
		p.heard(l)
		return true, nil
	}
	l.cut()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if bounded.Err() != nil {
		p.hosts.fail(l.host, begun, true)
	}
	return false, nil
}

func (p *pool) heard(l *link) {
	l.heard()
	p.hosts.heard(l.host)
}

// acquire returns a connection to the best host, trying the others while there are any that have not just failed.
func (p *pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	var last error
	for range 2 * len(p.hosts.all) {
		c, err := p.Acquire(ctx)
		if err == nil {
			return c, nil
		}
		if p.life.Err() != nil {
			return nil, errClosed
		}
		p.blame(err)
		if s := p.Stat(); ctx.Err() != nil && s.AcquiredConns() >= s.MaxConns() {
			err = errors.Join(errBusy, err)
		}
		last = plainer(last, err)
		if ctx.Err() != nil || !p.hosts.untried() {
			break
		}
	}
	return nil, last
}

// plainer keeps what says more about several hosts: a mistake in the settings, which does not go away by waiting, then
// what a server answered, then that one was not reached.
func plainer(last, err error) error {
	if last != nil && (permanent(last) || answered(last) && !permanent(err) && !answered(err)) {
		return last
	}
	return worse(last, err)
}

// answered reports whether err is what a server said, or is.
func answered(err error) bool {
	_, said := errors.AsType[*pgconn.PgError](err)
	return said || errors.Is(err, errInRecovery) || errors.Is(err, errReadOnly) || errors.Is(err, errOutdated)
}

// blame passes over a host for a moment that answered, and refused: then not all its addresses may have been tried.
func (p *pool) blame(err error) {
	ce, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return
	}
	if x := p.hosts.find(ce.Config.Host, ce.Config.Port); x != nil {
		p.hosts.shun(x, time.Now())
	}
}

// use runs ask on a connection until it returns, and cuts the connection when the server has fallen silent. It runs ask a
// second time, on another connection, when an update of the schema came in between.
func (p *pool) use(ctx context.Context, ask func(*pgx.Conn) error) error {
	err := p.useOnce(ctx, ask)
	if overtaken(err) {
		return p.useOnce(ctx, ask)
	}
	return err
}

func (p *pool) useOnce(ctx context.Context, ask func(*pgx.Conn) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	err = p.attend(ctx, c.Conn(), ask)
	if overtaken(err) {
		_ = c.Conn().Close(ctx) // what it has prepared is of the old schema
	}
	return err
}

// attend runs ask under a watch. Its error is errSilent when the connection was cut, and errOutdated when a newer
// primary appeared meanwhile: then the answer, whatever it was, does not count.
func (p *pool) attend(ctx context.Context, c *pgx.Conn, ask func(*pgx.Conn) error) error {
	l := linkOf(c)
	if p.writer {
		p.surveySoon(l.host)
	}
	w := p.watch(l, patience(ctx))
	err := ask(c)
	cut := w.stop()
	if c.IsClosed() {
		l.cut() // pgx goes on reading for a while otherwise
	}
	_, answer := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil || answer:
		p.heard(l)
	case cut && w.late:
		return errors.Join(errSlow, err)
	case cut:
		return errors.Join(errSilent, err)
	}
	if p.hosts.outdated(l.timeline) {
		return errOutdated // whatever it said
	}
	return err
}

// patience is how long one try may take at most: half of what is left, so that there is time for another one.
func patience(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	left := time.Until(deadline)
	return max(left/2, min(left, suspicion))
}

// connect returns a connection that is not of the pool. The caller closes it.
func (p *pool) connect(ctx context.Context) (*pgx.Conn, error) {
	var last error
	for range 2 * len(p.hosts.all) {
		x := p.hosts.pick()
		config := x.conn.Copy()
		p.aim(config, x)
		c, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return c, nil
		}
		p.blame(err)
		last = plainer(last, err)
		if ctx.Err() != nil || !p.hosts.untried() {
			break
		}
	}
	return nil, last
}

// begin tells whether something may start in the background; it then calls p.work.Done.
func (p *pool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1)
	return true
}

// close closes the connections, and waits for those in use until ctx ends; then it cuts them and returns an error.
func (p *pool) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
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
	for l := range p.links {
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
