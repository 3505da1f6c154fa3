package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// lookQuestion is who wants to change what, by which right. Changes that begin at the same moment share one query for this.
type lookQuestion struct {
	by          vault.Credential
	right, name string
}

func (q lookQuestion) of() string { return q.name }

// lookResult is who a question's caller was found to be, with the secret if it has the right and there is one.
type lookResult struct {
	question lookQuestion
	who      vault.Identity
	secret   vault.SecretResult
	found    bool
	err      error // nothing of the above is known, because of what is stored
}

func (r lookResult) answers() lookQuestion { return r.question }

// failedLook is the result of a look that the database cannot do.
func failedLook(q lookQuestion, err error) lookResult { return lookResult{question: q, err: err} }

type sharedLooks = shared[lookQuestion, lookResult]

func newSharedLooks(d *DB, bound time.Duration, connections int) *sharedLooks {
	return &sharedLooks{ask: d.queryLooks, fail: failedLook, bound: bound, most: max(1, connections/2), fits: maxBatch}
}

// queryLooks queries the primary, as a part of changes: it takes no part in the share of what clients read there.
func (d *DB) queryLooks(ctx context.Context, questions []lookQuestion) ([]lookResult, error) {
	return readPrimaryAt(ctx, d, core.Position{}, pickLooks(questions))
}

// describeForChange returns the secret that a caller wants to change, and who that is. More than one row has the name if the
// database is damaged, and none if there is no such secret.
func (d *DB) describeForChange(ctx context.Context, q lookQuestion) (rows []vault.SecretResult, who vault.Identity, err error) {
	found, err := d.share(ctx, q)
	if err != nil {
		return nil, who, err
	}
	for _, r := range found {
		if r.err != nil {
			return nil, who, r.err
		}
		who = r.who
		if err := who.Refusal(q.by, q.right); err != nil {
			return nil, who, err
		}
		if r.found {
			rows = append(rows, r.secret)
		}
	}
	return rows, who, nil
}

// decideForChange returns one of the results of a question, all of which say the same of the caller.
func (d *DB) decideForChange(ctx context.Context, q lookQuestion) (lookResult, error) {
	found, err := d.share(ctx, q)
	if err != nil {
		return lookResult{}, err
	}
	return found[0], nil
}

// share returns one result or more.
func (d *DB) share(ctx context.Context, q lookQuestion) ([]lookResult, error) {
	found, err := d.looks.get(ctx, q)
	if err == nil && len(found) == 0 {
		err = errUndecided
	}
	return found, d.classify(d.explain(err))
}

// describeUndecided is describeForChange for the process itself, which no schema decides about.
func (d *DB) describeUndecided(ctx context.Context, q lookQuestion) ([]vault.SecretResult, vault.Identity, error) {
	asked := describeQuestion(q.by, q.right, core.Name(q.name))
	return asked.split(readPrimaryAt(ctx, d, core.Position{}, asked.pick))
}

const lookAs = `SELECT l.asked, l.cause, l.actor, l.acting, l.next_role, l.iterations, (l.state).*
	FROM vault.look_as($1::bytea[], $2::inet[], $3::jsonb[], $4::text[], $5::text[]) l`

func pickLooks(questions []lookQuestion) pick[lookResult] {
	return func(ctx context.Context, c *pgx.Conn) (query[lookResult], error) {
		old, err := isLegacy(ctx, c)
		if err != nil || old {
			rows, err := legacyLooks(ctx, c, questions, err)
			return query[lookResult]{answer: rows}, err
		}
		return query[lookResult]{sql: lookAs, args: argsOfLooks(questions), row: rowOfLook(questions)}, nil
	}
}

func argsOfLooks(questions []lookQuestion) []any {
	callers := make([]vault.Credential, len(questions))
	rights, names := make([]string, len(questions)), make([]string, len(questions))
	for i, q := range questions {
		callers[i], rights[i], names[i] = q.by, q.right, q.name
	}
	return append(credentialColumns(callers), rights, names)
}

func rowOfLook(questions []lookQuestion) pgx.RowToFunc[lookResult] {
	return func(r pgx.CollectableRow) (out lookResult, err error) {
		var asked int32
		var cause, actor, acting, role *string
		var iterations *int
		out.secret, out.found, err = secretState(func(targets ...any) error {
			return r.Scan(append([]any{&asked, &cause, &actor, &acting, &role, &iterations}, targets...)...)
		})
		if err != nil {
			return out, err
		}
		if asked < 1 || int(asked) > len(questions) {
			return out, core.Errorf(core.Internal, "the database answered a question that was not asked")
		}
		out.question, out.who = questions[asked-1], identityOf(cause, actor, acting)
		if role != nil && iterations != nil {
			out.secret.NextRole = nextRole(*role, *iterations)
		}
		return out, nil
	}
}

// legacyLooks asks a schema that does not decide, question by question.
func legacyLooks(ctx context.Context, c *pgx.Conn, questions []lookQuestion, err error) ([]lookResult, error) {
	var out []lookResult
	for _, q := range questions {
		if err != nil {
			return nil, err
		}
		r := lookResult{question: q}
		if r.who, err = legacyIdentity(ctx, c, q.by, q.right); err == nil && r.who.Cause == "" {
			err = legacyLook(ctx, c, &r)
		}
		out = append(out, r)
	}
	return out, err
}

func legacyLook(ctx context.Context, c *pgx.Conn, r *lookResult) error {
	rows, err := c.Query(ctx, describeLegacy, r.question.name)
	if err != nil {
		return err
	}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (_ struct{}, err error) {
		r.secret, r.found, err = secretState(row.Scan)
		return struct{}{}, err
	})
	return err
}
