package service

import (
	"context"
	"errors"
	"log/slog"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/rewrap"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// OpenWithKeys returns the door for commands that need the database and the keeper and no socket, and a function that
// closes it. The secrets of cfg are wiped.
func OpenWithKeys(ctx context.Context, cfg config.Config, log *slog.Logger) (*vault.Vault, func() error, error) {
	defer cfg.Wipe()
	keeper, err := openKeeper(ctx, cfg, log, nil)
	if err != nil {
		return nil, nil, err
	}
	db, err := store.Open(ctx, StoreConfig(cfg))
	if err != nil {
		return nil, nil, errors.Join(err, keeper.Close())
	}
	end := func() error { return errors.Join(closeDB(cfg, db), keeper.Close()) }
	door, err := newDoor(cfg, db, keeper, audit.NewDirect(db), rewrap.New(nil))
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return door, end, nil
}
