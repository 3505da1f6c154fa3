package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const undecidedChanges = `SELECT k.known, c.xid, c.id, c.at, c.action, c.name, c.version, true
	FROM (SELECT vault.knows_change($1::text, $2::bigint, $3::timestamptz) IS TRUE AS known) k
	LEFT JOIN vault.changes_since($1::text, $2::bigint, $4::integer) c ON k.known ORDER BY c.xid::xid8, c.id`

// One state of the database answers all of it. Which names the caller may see is asked once for all changes.
const decidedChanges = `WITH d AS MATERIALIZED (
		SELECT x.cause, x.actor, x.acting, x.role, x.scopes FROM vault.decide($1::bytea, $2::inet, $3::jsonb, 'watch', NULL) x
	), k AS MATERIALIZED (
		SELECT d.cause IS NULL AND vault.knows_change($4::text, $5::bigint, $6::timestamptz) IS TRUE AS known FROM d
	), c AS MATERIALIZED (
		SELECT c.* FROM k CROSS JOIN LATERAL vault.changes_since($4::text, $5::bigint, $7::integer) c WHERE k.known
	), v AS MATERIALIZED (
		SELECT vault.visible_of(d.role, d.scopes, ARRAY(SELECT DISTINCT c.name FROM c)) AS names FROM d WHERE EXISTS (SELECT FROM c)
	)
	SELECT d.cause, d.actor, d.acting, k.known, c.xid, c.id, c.at, c.action, c.name, c.version, c.name = ANY (v.names)
	FROM d CROSS JOIN k LEFT JOIN c ON true LEFT JOIN v ON true ORDER BY c.xid::xid8, c.id`

// watched is one change, or that there is none.
type watched struct {
	known, visible bool
	change         *vault.Change // nil = there is none, or it is malformed: no client could go on from it
}

// ChangesSince implements vault.Store.
func (d *DB) ChangesSince(ctx context.Context, by vault.Credential, after vault.Place, limit int) (vault.ChangePage, vault.Identity, error) {
	rows, who, err := decidedRead(ctx, d, vault.Freshness{}, decidedQuery[watched]{
		by: by, right: "watch", sql: decidedChanges, args: append(placeArgs(after), int32(limit)), undecided: undecidedChanges,
		row: watchedRow,
	})
	page := vault.ChangePage{Last: after}
	for _, w := range rows {
		page.Known = w.known
		if w.change == nil {
			continue
		}
		page.Looked, page.Last = page.Looked+1, w.change.Place
		if w.visible {
			page.Changes = append(page.Changes, *w.change)
		}
	}
	return page, who, err
}

func watchedRow(scan scanner) (w watched, ok bool, err error) {
	var known, visible *bool
	var xid, action, name *string
	var id, numbered *int64
	var at pgtype.Timestamptz
	if err := scan(&known, &xid, &id, &at, &action, &name, &numbered, &visible); err != nil {
		return w, false, err
	}
	w.known, w.visible = orZero(known), orZero(visible)
	if xid == nil {
		return w, true, nil
	}
	p, perr := place(*xid, orZero(id), at.Time)
	v, verr := version(orZero(numbered))
	if perr == nil && verr == nil && at.Valid && finite(at) {
		w.change = &vault.Change{Place: p, At: at.Time, Action: vault.Action(orZero(action)), Name: core.Name(orZero(name)), Version: v}
	}
	return w, true, nil
}
