package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Texts, so that a row that was edited by hand does not end an export.
const auditColumns = `p.id, p.at, p.node, p.actor, p.session_role,
	pg_catalog.host(p.client_ip), p.action, p.secret_name, p.version, p.outcome, p.code, p.request_id, p.details, `

const decidedAudit = `SELECT d.cause, d.actor, d.acting, ` + auditColumns + `p.accessor::text, p.method
	FROM vault.decide($1::bytea, $2::inet, $3::jsonb, 'audit', NULL) d
	LEFT JOIN LATERAL (SELECT f.* FROM vault.audit_page_visible(d.role, d.scopes, $4::bigint, $5::integer) f WHERE d.cause IS NULL) p ON true
	ORDER BY p.id`

const undecidedAudit = `SELECT ` + auditColumns + `NULL::text, NULL::text FROM vault.audit_page($1::bigint, $2::integer) p ORDER BY p.id`

// AuditAfter implements vault.Store.
func (d *DB) AuditAfter(ctx context.Context, by vault.Credential, after int64, limit int) ([]vault.AuditRecord, vault.Identity, error) {
	return decidedRead(ctx, d, vault.Freshness{}, decidedQuery[vault.AuditRecord]{
		by: by, right: "audit", sql: decidedAudit, args: []any{after, int32(limit)}, undecided: undecidedAudit, row: auditRow,
	})
}

const decidedNewestAudit = `SELECT d.cause, d.actor, d.acting, ` + auditColumns + `p.accessor::text, p.method
	FROM vault.decide($1::bytea, $2::inet, $3::jsonb, 'audit', NULL) d
	LEFT JOIN LATERAL (SELECT f.* FROM vault.audit_newest_visible(d.role, d.scopes, $4::text, $5::boolean, $6::text, $7::text, $8::text,
		$9::timestamptz, $10::timestamptz, $11::bigint, $12::integer) f WHERE d.cause IS NULL) p ON true
	ORDER BY p.at DESC, p.id DESC`

// NewestAudit implements vault.Store. The process itself reads no audit.
func (d *DB) NewestAudit(ctx context.Context, by vault.Credential, q vault.AuditFilter, limit int, f vault.Freshness) (
	[]vault.AuditRecord, vault.Identity, error,
) {
	var before *time.Time
	if !q.Before.At.IsZero() {
		before = &q.Before.At
	}
	return decidedRead(ctx, d, f, decidedQuery[vault.AuditRecord]{
		by: by, right: "audit", sql: decidedNewestAudit, row: auditRow, legacy: errNewer,
		args: []any{q.Prefix, q.Exact, orNull(string(q.Action)), orNull(string(q.Outcome)), q.Actor, q.Since, before, q.Before.ID, int32(limit)},
	})
}

func auditRow(scan scanner) (out vault.AuditRecord, ok bool, err error) {
	var (
		id, version                              *int64
		at                                       pgtype.Timestamptz
		node, actor, role, address, action, name *string
		outcome, code, request, accessor, method *string
	)
	err = scan(&id, &at, &node, &actor, &role, &address, &action, &name, &version, &outcome, &code, &request, &out.Details,
		&accessor, &method)
	if err != nil || id == nil {
		return out, false, err
	}
	out.ID, out.At, out.Node, out.Actor = *id, shownTime(at), orZero(node), orZero(actor)
	out.SessionRole, out.ClientIP, out.Action, out.Name = orZero(role), orZero(address), orZero(action), orZero(name)
	out.Version, out.Outcome, out.Code, out.RequestID = orZero(version), orZero(outcome), orZero(code), orZero(request)
	out.Accessor, out.Method = orZero(accessor), orZero(method)
	return out, true, nil
}
