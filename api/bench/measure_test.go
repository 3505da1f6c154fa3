package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pacing is a worker whose operation takes a millisecond of the bubble's clock.
func pacing(ops *int) worker {
	return func(context.Context) (func() error, func(), error) {
		return func() error { <-time.After(time.Millisecond); *ops++; return nil }, func() {}, nil
	}
}

func TestMeasure(t *testing.T) {
	t.Run("OK counts only what began after the warm-up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b int
			m := measurement{name: "x", workers: []worker{pacing(&a), pacing(&b)}}
			r, err := measure(t.Context(), 20*time.Millisecond, m)
			if err != nil {
				t.Fatal(err)
			}
			if r.samples != 40 || r.rate != 2000 || r.p50 != time.Millisecond || r.p99 != time.Millisecond {
				t.Errorf("%+v", r)
			}
			if most := 2 * int((warmUp+20*time.Millisecond)/time.Millisecond+1); a+b > most {
				t.Errorf("%d operations, want at most %d", a+b, most)
			}
		})
	})
	t.Run("Err of one worker ends all", func(t *testing.T) {
		broken := errors.New("broken")
		bad := func(context.Context) (func() error, func(), error) {
			return func() error { return broken }, func() {}, nil
		}
		endless := func(context.Context) (func() error, func(), error) {
			return func() error { return nil }, func() {}, nil
		}
		_, err := measure(t.Context(), time.Hour, measurement{workers: []worker{endless, bad}})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("Err when a worker cannot start", func(t *testing.T) {
		refused := errors.New("refused")
		bad := func(context.Context) (func() error, func(), error) { return nil, nil, refused }
		if _, err := measure(t.Context(), time.Hour, measurement{workers: []worker{bad}}); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSummarise(t *testing.T) {
	t.Run("OK percentiles", func(t *testing.T) {
		var all []time.Duration
		for i := 100; i >= 1; i-- {
			all = append(all, time.Duration(i)*time.Millisecond)
		}
		r, err := summarise(measurement{name: "x"}, all, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if r.p50 != 51*time.Millisecond || r.p99 != 100*time.Millisecond || r.rate != 50 {
			t.Errorf("p50 %v, p99 %v, rate %v", r.p50, r.p99, r.rate)
		}
	})
	t.Run("Err when nothing was measured", func(t *testing.T) {
		if _, err := summarise(measurement{name: "x"}, nil, time.Second); err == nil {
			t.Error("no error")
		}
	})
}

func TestTable(t *testing.T) {
	tab := table{rows: []row{
		{name: "floor: plain", rate: 1000, p50: time.Millisecond, p99: 2 * time.Millisecond},
		{name: "vault", floors: []string{"floor: plain"}, rate: 250, p50: 1500 * time.Microsecond, p99: 3 * time.Millisecond},
	}}
	var b strings.Builder
	if err := tab.write(&b, options{conns: 32, sqlConns: 8, duration: time.Second, valueLen: 32}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| floor: plain | 1000 | 1.00 | 2.00 |  |", "| vault | 250 | 1.50 | 3.00 | 0.25 of plain |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

func TestParse(t *testing.T) {
	good := []string{"-token-file", "t", "-addr", "http://127.0.0.1:1"}
	o, err := parse(good)
	if err != nil || o.addr != "127.0.0.1:1" || o.duration != 3*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	for name, args := range map[string][]string{
		"ErrNoToken":          {},
		"ErrArgument":         {"-token-file", "t", "extra"},
		"ErrNoTime":           {"-token-file", "t", "-seconds", "0"},
		"ErrNoConnection":     {"-token-file", "t", "-conns", "0"},
		"ErrTooFewSecrets":    {"-token-file", "t", "-conns", "33", "-secrets", "32"},
		"ErrUnknownFlag":      {"-nonsense"},
		"ErrNegativeSQLConns": {"-token-file", "t", "-sql-conns", "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(args); err == nil {
				t.Error("no error")
			}
		})
	}
}
