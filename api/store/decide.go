package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// decidedQuery is a read that the database decides about in the statement that reads.
type decidedQuery[T any] struct {
	by    vault.Credential
	right string // that the statement decides about
	// sql takes the fingerprint, the address and the claims before args. It has the columns cause, actor and acting before
	// those of the row, and at least one row, which has nothing but these three when there is nothing to be read.
	sql  string
	args []any
	// undecided has the columns of the row alone, and takes args alone: for Itself, and for a schema of protocol 1.
	undecided string
	// legacy, if set, is asked for another text where the schema is of protocol 1.
	legacy func() (string, error)
	// row reads the columns of the row; ok is false when there is none.
	row func(scan scanner) (out T, ok bool, err error)
}

// scanner scans the columns of a row without those of the decision.
type scanner func(targets ...any) error

// answer is one row with what was decided.
type answer[T any] struct {
	who vault.Identity
	row T
	ok  bool
}

// credentialArgs are the three arguments that say who asks.
func credentialArgs(by vault.Credential) []any {
	var fingerprint any
	if by.Fingerprint != ([32]byte{}) {
		fingerprint = by.Fingerprint[:]
	}
	return []any{fingerprint, addrArg(by.Addr), orNull(by.Claims)}
}

// decidedRead queries the reader, or whatever is fresh enough. A token that the reader does not know may be a new one: the
// primary is then asked too, so that its holder need not wait for a standby.
func decidedRead[T any](ctx context.Context, d *DB, f vault.Freshness, q decidedQuery[T]) ([]T, vault.Identity, error) {
	rows, who, err := q.split(readFresh(ctx, d, f, q.pick))
	if who.Cause != vault.CauseTokenUnknown || f.Primary {
		return rows, who, err
	}
	f.Primary = true
	if again, known, err := q.split(readFresh(ctx, d, f, q.pick)); known != (vault.Identity{}) {
		return again, known, err
	}
	return rows, who, err
}

// pick implements pick.
func (q decidedQuery[T]) pick(ctx context.Context, c *pgx.Conn) (query[answer[T]], error) {
	old, err := isLegacy(ctx, c)
	if err != nil {
		return query[answer[T]]{}, err
	}
	if !old && !q.by.IsItself() {
		return query[answer[T]]{sql: q.sql, args: append(credentialArgs(q.by), q.args...), row: q.decidedRow}, nil
	}
	sql, who, err := q.undecidedText(ctx, c, old)
	if err != nil || who.Cause != "" {
		return query[answer[T]]{answer: []answer[T]{{who: who}}}, err
	}
	return query[answer[T]]{sql: sql, args: q.args, row: func(r pgx.CollectableRow) (a answer[T], err error) {
		a.who = who
		a.row, a.ok, err = q.row(r.Scan)
		return a, err
	}}, nil
}

// undecidedText returns what to ask where the schema does not decide, and about whom this process has decided.
func (q decidedQuery[T]) undecidedText(ctx context.Context, c *pgx.Conn, old bool) (sql string, who vault.Identity, err error) {
	sql = q.undecided
	if old && q.legacy != nil {
		if sql, err = q.legacy(); err != nil {
			return "", who, err
		}
	}
	if !q.by.IsItself() {
		who, err = legacyIdentity(ctx, c, q.by, q.right)
	}
	return sql, who, err
}

func (q decidedQuery[T]) decidedRow(r pgx.CollectableRow) (a answer[T], err error) {
	var cause, actor, acting *string
	a.row, a.ok, err = q.row(func(targets ...any) error {
		return r.Scan(append([]any{&cause, &actor, &acting}, targets...)...)
	})
	a.who = identityOf(cause, actor, acting)
	return a, err
}

func identityOf(cause, actor, acting *string) vault.Identity {
	return vault.Identity{Cause: vault.Cause(orZero(cause)), Actor: orZero(actor), Acting: orZero(acting)}
}

// split parts what was decided from the rows. A refusal has no rows.
func (q decidedQuery[T]) split(all []answer[T], err error) (rows []T, who vault.Identity, _ error) {
	if err != nil {
		return nil, who, err
	}
	for _, a := range all {
		who = a.who
		if err := who.Refusal(q.by, q.right); err != nil {
			return nil, who, err
		}
		if a.ok {
			rows = append(rows, a.row)
		}
	}
	return rows, who, nil
}

const decide = "SELECT d.cause, d.actor, d.acting FROM vault.decide($1::bytea, $2::inet, $3::jsonb, $4::text, $5::text) d"

// Decide implements vault.Store.
func (d *DB) Decide(ctx context.Context, by vault.Credential, right, name string, f vault.Freshness) (vault.Identity, error) {
	ask := func(ctx context.Context, c *pgx.Conn) (q query[vault.Identity], err error) {
		old, err := isLegacy(ctx, c)
		if err != nil || old {
			who, err := legacyIdentity(ctx, c, by, right)
			return query[vault.Identity]{answer: []vault.Identity{who}}, err
		}
		return query[vault.Identity]{sql: decide, args: append(credentialArgs(by), right, orNull(name)), row: identityRow}, nil
	}
	if f == (vault.Freshness{Primary: true}) { // for a change
		if name != "" && !by.IsItself() {
			if r, err := d.decideForChange(ctx, lookQuestion{by, right, name}); err != nil || r.err == nil {
				return r.who, err
			}
		}
		return exactlyOne(readPrimaryAt(ctx, d, core.Position{}, ask))
	}
	who, err := exactlyOne(readFresh(ctx, d, f, ask))
	if err != nil || who.Cause != vault.CauseTokenUnknown || f.Primary {
		return who, err
	}
	f.Primary = true
	if known, err := exactlyOne(readFresh(ctx, d, f, ask)); err == nil {
		return known, nil
	}
	return who, nil
}

func identityRow(r pgx.CollectableRow) (vault.Identity, error) {
	var cause, actor, acting *string
	err := r.Scan(&cause, &actor, &acting)
	return identityOf(cause, actor, acting), err
}

func exactlyOne[T any](rows []T, err error) (one T, _ error) {
	if err == nil && len(rows) != 1 {
		err = errUndecided
	}
	if err != nil {
		return one, err
	}
	return rows[0], nil
}

// passing asks about all callers at once.
const passing = `SELECT a.n FROM unnest($1::bytea[], $2::inet[], $3::jsonb[]) WITH ORDINALITY AS a (f, i, c, n)
	CROSS JOIN LATERAL vault.decide(a.f, a.i, a.c, CASE WHEN a.f IS NULL AND a.c IS NULL THEN 'list' ELSE 'self' END, NULL) d
	WHERE d.cause IS NULL`

// Passing implements vault.Store. It queries the reader.
func (d *DB) Passing(ctx context.Context, callers []vault.Credential) ([]vault.Credential, error) {
	passes, err := readFresh(ctx, d, vault.Freshness{}, func(ctx context.Context, c *pgx.Conn) (query[int64], error) {
		old, err := isLegacy(ctx, c)
		if err != nil || old {
			passes, err := legacyPassing(ctx, c, callers)
			return query[int64]{answer: passes}, err
		}
		return query[int64]{sql: passing, args: credentialColumns(callers), row: pgx.RowTo[int64]}, nil
	})
	var out []vault.Credential
	for _, n := range passes {
		if n >= 1 && n <= int64(len(callers)) {
			out = append(out, callers[n-1])
		}
	}
	return out, err
}

// credentialColumns are credentialArgs of several callers, as arrays.
func credentialColumns(callers []vault.Credential) []any {
	columns := make([][]any, 3)
	for _, by := range callers {
		for i, v := range credentialArgs(by) {
			columns[i] = append(columns[i], v)
		}
	}
	return []any{columns[0], columns[1], columns[2]}
}

// causeOf returns why vault.admit() or one of its siblings has refused the caller: the detail of the error says it.
func causeOf(err error) (vault.Cause, bool) {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != stateNoPrivilege && pg.Code != stateNotAuthorized {
		return "", false
	}
	c := vault.Cause(pg.Detail)
	return c, c.Known()
}

// refusal turns the refusal of a change into what its caller is told, and passes every other error.
func refusal(by vault.Credential, right string, err error) error {
	if cause, ok := causeOf(err); ok {
		return vault.Identity{Cause: cause}.Refusal(by, right)
	}
	return err
}

// errUndecided is an answer of a schema that does not say what it decided.
var errUndecided = core.Errorf(core.Internal, "the schema did not say what it decided")
