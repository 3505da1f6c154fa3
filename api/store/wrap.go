package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// stateLimit is what vault.wrap_answer() raises for a caller that has as many wrapped answers as it may.
const stateLimit = "54000"

var wrapAnswer = signed(`SELECT w.created_at, w.expires_at FROM vault.wrap_answer($1::uuid, $2::bytea, $3::text, $4::text,
	ROW($5::smallint, $6::text, $7::bytea, $8::bytea, $9::bytea)::vault.sealed_value, $10::bigint, $11::bytea, $12::uuid, ORIGIN) w`, 12)

// PutWrapped implements vault.Wrapping. After a lost answer the row is looked for. Sent twice it is stored once: its id is
// taken then.
func (d *DB) PutWrapped(ctx context.Context, w vault.NewWrapped, by vault.Author) (vault.Wrapped, error) {
	var replaced any
	if w.Replaced != ([32]byte{}) {
		replaced = w.Replaced[:]
	}
	args := []any{w.ID, w.Fingerprint[:], orNull(w.Name), w.Path, w.EnvelopeVersion, w.KeyID, w.WrappedKey.Wrapped, w.Nonce, w.Ciphertext,
		seconds(w.TTL), replaced, newChangeID()}
	out := w.StoredWrapped.Wrapped
	made, at, err := performAt(ctx, d, change[vault.Wrapped]{
		text: notLegacy(wrapAnswer.by(by, vault.RightSelf, "", args)),
		refusal: func(err error) error {
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == stateLimit {
				return core.Wrap(core.TooMany, err, "%s", pg.Message)
			}
			return refusal(by.By, "wrap", err)
		},
		row: func(r pgx.CollectableRow) (vault.Wrapped, error) {
			err := r.Scan(&out.CreatedAt, &out.ExpiresAt)
			return out, err
		},
		landed: func(ctx context.Context) (vault.Wrapped, bool, error) {
			found, err := d.FindWrapped(ctx, w.Fingerprint)
			if core.CodeOf(err) == core.NotFound {
				return out, false, nil
			}
			return found.Wrapped, err == nil, err
		},
	})
	made.Position = at
	return made, err
}

// FindWrapped implements vault.Wrapping.
func (d *DB) FindWrapped(ctx context.Context, fingerprint [32]byte) (vault.StoredWrapped, error) {
	rows, err := readPrimaryAt(ctx, d, core.Position{}, func(ctx context.Context, c *pgx.Conn) (query[vault.StoredWrapped], error) {
		old, err := isLegacy(ctx, c)
		if err == nil && old {
			err = errLegacy()
		}
		return query[vault.StoredWrapped]{sql: readWrapped, args: []any{fingerprint[:]}, row: wrappedRow}, err
	})
	if err == nil && len(rows) == 0 {
		err = core.Errorf(core.NotFound, "no such wrapped answer")
	}
	if err != nil {
		return vault.StoredWrapped{}, err
	}
	return rows[0], nil
}

const readWrapped = `SELECT w.id, coalesce(w.secret_name, ''), w.path, w.envelope_version, w.kms_key_id, w.wrapped_dek, w.nonce, w.ciphertext,
	w.created_at, w.expires_at FROM vault.read_wrapped($1::bytea) w`

func wrappedRow(r pgx.CollectableRow) (w vault.StoredWrapped, err error) {
	var created, expires time.Time
	err = r.Scan(&w.ID, &w.Name, &w.Path, &w.EnvelopeVersion, &w.KeyID, &w.WrappedKey.Wrapped, &w.Nonce, &w.Ciphertext, &created, &expires)
	w.CreatedAt, w.ExpiresAt = created, expires
	return w, err
}

var unwrapAnswer = signed("SELECT vault.unwrap_answer($1::bytea, $2::uuid, ORIGIN) IS NOT NULL", 2)

// TakeWrapped implements vault.Wrapping.
func (d *DB) TakeWrapped(ctx context.Context, fingerprint [32]byte, by vault.Author) (core.Position, error) {
	made := newChangeID()
	_, at, err := performAt(ctx, d, change[bool]{
		text: notLegacy(unwrapAnswer.by(by, vault.RightSelf, "", []any{fingerprint[:], made})), row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			at, err := d.madeAt(ctx, made)
			return true, err == nil && !at.IsZero(), err
		},
	})
	return at, err
}
