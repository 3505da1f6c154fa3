package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// otherOf returns the request as the other protocol sees it, nil if it does not belong to it.
func (s *server) otherOf(c *gin.Context) *exchange.Exchange {
	if s.Protocol == nil || !s.isOther(c) {
		return nil
	}
	x := &exchange.Exchange{
		Writer: c.Writer, Request: c.Request, Caller: callerOf(c), Route: s.Protocol.Route(c.Request),
		Reader: func() (vault.Caller, error) { return s.readerOf(c) },
		Judge:  func(err error) exchange.Problem { return s.judge(c, err) },
	}
	x.ReadBody = func(limit int64) ([]byte, error) {
		if enc := c.Request.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
			return nil, errMediaType()
		}
		return s.readBody(c, x.Route.Action, limit)
	}
	return x
}

func (s *server) isOther(c *gin.Context) bool {
	path := c.Request.URL.Path
	return s.Protocol.Owns(path) || c.FullPath() == "" && strings.HasPrefix(path, "/v1/") && s.Protocol.IsClient(c.Request)
}

// serveOther has the other protocol answer. What may be a change gets the deadline of one.
func (s *server) serveOther(c *gin.Context) {
	x := stateOf(c).other
	if mayChange(c.Request.Method, x.Route.Action) {
		defer s.extend(c)()
	}
	x.Request = c.Request
	s.Protocol.Serve(x)
}

// mayChange reports whether a request of the other protocol may change something. The GET of a credential makes a role.
func mayChange(method string, action vault.Action) bool {
	switch method {
	case http.MethodGet, http.MethodHead, "LIST", "SCAN":
		return action == vault.ActionLeaseIssue
	}
	return true
}

// judge logs an error as fail does, and returns what the other protocol tells its client.
func (s *server) judge(c *gin.Context, err error) exchange.Problem {
	return s.judgeFor(c.Request.Context(), stateOf(c).unbounded, callerOf(c), err)
}

// judgeFor is judge for a caller. unbounded ends with the client.
func (s *server) judgeFor(ctx, unbounded context.Context, caller vault.Caller, err error) exchange.Problem {
	p := s.logProblem(ctx, unbounded, caller.RequestID, err)
	out := exchange.Problem{Status: p.Status, Code: p.Code, Text: p.Detail}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		out.RetryAfter = retryAfter(err)
	}
	if r, ok := errors.AsType[*vault.LoginRefusal](err); ok {
		s.Log.LogAttrs(ctx, slog.LevelInfo, "login refused", slog.String("cause", string(r.Cause)),
			slog.String("client_ip", caller.Addr.String()), slog.String("request_id", caller.RequestID))
	}
	if refusedUs(err) {
		out.Status = http.StatusInternalServerError // the client has the right
	}
	return out
}

// pathOf is what the access log calls the route.
func pathOf(c *gin.Context) string {
	if x := stateOf(c).other; x != nil {
		return x.Route.Template
	}
	return c.FullPath()
}

// routeName returns the name of the secret in the path, unchecked; "" where there is none.
func routeName(c *gin.Context) string {
	if x := stateOf(c).other; x != nil {
		return x.Route.Name
	}
	return nameOf(c)
}
