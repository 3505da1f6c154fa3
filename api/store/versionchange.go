package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var createMetadata = signed(`SELECT * FROM vault.store_metadata($1::uuid, $2::text, $3::text,
	ROW($4::text, $5::jsonb, NULL, NULL, NULL, NULL, NULL, $6::bigint, $7::integer, $8::jsonb)::vault.secret_settings,
	ROW($9::boolean, $10::bigint)::vault.version_settings, ORIGIN)`, 10)

// CreateMetadata implements vault.Store.
func (d *DB) CreateMetadata(ctx context.Context, s vault.NewSecret, by vault.Author) (vault.Secret, error) {
	tags, err := tagsArg(s.Tags)
	if err != nil {
		return vault.Secret{}, err
	}
	policy, err := policyArg(s.GeneratePolicy)
	if err != nil {
		return vault.Secret{}, err
	}
	args := []any{[16]byte(s.ID), string(s.Name), string(s.ContentType), s.Description, tags, s.GracePeriodSecs,
		int32(s.Rotation.KeepVersions), policy, s.CASRequired, s.DeleteVersionAfterSecs}
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(s.Name), text: notLegacy(createMetadata.by(by, "create", string(s.Name), args)), refusal: refusalTo(by, "create"),
		row: stateRow,
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			found, _, err := d.DescribeSecretOnWriter(ctx, vault.Itself(), vault.ActionDescribe, s.Name)
			if core.CodeOf(err) == core.NotFound {
				return vault.Secret{}, false, errTraceless // made, and deleted since
			}
			return found, err == nil && found.ID == s.ID, err
		},
	})
}

var changeVersions = signed("SELECT vault.change_versions($1::uuid, $2::bigint[], $3::text, ORIGIN, $4::uuid)", 4)

// ChangeVersions implements vault.Store. After a lost answer it returns the versions that were asked for: which of them
// were changed is not kept.
func (d *DB) ChangeVersions(ctx context.Context, x vault.VersionsChange, by vault.Author) (vault.VersionsChanged, error) {
	id := newChangeID()
	right := vault.RightOf(x.Action)
	args := []any{[16]byte(x.ID), versionNumbers(x.Versions), string(x.Action), id} // no versions are null, which is the current one
	changed, at, err := performAt(ctx, d, change[[]int64]{
		secret: string(x.Name), text: notLegacy(changeVersions.by(by, right, string(x.Name), args)), refusal: refusalTo(by, right),
		row: pgx.RowTo[[]int64],
		landed: func(ctx context.Context) ([]int64, bool, error) {
			at, err := d.madeAt(ctx, id)
			return versionNumbers(x.Versions), err == nil && !at.IsZero(), err
		},
	})
	if err != nil {
		return vault.VersionsChanged{}, err
	}
	out := vault.VersionsChanged{Position: at}
	for _, n := range changed {
		out.Versions = append(out.Versions, uint64(n))
	}
	return out, nil
}

// versionNumbers returns nil for no versions.
func versionNumbers(versions []uint64) (out []int64) {
	for _, v := range versions {
		out = append(out, int64(v))
	}
	return out
}

// notLegacy refuses a change that a schema of protocol 1 has no function for.
func notLegacy(text func(legacy bool) (string, []any, error)) func(legacy bool) (string, []any, error) {
	return func(legacy bool) (string, []any, error) {
		if legacy {
			return "", nil, errLegacy()
		}
		return text(false)
	}
}
