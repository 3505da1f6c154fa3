package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
)

// query is one statement that reads.
type query[T any] struct {
	sql  string
	args []any
	row  pgx.RowToFunc[T]
	// answer, if it is not nil, is known without asking.
	answer []T
}

// pick returns what to ask on a connection, which may depend on the schema there.
type pick[T any] func(ctx context.Context, c *pgx.Conn) (query[T], error)

// plain returns a pick of the same statement on every connection.
func plain[T any](sql string, args []any, row pgx.RowToFunc[T]) pick[T] {
	return func(context.Context, *pgx.Conn) (query[T], error) {
		return query[T]{sql: sql, args: args, row: row}, nil
	}
}

// query runs it on one connection of a pool.
func (p pick[T]) query(ctx context.Context, from *pgcluster.Pool, c *pgx.Conn) ([]T, error) {
	q, err := p(ctx, c)
	if err != nil || q.answer != nil {
		return q.answer, err
	}
	return pgcluster.QueryOn(ctx, from, c, q.sql, q.args, q.row)
}
