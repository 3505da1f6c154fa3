package console_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var allowedAddr = netip.MustParseAddr("10.1.2.3")

func TestLogin(t *testing.T) {
	b := newBrowser(t)
	t.Run("pages need a session", func(t *testing.T) {
		w := b.do("/secret?name=a/b", call{})
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login?next=%2Fsecret%3Fname%3Da%2Fb" {
			t.Errorf("%d %q", w.Code, w.Header().Get("Location"))
		}
		if w := b.post("/secret/reveal", "name", "a"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
			t.Errorf("a POST: %d %q", w.Code, w.Header().Get("Location"))
		}
	})
	t.Run("a wrong token", func(t *testing.T) {
		for _, token := range []string{"", "x", "hvt_" + strings.Repeat("a", 40), b.token[:len(b.token)-1]} {
			w := b.post("/login", "method", "token", "token", token)
			if w.Code != http.StatusUnauthorized && w.Code != http.StatusBadRequest || len(w.Result().Cookies()) != 0 {
				t.Errorf("%q: %d %v", token, w.Code, w.Result().Cookies())
			}
			mustContain(t, w.Body.String(), `role="alert"`)
		}
	})
	t.Run("OK", func(t *testing.T) {
		w := b.post("/login", "method", "token", "token", " "+b.token+"\r\n", "next", "/tree?prefix=app/")
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/tree?prefix=app%2F" {
			t.Fatalf("%d %q %s", w.Code, w.Header().Get("Location"), w.Body)
		}
		c := w.Result().Cookies()[0]
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 {
			t.Errorf("the cookie is %v", c)
		}
		if strings.Contains(c.Value, b.token) || len(c.Value) != 43 {
			t.Errorf("the cookie has %d characters", len(c.Value))
		}
		b.cookie = c
		mustContain(t, b.get("/"), "vault_admin", "Log out")
		mustLack(t, b.get("/"), b.token)
	})
	t.Run("log out", func(t *testing.T) {
		if w := b.post("/logout"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login?why=out" {
			t.Errorf("%d", w.Code)
		}
		if w := b.do("/", call{}); w.Code != http.StatusSeeOther {
			t.Errorf("after the log-out the cookie is answered %d", w.Code)
		}
	})
	mustLack(t, b.logs.String(), b.token, b.cookie.Value)
}

func TestLoginGoesToOwnPagesAlone(t *testing.T) {
	b := newBrowser(t)
	for _, next := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/secret/reveal", "/login", "/none", "\x00"} {
		w := b.post("/login", "method", "token", "token", b.token, "next", next)
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/" {
			t.Errorf("next %q goes to %q with %d", next, got, w.Code)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	gone := func(t *testing.T, b *browser, c call, why string) {
		t.Helper()
		w := b.do("/", c)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login"+why {
			t.Errorf("%d %q", w.Code, w.Header().Get("Location"))
		}
	}
	start := func(t *testing.T) *browser {
		b := newBrowser(t)
		b.login(b.token)
		return b
	}
	t.Run("when it is idle", func(t *testing.T) {
		b := start(t)
		for range 3 { // use keeps it
			b.now = b.now.Add(15*time.Minute - time.Second)
			b.get("/")
		}
		b.now = b.now.Add(15 * time.Minute)
		gone(t, b, call{}, "?why=ended")
	})
	t.Run("after eight hours, however it is used", func(t *testing.T) {
		b := start(t)
		for range 8*6 - 1 {
			b.now = b.now.Add(10 * time.Minute)
			b.get("/")
		}
		b.now = b.now.Add(10 * time.Minute)
		gone(t, b, call{}, "?why=ended")
	})
	t.Run("when its cookie comes from another address", func(t *testing.T) {
		b := start(t)
		gone(t, b, call{from: outside}, "?why=moved")
		gone(t, b, call{}, "?why=ended") // for its user too: the cookie was stolen
		mustContain(t, b.logs.String(), "its cookie came from another address or browser")
	})
	t.Run("when its cookie comes from another browser", func(t *testing.T) {
		b := start(t)
		gone(t, b, call{agent: "curl/8.0"}, "?why=moved")
	})
	t.Run("not by an update of the browser", func(t *testing.T) {
		b := start(t)
		if w := b.do("/", call{agent: strings.ReplaceAll(firefox, "150.0", "151.2")}); w.Code != http.StatusOK {
			t.Errorf("%d", w.Code)
		}
	})
	t.Run("when its token is revoked", func(t *testing.T) {
		b := start(t)
		must(t, b.door.RevokeToken(t.Context(), vault.Operator{Name: "root"}, "ops"))
		gone(t, b, call{}, "?why=ended")
	})
	t.Run("by a changed cookie", func(t *testing.T) {
		b := start(t)
		b.cookie.Value = strings.Repeat("A", 43)
		gone(t, b, call{}, "?why=ended")
	})
}

func TestSessionsOfOneAddressAreBounded(t *testing.T) {
	b := newBrowser(t)
	for range 64 {
		b.login(b.token)
		b.cookie = nil
	}
	if w := b.post("/login", "method", "token", "token", b.token); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("the 65th: %d", w.Code)
	}
	b.now = b.now.Add(15 * time.Minute)
	b.login(b.token)
}

func TestOtherPagesSendNothing(t *testing.T) {
	b := newBrowser(t)
	b.create("a/b", marker)
	b.login(b.token)
	for name, c := range map[string]call{
		"another site":      {header: map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}},
		"a sibling":         {header: map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"}},
		"an old browser":    {header: map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}},
		"a sandboxed frame": {header: map[string]string{"Sec-Fetch-Site": "", "Origin": "null"}},
	} {
		for _, path := range []string{"/secret/reveal", "/secret/value", "/logout", "/login"} {
			c.form = values("name", "a/b")
			w := b.do(path, c)
			if w.Code != http.StatusForbidden {
				t.Errorf("%s to %s: %d", name, path, w.Code)
			}
			mustLack(t, w.Body.String(), marker)
		}
	}
	b.get("/") // the session is still there
}

func TestHostsAndProxies(t *testing.T) {
	b := newBrowser(t)
	if w := b.do("/login", call{host: "evil.example"}); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("a foreign host: %d", w.Code)
	}
	if w := b.do("/login", call{header: map[string]string{"X-Forwarded-For": "10.1.1.1"}}); w.Code != http.StatusForbidden {
		t.Errorf("an unnamed proxy: %d", w.Code)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	b := newBrowser(t)
	b.login(b.token)
	for path, want := range map[string]int{"/none": 404, "/v1/secrets": 404, "/secret/reveal": 405, "/logout": 405, "/console.css": 200, "/console.js": 200, "/icon.svg": 200} {
		if w := b.do(path, call{}); w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
	if w := b.post("/tree"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST /tree: %d %q", w.Code, w.Header().Get("Allow"))
	}
}

func TestList(t *testing.T) {
	b := newBrowser(t)
	for _, n := range []string{"app/a", "app/b", "other/c"} {
		b.create(n, "v")
	}
	for i := range 60 {
		b.create("many/n"+string(rune('a'+i/10))+string(rune('a'+i%10)), "v")
	}
	b.login(b.token)
	body := b.get("/?prefix=app/")
	mustContain(t, body, `href="/secret?name=app%2Fa"`, "app/b")
	mustLack(t, body, "other/c", "Next page")
	body = b.get("/?prefix=many/")
	mustContain(t, body, "Next page", "after=many%2Fnej")
	mustContain(t, b.get("/?prefix=many/&after=many%2Fnej"), "many/nfa", "First page")
	mustContain(t, b.get("/?prefix=none/"), "No secret that you may see is below")
	if w := b.do("/?prefix=//", call{}); w.Code != http.StatusBadRequest {
		t.Errorf("a bad prefix: %d", w.Code)
	}
	body = b.get("/tree")
	mustContain(t, body, `href="/tree?prefix=app%2F"`, "other/")
	mustContain(t, b.get("/tree?prefix=app/"), `href="/secret?name=app%2Fa"`)
}

func TestSecret(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", marker, func(r *vault.CreateRequest) {
		r.Description, r.Tags, r.GracePeriodSecs = "the database", map[string]string{"team": "pay"}, 3600
	})
	_, err := b.door.Update(t.Context(), b.admin(), vault.UpdateRequest{Name: "app/db", Value: []byte("other-" + marker), Expected: 1})
	must(t, err)
	b.store.AddRole("reader")
	b.store.GrantTo("reader", "app/*", "read")
	b.login(b.token)
	body := b.get("/secret?name=app/db")
	mustContain(t, body, "the database", "team=pay", "current", "in grace", "<svg", "reader", "app/*", "Reveal")
	mustLack(t, body, marker)
	if w := b.do("/secret?name=app/none", call{}); w.Code != http.StatusNotFound {
		t.Errorf("no such secret: %d", w.Code)
	}
	if w := b.do("/secret?name=", call{}); w.Code != http.StatusBadRequest {
		t.Errorf("no name: %d", w.Code)
	}
}

func TestReveal(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "<b>&\"'"+marker)
	b.create("app/raw", "\x00\xff", func(r *vault.CreateRequest) { r.ContentType = "application/octet-stream" })
	b.login(b.token)
	b.recorder.Take()
	w := b.post("/secret/reveal", "name", "app/db")
	if w.Code != http.StatusOK || w.Header().Get("Refresh") != "30; url=/secret?name=app%2Fdb" {
		t.Errorf("%d %q", w.Code, w.Header().Get("Refresh"))
	}
	mustContain(t, w.Body.String(), "&lt;b&gt;&amp;&#34;&#39;"+marker+"</pre>")
	entries := b.recorder.Take()
	if len(entries) != 1 || entries[0].Action != vault.ActionRead || entries[0].Name != "app/db" || entries[0].Outcome != vault.OutcomeOK {
		t.Errorf("records: %+v", entries)
	}
	mustContain(t, b.post("/secret/reveal", "name", "app/raw", "version", "1").Body.String(), "AP8=", "base64")
	w = b.post("/secret/value", "name", "app/db")
	if w.Code != http.StatusOK || w.Body.String() != "<b>&\"'"+marker || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("copy: %d %v %q", w.Code, w.Header(), w.Body)
	}
	for _, version := range []string{"x", "-1", "99999999999999999999"} {
		if w := b.post("/secret/reveal", "name", "app/db", "version", version); w.Code != http.StatusBadRequest {
			t.Errorf("version %q: %d", version, w.Code)
		}
	}
	if w := b.post("/secret/reveal", "name", "app/db", "version", "7"); w.Code != http.StatusNotFound {
		t.Errorf("version 7: %d", w.Code)
	}
	mustLack(t, b.logs.String(), marker)
}

// TestRevealNeedsTheRight: the session has its user's rights, and the refusal is recorded.
func TestRevealNeedsTheRight(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", marker)
	b.store.AddRole("lister")
	b.store.GrantTo("lister", "app/*", "rotate")
	b.login(b.newToken("list", "lister"))
	body := b.get("/secret?name=app/db")
	mustContain(t, body, "You may not read the value", "Grants are shown to those who may manage or audit the name")
	mustLack(t, body, `action="/secret/reveal"`)
	b.recorder.Take()
	for _, path := range []string{"/secret/reveal", "/secret/value"} {
		w := b.post(path, "name", "app/db")
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
		mustLack(t, w.Body.String(), marker)
		if e := b.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied || e[0].Action != vault.ActionRead {
			t.Errorf("%s: records %+v", path, e)
		}
	}
}

// TestTextsAreEscaped: what others wrote cannot become markup, in text, attributes and URLs.
func TestTextsAreEscaped(t *testing.T) {
	b := newBrowser(t)
	attack := `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	b.create("app/x", "v", func(r *vault.CreateRequest) {
		r.Description, r.Tags = attack, map[string]string{"a" + attack: attack}
	})
	b.login(b.token)
	for _, path := range []string{"/", "/secret?name=app/x", "/tree?prefix=" + url.QueryEscape(attack), "/?prefix=" + url.QueryEscape(attack), "/secret?name=" + url.QueryEscape(attack),
		"/login?why=" + url.QueryEscape(attack) + "&next=" + url.QueryEscape(attack), "/?done=" + url.QueryEscape(attack)} {
		body := b.do(path, call{}).Body.String()
		mustLack(t, body, "<script>", "<img")
	}
}

func TestForms(t *testing.T) {
	b := newBrowser(t)
	b.login(b.token)
	for name, c := range map[string]call{
		"JSON":           {header: map[string]string{"Content-Type": "application/json"}},
		"multipart":      {header: map[string]string{"Content-Type": "multipart/form-data; boundary=x"}},
		"no type":        {header: map[string]string{"Content-Type": ""}},
		"a field twice":  {form: url.Values{"name": {"a", "b"}}},
		"a long version": {form: values("version", strings.Repeat("1", 20_000))},
	} {
		if c.form == nil {
			c.form = values("name", "a")
		}
		if w := b.do("/secret/reveal", c); w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}
