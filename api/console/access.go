package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// accessPage is the grants and the tokens that the user may see.
type accessPage struct {
	Problem   string
	Grants    []grantRow
	NoGrants  string // why they are not shown; "" = they are
	Tokens    []tokenRow
	NextToken string
	Actions   []string
	Role      string // entered before
	Pattern   string
	Chosen    map[string]bool
	Now       time.Time
}

// grantRow is what one role was granted on one pattern.
type grantRow struct {
	Role, Pattern string
	Actions       []string
	Since         time.Time // of the oldest
}

// tokenRow is a token with its state.
type tokenRow struct {
	vault.TokenInfo
	State string // valid, expired or revoked
}

func (v *visit) access() error { return v.accessPage(http.StatusOK, accessPage{}) }

// accessPage shows grants and tokens, and above them what was wrong with a change.
func (v *visit) accessPage(status int, p accessPage) error {
	p.Now, p.Actions = v.c.clock(), vault.Grantable
	all, err := v.c.vault.Grants(v.ctx(), v.caller)
	switch {
	case core.CodeOf(err) == core.Denied:
		p.NoGrants = "Grants are shown to those who may manage or audit a name."
	case err != nil:
		return err
	}
	p.Grants = grantRows(all)
	if err := v.addTokens(&p); err != nil {
		return err
	}
	return v.show(status, "access.html", v.page("Access", "access", p))
}

func grantRows(all []vault.GrantInfo) (rows []grantRow) {
	slices.SortStableFunc(all, func(a, b vault.GrantInfo) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Pattern, b.Pattern))
	})
	for _, g := range all {
		if n := len(rows); n == 0 || rows[n-1].Role != g.Role || rows[n-1].Pattern != g.Pattern {
			rows = append(rows, grantRow{Role: g.Role, Pattern: g.Pattern, Since: g.GrantedAt})
		}
		r := &rows[len(rows)-1]
		r.Actions = append(r.Actions, g.Action)
		if g.GrantedAt.Before(r.Since) {
			r.Since = g.GrantedAt
		}
	}
	return rows
}

func (v *visit) addTokens(p *accessPage) error {
	var after vault.TokenID
	if s := v.query.Get("token"); s != "" && v.Request.Method != http.MethodPost {
		var err error
		if after, err = vault.ParseTokenID(s); err != nil {
			return v.reject(vault.ActionTokenList, "", err)
		}
	}
	found, err := v.c.vault.Tokens(v.ctx(), v.caller, after, pageSize)
	if err != nil {
		return err
	}
	for _, t := range found.Tokens {
		row := tokenRow{TokenInfo: t, State: "valid"}
		switch {
		case !t.RevokedAt.IsZero():
			row.State = "revoked"
		case !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(t.Now):
			row.State = "expired"
		}
		p.Tokens = append(p.Tokens, row)
	}
	if found.Next != (vault.TokenID{}) {
		p.NextToken = found.Next.String()
	}
	return nil
}

// grant lets a role do actions on a pattern.
func (v *visit) grant() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionGrant, "", err)
	}
	p := accessPage{Role: f.text("role"), Pattern: f.text("pattern"), Chosen: map[string]bool{}}
	g := vault.Grant{Role: p.Role, Pattern: p.Pattern}
	for _, a := range vault.Grantable {
		if f.given("may_" + a) {
			g.Actions = append(g.Actions, a)
			p.Chosen[a] = true
		}
	}
	at, err := v.c.vault.Grant(v.ctx(), v.caller, g)
	return v.changedAccess(p, at, err, "granted")
}

// take takes a grant back, all of its actions on one pattern.
func (v *visit) take() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionRevoke, "", err)
	}
	g := vault.Grant{Role: f.text("role"), Pattern: f.text("pattern"), Actions: strings.Split(f.text("actions"), ",")}
	at, err := v.c.vault.Revoke(v.ctx(), v.caller, g)
	return v.changedAccess(accessPage{}, at, err, "taken")
}

// revokeToken ends a token and all that were made by it.
func (v *visit) revokeToken() error {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return v.reject(vault.ActionTokenRevoke, "", err)
	}
	id, err := vault.ParseTokenID(f.text("accessor"))
	if err == nil && id == (vault.TokenID{}) {
		err = core.Errorf(core.Invalid, "the form names no token")
	}
	if err != nil {
		return v.reject(vault.ActionTokenRevoke, "", err)
	}
	at, err := v.c.vault.EndToken(v.ctx(), v.caller, id)
	return v.changedAccess(accessPage{}, at, err, "revoked")
}

// changedAccess answers a change of grants or tokens.
func (v *visit) changedAccess(p accessPage, at core.Position, err error, done string) error {
	if err == nil {
		v.session.changed(at, v.c.clock())
		v.done("/access", done)
		return nil
	}
	status, problem, err := v.explain(err)
	if err != nil {
		return err
	}
	p.Problem = problem
	return v.accessPage(status, p)
}
