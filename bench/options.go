package main

import (
	"errors"
	"flag"
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

	fillSecrets, fillAudit int      // how many secrets and audit records to make instead of measuring
	filled                 int      // measure what a vault of so many secrets costs, which were made by a fill
	save                   string   // file that the rows are appended to
	anyway                 bool     // a busy machine is no error
	record, guard          string   // file for the CPU costs, to write or to compare with
	compare                []string // two such files to compare instead of measuring
}

// parse reads the flags.
func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	finish := o.define(f)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if err := finish(); err != nil {
		return o, err
	}
	return o, o.check(f.NArg())
}

// define makes the flags of o. The caller parses them and calls finish.
func (o *options) define(f *flag.FlagSet) (finish func() error) {
	f.StringVar(&o.addr, "addr", "127.0.0.1:8200", "host:port of the API")
	f.StringVar(&o.tokenFile, "token-file", "", "file with an admin token")
	f.StringVar(&o.keyFile, "key-file", "", "file with the API's local master key, in base64")
	f.StringVar(&o.dsn, "dsn", "", "connection string of a superuser; empty uses PGHOST and its siblings")
	secs := f.Float64("seconds", 3, "length of each measurement")
	f.IntVar(&o.conns, "conns", 32, "REST connections")
	f.IntVar(&o.sqlConns, "sql-conns", 8, "SQL connections")
	f.IntVar(&o.secrets, "secrets", 256, "secrets that reads choose among")
	f.IntVar(&o.valueLen, "value-bytes", 32, "bytes of a value")
	f.IntVar(&o.runs, "runs", 1, "how often the whole list is measured; the table has the medians")
	rows := f.String("rows", "", "regular expression of the rows to measure; empty measures all")
	f.IntVar(&o.fillSecrets, "fill-secrets", 0, "make so many secrets and stop")
	f.IntVar(&o.fillAudit, "fill-audit", 0, "make so many audit records and stop")
	f.IntVar(&o.filled, "filled", 0, "measure a vault with so many secrets of -fill-secrets")
	f.StringVar(&o.save, "save", "", "file to which the rows are appended, as JSON")
	f.BoolVar(&o.anyway, "anyway", false, "do not fail when the machine is too busy for rates")
	f.StringVar(&o.record, "record", "", "file to which the CPU cost of each row is written")
	f.StringVar(&o.guard, "guard", "", "file of -record: print a warning for each row that costs more CPU than there; never fails for that")
	files := f.String("compare", "", "compare two files of -save, as \"small.json,large.json\", and stop")
	f.BoolVar(&o.serve, "serve", false, "be the second process: the gin floors and the vault without an audit")
	return func() (err error) {
		o.duration = time.Duration(*secs * float64(time.Second))
		o.addr = strings.TrimPrefix(o.addr, "http://")
		if *files != "" {
			if o.compare = strings.Split(*files, ","); len(o.compare) != 2 {
				return errors.New("-compare wants two files")
			}
		}
		o.rows, err = regexp.Compile(*rows)
		return err
	}
}

// check reports options that make no sense.
func (o *options) check(arguments int) error {
	switch {
	case arguments > 0 || o.duration <= 0 || o.conns < 1 || o.sqlConns < 1 || o.secrets < 1 || o.valueLen < 1 || o.runs < 1:
		return errors.New("want positive numbers and no arguments; -help lists the flags")
	case o.secrets < max(o.conns, o.sqlConns):
		return errors.New("-secrets must not be less than the connections: each changes a secret of its own")
	case o.compare == nil && (o.tokenFile == "" || o.keyFile == ""):
		return errors.New("-token-file and -key-file are needed")
	}
	return nil
}
