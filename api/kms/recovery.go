package kms

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// A data key with a second wrapping is stored as one wrapped key:
//
//	"HVR1" u32be(length of the first) first wrapping, tag[32], age file
//
// The first wrapping is the inner keeper's, the age file holds the 32 bytes for one X25519 recipient. Neither KMS nor
// Local makes a wrapped key that begins so, because theirs begin with a byte of 1. The tag is HMAC-SHA-256 of the age
// file under the data key. So every read detects a modified age file, not only the recovery that one day needs it.
const recoveryMagic = "HVR1"

// recoveryLabel keeps the tag apart from any other use of a data key.
const recoveryLabel = "hyperion-vault/recovery/v1\x00"

// maxRecovery bounds tag and age file together; the right ones have about 250 bytes.
const maxRecovery = 1024

// Recovery wraps every new data key a second time, for a key pair whose private half is kept elsewhere. So losing the
// master key does not lose the secrets. A person with the private key and the database can read every secret wrapped
// since. Safe for concurrent use.
type Recovery struct {
	inner     vault.Keeper
	recipient age.Recipient // nil = no second wrapping is made
}

var _ vault.Rewrapper = (*Recovery)(nil)

// NewRecovery returns a keeper around inner, which it owns from now on. recipient is an age X25519 recipient
// ("age1…"). With "" nothing is wrapped twice, and keys that were wrapped twice still unwrap. Any other recipient is
// a core.Invalid error.
func NewRecovery(inner vault.Keeper, recipient string) (*Recovery, error) {
	k := &Recovery{inner: inner}
	if recipient == "" {
		return k, nil
	}
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "VAULT_RECOVERY_RECIPIENT is not an X25519 recipient of age (age1...)")
	}
	k.recipient = r
	return k, nil
}

// Generate implements vault.Keeper. The caller wipes Plain. The errors are those of the inner keeper, and core.Internal
// when the second wrapping fails.
func (k *Recovery) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	key, err := k.inner.Generate(ctx, kmsContext)
	if err != nil || k.recipient == nil {
		return key, err
	}
	if key.Wrapped, err = k.join(key.Wrapped, key.Plain); err != nil {
		envelope.Wipe(key.Plain)
		return vault.DataKey{}, err
	}
	return key, nil
}

// Unwrap implements vault.Keeper. The inner keeper unwraps the first wrapping. The caller wipes the result. The
// errors are those of the inner keeper, and core.Corrupt when the second wrapping was changed.
func (k *Recovery) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	first, second, err := split(key.Wrapped)
	if err != nil {
		return nil, err
	}
	plain, err := k.inner.Unwrap(ctx, vault.WrappedKey{KeyID: key.KeyID, Wrapped: first}, kmsContext)
	if err != nil || second == nil {
		return plain, err
	}
	if _, err := checkTag(plain, second); err != nil {
		envelope.Wipe(plain)
		return nil, err
	}
	return plain, nil
}

// Check implements vault.Keeper.
func (k *Recovery) Check(ctx context.Context) error { return k.inner.Check(ctx) }

// Current implements vault.Rewrapper. The error is core.Invalid when the inner keeper has no key to move to.
func (k *Recovery) Current(ctx context.Context) (string, error) {
	r, err := rewrapperOf(k.inner)
	if err != nil {
		return "", err
	}
	return r.Current(ctx)
}

// Rewrap implements vault.Rewrapper. It moves the first wrapping. With a recipient it makes the second wrapping again
// for that recipient. Without one it keeps the old second wrapping.
func (k *Recovery) Rewrap(ctx context.Context, key vault.WrappedKey, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	r, err := rewrapperOf(k.inner)
	if err != nil {
		return vault.WrappedKey{}, err
	}
	first, second, err := split(key.Wrapped)
	if err != nil {
		return vault.WrappedKey{}, err
	}
	made, err := r.Rewrap(ctx, vault.WrappedKey{KeyID: key.KeyID, Wrapped: first}, to, kmsContext)
	switch {
	case err != nil:
		return vault.WrappedKey{}, err
	case k.recipient == nil && second != nil:
		made.Wrapped, err = joined(made.Wrapped, second)
	case k.recipient != nil:
		plain, uerr := k.inner.Unwrap(ctx, made, kmsContext)
		defer envelope.Wipe(plain)
		if uerr != nil {
			return vault.WrappedKey{}, uerr
		}
		made.Wrapped, err = k.join(made.Wrapped, plain)
	}
	if err != nil {
		return vault.WrappedKey{}, err
	}
	return made, nil
}

// Circuit returns the state of the inner keeper's breaker.
func (k *Recovery) Circuit() Circuit { return circuitOf(k.inner) }

// Close closes the inner keeper.
func (k *Recovery) Close() error {
	if c, ok := k.inner.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (k *Recovery) join(first, plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, k.recipient)
	if err == nil {
		if _, err = w.Write(plain); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "wrap a data key for the recovery recipient")
	}
	return joined(first, append(tagOf(plain, out.Bytes()), out.Bytes()...))
}

// tagOf is what stands before an age file.
func tagOf(plain, file []byte) []byte {
	h := hmac.New(sha256.New, plain)
	h.Write([]byte(recoveryLabel))
	h.Write(file)
	return h.Sum(nil)
}

// checkTag returns the age file of second when it is the one that was made for plain.
func checkTag(plain, second []byte) ([]byte, error) {
	if len(second) <= sha256.Size || !hmac.Equal(second[:sha256.Size], tagOf(plain, second[sha256.Size:])) {
		return nil, core.Errorf(core.Corrupt, "the recovery wrapping of the data key is damaged")
	}
	return second[sha256.Size:], nil
}

func joined(first, second []byte) ([]byte, error) {
	b := append(make([]byte, 0, len(recoveryMagic)+4+len(first)+len(second)), recoveryMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(first)))
	b = append(append(b, first...), second...)
	if len(b) > maxBlob {
		return nil, core.Errorf(core.Internal, "the two wrappings of a data key are %d bytes, limit is %d", len(b), maxBlob)
	}
	return b, nil
}

// split returns both parts, the second with its tag, unchecked; second is nil where there is none.
func split(wrapped []byte) (first, second []byte, err error) {
	rest, ok := bytes.CutPrefix(wrapped, []byte(recoveryMagic))
	if !ok {
		return wrapped, nil, nil
	}
	if len(rest) > 4 {
		n := uint64(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if n > 0 && n < uint64(len(rest)) && uint64(len(rest))-n <= maxRecovery {
			return rest[:n:n], rest[n:], nil
		}
	}
	return nil, nil, core.Errorf(core.Corrupt, "the wrapped data key is damaged")
}

// Recoverer unwraps second wrappings with the private key, and does nothing else. It uses no network. Safe for
// concurrent use.
type Recoverer struct{ identities []age.Identity }

// NewRecoverer reads an identity file as age-keygen writes it. The caller wipes file. age keeps a copy that no code can
// wipe. The error is core.Invalid when the file holds no identity, and quotes nothing of the file.
func NewRecoverer(file []byte) (*Recoverer, error) {
	ids, err := age.ParseIdentities(bytes.NewReader(file))
	if err != nil || len(ids) == 0 {
		return nil, core.Errorf(core.Invalid, "the file holds no identity of age (AGE-SECRET-KEY-1...)") // the cause may quote it
	}
	return &Recoverer{identities: ids}, nil
}

// Unwrap returns the data key, which the caller wipes. The error is core.Invalid when the key was not wrapped for
// recovery, core.Denied when it was wrapped for another recipient, and core.Corrupt when it is damaged.
func (r *Recoverer) Unwrap(_ context.Context, key vault.WrappedKey, _ map[string]string) ([]byte, error) {
	_, second, err := split(key.Wrapped)
	if err != nil {
		return nil, err
	}
	if second == nil {
		return nil, core.Errorf(core.Invalid, "this version's data key was not wrapped for recovery")
	}
	if len(second) <= sha256.Size {
		return nil, core.Errorf(core.Corrupt, "the recovery wrapping is damaged")
	}
	plain := make([]byte, envelope.KeySize+1) // one more than is right, to see that there is no more
	in, err := age.Decrypt(bytes.NewReader(second[sha256.Size:]), r.identities...)
	if err != nil {
		if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
			return nil, core.Errorf(core.Denied, "this version's data key was wrapped for another recovery recipient")
		}
		return nil, core.Errorf(core.Corrupt, "the recovery wrapping is damaged")
	}
	n, err := io.ReadFull(in, plain)
	if err != io.ErrUnexpectedEOF || n != envelope.KeySize {
		envelope.Wipe(plain)
		return nil, core.Errorf(core.Corrupt, "the recovery wrapping is damaged")
	}
	if _, err := checkTag(plain[:n], second); err != nil {
		envelope.Wipe(plain)
		return nil, err
	}
	return plain[:n:n], nil
}

// Generate always returns core.Unavailable, because a recovery key reads and never writes.
func (r *Recoverer) Generate(context.Context, map[string]string) (vault.DataKey, error) {
	return vault.DataKey{}, core.Errorf(core.Unavailable, "a recovery key makes no data keys")
}

// Check always returns nil.
func (r *Recoverer) Check(context.Context) error { return nil }

func rewrapperOf(k vault.Keeper) (vault.Rewrapper, error) {
	r, ok := k.(vault.Rewrapper)
	if !ok {
		return nil, core.Errorf(core.Invalid, "this server has one master key: set VAULT_OLD_LOCAL_MASTER_KEY or VAULT_OLD_KMS_KEY_ID, beside the new key, to move data keys to that")
	}
	return r, nil
}
