package clienttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// step is one request of a client whose program is not at hand, and what the client needs of the answer.
type step struct {
	method, path, body string
	status             int
	needs              map[string]string // paths of members with their JSON; "" = any but null
	keep               string            // the member to use as the token from now on
}

// replay sends the steps one after the other. {role} and {secret} stand for the AppRole.
func (s *site) replay(t *testing.T, token string, steps []step) {
	t.Helper()
	fill := strings.NewReplacer("{role}", s.roleID, "{secret}", s.secretID)
	for i, x := range steps {
		r, err := http.NewRequestWithContext(t.Context(), x.method, s.URL+x.path, strings.NewReader(fill.Replace(x.body)))
		ok(t, err)
		r.Header.Set("X-Vault-Request", "true")
		r.Header.Set("X-Vault-Namespace", "") // as vault-action and others send it
		if token != "" {
			r.Header.Set("X-Vault-Token", token)
		}
		res, err := http.DefaultClient.Do(r)
		ok(t, err)
		text, err := io.ReadAll(res.Body)
		ok(t, err)
		ok(t, res.Body.Close())
		if res.StatusCode != x.status {
			t.Fatalf("step %d, %s %s: %d, want %d: %s", i+1, x.method, x.path, res.StatusCode, x.status, text)
		}
		var answer any
		_ = json.Unmarshal(text, &answer)
		for path, want := range x.needs {
			got, _ := json.Marshal(member(answer, path))
			if want == "" && string(got) == "null" || want != "" && string(got) != want {
				t.Errorf("step %d, %s %s: %s is %s, want %s: %s", i+1, x.method, x.path, path, got, want, text)
			}
		}
		if x.keep != "" {
			token, _ = member(answer, x.keep).(string)
		}
	}
}

func member(v any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[part]
	}
	return v
}

func TestReplay(t *testing.T) {
	s := newSite(t)
	http.DefaultClient.CloseIdleConnections()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	in := step{"PUT", "/v1/auth/approle/login", `{"role_id":"{role}","secret_id":"{secret}"}`, 200,
		map[string]string{"auth.renewable": "true", "auth.lease_duration": "", "auth.token_type": `"service"`}, "auth.client_token"}
	self := step{"GET", "/v1/auth/token/lookup-self", "", 200, map[string]string{"data.id": "", "data.ttl": "", "data.type": `"service"`, "data.expire_time": "",
		"data.renewable": "true"}, ""}
	renew := step{"PUT", "/v1/auth/token/renew-self", `{"increment":0}`, 200, map[string]string{"auth.lease_duration": "", "auth.client_token": ""}, ""}
	out := step{"PUT", "/v1/auth/token/revoke-self", "null", 204, nil, ""}
	read := func(name string) step {
		return step{"GET", "/v1/secret/data/" + name, "", 200, map[string]string{"data.data.k": `"v"`, "data.metadata.version": ""}, ""}
	}
	preflight := step{"GET", "/v1/sys/internal/ui/mounts/secret/app/a", "", 200, map[string]string{"data.path": `"secret/"`, "data.options.version": `"2"`, "data.type": `"kv"`}, ""}
	s.replay(t, s.AdminToken, []step{{"PUT", "/v1/secret/data/app/a", `{"data":{"k":"v"},"options":{}}`, 200, nil, ""}})
	for name, steps := range map[string][]step{
		"ExternalSecretsRead": {in, read("app/a"), self, out, {"GET", "/v1/auth/token/lookup-self", "", 403, nil, ""}},
		"ExternalSecretsPush": {in, {"GET", "/v1/secret/data/app/push", "", 404, map[string]string{"errors": "[]"}, ""},
			{"GET", "/v1/secret/metadata/app/push", "", 404, map[string]string{"errors": "[]"}, ""},
			{"PUT", "/v1/secret/metadata/app/push", `{"custom_metadata":{"managed-by":"external-secrets"}}`, 204, nil, ""},
			{"PUT", "/v1/secret/data/app/push", `{"data":{"k":"v"}}`, 200, map[string]string{"data.version": "1"}, ""},
			{"GET", "/v1/secret/metadata/app/push", "", 200, map[string]string{"data.custom_metadata.managed-by": `"external-secrets"`}, ""},
			{"GET", "/v1/secret/metadata/app?list=true", "", 200, map[string]string{"data.keys": ""}, ""},
			{"DELETE", "/v1/secret/metadata/app/push", "", 204, nil, ""}, self, out},
		"VaultSecretsOperator": {{"GET", "/v1/sys/seal-status", "", 200, map[string]string{"sealed": "false", "initialized": "true", "cluster_id": ""}, ""}, in, read("app/a"), renew, self, out},
		"CSI":                  {in, read("app/a")},
		"Agent": {{"GET", "/v1/sys/health?activecode=299&drsecondarycode=299&haunhealhty=299&performancestandbycode=299&removedcode=299&sealedcode=299&standbycode=299&uninitcode=299", "", 299, nil, ""},
			in, renew, preflight, read("app/a"), read("app/a"), renew},
		"AgentTokenFile": {in, self, renew, self},
		"Spring": {in, self, preflight, {"GET", "/v1/secret/data/app/a/prod", "", 404, map[string]string{"errors": "[]"}, ""}, read("app/a"), renew,
			{"GET", "/v1/sys/health", "", 200, map[string]string{"version": ""}, ""}, out},
		"VaultAction": {{"POST", in.path, in.body, 200, in.needs, in.keep}, read("app/a")},
		"PgTde": {in, {"GET", "/v1/sys/mounts/secret", "", 200, map[string]string{"data.type": `"kv"`, "data.options.version": `"2"`}, ""},
			{"GET", "/v1/secret/metadata/?list=true", "", 200, map[string]string{"data.keys": ""}, ""},
			{"POST", "/v1/secret/data/app/tde", `{"data":{"key":"a2V5"}}`, 200, nil, ""},
			{"GET", "/v1/secret/data/app/tde", "", 200, map[string]string{"data.data.key": `"a2V5"`}, ""}},
		"Terraform": {in, self, {"POST", "/v1/auth/token/create", `{"display_name":"terraform","explicit_max_ttl":"300s","ttl":"300s","renewable":false,"num_uses":0}`, 200,
			map[string]string{"auth.client_token": "", "auth.renewable": "false"}, "auth.client_token"},
			{"GET", "/v1/sys/seal-status", "", 200, map[string]string{"version": ""}, ""},
			{"POST", "/v1/secret/data/app/tf", `{"cas":0,"data":{"k":"v"},"options":{}}`, 200, nil, ""}, read("app/tf"),
			{"PUT", "/v1/secret/data/app/tf", `{"cas":0,"data":{"k":"v"},"options":{}}`, 200, map[string]string{"data.version": "2"}, ""},
			{"GET", "/v1/secret/metadata/app/tf", "", 200, map[string]string{"data.current_version": "2"}, ""},
			{"DELETE", "/v1/secret/data/app/tf", "", 204, nil, ""}, {"DELETE", "/v1/secret/metadata/app/tf", "", 204, nil, ""}},
	} {
		t.Run(name, func(t *testing.T) { s.replay(t, "", steps) })
	}
}

// TestRotatingSecret: agents come back when there is a new value.
func TestRotatingSecret(t *testing.T) {
	s := newSite(t)
	s.must(t, 201, 201, "POST", "/v1/secrets", `{"name":"app/rotated","kind":"automatic","rotation_interval_secs":3600}`)
	got, err := newVaultClient(t, s).Logical().Read("secret/data/app/rotated")
	ok(t, err)
	if got.LeaseDuration < 3500 || got.LeaseDuration > 3600 || got.Renewable {
		t.Errorf("lease_duration %d", got.LeaseDuration)
	}
	if v, _ := got.Data["data"].(map[string]any); fmt.Sprint(v["value"]) == "" {
		t.Errorf("%+v", got.Data)
	}
}
