package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// existing are those of several names that have a secret, whatever became of its versions.
const existing = "SELECT n FROM unnest($1::text[]) AS n WHERE EXISTS (SELECT FROM vault.describe_secret(n))"

// ReadEach implements vault.Store.
func (d *DB) ReadEach(ctx context.Context, names []core.Name, room int, f vault.Freshness) ([]vault.StoredResult, error) {
	r := eachRead{d: d, f: f, found: make(map[string]*vault.StoredResult, len(names)), room: room, taken: map[string]int{}, read: storedResultRows()}
	missing, err := r.ask(ctx, texts(names))
	if err == nil && len(missing) > 0 {
		// A name that has a secret and no current version is corrupt, unless the secret was made between the two looks.
		missing, err = readFresh(ctx, d, f, existing, []any{missing}, pgx.RowTo[string])
	}
	if err == nil && len(missing) > 0 {
		missing, err = r.ask(ctx, missing)
	}
	if err != nil {
		return nil, err
	}
	for _, n := range missing {
		r.found[n] = &vault.StoredResult{Err: core.Errorf(core.Corrupt, "the stored value is not what it claims to be")}
	}
	out := make([]vault.StoredResult, len(names))
	for i, n := range names {
		if x := r.found[string(n)]; x != nil {
			out[i] = *x
		} else {
			out[i].Err = core.Errorf(core.NotFound, "no such secret")
		}
	}
	return out, nil
}

func texts(names []core.Name) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return out
}

// eachRead gathers the rows of one ReadEach.
type eachRead struct {
	d     *DB
	f     vault.Freshness
	found map[string]*vault.StoredResult
	read  pgx.RowToFunc[storedResult]
	room  int
	taken map[string]int // bytes of ciphertext of a name; by name, because a query that failed half-way is asked again
	total int
}

// ask looks for names and returns those that have no row.
func (r *eachRead) ask(ctx context.Context, names []string) (missing []string, err error) {
	rows, err := askEach(ctx, names, func(ctx context.Context, some []string) ([]storedResult, error) {
		return readFresh(ctx, r.d, r.f, readSealed, []any{some, nil}, r.row)
	})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		name := string(rows[i].Name)
		x := &vault.StoredResult{StoredValue: rows[i].StoredValue, Err: rows[i].err}
		if r.found[name] != nil {
			x.Err = core.Errorf(core.Corrupt, "the name is stored more than once")
		}
		if x.Err != nil {
			x.StoredValue = vault.StoredValue{}
		}
		r.found[name] = x
	}
	for _, n := range names {
		if r.found[n] == nil {
			missing = append(missing, n)
		}
	}
	return missing, nil
}

// row keeps no ciphertext beyond the room there is: rows arrive one by one.
func (r *eachRead) row(from pgx.CollectableRow) (storedResult, error) {
	s, err := r.read(from)
	if err != nil || s.err != nil {
		return s, err
	}
	name, n := string(s.Name), len(s.Sealed.Ciphertext)
	r.total -= r.taken[name]
	r.taken[name] = 0
	if r.total+n > r.room {
		return storedResult{StoredValue: vault.StoredValue{Name: s.Name},
			err: core.Errorf(core.TooLarge, "the values of one answer are too large together: ask for this one again")}, nil
	}
	r.total += n
	r.taken[name] = n
	return s, nil
}
