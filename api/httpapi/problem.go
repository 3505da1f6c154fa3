package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// statusOf is the one table from codes to statuses.
var statusOf = map[core.Code]int{
	core.Invalid:         http.StatusBadRequest,
	core.TooLarge:        http.StatusRequestEntityTooLarge,
	core.Unauthenticated: http.StatusUnauthorized,
	core.Denied:          http.StatusForbidden,
	core.TooMany:         http.StatusTooManyRequests,
	core.NotFound:        http.StatusNotFound,
	core.Exists:          http.StatusConflict,
	core.Stale:           http.StatusPreconditionFailed,
	core.Unavailable:     http.StatusServiceUnavailable,
	core.Corrupt:         http.StatusInternalServerError,
	core.Internal:        http.StatusInternalServerError,
}

// codeConditionRequired is of a change that has to name what it replaces.
const codeConditionRequired = "precondition_required"

// transportError is a failure that HTTP knows more exactly than the codes do.
type transportError struct {
	status int
	code   string
	cause  *core.Error
}

func (e *transportError) Error() string { return e.cause.Error() }
func (e *transportError) Unwrap() error { return e.cause }

// problem is an RFC 9457 answer.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
}

func problemOf(err error, requestID string) problem {
	code := core.CodeOf(err)
	p := problem{Type: "about:blank", Status: statusOf[code], Code: string(code), Detail: core.MessageOf(err), RequestID: requestID}
	if t, ok := errors.AsType[*transportError](err); ok {
		p.Status, p.Code = t.status, t.code
	}
	if errors.Is(err, vault.ErrConditionRequired) {
		p.Status, p.Code = http.StatusPreconditionRequired, codeConditionRequired
	}
	if p.Status == 0 {
		p.Status, p.Code, p.Detail = http.StatusInternalServerError, string(core.Internal), ""
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// refusedUs reports whether it was this server that was refused, by the key
// service, and not its client: such a refusal has a cause.
func refusedUs(err error) bool {
	e, ok := errors.AsType[*core.Error](err)
	return ok && e.Code == core.Denied && e.Err != nil
}

// problemOf returns what the client is told. Causes are for the operator's log alone,
// and only where the fault is on this side.
func (s *server) problemOf(c *gin.Context, err error) problem {
	return s.logProblem(c.Request.Context(), stateOf(c).unbounded, callerOf(c).RequestID, err)
}

// logProblem is problemOf for a request by its id. unbounded ends with the client.
func (s *server) logProblem(ctx, unbounded context.Context, id string, err error) problem {
	p := problemOf(err, id)
	switch {
	case p.Status < http.StatusInternalServerError && !refusedUs(err):
	case unbounded.Err() != nil:
		// What was cut short for a client that went away is no fault here, and no client reads the answer.
		s.Log.InfoContext(ctx, "the client went away", "code", p.Code, "cause", err.Error(), "request_id", id)
	case s.repeats.Take(s.Log, err, id):
	default:
		s.Log.ErrorContext(ctx, "request failed", "code", p.Code, "cause", err.Error(), "request_id", id)
	}
	return p
}

// retryAfter returns the whole seconds after which the request may go better.
func retryAfter(err error) string {
	secs := 1.0
	if over, ok := errors.AsType[*vault.OverQuota](err); ok {
		secs = max(secs, math.Ceil(over.RetryAfter.Seconds()))
	}
	if locked, ok := errors.AsType[*vault.LockedOut](err); ok {
		secs = max(secs, math.Ceil(locked.RetryAfter.Seconds()))
	}
	return strconv.Itoa(int(secs))
}

// handler answers a request, or returns the error to answer with.
type handler func(*gin.Context) error

// handle is the one place where the error of a handler becomes an answer.
func (s *server) handle(h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			s.fail(c, err)
		}
	}
}

// fail answers err.
func (s *server) fail(c *gin.Context, err error) {
	if x := stateOf(c).other; x != nil {
		s.Protocol.Fail(x, err)
		c.Abort()
		return
	}
	p := s.problemOf(c, err)
	h := c.Writer.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="hyperion-vault"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", retryAfter(err))
	}
	body, merr := json.Marshal(p)
	if merr != nil {
		body = []byte(`{"type":"about:blank","status":500,"code":"internal"}`)
		p.Status = http.StatusInternalServerError
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Writer.WriteHeader(p.Status)
	_, _ = c.Writer.Write(body)
	c.Abort()
}
