package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Page is one answer of List.
type Page struct {
	Secrets []SecretResult // one that is corrupt is listed, and hides no other
	Next    string         // "after" of the next page; "" = this was the last one
}

// List returns metadata by name in byte order: names that start with prefix and
// come after the given name, and that the caller may do anything with. limit 0 means DefaultPageSize. It needs an allowed
// client address. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) List(ctx context.Context, c Caller, prefix, after string, limit int) (Page, error) {
	a := v.try(c, ActionList, prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out Page, err error) {
		out, err = a.list(ctx, prefix, after, limit, c.Freshness)
		return out, err
	})
}

func (a *attempt) list(ctx context.Context, prefix, after string, limit int, f Freshness) (Page, error) {
	if limit == 0 {
		limit = DefaultPageSize
	}
	prefix, err := checkList(prefix, after, limit)
	if err != nil {
		return Page{}, a.invalid(ctx, err)
	}
	// One more than asked for reports whether there is a next page.
	secrets, i, err := a.v.c.Store.DescribeSecrets(ctx, a.by, prefix, after, limit+1, f)
	if err := a.found(i, err); err != nil {
		return Page{}, err
	}
	if len(secrets) <= limit {
		return Page{Secrets: secrets}, nil
	}
	return Page{Secrets: secrets[:limit], Next: string(secrets[limit-1].Name)}, nil
}

func checkList(prefix, after string, limit int) (string, error) {
	prefix, err := core.ParsePrefix(prefix)
	if err != nil {
		return "", err
	}
	if after != "" {
		if _, err := core.ParseName(after); err != nil {
			return "", core.Wrap(core.Invalid, err, "after is not a secret name")
		}
	}
	if limit < 1 || limit > MaxPageSize {
		return "", core.Errorf(core.Invalid, "limit is %d, want 1 to %d", limit, MaxPageSize)
	}
	return prefix, nil
}

// Describe returns the metadata of a secret. It needs an allowed client address and any right on the name.
// Errors: Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) Describe(ctx context.Context, c Caller, name string) (Secret, error) {
	a := v.try(c, ActionDescribe, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out Secret, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return out, err
		}
		var i Identity
		out, i, err = v.c.Store.DescribeSecret(ctx, a.by, n, c.Freshness)
		return out, a.found(i, err)
	})
}

// Versions returns the metadata of every version, newest first, of deleted and destroyed ones too, and none of a secret
// that has no version yet. It needs
// an allowed client address and any right on the name. Errors: Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) Versions(ctx context.Context, c Caller, name string) ([]VersionInfo, error) {
	a := v.try(c, ActionDescribe, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out []VersionInfo, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return out, err
		}
		var i Identity
		out, i, err = v.c.Store.DescribeVersions(ctx, a.by, n, c.Freshness)
		if err == nil && len(out) == 0 {
			_, i, err = v.c.Store.DescribeSecret(ctx, a.by, n, c.Freshness)
		}
		return out, a.found(i, err)
	})
}
