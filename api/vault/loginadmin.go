package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/netip"
	"regexp"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

var (
	mountForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)
	loginRoleForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
)

const (
	// MaxBatchTTL is the longest that a batch token lives, since none can be revoked alone.
	MaxBatchTTL = 24 * time.Hour
	// MaxSecretIDTTL is the longest that a secret id with an end lives.
	MaxSecretIDTTL = 10 * 366 * 24 * time.Hour
	// MaxSecretIDUses is the largest number of uses that a secret id can be limited to.
	MaxSecretIDUses = 1_000_000
)

// LoginAdmin configures login methods, for a REST caller with the right manage on all names, or for an operator.
// Every method returns, beside the errors it names: Unauthenticated, Denied, Unavailable.
type LoginAdmin struct {
	v     *Vault
	try   func(Action, string) *attempt
	serve func(*attempt, context.Context, func(context.Context) error) error
	f     Freshness // of what is listed
}

// LoginAdmin returns what a REST caller configures login methods with.
func (v *Vault) LoginAdmin(c Caller) LoginAdmin {
	return LoginAdmin{
		v: v, f: c.Freshness,
		try:   func(action Action, name string) *attempt { return v.try(c, action, name, 0) },
		serve: (*attempt).serve,
	}
}

// OperatorLogins returns what an operator of the node configures login methods with.
func (v *Vault) OperatorLogins(op Operator) LoginAdmin {
	return LoginAdmin{
		v: v, f: onPrimary,
		try: func(action Action, name string) *attempt {
			a := v.tryOperator(op, action, recordable(action, name))
			return a
		},
		serve: func(a *attempt, ctx context.Context, act func(context.Context) error) error {
			return a.run(ctx, a.admitOperator(op), act)
		},
	}
}

// loginTarget returns the mount, or the mount and the role, that a record names. It returns "" for any other name, which
// may be a secret in the wrong place.
func loginTarget(name string) string {
	for i := range len(name) {
		if name[i] == '/' {
			if mountForm.MatchString(name[:i]) && loginRoleForm.MatchString(name[i+1:]) {
				return name
			}
			return ""
		}
	}
	if mountForm.MatchString(name) {
		return name
	}
	return ""
}

// issuing returns what changes and lists secret ids: who may is another question there.
func (l LoginAdmin) issuing() LoginAdmin {
	try := l.try
	l.try = func(action Action, name string) *attempt {
		a := try(action, name)
		a.issuing = true
		return a
	}
	return l
}

// listLogin runs a list.
func listLogin[T any](ctx context.Context, l LoginAdmin, name string, list func(context.Context, *attempt) (T, Identity, error)) (out T, _ error) {
	a := l.try(ActionAuthList, name)
	err := l.serve(a, ctx, func(ctx context.Context) error {
		if err := l.configured(); err != nil {
			return err
		}
		all, who, err := list(ctx, a)
		out = all
		return a.found(who, err)
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// changeLogin runs a change after a check of its arguments.
func changeLogin[T any](ctx context.Context, l LoginAdmin, name string, check func(context.Context, *attempt) error,
	change func(context.Context, Author) (T, error)) (out T, _ error) {
	a := l.try(ActionAuthConfigure, name)
	a.change = true
	err := l.serve(a, ctx, func(ctx context.Context) (err error) {
		if err := l.configured(); err != nil {
			return err
		}
		if err := check(ctx, a); err != nil {
			return a.invalid(ctx, err)
		}
		out, err = change(ctx, a.author())
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

func (l LoginAdmin) configured() error {
	if l.v.c.Logins == nil || l.v.c.Verifier == nil {
		return core.Errorf(core.Unavailable, "this process has no login methods")
	}
	return nil
}

func checkMount(mount string) error {
	if !mountForm.MatchString(mount) || mount == "token" {
		return core.Errorf(core.Invalid, "a mount is 1 to 64 of a-z 0-9 . _ -, begins with a letter or digit, and is not token")
	}
	return nil
}

func checkLoginRoleName(mount, name string) error {
	if err := checkMount(mount); err != nil {
		return err
	}
	if !loginRoleForm.MatchString(name) {
		return core.Errorf(core.Invalid, "the name of a login role is 1 to 64 of A-Z a-z 0-9 . _ -, and begins with a letter or digit")
	}
	return nil
}

// named is the check of a change that has no other arguments.
func named(mount, name string) func(context.Context, *attempt) error {
	return func(context.Context, *attempt) error { return checkLoginRoleName(mount, name) }
}

// Methods returns all login methods, by mount.
func (l LoginAdmin) Methods(ctx context.Context) ([]LoginMethod, error) {
	return listLogin(ctx, l, "", func(ctx context.Context, a *attempt) ([]LoginMethod, Identity, error) {
		return l.v.c.Logins.LoginMethods(ctx, a.by, "", l.f)
	})
}

// Method returns one login method. NotFound when there is none.
func (l LoginAdmin) Method(ctx context.Context, mount string) (LoginMethod, error) {
	return listLogin(ctx, l, mount, func(ctx context.Context, a *attempt) (m LoginMethod, _ Identity, _ error) {
		all, who, err := l.v.c.Logins.LoginMethods(ctx, a.by, mount, l.f)
		if err == nil && len(all) == 0 {
			err = core.Errorf(core.NotFound, "no such login method")
		}
		if err != nil {
			return m, who, err
		}
		return all[0], who, nil
	})
}

// PutMethod makes or changes a login method. Errors: Invalid, TooLarge.
func (l LoginAdmin) PutMethod(ctx context.Context, m LoginMethod) (LoginMethod, error) {
	return changeLogin(ctx, l, m.Mount, func(context.Context, *attempt) error {
		if err := checkMount(m.Mount); err != nil {
			return err
		}
		if err := checkDescription(m.Description); err != nil {
			return err
		}
		return l.v.c.Verifier.CheckMethod(m.Kind, m.Config)
	}, func(ctx context.Context, by Author) (LoginMethod, error) {
		return l.v.c.Logins.PutLoginMethod(ctx, m, by)
	})
}

// DeleteMethod deletes a login method with its roles and their secret ids. Batch tokens of these end at once. NotFound.
func (l LoginAdmin) DeleteMethod(ctx context.Context, mount string) (core.Position, error) {
	return changeLogin(ctx, l, mount, func(context.Context, *attempt) error { return checkMount(mount) },
		func(ctx context.Context, by Author) (core.Position, error) {
			return l.v.c.Logins.DeleteLoginMethod(ctx, mount, by)
		})
}

// Roles returns the roles of a login method, by name.
func (l LoginAdmin) Roles(ctx context.Context, mount string) ([]LoginRole, error) {
	return listLogin(ctx, l, mount, func(ctx context.Context, a *attempt) ([]LoginRole, Identity, error) {
		return l.v.c.Logins.LoginRoles(ctx, a.by, mount, "", l.f)
	})
}

// Role returns one role of a login method. NotFound when there is none.
func (l LoginAdmin) Role(ctx context.Context, mount, name string) (LoginRole, error) {
	return listLogin(ctx, l, mount+"/"+name, func(ctx context.Context, a *attempt) (r LoginRole, _ Identity, _ error) {
		all, who, err := l.v.c.Logins.LoginRoles(ctx, a.by, mount, name, l.f)
		if err == nil && (len(all) == 0 || name == "") {
			err = core.Errorf(core.NotFound, "no such login role")
		}
		if err != nil {
			return r, who, err
		}
		return all[0], who, nil
	})
}

// PutRole makes or changes a role of a login method. With another SQL role, its earlier batch tokens end. Errors: Invalid,
// TooLarge, NotFound (no such method or SQL role).
func (l LoginAdmin) PutRole(ctx context.Context, r LoginRole) (LoginRole, error) {
	return changeLogin(ctx, l, r.Mount+"/"+r.Name, func(ctx context.Context, a *attempt) error {
		return l.checkRole(ctx, a, r)
	}, func(ctx context.Context, by Author) (LoginRole, error) { return l.v.c.Logins.PutLoginRole(ctx, r, by) })
}

func (l LoginAdmin) checkRole(ctx context.Context, a *attempt, r LoginRole) error {
	if err := checkLoginRoleName(r.Mount, r.Name); err != nil {
		return err
	}
	if err := checkRole(r.Role); err != nil {
		return err
	}
	asToken := TokenRequest{Name: r.Name, TTL: r.TokenTTL, MaxTTL: r.TokenMaxTTL, Scope: r.Scope, BoundCIDRs: r.BoundCIDRs}
	switch {
	case r.TokenType != TokenService && r.TokenType != TokenBatch:
		return core.Errorf(core.Invalid, "a token is of type service or batch")
	case r.TokenTTL <= 0 || r.TokenMaxTTL <= 0:
		return core.Errorf(core.Invalid, "the tokens of a login have a lifetime, and a longest lifetime")
	case r.TokenType == TokenBatch && r.TokenTTL > MaxBatchTTL:
		return core.Errorf(core.Invalid, "a batch token cannot be revoked alone, so it lives for %d seconds at most", MaxBatchTTL/time.Second)
	}
	if err := asToken.check(); err != nil {
		return err
	}
	methods, who, err := l.v.c.Logins.LoginMethods(ctx, a.by, r.Mount, onPrimary)
	switch {
	case a.found(who, err) != nil:
		return err
	case len(methods) == 0:
		return core.Errorf(core.NotFound, "no such login method")
	}
	return l.v.c.Verifier.CheckRole(methods[0].Kind, methods[0].Config, r.Config)
}

// DeleteRole deletes a role of a login method with its secret ids. Its batch tokens end at once. Errors: Invalid, NotFound.
func (l LoginAdmin) DeleteRole(ctx context.Context, mount, name string) (core.Position, error) {
	return changeLogin(ctx, l, mount+"/"+name, named(mount, name), func(ctx context.Context, by Author) (core.Position, error) {
		return l.v.c.Logins.DeleteLoginRole(ctx, mount, name, by)
	})
}

// EndBatchTokens ends the batch tokens that a role has issued so far. Errors: Invalid, NotFound.
func (l LoginAdmin) EndBatchTokens(ctx context.Context, mount, name string) (LoginRole, error) {
	return changeLogin(ctx, l, mount+"/"+name, named(mount, name), func(ctx context.Context, by Author) (LoginRole, error) {
		return l.v.c.Logins.EndBatchTokens(ctx, mount, name, by)
	})
}

// The secret ids of a login role are for those who have the right manage on every name that a login as this role reaches.

// SecretIDs returns at most limit secret ids of a role, with accessors after the given one, in their order.
func (l LoginAdmin) SecretIDs(ctx context.Context, mount, name string, after [16]byte, limit int) ([]SecretIDInfo, error) {
	return listLogin(ctx, l.issuing(), mount+"/"+name, func(ctx context.Context, a *attempt) ([]SecretIDInfo, Identity, error) {
		if limit < 1 || limit > MaxPageSize {
			return nil, Identity{}, a.invalid(ctx, core.Errorf(core.Invalid, "limit must be between 1 and %d", MaxPageSize))
		}
		return l.v.c.Logins.SecretIDs(ctx, a.by, mount, name, after, limit, l.f)
	})
}

// SecretIDRequest is a secret id to make. Zero values are what the role says.
type SecretIDRequest struct {
	TTL        time.Duration
	Uses       int64
	BoundCIDRs []netip.Prefix
}

// CreateSecretID makes a secret id of an AppRole and returns it: the only moment it exists in the clear. Errors: Invalid,
// NotFound.
func (l LoginAdmin) CreateSecretID(ctx context.Context, mount, name string, r SecretIDRequest) (token.Token, SecretIDInfo, error) {
	var made token.Token
	info, err := changeLogin(ctx, l.issuing(), mount+"/"+name, func(context.Context, *attempt) error {
		switch {
		case r.TTL != 0 && (r.TTL < time.Second || r.TTL > MaxSecretIDTTL):
			return core.Errorf(core.Invalid, "a secret id's lifetime must be between 1 s and %d s", MaxSecretIDTTL/time.Second)
		case r.Uses < 0 || r.Uses > MaxSecretIDUses:
			return core.Errorf(core.Invalid, "a secret id has between 1 and %d uses", MaxSecretIDUses)
		}
		return checkLoginRoleName(mount, name)
	}, func(ctx context.Context, by Author) (info SecretIDInfo, err error) {
		if made, err = token.NewSecretID(rand.Reader); err != nil {
			return info, err
		}
		id, err := core.NewSecretID(rand.Reader)
		if err != nil {
			return info, err
		}
		return l.v.c.Logins.PutSecretID(ctx, mount, name, NewSecretID{
			ID: id, Fingerprint: sha256.Sum256([]byte(made.Reveal())), TTL: r.TTL, Uses: r.Uses, BoundCIDRs: r.BoundCIDRs,
		}, by)
	})
	if err != nil {
		return token.Token{}, SecretIDInfo{}, err
	}
	return made, info, nil
}

// DeleteSecretID destroys a secret id. Errors: Invalid, NotFound.
func (l LoginAdmin) DeleteSecretID(ctx context.Context, mount, name string, accessor [16]byte) (core.Position, error) {
	return changeLogin(ctx, l.issuing(), mount+"/"+name, named(mount, name), func(ctx context.Context, by Author) (core.Position, error) {
		return l.v.c.Logins.DeleteSecretID(ctx, mount, name, accessor, by)
	})
}

// RotateTokenKey makes a new key for batch tokens. Tokens under earlier keys stay valid until they end.
func (l LoginAdmin) RotateTokenKey(ctx context.Context) (id [16]byte, at core.Position, _ error) {
	id, err := changeLogin(ctx, l, "", func(ctx context.Context, a *attempt) error {
		if a.by.IsItself() {
			return nil
		}
		return a.decide(ctx, onPrimary) // before the key service is asked
	}, func(ctx context.Context, by Author) (id [16]byte, err error) {
		list, err := l.v.tokenKeys.load(ctx, l.v, onPrimary)
		if err != nil {
			return id, err
		}
		var newest [16]byte
		if len(list) > 0 {
			newest = list[0].ID
		}
		made, plain, position, err := l.v.newTokenKey(ctx, newest, by)
		envelope.Wipe(plain)
		at = position
		return made, err
	})
	return id, at, err
}
