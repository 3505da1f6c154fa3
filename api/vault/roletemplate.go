package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
)

const maxRoleGroups = 64

// check refuses what the schema would refuse in any case, before the roles of the template are looked for.
func (t *RoleTemplate) check() error {
	if err := checkTemplateName(t.Name); err != nil {
		return err
	}
	switch {
	case t.TTLSecs < 1 || t.TTLSecs > MaxPeriodSecs || t.MaxTTLSecs < t.TTLSecs || t.MaxTTLSecs > MaxPeriodSecs:
		return core.Errorf(core.Invalid, "ttl_secs and max_ttl_secs must be between 1 and %d, and max_ttl_secs not less than ttl_secs", MaxPeriodSecs)
	case len(t.MemberOf) > maxRoleGroups:
		return core.Errorf(core.Invalid, "a template has %d groups at most", maxRoleGroups)
	}
	roles := t.MemberOf
	if t.ReassignTo != "" {
		roles = append(roles[:len(roles):len(roles)], t.ReassignTo)
	}
	for _, role := range roles {
		if err := checkRole(role); err != nil {
			return err
		}
	}
	return t.checkTexts()
}

// checkTexts refuses what PostgreSQL stores in no text.
func (t *RoleTemplate) checkTexts() error {
	if err := checkText("role_prefix", t.RolePrefix); err != nil {
		return err
	}
	for name, value := range t.Settings {
		if err := checkText("a setting", name+value); err != nil {
			return err
		}
	}
	return nil
}

// PutRoleTemplate makes or replaces a template of leased roles. Roles are made with the rights of the role that the caller acts
// as, which must be allowed to make them. It needs the right manage on the template's name. Errors: Unauthenticated, Denied,
// Invalid, NotFound (no such group), Unavailable.
func (v *Vault) PutRoleTemplate(ctx context.Context, c Caller, t RoleTemplate) (RoleTemplate, error) {
	return changeLease(ctx, v, c, ActionTemplateConfigure, t.Name, t.check,
		func(ctx context.Context, store Leases, by Author) (RoleTemplate, error) {
			return store.PutRoleTemplate(ctx, t, by)
		})
}

// DeleteRoleTemplate deletes a template. Its leases last until they end, and cannot be renewed. It needs the right manage on
// its name. Errors: Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) DeleteRoleTemplate(ctx context.Context, c Caller, name string) (core.Position, error) {
	return changeLease(ctx, v, c, ActionTemplateConfigure, name, func() error { return checkTemplateName(name) },
		func(ctx context.Context, store Leases, by Author) (core.Position, error) {
			return store.DeleteRoleTemplate(ctx, name, by)
		})
}

// RoleTemplatePage is one answer of RoleTemplates.
type RoleTemplatePage struct {
	Templates []RoleTemplate
	Next      string // "after" of the next page; "" = this was the last one
}

// RoleTemplates returns the templates that the caller may issue roles from, manage or audit, by name in byte order. Errors:
// Unauthenticated, Invalid, Unavailable.
func (v *Vault) RoleTemplates(ctx context.Context, c Caller, after string, limit int) (RoleTemplatePage, error) {
	a := v.try(c, ActionTemplateList, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out RoleTemplatePage, err error) {
		limit, err := pageSize(limit)
		store, serr := v.leases()
		if err == nil {
			err = serr
		}
		if err != nil {
			return out, a.invalid(ctx, err)
		}
		all, who, err := store.RoleTemplates(ctx, a.by, "", after, limit+1, c.Freshness)
		if err := a.found(who, err); err != nil {
			return out, err
		}
		if out.Templates = all; len(all) > limit {
			out.Templates, out.Next = all[:limit], all[limit-1].Name
		}
		return out, nil
	})
}

// RoleTemplate returns a template that the caller may see. Errors: Unauthenticated, NotFound, Unavailable.
func (v *Vault) RoleTemplate(ctx context.Context, c Caller, name string) (RoleTemplate, error) {
	a := v.try(c, ActionTemplateList, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (t RoleTemplate, err error) {
		store, err := v.leases()
		if err == nil {
			err = checkTemplateName(name)
		}
		if err != nil {
			return t, a.invalid(ctx, err)
		}
		all, who, err := store.RoleTemplates(ctx, a.by, name, "", 1, c.Freshness)
		if err == nil && len(all) == 0 {
			err = core.Errorf(core.NotFound, "no such role template")
		}
		if err := a.found(who, err); err != nil {
			return t, err
		}
		return all[0], nil
	})
}
