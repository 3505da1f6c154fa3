package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Scope is one entry of what a token may do at most.
type Scope struct {
	Pattern string   `json:"pattern"`
	Actions []string `json:"actions"`
}

// NewToken is a token to create. Without Role it is a child of the token that the client sends.
type NewToken struct {
	Name       string   `json:"name"`
	Role       string   `json:"role,omitempty"`
	TTLSecs    *int64   `json:"ttl_secs,omitempty"` // nil is the server's default; 0 does not end
	MaxTTLSecs int64    `json:"max_ttl_secs,omitempty"`
	Renewable  *bool    `json:"renewable,omitempty"` // nil is true
	Scope      []Scope  `json:"scope,omitempty"`
	BoundCIDRs []string `json:"bound_cidrs,omitempty"`
}

// Token is the metadata of a token.
type Token struct {
	// Token is the token itself, in the answer to its creation alone.
	Token        string     `json:"token,omitempty"`
	Accessor     string     `json:"accessor,omitempty"` // names it, and cannot be used as one
	Name         string     `json:"name"`
	Role         string     `json:"role"`
	Method       string     `json:"method"` // "token", or the mount of a login
	Parent       string     `json:"parent,omitempty"`
	Scopes       [][]Scope  `json:"scopes,omitempty"` // all of them must allow what it does
	BoundCIDRs   []string   `json:"bound_cidrs,omitempty"`
	Renewable    bool       `json:"renewable"`
	TTLSecs      int64      `json:"ttl_secs,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"` // nil: it does not end
	MaxExpiresAt *time.Time `json:"max_expires_at,omitempty"`
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
}

// Self is the accessor of the token that the client sends.
const Self = "self"

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, n NewToken) (*Token, error) {
	return into[Token](ctx, c, change("create token "+n.Name, http.MethodPost, "/v1/tokens").json(n))
}

// Tokens lists the client's token and those made by it; with the action manage on *, all of them. An error ends it.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return pages(func(after string) ([]Token, string, error) {
		r := get("list tokens", "/v1/tokens")
		r.query.Set("limit", "1000")
		setIf(r.query, "after", after)
		var answer struct {
			Tokens []Token `json:"tokens"`
			Next   string  `json:"next"`
		}
		err := c.do(ctx, r, &answer)
		return answer.Tokens, answer.Next, err
	})
}

// pages yields what fetch returns, page by page.
func pages[T any](fetch func(after string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := ""; ; {
			items, next, err := fetch(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// ShowToken returns the metadata of a token, by its accessor or Self.
func (c *Client) ShowToken(ctx context.Context, accessor string) (*Token, error) {
	return into[Token](ctx, c, get("show token "+accessor, "/v1/tokens/"+url.PathEscape(accessor)))
}

// RevokeToken revokes a token and all that were made by it.
func (c *Client) RevokeToken(ctx context.Context, accessor string) error {
	return c.do(ctx, change("revoke token "+accessor, http.MethodDelete, "/v1/tokens/"+url.PathEscape(accessor)), nil)
}

// RenewToken moves the end of a token to incrementSecs from now; 0 is the token's own time.
func (c *Client) RenewToken(ctx context.Context, accessor string, incrementSecs int64) (*Token, error) {
	r := change("renew token "+accessor, http.MethodPost, "/v1/tokens/"+url.PathEscape(accessor)+"/renew").again()
	if incrementSecs != 0 {
		r.json(map[string]int64{"increment_secs": incrementSecs})
	}
	return into[Token](ctx, c, r)
}
