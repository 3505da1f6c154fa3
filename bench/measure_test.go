package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
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
			r, err := measure(t.Context(), 20*time.Millisecond, m, nil)
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
	t.Run("OK counts nothing of what opening takes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var ops int
			slow := func(ctx context.Context) (func() error, func(), error) {
				<-time.After(time.Second)
				return pacing(&ops)(ctx)
			}
			opened := time.Now()
			cpu := func() map[process]time.Duration {
				return map[process]time.Duration{{partDatabase, 1}: time.Since(opened)}
			}
			r, err := measure(t.Context(), 20*time.Millisecond, measurement{name: "x", workers: []worker{slow}}, cpu)
			if err != nil {
				t.Fatal(err)
			}
			if r.samples != 20 || r.cpu[partDatabase] > 2*time.Millisecond {
				t.Errorf("%+v", r)
			}
		})
	})
	t.Run("OK counts nothing of the first operation of a warmed worker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := true
			cold := func(context.Context) (func() error, func(), error) {
				return func() error {
					took := time.Millisecond
					if first {
						took, first = time.Second, false
					}
					<-time.After(took)
					return nil
				}, func() {}, nil
			}
			r, err := measure(t.Context(), 20*time.Millisecond, measurement{name: "x", workers: []worker{warmed(cold)}}, nil)
			if err != nil || r.samples != 20 || r.p99 != time.Millisecond {
				t.Errorf("%+v, %v", r, err)
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
		_, err := measure(t.Context(), time.Hour, measurement{workers: []worker{endless, bad}}, nil)
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("Err when a worker cannot start", func(t *testing.T) {
		refused := errors.New("refused")
		bad := func(context.Context) (func() error, func(), error) { return nil, nil, refused }
		if _, err := measure(t.Context(), time.Hour, measurement{workers: []worker{bad}}, nil); !errors.Is(err, refused) {
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
	run := func(rate, floor float64, cpu time.Duration) []row {
		return []row{
			{name: "floor: plain", rate: floor, p50: time.Millisecond, p99: 2 * time.Millisecond},
			{name: "vault", floors: []string{"floor: plain", "floor: not measured"}, rate: rate, p50: 1500 * time.Microsecond, p99: 3 * time.Millisecond,
				cpu: [parts]time.Duration{partDatabase: cpu, partAPI: 7 * time.Microsecond, partClient: time.Microsecond}},
		}
	}
	tab := table{runs: [][]row{run(250, 1000, 42*time.Microsecond), run(500, 1000, 50*time.Microsecond), run(100, 1000, 40*time.Microsecond)}}
	var b strings.Builder
	if err := tab.write(&b, options{conns: 32, sqlConns: 8, duration: time.Second, valueLen: 32}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| floor: plain | 1000 | 1.00 | 2.00 | 0 | 0 | 0 |  |",
		"| vault | 250 | 1.50 | 3.00 | 42 | 7 | 1 | 0.25 (0.10 to 0.50) of plain |", "Medians of 3 runs"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

// TestMeasureCPU: the processes are measured before the connections are closed, which ends the backends.
func TestMeasureCPU(t *testing.T) {
	var closed atomic.Bool
	w := func(context.Context) (func() error, func(), error) {
		return func() error { time.Sleep(time.Millisecond); return nil }, func() { closed.Store(true) }, nil
	}
	var looks atomic.Int64 // by measure and by its clock
	r, err := measure(t.Context(), 20*time.Millisecond, measurement{workers: []worker{w}}, func() map[process]time.Duration {
		n := looks.Add(1)
		if closed.Load() {
			return nil
		}
		return map[process]time.Duration{{partDatabase, 1}: time.Duration(n) * time.Second}
	})
	if err != nil || !closed.Load() || r.cpu[partDatabase] <= 0 || r.cpu[partAPI] != 0 {
		t.Errorf("%v, closed: %v, %v", err, closed.Load(), r.cpu)
	}
}

func TestParse(t *testing.T) {
	good := []string{"-token-file", "t", "-key-file", "k", "-addr", "http://127.0.0.1:1"}
	o, err := parse(good)
	if err != nil || o.addr != "127.0.0.1:1" || o.duration != 3*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	for name, args := range map[string][]string{
		"ErrNoToken":          {},
		"ErrNoKey":            {"-token-file", "t"},
		"ErrArgument":         append(good, "extra"),
		"ErrNoTime":           append(good, "-seconds", "0"),
		"ErrNoConnection":     append(good, "-conns", "0"),
		"ErrNoRun":            append(good, "-runs", "0"),
		"ErrTooFewSecrets":    append(good, "-conns", "33", "-secrets", "32"),
		"ErrUnknownFlag":      {"-nonsense"},
		"ErrNegativeSQLConns": append(good, "-sql-conns", "-1"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(args); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestComplete(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nA: b\r\n"
	for text, want := range map[string]bool{
		head + "Content-Length: 3\r\n\r\nabc":                                    true,
		head + "Content-Length: 3\r\n\r\nab":                                     false,
		head + "Content-Le":                                                      false,
		head + "Transfer-Encoding: chunked\r\nB: c\r\n\r\n3\r\nabc\r\n":          false,
		head + "Transfer-Encoding: chunked\r\nB: c\r\n\r\n3\r\nabc\r\n0\r\n\r\n": true,
	} {
		if got, err := complete([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"HTTP/1.1 404 Not Found\r\n\r\n", head + "\r\n", head + "Content-Length: x\r\n\r\n"} {
		if _, err := complete([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// TestLoad drives a real server: an error as soon as one answer is not 200.
func TestLoad(t *testing.T) {
	bad := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 100_000))
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	l := &load{addr: addr, conns: 3, next: func() []byte {
		if bad {
			return request("GET", addr, "/bad", "", "")
		}
		return request("GET", addr, "/good", "", "")
	}}
	all, err := l.run(t.Context(), time.Now(), time.Now().Add(100*time.Millisecond))
	if err != nil || len(all) < 1 { // the one that ends it, if the machine has time for no more
		t.Fatalf("%d answers, %v", len(all), err)
	}
	bad = true
	if _, err := l.run(t.Context(), time.Now(), time.Now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("got %v", err)
	}
	pid, err := listener(addr)
	if err != nil || pid != os.Getpid() {
		t.Errorf("listener %d, %v", pid, err)
	}
	f, err := statOf(pid)
	if err != nil || f.parent != os.Getppid() {
		t.Errorf("%+v, %v", f, err)
	}
}
