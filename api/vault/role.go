package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/scram"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// NextRole is the role of PostgreSQL whose password the next version of a bound secret is.
type NextRole struct {
	Name       string
	Iterations int // of the verifier, as the server has it
}

// RoleBinding binds a secret to a role, or to two in turn.
type RoleBinding struct {
	ID         core.SecretID
	Name       core.Name
	Expected   uint64 // the current version, whose password the verifier is of
	Role       string // whose password the current version is
	Other      string // the other role of a pair; "" = none
	Shared     string // that both roles of a pair are members of; "" = not noted
	AutoRepair bool   // the supervisor sets the password again when it was changed elsewhere
	Sessions   SessionPolicy
	Verifier   string
}

// RoleRepair gives the role of a bound secret its current value again.
type RoleRepair struct {
	ID       core.SecretID
	Name     core.Name
	Expected uint64
	Verifier string
}

// BoundRole is one role whose password a secret is.
type BoundRole struct {
	Name       core.Name // of the secret
	Role       string
	Pair       bool
	Current    bool   // the current version is its password
	Version    uint64 // the last one that is; 0 = none
	State      string // "ok", or how it differs from what the vault has made it
	DriftSince time.Time
	ValidUntil time.Time // zero = no end, or infinity
	AutoRepair bool
	Sessions   SessionPolicy
	BoundAt    time.Time
	BoundBy    string
}

// Roles is the part of a Store that binds secrets to roles. A change returns where the log stood after it.
type Roles interface {
	// NextRole queries the primary about a bound secret; Invalid when its role is not what it was when it was bound. It
	// decides about no caller.
	NextRole(ctx context.Context, id core.SecretID) (NextRole, error)
	// IterationsOfRoles returns how many iterations the verifiers of the primary have.
	IterationsOfRoles(ctx context.Context) (int, error)
	// BindRole binds a secret and sets the password, if PostgreSQL lets the author's role set it: Invalid when it does not.
	BindRole(ctx context.Context, b RoleBinding, by Author) (core.Position, error)
	// ConfigureRole changes how the roles of a binding are treated; NotFound when there is none.
	ConfigureRole(ctx context.Context, id core.SecretID, name core.Name, o RoleOptions, by Author) (core.Position, error)
	// RoleSessions lists the sessions of the roles of a bound secret on the server that the reader is connected to.
	RoleSessions(ctx context.Context, by Credential, name core.Name, f Freshness) ([]RoleSession, Identity, error)
	// UnbindRole ends a binding; NotFound when there is none.
	UnbindRole(ctx context.Context, id core.SecretID, name core.Name, by Author) (core.Position, error)
	// RepairRole sets the password of the current role of a binding.
	RepairRole(ctx context.Context, r RoleRepair, by Author) (core.Position, error)
	// BoundRoles lists the bound roles of the secrets below a prefix that the caller may see. It queries the reader.
	BoundRoles(ctx context.Context, by Credential, prefix string, f Freshness) ([]BoundRole, Identity, error)
}

// RolePassword is the password of a role, as a verifier. The zero value is none.
type RolePassword struct{ Role, Verifier string }

// ErrBound is in the chain of the error of a change without the verifier that it needs: the secret was bound to a role, or to
// another one, meanwhile. The change may be tried again.
var ErrBound = errors.New("the secret is bound to a role")

// roleOf returns the role whose password the next version of s is; nil if s is not bound.
func (v *Vault) roleOf(ctx context.Context, s Secret) (*NextRole, error) {
	if !s.Bound || s.NextRole != nil {
		return s.NextRole, nil
	}
	role, err := v.c.Store.NextRole(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	return &role, nil
}

// nextValueFor returns the value that a rotation of s makes current. The caller wipes it.
func (v *Vault) nextValueFor(ctx context.Context, s Secret, role *NextRole) ([]byte, error) {
	value, err := v.nextValue(ctx, s)
	if err != nil || role == nil || s.ContentType != core.JSON {
		return value, err
	}
	defer envelope.Wipe(value)
	return generate.SetField(value, "username", role.Name)
}

// password returns the one that a value is for the role, none for no role. The error is Invalid for a value that is no login
// of it.
func (r *NextRole) password(ct core.ContentType, value []byte) (p RolePassword, err error) {
	if r == nil {
		return p, nil
	}
	if err := generate.CheckLogin(ct, value, r.Name); err != nil {
		return p, err
	}
	p.Role = r.Name
	p.Verifier, err = verifierOf(ct, value, r.Iterations)
	return p, err
}

func verifierOf(ct core.ContentType, value []byte, iterations int) (string, error) {
	_, password, err := generate.Login(ct, value)
	defer envelope.Wipe(password)
	if err != nil {
		return "", err
	}
	return scram.Verifier(password, iterations, rand.Reader)
}

// RoleRequest binds a secret to a role, or to two in turn.
type RoleRequest struct {
	Name       string
	Role       string   // "" = a pair
	Pair       []string // two roles; the username of the current value is one of them
	Shared     string   // a role that both of a pair must be members of; "" = any
	AutoRepair bool
	Sessions   SessionPolicy
}

func (r *RoleRequest) check() error {
	roles := append([]string{r.Shared, r.Role}, r.Pair...)
	for _, role := range roles {
		if len(role) > 63 {
			return core.Errorf(core.Invalid, "the name of a role is %d bytes, limit is 63", len(role))
		}
		if err := checkText("the name of a role", role); err != nil {
			return err
		}
	}
	switch {
	case (r.Role != "") == (len(r.Pair) > 0):
		return core.Errorf(core.Invalid, "either role or pair is required")
	case len(r.Pair) > 0 && (len(r.Pair) != 2 || r.Pair[0] == r.Pair[1] || r.Pair[0] == "" || r.Pair[1] == ""):
		return core.Errorf(core.Invalid, "pair must name two roles")
	case r.Shared != "" && len(r.Pair) == 0:
		return core.Errorf(core.Invalid, "shared_role is for a pair")
	}
	return r.Sessions.check()
}

// binding returns what a request makes of a secret whose current value is given.
func (r *RoleRequest) binding(s Secret, value []byte, iterations int) (RoleBinding, error) {
	b := RoleBinding{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Role: r.Role, Shared: r.Shared, AutoRepair: r.AutoRepair, Sessions: r.Sessions}
	if len(r.Pair) > 0 {
		username, password, err := generate.Login(s.ContentType, value)
		envelope.Wipe(password)
		switch {
		case err != nil:
			return b, err
		case username == r.Pair[0]:
			b.Role, b.Other = r.Pair[0], r.Pair[1]
		case username == r.Pair[1]:
			b.Role, b.Other = r.Pair[1], r.Pair[0]
		default:
			return b, core.Errorf(core.Invalid, "the value must be JSON whose field username is one of the two roles")
		}
	}
	if err := generate.CheckLogin(s.ContentType, value, b.Role); err != nil {
		return b, err
	}
	var err error
	b.Verifier, err = verifierOf(s.ContentType, value, iterations)
	return b, err
}

// BindRole makes the current value of a secret the password of a role, and every later one too. It needs the rights update
// and rotate on the name, and PostgreSQL must let the caller's role set the password. Errors: Unauthenticated, Denied,
// Invalid, NotFound, Unavailable.
func (v *Vault) BindRole(ctx context.Context, c Caller, r RoleRequest) (core.Position, error) {
	return v.changeRole(ctx, c, ActionBindRole, r.Name, r.check, func(ctx context.Context, a *attempt, s Secret, value []byte) (none core.Position, _ error) {
		iterations, err := v.c.Store.IterationsOfRoles(ctx)
		if err != nil {
			return none, err
		}
		b, err := r.binding(s, value, iterations)
		if err != nil {
			return none, err
		}
		return v.c.Store.BindRole(ctx, b, a.author())
	})
}

// RepairRole gives the role of a bound secret its current value as the password again. It needs the right rotate on the name.
// Errors: Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) RepairRole(ctx context.Context, c Caller, name string) (core.Position, error) {
	unchecked := func() error { return nil }
	return v.changeRole(ctx, c, ActionRepairRole, name, unchecked, func(ctx context.Context, a *attempt, s Secret, value []byte) (none core.Position, _ error) {
		if !s.Bound {
			return none, core.Errorf(core.NotFound, "the secret is bound to no role")
		}
		iterations, err := v.c.Store.IterationsOfRoles(ctx)
		if err != nil {
			return none, err
		}
		verifier, err := verifierOf(s.ContentType, value, iterations)
		if err != nil {
			return none, err
		}
		return v.c.Store.RepairRole(ctx, RoleRepair{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Verifier: verifier}, a.author())
	})
}

// changeRole calls change with the current value of a secret, which it wipes. It starts over while others get ahead.
func (v *Vault) changeRole(ctx context.Context, c Caller, action Action, name string, check func() error,
	change func(ctx context.Context, a *attempt, s Secret, value []byte) (core.Position, error),
) (core.Position, error) {
	a := v.try(c, action, name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return at, err
		}
		if err := check(); err != nil {
			return at, a.invalid(ctx, err)
		}
		err = a.onCurrent(ctx, n, AnyVersion, func(s Secret) error {
			value, err := v.currentValue(ctx, s)
			defer envelope.Wipe(value)
			if err != nil {
				return err
			}
			at, err = change(ctx, a, s, value)
			return err
		})
		return at, err
	})
}

// UnbindRole ends the binding of a secret; its roles keep their passwords. It needs the right update on the name. Errors:
// Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) UnbindRole(ctx context.Context, c Caller, name string) (core.Position, error) {
	a := v.try(c, ActionUnbindRole, name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return at, err
		}
		err = a.onPresent(ctx, n, AnyVersion, func(s Secret, _ error) (err error) {
			at, err = v.c.Store.UnbindRole(ctx, s.ID, s.Name, a.author())
			return err
		})
		return at, err
	})
}

// BoundRoles lists the roles whose passwords are secrets below a prefix with which the caller may do anything at all. It needs
// an allowed client address. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) BoundRoles(ctx context.Context, c Caller, prefix string) ([]BoundRole, error) {
	a := v.try(c, ActionList, prefix, 0)
	var out []BoundRole
	err := a.serve(ctx, func(ctx context.Context) error {
		prefix, err := checkList(prefix, "", DefaultPageSize)
		if err != nil {
			return a.invalid(ctx, err)
		}
		var i Identity
		out, i, err = v.c.Store.BoundRoles(ctx, a.by, prefix, c.Freshness)
		return a.found(i, err)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
