package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// warmUp comes before each measurement and is not counted: connections open, plans and caches fill.
const warmUp = 300 * time.Millisecond

// worker is one connection's work. open is called once and returns the operation; each call of it is one sample.
// The operation is used by one goroutine.
type worker func(ctx context.Context) (op func() error, done func(), err error)

// measurement is one row to be: workers, or a load.
type measurement struct {
	name    string
	workers []worker
	load    *load
	each    int      // what one operation counts for; 0 = 1
	floors  []string // names of rows measured before
}

// row is what a measurement found.
type row struct {
	name     string
	floors   []string
	rate     float64 // operations per second
	p50, p99 time.Duration
	samples  int
	cpu      time.Duration // of the servers, an operation; 0 = not known
}

// measure runs every worker for d after the warm-up. The first error of any worker ends it: a rate of failures is
// no rate.
//
// cpu, which may be nil, tells the CPU time of the servers so far.
func measure(ctx context.Context, d time.Duration, m measurement, cpu func() map[int]time.Duration) (row, error) {
	start := time.Now().Add(warmUp)
	end := start.Add(d)
	before := make(chan map[int]time.Duration, 1)
	if cpu != nil {
		go func() { <-time.After(time.Until(start)); before <- cpu() }()
	}
	all, err := m.run(ctx, start, end)
	if err != nil {
		return row{}, err
	}
	r, err := summarise(m, all, d)
	if err == nil && cpu != nil {
		r.cpu = used(<-before, cpu()) / time.Duration(len(all)*max(1, m.each))
	}
	return r, err
}

// run returns how long each operation took that began between start and end.
func (m measurement) run(ctx context.Context, start, end time.Time) ([]time.Duration, error) {
	if m.load != nil {
		return m.load.run(ctx, start, end)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	samples := make([][]time.Duration, len(m.workers))
	var wg sync.WaitGroup
	for i, w := range m.workers {
		wg.Go(func() {
			s, err := sample(ctx, w, start, end)
			if err != nil {
				cancel(err)
			}
			samples[i] = s
		})
	}
	wg.Wait()
	return slices.Concat(samples...), context.Cause(ctx)
}

// sample repeats one worker's operation until end and keeps the durations of those begun after start.
func sample(ctx context.Context, w worker, start, end time.Time) ([]time.Duration, error) {
	op, done, err := w(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var kept []time.Duration
	for ctx.Err() == nil {
		from := time.Now()
		if from.After(end) {
			return kept, nil
		}
		if err := op(); err != nil {
			return nil, err
		}
		if from.After(start) {
			kept = append(kept, time.Since(from))
		}
	}
	return kept, nil
}

func summarise(m measurement, all []time.Duration, d time.Duration) (row, error) {
	if len(all) < 2 {
		return row{}, fmt.Errorf("only %d operations in %s", len(all), d)
	}
	slices.Sort(all)
	return row{
		name: m.name, floors: m.floors, samples: len(all),
		rate: float64(len(all)*max(1, m.each)) / d.Seconds(),
		p50:  all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// table prints rows as Markdown.
type table struct{ rows []row }

// find returns the row of that name, if it was measured.
func (t table) find(name string) (row, bool) {
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.name == name })
	if i < 0 {
		return row{}, false
	}
	return t.rows[i], true
}

func (t table) write(w io.Writer, o options) error {
	fmt.Fprintf(w, "%d REST connections unless it says otherwise, %d SQL connections, %s each, values of %d bytes; clients share the\n"+
		"machine. CPU is that of API and PostgreSQL, of one operation.\n\n",
		o.conns, o.sqlConns, o.duration, o.valueLen)
	fmt.Fprintln(w, "| | per second | p50 ms | p99 ms | CPU µs | of its floor |\n|---|---:|---:|---:|---:|---|")
	for _, r := range t.rows {
		ratios := ""
		for _, name := range r.floors {
			if f, ok := t.find(name); ok {
				ratios += fmt.Sprintf("; %.2f of %s", r.rate/f.rate, name[len("floor: "):])
			}
		}
		ratios = strings.TrimPrefix(ratios, "; ")
		_, err := fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f | %.0f | %s |\n", r.name, r.rate,
			float64(r.p50.Microseconds())/1000, float64(r.p99.Microseconds())/1000, float64(r.cpu.Nanoseconds())/1000, ratios)
		if err != nil {
			return err
		}
	}
	return nil
}

// repeat makes n workers, numbered from 0.
func repeat(n int, make func(i int) worker) []worker {
	var w []worker
	for i := range n {
		w = append(w, make(i))
	}
	return w
}
