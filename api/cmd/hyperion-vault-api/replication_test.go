package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// ask sends a request with headers and returns the answer's too.
func ask(t *testing.T, method, url, token, body string, header map[string]string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// TestReadYourWrites: a change through one node is seen through another, whose database replays nothing, by a client that
// sends back what the change answered.
func TestReadYourWrites(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	standby := c.NewStandby(t)
	db := vaulttest.NewDBIn(t, c)
	token := db.MustToken(t, "ops")
	standby.MustCatchUp(t)
	one := launch(t, db.Environ(t))
	two := launch(t, db.On(standby).Environ(t, "VAULT_LSN_WAIT_MS=50"))
	writes := "http://" + one.wait(t, 1, "listening")["listen"].(string)
	reads := "http://" + two.wait(t, 1, "listening")["listen"].(string)
	one.wait(t, 1, "ready")
	two.wait(t, 1, "ready")
	status, answer, _ := ask(t, "POST", writes+"/v1/secrets", token, `{"name":"a","value":"one"}`, nil)
	if status != 201 {
		t.Fatal(status, answer)
	}
	standby.MustCatchUp(t)
	db.On(standby).MustExec(t, "SELECT pg_wal_replay_pause()")
	status, answer, header := ask(t, "PUT", writes+"/v1/secrets/a", token, `{"value":"two"}`, map[string]string{"If-Match": `"1"`})
	lsn := header.Get("Vault-Lsn")
	if status != 200 || lsn == "" {
		t.Fatal(status, answer, header)
	}
	for _, tt := range []struct {
		header map[string]string
		status int
		want   string
	}{
		{nil, 200, `"value":"one"`},
		{map[string]string{"Vault-Read-Consistency": "local"}, 200, `"value":"one"`},
		{map[string]string{"Vault-Lsn": lsn}, 200, `"value":"two"`},
		{map[string]string{"Vault-Read-Consistency": "primary"}, 200, `"value":"two"`},
		{map[string]string{"Vault-Lsn": "nonsense"}, 400, `"code":"invalid"`},
	} {
		status, answer, _ := ask(t, "GET", reads+"/v1/secrets/a", token, "", tt.header)
		if status != tt.status || !strings.Contains(answer, tt.want) {
			t.Errorf("with %v: %d %s", tt.header, status, answer)
		}
	}
	t.Run("Status", func(t *testing.T) {
		type standing struct {
			InRecovery  bool `json:"in_recovery"`
			Replication struct {
				Host, Primary string
				Home          bool
				LagBytes      int64   `json:"lag_bytes"`
				LagSecs       float64 `json:"lag_secs"`
			}
		}
		// A status is kept for a moment, so the first one may be from before the change.
		pgtest.Eventually(t, "the status of a standby that lags", func() bool {
			status, answer, _ := ask(t, "GET", reads+"/v1/status", token, "", nil)
			var got standing
			if err := json.Unmarshal([]byte(answer), &got); err != nil || status != 200 {
				t.Fatal(status, err, answer)
			}
			r := got.Replication
			return got.InRecovery && r.Home && r.Host == standby.Dir() && r.Primary == c.Dir() && r.LagBytes > 0 && r.LagSecs > 0
		})
		_, metrics, _ := ask(t, "GET", reads+"/metrics", "", "", nil)
		if !strings.Contains(metrics, "hyperion_vault_pg_in_recovery 1\n") || !strings.Contains(metrics, "hyperion_vault_pg_replication_lag_bytes ") {
			t.Error("the metrics say nothing of it")
		}
	})
}
