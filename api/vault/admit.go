package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// admit returns the guard of the attempt's action for a REST caller: reads need
// an allowed client address, everything else an admin token. An action that is
// not known to be a read is management, so that a forgotten one is closed.
func (a *attempt) admit(c Caller) func(context.Context) error {
	if !isRead(a.entry.Action) {
		return a.bounded(c, func(ctx context.Context) error { return a.admitAdmin(ctx, c.Bearer) })
	}
	a.entry.Origin.Actor = actorReader
	if err := a.v.admitReader(c); err != nil {
		return a.bounded(c, func(context.Context) error { return err })
	}
	return func(context.Context) error { return nil }
}

func isRead(action Action) bool {
	switch action {
	case ActionRead, ActionVerify, ActionList, ActionDescribe, ActionStatus, ActionWatch:
		return true
	}
	return false
}

func (v *Vault) admitReader(c Caller) error {
	if !v.allow.Load().Allows(c.Addr) {
		return core.Errorf(core.Denied, "this client address is not allowed to read")
	}
	return nil
}

// Screen returns an error if the caller will be refused whatever the request says, as far as that is known without a
// look at the database: an address that may not read, no token, or none that could be one. It records nothing and
// decides nothing, but spares a transport from taking in what such a caller sends; the request then goes to Reject.
func (v *Vault) Screen(c Caller, action Action) error {
	if isRead(action) {
		return v.admitReader(c)
	}
	if _, err := token.Parse(string(c.Bearer)); err != nil {
		return core.Errorf(core.Unauthenticated, "an admin token is required")
	}
	return nil
}

func (a *attempt) admitAdmin(ctx context.Context, presented Bearer) error {
	if presented == "" {
		return core.Errorf(core.Unauthenticated, "an admin token is required")
	}
	name, err := a.v.authenticate(ctx, presented)
	if err != nil {
		return err
	}
	a.entry.Origin.Actor = actorToken + name
	return nil
}

// authenticate returns the name of the active token that was presented. It looks
// at every active token, so that the time taken does not tell which one matched.
func (v *Vault) authenticate(ctx context.Context, presented Bearer) (string, error) {
	// A malformed token and an unknown one get the same answer.
	t, perr := token.Parse(string(presented))
	if perr != nil {
		return "", core.Errorf(core.Unauthenticated, "the admin token is not valid")
	}
	active, err := v.c.Store.ActiveTokens(ctx)
	if err != nil {
		return "", err
	}
	found := -1
	for i := range active {
		if token.Match(active[i].Fingerprint, t) {
			found = i
		}
	}
	if found < 0 {
		return "", core.Errorf(core.Unauthenticated, "the admin token is not valid")
	}
	return active[found].Name, nil
}

// Reject settles a request that its transport could not decode. The caller is
// admitted first, so that one without the right learns only that; then cause is
// recorded and returned. cause must carry a core code and hold no value. It does
// so even when the client has gone, or has taken all of its time to send the request.
func (v *Vault) Reject(ctx context.Context, c Caller, action Action, name string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.c.RecordTimeout)
	defer cancel()
	a := v.try(c, action, name, 0)
	return a.run(ctx, a.admit(c), func(context.Context) error { return cause })
}
