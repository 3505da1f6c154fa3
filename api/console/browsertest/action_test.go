package browsertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestActions does everything that the console can do.
func TestActions(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	b := s.open(t)
	b.login(s.AdminToken)
	t.Run("create", func(t *testing.T) {
		b.t = t
		b.click(`a[href^="/secret/new"]`)
		b.fill("#name", "app/new/pem")
		b.set("#value", "-----BEGIN-----\nabc+/=&\n-----END-----\n")
		b.fill("#grace", "2")
		b.fill("#description", "A key & its <name>")
		b.set("#tags", "team=a\nenv=b")
		b.click("main form button[type=submit]")
		b.has("The secret was created.", "A key & its <name>", "team=a", "2 h 0 min")
		if got := s.MustRead(t, "app/new/pem"); got != "-----BEGIN-----\nabc+/=&\n-----END-----\n" {
			t.Errorf("the value is %q", got)
		}
	})
	t.Run("update, and a version that is no longer current", func(t *testing.T) {
		b.t = t
		b.visit("/secret/update?name=app/new/pem")
		b.set("#value", "second")
		s.update("app/new/pem", `"1"`, "first")
		b.click("main form button[type=submit]")
		b.has("Another change came first")
		b.click(`.problem a`)
		b.has("It replaces version 2")
		b.set("#value", "second")
		b.click("main form button[type=submit]")
		b.has("A new version was stored.")
		if got := s.MustRead(t, "app/new/pem"); got != "second" {
			t.Errorf("the value is %q", got)
		}
	})
	t.Run("rotate", func(t *testing.T) {
		b.t = t
		before := s.MustRead(t, "app/api/signing-key")
		b.visit("/secret?name=app/api/signing-key")
		b.click(`a[href^="/secret/rotate"]`)
		b.fill("#confirm", "app/api")
		b.click("main form button[type=submit]")
		b.has("type the name of the secret to confirm")
		b.fill("#confirm", "app/api/signing-key")
		b.click("main form button[type=submit]")
		b.has("A new value was generated")
		if s.MustRead(t, "app/api/signing-key") == before {
			t.Error("the value is the same")
		}
	})
	t.Run("expire", func(t *testing.T) {
		b.t = t
		b.click(`a[aria-label="End the grace of version 1"]`)
		b.fill("#confirm", "app/api/signing-key")
		b.click("main form button[type=submit]")
		b.has("The grace of that version was shortened.")
		if strings.Contains(b.text(), "End grace") {
			t.Error("a version is still in grace")
		}
	})
	t.Run("grant and take back", func(t *testing.T) {
		b.t = t
		b.visit("/access")
		b.run(chromedp.Click(chromedp.CSS("details.more summary")))
		b.fill("#role", "hv_reader")
		b.fill("#pattern", "ci/*")
		b.run(chromedp.Click(chromedp.CSS(`input[name="may_verify"]`)))
		b.click(`form[action="/access/grant"] button`)
		b.has("The grant was made.", "ci/*")
		b.run(chromedp.Click(chromedp.CSS(`summary[aria-label="Take back what hv_reader may do on ci/*"]`)))
		b.click(`details[open] form[action="/access/take"] button`)
		b.has("The grant was taken back.")
		if strings.Contains(b.text(), "ci/*") {
			t.Error("the grant is still there")
		}
	})
	t.Run("revoke a token", func(t *testing.T) {
		b.t = t
		s.must("POST", "/v1/tokens", map[string]any{"name": "robot", "role": "vault_admin", "ttl_secs": 3600})
		b.visit("/access")
		b.run(chromedp.Click(chromedp.CSS(`summary[aria-label="Revoke the token robot"]`)))
		b.click(`details[open] form[action="/access/revoke"] button`)
		b.has("The token was revoked", "revoked")
	})
	t.Run("search", func(t *testing.T) {
		b.t = t
		b.visit("/")
		b.fill("#q", "SIGNS the")
		b.click(".filter button")
		b.has("app/api/signing-key")
		if strings.Contains(b.text(), "app/db/password") {
			t.Error("what does not match is listed")
		}
	})
	t.Run("copy without showing", func(t *testing.T) {
		b.t = t
		b.visit("/secret?name=app/db/password")
		eval[bool](b, `(navigator.clipboard.writeText = async text => { window.copied = text; }, true)`)
		b.run(chromedp.Click(chromedp.CSS("button[data-copy]")), chromedp.WaitVisible(chromedp.Search(`//*[@data-said and text()="Copied."]`)))
		if got := eval[string](b, `window.copied`); got != marker+"-2" {
			t.Errorf("copied %q", got)
		}
		b.lacks(marker)
	})
	t.Run("reveal, and hide again", func(t *testing.T) {
		b.t = t
		b.click(`section form[action="/secret/reveal"] button[type=submit]`)
		start := time.Now()
		b.has(marker+"-2", "It is hidden after 30 seconds")
		b.run(chromedp.WaitReady(chromedp.CSS("#versions")))
		if took := time.Since(start); took < 25*time.Second || took > 40*time.Second {
			t.Errorf("it was hidden after %s", took)
		}
		b.lacks(marker)
	})
	t.Run("the audit has it", func(t *testing.T) {
		b.t = t
		s.db.Await(t, "the records", "SELECT count(*) >= 2 FROM vault.audit_log WHERE action = 'read' AND secret_name = 'app/db/password' AND outcome = 'ok'")
		b.visit("/audit?prefix=app/db/password&action=read")
		b.has("app/db/password", "read", "ok", "127.0.0.1")
		b.visit("/audit?outcome=denied")
		b.has("No record that you may see is like that")
		b.visit("/secret?name=app/db/password")
		b.has("Last readers", "as vault_admin")
	})
	t.Run("log out", func(t *testing.T) {
		b.t = t
		b.click(`form[action="/logout"] button`)
		b.has("You are logged out.")
		b.visit("/")
		b.has("Log in")
	})
}

// TestAppRole: a log-in by AppRole gets a token, which the log-out revokes.
func TestAppRole(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	s.must("PUT", "/v1/auth/approle", map[string]any{"kind": "approle"})
	role := s.answer("PUT", "/v1/auth/approle/roles/people", map[string]any{"role": "hv_reader", "token_ttl_secs": 600})
	id := s.answer("POST", "/v1/auth/approle/roles/people/secret-ids", map[string]any{})
	b := s.open(t)
	b.visit("/login")
	b.run(chromedp.Click(chromedp.CSS("#by-approle summary")))
	b.fill("#role_id", role["id"].(string))
	b.fill("#secret_id", id["secret_id"].(string))
	b.click("#by-approle button")
	b.has("app/db/password", "hv_reader")
	b.click(`form[action="/logout"] button`)
	b.has("You are logged out.")
	s.db.Await(t, "the end of the token", "SELECT revoked_at IS NOT NULL FROM vault.tokens WHERE method = 'approle'")
}

// TestNameAndPassword: a wrong password stays on the page, and a right one gets a token, which the log-out revokes.
func TestNameAndPassword(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	s.must("PUT", "/v1/auth/userpass", map[string]any{"kind": "userpass"})
	s.must("PUT", "/v1/auth/userpass/roles/alice", map[string]any{"role": "hv_reader", "token_ttl_secs": 600})
	s.must("PUT", "/v1/auth/userpass/roles/alice/password", map[string]any{"password": "correct horse battery"})
	b := s.open(t)
	b.visit("/login")
	logIn := func(password string) {
		b.run(chromedp.Click(chromedp.CSS("#by-password summary")))
		b.fill("#user-name", "alice")
		b.fill("#user-password", password)
		b.click("#by-password button")
	}
	logIn("wrong horse battery")
	b.has("Log in", "refused")
	b.lacks("wrong horse battery")
	logIn("correct horse battery")
	b.has("app/db/password", "hv_reader")
	b.click(`form[action="/logout"] button`)
	b.has("You are logged out.")
	s.db.Await(t, "the end of the token", "SELECT revoked_at IS NOT NULL FROM vault.tokens WHERE method = 'userpass'")
}

// TestKeyboard reveals a value without a mouse.
func TestKeyboard(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	b := s.open(t)
	b.visit("/login") // the field has the focus
	b.run(chromedp.KeyEvent(s.AdminToken))
	b.press(kb.Enter)
	b.tabTo("app/db/password")
	b.press(kb.Enter)
	b.tabTo("Reveal")
	b.press(kb.Enter)
	b.has(marker + "-2")
	b.tabTo("Hide now")
	b.press(kb.Enter)
	b.lacks(marker)
}

// press presses a key that brings another page.
func (b *browser) press(key string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(key)); err != nil {
		b.t.Fatalf("%v, at %s: %s", err, b.path(), b.text())
	}
	b.run(chromedp.WaitReady(chromedp.CSS("main")))
}

// tabTo moves the focus to the element with a text, and checks that the focus can be seen.
func (b *browser) tabTo(text string) {
	b.t.Helper()
	for range 60 {
		b.run(chromedp.KeyEvent(kb.Tab))
		at := eval[struct{ Text, Outline string }](b, `({ Text: document.activeElement.innerText || "", Outline: getComputedStyle(document.activeElement).outlineStyle })`)
		if strings.TrimSpace(at.Text) == text {
			if at.Outline == "none" {
				b.t.Errorf("%s: the focus on %q cannot be seen", b.path(), text)
			}
			return
		}
	}
	b.t.Fatalf("%s: %q cannot be reached by Tab", b.path(), text)
}

// TestWithoutScript: everything but the copying works without one.
func TestWithoutScript(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	b := s.open(t)
	b.run(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	b.login(s.AdminToken)
	b.visit("/secret?name=app/db/password")
	if strings.Contains(b.text(), "Copy without showing") {
		t.Error("a button is shown that needs a script")
	}
	b.click(`section form[action="/secret/reveal"] button[type=submit]`)
	b.has(marker + "-2")
}
