package vault

import (
	"context"
	"encoding/hex"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9._:@/-]{1,64}$`)

const (
	// DefaultTokenTTL is how long a token lives that is made without a lifetime.
	DefaultTokenTTL = 30 * 24 * time.Hour
	// MaxTokenTTL is the longest a token with an end may live.
	MaxTokenTTL = MaxPeriodSecs * time.Second
	maxScope    = 64 // entries
	maxCIDRs    = 64
)

// TokenRequest is a token to make. Texts are unchecked; the door parses them.
type TokenRequest struct {
	Name       string
	Role       string        // that it acts as; "" = a child of the caller's token
	TTL        time.Duration // 0 = no end, or for a child, that of its parent
	MaxTTL     time.Duration // 0 = no limit
	Renewable  bool
	Scope      Scope
	BoundCIDRs []netip.Prefix
}

func (r *TokenRequest) check() error {
	if err := checkTokenName(r.Name); err != nil {
		return err
	}
	switch {
	case r.TTL != 0 && (r.TTL < time.Second || r.TTL > MaxTokenTTL):
		return core.Errorf(core.Invalid, "a token's lifetime must be between 1 s and %d s, or 0 for no end", MaxPeriodSecs)
	case r.MaxTTL != 0 && (r.MaxTTL < time.Second || r.MaxTTL > MaxTokenTTL):
		return core.Errorf(core.Invalid, "a token's longest lifetime must be between 1 s and %d s, or 0 for no limit", MaxPeriodSecs)
	case r.MaxTTL != 0 && r.MaxTTL < r.TTL:
		return core.Errorf(core.Invalid, "a token's longest lifetime must not be less than its lifetime")
	case r.MaxTTL != 0 && r.TTL == 0:
		return core.Errorf(core.Invalid, "a token without an end has no longest lifetime")
	case r.Scope != nil && (len(r.Scope) < 1 || len(r.Scope) > maxScope):
		return core.Errorf(core.Invalid, "a scope has 1 to %d entries", maxScope)
	case len(r.BoundCIDRs) > maxCIDRs:
		return core.Errorf(core.Invalid, "a token is bound to at most %d networks", maxCIDRs)
	}
	for _, e := range r.Scope {
		if err := checkGrant(e.Pattern, e.Actions); err != nil {
			return err
		}
	}
	return nil
}

func checkTokenName(name string) error {
	if !tokenName.MatchString(name) {
		return core.Errorf(core.Invalid, "a token name is 1 to 64 of A-Z a-z 0-9 . _ : @ / -")
	}
	return nil
}

func checkIncrement(d time.Duration) error {
	if d != 0 && (d < time.Second || d > MaxTokenTTL) {
		return core.Errorf(core.Invalid, "an increment must be between 1 and %d seconds", MaxPeriodSecs)
	}
	return nil
}

// ParseTokenID reads an accessor as String returns it.
func ParseTokenID(s string) (id TokenID, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || copy(id[:], raw) != len(id) || id.String() != s {
		return TokenID{}, core.Errorf(core.Invalid, "an accessor is a UUID in lower case")
	}
	return id, nil
}

// String returns the UUID in lower case.
func (id TokenID) String() string { return core.SecretID(id).String() }

// MarshalText returns the UUID in lower case.
func (id TokenID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// NewToken stores a token for a REST caller and returns it with its metadata: the only moment its text exists in the clear.
// A token of a role needs the right manage on all names; without a role it is a child of the caller's token. Errors:
// Unauthenticated, Denied, Invalid, Exists, NotFound (no such role), Unavailable.
func (v *Vault) NewToken(ctx context.Context, c Caller, r TokenRequest) (token.Token, TokenInfo, error) {
	a := v.try(c, ActionTokenCreate, r.Name, 0)
	a.change = true
	var made token.Token
	var info TokenInfo
	err := a.serve(ctx, func(ctx context.Context) (err error) {
		if err := a.decide(ctx, onPrimary); err != nil {
			return err
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

// TokenPage is one answer of Tokens.
type TokenPage struct {
	Tokens []TokenInfo
	Next   TokenID // "after" of the next page; zero = this was the last one
}

// Tokens returns metadata by accessor: of the caller's token and those made by it, or with the right manage on all names, of
// every token. limit 0 means DefaultPageSize. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) Tokens(ctx context.Context, c Caller, after TokenID, limit int) (TokenPage, error) {
	a := v.try(c, ActionTokenList, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out TokenPage, err error) {
		if limit == 0 {
			limit = DefaultPageSize
		}
		if limit < 1 || limit > MaxPageSize {
			return out, a.invalid(ctx, core.Errorf(core.Invalid, "limit is %d, want 1 to %d", limit, MaxPageSize))
		}
		all, i, err := v.c.Store.ListTokens(ctx, a.by, after, limit+1, c.Freshness)
		if err := a.found(i, err); err != nil {
			return out, err
		}
		out.Tokens = all
		if len(all) > limit {
			out.Tokens, out.Next = all[:limit], all[limit-1].ID
		}
		return out, nil
	})
}

// Token returns the metadata of a token over which the caller has a say; the zero TokenID is its own. Errors:
// Unauthenticated, Denied, NotFound, Unavailable.
func (v *Vault) Token(ctx context.Context, c Caller, id TokenID) (TokenInfo, error) {
	a := v.try(c, ActionTokenList, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out TokenInfo, err error) {
		t, i, err := v.c.Store.ShowToken(ctx, a.by, id, c.Freshness)
		out = t
		return out, a.found(i, err)
	})
}

// RenewToken moves the end of a token over which the caller has a say to increment from now, within its limits; 0 = its TTL.
// The zero TokenID is the caller's own. Errors: Unauthenticated, Denied, Invalid (it is not renewable), NotFound,
// Unavailable.
func (v *Vault) RenewToken(ctx context.Context, c Caller, id TokenID, increment time.Duration) (TokenInfo, error) {
	a := v.try(c, ActionTokenRenew, accessorText(id), 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (out TokenInfo, err error) {
		if err := checkIncrement(increment); err != nil {
			return out, a.invalid(ctx, err)
		}
		if err := a.decide(ctx, onPrimary); err != nil {
			return out, err
		}
		out, err = v.c.Store.RenewToken(ctx, id, increment, a.author())
		return out, err
	})
}

// EndToken ends a token over which the caller has a say, and all that were made by it: the next request with one of them is
// refused on every node that has replayed this. The zero TokenID is the caller's own. Errors: Unauthenticated, Denied,
// NotFound, Unavailable.
func (v *Vault) EndToken(ctx context.Context, c Caller, id TokenID) (core.Position, error) {
	a := v.try(c, ActionTokenRevoke, accessorText(id), 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		if err := a.decide(ctx, onPrimary); err != nil {
			return at, err
		}
		_, at, err = v.c.Store.RevokeToken(ctx, id, a.author())
		return at, err
	})
}

// accessorText is what the record of a failure names.
func accessorText(id TokenID) string {
	if id == (TokenID{}) {
		return "self"
	}
	return id.String()
}
