package vault

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// AdminRole is the role that every action on every name is granted to when the extension is made.
const AdminRole = "vault_admin"

// maxListed is how many tokens one question of an operator for all of them returns.
const maxListed = 1000

// MintToken stores a new token that acts as the request's role, and returns it with its metadata: the only moment its text
// exists in the clear. Errors: Invalid, Exists, NotFound (no such role), Unavailable.
func (v *Vault) MintToken(ctx context.Context, op Operator, r TokenRequest) (token.Token, TokenInfo, error) {
	a := v.tryOperator(op, ActionTokenCreate, r.Name)
	a.change = true
	var made token.Token
	var info TokenInfo
	err := a.run(ctx, a.admitOperator(op), func(ctx context.Context) (err error) {
		if r.Role == "" {
			return core.Errorf(core.Invalid, "a token needs a role that it acts as")
		}
		made, info, err = a.makeToken(ctx, r)
		return err
	})
	if err != nil {
		var none token.Token
		return none, TokenInfo{}, err
	}
	return made, info, nil
}

// CreateToken is MintToken for a token of the role vault_admin. ttl 0 means that it does not expire.
func (v *Vault) CreateToken(ctx context.Context, op Operator, name string, ttl time.Duration) (token.Token, error) {
	made, _, err := v.MintToken(ctx, op, TokenRequest{Name: name, Role: AdminRole, TTL: ttl})
	return made, err
}

// makeToken draws the token and stores it.
func (a *attempt) makeToken(ctx context.Context, r TokenRequest) (made token.Token, info TokenInfo, err error) {
	if err := r.check(); err != nil {
		return made, info, err
	}
	if made, err = token.New(rand.Reader); err != nil {
		return made, info, err
	}
	id, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return made, info, err
	}
	t := NewToken{
		ID: TokenID(id), Fingerprint: made.Fingerprint(), Name: r.Name, TTL: r.TTL, MaxTTL: r.MaxTTL, Renewable: r.Renewable,
		Scope: r.Scope, BoundCIDRs: r.BoundCIDRs,
	}
	info, err = a.v.c.Store.CreateToken(ctx, t, r.Role, a.author())
	return made, info, err
}

// ListTokens returns the metadata of every token that is not pruned. Errors: Unavailable.
func (v *Vault) ListTokens(ctx context.Context, op Operator) ([]TokenInfo, error) {
	a := v.tryOperator(op, ActionTokenList, "")
	return perform(ctx, a.operate(op), func(ctx context.Context) (out []TokenInfo, err error) {
		out, err = v.allTokens(ctx)
		return out, err
	})
}

func (v *Vault) allTokens(ctx context.Context) (all []TokenInfo, err error) {
	var after TokenID
	for {
		page, _, err := v.c.Store.ListTokens(ctx, Itself(), after, maxListed, onPrimary)
		all = append(all, page...)
		if err != nil || len(page) < maxListed {
			slices.SortStableFunc(all, func(a, b TokenInfo) int { return a.CreatedAt.Compare(b.CreatedAt) })
			return all, err
		}
		after = page[len(page)-1].ID
	}
}

// OperatorToken returns the metadata of one token, found by its accessor or by its name if that is the name of one that is
// not revoked. Errors: Invalid, NotFound, Unavailable.
func (v *Vault) OperatorToken(ctx context.Context, op Operator, which string) (TokenInfo, error) {
	a := v.tryOperator(op, ActionTokenList, which)
	return perform(ctx, a.operate(op), func(ctx context.Context) (out TokenInfo, err error) {
		out, err = v.findToken(ctx, which)
		return out, err
	})
}

func (v *Vault) findToken(ctx context.Context, which string) (TokenInfo, error) {
	if id, err := ParseTokenID(which); err == nil {
		t, _, err := v.c.Store.ShowToken(ctx, Itself(), id, onPrimary)
		return t, err
	}
	if err := checkTokenName(which); err != nil {
		return TokenInfo{}, err
	}
	all, err := v.allTokens(ctx)
	if err != nil {
		return TokenInfo{}, err
	}
	named := slices.DeleteFunc(all, func(t TokenInfo) bool { return t.Name != which || !t.RevokedAt.IsZero() })
	switch len(named) {
	case 0:
		return TokenInfo{}, errNoToken()
	case 1:
		return named[0], nil
	}
	return TokenInfo{}, core.Errorf(core.Invalid, "%d tokens have that name: give the accessor of one", len(named))
}

func errNoToken() error { return core.Errorf(core.NotFound, "no such token") }

// ExtendToken moves the end of a token, found as by OperatorToken, to increment from now; 0 = its TTL. Errors: Invalid (it is
// not renewable), NotFound, Unavailable.
func (v *Vault) ExtendToken(ctx context.Context, op Operator, which string, increment time.Duration) (TokenInfo, error) {
	a := v.tryOperator(op, ActionTokenRenew, which)
	a.change = true
	return perform(ctx, a.operate(op), func(ctx context.Context) (out TokenInfo, err error) {
		if err := checkIncrement(increment); err != nil {
			return out, err
		}
		t, err := v.findToken(ctx, which)
		if err == nil {
			out, err = v.c.Store.RenewToken(ctx, t.ID, increment, a.author())
		}
		return out, err
	})
}

// RevokeToken ends a token, found as by OperatorToken, and all that were made by it: the next request with one of them is
// refused on every node. Errors: Invalid, NotFound, Unavailable.
func (v *Vault) RevokeToken(ctx context.Context, op Operator, which string) error {
	a := v.tryOperator(op, ActionTokenRevoke, which)
	a.change = true
	return a.run(ctx, a.admitOperator(op), func(ctx context.Context) error {
		t, err := v.findToken(ctx, which)
		if err == nil {
			_, _, err = v.c.Store.RevokeToken(ctx, t.ID, a.author())
		}
		return err
	})
}

func (v *Vault) tryOperator(op Operator, action Action, name string) *attempt {
	return &attempt{v: v, by: Itself(), entry: Entry{
		Origin: Origin{Node: v.c.Node, Actor: actorCLI + printable(op.Name), RequestID: op.RequestID},
		Action: action, Name: printable(name),
	}}
}

// operate runs an operation of an operator.
func (a *attempt) operate(op Operator) func(context.Context, func(context.Context) error) error {
	return func(ctx context.Context, act func(context.Context) error) error {
		return a.run(ctx, a.admitOperator(op), act)
	}
}

func (a *attempt) admitOperator(op Operator) func(context.Context) error {
	return func(context.Context) error {
		if op.Name == "" {
			return core.Errorf(core.Denied, "an operator needs a name")
		}
		return nil
	}
}
