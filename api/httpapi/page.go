package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// NewPages returns the handler of a listener for browsers. It checks hosts and proxies as New does, and leaves it to the
// pages which other pages may send requests: those of New refuse all of them. It is safe for concurrent use.
func NewPages(c Config, pages exchange.Pages) http.Handler {
	c.complete()
	return &pageServer{server: server{Config: c}, pages: pages}
}

type pageServer struct {
	server
	pages exchange.Pages
}

// ServeHTTP implements http.Handler.
func (p *pageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	status := &statusWriter{ResponseWriter: w}
	limit := p.RequestTimeout
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		limit = p.WriteTimeout
	}
	unbounded := r.Context()
	ctx, cancel := context.WithTimeout(unbounded, limit)
	defer cancel()
	x := &exchange.Exchange{
		Writer: status, Request: r.WithContext(ctx), Public: true, Route: exchange.Route{Template: p.pages.Template(r)},
		Caller: vault.Caller{Addr: clientAddr(r, p.Policy.Load().TrustedProxies), RequestID: idOf(r.Header)},
	}
	x.Judge = func(err error) exchange.Problem { return p.judgeFor(ctx, unbounded, x.Caller, err) }
	x.ReadBody = func(limit int64) ([]byte, error) { return p.takeBody(status, x.Request, limit) }
	h := w.Header()
	h[headerRequestID], h["X-Content-Type-Options"], h["Cache-Control"] = []string{x.Caller.RequestID}, nosniff, noStore
	if len(r.TransferEncoding) > 0 {
		h["Connection"] = closeIt // as in begin
	}
	defer func() { p.logPage(x, status.code(), time.Since(start)) }()
	p.serve(x, status)
	if !x.Public {
		vouch(r.Context())
	}
}

// serve answers, whatever the pages do.
func (p *pageServer) serve(x *exchange.Exchange, w *statusWriter) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		p.Log.ErrorContext(x.Request.Context(), "panic", "error", core.Recovered(v).Error(), "request_id", x.Caller.RequestID)
		if w.status != 0 {
			panic(http.ErrAbortHandler)
		}
		p.pages.Fail(x, core.Errorf(core.Internal, "panic"))
	}()
	policy := p.Policy.Load()
	err := policy.checkForwarding(x.Request)
	if err == nil {
		err = policy.checkHosts(x.Request)
	}
	if err != nil {
		p.pages.Fail(x, err)
		return
	}
	p.pages.Serve(x)
}

// logPage writes what may be known of a request: never query, body or headers.
func (p *pageServer) logPage(x *exchange.Exchange, status int, took time.Duration) {
	p.Log.LogAttrs(x.Request.Context(), slog.LevelInfo, "request", slog.String("method", x.Request.Method),
		slog.String("route", x.Route.Template), slog.Int("status", status), slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("client_ip", x.Caller.Addr.String()), slog.String("request_id", x.Caller.RequestID))
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 = nothing is written yet
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
