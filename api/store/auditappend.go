package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// One statement, so one commit, however many records.
const appendAudit = `SELECT pg_catalog.count(vault.append_audit(
		ROW(e.node, e.actor, e.session_role, e.client_ip, e.request_id)::vault.audit_origin,
		e.action, e.secret_name, e.version, e.outcome, e.code))
	FROM unnest($1::text[], $2::text[], $3::text[], $4::inet[], $5::text[], $6::text[], $7::text[], $8::bigint[],
		$9::text[], $10::text[]) -- the form with several arrays is grammar: it takes no schema
		AS e (node, actor, session_role, client_ip, request_id, action, secret_name, version, outcome, code)`

// AppendAudit implements vault.Store. Records whose answer got lost are not sent
// again, since they could then be there twice: the operations they belong to fail. So they do at once
// when there is no primary: the caller has waited for one already.
func (d *DB) AppendAudit(ctx context.Context, entries []vault.Entry) error {
	columns := make([][]any, 10)
	for _, e := range entries {
		row := append(originArgs(e.Origin),
			string(e.Action), orNull(e.Name), versionArg(e.Version), string(e.Outcome), string(e.Code))
		for i, v := range row {
			columns[i] = append(columns[i], v)
		}
	}
	args := make([]any, len(columns))
	for i := range columns {
		args[i] = columns[i]
	}
	_, err := perform(ctx, d, change[int64]{sql: appendAudit, args: args, row: pgx.RowTo[int64], impatient: true})
	return err
}
