package outagetest

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
)

// TestCauses: a key service that goes on failing in one way is named in the answer, the log, /readyz and the metrics,
// with retries that would take longer than the request has.
func TestCauses(t *testing.T) {
	b := start(t, "VAULT_KMS_MAX_RETRIES=50", "VAULT_DEK_CACHE_TTL_SECS=0")
	b.want("POST", "/v1/secrets", `{"name":"cause/a","kind":"manual","value":"v"}`, 201)
	for name, c := range map[string]struct {
		fault       kmstest.Fault
		status      int
		text        string
		log, reason string
	}{
		"throttled":   {kmstest.Throttled, 503, "the key service is throttling", "ThrottlingException", "throttled"},
		"failed":      {kmstest.Broken, 503, "the key service has failed", "KMSInternalException", "failed"},
		"unreachable": {kmstest.Resetting, 503, "the key service cannot be reached", "the connection broke", "unreachable"},
		"hanging":     {kmstest.Hanging, 503, "the key service did not answer in time", "given up", "timeout"},
		"refused":     {kmstest.Refused, 503, "", "is not authorized", "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			b.kms.Always(c.fault)
			defer func() {
				b.kms.Always()
				b.wantReady("ready")
			}()
			for _, a := range []answer{
				b.want("POST", "/v1/secrets", `{"name":"cause/b","kind":"manual","value":"v"}`, c.status),
				b.want("GET", "/v1/secrets/cause/a", "", c.status),
			} {
				if detail, _ := a.body["detail"].(string); c.text != "" && detail != c.text {
					t.Errorf("the client reads: %s", a.text)
				}
			}
			b.wantReady("unavailable")
			if a := b.do("GET", "/readyz", ""); !strings.Contains(a.text, `"keys":"`+c.text) {
				t.Errorf("/readyz says %s", a.text)
			}
			if !strings.Contains(b.api.Log(), c.log) {
				t.Errorf("the log does not name %q", c.log)
			}
			if text := b.do("GET", "/metrics", "").text; !strings.Contains(text, `hyperion_vault_kms_failures_total{operation="generate",reason="`+c.reason+`"} `) ||
				strings.Contains(text, `hyperion_vault_kms_failures_total{operation="generate",reason="`+c.reason+`"} 0`) {
				t.Error("the metrics do not count it")
			}
		})
	}
}
