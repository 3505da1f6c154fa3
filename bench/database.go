package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Statements of the floors: what any service on this PostgreSQL would pay.
const (
	selectSQL = "SELECT value FROM bench.floor WHERE id = $1"
	insertSQL = "INSERT INTO bench.floor_log (value) VALUES ($1)"
)

// poolConns is as large as the API's pool for reads.
const poolConns = 16

// setup is run statement by statement; vault_bench is the role that the SQL functions are called as.
var setup = []string{
	`CREATE SCHEMA IF NOT EXISTS bench`,
	`CREATE TABLE IF NOT EXISTS bench.floor (id bigint PRIMARY KEY, value text NOT NULL)`,
	`INSERT INTO bench.floor SELECT i, repeat('v', 32) FROM generate_series(1, 10000) i ON CONFLICT DO NOTHING`,
	`CREATE TABLE IF NOT EXISTS bench.floor_log (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text NOT NULL)`,
	`DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vault_bench') THEN CREATE ROLE vault_bench; END IF;
	END $$`,
	`SELECT vault.grant_access('vault_bench', 'bench/*', '{create,read,update,rotate}')`,
	`VACUUM ANALYZE bench.floor`,
}

// database is the SQL side. Its pool serves the gin floor; each SQL worker has a connection of its own.
type database struct {
	config  *pgx.ConnConfig
	pool    *pgxpool.Pool
	secrets int
	value   string
	next    atomic.Int64
}

func openDatabase(ctx context.Context, o options) (*database, error) {
	config, err := pgxpool.ParseConfig(o.dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolConns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &database{config: config.ConnConfig, pool: pool, secrets: o.secrets, value: strings.Repeat("s", o.valueLen)}
	for _, statement := range setup {
		if _, err := pool.Exec(ctx, statement); err != nil {
			pool.Close()
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	return db, nil
}

func (db *database) close() { db.pool.Close() }

// statement makes one worker of one statement; args gives the arguments of each call, app says whether it runs as
// the role with grants instead of the superuser.
func (db *database) statement(sql string, app bool, args func() []any) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		conn, err := pgx.ConnectConfig(ctx, db.config.Copy())
		if err != nil {
			return nil, nil, err
		}
		if app {
			if _, err := conn.Exec(ctx, "SET ROLE vault_bench"); err != nil {
				return nil, nil, err
			}
		}
		// One connection runs one statement; prepared by pgx at its first use.
		op := func() error { _, err := conn.Exec(ctx, sql, args()...); return err }
		return op, func() { conn.Close(context.WithoutCancel(ctx)) }, nil
	}
}

func (db *database) selecters(n int) []worker {
	return repeat(n, func(int) worker {
		return db.statement(selectSQL, false, func() []any { return []any{1 + db.next.Add(1)%10000} })
	})
}

func (db *database) inserters(n int) []worker {
	return repeat(n, func(int) worker {
		return db.statement(insertSQL, false, func() []any { return []any{db.value} })
	})
}

func (db *database) creators(n int) []worker {
	return repeat(n, func(int) worker {
		return db.statement("SELECT vault.create_secret($1, $2::text)", true, func() []any {
			return []any{fmt.Sprintf("bench/%s/sql/%d", runName, db.next.Add(1)), db.value}
		})
	})
}

// updaters change one secret each, so that they measure updates and not waiting for each other's row.
func (db *database) updaters(n int) []worker {
	return repeat(n, func(i int) worker {
		return db.statement("SELECT vault.update_secret($1, $2::text, NULL)", true, func() []any {
			return []any{secretName(int64(i % db.secrets)), db.value}
		})
	})
}
