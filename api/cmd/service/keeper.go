package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// openKeeper returns the keeper that c asks for; the caller closes it. Only AWS's keys are kept for a while: a
// local master key is never away, so keeping what it unwraps would cost safety and gain nothing.
// revoked is called when a key service says that a key must no longer be used; nil = nothing is called.
func openKeeper(ctx context.Context, c config.Config, log *slog.Logger, revoked func()) (*kms.Cache, error) {
	present, err := openPresent(ctx, c, log)
	if err != nil {
		return nil, err
	}
	former, err := openFormer(ctx, c, log)
	if err != nil {
		return nil, errors.Join(err, present.Close())
	}
	var keeper vault.Keeper = present
	if len(former) > 0 {
		keeper = kms.NewSuccession(present, former...)
	}
	cc := kms.CacheConfig{CallTimeout: c.RequestTimeout, Revoked: revoked}
	if c.KMS.Mode == config.KMSAWS || c.KMS.Old.KeyID != "" {
		cc.TTL = c.KMS.CacheTTL
	} else {
		cc.Unkept = frame.MaxLeaseSecs * time.Second
	}
	cache, err := recoverable(c, keeper, cc)
	if err == nil && !cache.Locked() {
		log.Warn("the memory of cached data keys could not be locked against swapping; raise the limit of locked memory")
	}
	return cache, err
}

// openPresent returns the keeper of new data keys.
func openPresent(ctx context.Context, c config.Config, log *slog.Logger) (kms.Holder, error) {
	if c.KMS.Mode != config.KMSAWS {
		return openLocal(c.KMS.MasterKey, log)
	}
	aws, err := openAWS(ctx, kms.AWSConfig{KeyID: c.KMS.KeyID, MaxRetries: c.KMS.MaxRetries}, log)
	if err != nil {
		return nil, err
	}
	log.Info("data keys are wrapped by AWS KMS", "kms_key_id", c.KMS.KeyID, "cache_ttl_secs", c.KMS.CacheTTL.Seconds(), "max_retries", c.KMS.MaxRetries)
	return aws, nil
}

// openFormer returns the keepers that open what they wrapped, and wrap nothing.
func openFormer(ctx context.Context, c config.Config, log *slog.Logger) ([]kms.Holder, error) {
	var former []kms.Holder
	if old := c.KMS.Old.MasterKey; len(old) > 0 {
		local, err := openLocal(old, log)
		if err != nil {
			return nil, fmt.Errorf("the old master key: %w", err)
		}
		former = append(former, local)
	}
	if old := c.KMS.Old; old.KeyID != "" {
		aws, err := openAWS(ctx, kms.AWSConfig{
			KeyID: old.KeyID, MaxRetries: c.KMS.MaxRetries, Profile: old.Profile, Endpoint: old.Endpoint, Elsewhere: true}, log)
		if err != nil {
			for _, f := range former {
				err = errors.Join(err, f.Close())
			}
			return nil, fmt.Errorf("the old key of AWS KMS: %w", err)
		}
		former = append(former, aws)
	}
	for _, f := range former {
		log.Info("data keys of an old master key are opened too; hyperion-vault-api rewrap moves them", "kms_key_id", f.KeyID())
	}
	return former, nil
}

func openLocal(master []byte, log *slog.Logger) (kms.Holder, error) {
	local, err := kms.NewLocal(master)
	if err != nil {
		return nil, err
	}
	if !local.Locked() {
		log.Warn("the master key's memory could not be locked against swapping; raise the limit of locked memory")
	}
	return local, nil
}

// TryKey makes a data key of no secret and unwraps it again, as c asks for. It takes no longer than ctx; the secrets of
// c are not wiped.
func TryKey(ctx context.Context, c config.Config) error {
	k, err := openKeeper(ctx, c, slog.New(slog.DiscardHandler), nil)
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
func openAWS(ctx context.Context, a kms.AWSConfig, log *slog.Logger) (kms.Holder, error) {
	a.Silent = func(why error) {
		if why != nil {
			log.Error("AWS KMS does not answer properly; calls are refused until it does, except one probe a second", "kms_key_id", a.KeyID, "cause", why.Error())
		} else {
			log.Info("AWS KMS answers again", "kms_key_id", a.KeyID)
		}
	}
	aws, err := kms.NewAWS(ctx, a)
	if err != nil {
		return nil, err
	}
	return aws, nil
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
