package exttest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// dataLines are what the lines of a stream of events hold after "data: ".
func dataLines(body io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		in := bufio.NewScanner(body)
		for in.Scan() {
			if v, ok := strings.CutPrefix(in.Text(), "data: "); ok && !yield(v) {
				return
			}
		}
	}
}

// slowDoor is a directory with a socket that leads to c's, each way taking delay; it closes with the test.
func slowDoor(t *testing.T, c cluster, delay time.Duration) (dir string) {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(c.Dir(), ".s.PGSQL.*[0-9]"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %v, %v", sockets, err)
	}
	dir = socketFolder(t)
	door := filepath.Join(dir, filepath.Base(sockets[0]))
	ln, err := net.Listen("unix", door)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	if err := os.Chmod(door, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", sockets[0])
			if err != nil {
				_ = in.Close()
				continue
			}
			go carry(in, out, delay)
			go carry(out, in, delay)
		}
	}()
	return dir
}

// carry copies from one connection to another, every byte as much later as delay says, until either ends.
func carry(from, to net.Conn, delay time.Duration) {
	type parcel struct {
		due  time.Time
		data []byte
	}
	way := make(chan parcel, 10_000)
	go func() {
		defer close(way)
		for {
			data := make([]byte, 32*1024)
			n, err := from.Read(data)
			if n > 0 {
				way <- parcel{time.Now().Add(delay), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
	for range way {
	}
}

// putAway has the standby of p stream through a slow door, and every commit wait until it has replayed it.
func putAway(t *testing.T, p *pair, delay time.Duration) {
	t.Helper()
	door := slowDoor(t, p.primary, delay)
	p.there.exec(fmt.Sprintf("ALTER SYSTEM SET primary_conninfo = 'host=%s port=%s user=postgres'", door, get[string](p.here, "SHOW port")))
	p.there.exec("SELECT pg_reload_conf()")
	pgtest.Eventually(t, "the standby streams through the slow door", func() bool {
		return get[bool](p.there, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming' AND sender_host = $1)", door)
	})
	named := func(s *session, standbys string) {
		s.exec("ALTER SYSTEM SET synchronous_standby_names = '" + standbys + "'")
		s.exec("SELECT pg_reload_conf()")
	}
	named(p.here, "*")
	t.Cleanup(func() { named(p.here, "") }) // or what cleans up after the test would wait for a standby that is gone
	pgtest.Eventually(t, "the standby is synchronous", func() bool {
		return get[bool](p.here, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')")
	})
}

// changeUntil has each of n clients change a secret of its own again and again; it returns when each version was
// acknowledged, by secret. The first version is one that was made before.
func changeUntil(t *testing.T, p *pair, n int, end time.Time) [][]time.Time {
	t.Helper()
	acknowledged := make([][]time.Time, n)
	var wg sync.WaitGroup
	for i := range n {
		s := p.primary.connect(t, p.db.Name, "postgres", "synchronous_commit", "remote_apply")
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := s.try(fmt.Sprintf("SELECT vault.update_secret('far/%d', 'w', %d)", i, len(acknowledged[i])+1)); err != nil {
					t.Error(err)
					return
				}
				acknowledged[i] = append(acknowledged[i], time.Now())
			}
		})
	}
	wg.Wait()
	return acknowledged
}

// TestChangesCommitTogether: with a standby that every commit waits for, a change waits for it, and not for those before
// it. Followers hear of every change soon, each once and in order.
//
// The standby is far away, so a commit spends most of its time waiting for it. One at a time would never have another one wait
// beside it, and these clients together can have as many wait as there are of them.
func TestChangesCommitTogether(t *testing.T) {
	const (
		clients   = 16
		delay     = 100 * time.Millisecond
		roundTrip = 2 * delay
		lasts     = 4 * time.Second
	)
	p := startPair(t, []string{"hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 600"})
	for i := range clients {
		p.here.exec(fmt.Sprintf("SELECT vault.create_secret('far/%d', 'v')", i))
	}
	awaitSupervisor(t, p.here)
	events := followChanges(t, p.atHere, "far/")
	putAway(t, p, delay)

	start := time.Now()
	ended, together := make(chan struct{}), make(chan int, 1)
	go func() { together <- mostCommits(p.here, ended) }()
	acknowledged := changeUntil(t, p, clients, start.Add(lasts))
	close(ended)
	took, most := time.Since(start), <-together
	total := 0
	for _, a := range acknowledged {
		total += len(a)
	}
	rate := float64(total) / took.Seconds()
	t.Logf("%d changes in %v: %.0f a second, %.1f a round trip, %d at a time", total, took.Round(time.Millisecond), rate, rate*roundTrip.Seconds(), most)
	if most < 10 {
		t.Errorf("at most %d commits waited for the standby at a time, want at least 10 of %d", most, clients)
	}
	wantAllHeard(t, events, acknowledged)
}

// mostCommits returns how many commits of clients waited for a standby at a time, at most, until ended is closed. No machine
// is too busy for them to wait together, unless they wait for each other. What announces changes must not wait for a standby.
func mostCommits(s *session, ended <-chan struct{}) (most int) {
	others := 0
	for {
		select {
		case <-ended:
			if others > 0 {
				s.t.Errorf("a process of the server waited for the standby, as was seen %d times", others)
			}
			return most
		case <-time.After(5 * time.Millisecond):
			waiting := column(s, "SELECT backend_type FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
			clients := slices.DeleteFunc(waiting, func(of string) bool { return of != "client backend" })
			most = max(most, len(clients))
			others += len(waiting) - len(clients)
		}
	}
}

// wantAllHeard checks that a follower has heard of each change once, in the order of its secret, and when.
func wantAllHeard(t *testing.T, events <-chan changeEvent, acknowledged [][]time.Time) {
	t.Helper()
	var late []time.Duration
	heard := make([]int, len(acknowledged))
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	for i := 0; i < len(acknowledged); {
		if heard[i] == len(acknowledged[i]) {
			i++
			continue
		}
		var e changeEvent
		select {
		case e = <-events:
		case <-ctx.Done():
			t.Fatalf("heard of %v", heard)
		}
		var n int
		if _, err := fmt.Sscanf(e.Name, "far/%d", &n); err != nil || n >= len(heard) {
			t.Fatalf("got %+v, %v", e, err)
		}
		heard[n]++
		if want := heard[n] + 1; e.Version != want {
			t.Fatalf("got %+v, want version %d", e, want)
		}
		late = append(late, e.heard.Sub(acknowledged[n][heard[n]-1]))
	}
	slices.Sort(late)
	t.Logf("heard after the acknowledgement: median %v, 99 of 100 within %v", late[len(late)/2], late[len(late)*99/100])
	if median := late[len(late)/2]; median > time.Second {
		t.Errorf("the median is %v, want at most a second", median)
	}
}
