package outagetest

import (
	"fmt"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	secrets = 1000
	readers = 32
	// loadTTL is longer than the outage, and half of it is shorter: calls for keys get no answer, and keys outlive their TTL. A
	// busy machine gets to read every key in half of it, and to ask for all of them in what the outage leaves of it.
	loadTTL  = 24 * time.Second
	loadStep = 4900 * time.Millisecond
	// pause is between two reads of one reader: 600 reads a second reach each key every 2 s, and leave the machine to others.
	pause = 50 * time.Millisecond
	// idleKMS is how many connections to KMS are kept for the next burst.
	idleKMS = 64
	// queued is how many rotations are due in the outage.
	queued = 20
)

// TestLoadThroughOutage reads 1,000 secrets under load while KMS hangs, throttles, fails and refuses connections, for
// longer than all retries and almost the TTL, then flaps and comes back. No read of a kept key fails, nothing grows, and
// the rotations that became due meanwhile are done afterwards.
func TestLoadThroughOutage(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{
		"hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 1", "synchronous_commit = off",
	}})
	// The log is kept in memory here: a line for each of many reads would be most of what is measured.
	b := startOn(t, vaulttest.NewDBIn(t, c), fmt.Sprintf("VAULT_DEK_CACHE_TTL_SECS=%d", loadTTL/time.Second), "VAULT_ROTATION_POLL_SECS=1", "VAULT_LOG_LEVEL=error")
	r := &rotations{bench: b, conn: b.db.MustConnect(t, vaulttest.Superuser), old: map[string]string{}}
	b.fill("load", secrets, true)
	for i := range queued {
		b.want("POST", "/v1/secrets", fmt.Sprintf(`{"name":"due/%d","kind":"automatic","rotation_interval_secs":3600}`, i), 201)
	}
	b.want("POST", "/v1/secrets", `{"name":"cold","value":"v"}`, 201)
	l := b.load()
	l.runFor(loadStep) // connections, buffers and pools have their size
	b.keptAll(l)
	before := measure()
	b.kms.TakeCalls()
	startedAt := time.Now()
	worst := b.away(l, r)
	outage, asked := time.Since(startedAt), len(b.kms.TakeCalls())
	if n := b.metric("dek_cache_overdue_keys"); n < secrets/50 {
		t.Errorf("%v keys have outlived their TTL: the outage was too short to show anything", n)
	}
	b.end()
	b.confirmed(l) // what comes now is another outage
	b.readAll()
	b.flap(l)
	b.end()
	b.wantReady("ready")
	l.runFor(loadStep)
	r.await("all rotations that were due are done", "SELECT count(*) = $1 AND bool_and(j.state = 'done' AND j.version = 2)"+jobs, queued)
	b.want("GET", "/v1/secrets/cold", "", 200)
	l.stop()
	after := b.settled(before)
	t.Logf("an outage of %s: %d reads, %d failed, the slowest took %s; %d calls in the outage; before, at worst, after: goroutines %d, %d, %d; heap %d, %d, %d KiB",
		outage.Round(time.Millisecond), l.done.Load(), l.failed.Load(), time.Duration(l.slowest.Load()), asked, before.goroutines, worst.goroutines, after.goroutines,
		before.heap>>10, worst.heap>>10, after.heap>>10)
	if l.failed.Load() != 0 || l.done.Load() < 5*secrets {
		t.Errorf("%d of %d reads failed: %v", l.failed.Load(), l.done.Load(), l.first.Load())
	}
	// Each refresh and rotation in flight has its own; a connection has two, and one in the KMS of this process.
	if worst.goroutines > before.goroutines+200+3*idleKMS || after.goroutines > before.goroutines+50 {
		t.Errorf("goroutines: %d before, %d at worst, %d after", before.goroutines, worst.goroutines, after.goroutines)
	}
	// What comes and goes with requests in flight is some MiB.
	if worst.heap > before.heap+16<<20 || after.heap > before.heap+16<<20 {
		t.Errorf("heap: %d bytes before, %d at worst, %d after", before.heap, worst.heap, after.heap)
	}
}

// keptAll waits until every key is kept: a machine that was too busy to fill the cache within a TTL goes on until it has.
// What the readers met until then does not count.
func (b *bench) keptAll(l *load) {
	b.t.Helper()
	for limit := time.Now().Add(2 * pgtest.Patience); b.metric("dek_cache_keys") < secrets; {
		if b.readAll(); time.Now().After(limit) {
			b.t.Fatalf("only %v keys are kept", b.metric("dek_cache_keys"))
		}
	}
	l.forget()
}

// readAll reads every secret of the load once.
func (b *bench) readAll() {
	b.t.Helper()
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := r; i < secrets; i += readers {
				b.insist("GET", fmt.Sprintf("/v1/secrets/load/%d", i), "", 200)
			}
		})
	}
	wg.Wait()
}

// settled returns what is used when no request is under way: idle connections to KMS are closed, and those who see that end.
func (b *bench) settled(before usage) usage {
	b.t.Helper()
	b.end()
	limit := time.Now().Add(pgtest.Patience)
	for {
		u := measure()
		if u.goroutines <= before.goroutines+50 || time.Now().After(limit) {
			return u
		}
		<-time.After(100 * time.Millisecond)
	}
}

// fill creates prefix/0 and on, n secrets with the values of a load, and reads them if asked to.
func (b *bench) fill(prefix string, n int, read bool) {
	b.t.Helper()
	const writers = 16
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				name := fmt.Sprintf("%s/%d", prefix, i)
				b.insist("POST", "/v1/secrets", fmt.Sprintf(`{"name":%q,"value":"value-%d"}`, name, i), 201, 409)
				if read {
					b.insist("GET", "/v1/secrets/"+name, "", 200)
				}
			}
		})
	}
	wg.Wait()
}

// insist repeats what a machine that is busy with other tests does not do within the deadline.
func (b *bench) insist(method, path, body string, status ...int) {
	var a answer
	for range 20 {
		if a = b.do(method, path, body); slices.Contains(status, a.status) {
			return
		}
	}
	b.t.Errorf("%s %s: %d %s", method, path, a.status, a.text)
}

// away takes KMS away in one way after the other, with no answer in between, and returns what was used at worst.
func (b *bench) away(l *load, r *rotations) usage {
	b.t.Helper()
	var worst usage
	r.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name LIKE 'due/%'")
	startedAt := time.Now()
	for i, way := range []string{"hanging", "throttling", "5xx", "refused"} {
		outages[way](b.kms)
		for time.Since(startedAt) < time.Duration(i)*loadStep+loadStep*3/4 {
			worst = worst.max(measure())
			l.runFor(time.Second / 4)
		}
		if a := b.do("GET", "/v1/secrets/cold", ""); a.status != 503 || a.took > deadline+slack {
			b.t.Errorf("%s: a cold read: %d in %s", way, a.status, a.took)
		}
		l.runFor(time.Until(startedAt.Add(time.Duration(i+1) * loadStep)))
	}
	return worst
}

// confirmed waits until no key is past its TTL. A key that ended without an answer would do as well, so what follows
// reads them all.
func (b *bench) confirmed(l *load) {
	b.t.Helper()
	for limit := time.Now().Add(pgtest.Patience); b.metric("dek_cache_overdue_keys") > 0; l.runFor(time.Second / 10) {
		if time.Now().After(limit) {
			b.t.Fatal("keys are still not confirmed")
		}
	}
}

// flap lets KMS answer for half a second and break connections for half a second, in turn.
func (b *bench) flap(l *load) {
	for i := range 6 {
		b.kms.Always()
		if i%2 == 0 {
			b.kms.Always(kmstest.Resetting)
		}
		l.runFor(time.Second / 2)
	}
}

// metric returns the value of one without labels.
func (b *bench) metric(name string) float64 {
	b.t.Helper()
	_, rest, ok := strings.Cut(b.want("GET", "/metrics", "", 200).text, "\nhyperion_vault_"+name+" ")
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		b.t.Fatalf("no metric %s", name)
	}
	return v
}

// attempt is how long one attempt may take; a request may take far longer here.
const attempt = 3 * time.Second

// TestHanging has many more readers of keys that are not kept than would ever wait at once, while KMS hangs: those that
// meet it first wait for one attempt, the others are refused at once, and readers of kept keys notice nothing.
func TestHanging(t *testing.T) {
	b := start(t, "VAULT_REQUEST_TIMEOUT_SECS=20", "VAULT_KMS_MAX_RETRIES=5")
	const cold, kept = 200, 20
	b.fill("cold", cold, false)
	b.fill("load", kept, true)
	b.kms.Always(kmstest.Hanging)
	var first sync.WaitGroup
	first.Go(func() {
		if took, _ := b.coldReads(t, cold, 503); took < attempt || took > 4*attempt {
			t.Errorf("the first took %s", took)
		}
	})
	for limit := time.Now().Add(attempt); b.kms.Open() < cold/2 && time.Now().Before(limit); <-time.After(time.Millisecond) {
	}
	waiting := b.kms.Open()
	reads, slowest := b.readKept(t, kept)
	still := b.kms.Open()
	first.Wait()
	t.Logf("%d reads of kept keys in a second while %d others wait, the slowest in %s", reads, waiting, slowest)
	// Reads that waited for those of others would be done when no other waits any longer.
	if reads == 0 || slowest >= attempt || still == 0 {
		t.Error("reads of kept keys wait for those of others")
	}
	if waiting < cold/10 {
		t.Error("too few others waited to show anything")
	}
	for range 2 {
		b.refusals(t, cold)
	}
	if b.metric("kms_circuit_open") != 1 || b.metric("kms_refused_attempts_total") < 2*cold {
		t.Error("the metrics do not tell")
	}
	b.kms.Always()
	b.back(t)
	b.eachAsksOnce(t, cold)
	if b.metric("kms_circuit_open") != 0 || !strings.Contains(b.api.Log(), "answers again") || !strings.Contains(b.api.Log(), "does not answer") {
		t.Error("neither metric nor log tells that KMS is back")
	}
}

// refusals has n readers and a writer refused at once, but for what probes whether KMS is back.
func (b *bench) refusals(t *testing.T, n int) {
	t.Helper()
	b.kms.TakeCalls()
	var write sync.WaitGroup
	write.Go(func() {
		if a := b.do("POST", "/v1/secrets", `{"name":"new","value":"v"}`); a.status != 503 || a.retryAfter == "" {
			t.Errorf("a write: %d %s", a.status, a.text)
		}
	})
	took, quick := b.coldReads(t, n, 503)
	write.Wait()
	if asked := len(b.kms.TakeCalls()); quick < n-2 || asked > 3 {
		t.Errorf("%d of %d were refused at once, the slowest after %s, with %d attempts", quick, n, took, asked)
	}
}

// eachAsksOnce has n readers of keys of which one is kept by now. While KMS has no request, no reader can join an attempt
// that began when KMS hung. If KMS is then called once for each other key, no attempt has ended without an answer either.
// How long that takes is up to the machine.
func (b *bench) eachAsksOnce(t *testing.T, n int) {
	t.Helper()
	for limit := time.Now().Add(pgtest.Patience); b.kms.Open() > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d requests still hang", b.kms.Open())
		}
	}
	b.kms.TakeCalls()
	took, _ := b.coldReads(t, n, 200)
	ofNoSecret := func(c kmstest.Call) bool { return maps.Equal(c.Context, envelope.Binding{}.KMSContext()) } // of the readiness check
	if calls := slices.DeleteFunc(b.kms.Calls("Decrypt"), ofNoSecret); len(calls) != n-1 {
		t.Errorf("%d calls for %d keys, the slowest in %s", len(calls), n-1, took)
	}
}

// back reads until KMS is asked again: after a probe that hung to its end, and a second.
func (b *bench) back(t *testing.T) {
	t.Helper()
	startedAt := time.Now()
	for b.do("GET", "/v1/secrets/cold/0", "").status != 200 {
		if time.Since(startedAt) > attempt+time.Second+10*time.Second {
			t.Fatal("not back in time")
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Logf("back after %s", time.Since(startedAt).Round(time.Millisecond))
}

// coldReads reads n secrets at once; each must answer with status. It returns how long the longest took, and how many
// took less than an attempt: a reader that waits for one takes longer.
func (b *bench) coldReads(t *testing.T, n, status int) (longest time.Duration, quick int) {
	t.Helper()
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a := b.do("GET", fmt.Sprintf("/v1/secrets/cold/%d", i), "")
			took[i] = a.took
			if a.status != status || status == 503 && a.retryAfter == "" {
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
	wg.Wait()
	for _, d := range took {
		longest = max(longest, d)
		if d < attempt {
			quick++
		}
	}
	return longest, quick
}

// readKept reads kept secrets for a second and returns how often, and how long the slowest took.
func (b *bench) readKept(t *testing.T, kept int) (reads int64, slowest time.Duration) {
	t.Helper()
	l := b.loadOf(kept, 4, 0)
	l.runFor(time.Second)
	l.stop()
	if l.failed.Load() != 0 {
		t.Errorf("%d reads of kept keys failed: %v", l.failed.Load(), l.first.Load())
	}
	return l.done.Load(), time.Duration(l.slowest.Load())
}

type usage struct {
	goroutines int
	heap       uint64
}

func (u usage) max(o usage) usage { return usage{max(u.goroutines, o.goroutines), max(u.heap, o.heap)} }

// measure counts what lives: garbage of requests that were answered meanwhile is as much as the machine is fast.
func measure() usage {
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return usage{runtime.NumGoroutine(), live[0].Value.Uint64()}
}

// load is a number of readers that read every secret again and again.
type load struct {
	quit         chan struct{}
	wg           sync.WaitGroup
	done, failed atomic.Int64
	slowest      atomic.Int64
	first        atomic.Value
}

func (b *bench) load() *load { return b.loadOf(secrets, readers, pause) }

func (b *bench) loadOf(secrets, readers int, pause time.Duration) *load {
	l := &load{quit: make(chan struct{})}
	for r := range readers {
		l.wg.Go(func() {
			for i := r * secrets / readers; ; i++ { // apart, so that each secret is read again soon
				select {
				case <-l.quit:
					return
				case <-time.After(pause):
				}
				n := i * 7 % secrets
				a := b.do("GET", fmt.Sprintf("/v1/secrets/load/%d", n), "")
				l.done.Add(1)
				for old := l.slowest.Load(); int64(a.took) > old && !l.slowest.CompareAndSwap(old, int64(a.took)); old = l.slowest.Load() {
				}
				if a.status != 200 || a.body["value"] != fmt.Sprintf("value-%d", n) {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, fmt.Sprintf("%d %s", a.status, a.text))
				}
			}
		})
	}
	return l
}

func (l *load) runFor(d time.Duration) { <-time.After(max(d, 0)) }

// forget begins to count from zero.
func (l *load) forget() {
	l.done.Store(0)
	l.failed.Store(0)
	l.slowest.Store(0)
}

func (l *load) stop() { close(l.quit); l.wg.Wait() }
