package privilegetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// caller is one column of the table.
type caller struct {
	short, long string
	url         string // of the server that it asks
	token       string // "" = none
	outside     bool   // its address is not in VAULT_ALLOWED_IPS
}

// matrix is the servers and the callers.
type matrix struct {
	s       *vaulttest.Server
	db      *vaulttest.DB
	client  *http.Client
	callers []caller
}

// roles are the SQL roles of the callers' tokens, and what each may do with which names.
var roles = map[string][2]string{
	"hv_priv_reader":    {"app/*", "{read}"},
	"hv_priv_elsewhere": {"other/*", "{read}"},
	"hv_priv_updater":   {"app/*", "{update}"},
	"hv_priv_manager":   {"app/*", "{manage}"},
	"hv_priv_chief":     {"*", "{manage}"},
	"hv_priv_auditor":   {"*", "{audit}"},
	"hv_priv_nothing":   {"", ""},
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	db := vaulttest.NewDB(t)
	// Forwarded addresses give every request a client of its own; an old key makes a rewrap possible.
	env := []string{"VAULT_TRUST_PROXY=127.0.0.1", "VAULT_ALLOWED_IPS=10.0.0.0/8,127.0.0.1",
		"VAULT_OLD_LOCAL_MASTER_KEY=" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))}
	db.MustExec(t, "ALTER DATABASE "+db.Name+" SET hyperion_vault.deleted_retention_days = 1")
	m := &matrix{db: db, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(m.client.CloseIdleConnections)
	for role, may := range roles {
		m.mustRole(t, role)
		if may[0] != "" {
			db.MustExec(t, fmt.Sprintf("SELECT vault.grant_access('%s', '%s', '%s')", role, may[0], may[1]))
			db.MustExec(t, fmt.Sprintf("SELECT vault.grant_access('%s', '%s', '%s')", role, strings.Replace(may[0], "app/*", "seen/app", 1), may[1]))
		}
	}
	for _, name := range []string{"app/template", "other/template"} {
		db.MustExec(t, fmt.Sprintf("SELECT vault.create_role_template('%s', '{}', max_leases => 100000)", name))
	}
	closed := vaulttest.NewServer(t, db, append(env, "VAULT_ANONYMOUS_READ=off")...)
	m.s = vaulttest.NewServer(t, db, env...)
	m.s.MustCreate(t, "seen/app", "value-of-app")
	m.s.MustCreate(t, "seen/other", "value-of-other")
	m.callers = m.all(t)
	for i := range m.callers {
		if m.callers[i].url = m.s.URL; m.callers[i].short == "off" {
			m.callers[i].url = closed.URL
		}
	}
	return m
}

func (m *matrix) mustRole(t *testing.T, role string) {
	t.Helper()
	m.db.MustExec(t, fmt.Sprintf("DO $$ BEGIN CREATE ROLE %s; EXCEPTION WHEN duplicate_object THEN NULL; END $$", role))
}

func (m *matrix) all(t *testing.T) []caller {
	t.Helper()
	reader := m.token(t, m.s.AdminToken, `{"name":"reader","role":"hv_priv_reader"}`)
	expired := m.token(t, m.s.AdminToken, `{"name":"expired","role":"vault_admin","ttl_secs":1}`)
	revoked := m.admin(t, "POST", "/v1/tokens", `{"name":"revoked","role":"vault_admin"}`)
	m.admin(t, "DELETE", "/v1/tokens/"+revoked["accessor"].(string), "")
	m.awaitEnd(t, expired)
	of := func(role string) string { return m.token(t, m.s.AdminToken, `{"name":"`+role+`","role":"`+role+`"}`) }
	return []caller{
		{short: "none", long: "no token, from an allowed address: vault_anonymous with its default grants"},
		{short: "off", long: "no token, from an allowed address, with VAULT_ANONYMOUS_READ=off"},
		{short: "out", long: "no token, from an address that is not allowed", outside: true},
		{short: "admout", long: "a token of vault_admin, from an address that is not allowed", token: m.s.AdminToken, outside: true},
		{short: "read", long: "a token of a role with read on app/*", token: reader},
		{short: "child", long: "a child of that token", token: m.token(t, reader, `{"name":"child"}`)},
		{short: "batch", long: "a batch token of that role", token: m.batch(t)},
		{short: "else", long: "a token of a role with read on other/*", token: of("hv_priv_elsewhere")},
		{short: "upd", long: "a token of a role with update on app/*", token: of("hv_priv_updater")},
		{short: "mng", long: "a token of a role with manage on app/*", token: of("hv_priv_manager")},
		{short: "chief", long: "a token of a role with manage on *", token: of("hv_priv_chief")},
		{short: "aud", long: "a token of a role with audit on *", token: of("hv_priv_auditor")},
		{short: "no", long: "a token of a role without grants", token: of("hv_priv_nothing")},
		{short: "admin", long: "a token of vault_admin", token: m.s.AdminToken},
		{short: "scope", long: "a token of vault_admin whose scope is read on app/* and seen/app", token: m.token(t, m.s.AdminToken,
			`{"name":"scoped","role":"vault_admin","scope":[{"pattern":"app/*","actions":["read"]},{"pattern":"seen/app","actions":["read"]}]}`)},
		{short: "cidr", long: "a token of vault_admin that is bound to other addresses", token: m.token(t, m.s.AdminToken,
			`{"name":"bound","role":"vault_admin","bound_cidrs":["10.255.0.0/16"]}`)},
		{short: "expd", long: "a token of vault_admin that has expired", token: expired},
		{short: "revd", long: "a token of vault_admin that was revoked", token: revoked["token"].(string)},
		{short: "unkn", long: "a token that was never made", token: "hvt_" + strings.Repeat("A", 43)},
		{short: "bad", long: "a text that is no token", token: "hvt_short"},
	}
}

// admin asks as vault_admin, from an address of its own, and decodes the answer.
func (m *matrix) admin(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	return m.as(t, m.s.AdminToken, method, path, body)
}

func (m *matrix) as(t *testing.T, token, method, path, body string) (out map[string]any) {
	t.Helper()
	status, answer := m.send(t, row{match: true}, caller{url: m.s.URL, token: token}, method, path, body, "10.1.1.1")
	if status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if answer != "" {
		if err := json.Unmarshal([]byte(answer), &out); err != nil {
			t.Fatalf("%s: %v", answer, err)
		}
	}
	return out
}

// token makes a token with another one.
func (m *matrix) token(t *testing.T, by, body string) string {
	t.Helper()
	return m.as(t, by, "POST", "/v1/tokens", body)["token"].(string)
}

// batch logs in by AppRole for a batch token.
func (m *matrix) batch(t *testing.T) string {
	t.Helper()
	m.admin(t, "PUT", "/v1/auth/batch", `{"kind":"approle"}`)
	role := m.admin(t, "PUT", "/v1/auth/batch/roles/app", `{"role":"hv_priv_reader","token_type":"batch"}`)
	id := m.admin(t, "POST", "/v1/auth/batch/roles/app/secret-ids", "")
	out := m.as(t, "", "POST", "/v1/auth/batch/login", fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, role["id"], id["secret_id"]))
	return out["auth"].(map[string]any)["client_token"].(string)
}

// awaitEnd returns when a token is no longer valid.
func (m *matrix) awaitEnd(t *testing.T, token string) {
	t.Helper()
	c := caller{url: m.s.URL, token: token}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if status, _ := m.send(t, row{}, c, "GET", "/v1/tokens/self", "", "10.1.1.2"); status == http.StatusUnauthorized {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the token does not end")
		}
	}
}

// fill makes what the placeholders of a request stand for.
func (m *matrix) fill(t *testing.T, key, text string) *strings.Replacer {
	t.Helper()
	var out []string
	set := func(placeholder, value string) { out = append(out, "{"+placeholder+"}", value) }
	has := func(placeholder string) bool { return strings.Contains(text, "{"+placeholder+"}") }
	set("new", "app/new-"+key)
	if has("name") {
		// Two versions, so that there is one to expire, and a policy, so that it can be rotated.
		m.admin(t, "POST", "/v1/secrets", `{"name":"app/`+key+`","value":"u","grace_period_secs":3600,"generate_policy":{}}`)
		m.admin(t, "PUT", "/v1/secrets/app/"+key, `{"value":"v"}`)
		set("name", "app/"+key)
	}
	if has("deleted") {
		name := "app/gone-" + key
		made := m.admin(t, "POST", "/v1/secrets", `{"name":"`+name+`","value":"v"}`)
		m.admin(t, "DELETE", "/v1/secrets/"+name, "")
		set("deleted", made["id"].(string))
	}
	if has("accessor") {
		set("accessor", m.admin(t, "POST", "/v1/tokens", `{"name":"other-`+key+`","role":"vault_admin"}`)["accessor"].(string))
	}
	if has("sql-role") {
		m.mustRole(t, "hv_priv_grantee")
		m.admin(t, "PUT", "/v1/grants", `{"role":"hv_priv_grantee","pattern":"app/granted","actions":["read"]}`)
		set("sql-role", "hv_priv_grantee")
	}
	if has("lease") {
		set("lease", m.admin(t, "POST", "/v1/leases", `{"template":"app/template"}`)["id"].(string))
	}
	if has("doomed-template") {
		m.db.MustExec(t, fmt.Sprintf("SELECT vault.create_role_template('app/%s', '{}')", key))
		set("doomed-template", "app/"+key)
	}
	if has("mount") {
		path := "/v1/auth/" + key
		m.admin(t, "PUT", path, `{"kind":"approle"}`)
		role := m.admin(t, "PUT", path+"/roles/app", `{"role":"hv_priv_reader"}`)
		id := m.admin(t, "POST", path+"/roles/app/secret-ids", "")
		set("mount", key)
		set("role", "app")
		set("role-id", role["id"].(string))
		set("secret", id["secret_id"].(string))
		set("secret-id", id["secret_id_accessor"].(string))
	}
	if has("userpass") {
		path := "/v1/auth/" + key + "-up"
		m.admin(t, "PUT", path, `{"kind":"userpass"}`)
		m.admin(t, "PUT", path+"/roles/alice", `{"role":"hv_priv_reader"}`)
		m.admin(t, "PUT", path+"/roles/alice/password", `{"password":"correct horse"}`)
		set("userpass", key+"-up")
		set("user", "alice")
		set("password", "correct horse")
	}
	return strings.NewReplacer(out...)
}
