package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var listDeleted = decided("list", "NULL", "vault.list_deleted(d.role, d.scopes, $4::text, $5::integer, $6::timestamptz, $7::uuid)")

// ListDeleted implements vault.Store. Itself sees what vault_admin sees.
func (d *DB) ListDeleted(ctx context.Context, by vault.Credential, prefix string, after vault.DeletedCursor, limit int, f vault.Freshness) (
	[]vault.DeletedSecret, vault.Identity, error,
) {
	until := pgtype.Timestamptz{Time: after.Until, Valid: !after.Until.IsZero()}
	return decidedRead(ctx, d, f, decidedQuery[vault.DeletedSecret]{
		by: by, right: "list", sql: listDeleted, args: []any{prefix, int32(limit), until, [16]byte(after.ID)}, row: deletedSecret,
		undecided: "SELECT * FROM vault.list_deleted('vault_admin'::regrole, NULL, $1::text, $2::integer, $3::timestamptz, $4::uuid)", legacy: noLegacy,
	})
}

func deletedSecret(scan scanner) (out vault.DeletedSecret, ok bool, err error) {
	var (
		id                      pgtype.UUID
		name, kind, ctype, text pgtype.Text
		current                 pgtype.Int8
		created, deleted, until pgtype.Timestamptz
	)
	if err = scan(&id, &name, &kind, &ctype, &text, &current, &created, &deleted, &until); err != nil {
		return out, false, err
	}
	return vault.DeletedSecret{
		ID: id.Bytes, Name: core.Name(name.String), Kind: core.Kind(kind.String), ContentType: core.ContentType(ctype.String),
		Description: text.String, CurrentVersion: uint64(max(current.Int64, 0)), CreatedAt: shownTime(created),
		DeletedAt: shownTime(deleted), RestorableUntil: shownTime(until),
	}, id.Valid, nil
}

// DeletedName implements vault.Store.
func (d *DB) DeletedName(ctx context.Context, id core.SecretID) (core.Name, error) {
	names, err := readPrimaryAt(ctx, d, core.Position{}, func(ctx context.Context, c *pgx.Conn) (query[*string], error) {
		old, err := isLegacy(ctx, c)
		if err == nil && old {
			err = errLegacy()
		}
		return query[*string]{sql: "SELECT vault.deleted_name($1::uuid)", args: []any{[16]byte(id)}, row: pgx.RowTo[*string]}, err
	})
	if err == nil && (len(names) != 1 || names[0] == nil) {
		err = core.Errorf(core.NotFound, "no such deleted secret")
	}
	if err != nil {
		return "", err
	}
	return core.Name(*names[0]), nil
}

var restoreSecret = signed("SELECT * FROM vault.restore_secret($1::uuid, ORIGIN, $2::uuid)", 2)

// RestoreSecret implements vault.Store.
func (d *DB) RestoreSecret(ctx context.Context, id core.SecretID, name core.Name, by vault.Author) (vault.Secret, error) {
	made := newChangeID()
	args := []any{[16]byte(id), made}
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(name), text: notLegacy(restoreSecret.by(by, "create", string(name), args)), refusal: refusalTo(by, "create"), row: stateRow,
		landed: func(ctx context.Context) (s vault.Secret, ok bool, err error) {
			if at, err := d.madeAt(ctx, made); err != nil || at.IsZero() {
				return s, false, err
			}
			s, _, err = d.DescribeSecretOnWriter(ctx, vault.Itself(), vault.ActionDescribe, name)
			if core.CodeOf(err) == core.NotFound || err == nil && s.ID != id {
				return s, false, errTraceless // made, and deleted since
			}
			return s, err == nil, err
		},
	})
}

var destroyDeleted = signed("SELECT true FROM vault.destroy_deleted($1::uuid, ORIGIN, $2::uuid)", 2)

// DestroyDeleted implements vault.Store.
func (d *DB) DestroyDeleted(ctx context.Context, id core.SecretID, name core.Name, by vault.Author) (core.Position, error) {
	made := newChangeID()
	_, at, err := performAt(ctx, d, change[bool]{
		secret: string(name), text: notLegacy(destroyDeleted.by(by, "delete", string(name), []any{[16]byte(id), made})),
		refusal: refusalTo(by, "delete"), row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			at, err := d.madeAt(ctx, made)
			return true, err == nil && !at.IsZero(), err
		},
	})
	return at, err
}
