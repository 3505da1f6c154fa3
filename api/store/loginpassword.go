package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var setPassword = signed("SELECT vault.set_password_with_verifier($1::text, $2::text, $3::text, ORIGIN) IS NOT NULL", 3)

// SetPassword implements vault.Logins. It may be sent twice: it sets a state.
func (d *DB) SetPassword(ctx context.Context, mount, name string, v password.Verifier, by vault.Author) (core.Position, error) {
	_, at, err := performAt(ctx, d, issuing(setPassword, by, mount+"/"+name, []any{mount, name, string(v)}, pgx.RowTo[bool]))
	return at, err
}

// ReplaceVerifier implements vault.Logins.
func (d *DB) ReplaceVerifier(ctx context.Context, role [16]byte, was, becomes password.Verifier) error {
	const sql = "SELECT vault.replace_with_verifier($1::uuid, $2::text, $3::text)"
	_, err := perform(ctx, d, change[bool]{
		text: onlyDeciding(sql, []any{role, string(was), string(becomes)}), row: pgx.RowTo[bool], impatient: true,
	})
	return err
}
