package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Grant lets a role, and every role that inherits from it, do actions on what a pattern selects.
type Grant struct {
	Role    string
	Pattern string
	Actions []string
}

// GrantInfo is one action of a grant.
type GrantInfo struct {
	Role      string
	Pattern   string
	Action    string
	GrantedAt time.Time
	GrantedBy string
}

// Explanation says what a role, within a token's scopes, may do with a name.
type Explanation struct {
	Role  string // that it is about
	Lines []ExplanationLine
}

// ExplanationLine is a grant that gives one action, or that there is none.
type ExplanationLine struct {
	Action  string
	Allowed bool
	Cause   Cause  // why not; "" when it is allowed
	Grantee string // who was granted it; "" = no role
	Pattern string
	How     string // "granted", "inherited" or "superuser"; "" = not at all
}

// Access is the part of a Store that keeps grants.
type Access interface {
	// ListGrants returns the grants on patterns that the caller may manage or audit.
	ListGrants(ctx context.Context, by Credential, f Freshness) ([]GrantInfo, Identity, error)
	// Grant and Revoke need manage on the pattern. NotFound when there is no such role or grant.
	Grant(ctx context.Context, g Grant, by Author) (core.Position, error)
	Revoke(ctx context.Context, g Grant, by Author) (core.Position, error)
	// ExplainAccess explains the caller's own access, or that of a role, for which it needs manage on the name.
	ExplainAccess(ctx context.Context, by Credential, role, name string, f Freshness) (Explanation, Identity, error)
}
