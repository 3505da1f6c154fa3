package doortest

import (
	"context"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// binding is what a secret is bound to; its Role is the current one.
type binding struct {
	vault.RoleBinding
	verifiers map[string]string // of each role, as it was set last
}

// Verifier returns what the password of a bound role was set to last.
func (s *Store) Verifier(name core.Name, role string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.secrets[name]; x != nil && x.binding != nil {
		return x.binding.verifiers[role]
	}
	return ""
}

// setPassword gives the next role of a bound secret its password.
func (x *secret) setPassword(p vault.RolePassword) error {
	b := x.binding
	switch {
	case b == nil:
		return nil
	case p.Role != b.next():
		return core.Wrap(core.Stale, vault.ErrBound, "the secret was bound to a role meanwhile: try again")
	case b.Other != "":
		b.Role, b.Other = b.Other, b.Role
	}
	b.verifiers[b.Role] = p.Verifier
	return nil
}

// next is the role whose password the next version is.
func (b *binding) next() string {
	if b.Other != "" {
		return b.Other
	}
	return b.Role
}

// NextRole implements vault.Store.
func (s *Store) NextRole(_ context.Context, id core.SecretID) (vault.NextRole, error) {
	leave, err := s.enter("NextRole")
	defer leave()
	for _, x := range s.secrets {
		if x.info.ID == id && x.binding != nil && err == nil {
			return vault.NextRole{Name: x.binding.next(), Iterations: 1}, nil
		}
	}
	if err == nil {
		err = core.Errorf(core.Stale, "the secret is no longer bound to a role")
	}
	return vault.NextRole{}, err
}

// IterationsOfRoles implements vault.Store.
func (s *Store) IterationsOfRoles(context.Context) (int, error) {
	leave, err := s.enter("IterationsOfRoles")
	defer leave()
	return 1, err
}

// BindRole implements vault.Store.
func (s *Store) BindRole(_ context.Context, b vault.RoleBinding, by vault.Author) (core.Position, error) {
	leave, err := s.enter("BindRole")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "update", string(b.Name))
	if err != nil {
		return core.Position{}, err
	}
	x, err := s.current(b.ID, b.Expected)
	if err != nil {
		return core.Position{}, err
	}
	if x.binding != nil {
		return core.Position{}, core.Errorf(core.Invalid, "secret %q is bound to a role already", b.Name)
	}
	x.binding = &binding{RoleBinding: b, verifiers: map[string]string{b.Role: b.Verifier}}
	x.info.Bound = true
	s.record(o, vault.ActionBindRole, string(b.Name), x.info.CurrentVersion)
	return s.position(), nil
}

// ConfigureRole implements vault.Store.
func (s *Store) ConfigureRole(_ context.Context, id core.SecretID, name core.Name, options vault.RoleOptions, by vault.Author) (core.Position, error) {
	leave, err := s.enter("ConfigureRole")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "update", string(name))
	if err != nil {
		return core.Position{}, err
	}
	x := s.secrets[name]
	if x == nil || x.info.ID != id || x.binding == nil {
		return core.Position{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	if options.AutoRepair != nil {
		x.binding.AutoRepair = *options.AutoRepair
	}
	x.binding.Sessions = options.Sessions
	s.record(o, vault.ActionConfigureRole, string(name), x.info.CurrentVersion)
	return s.position(), nil
}

// RoleSessions implements vault.Store. There is one of each bound role.
func (s *Store) RoleSessions(_ context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.RoleSession, vault.Identity, error) {
	leave, err := s.enter("RoleSessions")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "rotate", string(name))
	if err != nil || who.Cause != "" {
		return nil, who, err
	}
	x := s.secrets[name]
	if x == nil || x.binding == nil {
		return nil, who, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	return []vault.RoleSession{{PID: 1, Role: x.binding.Role, StartedAt: x.info.UpdatedAt, Credential: "current", Fate: "stays"}}, who, nil
}

// UnbindRole implements vault.Store.
func (s *Store) UnbindRole(_ context.Context, id core.SecretID, name core.Name, by vault.Author) (core.Position, error) {
	leave, err := s.enter("UnbindRole")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "update", string(name))
	if err != nil {
		return core.Position{}, err
	}
	x := s.secrets[name]
	if x == nil || x.info.ID != id || x.binding == nil {
		return core.Position{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	x.binding, x.info.Bound = nil, false
	s.record(o, vault.ActionUnbindRole, string(name), x.info.CurrentVersion)
	return s.position(), nil
}

// RepairRole implements vault.Store.
func (s *Store) RepairRole(_ context.Context, r vault.RoleRepair, by vault.Author) (core.Position, error) {
	leave, err := s.enter("RepairRole")
	defer leave()
	if err != nil {
		return core.Position{}, err
	}
	o, err := s.admit(by, "rotate", string(r.Name))
	if err != nil {
		return core.Position{}, err
	}
	x, err := s.current(r.ID, r.Expected)
	if err != nil {
		return core.Position{}, err
	}
	if x.binding == nil {
		return core.Position{}, core.Errorf(core.NotFound, "no such secret, version, token, role, template or lease")
	}
	x.binding.verifiers[x.binding.Role] = r.Verifier
	s.record(o, vault.ActionRepairRole, string(r.Name), x.info.CurrentVersion)
	return s.position(), nil
}

// BoundRoles implements vault.Store.
func (s *Store) BoundRoles(_ context.Context, by vault.Credential, prefix string, f vault.Freshness) ([]vault.BoundRole, vault.Identity, error) {
	leave, err := s.enter("BoundRoles")
	defer leave()
	if err != nil {
		return nil, vault.Identity{}, err
	}
	s.asked = f
	who, err := s.decided(by, "list", "")
	if err != nil {
		return nil, who, err
	}
	var out []vault.BoundRole
	for name, x := range s.secrets {
		if x.binding != nil && core.HasPrefix(name, prefix) && s.sees(by, name) {
			out = append(out, vault.BoundRole{
				Name: name, Role: x.binding.Role, Pair: x.binding.Other != "", Current: true, Version: x.info.CurrentVersion,
				State: "ok", AutoRepair: x.binding.AutoRepair, Sessions: x.binding.Sessions, BoundAt: x.info.UpdatedAt, BoundBy: "test",
			})
		}
	}
	slices.SortFunc(out, func(a, b vault.BoundRole) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out, who, nil
}
