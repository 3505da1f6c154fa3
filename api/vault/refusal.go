package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Unrecorded returns how many requests were refused without a record of their own since the start.
func (v *Vault) Unrecorded() uint64 {
	return v.refusals.Unrecorded() + v.outright.Unrecorded() + v.overQuota.Unrecorded() + v.refusedLogins.Unrecorded()
}

// Refuse settles a request that its transport refuses for every caller, such as one from a web page. cause, a
// Denied error, is returned, and recorded as often as refusals of one network are. These have buckets of their own:
// what a page does in a user's browser must not keep that user's tools out.
func (v *Vault) Refuse(c Caller, action Action, name string, cause error) error {
	a, at := v.try(c, action, name, 0), v.c.Clock()
	if !v.outright.Take(c.Addr, at) {
		a.unrecorded = !v.outright.Notice(c.Addr, at)
	}
	err := a.settle(&refused{cause: CauseTransport, err: cause})
	if r, ok := err.(*refused); ok {
		return r.err
	}
	return err
}

// rationed runs act within the quota, unless too many requests of the caller's network were refused and the screen does
// not let the caller pass. The screen lets those pass that have a right here, so each of their requests is decided and
// each refusal recorded.
func (a *attempt) rationed(ctx context.Context, act func(context.Context) error) error {
	r, at := a.v.refusals, a.v.c.Clock()
	passed := false
	err := a.v.preliminary(a.caller, a.by, a.malformed, a.entry.Action)
	if err == nil {
		err = a.open(ctx)
	}
	if err == nil {
		if r.Empty(a.caller.Addr, at) {
			if passed = a.v.screen.Pass(ctx, a.by, a.v.c.Clock, a.v.c.Store.Passing); !passed {
				return a.tooMany()
			}
		}
		err = a.withinQuota(ctx, act)
	}
	if !isRefusal(err) && !a.allRefused {
		return err
	}
	if core.CodeOf(err) == core.Unauthenticated {
		a.v.screen.Refused(a.by, a.v.c.Clock())
	}
	if !passed && !r.Take(a.caller.Addr, at) {
		return a.tooMany()
	}
	return err
}

func (a *attempt) tooMany() error {
	a.unrecorded = !a.v.refusals.Notice(a.caller.Addr, a.v.c.Clock())
	return refuse(CauseRationed, core.TooMany, "too many requests of this client were refused")
}
