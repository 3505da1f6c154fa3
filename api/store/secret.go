package store

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const createSecret = `SELECT * FROM vault.create_secret($1::uuid, $2::text, $3::bigint,
	ROW($4::smallint, $5::text, $6::bytea, $7::bytea, $8::bytea)::vault.sealed_value, $9::text, $10::text,
	ROW($11::text, $12::jsonb, $13::bigint, $14::text, $15::text, $16::bigint, $17::boolean, $18::bigint, $19::integer,
		$20::jsonb)::vault.secret_settings,
	ROW($21::text, $22::text, $23::text, $24::inet, $25::text)::vault.audit_origin)`

// CreateSecret implements vault.Store.
func (d *DB) CreateSecret(ctx context.Context, s vault.NewSecret, o vault.Origin) (vault.Secret, error) {
	tags, err := tagsArg(s.Tags)
	if err != nil {
		return vault.Secret{}, err
	}
	policy, err := policyArg(s.GeneratePolicy)
	if err != nil {
		return vault.Secret{}, err
	}
	args := []any{[16]byte(s.ID), string(s.Name), int64(s.Version)}
	args = append(args, sealedArgs(s.Sealed)...)
	args = append(args, string(s.Kind), string(s.ContentType), s.Description, tags,
		orNull(s.RotationIntervalSecs), orNull(s.Rotation.Schedule), orNull(s.Rotation.TimeZone),
		orNull(s.Rotation.WindowSecs), s.Rotation.Paused, s.GracePeriodSecs, int32(s.Rotation.KeepVersions), policy)
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(s.Name), sql: createSecret, args: append(args, originArgs(o)...), row: secretRow,
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			return d.landed(ctx, s.ID, s.Name, s.Version, s.Sealed.Nonce)
		},
	})
}

// FirstVersion implements vault.Store.
func (d *DB) FirstVersion(ctx context.Context, name core.Name) (uint64, error) {
	rows, err := readPrimary(ctx, d, "SELECT vault.first_version($1::text)", []any{string(name)}, pgx.RowTo[int64])
	if err != nil {
		return 0, err
	}
	return version(rows[0])
}

const appendVersion = `SELECT * FROM vault.append_version($1::uuid, $2::bigint,
	ROW($3::smallint, $4::text, $5::bytea, $6::bytea, $7::bytea)::vault.sealed_value,
	$8::text, ROW($9::text, $10::jsonb, NULL, NULL, NULL, NULL, NULL, $11::bigint, NULL, NULL)::vault.secret_settings,
	$12::boolean, ROW($13::text, $14::text, $15::text, $16::inet, $17::text)::vault.audit_origin)`

// AppendVersion implements vault.Store.
func (d *DB) AppendVersion(ctx context.Context, v vault.NewVersion, o vault.Origin) (vault.Secret, error) {
	tags, err := tagsArg(v.Tags)
	if err != nil {
		return vault.Secret{}, err
	}
	args := []any{[16]byte(v.ID), int64(v.Expected)}
	args = append(args, sealedArgs(v.Sealed)...)
	args = append(args, string(v.Action), v.Description, tags, v.GracePeriodSecs, v.Reschedule)
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(v.Name), sql: appendVersion, args: append(args, originArgs(o)...), row: secretRow,
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			return d.landed(ctx, v.ID, v.Name, v.Expected+1, v.Sealed.Nonce)
		},
	})
}

// landed tells whether the version with this very nonce is stored. A nonce is
// random and used once, so no other change can be taken for this one. Only another
// in its place shows that it was not made, be it of another secret, since no version of a name is made twice: a version
// that is gone may have been it.
func (d *DB) landed(ctx context.Context, id core.SecretID, name core.Name, version uint64, nonce []byte) (vault.Secret, bool, error) {
	rows, err := readPrimary(ctx, d, readSealed, []any{[]string{string(name)}, int64(version)}, storedRow)
	switch {
	case err != nil:
		return vault.Secret{}, false, err
	case len(rows) != 1:
		return vault.Secret{}, false, errTraceless
	case rows[0].SecretID != id || !bytes.Equal(rows[0].Sealed.Nonce, nonce):
		return vault.Secret{}, false, nil
	}
	s, err := d.DescribeSecretOnWriter(ctx, name)
	if err != nil || s.ID != id {
		return vault.Secret{}, false, err
	}
	// What the lost answer said, should another change have followed already.
	s.CurrentVersion = version
	return s, true, nil
}

const deleteSecret = `SELECT true FROM vault.delete_secret($1::uuid, $2::bigint,
	ROW($3::text, $4::text, $5::text, $6::inet, $7::text)::vault.audit_origin, $8::uuid)`

// DeleteSecret implements vault.Store. It leaves no row, so the id in its audit record tells it from another's deletion.
func (d *DB) DeleteSecret(ctx context.Context, x vault.Deletion, o vault.Origin) (vault.Position, error) {
	id := newChangeID()
	args := append([]any{[16]byte(x.ID), int64(x.Expected)}, originArgs(o)...)
	_, at, err := performAt(ctx, d, change[bool]{
		secret: string(x.Name), sql: deleteSecret, args: append(args, id), row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			at, err := d.madeAt(ctx, id)
			return true, err == nil && !at.IsZero(), err
		},
	})
	return at, err
}

const readSealed = "SELECT * FROM vault.read_sealed($1::text[], $2::bigint)"

// ReadSealed implements vault.Store.
func (d *DB) ReadSealed(ctx context.Context, names []core.Name, version uint64, f vault.Freshness) ([]vault.StoredValue, error) {
	if len(names) == 1 && version == 0 && f == (vault.Freshness{}) {
		rows, err := d.current.read(ctx, string(names[0]))
		return rows, d.classify(err)
	}
	return readFresh(ctx, d, f, readSealed, []any{texts(names), versionArg(version)}, storedRow)
}

// ReadSealedOnWriter implements vault.Store.
func (d *DB) ReadSealedOnWriter(ctx context.Context, name core.Name) (vault.StoredValue, error) {
	rows, err := readPrimary(ctx, d, readSealed, []any{[]string{string(name)}, nil}, storedRow)
	switch {
	case err != nil:
		return vault.StoredValue{}, err
	case len(rows) == 0:
		return vault.StoredValue{}, core.Errorf(core.NotFound, "no such secret")
	case len(rows) > 1:
		return vault.StoredValue{}, core.Errorf(core.Corrupt, "the name is stored more than once")
	}
	return rows[0], nil
}

// ReadVerifiable implements vault.Store.
func (d *DB) ReadVerifiable(ctx context.Context, name core.Name, f vault.Freshness) ([]vault.StoredValue, error) {
	return readFresh(ctx, d, f, "SELECT * FROM vault.read_verifiable($1::text)", []any{string(name)}, storedRow)
}

const describeSecret = "SELECT * FROM vault.describe_secret($1::text)"

// DescribeSecret implements vault.Store.
func (d *DB) DescribeSecret(ctx context.Context, name core.Name, f vault.Freshness) (vault.Secret, error) {
	s, err := oneSecret(readFresh(ctx, d, f, describeSecret, []any{string(name)}, secretResultRow))
	if err != nil {
		return vault.Secret{}, err
	}
	return s, nil
}

// DescribeSecretOnWriter implements vault.Store.
func (d *DB) DescribeSecretOnWriter(ctx context.Context, name core.Name) (vault.Secret, error) {
	return oneSecret(readPrimary(ctx, d, describeSecret, []any{string(name)}, secretResultRow))
}

func oneSecret(rows []vault.SecretResult, err error) (vault.Secret, error) {
	switch {
	case err != nil:
		return vault.Secret{}, err
	case len(rows) == 0:
		return vault.Secret{}, core.Errorf(core.NotFound, "no such secret")
	case len(rows) > 1:
		return vault.Secret{}, core.Errorf(core.Corrupt, "the name is stored more than once")
	}
	return rows[0].Secret, rows[0].Err
}

// DescribeSecrets implements vault.Store.
func (d *DB) DescribeSecrets(ctx context.Context, prefix, after string, limit int, f vault.Freshness) ([]vault.SecretResult, error) {
	return readFresh(ctx, d, f, "SELECT * FROM vault.describe_secrets($1::text, $2::text, $3::integer)",
		[]any{prefix, after, int32(limit)}, secretResultRow)
}

const describeVersions = "SELECT * FROM vault.describe_versions($1::text)"

// DescribeVersions implements vault.Store.
func (d *DB) DescribeVersions(ctx context.Context, name core.Name, f vault.Freshness) ([]vault.VersionInfo, error) {
	return readFresh(ctx, d, f, describeVersions, []any{string(name)}, versionRow)
}
