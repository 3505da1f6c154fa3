package vault

import (
	"context"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxChildren is how many keys one Children returns at most.
const MaxChildren = 100_000

// ChildPage is one answer of Children.
type ChildPage struct {
	// Keys are names of secrets without the prefix, and longer prefixes, which end in a slash, in byte order.
	Keys []string
	// More reports whether there are further keys.
	More bool
}

// Children returns what is directly below a prefix. The prefix "" is above all names, and every other prefix ends in a
// slash. It returns the keys after a given one, at most limit; 0 means MaxChildren. A name can be a secret and a prefix at
// once. It shows names that the caller may do anything with. It needs an allowed client address, and is recorded as a List
// of the prefix. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) Children(ctx context.Context, c Caller, prefix, after string, limit int) (ChildPage, error) {
	a := v.try(c, ActionList, prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out ChildPage, err error) {
		out, err = a.children(ctx, prefix, after, limit, false, c.Freshness)
		return out, err
	})
}

// Descendants is Children for all names below a prefix, at whatever depth. No key is a prefix.
func (v *Vault) Descendants(ctx context.Context, c Caller, prefix, after string, limit int) (ChildPage, error) {
	a := v.try(c, ActionList, prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (ChildPage, error) {
		return a.children(ctx, prefix, after, limit, true, c.Freshness)
	})
}

func (a *attempt) children(ctx context.Context, prefix, after string, limit int, deep bool, f Freshness) (out ChildPage, err error) {
	if prefix != "" && !strings.HasSuffix(prefix, "/") || limit < 0 || limit > MaxChildren {
		return out, a.invalid(ctx, core.Errorf(core.Invalid, "a prefix ends in a slash, and a limit is 1 to %d", MaxChildren))
	}
	if limit == 0 {
		limit = MaxChildren
	}
	at := ""
	if after != "" {
		at = lastOf(prefix + after)
	}
	for {
		page, err := a.list(ctx, prefix, at, min(MaxPageSize, limit-len(out.Keys)+1), f)
		if err != nil {
			return ChildPage{}, err
		}
		if at = out.add(prefix, page.Secrets, at, deep); len(out.Keys) > limit {
			out.Keys, out.More = out.Keys[:limit], true
			return out, nil
		}
		if page.Next == "" {
			return out, nil
		}
	}
}

// add appends the keys of a page and returns after which name to go on. It skips what else is below a longer prefix,
// which may be many secrets, unless deep.
func (p *ChildPage) add(prefix string, secrets []SecretResult, at string, deep bool) string {
	for i := range secrets {
		name := string(secrets[i].Name)
		if name <= at {
			continue // below a prefix that is skipped
		}
		key := strings.TrimPrefix(name, prefix)
		at = name
		if below := strings.IndexByte(key, '/'); below >= 0 && !deep {
			key = key[:below+1]
			at = lastOf(prefix + key)
		}
		p.Keys = append(p.Keys, key)
	}
	return at
}

// lastOf returns the last name, in byte order, that a key can stand for. For a prefix that is the last name below it.
func lastOf(key string) string {
	if !strings.HasSuffix(key, "/") {
		return key
	}
	return key + strings.Repeat(lastNameByte, max(0, core.MaxNameLen-len(key)))
}

// lastNameByte is the greatest byte that a name may have.
const lastNameByte = "z"
