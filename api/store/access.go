package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func noLegacy() (string, error) { return "", errLegacy() }

// ListGrants implements vault.Store.
func (d *DB) ListGrants(ctx context.Context, by vault.Credential, f vault.Freshness) ([]vault.GrantInfo, vault.Identity, error) {
	return decidedRead(ctx, d, f, decidedQuery[vault.GrantInfo]{
		by: by, right: "manage", legacy: noLegacy,
		sql: "SELECT g.cause, g.actor, g.acting, g.grantee, g.pattern, g.action, g.granted_at, g.granted_by FROM vault.access_as($1::bytea, $2::inet, $3::jsonb) g",
		row: func(scan scanner) (g vault.GrantInfo, ok bool, err error) {
			var role, pattern, action, grantor *string
			var at pgtype.Timestamptz
			err = scan(&role, &pattern, &action, &at, &grantor)
			g = vault.GrantInfo{Role: orZero(role), Pattern: orZero(pattern), Action: orZero(action), GrantedAt: shownTime(at), GrantedBy: orZero(grantor)}
			return g, action != nil, err
		},
	})
}

// Grant implements vault.Store. Granting twice is as granting once.
func (d *DB) Grant(ctx context.Context, g vault.Grant, by vault.Author) (core.Position, error) {
	const sql = "SELECT true FROM vault.grant_as($1::bytea, $2::inet, $3::jsonb, $4::text, $5::text, $6::text[], $7::text, $8::text)"
	_, at, err := performAt(ctx, d, grantChange(sql, g, by, neverSeen[bool]))
	return at, err
}

// Revoke implements vault.Store. After a lost answer a grant that is not there counts as revoked.
func (d *DB) Revoke(ctx context.Context, g vault.Grant, by vault.Author) (core.Position, error) {
	const sql = "SELECT true FROM vault.revoke_as($1::bytea, $2::inet, $3::jsonb, $4::text, $5::text, $6::text[], $7::text, $8::text)"
	_, at, err := performAt(ctx, d, grantChange(sql, g, by, func(ctx context.Context) (bool, bool, error) {
		all, _, err := d.ListGrants(ctx, by.By, vault.Freshness{Primary: true})
		for _, x := range all {
			if x.Role == g.Role && x.Pattern == g.Pattern && slices.Contains(g.Actions, x.Action) {
				return false, false, nil
			}
		}
		return true, err == nil, err
	}))
	return at, err
}

func grantChange(sql string, g vault.Grant, by vault.Author, landed func(context.Context) (bool, bool, error)) change[bool] {
	return change[bool]{
		text: func(legacy bool) (string, []any, error) {
			if legacy {
				return "", nil, errLegacy()
			}
			return sql, append(credentialArgs(by.By), g.Role, g.Pattern, g.Actions, by.Node, orNull(by.RequestID)), nil
		},
		row: pgx.RowTo[bool], refusal: refusalTo(by, "manage"), landed: landed,
	}
}

// explained is a line of an explanation, with the role that it is about.
type explained struct {
	role string
	line vault.ExplanationLine
}

// ExplainAccess implements vault.Store.
func (d *DB) ExplainAccess(ctx context.Context, by vault.Credential, role, name string, f vault.Freshness) (vault.Explanation, vault.Identity, error) {
	rows, who, err := decidedRead(ctx, d, f, decidedQuery[explained]{
		by: by, right: "manage", args: []any{orNull(role), name}, legacy: noLegacy,
		sql: `SELECT e.cause, e.actor, e.acting, e.subject, e.action, e.allowed, e.why, e.grantee, e.pattern, e.how
			FROM vault.explain_as($1::bytea, $2::inet, $3::jsonb, $4::text, $5::text) e`,
		row: func(scan scanner) (x explained, ok bool, err error) {
			var subject, action, why, grantee, pattern, how *string
			var allowed *bool
			err = scan(&subject, &action, &allowed, &why, &grantee, &pattern, &how)
			x = explained{role: orZero(subject), line: vault.ExplanationLine{
				Action: orZero(action), Allowed: orZero(allowed), Cause: vault.Cause(orZero(why)), Grantee: orZero(grantee),
				Pattern: orZero(pattern), How: orZero(how),
			}}
			return x, action != nil, err
		},
	})
	var out vault.Explanation
	for _, x := range rows {
		out.Role, out.Lines = x.role, append(out.Lines, x.line)
	}
	return out, who, err
}
