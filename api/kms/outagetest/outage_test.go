// Package outagetest runs the real API on a real PostgreSQL against a KMS that goes away.
package outagetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }

const deadline = time.Second

// slack is what a request may take beyond its time on a busy machine. The attempts that it cuts short take longer.
const slack = 4 * time.Second

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
	startedAt := time.Now()
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
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), took: time.Since(startedAt), text: string(text)}
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
		// The server of most of these tests preloads nothing, and that alone is no concern of theirs.
		text := strings.Replace(a.text, `"supervisor":"degraded"`, `"supervisor":"ok"`, 1)
		if a.body["status"] == status || status == "ready" && a.status == 200 && strings.Count(text, `"degraded"`) == 1 {
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
		if a.status != 200 || a.body["value"] != "v1" { // a request that waits for KMS has no such end
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
			if a.status != 503 || a.retryAfter == "" || a.body["code"] != "unavailable" || a.took > deadline+slack {
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

// TestRefused: a KMS that refuses this server is no outage, and nothing that a client is not allowed.
func TestRefused(t *testing.T) {
	b := start(t)
	b.want("POST", "/v1/secrets", `{"name":"a","value":"v"}`, 201)
	b.kms.Always(kmstest.Refused)
	b.want("GET", "/v1/secrets/a", "", 503)
	if a := b.do("POST", "/v1/secrets", `{"name":"b","value":"v"}`); a.status != 503 || strings.Contains(a.text, "arn:") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if !strings.Contains(b.api.Log(), "role/vault is not authorized") {
		t.Error("the operator does not read why")
	}
}
