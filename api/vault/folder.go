package vault

import (
	"context"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxFolderKeys is how many keys one Folder returns at most.
const MaxFolderKeys = 100_000

// FolderPage is one answer of Folder.
type FolderPage struct {
	// Keys are names of secrets without the folder, and folders below it, which end in a slash, in byte order.
	Keys []string
	// More reports whether there are further keys.
	More bool
}

// Folder returns what is directly in a folder: "" is all there is, any other folder ends in a slash. It returns the keys
// after a given one, at most limit; 0 means MaxFolderKeys. A name can be a key and a folder at once. It shows names that the
// caller may do anything with, needs an allowed client address, and is recorded as a List of the folder. Errors:
// Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) Folder(ctx context.Context, c Caller, folder, after string, limit int) (FolderPage, error) {
	a := v.try(c, ActionList, folder, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out FolderPage, err error) {
		out, err = a.folder(ctx, folder, after, limit, c.Freshness)
		return out, err
	})
}

func (a *attempt) folder(ctx context.Context, folder, after string, limit int, f Freshness) (out FolderPage, err error) {
	if folder != "" && !strings.HasSuffix(folder, "/") || limit < 0 || limit > MaxFolderKeys {
		return out, a.invalid(ctx, core.Errorf(core.Invalid, "a folder ends in a slash, and a limit is 1 to %d", MaxFolderKeys))
	}
	if limit == 0 {
		limit = MaxFolderKeys
	}
	at := ""
	if after != "" {
		at = lastOf(folder + after)
	}
	for {
		page, err := a.list(ctx, folder, at, min(MaxPageSize, limit-len(out.Keys)+1), f)
		if err != nil {
			return FolderPage{}, err
		}
		if at = out.add(folder, page.Secrets, at); len(out.Keys) > limit {
			out.Keys, out.More = out.Keys[:limit], true
			return out, nil
		}
		if page.Next == "" {
			return out, nil
		}
	}
}

// add appends the keys of a page and returns after which name to go on. It passes over what else a folder holds, which may
// be many secrets.
func (p *FolderPage) add(folder string, secrets []SecretResult, at string) string {
	for i := range secrets {
		name := string(secrets[i].Name)
		if name <= at {
			continue // within a folder that is passed over
		}
		key := strings.TrimPrefix(name, folder)
		at = name
		if below := strings.IndexByte(key, '/'); below >= 0 {
			key = key[:below+1]
			at = lastOf(folder + key)
		}
		p.Keys = append(p.Keys, key)
	}
	return at
}

// lastOf returns the last name, in byte order, that a key can stand for: of a folder that of all names below it.
func lastOf(key string) string {
	if !strings.HasSuffix(key, "/") {
		return key
	}
	return key + strings.Repeat(lastNameByte, max(0, core.MaxNameLen-len(key)))
}

// lastNameByte is the greatest byte that a name may have.
const lastNameByte = "z"
