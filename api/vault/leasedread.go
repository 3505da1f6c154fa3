package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// LeaseForSQL returns the plain key of a read, after that has been recorded as by UnwrapForSQL, and for how long the
// backend may keep the key; 0 = for this read only. The caller wipes the key. Errors as of UnwrapForSQL.
func (v *Vault) LeaseForSQL(ctx context.Context, c SQLCaller, u SQLUnwrap) (key []byte, lease time.Duration, err error) {
	u.Action = ActionRead
	keys, err := v.UnwrapForSQL(ctx, c, u)
	if err != nil {
		return nil, 0, err
	}
	if l, ok := v.c.Keeper.(Leaser); ok {
		b := envelope.Binding{ID: u.ID, Version: u.Keys[0].Version}
		lease = l.LeaseOf(u.Keys[0].WrappedKey, b.KMSContext())
	}
	return keys[0], lease, nil
}

// LeasedEntry returns the audit record of a read that a backend made with a leased key, on a node. It has the same form
// as the record of a read whose key the backend requested.
func LeasedEntry(node string, c SQLCaller, name string, version uint64) Entry {
	o := originOf(node, c)
	return Entry{Origin: o, Action: ActionRead, Name: recordable(ActionRead, name), Version: version, Outcome: OutcomeOK}
}

func originOf(node string, c SQLCaller) Origin {
	o := Origin{Node: node, Actor: actorRole + c.Role, SessionRole: c.SessionRole, RequestID: c.RequestID}
	o.ClientIP, _ = parseClientAddr(c.ClientAddr)
	return o
}
