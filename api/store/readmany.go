package store

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// existing are those of several names that have a secret, and whether it is known why that has no current version.
const (
	existing       = "SELECT w.name, w.deleted FROM vault.without_current($1::text[]) w"
	existingLegacy = "SELECT n, false FROM unnest($1::text[]) AS n WHERE EXISTS (SELECT FROM vault.describe_secret(n))"
)

// withoutRow is a secret that no row was found of.
type withoutRow struct {
	name    string
	deleted bool // its current version is deleted, or it has none yet
}

func pickExisting(names []string) pick[withoutRow] {
	return func(ctx context.Context, c *pgx.Conn) (query[withoutRow], error) {
		old, err := isLegacy(ctx, c)
		q := query[withoutRow]{sql: existing, args: []any{names}, row: func(r pgx.CollectableRow) (w withoutRow, err error) {
			return w, r.Scan(&w.name, &w.deleted)
		}}
		if old {
			q.sql = existingLegacy
		}
		return q, err
	}
}

// ReadEach implements vault.Store.
func (d *DB) ReadEach(ctx context.Context, by vault.Credential, names []core.Name, room int, f vault.Freshness) (
	[]vault.StoredResult, vault.Identity, error,
) {
	out, who, err := d.readEach(ctx, by, names, room, f)
	if who.Cause == vault.CauseTokenUnknown && !f.Primary {
		f.Primary = true // the token may be a new one, which the reader has not replayed
		if again, known, perr := d.readEach(ctx, by, names, room, f); known != (vault.Identity{}) {
			return again, known, perr
		}
	}
	return out, who, err
}

func (d *DB) readEach(ctx context.Context, by vault.Credential, names []core.Name, room int, f vault.Freshness) (
	[]vault.StoredResult, vault.Identity, error,
) {
	r := &eachRead{d: d, by: by, f: f, found: make(map[string]*vault.StoredResult, len(names)), room: room, taken: map[string]int{}, read: storedResults()}
	missing, err := r.query(ctx, texts(names))
	if err == nil && len(missing) > 0 {
		// A name that has a secret and no current version is corrupt, unless the secret was made between the two queries.
		missing, err = r.explain(ctx, missing)
	}
	if err == nil && len(missing) > 0 {
		missing, err = r.query(ctx, missing)
	}
	if err != nil {
		return nil, r.who, err
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
	return out, r.who, nil
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
	by    vault.Credential
	who   vault.Identity // of the caller; the cause is that of the last name that was refused, or of the token
	f     vault.Freshness
	found map[string]*vault.StoredResult
	read  storedReader
	room  int
	taken map[string]int // bytes of ciphertext of a name; by name, because a query that failed half-way is asked again
	total int
}

// query searches for names and returns those that have no row.
func (r *eachRead) query(ctx context.Context, names []string) (missing []string, err error) {
	questions := make([]readQuestion, len(names))
	for i, n := range names {
		questions[i] = readQuestion{by: r.by, name: n}
	}
	rows, err := queryEach(ctx, questions, func(ctx context.Context, some []readQuestion) ([]readResult, error) {
		return readFresh(ctx, r.d, r.f, pickRead(some, 0, r.row))
	}, failedRead)
	if err != nil {
		return nil, err
	}
	return r.gather(names, rows)
}

// explain returns those of several names without a row whose secret should have one.
func (r *eachRead) explain(ctx context.Context, names []string) (lost []string, err error) {
	found, err := readFresh(ctx, r.d, r.f, pickExisting(names))
	for _, w := range found {
		if w.deleted {
			r.found[w.name] = &vault.StoredResult{Err: core.Errorf(core.NotFound, "the secret has no current version")}
		} else {
			lost = append(lost, w.name)
		}
	}
	return lost, err
}

// gather keeps what became of each name, and returns those that have no row. The error is a refusal of all names.
func (r *eachRead) gather(names []string, rows []readResult) (missing []string, err error) {
	for i := range rows {
		name := rows[i].question.name
		if who := rows[i].who; who.Actor != "" {
			r.who = who
		}
		if r.who.Cause.OfToken() {
			return nil, r.who.Refusal(r.by, "read")
		}
		refusal := rows[i].who.Refusal(r.by, "read")
		if refusal == nil && !rows[i].found && rows[i].row.err == nil {
			continue
		}
		x := &vault.StoredResult{StoredValue: rows[i].row.StoredValue, Err: cmp.Or(refusal, rows[i].row.err)}
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
func (r *eachRead) row(scan scanner) (storedResult, bool, error) {
	s, ok, err := r.read(scan)
	if err != nil || s.err != nil || !ok {
		return s, ok, err
	}
	name, n := string(s.Name), len(s.Sealed.Ciphertext)
	r.total -= r.taken[name]
	r.taken[name] = 0
	if r.total+n > r.room {
		return storedResult{StoredValue: vault.StoredValue{Name: s.Name},
			err: core.Errorf(core.TooLarge, "the values of one answer are too large together: ask for this one again")}, true, nil
	}
	r.total += n
	r.taken[name] = n
	return s, true, nil
}
