package vault

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// refusalBurst is how many refusals of one client network are looked at and recorded at once; refusalRate, how many
	// a second after that.
	refusalBurst = 60
	refusalRate  = 1
	// refusalMemory: a network that was refused nothing for so long has its whole burst again, so it can be forgotten.
	refusalMemory = refusalBurst / refusalRate * time.Second
	// maxRefusers is how many networks are told apart in one refusalMemory; all others share a burst.
	maxRefusers = 16 << 10
	// An IPv6 host has the 2^64 addresses of its link to choose from.
	bitsOfClient4, bitsOfClient6 = 32, 64
)

// refusals bounds what clients can cost that may do nothing here: each refusal is a record on the primary, its log and
// its standbys, for ever, and each token that is tried is a query. So a network has a bucket of them. Once it is empty its
// requests get TooMany, and one record in refusalMemory stands for all of those; they are counted. Safe for concurrent
// use; the zero value is ready.
type refusals struct {
	mu          sync.Mutex
	now, before map[netip.Prefix]*refuser // two generations, so that forgetting is cheap
	turned      time.Time                 // when now began
	unrecorded  uint64
	screen      tokenScreen
}

type refuser struct{ bucket, notices *rate.Limiter }

// NetworkOf returns what is taken for one client: an IPv4 address, or the link that an IPv6 address is on, without a
// zone. The zero Prefix stands for what is no address.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bitsOfClient6
	if a.Is4() {
		bits = bitsOfClient4
	}
	p, _ := a.Prefix(bits)
	return p
}

// of returns the refuser of a network; the mutex is held.
func (r *refusals) of(p netip.Prefix, at time.Time) *refuser {
	if age := at.Sub(r.turned); r.now == nil || age >= refusalMemory || age < 0 {
		r.before, r.now, r.turned = r.now, map[netip.Prefix]*refuser{}, at
	}
	if x, ok := r.now[p]; ok {
		return x
	}
	// Also one of the generation before: else each generation could be larger than the last.
	if len(r.now) >= maxRefusers && p != (netip.Prefix{}) {
		return r.of(netip.Prefix{}, at)
	}
	x, ok := r.before[p]
	if !ok {
		x = &refuser{
			bucket:  rate.NewLimiter(refusalRate, refusalBurst),
			notices: rate.NewLimiter(rate.Every(refusalMemory), 1),
		}
	}
	r.now[p] = x
	return x
}

// empty reports whether the bucket of an address is, without taking from it.
func (r *refusals) empty(a netip.Addr, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(NetworkOf(a), at).bucket.TokensAt(at) < 1
}

// take takes one refusal from the bucket of an address; false when there was none.
func (r *refusals) take(a netip.Addr, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(NetworkOf(a), at).bucket.AllowN(at, 1)
}

// notice reports whether a request that is refused without a look gets the record that stands for the others, and counts
// it if not.
func (r *refusals) notice(a netip.Addr, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of(NetworkOf(a), at).notices.AllowN(at, 1) {
		return true
	}
	r.unrecorded++
	return false
}

// Unrecorded returns how many requests were refused without a record of their own since the start.
func (v *Vault) Unrecorded() uint64 {
	return v.refusals.count() + v.outright.count() + v.overQuota.count() + v.refusedLogins.count()
}

func (r *refusals) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unrecorded
}

// Refuse settles a request that its transport refuses for every caller, such as one from a web page. cause, a
// Denied error, is returned, and recorded as often as refusals of one network are. These have buckets of their own:
// what a page does in a user's browser must not keep that user's tools out.
func (v *Vault) Refuse(ctx context.Context, c Caller, action Action, name string, cause error) error {
	a, at := v.try(c, action, name, 0), v.c.Clock()
	if !v.outright.take(c.Addr, at) {
		a.unrecorded = !v.outright.notice(c.Addr, at)
	}
	err := a.settle(ctx, &refused{cause: CauseTransport, err: cause})
	if r, ok := err.(*refused); ok {
		return r.err
	}
	return err
}

// rationed is act for callers of whose network not too many requests were refused, and for those that the screen lets
// pass: these have a right here, so that none of their requests is kept from a decision, or a refusal from its record.
func (a *attempt) rationed(act func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		r, at := &a.v.refusals, a.v.c.Clock()
		passed := false
		err := a.v.preliminary(a.caller, a.by, a.malformed, a.entry.Action)
		if err == nil {
			err = a.open(ctx)
		}
		if err == nil {
			if r.empty(a.caller.Addr, at) {
				if passed = r.screen.pass(ctx, a.by, a.v.c.Clock, a.v.c.Store.Passing); !passed {
					return a.tooMany()
				}
			}
			err = act(ctx)
		}
		if !isRefusal(err) && !a.allRefused {
			return err
		}
		if core.CodeOf(err) == core.Unauthenticated {
			r.screen.refused(a.by, a.v.c.Clock())
		}
		if !passed && !r.take(a.caller.Addr, at) {
			return a.tooMany()
		}
		return err
	}
}

func (a *attempt) tooMany() error {
	a.unrecorded = !a.v.refusals.notice(a.caller.Addr, a.v.c.Clock())
	return refuse(CauseRationed, core.TooMany, "too many requests of this client were refused")
}
