package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Texts, so that a row that was edited by hand does not end an export.
const auditAfter = `SELECT p.id, p.at, p.node, p.actor, p.session_role,
	pg_catalog.host(p.client_ip), p.action, p.secret_name, p.version, p.outcome, p.code, p.request_id, p.details
	FROM vault.audit_page($1::bigint, $2::integer) p ORDER BY p.id`

// AuditAfter implements vault.Store.
func (d *DB) AuditAfter(ctx context.Context, after int64, limit int) ([]vault.AuditRecord, error) {
	return read(ctx, d, auditAfter, []any{after, int32(limit)}, auditRow)
}

func auditRow(r pgx.CollectableRow) (vault.AuditRecord, error) {
	var (
		out                          vault.AuditRecord
		at                           pgtype.Timestamptz
		role, address, name, request *string
		version                      *int64
	)
	err := r.Scan(&out.ID, &at, &out.Node, &out.Actor, &role, &address, &out.Action, &name, &version, &out.Outcome,
		&out.Code, &request, &out.Details)
	out.At, out.SessionRole, out.ClientIP, out.Name = shownTime(at), orZero(role), orZero(address), orZero(name)
	out.Version, out.RequestID = orZero(version), orZero(request)
	return out, err
}
