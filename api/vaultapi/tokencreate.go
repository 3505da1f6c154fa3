package vaultapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// createFields are what clients send to make a token. Those of them that we do not have may only be empty.
var createFields = []string{"policies", "ttl", "lease", "explicit_max_ttl", "period", "no_parent", "no_default_policy", "display_name",
	"num_uses", "renewable", "type", "meta", "entity_alias", "id"}

// createToken makes a child of the caller's token, or with another policy, which is a role, a token of that role.
func (a *API) createToken(r *request) error  { return a.create(r, false) }
func (a *API) createOrphan(r *request) error { return a.create(r, true) }

func (a *API) create(r *request, orphan bool) error {
	err := r.readFields(maxBody, func(f fields) error {
		t, err := tokenRequestOf(f)
		if err != nil {
			return err
		}
		noParent, err := f.boolean("no_parent")
		if err != nil {
			return err
		}
		role, err := roleOf(f)
		if err != nil {
			return err
		}
		if t.Role, err = a.roleFor(r, role, orphan || noParent); err != nil {
			return err
		}
		return a.make(r, t, f)
	})
	return a.rejected(r, err)
}

func (a *API) make(r *request, t vault.TokenRequest, f fields) error {
	if t.Role != "" && t.TTL == 0 {
		t.TTL = vault.DefaultTokenTTL
	}
	if t.MaxTTL > 0 && (t.TTL == 0 || t.TTL > t.MaxTTL) {
		t.TTL = t.MaxTTL
	}
	made, info, err := a.vault.NewToken(r.Request.Context(), r.Caller, t)
	if core.CodeOf(err) == core.NotFound {
		return settled(err, fmt.Sprintf("policy %q is no role", printable(t.Role)))
	}
	if err != nil {
		return err
	}
	r.setIndex(info.Position)
	auth := authOf(info)
	auth.ClientToken = made.Reveal()
	warnings := f.warnings(createFields...)
	if f.given("meta") && string(f["meta"]) != "{}" {
		warnings = append(warnings, "meta is not stored")
	}
	r.answer(body{Auth: auth, Warnings: warnings})
	return nil
}

// tokenRequestOf reads what a token shall be, and refuses what would make it another than the client expects.
func tokenRequestOf(f fields) (t vault.TokenRequest, err error) {
	if t.TTL, err = f.duration("ttl"); err == nil && t.TTL == 0 {
		t.TTL, err = f.duration("lease")
	}
	if err == nil {
		t.MaxTTL, err = f.duration("explicit_max_ttl")
	}
	if err != nil {
		return t, err
	}
	t.Renewable = true
	if f.given("renewable") {
		if t.Renewable, err = f.boolean("renewable"); err != nil {
			return t, err
		}
	}
	name, err := f.text("display_name")
	if err != nil {
		return t, err
	}
	t.Name = nameOfToken(name)
	return t, f.unsupported()
}

func (f fields) unsupported() error {
	kind, err := f.text("type")
	if err == nil && kind != "" && kind != typeService && !strings.HasPrefix(kind, "default") {
		err = invalid("only service tokens can be created: a login issues batch tokens")
	}
	if err != nil {
		return err
	}
	period, err := f.duration("period")
	if err == nil && period != 0 {
		err = invalid("periodic tokens are not supported")
	}
	if err != nil {
		return err
	}
	uses, err := f.integer("num_uses")
	if err == nil && uses != 0 {
		err = invalid("num_uses is not supported")
	}
	for _, name := range []string{"entity_alias", "id"} {
		if text, terr := f.text(name); err == nil && (terr != nil || text != "") {
			err = invalid("%s is not supported", name)
		}
	}
	return err
}

// nameOfToken makes a name that no other token has: names are unique here.
func nameOfToken(display string) string {
	const longest = 48
	b := []byte("token")
	if display != "" {
		b = fmt.Appendf(b, "-%s", display[:min(len(display), longest)])
	}
	for i, c := range b {
		if c != '.' && c != '_' && c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			b[i] = '_'
		}
	}
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails
	return string(b) + "-" + hex.EncodeToString(mark[:])
}

// roleOf returns the one policy that is asked for, "" for that of the caller.
func roleOf(f fields) (string, error) { return policyOf(f, "policies") }

// policyOf returns the one policy in a list, "" for none. Policies of every token do not count.
func policyOf(f fields, name string) (string, error) {
	policies, err := f.texts(name)
	if err != nil {
		return "", err
	}
	policies = slices.DeleteFunc(strings.Split(strings.Join(policies, ","), ","), func(p string) bool { return p == "" || p == "default" })
	switch slices.Sort(policies); len(slices.Compact(policies)) {
	case 0:
		return "", nil
	case 1:
		return policies[0], nil
	}
	return "", invalid("a token has one policy, the role that it acts as")
}

// roleFor returns the role of the token to make, "" for a child of the caller's.
func (a *API) roleFor(r *request, wanted string, orphan bool) (string, error) {
	own, err := a.vault.Token(r.Request.Context(), r.Caller, vault.TokenID{})
	if err != nil {
		return "", err
	}
	if wanted == "" {
		wanted = own.Role
	}
	if wanted == own.Role && !orphan {
		return "", nil
	}
	return wanted, nil
}
