package vault

import (
	"context"
	"slices"
	"sync"
	"time"
)

// checkTimeout bounds one check: a probe of readiness needs an answer soon, also about a server that is silent.
const checkTimeout = 2 * time.Second

// Check is one part of readiness.
type Check struct {
	Name string // "reader", "writer", "keys", "supervisor", and "journal" where the Recorder is a Journal
	Err  error  // nil = ready
	// Degraded means that the part is missing and reads go on. Without the writer all of them do, and without the keys
	// those of what was read before. False when Err is nil.
	Degraded bool
	// Conditions are the names of those of the part that hold; they are explained in docs/OPERATIONS.md.
	Conditions []string
}

// Ready asks every part the door depends on, all at once, for 2 s at most. Reads need the reader and the journal, if
// the Recorder is one; then a missing writer only degrades the node. Else their records need the writer. It needs no
// right, tells nothing about secrets, and is not recorded.
func (v *Vault) Ready(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	checks := []Check{{Name: "reader"}, {Name: "writer"}, {Name: "keys"}}
	asks := []func(context.Context) error{v.c.Store.CheckReader, v.c.Store.CheckWriter, v.checkKeeper}
	journal, ok := v.c.Recorder.(Journal)
	if ok {
		checks, asks = append(checks, Check{Name: "journal"}), append(asks, journal.Check)
	}
	var asking sync.WaitGroup
	for i := range checks {
		asking.Go(func() { checks[i].Err = asks[i](ctx) })
	}
	asking.Wait()
	checks[1].Degraded = ok && checks[1].Err != nil
	if h, ok := v.c.Keeper.(Holder); ok && checks[2].Err != nil {
		checks[2].Degraded = h.Held() > 0
	}
	return v.withConditions(ctx, checks)
}

// checkKeeper also makes sure that it is known whether the keeper opens what is stored.
func (v *Vault) checkKeeper(ctx context.Context) error {
	err := v.c.Keeper.Check(ctx)
	if err == nil {
		v.refreshProof(ctx)
	}
	return err
}

// withConditions adds what conditions say to the checks of their parts: the worst of a part stands.
func (v *Vault) withConditions(ctx context.Context, checks []Check) []Check {
	checks = append(checks, Check{Name: "supervisor"})
	for _, c := range v.Conditions(ctx) {
		i := slices.IndexFunc(checks, func(x Check) bool { return x.Name == c.Part })
		if i < 0 || c.Severity == SeverityNotice {
			continue
		}
		checks[i].Conditions = append(checks[i].Conditions, c.Name)
		if x := c.check(); checks[i].Err == nil || checks[i].Degraded && !x.Degraded {
			checks[i].Err, checks[i].Degraded = x.Err, x.Degraded
		}
	}
	return checks
}
