package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// waitingSessions is how many sessions a retiring role has on the reader's server.
type waitingSessions struct {
	secret   [16]byte
	place    int16
	sessions int64
}

// ReportSessions tells the primary how many sessions roles that retire have on the standby that the reader is connected
// to. The primary waits for them, and cannot see them. Nothing is written while there are none, but once after there
// were some.
func (d *DB) ReportSessions(ctx context.Context, node string) error {
	found, err := readPicked(ctx, d, func(ctx context.Context, c *pgx.Conn) (query[waitingSessions], error) {
		old, err := isLegacy(ctx, c)
		if err != nil || old {
			return query[waitingSessions]{answer: []waitingSessions{}}, err
		}
		return query[waitingSessions]{sql: "SELECT w.secret_id, w.place, w.sessions FROM vault.waiting_sessions() w",
			row: func(r pgx.CollectableRow) (w waitingSessions, err error) {
				err = r.Scan(&w.secret, &w.place, &w.sessions)
				return w, err
			}}, nil
	})
	if err != nil || len(found) == 0 && !d.reported.Load() {
		return err
	}
	var secrets [][16]byte
	var places []int16
	var sessions []int64
	for _, w := range found {
		secrets, places, sessions = append(secrets, w.secret), append(places, w.place), append(sessions, w.sessions)
	}
	_, err = perform(ctx, d, change[bool]{
		sql:  "SELECT vault.report_sessions($1::text, $2::uuid[], $3::smallint[], $4::bigint[]) IS NOT NULL",
		args: []any{node, secrets, places, sessions}, row: pgx.RowTo[bool], impatient: true, landed: neverSeen[bool],
	})
	if err == nil {
		d.reported.Store(len(found) > 0)
	}
	return err
}
