package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

func TestSearch(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db/Password", "v")
	b.create("app/mail", "v", func(r *vault.CreateRequest) { r.Description = "The PASSWORD of the relay" })
	b.create("other/key", "v")
	b.login(b.token)
	b.recorder.Take()
	body := b.get("/?q=password")
	mustContain(t, body, "app/db/Password", "app/mail", `value="password"`)
	mustLack(t, body, "other/key")
	if e := b.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionList || e[0].Name != "" {
		t.Errorf("records %+v", e) // what was searched for may be a value
	}
	mustLack(t, b.get("/?q=password&prefix=app/db/"), "app/mail")
	mustContain(t, b.get("/?q=none"), "has <strong>none</strong> in its name or description")
	if w := b.do("/?q="+strings.Repeat("a", 256), call{}); w.Code != http.StatusBadRequest {
		t.Errorf("a long text: %d", w.Code)
	}
	for i := range 51 {
		b.create("many/password-"+string(rune('a'+i/26))+string(rune('a'+i%26)), "v")
	}
	mustContain(t, b.get("/?q=password"), "q=password", "after=many%2Fpassword-bv", "Next page")
	body = b.get("/?q=password&after=many%2Fpassword-bv")
	mustContain(t, body, "many/password-by", "First page")
	mustLack(t, body, "Next page")
}

func TestGrants(t *testing.T) {
	b := newBrowser(t)
	b.store.AddRole("app")
	b.login(b.token)
	mustContain(t, b.get("/access"), "vault_admin", "Take back", "New grant", "ops", "valid")
	if w := b.post("/access/grant", "role", "app", "pattern", "app/*", "may_read", "yes", "may_verify", "yes"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/access?done=granted" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	mustContain(t, b.get("/access?done=granted"), "The grant was made.", "read, verify")
	for name, fields := range map[string][]string{
		"no such role": {"role", "none", "pattern", "app/*", "may_read", "yes"},
		"no action":    {"role", "app", "pattern", "app/*"},
		"no pattern":   {"role", "app", "pattern", "a*", "may_read", "yes"},
	} {
		w := b.post("/access/grant", fields...)
		if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", name, w.Code)
		}
		mustContain(t, w.Body.String(), `role="alert"`)
	}
	if w := b.post("/access/take", "role", "app", "pattern", "app/*", "actions", "read,verify"); w.Code != http.StatusSeeOther {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	mustLack(t, b.get("/access"), "app/*\"")
	if w := b.post("/access/take", "role", "app", "pattern", "app/*", "actions", "read,verify"); w.Code != http.StatusNotFound {
		t.Errorf("twice: %d", w.Code)
	}
}

func TestAccessOfOthers(t *testing.T) {
	b := newBrowser(t)
	b.store.AddRole("reader")
	b.store.GrantTo("reader", "app/*", "read")
	b.login(b.newToken("mine", "reader"))
	body := b.get("/access")
	mustContain(t, body, "mine")
	mustLack(t, body, "ops", "New grant")
	if w := b.post("/access/grant", "role", "reader", "pattern", "*", "may_read", "yes"); w.Code != http.StatusForbidden {
		t.Errorf("a grant: %d", w.Code)
	}
	for _, path := range []string{"/audit", "/audit?prefix=app/"} {
		if w := b.do(path, call{}); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestRevokeToken(t *testing.T) {
	b := newBrowser(t)
	_, info, err := b.door.MintToken(t.Context(), vault.Operator{Name: "root"}, vault.TokenRequest{Name: "ci", Role: vault.AdminRole})
	must(t, err)
	b.login(b.token)
	mustContain(t, b.get("/access"), "ci", info.ID.String())
	if w := b.post("/access/revoke", "accessor", info.ID.String()); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	mustContain(t, b.get("/access"), "revoked")
	for _, id := range []string{"", "x", "00000000-0000-0000-0000-000000000000"} { // the zero accessor would be the user's own
		if w := b.post("/access/revoke", "accessor", id); w.Code != http.StatusBadRequest {
			t.Errorf("accessor %q: %d", id, w.Code)
		}
	}
	b.get("/") // the session is still there
}

func TestAudit(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "v")
	for i := range 150 {
		r := vault.AuditRecord{ID: int64(1000 - i), At: time.Now(), Actor: "alice\x1f1", SessionRole: "team", ClientIP: "10.0.0.1", Action: "read", Name: "app/db", Version: 1, Outcome: "ok"}
		if i%2 == 1 {
			r.Action, r.Outcome, r.Code, r.Name = "update", "denied", "denied", "app/<other>"
		}
		b.store.NewestRecords = append(b.store.NewestRecords, r)
	}
	b.login(b.token)
	body := b.get("/audit")
	mustContain(t, body, "alice", "team", "app/db", "app/&lt;other&gt;", "denied", "Older records", "id=901")
	mustLack(t, body, "\x1f", "<other>")
	body = b.get("/audit?at=2026-01-01T00:00:00Z&id=901&within=week")
	mustContain(t, body, "Newest")
	mustLack(t, body, "Older records")
	mustLack(t, b.get("/audit?action=read&outcome=ok&actor=ali"), `>denied</span>`)
	mustContain(t, b.get("/audit?actor=bob"), "No record that you may see is like that")
	mustContain(t, b.get("/secret?name=app/db"), "Last readers", "alice")
	for _, q := range []string{"at=x&id=1", "at=2026-01-01T00:00:00Z&id=x", "outcome=maybe", "prefix=//", "within=never", "actor=" + strings.Repeat("a", 256)} {
		b.recorder.Take()
		if w := b.do("/audit?"+q, call{}); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", q, w.Code)
		}
		if e := b.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionAudit || e[0].Outcome != vault.OutcomeFailed {
			t.Errorf("%s: records %+v", q, e)
		}
	}
}

func TestHealth(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "v")
	b.login(b.token)
	mustContain(t, b.get("/health"), "PostgreSQL for reads", "Key service", "Rotations due", "nothing is known yet", "1, 0 automatic")
}
