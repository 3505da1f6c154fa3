package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// maxChanges is how many changes one call returns at most.
const maxChanges = 1000

// judgeEvery is the least time between two questions to the primary about one place, judgeTimeout bounds each.
// The patiences bound how long a watch waits for the primary to know a place, because a client may have made it up. The
// transaction of a true place is over as soon as the primary's standby has it. A primary that is away longer than a
// restart takes gets the clients of the readers that are behind a reset, which costs them one look.
const (
	judgeEvery              = time.Second
	judgeTimeout            = time.Second
	patienceWithTransaction = 3 * time.Second
	patienceWithPrimary     = 10 * time.Second
)

// Watch follows the changes of the names below a prefix. Not safe for concurrent use.
type Watch struct {
	v      *Vault
	by     Credential
	prefix string
	place  Place
	judged time.Time // when the primary was last asked about a place that the reader does not know
	doubt  time.Time // since when the primary could not say whether it knows the place; zero = it could
}

// Watch starts after a place, or with what is still to come if after is nil. It needs an allowed client address, and
// is recorded once, as what it can show: names, versions and times below the prefix, of secrets that the caller has a right
// on. Errors: Unauthenticated, Denied, Invalid,
// Unavailable.
func (v *Vault) Watch(ctx context.Context, c Caller, prefix string, after *Place) (*Watch, error) {
	a := v.try(c, ActionWatch, prefix, 0)
	w := &Watch{v: v, by: a.by}
	err := a.serve(ctx, func(ctx context.Context) (err error) {
		if err := a.decide(ctx, Freshness{}); err != nil {
			return err
		}
		if w.prefix, err = core.ParsePrefix(prefix); err != nil {
			return err
		}
		if after != nil {
			w.place = *after
			return nil
		}
		w.place, err = v.c.Store.LastChange(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// News is what Next returns.
type News struct {
	Changes []Change // in their order, each once
	More    bool     // there may be more at once
	// Reset: some changes after the position are no longer there, or it is not of this history, as after a
	// failover that lost it or a restore. The watch goes on from now; a follower has to read everything again.
	Reset bool
}

// Next returns the changes since the last call, also those committed late. None is no error. The right is decided again.
// Errors: Unauthenticated, Denied, Unavailable.
func (w *Watch) Next(ctx context.Context) (News, error) {
	page, _, err := w.v.c.Store.ChangesSince(ctx, w.by, w.place, maxChanges)
	if err != nil {
		return News{}, err
	}
	if !page.Known {
		return w.judge(ctx)
	}
	w.place = page.Last
	n := News{More: page.Looked == maxChanges}
	for _, c := range page.Changes {
		if core.HasPrefix(c.Name, w.prefix) {
			n.Changes = append(n.Changes, c)
		}
	}
	return n, nil
}

// judge decides about a place that the reader does not know: a standby may not have come to it yet, and the primary
// has. While the primary is away, or the transaction of the place is not over, no server can tell. Nothing is lost by
// waiting then, for a while.
func (w *Watch) judge(ctx context.Context) (News, error) {
	now := w.v.c.Clock()
	if since := now.Sub(w.judged); since >= 0 && since < judgeEvery {
		return News{}, nil
	}
	w.judged = now
	asking, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	known, err := w.v.c.Store.KnowsPlace(asking, w.place)
	switch {
	case err == nil && known == PlaceKept:
		w.doubt = time.Time{}
		return News{}, ctx.Err()
	case err != nil && core.CodeOf(err) != core.Unavailable:
		return News{}, err
	case err == nil && known == PlaceGone:
		return w.reset(ctx)
	case w.doubt.IsZero():
		w.doubt = now
	case now.Sub(w.doubt) >= patience(err):
		return w.reset(ctx)
	}
	return News{}, ctx.Err()
}

// patience returns how long a place is waited for: with err the primary could not be asked, without it the transaction
// of the place is not over there.
func patience(err error) time.Duration {
	if err != nil {
		return patienceWithPrimary
	}
	return patienceWithTransaction
}

// reset lets the watch go on from what the reader has now.
func (w *Watch) reset(ctx context.Context) (News, error) {
	place, err := w.v.c.Store.LastChange(ctx)
	if err != nil {
		return News{}, err
	}
	w.place, w.judged, w.doubt = place, time.Time{}, time.Time{}
	return News{Reset: true}, nil
}

// Place returns where the watch has come to.
func (w *Watch) Place() Place { return w.place }

// Place is where a reader of changes has come to: a change. The zero Place is before the first.
type Place struct {
	Transaction uint64
	ID          int64
	At          int64 // microseconds since 1970; another history may have given out the same numbers, at another time
}

// Knowledge is what the primary says about a place.
type Knowledge int

const (
	// PlaceGone: the place is none of this history, or changes after it were pruned.
	PlaceGone Knowledge = iota
	// PlaceKept: the change is there, and all after it.
	PlaceKept
	// PlaceOpen: the transaction that the place names is not over.
	PlaceOpen
)

// Change says that a secret was created, got a new version or was deleted.
type Change struct {
	Place   Place
	At      time.Time
	Action  Action // ActionCreate, ActionUpdate, ActionRotate or ActionDelete
	Name    core.Name
	Version uint64
}

// ChangePage is some of the changes after a place.
type ChangePage struct {
	Changes []Change // that the caller may see
	Looked  int      // how many there were, others included
	Last    Place    // of the last of these; the place that was asked about if there were none
	Known   bool     // false when the reader does not have the change of that place, or not all after it
}
