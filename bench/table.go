package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// table prints rows as Markdown. Each measurement may have been made several times, in turn with the others.
type table struct{ runs [][]row }

// of returns one measurement's row of every run.
func (t table) of(name string) (all []row) {
	for _, run := range t.runs {
		if i := slices.IndexFunc(run, func(r row) bool { return r.name == name }); i >= 0 {
			all = append(all, run[i])
		}
	}
	return all
}

// middle is the median of what of returns for each row, with the least and the most.
func middle(rows []row, of func(i int, r row) float64) (least, median, most float64) {
	var all []float64
	for i, r := range rows {
		all = append(all, of(i, r))
	}
	slices.Sort(all)
	return all[0], all[len(all)/2], all[len(all)-1]
}

func (t table) write(w io.Writer, o options) error {
	fmt.Fprintf(w, "%d REST connections unless it says otherwise, %d SQL connections, %s each, values of %d bytes; clients share the\n"+
		"machine. Medians of %d runs; CPU is that of one operation, in PostgreSQL, the API and the client.\n\n",
		o.conns, o.sqlConns, o.duration, o.valueLen, len(t.runs))
	fmt.Fprintln(w, "| | per second | p50 ms | p99 ms | CPU µs: PostgreSQL | API | client | of its floor |\n|---|---:|---:|---:|---:|---:|---:|---|")
	for _, r := range t.runs[0] {
		if _, err := fmt.Fprintln(w, t.line(t.of(r.name))); err != nil {
			return err
		}
	}
	return nil
}

// maxForeign is the share of the machine that others may take. With more of it gone, a rate and a ratio of rates say nothing.
const maxForeign = 0.15

// foreign is the share of the machine that others took, of each measurement.
func (t table) foreign() (all []float64) {
	for _, run := range t.runs {
		for _, r := range run {
			all = append(all, r.foreign)
		}
	}
	return all
}

// busy returns an error if the machine was too busy to say anything: in more than one of ten measurements.
func busy(foreign []float64) error {
	worst, rows, all := 0.0, 0, len(foreign)
	for _, share := range foreign {
		worst = max(worst, share)
		if share > maxForeign {
			rows++
		}
	}
	if rows <= all/10 {
		return nil
	}
	return fmt.Errorf("this machine is too busy: in %d of %d measurements other processes took more than %.0f %% of its CPU, up to %.0f %%. "+
		"Rates and their ratios say nothing; stop the other work, or take -anyway for the CPU times", rows, all, 100*maxForeign, 100*worst)
}

// line is one measurement: the medians, and the ratio to each floor with its spread.
func (t table) line(rows []row) string {
	median := func(of func(r row) float64) float64 {
		_, m, _ := middle(rows, func(_ int, r row) float64 { return of(r) })
		return m
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	µs := func(p part) float64 {
		return median(func(r row) float64 { return float64(r.cpu[p].Nanoseconds()) / 1000 })
	}
	var ratios []string
	for _, name := range rows[0].floors {
		floor := t.of(name)
		if len(floor) != len(rows) {
			continue
		}
		least, m, most := middle(rows, func(i int, r row) float64 { return r.rate / floor[i].rate })
		spread := ""
		if len(rows) > 1 {
			spread = fmt.Sprintf(" (%.2f to %.2f)", least, most)
		}
		ratios = append(ratios, fmt.Sprintf("%.2f%s of %s", m, spread, strings.TrimPrefix(name, floorPrefix)))
	}
	if left := t.left(rows); left != "" {
		ratios = append(ratios, left)
	}
	return fmt.Sprintf("| %s | %.0f | %.2f | %.2f | %.0f | %.0f | %.0f | %s |", rows[0].name, median(func(r row) float64 { return r.rate }),
		median(func(r row) float64 { return ms(r.p50) }), median(func(r row) float64 { return ms(r.p99) }),
		µs(partDatabase), µs(partAPI), µs(partClient), strings.Join(ratios, "; "))
}

// left compares the CPU time of the servers with that of the last floor, without what is apart.
func (t table) left(rows []row) string {
	if rows[0].apart.name == "" || len(rows[0].floors) == 0 {
		return ""
	}
	last := rows[0].floors[len(rows[0].floors)-1]
	floor, alone := t.of(last), t.of(rows[0].apart.name)
	if len(floor) != len(rows) || len(alone) != len(rows) {
		return ""
	}
	servers := func(r row) float64 { return (r.cpu[partDatabase] + r.cpu[partAPI]).Seconds() }
	_, m, _ := middle(rows, func(i int, r row) float64 {
		return (servers(r) - alone[i].cpu[r.apart.part].Seconds()) / servers(floor[i])
	})
	return fmt.Sprintf("CPU of the servers without the %s: %.2f times", rows[0].apart.name, m)
}
