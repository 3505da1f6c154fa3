// Package outagetest runs the real API on a real PostgreSQL against a KMS that goes away.
package outagetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }

const deadline = time.Second

type bench struct {
	t      *testing.T
	kms    *kmstest.Server
	key    string
	db     *vaulttest.DB
	api    *vaulttest.Server
	client *http.Client
}

// start has an API whose requests may take one second and whose KMS calls are tried twice.
func start(t *testing.T, env ...string) *bench {
	t.Helper()
	return startOn(t, vaulttest.NewDB(t), env...)
}

func startOn(t *testing.T, db *vaulttest.DB, env ...string) *bench {
	t.Helper()
	k, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	for name, value := range k.Environ() {
		t.Setenv(name, value)
	}
	b := &bench{t: t, kms: k, key: k.CreateKey(), db: db, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(b.client.CloseIdleConnections)
	b.api = b.serve(env...)
	return b
}

func (b *bench) serve(env ...string) *vaulttest.Server {
	b.t.Helper()
	return vaulttest.NewServer(b.t, b.db, append(env, "VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID="+b.key,
		fmt.Sprintf("VAULT_REQUEST_TIMEOUT_SECS=%d", deadline/time.Second), "VAULT_KMS_MAX_RETRIES=1")...)
}

type answer struct {
	status     int
	retryAfter string
	took       time.Duration
	body       map[string]any
	text       string
}

// do is safe for several goroutines. An error is status 0.
func (b *bench) do(method, path, body string) answer {
	begun := time.Now()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.api.URL+path, strings.NewReader(body))
	if err != nil {
		return answer{text: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+b.api.AdminToken)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPut {
		req.Header.Set("If-Match", "*")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{text: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{text: err.Error()}
	}
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), took: time.Since(begun), text: string(text)}
	_ = json.Unmarshal(text, &a.body)
	return a
}

func (b *bench) want(method, path, body string, status int) answer {
	b.t.Helper()
	a := b.do(method, path, body)
	if a.status != status {
		b.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.text, status)
	}
	return a
}

func (b *bench) wantReady(status string) {
	b.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		a := b.do("GET", "/readyz", "")
		if a.body["status"] == status {
			if want := map[string]int{"unavailable": 503}[status]; want != 0 && a.status != want || want == 0 && a.status != 200 {
				b.t.Fatalf("status %d with %s", a.status, a.text)
			}
			return
		}
		if time.Now().After(limit) {
			b.t.Fatalf("not %s: %d %s", status, a.status, a.text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// outages are the ways of KMS to be away, each with its begin; the server is put right again by end.
var outages = map[string]func(k *kmstest.Server){
	"refused":    func(k *kmstest.Server) { k.Stop() },
	"hanging":    func(k *kmstest.Server) { k.Always(kmstest.Hanging) },
	"trickling":  func(k *kmstest.Server) { k.Always(kmstest.Trickling) },
	"throttling": func(k *kmstest.Server) { k.Always(kmstest.Throttled) },
	"5xx":        func(k *kmstest.Server) { k.Always(kmstest.Broken) },
	"proxy":      func(k *kmstest.Server) { k.Always(kmstest.BadGateway) },
	"resetting":  func(k *kmstest.Server) { k.Always(kmstest.Resetting) },
	"expired":    func(k *kmstest.Server) { k.Always(kmstest.ExpiredLogin) },
	"disabled":   func(k *kmstest.Server) { k.Always(kmstest.Fault{Status: 400, Code: "DisabledException"}) },
}

func (b *bench) end() {
	b.t.Helper()
	b.kms.Always()
	b.kms.Stop()
	if err := b.kms.Start(); err != nil {
		b.t.Fatal(err)
	}
}

func TestOutages(t *testing.T) {
	b := start(t)
	for name, begin := range outages {
		b.want("POST", "/v1/secrets", `{"name":"`+name+`/read","value":"v1"}`, 201)
		b.want("POST", "/v1/secrets", `{"name":"`+name+`/unread","value":"v2"}`, 201)
		b.want("GET", "/v1/secrets/"+name+"/read", "", 200)
		b.wantReady("ready")
		t.Run(name, func(t *testing.T) {
			begin(b.kms)
			b.outage(t, name)
			b.end()
			b.wantReady("ready")
			b.want("GET", "/v1/secrets/"+name+"/unread", "", 200)
			b.want("GET", "/v1/metadata/"+name+"/new", "", 404) // the refused create has left nothing
			if a := b.want("GET", "/v1/metadata/"+name+"/read", "", 200); a.body["current_version"] != 1.0 {
				t.Errorf("the refused update has left %s", a.text)
			}
			b.want("POST", "/v1/secrets", `{"name":"`+name+`/new","value":"v"}`, 201)
		})
	}
	metrics := b.want("GET", "/metrics", "", 200).text
	for _, line := range []string{"hyperion_vault_dek_cache_hits_total ", `hyperion_vault_kms_errors_total{code="unavailable",operation="unwrap"} `} {
		if at := strings.Index(metrics, line); at < 0 || metrics[at+len(line)] == '0' {
			t.Errorf("nothing counted: %s", line)
		}
	}
	for _, secret := range []string{kmstest.SecretAccessKey, kmstest.SessionToken} {
		if strings.Contains(b.api.Log(), secret) {
			t.Error("the log holds a credential")
		}
	}
}

// outage checks what must hold while KMS is away: kept keys serve at once, everything else fails closed in time.
func (b *bench) outage(t *testing.T, name string) {
	t.Helper()
	for range 20 {
		a := b.do("GET", "/v1/secrets/"+name+"/read", "")
		if a.status != 200 || a.body["value"] != "v1" || a.took > time.Second {
			t.Fatalf("a kept key: %d %s in %s", a.status, a.text, a.took)
		}
	}
	if a := b.do("POST", "/v1/secrets/"+name+"/read/verify", `{"value":"v1"}`); a.status != 200 || a.body["valid"] != true {
		t.Errorf("verify: %d %s", a.status, a.text)
	}
	var calls sync.WaitGroup
	for what, call := range map[string][3]string{
		"a key that is not kept": {"GET", "/v1/secrets/" + name + "/unread", ""},
		"create":                 {"POST", "/v1/secrets", `{"name":"` + name + `/new","value":"v"}`},
		"update":                 {"PUT", "/v1/secrets/" + name + "/read", `{"value":"v9"}`},
	} {
		calls.Go(func() {
			a := b.do(call[0], call[1], call[2])
			if a.status != 503 || a.retryAfter == "" || a.body["code"] != "unavailable" || a.took > deadline+2*time.Second {
				t.Errorf("%s: %d %s in %s, retry after %q", what, a.status, a.text, a.took, a.retryAfter)
			}
			if strings.Contains(a.text, "arn:") || strings.Contains(a.text, "127.0.0.1") {
				t.Errorf("%s tells too much: %s", what, a.text)
			}
		})
	}
	calls.Wait()
	b.wantReady("degraded")
}

// TestDown: a node that holds no keys is down while KMS is away, and still starts.
func TestDown(t *testing.T) {
	b := start(t)
	b.want("POST", "/v1/secrets", `{"name":"a","value":"v"}`, 201)
	b.wantReady("ready")
	b.kms.Stop()
	b.wantReady("unavailable")
	b.api.MustStop(t)
	b.api = b.serve()
	b.wantReady("unavailable")
	if a := b.do("GET", "/v1/secrets/a", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.text)
	}
	b.end()
	b.wantReady("ready")
	b.want("GET", "/v1/secrets/a", "", 200)
}

// TestCacheOff: with a TTL of 0 nothing is kept, so every read needs KMS.
func TestCacheOff(t *testing.T) {
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=0", "VAULT_KMS_MAX_RETRIES=0")
	b.want("POST", "/v1/secrets", `{"name":"a","value":"v"}`, 201)
	b.want("GET", "/v1/secrets/a", "", 200)
	b.want("GET", "/v1/secrets/a", "", 200)
	if n := len(b.kms.Calls("Decrypt")); n != 2 {
		t.Errorf("%d Decrypts", n)
	}
	b.kms.Stop()
	b.want("GET", "/v1/secrets/a", "", 503)
	b.wantReady("unavailable")
}

// TestRefused: a KMS that refuses this server is denied, not an outage.
func TestRefused(t *testing.T) {
	b := start(t)
	b.want("POST", "/v1/secrets", `{"name":"a","value":"v"}`, 201)
	b.kms.Always(kmstest.Refused)
	b.want("GET", "/v1/secrets/a", "", 403)
	if a := b.do("POST", "/v1/secrets", `{"name":"b","value":"v"}`); a.status != 403 || strings.Contains(a.text, "arn:") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if !strings.Contains(b.api.Log(), "role/vault is not authorized") {
		t.Error("the operator does not read why")
	}
}

const (
	secrets = 1000
	readers = 32
)

// TestLoadThroughOutage reads 1,000 secrets under load while KMS hangs, refuses, throttles and comes back, for longer
// than all retries and for longer than half the TTL.
func TestLoadThroughOutage(t *testing.T) {
	b := start(t, "VAULT_DEK_CACHE_TTL_SECS=40")
	for i := range secrets {
		b.want("POST", "/v1/secrets", fmt.Sprintf(`{"name":"load/%d","value":"value-%d"}`, i, i), 201)
	}
	for i := range secrets {
		b.want("GET", fmt.Sprintf("/v1/secrets/load/%d", i), "", 200)
	}
	b.want("POST", "/v1/secrets", `{"name":"cold","value":"v"}`, 201)
	l := b.load()
	before := measure()
	l.runFor(3 * time.Second)
	b.kms.TakeCalls()
	var worst usage
	for _, way := range []string{"hanging", "throttling", "flapping", "refused"} {
		for i := range 3 {
			if way != "flapping" {
				outages[way](b.kms)
			} else if b.kms.Always(); i%2 == 0 {
				b.kms.Always(kmstest.Resetting)
			}
			l.runFor(time.Second)
			worst = worst.max(measure())
		}
		outages["5xx"](b.kms)
		if a := b.do("GET", "/v1/secrets/cold", ""); a.status != 503 || a.took > deadline+2*time.Second {
			t.Errorf("%s: a cold read: %d in %s", way, a.status, a.took)
		}
		b.kms.Always()
	}
	asked := len(b.kms.TakeCalls())
	b.end()
	l.runFor(3 * time.Second)
	l.stop()
	refreshed := 0
	for _, c := range b.kms.Calls("Decrypt") {
		if c.Code == "" {
			refreshed++
		}
	}
	b.want("GET", "/v1/secrets/cold", "", 200)
	after := measure()
	if asked == 0 || refreshed == 0 {
		t.Errorf("no key was due: %d calls in the outage, %d keys refreshed after it", asked, refreshed)
	}
	t.Logf("%d reads, %d failed; %d calls in the outage, %d keys refreshed after it; goroutines %d before, %d at worst, %d after; heap %d, %d, %d KiB; slowest read %s",
		l.done.Load(), l.failed.Load(), asked, refreshed, before.goroutines, worst.goroutines, after.goroutines, before.heap>>10, worst.heap>>10,
		after.heap>>10, time.Duration(l.slowest.Load()))
	if l.failed.Load() != 0 || l.done.Load() < secrets {
		t.Errorf("%d of %d reads failed: %v", l.failed.Load(), l.done.Load(), l.first.Load())
	}
	if worst.goroutines > before.goroutines+200 || after.goroutines > before.goroutines+50 {
		t.Errorf("goroutines: %d before, %d at worst, %d after", before.goroutines, worst.goroutines, after.goroutines)
	}
	if worst.heap > before.heap+64<<20 {
		t.Errorf("heap: %d bytes before, %d at worst", before.heap, worst.heap)
	}
}

type usage struct {
	goroutines int
	heap       uint64
}

func (u usage) max(o usage) usage { return usage{max(u.goroutines, o.goroutines), max(u.heap, o.heap)} }

func measure() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine(), m.HeapAlloc}
}

// load is a number of readers that read every secret again and again.
type load struct {
	quit         chan struct{}
	wg           sync.WaitGroup
	done, failed atomic.Int64
	slowest      atomic.Int64
	first        atomic.Value
}

func (b *bench) load() *load { return b.loadOf(secrets, readers) }

func (b *bench) loadOf(secrets, readers int) *load {
	l := &load{quit: make(chan struct{})}
	for r := range readers {
		l.wg.Go(func() {
			for i := r; ; i++ {
				select {
				case <-l.quit:
					return
				default:
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

func (l *load) runFor(d time.Duration) { <-time.After(d) }

func (l *load) stop() { close(l.quit); l.wg.Wait() }
