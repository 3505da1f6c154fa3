package vaultapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// What a login role has that a request makes without saying so.
const (
	defaultLoginTTL    = time.Hour
	defaultLoginMaxTTL = 24 * time.Hour
)

var tokenFields = []string{"token_policies", "policies", "token_ttl", "token_max_ttl", "token_type", "token_bound_cidrs", "token_explicit_max_ttl",
	"token_no_default_policy", "token_num_uses", "token_period", "token_strictly_bind_ip"}

var appRoleFields = append([]string{"secret_id_ttl", "secret_id_num_uses", "secret_id_bound_cidrs", "bind_secret_id", "local_secret_ids"}, tokenFields...)

// appRoleConfig is the settings of a role of an AppRole method.
type appRoleConfig struct {
	TTL   int64    `json:"secret_id_ttl_secs,omitempty"`
	Uses  int64    `json:"secret_id_num_uses,omitempty"`
	CIDRs []string `json:"secret_id_bound_cidrs,omitempty"`
}

func (a *API) logins(r *request) vault.LoginAdmin { return a.vault.LoginAdmin(r.Caller) }

// ofKind returns a NotFound error unless the mount in the path is one of a kind.
func (a *API) ofKind(r *request, kind vault.LoginKind) error {
	m, err := a.logins(r).Method(r.Request.Context(), r.mount)
	if core.CodeOf(err) == core.NotFound || err == nil && m.Kind != kind {
		return failure(http.StatusNotFound, core.NotFound, "no handler for route %q. route entry not found.", "auth/"+printable(r.mount)+"/")
	}
	return err
}

// loginRole returns the role that the path names, and one to make if there is none.
func (a *API) loginRole(r *request) (vault.LoginRole, error) {
	l, err := a.logins(r).Role(r.Request.Context(), r.mount, r.rest)
	if core.CodeOf(err) == core.NotFound {
		return vault.LoginRole{
			Mount: r.mount, Name: r.rest, TokenTTL: defaultLoginTTL, TokenMaxTTL: defaultLoginMaxTTL, TokenType: vault.TokenService,
		}, nil
	}
	return l, err
}

// setToken changes what a body says of the tokens of a login role. What it leaves out stays.
func (f fields) setToken(l *vault.LoginRole) error {
	for _, name := range []string{"token_policies", "policies"} {
		role, err := policyOf(f, name)
		if err != nil {
			return err
		}
		if role != "" {
			l.Role = role
		}
	}
	if l.Role == "" {
		return invalid("token_policies must name one policy, the role that the tokens act as")
	}
	if err := f.setTTLs(l); err != nil {
		return err
	}
	if f.given("token_type") {
		kind, err := f.text("token_type")
		switch {
		case err != nil:
			return err
		case kind == typeBatch || kind == "default-batch":
			l.TokenType = vault.TokenBatch
		case kind == "" || kind == typeService || strings.HasPrefix(kind, "default"):
			l.TokenType = vault.TokenService
		default:
			return invalid("token_type must be service or batch")
		}
	}
	if err := f.setCIDRs("token_bound_cidrs", func(all []netip.Prefix) { l.BoundCIDRs = all }); err != nil {
		return err
	}
	return f.zero("token_explicit_max_ttl", "token_num_uses", "token_period")
}

func (f fields) setTTLs(l *vault.LoginRole) error {
	ttl, err := f.duration("token_ttl")
	if err != nil {
		return err
	}
	longest, err := f.duration("token_max_ttl")
	if err != nil {
		return err
	}
	if f.given("token_ttl") {
		if l.TokenTTL = ttl; ttl == 0 {
			l.TokenTTL = defaultLoginTTL
		}
	}
	if f.given("token_max_ttl") {
		if l.TokenMaxTTL = longest; longest == 0 {
			l.TokenMaxTTL = max(defaultLoginMaxTTL, l.TokenTTL)
		}
	}
	switch {
	case longest != 0 && ttl == 0 && l.TokenTTL > longest:
		l.TokenTTL = longest
	case longest == 0 && l.TokenTTL > l.TokenMaxTTL:
		l.TokenMaxTTL = l.TokenTTL
	}
	return nil
}

// zero refuses durations and numbers that we do not have, unless they mean nothing.
func (f fields) zero(names ...string) error {
	for _, name := range names {
		if d, err := f.duration(name); err != nil || d != 0 {
			return invalid("%s is not supported", name)
		}
	}
	return nil
}

// setCIDRs reads a list of networks, as an array or with commas.
func (f fields) setCIDRs(name string, set func([]netip.Prefix)) error {
	if !f.given(name) {
		return nil
	}
	texts, err := f.texts(name)
	if err != nil {
		return err
	}
	var all []netip.Prefix
	for text := range strings.SplitSeq(strings.Join(texts, ","), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); aerr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return invalid("%s must have addresses or networks, as in 10.0.0.0/8", name)
		}
		all = append(all, p)
	}
	set(all)
	return nil
}

// writeAppRole makes or changes a role of an AppRole method.
func (a *API) writeAppRole(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		if err := a.ofKind(r, vault.LoginAppRole); err != nil {
			return err
		}
		l, err := a.loginRole(r)
		if err == nil {
			err = f.setAppRole(&l)
		}
		if err == nil {
			err = f.setToken(&l)
		}
		if err != nil {
			return err
		}
		return a.putLoginRole(r, l, f.warnings(appRoleFields...))
	})
	return a.rejected(r, err)
}

func (a *API) putLoginRole(r *request, l vault.LoginRole, warnings []string) error {
	made, err := a.logins(r).PutRole(r.Request.Context(), l)
	if err == nil {
		r.setIndex(made.Position)
		r.answerNothing(warnings...)
	}
	return withoutRole(err)
}

// withoutRole is the error of a login role that could not be stored.
func withoutRole(err error) error {
	if core.CodeOf(err) == core.NotFound {
		return settled(err, "policy is no role of PostgreSQL, or the mount is gone")
	}
	return err
}

func (f fields) setAppRole(l *vault.LoginRole) error {
	var c appRoleConfig
	if len(l.Config) > 0 {
		if err := json.Unmarshal(l.Config, &c); err != nil {
			return core.Errorf(core.Internal, "the settings of a login role are malformed")
		}
	}
	if f.given("secret_id_ttl") {
		d, err := f.duration("secret_id_ttl")
		if err != nil {
			return err
		}
		c.TTL = int64(d / time.Second)
	}
	if f.given("secret_id_num_uses") {
		n, err := f.integer("secret_id_num_uses")
		if err != nil {
			return err
		}
		c.Uses = n
	}
	err := f.setCIDRs("secret_id_bound_cidrs", func(all []netip.Prefix) {
		c.CIDRs = nil
		for _, p := range all {
			c.CIDRs = append(c.CIDRs, p.String())
		}
	})
	if err != nil {
		return err
	}
	if bind, err := f.boolean("bind_secret_id"); err != nil || f.given("bind_secret_id") && !bind {
		return invalid("bind_secret_id must be true: a login needs a secret id here")
	}
	if local, err := f.boolean("local_secret_ids"); err != nil || local {
		return invalid("local_secret_ids is not supported")
	}
	l.Config, err = json.Marshal(c)
	return err
}

type tokenSettings struct {
	Policies       []string `json:"token_policies"`
	TTL            int64    `json:"token_ttl"`
	MaxTTL         int64    `json:"token_max_ttl"`
	Type           string   `json:"token_type"`
	BoundCIDRs     []string `json:"token_bound_cidrs"`
	ExplicitMaxTTL int64    `json:"token_explicit_max_ttl"`
	NoDefault      bool     `json:"token_no_default_policy"`
	NumUses        int64    `json:"token_num_uses"`
	Period         int64    `json:"token_period"`
}

func tokenSettingsOf(l vault.LoginRole) tokenSettings {
	t := tokenSettings{
		Policies: []string{l.Role}, TTL: int64(l.TokenTTL / time.Second), MaxTTL: int64(l.TokenMaxTTL / time.Second), Type: string(l.TokenType),
		BoundCIDRs: []string{},
	}
	for _, p := range l.BoundCIDRs {
		t.BoundCIDRs = append(t.BoundCIDRs, p.String())
	}
	return t
}

// readAppRole answers the settings of a role.
func (a *API) readAppRole(r *request) error {
	l, err := a.foundRole(r, vault.LoginAppRole)
	if err != nil {
		return err
	}
	var c appRoleConfig
	if err := json.Unmarshal(l.Config, &c); err != nil {
		return core.Errorf(core.Internal, "the settings of a login role are malformed")
	}
	r.answerData(struct {
		tokenSettings
		BindSecretID   bool     `json:"bind_secret_id"`
		LocalSecretIDs bool     `json:"local_secret_ids"`
		SecretIDTTL    int64    `json:"secret_id_ttl"`
		SecretIDUses   int64    `json:"secret_id_num_uses"`
		SecretIDCIDRs  []string `json:"secret_id_bound_cidrs"`
	}{tokenSettingsOf(l), true, false, c.TTL, c.Uses, c.CIDRs})
	return nil
}

func (a *API) foundRole(r *request, kind vault.LoginKind) (vault.LoginRole, error) {
	if err := a.ofKind(r, kind); err != nil {
		return vault.LoginRole{}, err
	}
	return a.logins(r).Role(r.Request.Context(), r.mount, r.rest)
}

func (a *API) readRoleID(r *request) error {
	l, err := a.foundRole(r, vault.LoginAppRole)
	if err != nil {
		return err
	}
	r.answerData(map[string]string{"role_id": core.SecretID(l.ID).String()})
	return nil
}

func (a *API) listAppRoles(r *request) error  { return a.listLoginRoles(r, vault.LoginAppRole) }
func (a *API) deleteAppRole(r *request) error { return a.deleteLoginRole(r, vault.LoginAppRole) }

func (a *API) listLoginRoles(r *request, kind vault.LoginKind) error {
	if err := a.ofKind(r, kind); err != nil {
		return err
	}
	all, err := a.logins(r).Roles(r.Request.Context(), r.mount)
	if err == nil && len(all) == 0 {
		err = core.Errorf(core.NotFound, "nothing is there")
	}
	if err != nil {
		return err
	}
	keys := make([]string, len(all))
	for i, l := range all {
		keys[i] = l.Name
	}
	r.answerData(keysBody{Keys: keys})
	return nil
}

// deleteLoginRole deletes a role. One that is not there is deleted already.
func (a *API) deleteLoginRole(r *request, kind vault.LoginKind) error {
	if err := a.ofKind(r, kind); err != nil {
		return err
	}
	at, err := a.logins(r).DeleteRole(r.Request.Context(), r.mount, r.rest)
	if err != nil && core.CodeOf(err) != core.NotFound {
		return err
	}
	r.setIndex(at)
	r.answerNothing()
	return nil
}
