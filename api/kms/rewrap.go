package kms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

var (
	_ vault.Rewrapper = (*Cache)(nil)
	_ vault.Prover    = (*Cache)(nil)
)

// Rewrap has KMS wrap the same data key under the key to, an ARN, for the same context. It takes an ARN because the
// configured name may be an alias, which an administrator may point at another key meanwhile. Rewrap unwraps the old
// and the new wrapped key and compares them before it returns, because an answer with another data key would destroy
// the value. Its errors are those of Unwrap.
func (k *AWS) Rewrap(ctx context.Context, key vault.WrappedKey, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	if err := checkWrapped(key); err != nil {
		return vault.WrappedKey{}, err
	}
	ctx, timely := k.call(ctx, "ReEncrypt", key.KeyID)
	out, err := k.client.ReEncrypt(ctx, &awskms.ReEncryptInput{
		CiphertextBlob: key.Wrapped, SourceKeyId: &key.KeyID, SourceEncryptionContext: kmsContext,
		DestinationKeyId: &to, DestinationEncryptionContext: kmsContext,
	}, timely)
	if err != nil {
		return vault.WrappedKey{}, k.explain(ctx, "ReEncrypt", key.KeyID, err)
	}
	made := vault.WrappedKey{KeyID: aws.ToString(out.KeyId), Wrapped: out.CiphertextBlob}
	if aws.ToString(out.SourceKeyId) != key.KeyID || made.KeyID != to || !plausibleBlob(made.Wrapped) {
		return vault.WrappedKey{}, falseAnswer("ReEncrypt", key.KeyID)
	}
	return made, k.same(ctx, key, made, kmsContext)
}

func (k *AWS) same(ctx context.Context, a, b vault.WrappedKey, kmsContext map[string]string) error {
	plainA, err := k.Unwrap(ctx, a, kmsContext)
	defer envelope.Wipe(plainA)
	if err != nil {
		return err
	}
	plainB, err := k.Unwrap(ctx, b, kmsContext)
	defer envelope.Wipe(plainB)
	if core.CodeOf(err) == core.Corrupt || err == nil && !envelope.Equal(plainA, plainB) {
		return falseAnswer("ReEncrypt", a.KeyID) // what is stored is sound: not Corrupt
	}
	return err
}

// Current implements vault.Rewrapper. The error is core.Invalid when the inner keeper has no key to move to.
func (k *Cache) Current(ctx context.Context) (string, error) {
	r, err := k.rewrapper()
	if err != nil {
		return "", err
	}
	return r.Current(ctx)
}

// Rewrap implements vault.Rewrapper. The Cache keeps nothing of it, and the first read fetches the new wrapped key. The
// error is core.Invalid when the inner keeper has no key to move to.
func (k *Cache) Rewrap(ctx context.Context, key vault.WrappedKey, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	r, err := k.rewrapper()
	if err != nil {
		return vault.WrappedKey{}, err
	}
	startedAt := k.c.Clock()
	made, err := r.Rewrap(ctx, key, to, kmsContext)
	k.inner.count(&k.inner.rewrap, startedAt, err)
	return made, err
}

func (k *Cache) rewrapper() (vault.Rewrapper, error) {
	if k.ctx.Err() != nil {
		return nil, errCacheClosed()
	}
	return rewrapperOf(k.inner.inner)
}

// Prove implements vault.Prover. It unwraps key with the inner keeper, and keeps and counts nothing. A kept data key
// would prove nothing about a master key that was changed. The errors are those of the inner keeper.
func (k *Cache) Prove(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) error {
	if k.ctx.Err() != nil {
		return errCacheClosed()
	}
	plain, err := k.inner.inner.Unwrap(ctx, key, kmsContext)
	envelope.Wipe(plain)
	return err
}

// KeyID implements vault.Prover. It is "" when the inner keeper does not name its master key.
func (k *Cache) KeyID() string { return keyIDOf(k.inner.inner) }

// KeyID names the inner keeper's master key. It is "" when the inner keeper has no name for it.
func (k *Recovery) KeyID() string { return keyIDOf(k.inner) }

// KeyID returns the configured name of the master key.
func (k *AWS) KeyID() string { return k.keyID }

func keyIDOf(k vault.Keeper) string {
	if named, ok := k.(interface{ KeyID() string }); ok {
		return named.KeyID()
	}
	return ""
}
