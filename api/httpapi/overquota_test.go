package httpapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/quota"
)

// TestRetryAfter: a client over its quota learns when to come back, in whole seconds that are enough.
func TestRetryAfter(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) { c.Vault.SetQuota(quota.Limits{Reads: quota.Rate{N: 1, Per: time.Hour}}) })
	if w := a.do(call{method: "POST", path: "/v1/secrets", body: `{"name":"a","value":"v"}`}); w.Code != 201 {
		t.Fatal(w.Code, w.Body)
	}
	if w := a.do(call{method: "GET", path: "/v1/secrets/a"}); w.Code != 200 || w.Header().Get("Retry-After") != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w := a.do(call{method: "GET", path: "/v1/secrets/a"})
	secs, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if w.Code != 429 || err != nil || secs < 3590 || secs > 3600 || !strings.Contains(w.Body.String(), "the quota of reads is used up: it is 1/h") {
		t.Errorf("%d, Retry-After: %s, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	if w := a.do(call{method: "GET", path: "/v1/secrets/a", noToken: true}); w.Code != 200 {
		t.Errorf("a caller without the token pays for it: %d %s", w.Code, w.Body)
	}
}
