package vaultapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

type keysBody struct {
	Keys []string `json:"keys"`
}

// list answers what is directly below a prefix: names, and further prefixes with a final slash.
func (a *API) list(r *request) error { return a.listBy(r, a.vault.Children) }

// scan answers all names below a prefix, at whatever depth.
func (a *API) scan(r *request) error { return a.listBy(r, a.vault.Descendants) }

type lister func(ctx context.Context, c vault.Caller, prefix, after string, limit int) (vault.ChildPage, error)

func (a *API) listBy(r *request, find lister) error {
	prefix := strings.TrimSuffix(r.rest, "/")
	if prefix != "" {
		prefix += "/"
	}
	limit, err := limitOf(r.Request)
	caller, ferr := r.Reader()
	if err = cmp.Or(err, ferr); err != nil {
		return a.reject(r, err)
	}
	page, err := find(r.Request.Context(), caller, prefix, queryValue(r.Request, "after"), limit)
	switch {
	case err != nil:
		return err
	case page.More && limit == 0:
		return invalid("there are more than %d keys: use the parameters limit and after", vault.MaxChildren)
	case len(page.Keys) == 0:
		return core.Errorf(core.NotFound, "nothing is there")
	}
	r.answerData(keysBody{Keys: page.Keys})
	return nil
}

// limitOf returns the parameter limit of a list; 0 = none.
func limitOf(r *http.Request) (int, error) {
	text := queryValue(r, "limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n > vault.MaxChildren {
		return 0, invalid("invalid limit: it is a whole number of at most %d", vault.MaxChildren)
	}
	return max(n, 0), nil
}
