package browsertest

import (
	"net/http"
	"testing"
)

// fillVault makes secrets that have something to show.
func fillVault(s *site) {
	s.t.Helper()
	s.db.MustExec(s.t, "DO $$ BEGIN CREATE ROLE hv_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	s.db.MustExec(s.t, "SELECT vault.grant_access('hv_reader', 'app/*', '{read}')")
	s.must("POST", "/v1/secrets", map[string]any{"name": "app/db/password", "kind": "manual", "value": marker, "grace_period_secs": 86400,
		"description": "Password of the role app on the main cluster", "tags": map[string]string{"team": "payments", "env": "prod"}})
	s.update("app/db/password", `"1"`, marker+"-2")
	s.must("POST", "/v1/secrets", map[string]any{"name": "app/api/signing-key", "kind": "automatic", "rotation_interval_secs": 604800,
		"grace_period_secs": 3600, "description": "Signs the tokens of the public API", "tags": map[string]string{"team": "platform"}})
	for _, name := range []string{"app/mail/smtp", "app/queue/user", "ci/deploy", "ops/backup/passphrase"} {
		s.MustCreate(s.t, name, marker)
	}
	s.db.MustExec(s.t, `UPDATE vault.secret_versions SET created_at = created_at - interval '3 days' WHERE version = 1`)
	s.db.MustExec(s.t, `UPDATE vault.secret_versions SET created_at = created_at - interval '5 hours' WHERE version = 2`)
}

// update stores a version in place of the one that an ETag names.
func (s *site) update(name, etag, value string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.URL+"/v1/secrets/"+name, body(asJSON(map[string]any{"value": value})))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.AdminToken)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("If-Match", etag)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("update %s: %d", name, resp.StatusCode)
	}
}

// TestPages visits every page, on both sizes and in both schemes.
func TestPages(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	b := s.open(t)
	b.visit("/")
	b.has("Log in", "With a token", "With an AppRole")
	b.checkPage("login")
	b.fill("#token", "wrong")
	b.click("main section button")
	b.has("the token is not valid")
	b.checkPage("login-wrong")
	b.login(s.AdminToken)
	for _, p := range []struct {
		name, path string
		has        []string
	}{
		{"list", "/", []string{"app/db/password", "team=payments", "vault_admin"}},
		{"search", "/?q=sign", []string{"app/api/signing-key"}},
		{"nothing", "/?q=none", []string{"No secret that you may see"}},
		{"tree", "/tree?prefix=app/", []string{"db/", "mail/"}},
		{"secret", "/secret?name=app/db/password", []string{"current", "in grace", "hv_reader", "app/*", "Reveal", "Last readers", "payments"}},
		{"automatic", "/secret?name=app/api/signing-key", []string{"every 7 days", "in 6 days"}},
		{"create", "/secret/new?prefix=app/", []string{"New secret"}},
		{"update", "/secret/update?name=app/db/password", []string{"It replaces version 2"}},
		{"rotate", "/secret/rotate?name=app/api/signing-key", []string{"Type the name to confirm"}},
		{"expire", "/secret/expire?name=app/db/password&version=1", []string{"version 1", "Type the name to confirm"}},
		{"access", "/access", []string{"hv_reader", "Take back", "valid"}},
		{"audit", "/audit", []string{"create", "ok"}},
		{"health", "/health", []string{"PostgreSQL for reads", "Key service", "Rotations due"}},
		{"error", "/secret?name=app/none", []string{"Not Found"}},
	} {
		b.visit(p.path)
		b.has(p.has...)
		b.lacks(marker)
		b.checkPage(p.name)
	}
	b.visit("/secret?name=app/db/password")
	b.click(`section form[action="/secret/reveal"] button[type=submit]`)
	b.has(marker + "-2")
	b.checkPage("value")
}
