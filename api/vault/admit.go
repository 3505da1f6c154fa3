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
	switch a.entry.Action {
	case ActionRead, ActionVerify, ActionList, ActionDescribe, ActionStatus, ActionWatch:
		return func(context.Context) error { return a.admitReader(c) }
	default:
		return func(ctx context.Context) error { return a.admitAdmin(ctx, c.Bearer) }
	}
}

func (a *attempt) admitReader(c Caller) error {
	a.entry.Origin.Actor = actorReader
	if !a.v.c.Allow.Allows(c.Addr) {
		return core.Errorf(core.Denied, "this client address is not allowed to read")
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
// recorded and returned. cause must carry a core code and hold no value.
func (v *Vault) Reject(ctx context.Context, c Caller, action Action, name string, cause error) error {
	a := v.try(c, action, name, 0)
	return a.run(ctx, a.admit(c), func(context.Context) error { return cause })
}
