package vault

import (
	"context"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// TokenID is the accessor of a token: it names the token, and cannot be used as one.
type TokenID [16]byte

// ScopeEntry allows actions on the names that a pattern selects.
type ScopeEntry struct {
	Pattern string   `json:"pattern"`
	Actions []string `json:"actions"`
}

// Scope limits a token to what one of its entries allows. nil is no limit.
type Scope []ScopeEntry

// NewToken is a token to store. Its text is never stored.
type NewToken struct {
	ID          TokenID
	Fingerprint [32]byte // SHA-256 of the token's text
	Name        string
	TTL         time.Duration // 0 = no end, or for a child, that of its parent
	MaxTTL      time.Duration // how long renewals may keep it; 0 = no limit
	Renewable   bool
	Scope       Scope
	BoundCIDRs  []netip.Prefix // the client addresses it is valid for; nil = all
}

// TokenInfo is the metadata of a token.
type TokenInfo struct {
	ID           TokenID
	Name         string
	Role         string  // that it acts as
	Method       string  // that issued it: "token", or the mount of a login
	Parent       TokenID // zero = none
	Scopes       []Scope // all of which must allow; nil = no limit
	BoundCIDRs   []string
	Renewable    bool
	TTL          time.Duration // by which a renewal moves the end; 0 = none
	CreatedAt    time.Time
	ExpiresAt    time.Time     // zero = never
	MaxExpiresAt time.Time     // beyond which no renewal moves the end; zero = none
	RevokedAt    time.Time     // zero = not revoked
	Now          time.Time     // when the database answered, by its clock
	Position     core.Position // of the change that returned this; zero when it was read
}

// Tokens is the part of a Store that keeps tokens. A caller has a say over its own token and those made by it, or with the
// right manage on all names, over every token; any other is NotFound. Itself has a say over all.
type Tokens interface {
	// CreateToken stores a token that acts as a role, which needs manage on all names; with no role, a child of the
	// caller's token. Exists when the name is taken, NotFound when there is no such role.
	CreateToken(ctx context.Context, t NewToken, role string, by Author) (TokenInfo, error)
	// ListTokens returns at most limit tokens with accessors after the given one, in their order, revoked and expired
	// ones included until these are pruned.
	ListTokens(ctx context.Context, by Credential, after TokenID, limit int, f Freshness) ([]TokenInfo, Identity, error)
	// ShowToken returns one; the zero TokenID is the caller's own.
	ShowToken(ctx context.Context, by Credential, id TokenID, f Freshness) (TokenInfo, Identity, error)
	// RenewToken moves the end of a token to increment from now, within its limits; 0 = its TTL. The zero TokenID is the
	// caller's own.
	RenewToken(ctx context.Context, id TokenID, increment time.Duration, by Author) (TokenInfo, error)
	// RevokeToken ends a token and all that were made by it, and returns how many that were.
	RevokeToken(ctx context.Context, id TokenID, by Author) (ended int64, at core.Position, err error)
}
