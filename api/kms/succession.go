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

// Holder is a keeper that can wrap a data key that is there already: AWS and Local.
type Holder interface {
	vault.Keeper
	io.Closer
	// KeyID is the master key as rows name it, or as it is configured.
	KeyID() string
	// Current is what rows that are made now name. Errors as Check.
	Current(ctx context.Context) (string, error)
	// Wrap wraps plain under the master key to, an answer of Current.
	Wrap(ctx context.Context, plain []byte, to string, kmsContext map[string]string) (vault.WrappedKey, error)
}

var (
	_ Holder          = (*AWS)(nil)
	_ Holder          = (*Local)(nil)
	_ vault.Rewrapper = (*Succession)(nil)
)

// Succession is a keeper that has succeeded others: it makes data keys with the present one alone, and opens what the
// former ones wrapped too, each by the key id that a row names. So a vault can be moved from one to the other while it
// is read. Safe for concurrent use.
type Succession struct {
	present Holder
	former  []Holder
}

// NewSuccession returns a keeper that owns present and former from now on. Each former keeper opens the rows that name
// its KeyID; every other row is the present one's.
func NewSuccession(present Holder, former ...Holder) *Succession {
	return &Succession{present: present, former: former}
}

// of returns the former keeper of a row; nil = it is the present one's.
func (s *Succession) of(keyID string) Holder {
	for _, f := range s.former {
		if f.KeyID() == keyID {
			return f
		}
	}
	return nil
}

// Generate implements vault.Keeper, with the present keeper.
func (s *Succession) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	return s.present.Generate(ctx, kmsContext)
}

// Unwrap implements vault.Keeper, with the keeper of the row's key id.
func (s *Succession) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if f := s.of(key.KeyID); f != nil {
		return f.Unwrap(ctx, key, kmsContext)
	}
	return s.present.Unwrap(ctx, key, kmsContext)
}

// Check asks the present keeper alone: a former one that is away keeps nobody from writing, nor from reading what was
// moved.
func (s *Succession) Check(ctx context.Context) error { return s.present.Check(ctx) }

// Current implements vault.Rewrapper.
func (s *Succession) Current(ctx context.Context) (string, error) { return s.present.Current(ctx) }

// KeyID names every master key that opens rows here, the present one first.
func (s *Succession) KeyID() string {
	ids := []string{s.present.KeyID()}
	for _, f := range s.former {
		ids = append(ids, f.KeyID())
	}
	return strings.Join(ids, " and ")
}

// Circuit is the present keeper's.
func (s *Succession) Circuit() Circuit { return circuitOf(s.present) }

// Rewrap moves a data key to the present keeper: one of a former keeper is unwrapped here and wrapped again. The new
// wrapping is unwrapped and compared before it is returned: a false answer must not destroy the value. Errors as Unwrap.
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

// Close closes all keepers.
func (s *Succession) Close() error {
	err := s.present.Close()
	for _, f := range s.former {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Wrap has KMS wrap a data key that is there already under the key to, an ARN. It needs kms:Encrypt. Errors as Generate.
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
