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
// come after the given name. limit 0 means DefaultPageSize. It needs an allowed
// client address. Errors: Denied, Invalid, Unavailable.
func (v *Vault) List(ctx context.Context, c Caller, prefix, after string, limit int) (Page, error) {
	a := v.try(c, ActionList, prefix, 0)
	var out Page
	err := a.run(ctx, a.admit(c), func(ctx context.Context) (err error) {
		out, err = v.list(ctx, prefix, after, limit, c.Freshness)
		return err
	})
	if err != nil {
		return Page{}, err
	}
	return out, nil
}

func (v *Vault) list(ctx context.Context, prefix, after string, limit int, f Freshness) (Page, error) {
	prefix, err := core.ParsePrefix(prefix)
	if err != nil {
		return Page{}, err
	}
	if after != "" {
		if _, err := core.ParseName(after); err != nil {
			return Page{}, core.Wrap(core.Invalid, err, "after is not a secret name")
		}
	}
	if limit == 0 {
		limit = DefaultPageSize
	}
	if limit < 1 || limit > MaxPageSize {
		return Page{}, core.Errorf(core.Invalid, "limit is %d, want 1 to %d", limit, MaxPageSize)
	}
	// One more than asked for tells whether there is a next page.
	secrets, err := v.c.Store.DescribeSecrets(ctx, prefix, after, limit+1, f)
	if err != nil {
		return Page{}, err
	}
	if len(secrets) <= limit {
		return Page{Secrets: secrets}, nil
	}
	return Page{Secrets: secrets[:limit], Next: string(secrets[limit-1].Name)}, nil
}

// Describe returns the metadata of a secret. It needs an allowed client address.
// Errors: Denied, Invalid, NotFound, Unavailable.
func (v *Vault) Describe(ctx context.Context, c Caller, name string) (Secret, error) {
	a := v.try(c, ActionDescribe, name, 0)
	var out Secret
	err := a.run(ctx, a.admit(c), func(ctx context.Context) error {
		n, err := core.ParseName(name)
		if err != nil {
			return err
		}
		out, err = v.c.Store.DescribeSecret(ctx, n, c.Freshness)
		return err
	})
	if err != nil {
		return Secret{}, err
	}
	return out, nil
}

// Versions returns the metadata of every stored version, newest first. It needs
// an allowed client address. Errors: Denied, Invalid, NotFound, Unavailable.
func (v *Vault) Versions(ctx context.Context, c Caller, name string) ([]VersionInfo, error) {
	a := v.try(c, ActionDescribe, name, 0)
	var out []VersionInfo
	err := a.run(ctx, a.admit(c), func(ctx context.Context) error {
		n, err := core.ParseName(name)
		if err != nil {
			return err
		}
		if out, err = v.c.Store.DescribeVersions(ctx, n, c.Freshness); err == nil && len(out) == 0 {
			err = core.Errorf(core.NotFound, "no such secret")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
