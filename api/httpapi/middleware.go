package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	headerRequestID = "X-Request-Id"
	keyCaller       = "caller"
	keyUnbounded    = "unbounded"
)

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// begin gives the request its id, caller and deadline, and logs one line at its end.
func (s *server) begin(c *gin.Context) {
	start := time.Now()
	caller := vault.Caller{
		Addr:      clientAddr(c.Request, s.TrustedProxies),
		Bearer:    bearer(c.Request.Header),
		RequestID: idOf(c.Request.Header),
	}
	c.Set(keyCaller, caller)
	h := c.Writer.Header()
	h.Set(headerRequestID, caller.RequestID)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.Set(keyUnbounded, c.Request.Context())
	ctx, cancel := context.WithTimeout(c.Request.Context(), s.RequestTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	defer func() { s.logAccess(c, caller, time.Since(start)) }()
	c.Next()
}

// patient gives a change its longer deadline.
func (s *server) patient(c *gin.Context) {
	defer s.extend(c)()
	c.Next()
}

// extend replaces the deadline of a read, which the request got at first, by that of a change.
func (s *server) extend(c *gin.Context) (end func()) {
	ctx, cancel := context.WithTimeout(c.MustGet(keyUnbounded).(context.Context), s.WriteTimeout)
	c.Request = c.Request.WithContext(ctx)
	return cancel
}

func callerOf(c *gin.Context) vault.Caller { return c.MustGet(keyCaller).(vault.Caller) }

// idOf returns the client's request id when it is a plain token, so that it is
// safe in logs and audit records, and a random one otherwise.
func idOf(h http.Header) string {
	if v := h.Values(headerRequestID); len(v) == 1 && requestID.MatchString(v[0]) {
		return v[0]
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: a kernel without random bytes ends the process
	return hex.EncodeToString(b[:])
}

// bearer returns the token of the one Authorization header, unchecked.
func bearer(h http.Header) vault.Bearer {
	v := h.Values("Authorization")
	if len(v) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(v[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return vault.Bearer(strings.TrimLeft(token, " "))
}

// logAccess writes what may be known of a request: never query, body or headers,
// and the secret's name only when it is one.
func (s *server) logAccess(c *gin.Context, caller vault.Caller, took time.Duration) {
	attrs := []any{
		"method", c.Request.Method, "route", c.FullPath(), "status", c.Writer.Status(),
		"duration_ms", float64(took.Microseconds()) / 1000,
		"client_ip", caller.Addr.String(), "request_id", caller.RequestID,
	}
	if n, err := core.ParseName(nameOf(c)); err == nil {
		attrs = append(attrs, "secret", string(n))
	}
	s.Log.InfoContext(c.Request.Context(), "request", attrs...)
}

// recover turns a panic into the constant answer of an internal error. The panic's
// value may hold anything, so only its type and the places are logged.
func (s *server) recover(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.Log.ErrorContext(c.Request.Context(), "panic", "type", fmt.Sprintf("%T", p), "stack", places(),
			"request_id", callerOf(c).RequestID)
		if c.Writer.Written() {
			panic(http.ErrAbortHandler)
		}
		s.fail(c, core.Errorf(core.Internal, "panic"))
	}()
	c.Next()
}

// places returns the functions and lines of the stack, without arguments.
func places() []string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var out []string
	for {
		f, more := frames.Next()
		out = append(out, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return out
		}
	}
}

func (s *server) noRoute(c *gin.Context) {
	s.fail(c, &transportError{status: http.StatusNotFound, code: string(core.NotFound),
		cause: core.Errorf(core.NotFound, "no such path")})
}

// noMethod answers after gin has set Allow.
func (s *server) noMethod(c *gin.Context) {
	s.fail(c, methodNotAllowed())
}

func methodNotAllowed() error {
	return &transportError{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		cause: core.Errorf(core.Invalid, "the path does not take this method")}
}
