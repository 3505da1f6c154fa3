// Package browsertest uses the console in a real Chromium, in front of a real API and PostgreSQL.
package browsertest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }

const (
	marker   = "MARKER-77d1-plaintext"
	patience = 60 * time.Second // of one step in the browser
	wide     = 1280
	narrow   = 360
)

// site is an API with a console, and the database behind it.
type site struct {
	*vaulttest.Server
	db *vaulttest.DB
	t  *testing.T
}

func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	db := vaulttest.NewDB(t)
	return &site{vaulttest.NewServer(t, db, append(env, "VAULT_CONSOLE_LISTEN=127.0.0.1:0", "VAULT_NODE_NAME=node-1")...), db, t}
}

// must sends a request of the REST API, which must succeed.
func (s *site) must(method, path string, body any) {
	s.t.Helper()
	if status, answer := s.Do(s.t, method, path, body); status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
}

// browser is one window of Chromium.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string // of the console
}

// findChromium returns the browser's command, or skips the test and says why.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("HV_REQUIRE_PG") == "1" {
		t.Fatal("there is no chromium: scripts/deps.sh test installs it")
	}
	t.Skip("there is no chromium")
	return ""
}

// open starts a browser with a profile of its own.
func (s *site) open(t *testing.T, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(wide, 900))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		cancel()
		stop()
	})
	b := &browser{t: t, ctx: ctx, base: s.ConsoleURL}
	if err := chromedp.Do(ctx); err != nil { // starts it; a limit here would end it with the step
		t.Fatal(err)
	}
	b.width(wide)
	return b
}

// run does steps in the browser, each within patience.
func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := b.try(steps...); err != nil {
		b.shoot("failed")
		b.t.Fatalf("%v, at %s: %s", err, b.path(), b.text())
	}
}

func (b *browser) try(steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, steps...)
}

// get returns what a step in the browser yields.
func get[T any](b *browser, step chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, step)
}

// visit opens a page of the console and waits until it is there.
func (b *browser) visit(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base+path), chromedp.WaitReady(chromedp.CSS("main")))
}

// login logs in with a token.
func (b *browser) login(token string) {
	b.t.Helper()
	b.visit("/login")
	b.run(chromedp.SendKeys(chromedp.CSS("#token"), token))
	b.click(`main section button`)
	if p := b.path(); strings.HasPrefix(p, "/login") {
		b.t.Fatalf("after the log-in the page is %s: %s", p, b.text())
	}
}

// click clicks what a selector finds, and waits for the page that comes.
func (b *browser) click(selector chromedp.CSS) {
	b.t.Helper()
	if err := b.try(chromedp.WaitVisible(selector)); err != nil {
		b.t.Fatalf("%s is not there: %s", selector, b.text())
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(selector)); err != nil {
		b.t.Fatalf("click %s: %v", selector, err)
	}
	b.run(chromedp.WaitReady(chromedp.CSS("main")))
}

// fill replaces what a field has.
func (b *browser) fill(selector chromedp.CSS, text string) {
	b.t.Helper()
	b.set(selector, "")
	b.run(chromedp.SendKeys(selector, text))
}

// set sets what a field has at once, as pasting does.
func (b *browser) set(selector chromedp.CSS, text string) {
	b.t.Helper()
	if !eval[bool](b, "(e => { if (e) e.value = "+asJSON(text)+"; return e !== null; })(document.querySelector("+asJSON(selector)+"))") {
		b.t.Fatalf("%s: there is no %s", b.path(), selector)
	}
}

// text returns what the page shows.
func (b *browser) text() string {
	out, _ := get(b, chromedp.Evaluate[string](`document.body.innerText`))
	return out
}

// path returns path and query of the page.
func (b *browser) path() string {
	out, _ := get(b, chromedp.Evaluate[string](`location.pathname + location.search`))
	return out
}

// eval returns what a script says; the script is the test's, and runs beside the page's policy.
func eval[T any](b *browser, script string) T {
	b.t.Helper()
	out, err := get(b, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%v, at %s", err, b.path())
	}
	return out
}

func (b *browser) has(wanted ...string) {
	b.t.Helper()
	text := b.text()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			b.t.Errorf("%s lacks %q:\n%s", b.path(), w, text)
		}
	}
}

func (b *browser) lacks(unwanted ...string) {
	b.t.Helper()
	html := eval[string](b, `document.documentElement.outerHTML`)
	for _, w := range unwanted {
		if strings.Contains(html, w) {
			b.t.Errorf("%s has %q", b.path(), w)
		}
	}
}

// scheme has the browser prefer light or dark.
func (b *browser) scheme(name string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}
	b.run(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	}))
}

func (b *browser) width(pixels int64) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(pixels, 900))
}

// shoot keeps a picture of the page in the directory that HV_SCREENSHOTS names.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("HV_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := get(b, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(b.t.Name(), "/", "-")+"-"+name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Logf("no picture: %v", err)
	}
}

// answer sends a request of the REST API, which must succeed, and returns its JSON.
func (s *site) answer(method, path string, body any) (out map[string]any) {
	s.t.Helper()
	status, answer := s.Do(s.t, method, path, body)
	if status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func asJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(out)
}
