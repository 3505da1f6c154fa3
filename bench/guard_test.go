package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// costing is a table of one floor and one operation that takes so many times its CPU.
func costing(times float64) table {
	floor := row{name: "floor: x"}
	floor.cpu[partDatabase] = 100 * time.Microsecond
	r := row{name: "SQL x", floors: []string{"floor: x"}}
	r.cpu[partDatabase] = time.Duration(times * 60 * float64(time.Microsecond))
	r.cpu[partAPI] = time.Duration(times * 40 * float64(time.Microsecond))
	return table{runs: [][]row{{floor, r}}}
}

func TestGuard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recorded.json")
	if err := costing(2).record(file); err != nil {
		t.Fatal(err)
	}
	said := func(now table) string {
		var b strings.Builder
		if err := now.guard(&b, file); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if s := said(costing(2.2)); strings.Contains(s, "warning") {
		t.Errorf("10 %% more: %q", s)
	}
	if s := said(costing(2.4)); !strings.HasPrefix(s, "warning: SQL x takes 2.40 times the CPU of its floor, 20 % more than the recorded 2.00") {
		t.Errorf("20 %% more: %q", s)
	}
	other := costing(2)
	other.runs[0][1].name = "SQL y"
	if s := said(other); !strings.Contains(s, "warning: SQL x is recorded and was not measured\n") || !strings.Contains(s, "SQL y: 2.00 times the CPU of its floor; none is recorded") {
		t.Errorf("another name: %q", s)
	}
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := said(costing(2.4)); !strings.Contains(s, "none is recorded") {
		t.Errorf("not recorded: %q", s)
	}
}

func TestBusy(t *testing.T) {
	if err := busy([]float64{0, 0.01, 0.1, 0.02, 0.1, 0, 0, 0, 0, 0.9}); err != nil {
		t.Errorf("one disturbance of ten: %v", err)
	}
	if err := busy([]float64{0.5, 0.6, 0.1}); err == nil || !strings.Contains(err.Error(), "2 of 3 measurements") || !strings.Contains(err.Error(), "60 %") {
		t.Errorf("busy: %v", err)
	}
	var sum [parts]time.Duration
	sum[partMachine], sum[partDatabase], sum[partAPI], sum[partClient] = 10*time.Second, time.Second, time.Second, time.Second
	if got := foreign(sum, 1000*time.Second); got <= 0 || got > 0.007 {
		t.Errorf("7 s of 1000 s: %.4f", got)
	}
	if foreign([parts]time.Duration{partClient: time.Second}, time.Second) != 0 {
		t.Error("an unknown machine is busy")
	}
	if machineTime() <= 0 {
		t.Error("the machine has not worked yet")
	}
}

func TestCompare(t *testing.T) {
	small, large := filepath.Join(t.TempDir(), "small"), filepath.Join(t.TempDir(), "large")
	rows := func(plain, status time.Duration) table {
		return table{runs: [][]row{{{name: "floor: select", p50: plain / 2}, {name: "read", p50: plain, floors: []string{"other", "floor: select"}},
			{name: "lone", p50: plain, floors: []string{"other"}}, {name: "status", p50: status, bound: 10 * time.Millisecond},
			{name: "each", p50: plain, bound: unbounded}}}}
	}
	for file, x := range map[string]table{small: rows(time.Millisecond, time.Millisecond), large: rows(1300*time.Microsecond, 9*time.Millisecond)} {
		for range 3 {
			if err := x.save(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b strings.Builder
	if err := compare(&b, small, large); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| read | 1.000 | 1.300 | 1.30 | 1.30 | 2.00 | 2.00 | 1.2 times | **missed** |",
		"| floor: select | 0.500 | 0.650 | 1.30 |  | | | none |  |", "| lone | 1.000 | 1.300 | 1.30 |  | | | 1.2 times | **missed** |",
		"| status | 1.000 | 9.000 | 9.00 |  | | | 10 ms | kept |", "| each | 1.000 | 1.300 | 1.30 |  | | | none |  |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, b.String())
		}
	}
	if err := compare(&b, small, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there compares")
	}
}
