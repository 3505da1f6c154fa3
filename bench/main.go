// Command bench measures what the vault costs: secrets read and written per second by REST and by SQL, beside the
// floors they stand on, measured in the same run on the same machine. A rate says little on a machine nobody else
// has; the ratio to its floor says how much of it the vault takes.
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
	"regexp"
	"strings"
	"time"
)

// options is what the flags say.
type options struct {
	addr      string // host:port of the API
	tokenFile string // holds an admin token
	keyFile   string // holds the local master key of the API, in base64
	dsn       string // connection string of a superuser; empty means PG* variables
	duration  time.Duration
	conns     int            // REST connections
	sqlConns  int            // SQL connections
	secrets   int            // secrets that reads choose among
	valueLen  int            // bytes of a value
	runs      int            // how often the whole list is measured
	rows      *regexp.Regexp // names of the rows to measure; floors of theirs that are left out give no ratio
	serve     bool           // be the second process
}

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

func parse(args []string) (options, error) {
	var o options
	var secs float64
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.addr, "addr", "127.0.0.1:8200", "host:port of the API")
	f.StringVar(&o.tokenFile, "token-file", "", "file with an admin token")
	f.StringVar(&o.keyFile, "key-file", "", "file with the API's local master key, in base64")
	f.StringVar(&o.dsn, "dsn", "", "connection string of a superuser; empty uses PGHOST and its siblings")
	f.Float64Var(&secs, "seconds", 3, "length of each measurement")
	f.IntVar(&o.conns, "conns", 32, "REST connections")
	f.IntVar(&o.sqlConns, "sql-conns", 8, "SQL connections")
	f.IntVar(&o.secrets, "secrets", 256, "secrets that reads choose among")
	f.IntVar(&o.valueLen, "value-bytes", 32, "bytes of a value")
	f.IntVar(&o.runs, "runs", 1, "how often the whole list is measured; the table has the medians")
	rows := f.String("rows", "", "regular expression of the rows to measure; empty measures all")
	f.BoolVar(&o.serve, "serve", false, "be the second process: the gin floors and the vault without an audit")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, err
	}
	o.duration = time.Duration(secs * float64(time.Second))
	o.addr = strings.TrimPrefix(o.addr, "http://")
	if f.NArg() > 0 || o.duration <= 0 || o.conns < 1 || o.sqlConns < 1 || o.secrets < 1 || o.valueLen < 1 || o.runs < 1 {
		return o, errors.New("want positive numbers and no arguments; -help lists the flags")
	}
	if o.secrets < max(o.conns, o.sqlConns) {
		return o, errors.New("-secrets must not be less than the connections: each changes a secret of its own")
	}
	if o.tokenFile == "" || o.keyFile == "" {
		return o, errors.New("-token-file and -key-file are needed")
	}
	return o, nil
}

// start is one of the two processes.
func start(ctx context.Context, o options, args []string) error {
	if o.serve {
		return serve(ctx, o)
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

	cpu, err := newCPUMeter(ctx, db, o.addr, beside.cmd.Process.Pid)
	if err != nil {
		return err
	}
	var t table
	for range o.runs {
		rows, err := measureAll(ctx, o, measurements(o, db, rest, beside), cpu)
		if err != nil {
			return err
		}
		t.runs = append(t.runs, rows)
	}
	return t.write(os.Stdout, o)
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
	return append(restReads(o, rest, beside), []measurement{
		{name: floorInsertREST, workers: db.inserters(o.conns)},
		{name: "REST create", workers: rest.creators(o.conns), floors: []string{floorInsertREST}},
		{name: "REST update", workers: rest.updaters(o.conns), floors: []string{floorInsertREST}},
		{name: floorSelect, workers: db.selecters(o.sqlConns)},
		{name: "SQL read_secret", workers: db.readers(o.sqlConns), floors: []string{floorSelect}},
		{name: floorInsert, workers: db.inserters(o.sqlConns)},
		{name: "SQL create_secret", workers: db.creators(o.sqlConns), floors: []string{floorInsert}},
		{name: "SQL update_secret", workers: db.updaters(o.sqlConns), floors: []string{floorInsert}},
	}...)
}

// Names of the floors.
const (
	floorGin        = "floor: gin, fixed answer"
	floorGinSelect  = "floor: gin + one pgx select by key"
	floorInsertREST = "floor: SQL insert, commit (REST conns)"
	floorSelect     = "floor: SQL select by key"
	floorInsert     = "floor: SQL insert, commit"
)
