package logintest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// rig is a server with a role that may read web/*, and secrets in and outside of that.
type rig struct {
	t  *testing.T
	db *vaulttest.DB
	s  *vaulttest.Server
}

func newRig(t *testing.T, env ...string) *rig {
	t.Helper()
	db := vaulttest.NewDB(t)
	r := &rig{t: t, db: db, s: vaulttest.NewServer(t, db, env...)}
	r.prepare()
	return r
}

func (r *rig) prepare() {
	r.t.Helper()
	r.db.MustExec(r.t, "DO $$ BEGIN CREATE ROLE hv_login_web; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	r.db.MustExec(r.t, "SELECT vault.grant_access('hv_login_web', 'web/*', '{read}')")
	r.s.MustCreate(r.t, "web/a", "value of a")
	r.s.MustCreate(r.t, "other", "value of other")
}

type header map[string]string

// do sends a request and returns the answer; body is JSON text.
func do(t *testing.T, method, url, body string, h header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range h {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	checkDocument(t, req, body, res, answer)
	return res.StatusCode, string(answer)
}

// admin configures, and decodes the answer.
func (r *rig) admin(method, path, body string, want int) (out map[string]any) {
	r.t.Helper()
	status, answer := do(r.t, method, r.s.URL+path, body, header{"Authorization": "Bearer " + r.s.AdminToken, "Content-Type": "application/json"})
	if status != want {
		r.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if answer != "" {
		if err := json.Unmarshal([]byte(answer), &out); err != nil {
			r.t.Fatalf("%s: %v", answer, err)
		}
	}
	return out
}

type auth struct {
	ClientToken   string            `json:"client_token"`
	Accessor      string            `json:"accessor"`
	Policies      []string          `json:"policies"`
	TokenPolicies []string          `json:"token_policies"`
	Metadata      map[string]string `json:"metadata"`
	LeaseDuration int64             `json:"lease_duration"`
	Renewable     bool              `json:"renewable"`
	TokenType     string            `json:"token_type"`
	Orphan        bool              `json:"orphan"`
}

// login posts what a client of Vault posts: without a content type.
func login(t *testing.T, url, mount, body string) (int, string, auth) {
	t.Helper()
	status, answer := do(t, http.MethodPut, url+"/v1/auth/"+mount+"/login", body, nil)
	var envelope struct{ Auth auth }
	if err := json.Unmarshal([]byte(answer), &envelope); err != nil {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	return status, answer, envelope.Auth
}

func mustLogin(t *testing.T, url, mount, body string) auth {
	t.Helper()
	status, answer, a := login(t, url, mount, body)
	if status != http.StatusOK || a.ClientToken == "" {
		t.Fatalf("login: %d %s", status, answer)
	}
	return a
}

// read returns the status of a read with a token.
func read(t *testing.T, url, name, token string) int {
	t.Helper()
	status, _ := do(t, http.MethodGet, url+"/v1/secrets/"+name, "", header{"Authorization": "Bearer " + token})
	return status
}

func wantRead(t *testing.T, url, name, token string, want int) {
	t.Helper()
	if got := read(t, url, name, token); got != want {
		t.Errorf("a read of %s answers %d, want %d", name, got, want)
	}
}
