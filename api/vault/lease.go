package vault

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/scram"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// RoleTemplate is what leased roles are made as.
type RoleTemplate struct {
	Name            string            `json:"name"`
	Definer         string            `json:"definer"` // the role with whose rights roles are made; "" = it was dropped
	MemberOf        []string          `json:"member_of"`
	TTLSecs         int64             `json:"ttl_secs"`
	MaxTTLSecs      int64             `json:"max_ttl_secs"`
	RolePrefix      string            `json:"role_prefix"` // "" at definition = made of the name
	ConnectionLimit int32             `json:"connection_limit"`
	Settings        map[string]string `json:"settings"`
	DropOwned       bool              `json:"drop_owned"`
	ReassignTo      string            `json:"reassign_to"` // "" = to no role
	MaxLeases       int32             `json:"max_leases"`
	CreatedAt       time.Time         `json:"created_at"`
	UpdatedAt       time.Time         `json:"updated_at"`
	Position        core.Position     `json:"-"` // of the change that returned this; zero when it was read
}

// Lease is a leased role. It holds no password: that is known to no one but whom it was issued to.
type Lease struct {
	ID            core.SecretID `json:"id"`
	Template      string        `json:"template"`
	Role          string        `json:"role"`   // the login role
	Issuer        string        `json:"issuer"` // the role that asked for it; "" = it was dropped
	IssuedTo      string        `json:"issued_to"`
	Token         string        `json:"token"` // accessor of the token that asked for it; "" = no stored one did
	TTLSecs       int64         `json:"ttl_secs"`
	IssuedAt      time.Time     `json:"issued_at"`
	ExpiresAt     time.Time     `json:"expires_at"`
	MaxExpiresAt  time.Time     `json:"max_expires_at"`
	Ending        string        `json:"ending"` // why it ends; "" = it lasts
	Attempts      int64         `json:"attempts"`
	NextAttemptAt time.Time     `json:"next_attempt_at"` // zero = it lasts
	LastError     string        `json:"last_error"`      // why it could not be ended when that was tried; "" = it was not, or could
	Now           time.Time     `json:"-"`               // when the database answered, by its clock
	Position      core.Position `json:"-"`               // of the change that returned this; zero when it was read
}

// IssuedLease is a lease with its password, which the caller wipes.
type IssuedLease struct {
	Lease
	Password []byte
}

// Wipe overwrites the password.
func (l *IssuedLease) Wipe() { envelope.Wipe(l.Password) }

// Leases is the part of a store that keeps leased roles. What is not there, and what the caller has no say over, is NotFound.
type Leases interface {
	// IssueRole makes a login role from a template with the verifier of its password. ttl 0 = the template's. Unavailable
	// when the template can make no role now.
	IssueRole(ctx context.Context, template string, ttl time.Duration, verifier string, by Author) (Lease, error)
	RenewLease(ctx context.Context, id core.SecretID, increment time.Duration, by Author) (Lease, error)
	RevokeLease(ctx context.Context, id core.SecretID, by Author) (Lease, error)
	// ListLeases returns at most limit leases with ids after the given one, of a template or all.
	ListLeases(ctx context.Context, by Credential, template string, after core.SecretID, limit int, f Freshness) ([]Lease, Identity, error)
	// ShowLease returns one lease.
	ShowLease(ctx context.Context, by Credential, id core.SecretID, f Freshness) (Lease, Identity, error)
	// RoleTemplates returns at most limit templates with names after the given one, or the one of a name.
	RoleTemplates(ctx context.Context, by Credential, name, after string, limit int, f Freshness) ([]RoleTemplate, Identity, error)
	PutRoleTemplate(ctx context.Context, t RoleTemplate, by Author) (RoleTemplate, error)
	DeleteRoleTemplate(ctx context.Context, name string, by Author) (core.Position, error)
}

// passwordBytes are random: 192 bits, which no one guesses, whatever the verifier costs.
const passwordBytes = 24

// newPassword returns a password and its verifier.
func newPassword() (password []byte, verifier string, err error) {
	raw := make([]byte, passwordBytes)
	defer envelope.Wipe(raw)
	if _, err := rand.Read(raw); err != nil {
		return nil, "", core.Wrap(core.Internal, err, "make a password")
	}
	password = make([]byte, base64.RawURLEncoding.EncodedLen(len(raw)))
	base64.RawURLEncoding.Encode(password, raw)
	if verifier, err = scram.Verifier(password, scram.DefaultIterations, rand.Reader); err != nil {
		envelope.Wipe(password)
		return nil, "", core.Wrap(core.Internal, err, "make a password")
	}
	return password, verifier, nil
}

func (v *Vault) leases() (Leases, error) {
	if v.c.Leases == nil {
		return nil, core.Errorf(core.Unavailable, "this process has no leased roles")
	}
	return v.c.Leases, nil
}

// checkTemplateName refuses what no template is called.
func checkTemplateName(name string) error {
	if _, err := core.ParseName(name); err != nil {
		return core.Errorf(core.Invalid, "the name of a role template is formed like the name of a secret")
	}
	return nil
}

func checkLeaseTTL(d time.Duration) error {
	if d != 0 && (d < time.Second || d > MaxTokenTTL) {
		return core.Errorf(core.Invalid, "the lifetime of a lease must be between 1 and %d seconds", MaxPeriodSecs)
	}
	return nil
}

// IssueRole makes a login role from a template, with a generated password that is returned this once and stored nowhere. ttl 0
// means that of the template. It needs the right create on the template's name. Errors: Unauthenticated, Denied, Invalid,
// NotFound (no such template), Unavailable.
func (v *Vault) IssueRole(ctx context.Context, c Caller, template string, ttl time.Duration) (IssuedLease, error) {
	return changeLease(ctx, v, c, ActionLeaseIssue, template, func() error {
		if err := checkTemplateName(template); err != nil {
			return err
		}
		return checkLeaseTTL(ttl)
	}, func(ctx context.Context, store Leases, by Author) (out IssuedLease, err error) {
		password, verifier, err := newPassword()
		if err != nil {
			return out, err
		}
		out.Password = password
		out.Lease, err = store.IssueRole(ctx, template, ttl, verifier, by)
		return out, err
	})
}

// RenewLease moves the end of a lease to increment from now, within its longest lifetime; 0 = its TTL. Errors: Unauthenticated,
// Invalid, NotFound (there is none, or the caller has no say over it), Unavailable.
func (v *Vault) RenewLease(ctx context.Context, c Caller, id core.SecretID, increment time.Duration) (Lease, error) {
	return changeLease(ctx, v, c, ActionLeaseRenew, id.String(), func() error { return checkLeaseTTL(increment) },
		func(ctx context.Context, store Leases, by Author) (Lease, error) {
			return store.RenewLease(ctx, id, increment, by)
		})
}

// RevokeLease ends a lease: its role can no longer log in, and is dropped soon after. Errors as for RenewLease.
func (v *Vault) RevokeLease(ctx context.Context, c Caller, id core.SecretID) (core.Position, error) {
	return changeLease(ctx, v, c, ActionLeaseRevoke, id.String(), func() error { return nil },
		func(ctx context.Context, store Leases, by Author) (core.Position, error) {
			l, err := store.RevokeLease(ctx, id, by)
			return l.Position, err
		})
}

// changeLease runs a change of leases or templates after a check of its arguments.
func changeLease[T any](ctx context.Context, v *Vault, c Caller, action Action, name string, check func() error,
	change func(context.Context, Leases, Author) (T, error)) (T, error) {
	a := v.try(c, action, name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (out T, err error) {
		store, err := v.leases()
		if err == nil {
			err = check()
		}
		if err != nil {
			return out, a.invalid(ctx, err)
		}
		if err := a.decide(ctx, onPrimary); err != nil {
			return out, err
		}
		return change(ctx, store, a.author())
	})
}

// LeasePage is one answer of Leases.
type LeasePage struct {
	Leases []Lease
	Next   core.SecretID // "after" of the next page; zero = this was the last one
}

// Leases returns leases by id: those of the caller's role, and those of templates that it may manage or audit. template ""
// means all templates, and limit 0 DefaultPageSize. Errors: Unauthenticated, Invalid, Unavailable.
func (v *Vault) Leases(ctx context.Context, c Caller, template string, after core.SecretID, limit int) (LeasePage, error) {
	a := v.try(c, ActionLeaseList, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out LeasePage, err error) {
		limit, err := pageSize(limit)
		if err == nil && template != "" {
			err = checkTemplateName(template)
		}
		store, serr := v.leases()
		if err == nil {
			err = serr
		}
		if err != nil {
			return out, a.invalid(ctx, err)
		}
		all, who, err := store.ListLeases(ctx, a.by, template, after, limit+1, c.Freshness)
		if err := a.found(who, err); err != nil {
			return out, err
		}
		if out.Leases = all; len(all) > limit {
			out.Leases, out.Next = all[:limit], all[limit-1].ID
		}
		return out, nil
	})
}

func pageSize(limit int) (int, error) {
	if limit == 0 {
		return DefaultPageSize, nil
	}
	if limit < 1 || limit > MaxPageSize {
		return 0, core.Errorf(core.Invalid, "limit is %d, want 1 to %d", limit, MaxPageSize)
	}
	return limit, nil
}

// Lease returns a lease that the caller may see. Errors: Unauthenticated, NotFound, Unavailable.
func (v *Vault) Lease(ctx context.Context, c Caller, id core.SecretID) (Lease, error) {
	a := v.try(c, ActionLeaseList, "", 0)
	return perform(ctx, a.serve, func(ctx context.Context) (Lease, error) {
		store, err := v.leases()
		if err != nil {
			return Lease{}, a.invalid(ctx, err)
		}
		l, who, err := store.ShowLease(ctx, a.by, id, c.Freshness)
		return l, a.found(who, err)
	})
}
