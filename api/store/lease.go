package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// The schema shows leases and templates as JSON, so a column that is new needs no other statement here. They are decided about
// by the functions themselves.
const (
	leaseIssue     = "SELECT l.lease, " + answeredAt + " FROM vault.issue_role_as($4::bytea, $5::inet, $6::jsonb, $1::text, $2::bigint, $3::text, $7::text, $8::text) l (lease)"
	leaseRenew     = "SELECT l.lease, " + answeredAt + " FROM vault.renew_lease_as($3::bytea, $4::inet, $5::jsonb, $1::uuid, $2::bigint, $6::text, $7::text) l (lease)"
	leaseRevoke    = "SELECT l.lease, " + answeredAt + " FROM vault.revoke_lease_as($2::bytea, $3::inet, $4::jsonb, $1::uuid, $5::text, $6::text) l (lease)"
	leaseList      = "SELECT l.cause, l.actor, l.acting, l.found, " + answeredAt + " FROM vault.leases_as($1::bytea, $2::inet, $3::jsonb, $4::uuid, $5::text, $6::uuid, $7::integer) l"
	templatePut    = "SELECT vault.put_template_as($3::bytea, $4::inet, $5::jsonb, $1::text, $2::jsonb, $6::text, $7::text)"
	templateDelete = "SELECT to_jsonb(vault.delete_template_as($2::bytea, $3::inet, $4::jsonb, $1::text, $5::text, $6::text) IS NOT NULL)"
	templateList   = "SELECT t.cause, t.actor, t.acting, t.template FROM vault.templates_as($1::bytea, $2::inet, $3::jsonb, $4::text, $5::text, $6::integer) t"
)

var _ vault.Leases = (*DB)(nil)

// jsonRow scans one column of JSON.
func jsonRow[T any](scan scanner) (out T, ok bool, err error) {
	var text []byte
	if err := scan(&text); err != nil || text == nil {
		return out, false, err
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, false, core.Wrap(core.Corrupt, err, "a row is not what this version of the API knows")
	}
	return out, true, nil
}

// leaseRow scans a lease, and answeredAt.
func leaseRow(scan scanner) (l vault.Lease, ok bool, err error) {
	var now pgtype.Timestamptz
	l, ok, err = jsonRow[vault.Lease](func(targets ...any) error { return scan(append(targets, &now)...) })
	l.Now = shownTime(now)
	return l, ok, err
}

// leaseChange is a change that only a caller by REST makes, and that a lost answer leaves unknown: a lease whose password did
// not arrive ends by itself.
func leaseChange[T any](sql string, by vault.Author, right string, args []any, row func(scanner) (T, bool, error)) change[T] {
	return change[T]{
		refusal: refusalTo(by, right), row: oneRow(row),
		text: func(legacy bool) (string, []any, error) {
			if legacy || by.By.IsItself() {
				return "", nil, errLegacy()
			}
			return sql, append(append(args[:len(args):len(args)], credentialArgs(by.By)...), by.Node, orNull(by.RequestID)), nil
		},
	}
}

// performLease runs a change that returns a lease.
func performLease(ctx context.Context, d *DB, c change[vault.Lease]) (vault.Lease, error) {
	l, at, err := performAt(ctx, d, c)
	l.Position = at
	return l, err
}

// IssueRole implements vault.Leases.
func (d *DB) IssueRole(ctx context.Context, template string, ttl time.Duration, verifier string, by vault.Author) (vault.Lease, error) {
	return performLease(ctx, d, leaseChange[vault.Lease](leaseIssue, by, "create", []any{template, orNull(seconds(ttl)), verifier}, leaseRow))
}

// RenewLease implements vault.Leases. Renewing twice is as renewing once, but for the moment it is counted from.
func (d *DB) RenewLease(ctx context.Context, id core.SecretID, increment time.Duration, by vault.Author) (vault.Lease, error) {
	c := leaseChange[vault.Lease](leaseRenew, by, "create", []any{[16]byte(id), orNull(seconds(increment))}, leaseRow)
	c.landed = neverSeen[vault.Lease]
	return performLease(ctx, d, c)
}

// RevokeLease implements vault.Leases.
func (d *DB) RevokeLease(ctx context.Context, id core.SecretID, by vault.Author) (vault.Lease, error) {
	return performLease(ctx, d, leaseChange[vault.Lease](leaseRevoke, by, "create", []any{[16]byte(id)}, leaseRow))
}

// PutRoleTemplate implements vault.Leases. Sent twice it takes effect once.
func (d *DB) PutRoleTemplate(ctx context.Context, t vault.RoleTemplate, by vault.Author) (vault.RoleTemplate, error) {
	if t.Settings == nil {
		t.Settings = map[string]string{}
	}
	if t.MemberOf == nil {
		t.MemberOf = []string{}
	}
	spec, err := json.Marshal(struct {
		vault.RoleTemplate
		RolePrefix *string `json:"role_prefix"`
		ReassignTo *string `json:"reassign_to"`
	}{t, textOrNil(t.RolePrefix), textOrNil(t.ReassignTo)})
	if err != nil {
		return vault.RoleTemplate{}, core.Wrap(core.Internal, err, "encode the template")
	}
	c := leaseChange[vault.RoleTemplate](templatePut, by, "manage", []any{t.Name, string(spec)}, jsonRow)
	c.landed = neverSeen[vault.RoleTemplate]
	made, at, err := performAt(ctx, d, c)
	made.Position = at
	return made, err
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// DeleteRoleTemplate implements vault.Leases.
func (d *DB) DeleteRoleTemplate(ctx context.Context, name string, by vault.Author) (core.Position, error) {
	_, at, err := performAt(ctx, d, leaseChange[bool](templateDelete, by, "manage", []any{name}, jsonRow))
	return at, err
}

// listedLeases is a list that the schema decides about for each row, for a caller by REST.
func listedLeases[T any](sql string, by vault.Credential, args []any, row func(scanner) (T, bool, error)) decidedQuery[T] {
	return decidedQuery[T]{by: by, right: vault.RightSelf, sql: sql, args: args, row: row, legacy: noLegacy}
}

// ListLeases implements vault.Leases.
func (d *DB) ListLeases(ctx context.Context, by vault.Credential, template string, after core.SecretID, limit int, f vault.Freshness) ([]vault.Lease, vault.Identity, error) {
	return decidedRead(ctx, d, f, listedLeases[vault.Lease](leaseList, by, []any{nil, orNull(template), [16]byte(after), int32(limit)}, leaseRow))
}

// ShowLease implements vault.Leases. One that the reader does not know may be new.
func (d *DB) ShowLease(ctx context.Context, by vault.Credential, id core.SecretID, f vault.Freshness) (vault.Lease, vault.Identity, error) {
	q := listedLeases[vault.Lease](leaseList, by, []any{[16]byte(id), nil, nil, int32(1)}, leaseRow)
	rows, who, err := decidedRead(ctx, d, f, q)
	if err == nil && who.Cause == "" && len(rows) == 0 && !f.Primary {
		f.Primary = true
		rows, who, err = decidedRead(ctx, d, f, q)
	}
	if err == nil && len(rows) == 0 {
		err = core.Errorf(core.NotFound, "no such lease")
	}
	if err != nil {
		return vault.Lease{}, who, err
	}
	return rows[0], who, nil
}

// RoleTemplates implements vault.Leases.
func (d *DB) RoleTemplates(ctx context.Context, by vault.Credential, name, after string, limit int, f vault.Freshness) ([]vault.RoleTemplate, vault.Identity, error) {
	return decidedRead(ctx, d, f, listedLeases[vault.RoleTemplate](templateList, by, []any{orNull(name), orNull(after), int32(limit)}, jsonRow))
}
