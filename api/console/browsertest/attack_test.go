package browsertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// cookie returns the session's cookie, as a thief has it.
func (b *browser) cookie() *network.Cookie {
	b.t.Helper()
	got, err := get(b, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
	})
	if err != nil || len(got.Cookies) != 1 {
		b.t.Fatalf("%d cookies: %v", len(got.Cookies), err)
	}
	return got.Cookies[0]
}

// TestStolenCookie: it opens nothing from another address, and its session ends.
func TestStolenCookie(t *testing.T) {
	s := newSite(t, "VAULT_ALLOWED_IPS=127.0.0.0/8")
	fillVault(s)
	b := s.open(t)
	b.login(s.AdminToken)
	c := b.cookie()
	if !strings.HasPrefix(c.Name, "__Host-") || !c.HTTPOnly || !c.Secure || c.SameSite != "Strict" || !c.Session || c.Path != "/" {
		t.Errorf("the cookie is %+v", c)
	}
	if script := eval[string](b, `document.cookie`); script != "" {
		t.Error("a script can read the cookie")
	}
	agent := eval[string](b, `navigator.userAgent`)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	thief := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.ConsoleURL+"/secret/value", body(url.Values{"name": {"app/db/password"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", agent)
	r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	resp, err := thief.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusSeeOther || strings.Contains(string(answer), marker) {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
	b.visit("/")
	b.has("Your session has ended")
	if !strings.Contains(s.Log(), "its cookie came from another address or browser") {
		t.Error("the log says nothing")
	}
	if strings.Contains(s.Log(), c.Value) || strings.Contains(s.Log(), s.AdminToken) {
		t.Error("the log has the cookie or the token")
	}
}

// value queries one text of the database, as superuser.
func (s *site) value(sql string) (out string) {
	s.t.Helper()
	c := s.db.MustConnect(s.t, vaulttest.Superuser)
	if err := c.QueryRow(s.t.Context(), sql).Scan(&out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func body(s string) io.Reader { return strings.NewReader(s) }

// TestOtherOrigin: a page of another port of the same host, to which the browser gives the cookie, can neither send a form
// nor read an answer nor frame a page.
func TestOtherOrigin(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	b := s.open(t)
	b.login(s.AdminToken)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<main><form id="f" method="post" action="%s/access/grant"><input name="role" value="hv_reader"><input name="pattern" value="*">
			<input name="may_read" value="yes"><button>Click</button></form><iframe id="frame" src="%[1]s/"></iframe></main>`, s.ConsoleURL)
	}))
	defer evil.Close()
	b.run(chromedp.Navigate(evil.URL), chromedp.WaitReady(chromedp.CSS("main")))
	for _, path := range []string{"/secret/value", "/secret/reveal"} {
		got := eval[string](b, fmt.Sprintf(`fetch("%s%s", { method: "POST", credentials: "include", headers: { "Content-Type": "application/x-www-form-urlencoded" },
			body: "name=app/db/password" }).then(r => r.text(), e => "refused: " + e)`, s.ConsoleURL, path))
		if !strings.HasPrefix(got, "refused: ") {
			t.Errorf("%s: %s", path, got)
		}
	}
	b.click("button")
	b.has("Forbidden", "the request comes from another web page")
	b.visit("/access")
	b.has("hv_reader")
	if s.value("SELECT count(*)::text FROM vault.access_grants WHERE pattern = '*' AND grantee::text = 'hv_reader'") != "0" {
		t.Error("the grant was made")
	}
	if got := s.value("SELECT count(*)::text FROM vault.audit_log WHERE action = 'read' AND outcome = 'ok'"); got != "0" {
		t.Errorf("%s values were read", got)
	}
}

// TestRevealWithoutRight: no button, and a request that is made all the same is refused and recorded.
func TestRevealWithoutRight(t *testing.T) {
	s := newSite(t)
	fillVault(s)
	s.db.MustExec(t, "DO $$ BEGIN CREATE ROLE hv_lister; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	s.db.MustExec(t, "SELECT vault.grant_access('hv_lister', 'app/*', '{rotate}')")
	made := s.answer("POST", "/v1/tokens", map[string]any{"name": "lister", "role": "hv_lister"})
	b := s.open(t)
	b.login(made["token"].(string))
	b.visit("/secret?name=app/db/password")
	b.has("You may not read the value", "Grants are shown to those who may manage or audit the name")
	for _, path := range []string{"/secret/value", "/secret/reveal"} {
		got := eval[string](b, `fetch("`+path+`", { method: "POST", body: new URLSearchParams({ name: "app/db/password" }) }).then(async r => r.status + " " + await r.text())`)
		if !strings.HasPrefix(got, "403 ") || strings.Contains(got, marker) {
			t.Errorf("%s: %.60s", path, got)
		}
	}
	s.db.Await(t, "the refusals", "SELECT count(*) >= 2 FROM vault.audit_log WHERE action = 'read' AND outcome = 'denied' AND secret_name = 'app/db/password'")
	b.visit("/audit")
	b.has("Forbidden")
}

// TestTextsOfOthers: names, descriptions and tags do nothing in any page.
func TestTextsOfOthers(t *testing.T) {
	s := newSite(t)
	attack := `"'><script>window.hacked=1</script><img src=x onerror="window.hacked=1"><svg onload=window.hacked=1>{{.}}`
	s.must("POST", "/v1/secrets", map[string]any{"name": "app/x", "kind": "manual", "value": attack, "description": attack,
		"tags": map[string]string{"a": attack, "javascript:window.hacked=1": attack}})
	b := s.open(t)
	b.login(s.AdminToken)
	try := url.QueryEscape(attack)
	for _, path := range []string{"/", "/?q=script", "/?q=" + try, "/?prefix=" + try, "/tree?prefix=" + try, "/secret?name=app/x", "/secret?name=" + try, "/access", "/audit",
		"/audit?actor=" + try, "/secret/new?prefix=" + try, "/secret/update?name=app/x", "/login?why=" + try + "&next=" + try, "/?done=" + try} {
		b.visit(path)
		b.noAttack()
	}
	b.visit("/secret?name=app/x")
	b.has(attack)
	b.click(`section form[action="/secret/reveal"] button[type=submit]`)
	b.has(attack)
	b.noAttack()
	// Even markup in a page would not run: the policy forbids it.
	b.visit("/")
	refused := eval[string](b, `new Promise(refused => {
		document.addEventListener("securitypolicyviolation", e => refused(e.effectiveDirective), {once: true});
		document.body.insertAdjacentHTML("beforeend", '<img src="/icon.svg" onload="window.hacked=1">');
	})`)
	if refused != "script-src-attr" {
		t.Errorf("the policy refused %q", refused)
	}
	if eval[bool](b, "window.hacked !== undefined") {
		t.Error("a script in the page ran")
	}
}

func (b *browser) noAttack() {
	b.t.Helper()
	if eval[bool](b, `window.hacked !== undefined || document.querySelector("main img, main script, main svg[onload]") !== null`) {
		b.t.Errorf("%s: a text was run, or became markup", b.path())
	}
}
