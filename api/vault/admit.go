package vault

import (
	"cmp"
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
)

// serve runs an operation of a REST caller. What can be decided without the database is decided first; act has the store
// decide the rest, in the statement that reads or changes.
func (a *attempt) serve(ctx context.Context, act func(context.Context) error) error {
	return a.run(ctx, admitAll, func(ctx context.Context) error { return a.rationed(ctx, act) })
}

func admitAll(context.Context) error { return nil }

// preliminary returns an error if the caller will be refused whatever is stored: reads need an allowed client address, and
// everything else a token. An action that is not known to be a read is management, so that a forgotten one is closed.
func (v *Vault) preliminary(c Caller, by Credential, malformed error, action Action) error {
	switch {
	case action == ActionLogin:
		return nil // what it presents is in its body
	case isRead(action) && !v.allow.Load().Allows(c.Addr):
		return refuse(CauseAddress, core.Denied, "this client address is not allowed to read")
	case byWrapping(action):
		return nil // the token is in the body, or is that of the caller and no token otherwise
	case malformed != nil:
		return malformed
	case by.HasToken():
		return nil
	case !isRead(action):
		return refuse(CauseTokenMissing, core.Unauthenticated, "a token is required")
	case v.anonymousOff.Load():
		return refuse(CauseTokenMissing, core.Unauthenticated, "a token is required: VAULT_ANONYMOUS_READ is off")
	}
	return nil
}

func isRead(action Action) bool {
	switch action {
	case ActionRead, ActionVerify, ActionList, ActionDescribe, ActionStatus, ActionWatch, ActionAccess, ActionUnwrap, ActionWrapLookup:
		return true
	}
	return false
}

// Screen returns an error if the caller will be refused whatever the request says, as far as that is known without a
// query of the database: an address that may not read, no token, or none that could be one. It records nothing and
// decides nothing, but spares a transport from taking in what such a caller sends; the request then goes to Reject.
func (v *Vault) Screen(c Caller, action Action) error {
	by, _, malformed := credentialOf(c)
	return v.preliminary(c, by, malformed, action)
}

// note keeps whom the store found, for the record of the attempt.
func (a *attempt) note(i Identity) {
	if i.Actor != "" {
		a.entry.Origin.Actor, a.entry.Origin.SessionRole = i.Actor, i.Acting
	}
}

// found notes an identity and passes the error on, for calls that return both.
func (a *attempt) found(i Identity, err error) error {
	a.note(i)
	return err
}

// decide queries the store for the attempt's action and name alone, where no later statement decides. A name
// that is none is not asked about: then it is only decided who the caller is, or whether it has the right anywhere.
func (a *attempt) decide(ctx context.Context, f Freshness) error {
	right, name := RightOf(a.entry.Action), a.entry.Name
	if name == "" && ofName(right) {
		right = RightSelf
	}
	if !ofName(right) && right != "list" {
		name = ""
	}
	switch a.entry.Action {
	case ActionList:
		name = "" // it is a prefix
	case ActionGrant, ActionRevoke:
		right = RightSelf // on which pattern the right is needed is not known here
	}
	if a.issuing && a.entry.Name != "" {
		right, name = RightIssue, a.entry.Name
	}
	i, err := a.v.c.Store.Decide(ctx, a.by, right, name, f)
	a.note(i)
	if err == nil {
		err = i.Refusal(a.by, right)
	}
	return err
}

// invalid returns err, about what the request says, to a caller that has the right, and a refusal to any other.
func (a *attempt) invalid(ctx context.Context, err error) error {
	if a.by.IsItself() {
		return err
	}
	return cmp.Or(a.decide(ctx, Freshness{}), err)
}

// author is who makes the attempt's change.
func (a *attempt) author() Author { return Author{Origin: a.entry.Origin, By: a.by} }

// onPrimary is the freshness of a decision about a change.
var onPrimary = Freshness{Primary: true}

// Reject settles a request that its transport could not decode. The caller is decided about first, so that one without
// the right learns only that; then cause is recorded and returned. cause must carry a core code and hold no value. It does
// so even when the client has gone, or has taken all of its time to send the request.
func (v *Vault) Reject(ctx context.Context, c Caller, action Action, name string, cause error) error {
	return v.try(c, action, name, 0).reject(ctx, cause)
}

// RejectIssue is Reject for a request about the secret ids of the login role that mount/name names.
func (v *Vault) RejectIssue(ctx context.Context, c Caller, action Action, target string, cause error) error {
	a := v.try(c, action, target, 0)
	a.issuing = true
	return a.reject(ctx, cause)
}

func (a *attempt) reject(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.v.c.RecordTimeout)
	defer cancel()
	return a.serve(ctx, func(ctx context.Context) error {
		return a.invalid(ctx, cause)
	})
}
