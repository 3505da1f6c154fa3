package console_test

import (
	"net/http"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

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

func TestHealth(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "v")
	b.login(b.token)
	mustContain(t, b.get("/health"), "PostgreSQL for reads", "Key service", "Rotations due", "nothing is known yet", "1, 0 automatic")
}
