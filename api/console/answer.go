package console

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/core"
)

//go:embed templates static
var files embed.FS

// policy lets a page load the console's own style, script and icon, send forms to the console, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

func setHeaders(x *exchange.Exchange) {
	h := x.Writer.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), clipboard-read=(), clipboard-write=(self)")
	if x.Request.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// pageError is a failure with a status that the codes do not have.
type pageError struct {
	status int
	error
}

func (e *pageError) Unwrap() error { return e.error }

// page is what every template is given.
type page struct {
	Title  string
	Nav    string // which of the links is that of the page
	Node   string
	Name   string // of the session's token; "" = no session
	Role   string
	Notice string // what was done just before
	Data   any
}

func (v *visit) page(title, nav string, data any) page {
	p := page{Title: title, Nav: nav, Node: v.c.node, Data: data, Notice: notices[v.query.Get("done")]}
	if v.session != nil {
		p.Name, p.Role = v.session.name, v.session.role
	}
	return p
}

// notices are what pages say of what was done, by the words in their URLs.
var notices = map[string]string{
	"created": "The secret was created.",
	"updated": "A new version was stored.",
	"rotated": "A new value was generated and stored.",
	"expired": "The grace of that version was shortened.",
	"granted": "The grant was made.",
	"taken":   "The grant was taken back.",
	"revoked": "The token was revoked, with all that were made by it.",
}

// show answers with a page.
func (v *visit) show(status int, name string, p page) error {
	var out bytes.Buffer
	if err := templates[name].ExecuteTemplate(&out, "layout", p); err != nil {
		return core.Wrap(core.Internal, err, "make the page %s", name)
	}
	v.html(status, out.Bytes())
	return nil
}

func (v *visit) html(status int, parts ...[]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	h := v.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(size))
	v.Writer.WriteHeader(status)
	if v.Request.Method == http.MethodHead {
		return
	}
	for _, p := range parts {
		_, _ = v.Writer.Write(p)
	}
}

// problem is what the page of an error shows.
type problem struct {
	Status    int
	Text      string
	RequestID string
}

// fail answers err with a page. A token that is not valid has the user log in again.
func (v *visit) fail(err error) {
	p := v.Judge(err)
	if e, ok := errors.AsType[*pageError](err); ok {
		p.Status = e.status
	}
	if p.Status == http.StatusUnauthorized && v.session != nil {
		v.c.sessions.stop(v.id)
		_ = v.redirectToLogIn(endGone)
		return
	}
	if p.RetryAfter != "" {
		v.Writer.Header().Set("Retry-After", p.RetryAfter)
	}
	shown := v.page(http.StatusText(p.Status), "", problem{p.Status, p.Text, v.Caller.RequestID})
	if v.show(p.Status, "error.html", shown) != nil {
		v.Writer.WriteHeader(http.StatusInternalServerError)
	}
}

// static serves an embedded file. It is small, and the same for every client.
func static(name, contentType string) func(*visit) error {
	body, err := files.ReadFile("static/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(v *visit) error {
		h := v.Writer.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		v.Writer.WriteHeader(http.StatusOK)
		if v.Request.Method != http.MethodHead {
			_, _ = v.Writer.Write(body)
		}
		return nil
	}
}

// templates are the pages by their file, each with the layout and the pieces that pages share.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	names, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	out := map[string]*template.Template{}
	for _, f := range names {
		if f.Name() == "layout.html" {
			continue
		}
		out[f.Name()] = template.Must(template.New(f.Name()).Funcs(functions).ParseFS(files, "templates/layout.html", "templates/"+f.Name()))
	}
	return out
}
