package store

import (
	"context"
	"errors"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// anonymous is a caller without a token: what a new extension lets it do is enough for most tests.
var anonymous = vault.Credential{}

func sealedRows(d *DB, ctx context.Context, names []core.Name, version uint64, f vault.Freshness) (all []vault.StoredValue, err error) {
	for _, n := range names {
		rows, _, rerr := d.ReadSealed(ctx, anonymous, n, version, f)
		all, err = append(all, rows...), errors.Join(err, rerr)
	}
	if len(names) == 1 {
		rows, _, err := d.ReadSealed(ctx, anonymous, names[0], version, f)
		return rows, err
	}
	return all, err
}

func verifiableRows(d *DB, ctx context.Context, name core.Name, f vault.Freshness) ([]vault.StoredValue, error) {
	rows, _, err := d.ReadVerifiable(ctx, anonymous, name, f)
	return rows, err
}

func described(d *DB, ctx context.Context, name core.Name, f vault.Freshness) (vault.Secret, error) {
	s, _, err := d.DescribeSecret(ctx, anonymous, name, f)
	return s, err
}

func describedOnWriter(d *DB, ctx context.Context, name core.Name) (vault.Secret, error) {
	s, _, err := d.DescribeSecretOnWriter(ctx, vault.Itself(), vault.ActionUpdate, name)
	return s, err
}

func listed(d *DB, ctx context.Context, prefix, after string, limit int, f vault.Freshness) ([]vault.SecretResult, error) {
	rows, _, err := d.DescribeSecrets(ctx, anonymous, prefix, after, limit, f)
	return rows, err
}

func versionsOf(d *DB, ctx context.Context, name core.Name, f vault.Freshness) ([]vault.VersionInfo, error) {
	rows, _, err := d.DescribeVersions(ctx, anonymous, name, f)
	return rows, err
}

func eachOf(d *DB, ctx context.Context, names []core.Name, room int, f vault.Freshness) ([]vault.StoredResult, error) {
	rows, _, err := d.ReadEach(ctx, anonymous, names, room, f)
	return rows, err
}

func changesSince(d *DB, ctx context.Context, after vault.Place, limit int) ([]vault.Change, bool, error) {
	page, _, err := d.ChangesSince(ctx, anonymous, after, limit)
	return page.Changes, page.Known, err
}

func statusOf(d *DB, ctx context.Context) (vault.Status, error) {
	s, _, err := d.Status(ctx, anonymous)
	return s, err
}
