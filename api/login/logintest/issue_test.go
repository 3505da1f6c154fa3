package logintest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// One secret id with one use, presented many times at once, lets one login in: with stored tokens, and with batch tokens.
func TestSecretIDUsedTwiceAtOnce(t *testing.T) {
	r := newRig(t)
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle"}`, 200)
	for _, kind := range []string{"service", "batch"} {
		t.Run(kind, func(t *testing.T) {
			role := r.admin("PUT", "/v1/auth/approle/roles/"+kind, `{"role":"hv_login_web","token_type":"`+kind+`","config":{"secret_id_num_uses":1}}`, 200)
			made := r.admin("POST", "/v1/auth/approle/roles/"+kind+"/secret-ids", `{}`, 201)
			if made["uses_left"].(float64) != 1 {
				t.Fatalf("made %v", made)
			}
			body := `{"role_id":"` + role["id"].(string) + `","secret_id":"` + made["secret_id"].(string) + `"}`
			var in atomic.Int64
			var wait sync.WaitGroup
			for range 12 {
				wait.Go(func() {
					res, err := http.Post(r.s.URL+"/v1/auth/approle/login", "", bytes.NewReader([]byte(body)))
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = res.Body.Close() }()
					if res.StatusCode == 200 {
						in.Add(1)
					} else if res.StatusCode != 400 {
						t.Errorf("answered %d", res.StatusCode)
					}
				})
			}
			wait.Wait()
			if in.Load() != 1 {
				t.Errorf("%d logins were let in", in.Load())
			}
		})
	}
}

// TestWhoIssuesSecretIDs: who manages every name that a login reaches may hand out secret ids for it, by REST and by SQL.
func TestWhoIssuesSecretIDs(t *testing.T) {
	r := newRig(t)
	for _, role := range []string{"hv_issuer", "hv_login_wide", "hv_login_none"} {
		r.db.MustExec(t, "DO $$ BEGIN CREATE ROLE "+role+"; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	}
	r.db.MustExec(t, "SELECT vault.grant_access('hv_issuer', 'web/*', '{manage}')")
	r.db.MustExec(t, "SELECT vault.grant_access('hv_login_wide', 'web/*', '{read}'), vault.grant_access('hv_login_wide', 'other', '{read}')")
	r.admin("PUT", "/v1/auth/approle", `{"kind":"approle"}`, 200)
	for name, body := range map[string]string{
		"web":      `{"role":"hv_login_web"}`,
		"wide":     `{"role":"hv_login_wide"}`,
		"scoped":   `{"role":"hv_login_wide","scope":[{"pattern":"web/*","actions":["read"]}]}`,
		"none":     `{"role":"hv_login_none"}`,
		"admin":    `{"role":"vault_admin"}`,
		"adminweb": `{"role":"vault_admin","scope":[{"pattern":"web/a","actions":["read","manage"]}]}`,
	} {
		r.admin("PUT", "/v1/auth/approle/roles/"+name, body, 200)
	}
	whole := r.admin("POST", "/v1/tokens", `{"name":"issuer","role":"hv_issuer"}`, 201)["token"].(string)
	narrow := r.admin("POST", "/v1/tokens", `{"name":"narrow","role":"hv_issuer","scope":[{"pattern":"web/a","actions":["manage"]}]}`, 201)["token"].(string)
	for _, c := range []struct {
		role          string
		whole, narrow int
	}{{"web", 201, 403}, {"wide", 403, 403}, {"scoped", 201, 403}, {"none", 403, 403}, {"admin", 403, 403}, {"adminweb", 201, 201}, {"missing", 403, 403}} {
		for _, by := range []struct {
			token string
			want  int
		}{{whole, c.whole}, {narrow, c.narrow}} {
			r.issue(c.role, by.token, by.want)
		}
		r.issueSQL(c.role, c.whole == 201)
	}
	r.admin("POST", "/v1/auth/approle/roles/none/secret-ids", "", 201)
	// What the role is granted later counts at once.
	r.db.MustExec(t, "SELECT vault.grant_access('hv_login_web', 'other', '{read}')")
	defer r.db.MustExec(t, "SELECT vault.revoke_access('hv_login_web', 'other', '{read}')")
	r.issue("web", whole, 403)
}

// issue makes, lists and destroys a secret id.
func (r *rig) issue(role, token string, want int) {
	r.t.Helper()
	path, with := r.s.URL+"/v1/auth/approle/roles/"+role+"/secret-ids", header{"Authorization": "Bearer " + token, "Content-Type": "application/json"}
	status, answer := do(r.t, "POST", path, `{"ttl_secs":60}`, with)
	var made struct {
		Accessor string `json:"secret_id_accessor"`
	}
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != want {
		r.t.Fatalf("a secret id of %s: %d %s", role, status, answer)
	}
	list, destroy := 200, 204
	if want == 403 {
		list, destroy, made.Accessor = 403, 403, "00000000-0000-4000-8000-000000000001"
	}
	if status, answer := do(r.t, "GET", path, "", with); status != list {
		r.t.Errorf("the secret ids of %s: %d %s", role, status, answer)
	}
	if status, answer := do(r.t, "DELETE", path+"/"+made.Accessor, "", with); status != destroy {
		r.t.Errorf("destroying one of %s: %d %s", role, status, answer)
	}
	if want == 201 {
		if status, answer := do(r.t, "POST", path, `{"ttl_secs":-1}`, with); status != 400 {
			r.t.Errorf("a malformed request: %d %s", status, answer)
		}
	}
}

func (r *rig) issueSQL(role string, may bool) {
	r.t.Helper()
	c := r.db.MustConnect(r.t, vaulttest.Superuser)
	if _, err := c.Exec(r.t.Context(), "SET ROLE hv_issuer"); err != nil {
		r.t.Fatal(err)
	}
	_, err := c.Exec(r.t.Context(), "SELECT vault.create_secret_id('approle', '"+role+"'), (SELECT count(*) FROM vault.secret_id_list('approle', '"+role+"'))")
	if (err == nil) != may {
		r.t.Errorf("SQL for %s: %v", role, err)
	}
}
