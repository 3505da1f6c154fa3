// Package clienttest has unmodified clients of Vault and OpenBao work against a real API in front of PostgreSQL.
package clienttest

import (
	"encoding/json"
	"io"
	"log"
	"os"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // consul-template says each step
	os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run())
}

// site is a server with an AppRole whose role may do everything below app/.
type site struct {
	*vaulttest.Server
	db               *vaulttest.DB
	roleID, secretID string
	standby          bool // its database is one
}

// newSite makes a site, whose clients are served by a standby within TestStandbySuite.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	if suite.standby == nil {
		return newSiteOn(t, vaulttest.NewDB(t), env...)
	}
	db := vaulttest.NewDBIn(t, suite.primary)
	s := newSiteOn(t, db, env...)
	s.Server, s.standby = vaulttest.NewServer(t, db.On(suite.standby), env...), true
	return s
}

func newSiteOn(t *testing.T, db *vaulttest.DB, env ...string) *site {
	t.Helper()
	s := &site{Server: vaulttest.NewServer(t, db, env...), db: db}
	db.MustExec(t, "DO $$ BEGIN CREATE ROLE hv_client; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	db.MustExec(t, "SELECT vault.grant_access('hv_client', 'app/*', '{read,create,update,delete}')")
	s.must(t, 200, 201, "PUT", "/v1/auth/approle", `{"kind":"approle"}`)
	role := s.must(t, 200, 201, "PUT", "/v1/auth/approle/roles/app", `{"role":"hv_client","token_ttl_secs":600,"token_max_ttl_secs":1200}`)
	id := s.must(t, 200, 201, "POST", "/v1/auth/approle/roles/app/secret-ids", "{}")
	s.roleID, s.secretID = role["id"].(string), id["secret_id"].(string)
	return s
}

// must sends a request of our own API and returns its answer, which has one of two statuses.
func (s *site) must(t *testing.T, either, or int, method, path, body string) (out map[string]any) {
	t.Helper()
	status, answer := s.Do(t, method, path, body)
	if status != either && status != or {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if answer != "" {
		ok(t, json.Unmarshal([]byte(answer), &out))
	}
	return out
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
