package service

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// OpenRecovery returns the door for reading with the recovery key, which needs the database and no key service, and a
// function that closes it. identity is an identity file of age; the caller wipes it. The secrets of cfg are wiped.
func OpenRecovery(ctx context.Context, cfg config.Config, identity []byte) (*vault.Vault, func() error, error) {
	keeper, err := kms.NewRecoverer(identity)
	if err != nil {
		cfg.Wipe()
		return nil, nil, err
	}
	return openDoor(ctx, cfg, keeper)
}
