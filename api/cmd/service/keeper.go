package service

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// openKeeper returns the keeper that c asks for; whoever gets it closes it. Only AWS's keys are kept for a while: the
// local master key is never away, so keeping what it unwraps would cost safety and gain nothing.
func openKeeper(ctx context.Context, c config.Config, log *slog.Logger) (*kms.Cache, error) {
	if c.KMS.Mode == config.KMSAWS {
		return openAWS(ctx, c, log)
	}
	local, err := kms.NewLocal(c.KMS.MasterKey)
	if err != nil {
		return nil, err
	}
	if !local.Locked() {
		log.Warn("the master key's memory could not be locked against swapping; raise the limit of locked memory")
	}
	return recoverable(c, local, kms.CacheConfig{CallTimeout: c.RequestTimeout})
}

// TryKey makes a data key of no secret and unwraps it again, as c asks for. It takes no longer than ctx; the secrets of c are not wiped.
func TryKey(ctx context.Context, c config.Config) error {
	k, err := openKeeper(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	none := envelope.Binding{}.KMSContext()
	key, err := k.Generate(ctx, none)
	if err != nil {
		return err
	}
	envelope.Wipe(key.Plain)
	plain, err := k.Unwrap(ctx, key.WrappedKey, none)
	envelope.Wipe(plain)
	return err
}

// openAWS does not call AWS: a node must start, and say that it is not ready, while KMS is away.
func openAWS(ctx context.Context, c config.Config, log *slog.Logger) (*kms.Cache, error) {
	aws, err := kms.NewAWS(ctx, kms.AWSConfig{KeyID: c.KMS.KeyID, MaxRetries: c.KMS.MaxRetries, Silent: func(why error) {
		if why != nil {
			log.Error("AWS KMS does not answer as it should; calls are refused until it does, one a second is tried", "cause", why.Error())
		} else {
			log.Info("AWS KMS answers again")
		}
	}})
	if err != nil {
		return nil, err
	}
	cache, err := recoverable(c, aws, kms.CacheConfig{TTL: c.KMS.CacheTTL, CallTimeout: c.RequestTimeout})
	if err != nil {
		return nil, err
	}
	if !cache.Locked() {
		log.Warn("the memory of cached data keys could not be locked against swapping; raise the limit of locked memory")
	}
	log.Info("data keys are wrapped by AWS KMS", "kms_key_id", c.KMS.KeyID, "cache_ttl_secs", c.KMS.CacheTTL.Seconds(), "max_retries", c.KMS.MaxRetries)
	return cache, nil
}

// recoverable puts the recovery recipient and the cache around inner. Without a recipient too: what was wrapped for one
// while it was set must open.
func recoverable(c config.Config, inner vault.Keeper, cc kms.CacheConfig) (*kms.Cache, error) {
	k, err := kms.NewRecovery(inner, c.KMS.RecoveryRecipient)
	if err != nil {
		if closer, ok := inner.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		return nil, err
	}
	cache, err := kms.NewCache(k, cc)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return cache, nil
}
