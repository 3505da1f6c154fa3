package httpapi_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/rewrap"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

// aged is a keeper with a current master key, and some keys at hand.
type aged struct {
	vault.Keeper
	held   int
	refuse error // of Rewrap; nil = none
}

func (k *aged) Held() int { return k.held }

func (k *aged) Current(context.Context) (string, error) { return "next-key", nil }

func (k *aged) Rewrap(_ context.Context, w vault.WrappedKey, _ string, _ map[string]string) (vault.WrappedKey, error) {
	if k.refuse != nil {
		return vault.WrappedKey{}, k.refuse
	}
	return vault.WrappedKey{KeyID: "next-key", Wrapped: w.Wrapped}, nil
}

func newAgedAPI(t *testing.T) (*api, *aged) {
	t.Helper()
	k := &aged{}
	a := newAPI(t)
	allow, err := allowlist.Parse("10.0.0.0/8")
	must(t, err)
	k.Keeper = a.keeper
	job := rewrap.New(nil)
	t.Cleanup(func() { job.Close(context.Background()) })
	v, err := vault.New(vault.Config{Store: a.store, Keeper: k, Recorder: a.recorder, Allow: allow, Node: "n", Database: "app", Rewraps: job})
	must(t, err)
	a.Handler = httpapi.New(httpapi.Config{Vault: v})
	return a, k
}

func TestRewrap(t *testing.T) {
	a, _ := newAgedAPI(t)
	a.create("a", "v")
	for _, method := range []string{"GET", "POST"} {
		a.want(call{method: method, path: "/v1/admin/rewrap", noToken: true}, 401, "unauthenticated")
	}
	if got := a.want(call{method: "GET", path: "/v1/admin/rewrap"}, 200, ""); got.json["state"] != "idle" {
		t.Fatalf("%s", got.Body)
	}
	if got := a.want(call{method: "POST", path: "/v1/admin/rewrap"}, 202, ""); got.json["kms_key_id"] != "next-key" {
		t.Fatalf("%s", got.Body)
	}
	for limit := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		got := a.want(call{method: "GET", path: "/v1/admin/rewrap"}, 200, "")
		if got.json["state"] == "done" {
			if got.json["moved"] != 1.0 || got.json["ended_at"] == nil {
				t.Errorf("%s", got.Body)
			}
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%s", got.Body)
		}
	}
	newAPI(t).want(call{method: "POST", path: "/v1/admin/rewrap"}, 400, "invalid") // one key, permanently
	for body, status := range map[string]int{
		`{}`: 202, `{"rate":1}`: 202, `{"rate":1000}`: 202, `{"rate":0}`: 400, `{"rate":-1}`: 400, `{"rate":1001}`: 400, `{"rate":4294967297}`: 400,
		`{"rate":"5"}`: 400, `{"rate":1.5}`: 400, `{"speed":5}`: 400, `[]`: 400, `x`: 400,
	} {
		code := map[int]string{400: "invalid"}[status]
		a.want(call{method: "POST", path: "/v1/admin/rewrap", body: body}, status, code)
	}
	a.want(call{method: "POST", path: "/v1/admin/rewrap", body: `{"rate":0}`, noToken: true}, 401, "unauthenticated")
}

// TestRewrapPace: the rate that is asked for is the one that is kept.
func TestRewrapPace(t *testing.T) {
	a, _ := newAgedAPI(t)
	for _, name := range []string{"a", "b", "c"} {
		a.create(name, "v")
	}
	a.want(call{method: "POST", path: "/v1/admin/rewrap", body: `{"rate":4}`}, 202, "")
	for limit := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		got := a.want(call{method: "GET", path: "/v1/admin/rewrap"}, 200, "")
		if got.json["state"] == "done" {
			startedAt, berr := time.Parse(time.RFC3339, got.json["begun_at"].(string))
			ended, eerr := time.Parse(time.RFC3339, got.json["ended_at"].(string))
			if took := ended.Sub(startedAt); berr != nil || eerr != nil || took < 450*time.Millisecond || got.json["moved"] != 3.0 {
				t.Errorf("took %s: %s", took, got.Body)
			}
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s", got.Body)
		}
	}
}

// TestRewrapFailure: the status names the last version that could not be moved.
func TestRewrapFailure(t *testing.T) {
	a, k := newAgedAPI(t)
	a.create("db/lost", "v")
	k.refuse = core.Wrap(core.Unavailable, errors.Join(vault.ErrKeyRefused, errors.New("arn:aws:kms:x")), "the master key cannot be used now")
	a.want(call{method: "POST", path: "/v1/admin/rewrap"}, 202, "")
	for limit := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		got := a.want(call{method: "GET", path: "/v1/admin/rewrap"}, 200, "")
		if got.json["state"] == "failed" {
			last, _ := got.json["last_failed"].(map[string]any)
			if got.json["failed"] != 1.0 || got.json["remaining"] != 1.0 || last["name"] != "db/lost" || last["version"] != 1.0 ||
				last["error"] != "the master key cannot be used now" || strings.Contains(got.Body.String(), "arn:") {
				t.Errorf("%s", got.Body)
			}
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s", got.Body)
		}
	}
}

func TestReadyDegraded(t *testing.T) {
	a, k := newAgedAPI(t)
	a.keeper.FailWith(func(string) error { return core.Wrap(core.Unavailable, errors.New("arn:aws:kms:x"), "away") })
	ready := func(status int, text, keys string) {
		t.Helper()
		got := a.do(call{method: "GET", path: "/readyz", from: outside, noToken: true})
		checks, _ := got.json["checks"].(map[string]any)
		if got.Code != status || got.json["status"] != text || checks["keys"] != keys {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	}
	ready(503, "unavailable", "unavailable")
	k.held = 1
	ready(200, "degraded", "degraded")
	a.store.FailWith(func(op string) error {
		if op == "CheckReader" {
			return core.Errorf(core.Unavailable, "no database")
		}
		return nil
	})
	ready(503, "unavailable", "degraded")
}

// TestRefusedByTheKeyService: the client may not know why, the operator must. It is not told that it may not read: its
// address is allowed.
func TestRefusedByTheKeyService(t *testing.T) {
	a := newAPI(t)
	a.create("a", "v")
	a.keeper.FailWith(func(string) error {
		return core.Wrap(core.Denied, errors.New("arn:aws:iam::1:role/x"), "the key service refuses")
	})
	got := a.want(call{method: "GET", path: "/v1/secrets/a"}, 503, "unavailable")
	if body := got.Body.String(); body == "" || strings.Contains(body, "arn:") || !strings.Contains(a.logs.String(), "role/x") {
		t.Errorf("%s; log: %s", body, a.logs)
	}
}
