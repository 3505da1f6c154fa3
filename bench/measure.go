package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	apart   apart    // what the comparison of CPU time with the last floor leaves out; a zero one makes none
	// bound is the most that the median may take in a large vault; 0 = little more than in a small one.
	bound time.Duration
}

// apart is a computation that a promise leaves out: the row that measures it alone, and the part whose CPU time it is.
type apart struct {
	name string
	part part
}

// row is what a measurement found.
type row struct {
	name     string
	floors   []string
	apart    apart
	bound    time.Duration
	rate     float64 // operations per second
	p50, p99 time.Duration
	samples  int
	cpu      [parts]time.Duration // of an operation; 0 = not known
	foreign  float64              // share of the machine that others took meanwhile
}

// floor is the name of the last floor, which is the one nearest to the row; "" = it has none.
func (r row) floor() string {
	if len(r.floors) == 0 {
		return ""
	}
	return r.floors[len(r.floors)-1]
}

// measure runs every worker for d after the warm-up. The first error of any worker ends it: a rate of failures is
// no rate.
//
// cpu, which may be nil, tells the CPU time of every process so far.
func measure(ctx context.Context, d time.Duration, m measurement, cpu func() map[process]time.Duration) (row, error) {
	if cpu == nil {
		cpu = func() map[process]time.Duration { return nil }
	}
	ops, closers, err := m.open(ctx)
	defer func() {
		for _, done := range closers {
			done()
		}
	}()
	if err != nil {
		return row{}, err
	}
	// What it takes to open connections and to make what they work on is no part of an operation.
	start := time.Now().Add(warmUp)
	end := start.Add(d)
	before := make(chan map[process]time.Duration, 1)
	go func() { <-time.After(time.Until(start)); before <- cpu() }()
	all, err := m.run(ctx, ops, start, end)
	after, elapsed := cpu(), time.Since(start) // before a process that took part is gone
	if err != nil {
		return row{}, err
	}
	r, err := summarise(m, all, d)
	sum := used(<-before, after)
	r.foreign = foreign(sum, elapsed)
	for i, spent := range sum {
		r.cpu[i] = spent / time.Duration(max(1, len(all)*max(1, m.each)))
	}
	return r, err
}

// open opens every worker, and returns what to call in the end, also after an error.
func (m measurement) open(ctx context.Context) (ops []func() error, closers []func(), _ error) {
	ops, done, failed := make([]func() error, len(m.workers)), make([]func(), len(m.workers)), make([]error, len(m.workers))
	var wg sync.WaitGroup
	for i, w := range m.workers {
		wg.Go(func() { ops[i], done[i], failed[i] = w(ctx) })
	}
	wg.Wait()
	done = slices.DeleteFunc(done, func(f func()) bool { return f == nil })
	return ops, done, errors.Join(failed...)
}

// run returns how long each operation took that began between start and end.
func (m measurement) run(ctx context.Context, ops []func() error, start, end time.Time) ([]time.Duration, error) {
	if m.load != nil {
		return m.load.run(ctx, start, end)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	samples := make([][]time.Duration, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() {
			var err error
			if samples[i], err = sample(ctx, op, start, end); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return slices.Concat(samples...), context.Cause(ctx)
}

// sample repeats one worker's operation until end and keeps the durations of those that began after start.
func sample(ctx context.Context, op func() error, start, end time.Time) (kept []time.Duration, err error) {
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
	if len(all) == 0 {
		return row{}, fmt.Errorf("only %d operations in %s", len(all), d)
	}
	slices.Sort(all)
	return row{
		name: m.name, floors: m.floors, apart: m.apart, bound: m.bound, samples: len(all),
		rate: float64(len(all)*max(1, m.each)) / d.Seconds(),
		p50:  all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// repeat makes n workers, numbered from 0.
func repeat(n int, make func(i int) worker) []worker {
	var w []worker
	for i := range n {
		w = append(w, make(i))
	}
	return w
}
