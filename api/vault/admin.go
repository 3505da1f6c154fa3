package vault

import (
	"context"
	"crypto/rand"
	"regexp"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// MaxTokenTTL is the longest a token with an end may live.
const MaxTokenTTL = 10 * 366 * 24 * time.Hour

// CreateToken stores a new admin token and returns it: the only moment it exists
// in the clear. ttl 0 means that it does not expire. Errors: Invalid, Exists,
// Unavailable.
func (v *Vault) CreateToken(ctx context.Context, op Operator, name string, ttl time.Duration) (token.Token, error) {
	a := v.tryOperator(op, ActionTokenCreate, name)
	a.change = true
	var made token.Token
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) (err error) {
		made, err = v.createToken(ctx, name, ttl, a.entry.Origin)
		return err
	})
	if err != nil {
		var none token.Token
		return none, err
	}
	return made, nil
}

func (v *Vault) createToken(ctx context.Context, name string, ttl time.Duration, o Origin) (made token.Token, err error) {
	if err := checkTokenName(name); err != nil {
		return made, err
	}
	if ttl < 0 || ttl > MaxTokenTTL {
		return made, core.Errorf(core.Invalid, "a token's lifetime must be between 0 (no end) and %s", MaxTokenTTL)
	}
	if made, err = token.New(rand.Reader); err != nil {
		return made, err
	}
	id, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return made, err
	}
	t := NewToken{ID: id, Name: name, Fingerprint: made.Fingerprint()}
	if ttl > 0 {
		t.ExpiresAt = v.c.Clock().Add(ttl)
	}
	return made, v.c.Store.CreateToken(ctx, t, o)
}

func checkTokenName(name string) error {
	if !tokenName.MatchString(name) {
		return core.Errorf(core.Invalid, "a token name is 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	return nil
}

// ListTokens returns the metadata of every token. Errors: Unavailable.
func (v *Vault) ListTokens(ctx context.Context, op Operator) ([]TokenInfo, error) {
	a := v.tryOperator(op, ActionTokenList, "")
	var out []TokenInfo
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) (err error) {
		out, err = v.c.Store.ListTokens(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RevokeToken ends a token: the next request with it is refused on every node.
// Errors: Invalid, NotFound, Unavailable.
func (v *Vault) RevokeToken(ctx context.Context, op Operator, name string) error {
	a := v.tryOperator(op, ActionTokenRevoke, name)
	a.change = true
	return a.run(ctx, a.admitOperator(op), func(ctx context.Context) error {
		if err := checkTokenName(name); err != nil {
			return err
		}
		return v.c.Store.RevokeToken(ctx, name, a.entry.Origin)
	})
}

func (v *Vault) tryOperator(op Operator, action Action, name string) *attempt {
	return &attempt{v: v, entry: Entry{
		Origin: Origin{Node: v.c.Node, Actor: actorCLI + printable(op.Name), RequestID: op.RequestID},
		Action: action, Name: printable(name),
	}}
}

func (a *attempt) admitOperator(op Operator) func(context.Context) error {
	return func(context.Context) error {
		if op.Name == "" {
			return core.Errorf(core.Denied, "an operator needs a name")
		}
		return nil
	}
}
