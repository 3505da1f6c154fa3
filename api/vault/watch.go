package vault

import (
	"context"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// maxChanges is how many changes one call returns at most.
const maxChanges = 1000

// Status returns counts of secrets and rotations. It needs an allowed client address. Errors: Denied, Unavailable.
func (v *Vault) Status(ctx context.Context, c Caller) (Status, error) {
	a := v.try(c, ActionStatus, "", 0)
	var out Status
	err := a.run(ctx, a.admit(c), func(ctx context.Context) (err error) {
		out, err = v.c.Store.Status(ctx)
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if journal, ok := v.c.Recorder.(Journal); ok {
		state := journal.AuditState()
		out.Audit = &state
	}
	return out, nil
}

// Watch follows the changes of the names below a prefix. Not safe for concurrent use.
type Watch struct {
	v      *Vault
	prefix string
	place  Place
}

// Watch starts after a place, or with what is still to come if after is nil. It needs an allowed client address, and
// is recorded once, as what it can show: names, versions and times below the prefix. Errors: Denied, Invalid,
// Unavailable.
func (v *Vault) Watch(ctx context.Context, c Caller, prefix string, after *Place) (*Watch, error) {
	a := v.try(c, ActionWatch, prefix, 0)
	w := &Watch{v: v}
	err := a.run(ctx, a.admit(c), func(ctx context.Context) (err error) {
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

// Next returns the changes since the last call, in their order: each once, also those committed late. None is no
// error. More tells that there may be more at once. Errors: Unavailable.
func (w *Watch) Next(ctx context.Context) (changes []Change, more bool, err error) {
	all, err := w.v.c.Store.ChangesSince(ctx, w.place, maxChanges)
	if err != nil {
		return nil, false, err
	}
	for _, c := range all {
		w.place = c.Place
		if strings.HasPrefix(string(c.Name), w.prefix) {
			changes = append(changes, c)
		}
	}
	return changes, len(all) == maxChanges, nil
}

// Place returns where the watch has come to.
func (w *Watch) Place() Place { return w.place }
