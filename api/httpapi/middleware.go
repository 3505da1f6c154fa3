package httpapi

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	headerRequestID = "X-Request-Id"
	headerToken     = "X-Vault-Token"
)

// state is the context of a request, with what is known of it beside itself.
type state struct {
	context.Context
	caller    vault.Caller
	unbounded context.Context // ends with the client, without the deadline
	tokenErr  error           // why it is not clear which token was presented
	// other is the request if it belongs to the other protocol; nil = it does not.
	other *exchange.Exchange
	id    [1]string // the value of a header of the answer
}

type stateKey struct{}

// Value implements context.Context.
func (st *state) Value(key any) any {
	if key == (stateKey{}) {
		return st
	}
	return st.Context.Value(key)
}

// Headers of every answer, shared by all: no code writes to what they hold.
var (
	nosniff = []string{"nosniff"}
	noStore = []string{"no-store"}
	isJSON  = []string{"application/json"}
	closeIt = []string{"close"}
)

// begin gives the request its id, caller and deadline, and logs one line at its end.
func (s *server) begin(c *gin.Context) {
	start := time.Now()
	caller := vault.Caller{
		Addr:      clientAddr(c.Request, s.Policy.Load().TrustedProxies),
		RequestID: idOf(c.Request.Header),
	}
	var tokenErr error
	caller.Bearer, tokenErr = presented(c.Request.Header)
	st := &state{caller: caller, unbounded: c.Request.Context(), tokenErr: tokenErr, id: [1]string{caller.RequestID}}
	defer st.within(c, s.RequestTimeout)()
	st.other = s.otherOf(c)
	h := c.Writer.Header()
	h[headerRequestID] = st.id[:]
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = noStore
	if len(c.Request.TransferEncoding) > 0 {
		// net/http has dropped a Content-Length that came with it, on which a proxy before us may have relied: what
		// follows on this connection may be what that one took for a body.
		h["Connection"] = closeIt
	}
	s.Meter.Begin()
	defer func() {
		took := time.Since(start)
		s.Meter.End(c.Request.Method, shownTemplate(c), c.Writer.Status(), took)
		s.logAccess(c, &caller, took)
	}()
	defer s.vouchFor(c)
	c.Next()
}

// vouchFor keeps the connection of a request that was let in, whatever came of it, from counting as a stranger's.
func (s *server) vouchFor(c *gin.Context) {
	if x := stateOf(c).other; x != nil && x.Public {
		return
	}
	if s.letIn(pathOf(c), c.Writer.Status()) {
		vouch(c.Request.Context())
	}
}

// letIn reports whether the status of an answer shows that its client had a right. Most others say nothing.
func (s *server) letIn(route string, status int) bool {
	if !strings.HasPrefix(route, "/v1/") || route == pathOpenAPI {
		return false
	}
	switch status {
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
		return true
	}
	return status < http.StatusBadRequest
}

// patient gives a change its longer deadline.
func (s *server) patient(c *gin.Context) {
	defer s.extend(c)()
	c.Next()
}

// extend replaces the deadline of a read, which the request got at first, by that of a change.
func (s *server) extend(c *gin.Context) (end func()) {
	st := *stateOf(c) // the request's context so far may be in use
	return st.within(c, s.WriteTimeout)
}

// within makes st the context of the request, with a deadline.
func (st *state) within(c *gin.Context, limit time.Duration) (end func()) {
	st.Context, end = context.WithTimeout(st.unbounded, limit)
	c.Request = c.Request.WithContext(st)
	return end
}

func stateOf(c *gin.Context) *state { return c.Request.Context().Value(stateKey{}).(*state) }

func callerOf(c *gin.Context) vault.Caller { return stateOf(c).caller }

// idOf returns the client's request id when it is a plain token, so that it is
// safe in logs and audit records, and a random one otherwise. It tells requests apart
// and guards nothing.
func idOf(h http.Header) string {
	if v := h[headerRequestID]; len(v) == 1 && isRequestID(v[0]) {
		return v[0]
	}
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// isRequestID reports whether s is 1 to 64 of A-Z a-z 0-9 . _ -
func isRequestID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// presented returns the token of the Authorization header or of X-Vault-Token, which clients of other vaults send. Two
// different ones are an error: a client that sends a second one by mistake must not act as the holder of the first.
func presented(h http.Header) (vault.Bearer, error) {
	inAuthorization, other := bearer(h), h[headerToken]
	if len(other) == 0 {
		return inAuthorization, nil
	}
	t := vault.Bearer(strings.Trim(other[0], " "))
	if len(other) > 1 || len(h["Authorization"]) > 0 && inAuthorization != t {
		return "", core.Errorf(core.Invalid, "the request presents two different tokens, in Authorization and X-Vault-Token or in one of them")
	}
	return t, nil
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
func (s *server) logAccess(c *gin.Context, caller *vault.Caller, took time.Duration) {
	ctx := c.Request.Context()
	if !s.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("method", c.Request.Method), slog.String("route", pathOf(c)), slog.Int("status", c.Writer.Status()),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("client_ip", caller.Addr.String()), slog.String("request_id", caller.RequestID), {},
	}
	n := len(attrs) - 1
	if name, err := core.ParseName(routeName(c)); err == nil {
		attrs[n] = slog.String("secret", string(name))
		n++
	}
	s.Log.LogAttrs(ctx, slog.LevelInfo, "request", attrs[:n]...)
}

// recover turns a panic into the constant answer of an internal error. The panic's
// value may hold anything, so only its type and the places are logged.
func (s *server) recover(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p) // on purpose: the connection is cut
		}
		err := core.Recovered(p)
		s.Log.ErrorContext(c.Request.Context(), "panic", "error", err.Error(), "request_id", callerOf(c).RequestID)
		if c.Writer.Written() {
			panic(http.ErrAbortHandler)
		}
		s.fail(c, core.Errorf(core.Internal, "panic"))
	}()
	c.Next()
}

func (s *server) noRoute(c *gin.Context) {
	if stateOf(c).other != nil {
		s.serveOther(c)
		return
	}
	s.fail(c, &transportError{status: http.StatusNotFound, code: string(core.NotFound),
		cause: core.Errorf(core.NotFound, "no such path")})
}

// noMethod answers after gin has set Allow.
func (s *server) noMethod(c *gin.Context) {
	if stateOf(c).other != nil {
		s.serveOther(c)
		return
	}
	s.fail(c, methodNotAllowed())
}

func methodNotAllowed() error {
	return &transportError{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		cause: core.Errorf(core.Invalid, "the path does not take this method")}
}
