package kms

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Holder is a keeper that can wrap a data key that exists already. AWS and Local are Holders.
type Holder interface {
	vault.Keeper
	io.Closer
	// KeyID returns the master key as rows name it, or as it is configured.
	KeyID() string
	// Current returns the key id that new rows get. Its errors are those of Check.
	Current(ctx context.Context) (string, error)
	// Wrap wraps plain under the master key to, which is an answer of Current. The caller keeps plain and wipes it.
	Wrap(ctx context.Context, plain []byte, to string, kmsContext map[string]string) (vault.WrappedKey, error)
}

var (
	_ Holder          = (*AWS)(nil)
	_ Holder          = (*Local)(nil)
	_ vault.Rewrapper = (*Succession)(nil)
)

// Succession is a keeper that has succeeded other keepers. It makes data keys with the present keeper alone. It also
// opens what the former keepers wrapped, each by the key id that a row names. So a vault can be moved from one keeper
// to another while it is read. Safe for concurrent use.
type Succession struct {
	present Holder
	former  []Holder
}

// NewSuccession returns a keeper that owns present and former from now on. Each former keeper opens the rows that name
// its KeyID. The present keeper opens all other rows.
func NewSuccession(present Holder, former ...Holder) *Succession {
	return &Succession{present: present, former: former}
}

// of returns the former keeper of a row. It is nil for a row of the present keeper.
func (s *Succession) of(keyID string) Holder {
	for _, f := range s.former {
		if f.KeyID() == keyID {
			return f
		}
	}
	return nil
}

// Generate implements vault.Keeper. It calls the present keeper. The caller wipes Plain.
func (s *Succession) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	return s.present.Generate(ctx, kmsContext)
}

// Unwrap implements vault.Keeper. It calls the keeper of the row's key id. The caller wipes the result.
func (s *Succession) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if f := s.of(key.KeyID); f != nil {
		return f.Unwrap(ctx, key, kmsContext)
	}
	return s.present.Unwrap(ctx, key, kmsContext)
}

// Check calls the present keeper alone. A former keeper that is away prevents no write, and no read of a value that was
// moved already.
func (s *Succession) Check(ctx context.Context) error { return s.present.Check(ctx) }

// Current implements vault.Rewrapper. It calls the present keeper.
func (s *Succession) Current(ctx context.Context) (string, error) { return s.present.Current(ctx) }

// KeyID names every master key that opens rows here, the present one first, with " and " between them.
func (s *Succession) KeyID() string {
	ids := []string{s.present.KeyID()}
	for _, f := range s.former {
		ids = append(ids, f.KeyID())
	}
	return strings.Join(ids, " and ")
}

// Circuit returns the state of the present keeper's breaker.
func (s *Succession) Circuit() Circuit { return circuitOf(s.present) }

// Rewrap implements vault.Rewrapper. It moves a data key to the present keeper. The data key of a former keeper is
// unwrapped here and wrapped again. Rewrap unwraps the new wrapping and compares the keys before it returns, because a
// false answer must not destroy the value. Its errors are those of Unwrap.
func (s *Succession) Rewrap(ctx context.Context, key vault.WrappedKey, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	from := s.of(key.KeyID)
	if r, ok := s.present.(vault.Rewrapper); ok && from == nil {
		return r.Rewrap(ctx, key, to, kmsContext)
	}
	if from == nil {
		from = s.present // it says why it does not open
	}
	plain, err := from.Unwrap(ctx, key, kmsContext)
	defer envelope.Wipe(plain)
	if err != nil {
		return vault.WrappedKey{}, err
	}
	made, err := s.present.Wrap(ctx, plain, to, kmsContext)
	if err != nil {
		return vault.WrappedKey{}, err
	}
	again, err := s.present.Unwrap(ctx, made, kmsContext)
	defer envelope.Wipe(again)
	if core.CodeOf(err) == core.Corrupt || err == nil && !envelope.Equal(plain, again) {
		return vault.WrappedKey{}, falseAnswer("Encrypt", to) // what is stored is sound: not Corrupt
	}
	if err != nil {
		return vault.WrappedKey{}, err
	}
	return made, nil
}

// Close closes all keepers and returns their errors joined.
func (s *Succession) Close() error {
	err := s.present.Close()
	for _, f := range s.former {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Wrap has KMS wrap a data key that exists already under the key to, an ARN. It needs the permission kms:Encrypt. Its
// errors are those of Generate. The caller keeps plain and wipes it.
func (k *AWS) Wrap(ctx context.Context, plain []byte, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	ctx, timely := k.call(ctx, "Encrypt", to)
	out, err := k.client.Encrypt(ctx, &awskms.EncryptInput{KeyId: &to, Plaintext: plain, EncryptionContext: kmsContext}, timely)
	if err != nil {
		return vault.WrappedKey{}, k.explain(ctx, "Encrypt", to, err)
	}
	if aws.ToString(out.KeyId) != to || !plausibleBlob(out.CiphertextBlob) {
		return vault.WrappedKey{}, falseAnswer("Encrypt", to)
	}
	return vault.WrappedKey{KeyID: to, Wrapped: out.CiphertextBlob}, nil
}
