package console_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/console"
	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	marker  = "MARKER-4c1e-plaintext"
	inside  = "10.1.2.3:4711"
	outside = "10.9.9.9:4711" // another address that may read
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
)

// browser is the console on a door of fakes, and one user of it.
type browser struct {
	http.Handler
	t        *testing.T
	door     *vault.Vault
	store    *doortest.Store
	recorder *doortest.Recorder
	token    string
	logs     *bytes.Buffer
	now      time.Time
	cookie   *http.Cookie
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t, recorder: &doortest.Recorder{}, logs: &bytes.Buffer{}, now: time.Now()}
	b.store = &doortest.Store{Recorder: b.recorder, Now: time.Now}
	allow, err := allowlist.Parse("10.0.0.0/8")
	must(t, err)
	b.door, err = vault.New(vault.Config{Store: b.store, Keeper: &doortest.Keeper{}, Recorder: b.recorder, Allow: allow, Node: "n", Database: "app"})
	must(t, err)
	b.token = b.newToken("ops", "")
	log := slog.New(slog.NewJSONHandler(b.logs, nil))
	pages := console.New(console.Config{Vault: b.door, Log: log, Node: "node-1", Clock: func() time.Time { return b.now }})
	b.Handler = httpapi.NewPages(httpapi.Config{Vault: b.door, Log: log}, pages)
	return b
}

// newToken makes a token of a role; "" is the administrator.
func (b *browser) newToken(name, role string) string {
	b.t.Helper()
	if role == "" {
		role = vault.AdminRole
	}
	tok, _, err := b.door.MintToken(b.t.Context(), vault.Operator{Name: "root"}, vault.TokenRequest{Name: name, Role: role})
	must(b.t, err)
	b.recorder.Take()
	return tok.Reveal()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call is one request; zero fields are those of the browser's own page.
type call struct {
	form   url.Values // nil = GET
	from   string     // "" = inside
	agent  string     // "" = firefox
	host   string     // "" = localhost
	header map[string]string
}

func (b *browser) do(path string, c call) *httptest.ResponseRecorder {
	b.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if c.form != nil {
		method, body = http.MethodPost, strings.NewReader(c.form.Encode())
	}
	r := httptest.NewRequest(method, path, body)
	r.RemoteAddr, r.Host = inside, "localhost"
	r.Header.Set("User-Agent", firefox)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if c.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://localhost")
	}
	if c.from != "" {
		r.RemoteAddr = c.from
	}
	if c.agent != "" {
		r.Header.Set("User-Agent", c.agent)
	}
	if c.host != "" {
		r.Host = c.host
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	b.check(path, w)
	return w
}

// check is what every answer must be.
func (b *browser) check(path string, w *httptest.ResponseRecorder) {
	b.t.Helper()
	h := w.Header()
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
		b.t.Errorf("%s: policy %q", path, h.Get("Content-Security-Policy"))
	}
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Request-Id") == "" {
		b.t.Errorf("%s: headers %v", path, h)
	}
	if static := strings.Contains(path, "."); !static && h.Get("Cache-Control") != "no-store" {
		b.t.Errorf("%s: Cache-Control %q", path, h.Get("Cache-Control"))
	}
	if inline := inlineCode(w.Body.String()); inline != "" && strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		b.t.Errorf("%s: the page has %q", path, inline)
	}
}

// inlineCode returns what in a page the policy does not let run, outside of texts and the values of attributes.
func inlineCode(page string) string {
	tags := regexp.MustCompile(`<[^>]*>`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(page, `""`), -1)
	return regexp.MustCompile(`(?i)<style|<script>|\sstyle=|\son\w+=`).FindString(strings.Join(tags, "")) +
		regexp.MustCompile(`(?i)(href|src|action)="(javascript|data):`).FindString(page)
}

// get returns the body of a page that must be there.
func (b *browser) get(path string) string {
	b.t.Helper()
	w := b.do(path, call{})
	if w.Code != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// post sends a form and returns the answer.
func (b *browser) post(path string, fields ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(path, call{form: values(fields...)})
}

func values(fields ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		q.Set(fields[i], fields[i+1])
	}
	return q
}

// login logs in with a token, and fails the test unless that works.
func (b *browser) login(token string) {
	b.t.Helper()
	w := b.post("/login", "method", "token", "token", token)
	if w.Code != http.StatusSeeOther || len(w.Result().Cookies()) != 1 {
		b.t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	b.cookie = w.Result().Cookies()[0]
}

func (b *browser) create(name, value string, more ...func(*vault.CreateRequest)) {
	b.t.Helper()
	r := vault.CreateRequest{Name: name, Value: []byte(value)}
	for _, f := range more {
		f(&r)
	}
	_, err := b.door.Create(b.t.Context(), b.admin(), r)
	must(b.t, err)
	b.recorder.Take()
}

func (b *browser) admin() vault.Caller {
	return vault.Caller{Addr: allowedAddr, Bearer: vault.Bearer(b.token), RequestID: "t"}
}

func mustContain(t *testing.T, body string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(body, w) {
			t.Errorf("the page lacks %q:\n%s", w, body)
		}
	}
}

func mustLack(t *testing.T, body string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(body, w) {
			t.Errorf("the page has %q", w)
		}
	}
}
