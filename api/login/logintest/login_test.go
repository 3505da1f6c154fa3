// Package logintest logs in to the real API in front of PostgreSQL, by every method.
package logintest

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

func TestAppRoleLogin(t *testing.T) {
	r := newRig(t)
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle","description":"machines"}`, 200)
	role := r.admin("PUT", "/v1/auth/approle/roles/web", `{"role":"hv_login_web","token_ttl_secs":600,"bound_cidrs":["127.0.0.0/8"]}`, 200)
	roleID := role["id"].(string)
	made := r.admin("POST", "/v1/auth/approle/roles/web/secret-ids", "", 201)
	secretID := made["secret_id"].(string)
	body := `{"role_id":"` + roleID + `","secret_id":"` + secretID + `","unknown":1}`

	t.Run("OK", func(t *testing.T) {
		status, answer, a := login(t, r.s.URL, "approle", body)
		if status != 200 || a.TokenType != "service" || !a.Renewable || a.LeaseDuration != 600 || a.Metadata["role_name"] != "web" || !a.Orphan ||
			len(a.Policies) != 1 || a.Policies[0] != "hv_login_web" || !strings.HasPrefix(a.ClientToken, "hvt_") || len(a.Accessor) != 36 {
			t.Fatalf("%d %s", status, answer)
		}
		for _, key := range []string{`"request_id":"`, `"lease_id":""`, `"wrap_info":null`, `"warnings":null`, `"data":null`, `"mfa_requirement":null`, `"num_uses":0`, `"entity_id":""`} {
			if !strings.Contains(answer, key) {
				t.Errorf("the answer lacks %s: %s", key, answer)
			}
		}
		wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
		wantRead(t, r.s.URL, "other", a.ClientToken, 403)
	})
	for name, c := range map[string]struct{ mount, body string }{
		"ErrSecretID":        {"approle", `{"role_id":"` + roleID + `","secret_id":"hvi_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`},
		"ErrSecretIDMissing": {"approle", `{"role_id":"` + roleID + `"}`},
		"ErrRoleID":          {"approle", `{"role_id":"00000000-0000-4000-8000-000000000001","secret_id":"` + secretID + `"}`},
		"ErrRoleIDIsName":    {"approle", `{"role_id":"web","secret_id":"` + secretID + `"}`},
		"ErrMount":           {"missing", body},
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer, _ := login(t, r.s.URL, c.mount, c.body); status != 400 || answer != `{"errors":["invalid role or secret ID"]}` {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	t.Run("ErrMalformed", func(t *testing.T) {
		if status, answer, _ := login(t, r.s.URL, "approle", `{"role_id":`); status != 400 || !strings.HasPrefix(answer, `{"errors":["failed to decode JSON input`) {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("ErrWrapping", func(t *testing.T) {
		if status, answer := do(t, "POST", r.s.URL+"/v1/auth/approle/login", body, header{"X-Vault-Wrap-TTL": "60x"}); status != 400 {
			t.Errorf("%d %s", status, answer)
		}
		if status, answer := do(t, "POST", r.s.URL+"/v1/auth/approle/login", body, header{"X-Vault-Namespace": "team"}); status != 404 {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("ErrDestroyed", func(t *testing.T) {
		r.admin("DELETE", "/v1/auth/approle/roles/web/secret-ids/"+made["secret_id_accessor"].(string), "", 204)
		if status, answer, _ := login(t, r.s.URL, "approle", body); status != 400 {
			t.Errorf("%d %s", status, answer)
		}
	})
	if strings.Contains(r.s.Log(), secretID) || strings.Contains(r.s.Log(), "hvt_") {
		t.Error("the log holds a secret id or a token")
	}
	if !strings.Contains(r.s.Log(), `"cause":"login_secret_id"`) {
		t.Error("the log does not say why a login was refused")
	}
}

func TestBatchToken(t *testing.T) {
	r := newRig(t, "VAULT_LOGIN_LOCAL_KEYS=on")
	i := newIssuer(t)
	r.trust(i, "ci", "batch")
	body := func() string { return `{"jwt":"` + i.sign("system:serviceaccount:shop:web") + `"}` }
	a := mustLogin(t, r.s.URL, "ci", body())
	if a.TokenType != "batch" || a.Renewable || a.Accessor != "" || !strings.HasPrefix(a.ClientToken, "hvb_") {
		t.Fatalf("logged in as %+v", a)
	}
	r.wantOwn(a.ClientToken)
	wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
	wantRead(t, r.s.URL, "other", a.ClientToken, 403)
	t.Run("ErrTampered", func(t *testing.T) {
		text := []byte(a.ClientToken)
		text[len(text)/2] ^= 1
		wantRead(t, r.s.URL, "web/a", string(text), 401)
		wantRead(t, r.s.URL, "web/a", "hvb_", 401)
		wantRead(t, r.s.URL, "web/a", "hvb_"+strings.Repeat("A", 200), 401)
	})
	t.Run("OKAfterKeyRotation", func(t *testing.T) {
		r.admin("POST", "/v1/admin/token-key", "", 200)
		b := mustLogin(t, r.s.URL, "ci", body())
		wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
		wantRead(t, r.s.URL, "web/a", b.ClientToken, 200)
	})
	t.Run("OKOnAnotherNode", func(t *testing.T) {
		other := vaulttest.NewServer(t, r.db, "VAULT_AGENT_SOCKET=off", "VAULT_NODE_NAME=other")
		wantRead(t, other.URL, "web/a", a.ClientToken, 200)
	})
	t.Run("ErrRevoked", func(t *testing.T) {
		r.admin("POST", "/v1/auth/ci/roles/web/revoke", "", 200)
		wantRead(t, r.s.URL, "web/a", a.ClientToken, 401)
		b := mustLogin(t, r.s.URL, "ci", body())
		wantRead(t, r.s.URL, "web/a", b.ClientToken, 200)
	})
	t.Run("ErrExpired", func(t *testing.T) {
		r.admin("PUT", "/v1/auth/ci/roles/web", `{"role":"hv_login_web","token_type":"batch","token_ttl_secs":1,`+
			`"config":{"bound_audiences":["vault"],"bound_subject":"system:serviceaccount:shop:web"}}`, 200)
		b := mustLogin(t, r.s.URL, "ci", body())
		for deadline := time.Now().Add(10 * time.Second); read(t, r.s.URL, "web/a", b.ClientToken) != 401; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the token does not expire")
			}
		}
	})
	t.Run("ErrRoleDeleted", func(t *testing.T) {
		r.trust(i, "ci", "batch")
		b := mustLogin(t, r.s.URL, "ci", body())
		r.admin("DELETE", "/v1/auth/ci/roles/web", "", 204)
		wantRead(t, r.s.URL, "web/a", b.ClientToken, 401)
	})
	if strings.Contains(r.s.Log(), "hvb_") {
		t.Error("the log holds a batch token")
	}
}

// While the primary is away, a node with a standby still lets clients log in, and opens what other nodes have issued.
func TestLoginWithoutPrimary(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true})
	r := &rig{t: t, db: vaulttest.NewDBIn(t, c)}
	standby := c.NewStandby(t)
	r.s = vaulttest.NewServer(t, r.db, "VAULT_LOGIN_LOCAL_KEYS=on")
	r.prepare()
	i := newIssuer(t)
	r.trust(i, "ci", "batch")
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle"}`, 200)
	role := r.admin("PUT", "/v1/auth/approle/roles/web", `{"role":"hv_login_web","token_type":"batch"}`, 200)
	secret := r.admin("POST", "/v1/auth/approle/roles/web/secret-ids", `{}`, 201)
	stored := r.admin("PUT", "/v1/auth/approle/roles/stored", `{"role":"hv_login_web"}`, 200)
	storedSecret := r.admin("POST", "/v1/auth/approle/roles/stored/secret-ids", `{}`, 201)
	before := mustLogin(t, r.s.URL, "ci", `{"jwt":"`+i.sign("system:serviceaccount:shop:web")+`"}`)
	standby.MustCatchUp(t)
	there := vaulttest.NewServer(t, r.db.On(standby), "VAULT_LOGIN_LOCAL_KEYS=on", "VAULT_REQUEST_TIMEOUT_SECS=5", "VAULT_WRITE_TIMEOUT_SECS=5")
	c.MustStop(t, syscall.SIGQUIT)

	wantRead(t, there.URL, "web/a", before.ClientToken, 200)
	a := mustLogin(t, there.URL, "ci", `{"jwt":"`+i.sign("system:serviceaccount:shop:web")+`"}`)
	wantRead(t, there.URL, "web/a", a.ClientToken, 200)
	wantRead(t, there.URL, "other", a.ClientToken, 403)
	b := mustLogin(t, there.URL, "approle", `{"role_id":"`+role["id"].(string)+`","secret_id":"`+secret["secret_id"].(string)+`"}`)
	wantRead(t, there.URL, "web/a", b.ClientToken, 200)
	if status, answer, _ := login(t, there.URL, "approle", `{"role_id":"`+stored["id"].(string)+`","secret_id":"`+storedSecret["secret_id"].(string)+`"}`); status != 503 {
		t.Errorf("a token that must be stored: %d %s", status, answer)
	}
}

// TestCertificateLogin: the listener verifies the chain, and the role says which names it lets in.
func TestCertificateLogin(t *testing.T) {
	dir, ca, theirs := t.TempDir(), pki.NewCA(t), pki.NewCA(t)
	p := ca.Issue(t, "server", time.Now().Add(time.Hour))
	cert, key := pki.Write(t, filepath.Join(dir, "cert"), p.Cert), pki.Write(t, filepath.Join(dir, "key"), p.Key)
	r := newRig(t, "VAULT_API_LISTEN=http://127.0.0.1:0,https://127.0.0.1:0", "VAULT_API_TLS_CERT="+cert, "VAULT_API_TLS_KEY="+key,
		"VAULT_API_TLS_CLIENT_CA="+pki.Write(t, filepath.Join(dir, "ca"), ca.PEM), "VAULT_API_TLS_CLIENT_AUTH=optional")
	r.admin("PUT", "/v1/auth/cert", `{"kind":"cert"}`, 200)
	r.admin("PUT", "/v1/auth/cert/roles/a", `{"role":"hv_login_web","config":{"allowed_common_names":["db-*"]}}`, 200)
	r.admin("PUT", "/v1/auth/cert/roles/web", `{"role":"hv_login_web","config":{"allowed_common_names":["web"]}}`, 200)
	secure := regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(r.s.Log())
	try := func(pair *pki.Pair, body string) (int, auth, error) {
		conf := &tls.Config{RootCAs: ca.Pool()}
		if pair != nil {
			own := pair.TLS(t)
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
		res, err := client.Post(secure+"/v1/auth/cert/login", "application/json", strings.NewReader(body))
		if err != nil {
			return 0, auth{}, err
		}
		defer func() { _ = res.Body.Close() }()
		var envelope struct{ Auth auth }
		err = json.NewDecoder(res.Body).Decode(&envelope)
		return res.StatusCode, envelope.Auth, err
	}
	later := time.Now().Add(time.Hour)
	web, other, foreign, expired := ca.Issue(t, "web", later), ca.Issue(t, "other", later), theirs.Issue(t, "web", later), ca.Issue(t, "web", time.Now().Add(-time.Hour))
	for _, body := range []string{`{"name":"web"}`, ``, `null`} { // without a name, the role that fits
		status, a, err := try(&web, body)
		if err != nil || status != 200 || a.Metadata["role"] != "web" || a.Metadata["common_name"] != "web" {
			t.Fatalf("%s: %d %+v %v", body, status, a, err)
		}
		wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
	}
	for name, c := range map[string]struct {
		pair *pki.Pair
		body string
	}{"wrong name": {&other, `{"name":"web"}`}, "wrong role": {&web, `{"name":"a"}`}, "no certificate": {nil, `{"name":"web"}`}} {
		if status, _, err := try(c.pair, c.body); err != nil || status != 400 {
			t.Errorf("%s: %d %v", name, status, err)
		}
	}
	for name, pair := range map[string]*pki.Pair{"wrong CA": &foreign, "expired": &expired} {
		if status, _, err := try(pair, `{"name":"web"}`); err == nil {
			t.Errorf("%s: answered %d", name, status)
		}
	}
	// What no listener verified does not count, whatever a client says of itself.
	if status, answer, _ := login(t, r.s.URL, "cert", `{"name":"web"}`); status != 400 {
		t.Errorf("over plain HTTP: %d %s", status, answer)
	}
}

// What is refused costs little, and does not keep the client's other requests out.
func TestRefusedLoginsAreRationed(t *testing.T) {
	r := newRig(t)
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle"}`, 200)
	answers := map[int]int{}
	for range 80 {
		status, _, _ := login(t, r.s.URL, "approle", `{"role_id":"x","secret_id":"y"}`)
		answers[status]++
	}
	if answers[400] < 55 || answers[429] < 5 || answers[400]+answers[429] != 80 {
		t.Errorf("answered %v", answers)
	}
	if got := r.s.MustRead(t, "web/a"); got != "value of a" {
		t.Errorf("a read of the same client gives %q", got)
	}
	wantRead(t, r.s.URL, "web/a", r.s.AdminToken, 200)
}

// Only who may manage everything configures logins, and nothing that is listed is secret.
func TestLoginConfiguration(t *testing.T) {
	r := newRig(t)
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle","description":"d"}`, 200)
	role := r.admin("PUT", "/v1/auth/approle/roles/web", `{"role":"hv_login_web","scope":[{"pattern":"web/a","actions":["read"]}]}`, 200)
	made := r.admin("POST", "/v1/auth/approle/roles/web/secret-ids", `{"ttl_secs":60,"uses":5,"bound_cidrs":["127.0.0.1/32"]}`, 201)
	secretID := made["secret_id"].(string)
	a := mustLogin(t, r.s.URL, "approle", `{"role_id":"`+role["id"].(string)+`","secret_id":"`+secretID+`"}`)
	paths := map[string][]string{
		"GET": {"/v1/auth", "/v1/auth/approle", "/v1/auth/approle/roles", "/v1/auth/approle/roles/web", "/v1/auth/approle/roles/web/secret-ids"},
		"PUT": {"/v1/auth/approle", "/v1/auth/approle/roles/web"}, "POST": {"/v1/auth/approle/roles/web/revoke", "/v1/auth/approle/roles/web/secret-ids", "/v1/admin/token-key"},
		"DELETE": {"/v1/auth/approle", "/v1/auth/approle/roles/web", "/v1/auth/approle/roles/web/secret-ids/" + made["secret_id_accessor"].(string)},
	}
	for method, list := range paths {
		for _, path := range list {
			h := header{"Content-Type": "application/json"}
			body := ""
			if method == "PUT" {
				body = `{"kind":"approle"}`
				if strings.Contains(path, "roles") {
					body = `{"role":"vault_admin"}`
				}
			}
			if status, answer := do(t, method, r.s.URL+path, body, h); status != 401 {
				t.Errorf("%s %s without a token: %d %s", method, path, status, answer)
			}
			h["Authorization"] = "Bearer " + a.ClientToken
			if status, answer := do(t, method, r.s.URL+path, body, h); status != 403 {
				t.Errorf("%s %s with a token of another role: %d %s", method, path, status, answer)
			}
			if method == "GET" {
				out := r.admin("GET", path, "", 200)
				text, _ := json.Marshal(out)
				if strings.Contains(string(text), secretID) || strings.Contains(string(text), "hvi_") || strings.Contains(string(text), "fingerprint") {
					t.Errorf("%s shows %s", path, text)
				}
			}
		}
	}
	for path, body := range map[string]string{
		"/v1/auth/token": `{"kind":"approle"}`, "/v1/auth/x": `{"kind":"ldap"}`, "/v1/auth/y": `{"kind":"jwt","config":{}}`, "/v1/auth/z": `{"kind":"jwt","config":{"isuer":"x"}}`,
		"/v1/auth/approle/roles/a": `{"role":"hv_login_web","token_type":"root"}`, "/v1/auth/approle/roles/b": `{"role":""}`,
		"/v1/auth/approle/roles/c": `{"role":"hv_login_web","scope":[{"pattern":"a","actions":["fly"]}]}`, "/v1/auth/approle/roles/d": `{"role":"hv_login_web","bound_cidrs":["10.0.0.1/8"]}`,
		"/v1/auth/approle/roles/e": `{"role":"hv_login_web","token_type":"batch","token_ttl_secs":86401}`, "/v1/auth/approle/roles/f": `{"role":"hv_login_web","config":{"x":1}}`,
	} {
		r.admin("PUT", path, body, 400)
	}
	r.admin("PUT", "/v1/auth/approle/roles/g", `{"role":"no such role at all"}`, 404)
	r.admin("PUT", "/v1/auth/missing/roles/g", `{"role":"hv_login_web"}`, 404)
	r.admin("GET", "/v1/auth/missing", "", 404)
	r.admin("GET", "/v1/auth/approle/roles/missing", "", 404)
	r.admin("DELETE", "/v1/auth/approle", "", 204)
	r.admin("DELETE", "/v1/auth/approle", "", 404)
	wantRead(t, r.s.URL, "web/a", a.ClientToken, 200) // a stored token outlives the method that issued it
}

// wantOwn asks for a batch token with itself, and tries to renew and to revoke it.
func (r *rig) wantOwn(batch string) {
	r.t.Helper()
	with := header{"Authorization": "Bearer " + batch}
	var own struct {
		Name, Role, Method, Accessor string
		Renewable                    bool
		TTLSecs                      int64     `json:"ttl_secs"`
		ExpiresAt                    time.Time `json:"expires_at"`
	}
	status, answer := do(r.t, "GET", r.s.URL+"/v1/tokens/self", "", with)
	if err := json.Unmarshal([]byte(answer), &own); err != nil || status != 200 {
		r.t.Fatalf("its own: %d %s", status, answer)
	}
	if own.Role != "hv_login_web" || own.Method != "ci" || own.Accessor != "" || own.Renewable || own.TTLSecs != 900 || time.Until(own.ExpiresAt) > 15*time.Minute {
		r.t.Errorf("its own: %s", answer)
	}
	for path, method := range map[string]string{"/v1/tokens/self/renew": "POST", "/v1/tokens/self": "DELETE"} {
		if status, answer := do(r.t, method, r.s.URL+path, "", with); status != 400 || !strings.Contains(answer, "a batch token cannot be") {
			r.t.Errorf("%s %s: %d %s", method, path, status, answer)
		}
	}
	if status, answer := do(r.t, "GET", r.s.URL+"/v1/tokens/00000000-0000-4000-8000-000000000001", "", with); status != 404 {
		r.t.Errorf("another: %d %s", status, answer)
	}
}
