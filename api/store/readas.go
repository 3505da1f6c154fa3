package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const readAs = `SELECT r.* FROM vault.read_as($1::bytea[], $2::inet[], $3::jsonb[], $4::integer[], $5::text[], $6::bigint) r`

// pickRead returns what asks several questions at once, each of which is decided about by itself. Questions of Itself are
// not among them.
func pickRead(questions []readQuestion, version uint64, stored storedReader) pick[readResult] {
	return func(ctx context.Context, c *pgx.Conn) (query[readResult], error) {
		old, err := isLegacy(ctx, c)
		if err != nil {
			return query[readResult]{}, err
		}
		q := query[readResult]{row: readRow(questions, stored)}
		if old {
			q.sql, q.args = legacyRead, []any{namesOf(questions), versionArg(version)}
		} else {
			q.sql, q.args = readAs, append(readArgs(questions), versionArg(version))
		}
		return q, nil
	}
}

// readArgs names each caller once.
func readArgs(questions []readQuestion) []any {
	numbers := make(map[vault.Credential]int32, 1)
	callers := make([]vault.Credential, 0, 1)
	askers := make([]int32, len(questions))
	for i, q := range questions {
		n, known := numbers[q.by]
		if !known {
			callers = append(callers, q.by)
			n = int32(len(callers))
			numbers[q.by] = n
		}
		askers[i] = n
	}
	return append(credentialColumns(callers), askers, namesOf(questions))
}

func namesOf(questions []readQuestion) []string {
	names := make([]string, len(questions))
	for i, q := range questions {
		names[i] = q.name
	}
	return names
}

// readRow reads one row of read_as.
func readRow(questions []readQuestion, stored storedReader) pgx.RowToFunc[readResult] {
	var asked int32
	var cause, actor, acting *string
	var tags []byte
	var next, due pgtype.Timestamptz
	var all []any // stored has the same targets for each row
	return func(r pgx.CollectableRow) (out readResult, err error) {
		tags = nil
		out.row, out.found, err = stored(func(targets ...any) error {
			if all == nil {
				all = append(append([]any{&asked, &cause, &actor, &acting}, targets...), &tags, &next, &due)
			}
			return r.Scan(all...)
		})
		if err != nil {
			return out, err
		}
		if asked < 1 || int(asked) > len(questions) {
			return out, core.Errorf(core.Internal, "the database answered a question that was not asked")
		}
		out.question, out.who = questions[asked-1], identityOf(cause, actor, acting)
		out.row.Tags, out.row.NextRotationAt, out.row.DeleteAt = tags, shownTime(next), shownTime(due)
		if !out.found {
			out.row = storedResult{}
		}
		return out, nil
	}
}
