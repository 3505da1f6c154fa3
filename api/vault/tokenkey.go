package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

const (
	// tokenKeyAge is how old the newest key of batch tokens may be before a login makes the next.
	tokenKeyAge = 30 * 24 * time.Hour
	// keysHold is how long a list of keys is used for sealing before the store is asked again.
	keysHold = time.Minute
	// keysPause is the least time between two questions for a key that is not in the list: tokens with made-up key ids must
	// not cost a query each.
	keysPause = time.Second
)

// contextTokenKey names a key of batch tokens to the key service, so that its wrapping opens as nothing else.
const contextTokenKey = "hyperion-vault:token-key-id"

// tokenKeys is the list of the wrapped keys of batch tokens. Plain keys are the keeper's to cache. Safe for concurrent
// use; the zero value is ready.
type tokenKeys struct {
	mu      sync.Mutex
	list    []TokenKey // newest first
	at      time.Time  // of the list; zero = there is none
	askedAt time.Time  // for a key that was not in it
}

// batchClaims is what a batch token says. The store decides by it.
type batchClaims struct {
	LoginRole  string    `json:"login_role"`
	ValidFrom  time.Time `json:"valid_from"` // the role's, at the time of the login
	IssuedAt   time.Time `json:"issued_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	Name       string    `json:"name"`
	Scopes     []Scope   `json:"scopes"`      // null = no limit
	BoundCIDRs []string  `json:"bound_cidrs"` // null = every address
}

func tokenKeyContext(id [16]byte) map[string]string {
	return map[string]string{contextTokenKey: core.SecretID(id).String()}
}

// load fetches the list from the store.
func (k *tokenKeys) load(ctx context.Context, v *Vault, f Freshness) ([]TokenKey, error) {
	list, err := v.c.Logins.TokenKeys(ctx, f)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list, k.at = list, v.c.Clock()
	return list, nil
}

// newest returns the key that seals, and whether there is one. A store that does not answer leaves the list in use.
func (k *tokenKeys) newest(ctx context.Context, v *Vault) (TokenKey, bool, error) {
	k.mu.Lock()
	list, age := k.list, v.c.Clock().Sub(k.at)
	k.mu.Unlock()
	if list == nil || age < 0 || age >= keysHold {
		again, err := k.load(ctx, v, Freshness{})
		if err != nil && list == nil {
			return TokenKey{}, false, err
		}
		if err == nil {
			list = again
		}
	}
	if len(list) == 0 {
		return TokenKey{}, false, nil
	}
	return list[0], true, nil
}

// find returns the key with an id. One that is not in the list is asked for, of the primary too: a standby may be behind.
func (k *tokenKeys) find(ctx context.Context, v *Vault, id [16]byte) (TokenKey, error) {
	now := v.c.Clock()
	k.mu.Lock()
	found, ok := keyOf(k.list, id)
	pause := now.Sub(k.askedAt)
	ask := !ok && (k.askedAt.IsZero() || pause < 0 || pause >= keysPause)
	if ask {
		k.askedAt = now
	}
	k.mu.Unlock()
	for _, f := range []Freshness{{}, onPrimary} {
		if ok || !ask {
			break
		}
		list, err := k.load(ctx, v, f)
		if err != nil {
			return TokenKey{}, err
		}
		found, ok = keyOf(list, id)
	}
	if !ok {
		return TokenKey{}, errTokenInvalid(CauseTokenUnknown)
	}
	return found, nil
}

func keyOf(list []TokenKey, id [16]byte) (TokenKey, bool) {
	for _, k := range list {
		if k.ID == id {
			return k, true
		}
	}
	return TokenKey{}, false
}

// openBatch returns the claims of a batch token, as the JSON that was sealed. Unauthenticated when it is none.
func (v *Vault) openBatch(ctx context.Context, b token.Batch) (string, error) {
	if v.c.Logins == nil {
		return "", errTokenInvalid(CauseTokenUnknown)
	}
	key, err := v.tokenKeys.find(ctx, v, b.KeyID)
	if err != nil {
		return "", err
	}
	plain, err := v.c.Keeper.Unwrap(ctx, key.WrappedKey, tokenKeyContext(key.ID))
	if err != nil {
		return "", err
	}
	defer envelope.Wipe(plain)
	claims, err := b.Open(plain)
	if err != nil {
		return "", errTokenInvalid(CauseTokenUnknown)
	}
	return string(claims), nil
}

// open opens the batch token that was presented, if it is one. From then on the store decides by its claims.
func (a *attempt) open(ctx context.Context) error {
	if a.batch == nil {
		return nil
	}
	claims, err := a.v.openBatch(ctx, *a.batch)
	if err != nil {
		return err
	}
	a.by.Claims, a.by.sealed, a.batch = claims, false, nil
	return nil
}

// sealBatch returns a batch token with the claims.
func (v *Vault) sealBatch(ctx context.Context, claims batchClaims, by Author) (token.Token, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return token.Token{}, core.Wrap(core.Internal, err, "encode the claims of a batch token")
	}
	id, plain, err := v.sealingKey(ctx, by)
	if err != nil {
		return token.Token{}, err
	}
	defer envelope.Wipe(plain)
	return token.SealBatch(plain, id, text)
}

// sealingKey returns the newest key, in plain, which the caller wipes. It makes the next key when there is none, when the
// newest one is old, and when the key service says that it does not open it. While the primary is away an old one goes on.
func (v *Vault) sealingKey(ctx context.Context, by Author) (id [16]byte, plain []byte, err error) {
	newest, ok, err := v.tokenKeys.newest(ctx, v)
	if err != nil {
		return id, nil, err
	}
	if ok {
		plain, err = v.c.Keeper.Unwrap(ctx, newest.WrappedKey, tokenKeyContext(newest.ID))
		if err != nil && core.CodeOf(err) == core.Unavailable {
			return id, nil, err
		}
		if err == nil && v.c.Clock().Sub(newest.CreatedAt) < tokenKeyAge {
			return newest.ID, plain, nil
		}
	}
	next, made, _, nextErr := v.newTokenKey(ctx, newest.ID, by)
	switch {
	case nextErr == nil:
		envelope.Wipe(plain)
		return next, made, nil
	case plain != nil:
		return newest.ID, plain, nil
	}
	return id, nil, nextErr
}

// newTokenKey stores a key that follows the expected one, and returns it in plain, which the caller wipes. When another
// node was faster, it is that node's.
func (v *Vault) newTokenKey(ctx context.Context, expected [16]byte, by Author) (id [16]byte, plain []byte, at core.Position, err error) {
	made, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return id, nil, at, err
	}
	id = made
	key, err := v.c.Keeper.Generate(ctx, tokenKeyContext(id))
	if err != nil {
		return id, nil, at, err
	}
	stored, at, err := v.c.Logins.PutTokenKey(ctx, TokenKey{ID: id, WrappedKey: key.WrappedKey}, expected, by)
	if err == nil && stored {
		// Other nodes find it when they meet the first token under it.
		_, _ = v.tokenKeys.load(ctx, v, onPrimary)
		return id, key.Plain, at, nil
	}
	envelope.Wipe(key.Plain)
	if err != nil {
		return id, nil, at, err
	}
	list, err := v.tokenKeys.load(ctx, v, onPrimary)
	switch {
	case err != nil:
		return id, nil, at, err
	case len(list) == 0:
		return id, nil, at, core.Errorf(core.Internal, "there is no key for batch tokens")
	}
	plain, err = v.c.Keeper.Unwrap(ctx, list[0].WrappedKey, tokenKeyContext(list[0].ID))
	return list[0].ID, plain, at, err
}
