package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// savedRow is one row in a file: a line of JSON for each measurement and run.
type savedRow struct {
	Name  string        `json:"name"`
	Rate  float64       `json:"per_second"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Bound time.Duration `json:"bound_ns,omitempty"`
	Floor string        `json:"floor,omitempty"` // name of the row that it stands on
	CPU   cpuRow        `json:"cpu_ns"`
	// Foreign is the share of the machine that others took meanwhile.
	Foreign float64 `json:"foreign"`
}

// cpuRow is the CPU time of one operation.
type cpuRow struct {
	PostgreSQL time.Duration `json:"postgresql"`
	API        time.Duration `json:"api"`
}

// save appends the rows to a file.
func (t table) save(file string) (err error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	for _, run := range t.runs {
		for _, r := range run {
			err := enc.Encode(savedRow{Name: r.name, Rate: r.rate, P50: r.p50, P99: r.p99, Bound: r.bound, Floor: r.floor(),
				CPU: cpuRow{r.cpu[partDatabase], r.cpu[partAPI]}, Foreign: r.foreign})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// saved are the rows of a file by name, and the names in their order.
type saved struct {
	names []string
	rows  map[string][]savedRow
}

func readSaved(file string) (s saved, err error) {
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	s.rows = map[string][]savedRow{}
	dec := json.NewDecoder(f)
	for {
		var r savedRow
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			return s, fmt.Errorf("%s: %w", file, err)
		}
		if s.rows[r.Name] == nil {
			s.names = append(s.names, r.Name)
		}
		s.rows[r.Name] = append(s.rows[r.Name], r)
	}
}

// compare prints what each measurement took in a small and in a large vault, and whether that is within its bound.
func compare(w io.Writer, small, large string) error {
	a, err := readSaved(small)
	if err != nil {
		return err
	}
	b, err := readSaved(large)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "| | p50 ms, small | p50 ms, large | times as long | its floor | times its floor, small | large | bound | |\n"+
		"|---|---:|---:|---:|---:|---:|---:|---:|---|")
	for _, name := range a.names {
		if b.rows[name] == nil {
			continue
		}
		if _, err := fmt.Fprintln(w, comparedLine(name, a, b)); err != nil {
			return err
		}
	}
	return busy(append(a.foreign(), b.foreign()...))
}

// foreign is the share of the machine that others took, of each row.
func (s saved) foreign() (all []float64) {
	for _, rows := range s.rows {
		for _, r := range rows {
			all = append(all, r.Foreign)
		}
	}
	return all
}

// middle is the median time of a row; 0 if there is none.
func (s saved) middle(name string) float64 {
	if len(s.rows[name]) == 0 {
		return 0
	}
	return float64(median(s.rows[name], func(r savedRow) time.Duration { return r.P50 }))
}

func comparedLine(name string, small, large saved) string {
	before, after := small.middle(name), large.middle(name)
	growth, row := after/before, large.rows[name][0]
	bound, kept := fmt.Sprintf("%.1f times", maxGrowth), growth <= maxGrowth
	if row.Bound > 0 {
		bound, kept = fmt.Sprintf("%.0f ms", row.Bound.Seconds()*1000), after <= float64(row.Bound)
	}
	verdict := "kept"
	switch {
	case row.Bound == unbounded || strings.HasPrefix(name, floorPrefix):
		bound, verdict = "none", ""
	case !kept:
		verdict = "**missed**"
	}
	floor := " | |"
	if least, most := small.middle(row.Floor), large.middle(row.Floor); least > 0 && most > 0 {
		floor = fmt.Sprintf("%.2f | %.2f | %.2f", most/least, before/least, after/most)
	}
	return fmt.Sprintf("| %s | %.3f | %.3f | %.2f | %s | %s | %s |", name, before/1e6, after/1e6, growth, floor, bound, verdict)
}
