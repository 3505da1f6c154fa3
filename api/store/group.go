package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// groupFits is how many changes share a transaction at most.
	groupFits = 64
	// groupedBytes is the longest sealed value that is changed together with others, which bounds the size of a statement.
	groupedBytes = 16 << 10
	// groupPatience is how long a change waits for a transaction to begin before it is sent alone.
	groupPatience = 250 * time.Millisecond
)

// groupable is a change of one secret that a group may make.
type groupable interface {
	secretName() core.Name
	fits() bool // in a group
}

// groupKind is one statement that makes several changes of a kind. For each it calls a function that waits for no other
// transaction, and does nothing and returns null if it cannot make the change at once.
type groupKind[C groupable] struct {
	// sql returns the number of each change, from 1, and the columns of its row.
	sql  string
	args func(changes []C) []any
	// row reads the columns of one row; ok is false where nothing was done.
	row func(scan scanner) (s vault.SecretResult, ok bool, err error)
}

// groups makes changes of one kind that wait at the same moment in one transaction each. No group waits for a row that
// others have locked, and none starts with a change that a statement of its own has to make, or to refuse.
type groups[C groupable] struct {
	shared[*groupMember[C], groupResult[C]]
	d    *DB
	kind groupKind[C]
}

// groupMember is a change that waits for its group.
type groupMember[C groupable] struct{ change C }

func (m *groupMember[C]) of() string { return string(m.change.secretName()) }

// groupResult is what became of a change in its group.
type groupResult[C groupable] struct {
	member *groupMember[C]
	made   vault.Secret
	at     core.Position
	fate   fate
	err    error
}

func (r groupResult[C]) answers() *groupMember[C] { return r.member }

func newGroups[C groupable](d *DB, kind groupKind[C], bound time.Duration, most int) *groups[C] {
	g := &groups[C]{d: d, kind: kind}
	g.ask, g.fail = g.make, func(m *groupMember[C], err error) groupResult[C] {
		return groupResult[C]{member: m, fate: unknown, err: err}
	}
	g.bound, g.most, g.fits, g.patience = bound, max(1, most), groupFits, groupPatience
	return g
}

// maker returns what makes a change in a group, nil if it has to be sent alone.
func (g *groups[C]) maker(c C) func(context.Context) (vault.Secret, core.Position, fate, error) {
	if !c.fits() {
		return nil
	}
	return func(ctx context.Context) (s vault.Secret, at core.Position, f fate, err error) {
		found, err := g.get(ctx, &groupMember[C]{change: c})
		switch {
		case errors.Is(err, errUnasked):
			return s, at, declined, nil
		case err != nil:
			return s, at, unknown, err
		case len(found) != 1:
			return s, at, unknown, errUndecided
		}
		return found[0].made, found[0].at, found[0].fate, found[0].err
	}
}

// make makes changes in one transaction. If what one of them does fails, nothing is done, and each half of them is made in a
// transaction of its own. So the others of a group do not all suffer from one.
func (g *groups[C]) make(ctx context.Context, members []*groupMember[C]) ([]groupResult[C], error) {
	results, f, err := g.send(ctx, members)
	switch {
	case f == done:
		return results, nil
	case f != refused:
		return all(members, f, err), nil
	case len(members) == 1 || !ofOneRow(g.d.classify(err)):
		return all(members, declined, nil), nil
	}
	first, _ := g.make(ctx, members[:len(members)/2])
	second, _ := g.make(ctx, members[len(members)/2:])
	return append(first, second...), nil
}

func all[C groupable](members []*groupMember[C], f fate, err error) (out []groupResult[C]) {
	for _, m := range members {
		out = append(out, groupResult[C]{member: m, fate: f, err: err})
	}
	return out
}

// send sends changes in one statement, which is a transaction.
func (g *groups[C]) send(ctx context.Context, members []*groupMember[C]) ([]groupResult[C], fate, error) {
	var at core.Position
	changes := make([]C, len(members))
	for i, m := range members {
		changes[i] = m.change
	}
	results, f, err := send(ctx, g.d.writer, change[[]groupResult[C]]{
		at: &at,
		text: func(legacy bool) (string, []any, error) {
			if legacy {
				return "", nil, errLegacy()
			}
			return g.kind.sql, g.kind.args(changes), nil
		},
		collect: func(rows pgx.Rows) ([]groupResult[C], error) { return g.collect(rows, members) },
	})
	for i := range results {
		results[i].at = at
	}
	return results, f, err
}

func (g *groups[C]) collect(rows pgx.Rows, members []*groupMember[C]) ([]groupResult[C], error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (out groupResult[C], err error) {
		var asked int32
		s, ok, err := g.kind.row(func(targets ...any) error { return r.Scan(append([]any{&asked}, targets...)...) })
		switch {
		case err != nil:
			return out, err
		case asked < 1 || int(asked) > len(members):
			return out, errUndecided
		}
		out.member = members[asked-1]
		switch {
		case !ok:
			out.fate = declined
		case s.Err != nil:
			out.fate, out.err = unknown, s.Err // as of any answer that cannot be read
		default:
			out.made = s.Secret
		}
		return out, nil
	})
}
