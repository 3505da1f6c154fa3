package vault

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

// maxSearch is the longest text that is searched for, in bytes.
const maxSearch = 255

// Search is List of the secrets whose name or description has a text in it, in any case of ASCII. It is recorded as a List
// of the prefix: the text may be a value in the wrong field. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) Search(ctx context.Context, c Caller, text, prefix, after string, limit int) (Page, error) {
	a := v.try(c, ActionList, prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out Page, err error) {
		if limit == 0 {
			limit = DefaultPageSize
		}
		if prefix, err = checkList(prefix, after, limit); err == nil {
			err = checkSearch(text)
		}
		if err != nil {
			return Page{}, a.invalid(ctx, err)
		}
		// One more than asked for reports whether there is a next page.
		secrets, i, err := v.c.Store.SearchSecrets(ctx, a.by, text, prefix, after, limit+1, c.Freshness)
		if err := a.found(i, err); err != nil {
			return Page{}, err
		}
		if len(secrets) <= limit {
			return Page{Secrets: secrets}, nil
		}
		return Page{Secrets: secrets[:limit], Next: string(secrets[limit-1].Name)}, nil
	})
}

func checkSearch(text string) error {
	if text == "" || len(text) > maxSearch || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return core.Errorf(core.Invalid, "the text to search for has 1 to %d bytes of UTF-8", maxSearch)
	}
	return nil
}
