package pgcluster

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/core"
)

// StandingColumns is where a server stands; the timeline is that of a primary.
const StandingColumns = "SELECT pg_catalog.pg_is_in_recovery(), " + hasShown + `,
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

// Waits between two checks whether a standby has replayed far enough.
const (
	firstReplayWait = 2 * time.Millisecond
	longReplayWait  = 50 * time.Millisecond
)

// ErrBehind is a server that has not reached the position a read was asked to see.
var ErrBehind = errors.New("the server has not reached the position that was asked for")

// Standing is where a server stands. The timeline is 0 for a standby.
type Standing struct {
	InRecovery bool
	At         core.Position
}

func ParseStanding(recovery, lsn, timeline string) (s Standing) {
	s.InRecovery = recovery != "f"
	s.At.LSN, _ = core.ParseLSN(lsn) // none = nothing is replayed yet
	s.At.LSN = logEnd(s.At.LSN)
	if b, err := hex.DecodeString(timeline); err == nil && len(b) == 4 {
		s.At.Timeline = binary.BigEndian.Uint32(b)
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
func (p *Pool) tracks() bool { return !p.Writer && len(p.hosts.all) > 1 }

// IsLeftBehind reports whether a server is a primary although one of a newer timeline is known.
func (p *Pool) IsLeftBehind(s Standing) bool {
	return !s.InRecovery && s.At.Timeline != 0 && p.NewestTimeline != nil && s.At.Timeline < p.NewestTimeline()
}

// IsBehind reports whether a server shows less than this process's clients have seen. What the newest primary does not have
// is lost, and nothing to wait for.
func (p *Pool) IsBehind(s Standing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.InRecovery && p.NewestTimeline != nil && s.At.Timeline != 0 && s.At.Timeline >= p.NewestTimeline() {
		p.shown.most = min(p.shown.most, s.At.LSN)
		p.shown.floor = min(p.shown.floor, s.At.LSN)
	}
	return s.At.LSN < p.shown.most
}

// noteShown notes that clients may have seen what a host has shown, up to at.
func (p *Pool) noteShown(x *Host, at core.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown.most, p.shown.floor = max(p.shown.most, at), max(p.shown.floor, at)
	x.reached = max(x.reached, at)
}

// noteReached notes where a host stood before it is asked anything. back lets reads go back to there.
func (p *Pool) noteReached(x *Host, at core.LSN, back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x.reached = at // which may be less than before: it can have been copied again
	if back {
		p.shown.floor = min(p.shown.floor, at)
	}
}

// showsEnough reports whether whatever a host is asked next shows no less than the answers that clients have by now.
func (p *Pool) showsEnough(x *Host) bool {
	if !p.tracks() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return x.reached >= p.shown.floor
}

// wentBack reports whether reads have gone back and not come to the same place again.
func (p *Pool) wentBack() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.floor < p.shown.most
}

// Queue adds a question to a batch whose rows go to out.
func Queue[T any](b *pgx.Batch, out *[]T, sql string, args []any, row pgx.RowToFunc[T]) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, row)
		return err
	})
}

// QueryOn asks one question.
func QueryOn[T any](ctx context.Context, p *Pool, c *pgx.Conn, sql string, args []any, row pgx.RowToFunc[T]) (out []T, err error) {
	if p.tracks() {
		b := &pgx.Batch{}
		Queue(b, &out, sql, args, row)
		err = p.SendBatch(ctx, c, b)
		return out, err
	}
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// SendBatch asks the questions of a batch in one go, and for the position up to which their answers can show the log. No caller
// gets an answer before that is noted.
func (p *Pool) SendBatch(ctx context.Context, c *pgx.Conn, b *pgx.Batch) error {
	var at *string
	if p.tracks() {
		b.Queue("SELECT " + hasShown).QueryRow(func(r pgx.Row) error { return r.Scan(&at) })
	}
	err := c.SendBatch(ctx, b).Close()
	if err == nil && at != nil {
		lsn, _ := core.ParseLSN(*at)
		p.noteShown(stateOf(c).host, logEnd(lsn))
	}
	return err
}

// queryStanding asks a server on a connection that is not handed out yet.
func queryStanding(ctx context.Context, pc *pgconn.PgConn) (Standing, error) {
	results, err := pc.Exec(ctx, StandingColumns).ReadAll()
	if err != nil {
		return Standing{}, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 3 {
		return Standing{}, errors.New("the server did not say where it stands")
	}
	row := results[0].Rows[0]
	return ParseStanding(string(row[0]), string(row[1]), string(row[2])), nil
}

// checkReader refuses a server for reads that was left behind or has not come to what clients have seen. lenient takes it
// all the same when no other host is worth a try: an older answer is better than none.
func (p *Pool) checkReader(ctx context.Context, x *Host, pc *pgconn.PgConn, lenient bool) error {
	if !p.tracks() {
		return nil
	}
	s, behind, err := p.awaitShown(ctx, x, pc, !lenient)
	if err != nil {
		return err
	}
	left := p.IsLeftBehind(s) && !p.StayHome
	p.hosts.setLeftBehind(x, left)
	if left || behind {
		if !lenient || p.hosts.hasOther(x) {
			return map[bool]error{true: ErrOutdated, false: ErrBehind}[left]
		}
		defer p.startComingHome(x)
	}
	p.noteReached(x, s.At.LSN, behind)
	return nil
}

// awaitShown asks a server where it stands, and whether that is behind. It waits a moment for one that reads are about to
// come home to: what has been shown goes on while they are elsewhere, and a standby is always a little late.
func (p *Pool) awaitShown(ctx context.Context, x *Host, pc *pgconn.PgConn, coming bool) (s Standing, behind bool, err error) {
	startedAt := time.Now()
	for pause := firstReplayWait; ; pause = min(2*pause, longReplayWait) {
		if s, err = queryStanding(ctx, pc); err != nil {
			return s, false, err
		}
		behind = p.IsBehind(s)
		awaited := s.InRecovery && (coming || p.hosts.expectsReads(x)) && time.Since(startedAt) < catchUp
		if !behind || !awaited || !backoff.Sleep(ctx, pause) {
			return s, behind, nil
		}
	}
}

// checkShown finds out whether a host whose connection is about to be used has come to what clients have seen since.
func (p *Pool) checkShown(ctx context.Context, l *connState, pc *pgconn.PgConn) error {
	if p.showsEnough(l.host) {
		return nil
	}
	return p.checkReader(ctx, l.host, pc, true)
}

// firstLeftBehind returns the name of the first host that was a primary which was left behind when it last answered.
func (h *hostList) firstLeftBehind() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.all {
		if x.leftBehind {
			return x.Name
		}
	}
	return ""
}

// expectReads notes that reads are about to come to a host.
func (h *hostList) expectReads(x *Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.expectedAt = time.Now()
}

// noteComing notes why reads could not come to a host; nil = they can.
func (h *hostList) noteComing(x *Host, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.notComing = why
}

// away returns the first host while reads go to another, and why they did not come back when they last tried to.
func (h *hostList) away() (home string, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil || h.last.Index == 0 {
		return "", nil
	}
	return h.all[0].Name, h.all[0].notComing
}

// expectsReads reports whether reads have been about to come to a host just now.
func (h *hostList) expectsReads(x *Host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(x.expectedAt) < homeInterval
}

// setLeftBehind notes whether a host is a primary that was left behind.
func (h *hostList) setLeftBehind(x *Host, old bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.leftBehind = old
}

// hasOther reports whether another host than x has not just failed.
func (h *hostList) hasOther(x *Host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, o := range h.all {
		if o != x && !o.leftBehind && !o.skipUntil.After(now) {
			return true
		}
	}
	return false
}

// LeaveHost has the next reads go to another host than the current one, which was left behind, unless the pool is to stay.
func (p *Pool) LeaveHost() {
	x := p.hosts.current()
	if x == nil || p.StayHome {
		return
	}
	p.hosts.setLeftBehind(x, true)
	if p.hosts.hasOther(x) {
		p.Reset()
	}
}
