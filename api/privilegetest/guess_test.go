package privilegetest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestGuesses searches for a value by verify, with all tokens that a role can make for itself.
func TestGuesses(t *testing.T) {
	db := vaulttest.NewDB(t)
	m := &matrix{db: db, s: vaulttest.NewServer(t, db, "VAULT_TRUST_PROXY=127.0.0.1", "VAULT_ALLOWED_IPS=10.0.0.0/8,127.0.0.1", "VAULT_QUOTA_VERIFIES=5/h"),
		client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(m.client.CloseIdleConnections)
	m.s.MustCreate(t, "app/pin", "0042")
	for _, role := range []string{"hv_priv_guesser", "hv_priv_holder"} {
		m.mustRole(t, role)
		db.MustExec(t, fmt.Sprintf("SELECT vault.grant_access('%s', 'app/*', '{verify}')", role))
	}
	verify := func(token, from, candidate string) string {
		status, body := m.send(t, row{}, caller{url: m.s.URL, token: token}, "POST", "/v1/secrets/app/pin/verify", `{"value":"`+candidate+`"}`, from)
		if status == http.StatusTooManyRequests && !strings.Contains(body, "too many wrong candidates were tried for this secret: the quota is 5/h") {
			t.Errorf("429: %s", body)
		}
		return fmt.Sprint(status, " ", strings.Contains(body, `"valid":true`))
	}
	guesser := m.token(t, m.s.AdminToken, `{"name":"guesser","role":"hv_priv_guesser"}`)
	for i := range 50 {
		child := m.token(t, guesser, fmt.Sprintf(`{"name":"guesser-%d"}`, i))
		want := "200 false"
		if i >= 5 {
			want = "429 false"
		}
		if got := verify(child, fmt.Sprintf("10.0.0.%d", i+1), fmt.Sprintf("%04d", i)); got != want {
			t.Fatalf("guess %d: %s, want %s", i, got, want)
		}
	}
	if got := verify(m.token(t, m.s.AdminToken, `{"name":"holder","role":"hv_priv_holder"}`), "10.0.0.1", "0042"); got != "200 true" {
		t.Errorf("another role pays for it: %s", got)
	}
	if got := verify("", "10.0.1.1", "0042"); got != "200 true" {
		t.Errorf("a caller without a token pays for it: %s", got)
	}
}
