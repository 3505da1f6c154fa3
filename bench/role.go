package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/scram"
)

// Names of rows that others are compared with.
const (
	rowRESTRotate = "REST rotate"
	rowSQLRotate  = "SQL rotate_secret"
	// The iterations of a new password, computed as each of the two does it.
	rowRESTVerifier = "verifier in Go"
	rowSQLVerifier  = "verifier in PostgreSQL"
)

// verifiersEach is how many verifiers one statement computes, so that the statement itself does not count.
const verifiersEach = 20

// rotating numbers the secrets that are rotated, each with a role of its own.
var rotating atomic.Int64

// roleRows measures rotations beside the same ones of secrets that are passwords of roles, and leases.
func roleRows(o options, db *database, rest *rest) []measurement {
	return []measurement{
		{name: rowRESTVerifier, workers: repeat(o.sqlConns, func(int) worker { return computeVerifier })},
		{name: rowRESTRotate, workers: rest.rotators(db, o.sqlConns, false)},
		// The promise: 1.5 times as much at most, the verifier apart.
		{name: "REST rotate with the password of a role", workers: rest.rotators(db, o.sqlConns, true), floors: []string{rowRESTRotate},
			apart: apart{rowRESTVerifier, partClient}},
		{name: rowSQLVerifier, workers: db.verifiers(o.sqlConns), each: verifiersEach},
		{name: rowSQLRotate, workers: db.rotators(o.sqlConns, false)},
		{name: "SQL rotate_secret with the password of a role", workers: db.rotators(o.sqlConns, true), floors: []string{rowSQLRotate},
			apart: apart{rowSQLVerifier, partDatabase}},
		// The promise: 200 a second.
		{name: "SQL issue_role", workers: db.issuers(o.sqlConns, 0), floors: []string{floorInsert}},
		{name: "SQL issue_role, 10000 leases before", workers: db.issuers(o.sqlConns, 10000), floors: []string{floorInsert}},
	}
}

// rotated makes a secret that can be rotated, and has it be the password of a role if so wanted.
func (db *database) rotated(ctx context.Context, bound bool) (name string, err error) {
	conn, err := pgx.ConnectConfig(ctx, db.config.Copy())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	i := rotating.Add(1)
	name = fmt.Sprintf("bench/%s/rotated/%d", runName, i)
	role := pgx.Identifier{fmt.Sprintf("bench_%s_%d", runName, i)}.Sanitize()
	statements := []string{fmt.Sprintf("SELECT vault.create_secret('%s', NULL, 'automatic', rotation_interval_secs => 86400)", name)}
	if bound {
		statements = append(statements, "CREATE ROLE "+role+" LOGIN", fmt.Sprintf("SELECT vault.bind_role('%s', '%s')", name, role))
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return "", err
		}
	}
	return name, nil
}

// benchPassword is as long as a generated value.
const benchPassword = "0123456789abcdefghijklmnopqrstuv"

// computeVerifier is a worker that makes verifiers as the API does, in this process.
func computeVerifier(context.Context) (func() error, func(), error) {
	op := func() error {
		_, err := scram.Verifier([]byte(benchPassword), scram.DefaultIterations, rand.Reader)
		return err
	}
	return op, func() {}, nil
}

// verifiers are workers that have the extension make verifiers, as a rotation does.
func (db *database) verifiers(n int) []worker {
	declare := sync.OnceValue(func() error {
		_, err := db.pool.Exec(context.Background(), "CREATE OR REPLACE FUNCTION public.bench_verifier(bytea) RETURNS text AS 'hyperion_vault', 'hv_test_verifier' LANGUAGE c VOLATILE STRICT")
		return err
	})
	return repeat(n, func(int) worker {
		return func(ctx context.Context) (func() error, func(), error) {
			if err := declare(); err != nil {
				return nil, nil, err
			}
			return db.statement("SELECT count(public.bench_verifier($1)) FROM generate_series(1, $2)", false,
				func() []any { return []any{[]byte(benchPassword), verifiersEach} })(ctx)
		}
	})
}

func (db *database) rotators(n int, bound bool) []worker {
	return repeat(n, func(int) worker {
		return func(ctx context.Context) (func() error, func(), error) {
			name, err := db.rotated(ctx, bound)
			if err != nil {
				return nil, nil, err
			}
			return db.statement("SELECT vault.rotate_secret($1)", true, func() []any { return []any{name} })(ctx)
		}
	})
}

func (r *rest) rotators(db *database, n int, bound bool) []worker {
	return repeat(n, func(int) worker {
		return func(ctx context.Context) (func() error, func(), error) {
			name, err := db.rotated(ctx, bound)
			if err != nil {
				return nil, nil, err
			}
			req := request("POST", r.addr, "/v1/secrets/"+name+"/rotate", r.token, "{}")
			return r.worker(func(c *client) error { _, err := c.do(req, http.StatusOK, nil); return err })(ctx)
		}
	})
}

// issuers issue leases from a template of this measurement, which has had some before.
func (db *database) issuers(n, before int) []worker {
	template := fmt.Sprintf("bench/%s/template/%d", runName, rotating.Add(1))
	open := sync.OnceValue(func() error { return db.openTemplate(context.Background(), template, before) })
	return repeat(n, func(int) worker {
		return func(ctx context.Context) (func() error, func(), error) {
			if err := open(); err != nil {
				return nil, nil, err
			}
			return db.statement("SELECT lease FROM vault.issue_role($1)", true, func() []any { return []any{template} })(ctx)
		}
	})
}

// openTemplate makes a template and rows of leases that were issued from it. Their roles do not exist, and they last.
func (db *database) openTemplate(ctx context.Context, template string, leases int) error {
	_, err := db.pool.Exec(ctx, "SELECT vault.create_role_template($1, '{}', max_leases => 1000000)", template)
	if err != nil || leases == 0 {
		return err
	}
	_, err = db.pool.Exec(ctx, `INSERT INTO vault.role_leases (id, template, role_name, holder, issuer, issued_to, drop_owned, ttl_secs,
			issued_at, expires_at, max_expires_at)
		SELECT pg_catalog.gen_random_uuid(), $1, 'bench_' || i, vault.hold('vault_bench'), vault.hold('vault_bench'), 'bench', false, 86400,
			now(), now() + interval '1 day', now() + interval '1 day' FROM generate_series(1, $2) i`, template, leases)
	return err
}
