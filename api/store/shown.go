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
)

// whereIs is where a server stands; the timeline is that of a primary.
const whereIs = `SELECT pg_catalog.pg_is_in_recovery(), (CASE WHEN pg_catalog.pg_is_in_recovery()
		THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END)::text,
	CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) END`

// stand is where a server stands. The timeline is 0 for a standby.
type stand struct {
	inRecovery bool
	at         vault.Position
}

func parseStand(recovery, lsn, timeline string) (s stand) {
	s.inRecovery = recovery != "f"
	s.at.LSN, _ = vault.ParseLSN(lsn) // none = nothing is replayed yet
	if b, err := hex.DecodeString(timeline); err == nil && len(b) == 4 {
		s.at.Timeline = binary.BigEndian.Uint32(b)
	}
	return s
}

// shown is up to where a reader has shown the log to this process's clients, as far as it was asked. Guarded by pool.mu.
type shown struct {
	lsn   vault.LSN
	asked time.Time
}

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
		p.shown.lsn = 0
		return false
	}
	return s.at.LSN < p.shown.lsn
}

// show notes that clients may have seen everything up to where a server stands.
func (p *pool) show(s stand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown.lsn, p.shown.asked = max(p.shown.lsn, s.at.LSN), time.Now()
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
	if p.writer || len(p.hosts.all) == 1 {
		return nil
	}
	s, err := askStand(ctx, pc)
	if err != nil {
		return err
	}
	left := p.leftBehind(s) && !p.stay
	p.hosts.setOld(x, left)
	switch {
	case !left && !p.behind(s):
		return nil
	case lenient && !p.hosts.others(x):
		return nil
	case left:
		return errOutdated
	}
	return errBehind
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

// noteShown asks the server that reads go to where it stands: what clients have seen of it does not go beyond.
func (p *pool) noteShown(ctx context.Context) (s stand, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = p.use(ctx, func(c *pgx.Conn) (err error) {
		s, err = askStand(ctx, c.PgConn())
		return err
	})
	return s, err
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
