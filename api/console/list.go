package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const pageSize = 50 // rows of a list

// listing is a page of secrets.
type listing struct {
	Text, Prefix, After string
	Secrets             []vault.SecretResult
	Next                string
	Now                 time.Time
}

// list shows the secrets below a prefix, and with a text those that have it in their name or description, page by page
// after a name.
func (v *visit) list() error {
	l := listing{Text: strings.TrimSpace(v.query.Get("q")), Prefix: v.query.Get("prefix"), After: v.query.Get("after"), Now: v.c.clock()}
	var found vault.Page
	var err error
	if l.Text == "" {
		found, err = v.c.vault.List(v.ctx(), v.caller, l.Prefix, l.After, pageSize)
	} else {
		found, err = v.c.vault.Search(v.ctx(), v.caller, l.Text, l.Prefix, l.After, pageSize)
	}
	if err != nil {
		return err
	}
	l.Secrets, l.Next = found.Secrets, found.Next
	return v.show(http.StatusOK, "list.html", v.page("Secrets", "secrets", l))
}

// branch is what the tree shows below a prefix.
type branch struct {
	Prefix string
	Crumbs []crumb
	Keys   []crumb
	Next   string // key after which the next page begins; "" = this was the last one
}

// crumb is a link to a branch or to a secret.
type crumb struct {
	Text, Prefix, Name string // Prefix of a branch, or Name of a secret
}

// treeSize is how many keys the tree shows at a time. Each key with something below it costs a query.
const treeSize = 100

// tree shows what is directly below a prefix.
func (v *visit) tree() error {
	b := branch{Prefix: v.query.Get("prefix")}
	found, err := v.c.vault.Children(v.ctx(), v.caller, b.Prefix, v.query.Get("after"), treeSize)
	if err != nil {
		return err
	}
	for _, key := range found.Keys {
		c := crumb{Text: key, Name: b.Prefix + key}
		if strings.HasSuffix(key, "/") {
			c = crumb{Text: key, Prefix: b.Prefix + key}
		}
		b.Keys = append(b.Keys, c)
	}
	if found.More {
		b.Next = found.Keys[len(found.Keys)-1]
	}
	b.Crumbs = crumbsOf(b.Prefix)
	return v.show(http.StatusOK, "tree.html", v.page("Tree", "tree", b))
}

// crumbsOf returns a link to each prefix above a prefix or a name, and to the first.
func crumbsOf(name string) (out []crumb) {
	for i, c := range name {
		if c == '/' {
			start := strings.LastIndexByte(name[:i], '/') + 1
			out = append(out, crumb{Text: name[start : i+1], Prefix: name[:i+1]})
		}
	}
	return out
}
