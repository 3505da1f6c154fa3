// Command bench measures what the vault costs: secrets read and written per second by REST and by SQL, beside the
// floors they stand on, measured in the same run on the same machine. A rate says little on a shared
// machine; the ratio to its floor says how much of it the vault takes.
//
// It wants a running API and the PostgreSQL behind it on this machine (scripts/bench.sh starts fresh ones) and takes
// them by flags; PG* variables mean what they mean to libpq. The load comes from this process and shares the machine's
// cores with the servers: reads are driven by one thread that writes prepared requests to plain sockets. What reads
// are compared to is served by a second process of this program. It never runs against a vault that holds anything of
// value: what it makes stays there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = start(ctx, o, os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// start does what the flags ask for.
func start(ctx context.Context, o options, args []string) error {
	switch {
	case o.serve:
		return serve(ctx, o)
	case o.compare != nil:
		return compare(os.Stdout, o.compare[0], o.compare[1])
	case o.fillSecrets > 0 || o.fillAudit > 0:
		return fillVault(ctx, o)
	}
	return run(ctx, o, args)
}

// run measures everything and prints one table.
func run(ctx context.Context, o options, args []string) (err error) {
	db, err := openDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer db.close()
	rest, err := newREST(ctx, o)
	if err != nil {
		return err
	}
	beside, err := startServed(ctx, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, beside.close()) }()
	list := measurements
	if o.filled > 0 {
		list = scaleMeasurements
	}
	cpu, err := newCPUMeter(ctx, db, o.addr, beside.cmd.Process.Pid)
	if err != nil {
		return err
	}
	var t table
	for range o.runs {
		rows, err := measureAll(ctx, o, list(o, db, rest, beside), cpu)
		if err != nil {
			return err
		}
		t.runs = append(t.runs, rows)
	}
	return t.report(o)
}

// report shows the table, or what the flags ask for instead, and fails if it says nothing.
func (t table) report(o options) error {
	var err error
	switch {
	case o.save != "":
		err = t.save(o.save)
	case o.record != "":
		err = t.record(o.record)
	case o.guard != "":
		err = t.guard(os.Stdout, o.guard)
	default:
		err = t.write(os.Stdout, o)
	}
	if err == nil && !o.anyway {
		err = busy(t.foreign())
	}
	return err
}

// measureAll makes the measurements that were asked for, once each.
func measureAll(ctx context.Context, o options, all []measurement, cpu *cpuMeter) (rows []row, err error) {
	for _, m := range all {
		if !o.rows.MatchString(m.name) {
			continue
		}
		r, err := measure(ctx, o.duration, m, cpu.times)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, errors.New("-rows names no measurement")
	}
	return rows, nil
}

// restConns are the numbers of connections that REST reads are measured with.
var restConns = []int{1, 32, 128}

// batchNames are the names of one batch-read.
const batchNames = 64

// restReads measures reads beside what they stand on, at several numbers of connections.
func restReads(o options, rest *rest, beside *served) (all []measurement) {
	for _, n := range restConns {
		at := func(name string) string { return fmt.Sprintf("%s, %d conns", name, n) }
		floors := []string{at(floorGin), at(floorGinSelect)}
		all = append(all,
			measurement{name: floors[0], load: cycle(beside.gin, n, [][]byte{request("GET", beside.gin, "/fixed", "", "")})},
			measurement{name: floors[1], load: cycle(beside.gin, n, [][]byte{request("GET", beside.gin, "/select", "", "")})},
			measurement{name: at("REST read"), load: reads(o.addr, runName, "", o.secrets, n), floors: floors},
			// The promise: without a token a read is at most 1.1 times as fast, so this is 0.91 of that or more.
			measurement{name: at("REST read with a token"), load: reads(o.addr, runName, rest.token, o.secrets, n), floors: []string{at("REST read")}},
			// The promise: at most 1.15 of the same read by our own route.
			measurement{name: at("KV read with a token"), load: kvReads(o.addr, runName, rest.token, o.secrets, n), floors: []string{at("REST read with a token")}},
			// The promise: a thousand a second.
			measurement{name: at("JWT login, batch token"), load: rest.logins(n), floors: floors},
			measurement{name: at("REST read, no audit"), load: reads(beside.bare, beside.run, "", o.secrets, n), floors: floors},
		)
	}
	for _, n := range restConns[:2] {
		at := func(name string) string { return fmt.Sprintf("%s, %d conns", name, n) }
		floors := []string{at(floorGin), at(floorGinSelect)}
		all = append(all,
			measurement{name: at("REST batch-read, names"), load: batchReads(o.addr, runName, o.secrets, n, batchNames),
				each: batchNames, floors: floors},
			measurement{name: at("REST batch-read, no audit, names"), load: batchReads(beside.bare, beside.run, o.secrets, n, batchNames),
				each: batchNames, floors: floors},
		)
	}
	return all
}

// measurements is the whole list: floors first, each followed by what stands on it.
func measurements(o options, db *database, rest *rest, beside *served) []measurement {
	return slices.Concat(restReads(o, rest, beside), []measurement{
		{name: floorInsertREST, workers: db.inserters(o.conns)},
		{name: "REST create", workers: rest.creators(o.conns), floors: []string{floorInsertREST}},
		{name: "REST update", workers: rest.updaters(o.conns), floors: []string{floorInsertREST}},
	}, sqlReads(o, db), []measurement{
		{name: floorInsert, workers: db.inserters(o.sqlConns)},
		{name: "SQL create_secret", workers: db.creators(o.sqlConns), floors: []string{floorInsert}},
		{name: "SQL update_secret", workers: db.updaters(o.sqlConns), floors: []string{floorInsert}},
	}, roleRows(o, db, rest))
}

// floorPrefix begins the name of each floor.
const floorPrefix = "floor: "

// Names of the floors.
const (
	floorGin        = "floor: gin, fixed answer"
	floorGinSelect  = "floor: gin + one pgx select by key"
	floorInsertREST = "floor: SQL insert, commit (REST conns)"
	floorSelect     = "floor: SQL select by key"
	floorInsert     = "floor: SQL insert, commit"
)
