package main

import (
	"context"
	"fmt"
	"sync"
)

// Statements of the floors of reads: the row that a read opens.
const (
	sealedSQL = `SELECT v.kms_key_id, v.wrapped_dek, v.nonce, v.ciphertext FROM vault.secrets s
		JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version WHERE s.name = $1 AND s.deleted_at IS NULL`
	sealedSetSQL = `SELECT count(x.ciphertext) FROM unnest($1::text[]) n (name) CROSS JOIN LATERAL (
		SELECT v.wrapped_dek, v.nonce, v.ciphertext FROM vault.secrets s
		JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
		WHERE s.name = n.name AND s.deleted_at IS NULL OFFSET 0) x`
	readSQL = "SELECT vault.read_secret($1)"
)

// Names of the floors of reads.
const (
	floorSealed    = "floor: SQL select of a sealed row by name"
	floorSealedSet = "floor: SQL select of 1,000 sealed rows by name"
	floorConnect   = "floor: connect and select of a sealed row by name"
)

// setNames are the values of one statement that reads many.
const setNames = 1000

// setReads are reads of many values by one connection, and of one value by a new one. some returns a name, and set a thousand.
func setReads(db *database, some, set func() []any) []measurement {
	one := func(sql string, app bool) []worker {
		return repeat(1, func(int) worker { return warmed(db.statement(sql, app, set)) })
	}
	connect := func(sql string) []worker {
		return repeat(1, func(int) worker { return db.connectors(sql, some) })
	}
	return []measurement{
		{name: floorSealedSet, workers: one(sealedSetSQL, false)},
		{name: "SQL read_secret of 1,000 names in one statement", floors: []string{floorSealedSet},
			workers: one("SELECT count(vault.read_secret(n)) FROM unnest($1::text[]) n", true)},
		{name: "SQL read_secrets of 1,000 names", floors: []string{floorSealedSet},
			workers: one("SELECT count(*) FROM vault.read_secrets($1)", true)},
		{name: floorConnect, workers: connect(sealedSQL)},
		{name: "connect and read_secret", floors: []string{floorConnect}, workers: connect(readSQL)},
	}
}

// sqlReads are reads by SQL of what the REST side made: one store, two ways in. Sets are of secrets of their own.
func sqlReads(o options, db *database) []measurement {
	some := func() []any { return []any{secretName(db.next.Add(1) % int64(db.secrets))} }
	all := func(sql string, app bool) []worker {
		return repeat(o.sqlConns, func(int) worker { return db.statement(sql, app, some) })
	}
	names, list := make([]string, setNames), db.next.Add(1) // each list of measurements makes its own
	for i := range names {
		names[i] = fmt.Sprintf("bench/%s/set%d/%d", runName, list, i)
	}
	sets := setReads(db, some, func() []any { return []any{names} })
	fill := sync.OnceValue(func() error {
		_, err := db.pool.Exec(context.Background(), "SELECT count(vault.create_secret(n, $2::text)) FROM unnest($1::text[]) n", names, db.value)
		return err
	})
	for _, m := range sets {
		m.workers[0] = after(fill, m.workers[0])
	}
	return append([]measurement{
		{name: floorSelect, workers: db.selecters(o.sqlConns)},
		{name: floorSealed, workers: all(sealedSQL, false)},
		{name: "SQL read_secret", workers: all(readSQL, true), floors: []string{floorSealed, floorSelect}},
	}, sets...)
}

// after is a worker that opens once something else is done.
func after(first func() error, w worker) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		if err := first(); err != nil {
			return nil, nil, err
		}
		return w(ctx)
	}
}

// warmed is a worker that has done its operation once when it opens. A session fetches each key of a set then, which takes longer
// than the warm-up of a measurement on a slow machine.
func warmed(w worker) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		op, done, err := w(ctx)
		if err == nil {
			err = op()
		}
		return op, done, err
	}
}
