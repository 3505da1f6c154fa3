package service

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// OpenOperator returns the door for work on admin tokens, which needs the database and no key, and a function that
// closes it. cfg may come from config.LoadStore; its secrets are wiped.
func OpenOperator(ctx context.Context, cfg config.Config) (*vault.Vault, func() error, error) {
	return openDoor(ctx, cfg, noKeeper{})
}

// openDoor returns a door without sockets, for one command.
func openDoor(ctx context.Context, cfg config.Config, keeper vault.Keeper) (*vault.Vault, func() error, error) {
	defer cfg.Wipe()
	db, err := store.Open(ctx, StoreConfig(cfg))
	if err != nil {
		return nil, nil, err
	}
	door, err := newDoor(cfg, db, keeper, audit.NewDirect(db), nil)
	if err != nil {
		_ = closeDB(cfg, db)
		return nil, nil, err
	}
	return door, func() error { return closeDB(cfg, db) }, nil
}

// closeDB closes the database of a command, whose work is done: nothing is worth waiting for long.
func closeDB(cfg config.Config, db *store.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout)
	defer cancel()
	return db.Close(ctx)
}

// noKeeper stands where no key is wanted: it has none.
type noKeeper struct{}

var errNoKeeper = core.Errorf(core.Unavailable, "this command has no keys")

func (noKeeper) Generate(context.Context, map[string]string) (vault.DataKey, error) {
	return vault.DataKey{}, errNoKeeper
}

func (noKeeper) Unwrap(context.Context, vault.WrappedKey, map[string]string) ([]byte, error) {
	return nil, errNoKeeper
}

func (noKeeper) Check(context.Context) error { return errNoKeeper }
