package store

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// journalLink is a connection to the primary outside the pools: what is shipped takes no connection from changes.
type journalLink struct {
	d    *DB
	conn *pgx.Conn
}

var _ vault.JournalLink = (*journalLink)(nil)

// OpenJournal connects to the primary for a journal's records. The caller closes the link. Errors: Unavailable.
func (d *DB) OpenJournal(ctx context.Context) (vault.JournalLink, error) {
	ctx, cancel := context.WithTimeout(ctx, d.bound)
	defer cancel()
	conn, err := d.writer.Dial(ctx)
	if err != nil {
		return nil, d.classify(err)
	}
	return &journalLink{d, conn}, nil
}

// Close implements vault.JournalLink.
func (l *journalLink) Close() { closeSoon(l.conn) }

// Arrived implements vault.JournalLink. A server that is in recovery refuses to answer.
func (l *journalLink) Arrived(ctx context.Context, id vault.JournalID) (uint64, time.Time, error) {
	var last int64
	var at pgtype.Timestamptz
	err := l.conn.QueryRow(ctx, "SELECT last_sequence, last_at FROM vault.audit_journal($1::uuid)", [16]byte(id)).Scan(&last, &at)
	return uint64(last), shownTime(at), l.believed(err)
}

const shipAudit = `SELECT vault.ship_audit($1::uuid, $2::text, $3::bigint, $4::timestamptz[], $5::text[], $6::text[], $7::text[],
	$8::inet[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::text[])`

// Ship implements vault.JournalLink.
func (l *journalLink) Ship(ctx context.Context, id vault.JournalID, node string, records []vault.Journaled) (uint64, error) {
	var last int64
	c := columnsOf(records)
	err := l.conn.QueryRow(ctx, shipAudit, [16]byte(id), node, int64(records[0].Sequence), c.at, c.node, c.actor, c.session,
		c.ip, c.action, c.name, c.version, c.outcome, c.code, c.request).Scan(&last)
	return uint64(last), l.believed(err)
}

// believed refuses what a server said that the cluster has left behind: it takes records that the cluster will never
// see. A missing privilege is told apart from a primary that is away, for which one waits.
func (l *journalLink) believed(err error) error {
	if l.d.writer.IsOutdated(l.conn) {
		err = pgcluster.ErrOutdated
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == stateNoPrivilege {
		return core.Wrap(core.Denied, l.d.classify(err), "the database role of the API may not ship audit records")
	}
	return l.d.classify(err)
}

// Skip implements vault.JournalLink.
func (l *journalLink) Skip(ctx context.Context, id vault.JournalID, node string, lastMissing uint64) (uint64, error) {
	var last int64
	err := l.conn.QueryRow(ctx, "SELECT vault.skip_audit($1::uuid, $2::text, $3::bigint)", [16]byte(id), node, int64(lastMissing)).Scan(&last)
	return uint64(last), l.believed(err)
}

// columns are records as arrays; nil is NULL.
type columns struct {
	at                                 []time.Time
	node, actor, action, outcome, code []string
	session, name, request             []*string
	ip                                 []*netip.Addr
	version                            []*int64
}

func columnsOf(records []vault.Journaled) *columns {
	c := &columns{}
	for i := range records {
		r := &records[i]
		c.at = append(c.at, r.At)
		c.node = append(c.node, r.Origin.Node)
		c.actor = append(c.actor, r.Origin.Actor)
		c.session = append(c.session, orNilOf(&r.Origin.SessionRole))
		c.ip = append(c.ip, orNilOf(&r.Origin.ClientIP))
		c.action = append(c.action, string(r.Action))
		c.name = append(c.name, orNilOf(&r.Name))
		version := int64(r.Version)
		c.version = append(c.version, orNilOf(&version))
		c.outcome = append(c.outcome, string(r.Outcome))
		c.code = append(c.code, string(r.Code))
		c.request = append(c.request, orNilOf(&r.Origin.RequestID))
	}
	return c
}

// orNilOf returns nil instead of a pointer to a zero value.
func orNilOf[T comparable](v *T) *T {
	var zero T
	if *v == zero {
		return nil
	}
	return v
}
