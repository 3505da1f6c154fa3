package vault

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// SessionPolicy says what becomes of the sessions of a former password when its grace ends.
type SessionPolicy struct {
	Name        string // "ignore", "wait" (the login of a retiring role is prolonged) or "terminate"; "" = ignore, or as it is
	MaxWaitSecs int64  // how long wait waits at most; 0 = an hour, or as it is
}

func (p SessionPolicy) check() error {
	switch {
	case !slices.Contains([]string{"", "ignore", "wait", "terminate"}, p.Name):
		return core.Errorf(core.Invalid, "session_policy must be ignore, wait or terminate")
	case p.MaxWaitSecs < 0 || p.MaxWaitSecs > 31536000:
		return core.Errorf(core.Invalid, "max_wait_secs must be between 1 and 31536000")
	}
	return nil
}

// RoleOptions are what can be changed of a binding.
type RoleOptions struct {
	Sessions   SessionPolicy // with zero values for what stays
	AutoRepair *bool         // nil = as it is
}

// RoleSession is a session of a role whose password a secret is. It has no query.
type RoleSession struct {
	PID             int32      `json:"pid"`
	Role            string     `json:"role"`
	Database        string     `json:"database"` // "" = none, as of a replication connection
	ApplicationName string     `json:"application_name"`
	ClientAddr      netip.Addr `json:"client_addr"` // invalid = a Unix socket
	StartedAt       time.Time  `json:"started_at"`
	State           string     `json:"state"`      // as pg_stat_activity has it; "" = unknown
	Credential      string     `json:"credential"` // "current" or "former"
	EndsAt          *time.Time `json:"ends_at"`    // of the grace of a former one; nil = none, or not known yet
	Fate            string     `json:"fate"`       // "stays", "ends", "superuser", or the state of a role that is not what it was
}

// ConfigureRole changes how the roles of a bound secret are treated. It needs the right update on the name. Errors:
// Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) ConfigureRole(ctx context.Context, c Caller, name string, o RoleOptions) (core.Position, error) {
	a := v.try(c, ActionConfigureRole, name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (at core.Position, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return at, err
		}
		if err := o.Sessions.check(); err != nil {
			return at, a.invalid(ctx, err)
		}
		err = a.onPresent(ctx, n, AnyVersion, func(s Secret, _ error) (err error) {
			at, err = v.c.Store.ConfigureRole(ctx, s.ID, s.Name, o, a.author())
			return err
		})
		return at, err
	})
}

// RoleSessions lists the sessions of the roles of a bound secret, on the server that this node reads from. It needs the right
// rotate on the name. Errors: Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) RoleSessions(ctx context.Context, c Caller, name string) ([]RoleSession, error) {
	a := v.try(c, ActionSessionList, name, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out []RoleSession, err error) {
		n, err := a.parseName(ctx, name)
		if err != nil {
			return out, err
		}
		var i Identity
		out, i, err = v.c.Store.RoleSessions(ctx, a.by, n, c.Freshness)
		return out, a.found(i, err)
	})
}
