package vault

import (
	"context"
	"net/netip"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// MaxUnwrap is how many keys one UnwrapForSQL may ask for.
	MaxUnwrap = 64
	// MaxReadEach is how many secrets one ReadEachForSQL may read.
	MaxReadEach = 1024
)

// SQLGenerate asks for a new data key for a version a backend is about to seal.
type SQLGenerate struct {
	Action  Action // ActionCreate, ActionUpdate or ActionRotate; "" = by the version
	Name    string // for the record of a failure; "" where it is not known
	ID      core.SecretID
	Version uint64
}

// VersionedKey is the wrapped key of one version.
type VersionedKey struct {
	Version uint64
	WrappedKey
}

// SQLUnwrap asks for the keys of a read (exactly one), a verify (1 to MaxUnwrap), or a rotation that keeps a part of
// the current value (exactly one).
type SQLUnwrap struct {
	Action Action // ActionRead, ActionVerify or ActionRotate
	Name   string
	ID     core.SecretID
	Keys   []VersionedKey
}

// SQLAttempt is an attempt that the backend itself refused or failed, or a list
// or a read of the audit, which need no key and so come to their record only this way.
type SQLAttempt struct {
	Action  Action
	Name    string
	Version uint64
	Outcome Outcome   // OutcomeDenied or OutcomeFailed; OutcomeOK for ActionList and ActionAudit
	Code    core.Code // "" for OutcomeOK alone
}

// GenerateForSQL returns a new data key bound to the secret and version. The
// caller wipes it. Success is not recorded here: the change that uses the key
// records itself in its own transaction. Errors: Denied, Invalid, Unavailable.
func (v *Vault) GenerateForSQL(ctx context.Context, c SQLCaller, g SQLGenerate) (DataKey, error) {
	if g.Action == "" {
		g.Action = ActionUpdate
		if g.Version == 1 {
			g.Action = ActionCreate
		}
	}
	a := v.trySQL(c, g.Action, g.Name, g.Version)
	a.change = true
	var key DataKey
	err := a.run(ctx, a.admitSQL(c), func(ctx context.Context) (err error) {
		switch {
		case g.Version == 0:
			return core.Errorf(core.Invalid, "a data key needs a version")
		case g.Action != ActionCreate && g.Action != ActionUpdate && g.Action != ActionRotate:
			return core.Errorf(core.Invalid, "a data key is for a create, an update or a rotate")
		}
		b := envelope.Binding{ID: g.ID, Version: g.Version}
		key, err = v.generate(ctx, b.KMSContext())
		return err
	})
	if err != nil {
		envelope.Wipe(key.Plain)
		return DataKey{}, err
	}
	return key, nil
}

// UnwrapForSQL returns the plain keys in the order asked, after the read or the
// verify they are for has been recorded: a backend that has a key can open what
// it holds. The caller wipes them. Errors: Denied, Invalid, Corrupt, Unavailable.
func (v *Vault) UnwrapForSQL(ctx context.Context, c SQLCaller, u SQLUnwrap) ([][]byte, error) {
	a := v.trySQL(c, u.Action, u.Name, 0)
	if u.Action != ActionVerify && len(u.Keys) == 1 {
		a.entry.Version = u.Keys[0].Version
	}
	var keys [][]byte
	done := false
	defer func() {
		if !done {
			wipeAll(keys)
		}
	}()
	err := a.run(ctx, a.admitSQL(c), func(ctx context.Context) error {
		if err := u.check(); err != nil {
			return err
		}
		for _, k := range u.Keys {
			b := envelope.Binding{ID: u.ID, Version: k.Version}
			plain, err := v.unwrap(ctx, k.WrappedKey, b.KMSContext())
			keys = append(keys, plain)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	done = true
	return keys, nil
}

func (u *SQLUnwrap) check() error {
	if _, err := core.ParseName(u.Name); err != nil {
		return err
	}
	switch {
	case (u.Action == ActionRead || u.Action == ActionRotate || u.Action == ActionBindRole || u.Action == ActionRepairRole) && len(u.Keys) == 1:
	case u.Action == ActionVerify && len(u.Keys) >= 1 && len(u.Keys) <= MaxUnwrap:
	default:
		return core.Errorf(core.Invalid, "%d keys cannot be unwrapped at once for this action", len(u.Keys))
	}
	return nil
}

// SQLItem is one secret of many that a statement reads: the key of one version, or why the backend refused the name.
type SQLItem struct {
	Name string
	Code core.Code // "" = the key is asked for
	ID   core.SecretID
	Key  VersionedKey
}

// SQLKey is the answer to one SQLItem.
type SQLKey struct {
	Plain []byte // nil unless Err is nil
	Err   error
}

// ReadEachForSQL returns the plain keys of many secrets, in the order asked. Each item gets an audit record of its own, and
// all of them are written before a key is returned. One that was refused is answered with its code. The caller wipes the
// keys. Errors of the whole: Denied, Invalid, Unavailable.
func (v *Vault) ReadEachForSQL(ctx context.Context, c SQLCaller, items []SQLItem) ([]SQLKey, error) {
	a := v.trySQL(c, ActionRead, "", 0)
	keys := make([]SQLKey, len(items))
	done := false
	defer func() {
		if !done {
			for _, k := range keys {
				envelope.Wipe(k.Plain)
			}
		}
	}()
	err := a.run(ctx, a.admitSQL(c), func(ctx context.Context) error {
		if len(items) == 0 || len(items) > MaxReadEach {
			return core.Errorf(core.Invalid, "%d secrets cannot be read at once", len(items))
		}
		v.unwrapEach(ctx, items, keys)
		for i := range items {
			e := a.entry
			e.Name, e.Version = recordable(ActionRead, items[i].Name), items[i].Key.Version
			a.each = append(a.each, e.ended(keys[i].Err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	done = true
	return keys, nil
}

// unwrapEach fills in the answers to items, several at a time. A panic of one of them is the caller's.
func (v *Vault) unwrapEach(ctx context.Context, items []SQLItem, keys []SQLKey) {
	each(len(items), func(i int) {
		if items[i].Code != "" {
			keys[i].Err = core.Errorf(items[i].Code, "")
			return
		}
		b := envelope.Binding{ID: items[i].ID, Version: items[i].Key.Version}
		plain, err := v.unwrap(ctx, items[i].Key.WrappedKey, b.KMSContext())
		if err != nil {
			envelope.Wipe(plain)
			plain = nil
		}
		keys[i] = SQLKey{Plain: plain, Err: err}
	})
}

// RecordForSQL records an attempt that the backend refused or that failed there, a list, or a read of the audit.
// Errors: Denied, Invalid, Unavailable.
func (v *Vault) RecordForSQL(ctx context.Context, c SQLCaller, t SQLAttempt) error {
	a := v.trySQL(c, t.Action, t.Name, t.Version)
	err := a.admitSQL(c)(ctx)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return a.settle(err)
	}
	a.entry.Outcome, a.entry.Code = t.Outcome, t.Code
	if err := v.record(a.entry); err != nil {
		return errUnrecorded(err)
	}
	return nil
}

func (t *SQLAttempt) check() error {
	switch t.Action {
	case ActionCreate, ActionRead, ActionUpdate, ActionDelete, ActionRotate, ActionVerify, ActionList, ActionDescribe,
		ActionDeleteVersion, ActionUndeleteVersion, ActionDestroyVersion, ActionRestore, ActionDestroy, ActionConfigure, ActionExpire, ActionGrant, ActionRevoke, ActionAudit, ActionAuditPrune,
		ActionBindRole, ActionConfigureRole, ActionUnbindRole, ActionRepairRole, ActionAuthConfigure, ActionTokenCreate, ActionTokenRenew, ActionTokenRevoke:
	default:
		return core.Errorf(core.Invalid, "that action is not an SQL caller's")
	}
	if (t.Action == ActionList || t.Action == ActionAudit) && t.Outcome == OutcomeOK && t.Code == "" {
		return nil
	}
	if t.Outcome != OutcomeDenied && t.Outcome != OutcomeFailed {
		return core.Errorf(core.Invalid, "only a refused or failed attempt is recorded this way")
	}
	if !t.Code.Known() {
		return core.Errorf(core.Invalid, "a refused or failed attempt needs a known code")
	}
	return nil
}

func (v *Vault) trySQL(c SQLCaller, action Action, name string, version uint64) *attempt {
	return &attempt{v: v, entry: Entry{Origin: originOf(v.c.Node, c), Action: action, Name: recordable(action, name), Version: version}}
}

// admitSQL refuses what is not from a backend of this process's database: its
// secrets have other keys, and its audit log is elsewhere.
func (a *attempt) admitSQL(c SQLCaller) func(context.Context) error {
	return func(context.Context) error {
		if c.Database != a.v.c.Database {
			return core.Errorf(core.Denied, "this key agent serves database %q, not %q", a.v.c.Database, c.Database)
		}
		if c.Role == "" {
			return core.Errorf(core.Denied, "the caller has no role")
		}
		_, err := parseClientAddr(c.ClientAddr)
		return err
	}
}

// parseClientAddr returns the zero Addr for "", a unix-socket client.
func parseClientAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, core.Errorf(core.Invalid, "the client address is not an IP address")
	}
	return ip.Unmap().WithZone(""), nil
}

func wipeAll(keys [][]byte) {
	for _, k := range keys {
		envelope.Wipe(k)
	}
}
