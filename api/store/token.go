package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const createToken = `SELECT true FROM vault.create_token($1::uuid, $2::text, $3::bytea, $4::timestamptz,
	ROW($5::text, $6::text, $7::text, $8::inet, $9::text)::vault.audit_origin)`

// CreateToken implements vault.Store.
func (d *DB) CreateToken(ctx context.Context, t vault.NewToken, o vault.Origin) error {
	args := append([]any{t.ID, t.Name, t.Fingerprint[:], timeArg(t.ExpiresAt)}, originArgs(o)...)
	_, err := perform(ctx, d, change[bool]{
		sql: createToken, args: args, row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			active, err := d.ActiveTokens(ctx)
			for _, a := range active {
				if a.ID == t.ID {
					return true, true, err
				}
			}
			return false, false, err
		},
	})
	return err
}

// ActiveTokens implements vault.Store.
func (d *DB) ActiveTokens(ctx context.Context) ([]vault.ActiveToken, error) {
	return readPrimary(ctx, d, "SELECT * FROM vault.active_tokens()", nil, func(r pgx.CollectableRow) (t vault.ActiveToken, err error) {
		var fingerprint []byte
		if err = r.Scan(&t.ID, &t.Name, &fingerprint); err != nil {
			return t, err
		}
		if len(fingerprint) == len(t.Fingerprint) { // no token has the fingerprint of zeros that a malformed one gets
			copy(t.Fingerprint[:], fingerprint)
		}
		return t, nil
	})
}

// ListTokens implements vault.Store.
func (d *DB) ListTokens(ctx context.Context) ([]vault.TokenInfo, error) {
	return readPrimary(ctx, d, "SELECT * FROM vault.list_tokens()", nil, func(r pgx.CollectableRow) (t vault.TokenInfo, err error) {
		var created, expires, revoked pgtype.Timestamptz // one that is infinite must not hide the others
		err = r.Scan(&t.ID, &t.Name, &created, &expires, &revoked)
		t.CreatedAt, t.ExpiresAt, t.RevokedAt = shownTime(created), shownTime(expires), shownTime(revoked)
		return t, err
	})
}

const revokeToken = `SELECT true FROM vault.revoke_token($1::text,
	ROW($2::text, $3::text, $4::text, $5::inet, $6::text)::vault.audit_origin)`

// RevokeToken implements vault.Store. After a lost answer a name without an
// active token counts as revoked.
func (d *DB) RevokeToken(ctx context.Context, name string, o vault.Origin) error {
	_, err := perform(ctx, d, change[bool]{
		sql: revokeToken, args: append([]any{name}, originArgs(o)...), row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			active, err := d.ActiveTokens(ctx)
			for _, a := range active {
				if a.Name == name {
					return false, false, err
				}
			}
			return true, err == nil, err
		},
	})
	return err
}

// One statement, so one commit, however many records.
const appendAudit = `SELECT pg_catalog.count(vault.append_audit(
		ROW(e.node, e.actor, e.session_role, e.client_ip, e.request_id)::vault.audit_origin,
		e.action, e.secret_name, e.version, e.outcome, e.code))
	FROM unnest($1::text[], $2::text[], $3::text[], $4::inet[], $5::text[], $6::text[], $7::text[], $8::bigint[],
		$9::text[], $10::text[]) -- the form with several arrays is grammar: it takes no schema
		AS e (node, actor, session_role, client_ip, request_id, action, secret_name, version, outcome, code)`

// AppendAudit implements vault.Store. Records whose answer got lost are not sent
// again, since they could then be there twice: the operations they belong to fail. So they do at once
// when there is no primary: whoever waits has waited for one already.
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
