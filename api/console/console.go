package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// cookieName has the prefix with which a browser takes a cookie only over TLS or loopback, for this host and all paths.
const cookieName = "__Host-hyperion-vault"

const (
	formSlack  = 16 << 10 // of a body, for what is not the value
	smallForm  = 16 << 10 // bytes of a form without a value
	noMoreThan = 3        // characters of a form for one byte of a value: %XX
)

// Config is what a Console is made of. Vault is required.
type Config struct {
	Vault       *vault.Vault
	Log         *slog.Logger // nil = slog.Default()
	Node        string       // which the pages name
	MaxValueLen int          // bytes of a value; 0 = core.DefaultMaxValueLen
	Clock       vault.Clock  // nil = the system's clock
	// Journal tells how the node's audit journal is; nil = it is not shown.
	Journal func() vault.AuditState
}

// Console is the pages. It is safe for concurrent use.
type Console struct {
	vault    *vault.Vault
	log      *slog.Logger
	node     string
	maxValue int
	clock    vault.Clock
	sessions *sessions
	origin   *http.CrossOriginProtection
	journal  func() vault.AuditState
	samples  samples
	routes   map[string]route
}

var _ exchange.Pages = (*Console)(nil)

// New returns the pages.
func New(c Config) *Console {
	out := &Console{vault: c.Vault, log: c.Log, node: c.Node, maxValue: c.MaxValueLen, clock: c.Clock, journal: c.Journal, origin: http.NewCrossOriginProtection()}
	if out.log == nil {
		out.log = slog.Default()
	}
	if out.maxValue <= 0 {
		out.maxValue = core.DefaultMaxValueLen
	}
	if out.clock == nil {
		out.clock = time.Now
	}
	out.sessions = newSessions(out.clock)
	out.routes = pages
	return out
}

// Run ends sessions whose time is over and takes samples of the node's health, until ctx ends, and then ends all sessions.
func (c *Console) Run(ctx context.Context) {
	defer c.sessions.stopAll()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		c.takeSample(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.sessions.sweepNow()
		}
	}
}

// route is what a path does. A handler answers, or returns the error to answer with.
type route struct {
	get, post func(*visit) error
	open      bool // without a session too
}

func routes() map[string]route {
	return map[string]route{
		"/":              {get: (*visit).list},
		"/login":         {get: (*visit).showLogin, post: (*visit).login, open: true},
		"/logout":        {post: (*visit).logout},
		"/tree":          {get: (*visit).tree},
		"/secret":        {get: (*visit).secret},
		"/secret/reveal": {post: (*visit).reveal},
		"/secret/value":  {post: (*visit).copyValue},
		"/secret/new":    {get: (*visit).showCreate, post: (*visit).create},
		"/secret/update": {get: (*visit).showUpdate, post: (*visit).update},
		"/secret/rotate": {get: (*visit).showRotate, post: (*visit).rotate},
		"/secret/expire": {get: (*visit).showExpire, post: (*visit).expire},
		"/access":        {get: (*visit).access},
		"/access/grant":  {post: (*visit).grant},
		"/access/take":   {post: (*visit).take},
		"/access/revoke": {post: (*visit).revokeToken},
		"/audit":         {get: (*visit).audit},
		"/health":        {get: (*visit).health},
		"/console.css":   {get: static("console.css", "text/css; charset=utf-8"), open: true},
		"/console.js":    {get: static("console.js", "text/javascript; charset=utf-8"), open: true},
		"/icon.svg":      {get: static("icon.svg", "image/svg+xml"), open: true},
	}
}

// visit is one request with the session that it belongs to.
type visit struct {
	*exchange.Exchange
	c       *Console
	query   url.Values
	session *session // nil on a page that is open to all
	id      string   // of the session
	caller  vault.Caller
}

// Template implements exchange.Pages.
func (c *Console) Template(r *http.Request) string {
	if _, ok := c.routes[r.URL.Path]; ok {
		return r.URL.Path
	}
	return ""
}

// Serve implements exchange.Pages.
func (c *Console) Serve(x *exchange.Exchange) {
	v := &visit{Exchange: x, c: c, caller: x.Caller, query: x.Request.URL.Query()}
	setHeaders(x)
	if err := v.serve(); err != nil {
		v.fail(err)
	}
}

// Fail implements exchange.Pages.
func (c *Console) Fail(x *exchange.Exchange, err error) {
	setHeaders(x)
	(&visit{Exchange: x, c: c, caller: x.Caller}).fail(err)
}

func (v *visit) serve() error {
	route, ok := v.c.routes[v.Request.URL.Path]
	if !ok {
		return core.Errorf(core.NotFound, "there is no such page")
	}
	run := route.get
	switch v.Request.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if err := v.c.origin.Check(v.Request); err != nil {
			return core.Errorf(core.Denied, "the request comes from another web page")
		}
		run = route.post
	default:
		run = nil
	}
	if run == nil {
		v.allow(route)
		return &pageError{status: http.StatusMethodNotAllowed, error: core.Errorf(core.Invalid, "the page does not take this method")}
	}
	if why := v.resume(); why != endNone && !route.open {
		return v.redirectToLogIn(why)
	}
	return run(v)
}

func (v *visit) allow(r route) {
	var all []string
	if r.get != nil {
		all = append(all, "GET", "HEAD")
	}
	if r.post != nil {
		all = append(all, "POST")
	}
	v.Writer.Header().Set("Allow", strings.Join(all, ", "))
}

// resume finds the session of the request's cookie.
func (v *visit) resume() end {
	cookie, err := v.Request.Cookie(cookieName)
	if err != nil {
		return endNoCookie
	}
	found, token, why := v.c.sessions.find(cookie.Value, v.Caller.Addr, v.Request)
	switch why {
	case endNone:
		v.session, v.id, v.Public = found, cookie.Value, false
		v.caller.Bearer, v.caller.Freshness = token, found.freshness(v.c.clock())
	case endMoved:
		v.c.log.Warn("console session ended: its cookie came from another address or browser",
			"client_ip", v.Caller.Addr.String(), "request_id", v.Caller.RequestID)
	}
	return why
}

// redirectToLogIn sends a browser to the log-in page, from which it comes back to a page that it asked for.
func (v *visit) redirectToLogIn(why end) error {
	v.forgetCookie()
	to := url.Values{}
	if why != endNoCookie {
		to.Set("why", string(why))
	}
	if v.Request.Method == http.MethodGet && v.Request.URL.Path != "/" {
		to.Set("next", v.Request.URL.RequestURI())
	}
	v.redirect("/login", to)
	return nil
}

// redirect answers that the browser is to get another page of the console.
func (v *visit) redirect(path string, query url.Values) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	v.Writer.Header().Set("Location", path)
	v.Writer.WriteHeader(http.StatusSeeOther)
}

// form reads the form of the request; its caller wipes it in any case.
func (v *visit) form(limit int64) (form, error) {
	body, err := v.ReadBody(limit)
	if err != nil {
		return form{}, err
	}
	return parseForm(v.Request.Header, body)
}

// valueLimit bounds a form with a value.
func (v *visit) valueLimit() int64 { return int64(v.c.maxValue)*noMoreThan + formSlack }

func (v *visit) ctx() context.Context { return v.Request.Context() }
