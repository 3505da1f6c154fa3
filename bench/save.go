package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// savedRow is one row in a file: a line of JSON for each measurement and run.
type savedRow struct {
	Name  string        `json:"name"`
	Rate  float64       `json:"per_second"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Bound time.Duration `json:"bound_ns,omitempty"`
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
			err := enc.Encode(savedRow{Name: r.name, Rate: r.rate, P50: r.p50, P99: r.p99, Bound: r.bound,
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
	fmt.Fprintln(w, "| | p50 ms, small | p50 ms, large | times as long | bound | |\n|---|---:|---:|---:|---:|---|")
	for _, name := range a.names {
		if b.rows[name] == nil {
			continue
		}
		if _, err := fmt.Fprintln(w, comparedLine(name, a.rows[name], b.rows[name])); err != nil {
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

func comparedLine(name string, small, large []savedRow) string {
	p50 := func(r savedRow) time.Duration { return r.P50 }
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	before, after := median(small, p50), median(large, p50)
	growth := float64(after) / float64(before)
	bound, kept := fmt.Sprintf("%.1f times", maxGrowth), growth <= maxGrowth
	if b := large[0].Bound; b > 0 {
		bound, kept = fmt.Sprintf("%.0f ms", ms(b)), after <= b
	}
	verdict := "kept"
	switch {
	case large[0].Bound == unbounded:
		bound, verdict = "none", ""
	case !kept:
		verdict = "**missed**"
	}
	return fmt.Sprintf("| %s | %.3f | %.3f | %.2f | %s | %s |", name, ms(before), ms(after), growth, bound, verdict)
}
