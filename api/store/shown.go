package store

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// whereIs is where a server stands; the timeline is that of a primary.
const whereIs = "SELECT pg_catalog.pg_is_in_recovery(), " + hasShown + `,
	CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) END`

// hasShown is up to where an answer that is complete can show the log of the server. A primary shows a commit before it
// is flushed when the commit did not ask to wait for that.
const hasShown = `(CASE WHEN pg_catalog.pg_is_in_recovery()
	THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text`

// Sizes of the log that are the same in all but self-made builds, and the least size of a segment.
const (
	walBlock       = 8192
	walSegment     = 1 << 20
	pageHeader     = 24
	longPageHeader = 40 // of the first page of a segment
)

// logEnd returns where the last record before the next one ends. A primary says where the next one begins: that can be
// past a page's header, to where no standby gets before more is written.
func logEnd(next core.LSN) core.LSN {
	if in := next % walBlock; in == pageHeader || in == longPageHeader && next%walSegment == longPageHeader {
		return next - in
	}
	return next
}

// stand is where a server stands. The timeline is 0 for a standby.
type stand struct {
	inRecovery bool
	at         core.Position
}

func parseStand(recovery, lsn, timeline string) (s stand) {
	s.inRecovery = recovery != "f"
	s.at.LSN, _ = core.ParseLSN(lsn) // none = nothing is replayed yet
	s.at.LSN = logEnd(s.at.LSN)
	if b, err := hex.DecodeString(timeline); err == nil && len(b) == 4 {
		s.at.Timeline = binary.BigEndian.Uint32(b)
	}
	return s
}

// shown is up to where a reader has shown the log to this process's clients. Guarded by pool.mu.
type shown struct {
	most core.LSN // of all answers so far; what is lost for good does not count
	// floor is what a server must have reached that is asked next. It is less than most after reads had to go back.
	floor core.LSN
}

// tracks reports whether the pool keeps account of what it has shown: with one host there is no other to go to.
func (p *pool) tracks() bool { return !p.writer && len(p.hosts.all) > 1 }

// leftBehind reports whether a server is a primary although one of a newer timeline is known.
func (p *pool) leftBehind(s stand) bool {
	return !s.inRecovery && s.at.Timeline != 0 && p.newest != nil && s.at.Timeline < p.newest()
}

// behind reports whether a server shows less than this process's clients have seen. What the newest primary does not have
// is lost, and nothing to wait for.
func (p *pool) behind(s stand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.inRecovery && p.newest != nil && s.at.Timeline != 0 && s.at.Timeline >= p.newest() {
		p.shown.most = min(p.shown.most, s.at.LSN)
		p.shown.floor = min(p.shown.floor, s.at.LSN)
	}
	return s.at.LSN < p.shown.most
}

// show notes that clients may have seen what a host has shown, up to at.
func (p *pool) show(x *host, at core.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown.most, p.shown.floor = max(p.shown.most, at), max(p.shown.floor, at)
	x.reached = max(x.reached, at)
}

// reach notes where a host stood before it is asked anything. back lets reads go back to there.
func (p *pool) reach(x *host, at core.LSN, back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x.reached = at // which may be less than before: it can have been copied anew
	if back {
		p.shown.floor = min(p.shown.floor, at)
	}
}

// proven reports whether whatever a host is asked next shows no less than the answers that clients have by now.
func (p *pool) proven(x *host) bool {
	if !p.tracks() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return x.reached >= p.shown.floor
}

// wentBack reports whether reads have gone back and not come to the same place again.
func (p *pool) wentBack() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.floor < p.shown.most
}

// queue adds a question to a batch whose rows go to out.
func queue[T any](b *pgx.Batch, out *[]T, sql string, args []any, row pgx.RowToFunc[T]) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, row)
		return err
	})
}

// askOn asks one question.
func askOn[T any](ctx context.Context, p *pool, c *pgx.Conn, sql string, args []any, row pgx.RowToFunc[T]) (out []T, err error) {
	if p.tracks() {
		b := &pgx.Batch{}
		queue(b, &out, sql, args, row)
		err = p.send(ctx, c, b)
		return out, err
	}
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// send asks the questions of a batch in one go, and for the position up to which their answers can show the log. Nobody
// gets an answer before that is noted.
func (p *pool) send(ctx context.Context, c *pgx.Conn, b *pgx.Batch) error {
	var at *string
	if p.tracks() {
		b.Queue("SELECT " + hasShown).QueryRow(func(r pgx.Row) error { return r.Scan(&at) })
	}
	err := c.SendBatch(ctx, b).Close()
	if err == nil && at != nil {
		lsn, _ := core.ParseLSN(*at)
		p.show(linkOf(c).host, logEnd(lsn))
	}
	return err
}

// askStand asks a server on a connection that is not handed out yet.
func askStand(ctx context.Context, pc *pgconn.PgConn) (stand, error) {
	results, err := pc.Exec(ctx, whereIs).ReadAll()
	if err != nil {
		return stand{}, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 3 {
		return stand{}, errors.New("the server did not say where it stands")
	}
	row := results[0].Rows[0]
	return parseStand(string(row[0]), string(row[1]), string(row[2])), nil
}

// welcome refuses a server for reads that was left behind or has not come to what clients have seen. lenient takes it
// all the same when no other host is worth a try: an older answer is better than none.
func (p *pool) welcome(ctx context.Context, x *host, pc *pgconn.PgConn, lenient bool) error {
	if !p.tracks() {
		return nil
	}
	s, behind, err := p.awaitShown(ctx, x, pc, !lenient)
	if err != nil {
		return err
	}
	left := p.leftBehind(s) && !p.stay
	p.hosts.setOld(x, left)
	if left || behind {
		if !lenient || p.hosts.others(x) {
			return map[bool]error{true: errOutdated, false: errBehind}[left]
		}
		defer p.lookHome(x)
	}
	p.reach(x, s.at.LSN, behind)
	return nil
}

// awaitShown asks a server where it stands, and whether that is behind. It waits a moment for one that reads are about to
// come home to: what has been shown goes on while they are elsewhere, and a standby is always a little late.
func (p *pool) awaitShown(ctx context.Context, x *host, pc *pgconn.PgConn, coming bool) (s stand, behind bool, err error) {
	begun := time.Now()
	for look := firstLook; ; look = min(2*look, longLook) {
		if s, err = askStand(ctx, pc); err != nil {
			return s, false, err
		}
		behind = p.behind(s)
		awaited := s.inRecovery && (coming || p.hosts.expected(x)) && time.Since(begun) < catchUp
		if !behind || !awaited || !wait(ctx, look) {
			return s, behind, nil
		}
	}
}

// prove finds out whether a host whose connection is about to be used has come to what clients have seen since.
func (p *pool) prove(ctx context.Context, l *link, pc *pgconn.PgConn) error {
	if p.proven(l.host) {
		return nil
	}
	return p.welcome(ctx, l.host, pc, true)
}

// firstOld returns the name of the first host that was a primary which was left behind when it last answered.
func (h *hosts) firstOld() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.all {
		if x.old {
			return x.name
		}
	}
	return ""
}

// expect notes that reads are about to come to a host.
func (h *hosts) expect(x *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.expectedAt = time.Now()
}

// expected reports whether reads have been about to come to a host just now.
func (h *hosts) expected(x *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(x.expectedAt) < homeEvery
}

// setOld notes whether a host is a primary that was left behind.
func (h *hosts) setOld(x *host, old bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.old = old
}

// others reports whether another host than x has not just failed.
func (h *hosts) others(x *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, o := range h.all {
		if o != x && !o.old && !o.shunned.After(now) {
			return true
		}
	}
	return false
}

// leave has the next reads go to another host than x, which was left behind.
func (p *pool) leave(x *host) {
	p.hosts.setOld(x, true)
	if p.hosts.others(x) {
		p.Reset()
	}
}

// readerConditions are how what is read can be older than it should be.
func (d *DB) readerConditions(ctx context.Context) []vault.Condition {
	r, err := d.Replication(ctx)
	if err != nil {
		return nil
	}
	c := vault.Condition{Part: "reader", Severity: vault.SeverityDegraded}
	old := d.reader.hosts.firstOld()
	if r.LeftBehind {
		old = r.Host
	}
	switch {
	case old != "":
		c.Name = vault.ConditionLeftBehind
		c.Reason = "reads go to " + r.Host + ". " + old + " is a primary of an older timeline than the newest that is known: it was left behind by a failover, and what is read from it may be old. " +
			"Stop it, rewind it or copy it anew, and start it as a standby"
	case r.ReadsBehind:
		c.Name = vault.ConditionReadsBehind
		c.Reason = r.Host + " has not replayed what this process has shown its clients before, and no other host answers: reads have gone back"
	default:
		return nil
	}
	return []vault.Condition{c}
}
