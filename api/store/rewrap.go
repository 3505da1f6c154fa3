package store

import (
	"context"
	"crypto/rand"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// ListWrapped implements vault.Store.
func (d *DB) ListWrapped(ctx context.Context, current string, after vault.StoredKey, limit int) ([]vault.StoredKey, error) {
	const sql = "SELECT * FROM vault.list_wrapped($1::text, $2::uuid, $3::bigint, $4::integer)"
	args := []any{current, [16]byte(after.ID), int64(after.Version), limit}
	return readPrimary(ctx, d, sql, args, storedKeyRow)
}

func storedKeyRow(r pgx.CollectableRow) (k vault.StoredKey, err error) {
	var id [16]byte
	var name string
	var version int64
	err = r.Scan(&id, &name, &version, &k.Key.KeyID, &k.Key.Wrapped)
	k.ID, k.Name, k.Version = core.SecretID(id), core.Name(name), uint64(version)
	return k, err
}

// SampleWrapped implements vault.Store.
func (d *DB) SampleWrapped(ctx context.Context, primary bool, limit int) ([]vault.StoredKey, error) {
	const sql = "SELECT * FROM vault.sample_wrapped($1::uuid, $2::integer)"
	from, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return nil, err
	}
	args := []any{[16]byte(from), limit}
	if primary {
		return readPrimary(ctx, d, sql, args, storedKeyRow)
	}
	return read(ctx, d, sql, args, storedKeyRow)
}

// CountWrapped implements vault.Store.
func (d *DB) CountWrapped(ctx context.Context, current string) ([]vault.KeyCount, error) {
	const sql = "SELECT kms_key_id, versions FROM vault.count_wrapped($1::text)"
	return readPrimary(ctx, d, sql, []any{current}, pgx.RowToStructByPos[vault.KeyCount])
}

const rewrapVersion = `SELECT vault.rewrap_version($1::uuid, $2::bigint, $3::text, $4::bytea, $5::text, $6::bytea,
	ROW($7::text, $8::text, $9::text, $10::inet, $11::text)::vault.audit_origin)`

// RewrapVersion implements vault.Store. A lost answer is Unavailable: a caller that asks again learns by false, or by the
// list, that it was done.
func (d *DB) RewrapVersion(ctx context.Context, k vault.StoredKey, w vault.WrappedKey, o vault.Origin) (bool, error) {
	args := []any{[16]byte(k.ID), int64(k.Version), k.Key.KeyID, k.Key.Wrapped, w.KeyID, w.Wrapped}
	return perform(ctx, d, change[bool]{
		secret: k.ID.String(), sql: rewrapVersion, args: append(args, originArgs(o)...), row: pgx.RowTo[bool],
	})
}
