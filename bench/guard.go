package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// maxRegression is how many times the recorded cost an operation may have without a warning.
const maxRegression = 1.15

// costs are how many times the CPU of its floor each operation takes, in PostgreSQL and the API together. Floor and operation
// are measured in one run on one machine, so costs of different machines compare.
func (t table) costs() map[string]float64 {
	out := map[string]float64{}
	for _, r := range t.runs[0] {
		if len(r.floors) == 0 {
			continue
		}
		rows, floor := t.of(r.name), t.of(r.floors[len(r.floors)-1])
		if len(floor) != len(rows) {
			continue
		}
		of := func(r row) float64 { return float64(r.cpu[partDatabase] + r.cpu[partAPI]) }
		if below := median(floor, of); below > 0 {
			out[r.name] = median(rows, of) / below
		}
	}
	return out
}

// record writes the costs to a file.
func (t table) record(file string) error {
	b, err := json.MarshalIndent(t.costs(), "", "  ") // keys in their order
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// guard compares the costs with those of a file, and prints a line "warning: …" for each that has grown, and for each that was
// not measured. Neither is an error.
func (t table) guard(w io.Writer, file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = []byte("{}"), nil // nothing is recorded yet
	}
	if err != nil {
		return err
	}
	var recorded map[string]float64
	if err := json.Unmarshal(b, &recorded); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	costs := t.costs()
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		if costs[name] == 0 {
			fmt.Fprintf(w, "warning: %s is recorded and was not measured\n", name)
		}
	}
	for _, r := range t.runs[0] {
		now, before := costs[r.name], recorded[r.name]
		switch {
		case now == 0:
		case before == 0:
			fmt.Fprintf(w, "%s: %.2f times the CPU of its floor; none is recorded\n", r.name, now)
		case now > maxRegression*before:
			fmt.Fprintf(w, "warning: %s takes %.2f times the CPU of its floor, %.0f %% more than the recorded %.2f\n",
				r.name, now, 100*(now/before-1), before)
		default:
			fmt.Fprintf(w, "%s: %.2f times the CPU of its floor, %.2f recorded\n", r.name, now, before)
		}
	}
	return nil
}

// median of a number of each of several.
func median[R any, N cmp.Ordered](all []R, of func(R) N) N {
	numbers := make([]N, len(all))
	for i, x := range all {
		numbers[i] = of(x)
	}
	slices.Sort(numbers)
	return numbers[len(numbers)/2]
}
